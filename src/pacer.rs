//! How fast calls may go: one pacer for the run, one gate that every call passes.
//!
//! Owns the ceiling (`--rate`, `--concurrency`) and, below it, the pace that the server allows. The
//! only home of governor, which reads tokio's clock here. Knows nothing of rows.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::time::Instant;

use crate::wire::RateHint;

/// What held the pace back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hold {
    /// `--rate`
    Rate,
    /// The server's own limit.
    Server,
    /// `--concurrency`: all calls are waiting for answers.
    Concurrency,
    /// Rows that must not be under way together.
    Collisions,
    /// The server gives no answer.
    Outage,
    /// Rows come in slower than they go out.
    Input,
    /// Nothing.
    Nothing,
}

impl Hold {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Rate,
        Self::Server,
        Self::Concurrency,
        Self::Collisions,
        Self::Outage,
        Self::Input,
        Self::Nothing,
    ];
}

/// governor on tokio's clock, so that pacing is tested in virtual time.
#[derive(Clone, Debug)]
struct TokioClock {
    start: Instant,
}

impl Clock for TokioClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::from(self.start.elapsed())
    }
}

type Limiter = RateLimiter<NotKeyed, InMemoryState, TokioClock, NoOpMiddleware<Nanos>>;

/// Pauses after a refusal that names no time.
const UNTOLD_PAUSE: Duration = Duration::from_millis(500);
/// No pause that a server asks for is longer.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// How long a pace must have been refused nothing before it is raised.
const RAISE_EVERY: Duration = Duration::from_secs(1);

/// The gate.
#[derive(Debug)]
pub struct Pacer {
    limiter: Option<Limiter>,
    clock: TokioClock,
    paused_until: Option<Instant>,
    server: Option<ServerPace>,
    meter: Meter,
    ceiling: usize,
    /// Calls in flight that the server takes; between 1 and `ceiling`.
    limit: f64,
    last_cut: Option<Instant>,
}

/// The pace that refusals taught us, as the time between two calls.
#[derive(Clone, Copy, Debug)]
struct ServerPace {
    per_second: f64,
    next: Instant,
    raised: Instant,
}

/// Calls that were let through, per second of the recent past.
#[derive(Debug)]
struct Meter {
    since: Instant,
    count: u32,
    rate: f64,
}

impl Meter {
    fn count(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.since);
        if elapsed >= Duration::from_secs(1) {
            self.rate = f64::from(self.count) / elapsed.as_secs_f64();
            (self.since, self.count) = (now, 0);
        }
        self.count += 1;
    }

    fn per_second(&self, now: Instant) -> f64 {
        let elapsed = now.saturating_duration_since(self.since).as_secs_f64().max(0.1);
        self.rate.max(f64::from(self.count) / elapsed.max(1.0))
    }
}

impl Pacer {
    /// A gate for at most `per_second` calls a second (`None`: no ceiling) and `concurrency` at
    /// once.
    ///
    /// The burst is `max(2, rate/100)`: governor's default, the whole rate, overshoots by 11 %; a
    /// burst of 1 undershoots by up to 65 % where the clock ticks in milliseconds.
    pub fn new(per_second: Option<f64>, concurrency: usize) -> Self {
        let clock = TokioClock { start: Instant::now() };
        let limiter = per_second.map(|rate| {
            let burst = NonZeroU32::new((rate / 100.0) as u32).map_or(2, |n| n.get().max(2));
            let quota = Quota::with_period(Duration::from_secs_f64(1.0 / rate))
                .expect("a rate is positive and finite")
                .allow_burst(NonZeroU32::new(burst).expect("at least 2"));
            RateLimiter::direct_with_clock(quota, clock.clone())
        });
        let ceiling = concurrency.max(1);
        Self {
            limiter,
            paused_until: None,
            server: None,
            meter: Meter { since: clock.start, count: 0, rate: 0.0 },
            clock,
            ceiling,
            limit: ceiling as f64,
            last_cut: None,
        }
    }

    /// How many calls may be in flight now.
    pub fn concurrency(&self) -> usize {
        (self.limit as usize).clamp(1, self.ceiling)
    }

    /// Lets one call through, or says when to ask again and what holds it.
    pub fn permit(&mut self, now: Instant) -> Result<(), (Instant, Hold)> {
        if let Some(until) = self.paused_until {
            if now < until {
                return Err((until, Hold::Server));
            }
            self.paused_until = None;
        }
        if let Some(server) = &mut self.server {
            if now < server.next {
                return Err((server.next, Hold::Server));
            }
            if now.saturating_duration_since(server.raised) >= RAISE_EVERY {
                server.raised = now;
                server.per_second *= 1.05;
            }
        }
        if let Some(limiter) = &self.limiter
            && let Err(not_until) = limiter.check()
        {
            let wait = not_until.wait_time_from(self.clock.now());
            return Err((now + wait.max(Duration::from_micros(1)), Hold::Rate));
        }
        if let Some(server) = &mut self.server {
            let gap = Duration::from_secs_f64(1.0 / server.per_second);
            // What a late wake-up lost may be made up for, a few calls of it.
            server.next = server.next.max(now.checked_sub(gap * 4).unwrap_or(now)) + gap;
        }
        self.meter.count(now);
        Ok(())
    }

    /// An answer came, and what its headers said.
    pub fn answered(&mut self, hint: RateHint, now: Instant) {
        self.limit = (self.limit + 1.0 / self.limit).min(self.ceiling as f64);
        if hint.remaining == Some(0) {
            self.pause(hint.reset.unwrap_or(UNTOLD_PAUSE), now);
        }
    }

    /// The server refused a call that was sent at `sent_at` for its limit.
    pub fn throttled(&mut self, hint: RateHint, sent_at: Instant, now: Instant) {
        let told = hint.retry_after.or(hint.reset);
        self.pause(told.unwrap_or(UNTOLD_PAUSE), now);
        // Calls that were under way when the pace was cut say nothing about the new pace.
        if self.last_cut.is_some_and(|cut| sent_at <= cut) {
            return;
        }
        self.last_cut = Some(now);
        let seen = self.server.map_or_else(|| self.meter.per_second(now), |s| s.per_second);
        let per_second = (seen * 0.85).max(0.2);
        self.server = Some(ServerPace { per_second, next: now, raised: now });
    }

    /// The server can't take so many calls at once.
    pub fn overloaded(&mut self, in_flight: usize, sent_at: Instant, now: Instant) {
        if self.last_cut.is_none_or(|cut| sent_at > cut) {
            self.last_cut = Some(now);
            self.limit = (self.limit.min(in_flight as f64) * 0.7).max(1.0);
        }
    }

    fn pause(&mut self, length: Duration, now: Instant) {
        let until = now + length.min(LONGEST_PAUSE);
        self.paused_until = Some(self.paused_until.map_or(until, |paused| paused.max(until)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn run_for(pacer: &mut Pacer, length: Duration) -> Vec<Instant> {
        let end = Instant::now() + length;
        let mut calls = Vec::new();
        while Instant::now() < end {
            match pacer.permit(Instant::now()) {
                Ok(()) => calls.push(Instant::now()),
                Err((until, _)) => tokio::time::sleep_until(until.min(end)).await,
            }
        }
        calls
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_is_held_within_one_percent_or_one_burst() {
        for rate in [5.0, 90.0, 100.0, 2000.0, 5000.0] {
            let mut pacer = Pacer::new(Some(rate), 64);
            let calls = run_for(&mut pacer, Duration::from_secs(10)).await.len() as f64;
            let burst = (rate / 100.0_f64).max(2.0);
            assert!((calls - rate * 10.0).abs() <= (rate * 0.1).max(burst), "{rate}: {calls}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_pauses_all_and_takes_the_pace_down_once() {
        let mut pacer = Pacer::new(None, 64);
        let sent = Instant::now();
        for _ in 0..1000 {
            pacer.permit(Instant::now()).unwrap();
        }
        tokio::time::advance(Duration::from_millis(10)).await;
        let hint = RateHint { retry_after: Some(Duration::from_secs(2)), ..RateHint::default() };
        pacer.throttled(hint, sent, Instant::now());
        let pace = pacer.server.unwrap().per_second;
        pacer.throttled(hint, sent, Instant::now());
        assert!((pacer.server.unwrap().per_second - pace).abs() < f64::EPSILON);
        let (until, hold) = pacer.permit(Instant::now()).unwrap_err();
        assert_eq!((until - Instant::now(), hold), (Duration::from_secs(2), Hold::Server));
    }

    #[tokio::test(start_paused = true)]
    async fn concurrency_comes_down_under_overload_never_to_nothing_and_comes_back() {
        let mut pacer = Pacer::new(None, 32);
        for _ in 0..50 {
            tokio::time::advance(Duration::from_millis(1)).await;
            pacer.overloaded(pacer.concurrency(), Instant::now(), Instant::now());
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        assert_eq!(pacer.concurrency(), 1);
        for _ in 0..2000 {
            pacer.answered(RateHint::default(), Instant::now());
        }
        assert_eq!(pacer.concurrency(), 32);
    }
}
