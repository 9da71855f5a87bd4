//! What ends a run when its time is over: `--max-duration`, `--max-outage`, `--connect-timeout`.
//!
//! Time comes in as an argument. Knows nothing of rows or calls.

use std::time::Duration;

use tokio::time::Instant;

use crate::engine::server_health::ServerHealth;
use crate::exit::{Exit, Halt};
use crate::options::{EngineOptions, exact_duration};
use crate::target::Target;

/// The limits of a run, or of the questions of another command.
#[derive(Debug)]
pub struct TimeLimits<'a> {
    options: &'a EngineOptions,
    target: &'a Target,
    started: Instant,
    /// Whether anything waits for the server, and not for more input alone.
    waits: bool,
    /// The last time that something came closer to its end, or that the wait began.
    progress: Instant,
}

impl<'a> TimeLimits<'a> {
    /// From `now` on.
    pub fn new(options: &'a EngineOptions, target: &'a Target, waits: bool, now: Instant) -> Self {
        Self { options, target, started: now, waits, progress: now }
    }

    /// When it all began.
    pub const fn started(&self) -> Instant {
        self.started
    }

    /// Something came closer to its end.
    pub fn progressed(&mut self, now: Instant) {
        self.progress = now;
    }

    /// Whether anything waits for the server now.
    pub fn note_wait(&mut self, waits: bool, now: Instant) {
        if waits && !self.waits {
            self.progress = now;
        }
        self.waits = waits;
    }

    /// Which limit is over, and what to say of it.
    pub fn over(&self, health: &ServerHealth, now: Instant) -> Option<Halt> {
        let past = |limit: Option<Instant>| limit.is_some_and(|limit| now >= limit);
        if past(self.end()) {
            return self.options.max_duration.map(duration_over);
        }
        if !past(self.patience(health.answered)) {
            return None;
        }
        let trouble = &health.trouble;
        let most = exact_duration(self.longest_silence(health.answered));
        let message = if health.answered {
            format!(
                "nothing came forward for {most}, the last answer being: {trouble}. What is not done \
                 is outstanding, not failed"
            )
        } else {
            format!(
                "no answer ever came from {} within {most} ({trouble}): check --endpoint and --proxy, \
                 and whether it is up",
                self.target
            )
        };
        Some(Halt { exit: Exit::Outage, message })
    }

    /// When the first of the limits is over, if nothing comes before.
    pub fn deadline(&self, answered: bool) -> Option<Instant> {
        [self.end(), self.patience(answered)].into_iter().flatten().min()
    }

    fn end(&self) -> Option<Instant> {
        self.options.max_duration.map(|most| self.started + most)
    }

    /// How long the server may bring nothing forward.
    fn patience(&self, answered: bool) -> Option<Instant> {
        self.waits.then(|| self.progress + self.longest_silence(answered))
    }

    fn longest_silence(&self, answered: bool) -> Duration {
        let EngineOptions { max_outage, connect_timeout, .. } = *self.options;
        if answered { max_outage } else { connect_timeout.min(max_outage) }
    }
}

/// The end of a run whose time is over.
pub fn duration_over(most: Duration) -> Halt {
    let most = exact_duration(most);
    Halt { exit: Exit::MaxDuration, message: format!("--max-duration {most} is over") }
}
