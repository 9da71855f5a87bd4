//! Writes down what becomes of rows, and counts it: first the journal, then the counts.
//!
//! Owns `--max-failures`. Knows nothing of calls.

use std::io;

use crate::association::Row;
use crate::engine::stats::RunStats;
use crate::exit::{Exit, Halt};
use crate::options::MaxFailures;
use crate::outcome::{Outcome, Record, Status};
use crate::storage::journal::{Journal, JournalError};

/// Where outcomes go.
pub struct Recorder<'a> {
    /// The journal of the run.
    pub journal: &'a mut Journal,
    /// The counts of the run.
    pub stats: &'a mut RunStats,
    /// Sees every record as it is written down.
    each: &'a mut dyn FnMut(&Record) -> io::Result<()>,
    /// Why one of them could not be seen.
    unseen: Option<io::Error>,
    /// Milliseconds since 1970: the wall clock.
    clock: fn() -> i64,
    max_failures: Option<MaxFailures>,
    settled: u64,
    failed: u64,
}

impl<'a> Recorder<'a> {
    /// Nothing is written yet.
    pub fn new(
        journal: &'a mut Journal,
        stats: &'a mut RunStats,
        each: &'a mut dyn FnMut(&Record) -> io::Result<()>,
        clock: fn() -> i64,
        max_failures: Option<MaxFailures>,
    ) -> Self {
        Self { journal, stats, each, unseen: None, clock, max_failures, settled: 0, failed: 0 }
    }

    /// A row has ended. The end of the run, where too many failed.
    pub fn settle(&mut self, row: Row, mut outcome: Outcome) -> Option<Halt> {
        outcome.finished_at = (self.clock)();
        let record = Record::of(row, outcome);
        self.write(&record);
        self.stats.add(&record);
        self.settled += 1;
        self.failed += u64::from(record.outcome.status == Status::Failed);
        let (failed, settled) = (self.failed, self.settled);
        self.max_failures.filter(|most| most.reached(failed, settled)).map(|_| Halt {
            exit: Exit::MaxFailures,
            message: format!("--max-failures: {failed} of {settled} rows failed"),
        })
    }

    /// A row that a parent run settled is written down as it stands. It says nothing about this run.
    pub fn carry(&mut self, row: Row, outcome: Outcome) {
        let record = Record::of(row, outcome);
        self.write(&record);
        self.stats.carry(&record);
    }

    /// Ends the run where a record could not be shown to who reads them as they come.
    pub fn refuse_unseen(&mut self) -> Result<(), JournalError> {
        self.unseen.take().map_or(Ok(()), |error| Err(JournalError::Unseen(error)))
    }

    fn write(&mut self, record: &Record) {
        self.journal.outcome(record);
        if let Err(error) = (self.each)(record) {
            self.unseen.get_or_insert(error);
        }
        let unsettled = self.stats.unsettled.checked_sub(1);
        self.stats.unsettled =
            unsettled.expect("a row is counted when it is read, and settled once");
    }
}

impl std::fmt::Debug for Recorder<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder").field("settled", &self.settled).finish_non_exhaustive()
    }
}
