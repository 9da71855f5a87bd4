//! What is known of model associations, and which rows that knowledge refuses before any call.
//!
//! Shared by `import` and `check`, so that a row that passes the check is never refused locally
//! afterwards. Asks nothing itself: it says what is to be asked.

use std::collections::VecDeque;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::association::{ModelAssociation, Row, RowError};
use crate::cmdb::wire::ModelError;
use crate::outcome::Reason;

/// Names asked in one call.
const NAMES_A_CALL: usize = 200;
/// Names that don't exist are forgotten beyond this many, so that memory stays bounded.
const MOST_UNKNOWN: usize = 50_000;

/// What is known of one name.
#[derive(Clone, Debug)]
pub enum Knowledge {
    /// It has been or will be asked for.
    Wanted,
    /// It exists. The number is unique within the run.
    Known(u32, Arc<ModelAssociation>),
    /// It does not exist, or this app may not see it.
    Unknown,
    /// It exists, and can't be used.
    Unusable(ModelError),
}

impl Knowledge {
    /// Why nothing of that name can be sent or looked up, where that is so.
    pub fn unusable(&self, name: &str) -> Option<String> {
        match self {
            Self::Unknown => Some(format!(
                "model association {name:?} does not exist, or is not visible to this app"
            )),
            Self::Unusable(error) => Some(format!(
                "model association {name:?} can't be used: {error}; give it with \
                 --model {name}=SOURCE_MODEL,TARGET_MODEL"
            )),
            Self::Known(..) | Self::Wanted => None,
        }
    }
}

/// Whether a row may be sent, as far as can be told without a call for it.
#[derive(Clone, Debug)]
pub enum Admission {
    /// It may. The number is that of its model association.
    Known(u32, Arc<ModelAssociation>),
    /// Its model association has to be asked for first.
    Wanted,
    /// It ends here.
    Refused(Reason, String),
}

/// All that is known.
#[derive(Debug, Default)]
pub struct Models {
    names: FxHashMap<Arc<str>, Knowledge>,
    wanted: VecDeque<Arc<str>>,
    numbers: u32,
    unknown: usize,
}

impl Models {
    /// Starts with what need not be asked (`--model`).
    pub fn given(models: &[ModelAssociation]) -> Self {
        let mut this = Self::default();
        for model in models {
            this.learn(model.clone());
        }
        this
    }

    /// What is known of a name; where that is nothing, it will be asked for.
    pub fn look(&mut self, name: &Arc<str>) -> &Knowledge {
        if !self.names.contains_key(name) {
            self.names.insert(Arc::clone(name), Knowledge::Wanted);
            self.wanted.push_back(Arc::clone(name));
        }
        &self.names[name]
    }

    /// Decides on a row: the one gate of `import` and `check`.
    pub fn admit(&mut self, row: &Row) -> Admission {
        let name = match &row.parsed {
            Ok(link) => &link.association.obj_asst_id,
            Err(error) => {
                let (reason, message) = invalidity(row, error);
                return Admission::Refused(reason, message);
            }
        };
        let knowledge = self.look(name);
        if let Some((reason, message)) = refusal(name, knowledge) {
            return Admission::Refused(reason, message);
        }
        match knowledge {
            Knowledge::Known(number, model) => Admission::Known(*number, Arc::clone(model)),
            _ => Admission::Wanted,
        }
    }

    /// A model association that is known to exist, to ask for as a probe.
    pub fn any_known(&self) -> Option<&Arc<ModelAssociation>> {
        self.names.values().find_map(|knowledge| match knowledge {
            Knowledge::Known(_, model) => Some(model),
            _ => None,
        })
    }

    /// Whether there is anything to ask.
    pub fn has_questions(&self) -> bool {
        !self.wanted.is_empty()
    }

    /// The names of the next question.
    pub fn question(&mut self) -> Vec<Arc<str>> {
        let most = self.wanted.len().min(NAMES_A_CALL);
        self.wanted.drain(..most).collect()
    }

    /// Nobody can be asked: what is not known is left so, and takes no memory.
    pub fn ask_nobody(&mut self) {
        for name in self.wanted.drain(..) {
            self.names.remove(&name);
        }
    }

    /// The question got no answer: it will be asked again.
    pub fn ask_again(&mut self, names: Vec<Arc<str>>) {
        for name in names.into_iter().rev() {
            self.wanted.push_front(name);
        }
    }

    /// The question was answered. What the answer does not name does not exist; what was not asked
    /// for is not believed.
    pub fn answered(
        &mut self,
        asked: &[Arc<str>],
        models: Vec<Result<ModelAssociation, ModelError>>,
    ) {
        for model in models {
            let name = model.as_ref().map_or_else(|e| &e.obj_asst_id, |model| &model.obj_asst_id);
            if !matches!(self.names.get(name), Some(Knowledge::Wanted)) {
                continue;
            }
            match model {
                Ok(model) => self.learn(model),
                Err(error) => {
                    let name = Arc::clone(&error.obj_asst_id);
                    self.names.insert(name, Knowledge::Unusable(error));
                }
            }
        }
        if self.unknown + asked.len() > MOST_UNKNOWN {
            self.names.retain(|_, knowledge| !matches!(knowledge, Knowledge::Unknown));
            self.unknown = 0;
        }
        for name in asked {
            if let Some(knowledge @ Knowledge::Wanted) = self.names.get_mut(name) {
                *knowledge = Knowledge::Unknown;
                self.unknown += 1;
            }
        }
    }

    fn learn(&mut self, model: ModelAssociation) {
        let name = Arc::clone(&model.obj_asst_id);
        self.names.insert(name, Knowledge::Known(self.numbers, Arc::new(model)));
        self.numbers += 1;
    }
}

/// Why a row that could be read is refused before any call for it.
pub fn refusal(name: &str, knowledge: &Knowledge) -> Option<(Reason, String)> {
    if let Some(why) = knowledge.unusable(name) {
        return Some((Reason::UnknownAssociation, why));
    }
    match knowledge {
        Knowledge::Known(_, model) if model.mainline => Some((
            Reason::MainlineAssociation,
            format!(
                "{name:?} is part of the business topology (bk_mainline), which imports may not touch"
            ),
        )),
        _ => None,
    }
}

/// Why a row that could not be read is invalid.
pub fn invalidity(row: &Row, error: &RowError) -> (Reason, String) {
    let mut cause = error;
    while let RowError::InCell { error, .. } = cause {
        cause = error;
    }
    let reason = match cause {
        RowError::MissingBizId => Reason::MissingBizId,
        RowError::BadAction(_) | RowError::Delete => Reason::UnsupportedAction,
        RowError::BadId { .. }
        | RowError::BadName { .. }
        | RowError::NoInstance { .. }
        | RowError::Named { .. }
        | RowError::InCell { .. }
        | RowError::Broken(_) => Reason::InvalidRow,
    };
    (reason, format!("line {}: {error}", row.line))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::association::{Cells, NewAssociation};
    use crate::cmdb::wire::Envelope;
    use crate::input::RowParser;
    use crate::options;

    fn row(texts: [&str; 4]) -> Row {
        let (cells, parsed): (Cells, Result<NewAssociation, RowError>) =
            RowParser::new(None, true).read(texts);
        Row { ordinal: 0, file: 0, line: 7, cells, parsed }
    }

    #[test]
    fn a_row_is_admitted_refused_or_waits_for_what_is_not_known() {
        let mut models = Models::given(&[options::model("a=s,t,1:n").unwrap()]);
        let asst = |name| row([name, "1", "2", "3"]);
        assert!(matches!(models.admit(&asst("a")), Admission::Known(0, _)));
        assert!(matches!(models.admit(&asst("b")), Admission::Wanted));
        let asked = models.question();
        models.answered(&asked, Vec::new());
        for (row, reason) in [
            (asst("b"), Reason::UnknownAssociation),
            (row(["a", "x", "2", "3"]), Reason::InvalidRow),
            (row(["a", "1", "2", ""]), Reason::MissingBizId),
        ] {
            let admission = models.admit(&row);
            assert!(
                matches!(admission, Admission::Refused(found, _) if found == reason),
                "{admission:?}"
            );
        }
    }

    #[test]
    fn a_model_association_that_can_not_be_used_is_told_with_the_flag_that_helps() {
        let data =
            r#"[{"bk_obj_asst_id":"a","bk_obj_id":"s","bk_asst_obj_id":"t","mapping":"2:2"}]"#;
        let answer = format!(r#"{{"result":true,"code":0,"data":{data}}}"#);
        let answer = Envelope::parse(answer.as_bytes()).unwrap();
        let mut models = Models::default();
        models.look(&"a".into());
        let asked = models.question();
        models.answered(&asked, answer.models().unwrap());
        let Admission::Refused(reason, message) = models.admit(&row(["a", "1", "2", "3"])) else {
            panic!("it was let through");
        };
        assert_eq!(reason, Reason::UnknownAssociation);
        assert!(message.contains("2:2") && message.contains("--model a="), "{message}");
    }

    #[test]
    fn where_nobody_can_be_asked_nothing_is_kept() {
        let mut models = Models::default();
        models.look(&"a".into());
        models.ask_nobody();
        assert!(!models.has_questions() && models.names.is_empty());
    }
}
