//! Answers: read leniently where nothing depends on it, strictly where a row's outcome does.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::code;
use super::lenient::{any_integer, lenient_bool, lenient_code, lenient_text, present};
use crate::association::{Mapping, ModelAssociation};

/// An answer's body, in either key set: `code`/`message` or `bk_error_code`/`bk_error_msg`.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Envelope {
    /// Whether the server says that the call succeeded.
    #[serde(default, deserialize_with = "lenient_bool")]
    pub result: Option<bool>,
    #[serde(default, deserialize_with = "lenient_code")]
    code: Option<i64>,
    #[serde(default, deserialize_with = "lenient_code")]
    bk_error_code: Option<i64>,
    #[serde(default, deserialize_with = "lenient_text")]
    message: Option<String>,
    #[serde(default, deserialize_with = "lenient_text")]
    bk_error_msg: Option<String>,
    /// The payload; its shape depends on the request. JSON's null is `Some("null")`.
    #[serde(default, deserialize_with = "present")]
    pub data: Option<Box<RawValue>>,
    /// The missing permissions, with 9900403.
    #[serde(default, deserialize_with = "present")]
    pub permission: Option<Box<RawValue>>,
    /// The call's id, from the ESB.
    #[serde(default, deserialize_with = "lenient_text")]
    pub request_id: Option<String>,
}

impl Envelope {
    /// An envelope as the server would write it.
    pub fn new(result: bool, code: i64, message: &str, data: Box<RawValue>) -> Self {
        Self {
            result: Some(result),
            code: Some(code),
            message: Some(message.to_owned()),
            data: Some(data),
            ..Self::default()
        }
    }

    /// Reads a body; `None` where it is no JSON object. A byte order mark before it says nothing.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        if !bytes.trim_ascii_start().starts_with(b"{") {
            return None;
        }
        // Strings that nobody reads may be in another encoding. A body that is UTF-8 as a whole is read
        // without checking each string.
        match std::str::from_utf8(bytes) {
            Ok(text) => serde_json::from_str(text).ok(),
            Err(_) => serde_json::from_slice(bytes).ok(),
        }
    }

    /// Rewrites the texts that a person may see: the messages, and the call's id.
    pub fn rewrite_texts(&mut self, rewrite: impl Fn(&str) -> String) {
        for text in
            [&mut self.message, &mut self.bk_error_msg, &mut self.request_id].into_iter().flatten()
        {
            *text = rewrite(text);
        }
    }

    /// The number, whichever key it came under.
    pub fn code(&self) -> Option<i64> {
        self.code.or(self.bk_error_code)
    }

    /// The text, whichever key it came under.
    pub fn message(&self) -> &str {
        self.message.as_deref().or(self.bk_error_msg.as_deref()).unwrap_or_default()
    }

    /// Whether both result and code say success, or both failure. `None` where they disagree, or where
    /// the codes under the two keys do.
    pub fn succeeded(&self) -> Option<bool> {
        match (self.result, self.code()) {
            (Some(true), Some(0)) if self.bk_error_code.unwrap_or(0) == 0 => Some(true),
            (Some(false) | None, Some(code)) if code != 0 => Some(false),
            _ => None,
        }
    }

    /// Whether number and text came under `code` and `message` alone.
    pub fn has_short_keys(&self) -> bool {
        self.code.is_some() && self.bk_error_code.is_none()
    }

    pub(super) fn data_as<'a, T: Deserialize<'a>>(&'a self) -> Option<T> {
        serde_json::from_str(self.data.as_ref()?.get()).ok()
    }

    /// The id of a created association, if it is a positive integer.
    pub fn created_id(&self) -> Option<i64> {
        #[derive(Deserialize)]
        struct Created {
            id: i64,
        }
        self.data_as::<Created>().map(|created| created.id).filter(|id| *id > 0)
    }

    /// What a batch says about its items, by their places in the request. Texts only say that an item
    /// was refused (docs/cmdb-api.md#batch-create). An id that is named for two items counts for
    /// neither.
    pub fn batch(&self) -> Option<BatchAnswer> {
        #[derive(Deserialize)]
        struct Data {
            #[serde(default)]
            success_created: Option<HashMap<String, RawId>>,
            #[serde(default)]
            error_msg: Option<HashMap<String, serde_json::Value>>,
        }
        let data = self.data_as::<Data>()?;
        let mut answer = BatchAnswer::default();
        let mut named = HashMap::new();
        for (place, id) in data.success_created.unwrap_or_default() {
            let (Some(place), Some(id)) = (place_of(&place), id.0.filter(|id| *id > 0)) else {
                continue;
            };
            *named.entry(id).or_insert(0) += 1;
            answer.created.insert(place, id);
        }
        answer.created.retain(|_, id| named[id] == 1);
        let refused = data.error_msg.unwrap_or_default();
        answer.refused = refused.into_keys().filter_map(|place| place_of(&place)).collect();
        Some(answer)
    }

    /// What a look-up found; entries with an id below 1 are left out. `None` where the answer can't be
    /// trusted. JSON's null is an empty list (a nil slice in Go).
    pub fn found(&self) -> Option<Vec<Found>> {
        let found = self.data_as::<Option<Vec<Found>>>()?.unwrap_or_default();
        Some(found.into_iter().filter(|found| found.id > 0).collect())
    }

    /// The model associations of an answer. Each is read by itself, so that one that can't be used does
    /// not hide the others. `None` where the answer can't be trusted: an entry without a name may be
    /// any of them.
    pub fn models(&self) -> Option<Vec<Result<ModelAssociation, ModelError>>> {
        let entries = self.data_as::<Option<Vec<&RawValue>>>()?.unwrap_or_default();
        let read = |entry: &RawValue| serde_json::from_str(entry.get()).ok().map(Model::read);
        entries.into_iter().map(read).collect()
    }
}

/// Why a model association that the server has can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{fault}")]
pub struct ModelError {
    /// The model association.
    pub obj_asst_id: Arc<str>,
    fault: ModelFault,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum ModelFault {
    #[error("its mapping {0:?} is unknown to this version of bkassoc")]
    Mapping(String),
    #[error("the server does not say its models or its mapping")]
    Incomplete,
}

/// How many characters of an unknown mapping are shown.
const MAPPING_SHOWN: usize = 20;

#[derive(Deserialize)]
struct Model {
    bk_obj_asst_id: String,
    #[serde(default, deserialize_with = "lenient_text")]
    bk_obj_id: Option<String>,
    #[serde(default, deserialize_with = "lenient_text")]
    bk_asst_obj_id: Option<String>,
    #[serde(default, deserialize_with = "lenient_text")]
    bk_asst_id: Option<String>,
    #[serde(default, deserialize_with = "lenient_text")]
    mapping: Option<String>,
}

impl Model {
    fn read(self) -> Result<ModelAssociation, ModelError> {
        let obj_asst_id: Arc<str> = self.bk_obj_asst_id.into();
        let error = |fault| ModelError { obj_asst_id: Arc::clone(&obj_asst_id), fault };
        let (Some(source), Some(target), Some(mapping)) =
            (self.bk_obj_id, self.bk_asst_obj_id, self.mapping)
        else {
            return Err(error(ModelFault::Incomplete));
        };
        let mainline = self.bk_asst_id.as_deref() == Some("bk_mainline");
        let rule = match Mapping::parse(&mapping) {
            Some(rule) => rule,
            // Its rows are refused whatever the rule.
            None if mainline => Mapping::OneToOne,
            None => {
                let shown = mapping.chars().take(MAPPING_SHOWN).collect();
                return Err(error(ModelFault::Mapping(shown)));
            }
        };
        Ok(ModelAssociation {
            source: source.into(),
            target: target.into(),
            mapping: rule,
            guessed: false,
            mainline,
            obj_asst_id,
        })
    }
}

/// An association as a look-up returns it (tests/wire/cmdb-06.json#6.1).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Found {
    /// The association's id.
    pub id: i64,
    /// Its model association.
    #[serde(default)]
    pub bk_obj_asst_id: String,
    /// The source. The server leaves a 0 out; a number that is no id equals none.
    #[serde(default, deserialize_with = "any_integer")]
    pub bk_inst_id: u64,
    /// The target.
    #[serde(default, deserialize_with = "any_integer")]
    pub bk_asst_inst_id: u64,
}

/// What a batch says about its items.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BatchAnswer {
    /// The ids of items that were created.
    pub created: HashMap<usize, i64>,
    /// Items that were refused.
    pub refused: HashSet<usize>,
}

/// A batch item's place in the one spelling that a server writes: `+1` and `01` would be the same
/// place under a second key.
fn place_of(text: &str) -> Option<usize> {
    text.parse().ok().filter(|place: &usize| place.to_string() == text)
}

/// An id, or nothing where it is no integer.
#[derive(Deserialize)]
struct RawId(#[serde(deserialize_with = "lenient_code")] Option<i64>);

/// What an answer's headers say about the server's limit (docs/cmdb-api.md#limits-and-quotas).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateHint {
    /// `X-Bkapi-RateLimit-Limit`: calls in a window.
    pub limit: Option<u64>,
    /// `X-Bkapi-RateLimit-Remaining`: calls left in the window.
    pub remaining: Option<u64>,
    /// `X-Bkapi-RateLimit-Reset`: time until the window ends.
    pub reset: Option<Duration>,
    /// `Retry-After`.
    pub retry_after: Option<Duration>,
    /// `X-Bkapi-RateLimit-Plugin`: which calls share the limit. `None` where nobody says.
    pub shared_by: Option<SharedBy>,
}

/// Which calls a limit counts together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SharedBy {
    /// Those of one route.
    Route,
    /// All.
    All,
}

/// An answer that arrived whole.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The body; `None` where it was no JSON object.
    pub envelope: Option<Envelope>,
    /// The beginning of a body that was no JSON object, for a person to read.
    pub excerpt: String,
    /// What the headers say about the server's limit.
    pub rate: RateHint,
    /// The call's id: from the body, else from a header.
    pub request_id: Option<String>,
}

/// What came of a call.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "answers are the common case")]
pub enum Reply {
    /// An answer arrived whole.
    Answered(Answer),
    /// The request never left: connection refused, name not found.
    NotSent(String),
    /// No whole answer: reset, timeout, cut body. The call may have been executed.
    Lost(String),
    /// An answer too large to be read, as it will be again. The call may have been executed.
    Oversized(String),
    /// The target can't be used as configured: its certificate, or a URL that can't be called.
    Unusable(String),
}

impl Reply {
    /// The answer's body, where it could be read.
    pub fn envelope(&self) -> Option<&Envelope> {
        match self {
            Self::Answered(answer) => answer.envelope.as_ref(),
            _ => None,
        }
    }

    /// What the answer says about the server's limit.
    pub fn rate(&self) -> RateHint {
        let Self::Answered(answer) = self else {
            return RateHint::default();
        };
        let of_route =
            answer.envelope.as_ref().and_then(Envelope::code) == Some(code::GATEWAY_RESOURCE_LIMIT);
        RateHint {
            shared_by: answer.rate.shared_by.or(of_route.then_some(SharedBy::Route)),
            ..answer.rate
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::association::InstId;

    #[test]
    fn a_stray_association_in_a_look_up_hides_none_of_the_others() {
        let answer = br#"{"result":true,"code":0,"data":[{"id":5,"bk_asst_inst_id":2},
            {"id":6,"bk_obj_asst_id":"a","bk_inst_id":-1,"bk_asst_inst_id":2},
            {"id":7,"bk_obj_asst_id":"a","bk_inst_id":1,"bk_asst_inst_id":2}]}"#;
        let found = Envelope::parse(answer).unwrap().found().unwrap();
        let sources: Vec<_> = found.iter().map(|found| InstId::new(found.bk_inst_id)).collect();
        assert!(sources[0].is_err() && sources[1].is_err());
        assert_eq!((found[2].id, sources[2]), (7, InstId::new(1)));
        let garbled = br#"{"result":true,"code":0,"data":[{"id":7,"bk_inst_id":"x"}]}"#;
        assert_eq!(Envelope::parse(garbled).unwrap().found(), None);
    }

    #[test]
    fn a_model_association_that_can_not_be_used_hides_none_of_the_others() {
        let answer = with_data(
            r#"[{"bk_obj_asst_id":"a","bk_obj_id":"s","bk_asst_obj_id":"t","mapping":"2:2"},
                {"bk_obj_asst_id":"b","bk_obj_id":"s","bk_asst_obj_id":"t"},
                {"bk_obj_asst_id":"c","bk_obj_id":7,"bk_asst_obj_id":"t","mapping":"1:1"},
                {"bk_obj_asst_id":"d","bk_obj_id":"s","bk_asst_obj_id":"t","mapping":"","bk_asst_id":"bk_mainline"},
                {"bk_obj_asst_id":"e","bk_obj_id":"s","bk_asst_obj_id":"t","mapping":"n:n"}]"#,
        );
        let said: Vec<_> = (answer.models().unwrap().iter())
            .map(|model| match model {
                Ok(model) => format!("{} is known", model.obj_asst_id),
                Err(error) => format!("{}: {error}", error.obj_asst_id),
            })
            .collect();
        assert_eq!(
            said,
            [
                "a: its mapping \"2:2\" is unknown to this version of bkassoc",
                "b: the server does not say its models or its mapping",
                "c: the server does not say its models or its mapping",
                "d is known",
                "e is known",
            ]
        );
        for data in ["7", r#"[{"mapping":"n:n"}]"#, r#"["a"]"#, "[null]"] {
            assert_eq!(with_data(data).models(), None, "{data}");
        }
    }

    fn with_data(data: &str) -> Envelope {
        let data = RawValue::from_string(data.to_owned()).unwrap();
        Envelope::new(true, 0, "", data)
    }

    #[test]
    fn codes_that_disagree_say_neither_yes_nor_no() {
        let succeeded = |codes: &str| {
            let body = format!(r#"{{"result":true,{codes},"data":{{"id":5}}}}"#);
            Envelope::parse(body.as_bytes()).unwrap().succeeded()
        };
        assert_eq!(succeeded(r#""code":0,"bk_error_code":0"#), Some(true));
        assert_eq!(succeeded(r#""code":0,"bk_error_code":1199014"#), None);
        assert_eq!(succeeded(r#""code":1199014,"bk_error_code":0"#), None);
    }

    #[test]
    fn a_batch_item_goes_by_one_spelling_of_its_place() {
        let answer = with_data(
            r#"{"success_created":{"1":7,"+1":8,"01":9," 2":10},"error_msg":{"3":"no","+4":"no"}}"#,
        );
        let batch = answer.batch().unwrap();
        assert_eq!(batch.created, HashMap::from([(1, 7)]));
        assert_eq!(batch.refused, HashSet::from([3]));
    }

    #[test]
    fn a_look_up_finds_nothing_that_has_an_id_below_1() {
        let found = |id| {
            with_data(&format!(r#"[{{"id":{id},"bk_inst_id":1,"bk_asst_inst_id":2}}]"#)).found()
        };
        assert_eq!(found(5).map(|found| found.len()), Some(1));
        assert_eq!((found(0), found(-5)), (Some(vec![]), Some(vec![])));
    }
}
