//! What a call that has ended means for the run: for its row, for the pace, for everything.

use std::sync::Arc;

use rand::rngs::StdRng;
use rustc_hash::FxHashMap;
use tokio::time::Instant;

use super::{Call, Run};
use crate::cmdb::Cmdb;
use crate::cmdb::server_message::ServerMessage;
use crate::cmdb::verdict::{
    BatchVerdict, Cause, Query, Stop, Verdict, judge, judge_batch, judge_delete, judge_delete_many,
};
use crate::cmdb::wire::{BatchAnswer, Envelope, Found, Reply, Route};
use crate::engine::caller::{Landed, Sent};
use crate::engine::conflicts::Slot;
use crate::engine::in_flight::{self, Pending, Ticket};
use crate::engine::retry::Backoff;
use crate::engine::server_health::{ServerHealth, look_ups_refused, refused};
use crate::engine::task::{Step, Task, Write};
use crate::outcome::Reason;

impl<C: Cmdb> Run<'_, C> {
    pub(super) fn land(&mut self, landed: Landed<Ticket>) {
        let Landed { call: ticket, reply, sent } = landed;
        let now = Instant::now();
        // What was given up is looked up by now: a late answer would say of it what may have changed.
        let Some(Pending { call, .. }) = self.in_flight.landed(ticket, now) else {
            self.caller.landed_late(sent, now);
            return;
        };
        match call {
            Call::Write(slot) => self.land_write(slot, &reply, sent, now),
            Call::Batch(slots) => self.land_batch(&slots, &reply, sent, now),
            Call::Deletes(slots, many) => self.land_deletes(&slots, many, &reply, sent, now),
            Call::Deletable(route) => self.land_deletable(route, &reply, sent, now),
            Call::LookUp(slots) => self.land_look_up(slots, &reply, sent, now),
            Call::Models(names) => self.land_models(names, &reply, sent, now),
            Call::Probe => {
                let query = self.judged(&reply, sent, now, ServerHealth::judge_query);
                for (slot, charge) in self.breaker.probe_landed(!query.is_silence(), now) {
                    self.rows.task_mut(slot).give_back(charge);
                }
            }
        }
    }

    /// Takes note of a call's end, and says what it means.
    fn judged<V>(
        &mut self,
        reply: &Reply,
        sent: Sent,
        now: Instant,
        judge: impl FnOnce(&mut ServerHealth, &Reply) -> (V, Option<Cause>),
    ) -> V {
        self.caller.landed(reply, sent, now, &mut self.recorder.stats.calls, judge)
    }

    /// A create, or a delete of one association.
    fn land_write(&mut self, slot: Slot, reply: &Reply, sent: Sent, now: Instant) {
        self.rows.note_landed(slot);
        let write = self.rows.task(slot).next_write();
        let verdict = self.judged(reply, sent, now, |health, reply| {
            let verdict = match write {
                Write::Create => judge(reply, health.proven),
                Write::Delete => judge_delete(reply, health.proven),
            };
            health.proven |= matches!(verdict, Verdict::Created(_));
            (verdict, verdict.cause())
        });
        if write == Write::Delete {
            let calls = &mut self.recorder.stats.calls;
            calls.refused_deletes += u64::from(verdict.is_refusal());
            if verdict == Verdict::Stop(Stop::NoDelete) {
                if self.deletes.give_up_one() {
                    return self.take_step(slot, Step::Write(now), now);
                }
                calls.lacks_delete = true;
            }
        }
        let task = self.rows.task_mut(slot);
        let association = &task.new.association;
        let said = sent.said(reply);
        if let Verdict::Created(_) | Verdict::Accepted = verdict {
            tracing::trace!(?verdict, row = %association, ?write, "write");
        } else {
            tracing::debug!(?verdict, row = %association, ?write, "write: {said}");
        }
        let before = task.charged();
        let step = task.on_verdict(verdict, said, now, &mut self.rng);
        let charge = task.charged() - before;
        match verdict.cause() {
            Some(cause) if cause.is_silence() => self.unanswered(slot, charge, now),
            cause => {
                self.answered(now);
                if write == Write::Create && cause.is_none() {
                    self.batches.single_answered();
                }
            }
        }
        match (verdict, step) {
            (Verdict::Failed(Reason::Forbidden), Step::Settle(outcome))
                if write == Write::Create && !self.permission.is_granted() =>
            {
                let said = sent.said(reply);
                if let Some(halt) = self.permission.hold(slot, outcome, &said)
                    && self.stopping.is_none()
                {
                    self.stop(halt);
                }
            }
            (verdict, step) => {
                match verdict {
                    Verdict::Stop(stop) if !matches!(step, Step::Settle(_)) => {
                        self.stop(refused(stop, reply, self.target));
                    }
                    Verdict::Created(id) => self.largest_id = self.largest_id.max(id),
                    _ => {}
                }
                self.permission.heard(verdict);
                self.release_if_granted(now);
                self.take_step(slot, step, now);
            }
        }
    }

    fn release_if_granted(&mut self, now: Instant) {
        if self.permission.is_granted() && self.permission.holds_rows() {
            self.release_refused(now);
        }
    }

    fn land_batch(&mut self, slots: &[Slot], reply: &Reply, sent: Sent, now: Instant) {
        for &slot in slots {
            self.rows.note_landed(slot);
        }
        let verdict = self.judged(reply, sent, now, |health, reply| {
            let verdict = judge_batch(reply, health.proven);
            health.proven |= verdict == BatchVerdict::Answered;
            (verdict, verdict.cause())
        });
        if verdict == BatchVerdict::Answered {
            tracing::trace!(rows = slots.len(), "batch answered");
        } else {
            tracing::debug!(?verdict, rows = slots.len(), "batch: {}", sent.said(reply));
        }
        let cause = verdict.cause();
        // One call is one row's worth of silence: three lost batches are an outage, one is not.
        if cause.is_some_and(Cause::is_silence) {
            self.unanswered(slots[0], 0, now);
            self.batches.shrink(slots.len());
        } else {
            self.answered(now);
        }
        if cause.is_some_and(|cause| !cause.is_limit()) && self.batches.failed() {
            self.batches.give_up("batches fail, and single rows do not");
        }
        match verdict {
            BatchVerdict::Answered => {
                let items = reply.envelope().and_then(Envelope::batch).unwrap_or_default();
                self.batches.grow();
                self.land_items(slots, &items, &sent.said(reply), now);
            }
            BatchVerdict::NoSuchPath => {
                self.batches.give_up("this server has no batches");
                self.each_of(slots, now, |task, _| task.go_singly(now));
            }
            BatchVerdict::Refused => {
                self.batches.shrink(slots.len());
                self.each_of(slots, now, |task, _| task.go_singly(now));
            }
            BatchVerdict::Again(cause) => {
                self.each_of(slots, now, |task, rng| task.on_batch_again(cause, now, rng));
            }
            BatchVerdict::InDoubt(_) => {
                let said = sent.said(reply);
                self.each_of(slots, now, |task, _| task.on_batch_lost(said.clone(), now));
            }
            BatchVerdict::Stop(stop) => {
                self.stop(refused(stop, reply, self.target));
                self.each_of(slots, now, |task, _| task.go_singly(now));
            }
        }
    }

    /// Many deletes: a look tells what they did.
    fn land_deletes(
        &mut self,
        slots: &[Slot],
        many: usize,
        reply: &Reply,
        sent: Sent,
        now: Instant,
    ) {
        for &slot in slots {
            self.rows.note_landed(slot);
        }
        let verdict = self.judged(reply, sent, now, |health, reply| {
            let verdict = judge_delete_many(reply, health.proven);
            (verdict, verdict.cause())
        });
        let said = sent.said(reply);
        tracing::debug!(?verdict, many, rows = slots.len(), "deletes: {said}");
        let cause = verdict.cause();
        if cause.is_some_and(Cause::is_silence) {
            self.unanswered(slots[0], 0, now);
            self.deletes.shrink(many);
        } else {
            self.answered(now);
        }
        let is_refusal = !matches!(verdict, BatchVerdict::Answered | BatchVerdict::InDoubt(_));
        self.recorder.stats.calls.refused_deletes += u64::from(is_refusal);
        match verdict {
            BatchVerdict::Answered => {
                self.deletes.grow();
                let id = said.request_id;
                self.each_of(slots, now, |task, _| task.on_deletes_answered(id.clone(), now));
            }
            BatchVerdict::NoSuchPath => {
                self.deletes.give_up_many("this server does not delete many at once");
                self.each_of(slots, now, |_, _| Step::Write(now));
            }
            BatchVerdict::Refused => {
                self.deletes.cap(many);
                self.each_of(slots, now, |task, _| task.on_deletes_refused(many, now));
            }
            BatchVerdict::Again(cause) => {
                self.each_of(slots, now, |task, rng| task.on_deletes_again(many, cause, now, rng));
            }
            BatchVerdict::InDoubt(_) => {
                self.each_of(slots, now, |task, _| task.on_deletes_lost(many, said.clone(), now));
            }
            BatchVerdict::Stop(stop) => {
                self.stop(refused(stop, reply, self.target));
                self.each_of(slots, now, |_, _| Step::Write(now));
            }
        }
    }

    /// Whether there is a call that deletes.
    fn land_deletable(&mut self, route: Route, reply: &Reply, sent: Sent, now: Instant) {
        let cause;
        let stop = if route == Route::DeleteMany {
            let verdict = self.judged(reply, sent, now, |health, reply| {
                let verdict = judge_delete_many(reply, health.proven);
                (verdict, verdict.cause())
            });
            cause = verdict.cause();
            self.deletes.many_landed(verdict, now)
        } else {
            let verdict = self.judged(reply, sent, now, |health, reply| {
                let verdict = judge_delete(reply, health.proven);
                (verdict, verdict.cause())
            });
            cause = verdict.cause();
            self.deletes.one_landed(verdict, now)
        };
        self.breaker.trial_landed(!cause.is_some_and(Cause::is_silence), now);
        if let Some(stop) = stop {
            self.recorder.stats.calls.lacks_delete |= stop == Stop::NoDelete;
            return self.stop(refused(stop, reply, self.target));
        }
        if self.deletes.is_open() {
            self.caller.health.note_trouble(&sent.said(reply));
        } else {
            self.limits.progressed(now);
        }
    }

    /// Items that an answer names are what it says; the others are in doubt.
    fn land_items(
        &mut self,
        slots: &[Slot],
        items: &BatchAnswer,
        said: &ServerMessage,
        now: Instant,
    ) {
        for (place, &slot) in slots.iter().enumerate() {
            let task = self.rows.task_mut(slot);
            let step = match items.created.get(&place) {
                Some(&id) if !items.refused.contains(&place) => {
                    self.largest_id = self.largest_id.max(id);
                    self.permission.grant();
                    task.on_batch_created(id, said.request_id.clone())
                }
                None if items.refused.contains(&place) => task.on_batch_refused(now),
                _ => task.on_batch_lost(said.clone(), now),
            };
            self.take_step(slot, step, now);
        }
        self.release_if_granted(now);
    }

    fn each_of(
        &mut self,
        slots: &[Slot],
        now: Instant,
        mut step: impl FnMut(&mut Task, &mut StdRng) -> Step,
    ) {
        for &slot in slots {
            let step = step(self.rows.task_mut(slot), &mut self.rng);
            self.take_step(slot, step, now);
        }
    }

    fn land_look_up(&mut self, slots: Vec<Slot>, reply: &Reply, sent: Sent, now: Instant) {
        let query = self.judged(reply, sent, now, ServerHealth::judge_query);
        if query == Query::Answered {
            tracing::trace!(rows = slots.len(), "look-up answered");
        } else {
            tracing::debug!(?query, rows = slots.len(), "look-up: {}", sent.said(reply));
        }
        let was_closed = !self.breaker.is_tripped();
        self.breaker.trial_landed(!query.is_silence(), now);
        match query {
            Query::Answered if let Some(found) = reply.envelope().and_then(Envelope::found) => {
                self.look_up_size.grow();
                if !self.rows.has_writes() {
                    self.answered(now);
                }
                self.found(slots, &found, sent.at, now);
            }
            Query::Rejected | Query::NoSuchCall if slots.len() == 1 => {
                let step = self.rows.task_mut(slots[0]).on_unfindable(sent.said(reply));
                self.take_step(slots[0], step, now);
            }
            Query::Rejected | Query::NoSuchCall => {
                self.look_up_size.cap(slots.len());
                self.look_again(slots, now, now);
            }
            Query::Forbidden => {
                self.stop(look_ups_refused(reply, self.rows.task(slots[0]).look_up_model()));
            }
            Query::Stop(stop) => self.stop(refused(stop, reply, self.target)),
            Query::Answered | Query::Again(_) => {
                self.caller.health.note_trouble(&sent.said(reply));
                if query.is_silence() {
                    // Like a batch, one row's worth of silence.
                    if was_closed {
                        self.unanswered(slots[0], 0, now);
                    }
                    self.look_up_size.shrink(slots.len());
                }
                self.recorder.stats.calls.retries += 1;
                let wait = Backoff::NO_ANSWER.wait(2, &mut self.rng);
                self.look_again(slots, now + wait, now);
            }
        }
    }

    fn look_again(&mut self, slots: Vec<Slot>, at: Instant, now: Instant) {
        for slot in slots {
            self.take_step(slot, Step::LookUp(at), now);
        }
    }

    fn found(&mut self, slots: Vec<Slot>, found: &[Found], asked_at: Instant, now: Instant) {
        // A read that lags may show what was seen gone.
        let is_there = |found: &&Found| !self.traces.is_gone(found.id);
        let mut by_source: FxHashMap<u64, Vec<&Found>> = FxHashMap::default();
        let mut by_target: FxHashMap<u64, Vec<&Found>> = FxHashMap::default();
        for one in found.iter().filter(is_there) {
            by_source.entry(one.bk_inst_id).or_default().push(one);
            by_target.entry(one.bk_asst_inst_id).or_default().push(one);
        }
        let by_id: FxHashMap<i64, &Found> =
            found.iter().filter(is_there).map(|found| (found.id, found)).collect();
        for slot in slots {
            let task = self.rows.task_mut(slot);
            let association = &task.new.association;
            // What a row before it may have created yet is not there to be deleted.
            if task.next_write() == Write::Delete
                && let Some(until) = self.traces.may_be_created_until(association)
                && asked_at < until
            {
                self.take_step(slot, Step::LookUp(until), now);
                continue;
            }
            let source = by_source.get(&association.inst_id.get());
            let target = by_target.get(&association.asst_inst_id.get());
            let of_its_ids = task.ids_to_delete().iter().filter_map(|id| by_id.get(id));
            let near: Vec<Found> = (source.into_iter().chain(target).flatten())
                .chain(of_its_ids)
                .map(|found| Found::clone(found))
                .collect();
            let step = task.on_found(&near, asked_at, now, &self.policy, &mut self.rng);
            self.take_step(slot, step, now);
        }
        let largest = found.iter().map(|found| found.id).max().unwrap_or(0);
        self.largest_id = self.largest_id.max(largest);
    }

    fn land_models(&mut self, names: Vec<Arc<str>>, reply: &Reply, sent: Sent, now: Instant) {
        let query = self.judged(reply, sent, now, ServerHealth::judge_query);
        self.breaker.trial_landed(!query.is_silence(), now);
        match self.questions.landed(names, reply, query, self.target, now) {
            Ok(true) => self.limits.progressed(now),
            Ok(false) => self.caller.health.note_trouble(&sent.said(reply)),
            Err(halt) => self.stop(halt),
        }
    }

    /// A row's call got no answer of substance, and the row was charged `charge` for it.
    fn unanswered(&mut self, slot: Slot, charge: u32, now: Instant) {
        let was_tripped = self.breaker.is_tripped();
        for (slot, charge) in self.breaker.unanswered(slot, charge, now) {
            self.rows.task_mut(slot).give_back(charge);
        }
        let is_tripped = self.breaker.is_tripped();
        if !was_tripped && is_tripped {
            tracing::warn!(
                "the server does not answer: holding all calls, probing once in a while"
            );
        }
        // An attempt that stays charged is a step towards the row's end.
        if !was_tripped && !is_tripped && charge > 0 {
            self.limits.progressed(now);
        }
    }

    fn answered(&mut self, now: Instant) {
        let Some(opened) = self.breaker.answered() else { return };
        tracing::warn!("the server answers again: going on");
        // Calls from before, for which it takes unusually long while it answers others, are lost: their
        // doubt begins now, and not when their time is over.
        let usual = self.recorder.stats.calls.usual_latency().unwrap_or_default();
        let old = now.checked_sub(in_flight::unusual(usual)).map_or(opened, |old| old.min(opened));
        for Pending { call, .. } in self.in_flight.give_up_before(old) {
            self.give_up(call, now);
        }
    }

    /// What becomes of a call that is not waited for any more. It need not have been the rows' doing.
    fn give_up(&mut self, call: Call, now: Instant) {
        const WHY: &str = "no answer, while the server answers others";
        let id = self.write_of(&call).and_then(|write| self.caller.id_of(write));
        let request_id = id.map(|id| id.to_string());
        let lost = || {
            let (message, request_id) = (WHY.to_owned(), request_id.clone());
            ServerMessage { message, request_id, ..ServerMessage::default() }
        };
        match call {
            Call::Write(slot) => {
                self.rows.note_landed(slot);
                let task = self.rows.task_mut(slot);
                let verdict = Verdict::InDoubt(Cause::NoAnswer);
                let before = task.charged();
                let step = task.on_verdict(verdict, lost(), now, &mut self.rng);
                task.give_back(task.charged() - before);
                self.take_step(slot, step, now);
            }
            Call::Batch(slots) => {
                for &slot in &slots {
                    self.rows.note_landed(slot);
                }
                self.each_of(&slots, now, |task, _| task.on_batch_lost(lost(), now));
            }
            Call::Deletes(slots, many) => {
                for &slot in &slots {
                    self.rows.note_landed(slot);
                }
                self.each_of(&slots, now, |task, _| task.on_deletes_lost(many, lost(), now));
            }
            Call::Deletable(_) => self.deletes.question_given_up(now),
            Call::LookUp(slots) => self.look_again(slots, now, now),
            Call::Models(names) => self.questions.given_up(names, now),
            Call::Probe => {}
        }
    }
}
