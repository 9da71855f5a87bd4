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
use crate::engine::task::Write;

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
        // `Create` stands for any write: which, the row says.
        for kind in [CallKind::Models, CallKind::Find, CallKind::Create] {
            let route = match kind {
                CallKind::Models if self.questions.are_due(now) => Route::Models,
                CallKind::Find if self.look_ups_are_due(now) => Route::Find,
                CallKind::Create if self.writes_are_due() => self.write_route(),
                _ => continue,
            };
            match self.permit(route, now) {
                Ok(()) if kind == CallKind::Models => return Some(Ok(self.question())),
                Ok(()) if kind == CallKind::Find => return Some(Ok(self.look_up())),
                Ok(()) => return Some(Ok(self.write())),
                Err(wait) if held.is_none_or(|held| wait.until < held.until) => held = Some(wait),
                Err(_) => {}
            }
        }
        held.map(Err)
    }

    fn permit(&mut self, route: Route, now: Instant) -> Result<(), Wait> {
        let permit = self.caller.permit(route, now);
        permit.map_err(|(until, bottleneck)| Wait { until, bottleneck })
    }

    /// Which way the next write goes, but for a batch that finds no company.
    fn write_route(&self) -> Route {
        let next = self.rows.writes.front().map(|&slot| self.rows.task(slot).next_write());
        match next {
            Some(Write::Delete) => Route::Delete,
            _ if self.batch_size().is_some() => Route::CreateMany,
            _ => Route::Create,
        }
    }

    /// What is waited for while there is no call to make.
    fn idle_for(&self) -> Bottleneck {
        if !self.in_flight.is_empty() {
            return if self.rows.has_queues() {
                Bottleneck::Collisions
            } else {
                Bottleneck::Concurrency
            };
        }
        if self.questions.wait() {
            // The question got no answer, and is asked again in a while.
            Bottleneck::Outage
        } else if self.rows.next_timer().is_some()
            && (self.intake.ended().is_some() || self.rows.has_queues())
        {
            // Rows that stand behind one that pauses wait for its pause.
            Bottleneck::Pauses
        } else {
            Bottleneck::Input
        }
    }

    /// Ends rows that are next to be written and have no attempt left, or go to their last look-up; and what
    /// a run that only looks would have to write, without an outcome.
    fn end_spent_writes(&mut self, now: Instant) {
        while let Some(&slot) = self.rows.writes.front() {
            if !self.may_write {
                self.rows.writes.pop_front();
                self.breaker.forget(slot);
                self.rows.leave(slot);
                continue;
            }
            let Some(step) = self.rows.task(slot).before_write(&self.policy, now) else {
                return;
            };
            self.rows.writes.pop_front();
            self.take_step(slot, step, now);
        }
    }

    fn writes_are_due(&self) -> bool {
        !self.rows.writes.is_empty() && !self.awaits_company()
    }

    fn look_ups_are_due(&self, now: Instant) -> bool {
        let (look_ups, writes) = (&self.rows.look_ups, &self.rows.writes);
        let writes_first = self.breaker.wants_write() && !writes.is_empty();
        !look_ups.is_empty()
            && !writes_first
            && (look_ups.len() >= COMPANY
                || writes.is_empty()
                || self.rows.look_ups_since.is_some_and(|since| since + LINGER <= now))
    }

    /// Whether a batch should wait for rows that are about to be let in.
    fn awaits_company(&self) -> bool {
        self.batches.size().is_some_and(|size| self.rows.writes.len() < size)
            && self.intake.has_staged()
            && self.rows.has_room()
    }

    fn question(&mut self) -> NextCall {
        let (names, again) = self.questions.take_next();
        self.recorder.stats.calls.retries += u64::from(again);
        (Call::Models(names.clone()), CallKind::Models, Request::Models(names))
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

    fn write(&mut self) -> NextCall {
        let slots = match self.batch_size() {
            Some(size) => self.rows.take_batch(size),
            None => self.rows.writes.pop_front().into_iter().collect(),
        };
        let mut again = false;
        for &slot in &slots {
            again |= self.rows.note_sent(slot);
            self.rows.task_mut(slot).about_to_write(self.largest_id);
        }
        self.recorder.stats.calls.retries += u64::from(again);
        match slots[..] {
            [slot] => self.write_one(slot),
            _ => self.write_many(slots),
        }
    }

    fn write_one(&mut self, slot: Slot) -> NextCall {
        let task = self.rows.task(slot);
        match task.next_write() {
            Write::Create => {
                let mut new = task.new.clone();
                if !self.options.send_biz_id {
                    new.biz_id = None;
                }
                (Call::Write(slot), CallKind::Create, Request::Create(new))
            }
            Write::Delete => {
                let obj_id = Arc::clone(&task.model.source);
                let id = task.to_delete()[0];
                (Call::Write(slot), CallKind::Delete, Request::Delete { obj_id, id })
            }
        }
    }

    fn write_many(&self, slots: Vec<Slot>) -> NextCall {
        let model = Arc::clone(&self.rows.task(slots[0]).model);
        let pair = |slot: &Slot| {
            let association = &self.rows.task(*slot).new.association;
            (association.inst_id, association.asst_inst_id)
        };
        let pairs = slots.iter().map(pair).collect();
        (Call::Batch(slots), CallKind::Batch, Request::CreateMany { model, pairs })
    }
}
