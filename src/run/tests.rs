//! Whole runs in virtual time against the sandbox's store: faults, kills and going on, and the truth
//! of every line afterwards.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

use super::*;
use crate::association::{Association, Cells, InstId, Link, Mapping};
use crate::journal::disk::Disk;
use crate::journal::replay::{Replay, replay};
use crate::manifest::{FORMAT, Head, Work};
use crate::outcome::Reason;
use crate::plan::going_on;
use crate::results::Outcomes;
use crate::sandbox::faults::{Fault, Faults};
use crate::sandbox::models::Models as SandboxModels;
use crate::sandbox::{Sandbox, Setup};

/// A disk in memory, of which a power loss leaves what was synced and some of the rest.
#[derive(Clone, Default)]
struct Platter(Arc<Mutex<(Vec<u8>, usize)>>);

impl Disk for Platter {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.lock().unwrap().0.extend_from_slice(bytes);
        Ok(())
    }

    fn sync(&self) -> BoxFuture<'static, io::Result<()>> {
        let this = self.clone();
        let length = this.0.lock().unwrap().0.len();
        async move {
            tokio::time::sleep(Duration::from_millis(2)).await;
            let mut platter = this.0.lock().unwrap();
            platter.1 = platter.1.max(length);
            Ok(())
        }
        .boxed()
    }
}

impl Platter {
    fn lose_power(&self, rng: &mut impl Rng) {
        let mut platter = self.0.lock().unwrap();
        let (written, synced) = (platter.0.len(), platter.1);
        platter.0.truncate(rng.random_range(synced..=written));
    }
}

const MODELS: &str = r#"
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

fn name_of(mapping: Mapping) -> &'static str {
    match mapping {
        Mapping::ManyToMany => "s_run_t",
        Mapping::OneToMany => "s_belong_t",
        Mapping::OneToOne => "s_connect_t",
    }
}

fn row(ordinal: u64, name: &str, source: u64, target: u64) -> Row {
    let cells = Cells::new([name, &source.to_string(), &target.to_string(), ""]);
    let id = |value| InstId::new(value).unwrap();
    let association =
        Association { obj_asst_id: name.into(), inst_id: id(source), asst_inst_id: id(target) };
    let link = Ok(Link { association, biz_id: None });
    Row { ordinal, file: 0, line: ordinal + 2, cells, link }
}

struct World {
    sandbox: Sandbox,
    rows: Vec<Row>,
    platter: Platter,
    folder: tempfile::TempDir,
    options: EngineOptions,
    target: Target,
}

impl World {
    fn new(rows: Vec<Row>, faults: Faults, seed: u64) -> Self {
        let mut setup = Setup::new(SandboxModels::from_toml(MODELS).unwrap());
        setup.faults = faults;
        setup.fault_seed = seed;
        setup.latency = Duration::from_millis(20);
        let options = EngineOptions {
            rate: Rate::Unlimited,
            timeout: Duration::from_secs(10),
            ..EngineOptions::default()
        };
        Self {
            sandbox: Sandbox::new(setup).unwrap(),
            rows,
            platter: Platter::default(),
            folder: tempfile::tempdir().unwrap(),
            options,
            target: Target {
                entrance: crate::target::Entrance::Esb,
                endpoint: Target::SANDBOX.to_owned(),
                supplier_account: "0".to_owned(),
            },
        }
    }

    fn journal_path(&self) -> std::path::PathBuf {
        self.folder.path().join("r.csv.journal")
    }

    fn read_back(&self) -> Replay {
        let path = self.journal_path();
        std::fs::write(&path, &self.platter.0.lock().unwrap().0).unwrap();
        replay(&path, |_| {}).unwrap()
    }

    /// One process: starts or goes on, and runs to its end.
    async fn process(&self) -> Finish {
        let back = self.read_back();
        {
            let mut platter = self.platter.0.lock().unwrap();
            platter.0.truncate(back.good_bytes as usize);
            platter.1 = platter.0.len();
        }
        let disk = Box::new(self.platter.clone());
        let mut journal =
            Journal::new(self.journal_path(), disk, back.good_bytes, back.marked_through);
        if back.head.is_none() {
            journal.write_head(&Head {
                format: FORMAT,
                tool: String::new(),
                work: Work::Import,
                target: self.target.clone(),
                app_code: None,
                username: None,
                options: std::collections::BTreeMap::default(),
                settings: std::collections::BTreeMap::default(),
                files: Vec::new(),
                inputs: vec!["rows".to_owned()],
                started_at: String::new(),
                parent: None,
            });
        }
        let rows = self.rows.iter().filter_map(|row| {
            let plan = going_on(&back, row.ordinal, Plan::Send)?;
            Some(Planned { row: row.clone(), plan })
        });
        let setting = Setting {
            cmdb: &self.sandbox,
            target: &self.target,
            options: &self.options,
            largest_id: back.largest_id,
            clock: || 1,
            seed: 1,
        };
        let mut tally = Tally::default();
        let feed = Feed::of(rows);
        let never = std::future::pending();
        run(setting, &mut journal, feed, &mut tally, never, &mut |_| {}).await.unwrap()
    }

    /// Kills the process after that time, if it still runs.
    async fn process_killed_after(&self, time: Duration, rng: &mut impl Rng) -> Option<Finish> {
        let finished = timeout(time, self.process()).await.ok();
        if finished.is_none() {
            self.platter.lose_power(rng);
        }
        finished
    }

    fn records(&self) -> Vec<Record> {
        let path = self.journal_path();
        std::fs::write(&path, &self.platter.0.lock().unwrap().0).unwrap();
        Outcomes::of_journal(&path).unwrap().map(Result::unwrap).collect()
    }

    /// Holds every line against the store.
    fn check(&self) -> Result<HashMap<Status, usize>, String> {
        let mut stored: HashMap<(String, i64, i64), i64> = HashMap::new();
        let mut sides: HashSet<(String, char, i64)> = HashSet::new();
        for one in self.sandbox.rows() {
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
        let mut counts = HashMap::new();
        let mut made = HashSet::new();
        for (record, row) in records.iter().zip(&self.rows) {
            let outcome = &record.outcome;
            *counts.entry(outcome.status).or_default() += 1;
            let link = &row.link.as_ref().unwrap().association;
            let triple = (
                link.obj_asst_id.to_string(),
                link.inst_id.get() as i64,
                link.asst_inst_id.get() as i64,
            );
            let told = format!("row {} {triple:?}: {outcome:?}", row.ordinal);
            let id = stored.get(&triple).copied();
            match outcome.status {
                Status::Created | Status::Recovered => {
                    if outcome.association_id != id || !made.insert(id) {
                        return Err(told);
                    }
                }
                Status::Existed if outcome.association_id == id && id.is_some() => {}
                Status::Failed if outcome.reason == Some(Reason::OutcomeUnknown) => {}
                Status::Failed if id.is_none() => {}
                _ => return Err(told),
            }
        }
        Ok(counts)
    }
}

/// Rows in which every tenth repeats an earlier one, and bound sides collide now and then.
fn rows(mapping: Mapping, count: u64, rng: &mut impl Rng) -> Vec<Row> {
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

#[tokio::test(start_paused = true)]
async fn a_quiet_server_gets_each_row_once() {
    for mapping in [Mapping::ManyToMany, Mapping::OneToMany, Mapping::OneToOne] {
        let mut rng = StdRng::seed_from_u64(1);
        let world = World::new(rows(mapping, 300, &mut rng), Faults::none(), 1);
        let finish = world.process().await;
        assert_eq!(finish.halt, None);
        let counts = world.check().unwrap();
        assert_eq!(counts.get(&Status::Recovered), None);
        assert!(counts[&Status::Created] > 200, "{counts:?}");
        assert!(counts[&Status::Existed] > 10, "{counts:?}");
    }
}

/// Faults x mapping x kills, each scenario from its seed alone.
async fn scenario(seed: u64) -> Result<(), String> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mapping =
        [Mapping::ManyToMany, Mapping::OneToMany, Mapping::OneToOne][rng.random_range(0..3)];
    let mut faults = Faults::none();
    let kinds = [
        Fault::LostRequest,
        Fault::LostAnswer,
        Fault::LateCommit,
        Fault::BadGateway,
        Fault::Garbled,
        Fault::DataNull,
        Fault::Locked,
        Fault::Slow,
        Fault::ReadLag,
        Fault::ThrottledCmdb,
        Fault::ThrottledGateway,
    ];
    for _ in 0..rng.random_range(1..4) {
        faults = faults.with(kinds[rng.random_range(0..kinds.len())], rng.random_range(0.02..0.3));
    }
    let told = format!("seed {seed}, {mapping:?}, {faults:?}");
    let count = rng.random_range(20..120);
    let mut world = World::new(rows(mapping, count, &mut rng), faults, seed);
    world.options.concurrency = rng.random_range(1..33);
    for _ in 0..rng.random_range(0..4) {
        let time = Duration::from_millis(rng.random_range(0..4000));
        if world.process_killed_after(time, &mut rng).await.is_some() {
            break;
        }
    }
    let finish = world.process().await;
    if let Some(halt) = finish.halt {
        return Err(format!("{told}: stopped: {halt:?}"));
    }
    world.check().map_err(|error| format!("{told}: {error}"))?;
    Ok(())
}

#[test]
fn whatever_fails_every_line_is_true() {
    let seeds: Vec<u64> = match std::env::var("SEED") {
        Ok(seed) => vec![seed.parse().expect("SEED is a number")],
        Err(_) => (0..1200).collect(),
    };
    let failures: Vec<String> = seeds
        .into_iter()
        .filter_map(|seed| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .start_paused(true)
                .build()
                .unwrap();
            runtime.block_on(scenario(seed)).err()
        })
        .collect();
    assert!(failures.is_empty(), "{} scenarios: {}", failures.len(), failures[0]);
}
