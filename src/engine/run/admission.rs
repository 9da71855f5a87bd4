//! How rows come in: read and marked, let in when the mark is on disk; and, for rows that an earlier
//! process left in doubt, when it is on disk that they are sent again.

use std::time::Duration;

use tokio::time::Instant;

use super::Run;
use crate::cmdb::Cmdb;
use crate::engine::conflicts::Slot;
use crate::engine::models::Admission;
use crate::engine::remaining::{PendingRow, Remaining};
use crate::engine::task::{Next, Note, Task};
use crate::outcome::{Outcome, Reason};

/// Rows that are about to be sent, of which something has to be on disk before.
#[derive(Debug, Default)]
pub(super) struct Noting {
    /// Not written down yet.
    pub(super) asked: Vec<(Slot, Instant, Note)>,
    /// Written down, and waiting for the disk.
    noted: Vec<(Slot, Instant)>,
    /// Where in the journal that ends.
    noted_at: u64,
}

impl Noting {
    pub(super) fn is_empty(&self) -> bool {
        self.asked.is_empty() && self.noted.is_empty()
    }
}

impl<C: Cmdb> Run<'_, C> {
    pub(super) fn wants_rows(&self) -> bool {
        let ready = self.rows.creates.len() + self.rows.deletes.len();
        self.stopping.is_none() && self.intake.wants_rows(ready, self.batches.size())
    }

    /// Takes rows from the reader and writes the mark that covers them.
    pub(super) fn take_rows(&mut self) {
        if !self.wants_rows() {
            return;
        }
        let models = &mut self.questions.models;
        match self.intake.take(self.recorder.journal, self.largest_id, models) {
            Ok(count) => self.recorder.stats.unsettled += count,
            Err(halt) => self.stop(halt),
        }
        self.recorder.stats.input_ended = self.intake.ended().is_some();
    }

    /// Lets staged rows in, in input order: those that need no call end here, the others get a place
    /// among the rows under way once their mark is on disk.
    pub(super) fn admit(&mut self, now: Instant) {
        while self.stopping.is_none()
            && let Some(PendingRow { row, remaining }) = self.intake.front()
        {
            if let Remaining::Carry(outcome) = remaining {
                let outcome = outcome.clone();
                self.recorder.carry(self.intake.pop().row, outcome);
                continue;
            }
            if let Remaining::Planned(outcome) = remaining {
                let outcome = outcome.clone();
                let row = self.intake.pop().row;
                self.write_down(row, outcome, now);
                continue;
            }
            let (number, model) = match self.questions.models.admit(row) {
                Admission::Known(number, model) => (number, model),
                Admission::Wanted => return,
                Admission::Refused(reason, message) => {
                    let outcome = end_of_refused(row.parsed.is_ok(), remaining, reason, message);
                    let row = self.intake.pop().row;
                    self.write_down(row, outcome, now);
                    continue;
                }
            };
            // Nothing is written before it is known that all of it can be.
            if self.deletes.is_open() {
                return;
            }
            if !self.rows.has_room() || !self.recorder.journal.covers(row.ordinal) {
                return;
            }
            let PendingRow { row, remaining } = self.intake.pop();
            let new = row.parsed.clone().expect("rows without an association are refused");
            let since = self.doubt_since(&remaining);
            let (task, next) = Task::begin(new, model, &remaining, self.largest_id, since)
                .expect("rows that are carried over are not let in");
            self.rows.admit(row, number, task, next, now);
        }
    }

    /// Since when a row is in doubt that an earlier process may have sent. A clock that was ahead then is
    /// not believed: nothing is in doubt since a moment to come.
    fn doubt_since(&self, remaining: &Remaining) -> Instant {
        let started = self.limits.started();
        let Remaining::InDoubt { since: Some(since), .. } = remaining else { return started };
        let waited =
            u64::try_from(self.began_at - since).map_or(Duration::ZERO, Duration::from_millis);
        started.checked_sub(waited.min(self.policy.settle_after)).unwrap_or(started)
    }

    /// Writes down what has to be on disk before rows are sent, and lets those go of which it is.
    pub(super) fn note_sending(&mut self, now: Instant) {
        let Noting { asked, noted, noted_at } = &mut self.noting;
        if self.recorder.journal.is_on_disk(*noted_at) {
            for (slot, at) in noted.drain(..) {
                self.rows.put(slot, Next::Write, at, now);
            }
        }
        if !noted.is_empty() || asked.is_empty() {
            return;
        }
        let (mut sent, mut deletes) = (Vec::new(), Vec::new());
        for (slot, at, note) in asked.drain(..) {
            let ordinal = self.rows.ordinal(slot);
            match note {
                Note::Sent => sent.push(ordinal),
                Note::Deletes(ids) => deletes.extend(ids.into_iter().map(|id| (ordinal, id))),
            }
            noted.push((slot, at));
        }
        sent.sort_unstable();
        deletes.sort_unstable();
        if !sent.is_empty() {
            *noted_at = self.recorder.journal.resent(&sent);
        }
        if !deletes.is_empty() {
            *noted_at = self.recorder.journal.deletes(&deletes);
        }
    }
}

/// The end of a row that is refused before any call of this process.
fn end_of_refused(
    names_one: bool,
    remaining: &Remaining,
    reason: Reason,
    message: String,
) -> Outcome {
    // Without its model association a row can't be looked up.
    if remaining.may_have_been_sent() && names_one {
        let message = format!("an earlier call for it may have been executed: {message}");
        return Outcome::bad(Reason::OutcomeUnknown, message, 0, 0);
    }
    Outcome::bad(reason, message, 0, 0)
}
