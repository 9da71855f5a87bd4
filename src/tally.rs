//! Counts of a run: what progress and summary show, and what the exit code is made from.
//!
//! Owns the folding of records and calls into numbers; the only home of hdrhistogram. Adding a row or
//! a call allocates nothing, but for the few rows that are shown by name. Knows nothing of texts.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::exit::Exit;
use crate::outcome::{Reason, Record, Status};
pub use crate::pacer::Hold;

/// How many rows of each reason are shown by name.
pub const SHOWN: usize = 5;

/// What a call was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallKind {
    /// To create one row.
    Create,
    /// To look rows up.
    Find,
    /// To ask for model associations.
    Models,
    /// To create many rows.
    Batch,
    /// To delete an association.
    Delete,
    /// To see whether the server is back.
    Probe,
}

impl CallKind {
    /// All of them, in the order in which a summary shows them.
    pub const ALL: [Self; 6] =
        [Self::Create, Self::Batch, Self::Delete, Self::Find, Self::Models, Self::Probe];

    /// The word that summaries show.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Find => "find",
            Self::Models => "models",
            Self::Batch => "batch",
            Self::Delete => "delete",
            Self::Probe => "probe",
        }
    }
}

/// A row by its place in the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// Which input, from 0.
    pub file: u32,
    /// Where it starts there.
    pub line: u64,
}

/// The rows of one reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReasonTally {
    /// How many.
    pub count: u64,
    /// The first in input order, at most [`SHOWN`].
    pub first: Vec<Place>,
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

impl ReasonTally {
    /// Counts a row.
    pub fn add(&mut self, record: &Record) {
        self.count += 1;
        let place = Place { file: record.file, line: record.line };
        if self.first.len() == SHOWN && self.first.last().is_some_and(|last| *last < place) {
            return;
        }
        let at = self.first.partition_point(|other| *other < place);
        self.first.truncate(SHOWN - 1);
        self.first.insert(at, place);
        if at == 0 {
            self.example = Some(Example {
                code: record.outcome.code,
                message: record.outcome.message.clone(),
            });
        }
    }
}

/// Counts of a run.
#[derive(Clone, Debug)]
pub struct Tally {
    statuses: [u64; Status::ALL.len()],
    reasons: Vec<ReasonTally>,
    retryable: u64,
    carried: u64,
    /// Rows that were read and have no outcome: in doubt, or not attempted.
    pub unsettled: u64,
    /// Whether all input was read, so that `unsettled` is all that is left.
    pub input_ended: bool,
    /// Rows of all inputs, where that is known before they are read.
    pub expected: Option<u64>,
    /// Calls and time.
    pub calls: Calls,
    /// How long this process has worked on the run.
    pub elapsed: Duration,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            statuses: [0; Status::ALL.len()],
            reasons: vec![ReasonTally::default(); Reason::ALL.len()],
            retryable: 0,
            carried: 0,
            unsettled: 0,
            input_ended: false,
            expected: None,
            calls: Calls::default(),
            elapsed: Duration::ZERO,
        }
    }
}

impl Tally {
    /// Calls and time of this one, to count the rows anew from what was written.
    #[must_use]
    pub fn without_rows(self) -> Self {
        Self { calls: self.calls, elapsed: self.elapsed, ..Self::default() }
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
    pub fn of_reason(&self, reason: Reason) -> &ReasonTally {
        &self.reasons[reason as usize]
    }

    /// The reasons that occurred, the most frequent first.
    pub fn reasons(&self) -> Vec<(Reason, &ReasonTally)> {
        let mut reasons: Vec<_> = (Reason::ALL.iter())
            .map(|reason| (*reason, self.of_reason(*reason)))
            .filter(|(_, tally)| tally.count > 0)
            .collect();
        reasons.sort_by_key(|(_, tally)| std::cmp::Reverse(tally.count));
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
        self.settled().saturating_sub(self.carried)
    }

    /// Rows that nothing more will be done for: settled ones, and those that a check lets pass.
    pub fn done(&self) -> u64 {
        self.settled() + self.count(Status::NotAttempted)
    }

    /// Rows that this process is done with.
    pub fn done_here(&self) -> u64 {
        self.done().saturating_sub(self.carried)
    }

    /// Rows that ended badly, whatever may become of them.
    pub const fn bad(&self) -> u64 {
        self.count(Status::Failed) + self.count(Status::Invalid)
    }

    /// Rows that ended badly and may well succeed in a rerun.
    pub const fn retryable(&self) -> u64 {
        self.retryable
    }

    /// Rows that were read and have no outcome.
    pub const fn outstanding(&self) -> u64 {
        self.unsettled + self.count(Status::NotAttempted) + self.count(Status::InDoubt)
    }

    /// Rows that were read.
    pub fn rows(&self) -> u64 {
        self.settled() + self.outstanding()
    }

    /// Rows a second, of this process.
    pub fn rows_per_second(&self) -> f64 {
        match self.elapsed.as_secs_f64() {
            0.0 => 0.0,
            seconds => self.done_here() as f64 / seconds,
        }
    }
}

/// How a finished run ends, by its rows alone.
///
/// Rows that a parent run never settled and this one left alone count as retryable.
pub fn exit_of(tally: &Tally) -> Exit {
    let open = tally.count(Status::NotAttempted) + tally.count(Status::InDoubt);
    match tally.bad() {
        0 if open == 0 => Exit::Ok,
        bad if bad == tally.retryable() => Exit::AllRetryable,
        _ => Exit::SomeFailed,
    }
}

const fn is_bad(status: Status) -> bool {
    matches!(status, Status::Failed | Status::Invalid)
}

/// What the calls of this process were, and how they went.
#[derive(Clone, Debug)]
pub struct Calls {
    counts: [u64; CallKind::ALL.len()],
    latency: Histogram<u64>,
    /// What held the pace back.
    pub holds: Held,
    /// Calls made again for a row that had one.
    pub retries: u64,
    /// Answers by which a server refused for its limit.
    pub throttled: u64,
}

/// Latencies are kept to three digits, from a microsecond to ten minutes.
const LONGEST_MICROS: u64 = 600_000_000;

impl Default for Calls {
    fn default() -> Self {
        let latency =
            Histogram::new_with_bounds(1, LONGEST_MICROS, 3).expect("constant bounds are in order");
        Self {
            counts: [0; CallKind::ALL.len()],
            latency,
            holds: Held::default(),
            retries: 0,
            throttled: 0,
        }
    }
}

impl Calls {
    /// Counts a call as it is sent.
    pub const fn sent(&mut self, kind: CallKind) {
        self.counts[kind as usize] += 1;
    }

    /// Counts an answer by how long it took.
    pub fn answered(&mut self, latency: Duration) {
        self.latency.saturating_record(latency.as_micros() as u64);
    }

    /// Counts time in which the pace was held back.
    pub fn held(&mut self, hold: Hold, time: Duration) {
        self.holds.add(hold, time);
    }

    /// Calls of that kind.
    pub const fn count(&self, kind: CallKind) -> u64 {
        self.counts[kind as usize]
    }

    /// All calls.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The time in which that share of the answers arrived, in milliseconds; `None` before any did.
    pub fn latency_ms(&self, share: f64) -> Option<f64> {
        let micros = self.latency.value_at_quantile(share);
        (!self.latency.is_empty()).then_some(micros as f64 / 1_000.0)
    }
}

/// For how long what held the pace back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held([Duration; Hold::ALL.len()]);

impl Held {
    /// Adds time in which this held the pace back.
    pub fn add(&mut self, hold: Hold, time: Duration) {
        self.0[hold as usize] += time;
    }

    /// What came since an earlier moment.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut since = *self;
        for (time, before) in since.0.iter_mut().zip(earlier.0) {
            *time = time.saturating_sub(before);
        }
        since
    }

    /// What held the pace back most of the time, and for which share of it.
    pub fn most(&self) -> Option<(Hold, f64)> {
        let most = Hold::ALL.into_iter().max_by_key(|hold| self.0[*hold as usize])?;
        Some((most, self.share_of(most))).filter(|(_, share)| *share > 0.0)
    }

    /// The share of time for which this held the pace back.
    pub fn share_of(&self, hold: Hold) -> f64 {
        let total: Duration = self.0.iter().sum();
        if total.is_zero() {
            return 0.0;
        }
        self.0[hold as usize].as_secs_f64() / total.as_secs_f64()
    }
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

    fn tally(records: &[Record]) -> Tally {
        let mut tally = Tally::default();
        for record in records {
            tally.add(record);
        }
        tally
    }

    #[test]
    fn the_first_lines_of_a_reason_are_the_first_of_the_input_and_not_of_time() {
        let lines = [9, 3, 8, 2, 7, 6, 1, 5, 4];
        let tally = tally(&lines.map(|line| bad(line, Reason::MissingSource)));
        let reason = tally.of_reason(Reason::MissingSource);
        assert_eq!(reason.count, 9);
        let first: Vec<_> = reason.first.iter().map(|place| place.line).collect();
        assert_eq!(first, [1, 2, 3, 4, 5]);
        assert_eq!(reason.example.as_ref().unwrap().message, "line 1");
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
            assert_eq!(exit_of(&tally(&records)), exit, "{records:?}");
        }
    }

    #[test]
    fn rows_that_are_carried_over_count_but_not_for_the_speed() {
        let mut tally = tally(&[good(2, Status::Created), bad(3, Reason::Rejected)]);
        tally.carry(&good(4, Status::Existed));
        tally.unsettled = 2;
        tally.elapsed = Duration::from_secs(4);
        assert_eq!(tally.settled(), 3);
        assert_eq!(tally.settled_here(), 2);
        assert_eq!((tally.outstanding(), tally.rows()), (2, 5));
        assert!((tally.rows_per_second() - 0.5).abs() < 1e-9);
    }

    #[test]
    fn reasons_come_the_most_frequent_first() {
        use Reason::{Forbidden, Throttled};
        let tally = tally(&[bad(2, Forbidden), bad(3, Throttled), bad(4, Throttled)]);
        let reasons: Vec<_> = tally.reasons().iter().map(|(reason, _)| *reason).collect();
        assert_eq!(reasons, [Throttled, Forbidden]);
    }

    #[test]
    fn every_status_and_reason_has_its_own_place() {
        for status in Status::ALL {
            assert_eq!(tally(&[good(2, status)]).count(status), 1, "{status:?}");
        }
        for reason in Reason::ALL {
            assert_eq!(tally(&[bad(2, *reason)]).of_reason(*reason).count, 1, "{reason:?}");
        }
    }

    #[test]
    fn latencies_are_told_in_milliseconds_once_there_are_any() {
        let mut calls = Calls::default();
        assert_eq!(calls.latency_ms(0.5), None);
        for millis in 1..=100 {
            calls.answered(Duration::from_millis(millis));
        }
        calls.answered(Duration::from_hours(1));
        let near = |share: f64, ms: f64| (calls.latency_ms(share).unwrap() - ms).abs() < ms / 500.0;
        assert!(near(0.5, 51.0) && near(0.9, 91.0), "{:?}", calls.latency_ms(0.5));
    }

    #[test]
    fn what_held_most_of_the_time_is_named_with_its_share() {
        let mut held = Held::default();
        assert_eq!(held.most(), None);
        held.add(Hold::Rate, Duration::from_secs(3));
        held.add(Hold::Outage, Duration::from_secs(1));
        assert_eq!(held.most(), Some((Hold::Rate, 0.75)));
        assert!((held.share_of(Hold::Outage) - 0.25).abs() < 1e-9);
        let earlier = held;
        held.add(Hold::Outage, Duration::from_secs(1));
        assert_eq!(held.since(&earlier).most(), Some((Hold::Outage, 1.0)));
        assert_eq!(held.since(&held).most(), None);
    }
}
