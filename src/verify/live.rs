//! Results held against the server: every association that should be there is asked for.
//!
//! Many associations a call, a few calls in flight, paced like a run. Asking does no harm, so that a
//! call without an answer is simply made again, for fewer.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rustc_hash::FxHashMap;
use tokio::sync::Mutex;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};

use super::claims::{Claim, Claims};
use super::{Finding, Findings, Kind};
use crate::association::{Association, Cells, ModelAssociation};
use crate::cmdb::Cmdb;
use crate::cmdb::server_message::ServerMessage;
use crate::cmdb::verdict::{Cause, Query};
use crate::cmdb::wire::{Envelope, Find, Pattern, Reply, Request};
use crate::engine::look_up_size::LookUpSize;
use crate::engine::models::{Knowledge, Models};
use crate::engine::pacer::Pacer;
use crate::engine::preflight::{
    Heard, ServerHealth, duration_over, hear, never_answered, no_look_ups, refused, within,
};
use crate::engine::retry::Backoff;
use crate::engine::stats::{CallKind, Place, RunStats};
use crate::exit::{Exit, Halt};
use crate::options::EngineOptions;
use crate::outcome::{Outcome, Record};
use crate::storage::results::ResultsError;
use crate::target::Target;

/// Calls in flight, at most: reads are not what a CMDB should be busy with.
const IN_FLIGHT: usize = 4;
/// What is not as expected is asked for once more after that time: reads lag behind writes.
const LAG: Duration = Backoff::READ_LAG.cap;
/// How often limits are looked at and progress is shown.
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
    let live = Live::new(&setting);
    let halt = live.go(claims, findings, stop, show).await?;
    show(&live.stats.borrow());
    Ok((live.stats.into_inner(), halt))
}

/// Why asking ends early.
enum End {
    Halt(Halt),
    Results(ResultsError),
}

struct Live<'a, C> {
    cmdb: &'a C,
    target: &'a Target,
    options: &'a EngineOptions,
    /// Held while a question for them is in flight, so that none is asked twice.
    models: Mutex<Models>,
    pacer: RefCell<Pacer>,
    stats: RefCell<RunStats>,
    rng: RefCell<StdRng>,
    finds: RefCell<LookUpSize>,
    started: Instant,
    /// The last answer of substance.
    answered_at: Cell<Instant>,
    evidence: RefCell<ServerHealth>,
}

impl<'a, C: Cmdb> Live<'a, C> {
    fn new(setting: &Setting<'a, C>) -> Self {
        let options = setting.options;
        let rate = options.rate.per_second();
        let started = Instant::now();
        let mut stats = RunStats::default();
        stats.expected = Some(setting.expected);
        Self {
            cmdb: setting.cmdb,
            target: setting.target,
            options,
            models: Mutex::new(Models::given(&options.models)),
            pacer: RefCell::new(Pacer::new(
                rate,
                options.concurrency.min(IN_FLIGHT),
                Instant::now(),
            )),
            stats: RefCell::new(stats),
            rng: RefCell::new(StdRng::seed_from_u64(setting.seed)),
            finds: RefCell::default(),
            started,
            answered_at: Cell::new(started),
            evidence: RefCell::default(),
        }
    }

    async fn go(
        &self,
        claims: Claims,
        findings: &mut Findings,
        stop: impl Future<Output = Halt>,
        show: &mut dyn FnMut(&RunStats),
    ) -> Result<Option<Halt>, ResultsError> {
        let checks = stream::iter(claims)
            .map(async |claims| self.check(claims.map_err(End::Results)?).await)
            .buffer_unordered(self.options.concurrency.min(IN_FLIGHT));
        let mut checks = std::pin::pin!(checks);
        let mut stop = std::pin::pin!(stop);
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                halt = &mut stop => return Ok(Some(halt)),
                _ = tick.tick() => {
                    self.stats.borrow_mut().elapsed = self.started.elapsed();
                    show(&self.stats.borrow());
                    if let Some(halt) = self.over_limits(Instant::now()) {
                        return Ok(Some(halt));
                    }
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
                let off = claims.iter().map(|claim| claim.finding((Kind::NotAsked, what.clone())));
                findings.extend(off);
            }
        }
        let mut stats = self.stats.borrow_mut();
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
    ) -> Result<Vec<(Claim, (Kind, String))>, End> {
        let mut off = Vec::new();
        let mut parts = vec![claims];
        let mut tries = 0;
        while let Some(mut now) = parts.pop() {
            let most = self.finds.borrow().size();
            if now.len() > most {
                let rest = now.split_off(most);
                parts.push(rest);
            }
            let (reply, query) = self.find(model, &now).await;
            match query {
                Query::Answered if let Some(found) = reply.envelope().and_then(Envelope::found) => {
                    tries = 0;
                    self.answered_at.set(Instant::now());
                    self.finds.borrow_mut().grow();
                    let mut ids: FxHashMap<(u64, u64), Vec<i64>> = FxHashMap::default();
                    for found in found {
                        let pair = (found.bk_inst_id, found.bk_asst_inst_id);
                        ids.entry(pair).or_default().push(found.id);
                    }
                    off.extend(now.into_iter().filter_map(|claim| {
                        let Association { inst_id, asst_inst_id, .. } = &claim.association;
                        let ids = ids.get(&(inst_id.get(), asst_inst_id.get()));
                        let what = claim.contradicted_by(ids.map_or(&[], Vec::as_slice))?;
                        Some((claim, what))
                    }));
                }
                Query::Rejected if now.len() == 1 => {
                    let what =
                        format!("the server refuses the question: {}", ServerMessage::of(&reply));
                    off.extend(
                        now.into_iter().map(|claim| (claim, (Kind::NotAsked, what.clone()))),
                    );
                }
                Query::Rejected => self.halve(now, &mut parts),
                Query::Answered | Query::Again(_) => {
                    self.wait_to_ask_again(&reply, query, &mut tries).await;
                    match query.cause() {
                        Some(cause) if cause.is_silence() => self.halve(now, &mut parts),
                        _ => parts.push(now),
                    }
                }
                Query::Stop(stop) => return Err(End::Halt(refused(stop, &reply, self.target))),
                Query::Forbidden => return Err(End::Halt(no_look_ups(&reply, model))),
            }
        }
        Ok(off)
    }

    /// What was too much at once becomes two parts, however large others may grow meanwhile: so that
    /// it ends.
    fn halve(&self, mut claims: Vec<Claim>, parts: &mut Vec<Vec<Claim>>) {
        self.finds.borrow_mut().shrink(claims.len());
        let half = claims.split_off(claims.len().div_ceil(2));
        parts.extend([half, claims].into_iter().filter(|part| !part.is_empty()));
    }

    async fn find(&self, model: &ModelAssociation, claims: &[Claim]) -> (Reply, Query) {
        let mut pairs: Vec<_> = (claims.iter())
            .map(|claim| (claim.association.inst_id, claim.association.asst_inst_id))
            .collect();
        pairs.sort_unstable();
        pairs.dedup();
        let request = Request::Find(Find {
            obj_id: Arc::clone(&model.source),
            obj_asst_id: Arc::clone(&model.obj_asst_id),
            any_of: pairs.into_iter().map(|(s, t)| Pattern::Pair(s, t)).collect(),
        });
        self.call(CallKind::Find, request).await
    }

    /// What a model association is, or why nothing of it can be asked for.
    async fn model(&self, name: &Arc<str>) -> Result<Result<Arc<ModelAssociation>, String>, End> {
        let mut models = self.models.lock().await;
        let mut tries = 0;
        while let Knowledge::Wanted = models.look(name) {
            let names = models.question();
            let (reply, query) = self.call(CallKind::Models, Request::Models(names.clone())).await;
            match hear(&reply, query, &names, self.target) {
                Heard::Models(found) => {
                    self.answered_at.set(Instant::now());
                    models.answered(&names, found);
                }
                Heard::Stop(halt) => return Err(End::Halt(halt)),
                Heard::Nothing => {
                    models.ask_again(names);
                    self.wait_to_ask_again(&reply, query, &mut tries).await;
                }
            }
        }
        let knowledge = models.look(name);
        Ok(match knowledge {
            Knowledge::Known(_, model) => Ok(Arc::clone(model)),
            _ => Err(knowledge.unusable(name).unwrap_or_default()),
        })
    }

    /// Makes a call when the pacer lets it. Limits of time are looked at elsewhere.
    async fn call(&self, kind: CallKind, request: Request) -> (Reply, Query) {
        self.pass().await;
        self.stats.borrow_mut().calls.sent(kind);
        let sent_at = Instant::now();
        let reply = within(self.options.timeout, self.cmdb.call(request)).await;
        let now = Instant::now();
        let query = self.evidence.borrow_mut().add(&reply);
        if query == Query::Rejected {
            self.answered_at.set(now);
        }
        let cause = query.cause();
        let calls = &mut self.stats.borrow_mut().calls;
        calls.answered(now - sent_at);
        calls.throttled += u64::from(cause.is_some_and(Cause::is_limit));
        let pacer = &mut self.pacer.borrow_mut();
        self.evidence.borrow_mut().pace(pacer, cause, &reply, sent_at, now);
        (reply, query)
    }

    /// Waits a little longer with each of the `tries`.
    async fn wait_to_ask_again(&self, reply: &Reply, query: Query, tries: &mut u32) {
        self.evidence.borrow_mut().trouble = ServerMessage::of(reply).to_string();
        let backoff = match query {
            Query::Again(Cause::Throttled | Cause::Crowded | Cause::Locked) => Backoff::BUSY,
            _ => Backoff::NO_ANSWER,
        };
        let wait = backoff.wait(*tries, &mut *self.rng.borrow_mut());
        *tries += 1;
        sleep(wait).await;
        self.stats.borrow_mut().calls.retries += 1;
    }

    /// Waits until the pacer lets a call through.
    async fn pass(&self) {
        loop {
            let now = Instant::now();
            let permit = self.pacer.borrow_mut().permit(now);
            let Err((until, hold)) = permit else { return };
            sleep_until(until).await;
            self.stats.borrow_mut().calls.held(hold, now.elapsed());
        }
    }

    fn over_limits(&self, now: Instant) -> Option<Halt> {
        let options = self.options;
        if let Some(most) = options.max_duration.filter(|most| now >= self.started + *most) {
            return Some(duration_over(most));
        }
        let ServerHealth { answered, trouble, .. } = &*self.evidence.borrow();
        if !answered && now >= self.started + options.connect_timeout {
            return Some(never_answered(self.target, options.connect_timeout, trouble));
        }
        (now >= self.answered_at.get() + options.max_outage).then(|| Halt {
            exit: Exit::Outage,
            message: format!(
                "the server answered nothing for {}, the last being: {trouble}. Not every row was \
                 asked for: give the same command again",
                humantime::format_duration(options.max_outage)
            ),
        })
    }
}

#[cfg(test)]
mod tests;
