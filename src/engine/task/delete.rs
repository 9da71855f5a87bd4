//! A task whose goal is that the association is gone: seen, deleted, seen gone.
//!
//! A server says "success" to a delete of what is gone, and of what another model has: only looking
//! before and after proves it (`docs/cmdb-api.md`, deletes). An id is never used again, so that a delete
//! which is executed late finds either what it was sent for or nothing.

use std::time::Duration;

use rand::Rng;
use tokio::time::Instant;

use super::{Deleting, Step, Task};
use crate::cmdb::server_message::ServerMessage;
use crate::cmdb::verdict::Cause;
use crate::cmdb::wire::{Found, Pattern};
use crate::engine::remaining::Goal;
use crate::engine::retry::Backoff;
use crate::outcome::{Outcome, Reason, Status};

/// Looks that disagree with what is expected before they are believed: reads lag behind writes.
pub(super) const LOOKS: u32 = 4;
/// Calls for many with the row in them that failed, before it goes singly.
const LOST_CALLS: u32 = 2;
/// How old a look may be when the delete goes out.
const LOOK_LASTS: Duration = Duration::from_mins(1);

impl Task {
    /// The association itself, and whatever has its ids now.
    pub(super) fn patterns_to_delete(&self) -> Vec<Pattern> {
        let association = &self.new.association;
        let pair = Pattern::Pair(association.inst_id, association.asst_inst_id);
        let ids = match self.goal {
            // What has the triple is all that counts.
            Goal::Delete { id: None } => &[],
            _ => self.deleting.ids.as_slice(),
        };
        std::iter::once(pair).chain(ids.iter().map(|id| Pattern::Id(*id))).collect()
    }

    /// Whether what is to be deleted was seen too long ago.
    pub(super) fn is_look_old(&self, now: Instant) -> bool {
        self.deleting.looked_at.is_none_or(|at| now - at > LOOK_LASTS)
    }

    /// How many may go with it in one call; `None` where it goes singly.
    pub fn company(&self) -> Option<usize> {
        (!self.deleting.single).then(|| self.deleting.company.unwrap_or(usize::MAX))
    }

    /// How often a call for many with the row in it failed.
    pub fn failures(&self) -> u32 {
        self.deleting.failures
    }

    /// A call for many with the row in it was answered with success, whatever that means.
    pub fn on_deletes_answered(&mut self, request_id: Option<String>, now: Instant) -> Step {
        self.said = ServerMessage { request_id, ..ServerMessage::default() };
        self.attempts.count();
        self.looks = 0;
        self.delete_was_sent(true, now)
    }

    /// A call for `many` with the row in it may have been executed. Charges nothing: it need not be the row's
    /// doing.
    pub fn on_deletes_lost(&mut self, many: usize, said: ServerMessage, now: Instant) -> Step {
        self.said = said;
        self.attempts.count_free();
        self.lose_company(many);
        self.looks = 0;
        self.delete_was_sent(false, now)
    }

    /// A call for `many` with the row in it was refused as a whole.
    pub fn on_deletes_refused(&mut self, many: usize, now: Instant) -> Step {
        self.lose_company(many);
        Step::Write(now)
    }

    /// A call for `many` with the row in it was not executed. Charges nothing, like a lost one.
    pub fn on_deletes_again(
        &mut self,
        many: usize,
        cause: Cause,
        now: Instant,
        rng: &mut impl Rng,
    ) -> Step {
        self.attempts.count_free();
        if !cause.is_limit() {
            self.lose_company(many);
        }
        Step::Write(now + self.attempts.wait(rng))
    }

    /// What failed goes with half of its company, then singly.
    fn lose_company(&mut self, many: usize) {
        self.deleting.failures += 1;
        self.deleting.company = Some((many / 2).max(1));
        self.deleting.single = self.deleting.failures >= LOST_CALLS;
    }

    /// One association was deleted. The next, where there are several.
    pub(super) fn one_is_deleted(&mut self, now: Instant) -> Step {
        if self.deleting.there.len() > 1 {
            self.deleting.there.remove(0);
            (self.deleting.sent, self.deleting.here) = (true, true);
            return Step::Write(now);
        }
        self.attempts.count();
        self.delete_was_sent(true, now)
    }

    /// A delete was sent and may have been executed: whether it was, a look tells.
    pub(super) fn delete_was_sent(&mut self, answered: bool, now: Instant) -> Step {
        let Deleting { sent, here, .. } = &mut self.deleting;
        (*sent, *here) = (true, true);
        self.deleting.answered = answered;
        Step::LookUp(now)
    }

    /// A delete was refused for good. One before it may be executed yet.
    pub(super) fn refused_to_delete(&self, reason: Reason) -> Step {
        if !self.deleting.sent {
            return self.end_badly(reason);
        }
        let message = format!("an earlier delete may be executed yet. Last: {}", self.said.message);
        Step::Settle(self.failed(Reason::OutcomeUnknown, message))
    }

    pub(super) fn found_to_delete(
        &mut self,
        found: &[Found],
        asked_at: Instant,
        now: Instant,
        rng: &mut impl Rng,
    ) -> Step {
        self.note_what_is_there(found, asked_at);
        let is_meant = |found: &Found| self.deleting.ids.contains(&found.id);
        let other = found.iter().find(|found| is_meant(found) != self.is_this(found));
        let is_another_s = found.iter().any(|found| is_meant(found) && !self.is_this(found));
        if !self.deleting.there.is_empty() {
            if !self.deleting.sent {
                return Step::Write(now);
            }
            if let Some(step) = self.look_again(now) {
                return step;
            }
            if self.last_look {
                return Step::Settle(self.gave_up());
            }
            return Step::Write(now + self.attempts.wait(rng));
        }
        if self.deleting.sent && !is_another_s {
            // A read that lags may just not show it, where no answer says that it was deleted.
            let Deleting { here, answered, .. } = self.deleting;
            let again = if here && answered { None } else { self.look_again(now) };
            return again.unwrap_or_else(|| self.seen_gone(now));
        }
        // What is not there any more, or is another's, needs no mending.
        if self.is_mending() {
            return self.look_again(now).unwrap_or_else(|| self.mended(now));
        }
        if let Some(other) = other {
            let message = format!(
                "association {} is {} {} -> {} now, and this row's id was {}: nothing was deleted",
                other.id,
                other.bk_obj_asst_id,
                other.bk_inst_id,
                other.bk_asst_inst_id,
                self.named_ids()
            );
            return Step::Settle(self.failed(Reason::NotTheSame, message));
        }
        self.look_again(now).unwrap_or_else(|| Step::Settle(self.was_not_there()))
    }

    /// Takes from a look what is to be deleted. Where only the triple says what is meant, that is what has it
    /// at the look before the first delete goes out, and what is older than that.
    fn note_what_is_there(&mut self, found: &[Found], asked_at: Instant) {
        let mut there: Vec<i64> =
            found.iter().filter(|found| self.is_this(found)).map(|found| found.id).collect();
        there.sort_unstable();
        there.dedup();
        let Deleting { ids, from_looks, noted, sent, .. } = &mut self.deleting;
        if *from_looks && !*sent && there != *ids {
            (*ids, *noted) = (there.clone(), 0);
        } else if *from_looks && *sent {
            let youngest = ids.iter().max().copied().unwrap_or_default();
            let older = there.iter().filter(|id| **id < youngest);
            let older: Vec<i64> = older.filter(|id| !ids.contains(id)).copied().collect();
            ids.extend(older);
        }
        there.retain(|id| self.deleting.ids.contains(id));
        self.deleting.there = there;
        self.deleting.looked_at = Some(asked_at);
    }

    /// What was deleted is seen gone.
    fn seen_gone(&mut self, now: Instant) -> Step {
        if self.is_mending() {
            return self.mended(now);
        }
        let id = self.deleting.ids.iter().min().copied().unwrap_or_default();
        let step = self.end_well(Status::Deleted, id);
        match step {
            Step::Settle(mut outcome) if self.deleting.ids.len() > 1 => {
                outcome.message =
                    format!("associations {} were there, and all are gone", self.named_ids());
                Step::Settle(outcome)
            }
            step => step,
        }
    }

    fn was_not_there(&self) -> Outcome {
        match self.goal {
            Goal::Delete { .. } => Outcome { attempts: self.charged(), ..Outcome::absent() },
            Goal::Undo { .. } | Goal::Create => {
                let ids = self.named_ids();
                let message = format!("association {ids} is not there: nothing was deleted");
                self.failed(Reason::NotFound, message)
            }
        }
    }

    fn named_ids(&self) -> String {
        let ids: Vec<String> = self.deleting.ids.iter().map(ToString::to_string).collect();
        ids.join(", ")
    }

    /// Another look at what is not as expected; `None` once it is believed.
    fn look_again(&mut self, now: Instant) -> Option<Step> {
        self.looks += 1;
        (self.looks < LOOKS).then(|| Step::LookUp(now + Backoff::READ_LAG.longest(self.looks - 1)))
    }

    pub(super) fn gave_up_deleting(&self) -> Outcome {
        if !self.deleting.sent {
            return self.failed(Reason::Unavailable, self.said.message.clone());
        }
        let message = format!(
            "association {} is still there after {} deletes: {}",
            self.named_ids(),
            self.charged(),
            self.said.message
        );
        self.failed(Reason::OutcomeUnknown, message)
    }
}
