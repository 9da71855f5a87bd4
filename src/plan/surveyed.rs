//! What came of a survey, told line by line: what goes that no row names, then what is to be done for each
//! row.
//!
//! Knows nothing of servers, or of the plan's file.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::comparison::Decision;
use super::desired::{Names, Triple};
use super::gathered::unwritable;
use super::moves::{Moves, Side, Successor};
use super::withheld::Withheld;
use crate::association::{Association, ModelAssociation};
use crate::engine::models::{Knowledge, Models, refusal};
use crate::exit::{Exit, Halt};
use crate::input::shown;
use crate::outcome::Reason;
use crate::storage::plan::Step;
use crate::storage::sort::Sorted;
use crate::storage::survey::Survey;

/// What came of a survey.
pub(crate) struct Surveyed {
    pub(super) names: Names,
    /// Names in order.
    pub(super) ranked: Vec<Arc<str>>,
    pub(super) models: Models,
    pub(super) withheld: Withheld,
    pub(super) moves: Moves,
    pub(super) decisions: Sorted,
    pub(super) doomed: Sorted<Triple>,
    /// What is written down of it; `None` where nothing was listed.
    pub(crate) survey: Option<Survey>,
    pub(super) files: Vec<String>,
    pub(super) folder: PathBuf,
}

/// An association to be deleted that no row names.
pub(crate) struct Doomed {
    /// Its model association.
    pub(crate) name: Arc<str>,
    /// Its source.
    pub(crate) source: u64,
    /// Its target.
    pub(crate) target: u64,
    /// Its id.
    pub(crate) id: i64,
}

impl Surveyed {
    /// What goes that no row names, in the order of names, sources and targets.
    pub(crate) fn next_doomed(&mut self) -> Result<Option<Doomed>, Halt> {
        let unwritable = unwritable(&self.folder);
        for item in self.doomed.by_ref() {
            let ((rank, source, target), bytes) = item.map_err(&unwritable)?;
            let name = Arc::clone(&self.ranked[rank as usize]);
            let Some(number) = self.names.get(&name) else { continue };
            if self.withheld.holds(number) {
                continue;
            }
            let model = known(&mut self.models, &name);
            let model = model.ok_or_else(|| lost_decision(&name))?;
            if self.moves.is_for(number, model.mapping, [source, target]).is_some() {
                continue;
            }
            let id = bytes.first_chunk().map(|id| i64::from_le_bytes(*id));
            let id = id.ok_or_else(|| unwritable(io::ErrorKind::InvalidData.into()))?;
            return Ok(Some(Doomed { name, source, target, id }));
        }
        Ok(None)
    }

    /// What is to be done for the next row that says an association, in input order.
    pub(crate) fn step(&mut self, ordinal: u64, association: &Association) -> Result<Step, Halt> {
        let name = &association.obj_asst_id;
        let knowledge = self.models.look(name);
        if let Some((reason, message)) = refusal(name, knowledge) {
            return Ok(Step::Refuse(reason, message));
        }
        let model = known(&mut self.models, name).ok_or_else(|| lost_decision(name))?;
        let next = self.decisions.next().transpose().map_err(unwritable(&self.folder))?;
        let decision = next.filter(|(of, _)| *of == ordinal);
        let decision = decision.and_then(|(_, bytes)| Decision::of_bytes(&bytes));
        Ok(match decision.ok_or_else(|| lost_decision(name))? {
            Decision::Create => Step::Create,
            Decision::Keep(id) => Step::Keep(id),
            Decision::Absent => Step::Absent,
            Decision::Missing(side) => {
                let (model, id) = match side {
                    Side::Source => (&model.source, association.inst_id),
                    Side::Target => (&model.target, association.asst_inst_id),
                };
                Step::Refuse(
                    missing_on(side),
                    format!(
                        "there is no instance {id} of model {}",
                        shown(&model.escape_debug().to_string())
                    ),
                )
            }
            Decision::Delete(id) => self.delete(association, &model, id),
        })
    }

    fn delete(&self, association: &Association, model: &ModelAssociation, id: Option<i64>) -> Step {
        let number = self.names.get(&association.obj_asst_id).unwrap_or_default();
        let pair = [association.inst_id.get(), association.asst_inst_id.get()];
        match self.moves.is_for(number, model.mapping, pair) {
            None => Step::Delete(id),
            Some(row) => {
                let row = match row {
                    Successor::At(place) => place.among(&self.files),
                    Successor::Unknown => "a row".to_owned(),
                };
                let message = format!(
                    "it would make room for {row}, which can't be created: nothing is deleted"
                );
                Step::Refuse(Reason::Withheld, message)
            }
        }
    }
}

fn lost_decision(name: &str) -> Halt {
    Halt::new(Exit::Bug, format!("a row of {name} was not decided about"))
}

pub(super) fn known(models: &mut Models, name: &Arc<str>) -> Option<Arc<ModelAssociation>> {
    match models.look(name) {
        Knowledge::Known(_, model) => Some(Arc::clone(model)),
        Knowledge::Wanted | Knowledge::Unknown | Knowledge::Unusable(_) => None,
    }
}

pub(super) const fn missing_on(side: Side) -> Reason {
    match side {
        Side::Source => Reason::MissingSource,
        Side::Target => Reason::MissingTarget,
    }
}
