//! Which call goes next: the probe of an outage, the question for model associations, look-ups,
//! creates, in this order, each only when the pacer lets it.

use std::sync::Arc;

use tokio::time::Instant;

use super::rows::Life;
use super::{COMPANY, Call, DRAIN, LINGER, MAX_ACTIVE_ROWS, Run};
use crate::cmdb::Cmdb;
use crate::cmdb::wire::{Find, Request};
use crate::engine::circuit_breaker::May;
use crate::engine::pacer::Bottleneck;
use crate::engine::preflight;
use crate::engine::stats::CallKind;

impl<C: Cmdb> Run<'_, C> {
    /// The next call that may go now, if there is one.
    pub(super) fn next_call(&mut self, in_flight: usize, now: Instant) -> Option<(Call, Request)> {
        self.held = None;
        if self.halt.is_some() {
            self.held = Some((now + DRAIN, Bottleneck::Concurrency));
            return None;
        }
        if let Some(hold) = self.pacer.full(in_flight, now) {
            self.held = Some((now + DRAIN, hold));
            return None;
        }
        let may = self.outage.may(now);
        if let May::Wait(until) = may {
            self.held = Some((until.unwrap_or(now + DRAIN), Bottleneck::Outage));
            return None;
        }
        if !self.has_call(may, now) {
            self.held = Some((now + DRAIN, self.idle_for(in_flight)));
            return None;
        }
        if let Err((until, hold)) = self.pacer.permit(now) {
            self.held = Some((until, hold));
            return None;
        }
        let next = match may {
            May::Probe => self.probe(),
            _ if self.may_ask(now) => self.question(),
            _ if self.looks_due(now) => self.find(),
            _ => self.write(),
        };
        match may {
            May::Probe => self.outage.probe_sent(),
            May::One => {
                self.looked_last = matches!(next.0, Call::Find(_));
                self.outage.trial_sent();
            }
            May::All | May::Wait(_) => {}
        }
        Some(next)
    }

    /// What is waited for while there is no call to make.
    fn idle_for(&self, in_flight: usize) -> Bottleneck {
        if self.rows.has_queues() {
            Bottleneck::Collisions
        } else if in_flight > 0 {
            Bottleneck::Concurrency
        } else if self.models.has_questions() {
            // The question got no answer, and is asked again in a while.
            Bottleneck::Outage
        } else if self.rows.next_timer().is_some() && self.ended.is_some() {
            Bottleneck::Pauses
        } else {
            Bottleneck::Input
        }
    }

    /// Whether there is a call to make. Rows that have no attempt left end here.
    fn has_call(&mut self, may: May, now: Instant) -> bool {
        if may == May::Probe || self.may_ask(now) || self.looks_due(now) {
            return true;
        }
        while let Some(&slot) = self.rows.writes.front() {
            if !self.may_write {
                self.rows.writes.pop_front();
                self.outage.forget(slot);
                self.rows.leave(slot);
                continue;
            }
            let Some(step) = self.rows.life(slot).before_write(&self.policy) else {
                return !self.awaits_company();
            };
            self.rows.writes.pop_front();
            self.take_step(slot, step, now);
        }
        self.looks_due(now)
    }

    fn may_ask(&self, now: Instant) -> bool {
        !self.asking && self.models.has_questions() && self.ask_at <= now
    }

    fn looks_due(&self, now: Instant) -> bool {
        let looks = &self.rows.looks;
        // In a trial by turns: either may be what gets no answer, and a look-up sends no new row.
        let creates_first = self.outage.is_on() && self.looked_last && !self.rows.writes.is_empty();
        !looks.is_empty()
            && !creates_first
            && (looks.len() >= COMPANY
                || self.rows.writes.is_empty()
                || self.rows.looks_since.is_some_and(|since| since + LINGER <= now))
    }

    fn question(&mut self) -> (Call, Request) {
        self.asking = true;
        let names = self.models.question();
        self.stats.calls.sent(CallKind::Models);
        self.stats.calls.retries += u64::from(std::mem::take(&mut self.asked_in_vain));
        (Call::Models(names.clone()), Request::Models(names))
    }

    /// Asks something harmless of a model association that is known.
    fn probe(&mut self) -> (Call, Request) {
        self.stats.calls.sent(CallKind::Probe);
        let given = |name: &str| self.options.models.iter().any(|m| *m.obj_asst_id == *name);
        let model = self.models.any_known().expect("rows were sent, so their model is known");
        let request = if given(&model.obj_asst_id) {
            preflight::harmless(model)
        } else {
            Request::Models(vec![Arc::clone(&model.obj_asst_id)])
        };
        (Call::Probe, request)
    }

    fn find(&mut self) -> (Call, Request) {
        let slots = self.rows.take_looks(self.finds.size());
        let model = Arc::clone(self.rows.life(slots[0]).model());
        let any_of = slots.iter().flat_map(|&slot| self.rows.life(slot).patterns()).collect();
        self.stats.calls.sent(CallKind::Find);
        let request = Request::Find(Find {
            obj_id: Arc::clone(&model.source),
            obj_asst_id: Arc::clone(&model.obj_asst_id),
            any_of,
        });
        (Call::Find(slots), request)
    }

    fn write(&mut self) -> (Call, Request) {
        // What tells whether the server is back is a row of its own: the batches' path may be what fails.
        let size = self.batches.size().filter(|_| !self.outage.is_on());
        let slots = match size {
            Some(size) => self.rows.take_batch(size),
            None => self.rows.writes.pop_front().into_iter().collect(),
        };
        let largest_id = self.largest_id;
        let mut again = false;
        for &slot in &slots {
            again |= self.rows.note_sent(slot);
            if let Life::Create(life) = self.rows.life_mut(slot) {
                life.about_to_create(largest_id);
            }
        }
        self.stats.calls.retries += u64::from(again);
        match slots[..] {
            [slot] => self.write_one(slot),
            _ => self.write_many(slots),
        }
    }

    fn write_one(&mut self, slot: usize) -> (Call, Request) {
        match self.rows.life(slot) {
            Life::Create(life) => {
                let mut link = life.link.clone();
                if !self.options.send_biz_id {
                    link.biz_id = None;
                }
                self.stats.calls.sent(CallKind::Create);
                (Call::Create(slot), Request::Create(link))
            }
            Life::Delete(removal) => {
                let obj_id = Arc::clone(&removal.model.source);
                let id = removal.id;
                self.stats.calls.sent(CallKind::Delete);
                self.journal.deleting(self.rows.ordinal(slot));
                (Call::Delete(slot), Request::Delete { obj_id, id })
            }
        }
    }

    fn write_many(&mut self, slots: Vec<usize>) -> (Call, Request) {
        let model = Arc::clone(self.rows.life(slots[0]).model());
        let pair = |slot: &usize| {
            let association = self.rows.life(*slot).association();
            (association.inst_id, association.asst_inst_id)
        };
        let pairs = slots.iter().map(pair).collect();
        self.stats.calls.sent(CallKind::Batch);
        (Call::Batch(slots), Request::CreateMany { model, pairs })
    }

    /// Whether a batch should wait for rows that are about to be let in.
    fn awaits_company(&self) -> bool {
        self.batches.size().is_some_and(|size| self.rows.writes.len() < size)
            && !self.staged.is_empty()
            && self.rows.len() < MAX_ACTIVE_ROWS
    }
}
