//! How fast calls may go: one pacer for the run, one gate that every call passes.
//!
//! Three limits, each in a file of its own, each a pure machine that is told the time; the tightest
//! counts:
//!
//! * [`Ceiling`]: `--rate`, which is never exceeded. The only home of governor.
//! * [`Quota`]: how many calls the server lets through in a window of time. It is told by headers, or
//!   learnt from refusals.
//! * [`Flight`]: how many calls the server takes at once. It is learnt from latencies and overloads;
//!   `--concurrency` is the most.
//!
//! The caller asks [`Pacer::full`] and [`Pacer::permit`] before each call, and reports each call's end
//! to [`Pacer::landed`]. Nothing here allocates, and nothing knows of rows.

mod ceiling;
mod flight;
mod quota;

use tokio::time::Instant;

use crate::wire::RateHint;
use ceiling::Ceiling;
use flight::Flight;
use quota::Quota;

/// What held the pace back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hold {
    /// `--rate`
    Rate,
    /// The server: its quota, or the number of calls that it takes at once.
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

/// What the end of a call says about the pace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Said {
    /// The server did what it does, whatever that means for the row.
    Answer,
    /// It refused the call for its limit: 429, 16429xx, 1306429, 1199997 (contract section 11).
    Throttled,
    /// It can't take so many calls at once (captures-esb 15).
    Overload,
    /// No answer of substance.
    Nothing,
}

/// The gate.
#[derive(Debug)]
pub struct Pacer {
    ceiling: Ceiling,
    quota: Quota,
    flight: Flight,
}

impl Pacer {
    /// A gate for at most `per_second` calls a second (`None`: no ceiling) and `concurrency` at
    /// once, from `now` on.
    pub fn new(per_second: Option<f64>, concurrency: usize, now: Instant) -> Self {
        Self {
            ceiling: Ceiling::new(per_second, now),
            quota: Quota::new(now),
            flight: Flight::new(per_second.map_or(1, ceiling::burst), concurrency, now),
        }
    }

    /// How many calls may be in flight now: at least 1.
    pub fn concurrency(&self) -> usize {
        self.flight.limit()
    }

    /// Whether `in_flight` calls are all that may be, and if so, what says that.
    pub fn full(&mut self, in_flight: usize, now: Instant) -> Option<Hold> {
        self.flight.full(in_flight, now)
    }

    /// Lets one call through, or says when to ask again and what holds it. Where nothing but a call's
    /// end can change that, asking then does no harm.
    pub fn permit(&mut self, now: Instant) -> Result<(), (Instant, Hold)> {
        self.quota.check(now).map_err(|until| (until, Hold::Server))?;
        self.ceiling.take(now).map_err(|until| (until, Hold::Rate))?;
        self.quota.took(now);
        Ok(())
    }

    /// A call that was sent at `sent_at` has ended.
    pub fn landed(&mut self, said: Said, hint: RateHint, sent_at: Instant, now: Instant) {
        self.quota.landed(said, hint, sent_at, now);
        self.flight.landed(said, sent_at, now);
    }
}
