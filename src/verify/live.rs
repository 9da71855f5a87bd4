//! Results held against the server: every association that should be there is asked for, from both its
//! ends.
//!
//! Many associations a call, a few calls in flight, paced like a run. Asking does no harm, so that a
//! call without an answer is simply made again, for fewer.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt};
use rustc_hash::{FxHashMap, FxHashSet};
use tokio::sync::Mutex;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::audit_trail::AuditTrail;
use super::claims::{Claim, Claims, Contradiction};
use super::provenance::Recovered;
use super::standing::Standing;
use super::suspects::Suspects;
use super::{Finding, FindingKind, Findings};
use crate::association::{Cells, Mapping, ModelAssociation};
use crate::cmdb::Cmdb;
use crate::cmdb::server_message::ServerMessage;
use crate::cmdb::verdict::Query;
use crate::cmdb::wire::{Envelope, Find, Request};
use crate::engine::asker::Asker;
use crate::engine::call_size::CallSize;
use crate::engine::models::{Knowledge, Models};
use crate::engine::retry::Backoff;
use crate::engine::server_health::{look_ups_refused, refused};
use crate::engine::stats::{CallKind, Place, RunStats};
use crate::exit::Halt;
use crate::options::EngineOptions;
use crate::outcome::{Outcome, Record, Status};
use crate::storage::results::ResultsError;
use crate::target::Target;

/// Calls in flight, at most: reads are not what a CMDB should be busy with.
const IN_FLIGHT: usize = 4;
/// What is not as expected is asked for once more after that time: reads lag behind writes.
const LAG: Duration = Backoff::READ_LAG.cap;
/// How often progress is shown.
const TICK: Duration = Duration::from_millis(200);

/// What is needed besides the claims.
pub struct Setting<'a, C> {
    /// Where calls go.
    pub cmdb: &'a C,
    /// Where that is, for messages.
    pub target: &'a Target,
    /// How fast, how long.
    pub options: &'a EngineOptions,
    /// The file.
    pub results: &'a Path,
    /// Lines that are asked for.
    pub expected: u64,
    /// What tells whose recovered rows are.
    pub trail: AuditTrail,
    /// Seeds the jitter.
    pub seed: u64,
}

/// What came of it.
pub struct Compared {
    /// The calls, and the rows that were asked for.
    pub stats: RunStats,
    /// Whose recovered rows are, as far as it came.
    pub recovered: Recovered,
    /// Why it did not come to its end, where it did not.
    pub halt: Option<Halt>,
}

/// Asks for every claim, and adds what is off to the findings. `stop` ends it from outside; `show` is
/// called a few times a second.
pub async fn compare<C: Cmdb>(
    setting: Setting<'_, C>,
    claims: Claims,
    findings: &mut Findings,
    stop: impl Future<Output = Halt>,
    show: &mut dyn FnMut(&RunStats),
) -> Result<Compared, ResultsError> {
    let Setting { cmdb, target, options, results, expected, trail, seed } = setting;
    let in_flight = options.concurrency.min(IN_FLIGHT);
    let live = Live {
        asker: Asker::new(cmdb, target, options, in_flight, seed),
        models: Mutex::new(Models::given(&options.models)),
        size: RefCell::default(),
        suspects: RefCell::new(Suspects::of(results)),
        trail: Mutex::new(trail),
    };
    live.asker.stats.borrow_mut().expected = Some(expected);
    let mut stop = std::pin::pin!(stop);
    let mut halt = live.go(claims, findings, stop.as_mut(), show).await?;
    let Live { asker, suspects, trail, .. } = live;
    let mut trail = trail.into_inner();
    if halt.is_none() {
        suspects.into_inner().finish(findings)?;
        halt = tokio::select! {
            biased;
            halt = stop => Some(halt),
            settled = trail.settle(&asker) => settled.err(),
        };
    }
    let stats = asker.stats.into_inner();
    show(&stats);
    Ok(Compared { stats, recovered: trail.told(), halt })
}

/// Why asking ends early.
enum End {
    Halt(Halt),
    Results(ResultsError),
}

impl From<ResultsError> for End {
    fn from(error: ResultsError) -> Self {
        Self::Results(error)
    }
}

impl From<Halt> for End {
    fn from(halt: Halt) -> Self {
        Self::Halt(halt)
    }
}

struct Live<'a, C> {
    asker: Asker<'a, C>,
    /// Held while a question for them is in flight, so that none is asked twice.
    models: Mutex<Models>,
    /// How many claims a call asks for.
    size: RefCell<CallSize>,
    suspects: RefCell<Suspects>,
    /// Held while it asks, one question at a time.
    trail: Mutex<AuditTrail>,
}

impl<C: Cmdb> Live<'_, C> {
    async fn go(
        &self,
        claims: Claims,
        findings: &mut Findings,
        mut stop: Pin<&mut impl Future<Output = Halt>>,
        show: &mut dyn FnMut(&RunStats),
    ) -> Result<Option<Halt>, ResultsError> {
        let started = tokio::time::Instant::now();
        let checks = stream::iter(claims)
            .map(async |claims| self.check(claims.map_err(End::Results)?).await)
            .buffer_unordered(self.asker.options.concurrency.min(IN_FLIGHT));
        let mut checks = std::pin::pin!(checks);
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                halt = &mut stop => return Ok(Some(halt)),
                _ = tick.tick() => {
                    self.asker.stats.borrow_mut().elapsed = started.elapsed();
                    show(&self.asker.stats.borrow());
                }
                checked = checks.next() => match checked {
                    None => return Ok(None),
                    Some(Ok(found)) => found.into_iter().for_each(|finding| findings.add(finding)),
                    Some(Err(End::Halt(halt))) => return Ok(Some(halt)),
                    Some(Err(End::Results(error))) => return Err(error),
                },
            }
        }
    }

    /// Asks for claims of one model association.
    async fn check(&self, claims: Vec<Claim>) -> Result<Vec<Finding>, End> {
        let mut findings = Vec::new();
        let name = &claims[0].association.obj_asst_id;
        match self.model(name).await? {
            Ok(model) => {
                let mut untrue = BTreeSet::new();
                let doubtful = self.contradicted(&model, &claims).await?;
                if !doubtful.is_empty() {
                    sleep(LAG).await;
                    let doubtful: BTreeSet<_> =
                        doubtful.into_iter().map(|(claim, _)| claim).collect();
                    let again: Vec<_> =
                        doubtful.into_iter().map(|claim| claims[claim].clone()).collect();
                    for (claim, off) in self.contradicted(&model, &again).await? {
                        let claim = &again[claim];
                        if off.kind != FindingKind::RuleBroken {
                            untrue.insert(claim.place);
                        }
                        match off.there_as {
                            Some(id) => {
                                let mut suspects = self.suspects.borrow_mut();
                                suspects.take(id, claim.place, &claim.association, &off.what)?;
                            }
                            None => findings.push(claim.finding(off)),
                        }
                    }
                }
                self.trace(&model, &claims, &untrue).await?;
            }
            Err(what) => {
                let mut trail = self.trail.lock().await;
                let recovered = claims.iter().filter(|claim| claim.status == Status::Recovered);
                recovered.for_each(|claim| trail.untold(claim, &what));
                let unasked = claims.iter().filter(|claim| claim.status.is_good());
                let off = || Contradiction::new(FindingKind::NotAsked, what.clone());
                findings.extend(unasked.map(|claim| claim.finding(off())));
            }
        }
        let mut stats = self.asker.stats.borrow_mut();
        for Claim { place: Place { file, line }, status, reason, .. } in claims {
            let outcome = Outcome { reason, ..Outcome::open(status, String::new()) };
            stats.add(&Record { ordinal: 0, file, line, cells: Cells::default(), outcome });
        }
        Ok(findings)
    }

    /// Finds out whose recovered rows are, but for those that are not there as they say.
    async fn trace(
        &self,
        model: &ModelAssociation,
        claims: &[Claim],
        untrue: &BTreeSet<Place>,
    ) -> Result<(), Halt> {
        let mut trail = self.trail.lock().await;
        let of = |status| claims.iter().filter(move |claim| claim.status == status);
        let is_true = |claim: &&Claim| !untrue.contains(&claim.place);
        trail.remember(model, of(Status::Created).filter(is_true));
        for claim in of(Status::Recovered).filter(|claim| !is_true(claim)) {
            trail.untold(claim, "the server does not have it as the line says");
        }
        let recovered: Vec<_> = of(Status::Recovered).filter(is_true).cloned().collect();
        trail.follow(&self.asker, model, &recovered).await
    }

    /// What the server contradicts now, each with the place of its claim. Where a rule allows an
    /// association alone, all that is on its side is asked for: two creates at once may break it
    /// (docs/cmdb-api.md#mapping-rules). What is there is asked for through the target's model, too: a
    /// half row is not there (docs/cmdb-api.md#half-rows).
    async fn contradicted(
        &self,
        model: &ModelAssociation,
        claims: &[Claim],
    ) -> Result<Vec<(usize, Contradiction)>, Halt> {
        let mut off = Vec::new();
        let mut there = Vec::new();
        let all = (0..claims.len()).collect();
        let rule = if model.guessed { Mapping::ManyToMany } else { model.mapping };
        let refused = self.look_up(model, &model.source, rule, claims, all, |claim, standing| {
            let ids = standing.ids(&claims[claim].association);
            off.extend(claims[claim].contradicted_by(ids).map(|what| (claim, what)));
            off.extend(claims[claim].broken_by(standing, rule).map(|what| (claim, what)));
            there.extend(ids.iter().min().map(|id| (claim, *id)));
        });
        let refused = refused.await?;
        let refused = refused.into_iter().filter(|(claim, _)| claims[*claim].status.is_good());
        off.extend(refused.map(|(claim, said)| {
            let what = format!("the server refuses the question: {said}");
            (claim, Contradiction::new(FindingKind::NotAsked, what))
        }));
        if model.source == model.target || there.is_empty() {
            return Ok(off);
        }
        let ids: FxHashMap<_, _> = there.iter().copied().collect();
        let there = there.into_iter().map(|(claim, _)| claim).collect();
        let no_rule = Mapping::ManyToMany;
        let halves =
            self.look_up(model, &model.target, no_rule, claims, there, |claim, standing| {
                if standing.ids(&claims[claim].association).is_empty() {
                    off.push((claim, claims[claim].half(ids[&claim], model)));
                }
            });
        let refused = halves.await?;
        off.extend(refused.into_iter().map(|(claim, said)| {
            let target = &model.target;
            let what = format!("whether it is there through {target}, too, is not told: {said}");
            (claim, Contradiction::new(FindingKind::NotAsked, what))
        }));
        Ok(off)
    }

    /// Looks some claims up through the model of an end, as many a call as the server takes, and what a
    /// rule allows none beside. `each` gets every claim with what it was answered. Gives those that the
    /// server refuses to look up.
    async fn look_up(
        &self,
        model: &ModelAssociation,
        obj_id: &Arc<str>,
        rule: Mapping,
        claims: &[Claim],
        which: Vec<usize>,
        mut each: impl FnMut(usize, &Standing),
    ) -> Result<Vec<(usize, String)>, Halt> {
        let mut refused_ones = Vec::new();
        let mut parts = vec![which];
        let mut tries = 0;
        while let Some(mut now) = parts.pop() {
            let patterns = if rule == Mapping::OneToOne { 2 } else { 1 };
            let most = self.size.borrow().get().div_ceil(patterns);
            if now.len() > most {
                let rest = now.split_off(most);
                parts.push(rest);
            }
            let request = find(model, obj_id, rule, now.iter().map(|claim| &claims[*claim]));
            let (reply, query) = self.asker.ask(CallKind::Find, request).await?;
            match query {
                Query::Answered if let Some(found) = reply.envelope().and_then(Envelope::found) => {
                    tries = 0;
                    self.asker.progressed();
                    self.size.borrow_mut().grow();
                    let standing = Standing::new(found);
                    for claim in now {
                        each(claim, &standing);
                    }
                }
                Query::Rejected | Query::NoSuchCall if now.len() == 1 => {
                    self.asker.progressed();
                    let said = ServerMessage::of(&reply).to_string();
                    refused_ones.extend(now.into_iter().map(|claim| (claim, said.clone())));
                }
                Query::Rejected | Query::NoSuchCall => {
                    self.asker.progressed();
                    self.halve(now, &mut parts);
                }
                Query::Answered | Query::Again(_) => {
                    self.asker.back_off(&reply, query, &mut tries).await?;
                    match query.cause() {
                        Some(cause) if cause.is_silence() => self.halve(now, &mut parts),
                        _ => parts.push(now),
                    }
                }
                Query::Stop(stop) => return Err(refused(stop, &reply, self.asker.target)),
                // The target's model takes a permission of its own, which no run needs.
                Query::Forbidden if *obj_id != model.source => {
                    let said = ServerMessage::of(&reply).to_string();
                    let all = now.into_iter().chain(parts.drain(..).flatten());
                    refused_ones.extend(all.map(|claim| (claim, said.clone())));
                }
                Query::Forbidden => return Err(look_ups_refused(&reply, &model.source)),
            }
        }
        Ok(refused_ones)
    }

    /// What was too much at once becomes two parts, however large others may grow meanwhile: so that
    /// it ends.
    fn halve(&self, mut claims: Vec<usize>, parts: &mut Vec<Vec<usize>>) {
        self.size.borrow_mut().shrink(claims.len());
        let half = claims.split_off(claims.len().div_ceil(2));
        parts.extend([half, claims].into_iter().filter(|part| !part.is_empty()));
    }

    /// What a model association is, or why nothing of it can be asked for.
    async fn model(&self, name: &Arc<str>) -> Result<Result<Arc<ModelAssociation>, String>, Halt> {
        let mut models = self.models.lock().await;
        models.look(name);
        self.asker.ask_for(&mut models).await?;
        let knowledge = models.look(name);
        Ok(match knowledge {
            Knowledge::Known(_, model) => Ok(Arc::clone(model)),
            _ => Err(knowledge.unusable(name).unwrap_or_default()),
        })
    }
}

/// The question for some claims of one model association, in the table of a model at one of its ends.
fn find<'a>(
    model: &ModelAssociation,
    obj_id: &Arc<str>,
    rule: Mapping,
    claims: impl Iterator<Item = &'a Claim>,
) -> Request {
    let mut asked = FxHashSet::default();
    let patterns = claims.flat_map(|claim| claim.patterns(rule)).flatten();
    Request::Find(Find {
        obj_id: Arc::clone(obj_id),
        obj_asst_id: Arc::clone(&model.obj_asst_id),
        any_of: patterns.filter(|pattern| asked.insert(*pattern)).collect(),
    })
}

#[cfg(test)]
mod tests;
