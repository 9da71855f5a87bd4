//! A task whose goal is that the association is gone: seen, deleted, seen gone.
//!
//! A server says "success" to a delete of what is gone, and of what another model has: only looking
//! before and after proves it (`docs/cmdb-api.md`, deletes).

use rand::Rng;
use tokio::time::Instant;

use super::{Deleting, Half, Step, Task};
use crate::association::Association;
use crate::cmdb::wire::{Found, Pattern};
use crate::engine::retry::Backoff;
use crate::outcome::{Outcome, Reason, Status};

/// Looks that disagree with what is expected before they are believed: reads lag behind writes.
pub(super) const LOOKS: u32 = 4;

impl Task {
    /// The association itself, and whatever has its id now.
    pub(super) fn patterns_to_delete(&self, id: i64) -> [Option<Pattern>; 2] {
        let Association { inst_id, asst_inst_id, .. } = self.new.association;
        [Some(Pattern::Pair(inst_id, asst_inst_id)), Some(Pattern::Id(id))]
    }

    /// A delete was sent and may have been executed: whether it was, a look tells.
    pub(super) fn delete_was_sent(&mut self, now: Instant) -> Step {
        self.deleting = Deleting { sent: true, here: true };
        Step::LookUp(now)
    }

    pub(super) fn found_to_delete(
        &mut self,
        id: i64,
        found: &[Found],
        now: Instant,
        rng: &mut impl Rng,
    ) -> Step {
        let here = found.iter().any(|found| found.id == id && self.is_this(found));
        let other = found.iter().find(|found| (found.id == id) != self.is_this(found));
        let is_another_s = found.iter().any(|found| found.id == id && !self.is_this(found));
        match (here, other) {
            (true, _) if !self.deleting.sent => Step::Write(now),
            (true, _) => {
                if let Some(step) = self.look_again(now) {
                    return step;
                }
                if self.last_look {
                    return Step::Settle(self.gave_up());
                }
                Step::Write(now + self.attempts.wait(rng))
            }
            (false, _) if self.deleting.sent && !is_another_s => {
                // A read that lags may just not show what this process has not seen itself.
                let step = if self.deleting.here { None } else { self.look_again(now) };
                let end = |task: &mut Self| match task.half {
                    Half::Mending(_) => task.mended(now),
                    Half::No | Half::MayBe | Half::Found(..) => task.end_well(Status::Deleted, id),
                };
                step.unwrap_or_else(|| end(self))
            }
            // What is not there any more, or is another's, needs no mending.
            (false, _) if self.is_mending() => {
                self.look_again(now).unwrap_or_else(|| self.mended(now))
            }
            (false, Some(other)) => {
                let message = format!(
                    "association {} is {} {} -> {} now, and this row's id was {id}: nothing was deleted",
                    other.id, other.bk_obj_asst_id, other.bk_inst_id, other.bk_asst_inst_id
                );
                Step::Settle(self.failed(Reason::NotTheSame, message))
            }
            (false, None) => self.look_again(now).unwrap_or_else(|| {
                let message = format!("association {id} is not there: nothing was deleted");
                Step::Settle(self.failed(Reason::NotFound, message))
            }),
        }
    }

    /// Another look at what is not as expected; `None` once it is believed.
    fn look_again(&mut self, now: Instant) -> Option<Step> {
        self.looks += 1;
        (self.looks < LOOKS).then(|| Step::LookUp(now + Backoff::READ_LAG.longest(self.looks - 1)))
    }

    pub(super) fn gave_up_deleting(&self, id: i64) -> Outcome {
        if !self.deleting.sent {
            return self.failed(Reason::Unavailable, self.said.message.clone());
        }
        let message = format!(
            "association {id} is still there after {} deletes: {}",
            self.charged(),
            self.said.message
        );
        self.failed(Reason::OutcomeUnknown, message)
    }
}
