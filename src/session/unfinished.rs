//! What an unfinished run knows so far: outcomes, and what is open of the rows that have none.

use std::iter::Peekable;
use std::path::{Path, PathBuf};

use super::source::{OpenSource, RowSource};
use crate::association::Row;
use crate::clock;
use crate::engine::models::invalidity;
use crate::engine::remaining::{PendingRow, Remaining, known_so_far};
use crate::exit::Halt;
use crate::outcome::{Outcome, Record};
use crate::storage::journal::{
    self,
    replay::{self, Replay},
};
use crate::storage::manifest::{Head, Undone};
use crate::storage::results::{Outcomes, ResultsError};

/// An unfinished run, which may be at work.
pub(crate) struct Unfinished {
    results: PathBuf,
    pub(crate) head: Head,
    pub(crate) outcomes: Outcomes,
    replay: Replay,
}

impl Unfinished {
    /// Reads its journal. `None`: nothing was begun.
    pub(crate) fn read(results: &Path) -> Result<Option<Self>, Halt> {
        let journal = journal::path_for(results);
        // Outcomes first: of a run that is at work meanwhile, a row that is sent now is in doubt at worst.
        let outcomes = Outcomes::of_journal(&journal)?;
        let mut replay = replay::replay(&journal, |_| {})?;
        Ok(replay.head.take().map(|head| Self {
            results: results.to_owned(),
            head,
            outcomes,
            replay,
        }))
    }

    /// By what it is undone.
    pub(crate) const fn undone(&self) -> Option<&Undone> {
        self.replay.undone.as_ref()
    }

    /// The rows that it reads.
    pub(crate) fn rows(&self) -> Result<OpenSource, Halt> {
        RowSource::of_head(&self.head, &self.results)?.open()
    }

    /// A record of each of these rows.
    pub(crate) fn records(
        self,
        rows: OpenSource,
    ) -> impl Iterator<Item = Result<Record, ResultsError>> {
        RecordsSoFar { rows, outcomes: self.outcomes.peekable(), replay: self.replay }
    }
}

/// The outcomes, with rows that have none in between.
struct RecordsSoFar<O: Iterator<Item = Result<Record, ResultsError>>> {
    rows: OpenSource,
    outcomes: Peekable<O>,
    replay: Replay,
}

impl<O: Iterator<Item = Result<Record, ResultsError>>> Iterator for RecordsSoFar<O> {
    type Item = Result<Record, ResultsError>;

    fn next(&mut self) -> Option<Self::Item> {
        let PendingRow { row, remaining } = match self.rows.next() {
            None => return self.outcomes.next(),
            Some(Ok(pending)) => pending,
            Some(Err(error)) => {
                return Some(Err(ResultsError::Unreadable {
                    path: "the input".into(),
                    line: None,
                    what: error.to_string(),
                }));
            }
        };
        let is_of_row = |next: &Result<Record, ResultsError>| {
            next.as_ref().map_or(true, |record| record.ordinal == row.ordinal)
        };
        if let Some(next) = self.outcomes.next_if(is_of_row) {
            let is_another = |record: &Record| (record.file, record.line) != (row.file, row.line);
            return Some(match next {
                Ok(record) if is_another(&record) => Err(another_row(&record, &row)),
                next => next,
            });
        }
        let outcome = match (&row.parsed, &remaining) {
            // Such a row is never sent, and what its cells in the results read like is not what it is.
            (Err(error), Remaining::All(_)) => {
                let (reason, message) = invalidity(&row, error);
                Outcome::bad(reason, message, 0, clock::millis())
            }
            _ => known_so_far(&self.replay, row.ordinal, remaining),
        };
        Some(Ok(Record::of(row, outcome)))
    }
}

/// The input is not the one that was read, or was counted otherwise: no row of it can be told by its
/// ordinal.
fn another_row(record: &Record, row: &Row) -> ResultsError {
    ResultsError::Unreadable {
        path: "the input".into(),
        line: Some(row.line),
        what: format!(
            "when the run read it, the row of this place stood at line {}. Restore the input; or, where \
             rows of blank cells stand above, which version 0.1.0 counted, give this command with that version",
            record.line
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::association::Cells;
    use crate::input::InputOptions;
    use crate::options::Format;
    use crate::outcome::{Reason, Status};
    use crate::session::source::Choice;
    use crate::storage::results;

    #[test]
    fn a_row_that_is_never_sent_is_told_as_that_before_the_run_comes_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let input = folder.path().join("in.csv");
        let rows = "a,1,2,\na,1,2,delete\na,x,2,\n";
        std::fs::write(&input, format!("obj_asst_id,inst_id,asst_inst_id,action\n{rows}")).unwrap();
        let rows = RowSource::inputs(std::slice::from_ref(&input), InputOptions::default());
        let (outcomes, replay) = (std::iter::empty().peekable(), Replay::default());
        let all = RecordsSoFar { rows: rows.open().unwrap(), outcomes, replay };
        let said: Vec<_> = all.map(|record| record.unwrap().outcome).collect();
        assert_eq!(said[0].status, Status::NotAttempted);
        assert_eq!(said[1].reason, Some(Reason::UnsupportedAction));
        assert_eq!((said[2].status, said[2].retryable), (Status::Invalid, false));
    }

    #[test]
    fn rows_that_an_unfinished_rerun_carries_over_keep_what_the_parent_run_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.csv");
        let outcomes = [
            Outcome::good(Status::Created, 7, 1, 1),
            Outcome::bad(Reason::Throttled, String::new(), 1, 1),
            Outcome::bad(Reason::OutcomeUnknown, String::new(), 1, 1),
        ];
        let records = (0..).zip(outcomes).map(|(ordinal, outcome)| {
            let cells = Cells::new(["a", "1", "2", ""]);
            Ok(Record { ordinal, file: 0, line: ordinal + 2, cells, outcome })
        });
        results::write(&path, Format::Csv, results::Layout::default(), records, |_| {}).unwrap();
        let options = InputOptions::default();
        let rows =
            RowSource::Results { path, files: Vec::new(), options, choice: Choice::default() };
        let (outcomes, replay) = (std::iter::empty().peekable(), Replay::default());
        let all = RecordsSoFar { rows: rows.open().unwrap(), outcomes, replay };
        let said: Vec<_> = all.map(|record| record.unwrap().outcome).collect();
        assert_eq!((said[0].status, said[0].association_id), (Status::Created, Some(7)));
        assert_eq!(said[1].status, Status::NotAttempted);
        assert_eq!(said[2].status, Status::InDoubt);
    }
}
