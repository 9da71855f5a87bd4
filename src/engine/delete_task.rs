//! The life of one association that is to be deleted: seen, deleted, seen gone.
//!
//! A pure machine like [`crate::engine::settle`]. A server says "success" to a delete of what is gone, and of
//! what another model has (captures-chain): only looking before and after proves it.

use std::sync::Arc;

use rand::Rng;
use tokio::time::Instant;

use crate::association::{Association, ModelAssociation};
use crate::cmdb::server_message::ServerMessage;
use crate::cmdb::verdict::{Cause, Deletion};
use crate::cmdb::wire::{Found, Pattern};
use crate::engine::retry::{Attempts, Backoff};
use crate::engine::settle::{Policy, Step};
use crate::outcome::{Outcome, Reason, Status};

/// Looks that disagree with what is expected before they are believed: reads lag behind writes.
const LOOKS: u32 = 4;

/// An association on its way out.
#[derive(Clone, Debug)]
pub struct DeleteTask {
    /// Which.
    pub association: Association,
    /// Of which model association.
    pub model: Arc<ModelAssociation>,
    /// Under which id it was created.
    pub id: i64,
    attempts: Attempts,
    /// Whether it was seen and a delete of ours may have been executed,
    sent: bool,
    /// by this process.
    sent_here: bool,
    looks: u32,
    last_look: bool,
    said: ServerMessage,
}

impl DeleteTask {
    /// Begins with a look. `sent`: an earlier process saw it, and may have deleted it already.
    pub fn begin(
        association: Association,
        model: Arc<ModelAssociation>,
        id: i64,
        sent: bool,
        now: Instant,
    ) -> (Self, Step) {
        let removal = Self {
            association,
            model,
            id,
            attempts: Attempts::default(),
            sent,
            sent_here: false,
            looks: 0,
            last_look: false,
            said: ServerMessage::default(),
        };
        (removal, Step::LookUp(now))
    }

    /// The association itself, and whatever has its id now.
    pub fn patterns(&self) -> [Pattern; 2] {
        let Association { inst_id, asst_inst_id, .. } = self.association;
        [Pattern::Pair(inst_id, asst_inst_id), Pattern::Id(self.id)]
    }

    /// What its calls have cost it.
    pub fn attempts(&self) -> &Attempts {
        &self.attempts
    }

    /// Takes back what an outage cost.
    pub fn give_back(&mut self, charge: u32) {
        self.attempts.give_back(charge);
    }

    /// Whether a delete of ours may have been executed.
    pub fn was_in_doubt(&self) -> bool {
        self.sent
    }

    /// It is looked up for the last time.
    pub fn look_last(&mut self) {
        self.last_look = true;
    }

    /// Whether it ends here instead of being deleted once more.
    pub fn before_delete(&self, policy: &Policy) -> Option<Step> {
        (self.attempts.charged() >= policy.max_attempts).then(|| {
            if self.sent && !self.last_look {
                return Step::LookUpLast;
            }
            Step::Settle(self.gave_up())
        })
    }

    /// A delete got its verdict.
    pub fn on_deletion(
        &mut self,
        verdict: Deletion,
        said: ServerMessage,
        now: Instant,
        rng: &mut impl Rng,
    ) -> Step {
        self.said = said;
        self.looks = 0;
        match verdict {
            Deletion::Accepted | Deletion::Failed(Reason::NotFound) => {
                self.attempts.count();
                (self.sent, self.sent_here) = (true, true);
                Step::LookUp(now)
            }
            Deletion::InDoubt(cause) => {
                self.attempts.charge(cause);
                (self.sent, self.sent_here) = (true, true);
                Step::LookUp(now)
            }
            Deletion::Again(cause) => {
                self.attempts.charge(cause);
                Step::Create(now + self.attempts.wait(rng))
            }
            Deletion::Failed(reason) => {
                self.attempts.count();
                Step::Settle(self.failed(reason, self.said.message.clone()))
            }
            Deletion::Stop(_) => Step::Create(now),
        }
    }

    /// A look found these (and perhaps others).
    pub fn on_found(&mut self, found: &[Found], now: Instant, rng: &mut impl Rng) -> Step {
        let here = found.iter().any(|found| found.id == self.id && self.is_same(found));
        let other = found.iter().find(|found| (found.id == self.id) != self.is_same(found));
        let is_another_s = found.iter().any(|found| found.id == self.id && !self.is_same(found));
        match (here, other) {
            (true, _) if !self.sent => Step::Create(now),
            (true, _) => {
                self.looks += 1;
                if self.looks < LOOKS {
                    return Step::LookUp(now + Backoff::READ_LAG.longest(self.looks - 1));
                }
                if self.last_look {
                    return Step::Settle(self.gave_up());
                }
                Step::Create(now + self.attempts.wait(rng))
            }
            (false, _) if self.sent && !is_another_s => {
                // What this process has not seen itself, a read that lags may just not show yet.
                self.looks += 1;
                if !self.sent_here && self.looks < LOOKS {
                    return Step::LookUp(now + Backoff::READ_LAG.longest(self.looks - 1));
                }
                let outcome = Outcome::good(Status::Deleted, self.id, self.attempts.charged(), 0);
                Step::Settle(Outcome { request_id: self.said.request_id.clone(), ..outcome })
            }
            (false, Some(other)) => {
                let message = format!(
                    "association {} is {} {} -> {} now, and this row's id was {}: nothing was deleted",
                    other.id,
                    other.bk_obj_asst_id,
                    other.bk_inst_id,
                    other.bk_asst_inst_id,
                    self.id
                );
                Step::Settle(self.failed(Reason::NotTheSame, message))
            }
            (false, None) => {
                self.looks += 1;
                if self.looks < LOOKS {
                    return Step::LookUp(now + Backoff::READ_LAG.longest(self.looks - 1));
                }
                let message = format!("association {} is not there: nothing was deleted", self.id);
                Step::Settle(self.failed(Reason::NotFound, message))
            }
        }
    }

    /// Nobody can look it up: without a look nothing is deleted, or believed to be.
    pub fn on_unfindable(&mut self, said: ServerMessage) -> Step {
        self.said = said;
        let reason = if self.sent { Reason::OutcomeUnknown } else { Reason::Rejected };
        Step::Settle(self.failed(reason, self.said.message.clone()))
    }

    fn is_same(&self, found: &Found) -> bool {
        found.bk_inst_id == self.association.inst_id.get()
            && found.bk_asst_inst_id == self.association.asst_inst_id.get()
            && *found.bk_obj_asst_id == *self.association.obj_asst_id
    }

    fn failed(&self, reason: Reason, message: String) -> Outcome {
        let mut outcome = Outcome::bad(reason, message, self.attempts.charged(), 0);
        outcome.code = self.said.code;
        outcome.request_id.clone_from(&self.said.request_id);
        outcome
    }

    fn gave_up(&self) -> Outcome {
        if !self.sent {
            let reason = match self.attempts.cause() {
                Some(Cause::Locked) => Reason::LockContention,
                _ => Reason::Unavailable,
            };
            return self.failed(reason, self.said.message.clone());
        }
        let message = format!(
            "association {} is still there after {} deletes: {}",
            self.id,
            self.attempts.charged(),
            self.said.message
        );
        self.failed(Reason::OutcomeUnknown, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::association::{InstId, Mapping};
    use rand::SeedableRng;
    use rand::rngs::StdRng;
    use std::time::Duration;

    const POLICY: Policy = Policy { max_attempts: 2, settle_after: Duration::from_secs(35) };

    fn removal(sent: bool) -> DeleteTask {
        let id = |value| InstId::new(value).unwrap();
        let association =
            Association { obj_asst_id: "a".into(), inst_id: id(1), asst_inst_id: id(2) };
        let model = ModelAssociation {
            obj_asst_id: "a".into(),
            source: "s".into(),
            target: "t".into(),
            mapping: Mapping::ManyToMany,
            mainline: false,
            guessed: false,
        };
        DeleteTask::begin(association, Arc::new(model), 7, sent, Instant::now()).0
    }

    fn found(id: i64, source: u64, target: u64) -> Found {
        Found { id, bk_obj_asst_id: "a".into(), bk_inst_id: source, bk_asst_inst_id: target }
    }

    fn look(removal: &mut DeleteTask, found: &[Found]) -> Step {
        removal.on_found(found, Instant::now(), &mut StdRng::seed_from_u64(1))
    }

    fn delete(removal: &mut DeleteTask, verdict: Deletion) -> Step {
        let rng = &mut StdRng::seed_from_u64(1);
        removal.on_deletion(verdict, ServerMessage::default(), Instant::now(), rng)
    }

    fn settled(step: Step) -> (Status, Option<Reason>) {
        match step {
            Step::Settle(outcome) => (outcome.status, outcome.reason),
            other => panic!("not settled: {other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn deleted_means_seen_deleted_and_gone() {
        let mut one = removal(false);
        assert!(matches!(look(&mut one, &[found(7, 1, 2)]), Step::Create(_)));
        assert_eq!(one.before_delete(&POLICY), None);
        assert!(matches!(delete(&mut one, Deletion::Accepted), Step::LookUp(_)));
        assert_eq!(settled(look(&mut one, &[])), (Status::Deleted, None));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_there_or_not_the_same_is_left_alone() {
        let mut one = removal(false);
        for _ in 1..LOOKS {
            assert!(matches!(look(&mut one, &[]), Step::LookUp(_)));
        }
        assert_eq!(settled(look(&mut one, &[])), (Status::Failed, Some(Reason::NotFound)));
        for other in [found(9, 1, 2), found(7, 3, 4)] {
            let outcome = settled(look(&mut removal(false), &[other]));
            assert_eq!(outcome, (Status::Failed, Some(Reason::NotTheSame)));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_success_that_deleted_nothing_is_no_success() {
        let mut one = removal(false);
        let here = [found(7, 1, 2)];
        look(&mut one, &here);
        for _ in 0..POLICY.max_attempts {
            assert_eq!(one.before_delete(&POLICY), None);
            delete(&mut one, Deletion::Accepted);
            for _ in 1..LOOKS {
                assert!(matches!(look(&mut one, &here), Step::LookUp(_)));
            }
            assert!(matches!(look(&mut one, &here), Step::Create(_)));
        }
        assert_eq!(one.before_delete(&POLICY), Some(Step::LookUpLast));
        one.look_last();
        for _ in 1..LOOKS {
            look(&mut one, &here);
        }
        assert_eq!(settled(look(&mut one, &here)), (Status::Failed, Some(Reason::OutcomeUnknown)));
    }

    #[tokio::test(start_paused = true)]
    async fn what_an_earlier_process_saw_and_is_gone_for_good_is_deleted() {
        for left in [&[][..], &[found(9, 1, 2)]] {
            let mut removal = removal(true);
            for _ in 1..LOOKS {
                assert!(matches!(look(&mut removal, left), Step::LookUp(_)), "a read may lag");
            }
            assert_eq!(settled(look(&mut removal, left)), (Status::Deleted, None));
        }
        let never_ours = settled(look(&mut removal(true), &[found(7, 3, 4)]));
        assert_eq!(never_ours, (Status::Failed, Some(Reason::NotTheSame)));
    }

    #[test]
    fn a_delete_that_always_overloads_the_server_ends_as_its_own_fault() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut removal = removal(false);
        look(&mut removal, &[found(7, 1, 2)]);
        let mut calls = 0;
        while removal.before_delete(&POLICY).is_none() {
            calls += 1;
            assert!(calls < 20, "it never ends");
            let verdict = Deletion::Again(Cause::Overload);
            removal.on_deletion(verdict, ServerMessage::default(), Instant::now(), &mut rng);
        }
        assert_eq!((calls, removal.attempts().charged()), (8, 2));
        let Some(Step::Settle(outcome)) = removal.before_delete(&POLICY) else { panic!() };
        assert_eq!(outcome.reason, Some(Reason::Unavailable));
    }

    #[test]
    fn locks_that_never_open_are_told_as_such() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut removal = removal(false);
        for _ in 0..2 {
            let verdict = Deletion::Again(Cause::Locked);
            removal.on_deletion(verdict, ServerMessage::default(), Instant::now(), &mut rng);
        }
        let Some(Step::Settle(outcome)) = removal.before_delete(&POLICY) else { panic!() };
        assert_eq!(outcome.reason, Some(Reason::LockContention));
    }
}
