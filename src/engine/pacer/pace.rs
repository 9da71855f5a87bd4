//! The pace that keeps within a window's N, and how N is learnt from what was let through.
//!
//! *Cruise.* Calls go evenly, N in a little more than a window's length: however the windows lie, none
//! gets more than N, as long as the way to the server varies by less than that little, the margin.
//!
//! Where N has to be learnt, calls go fast for less than a window, and are counted until one is refused:
//!
//! *Measure*, after a pause and where little is known: what was let through is N.
//!
//! *Verify*, after a pause that came unexpectedly: no more than N calls. If one is refused, N has become
//! what was let through; if none is, the way varies more than thought, and the margin grows.
//!
//! *Probe*, out of cruise: a raised limit shows only where a call too many is made, and where it was not
//! raised, that costs a refusal and a pause. So probes are rare, and fast: the sooner in its window the
//! refusal comes, the less of the next window the pause covers. What a probe gets through tells where the
//! window began, and the next probe starts there. A probe that gets more than N through goes on until it
//! is refused.
//!
//! A count that is part of two windows is too high. It shows: fast calls take longer than they should, or
//! cruising at it is refused soon. Then it is taken again, in another part of the window.

use std::time::Duration;

use tokio::time::Instant;

/// A window's length, until something says otherwise.
pub(super) const WINDOW: Duration = Duration::from_secs(1);
/// How much longer than a window N calls take, besides what the way varies: where N was learnt, where
/// it was told, what an unexpected refusal adds, and at most.
const MARGIN: f64 = 0.008;
const TOLD_MARGIN: f64 = 0.015;
const MORE_MARGIN: f64 = 0.0125;
const LARGEST_MARGIN: f64 = 0.2;
/// How much of the margin is left by what shows that it was enough.
const LESS_MARGIN: f64 = 0.9;
/// What is left of an N that was learnt over a long way and refused soon.
const LESS_CALLS: f64 = 0.95;
/// How often a learnt N is put to the test: a limit that was raised is to be used within 30 s.
const PROBE_EVERY: Duration = Duration::from_secs(24);
/// How much faster than in cruise calls go where they are counted, at most. With long ways it is less,
/// since what is under way when the first refusal arrives is refused as well.
const FAST: f64 = 4.0;
const LEAST_FAST: f64 = 1.5;
/// A share of the window after its presumed beginning: a probe starts there.
const LATE: f64 = 0.03;
/// A count that took at most this share of a window was hardly part of two.
const CLEAN: f64 = 0.8;
/// A cruise that was refused only after that many windows was nearly right.
const LONG: u32 = 3;

/// The pace: `calls` in each `window`.
#[derive(Debug)]
pub(super) struct Pace {
    calls: f64,
    window: Duration,
    margin: f64,
    phase: Phase,
    /// No call before then, and so long after one.
    next: Instant,
    gap: Duration,
    /// When some window of the server began, as far as is known.
    boundary: Option<Instant>,
}

/// `since` is when the phase's first call was sent.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    Cruise {
        probe_at: Instant,
    },
    Probe {
        since: Option<Instant>,
        /// Where in the presumed window it began, as a share of it.
        position: f64,
        /// Whether one before it got more through than N.
        raised: bool,
    },
    Measure {
        since: Option<Instant>,
    },
    Verify {
        since: Option<Instant>,
        /// Calls to send.
        left: u32,
    },
}

/// How calls spend their way, smoothed, in seconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Way {
    /// From call to answer.
    pub(super) latency: f64,
    /// How much that varies, on average.
    pub(super) jitter: f64,
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
    }

    fn round_trips(self, number: f64) -> Duration {
        Duration::from_secs_f64(self.latency * number)
    }
}

/// Calls let through since the count began, or lately.
#[derive(Clone, Copy, Debug)]
pub(super) struct Count {
    began: Instant,
    /// Since when there are `calls`; `before` is those of a window before.
    since: Instant,
    calls: u32,
    before: u32,
}

/// What a refusal teaches.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lesson {
    /// When the refused call was sent.
    pub(super) sent_at: Instant,
    /// How many were let through before it, in how long a time.
    pub(super) let_through: u32,
    pub(super) took: Duration,
}

/// Whether a count that took so long was hardly part of two windows.
fn is_clean(took: Duration) -> bool {
    took <= WINDOW.mul_f64(CLEAN)
}

impl Pace {
    /// What headers say: so many calls in so long a window.
    pub(super) fn said(calls: f64, window: Duration, now: Instant) -> Self {
        let phase = Phase::Cruise { probe_at: now + PROBE_EVERY };
        Self {
            calls,
            window,
            margin: TOLD_MARGIN,
            phase,
            next: now,
            gap: Duration::ZERO,
            boundary: None,
        }
    }

    /// What the first refusal teaches.
    pub(super) fn learnt(lesson: Lesson, now: Instant) -> Self {
        let calls = f64::from(lesson.let_through).max(1.0);
        let mut pace = Self { margin: MARGIN, ..Self::said(calls, WINDOW, now) };
        if !is_clean(lesson.took) {
            pace.phase = Phase::Measure { since: None };
        }
        pace
    }

    pub(super) fn window(&self) -> Duration {
        self.window
    }

    /// How long `calls` calls take.
    pub(super) fn length(&self) -> Duration {
        self.window.mul_f64(1.0 + self.margin)
    }

    /// Whether a call may go now, else when to ask again. `said` is the most that headers allow.
    pub(super) fn check(
        &mut self,
        count: &Count,
        way: Way,
        said: Option<u64>,
        now: Instant,
    ) -> Result<(), Instant> {
        self.advance(count, way, said, now);
        if now >= self.next {
            return Ok(());
        }
        Err(match self.phase {
            Phase::Cruise { probe_at } => self.next.min(probe_at),
            _ => self.next,
        })
    }

    /// A call goes.
    pub(super) fn took(&mut self, count: &mut Count, now: Instant) {
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

    /// Calls may go again after a pause.
    pub(super) fn resume(&mut self, way: Way, now: Instant) {
        self.next = now;
        self.margin = self.margin.max(self.room_for(MARGIN, way));
        self.set_gap(way);
    }

    /// A window of a quota that is told has just begun.
    pub(super) fn begin_window(&mut self, way: Way) {
        let margin = self.room_for(TOLD_MARGIN, way);
        self.margin = margin.max(self.margin * LESS_MARGIN).min(LARGEST_MARGIN);
        self.set_gap(way);
    }

    /// No call sooner after the one that was sent at `sent_at` than the pace allows.
    pub(super) fn keep_away_from(&mut self, sent_at: Instant, way: Way) {
        self.set_gap(way);
        self.next = self.next.max(sent_at + self.gap);
    }

    fn room_for(&self, margin: f64, way: Way) -> f64 {
        margin + way.jitter / self.window.as_secs_f64()
    }

    fn set_gap(&mut self, way: Way) {
        let even = self.length().div_f64(self.calls);
        self.gap = if let Phase::Cruise { .. } = self.phase {
            even
        } else {
            let fast = self.window.as_secs_f64() / (way.latency * 5.0).max(0.001);
            even.div_f64(fast.clamp(LEAST_FAST, FAST))
        };
    }

    fn cruise(now: Instant) -> Phase {
        Phase::Cruise { probe_at: now + PROBE_EVERY }
    }

    /// More than `calls`, by more than chance.
    fn is_raised(&self, let_through: f64) -> bool {
        let chance = if self.boundary.is_some() { 1.02 } else { 1.05 };
        let_through >= self.calls * chance + 1.0
    }

    /// How much longer than it has to be a pause is to last after this lesson, so that the count that
    /// follows is part of one window.
    pub(super) fn shift(pace: Option<&Self>, took: Duration) -> Duration {
        match pace.map(|pace| pace.phase) {
            // Refused near a window's end.
            Some(Phase::Cruise { .. }) if took < WINDOW * LONG => WINDOW / 4,
            None | Some(Phase::Measure { .. } | Phase::Verify { .. }) if !is_clean(took) => {
                WINDOW / 2
            }
            _ => Duration::ZERO,
        }
    }

    /// What a refusal teaches, once the pause that it led to is over.
    pub(super) fn learn(&mut self, lesson: Lesson, way: Way, now: Instant) {
        let Lesson { took, .. } = lesson;
        let let_through = f64::from(lesson.let_through).max(1.0);
        self.phase = match self.phase {
            // Soon after a pause: nothing else was let through in that window.
            Phase::Cruise { .. } if took < self.window && let_through < self.calls => {
                self.calls = let_through;
                Self::cruise(now)
            }
            Phase::Cruise { .. } if took >= self.window * LONG => {
                self.margin = (self.margin + MORE_MARGIN).min(LARGEST_MARGIN);
                self.boundary = Some(lesson.sent_at);
                self.phase
            }
            Phase::Cruise { .. } => {
                // Over a long way no count is part of one window, and none is right: a little less each
                // time comes to what is.
                if way.latency > WINDOW.as_secs_f64() * (1.0 - CLEAN) {
                    self.calls *= LESS_CALLS;
                }
                self.verify()
            }
            Phase::Measure { .. } if !is_clean(took) => {
                self.calls = self.calls.min(let_through);
                self.verify()
            }
            Phase::Measure { .. } | Phase::Verify { .. } => {
                self.calls = let_through;
                Self::cruise(now)
            }
            Phase::Probe { position, raised, .. }
                if raised || self.is_raised(let_through + position * self.calls) =>
            {
                self.calls = if raised { self.calls.max(let_through) } else { let_through };
                self.boundary = None;
                Phase::Measure { since: None }
            }
            Phase::Probe { since, .. } => {
                let spent = (1.0 - let_through / self.calls).max(0.0);
                self.boundary =
                    since.and_then(|since| since.checked_sub(self.window.mul_f64(spent)));
                self.margin = (self.margin * LESS_MARGIN).max(MARGIN);
                Self::cruise(now)
            }
        };
    }

    fn verify(&self) -> Phase {
        Phase::Verify { since: None, left: self.calls.ceil() as u32 }
    }

    /// Goes on to the next phase where it is time.
    fn advance(&mut self, count: &Count, way: Way, said: Option<u64>, now: Instant) {
        match self.phase {
            Phase::Cruise { probe_at } if now >= probe_at => {
                if said.is_some_and(|said| self.calls >= said as f64) {
                    self.phase = Self::cruise(now);
                } else {
                    self.probe_at_boundary(way, now);
                }
            }
            Phase::Verify { since: Some(since), left: 0 } if now < since + self.length() => {
                self.next = since + self.length();
            }
            Phase::Verify { left: 0, .. } => {
                self.margin = (self.margin * 2.0).min(LARGEST_MARGIN);
                self.phase = Self::cruise(now);
                self.set_gap(way);
            }
            // Long enough for a refusal to come from the second of two windows.
            Phase::Probe { since: Some(since), .. } | Phase::Measure { since: Some(since) }
                if now >= since + self.window.mul_f64(1.5) + way.round_trips(2.0) =>
            {
                let let_through = count.in_a_window();
                if self.is_raised(let_through) {
                    self.calls = let_through;
                    self.phase = Phase::Probe { since: None, position: 0.0, raised: true };
                } else {
                    // Something else holds calls back: no more than that is known.
                    self.phase = Self::cruise(now);
                }
                self.boundary = None;
                self.set_gap(way);
            }
            _ => {}
        }
    }

    /// Begins a probe, or waits for the presumed beginning of a window to do so.
    fn probe_at_boundary(&mut self, way: Way, now: Instant) {
        let position = self.boundary.map_or(0.0, |boundary| {
            ((now - boundary).as_secs_f64() / self.window.as_secs_f64()).fract()
        });
        if position > LATE * 2.0 {
            let start = now + self.window.mul_f64(1.0 + LATE - position);
            self.phase = Phase::Cruise { probe_at: start };
            return;
        }
        self.phase = Phase::Probe { since: None, position, raised: false };
        self.next = now;
        self.set_gap(way);
    }
}

impl Count {
    pub(super) fn new(now: Instant) -> Self {
        Self { began: now, since: now, calls: 0, before: 0 }
    }

    /// Counts a call that was let through, unless it was sent before the count began.
    pub(super) fn add(&mut self, sent_at: Instant) {
        if sent_at < self.began {
            return;
        }
        if sent_at < self.since {
            self.before += 1;
            return;
        }
        if sent_at - self.since >= WINDOW {
            *self = Self { since: sent_at, calls: 0, before: self.calls, ..*self };
        }
        self.calls += 1;
    }

    /// The lesson of a call that was sent at `sent_at` and refused.
    pub(super) fn lesson(&self, sent_at: Instant, now: Instant) -> Lesson {
        Lesson { sent_at, let_through: self.calls.max(self.before), took: now - self.began }
    }

    /// Calls a window, as far as is known: since the count began, or in a window of it.
    fn in_a_window(&self) -> f64 {
        f64::from(self.calls.max(self.before))
    }
}
