//! What a call that has ended means for the run: for its row, for the pace, for everything.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use tokio::time::Instant;

use super::{Call, FORBIDDEN_ROWS, Landed, Run};
use crate::cmdb::Cmdb;
use crate::exit::Exit;
use crate::outcome::{Outcome, Reason};
use crate::pacer::Said;
use crate::retry::Backoff;
use crate::settle::{Step, Told};
use crate::verdict::{Cause, Query, Stop, Verdict, judge, judge_query};
use crate::wire::{Found, RateHint, Reply};

impl<C: Cmdb> Run<'_, C> {
    pub(super) fn land(&mut self, landed: Landed) {
        let Landed { call, reply, sent_at } = landed;
        let now = Instant::now();
        self.answered |= matches!(reply, Reply::Answered(_));
        self.tally.calls.answered(now - sent_at);
        match call {
            Call::Create(slot) => self.land_create(slot, &reply, sent_at, now),
            Call::Find(slots) => self.land_find(slots, &reply, sent_at, now),
            Call::Models(names) => self.land_models(names, &reply, sent_at, now),
            Call::Probe => {
                let query = judge_query(&reply, self.proven);
                self.slow_down(query_cause(query), &reply, sent_at, now);
                self.outage.probe_landed(!is_silent(query), now);
            }
        }
    }

    fn land_create(&mut self, slot: usize, reply: &Reply, sent_at: Instant, now: Instant) {
        let verdict = judge(reply, self.proven);
        tracing::debug!(?verdict, row = %self.rows.life(slot).link.association, "create");
        let cause = match verdict {
            Verdict::InDoubt(cause) | Verdict::Again(cause) => Some(cause),
            _ => None,
        };
        if let Verdict::Stop(stop) = verdict {
            self.stop_for(stop, reply);
        }
        if let Verdict::Created(id) = verdict {
            self.largest_id = self.largest_id.max(id);
            self.proven = true;
        }
        let told = told(reply);
        let step = self.rows.life_mut(slot).on_verdict(verdict, told, sent_at, now, &mut self.rng);
        self.slow_down(cause, reply, sent_at, now);
        match cause {
            Some(cause @ (Cause::NoAnswer | Cause::Overload)) => {
                self.unanswered(slot, u32::from(cause == Cause::NoAnswer), now);
            }
            _ => self.answered_by_server(),
        }
        if cause.is_some() {
            self.tally.calls.retries += 1;
        }
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

    /// Refusals for lack of permission are the rows' only once some row has been let through.
    fn hold_forbidden(&mut self, slot: usize, outcome: Outcome, reply: &Reply) {
        self.forbidden.push((slot, outcome));
        if self.forbidden.len() >= FORBIDDEN_ROWS && self.halt.is_none() {
            let told = told(reply);
            self.stop_with(
                Exit::Target,
                format!(
                    "the first {FORBIDDEN_ROWS} rows were all refused for lack of permission \
                     ({}): give the user edit permission on the instances of both models, then \
                     give the same command",
                    shown(&told)
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
        let query = judge_query(reply, self.proven);
        let silent = is_silent(query);
        let closed = !self.outage.is_on();
        self.outage.trial_landed(!silent, now);
        self.slow_down(query_cause(query), reply, sent_at, now);
        let found = match (query, reply) {
            (Query::Answered, Reply::Answered(answer)) => {
                answer.envelope.as_ref().and_then(crate::wire::Envelope::found)
            }
            _ => None,
        };
        match query {
            Query::Answered if found.is_some() => {
                self.proven = true;
                if self.rows.creates.is_empty() {
                    self.answered_by_server();
                }
                self.found(slots, &found.unwrap_or_default(), sent_at, now);
            }
            Query::Rejected if slots.len() == 1 => {
                let step = self.rows.life_mut(slots[0]).on_unfindable(told(reply));
                self.take_step(slots[0], step, now);
            }
            Query::Rejected => {
                self.find_limit = (slots.len() / 2).max(1);
                self.look_again(slots, now, now);
            }
            Query::Forbidden => self.stop_with(
                Exit::Target,
                format!(
                    "look-ups are refused ({}): without them no call that got no answer can be \
                     settled. Give the user permission to find instances of {}, then give the \
                     same command",
                    shown(&told(reply)),
                    self.rows.life(slots[0]).model.source,
                ),
            ),
            Query::Stop(stop) => self.stop_for(stop, reply),
            Query::Answered | Query::Again(_) => {
                if silent && closed {
                    for &slot in slots.iter().take(3) {
                        self.unanswered(slot, 0, now);
                    }
                }
                self.tally.calls.retries += 1;
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
        for slot in slots {
            let association = &self.rows.life(slot).link.association;
            let source = by_source.get(&association.inst_id.get());
            let target = by_target.get(&association.asst_inst_id.get());
            let near: Vec<Found> = (source.into_iter().chain(target).flatten())
                .map(|found| Found::clone(found))
                .collect();
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
        let query = judge_query(reply, self.proven);
        self.outage.trial_landed(!is_silent(query), now);
        self.slow_down(query_cause(query), reply, sent_at, now);
        let models = match (query, reply) {
            (Query::Answered, Reply::Answered(answer)) => {
                answer.envelope.as_ref().and_then(crate::wire::Envelope::models)
            }
            _ => None,
        };
        match query {
            Query::Answered if models.is_some() => {
                self.proven = true;
                self.progress = now;
                self.models.answered(&names, models.unwrap_or_default());
            }
            Query::Stop(Stop::ApiForbidden) | Query::Forbidden | Query::Rejected => {
                let name = names.first().map_or("ASST", |name| name);
                self.stop_with(
                    Exit::Target,
                    format!(
                        "this app may not ask what {name:?} is ({}): give it with \
                         --model {name}=SOURCE_MODEL,TARGET_MODEL,MAPPING",
                        shown(&told(reply))
                    ),
                );
            }
            Query::Stop(stop) => self.stop_for(stop, reply),
            Query::Answered | Query::Again(_) => {
                self.tally.calls.retries += 1;
                tracing::info!("no answer to the first question: {}", shown(&told(reply)));
                self.models.ask_again(names);
                self.ask_at = now + std::time::Duration::from_secs(1);
            }
        }
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
            self.trouble = shown(&told(reply));
        }
        let said = match cause {
            Some(Cause::Throttled) => Said::Throttled,
            Some(Cause::Overload) => Said::Overload,
            Some(Cause::NoAnswer) => Said::Nothing,
            _ => Said::Answer,
        };
        self.tally.calls.throttled += u64::from(said == Said::Throttled);
        let hint = match reply {
            Reply::Answered(answer) => answer.rate,
            _ => RateHint::default(),
        };
        self.pacer.landed(said, hint, sent_at, now);
    }

    fn stop_for(&mut self, stop: Stop, reply: &Reply) {
        let advice = stop.advice(reply, self.target.entrance);
        self.stop_with(Exit::Target, format!("{}: {advice}", shown(&told(reply))));
    }
}

/// Whether a question got no answer of substance.
fn is_silent(query: Query) -> bool {
    matches!(query, Query::Again(Cause::NoAnswer | Cause::Overload))
}

fn query_cause(query: Query) -> Option<Cause> {
    match query {
        Query::Again(cause) => Some(cause),
        _ => None,
    }
}

/// What a reply says to a person.
fn told(reply: &Reply) -> Told {
    match reply {
        Reply::NotSent(why) | Reply::Lost(why) | Reply::Unusable(why) => {
            Told { message: why.clone(), ..Told::default() }
        }
        Reply::Answered(answer) => {
            let request_id = answer.request_id.clone();
            match &answer.envelope {
                Some(envelope) if envelope.code().is_some() || !envelope.message().is_empty() => {
                    Told {
                        code: envelope.code(),
                        message: envelope.message().to_owned(),
                        request_id,
                    }
                }
                _ => Told {
                    code: None,
                    message: format!("HTTP {} {}", answer.status, answer.excerpt),
                    request_id,
                },
            }
        }
    }
}

/// In one line, for a message.
fn shown(told: &Told) -> String {
    let code = told.code.map(|code| format!("code {code}: ")).unwrap_or_default();
    let id = told.request_id.as_ref().map(|id| format!(" (request {id})")).unwrap_or_default();
    format!("{code}{}{id}", told.message)
}
