//! Recovered rows of a sandbox whose calls are known.

use std::path::PathBuf;

use crate::association::{Association, InstId, Mapping, ModelAssociation, NewAssociation};
use crate::cmdb::Cmdb;
use crate::cmdb::wire::{Request, RequestId};
use crate::engine::asker::Asker;
use crate::engine::request_ids::RequestIds;
use crate::engine::stats::{CallKind, Place};
use crate::options::EngineOptions;
use crate::outcome::Status;
use crate::sandbox::faults::{Fault, Faults};
use crate::sandbox::models::Models;
use crate::sandbox::{Endpoint, Sandbox, Setup, StoredRow, Version};
use crate::storage::manifest::Manifest;
use crate::target::{Entrance, Target};
use crate::verify::Spot;
use crate::verify::audit_trail::AuditTrail;
use crate::verify::claims::Claim;
use crate::verify::provenance::{Provenance, Recovered};

const NAME: &str = "bk_load_balance_connect_bk_host";

fn target(entrance: Entrance) -> Target {
    Target {
        entrance,
        endpoint: "http://cmdb".to_owned(),
        supplier_account: "0".to_owned(),
        tenant_id: None,
    }
}

/// A run of 1,000 rows that began now.
fn run(work: &str, entrance: Entrance) -> Manifest {
    let now = crate::clock::now();
    serde_json::from_value(serde_json::json!({
        "format": 1, "tool": "0.1.0", "work": work, "target": target(entrance),
        "app_code": null, "username": null, "options": {}, "inputs": ["a.csv"],
        "started_at": now, "digests": [], "finished_at": now,
        "counts": {"created": 1_000}, "reasons": {}, "exit": 0, "results_sha256": "",
    }))
    .unwrap()
}

fn lineage(runs: impl IntoIterator<Item = Manifest>) -> Vec<(PathBuf, Manifest)> {
    runs.into_iter().map(|run| (PathBuf::from("a.results.csv"), run)).collect()
}

fn ids(run: &Manifest) -> RequestIds {
    RequestIds::new(run.head.target.entrance, &run.head.key(), 7).unwrap()
}

fn id(number: u64) -> InstId {
    InstId::new(number).unwrap()
}

fn model() -> ModelAssociation {
    ModelAssociation {
        obj_asst_id: NAME.into(),
        source: "bk_load_balance".into(),
        target: "host".into(),
        mapping: Mapping::ManyToMany,
        guessed: false,
        mainline: false,
    }
}

fn association(source: u64, target: u64) -> Association {
    Association { obj_asst_id: NAME.into(), inst_id: id(source), asst_inst_id: id(target) }
}

fn claim(status: Status, source: u64, target: u64) -> Claim {
    let place = Place { file: 0, line: target };
    let association = association(source, target);
    Claim { place, status, reason: None, id: Some(1), association, wholly_gone: false }
}

struct World {
    sandbox: Sandbox,
    run: Manifest,
}

impl World {
    fn with(entrance: Entrance, change: impl FnOnce(&mut Setup)) -> Self {
        let mut setup = Setup::new(Models::sample());
        (setup.entrance, setup.version) = (entrance, Version::V3_14);
        change(&mut setup);
        Self { sandbox: Sandbox::new(setup).unwrap(), run: run("import", entrance) }
    }

    fn native() -> Self {
        Self::with(Entrance::Native, |_| {})
    }

    async fn create(&self, source: u64, target: u64, id: Option<RequestId>) -> i64 {
        let association = association(source, target);
        let request = Request::Create(NewAssociation { association, biz_id: None });
        let reply = self.sandbox.call_as(request, id).await;
        reply.envelope().unwrap().created_id().unwrap()
    }

    /// Creates it by a call of the run's.
    async fn create_ours(&self, source: u64, target: u64, row: u64) {
        self.create(source, target, Some(ids(&self.run).of_write(row, 2))).await;
    }

    async fn tell(&self, created: &[Claim], recovered: &[Claim]) -> (Recovered, u64) {
        self.tell_of(lineage([self.run.clone()]), created, recovered).await
    }

    async fn tell_of(
        &self,
        lineage: Vec<(PathBuf, Manifest)>,
        created: &[Claim],
        recovered: &[Claim],
    ) -> (Recovered, u64) {
        let (target, options) = (target(Entrance::Native), EngineOptions::default());
        let asker = Asker::new(&self.sandbox, &target, &options, 4, 1);
        let mut trail = AuditTrail::of(&lineage);
        trail.remember(&model(), created.iter());
        trail.follow(&asker, &model(), recovered).await.unwrap();
        trail.settle(&asker).await.unwrap();
        let calls = asker.stats.borrow().calls.count(CallKind::Audit);
        (trail.told(), calls)
    }
}

fn recovered(targets: impl IntoIterator<Item = u64>) -> Vec<Claim> {
    targets.into_iter().map(|target| claim(Status::Recovered, 1, target)).collect()
}

/// The targets of what is told, which are their lines, by whose they are.
fn lines(told: &Recovered) -> [Vec<u64>; 3] {
    Provenance::ALL.map(|provenance| {
        let first = told.of(provenance).first.iter();
        first
            .map(|(spot, _)| match spot {
                Spot::Row(place) => place.line,
                other => panic!("{other:?}"),
            })
            .collect()
    })
}

#[track_caller]
fn assert_says(told: &Recovered, text: &str) {
    let all: Vec<_> = told.groups().flat_map(|(_, group)| &group.first).collect();
    assert!(!all.is_empty() && all.iter().all(|(_, what)| what.contains(text)), "{text}: {all:?}");
}

#[tokio::test(start_paused = true)]
async fn a_record_with_an_id_of_the_run_is_ours_and_one_with_another_is_not() {
    let world = World::native();
    world.create_ours(1, 31, 5).await;
    world.create(1, 32, None).await;
    world.create(1, 33, Some(RequestId(77))).await;
    // A question of ours creates nothing, and no row has this number.
    let question = ids(&world.run).of_question();
    world.create(1, 34, Some(question)).await;
    world.create_ours(1, 35, 1_000).await;
    world.sandbox.insert(NAME, 1, 36).unwrap();
    let (told, calls) = world.tell(&[], &recovered(31..=36)).await;
    assert_eq!(lines(&told), [vec![31], vec![32, 33, 34, 35], vec![36]]);
    assert_eq!(calls, 2, "one for the records of all, one for what they say");
}

#[tokio::test(start_paused = true)]
async fn the_record_of_a_batch_has_the_id_of_its_first_row() {
    let world = World::native();
    let pairs = (31..=33).map(|target| (id(1), id(target))).collect();
    let request = Request::CreateMany { model: model().into(), pairs };
    let batch = ids(&world.run).of_write(40, 1);
    assert!(world.sandbox.call_as(request, Some(batch)).await.envelope().is_some());
    let (told, _) = world.tell(&[], &recovered(31..=33)).await;
    assert_eq!(lines(&told), [vec![31, 32, 33], vec![], vec![]]);
}

#[tokio::test(start_paused = true)]
async fn only_the_newest_record_counts() {
    let world = World::native();
    for target in 31..=33 {
        world.create_ours(1, target, 5).await;
    }
    for (target, again) in [(31, false), (32, true)] {
        let is_it = |row: &StoredRow| *row.obj_asst_id == *NAME && row.target == target;
        let id = world.sandbox.rows().into_iter().find(is_it).unwrap().id;
        let delete = Request::Delete { obj_id: "bk_load_balance".into(), id };
        assert!(world.sandbox.call(delete).await.envelope().is_some());
        if again {
            world.create(1, target.cast_unsigned(), None).await;
        }
    }
    let (told, _) = world.tell(&[], &recovered(31..=33)).await;
    assert_eq!(lines(&told), [vec![33], vec![32], vec![31]]);
}

#[tokio::test(start_paused = true)]
async fn that_a_record_is_of_another_counts_only_where_our_ids_get_there() {
    let world = World::native();
    world.create(1, 31, None).await;
    world.create(1, 32, None).await;
    world.create_ours(1, 33, 5).await;
    let created = |target| [claim(Status::Created, 1, target)];
    let (told, _) = world.tell(&created(32), &recovered([31])).await;
    assert_eq!(lines(&told), [vec![], vec![], vec![31]]);
    assert_says(&told, "may not have got there");
    let (told, _) = world.tell(&[], &recovered([31])).await;
    assert_eq!(lines(&told), [vec![], vec![], vec![31]]);
    let (told, _) = world.tell(&created(33), &recovered([31])).await;
    assert_eq!(lines(&told), [vec![], vec![31], vec![]]);
}

#[tokio::test(start_paused = true)]
async fn rows_that_a_rerun_carried_over_have_the_ids_of_the_run_before_it() {
    let world = World::native();
    let rerun = run("rerun", Entrance::Native);
    world.create_ours(1, 31, 5).await;
    world.create(1, 32, Some(ids(&rerun).of_write(6, 1))).await;
    let rows = recovered([31, 32]);
    let both = lineage([rerun.clone(), world.run.clone()]);
    let (told, _) = world.tell_of(both, &[], &rows).await;
    assert_eq!(lines(&told), [vec![31, 32], vec![], vec![]]);
    // Where the import is not to be found, its ids are not either.
    let mut orphan = rerun;
    orphan.head.parent =
        Some(crate::storage::manifest::Parent { results: "gone.csv".to_owned(), started_at: None });
    let (told, calls) = world.tell_of(lineage([orphan]), &[], &rows).await;
    assert_eq!((lines(&told), calls), ([vec![], vec![], vec![31, 32]], 0));
    assert_says(&told, "a run before this one is not to be found");
}

#[tokio::test(start_paused = true)]
async fn many_sources_and_records_are_asked_for_page_by_page() {
    let world = World::native();
    for target in 31..=480 {
        world.create_ours(1, target, 5).await;
    }
    for source in 2..=60 {
        world.create_ours(source, 31, 6).await;
    }
    let mut rows = recovered(31..=480);
    rows.extend((2..=60).map(|source| claim(Status::Recovered, source, 31)));
    let (told, calls) = world.tell(&[], &rows).await;
    assert_eq!(told.of(Provenance::Ours).count, 509);
    assert!(told.of(Provenance::NotOurs).count + told.of(Provenance::Unknown).count == 0);
    assert!(calls <= 16, "{calls}");
}

#[tokio::test(start_paused = true)]
async fn an_entrance_that_takes_no_ids_is_not_even_asked() {
    let world = World::with(Entrance::Esb, |_| {});
    world.create(1, 31, Some(RequestId(1))).await;
    let (told, calls) = world.tell(&[], &recovered([31])).await;
    assert_eq!((lines(&told), calls), ([vec![], vec![], vec![31]], 0));
    assert_says(&told, "the ESB gives calls ids of its own");
    let (told, calls) = world.tell_of(Vec::new(), &[], &recovered([31])).await;
    assert_eq!((lines(&told), calls), ([vec![], vec![], vec![31]], 0));
    assert_says(&told, "there is no run.json");
}

#[tokio::test(start_paused = true)]
async fn a_log_that_may_not_be_seen_or_never_answers_is_left_alone_soon() {
    let world = World::with(Entrance::Native, |setup| setup.models.credentials.audit = false);
    world.create_ours(1, 31, 5).await;
    let rows = recovered(31..=630);
    let (told, calls) = world.tell(&[], &rows).await;
    assert_eq!((told.of(Provenance::Unknown).count, calls), (600, 1));
    assert_says(&told, "no permission to see the audit log");

    let world = World::native();
    world.create_ours(1, 31, 5).await;
    world.sandbox.set_faults(Faults::none().with(Fault::LostAnswer, 1.0));
    let (told, calls) = world.tell(&[], &rows).await;
    assert_eq!((told.of(Provenance::Unknown).count, calls), (600, 5));
    assert_says(&told, "gives no answer");
    assert_eq!(world.sandbox.calls(Endpoint::AuditRecords), 0);
}
