//! What a run created, by its results or its journal, for an undo; and what it deleted itself.

use std::path::{Path, PathBuf};

use rustc_hash::FxHashSet;

use crate::association::Row;
use crate::engine::remaining::{Goal, PendingRow, Remaining};
use crate::input::RowParser;
use crate::outcome::{Outcome, Record, Status};
use crate::storage::results::{self, Outcomes, ResultsError};

type Records = Box<dyn Iterator<Item = Result<Record, ResultsError>> + Send>;

pub(crate) struct Created {
    pub(super) path: PathBuf,
    records: Records,
    /// The ids that the run deleted itself, of what it had created.
    gone: FxHashSet<i64>,
    cells: RowParser,
    include_recovered: bool,
    count: u64,
}

/// The records of a results file, or of a journal as far as it goes.
fn records_at(path: &Path, files: &[String]) -> Result<Records, ResultsError> {
    if path.extension().is_some_and(|ending| ending == "journal") {
        return Ok(Box::new(Outcomes::of_journal(path)?));
    }
    Ok(Box::new(results::reader::Reader::open(path, files)?))
}

/// What a run deleted.
#[derive(Default)]
pub(crate) struct Deletes {
    /// The ids of what it had created itself.
    of_created: FxHashSet<i64>,
    /// How many others, which no undo brings back.
    pub(crate) of_others: u64,
}

/// What a run deleted, by its results or its journal.
pub(crate) fn deletes_of(path: &Path, files: &[String]) -> Result<Deletes, ResultsError> {
    let is_journal = path.extension().is_some_and(|ending| ending == "journal");
    if !is_journal && !results::reader::Reader::open(path, files)?.says_more_than_ids() {
        return Ok(Deletes::default());
    }
    let records = || records_at(path, files).map(|records| records.map_while(Result::ok));
    let is = |record: &Record, statuses: &[Status]| statuses.contains(&record.outcome.status);
    // Ids ascend: what has a smaller one than all that the run created was there before, and need not be
    // remembered.
    let created = records()?.filter(|record| is(record, &[Status::Created, Status::Recovered]));
    let first = created.filter_map(|record| record.outcome.association_id).min();
    let mut deletes = Deletes::default();
    let mut later = FxHashSet::default();
    for record in records()?.filter(|record| is(record, &[Status::Deleted])) {
        deletes.of_others += 1;
        later.extend(
            record.outcome.association_id.filter(|id| first.is_some_and(|first| *id >= first)),
        );
    }
    if !later.is_empty() {
        for record in records()?.filter(|record| is(record, &[Status::Created, Status::Recovered]))
        {
            deletes
                .of_created
                .extend(record.outcome.association_id.filter(|id| later.contains(id)));
        }
        deletes.of_others -= deletes.of_created.len() as u64;
    }
    Ok(deletes)
}

impl Created {
    /// Opens results, or a journal.
    pub(super) fn at(
        path: &Path,
        files: &[String],
        include_recovered: bool,
    ) -> Result<Self, ResultsError> {
        Ok(Self {
            path: path.to_owned(),
            records: records_at(path, files)?,
            gone: deletes_of(path, files)?.of_created,
            cells: RowParser::new(None, false),
            include_recovered,
            count: 0,
        })
    }

    pub(super) fn next(&mut self) -> Option<Result<PendingRow, ResultsError>> {
        loop {
            let Record { file, line, cells, outcome, .. } = match self.records.next()? {
                Ok(record) => record,
                Err(error) => return Some(Err(error)),
            };
            let Some(id) = self.deletes(&outcome) else { continue };
            let (_, parsed) = self.cells.read(cells.ids());
            let row = Row { ordinal: self.count, file, line, cells, parsed };
            self.count += 1;
            return Some(Ok(PendingRow { row, remaining: Remaining::All(Goal::Undo { id }) }));
        }
    }

    fn deletes(&self, outcome: &Outcome) -> Option<i64> {
        let taken = outcome.status == Status::Created
            || (self.include_recovered && outcome.status == Status::Recovered);
        outcome.association_id.filter(|id| taken && !self.gone.contains(id))
    }
}
