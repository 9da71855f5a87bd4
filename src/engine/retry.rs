//! What each failure costs a row, and how long it waits before it is sent again: exponential backoff with
//! full jitter. How much a row may cost is `--max-attempts`, which its task holds it to; how long a run
//! holds on is in `time_limits.rs`.
//!
//! Pure data. Knows nothing of what a row's call does.

use std::time::Duration;

use rand::{Rng, RngExt};
use tokio::time::Instant;

use crate::cmdb::verdict::Cause;

/// Overloads that charge nothing. After each the row has waited, and the server has answered another
/// call: where it fails at this row still, it is the row.
const FREE_OVERLOADS: u32 = 6;

/// How long locked answers charge nothing: a lock lives 60 s, also when the process that took it is gone
/// (`docs/cmdb-api.md#locks`), so a row outlives it.
const LOCK_LIFE: Duration = Duration::from_secs(75);

/// A schedule of waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The first wait is at most this.
    pub first: Duration,
    /// No wait is longer than this.
    pub cap: Duration,
}

impl Backoff {
    /// For calls that got no answer.
    pub const NO_ANSWER: Self =
        Self { first: Duration::from_millis(500), cap: Duration::from_secs(30) };
    /// For limits of the server, which clear within a second or two.
    pub const BUSY: Self = Self { first: Duration::from_millis(200), cap: Duration::from_secs(5) };
    /// For locks, which clear within a second, or after a minute.
    pub const LOCKED: Self =
        Self { first: Duration::from_millis(200), cap: Duration::from_secs(10) };
    /// For reads that lag behind writes.
    pub const READ_LAG: Self =
        Self { first: Duration::from_millis(300), cap: Duration::from_secs(3) };

    /// The schedule after a call that failed so.
    pub const fn after(cause: Option<Cause>) -> Self {
        match cause {
            Some(Cause::Throttled | Cause::Crowded) => Self::BUSY,
            Some(Cause::Locked) => Self::LOCKED,
            _ => Self::NO_ANSWER,
        }
    }

    /// The longest wait before try number `tries` + 1.
    pub fn longest(self, tries: u32) -> Duration {
        let doubled = self.first.saturating_mul(1u32.checked_shl(tries).unwrap_or(u32::MAX));
        doubled.min(self.cap)
    }

    /// A wait before try number `tries` + 1: anywhere between nothing and the longest, so that rows
    /// that failed together do not come back together.
    pub fn wait(self, tries: u32, rng: &mut impl Rng) -> Duration {
        self.longest(tries).mul_f64(rng.random())
    }
}

/// What a row's calls have cost it.
#[derive(Clone, Debug, Default)]
pub struct Attempts {
    charged: u32,
    /// Calls that charged nothing: they lengthen the waits.
    free: u32,
    overloads: u32,
    /// Since when nothing but locked answers came.
    locked_since: Option<Instant>,
    cause: Option<Cause>,
}

impl Attempts {
    /// Calls charged so far.
    pub fn charged(&self) -> u32 {
        self.charged
    }

    /// Why the last call that failed did.
    pub fn cause(&self) -> Option<Cause> {
        self.cause
    }

    /// Whether no call was counted yet, charged or not.
    pub fn is_first(&self) -> bool {
        self.charged == 0 && self.free == 0
    }

    /// A call was answered with what decides.
    pub fn count(&mut self) {
        self.charged += 1;
    }

    /// A call failed that need not have been the row's doing.
    pub fn count_free(&mut self) {
        self.free += 1;
    }

    /// A call failed at `now`. Charges nothing where the server was busy.
    pub fn charge(&mut self, cause: Cause, now: Instant) {
        self.cause = Some(cause);
        if cause != Cause::Locked {
            self.locked_since = None;
        }
        let free = match cause {
            Cause::Throttled | Cause::Crowded => true,
            Cause::Locked => now < *self.locked_since.get_or_insert(now) + LOCK_LIFE,
            Cause::Overload => {
                self.overloads += 1;
                self.overloads <= FREE_OVERLOADS
            }
            Cause::NoAnswer | Cause::Unclear | Cause::UnknownCode => false,
        };
        let count = if free { &mut self.free } else { &mut self.charged };
        *count += 1;
    }

    /// Takes back what an outage cost.
    pub fn give_back(&mut self, charge: u32) {
        let left = self.charged.checked_sub(charge);
        self.charged = left.expect("no more is given back than was charged");
    }

    /// How long the next call waits; the first does not.
    pub fn wait(&self, rng: &mut impl Rng) -> Duration {
        if self.is_first() {
            return Duration::ZERO;
        }
        Backoff::after(self.cause).wait(self.charged + self.free - 1, rng)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng;

    proptest! {
        #[test]
        fn waits_grow_and_are_capped(tries in 0..1000u32, seed: u64) {
            let mut rng = rand::rngs::StdRng::seed_from_u64(seed);
            for backoff in [Backoff::NO_ANSWER, Backoff::BUSY, Backoff::LOCKED, Backoff::READ_LAG] {
                prop_assert!(backoff.wait(tries, &mut rng) <= backoff.cap);
                prop_assert!(backoff.longest(tries) <= backoff.longest(tries + 1));
                prop_assert!(backoff.longest(40) == backoff.cap);
            }
        }
    }

    /// The waits of one row, with the longest and the shortest luck.
    #[tokio::test(start_paused = true)]
    async fn a_row_outlives_a_lock_without_hammering() {
        for seed in 0..20 {
            let mut rng = rand::rngs::StdRng::seed_from_u64(seed);
            let (mut attempts, start) = (Attempts::default(), Instant::now());
            let (mut now, mut calls) = (start, 0);
            while attempts.charged() < 1 {
                attempts.charge(Cause::Locked, now);
                now += attempts.wait(&mut rng);
                calls += 1;
            }
            assert!(now - start >= Duration::from_mins(1), "{:?}", now - start);
            assert!(calls <= 60, "{calls} calls");
        }
    }
}
