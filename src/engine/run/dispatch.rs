//! Which call goes next: the probe of an outage, the question for model associations, look-ups,
//! writes, in this order, each only when the pacer lets it.

use std::sync::Arc;

use tokio::time::Instant;

use super::{COMPANY, Call, DRAIN, LINGER, Run, Wait};
use crate::cmdb::Cmdb;
use crate::cmdb::wire::{Find, Request, Route};
use crate::engine::circuit_breaker::Allowed;
use crate::engine::conflicts::Slot;
use crate::engine::preflight;
use crate::engine::stats::{Bottleneck, CallKind};

/// A call, what it is counted as, and its request.
type NextCall = (Call, CallKind, Request);

impl<C: Cmdb> Run<'_, C> {
    /// The next call that may go now; else what it waits for.
    pub(super) fn next_call(&mut self, now: Instant) -> Result<NextCall, Wait> {
        // What a call's end changes is looked at then: this is only how long nothing else may happen.
        let wait_for = |bottleneck| Wait { until: now + DRAIN, bottleneck };
        if self.stopping.is_some() {
            return Err(wait_for(Bottleneck::Concurrency));
        }
        let allowed = self.breaker.allowed(now);
        // A pool full of calls that hang must not keep a single one from telling that the server is back.
        if allowed == Allowed::All
            && let Some(bottleneck) = self.caller.full(self.in_flight.len(), now)
        {
            return Err(wait_for(bottleneck));
        }
        if let Allowed::Nothing { until } = allowed {
            let until = until.unwrap_or(now + DRAIN);
            return Err(Wait { until, bottleneck: Bottleneck::Outage });
        }
        let next = if allowed == Allowed::Probe {
            let probe = self.probe();
            self.permit(probe.2.route(), now)?;
            probe
        } else {
            self.end_spent_writes(now);
            self.first_permitted(now).unwrap_or_else(|| Err(wait_for(self.idle_for())))?
        };
        self.breaker.sent(allowed, matches!(next.0, Call::LookUp(_)));
        Ok(next)
    }

    /// The first due call that the pacer lets through: a route with a quota of its own holds only its
    /// own calls. None where no call is due.
    fn first_permitted(&mut self, now: Instant) -> Option<Result<NextCall, Wait>> {
        let mut held: Option<Wait> = None;
        for way in [Way::Question, Way::Deletable, Way::LookUp, Way::Deletes, Way::Create] {
            let Some(route) = self.route_of_due(way, now) else { continue };
            match self.permit(route, now) {
                Ok(()) => return Some(Ok(self.next_of(way, now))),
                Err(wait) if held.is_none_or(|held| wait.until < held.until) => held = Some(wait),
                Err(_) => {}
            }
        }
        held.map(Err)
    }

    /// Where the next call of a kind goes, if one is due.
    fn route_of_due(&self, way: Way, now: Instant) -> Option<Route> {
        match way {
            Way::Question => self.questions.are_due(now).then_some(Route::Models),
            Way::Deletable => (self.deletes.is_due(now) && self.asks_for_deletes())
                .then(|| self.deletes.question_route()),
            Way::LookUp => self.look_ups_are_due(now).then_some(Route::Find),
            Way::Deletes => self.deletes_are_due(now).then(|| self.delete_route()),
            Way::Create => self.creates_are_due().then(|| self.create_route()),
        }
    }

    fn next_of(&mut self, way: Way, now: Instant) -> NextCall {
        match way {
            Way::Question => self.question(),
            Way::Deletable => self.deletable(),
            Way::LookUp => self.look_up(),
            Way::Deletes => self.delete(now),
            Way::Create => self.create(),
        }
    }

    fn permit(&mut self, route: Route, now: Instant) -> Result<(), Wait> {
        let permit = self.caller.permit(route, now);
        permit.map_err(|(until, bottleneck)| Wait { until, bottleneck })
    }

    /// Which way the next create goes, but for a batch that finds no company.
    fn create_route(&self) -> Route {
        if self.batch_size().is_some() { Route::CreateMany } else { Route::Create }
    }

    /// Which way the next delete goes, but for one that finds no company.
    fn delete_route(&self) -> Route {
        if self.deletes_size().is_some() { Route::DeleteMany } else { Route::Delete }
    }

    /// What is waited for while there is no call to make.
    fn idle_for(&self) -> Bottleneck {
        if !self.in_flight.is_empty() {
            // Rows may also stand behind one that pauses, and that is no collision.
            let is_before_others =
                |call: &Call| call.rows().iter().any(|&slot| self.rows.is_before_others(slot));
            return if self.rows.has_queues() && self.in_flight.any(is_before_others) {
                Bottleneck::Collisions
            } else {
                Bottleneck::Concurrency
            };
        }
        if self.questions.wait() {
            // The question got no answer, and is asked again in a while.
            Bottleneck::Outage
        } else if self.rows.next_timer().is_some()
            && (self.intake.ended().is_some() || self.rows.has_queues() || !self.rows.has_room())
        {
            // So do rows that stand behind one that pauses, and those for which there is no room.
            Bottleneck::Pauses
        } else {
            Bottleneck::Input
        }
    }

    /// Ends rows that are next to be written and have no attempt left, or go to their last look-up; and what
    /// a run that only looks would have to write, without an outcome.
    fn end_spent_writes(&mut self, now: Instant) {
        let is_spent = |run: &Self, slot| {
            !run.may_write || run.rows.task(slot).before_write(&run.policy, now).is_some()
        };
        while let Some(&slot) = self.rows.creates.front()
            && is_spent(self, slot)
        {
            self.rows.creates.pop_front();
            self.end_spent_write(slot, now);
        }
        while let Some(&slot) = self.rows.deletes.front()
            && is_spent(self, slot)
        {
            self.rows.take_deletes(None, &self.policy, now);
            self.end_spent_write(slot, now);
        }
    }

    fn end_spent_write(&mut self, slot: Slot, now: Instant) {
        if !self.may_write {
            self.breaker.forget(slot);
            self.rows.leave(slot);
        } else if let Some(step) = self.rows.task(slot).before_write(&self.policy, now) {
            self.take_step(slot, step, now);
        }
    }

    fn creates_are_due(&self) -> bool {
        !self.rows.creates.is_empty() && !self.awaits_company()
    }

    /// Deletes wait for company that is on its way, but not for long.
    fn deletes_are_due(&self, now: Instant) -> bool {
        let rows = &self.rows;
        if rows.deletes.is_empty() {
            return false;
        }
        let Some(size) = self.deletes_size() else { return true };
        let is_late = || rows.deletes_since.is_some_and(|since| since + LINGER <= now);
        let more_may_come = || {
            !rows.look_ups.is_empty()
                || !self.noting.is_empty()
                || (self.intake.has_staged() && rows.has_room())
                || self.in_flight.any(|call| matches!(call, Call::LookUp(_)))
        };
        rows.deletes.len() >= size || is_late() || !more_may_come()
    }

    fn look_ups_are_due(&self, now: Instant) -> bool {
        let look_ups = &self.rows.look_ups;
        let writes_first = self.breaker.wants_write() && self.rows.has_writes();
        !look_ups.is_empty()
            && !writes_first
            && (look_ups.len() >= COMPANY
                || !self.rows.has_writes()
                || self.rows.look_ups_since.is_some_and(|since| since + LINGER <= now))
    }

    /// Whether rows wait until it is known that there is a call that deletes.
    pub(super) fn asks_for_deletes(&self) -> bool {
        self.deletes.is_open()
            && self.intake.has_staged()
            && self.questions.models.any_known().is_some()
    }

    /// Whether a batch should wait for rows that are about to be let in.
    fn awaits_company(&self) -> bool {
        self.batches.size().is_some_and(|size| self.rows.creates.len() < size)
            && self.intake.has_staged()
            && self.rows.has_room()
    }

    fn question(&mut self) -> NextCall {
        let (names, again) = self.questions.take_next();
        self.recorder.stats.calls.retries += u64::from(again);
        (Call::Models(names.clone()), CallKind::Models, Request::Models(names))
    }

    /// Asks whether there is a call that deletes.
    fn deletable(&mut self) -> NextCall {
        let model = self.questions.models.any_known();
        let model = Arc::clone(model.expect("rows wait whose model is known"));
        let route = self.deletes.question_route();
        (Call::Deletable(route), CallKind::Probe, self.deletes.question(&model))
    }

    /// Asks something harmless of a model association that is known.
    fn probe(&self) -> NextCall {
        let given = |name: &str| self.options.models.iter().any(|m| *m.obj_asst_id == *name);
        let model = self.questions.models.any_known();
        let model = model.expect("rows were sent, so their model is known");
        let request = if given(&model.obj_asst_id) {
            preflight::harmless(model)
        } else {
            Request::Models(vec![Arc::clone(&model.obj_asst_id)])
        };
        (Call::Probe, CallKind::Probe, request)
    }

    fn look_up(&mut self) -> NextCall {
        let slots = self.rows.take_look_ups(self.look_up_size.get());
        let first = self.rows.task(slots[0]);
        let any_of = slots.iter().flat_map(|&slot| self.rows.task(slot).patterns()).collect();
        let request = Request::Find(Find {
            obj_id: Arc::clone(first.look_up_model()),
            obj_asst_id: Arc::clone(&first.model.obj_asst_id),
            any_of,
        });
        (Call::LookUp(slots), CallKind::Find, request)
    }

    /// How many rows a write may carry. What tells whether the server is back is a row of its own: the
    /// batches' path may be what fails.
    fn batch_size(&self) -> Option<usize> {
        self.batches.size().filter(|_| !self.breaker.is_tripped())
    }

    /// The same for deletes.
    fn deletes_size(&self) -> Option<usize> {
        self.deletes.size().filter(|_| !self.breaker.is_tripped())
    }

    fn create(&mut self) -> NextCall {
        let slots = match self.batch_size() {
            Some(size) => self.rows.take_batch(size),
            None => self.rows.creates.pop_front().into_iter().collect(),
        };
        self.note_sent(&slots);
        match slots[..] {
            [slot] => self.create_one(slot),
            _ => self.create_many(slots),
        }
    }

    fn note_sent(&mut self, slots: &[Slot]) {
        let mut again = false;
        for &slot in slots {
            again |= self.rows.note_sent(slot);
            self.rows.task_mut(slot).about_to_write(self.largest_id);
        }
        self.recorder.stats.calls.retries += u64::from(again);
    }

    fn create_one(&self, slot: Slot) -> NextCall {
        let mut new = self.rows.task(slot).new.clone();
        if !self.options.send_biz_id {
            new.biz_id = None;
        }
        (Call::Write(slot), CallKind::Create, Request::Create(new))
    }

    fn create_many(&self, slots: Vec<Slot>) -> NextCall {
        let model = Arc::clone(&self.rows.task(slots[0]).model);
        let pair = |slot: &Slot| {
            let association = &self.rows.task(*slot).new.association;
            (association.inst_id, association.asst_inst_id)
        };
        let pairs = slots.iter().map(pair).collect();
        (Call::Batch(slots), CallKind::Batch, Request::CreateMany { model, pairs })
    }

    /// Many to a call, where there are many: one that finds no company goes by the call for one.
    fn delete(&mut self, now: Instant) -> NextCall {
        let slots = self.rows.take_deletes(self.deletes_size(), &self.policy, now);
        self.note_sent(&slots);
        let ids = slots.iter().flat_map(|&slot| self.rows.task(slot).to_delete());
        let ids: Vec<i64> = ids.copied().collect();
        let first = self.rows.task(slots[0]);
        let obj_id = Arc::clone(&first.model.source);
        let goes_singly = first.company().is_none() || self.deletes_size().is_none();
        if slots.len() == 1 && (ids.len() == 1 || goes_singly) && !self.deletes.lacks_one() {
            let request = Request::Delete { obj_id, id: ids[0] };
            return (Call::Write(slots[0]), CallKind::Delete, request);
        }
        (Call::Deletes(slots, ids.len()), CallKind::Delete, Request::DeleteMany { obj_id, ids })
    }
}

/// The kinds of calls, in the order in which they go.
#[derive(Clone, Copy, Debug)]
enum Way {
    Question,
    Deletable,
    LookUp,
    Deletes,
    Create,
}
