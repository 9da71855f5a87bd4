//! What is counted until a refusal, and what the refusal teaches.

use std::time::Duration;

use tokio::time::Instant;

/// A window's length, until something says otherwise.
pub(super) const WINDOW: Duration = Duration::from_secs(1);

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
    /// When the refused call was sent, and the last one that was refused with it.
    pub(super) sent_at: Instant,
    pub(super) last_sent_at: Instant,
    /// How many were let through before it, in how long a time.
    pub(super) let_through: u32,
    pub(super) took: Duration,
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
        let let_through = self.calls.max(self.before);
        Lesson { sent_at, last_sent_at: sent_at, let_through, took: now - self.began }
    }

    /// Calls a window, as far as is known: since the count began, or in a window of it.
    pub(super) fn in_a_window(&self) -> f64 {
        f64::from(self.calls.max(self.before))
    }
}
