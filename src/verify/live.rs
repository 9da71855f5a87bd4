//! Results held against the server: every association that should be there is asked for.
//!
//! Many associations a call, a few calls in flight, paced like a run. Asking does no harm, so that a
//! call without an answer is simply made again, for fewer.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt};
use rustc_hash::FxHashMap;
use tokio::sync::Mutex;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::claims::{Claim, Claims};
use super::{Finding, FindingKind, Findings};
use crate::association::{Association, Cells, ModelAssociation};
use crate::cmdb::Cmdb;
use crate::cmdb::server_message::ServerMessage;
use crate::cmdb::verdict::Query;
use crate::cmdb::wire::{Envelope, Find, Found, Pattern, Request};
use crate::engine::asker::Asker;
use crate::engine::call_size::CallSize;
use crate::engine::models::{Knowledge, Models};
use crate::engine::retry::Backoff;
use crate::engine::server_health::{look_ups_refused, refused};
use crate::engine::stats::{CallKind, Place, RunStats};
use crate::exit::Halt;
use crate::options::EngineOptions;
use crate::outcome::{Outcome, Record};
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
    /// Claims of the file.
    pub expected: u64,
    /// Seeds the jitter.
    pub seed: u64,
}

/// Asks for every claim, and adds what is off to the findings. `stop` ends it from outside; `show` is
/// called a few times a second. Gives the calls and, where it did not come to its end, why.
pub async fn compare<C: Cmdb>(
    setting: Setting<'_, C>,
    claims: Claims,
    findings: &mut Findings,
    stop: impl Future<Output = Halt>,
    show: &mut dyn FnMut(&RunStats),
) -> Result<(RunStats, Option<Halt>), ResultsError> {
    let Setting { cmdb, target, options, expected, seed } = setting;
    let in_flight = options.concurrency.min(IN_FLIGHT);
    let live = Live {
        asker: Asker::new(cmdb, target, options, in_flight, seed),
        models: Mutex::new(Models::given(&options.models)),
        size: RefCell::default(),
    };
    live.asker.stats.borrow_mut().expected = Some(expected);
    let halt = live.go(claims, findings, stop, show).await?;
    let stats = live.asker.stats.into_inner();
    show(&stats);
    Ok((stats, halt))
}

/// Why asking ends early.
enum End {
    Halt(Halt),
    Results(ResultsError),
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
}

impl<C: Cmdb> Live<'_, C> {
    async fn go(
        &self,
        claims: Claims,
        findings: &mut Findings,
        stop: impl Future<Output = Halt>,
        show: &mut dyn FnMut(&RunStats),
    ) -> Result<Option<Halt>, ResultsError> {
        let started = tokio::time::Instant::now();
        let checks = stream::iter(claims)
            .map(async |claims| self.check(claims.map_err(End::Results)?).await)
            .buffer_unordered(self.asker.options.concurrency.min(IN_FLIGHT));
        let mut checks = std::pin::pin!(checks);
        let mut stop = std::pin::pin!(stop);
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
                let doubtful = self.contradicted(&model, claims.clone()).await?;
                if !doubtful.is_empty() {
                    sleep(LAG).await;
                    let again = doubtful.into_iter().map(|(claim, _)| claim).collect();
                    let off = self.contradicted(&model, again).await?;
                    findings.extend(off.into_iter().map(|(claim, what)| claim.finding(what)));
                }
            }
            Err(what) => {
                let off =
                    claims.iter().map(|claim| claim.finding((FindingKind::NotAsked, what.clone())));
                findings.extend(off);
            }
        }
        let mut stats = self.asker.stats.borrow_mut();
        for Claim { place: Place { file, line }, status, id, .. } in claims {
            let outcome = Outcome::good(status, id, 0, 0);
            stats.add(&Record { ordinal: 0, file, line, cells: Cells::default(), outcome });
        }
        Ok(findings)
    }

    /// The claims that the server contradicts now.
    async fn contradicted(
        &self,
        model: &ModelAssociation,
        claims: Vec<Claim>,
    ) -> Result<Vec<(Claim, (FindingKind, String))>, Halt> {
        let mut off = Vec::new();
        let mut parts = vec![claims];
        let mut tries = 0;
        while let Some(mut now) = parts.pop() {
            let most = self.size.borrow().get();
            if now.len() > most {
                let rest = now.split_off(most);
                parts.push(rest);
            }
            let (reply, query) = self.asker.ask(CallKind::Find, find(model, &now)).await?;
            match query {
                Query::Answered if let Some(found) = reply.envelope().and_then(Envelope::found) => {
                    tries = 0;
                    self.asker.progressed();
                    self.size.borrow_mut().grow();
                    off.extend(contradictions(now, &found));
                }
                Query::Rejected if now.len() == 1 => {
                    self.asker.progressed();
                    let said = ServerMessage::of(&reply);
                    let what =
                        (FindingKind::NotAsked, format!("the server refuses the question: {said}"));
                    off.extend(now.into_iter().map(|claim| (claim, what.clone())));
                }
                Query::Rejected => {
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
                Query::Forbidden => return Err(look_ups_refused(&reply, &model.source)),
            }
        }
        Ok(off)
    }

    /// What was too much at once becomes two parts, however large others may grow meanwhile: so that
    /// it ends.
    fn halve(&self, mut claims: Vec<Claim>, parts: &mut Vec<Vec<Claim>>) {
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

/// The question for some claims of one model association.
fn find(model: &ModelAssociation, claims: &[Claim]) -> Request {
    let mut pairs: Vec<_> = (claims.iter())
        .map(|claim| (claim.association.inst_id, claim.association.asst_inst_id))
        .collect();
    pairs.sort_unstable();
    pairs.dedup();
    Request::Find(Find {
        obj_id: Arc::clone(&model.source),
        obj_asst_id: Arc::clone(&model.obj_asst_id),
        any_of: pairs.into_iter().map(|(s, t)| Pattern::Pair(s, t)).collect(),
    })
}

/// The claims that what was found contradicts.
fn contradictions(
    claims: Vec<Claim>,
    found: &[Found],
) -> impl Iterator<Item = (Claim, (FindingKind, String))> + use<'_> {
    let mut ids: FxHashMap<(u64, u64), Vec<i64>> = FxHashMap::default();
    for found in found {
        ids.entry((found.bk_inst_id, found.bk_asst_inst_id)).or_default().push(found.id);
    }
    claims.into_iter().filter_map(move |claim| {
        let Association { inst_id, asst_inst_id, .. } = &claim.association;
        let ids = ids.get(&(inst_id.get(), asst_inst_id.get()));
        let what = claim.contradicted_by(ids.map_or(&[], Vec::as_slice))?;
        Some((claim, what))
    })
}

#[cfg(test)]
mod tests;
