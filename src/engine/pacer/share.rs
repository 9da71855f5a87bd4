//! What a process takes of a quota that is told, where the other shards of its job may take of it, too.
//!
//! It begins with its even part. Where much stayed unused for a while (the others are done, or each has a quota
//! of its own) it takes more; where nothing was left, less, and never less than its even part: so shards
//! that are all at work share evenly, and one that is alone has it all. `Remaining` says which of this is so.

use std::time::Duration;

use tokio::time::Instant;

/// So many windows are looked at: the calls of shards fall together by chance.
const WINDOWS: u32 = 3;
/// The share of a quota that is much to be left (beyond what may be chance), and the one that is as good as nothing.
const MUCH: f64 = 0.08;
const NOTHING: f64 = 0.01;
/// By how much it takes more, or less.
const MORE: f64 = 1.15;
const LESS: f64 = 0.8;

/// The machine.
#[derive(Debug)]
pub(super) struct Share {
    even: f64,
    /// The part that is taken.
    part: f64,
    /// The least that remained since then.
    least: Option<u64>,
    since: Instant,
}

impl Share {
    pub(super) fn new(processes: u32, now: Instant) -> Self {
        let even = 1.0 / f64::from(processes);
        Self { even, part: even, least: None, since: now }
    }

    /// What is taken of so many calls.
    pub(super) fn of(&self, limit: u64) -> f64 {
        limit as f64 * self.part
    }

    /// Hears how many calls remain of a window; true where another part is taken from now on.
    pub(super) fn hear(
        &mut self,
        limit: u64,
        remaining: u64,
        window: Duration,
        now: Instant,
    ) -> bool {
        let least = self.least.map_or(remaining, |least| least.min(remaining));
        self.least = Some(least);
        if self.even >= 1.0 || now < self.since + window * WINDOWS {
            return false;
        }
        (self.least, self.since) = (None, now);
        let (left, limit) = (least as f64, limit as f64);
        let before = self.part;
        if left > limit * MUCH + self.even.recip().sqrt() {
            self.part = (self.part * MORE).min(1.0);
        } else if left < limit * NOTHING {
            self.part = (self.part * LESS).max(self.even);
        }
        self.part.total_cmp(&before).is_ne()
    }
}
