//! How many calls the server lets through in a window of time.
//!
//! The servers in question count calls in fixed windows (contract sections 9 and 11): the first N of a
//! window are let through, the others are refused. Nobody says when a window begins, and often nobody
//! says what N is.
//!
//! *Cruise.* Calls go evenly, N in a little more than a window's length: however the windows lie, none
//! gets more than N, as long as the way to the server varies by less than that little, the margin.
//!
//! *Told.* Where `X-Bkapi-RateLimit-Limit` says N, that is all. `Remaining: 0` holds calls until the
//! window's end; it comes early only where others share the quota.
//!
//! *Learnt.* Else the first refusal teaches N: it is the number of calls that were let through since
//! the start. A refusal pauses the whole pool, for as long as it says, else for a window. After that one
//! call goes alone, and the others follow once it is let through, so that a pause that was too short
//! costs one call. When cruising is refused, calls then go fast up to N: where that is refused as well,
//! N has become what was let through, else the way varies more than thought and the margin grows.
//!
//! *Probe.* A raised limit shows only where a call too many is made, and where it was not raised, that
//! costs a refusal and a pause. So probes are rare, and short: for once calls go fast, from the window's
//! beginning where that is known, so that the pause covers as little as can be of the next window. A
//! probe that gets more through than N goes on, faster, until it is refused.

use std::time::Duration;

use tokio::time::Instant;

use super::Said;
use crate::wire::RateHint;

/// A window's length, until something says otherwise.
const WINDOW: Duration = Duration::from_secs(1);
/// No pause that a server asks for is longer: after that, one call asks again.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// How much longer than a window N calls take where N was learnt, and where it was told.
const MARGIN: f64 = 0.008;
const TOLD_MARGIN: f64 = 0.015;
const LARGEST_MARGIN: f64 = 0.2;
/// How often a learnt N is put to the test: a limit that was raised is to be used within 30 s.
const PROBE_EVERY: Duration = Duration::from_secs(24);
/// How much faster than in cruise calls go while N is tested or measured, at most; with long ways
/// less, since what is under way when the first refusal arrives is refused as well.
const FAST: f64 = 4.0;
const LEAST_FAST: f64 = 1.5;
/// A share of the window after its presumed beginning: a probe starts there.
const LATE: f64 = 0.03;
/// A quota that is used up in a smaller share of its window than this is shared with others.
const EARLY: f64 = 0.75;
/// A count that took a smaller share of the window than this was hardly part of two windows.
const CLEAN: f64 = 0.8;

/// The machine.
#[derive(Debug)]
pub(super) struct Quota {
    /// `None` as long as nobody refused a call or told a limit.
    pace: Option<Pace>,
    paused_until: Option<Instant>,
    trial: Trial,
    /// How long to pause after a refusal that names no time.
    patience: Duration,
    /// Calls that were let through lately.
    count: Count,
    /// What the refusal that led to the present pause teaches.
    lesson: Option<Lesson>,
    /// Calls sent before then say nothing about the present pace.
    fresh: Instant,
    /// From call to answer, smoothed, in seconds.
    latency: f64,
    /// How much that varies, on average.
    jitter: f64,
    told: Told,
}

/// The pace: `calls` in each `window`.
#[derive(Debug)]
struct Pace {
    calls: f64,
    window: Duration,
    margin: f64,
    phase: Phase,
    next: Instant,
    gap: Duration,
    /// When some window of the server began, as far as the last probe showed.
    boundary: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    Cruise {
        probe_at: Instant,
    },
    /// Fast, from `since` (the first call) on, after calls that cruised.
    Probe {
        since: Option<Instant>,
        /// Where in the presumed window it began, as a share of it.
        position: f64,
    },
    /// Fast, after a pause: what is let through is N.
    Measure {
        since: Option<Instant>,
    },
    /// Fast, after a pause, until `left` calls are sent.
    Verify {
        since: Option<Instant>,
        left: u32,
    },
}

/// The one call after a pause.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Trial {
    None,
    Due,
    Out(Instant),
}

/// Calls let through since the count began, or lately.
#[derive(Clone, Copy, Debug)]
struct Count {
    began: Instant,
    /// Since when there are `calls`; `before` is those of a window before.
    since: Instant,
    calls: u32,
    before: u32,
}

#[derive(Clone, Copy, Debug)]
struct Lesson {
    sent_at: Instant,
    refused_at: Instant,
    let_through: u32,
    /// Since when the count ran.
    took: Duration,
}

/// What headers say.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    limit: Option<u64>,
    remaining: u64,
    /// When the first call of the present window was sent.
    began: Option<Instant>,
    full_until: Option<Instant>,
}

impl Quota {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            pace: None,
            paused_until: None,
            trial: Trial::None,
            patience: WINDOW,
            count: Count::new(now),
            lesson: None,
            fresh: now,
            latency: 0.0,
            jitter: 0.0,
            told: Told::default(),
        }
    }

    /// Whether a call may go now, else when to ask again.
    pub(super) fn check(&mut self, now: Instant) -> Result<(), Instant> {
        if let Some(until) = self.paused_until {
            if now < until {
                return Err(until);
            }
            self.resume(now);
        }
        if let Trial::Out(_) = self.trial {
            return Err(now + WINDOW);
        }
        if let Some(until) = self.told.full_until {
            if now < until {
                return Err(until);
            }
            self.told.full_until = None;
        }
        if let Some(pace) = &mut self.pace {
            pace.advance(&self.count, self.latency, self.told.limit, now);
            if now < pace.next {
                return Err(pace.wakes_at());
            }
        }
        Ok(())
    }

    /// A call goes.
    pub(super) fn took(&mut self, now: Instant) {
        if self.trial == Trial::Due {
            self.trial = Trial::Out(now);
        }
        if let Some(pace) = &mut self.pace {
            pace.took(&mut self.count, now);
        }
    }

    /// A call has ended.
    pub(super) fn landed(&mut self, said: Said, hint: RateHint, sent_at: Instant, now: Instant) {
        let on_trial = matches!(self.trial, Trial::Out(at) if sent_at >= at);
        if on_trial {
            self.trial = Trial::None;
        }
        self.listen(hint, sent_at, now);
        match said {
            Said::Answer => {
                if on_trial {
                    self.patience = WINDOW;
                }
                self.let_through(sent_at, now);
            }
            Said::Throttled => self.refused(hint, on_trial, sent_at, now),
            Said::Overload | Said::Nothing => {}
        }
    }

    fn let_through(&mut self, sent_at: Instant, now: Instant) {
        let latency = (now - sent_at).as_secs_f64();
        self.latency += (latency - self.latency) * if self.latency == 0.0 { 1.0 } else { 0.1 };
        self.jitter += ((latency - self.latency).abs() - self.jitter) * 0.05;
        match &mut self.lesson {
            // It overtook nobody: it was let through before the refusal, and counts.
            Some(lesson) if sent_at < lesson.refused_at => lesson.let_through += 1,
            _ => self.count.add(sent_at, now),
        }
    }

    fn refused(&mut self, hint: RateHint, on_trial: bool, sent_at: Instant, now: Instant) {
        let told = hint.retry_after.or(hint.reset.map(|reset| reset.max(WINDOW)));
        let until = now + told.unwrap_or(self.patience).min(LONGEST_PAUSE);
        self.paused_until = Some(self.paused_until.map_or(until, |paused| paused.max(until)));
        if sent_at < self.fresh {
            return;
        }
        self.fresh = now;
        if on_trial {
            // The window is longer than thought.
            self.patience = (self.patience * 2).min(LONGEST_PAUSE);
            if let Some(pace) = &mut self.pace
                && told.is_none()
            {
                pace.window = self.patience;
            }
            return;
        }
        let took = now - self.count.began;
        let let_through = self.count.calls.max(self.count.before);
        self.lesson = Some(Lesson { sent_at, refused_at: now, let_through, took });
        // What follows is to lie in one window.
        let shift = match self.pace.as_ref().map(|pace| pace.phase) {
            // Cruise is refused near the window's end.
            Some(Phase::Cruise { .. }) if took < WINDOW * 3 => 0.25,
            None | Some(Phase::Measure { .. } | Phase::Verify { .. })
                if took > WINDOW.mul_f64(CLEAN) =>
            {
                0.5
            }
            _ => 0.0,
        };
        self.paused_until = Some(until + WINDOW.mul_f64(shift));
    }

    /// The pause is over: what was learnt becomes the pace.
    fn resume(&mut self, now: Instant) {
        self.paused_until = None;
        self.trial = Trial::Due;
        self.told.full_until = None;
        let lesson = self.lesson.take();
        self.count = Count::new(now);
        if let Some(lesson) = lesson {
            let let_through = f64::from(lesson.let_through).max(1.0);
            match &mut self.pace {
                Some(pace) => pace.learn(lesson, now),
                None => {
                    let clean = lesson.took <= WINDOW.mul_f64(CLEAN);
                    self.pace = Some(Pace::learnt(let_through, clean, now));
                }
            }
        }
        if let Some(pace) = &mut self.pace {
            pace.next = now;
            pace.margin = pace.margin.max(MARGIN + self.jitter / pace.window.as_secs_f64());
            pace.set_gap(self.latency);
        }
    }

    /// Takes in what the headers say.
    fn listen(&mut self, hint: RateHint, sent_at: Instant, now: Instant) {
        let Some(limit) = hint.limit else {
            return;
        };
        let reset = hint.reset.unwrap_or(WINDOW).max(WINDOW);
        let calls = limit as f64;
        let pace = self.pace.get_or_insert_with(|| Pace::told(calls, now));
        if reset > pace.window || self.told.limit != Some(limit) {
            pace.window = pace.window.max(reset);
            if self.told.limit != Some(limit) {
                *pace = Pace { window: pace.window, ..Pace::told(calls, now) };
                self.told = Told { limit: Some(limit), ..Told::default() };
                self.fresh = now;
            }
            pace.set_gap(self.latency);
            pace.next = pace.next.max(now + pace.gap - pace.gap.min(now - sent_at));
        }
        let Some(remaining) = hint.remaining else {
            return;
        };
        let is_new = match self.told.began {
            Some(began) => {
                let half = began + pace.window / 2;
                remaining >= self.told.remaining + limit.div_ceil(2) && sent_at >= half
            }
            None => remaining + 1 == limit,
        };
        if is_new {
            self.told.began = Some(sent_at);
            let jitter = self.jitter / pace.window.as_secs_f64();
            pace.margin = (TOLD_MARGIN + jitter).clamp(pace.margin * 0.9, LARGEST_MARGIN);
            pace.set_gap(self.latency);
        }
        self.told.remaining = remaining;
        let is_early = |began| sent_at >= began && sent_at < began + pace.window.mul_f64(EARLY);
        if remaining == 0 && self.told.began.is_none_or(is_early) {
            let reset_at = now + reset;
            let ends = self.told.began.map_or(reset_at, |began| began + pace.length());
            self.told.full_until = Some(ends.min(reset_at));
        }
    }
}

impl Pace {
    fn told(calls: f64, now: Instant) -> Self {
        Self { margin: TOLD_MARGIN, ..Self::learnt(calls, true, now) }
    }

    fn learnt(calls: f64, clean: bool, now: Instant) -> Self {
        let phase = if clean {
            Phase::Cruise { probe_at: now + PROBE_EVERY }
        } else {
            Phase::Measure { since: None }
        };
        Self {
            calls,
            window: WINDOW,
            margin: MARGIN,
            phase,
            next: now,
            gap: Duration::ZERO,
            boundary: None,
        }
    }

    fn verify(&self) -> Phase {
        Phase::Verify { since: None, left: self.calls.ceil() as u32 }
    }

    /// How long `calls` calls take.
    fn length(&self) -> Duration {
        self.window.mul_f64(1.0 + self.margin)
    }

    /// When the next call may go.
    fn wakes_at(&self) -> Instant {
        match self.phase {
            Phase::Cruise { probe_at } => self.next.min(probe_at),
            _ => self.next,
        }
    }

    fn set_gap(&mut self, latency: f64) {
        let even = self.length().div_f64(self.calls);
        self.gap = match self.phase {
            Phase::Cruise { .. } => even,
            _ => {
                let fast = self.window.as_secs_f64() / (latency * 5.0).max(0.001);
                even.div_f64(fast.clamp(LEAST_FAST, FAST))
            }
        };
    }

    /// More than `calls`, by more than chance.
    fn is_raised(&self, let_through: f64) -> bool {
        let chance = if self.boundary.is_some() { 1.02 } else { 1.05 };
        let_through >= self.calls * chance + 1.0
    }

    /// A refusal's lesson: what was let through since the count began.
    fn learn(&mut self, lesson: Lesson, now: Instant) {
        let Lesson { let_through, took, .. } = lesson;
        let let_through = f64::from(let_through).max(1.0);
        let cruise = Phase::Cruise { probe_at: now + PROBE_EVERY };
        self.phase = match self.phase {
            Phase::Cruise { .. } if took < self.window && let_through < self.calls => {
                self.calls = let_through;
                cruise
            }
            Phase::Measure { .. } if took > self.window.mul_f64(CLEAN) => {
                self.calls = self.calls.min(let_through);
                self.verify()
            }
            Phase::Cruise { .. } if took >= self.window * 3 => {
                self.margin = (self.margin + 0.0125).min(LARGEST_MARGIN);
                self.boundary = Some(lesson.sent_at);
                self.phase
            }
            Phase::Cruise { .. } => self.verify(),
            Phase::Measure { .. } | Phase::Verify { .. } => {
                self.calls = let_through;
                cruise
            }
            Phase::Probe { since, position } => {
                let seen = let_through + position * self.calls;
                if self.is_raised(seen) {
                    self.calls = let_through;
                    self.boundary = None;
                    Phase::Measure { since: None }
                } else {
                    let spent = (1.0 - let_through / self.calls).max(0.0);
                    self.boundary =
                        since.and_then(|since| since.checked_sub(self.window.mul_f64(spent)));
                    self.margin = (self.margin * 0.9).max(MARGIN);
                    cruise
                }
            }
        };
    }

    /// Goes on to the next phase where it is time.
    fn advance(&mut self, count: &Count, latency: f64, told: Option<u64>, now: Instant) {
        match self.phase {
            Phase::Cruise { probe_at } if now >= probe_at => {
                if told.is_some_and(|told| self.calls >= told as f64) {
                    self.margin = (self.margin * 0.7).max(TOLD_MARGIN);
                    self.phase = Phase::Cruise { probe_at: now + PROBE_EVERY };
                    return;
                }
                let position = self.boundary.map_or(0.0, |boundary| {
                    ((now - boundary).as_secs_f64() / self.window.as_secs_f64()).fract()
                });
                if position <= LATE * 2.0 {
                    self.phase = Phase::Probe { since: None, position };
                    self.next = now;
                    self.set_gap(latency);
                } else {
                    let start = now + self.window.mul_f64(1.0 + LATE - position);
                    self.phase = Phase::Cruise { probe_at: start };
                }
            }
            Phase::Verify { since: Some(since), left: 0 } if now < since + self.length() => {
                self.next = since + self.length();
            }
            Phase::Verify { left: 0, .. } => {
                self.margin = (self.margin * 2.0).min(LARGEST_MARGIN);
                self.phase = Phase::Cruise { probe_at: now + PROBE_EVERY };
                self.set_gap(latency);
            }
            Phase::Probe { since: Some(since), .. } | Phase::Measure { since: Some(since) }
                if now >= since + self.window.mul_f64(1.5 + 2.0 * latency) =>
            {
                // Nothing was refused for more than a whole window.
                let let_through = f64::from(count.calls.max(count.before));
                if self.is_raised(let_through) {
                    self.calls = let_through;
                    self.phase = Phase::Probe { since: None, position: 0.0 };
                } else {
                    self.phase = Phase::Cruise { probe_at: now + PROBE_EVERY };
                }
                self.boundary = None;
                self.set_gap(latency);
            }
            _ => {}
        }
    }

    fn took(&mut self, count: &mut Count, now: Instant) {
        // What a late wake-up lost may be made up for, as far as the margin allows.
        let slack = self.window.mul_f64(self.margin / 3.0);
        self.next = self.next.max(now.checked_sub(slack).unwrap_or(now)) + self.gap;
        if let Phase::Verify { left, .. } = &mut self.phase {
            *left = left.saturating_sub(1);
        }
        match &mut self.phase {
            Phase::Probe { since, .. } | Phase::Measure { since } | Phase::Verify { since, .. }
                if since.is_none() =>
            {
                *since = Some(now);
                *count = Count::new(now);
            }
            _ => {}
        }
    }
}

impl Count {
    fn new(now: Instant) -> Self {
        Self { began: now, since: now, calls: 0, before: 0 }
    }

    fn add(&mut self, sent_at: Instant, now: Instant) {
        if sent_at < self.began {
            return;
        }
        if now - self.since >= WINDOW {
            *self = Self { since: now, calls: 0, before: self.calls, ..*self };
        }
        self.calls += 1;
    }
}
