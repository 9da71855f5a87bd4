//! Races, faults, limits and persistence, in virtual time.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::join_all;
use serde_json::Value;
use tokio::time::{Instant, advance, sleep};

use super::faults::{Fault, FaultRate, Faults};
use super::models::Models;
use super::{Endpoint, LogError, Quota, Sandbox, Setup, Version};
use crate::association::{Association, InstId, Mapping, ModelAssociation, NewAssociation};
use crate::cmdb::Cmdb;
use crate::cmdb::wire::{Answer, Find, Pattern, Reply, Request, code};
use crate::target::Entrance;

const MODELS: &str = r#"
    [instances]
    a = ["1-1000000"]
    b = ["1-1000000"]
    [[association]]
    obj_asst_id = "a_any_b"
    source = "a"
    target = "b"
    mapping = "n:n"
    [[association]]
    obj_asst_id = "a_many_b"
    source = "a"
    target = "b"
    mapping = "1:n"
    [[association]]
    obj_asst_id = "a_one_b"
    source = "a"
    target = "b"
    mapping = "1:1"
"#;

const ANY: &str = "a_any_b";
const MANY: &str = "a_many_b";
const ONE: &str = "a_one_b";
const LATENCY: Duration = Duration::from_millis(40);

fn sandbox(change: impl FnOnce(&mut Setup)) -> Sandbox {
    let mut setup = Setup::new(Models::from_toml(MODELS).unwrap());
    change(&mut setup);
    Sandbox::new(setup).unwrap()
}

fn slow_sandbox() -> Sandbox {
    sandbox(|setup| setup.latency = LATENCY)
}

fn create(name: &str, source: u64, target: u64) -> Request {
    Request::Create(NewAssociation {
        association: Association {
            obj_asst_id: name.into(),
            inst_id: InstId::new(source).unwrap(),
            asst_inst_id: InstId::new(target).unwrap(),
        },
        biz_id: None,
    })
}

fn create_many(name: &str, targets: std::ops::RangeInclusive<u64>) -> Request {
    let id = |number| InstId::new(number).unwrap();
    Request::CreateMany {
        model: Arc::new(ModelAssociation {
            obj_asst_id: name.into(),
            source: "a".into(),
            target: "b".into(),
            mapping: Mapping::ManyToMany,
            guessed: false,
            mainline: false,
        }),
        pairs: targets.map(|target| (id(1), id(target))).collect(),
    }
}

fn find(name: &str, source: u64, target: u64) -> Request {
    find_from("a", name, source, target)
}

fn find_from(model: &str, name: &str, source: u64, target: u64) -> Request {
    let id = |number| InstId::new(number).unwrap();
    Request::Find(Find {
        obj_id: model.into(),
        obj_asst_id: name.into(),
        any_of: vec![Pattern::Pair(id(source), id(target))],
    })
}

fn answered(reply: Reply) -> Answer {
    match reply {
        Reply::Answered(answer) => answer,
        other => panic!("{other:?}"),
    }
}

/// The code of an answer; -1 where there is no JSON, -2 where nothing came back.
fn code_of(reply: &Reply) -> i64 {
    match reply {
        Reply::Answered(answer) => answer.envelope.as_ref().map_or(-1, |e| e.code().unwrap_or(-1)),
        _ => -2,
    }
}

async fn is_found(sandbox: &Sandbox, name: &str, source: u64, target: u64) -> bool {
    let models = &sandbox.0.models;
    let Some(table) = models.table(name) else {
        return false;
    };
    let mut request = find(name, source, target);
    if let Request::Find(find) = &mut request {
        find.obj_id = Arc::clone(&models.get(table).model.source);
    }
    let answer = answered(sandbox.call(request).await);
    !answer.envelope.unwrap().found().unwrap().is_empty()
}

/// The codes of calls that are all made at once.
async fn at_once(sandbox: &Sandbox, requests: impl Iterator<Item = Request>) -> Vec<i64> {
    let replies = join_all(requests.map(|request| sandbox.call(request))).await;
    replies.iter().map(code_of).collect()
}

fn count(codes: &[i64], code: i64) -> usize {
    codes.iter().filter(|c| **c == code).count()
}

#[tokio::test(start_paused = true)]
async fn of_identical_creates_at_once_one_is_stored() {
    for (sandbox, latency) in [(sandbox(|_| ()), false), (slow_sandbox(), true)] {
        for (name, refusals) in [
            (ANY, [code::DUPLICATE, 0]),
            (MANY, [code::MAPPING_ONE_TO_ONE, code::LOCKED]),
            (ONE, [code::MAPPING_ONE_TO_ONE, code::LOCKED]),
        ] {
            let before = sandbox.len();
            let codes = at_once(&sandbox, (0..20).map(|_| create(name, 5, 7))).await;
            assert_eq!(count(&codes, 0), 1, "{name} {latency}: {codes:?}");
            assert!(codes.iter().all(|c| *c == 0 || refusals.contains(c)), "{name}: {codes:?}");
            assert_eq!(sandbox.len(), before + 1, "{name}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn different_pairs_at_once_break_a_1_to_1_rule() {
    // The check comes before the lock (docs/cmdb-api.md#mapping-rules).
    for sandbox in [sandbox(|_| ()), slow_sandbox()] {
        let codes = at_once(&sandbox, (1..=20).map(|target| create(ONE, 500, target))).await;
        let stored = count(&codes, 0);
        assert!(stored > 1, "{codes:?}");
        assert_eq!(stored + count(&codes, code::LOCKED), 20, "{codes:?}");
        assert_eq!(sandbox.len(), stored);
        let next = sandbox.call(create(ONE, 500, 21)).await;
        assert_eq!(code_of(&next), code::MAPPING_ONE_TO_ONE);
        assert!(sandbox.state().locks.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn two_sources_break_a_1_to_n_rule_or_meet_in_the_lock() {
    // The second create checks before the first has stored; then it finds the lock free or not.
    for (later, refused) in
        [(5, Some(code::LOCKED)), (15, None), (25, Some(code::MAPPING_ONE_TO_ONE))]
    {
        let sandbox = slow_sandbox();
        let second = async {
            sleep(Duration::from_millis(later)).await;
            sandbox.call(create(MANY, 2, 9)).await
        };
        let (first, second) = tokio::join!(sandbox.call(create(MANY, 1, 9)), second);
        assert_eq!(code_of(&first), 0);
        assert_eq!(code_of(&second), refused.unwrap_or(0), "{later} ms");
        assert_eq!(sandbox.len(), if refused.is_some() { 1 } else { 2 }, "{later} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn a_3_5_has_neither_locks_nor_a_unique_index() {
    let sandbox = sandbox(|setup| {
        setup.version = Version::V3_5;
        setup.latency = LATENCY;
    });
    let codes = at_once(&sandbox, (0..3).map(|_| create(ANY, 5, 7))).await;
    assert_eq!(codes, [0, 0, 0]);
    assert_eq!(sandbox.len(), 3);
    assert_eq!(code_of(&sandbox.call(create(ANY, 5, 7)).await), code::DUPLICATE);
    assert_eq!(answered(sandbox.call(create_many(ANY, 1..=2)).await).status, 404);
}

#[tokio::test(start_paused = true)]
async fn a_call_takes_as_long_as_the_latency_says() {
    let sandbox = slow_sandbox();
    for request in [create(ANY, 1, 1), create(MANY, 1, 1), create(ONE, 1, 1), find(ANY, 1, 1)] {
        let start = Instant::now();
        sandbox.call(request).await;
        assert_eq!(start.elapsed(), LATENCY);
    }
}

#[tokio::test(start_paused = true)]
async fn a_create_goes_on_when_its_caller_leaves_and_a_batch_stops() {
    let sandbox = slow_sandbox();
    let leave = |request, after| {
        let sandbox = sandbox.clone();
        async move { tokio::time::timeout(after, sandbox.call(request)).await.is_err() }
    };
    assert!(leave(create(ANY, 5, 7), Duration::from_millis(1)).await);
    assert!(sandbox.is_empty());
    sleep(LATENCY).await;
    assert_eq!(sandbox.len(), 1);
    assert!(leave(create_many(ANY, 1..=200), LATENCY * 2).await);
    let stored = sandbox.len() - 1;
    assert!((1..200).contains(&stored), "{stored}");
    sleep(Duration::from_mins(1)).await;
    assert_eq!(sandbox.len() - 1, stored);
}

#[tokio::test(start_paused = true)]
async fn a_create_that_is_dropped_on_its_way_lets_go_of_its_lock() {
    let sandbox = sandbox(|_| ());
    // Polled up to the moment in which others may get in between, with the lock taken.
    let mut call = Box::pin(sandbox.call(create(MANY, 1, 1)));
    assert!(call.as_mut().now_or_never().is_none());
    assert!(call.as_mut().now_or_never().is_none());
    assert_eq!(sandbox.state().locks.len(), 1);
    drop(call);
    assert!(sandbox.state().locks.is_empty());
    assert!(sandbox.is_empty());
}

#[tokio::test(start_paused = true)]
async fn every_fault_does_what_its_name_says() {
    // The code (see `code_of`), whether the row is there at once, and whether it is there later.
    for (fault, code, at_once, later) in [
        (Fault::LostRequest, -2, false, false),
        (Fault::Throttled429, -1, false, false),
        (Fault::ThrottledGateway, 1_642_903, false, false),
        (Fault::ThrottledCmdb, code::TOO_MANY_REQUESTS, false, false),
        (Fault::Locked, code::LOCKED, false, false),
        (Fault::DataNull, 0, false, false),
        (Fault::LateCommit, -2, false, true),
        (Fault::LostAnswer, -2, true, true),
        (Fault::Garbled, -1, true, true),
        (Fault::Slow, 0, true, true),
        (Fault::ReadLag, 0, true, true),
    ] {
        for latency in [Duration::ZERO, LATENCY] {
            let sandbox = sandbox(|setup| {
                setup.faults = Faults::none().with(fault, 1.0);
                setup.latency = latency;
            });
            let start = Instant::now();
            let reply = sandbox.call(create(ANY, 5, 7)).await;
            let slowness =
                if fault == Fault::Slow { Duration::from_secs(5) } else { Duration::ZERO };
            assert_eq!(start.elapsed(), latency + slowness, "{fault:?}");
            assert_eq!(code_of(&reply), code, "{fault:?}");
            assert_eq!(sandbox.len(), usize::from(at_once), "{fault:?}");
            sleep(Duration::from_secs(4)).await;
            assert_eq!(sandbox.len(), usize::from(later), "{fault:?}");
            assert_eq!(sandbox.calls(Endpoint::Create), 1);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn throttled_answers_say_when_to_come_back() {
    let second = Some(Duration::from_secs(1));
    let call = async |fault| {
        let sandbox = sandbox(|setup| setup.faults = Faults::none().with(fault, 1.0));
        answered(sandbox.call(create(ANY, 5, 7)).await)
    };
    let answer = call(Fault::Throttled429).await;
    assert_eq!((answer.status, answer.rate.retry_after), (429, second));
    let answer = call(Fault::ThrottledGateway).await;
    assert_eq!((answer.status, answer.rate.reset, answer.rate.remaining), (200, second, Some(0)));
    let answer = call(Fault::ThrottledCmdb).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test(start_paused = true)]
async fn behind_a_bad_gateway_every_other_create_is_executed() {
    for (entrance, status, code) in [
        (Entrance::Esb, 200, code::ESB_CATCH_ALL),
        (Entrance::Gateway, 502, -1),
        (Entrance::Native, 502, -1),
    ] {
        let sandbox = sandbox(|setup| {
            setup.faults = Faults::none().with(Fault::BadGateway, 1.0);
            setup.entrance = entrance;
        });
        for target in 1..=100 {
            let reply = sandbox.call(create(ANY, 1, target)).await;
            assert_eq!(code_of(&reply), code);
            let answer = answered(reply);
            assert_eq!(answer.status, status);
            let text = answer.envelope.map_or(answer.excerpt, |e| e.message().to_owned());
            assert!(text.contains("<title>502 Bad Gateway</title>"), "{text}");
        }
        assert!((30..70).contains(&sandbox.len()), "{}", sandbox.len());
    }
}

#[tokio::test(start_paused = true)]
async fn a_lagging_look_up_misses_what_is_new_and_the_create_does_not() {
    let sandbox = sandbox(|setup| setup.faults = Faults::none().with(Fault::ReadLag, 1.0));
    sandbox.call(create(ANY, 5, 7)).await;
    assert!(!is_found(&sandbox, ANY, 5, 7).await);
    assert_eq!(code_of(&sandbox.call(create(ANY, 5, 7)).await), code::DUPLICATE);
    advance(Duration::from_secs(1)).await;
    assert!(is_found(&sandbox, ANY, 5, 7).await);
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_brings_the_same_faults_and_faults_can_be_changed_under_way() {
    let run = async |seed| {
        let sandbox = sandbox(|setup| {
            setup.faults = Faults::none().with(Fault::LostAnswer, 0.3).with(Fault::Locked, 0.3);
            setup.fault_seed = seed;
        });
        let mut codes = Vec::new();
        for target in 1..=200 {
            codes.push(code_of(&sandbox.call(create(ANY, 1, target)).await));
        }
        sandbox.set_faults(Faults::none());
        for target in 201..=300 {
            assert_eq!(code_of(&sandbox.call(create(ANY, 1, target)).await), 0);
        }
        codes
    };
    assert_eq!(run(1).await, run(1).await);
    assert_ne!(run(1).await, run(2).await);
}

#[tokio::test(start_paused = true)]
async fn a_quota_counts_calls_in_fixed_windows_and_refuses_in_the_entrances_style() {
    for (entrance, status, refusal) in [
        (Entrance::Esb, 200, code::ESB_THROTTLED),
        (Entrance::Gateway, 429, 1_642_903),
        (Entrance::Native, 200, code::TOO_MANY_REQUESTS),
    ] {
        let sandbox = sandbox(|setup| {
            setup.entrance = entrance;
            setup.quota = Some(Quota { calls: 2, window: Duration::from_secs(1) });
        });
        advance(Duration::from_millis(900)).await;
        let mut remaining = Vec::new();
        for code in [0, 0, refusal] {
            let reply = sandbox.call(find(ANY, 1, 1)).await;
            assert_eq!(code_of(&reply), code, "{entrance:?}");
            let answer = answered(reply);
            assert_eq!(answer.status, if code == 0 { 200 } else { status });
            remaining.extend(answer.rate.remaining);
            let said = (entrance == Entrance::Gateway).then_some(Duration::from_secs(1));
            assert_eq!(answer.rate.reset, said);
        }
        let said: &[u64] = if entrance == Entrance::Gateway { &[1, 0, 0] } else { &[] };
        assert_eq!(remaining, said);
        advance(Duration::from_millis(100)).await;
        assert_eq!(code_of(&sandbox.call(find(ANY, 1, 1)).await), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_names_what_it_created_and_says_the_rest_in_words() {
    let sandbox = sandbox(|_| ());
    sandbox.call(create(MANY, 9, 2)).await;
    let answer = answered(sandbox.call(create_many(MANY, 1..=3)).await);
    let data: Value = serde_json::from_str(answer.envelope.unwrap().data.unwrap().get()).unwrap();
    assert_eq!(data["success_created"], serde_json::json!({"0": 2, "2": 3}));
    assert!(data["error_msg"]["1"].as_str().unwrap().starts_with("The relationship is 1:n"));
    let again = answered(sandbox.call(create_many(MANY, 1..=1)).await);
    let data: Value = serde_json::from_str(again.envelope.unwrap().data.unwrap().get()).unwrap();
    assert_eq!(data["error_msg"]["0"], "the associations a->b already exist");
}

/// Whether a look-up finds the pair through a model.
async fn shows(sandbox: &Sandbox, model: &str, name: &str, (source, target): (u64, u64)) -> bool {
    let answer = answered(sandbox.call(find_from(model, name, source, target)).await);
    !answer.envelope.unwrap().found().unwrap().is_empty()
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_cut_leaves_half_of_its_middle_row() {
    for latency in [Duration::ZERO, LATENCY] {
        let sandbox = sandbox(|setup| {
            setup.faults = Faults::none().with(Fault::HalfRows, 1.0);
            setup.latency = latency;
        });
        assert_eq!(code_of(&sandbox.call(create_many(MANY, 1..=5)).await), -2);
        let halves: Vec<_> =
            sandbox.rows().iter().map(|row| (row.id, row.target, row.half)).collect();
        assert_eq!(halves, [(1, 1, false), (2, 2, false), (3, 3, true)]);
        assert!(shows(&sandbox, "b", MANY, (1, 2)).await);
        assert!(shows(&sandbox, "a", MANY, (1, 3)).await);
        assert!(!shows(&sandbox, "b", MANY, (1, 3)).await);
        // Single creates are refused for it.
        assert_eq!(code_of(&sandbox.call(create(MANY, 2, 3)).await), code::MAPPING_ONE_TO_ONE);
        sandbox.set_faults(Faults::none());
        sandbox.call(create_many(MANY, 2..=4)).await;
        assert_eq!(sandbox.len(), 4, "the same pair is a duplicate");
        // It goes through its source model only, and then it can be created whole.
        for (model, left) in [("b", 4), ("a", 3)] {
            let answer = sandbox.call(Request::Delete { obj_id: model.into(), id: 3 }).await;
            assert_eq!((code_of(&answer), sandbox.len()), (0, left), "through {model}");
        }
        assert_eq!(code_of(&sandbox.call(create(MANY, 1, 3)).await), 0);
        assert!(shows(&sandbox, "b", MANY, (1, 3)).await);
    }
}

#[tokio::test(start_paused = true)]
async fn rows_survive_a_restart_and_ids_go_on_ascending() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows");
    let open = || sandbox(|setup| setup.data = Some(path.clone()));
    let first = open();
    for target in 1..=3 {
        first.call(create(ANY, 1, target)).await;
    }
    let delete = Request::Delete { obj_id: "a".into(), id: 3 };
    first.call(delete).await;
    first.insert_half(ANY, 1, 4);
    let rows = first.rows();
    assert_eq!(rows.iter().map(|row| row.half).collect::<Vec<_>>(), [false, false, true]);
    drop(first);
    let second = open();
    assert_eq!(second.rows(), rows);
    second.call(create(ANY, 1, 9)).await;
    assert_eq!(second.rows().last().unwrap().id, 5);
}

#[tokio::test(start_paused = true)]
async fn a_data_file_cut_at_any_byte_opens_with_the_whole_lines_that_are_left() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows");
    let open = || sandbox(|setup| setup.data = Some(path.clone()));
    let first = open();
    for target in 1..=3 {
        first.call(create(ONE, target, target + 10)).await;
    }
    drop(first);
    let whole = std::fs::read(&path).unwrap();
    for cut in 0..whole.len() {
        std::fs::write(&path, &whole[..cut]).unwrap();
        let lines = String::from_utf8_lossy(&whole[..cut]).matches('\n').count();
        let opened = open();
        assert_eq!(opened.len(), lines.saturating_sub(1), "cut at {cut}");
        opened.call(create(ANY, 1, 1)).await;
        drop(opened);
        assert_eq!(open().len(), lines.saturating_sub(1) + 1, "cut at {cut}");
    }
}

#[test]
fn a_data_file_that_is_damaged_or_none_is_refused_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows");
    for (text, line) in [
        ("inst_id,asst_inst_id\n", 1),
        ("bkassoc sandbox 1\n+ 1 a_any_b 1 1\n? 2\n", 3),
        ("bkassoc sandbox 1\n+ 1 a_any_b x 1\n", 2),
        ("bkassoc sandbox 1\n+ 1 a_any_b 1 1 whole\n", 2),
        ("bkassoc sandbox 1\n+ 1 a_any_c 1 1\n", 2),
        ("bkassoc sandbox 1\n+ 2 a_any_b 1 1\n+ 2 a_any_b 1 2\n", 3),
    ] {
        std::fs::write(&path, text).unwrap();
        let mut setup = Setup::new(Models::from_toml(MODELS).unwrap());
        setup.data = Some(path.clone());
        let refused = Sandbox::new(setup);
        let is_there = matches!(&refused, Err(LogError::Line { line: at, .. }) if *at == line);
        assert!(is_there, "{text:?}: {refused:?}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }
}

#[test]
fn fault_rates_make_faults() {
    let rates =
        ["slow=0.5", "slow=0.25", "garbled=1"].map(|text| text.parse::<FaultRate>().unwrap());
    let faults: Faults = rates.into_iter().collect();
    assert_eq!(faults, Faults::none().with(Fault::Slow, 0.25).with(Fault::Garbled, 1.0));
}

#[tokio::test(start_paused = true)]
async fn the_sample_shows_created_existed_failed_and_invalid_rows() {
    let sandbox = Sandbox::new(Setup::new(Models::sample())).unwrap();
    let csv = include_str!("../../samples/associations.csv");
    let (mut outcomes, mut invalid) = (Vec::new(), 0);
    for line in csv.lines().skip(1) {
        let cells: Vec<_> = line.split(',').collect();
        let (Ok(source), Ok(target)) = (InstId::parse(cells[1]), InstId::parse(cells[2])) else {
            invalid += 1;
            continue;
        };
        let reply = sandbox.call(create(cells[0], source.get(), target.get())).await;
        outcomes.push((
            code_of(&reply),
            is_found(&sandbox, cells[0], source.get(), target.get()).await,
        ));
    }
    let count = |code, found| outcomes.iter().filter(|o| **o == (code, found)).count();
    assert_eq!(invalid, 3);
    // The server takes the mainline row; bkassoc does not send it.
    assert_eq!(count(0, true), 13 + 1);
    assert_eq!(count(code::DUPLICATE, true), 2);
    assert_eq!(count(code::MAPPING_ONE_TO_ONE, false), 2);
    assert_eq!(count(code::MISSING_SOURCE, false), 1);
    assert_eq!(count(code::MISSING_TARGET, false), 1);
    assert_eq!(count(code::UNKNOWN_ASSOCIATION, false), 1);
    let known = Models::sample();
    let mappings = known.all().map(|(_, known)| (known.model.mapping, known.model.mainline));
    assert_eq!(
        mappings.collect::<Vec<_>>(),
        [
            (Mapping::OneToMany, false),
            (Mapping::OneToOne, false),
            (Mapping::ManyToMany, false),
            (Mapping::OneToOne, true),
        ]
    );
}
