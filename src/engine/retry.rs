//! How often a row is sent, and how long it waits before it is sent again: what each failure costs, and
//! exponential backoff with full jitter.
//!
//! Pure data. Knows nothing of what a row's call does.

use std::time::Duration;

use rand::{Rng, RngExt};

use crate::cmdb::verdict::Cause;

/// Overloads that charge nothing. After each the row has waited, and the server has answered another
/// call: where it fails at this row still, it is the row.
const FREE_OVERLOADS: u32 = 6;

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
    /// For locks and limits of the server, which clear within a second or two.
    pub const BUSY: Self = Self { first: Duration::from_millis(200), cap: Duration::from_secs(5) };
    /// For reads that lag behind writes.
    pub const READ_LAG: Self =
        Self { first: Duration::from_millis(300), cap: Duration::from_secs(3) };

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

    /// A call failed. Charges nothing where the server was busy.
    pub fn charge(&mut self, cause: Cause) {
        self.cause = Some(cause);
        let free = match cause {
            Cause::Throttled | Cause::Crowded => true,
            Cause::Overload => {
                self.overloads += 1;
                self.overloads <= FREE_OVERLOADS
            }
            Cause::NoAnswer | Cause::Locked | Cause::Unclear | Cause::UnknownCode => false,
        };
        let count = if free { &mut self.free } else { &mut self.charged };
        *count += 1;
    }

    /// Takes back what an outage cost.
    pub fn give_back(&mut self, charge: u32) {
        self.charged = self.charged.saturating_sub(charge);
    }

    /// How long the next call waits.
    pub fn wait(&self, rng: &mut impl Rng) -> Duration {
        let schedule = match self.cause {
            Some(Cause::Throttled | Cause::Crowded | Cause::Locked) => Backoff::BUSY,
            _ => Backoff::NO_ANSWER,
        };
        schedule.wait((self.charged + self.free).saturating_sub(1), rng)
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
            for backoff in [Backoff::NO_ANSWER, Backoff::BUSY, Backoff::READ_LAG] {
                prop_assert!(backoff.wait(tries, &mut rng) <= backoff.cap);
                prop_assert!(backoff.longest(tries) <= backoff.longest(tries + 1));
                prop_assert!(backoff.longest(40) == backoff.cap);
            }
        }
    }
}
