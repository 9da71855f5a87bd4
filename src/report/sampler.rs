//! A run's history while it is made: a few hundred samples, whatever its length.
//!
//! Knows nothing of where it is kept.

use std::time::Duration;

use tokio::time::Instant;

use crate::engine::stats::{Bottleneck, CallKind, RunStats};
use crate::storage::history::{History, Latency};

/// What a sample spans at first.
const FIRST: Duration = Duration::from_millis(250);
/// How many samples there are at most.
const MOST: usize = 600;
/// The upper ends of the ranges of latencies, in milliseconds.
const LIMITS_MS: [u64; 16] =
    [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 40_000, 80_000];

/// Takes samples. When there are too many, each two become one.
#[derive(Debug)]
pub struct Sampler {
    began: Instant,
    every: Duration,
    /// When the sample under way ends.
    ends: Instant,
    rows: Vec<u64>,
    in_flight: Vec<u64>,
    /// Rows settled by the end of the last sample.
    rows_before: u64,
    /// When the run was looked at last, and how many rows were settled then.
    seen: (Instant, u64),
    /// The most calls in flight in the sample under way.
    most_in_flight: u64,
}

impl Sampler {
    /// Begins now.
    pub fn start() -> Self {
        let began = Instant::now();
        Self {
            began,
            every: FIRST,
            ends: began + FIRST,
            rows: Vec::new(),
            in_flight: Vec::new(),
            rows_before: 0,
            seen: (began, 0),
            most_in_flight: 0,
        }
    }

    /// Sees how the run stands.
    pub fn see(&mut self, stats: &RunStats) {
        self.most_in_flight = self.most_in_flight.max(stats.calls.in_flight as u64);
        let (now, rows) = (Instant::now(), stats.settled_here());
        let (seen_at, seen) = self.seen;
        while self.ends <= now {
            // Nobody looked when the sample ended: rows are taken to have come evenly since the last look.
            let share =
                (self.ends - seen_at).div_duration_f64((now - seen_at).max(self.every / 1000));
            self.end_sample(seen + ((rows - seen) as f64 * share.min(1.0)) as u64, stats);
            self.ends += self.every;
        }
        self.seen = (now, rows);
    }

    fn end_sample(&mut self, rows: u64, stats: &RunStats) {
        self.rows.push(rows - self.rows_before);
        self.in_flight.push(self.most_in_flight);
        (self.rows_before, self.most_in_flight) = (rows, stats.calls.in_flight as u64);
        if self.rows.len() == MOST {
            self.rows = self.rows.chunks(2).map(|two| two.iter().sum()).collect();
            self.in_flight =
                self.in_flight.chunks(2).filter_map(|two| two.iter().max().copied()).collect();
            self.every *= 2;
        }
    }

    /// What it came to.
    pub fn finish(mut self, stats: &RunStats) -> History {
        self.see(stats);
        if stats.settled_here() > self.rows_before || self.rows.is_empty() {
            self.end_sample(stats.settled_here(), stats);
        }
        let calls = &stats.calls;
        let counts = CallKind::ALL.into_iter().map(|kind| (kind.as_str(), calls.count(kind)));
        let held = Bottleneck::ALL.into_iter().map(|hold| (hold.as_str(), calls.holds.of(hold)));
        History {
            elapsed_ms: millis(Instant::now() - self.began),
            every_ms: millis(self.every),
            rows: self.rows,
            in_flight: self.in_flight,
            calls: (counts.filter(|(_, count)| *count > 0))
                .map(|(kind, count)| (kind.to_owned(), count))
                .collect(),
            retries: calls.retries,
            throttled: calls.throttled,
            held_ms: (held.map(|(hold, time)| (hold.to_owned(), millis(time))))
                .filter(|(_, time)| *time > 0)
                .collect(),
            latency: latency(stats),
        }
    }
}

fn latency(stats: &RunStats) -> Option<Latency> {
    let calls = &stats.calls;
    let tenths = |share| calls.latency_ms(share).map(|ms| (ms * 10.0).round() / 10.0);
    let mut counts = calls.answered_within(LIMITS_MS.map(Duration::from_millis)).to_vec();
    counts.push(calls.answers().0 - counts.iter().sum::<u64>());
    Some(Latency {
        p50_ms: tenths(0.5)?,
        p90_ms: tenths(0.9)?,
        p99_ms: tenths(0.99)?,
        limits_ms: LIMITS_MS.to_vec(),
        counts,
    })
}

const fn millis(time: Duration) -> u64 {
    time.as_millis() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::association::Cells;
    use crate::outcome::{Outcome, Record, Status};

    fn settle(stats: &mut RunStats, rows: u64) {
        let outcome = Outcome::good(Status::Created, 1, 1, 0);
        let record = Record { ordinal: 0, file: 0, line: 2, cells: Cells::default(), outcome };
        for _ in 0..rows {
            stats.add(&record);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn samples_stay_few_and_lose_no_row_however_long_a_run_takes() {
        let mut sampler = Sampler::start();
        let mut stats = RunStats::default();
        for tick in 0..20_000_u64 {
            tokio::time::advance(Duration::from_millis(200)).await;
            settle(&mut stats, tick % 3);
            stats.calls.in_flight = if tick == 7 { 40 } else { 3 };
            sampler.see(&stats);
        }
        settle(&mut stats, 5);
        let history = sampler.finish(&stats);
        assert!((300..=600).contains(&history.rows.len()), "{}", history.rows.len());
        assert_eq!(history.rows.iter().sum::<u64>(), stats.settled_here());
        assert_eq!(history.in_flight.len(), history.rows.len());
        assert_eq!(history.in_flight.iter().max(), Some(&40));
        assert_eq!((history.elapsed_ms, history.every_ms), (4_000_000, 8_000));
    }

    #[tokio::test(start_paused = true)]
    async fn an_even_run_has_even_samples() {
        let mut sampler = Sampler::start();
        let mut stats = RunStats::default();
        for _ in 0..100 {
            tokio::time::advance(Duration::from_millis(200)).await;
            settle(&mut stats, 20);
            sampler.see(&stats);
        }
        assert_eq!(sampler.finish(&stats).rows, [25; 80]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_run_of_a_moment_has_a_sample_too() {
        let sampler = Sampler::start();
        let mut stats = RunStats::default();
        settle(&mut stats, 3);
        stats.calls.answered(Duration::from_millis(3));
        stats.calls.answered(Duration::from_mins(5));
        stats.calls.held(Bottleneck::Rate, Duration::from_secs(2));
        let history = sampler.finish(&stats);
        assert_eq!((history.rows, history.in_flight), (vec![3], vec![0]));
        assert_eq!(history.held_ms, [("rate".to_owned(), 2_000)].into());
        let latency = history.latency.unwrap();
        assert_eq!((latency.counts[2], latency.counts[16], latency.counts.len()), (1, 1, 17));
    }
}
