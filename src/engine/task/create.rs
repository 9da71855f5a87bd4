//! A task whose goal is that the association exists.

use rand::Rng;
use tokio::time::Instant;

use super::{Deleting, Half, Policy, Step, Task};
use crate::association::Mapping;
use crate::cmdb::server_message::ServerMessage;
use crate::cmdb::verdict::{Cause, Taken};
use crate::cmdb::wire::{Found, Pattern};
use crate::engine::remaining::Goal;
use crate::engine::retry::Backoff;
use crate::outcome::{Outcome, Reason, Status};

/// Empty look-ups after the server said "taken", before the create is tried again.
pub(super) const LOOKS_AT_TAKEN: u32 = 5;
/// Batches with the row in them that failed, before it goes singly.
const LOST_BATCHES: u32 = 2;

impl Task {
    /// The association itself; and whatever else may stand on a side that a rule bounds, where the
    /// server said that the side is taken.
    pub(super) fn patterns_to_create(&self) -> Vec<Pattern> {
        let association = &self.new.association;
        let (source, target) = (association.inst_id, association.asst_inst_id);
        let side = self.taken == Some(Taken::Side);
        match self.model.mapping {
            Mapping::OneToOne if side => vec![Pattern::Source(source), Pattern::Target(target)],
            Mapping::OneToMany if side => vec![Pattern::Target(target)],
            _ => vec![Pattern::Pair(source, target)],
        }
    }

    /// A batch named the row's id.
    pub fn on_batch_created(&mut self, id: i64, request_id: Option<String>) -> Step {
        self.attempts.count();
        self.said = ServerMessage { request_id, ..ServerMessage::default() };
        self.end_well(Status::Created, id)
    }

    /// A batch refused the row, with a text and no number: where it is not there, it goes singly to
    /// get one.
    pub fn on_batch_refused(&mut self, now: Instant) -> Step {
        self.batching.refused = true;
        Step::LookUp(now)
    }

    /// A batch with the row in it may have been executed. Charges nothing: it need not be the row's
    /// doing.
    pub fn on_batch_lost(&mut self, said: ServerMessage, now: Instant) -> Step {
        self.said = said;
        self.attempts.count_free();
        self.lose_batch();
        self.half = Half::MayBe;
        self.doubt(now)
    }

    /// A batch with the row in it was not executed. Charges nothing, like a lost one.
    pub fn on_batch_again(&mut self, cause: Cause, now: Instant, rng: &mut impl Rng) -> Step {
        self.attempts.count_free();
        if !cause.is_limit() {
            self.lose_batch();
        }
        Step::Write(now + self.attempts.wait(rng))
    }

    /// The row goes singly from now on, at once.
    pub fn go_singly(&mut self, now: Instant) -> Step {
        self.batching.single = true;
        Step::Write(now)
    }

    fn lose_batch(&mut self) {
        self.batching.lost += 1;
        self.batching.single = self.batching.lost >= LOST_BATCHES;
    }

    pub(super) fn found_to_create(
        &mut self,
        found: &[Found],
        asked_at: Instant,
        now: Instant,
        policy: &Policy,
        rng: &mut impl Rng,
    ) -> Step {
        if let Some(id) = found.iter().filter(|f| self.is_this(f)).map(|f| f.id).min() {
            let ours = self.doubted && id > self.id_watermark;
            if ours && matches!(self.half, Half::MayBe) && self.model.source != self.model.target {
                self.half = Half::Found(id, now);
                return Step::LookUp(now);
            }
            return self.end_well(if ours { Status::Recovered } else { Status::Existed }, id);
        }
        if let Half::Found(id, since) = self.half {
            return self.not_found_through_target(id, since + policy.settle_after, asked_at, now);
        }
        if std::mem::take(&mut self.batching.refused) {
            return self.go_singly(now);
        }
        if let Some(since) = self.doubt_since {
            let believed_at = since + policy.settle_after;
            if asked_at < believed_at {
                return Step::LookUp(believed_at);
            }
            self.doubt_since = None;
        } else if let Some(taken) = self.taken
            && let Some(step) = self.found_without_itself(taken, found, now)
        {
            return step;
        }
        if self.last_look {
            return Step::Settle(self.gave_up());
        }
        Step::Write(now + self.attempts.wait(rng))
    }

    /// It was found through its source model, and is not through its target model: somebody's batch may
    /// be at work on it, or was cut in the middle of it. Which, time tells.
    fn not_found_through_target(
        &mut self,
        id: i64,
        believed_at: Instant,
        asked_at: Instant,
        now: Instant,
    ) -> Step {
        if asked_at < believed_at {
            return Step::LookUp(believed_at);
        }
        tracing::warn!(row = %self.new.association, id, "a batch left it by half: it is created again");
        self.half = Half::Mending(id);
        (self.deleting, self.looks) = (Deleting::of(vec![id]), 0);
        Step::LookUp(now)
    }

    /// Half of the row is gone: it is created singly.
    pub(super) fn mended(&mut self, now: Instant) -> Step {
        self.half = Half::No;
        (self.doubt_since, self.taken, self.looks) = (None, None, 0);
        self.go_singly(now)
    }

    /// The server said "taken", and the row's own association is not there: another may be in the way,
    /// or the read lags behind. `None` where neither is believed any more.
    fn found_without_itself(
        &mut self,
        taken: Taken,
        found: &[Found],
        now: Instant,
    ) -> Option<Step> {
        if let Some(id) = found.iter().filter(|f| self.is_in_the_way(f)).map(|f| f.id).min() {
            let rule = if self.model.guessed { "mapping" } else { self.model.mapping.as_str() };
            self.said.message =
                format!("association {id} is in the way of the {rule} rule; {}", self.said.message);
            return Some(self.end_badly(Reason::MappingConflict));
        }
        self.looks += 1;
        if self.looks < LOOKS_AT_TAKEN {
            return Some(Step::LookUp(now + Backoff::READ_LAG.longest(self.looks - 1)));
        }
        let nothing_can_be = taken == Taken::Side && self.model.mapping == Mapping::ManyToMany;
        nothing_can_be.then(|| self.end_badly(Reason::MappingConflict))
    }

    fn is_in_the_way(&self, found: &Found) -> bool {
        let association = &self.new.association;
        let same_source = found.bk_inst_id == association.inst_id.get();
        let same_target = found.bk_asst_inst_id == association.asst_inst_id.get();
        *found.bk_obj_asst_id == *association.obj_asst_id
            && match self.model.mapping {
                // Where the rule is not known it may be 1:n, under which a source may have many: that
                // one of them is in the way is the last thing to believe.
                Mapping::OneToOne if self.model.guessed => {
                    same_target || (same_source && self.looks + 1 >= LOOKS_AT_TAKEN)
                }
                Mapping::OneToOne => same_source || same_target,
                Mapping::OneToMany => same_target,
                Mapping::ManyToMany => false,
            }
    }

    /// Until when a create of the row may be executed although its association was found.
    pub fn create_may_follow_until(&self, policy: &Policy) -> Option<Instant> {
        let is_create = self.goal == Goal::Create;
        self.doubt_since.filter(|_| is_create).map(|since| since + policy.settle_after)
    }

    pub(super) fn gave_up_creating(&self) -> Outcome {
        let reason = match self.attempts.cause() {
            _ if self.unknown_codes >= 2 => Reason::Rejected,
            Some(Cause::Throttled | Cause::Crowded) => Reason::Throttled,
            Some(Cause::NoAnswer) if !self.doubted => Reason::Unavailable,
            _ => Reason::OutcomeUnknown,
        };
        let message = match reason {
            Reason::OutcomeUnknown => format!(
                "it may exist: {} calls, and no answer tells; not found at the last look-up. Last: {}",
                self.charged(),
                self.said.message
            ),
            _ => self.said.message.clone(),
        };
        self.failed(reason, message)
    }
}
