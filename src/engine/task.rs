//! The task of one row: what each verdict and each look-up makes of it, until it has an outcome.
//!
//! A pure machine with a goal; time and chance come in as arguments. Owns attempts, doubt, and the rule
//! of when absence is believed. Knows nothing of other rows, of pacing or of how calls are made.
//! `create` and `delete` have what differs by the goal.

mod create;
mod delete;

use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use tokio::time::Instant;

use crate::association::{ModelAssociation, NewAssociation};
use crate::cmdb::server_message::ServerMessage;
use crate::cmdb::verdict::{Cause, Stop, Taken, Verdict};
use crate::cmdb::wire::{Found, Pattern};
use crate::engine::remaining::{Goal, Remaining};
use crate::engine::retry::Attempts;
use crate::outcome::{Outcome, Reason, Status};

/// What a run grants each row.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Writes charged to one row.
    pub max_attempts: u32,
    /// How long after a call went in doubt its absence on the server is believed.
    pub settle_after: Duration,
}

/// What a row waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Next {
    /// Its create or delete.
    Write,
    /// Its look-up.
    LookUp,
}

/// What is to be done for a row next.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Send its write (a create or a delete, as its goal says), not before then.
    Write(Instant),
    /// Look it up, not before then.
    LookUp(Instant),
    /// Look it up once more when there is nothing else left to do.
    LookUpLast,
    /// It is settled.
    Settle(Outcome),
}

/// A row that is not settled.
#[derive(Clone, Debug)]
pub struct Task {
    /// What the row names.
    pub new: NewAssociation,
    /// Of which model association.
    pub model: Arc<ModelAssociation>,
    /// What it is to end as.
    pub goal: Goal,
    attempts: Attempts,
    /// Writes that were sent.
    writes: u32,
    /// Whether a write of ours may have been executed without an answer that proves it.
    doubted: bool,
    /// When the last such write was given up, while the row's absence is not believed. Not when it was
    /// sent: a stalled network may have held it back until then.
    doubt_since: Option<Instant>,
    /// Whether its first create has to be written down before it goes.
    notes_sending: bool,
    /// The largest association id seen before the row could first be sent.
    id_watermark: i64,
    /// What the server said was taken.
    taken: Option<Taken>,
    /// Look-ups in a row that showed something else than expected.
    looks: u32,
    unknown_codes: u32,
    batching: Batching,
    deleting: Deleting,
    half: Half,
    last_look: bool,
    said: ServerMessage,
}

/// What is deleted for the row.
#[derive(Clone, Debug, Default)]
struct Deleting {
    /// The ids that are to go; empty before the first look, where the row has none of its own.
    ids: Vec<i64>,
    /// Whether looks say what the ids are: they are neither the row's own, nor from an earlier process.
    from_looks: bool,
    /// Those of them that the last look showed.
    there: Vec<i64>,
    /// When that look was sent.
    looked_at: Option<Instant>,
    /// How many of the ids the journal has.
    noted: usize,
    /// They were seen, and a delete of ours may have been executed,
    sent: bool,
    /// by this very process,
    here: bool,
    /// with an answer that says so.
    answered: bool,
    /// Calls for many with the row in them that failed, the server's limit apart,
    failures: u32,
    /// and how many may go in the next one.
    company: Option<usize>,
    /// The row goes singly from now on.
    single: bool,
}

impl Deleting {
    fn of(ids: Vec<i64>) -> Self {
        Self { ids, ..Self::default() }
    }
}

/// Whether a batch that was cut left the row in its source model's table only.
#[derive(Clone, Copy, Debug, Default)]
enum Half {
    /// No batch with the row in it is in doubt.
    #[default]
    No,
    /// One may have been cut in the middle of the row.
    MayBe,
    /// This id was found through the source model, then: it is looked for through the target model.
    Found(i64, Instant),
    /// It is half, and is deleted, to be created again.
    Mending(i64),
}

/// What a row's next write is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// Its association is created.
    Create,
    /// What the last look showed is deleted.
    Delete,
}

/// What has to be on disk before a row is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// That it is sent.
    Sent,
    /// That these ids were seen and are deleted.
    Deletes(Vec<i64>),
}

/// How the row fared in batches.
#[derive(Clone, Copy, Debug, Default)]
struct Batching {
    /// Batches with the row in them that failed, the server's limit apart.
    lost: u32,
    /// A batch refused the row without a number.
    refused: bool,
    /// The row goes singly from now on.
    single: bool,
}

impl Task {
    /// A row that is about to be under way, and what it waits for first. `largest_id` is the largest
    /// association id seen so far; `doubt_since` is since when a row that comes in doubt is so. `None`
    /// where nothing is left to do.
    pub fn begin(
        new: NewAssociation,
        model: Arc<ModelAssociation>,
        remaining: &Remaining,
        largest_id: i64,
        doubt_since: Instant,
    ) -> Option<(Self, Next)> {
        let (goal, watermark) = match *remaining {
            Remaining::All(goal) => (goal, None),
            Remaining::Expected => (Goal::Create, None),
            Remaining::InDoubt { goal, id_watermark, .. } => (goal, Some(id_watermark)),
            Remaining::Carry(_) | Remaining::Planned(_) => return None,
        };
        let ids = match (goal, remaining) {
            (Goal::Undo { id } | Goal::Delete { id: Some(id) }, _) => vec![id],
            (Goal::Delete { id: None }, Remaining::InDoubt { deleting, .. }) => deleting.clone(),
            _ => Vec::new(),
        };
        let is_expected = *remaining == Remaining::Expected;
        let task = Self {
            new,
            model,
            goal,
            attempts: Attempts::default(),
            writes: 0,
            doubted: watermark.is_some() && goal == Goal::Create,
            doubt_since: watermark.map(|_| doubt_since),
            notes_sending: watermark.is_some() || is_expected,
            id_watermark: watermark.unwrap_or(largest_id),
            taken: None,
            looks: 0,
            unknown_codes: 0,
            batching: Batching::default(),
            deleting: Deleting {
                from_looks: ids.is_empty(),
                sent: watermark.is_some() && !ids.is_empty(),
                ..Deleting::of(ids)
            },
            // Whether an earlier process sent it in a batch is not known.
            half: if watermark.is_some() { Half::MayBe } else { Half::No },
            last_look: false,
            said: ServerMessage::default(),
        };
        // What is to be deleted has to be seen first.
        let next = match goal {
            Goal::Create if !task.doubted && !is_expected => Next::Write,
            Goal::Create | Goal::Undo { .. } | Goal::Delete { .. } => Next::LookUp,
        };
        Some((task, next))
    }

    /// Writes that were sent by this process, charged or not.
    pub fn writes(&self) -> u32 {
        self.writes
    }

    /// Writes that were charged to the row.
    pub fn charged(&self) -> u32 {
        self.attempts.charged()
    }

    /// Takes back what an outage cost the row.
    pub fn give_back(&mut self, charge: u32) {
        self.attempts.give_back(charge);
    }

    /// Whether a write for the row may have been executed without anybody having heard so.
    pub fn is_doubted(&self) -> bool {
        match self.goal {
            Goal::Create => self.doubted,
            Goal::Undo { .. } | Goal::Delete { .. } => self.deleting.sent,
        }
    }

    /// What has to be on disk before the row's next write; asked once. That a create is sent again: a
    /// process that is killed often would else never believe that a row is absent. What a delete is about:
    /// else nobody could tell afterwards whose doing it is that it is gone.
    pub fn takes_note(&mut self) -> Option<Note> {
        match self.next_write() {
            Write::Create => std::mem::take(&mut self.notes_sending).then_some(Note::Sent),
            Write::Delete => {
                let noted = std::mem::replace(&mut self.deleting.noted, self.deleting.ids.len());
                let ids = &self.deleting.ids[noted..];
                (!ids.is_empty()).then(|| Note::Deletes(ids.to_vec()))
            }
        }
    }

    /// The row is looked up for the last time.
    pub fn look_last(&mut self) {
        self.last_look = true;
    }

    /// Whether the row may travel with others.
    pub fn may_batch(&self) -> bool {
        self.next_write() == Write::Create && !self.batching.single
    }

    /// What its next write is.
    pub const fn next_write(&self) -> Write {
        match (self.goal, self.half) {
            (Goal::Create, Half::Mending(_)) | (Goal::Undo { .. } | Goal::Delete { .. }, _) => {
                Write::Delete
            }
            (Goal::Create, _) => Write::Create,
        }
    }

    /// What the last look showed of what is to be deleted.
    pub fn to_delete(&self) -> &[i64] {
        &self.deleting.there
    }

    /// The ids that are to be deleted, as far as they are known.
    pub fn ids_to_delete(&self) -> &[i64] {
        &self.deleting.ids
    }

    /// The model through which it is looked up.
    pub fn look_up_model(&self) -> &Arc<str> {
        match self.half {
            Half::Found(..) => &self.model.target,
            Half::No | Half::MayBe | Half::Mending(_) => &self.model.source,
        }
    }

    /// What to look for.
    pub fn patterns(&self) -> impl Iterator<Item = Pattern> + use<> {
        match self.next_write() {
            Write::Create => self.patterns_to_create(),
            Write::Delete => self.patterns_to_delete(),
        }
        .into_iter()
    }

    /// Whether the row ends here instead of being sent once more. Asked when its wait is over, not when
    /// its last attempt failed: an outage found meanwhile gives attempts back.
    pub fn before_write(&self, policy: &Policy, now: Instant) -> Option<Step> {
        let spent = self.charged() >= policy.max_attempts || self.unknown_codes >= 2;
        if !spent {
            // What was seen before an outage has to be seen again.
            let looks_first = self.next_write() == Write::Delete && self.is_look_old(now);
            return looks_first.then_some(Step::LookUp(now));
        }
        if self.is_doubted() && !self.last_look {
            return Some(Step::LookUpLast);
        }
        Some(Step::Settle(self.gave_up()))
    }

    /// The row's write is about to be sent. Before the first create, whatever has been seen is older.
    pub fn about_to_write(&mut self, largest_id: i64) {
        self.writes += 1;
        if !self.doubted && self.attempts.is_first() {
            self.id_watermark = self.id_watermark.max(largest_id);
        }
    }

    /// A write of the row alone got its verdict.
    pub fn on_verdict(
        &mut self,
        verdict: Verdict,
        said: ServerMessage,
        now: Instant,
        rng: &mut impl Rng,
    ) -> Step {
        self.said = said;
        let deletes = self.next_write() == Write::Delete;
        if deletes {
            self.looks = 0;
        }
        match verdict {
            Verdict::Created(id) => {
                self.attempts.count();
                self.end_well(Status::Created, id)
            }
            Verdict::Accepted => self.one_is_deleted(now),
            Verdict::LookUp(taken) => {
                self.attempts.count();
                self.taken = Some(taken);
                self.looks = 0;
                Step::LookUp(now)
            }
            Verdict::InDoubt(cause) => {
                self.attempts.charge(cause, now);
                if deletes {
                    return self.delete_was_sent(false, now);
                }
                self.unknown_codes += u32::from(cause == Cause::UnknownCode);
                self.taken = None;
                self.doubt(now)
            }
            Verdict::Again(cause) => {
                self.attempts.charge(cause, now);
                Step::Write(now + self.attempts.wait(rng))
            }
            // What another took away between the look and the delete is gone all the same.
            Verdict::Failed(Reason::NotFound) if deletes => self.one_is_deleted(now),
            Verdict::Failed(reason) => {
                self.attempts.count();
                if deletes { self.refused_to_delete(reason) } else { self.end_badly(reason) }
            }
            // It need not be the run's end that half of a row can't be deleted.
            Verdict::Stop(Stop::Setup | Stop::NoDelete) if self.is_mending() => {
                self.end_badly(Reason::OutcomeUnknown)
            }
            // The run stops; the row stays as it is, marked and without an outcome.
            Verdict::Stop(_) => Step::Write(now),
        }
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
        match self.next_write() {
            Write::Create => self.found_to_create(found, asked_at, now, policy, rng),
            Write::Delete => self.found_to_delete(found, asked_at, now, rng),
        }
    }

    /// Whether half of the row is deleted, to create it again.
    pub const fn is_mending(&self) -> bool {
        matches!(self.half, Half::Mending(_))
    }

    /// Nobody can look the row up: it ends with what is known. Without a look nothing is deleted, or
    /// believed to be.
    pub fn on_unfindable(&mut self, said: ServerMessage) -> Step {
        self.said = said;
        let unsent = self.goal != Goal::Create && !self.deleting.sent;
        self.end_badly(if unsent { Reason::Rejected } else { Reason::OutcomeUnknown })
    }

    fn doubt(&mut self, now: Instant) -> Step {
        self.doubt_since = Some(now);
        self.doubted = true;
        Step::LookUp(now)
    }

    /// Whether this is the row's own association.
    fn is_this(&self, found: &Found) -> bool {
        let association = &self.new.association;
        found.id > 0
            && found.bk_inst_id == association.inst_id.get()
            && found.bk_asst_inst_id == association.asst_inst_id.get()
            && *found.bk_obj_asst_id == *association.obj_asst_id
    }

    fn end_well(&self, status: Status, id: i64) -> Step {
        let mut outcome = Outcome::good(status, id, self.charged(), 0);
        outcome.request_id.clone_from(&self.said.request_id);
        Step::Settle(outcome)
    }

    fn end_badly(&self, reason: Reason) -> Step {
        Step::Settle(self.failed(reason, self.said.message.clone()))
    }

    fn failed(&self, mut reason: Reason, mut message: String) -> Outcome {
        if let Half::Mending(id) = self.half {
            let (source, target) = (&self.model.source, &self.model.target);
            message = format!(
                "a batch that was cut left association {id} by half: it is found through {source} and not \
                 through {target}. It could not be deleted and created again: {message}"
            );
            reason = Reason::OutcomeUnknown;
        }
        let mut outcome = Outcome::bad(reason, message, self.charged(), 0);
        outcome.code = self.said.code;
        outcome.request_id.clone_from(&self.said.request_id);
        outcome
    }

    /// The end of a row whose attempts are used up.
    fn gave_up(&self) -> Outcome {
        let is_certain = self.goal == Goal::Create || !self.deleting.sent;
        if self.attempts.cause() == Some(Cause::Locked) && is_certain && self.unknown_codes < 2 {
            let message = format!(
                "the server's lock was not free for over a minute, which is as long as one lives: another \
                 program may be at work on the same instances. Last: {}",
                self.said.message
            );
            return self.failed(Reason::LockContention, message);
        }
        match self.next_write() {
            Write::Create => self.gave_up_creating(),
            Write::Delete => self.gave_up_deleting(),
        }
    }
}

#[cfg(test)]
mod tests;
