//! A CMDB in memory, with its rules, races, limits and faults: to try things on, and to test against.
//!
//! Owns the store and its set-up. In process it is a [`Cmdb`] without sockets, on tokio's clock;
//! [`server`] puts the same store behind HTTP. It does what `docs/cmdb-api.md` says, and is held against
//! the answers of real servers.

pub mod faults;
mod refusal;
mod filter;
mod pattern;
mod attributes;
mod instances;
pub mod models;
mod setup;
mod rows;
mod log;
mod endpoint;
mod call;
mod audit;
mod dialect;
mod lookup;
mod names;
mod rules;
mod exchange;
pub mod server;

#[cfg(test)]
mod captures;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustc_hash::{FxHashMap, FxHashSet};
use tokio::time::Instant;

pub use endpoint::Endpoint;
pub use log::LogError;
pub use setup::{Quota, Setup, Version};

use audit::{AuditLog, By};
use call::Call;
use dialect::{Dialect, Written};
use faults::{Faults, scramble};
use instances::Changed;
use log::Log;
use models::{Models, TableId};
use refusal::Refusal;
use rows::{Row, Store};

use crate::cmdb::Cmdb;
use crate::cmdb::wire::{Answer, Envelope, Reply, Request, RequestId, code};
use crate::options::Language;
use crate::target::Entrance;

/// A row as tests see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRow {
    /// The association's id.
    pub id: i64,
    /// Its model association.
    pub obj_asst_id: Arc<str>,
    /// The source.
    pub source: i64,
    /// The target.
    pub target: i64,
    /// Whether it is in the source model's table only, as a batch that was cut leaves it
    /// (docs/cmdb-api.md#half-rows).
    pub half: bool,
}

/// A CMDB in memory. Clones share it.
#[derive(Clone, Debug)]
pub struct Sandbox(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    models: Models,
    version: Version,
    entrance: Entrance,
    language: Language,
    supplier_account: String,
    latency: Duration,
    quota: Option<Quota>,
    rate_headers: bool,
    old_esb: bool,
    seed: u64,
    start: Instant,
    /// Counts the ids given to calls.
    ids: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    rows: Store,
    /// By model, what was changed since the sandbox was set up.
    instances: FxHashMap<String, Changed>,
    log: Option<Log>,
    audit: AuditLog,
    locks: FxHashSet<(TableId, i64)>,
    faults: Faults,
    /// How many calls came through the entrance, by endpoint.
    calls: [u64; Endpoint::ALL.len()],
    /// By what a call is counted as: the number of the quota's window, and the calls in it.
    windows: [(u128, u64); Endpoint::ALL.len()],
    /// What was stored, and removed, under which ids, in order.
    #[cfg(test)]
    history: Vec<(bool, i64, Row)>,
}

impl State {
    /// Adds a row; `half` keeps it out of the target model's table, where that is another one.
    fn insert(&mut self, row: Row, half: bool, models: &Models) -> io::Result<u32> {
        let model = &models.get(row.table).model;
        let half = half && model.source != model.target;
        if let Some(log) = &mut self.log {
            log.created(self.rows.next_id(), row, half, models)?;
        }
        let id = self.rows.insert(row);
        if half {
            self.rows.halve(id);
        }
        self.rows.born(id, Instant::now(), self.faults.lag_by);
        #[cfg(test)]
        self.history.push((true, id.into(), row));
        Ok(id)
    }

    fn remove(&mut self, id: i64) -> io::Result<()> {
        if let Some(log) = &mut self.log {
            log.deleted(id)?;
        }
        if let (Some(row), Ok(id)) = (self.rows.remove(id), u32::try_from(id)) {
            self.rows.died(id, row, Instant::now(), self.faults.lag_by);
            #[cfg(test)]
            self.history.push((false, id.into(), row));
        }
        Ok(())
    }
}

/// The caller, and how it is answered.
#[derive(Clone, Debug)]
struct Caller {
    entrance: Entrance,
    supplier_account: String,
    language: Language,
    user: String,
    /// The caller's own id for the call, where CMDB keeps it.
    request_id: Option<String>,
}

impl Sandbox {
    /// Sets a sandbox up, with the rows of its data file or with those that the models file lists.
    pub fn new(setup: Setup) -> Result<Self, LogError> {
        let mappings = setup.models.all().map(|(_, known)| known.model.mapping);
        let mut rows = Store::new(mappings);
        let opened = setup.data.as_deref();
        let opened = opened.map(|path| Log::open(path, &setup.models, &mut rows));
        let (log, new) = opened.transpose()?.map_or((None, true), |(log, new)| (Some(log), new));
        let mut state = State {
            rows,
            instances: FxHashMap::default(),
            log,
            audit: AuditLog::default(),
            locks: FxHashSet::default(),
            faults: setup.faults,
            calls: [0; Endpoint::ALL.len()],
            windows: Default::default(),
            #[cfg(test)]
            history: Vec::new(),
        };
        if new {
            preload(&mut state, &setup.models)
                .map_err(|source| LogError::Io { path: setup.data.unwrap_or_default(), source })?;
        }
        Ok(Self(Arc::new(Inner {
            models: setup.models,
            version: setup.version,
            entrance: setup.entrance,
            language: setup.language,
            supplier_account: setup.supplier_account,
            latency: setup.latency,
            quota: setup.quota,
            rate_headers: setup.rate_headers,
            old_esb: setup.old_esb || setup.version == Version::V3_5,
            seed: setup.fault_seed,
            start: Instant::now(),
            ids: AtomicU64::new(0),
            state: Mutex::new(state),
        })))
    }

    /// Everything that is stored, ids ascending.
    pub fn rows(&self) -> Vec<StoredRow> {
        let state = self.state();
        let stored = |(id, row): (i64, Row)| StoredRow {
            id,
            obj_asst_id: Arc::clone(&self.0.models.get(row.table).model.obj_asst_id),
            source: row.source,
            target: row.target,
            half: u32::try_from(id).is_ok_and(|id| state.rows.is_half(id)),
        };
        state.rows.iter().map(stored).collect()
    }

    /// What was stored (true) and removed (false) since the beginning, in order.
    #[cfg(test)]
    pub(crate) fn history(&self) -> Vec<(bool, StoredRow)> {
        let state = self.state();
        let event = |&(stored, id, row): &(bool, i64, Row)| {
            let obj_asst_id = Arc::clone(&self.0.models.get(row.table).model.obj_asst_id);
            let Row { source, target, .. } = row;
            (stored, StoredRow { id, obj_asst_id, source, target, half: false })
        };
        state.history.iter().map(event).collect()
    }

    /// How many rows are stored.
    pub fn len(&self) -> usize {
        self.state().rows.len()
    }

    /// Whether nothing is stored.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Stores a row past all checks; `None` where there is no such model association.
    pub fn insert(&self, obj_asst_id: &str, source: i64, target: i64) -> Option<i64> {
        self.put(obj_asst_id, source, target, false)
    }

    /// The same for the source model's table alone.
    pub fn insert_half(&self, obj_asst_id: &str, source: i64, target: i64) -> Option<i64> {
        self.put(obj_asst_id, source, target, true)
    }

    fn put(&self, obj_asst_id: &str, source: i64, target: i64, half: bool) -> Option<i64> {
        let table = self.0.models.table(obj_asst_id)?;
        let row = Row { source, target, table };
        let stored = self.state().insert(row, half, &self.0.models);
        stored.ok().map(i64::from)
    }

    /// Deletes a row past all checks; false where there is none.
    pub fn remove(&self, id: i64) -> bool {
        let mut state = self.state();
        state.rows.get(id).is_some() && state.remove(id).is_ok()
    }

    /// How many calls an endpoint has had, with refused and lost ones and without those that the
    /// entrance itself turned away.
    pub fn calls(&self, endpoint: Endpoint) -> u64 {
        self.state().calls[endpoint as usize]
    }

    /// Changes what goes wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.state().faults = faults;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The dialect that this caller is answered in, under the caller's own id or a fresh one.
    fn dialect(&self, caller: &Caller) -> Dialect {
        let number = self.0.ids.fetch_add(1, Ordering::Relaxed);
        let high = scramble(self.0.seed ^ scramble(number));
        let hex = format!("{high:016x}{:016x}", scramble(high));
        let fresh = match caller.entrance {
            Entrance::Native => format!("cc0000{}", &hex[..20]),
            Entrance::Esb | Entrance::Gateway => hex,
        };
        // A gateway shows its own id for the call, whatever CMDB calls it.
        let own = caller.request_id.clone().filter(|_| caller.entrance == Entrance::Native);
        Dialect {
            entrance: caller.entrance,
            version: self.0.version,
            language: caller.language,
            request_id: own.unwrap_or(fresh),
        }
    }

    /// How the audit log names a call that is answered in this dialect.
    fn by(&self, caller: &Caller, dialect: &Dialect) -> Arc<By> {
        let credentials = &self.0.models.credentials;
        Arc::new(By {
            request_id: caller.request_id.clone().unwrap_or_else(|| dialect.request_id.clone()),
            user: caller.user.clone(),
            app_code: match caller.entrance {
                Entrance::Native => String::new(),
                Entrance::Esb | Entrance::Gateway => credentials.app_code.clone(),
            },
        })
    }
}

fn preload(state: &mut State, models: &Models) -> io::Result<()> {
    for (table, known) in models.all() {
        for &(source, target) in &known.existing {
            let row = Row { source, target, table };
            state.insert(row, false, models)?;
        }
    }
    Ok(())
}

impl Cmdb for Sandbox {
    async fn call(&self, request: Request) -> Reply {
        self.call_as(request, None).await
    }

    async fn call_as(&self, request: Request, id: Option<RequestId>) -> Reply {
        let keeps_ids = self.keeps_ids_at(self.0.entrance);
        let caller = Caller {
            entrance: self.0.entrance,
            supplier_account: self.0.supplier_account.clone(),
            language: match &request {
                Request::Attributes(attributes) => attributes.language,
                _ => self.0.language,
            },
            user: "admin".to_owned(),
            request_id: id.filter(|_| keeps_ids).map(|id| id.to_string()),
        };
        let endpoint = Endpoint::of(request.route());
        let call = Call::of(request, self.0.version);
        let written =
            match self.denied(endpoint, &caller).or_else(|| self.missing(endpoint, &caller)) {
                Some(written) => Some(written),
                None => self.answer(endpoint, call, &caller).await,
            };
        match written {
            Some(written) => Reply::Answered(answer(&written)),
            None => Reply::Lost("the sandbox closed the connection".to_owned()),
        }
    }
}

impl Sandbox {
    /// Whether a caller's own id for a call gets through to CMDB (docs/cmdb-api.md#request-ids).
    fn keeps_ids_at(&self, entrance: Entrance) -> bool {
        match entrance {
            Entrance::Esb => false,
            Entrance::Gateway => self.0.version == Version::V3_14,
            Entrance::Native => true,
        }
    }

    /// The answer of an entrance that does not let the app call an endpoint (tests/wire/esb-6.json#6.2).
    fn denied(&self, endpoint: Endpoint, caller: &Caller) -> Option<Written> {
        let name = endpoint.component();
        if !self.0.models.credentials.denied.iter().any(|denied| denied == name) {
            return None;
        }
        let dialect = self.dialect(caller);
        match caller.entrance {
            Entrance::Esb => {
                let text = format!(
                    "APP permission is insufficient, APP has no permission to access the component \
                     ({name}) of the system (CC). The APP manager can go to the Developer Center and \
                     apply for permission to access the component"
                );
                Some(dialect.esb_refused(code::ESB_NO_PERMISSION, &text))
            }
            Entrance::Gateway => {
                let text = "App has no permission to the resource";
                Some(dialect.gateway_refused(
                    403,
                    code::GATEWAY_NO_PERMISSION,
                    "APP_NO_PERMISSION",
                    text,
                ))
            }
            Entrance::Native => None,
        }
    }

    /// The answer of an entrance that does not have an endpoint.
    fn missing(&self, endpoint: Endpoint, caller: &Caller) -> Option<Written> {
        let entrance = caller.entrance;
        let dialect = self.dialect(caller);
        let old_cmdb = self.0.version == Version::V3_5;
        let old = old_cmdb || (self.0.old_esb && entrance == Entrance::Esb);
        match endpoint {
            // The path of before 3.10 takes `batch` for an id.
            Endpoint::DeleteMany if old_cmdb && entrance != Entrance::Esb => {
                Some(dialect.refused(&Refusal::of(code::NOT_AN_INTEGER, "association_id")))
            }
            _ if old && !old_cmdb && endpoint.has_moved() => {
                Some(dialect.not_json("404: Page Not Found"))
            }
            _ if old && endpoint.is_new() => Some(dialect.not_found()),
            _ => None,
        }
    }
}

fn answer(written: &Written) -> Answer {
    let envelope = Envelope::parse(written.body.as_bytes());
    let is_id =
        |(name, _): &&(&str, String)| name.ends_with("equest_id") || name.ends_with("equest-Id");
    let header = written.headers.iter().find(is_id).map(|(_, id)| id.clone());
    let in_body = envelope.as_ref().and_then(|envelope| envelope.request_id.clone());
    Answer {
        status: written.status,
        excerpt: match &envelope {
            Some(_) => String::new(),
            None => written.body.chars().take(200).collect(),
        },
        envelope,
        rate: written.rate,
        request_id: in_body.or(header),
    }
}
