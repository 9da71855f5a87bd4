//! Counts of calls, and how long they took: the only home of hdrhistogram.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::engine::abilities::Abilities;
use crate::engine::pacer::Bottleneck;

/// What a call was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallKind {
    /// To create one row.
    Create,
    /// To look rows up.
    Find,
    /// To ask for model associations.
    Models,
    /// To ask which instances names mean, and which properties models have.
    Names,
    /// To create many rows.
    Batch,
    /// To ask which associations there are.
    List,
    /// To delete an association.
    Delete,
    /// To see whether the server is back, or a call is there.
    Probe,
    /// To ask the audit log who created an association.
    Audit,
}

impl CallKind {
    /// All of them, in the order in which a summary shows them.
    pub const ALL: [Self; 9] = [
        Self::Create,
        Self::Batch,
        Self::Delete,
        Self::Find,
        Self::Models,
        Self::Names,
        Self::List,
        Self::Probe,
        Self::Audit,
    ];

    /// The word that summaries show.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Find => "find",
            Self::Models => "models",
            Self::Names => "names",
            Self::Batch => "batch",
            Self::List => "list",
            Self::Delete => "delete",
            Self::Probe => "probe",
            Self::Audit => "audit",
        }
    }
}

/// What the calls of this process were, and how they went.
#[derive(Clone, Debug)]
pub struct Calls {
    counts: [u64; CallKind::ALL.len()],
    latency: Histogram<u64>,
    /// How long all answers together took.
    answering: Duration,
    /// Calls that are not answered yet, as the run last said.
    pub in_flight: usize,
    /// What held the pace back.
    pub holds: BottleneckTimes,
    /// Calls made again: for a row that had one, or for a question that got no answer.
    pub retries: u64,
    /// Answers by which a server refused for its limit.
    pub throttled: u64,
    /// Deletes whose answers say that they were not executed.
    pub refused_deletes: u64,
    /// Whether the server said that it has no call that deletes.
    pub lacks_delete: bool,
    /// What they showed of the server.
    pub abilities: Abilities,
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
            answering: Duration::ZERO,
            in_flight: 0,
            holds: BottleneckTimes::default(),
            retries: 0,
            throttled: 0,
            refused_deletes: 0,
            lacks_delete: false,
            abilities: Abilities::default(),
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
        self.answering += latency;
    }

    /// Counts time in which the pace was held back.
    pub fn held(&mut self, hold: Bottleneck, time: Duration) {
        self.holds.add(hold, time);
    }

    /// Counts in the calls that were made before those of the run: how many, and not how fast.
    pub fn count_in(&mut self, before: &Self) {
        for (count, before) in self.counts.iter_mut().zip(before.counts) {
            *count += before;
        }
        self.retries += before.retries;
        self.throttled += before.throttled;
        self.abilities.take_in(&before.abilities);
    }

    /// Calls of that kind.
    pub const fn count(&self, kind: CallKind) -> u64 {
        self.counts[kind as usize]
    }

    /// All calls.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Answers, and how long they took together.
    pub fn answers(&self) -> (u64, Duration) {
        (self.latency.len(), self.answering)
    }

    /// How many answers took no longer than each of these times, which ascend, and longer than the one
    /// before it; those that took longer than the last are left out.
    pub fn answered_within<const N: usize>(&self, limits: [Duration; N]) -> [u64; N] {
        let mut counts = [0; N];
        for value in self.latency.iter_recorded() {
            let micros = self.latency.lowest_equivalent(value.value_iterated_to());
            let place = limits.partition_point(|limit| limit.as_micros() < u128::from(micros));
            if let Some(count) = counts.get_mut(place) {
                *count += value.count_since_last_iteration();
            }
        }
        counts
    }

    /// The time in which nearly all answers arrived; `None` before any did.
    pub fn usual_latency(&self) -> Option<Duration> {
        self.latency_ms(0.99).map(|ms| Duration::from_secs_f64(ms / 1_000.0))
    }

    /// The time in which that share of the answers arrived, in milliseconds; `None` before any did.
    pub fn latency_ms(&self, share: f64) -> Option<f64> {
        let micros = self.latency.value_at_quantile(share);
        (!self.latency.is_empty()).then_some(micros as f64 / 1_000.0)
    }
}

/// For how long what held the pace back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BottleneckTimes([Duration; Bottleneck::ALL.len()]);

impl BottleneckTimes {
    /// Adds time in which this held the pace back.
    pub fn add(&mut self, hold: Bottleneck, time: Duration) {
        self.0[hold as usize] += time;
    }

    /// For how long this held the pace back.
    pub const fn of(&self, hold: Bottleneck) -> Duration {
        self.0[hold as usize]
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
    pub fn most(&self) -> Option<(Bottleneck, f64)> {
        let most = Bottleneck::ALL.into_iter().max_by_key(|hold| self.0[*hold as usize])?;
        Some((most, self.share_of(most))).filter(|(_, share)| *share > 0.0)
    }

    /// The share of time for which this held the pace back.
    pub fn share_of(&self, hold: Bottleneck) -> f64 {
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
    fn answers_are_counted_by_how_long_they_took() {
        let mut calls = Calls::default();
        for millis in [1, 99, 100, 101, 250, 900] {
            calls.answered(Duration::from_millis(millis));
        }
        let counts = calls.answered_within([50, 100, 250, 500].map(Duration::from_millis));
        assert_eq!(counts, [1, 2, 2, 0]);
        assert_eq!(calls.answers(), (6, Duration::from_millis(1451)));
    }

    #[test]
    fn what_held_most_of_the_time_is_named_with_its_share() {
        let mut held = BottleneckTimes::default();
        assert_eq!(held.most(), None);
        held.add(Bottleneck::Rate, Duration::from_secs(3));
        held.add(Bottleneck::Outage, Duration::from_secs(1));
        assert_eq!(held.most(), Some((Bottleneck::Rate, 0.75)));
        assert!((held.share_of(Bottleneck::Outage) - 0.25).abs() < 1e-9);
        let earlier = held;
        held.add(Bottleneck::Outage, Duration::from_secs(1));
        assert_eq!(held.since(&earlier).most(), Some((Bottleneck::Outage, 1.0)));
        assert_eq!(held.since(&held).most(), None);
    }
}
