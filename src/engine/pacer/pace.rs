//! The pace that keeps within a window's N, and how N is learnt from what was let through.
//!
//! *Cruise.* Calls go evenly, N in a little more than a window's length: however the windows lie, none
//! gets more than N, as long as the way to the server varies by less than that little, the margin.
//!
//! Calls overtake each other on their way, so that a window may get one too many in spite of the margin.
//! Its refusal is then the last thing in its window, and no reason to pause: the margin grows a little.
//!
//! Where N has to be learnt over a short way, calls go fast for less than a window, and are counted until
//! one is refused:
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
//!
//! Over a long way so much is under way when a refusal arrives that fast calls cost more than they teach.
//! There N is what was let through of the calls *sent* in the window before the last one that was refused,
//! and calls only *creep* above it: a little more than N for two windows, then in growing steps, until one
//! is refused. At first that takes a call or two of each window, and no pause.

use std::time::Duration;

use tokio::time::Instant;

use super::lesson::{Count, Lesson, WINDOW};
use super::let_through::LetThrough;
use super::way::Way;

/// How much longer than a window N calls take, besides what the way varies: where N was learnt, where
/// it was told, what an unexpected refusal adds, and at most.
const MARGIN: f64 = 0.008;
const TOLD_MARGIN: f64 = 0.015;
const MORE_MARGIN: f64 = 0.0125;
const LARGEST_MARGIN: f64 = 0.2;
/// How much of the margin is left by what shows that it was enough.
const LESS_MARGIN: f64 = 0.9;
/// How many standard deviations of the calls in a window the margin has room for.
const CHANCES: f64 = 1.0;
/// So many calls of a window may be refused without a pause, and such a share of N.
const STRAYS: f64 = 3.0;
const STRAYS_SHARE: f64 = 0.1;
/// By how much more than N calls creep, as a share of it: at first, as long as a refusal is no reason to
/// pause, and at most; and after what time, where N was just learnt.
const STEP: f64 = 0.03;
const SMALL_STEP: f64 = 0.25;
const LARGEST_STEP: f64 = 0.5;
const CREEP_SOON: Duration = Duration::from_secs(8);
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
    /// When calls last began to go after a pause.
    resumed: Instant,
    /// When a call was sent whose refusal was no reason to pause, and how many were refused with it.
    stray: Option<Instant>,
    strays: u32,
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
    Creep {
        since: Instant,
        /// By how much more than N calls go, as a share of it.
        step: f64,
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
            resumed: now,
            stray: None,
            strays: 0,
        }
    }

    /// What the first refusal teaches.
    pub(super) fn learnt(lesson: Lesson, way: Way, now: Instant) -> Self {
        let calls = f64::from(lesson.let_through).max(1.0);
        let mut pace = Self { margin: MARGIN, ..Self::said(calls, WINDOW, now) };
        if !is_clean(lesson.took) && !way.is_long() {
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
        recent: &LetThrough,
        way: Way,
        said: Option<u64>,
        now: Instant,
    ) -> Result<(), Instant> {
        if let Phase::Creep { since, step } = self.phase {
            self.creep(since, step, recent, way, now);
        }
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

    /// So many calls in a window are this process's from now on.
    pub(super) fn allow(&mut self, calls: f64, way: Way) {
        self.calls = calls;
        self.set_gap(way);
    }

    /// Calls may go again after a pause.
    pub(super) fn resume(&mut self, way: Way, now: Instant) {
        self.next = now;
        self.resumed = now;
        self.stray = None;
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
        let jitter = way.jitter / self.window.as_secs_f64();
        // Of the calls near a window's two ends each may fall on either side.
        let chance = (jitter * 2.0 / 3.0 / self.calls).sqrt();
        margin + jitter.min(chance * CHANCES)
    }

    fn set_gap(&mut self, way: Way) {
        let even = self.length().div_f64(self.calls);
        self.gap = match self.phase {
            Phase::Cruise { .. } => even,
            Phase::Creep { step, .. } => self.window.div_f64(self.calls * (1.0 + step)),
            _ => {
                let fast = self.window.as_secs_f64() / (way.latency * 5.0).max(0.001);
                even.div_f64(fast.clamp(LEAST_FAST, FAST))
            }
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
    pub(super) fn shift(pace: Option<&Self>, way: Way, took: Duration) -> Duration {
        if way.is_long() {
            return Duration::ZERO;
        }
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
        if way.is_long() {
            self.learn_over_long_way(let_through, now);
            return;
        }
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
            Phase::Cruise { .. } => self.verify(),
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
            Phase::Creep { .. } => Self::cruise(now),
            Phase::Probe { since, .. } => {
                let spent = (1.0 - let_through / self.calls).max(0.0);
                self.boundary =
                    since.and_then(|since| since.checked_sub(self.window.mul_f64(spent)));
                self.margin = (self.margin * LESS_MARGIN).max(MARGIN);
                Self::cruise(now)
            }
        };
    }

    /// What was let through in the window up to the last call that was refused is N at most: that call's
    /// window began within it. It is N where the window's end was seen.
    fn learn_over_long_way(&mut self, let_through: f64, now: Instant) {
        match self.phase {
            // N is as it was thought to be.
            Phase::Creep { step, .. } if step <= SMALL_STEP => {
                self.phase = Self::cruise(now);
                return;
            }
            Phase::Cruise { .. } if let_through >= self.calls => {
                self.margin = (self.margin + MORE_MARGIN).min(LARGEST_MARGIN);
            }
            _ => self.calls = let_through,
        }
        self.phase = Phase::Cruise { probe_at: now + CREEP_SOON };
    }

    /// Whether N calls a window went well for a while.
    pub(super) fn is_settled(&self, now: Instant) -> bool {
        now >= self.resumed + self.window * LONG + WINDOW
    }

    /// Whether the refusal of a call that was sent at `sent_at` is no reason to pause: one call too many
    /// was expected, or came too many by the way's jitter and was the last of its window.
    pub(super) fn shrugs(
        &mut self,
        sent_at: Instant,
        is_told: bool,
        way: Way,
        now: Instant,
    ) -> bool {
        match self.phase {
            Phase::Creep { step, .. } if step <= SMALL_STEP => {
                self.margin = (self.margin * LESS_MARGIN).max(self.room_for(MARGIN, way));
                (self.stray, self.strays) = (Some(now), 1);
                self.phase = Self::cruise(now);
            }
            Phase::Cruise { .. } if is_told || way.is_long() => {
                let same_until = self.stray.map(|stray| stray + self.window / 4);
                if same_until.is_some_and(|until| sent_at <= until) {
                    self.strays += 1;
                    return f64::from(self.strays) <= STRAYS + self.calls * STRAYS_SHARE;
                }
                let soon = self.stray.is_some_and(|stray| sent_at < stray + self.window * LONG);
                if !is_told && (soon || sent_at < self.resumed + self.window * LONG) {
                    return false;
                }
                (self.stray, self.strays) = (Some(sent_at), 1);
                self.margin = (self.margin + MORE_MARGIN / 4.0).min(LARGEST_MARGIN);
            }
            _ => return false,
        }
        self.set_gap(way);
        true
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
                } else if way.is_long() {
                    self.phase = Phase::Creep { since: now, step: STEP + 1.0 / self.calls };
                    self.set_gap(way);
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

    /// Goes on to the next step where no call was refused for so long that a window had all of this one,
    /// and that was answered.
    fn creep(&mut self, since: Instant, step: f64, recent: &LetThrough, way: Way, now: Instant) {
        let answered = way.round_trips(1.0) + way.jitters(3.0);
        if now < since + self.window * 2 + answered {
            return;
        }
        let let_through = now.checked_sub(answered).map(|end| recent.until(end, self.window));
        if let_through.is_some_and(|calls| f64::from(calls) >= self.calls * (1.0 + step / 2.0)) {
            self.calls *= 1.0 + step;
            self.phase = Phase::Creep { since: now, step: (step * 2.0).min(LARGEST_STEP) };
        } else {
            // Something else holds calls back: no more than that is known.
            self.phase = Self::cruise(now);
        }
        self.set_gap(way);
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
