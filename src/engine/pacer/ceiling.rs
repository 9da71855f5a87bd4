//! `--rate`: what the user allows.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::time::Instant;

/// The time that the pacer is told, as governor asks for it.
#[derive(Clone, Debug, Default)]
struct ToldClock(Arc<AtomicU64>);

impl Clock for ToldClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::new(self.0.load(Ordering::Relaxed))
    }
}

type Limiter = RateLimiter<NotKeyed, InMemoryState, ToldClock, NoOpMiddleware<Nanos>>;

/// At most so many calls a second.
#[derive(Debug)]
pub(super) struct Ceiling {
    limiter: Option<Limiter>,
    clock: ToldClock,
    start: Instant,
}

/// The burst is `max(2, rate/100)`: governor's default, the whole rate, overshoots by 11 %; a
/// burst of 1 undershoots by up to 65 % where the clock ticks in milliseconds.
pub(super) fn burst(rate: f64) -> u32 {
    ((rate / 100.0) as u32).max(2)
}

impl Ceiling {
    pub(super) fn new(per_second: Option<f64>, now: Instant) -> Self {
        let clock = ToldClock::default();
        let limiter = per_second.map(|rate| {
            let quota = Quota::with_period(Duration::from_secs_f64(1.0 / rate))
                .expect("a rate is positive and finite")
                .allow_burst(NonZeroU32::new(burst(rate)).expect("at least 2"));
            RateLimiter::direct_with_clock(quota, clock.clone())
        });
        Self { limiter, clock, start: now }
    }

    /// Takes one call, or says when there is one to take.
    pub(super) fn take(&mut self, now: Instant) -> Result<(), Instant> {
        let Some(limiter) = &self.limiter else {
            return Ok(());
        };
        self.clock.0.store((now - self.start).as_nanos() as u64, Ordering::Relaxed);
        limiter.check().map_err(|not_until| {
            now + not_until.wait_time_from(self.clock.now()).max(Duration::from_micros(1))
        })
    }
}
