//! The claims of results about the server, gathered into look-ups.

use std::fmt;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::overtaken::Overtaken;
use super::places::Places;
use super::standing::Standing;
use super::{Finding, FindingKind, Spot};
use crate::association::{Action, Association, Mapping, ModelAssociation, NewAssociation};
use crate::cmdb::wire::{Found, Pattern};
use crate::engine::call_size::LOOK_UP;
use crate::engine::stats::Place;
use crate::input;
use crate::outcome::{Outcome, Reason, Status};
use crate::storage::results::ResultsError;
use crate::storage::results::reader::Reader;

/// How many claims may wait until a call is full of claims of their model association.
const MOST_WAITING: usize = 16 * LOOK_UP;

/// What is wrong with a claim.
#[derive(Debug)]
pub(super) struct Contradiction {
    pub(super) kind: FindingKind,
    /// In words.
    pub(super) what: String,
    /// The id under which the server has what the line says is not there.
    pub(super) there_as: Option<i64>,
}

impl Contradiction {
    pub(super) fn new(kind: FindingKind, what: String) -> Self {
        Self { kind, what, there_as: None }
    }
}

/// A line that claims what the server has: an association under an id, or none.
#[derive(Clone, Debug)]
pub struct Claim {
    pub(super) place: Place,
    pub(super) status: Status,
    pub(super) reason: Option<Reason>,
    /// `None` where the line says that it is not there.
    pub(super) id: Option<i64>,
    pub(super) association: Association,
    /// Whether the association, under any id, is what the line claims to be gone; else that id is.
    pub(super) wholly_gone: bool,
}

impl Claim {
    /// What is wrong, if the server has the association under these ids and no others.
    pub(super) fn contradicted_by(&self, ids: &[i64]) -> Option<Contradiction> {
        let off =
            |kind, says: String| Some(Contradiction::new(kind, format!("{self}, and {says}")));
        let Some(id) = self.id else {
            let id = *ids.iter().min()?;
            if self.status == Status::Absent {
                let says = format!("the server has it as {id}: it was created since");
                return off(FindingKind::NotDeleted, says);
            }
            return Some(Contradiction { there_as: Some(id), ..self.unexpected(id) });
        };
        match (self.status, ids) {
            (Status::Deleted, _) if ids.contains(&id) => {
                off(FindingKind::NotDeleted, "the server has it".to_owned())
            }
            (Status::Deleted, [other, ..]) if self.wholly_gone => off(
                FindingKind::NotDeleted,
                format!(
                    "the server has it as {other}: it was created since, or it stood there twice"
                ),
            ),
            (Status::Deleted, _) => None,
            _ if ids.contains(&id) => None,
            (_, []) => off(FindingKind::Missing, "the server does not have it".to_owned()),
            (_, [other, ..]) => {
                off(FindingKind::Different, format!("the server has it as {other}"))
            }
        }
    }

    /// That a row which failed is there. Only its reason tells how that may have come.
    fn unexpected(&self, id: i64) -> Contradiction {
        let why = match self.reason {
            Some(Reason::OutcomeUnknown) => "its create was executed, or it was created since",
            _ => "it was created since, or the line was changed",
        };
        let choice = match self.reason {
            Some(reason) if reason.retryable() => String::new(),
            Some(reason) => format!(" --reason {}", reason.as_str()),
            None => format!(" --status {}", self.status.as_str()),
        };
        let what =
            format!("{self}, and the server has it as {id}: {why}. `rerun{choice}` settles it");
        Contradiction::new(FindingKind::Exists, what)
    }

    /// What has to be asked for: the association, and whatever else is on a side that a rule bounds, where
    /// the line says that the association is there.
    pub(super) fn patterns(&self, rule: Mapping) -> [Option<Pattern>; 2] {
        let (source, target) = (self.association.inst_id, self.association.asst_inst_id);
        match rule {
            Mapping::OneToOne if self.is_there() => {
                [Some(Pattern::Source(source)), Some(Pattern::Target(target))]
            }
            Mapping::OneToMany if self.is_there() => [Some(Pattern::Target(target)), None],
            _ => [Some(Pattern::Pair(source, target)), None],
        }
    }

    /// Whether the line says that the server has the association.
    fn is_there(&self) -> bool {
        self.id.is_some() && self.status != Status::Deleted
    }

    /// That others stand on its side, against the rule.
    pub(super) fn broken_by(&self, standing: &Standing, rule: Mapping) -> Option<Contradiction> {
        if !self.is_there() || standing.ids(&self.association).is_empty() {
            return None;
        }
        let beside = standing.beside(&self.association, rule);
        let Found { id, bk_inst_id, bk_asst_inst_id, .. } = beside.first()?;
        let more = match beside.len() - 1 {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let what = format!(
            "{self}, and the server has {id} ({bk_inst_id} -> {bk_asst_inst_id}){more} beside it, against \
             the {} rule: delete what is wrong",
            rule.as_str()
        );
        Some(Contradiction::new(FindingKind::RuleBroken, what))
    }

    /// That the server has it under this id, and does not have it through its target model.
    pub(super) fn half(&self, id: i64, model: &ModelAssociation) -> Contradiction {
        let (source, target) = (&model.source, &model.target);
        let what = format!(
            "{self}, and {id} is found through {source} only, not through {target}: delete {id} through \
             {source}, then import the row again, singly"
        );
        Contradiction::new(FindingKind::HalfWritten, what)
    }

    pub(super) fn finding(&self, off: Contradiction) -> Finding {
        Finding { kind: off.kind, spot: Spot::Row(self.place), what: off.what }
    }
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.association, self.status.as_str())?;
        match (self.id, self.reason) {
            (Some(id), _) => write!(f, " as {id}"),
            (None, Some(reason)) => write!(f, " for {}", reason.as_str()),
            (None, None) => Ok(()),
        }
    }
}

/// The claims of a results file, gathered by model association into calls.
pub struct Claims {
    reader: Reader,
    places: Places,
    files: Vec<String>,
    of_undo: bool,
    overtaken: Overtaken,
    cells: input::RowParser,
    waiting: FxHashMap<Arc<str>, Vec<Claim>>,
    count: usize,
}

impl Claims {
    /// Reads a file whose lines were all verified before. `files` are the inputs that it names. What could not
    /// be deleted claims nothing, and neither does a line that a later one overtakes.
    pub fn new(reader: Reader, files: Vec<String>, of_undo: bool, overtaken: Overtaken) -> Self {
        Self {
            reader,
            places: Places::new(true),
            files,
            of_undo,
            overtaken,
            cells: input::RowParser::new(None, false),
            waiting: FxHashMap::default(),
            count: 0,
        }
    }

    /// The next claim. Lines without a claim, or that can't be read, were findings before.
    fn next_claim(&mut self) -> Option<Result<Claim, ResultsError>> {
        loop {
            let record = match self.reader.next()? {
                Ok(record) => record,
                Err(error) if error.is_of_a_line() => continue,
                Err(error) => return Some(Err(error)),
            };
            let name = self.reader.files().get(record.file as usize).map(String::as_str);
            let (place, _) = self.places.next(&mut self.files, name, record.line);
            let is_overtaken = match self.overtaken.has(record.ordinal) {
                Ok(is_overtaken) => is_overtaken,
                Err(error) => {
                    let path = std::env::temp_dir();
                    return Some(Err(ResultsError::Unwritable { path, error }));
                }
            };
            let action = record.cells.action();
            let Outcome { status, reason, association_id, .. } = record.outcome;
            // Of what was deleted, the id is gone for good.
            if is_overtaken && status != Status::Deleted {
                continue;
            }
            let wholly_gone = action == Action::Delete && !is_overtaken;
            let id = association_id.filter(|id| *id > 0 && status.is_good());
            if (id.is_some() || self.is_absent(status, reason, action))
                && let Ok(NewAssociation { association, .. }) =
                    self.cells.read(record.cells.ids()).1
            {
                return Some(Ok(Claim { place, status, reason, id, association, wholly_gone }));
            }
        }
    }

    /// Whether a line says that the server does not have it. The business topology's associations are
    /// there, and refused all the same.
    fn is_absent(&self, status: Status, reason: Option<Reason>, action: Action) -> bool {
        if status == Status::Absent {
            return !self.of_undo;
        }
        !self.of_undo
            && action == Action::Create
            && matches!(status, Status::Failed | Status::Invalid)
            && !matches!(
                reason,
                Some(Reason::MainlineAssociation | Reason::NotFound | Reason::NotTheSame)
            )
    }

    fn release(&mut self, name: &Arc<str>) -> Option<Vec<Claim>> {
        let claims = self.waiting.remove(name)?;
        self.count -= claims.len();
        Some(claims)
    }

    fn release_most(&mut self) -> Option<Vec<Claim>> {
        let (name, _) = self.waiting.iter().max_by_key(|(_, claims)| claims.len())?;
        let name = Arc::clone(name);
        self.release(&name)
    }
}

/// Gives claims of one model association, as many as go into a call.
impl Iterator for Claims {
    type Item = Result<Vec<Claim>, ResultsError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let claim = match self.next_claim() {
                None => return self.release_most().map(Ok),
                Some(Err(error)) => return Some(Err(error)),
                Some(Ok(claim)) => claim,
            };
            let name = Arc::clone(&claim.association.obj_asst_id);
            let claims = self.waiting.entry(Arc::clone(&name)).or_default();
            claims.push(claim);
            let is_full = claims.len() == LOOK_UP;
            self.count += 1;
            if is_full {
                return self.release(&name).map(Ok);
            }
            if self.count >= MOST_WAITING {
                return self.release_most().map(Ok);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::association::Cells;
    use crate::options::Format;
    use crate::outcome::Record;
    use crate::storage::results;

    #[test]
    fn rows_of_many_model_associations_are_gathered_within_bounds() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.results.csv");
        let records = (0..20_000u64).map(|ordinal| {
            let (name, target) = (format!("m{}", ordinal % 200), (ordinal + 1).to_string());
            Ok(Record {
                ordinal,
                file: 0,
                line: ordinal + 2,
                cells: Cells::new([&name, "1", &target, ""]),
                outcome: Outcome::good(Status::Existed, 1, 1, 0),
            })
        });
        results::write(&path, Format::Csv, results::Layout::default(), records, |_| {}).unwrap();
        let mut claims =
            Claims::new(Reader::open(&path, &[]).unwrap(), Vec::new(), false, Overtaken::default());
        let mut asked = 0;
        while let Some(batch) = claims.next() {
            asked += batch.unwrap().len();
            assert!(claims.count < MOST_WAITING);
            assert_eq!(claims.count, claims.waiting.values().map(Vec::len).sum::<usize>());
        }
        assert_eq!(asked, 20_000);
    }
}
