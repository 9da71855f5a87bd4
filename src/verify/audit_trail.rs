//! What the audit log says of recovered rows: it has the id of the call that created an association, and
//! calls of ours have ids that can be told from all others (docs/cmdb-api.md#audit-log).
//!
//! Whether our ids get there depends on what stands between. So that a record is of another call counts only
//! where some record of the run has an id of ours: of a recovered row, or of one that the server said it
//! created.

use std::path::PathBuf;

use rustc_hash::{FxHashMap, FxHashSet};

use super::claims::Claim;
use super::provenance::{Provenance, Recovered};
use super::{Group, Spot};
use crate::association::ModelAssociation;
use crate::clock;
use crate::cmdb::Cmdb;
use crate::cmdb::server_message::ServerMessage;
use crate::cmdb::verdict::Query;
use crate::cmdb::wire::{AuditList, AuditRecord, Envelope, Request};
use crate::engine::asker::Asker;
use crate::engine::request_ids::RequestIds;
use crate::engine::stats::CallKind;
use crate::exit::Halt;
use crate::storage::manifest::Manifest;

/// How often a question is asked that gets no answer: nothing else depends on it.
const TRIES: u32 = 5;
/// How many created rows are looked at, to see whether our ids get there.
const CONTROLS: usize = 20;
/// The log is asked for that long before and after the run: the server takes times by a clock of its own, in
/// an offset that nobody tells.
const MARGIN_MILLIS: i64 = 24 * 60 * 60 * 1000;

/// What is needed to tell whose a record is, and what was told so far.
#[derive(Debug)]
pub struct AuditTrail {
    /// The run and those before it, each with its number of rows.
    runs: Vec<(RequestIds, u64)>,
    since: String,
    until: String,
    /// Why nothing can be told, or not any more.
    closed: Option<String>,
    /// Whether a record has an id of ours.
    ids_arrive: bool,
    /// Created rows, of one model association.
    controls: Option<(ModelAssociation, Vec<Claim>)>,
    recovered: Recovered,
    /// Rows whose record has no id of ours.
    others: Group,
}

impl AuditTrail {
    /// Of a run and those whose rows it settled again, as far as they are to be found.
    pub fn of(lineage: &[(PathBuf, Manifest)]) -> Self {
        let (runs, since, until, closed) = match Self::runs(lineage) {
            Ok((runs, since, until)) => (runs, since, until, None),
            Err(why) => (Vec::new(), String::new(), String::new(), Some(why.to_owned())),
        };
        let (recovered, others) = (Recovered::default(), Group::default());
        Self { runs, since, until, closed, ids_arrive: false, controls: None, recovered, others }
    }

    #[expect(clippy::type_complexity, reason = "three fields of one value")]
    fn runs(
        lineage: &[(PathBuf, Manifest)],
    ) -> Result<(Vec<(RequestIds, u64)>, String, String), &'static str> {
        let [(_, last), ..] = lineage else {
            return Err("there is no run.json, which the ids of the run's calls are made of");
        };
        if Manifest::lost_in(lineage).is_some() {
            return Err(
                "a run before this one is not to be found, and so neither are its calls' ids",
            );
        }
        let first = lineage.last().map_or(last, |(_, first)| first);
        let at = |text: &str, margin| clock::utc(clock::parse_millis(text)?.checked_add(margin)?);
        let since = at(&first.head.started_at, -MARGIN_MILLIS);
        let until = at(&last.finished_at, MARGIN_MILLIS);
        let (Some(since), Some(until)) = (since, until) else {
            return Err("run.json does not say when the run began and ended");
        };
        let ids = |(_, run): &(PathBuf, Manifest)| {
            let (entrance, rows) = (run.head.target.entrance, run.counts.values().sum());
            let keys = run.head.keys().into_iter();
            keys.map(move |key| Some((RequestIds::new(entrance, &key, 0)?, rows)))
        };
        let runs = lineage.iter().flat_map(ids).collect::<Option<_>>();
        let runs = runs.ok_or("the ESB gives calls ids of its own, and takes none of ours")?;
        Ok((runs, since, until))
    }

    /// Says of which recovered row it can't be told whose it is, and why.
    pub(super) fn untold(&mut self, claim: &Claim, why: &str) {
        let what = format!("{claim}: {why}");
        self.recovered.add(Provenance::Unknown, Spot::Row(claim.place), what);
    }

    /// Remembers rows of which the server said that it created them, and that are there.
    pub(super) fn remember<'a>(
        &mut self,
        model: &ModelAssociation,
        created: impl Iterator<Item = &'a Claim>,
    ) {
        if self.controls.is_none() && self.closed.is_none() {
            let claims: Vec<_> = created.take(CONTROLS).cloned().collect();
            self.controls = (!claims.is_empty()).then(|| (model.clone(), claims));
        }
    }

    /// Tells of recovered rows that are there under their ids.
    pub(super) async fn follow<C: Cmdb>(
        &mut self,
        asker: &Asker<'_, C>,
        model: &ModelAssociation,
        claims: &[Claim],
    ) -> Result<(), Halt> {
        for claims in claims.chunks(AuditList::PAGE.into()) {
            let newest = match self.newest(asker, model, claims).await? {
                Ok(newest) => newest,
                Err(why) => {
                    for claim in claims {
                        self.untold(claim, &why);
                    }
                    continue;
                }
            };
            for claim in claims {
                match newest.get(&claim.association.pair()) {
                    None => self.untold(claim, "the audit log has no record of it"),
                    Some(record) if !record.created => {
                        let why = format!(
                            "record {} of the audit log says that it was deleted",
                            record.id
                        );
                        self.untold(claim, &why);
                    }
                    Some(record) => self.take(claim, record),
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, claim: &Claim, record: &AuditRecord) {
        let (spot, id) = (Spot::Row(claim.place), record.id);
        if self.is_ours(record) {
            self.ids_arrive = true;
            let what = format!("{claim}: record {id} of the audit log is of a call of ours");
            self.recovered.add(Provenance::Ours, spot, what);
        } else {
            self.others
                .add(spot, format!("{claim}: record {id} of the audit log is of no call of ours"));
        }
    }

    fn is_ours(&self, record: &AuditRecord) -> bool {
        let is_of = |(ids, rows): &(RequestIds, u64)| {
            let write = record.request_id.and_then(|id| ids.write_of(id));
            write.is_some_and(|(row, _)| row < *rows)
        };
        self.runs.iter().any(is_of)
    }

    /// Finds out whether ids of ours get there, where that is not known and rows depend on it.
    pub(super) async fn settle<C: Cmdb>(&mut self, asker: &Asker<'_, C>) -> Result<(), Halt> {
        if self.others.count > 0
            && !self.ids_arrive
            && let Some((model, claims)) = self.controls.take()
            && let Ok(newest) = self.newest(asker, &model, &claims).await?
        {
            self.ids_arrive = newest.values().any(|record| self.is_ours(record));
        }
        Ok(())
    }

    /// What was told.
    pub(super) fn told(self) -> Recovered {
        let Self { ids_arrive, mut recovered, mut others, .. } = self;
        if ids_arrive {
            recovered.absorb(Provenance::NotOurs, others);
        } else {
            for (_, what) in &mut others.first {
                what.push_str(
                    ", but no record is of one, so that their ids may not have got there (a proxy, a gateway \
                     before CMDB 3.14)",
                );
            }
            recovered.absorb(Provenance::Unknown, others);
        }
        recovered
    }

    /// The newest record of each of some associations, which is of what is there now; or why the log does
    /// not tell.
    async fn newest<C: Cmdb>(
        &mut self,
        asker: &Asker<'_, C>,
        model: &ModelAssociation,
        claims: &[Claim],
    ) -> Result<Result<FxHashMap<(u64, u64), AuditRecord>, String>, Halt> {
        let wanted: FxHashSet<_> = claims.iter().map(|claim| claim.association.pair()).collect();
        let mut sources: Vec<_> = claims.iter().map(|claim| claim.association.inst_id).collect();
        sources.sort_unstable();
        sources.dedup();
        let mut list = AuditList {
            obj_id: model.source.clone(),
            sources,
            since: self.since.clone(),
            until: self.until.clone(),
            start: 0,
        };
        let mut newest = FxHashMap::default();
        while newest.len() < wanted.len() {
            let request = Request::AuditList(list.clone());
            let ids = match self.ask(asker, &request, Envelope::audit_ids).await? {
                Ok(ids) if ids.is_empty() => break,
                Ok(ids) => ids,
                Err(why) => return Ok(Err(why)),
            };
            let listed = ids.len() as u64;
            let request = Request::AuditRecords(ids);
            let records = match self.ask(asker, &request, Envelope::audit_records).await? {
                Ok(records) => records,
                Err(why) => return Ok(Err(why)),
            };
            for record in records {
                let pair = (record.source, record.target);
                if *record.obj_asst_id == *model.obj_asst_id && wanted.contains(&pair) {
                    let other: &mut AuditRecord =
                        newest.entry(pair).or_insert_with(|| record.clone());
                    if other.id < record.id {
                        *other = record;
                    }
                }
            }
            if listed < AuditList::PAGE.into() {
                break;
            }
            list.start += listed;
        }
        Ok(Ok(newest))
    }

    /// Asks once, or a few times where no answer comes. What the log never answers is not asked again.
    async fn ask<C: Cmdb, T>(
        &mut self,
        asker: &Asker<'_, C>,
        request: &Request,
        read: impl Fn(&Envelope) -> Option<T>,
    ) -> Result<Result<T, String>, Halt> {
        if let Some(why) = &self.closed {
            return Ok(Err(why.clone()));
        }
        let mut tries = 0;
        loop {
            let (reply, query) = asker.ask(CallKind::Audit, request.clone()).await?;
            if let (Query::Answered, Some(read)) = (query, reply.envelope().and_then(&read)) {
                asker.progressed();
                return Ok(Ok(read));
            }
            let said = ServerMessage::of(&reply);
            let why = match query {
                Query::Rejected => {
                    return Ok(Err(format!(
                        "the server refuses to look it up in the audit log: {said}"
                    )));
                }
                Query::Answered | Query::Again(_) if tries + 1 < TRIES => {
                    asker.back_off(&reply, query, &mut tries).await?;
                    continue;
                }
                Query::Answered | Query::Again(_) => "the audit log gives no answer",
                Query::Forbidden => "this user has no permission to see the audit log",
                Query::NoSuchCall | Query::Stop(_) => {
                    "this entrance has no call for this app that reads the audit log"
                }
            };
            self.closed = Some(format!("{why}: {said}"));
            return Ok(Err(self.closed.clone().unwrap_or_default()));
        }
    }
}

#[cfg(test)]
mod tests;
