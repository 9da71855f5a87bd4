//! A run in virtual time: rows, a server, a disk, and the truth of every line afterwards.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use rand::{Rng, RngExt};

use super::super::*;
use crate::association::Row;
use crate::association::{Association, Cells, InstId, Mapping, NewAssociation};
use crate::engine::remaining::{Goal, PendingRow, Remaining, what_remains};
use crate::engine::stats::BottleneckTimes;
use crate::options::Rate;
use crate::outcome::Reason;
use crate::outcome::Status;
use crate::sandbox::faults::Faults;
use crate::sandbox::models::Models as SandboxModels;
use crate::sandbox::{Sandbox, Setup, StoredRow};
use crate::storage::journal::Holder;
use crate::storage::journal::disk::Disk;
use crate::storage::journal::replay::{Replay, replay};
use crate::storage::manifest::Head;
use crate::storage::results::Outcomes;

/// A disk in memory, of which a power loss leaves what was synced and some of the rest.
#[derive(Clone, Default)]
pub(super) struct Platter(Arc<Mutex<Surface>>);

#[derive(Default)]
struct Surface {
    bytes: Vec<u8>,
    synced: usize,
    /// How long a sync takes beside the usual.
    lazy: Duration,
    operations: usize,
    /// The operation that fails, and every one after it.
    fails_at: Option<usize>,
}

impl Surface {
    fn operate(&mut self) -> io::Result<()> {
        self.operations += 1;
        match self.fails_at {
            Some(at) if self.operations > at => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(()),
        }
    }
}

impl Disk for Platter {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut surface = self.0.lock().unwrap();
        let done = surface.operate();
        // A write that fails may have got half of its bytes down.
        let length = if done.is_ok() { bytes.len() } else { bytes.len() / 2 };
        surface.bytes.extend_from_slice(&bytes[..length]);
        done
    }

    fn sync(&self) -> BoxFuture<'static, io::Result<()>> {
        let this = self.clone();
        let (length, lazy) = {
            let surface = this.0.lock().unwrap();
            (surface.bytes.len(), surface.lazy)
        };
        async move {
            tokio::time::sleep(Duration::from_millis(2) + lazy).await;
            let mut surface = this.0.lock().unwrap();
            surface.operate()?;
            surface.synced = surface.synced.max(length);
            Ok(())
        }
        .boxed()
    }
}

impl Platter {
    pub(super) fn lose_power(&self, rng: &mut impl Rng) {
        let mut surface = self.0.lock().unwrap();
        let (written, synced) = (surface.bytes.len(), surface.synced);
        surface.bytes.truncate(rng.random_range(synced..=written));
    }

    /// Fails from that operation on; `None` mends it.
    pub(super) fn fail_at(&self, operation: Option<usize>) {
        let mut surface = self.0.lock().unwrap();
        (surface.operations, surface.fails_at) = (0, operation);
    }

    /// Makes every sync take longer.
    pub(super) fn be_lazy(&self, lazy: Duration) {
        self.0.lock().unwrap().lazy = lazy;
    }

    /// What would be there after a power loss now.
    pub(super) fn durable(&self) -> Vec<u8> {
        let surface = self.0.lock().unwrap();
        surface.bytes[..surface.synced].to_vec()
    }

    fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().bytes.clone()
    }

    fn truncate(&self, length: usize) {
        let mut surface = self.0.lock().unwrap();
        surface.bytes.truncate(length);
        surface.synced = length;
    }
}

/// A wall clock that goes with tokio's.
fn wall_clock() -> i64 {
    thread_local!(static BEGAN: Instant = Instant::now());
    BEGAN.with(|began| 1 + began.elapsed().as_millis() as i64)
}

pub(super) const MODELS: &str = r#"
[instances]
s = ["1-100000"]
t = ["1-100000"]
[[association]]
obj_asst_id = "s_run_t"
source = "s"
target = "t"
mapping = "n:n"
[[association]]
obj_asst_id = "s_belong_t"
source = "s"
target = "t"
mapping = "1:n"
[[association]]
obj_asst_id = "s_connect_t"
source = "s"
target = "t"
mapping = "1:1"
"#;

pub(super) fn name_of(mapping: Mapping) -> &'static str {
    match mapping {
        Mapping::ManyToMany => "s_run_t",
        Mapping::OneToMany => "s_belong_t",
        Mapping::OneToOne => "s_connect_t",
    }
}

pub(super) fn row(ordinal: u64, name: &str, source: u64, target: u64) -> Row {
    let cells = Cells::new([name, &source.to_string(), &target.to_string(), ""]);
    let id = |value| InstId::new(value).unwrap();
    let association =
        Association { obj_asst_id: name.into(), inst_id: id(source), asst_inst_id: id(target) };
    let parsed = Ok(NewAssociation { association, biz_id: None });
    Row { ordinal, file: 0, line: ordinal + 2, cells, parsed }
}

pub(super) struct World {
    pub(super) sandbox: Sandbox,
    pub(super) rows: Vec<Row>,
    /// What is left to do for rows when the run begins; creates, where it says nothing.
    pub(super) asked: HashMap<u64, Remaining>,
    /// What was stored before it began.
    pub(super) before: Vec<StoredRow>,
    pub(super) platter: Platter,
    pub(super) folder: tempfile::TempDir,
    pub(super) options: EngineOptions,
    pub(super) target: Target,
    /// When a person stops the process in order.
    pub(super) stop_after: Option<Duration>,
    /// When the input ends; else with its last row.
    pub(super) open_for: Option<Duration>,
    /// What held the last process back.
    pub(super) held: Cell<BottleneckTimes>,
}

impl World {
    pub(super) fn new(rows: Vec<Row>, faults: Faults, seed: u64) -> Self {
        Self::with_setup(rows, |setup| (setup.faults, setup.fault_seed) = (faults, seed))
    }

    pub(super) fn with_setup(rows: Vec<Row>, change: impl FnOnce(&mut Setup)) -> Self {
        let mut setup = Setup::new(SandboxModels::from_toml(MODELS).unwrap());
        setup.latency = Duration::from_millis(20);
        change(&mut setup);
        let options = EngineOptions {
            rate: Rate::Unlimited,
            timeout: Duration::from_secs(10),
            ..EngineOptions::default()
        };
        Self {
            sandbox: Sandbox::new(setup).unwrap(),
            rows,
            asked: HashMap::new(),
            before: Vec::new(),
            platter: Platter::default(),
            folder: tempfile::tempdir().unwrap(),
            options,
            stop_after: None,
            open_for: None,
            held: Cell::default(),
            target: Target {
                entrance: crate::target::Entrance::Esb,
                endpoint: Target::SANDBOX.to_owned(),
                supplier_account: "0".to_owned(),
                tenant_id: None,
            },
        }
    }

    /// What is left to do for a row when the run begins.
    fn asked(&self, row: &Row) -> Remaining {
        self.asked.get(&row.ordinal).cloned().unwrap_or(Remaining::All(Goal::Create))
    }

    fn deletes(&self) -> bool {
        let deletes = |asked: &Remaining| {
            matches!(asked, Remaining::All(Goal::Undo { .. } | Goal::Delete { .. }))
        };
        self.asked.values().any(deletes)
    }

    pub(super) fn journal_path(&self) -> std::path::PathBuf {
        self.folder.path().join("r.csv.journal")
    }

    pub(super) fn read_back(&self) -> Replay {
        let path = self.journal_path();
        std::fs::write(&path, self.platter.bytes()).unwrap();
        replay(&path, |_| {}).unwrap()
    }

    /// One process: starts or goes on, and runs to its end.
    pub(super) async fn process(&self) -> Finish {
        self.process_on(&self.sandbox).await.unwrap()
    }

    /// The same with a server of the test's own.
    pub(super) async fn process_on<C: Cmdb>(&self, cmdb: &C) -> Result<Finish, JournalError> {
        let back = self.read_back();
        self.platter.truncate(back.good_bytes as usize);
        let disk = Box::new(self.platter.clone());
        let mut journal =
            Journal::new(self.journal_path(), disk, back.good_bytes, back.marked_through);
        if back.head.is_none() {
            journal.write_head(&Head {
                target: self.target.clone(),
                inputs: vec!["rows".to_owned()],
                ..Head::of_import()
            });
        }
        journal.write_holder(&Holder {
            host: String::new(),
            pid: 1,
            since: String::new(),
            at: Some(wall_clock()),
        });
        let rows = self.rows.iter().filter_map(|row| {
            let remaining = what_remains(&back, row.ordinal, self.asked(row))?;
            Some(PendingRow { row: row.clone(), remaining })
        });
        let setting = Setting {
            cmdb,
            target: &self.target,
            options: &self.options,
            run_key: "a run",
            earlier: &back,
            clock: wall_clock,
            seed: 1,
            writes: true,
            deletes: self.deletes(),
            place_of: &|row| format!("line {}", row.line),
            each: &mut |_| Ok(()),
        };
        let mut stats = RunStats::default();
        let (feed, end) = RowQueue::open(rows);
        let stop = async {
            if let Some(time) = self.open_for {
                tokio::time::sleep(time).await;
            }
            end();
            match self.stop_after {
                Some(time) => tokio::time::sleep(time).await,
                None => std::future::pending().await,
            }
            Halt { exit: Exit::Interrupted, message: String::new() }
        };
        let finish = run(setting, &mut journal, feed, &mut stats, stop, &mut |_| {}).await;
        self.held.set(stats.calls.holds);
        finish
    }

    /// Kills the process after that time, if it still runs.
    pub(super) async fn process_killed_after(
        &self,
        time: Duration,
        rng: &mut impl Rng,
    ) -> Option<Finish> {
        let finished = tokio::time::timeout(time, self.process()).await.ok();
        if finished.is_none() {
            self.platter.lose_power(rng);
        }
        finished
    }

    pub(super) fn records(&self) -> Vec<Record> {
        let path = self.journal_path();
        std::fs::write(&path, self.platter.bytes()).unwrap();
        Outcomes::of_journal(&path).unwrap().map(Result::unwrap).collect()
    }

    /// Holds every line against the store.
    pub(super) fn check(&self) -> Result<HashMap<Status, usize>, String> {
        let mut stored: HashMap<(String, i64, i64), i64> = HashMap::new();
        let mut sides: HashSet<(String, char, i64)> = HashSet::new();
        for one in self.sandbox.rows() {
            if one.half {
                return Err(format!("stored by half: {one:?}"));
            }
            let name = one.obj_asst_id.to_string();
            if stored.insert((name.clone(), one.source, one.target), one.id).is_some() {
                return Err(format!("stored twice: {one:?}"));
            }
            let source_is_bound = name == "s_connect_t";
            let target_is_bound = name != "s_run_t";
            if source_is_bound && !sides.insert((name.clone(), 's', one.source))
                || target_is_bound && !sides.insert((name.clone(), 't', one.target))
            {
                return Err(format!("a rule is broken by {one:?}"));
            }
        }
        let records = self.records();
        if records.len() != self.rows.len() {
            return Err(format!("{} rows in, {} out", self.rows.len(), records.len()));
        }
        let mut triples = HashSet::new();
        let repeats: HashSet<_> = self
            .rows
            .iter()
            .map(triple_of)
            .filter(|triple| !triples.insert(triple.clone()))
            .collect();
        let mut counts = HashMap::new();
        let mut made = HashSet::new();
        for (record, row) in records.iter().zip(&self.rows) {
            let outcome = &record.outcome;
            *counts.entry(outcome.status).or_default() += 1;
            let triple = triple_of(row);
            let said = format!("row {} {triple:?}: {outcome:?}", row.ordinal);
            let id = stored.get(&triple).copied();
            match outcome.status {
                Status::Created | Status::Recovered => {
                    if outcome.association_id != id || !made.insert(id) {
                        return Err(said);
                    }
                }
                Status::Existed if outcome.association_id == id && id.is_some() => {}
                Status::Failed if outcome.reason == Some(Reason::OutcomeUnknown) => {}
                // A later line of the same triple may have made it after this one gave up.
                Status::Failed if id.is_none() || repeats.contains(&triple) => {}
                _ => return Err(said),
            }
        }
        Ok(counts)
    }
}

pub(super) fn triple_of(row: &Row) -> (String, i64, i64) {
    let link = &row.parsed.as_ref().unwrap().association;
    let id = |id: InstId| id.get() as i64;
    (link.obj_asst_id.to_string(), id(link.inst_id), id(link.asst_inst_id))
}

/// Rows in which every tenth repeats an earlier one, and bound sides collide now and then.
pub(super) fn rows(mapping: Mapping, count: u64, rng: &mut impl Rng) -> Vec<Row> {
    let name = name_of(mapping);
    let mut pairs: Vec<(u64, u64)> = Vec::new();
    for number in 0..count {
        let pair = match rng.random_range(0..10) {
            0 if number > 0 => pairs[rng.random_range(0..pairs.len())],
            1 if number > 0 => (pairs[rng.random_range(0..pairs.len())].0, number + 1000),
            2 if number > 0 => (number + 1000, pairs[rng.random_range(0..pairs.len())].1),
            _ => (number + 1, number + 1),
        };
        pairs.push(pair);
    }
    let numbered = pairs.iter().zip(0..);
    numbered.map(|(&(source, target), ordinal)| row(ordinal, name, source, target)).collect()
}
