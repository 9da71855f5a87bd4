//! How many calls the server takes at once.
//!
//! More calls in flight bring more calls done only up to a point; beyond it each just takes longer (a
//! real CMDB did about 100 creates a second, at 1 connection as at 16), and an ESB begins to fail. Where
//! that point lies can't be told from latencies alone: those vary for a dozen reasons. So it is tried.
//!
//! *Readings.* While the pool is full, calls done a second are the limit divided by the mean latency
//! (Little's law). A reading is that, taken over some hundred answers to calls that were sent after the
//! limit last changed. Where something else holds calls back (`--rate`, a quota, the input), the pool is
//! not full, no reading is taken, and the limit stays.
//!
//! *Trials.* Between two readings the limit is changed for the length of one: down, which is kept if it
//! costs (nearly) nothing; up, which is kept if it pays. A trial that fails is undone and the next one
//! of its kind waits twice as long, so that a limit that is right is left alone. Latency above the lowest
//! seen is a suspicion: it brings the next trial downwards forward, and decides nothing.
//!
//! *Overload* takes the limit down at once, once a round trip, and what it was then becomes a cliff, to
//! which the limit does not come back for a while.
//!
//! The start: two calls (with `--rate`, its burst), since one that hangs must not hold all others. When one
//! was answered, the rest of a handful; the sixth goes alone, so that a quota of 5 is met with one call too
//! many. Then a few, and from two handfuls on twice as many as were answered, so that a first refusal costs
//! no more than twice what was let through before. Where answers come faster than connections, that would
//! open more of these than there are calls: half a call more with each answer then; and over a long way,
//! where much of it is under way before a refusal comes.

use std::time::Duration;

use tokio::time::Instant;

use super::{Bottleneck, Feedback};

/// Calls in flight at the start, at least: one may hang.
const START: f64 = 2.0;
/// So many calls are answered before one goes alone, unless there is no answer for `IMPATIENCE`.
const HANDFUL: u32 = 5;
const AFTER_HANDFUL: u32 = HANDFUL + 1;
const TWO_HANDFULS: u32 = 2 * HANDFUL;
const IMPATIENCE: Duration = Duration::from_secs(1);
/// Calls in flight after that, until two handfuls are answered.
const FEW: f64 = 4.0;
/// Growth with each answer from then on: where answers come at once or over a long way, and where they take
/// a time between.
const RAMP: f64 = 0.5;
const STEEP_RAMP: f64 = 2.0;
const STEEP_FROM: Duration = Duration::from_millis(2);
const STEEP_UP_TO: Duration = Duration::from_millis(150);
/// Answers a reading, at least; and rounds of the pool.
const ANSWERS: u32 = 100;
const ROUNDS: u32 = 4;
/// A reading's pool was full for at least this share of the time.
const FULL: f64 = 0.9;
/// A trial's limit, as a share of the present one.
const DOWN: f64 = 0.6;
const UP: f64 = 1.5;
/// A trial downwards is kept if this share of the best throughput is left; one upwards, if it brings
/// this share of what it would if calls did not wait for each other.
const KEPT: f64 = 0.93;
const PAYS: f64 = 0.25;
/// How much of the best throughput is forgotten with each reading.
const FORGOTTEN: f64 = 0.02;
/// Latency above what is known to be inherent, by which fewer calls may do as well.
const SUSPICIOUS: f64 = 1.5;
/// Readings between two trials: the first, and at most.
const FIRST_WAIT_DOWN: Wait = Wait { left: 96, length: 48, most: 256 };
const FIRST_WAIT_UP: Wait = Wait { left: 1, length: 1, most: 16 };
/// The same, after a trial downwards was kept.
const WAIT_UP_AFTER_DOWN: u32 = 32;
/// After an overload: what is left of the limit, how close to the cliff it may come again, and how long
/// the cliff stands before it is moved, twice as long each time that it is met again.
const CUT: f64 = 0.75;
const SAFE: f64 = 0.9;
const CLIFF_STANDS: Duration = Duration::from_mins(1);
const CLIFF_STANDS_AT_MOST: Duration = Duration::from_mins(15);
/// Where moving it did no harm, it is moved again after this time.
const CLIFF_MOVES_ON: Duration = Duration::from_secs(10);

/// The machine.
#[derive(Debug)]
pub(super) struct Flight {
    ceiling: usize,
    /// Between 1 and `ceiling`. A fraction counts only at the start.
    limit: f64,
    ramping: bool,
    /// Answers at the start, and when the last one came.
    answered: u32,
    answered_at: Instant,
    reading: Reading,
    trial: Option<Trial>,
    down: Wait,
    up: Wait,
    /// Throughput at the present limit as last read, and the best lately.
    best: f64,
    /// Mean latency that fewer calls do not shorten, in seconds.
    inherent: f64,
    cliff: Option<Cliff>,
    /// Calls sent before then say nothing about the present limit.
    changed: Instant,
    /// Since when the pool is known to be full or not.
    looked: (Instant, bool),
}

/// A reading under way.
#[derive(Clone, Copy, Debug)]
struct Reading {
    since: Instant,
    answers: u32,
    /// Sum of latencies, in seconds.
    latency: f64,
    /// Time in which the pool was not full.
    slack: Duration,
}

/// A limit that is tried.
#[derive(Clone, Copy, Debug)]
struct Trial {
    /// The limit and its throughput before.
    limit: f64,
    throughput: f64,
}

/// Readings to wait before the next trial.
#[derive(Clone, Copy, Debug)]
struct Wait {
    left: u32,
    length: u32,
    most: u32,
}

/// A limit at which calls failed.
#[derive(Clone, Copy, Debug)]
struct Cliff {
    at: f64,
    until: Instant,
    stands: Duration,
    has_moved: bool,
}

impl Cliff {
    /// The highest limit that is safe from it.
    fn most(&self) -> f64 {
        (self.at * SAFE).floor().max(1.0)
    }
}

impl Flight {
    /// Begins with `start` calls.
    pub(super) fn new(start: u32, concurrency: usize, now: Instant) -> Self {
        let ceiling = concurrency.max(1);
        let limit = f64::from(start).max(START).min(ceiling as f64);
        Self {
            ceiling,
            limit,
            ramping: true,
            answered: if limit > START { TWO_HANDFULS } else { 0 },
            answered_at: now,
            reading: Reading::new(now),
            trial: None,
            down: FIRST_WAIT_DOWN,
            up: FIRST_WAIT_UP,
            best: 0.0,
            inherent: f64::MAX,
            cliff: None,
            changed: now,
            looked: (now, false),
        }
    }

    /// How many calls may be in flight.
    pub(super) fn limit(&self) -> usize {
        (self.limit as usize).clamp(1, self.ceiling)
    }

    /// Whether the pool is full, and if so, for whom.
    pub(super) fn full(&mut self, in_flight: usize, now: Instant) -> Option<Bottleneck> {
        let (since, was_full) = self.looked;
        if !was_full {
            self.reading.slack += now - since;
        }
        let is_full = in_flight >= self.limit() || self.is_first_handful(in_flight, now);
        self.looked = (now, is_full);
        is_full.then(|| match self.cliff {
            _ if self.limit() >= self.ceiling => Bottleneck::Concurrency,
            Some(_) => Bottleneck::Server,
            None => Bottleneck::Pool,
        })
    }

    /// Whether `in_flight` calls are a handful with those that were answered, or the one after it.
    fn is_first_handful(&self, in_flight: usize, now: Instant) -> bool {
        let left = HANDFUL.saturating_sub(self.answered).max(1) as usize;
        self.ramping
            && self.answered <= HANDFUL
            && in_flight >= left
            && now < self.answered_at + IMPATIENCE
    }

    /// A call has ended.
    pub(super) fn landed(&mut self, said: Feedback, sent_at: Instant, now: Instant) {
        match said {
            Feedback::Answer => self.answered(sent_at, now),
            Feedback::Overload => self.overloaded(sent_at, now),
            // What took no work, or took all the time there was, tells nothing of the server's work.
            Feedback::Throttled | Feedback::Nothing => self.give_up_trial(now),
        }
    }

    fn answered(&mut self, sent_at: Instant, now: Instant) {
        if self.ramping {
            let latency = now - sent_at;
            self.answered += 1;
            let answered = f64::from(self.answered);
            self.limit = match self.answered {
                ..HANDFUL => self.limit.max(f64::from(HANDFUL) - answered),
                HANDFUL => self.limit,
                AFTER_HANDFUL => self.limit.max(FEW),
                _ if !(STEEP_FROM..STEEP_UP_TO).contains(&latency) => self.limit + RAMP,
                TWO_HANDFULS.. => (self.limit + STEEP_RAMP).max(answered * STEEP_RAMP),
                _ => self.limit,
            };
            self.limit = self.limit.min(self.ceiling as f64);
            self.answered_at = now;
            self.ramping = self.limit < self.ceiling as f64;
            self.inherent = self.inherent.min(latency.as_secs_f64());
            self.set(self.limit, now);
            return;
        }
        if sent_at < self.changed {
            return;
        }
        if self.reading.answers == 0 {
            self.reading = Reading::new(now);
        }
        self.reading.answers += 1;
        self.reading.latency += (now - sent_at).as_secs_f64();
        if self.reading.answers >= ANSWERS.max(self.limit() as u32 * ROUNDS) {
            self.read(now);
        }
    }

    /// A reading is complete.
    fn read(&mut self, now: Instant) {
        let Reading { since, answers, latency, slack } = self.reading;
        self.reading = Reading::new(now);
        if slack.as_secs_f64() > (now - since).as_secs_f64() * (1.0 - FULL) {
            self.give_up_trial(now);
            return;
        }
        let latency = latency / f64::from(answers);
        let throughput = self.limit / latency.max(1e-6);
        match self.trial.take() {
            None => {
                self.best = throughput.max(self.best * (1.0 - FORGOTTEN));
                self.inherent -= (self.inherent - latency).max(0.0) * 0.2;
                self.consider(throughput, latency, now);
            }
            Some(before) if self.limit < before.limit => {
                if throughput >= self.best * KEPT {
                    self.down = Wait { left: 0, ..FIRST_WAIT_DOWN };
                    self.up = Wait { left: WAIT_UP_AFTER_DOWN, ..FIRST_WAIT_UP };
                } else {
                    self.inherent = before.limit / before.throughput;
                    self.down.lengthen();
                    self.set(before.limit, now);
                }
            }
            Some(before) => {
                let ideal = self.limit / before.limit;
                if throughput >= before.throughput * (1.0 + (ideal - 1.0) * PAYS) {
                    self.best = self.best.max(throughput);
                    self.up = FIRST_WAIT_UP;
                    self.down = FIRST_WAIT_DOWN;
                } else {
                    self.up.lengthen();
                    self.set(before.limit, now);
                }
            }
        }
    }

    /// Begins a trial where it is time for one.
    fn consider(&mut self, throughput: f64, latency: f64, now: Instant) {
        if latency > self.inherent * SUSPICIOUS {
            self.down.left = self.down.left.min(2);
        }
        let most = self.most(now);
        let before = Trial { limit: self.limit, throughput };
        let (down, up) = (self.down.is_over(), self.up.is_over());
        if down && self.limit > 1.0 {
            self.trial = Some(before);
            self.set((self.limit * DOWN).floor().max(1.0), now);
        } else if up && self.limit < most {
            self.trial = Some(before);
            self.set((self.limit * UP).ceil().min(most), now);
        }
    }

    /// The highest limit that is not known to fail.
    fn most(&mut self, now: Instant) -> f64 {
        let ceiling = self.ceiling as f64;
        let Some(cliff) = &mut self.cliff else {
            return ceiling;
        };
        if now >= cliff.until && self.limit >= cliff.most() {
            cliff.at = (cliff.at * 1.1).max(cliff.at + 2.0);
            cliff.until = now + CLIFF_MOVES_ON;
            cliff.has_moved = true;
        }
        cliff.most().min(ceiling)
    }

    fn overloaded(&mut self, sent_at: Instant, now: Instant) {
        if sent_at < self.changed {
            return;
        }
        let stands = match self.cliff {
            Some(cliff) if cliff.has_moved => (cliff.stands * 2).min(CLIFF_STANDS_AT_MOST),
            Some(cliff) => cliff.stands,
            None => CLIFF_STANDS,
        };
        self.cliff = Some(Cliff { at: self.limit, until: now + stands, stands, has_moved: false });
        self.ramping = false;
        self.trial = None;
        self.up = FIRST_WAIT_UP;
        self.set((self.limit * CUT).floor().max(1.0), now);
    }

    fn give_up_trial(&mut self, now: Instant) {
        if let Some(before) = self.trial.take() {
            self.set(before.limit, now);
        }
        self.begin(now);
    }

    fn set(&mut self, limit: f64, now: Instant) {
        self.limit = limit;
        self.changed = now;
        self.begin(now);
    }

    fn begin(&mut self, now: Instant) {
        self.reading = Reading::new(now);
    }
}

impl Reading {
    fn new(now: Instant) -> Self {
        Self { since: now, answers: 0, latency: 0.0, slack: Duration::ZERO }
    }
}

impl Wait {
    /// Counts one reading; whether it was the last.
    fn is_over(&mut self) -> bool {
        self.left = self.left.saturating_sub(1);
        self.left == 0
    }

    fn lengthen(&mut self) {
        self.length = (self.length * 2).min(self.most);
        self.left = self.length;
    }
}
