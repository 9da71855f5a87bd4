//! How long calls are on their way, and how much that varies.

use std::time::Duration;

/// A way is long from so many seconds on, and short again below that share of them, so that one in between
/// does not change its kind with each answer.
const LONG: f64 = 0.1;
const SHORT: f64 = 0.7;

/// Smoothed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Way {
    /// From call to answer, in seconds.
    pub(super) latency: f64,
    /// How much that varies, on average.
    pub(super) jitter: f64,
    is_long: bool,
}

impl Way {
    pub(super) fn add(&mut self, latency: Duration) {
        let latency = latency.as_secs_f64();
        if self.latency == 0.0 {
            self.latency = latency;
        }
        let off = latency - self.latency;
        self.latency += off * 0.1;
        self.jitter += (off.abs() * 0.9 - self.jitter) * 0.05;
        self.is_long = self.latency > if self.is_long { LONG * SHORT } else { LONG };
    }

    /// Whether so much is under way that an answer comes too late for what it tells of.
    pub(super) fn is_long(self) -> bool {
        self.is_long
    }

    pub(super) fn round_trips(self, number: f64) -> Duration {
        Duration::from_secs_f64(self.latency * number)
    }

    pub(super) fn jitters(self, number: f64) -> Duration {
        Duration::from_secs_f64(self.jitter * number)
    }
}
