//! What a call that has ended means for the run: for its row, for the pace, for everything.

use std::sync::Arc;

use rand::rngs::StdRng;
use rustc_hash::FxHashMap;
use tokio::time::Instant;

use super::rows::Life;
use super::{Call, FORBIDDEN_ROWS, Landed, Run};
use crate::cmdb::Cmdb;
use crate::cmdb::server_message::ServerMessage;
use crate::cmdb::verdict::{
    Batch, Cause, Deletion, Query, Stop, Verdict, judge, judge_batch, judge_delete,
};
use crate::cmdb::wire::{BatchAnswer, Envelope, Found, Reply};
use crate::engine::preflight::{self, Heard};
use crate::engine::retry::Backoff;
use crate::engine::settle::{CreateTask, Step};
use crate::exit::Exit;
use crate::outcome::{Outcome, Reason};

impl<C: Cmdb> Run<'_, C> {
    pub(super) fn land(&mut self, landed: Landed) {
        let Landed { call, reply, sent_at } = landed;
        let now = Instant::now();
        self.evidence.heard(&reply);
        self.stats.calls.answered(now - sent_at);
        if let Call::Create(slot) | Call::Delete(slot) = call {
            self.rows.note_landed(slot);
        }
        match call {
            Call::Create(slot) => self.land_create(slot, &reply, sent_at, now),
            Call::Batch(slots) => self.land_batch(&slots, &reply, sent_at, now),
            Call::Delete(slot) => self.land_delete(slot, &reply, sent_at, now),
            Call::Find(slots) => self.land_find(slots, &reply, sent_at, now),
            Call::Models(names) => self.land_models(names, &reply, sent_at, now),
            Call::Probe => {
                let query = self.evidence.add(&reply);
                self.slow_down(query.cause(), &reply, sent_at, now);
                for (slot, charge) in self.outage.probe_landed(!query.is_silence(), now) {
                    self.rows.life_mut(slot).give_back(charge);
                }
            }
        }
    }

    fn land_create(&mut self, slot: usize, reply: &Reply, sent_at: Instant, now: Instant) {
        let verdict = judge(reply, self.evidence.proven);
        let association = self.rows.life(slot).association();
        if let Verdict::Created(_) = verdict {
            tracing::trace!(?verdict, row = %association, "create");
        } else {
            tracing::debug!(?verdict, row = %association, "create: {}", ServerMessage::of(reply));
        }
        let cause = match verdict {
            Verdict::InDoubt(cause) | Verdict::Again(cause) => Some(cause),
            _ => None,
        };
        if let Verdict::Stop(stop) = verdict {
            self.stop_for(stop, reply);
        }
        if let Verdict::Created(id) = verdict {
            self.largest_id = self.largest_id.max(id);
            self.evidence.proven = true;
        }
        if cause.is_none() {
            self.batches.single_answered();
        }
        let Life::Create(life) = self.rows.life_mut(slot) else { return };
        let before = life.attempts().charged();
        let step = life.on_verdict(verdict, ServerMessage::of(reply), now, &mut self.rng);
        let charge = life.attempts().charged() - before;
        self.note_cause(slot, cause, charge, reply, sent_at, now);
        match (verdict, step) {
            (Verdict::Failed(Reason::Forbidden), Step::Settle(outcome)) if !self.permitted => {
                self.hold_forbidden(slot, outcome, reply);
            }
            (_, step) => {
                self.note_permission(verdict);
                self.take_step(slot, step, now);
            }
        }
    }

    fn land_batch(&mut self, slots: &[usize], reply: &Reply, sent_at: Instant, now: Instant) {
        for &slot in slots {
            self.rows.note_landed(slot);
        }
        let verdict = judge_batch(reply, self.evidence.proven);
        if verdict == Batch::Answered {
            tracing::trace!(rows = slots.len(), "batch answered");
        } else {
            tracing::debug!(?verdict, rows = slots.len(), "batch: {}", ServerMessage::of(reply));
        }
        let cause = match verdict {
            Batch::InDoubt(cause) | Batch::Again(cause) => Some(cause),
            _ => None,
        };
        self.slow_down(cause, reply, sent_at, now);
        // One call is one row's worth of silence: three lost batches are an outage, one is not.
        if cause.is_some_and(Cause::is_silence) {
            self.unanswered(slots[0], 0, now);
            self.batches.shrink(slots.len());
        } else {
            self.answered_by_server();
        }
        if cause.is_some_and(|cause| !cause.is_limit()) && self.batches.failed() {
            self.batches.give_up("batches fail, and single rows do not");
        }
        match verdict {
            Batch::Answered => {
                let items = reply.envelope().and_then(Envelope::batch).unwrap_or_default();
                self.evidence.proven = true;
                self.batches.grow();
                self.land_items(slots, &items, reply, now);
            }
            Batch::NoSuchPath => {
                self.batches.give_up("this server has no batches");
                self.each_of(slots, now, |life, _| life.go_singly(now));
            }
            Batch::Refused => {
                self.batches.shrink(slots.len());
                self.each_of(slots, now, |life, _| life.go_singly(now));
            }
            Batch::Again(cause) => {
                self.each_of(slots, now, |life, rng| life.on_batch_again(cause, now, rng));
            }
            Batch::InDoubt(_) => {
                let said = ServerMessage::of(reply);
                self.each_of(slots, now, |life, _| life.on_batch_lost(said.clone(), now));
            }
            Batch::Stop(stop) => {
                self.stop_for(stop, reply);
                self.each_of(slots, now, |life, _| life.go_singly(now));
            }
        }
    }

    /// Items that an answer names are what it says; the others are in doubt.
    fn land_items(&mut self, slots: &[usize], items: &BatchAnswer, reply: &Reply, now: Instant) {
        let said = ServerMessage::of(reply);
        for (place, &slot) in slots.iter().enumerate() {
            let Life::Create(life) = self.rows.life_mut(slot) else { continue };
            let step = match items.created.get(&place) {
                Some(&id) if !items.refused.contains(&place) => {
                    self.largest_id = self.largest_id.max(id);
                    self.permitted = true;
                    life.on_batch_created(id, said.request_id.clone())
                }
                None if items.refused.contains(&place) => life.on_batch_refused(now),
                _ => life.on_batch_lost(said.clone(), now),
            };
            self.take_step(slot, step, now);
        }
        if self.permitted {
            self.settle_forbidden();
        }
    }

    fn each_of(
        &mut self,
        slots: &[usize],
        now: Instant,
        mut step: impl FnMut(&mut CreateTask, &mut StdRng) -> Step,
    ) {
        for &slot in slots {
            let Life::Create(life) = self.rows.life_mut(slot) else { continue };
            let step = step(life, &mut self.rng);
            self.take_step(slot, step, now);
        }
    }

    fn land_delete(&mut self, slot: usize, reply: &Reply, sent_at: Instant, now: Instant) {
        let verdict = judge_delete(reply, self.evidence.proven);
        let association = self.rows.life(slot).association();
        if verdict == Deletion::Accepted {
            tracing::trace!(row = %association, "deleted");
        } else {
            tracing::debug!(?verdict, row = %association, "delete: {}", ServerMessage::of(reply));
        }
        let cause = match verdict {
            Deletion::InDoubt(cause) | Deletion::Again(cause) => Some(cause),
            _ => None,
        };
        if let Deletion::Stop(stop) = verdict {
            self.stop_for(stop, reply);
        }
        let Life::Delete(removal) = self.rows.life_mut(slot) else { return };
        let before = removal.attempts().charged();
        let step = removal.on_deletion(verdict, ServerMessage::of(reply), now, &mut self.rng);
        let charge = removal.attempts().charged() - before;
        self.note_cause(slot, cause, charge, reply, sent_at, now);
        self.take_step(slot, step, now);
    }

    /// What a row's call says about the server.
    fn note_cause(
        &mut self,
        slot: usize,
        cause: Option<Cause>,
        charge: u32,
        reply: &Reply,
        sent_at: Instant,
        now: Instant,
    ) {
        self.slow_down(cause, reply, sent_at, now);
        match cause {
            Some(cause) if cause.is_silence() => self.unanswered(slot, charge, now),
            _ => self.answered_by_server(),
        }
    }

    /// Refusals for lack of permission are the rows' only once some row has been let through.
    fn hold_forbidden(&mut self, slot: usize, outcome: Outcome, reply: &Reply) {
        self.forbidden.push((slot, outcome));
        if self.forbidden.len() >= FORBIDDEN_ROWS && self.halt.is_none() {
            self.stop_with(
                Exit::Target,
                format!(
                    "the first {FORBIDDEN_ROWS} rows were all refused for lack of permission \
                     ({}): give the user edit permission on the instances of both models, then \
                     give the same command",
                    ServerMessage::of(reply)
                ),
            );
        }
    }

    fn note_permission(&mut self, verdict: Verdict) {
        let let_through = match verdict {
            Verdict::Created(_) | Verdict::LookUp(_) => true,
            Verdict::Failed(reason) => {
                matches!(reason, Reason::MissingSource | Reason::MissingTarget)
            }
            _ => false,
        };
        if let_through && !self.permitted {
            self.permitted = true;
            self.settle_forbidden();
        }
    }

    fn land_find(&mut self, slots: Vec<usize>, reply: &Reply, sent_at: Instant, now: Instant) {
        let query = self.evidence.add(reply);
        if query == Query::Answered {
            tracing::trace!(rows = slots.len(), "look-up answered");
        } else {
            tracing::debug!(?query, rows = slots.len(), "look-up: {}", ServerMessage::of(reply));
        }
        let silent = query.is_silence();
        let closed = !self.outage.is_on();
        self.outage.trial_landed(!silent, now);
        self.slow_down(query.cause(), reply, sent_at, now);
        match query {
            Query::Answered if let Some(found) = reply.envelope().and_then(Envelope::found) => {
                self.finds.grow();
                if self.rows.writes.is_empty() {
                    self.answered_by_server();
                }
                self.found(slots, &found, sent_at, now);
            }
            Query::Rejected if slots.len() == 1 => {
                let step = self.rows.life_mut(slots[0]).on_unfindable(ServerMessage::of(reply));
                self.take_step(slots[0], step, now);
            }
            Query::Rejected => {
                self.finds.cap(slots.len());
                self.look_again(slots, now, now);
            }
            Query::Forbidden => {
                self.stop(preflight::no_look_ups(reply, self.rows.life(slots[0]).model()));
            }
            Query::Stop(stop) => self.stop_for(stop, reply),
            Query::Answered | Query::Again(_) => {
                self.evidence.trouble = ServerMessage::of(reply).to_string();
                // Like a batch, one row's worth of silence.
                if silent && closed {
                    self.unanswered(slots[0], 0, now);
                }
                if silent {
                    self.finds.shrink(slots.len());
                }
                self.stats.calls.retries += 1;
                let wait = Backoff::NO_ANSWER.wait(2, &mut self.rng);
                self.look_again(slots, now + wait, now);
            }
        }
    }

    fn look_again(&mut self, slots: Vec<usize>, at: Instant, now: Instant) {
        for slot in slots {
            self.take_step(slot, Step::LookUp(at), now);
        }
    }

    fn found(&mut self, slots: Vec<usize>, found: &[Found], asked_at: Instant, now: Instant) {
        let mut by_source: FxHashMap<u64, Vec<&Found>> = FxHashMap::default();
        let mut by_target: FxHashMap<u64, Vec<&Found>> = FxHashMap::default();
        for one in found {
            by_source.entry(one.bk_inst_id).or_default().push(one);
            by_target.entry(one.bk_asst_inst_id).or_default().push(one);
        }
        let by_id: FxHashMap<i64, &Found> = found.iter().map(|found| (found.id, found)).collect();
        for slot in slots {
            let life = self.rows.life(slot);
            let association = life.association();
            let source = by_source.get(&association.inst_id.get());
            let target = by_target.get(&association.asst_inst_id.get());
            let mut near: Vec<Found> = (source.into_iter().chain(target).flatten())
                .map(|found| Found::clone(found))
                .collect();
            if let Life::Delete(removal) = life {
                near.extend(by_id.get(&removal.id).map(|found| Found::clone(found)));
            }
            let policy = self.policy;
            let life = self.rows.life_mut(slot);
            let step = life.on_found(&near, asked_at, now, &policy, &mut self.rng);
            self.take_step(slot, step, now);
        }
        let largest = found.iter().map(|found| found.id).max().unwrap_or(0);
        self.largest_id = self.largest_id.max(largest);
    }

    fn land_models(&mut self, names: Vec<Arc<str>>, reply: &Reply, sent_at: Instant, now: Instant) {
        self.asking = false;
        let query = self.evidence.add(reply);
        self.outage.trial_landed(!query.is_silence(), now);
        match preflight::hear(reply, query, &names, self.target) {
            Heard::Models(models) => {
                self.progress = now;
                self.models.answered(&names, models);
            }
            Heard::Stop(halt) => self.stop(halt),
            Heard::Nothing => {
                self.asked_in_vain = true;
                self.evidence.got_no_models(reply);
                self.models.ask_again(names);
                self.ask_at = now + preflight::ASK_AGAIN;
            }
        }
        self.slow_down(query.cause(), reply, sent_at, now);
    }

    fn unanswered(&mut self, slot: usize, charge: u32, now: Instant) {
        let was_on = self.outage.is_on();
        for (slot, charge) in self.outage.unanswered(slot, charge, now) {
            self.rows.life_mut(slot).give_back(charge);
        }
        if !was_on && self.outage.is_on() {
            tracing::warn!(
                "the server does not answer: holding all calls, probing once in a while"
            );
        }
        // An attempt that stays charged is a step towards the row's end.
        if !was_on && !self.outage.is_on() && charge > 0 {
            self.progress = now;
        }
    }

    fn answered_by_server(&mut self) {
        if self.outage.answered() {
            tracing::warn!("the server answers again: going on");
        }
    }

    fn slow_down(&mut self, cause: Option<Cause>, reply: &Reply, sent_at: Instant, now: Instant) {
        if cause.is_some() {
            self.evidence.trouble = ServerMessage::of(reply).to_string();
        }
        self.stats.calls.throttled += u64::from(cause.is_some_and(Cause::is_limit));
        self.evidence.pace(&mut self.pacer, cause, reply, sent_at, now);
    }

    fn stop_for(&mut self, stop: Stop, reply: &Reply) {
        self.stop(preflight::refused(stop, reply, self.target));
    }
}
