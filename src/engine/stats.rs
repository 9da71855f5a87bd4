//! Counts of a run: what progress and summary show, and what the exit code is made from.
//!
//! Owns the folding of records and calls into numbers. Adding a row or a call allocates nothing, but
//! for the few rows that are shown by name. Knows nothing of texts.

mod calls;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::association::Action;
pub use crate::engine::pacer::Bottleneck;
use crate::exit::Exit;
use crate::outcome::{Reason, Record, Status};
pub use calls::{BottleneckTimes, CallKind, Calls};

const CARRIED_ARE_SETTLED: &str = "rows that are carried over are settled";

/// How many rows of each reason are shown by name.
pub const SHOWN: usize = 5;

/// A row by its place in the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// Which input, from 0.
    pub file: u32,
    /// Where it starts there.
    pub line: u64,
}

impl Place {
    /// Where that is, for a person; `files` are the inputs' names, in order, and empty for a single one.
    pub fn among(self, files: &[String]) -> String {
        match files.get(self.file as usize) {
            Some(file) => format!("{file}, line {}", self.line),
            None => format!("line {}", self.line),
        }
    }
}

/// The rows of one reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReasonStats {
    /// How many.
    pub count: u64,
    /// The first in input order, at most [`SHOWN`].
    pub first: Vec<Place>,
    /// What those are that have no place in the input; at most [`SHOWN`].
    pub added: Vec<String>,
    /// What the server, or we, said of the very first.
    pub example: Option<Example>,
}

/// What was said of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// The server's number.
    pub code: Option<i64>,
    /// The text.
    pub message: String,
}

impl ReasonStats {
    /// Counts a row.
    pub fn add(&mut self, record: &Record) {
        self.count += 1;
        if record.line == 0 {
            if self.added.is_empty() && self.first.is_empty() {
                self.example = Some(Example::of(record));
            }
            if self.added.len() < SHOWN {
                self.added.push(record.cells.triple());
            }
            return;
        }
        let place = Place { file: record.file, line: record.line };
        if self.first.len() == SHOWN && self.first.last().is_some_and(|last| *last < place) {
            return;
        }
        let at = self.first.partition_point(|other| *other < place);
        self.first.truncate(SHOWN - 1);
        self.first.insert(at, place);
        if at == 0 {
            self.example = Some(Example::of(record));
        }
    }
}

impl Example {
    fn of(record: &Record) -> Self {
        Self { code: record.outcome.code, message: record.outcome.message.clone() }
    }
}

/// Counts of a run.
#[derive(Clone, Debug)]
pub struct RunStats {
    statuses: [u64; Status::ALL.len()],
    reasons: Vec<ReasonStats>,
    retryable: u64,
    failed_deletes: u64,
    carried: u64,
    /// Rows that were read and have no outcome: in doubt, or not attempted.
    pub unsettled: u64,
    /// Rows of blank cells in all inputs, which are no rows; known once all input was read.
    pub blank_rows: u64,
    /// Whether all input was read, so that `unsettled` is all that is left.
    pub input_ended: bool,
    /// Rows of all inputs, where that is known before they are read.
    pub expected: Option<u64>,
    /// Calls and time.
    pub calls: Calls,
    /// How long this process has worked on the run.
    pub elapsed: Duration,
    /// How long it planned before.
    pub planning: Duration,
}

impl Default for RunStats {
    fn default() -> Self {
        Self {
            statuses: [0; Status::ALL.len()],
            reasons: vec![ReasonStats::default(); Reason::ALL.len()],
            retryable: 0,
            failed_deletes: 0,
            carried: 0,
            unsettled: 0,
            blank_rows: 0,
            input_ended: false,
            expected: None,
            calls: Calls::default(),
            elapsed: Duration::ZERO,
            planning: Duration::ZERO,
        }
    }
}

impl RunStats {
    /// Calls and time of this one, to count the rows anew from what was written.
    #[must_use]
    pub fn without_rows(self) -> Self {
        Self {
            calls: self.calls,
            elapsed: self.elapsed,
            planning: self.planning,
            blank_rows: self.blank_rows,
            ..Self::default()
        }
    }

    /// Counts a row that this process settled.
    pub fn add(&mut self, record: &Record) {
        let outcome = &record.outcome;
        self.statuses[outcome.status as usize] += 1;
        if let Some(reason) = outcome.reason {
            self.reasons[reason as usize].add(record);
        }
        if is_bad(outcome.status) && outcome.retryable {
            self.retryable += 1;
        }
        let is_delete = || record.cells.action() == Action::Delete;
        if outcome.status == Status::Failed && record.line > 0 && is_delete() {
            self.failed_deletes += 1;
        }
    }

    /// Counts a row that was settled before: by an earlier process, or by the run whose results are
    /// settled again.
    pub fn carry(&mut self, record: &Record) {
        self.add(record);
        self.carried += 1;
    }

    /// Rows that ended so.
    pub const fn count(&self, status: Status) -> u64 {
        self.statuses[status as usize]
    }

    /// Rows of that reason.
    pub fn of_reason(&self, reason: Reason) -> &ReasonStats {
        &self.reasons[reason as usize]
    }

    /// The reasons that occurred, the most frequent first.
    pub fn reasons(&self) -> Vec<(Reason, &ReasonStats)> {
        let mut reasons: Vec<_> = (Reason::ALL.iter())
            .map(|reason| (*reason, self.of_reason(*reason)))
            .filter(|(_, stats)| stats.count > 0)
            .collect();
        reasons.sort_by_key(|(_, stats)| std::cmp::Reverse(stats.count));
        reasons
    }

    /// Rows with an outcome.
    pub fn settled(&self) -> u64 {
        let unsettled = [Status::NotAttempted, Status::InDoubt];
        let count = |status: &Status| self.count(*status);
        Status::ALL.iter().map(count).sum::<u64>() - unsettled.iter().map(count).sum::<u64>()
    }

    /// Rows that this process settled.
    pub fn settled_here(&self) -> u64 {
        self.settled().checked_sub(self.carried).expect(CARRIED_ARE_SETTLED)
    }

    /// Rows that nothing more will be done for: settled ones, and those that a check lets pass.
    pub fn done(&self) -> u64 {
        self.settled() + self.count(Status::NotAttempted)
    }

    /// Rows that this process is done with.
    pub fn done_here(&self) -> u64 {
        self.done().checked_sub(self.carried).expect(CARRIED_ARE_SETTLED)
    }

    /// Rows that ended badly, whatever may become of them.
    pub const fn bad(&self) -> u64 {
        self.count(Status::Failed) + self.count(Status::Invalid)
    }

    /// Rows that ended badly and may well succeed in a rerun.
    pub const fn retryable(&self) -> u64 {
        self.retryable
    }

    /// Rows of the input that were to be deleted and failed, which a rerun takes only if it may delete.
    pub const fn failed_deletes(&self) -> u64 {
        self.failed_deletes
    }

    /// Rows that were read and have no outcome.
    pub const fn outstanding(&self) -> u64 {
        self.unsettled + self.count(Status::NotAttempted) + self.count(Status::InDoubt)
    }

    /// Rows that were read.
    pub fn rows(&self) -> u64 {
        self.settled() + self.outstanding()
    }

    /// How long this process took, planning and all.
    pub fn took(&self) -> Duration {
        self.planning + self.elapsed
    }

    /// Rows a second, of this process.
    pub fn rows_per_second(&self) -> f64 {
        match self.took().as_secs_f64() {
            0.0 => 0.0,
            seconds => self.done_here() as f64 / seconds,
        }
    }
}

/// How a finished run ends, by its rows alone.
///
/// Rows that a parent run never settled and this one left alone count as retryable.
pub fn exit_of(stats: &RunStats) -> Exit {
    let open = stats.count(Status::NotAttempted) + stats.count(Status::InDoubt);
    match stats.bad() {
        0 if open == 0 => Exit::Ok,
        bad if bad == stats.retryable() => Exit::AllRetryable,
        _ => Exit::SomeFailed,
    }
}

const fn is_bad(status: Status) -> bool {
    matches!(status, Status::Failed | Status::Invalid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::association::Cells;
    use crate::outcome::Outcome;

    fn record(line: u64, outcome: Outcome) -> Record {
        Record { ordinal: line, file: 0, line, cells: Cells::default(), outcome }
    }

    fn good(line: u64, status: Status) -> Record {
        record(line, Outcome::good(status, 1, 1, 0))
    }

    fn bad(line: u64, reason: Reason) -> Record {
        record(line, Outcome::bad(reason, format!("line {line}"), 1, 0))
    }

    fn stats(records: &[Record]) -> RunStats {
        let mut stats = RunStats::default();
        for record in records {
            stats.add(record);
        }
        stats
    }

    #[test]
    fn the_first_lines_of_a_reason_are_the_first_of_the_input_and_not_of_time() {
        let lines = [9, 3, 8, 2, 7, 6, 1, 5, 4];
        let stats = stats(&lines.map(|line| bad(line, Reason::MissingSource)));
        let reason = stats.of_reason(Reason::MissingSource);
        assert_eq!(reason.count, 9);
        let first: Vec<_> = reason.first.iter().map(|place| place.line).collect();
        assert_eq!(first, [1, 2, 3, 4, 5]);
        assert_eq!(reason.example.as_ref().unwrap().message, "line 1");
    }

    #[test]
    fn a_row_that_no_input_has_is_shown_by_what_it_is() {
        let added = Record { cells: Cells::new(["a", "1", "2", ""]), ..bad(0, Reason::Throttled) };
        let stats = stats(&[added, bad(7, Reason::Throttled)]);
        let reason = stats.of_reason(Reason::Throttled);
        assert_eq!((reason.count, &reason.added[..]), (2, &["a 1 -> 2".to_owned()][..]));
        assert_eq!(reason.first, [Place { file: 0, line: 7 }]);
        assert!(reason.example.is_some());
    }

    #[test]
    fn the_exit_code_follows_from_the_rows() {
        use Reason::{InvalidRow, Rejected, Throttled};
        let created = good(2, Status::Created);
        for (records, exit) in [
            (vec![], Exit::Ok),
            (vec![created.clone()], Exit::Ok),
            (vec![bad(3, Throttled)], Exit::AllRetryable),
            (vec![bad(3, Rejected)], Exit::SomeFailed),
            (vec![bad(3, Throttled), bad(4, InvalidRow)], Exit::SomeFailed),
            (vec![created, bad(3, Throttled)], Exit::AllRetryable),
        ] {
            assert_eq!(exit_of(&stats(&records)), exit, "{records:?}");
        }
    }

    #[test]
    fn rows_that_are_carried_over_count_but_not_for_the_speed() {
        let mut stats = stats(&[good(2, Status::Created), bad(3, Reason::Rejected)]);
        stats.carry(&good(4, Status::Existed));
        stats.unsettled = 2;
        stats.elapsed = Duration::from_secs(4);
        assert_eq!(stats.settled(), 3);
        assert_eq!(stats.settled_here(), 2);
        assert_eq!((stats.outstanding(), stats.rows()), (2, 5));
        assert!((stats.rows_per_second() - 0.5).abs() < 1e-9);
    }

    #[test]
    fn reasons_come_the_most_frequent_first() {
        use Reason::{Forbidden, Throttled};
        let stats = stats(&[bad(2, Forbidden), bad(3, Throttled), bad(4, Throttled)]);
        let reasons: Vec<_> = stats.reasons().iter().map(|(reason, _)| *reason).collect();
        assert_eq!(reasons, [Throttled, Forbidden]);
    }

    #[test]
    fn every_status_and_reason_has_its_own_place() {
        for status in Status::ALL {
            assert_eq!(stats(&[good(2, status)]).count(status), 1, "{status:?}");
        }
        for reason in Reason::ALL {
            assert_eq!(stats(&[bad(2, *reason)]).of_reason(*reason).count, 1, "{reason:?}");
        }
    }
}
