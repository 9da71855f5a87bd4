//! How many calls, of all routes or of one, the server lets through in a window of time.
//!
//! The servers in question count calls in fixed windows (docs/cmdb-api.md#limits-and-quotas): the first N of a
//! window are let through, the others are refused. Nobody says when a window begins, and often nobody
//! says what N is. `Pace` keeps within N; this file hears of it.
//!
//! *Told.* Where `X-Bkapi-RateLimit-Limit` says N, that is all. `Remaining: 0` holds calls until the
//! window's end, where it comes early: then others share the quota. A job's shards each take their part of N (`share`).
//!
//! *Learnt.* Else refusals teach it. A refusal pauses the whole pool once, for as long as it says, else
//! for a window. After that one call goes alone, and the others follow once it is let through, so that a
//! pause that was too short costs one call; where nobody says how long, the next one is twice as long.
//! A refusal that comes before a handful of calls was let through is waited for and teaches nothing the
//! first time: it says more of the calls before ours than of N. Where `Pace` expected a call too many, none
//! pauses, unless the server asks for it.

use std::time::Duration;

use tokio::time::Instant;

use super::Feedback;
use super::lesson::{Count, Lesson, WINDOW};
use super::let_through::LetThrough;
use super::pace::Pace;
use super::share::Share;
use super::way::Way;
use crate::cmdb::wire::RateHint;

/// No pause that a server asks for is longer: after that, one call asks again.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// No window that a server tells of is longer: it means a moment, or would hold the run up for ever.
const LONGEST_WINDOW: Duration = Duration::from_hours(1);
/// So many calls must have been let through for a first refusal to say what N is.
const HANDFUL: u32 = 5;
/// A quota that is used up in a smaller share of its window than this is shared with others.
const EARLY: f64 = 0.75;

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
    /// The same, by when they were sent.
    recent: LetThrough,
    /// What the refusal that led to the present pause teaches.
    lesson: Option<Lesson>,
    /// Whether a refusal was waited for and nothing learnt from it.
    forgave: bool,
    /// Calls sent before then say nothing about the present pace.
    fresh: Instant,
    way: Way,
    said: ServerMessage,
    share: Share,
}

/// The one call after a pause.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Trial {
    None,
    Due,
    Out(Instant),
}

/// What headers say.
#[derive(Clone, Copy, Debug, Default)]
struct ServerMessage {
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
            recent: LetThrough::new(now),
            lesson: None,
            forgave: false,
            fresh: now,
            way: Way::default(),
            said: ServerMessage::default(),
            share: Share::new(1, now),
        }
    }

    /// So many processes share a quota that is told: this one takes its part.
    pub(super) fn share(&mut self, processes: u32) {
        self.share = Share::new(processes, self.fresh);
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
        if let Some(until) = self.said.full_until {
            if now < until {
                return Err(until);
            }
            self.said.full_until = None;
        }
        match &mut self.pace {
            Some(pace) => {
                let limit = self.said.limit.map(|limit| self.share.of(limit) as u64);
                pace.check(&self.count, &self.recent, self.way, limit, now)
            }
            None => Ok(()),
        }
    }

    pub(super) fn paused_until(&self) -> Option<Instant> {
        self.paused_until
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
    pub(super) fn landed(
        &mut self,
        said: Feedback,
        hint: RateHint,
        sent_at: Instant,
        now: Instant,
    ) {
        let on_trial = matches!(self.trial, Trial::Out(at) if sent_at >= at);
        if on_trial {
            self.trial = Trial::None;
        }
        self.listen(hint, sent_at, now);
        match said {
            Feedback::Answer => {
                if on_trial {
                    self.patience = WINDOW;
                }
                self.let_through(sent_at, now);
            }
            Feedback::Throttled => self.refused(hint, on_trial, sent_at, now),
            Feedback::Overload | Feedback::Nothing => {}
        }
    }

    fn let_through(&mut self, sent_at: Instant, now: Instant) {
        self.way.add(now - sent_at);
        self.recent.add(sent_at);
        match &mut self.lesson {
            // Nothing is sent in a pause: it was on its way when the refusal came, and counts.
            Some(lesson) => lesson.let_through += 1,
            None => self.count.add(sent_at),
        }
    }

    fn refused(&mut self, hint: RateHint, on_trial: bool, sent_at: Instant, now: Instant) {
        if on_trial {
            // The window is longer than thought, or others use it up.
            self.patience = (self.patience * 2).min(LONGEST_PAUSE);
        } else if self.paused_until.is_none() && self.shrugs(hint, sent_at, now) {
            return;
        }
        // Less than a window would only mean to be refused again in the same one.
        let said = hint.retry_after.or(hint.reset).map(|wait| wait.max(WINDOW));
        let since = if on_trial { now } else { self.judged_at(sent_at, now) };
        let until = since + said.unwrap_or(self.patience).min(LONGEST_PAUSE);
        self.paused_until = Some(self.paused_until.map_or(until, |paused| paused.max(until)));
        if on_trial {
            return;
        }
        if let Some(lesson) = &mut self.lesson {
            lesson.last_sent_at = lesson.last_sent_at.max(sent_at);
            return;
        }
        if sent_at < self.fresh {
            return;
        }
        self.fresh = now;
        let lesson = self.count.lesson(sent_at, now);
        self.lesson = Some(lesson);
        self.paused_until = Some(until + Pace::shift(self.pace.as_ref(), self.way, lesson.took));
    }

    /// Whether a refusal is no reason to pause.
    fn shrugs(&mut self, hint: RateHint, sent_at: Instant, now: Instant) -> bool {
        if hint.retry_after.is_some() || self.said.full_until.is_some() {
            return false;
        }
        let is_told = hint.limit.is_some();
        self.pace.as_mut().is_some_and(|pace| pace.shrugs(sent_at, is_told, self.way, now))
    }

    /// From when on a pause counts. The server counts it from when it refused the call, and the next call
    /// has its way to go: over a long way, that makes up for the refusal's way back.
    fn judged_at(&self, sent_at: Instant, now: Instant) -> Instant {
        match self.pace {
            Some(_) if self.way.is_long() => now.min(sent_at + self.way.jitters(2.0)),
            _ => now,
        }
    }

    /// The pause is over: what was learnt becomes the pace.
    fn resume(&mut self, now: Instant) {
        self.paused_until = None;
        let is_settled =
            self.way.is_long() && self.pace.as_ref().is_some_and(|pace| pace.is_settled(now));
        self.trial = if is_settled { Trial::None } else { Trial::Due };
        self.said.full_until = None;
        self.count = Count::new(now);
        if let Some(lesson) = &mut self.lesson
            && self.way.is_long()
        {
            lesson.let_through = self.recent.until(lesson.last_sent_at, WINDOW);
        }
        match (self.lesson.take(), &mut self.pace) {
            (Some(lesson), Some(pace)) => pace.learn(lesson, self.way, now),
            (Some(lesson), None) if lesson.let_through < HANDFUL && !self.forgave => {
                self.forgave = true;
            }
            (Some(lesson), None) => self.pace = Some(Pace::learnt(lesson, self.way, now)),
            (None, _) => {}
        }
        if let Some(pace) = &mut self.pace {
            pace.resume(self.way, now);
        }
    }

    /// Takes in what the headers say.
    fn listen(&mut self, hint: RateHint, sent_at: Instant, now: Instant) {
        let Some(limit) = hint.limit else {
            return;
        };
        let reset =
            hint.reset.filter(|reset| *reset <= LONGEST_WINDOW).unwrap_or(WINDOW).max(WINDOW);
        let known = self.pace.take().filter(|_| self.said.limit == Some(limit));
        let mut pace = match known {
            // A window is as long as the longest time to its end.
            Some(pace) if pace.window() >= reset => pace,
            known => {
                if known.is_none() {
                    self.said = ServerMessage { limit: Some(limit), ..ServerMessage::default() };
                    self.fresh = now;
                }
                let mut pace = Pace::said(self.share.of(limit), reset, now);
                pace.keep_away_from(sent_at, self.way);
                pace
            }
        };
        if let Some(remaining) = hint.remaining {
            if self.share.hear(limit, remaining, pace.window(), now) {
                pace.allow(self.share.of(limit), self.way);
            }
            let overtakes = self.way.jitters(3.0).min(pace.window() / 2);
            if self.said.begins(remaining, limit, sent_at, overtakes, pace.window()) {
                self.said.began = Some(sent_at);
                pace.begin_window(self.way);
            }
            if self.said.began.is_none_or(|began| sent_at >= began + overtakes) {
                self.said.use_up(remaining, now + reset, sent_at, &pace);
            }
        }
        self.pace = Some(pace);
    }
}

impl ServerMessage {
    /// Whether an answer that says this shows that a window has begun. Answers overtake each other by so
    /// much: some more than before shows nothing.
    fn begins(
        &self,
        remaining: u64,
        limit: u64,
        sent_at: Instant,
        overtakes: Duration,
        window: Duration,
    ) -> bool {
        let chance = limit as f64 * (0.1 + overtakes.as_secs_f64() / window.as_secs_f64());
        let is_more = remaining as f64 > self.remaining as f64 + chance.ceil();
        match self.began {
            Some(began) => is_more && sent_at + overtakes >= began + window,
            None => remaining + 1 == limit || is_more,
        }
    }

    /// Takes in what remains of a window that ends at `reset_at` at the latest.
    fn use_up(&mut self, remaining: u64, reset_at: Instant, sent_at: Instant, pace: &Pace) {
        self.remaining = remaining;
        let early = |began| sent_at >= began && sent_at < began + pace.window().mul_f64(EARLY);
        if remaining == 0 && self.began.is_none_or(early) {
            let ends = self.began.map_or(reset_at, |began| began + pace.length());
            self.full_until = Some(ends.min(reset_at));
        }
    }
}
