//! The life of one row: what each verdict makes of it, until it has an outcome.
//!
//! A pure machine; time and chance come in as arguments. Owns attempts, doubt and the rule of when
//! absence is believed. Knows nothing of other rows, of pacing or of how calls are made.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use tokio::time::Instant;

use crate::association::{Mapping, ModelAssociation, NewAssociation};
use crate::cmdb::server_message::ServerMessage;
use crate::cmdb::verdict::{Cause, Taken, Verdict};
use crate::cmdb::wire::{Found, Pattern};
use crate::engine::remaining::Remaining;
use crate::engine::retry::{Attempts, Backoff};
use crate::outcome::{Outcome, Reason, Status};

/// Empty look-ups after the server said "taken", before the create is tried again.
const LOOKS_AT_TAKEN: u32 = 5;

/// What a run grants each row.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Creates charged to one row.
    pub max_attempts: u32,
    /// How long after a call went in doubt its absence on the server is believed.
    pub settle_after: Duration,
}

/// What is to be done for a row next.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Create it, not before then.
    Create(Instant),
    /// Look it up, not before then.
    LookUp(Instant),
    /// Look it up once more when there is nothing else left to do.
    LookUpLast,
    /// It is settled.
    Settle(Outcome),
}

/// A call for the row that may have been executed.
#[derive(Clone, Copy, Debug)]
struct Doubt {
    /// When it was given up. Not when it was sent: what a stalled network held back may have reached
    /// the server only then.
    since: Instant,
}

/// A row that is not settled.
#[derive(Clone, Debug)]
pub struct CreateTask {
    /// What is to exist.
    pub link: NewAssociation,
    /// Of which model association.
    pub model: Arc<ModelAssociation>,
    attempts: Attempts,
    doubt: Option<Doubt>,
    /// Whether a call of ours was ever in doubt.
    doubted: bool,
    /// The largest association id seen before the row could first be sent.
    id_watermark: i64,
    taken: Option<Taken>,
    /// Empty look-ups in a row since the server said "taken".
    looked: u32,
    unknown_codes: u32,
    /// Batches with the row in them that failed, the server's limit apart.
    lost_batches: u32,
    /// A batch refused the row without a number.
    refused_in_batch: bool,
    /// It goes singly from now on.
    single: bool,
    last_look: bool,
    said: ServerMessage,
}

impl CreateTask {
    /// A row that is about to be under way, and its first step. `largest_id` is the largest
    /// association id seen so far, `started` when this process began.
    pub fn begin(
        link: NewAssociation,
        model: Arc<ModelAssociation>,
        remaining: &Remaining,
        largest_id: i64,
        started: Instant,
    ) -> (Self, Step) {
        let mut life = Self {
            link,
            model,
            attempts: Attempts::default(),
            doubt: None,
            doubted: false,
            id_watermark: largest_id,
            taken: None,
            looked: 0,
            unknown_codes: 0,
            lost_batches: 0,
            refused_in_batch: false,
            single: false,
            last_look: false,
            said: ServerMessage::default(),
        };
        if let Remaining::InDoubt { id_watermark, .. } = remaining {
            life.id_watermark = *id_watermark;
            life.doubted = true;
            life.doubt = Some(Doubt { since: started });
            return (life, Step::LookUp(started));
        }
        (life, Step::Create(started))
    }

    /// What its calls have cost it.
    pub fn attempts(&self) -> &Attempts {
        &self.attempts
    }

    /// Takes back what an outage cost the row.
    pub fn give_back(&mut self, charge: u32) {
        self.attempts.give_back(charge);
    }

    /// Whether the row ends here instead of being created once more. Asked when its wait is over,
    /// not when its last attempt failed: an outage found meanwhile gives attempts back.
    pub fn before_create(&self, policy: &Policy) -> Option<Step> {
        let spent = self.attempts.charged() >= policy.max_attempts || self.unknown_codes >= 2;
        if !spent {
            return None;
        }
        if self.doubted && !self.last_look {
            return Some(Step::LookUpLast);
        }
        Some(Step::Settle(self.gave_up()))
    }

    /// What to look for.
    pub fn patterns(&self) -> impl Iterator<Item = Pattern> + use<> {
        let (source, target) = (self.link.association.inst_id, self.link.association.asst_inst_id);
        let side = self.taken == Some(Taken::Side);
        let patterns = match self.model.mapping {
            Mapping::OneToOne if side => {
                [Some(Pattern::Source(source)), Some(Pattern::Target(target))]
            }
            Mapping::OneToMany if side => [Some(Pattern::Target(target)), None],
            _ => [Some(Pattern::Pair(source, target)), None],
        };
        patterns.into_iter().flatten()
    }

    /// The row's create is about to be sent. Before the first, whatever has been seen is older.
    pub fn about_to_create(&mut self, largest_id: i64) {
        if !self.doubted && self.attempts.is_first() {
            self.id_watermark = self.id_watermark.max(largest_id);
        }
    }

    /// Whether a call for the row may have been executed without anybody having heard so.
    pub fn was_in_doubt(&self) -> bool {
        self.doubted
    }

    /// The row is looked up for the last time.
    pub fn look_last(&mut self) {
        self.last_look = true;
    }

    /// A create got its verdict.
    pub fn on_verdict(
        &mut self,
        verdict: Verdict,
        said: ServerMessage,
        now: Instant,
        rng: &mut impl Rng,
    ) -> Step {
        self.said = said;
        match verdict {
            Verdict::Created(id) => {
                self.attempts.count();
                self.end_well(Status::Created, id)
            }
            Verdict::LookUp(taken) => {
                self.attempts.count();
                self.taken = Some(taken);
                self.looked = 0;
                Step::LookUp(now)
            }
            Verdict::InDoubt(cause) => {
                self.attempts.charge(cause);
                self.unknown_codes += u32::from(cause == Cause::UnknownCode);
                self.taken = None;
                self.doubt = Some(Doubt { since: now });
                self.doubted = true;
                Step::LookUp(now)
            }
            Verdict::Again(cause) => {
                self.attempts.charge(cause);
                Step::Create(now + self.attempts.wait(rng))
            }
            Verdict::Failed(reason) => {
                self.attempts.count();
                self.end_badly(reason)
            }
            // The run stops; the row stays as it is, marked and without an outcome.
            Verdict::Stop(_) => Step::Create(now),
        }
    }

    /// Whether the row may travel with others.
    pub fn may_batch(&self) -> bool {
        !self.single
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
        self.refused_in_batch = true;
        Step::LookUp(now)
    }

    /// A batch with the row in it may have been executed. Charges nothing: it need not be the row's
    /// doing. After the second time it goes singly.
    pub fn on_batch_lost(&mut self, said: ServerMessage, now: Instant) -> Step {
        self.said = said;
        self.attempts.count_free();
        self.lose_batch();
        self.doubt = Some(Doubt { since: now });
        self.doubted = true;
        Step::LookUp(now)
    }

    /// A batch with the row in it was not executed. Charges nothing, like a lost one.
    pub fn on_batch_again(&mut self, cause: Cause, now: Instant, rng: &mut impl Rng) -> Step {
        self.attempts.count_free();
        if !cause.is_limit() {
            self.lose_batch();
        }
        Step::Create(now + self.attempts.wait(rng))
    }

    fn lose_batch(&mut self) {
        self.lost_batches += 1;
        self.single = self.lost_batches >= 2;
    }

    /// The row goes singly from now on, at once.
    pub fn go_singly(&mut self, now: Instant) -> Step {
        self.single = true;
        Step::Create(now)
    }

    /// A look-up that was sent at `asked_at` found these (and perhaps others).
    pub fn on_found(
        &mut self,
        found: &[Found],
        asked_at: Instant,
        now: Instant,
        policy: &Policy,
        rng: &mut impl Rng,
    ) -> Step {
        if let Some(id) = found.iter().filter(|f| self.is_this(f)).map(|f| f.id).min() {
            let ours = self.doubted && id > self.id_watermark;
            return self.end_well(if ours { Status::Recovered } else { Status::Existed }, id);
        }
        if std::mem::take(&mut self.refused_in_batch) {
            return self.go_singly(now);
        }
        if let Some(doubt) = self.doubt {
            let believed_at = doubt.since + policy.settle_after;
            if asked_at < believed_at {
                return Step::LookUp(believed_at);
            }
            self.doubt = None;
        } else if let Some(taken) = self.taken {
            if let Some(id) = found.iter().filter(|f| self.is_in_the_way(f)).map(|f| f.id).min() {
                let rule = if self.model.guessed { "mapping" } else { self.model.mapping.as_str() };
                self.said.message = format!(
                    "association {id} is in the way of the {rule} rule; {}",
                    self.said.message
                );
                return self.end_badly(Reason::MappingConflict);
            }
            self.looked += 1;
            if self.looked < LOOKS_AT_TAKEN {
                return Step::LookUp(now + Backoff::READ_LAG.longest(self.looked - 1));
            }
            if taken == Taken::Side && self.model.mapping == Mapping::ManyToMany {
                return self.end_badly(Reason::MappingConflict);
            }
        }
        if self.last_look {
            return Step::Settle(self.gave_up());
        }
        Step::Create(now + self.attempts.wait(rng))
    }

    /// Nobody can look the row up: it ends with what is known.
    pub fn on_unfindable(&mut self, said: ServerMessage) -> Step {
        self.said = said;
        self.end_badly(Reason::OutcomeUnknown)
    }

    fn is_this(&self, found: &Found) -> bool {
        let link = &self.link.association;
        found.id > 0
            && found.bk_inst_id == link.inst_id.get()
            && found.bk_asst_inst_id == link.asst_inst_id.get()
            && *found.bk_obj_asst_id == *link.obj_asst_id
    }

    fn is_in_the_way(&self, found: &Found) -> bool {
        let link = &self.link.association;
        let same_source = found.bk_inst_id == link.inst_id.get();
        let same_target = found.bk_asst_inst_id == link.asst_inst_id.get();
        *found.bk_obj_asst_id == *link.obj_asst_id
            && match self.model.mapping {
                // Where the rule is not known it may be 1:n, under which a source may have many: that one
                // of them is in the way is the last thing to believe.
                Mapping::OneToOne if self.model.guessed => {
                    same_target || (same_source && self.looked + 1 >= LOOKS_AT_TAKEN)
                }
                Mapping::OneToOne => same_source || same_target,
                Mapping::OneToMany => same_target,
                Mapping::ManyToMany => false,
            }
    }

    fn end_well(&self, status: Status, id: i64) -> Step {
        let mut outcome = Outcome::good(status, id, self.attempts.charged(), 0);
        outcome.request_id.clone_from(&self.said.request_id);
        Step::Settle(outcome)
    }

    fn end_badly(&self, reason: Reason) -> Step {
        Step::Settle(self.failed(reason, self.said.message.clone()))
    }

    fn failed(&self, reason: Reason, message: String) -> Outcome {
        let mut outcome = Outcome::bad(reason, message, self.attempts.charged(), 0);
        outcome.code = self.said.code;
        outcome.request_id.clone_from(&self.said.request_id);
        outcome
    }

    /// The end of a row whose attempts are used up.
    fn gave_up(&self) -> Outcome {
        let reason = match self.attempts.cause() {
            _ if self.unknown_codes >= 2 => Reason::Rejected,
            Some(Cause::Locked) => Reason::LockContention,
            Some(Cause::Throttled | Cause::Crowded) => Reason::Throttled,
            Some(Cause::NoAnswer) if !self.doubted => Reason::Unavailable,
            _ => Reason::OutcomeUnknown,
        };
        let message = match reason {
            Reason::OutcomeUnknown => format!(
                "it may exist: {} calls, and no answer tells; not found at the last look-up. Last: {}",
                self.attempts.charged(),
                self.said.message
            ),
            _ => self.said.message.clone(),
        };
        self.failed(reason, message)
    }
}

#[cfg(test)]
mod tests;
