//! What ends a run from within, and when the loop has to look again.
//!
//! Owns the limits of time: `--max-duration`, `--max-outage`, `--connect-timeout`.

use tokio::time::Instant;

use super::{LINGER, Run};
use crate::cmdb::Cmdb;
use crate::engine::pacer::Bottleneck;
use crate::engine::preflight;
use crate::exit::Exit;

impl<C: Cmdb> Run<'_, C> {
    pub(super) fn keep_time(&mut self, now: Instant) {
        let hold = self.held.map_or(Bottleneck::Nothing, |(_, hold)| hold);
        self.stats.calls.held(hold, now - self.held_since);
        self.stats.elapsed = now - self.started;
        self.held_since = now;
    }

    pub(super) fn check_limits(&mut self, in_flight: usize, now: Instant) {
        self.note_wait(in_flight, now);
        if self.halt.is_some() {
            return;
        }
        if let Some(most) = self.options.max_duration
            && now >= self.started + most
        {
            self.stop(preflight::duration_over(most));
        } else if !self.evidence.answered && self.waits && now >= self.connect_deadline() {
            self.drain_until = Some(now);
            let wait = self.options.connect_timeout;
            self.stop(preflight::never_answered(self.target, wait, &self.evidence.trouble));
        } else if self.waits && now >= self.progress + self.options.max_outage {
            let most = humantime::format_duration(self.options.max_outage);
            self.stop_with(
                Exit::Outage,
                format!(
                    "nothing was settled for {most}, the last answer being: {}. The rows are \
                     outstanding, not failed",
                    self.evidence.trouble
                ),
            );
        }
    }

    fn connect_deadline(&self) -> Instant {
        self.progress + self.options.connect_timeout
    }

    /// Rows that are kept for a last look, or for proof that anything is permitted, wait for more input
    /// and not for the server; so do those behind them.
    fn note_wait(&mut self, in_flight: usize, now: Instant) {
        let waits =
            in_flight > 0 || self.rows.is_moving() || self.asking || self.models.has_questions();
        if waits && !self.waits {
            self.progress = now;
        }
        self.waits = waits;
    }

    /// When the loop has to look again, if nothing happens before.
    pub(super) fn next_wake(&self, show_at: Instant, now: Instant) -> Instant {
        let draining = self.halt.is_some();
        let waiting = self.waits && !draining;
        [
            Some(show_at),
            self.drain_until,
            self.journal.sync_due(),
            self.rows.next_timer(),
            self.held.map(|(until, _)| until).filter(|_| !draining),
            self.rows.looks_since.map(|since| since + LINGER).filter(|due| *due > now && !draining),
            (self.models.has_questions() && self.ask_at > now && !draining).then_some(self.ask_at),
            self.options.max_duration.map(|most| self.started + most).filter(|_| !draining),
            waiting.then(|| self.progress + self.options.max_outage),
            (waiting && !self.evidence.answered).then(|| self.connect_deadline()),
        ]
        .into_iter()
        .flatten()
        .min()
        .unwrap_or(show_at)
    }
}
