//! How long to wait before a call is made again: exponential backoff with full jitter, as pure data.

use std::time::Duration;

use rand::{Rng, RngExt};

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
