//! Audits against a server of a few lines, in virtual time.

use std::cell::Cell;
use std::path::{Path, PathBuf};

use serde_json::value::{RawValue, to_raw_value};
use tempfile::TempDir;
use tokio::time::Instant;

use super::*;
use crate::association::{Column, Named};
use crate::cmdb::wire::{Answer, Found, Pattern, Reply};
use crate::engine::call_size::LOOK_UP;
use crate::exit::Exit;
use crate::options::Format;
use crate::outcome::{Reason, Status};
use crate::storage::manifest::Work;
use crate::storage::results;
use crate::storage::results::reader::Reader;
use crate::verify::overtaken::Overtaken;
use crate::verify::rows::RowAudit;

/// What a server does with one call, given the number of calls before it.
type Behaviour = Box<dyn Fn(&Request, usize) -> Reply>;

struct Server {
    behaviour: Behaviour,
    requests: RefCell<Vec<Request>>,
    in_flight: Cell<usize>,
    most_in_flight: Cell<usize>,
}

impl Server {
    fn new(behaviour: impl Fn(&Request, usize) -> Reply + 'static) -> Self {
        Self {
            behaviour: Box::new(behaviour),
            requests: RefCell::default(),
            in_flight: Cell::new(0),
            most_in_flight: Cell::new(0),
        }
    }

    /// The sizes of the look-ups through the source's model.
    fn finds(&self) -> Vec<usize> {
        self.finds_through("s")
    }

    fn finds_through(&self, through: &str) -> Vec<usize> {
        (self.requests.borrow().iter())
            .filter_map(|request| match request {
                Request::Find(find) if *find.obj_id == *through => Some(find.any_of.len()),
                _ => None,
            })
            .collect()
    }
}

impl Cmdb for Server {
    async fn call(&self, request: Request) -> Reply {
        self.in_flight.update(|calls| calls + 1);
        self.most_in_flight.set(self.most_in_flight.get().max(self.in_flight.get()));
        sleep(Duration::from_millis(50)).await;
        self.in_flight.update(|calls| calls - 1);
        let before = self.requests.borrow().len();
        let reply = (self.behaviour)(&request, before);
        self.requests.borrow_mut().push(request);
        reply
    }
}

fn answer(result: bool, code: i64, message: &str, data: Box<RawValue>) -> Reply {
    let envelope = Some(Envelope::new(result, code, message, data));
    Reply::Answered(Answer { status: 200, envelope, ..Answer::default() })
}

fn refusal(code: i64, message: &str) -> Reply {
    answer(false, code, message, RawValue::NULL.to_owned())
}

/// The answer of a server that has the pairs that `id_of` gives an id.
fn holding(request: &Request, id_of: impl Fn(u64, u64) -> Option<i64>) -> Reply {
    let data = match request {
        Request::Models(names) => {
            let models: Vec<_> = (names.iter())
                .filter(|name| ***name != *"unknown")
                .map(|name| {
                    serde_json::json!({
                        "bk_obj_asst_id": **name, "bk_obj_id": "s", "bk_asst_obj_id": "t",
                        "bk_asst_id": "x",
                        "mapping": if **name == *"strange" { "2:2" } else { "n:n" },
                    })
                })
                .collect();
            to_raw_value(&models)
        }
        Request::Find(find) => {
            let found: Vec<_> = (find.any_of.iter())
                .filter_map(|pattern| match pattern {
                    Pattern::Pair(source, target) => Some(Found {
                        id: id_of(source.get(), target.get())?,
                        bk_obj_asst_id: find.obj_asst_id.to_string(),
                        bk_inst_id: source.get(),
                        bk_asst_inst_id: target.get(),
                    }),
                    other => panic!("asked for {other:?}"),
                })
                .collect();
            to_raw_value(&found)
        }
        other => panic!("asked for {other:?}"),
    };
    answer(true, 0, "success", data.unwrap())
}

fn good(line: u64, name: &str, target: u64, status: Status, id: i64) -> Record {
    let cells = Cells::new([name, "1", &target.to_string(), ""]);
    let outcome = Outcome::good(status, id, 1, 0);
    Record { ordinal: line - 2, file: 0, line, cells, outcome }
}

/// Rows created under an id that is 1000 more than their target.
fn created(name: &str, targets: std::ops::RangeInclusive<u64>) -> Vec<Record> {
    targets.map(|t| good(t + 1, name, t, Status::Created, t.cast_signed() + 1000)).collect()
}

#[expect(clippy::unnecessary_wraps, reason = "other servers lack some")]
fn as_created(_source: u64, target: u64) -> Option<i64> {
    Some(target.cast_signed() + 1000)
}

struct Audit {
    stats: RunStats,
    halt: Option<Halt>,
    findings: Findings,
}

impl Audit {
    fn lines(&self, kind: FindingKind) -> Vec<u64> {
        let group = self.findings.groups().find(|(other, _)| *other == kind);
        let first = group.map(|(_, group)| group.first.as_slice()).unwrap_or_default();
        first.iter().filter_map(|(spot, _)| crate::verify::line_of(*spot)).collect()
    }

    fn halted(&self) -> (Exit, &str) {
        let halt = self.halt.as_ref().expect("it did not come to its end");
        (halt.exit, &halt.message)
    }
}

fn written(records: Vec<Record>) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.results.csv");
    let says_actions = records.iter().any(|record| record.cells.named().is_some());
    let columns: &[Column] = if says_actions { &[Column::Action] } else { &[] };
    let layout = results::Layout { columns, files: &[] };
    results::write(&path, Format::Csv, layout, records.into_iter().map(Ok), |_| {}).unwrap();
    (folder, path)
}

/// What lines say of each other.
fn overtaken_in(path: &Path) -> Overtaken {
    let mut rows = RowAudit::new(Some(Work::Sync), true, path.parent().unwrap()).unwrap();
    let mut findings = Findings::default();
    for record in Reader::open(path, &[]).unwrap() {
        rows.take(&record.unwrap(), None, &mut findings).unwrap();
    }
    rows.finish(None, &mut findings).unwrap().overtaken
}

async fn audit_until(
    server: &Server,
    records: Vec<Record>,
    options: EngineOptions,
    stop: impl Future<Output = Halt>,
) -> Audit {
    let (_folder, path) = written(records);
    let target = Target {
        entrance: crate::target::Entrance::Esb,
        endpoint: "http://cmdb".to_owned(),
        supplier_account: "0".to_owned(),
        tenant_id: None,
    };
    let setting = Setting {
        cmdb: server,
        target: &target,
        options: &options,
        results: &path,
        expected: 0,
        trail: AuditTrail::of(&[]),
        seed: 1,
    };
    let overtaken = overtaken_in(&path);
    let claims = Claims::new(Reader::open(&path, &[]).unwrap(), Vec::new(), false, overtaken);
    let mut findings = Findings::default();
    let compared = compare(setting, claims, &mut findings, stop, &mut |_| {}).await.unwrap();
    let Compared { stats, halt, .. } = compared;
    Audit { stats, halt, findings }
}

async fn audit(server: &Server, records: Vec<Record>) -> Audit {
    audit_until(server, records, EngineOptions::default(), std::future::pending()).await
}

#[tokio::test(start_paused = true)]
async fn many_rows_go_into_a_call_and_few_calls_are_in_flight() {
    let server = Server::new(|request, _| holding(request, as_created));
    let audit = audit(&server, created("a", 1..=5_200)).await;
    assert!(audit.findings.is_empty() && audit.halt.is_none());
    let mut finds = server.finds();
    finds.sort_unstable();
    assert_eq!(finds, [vec![200], vec![LOOK_UP; 10]].concat());
    assert_eq!(audit.stats.calls.count(CallKind::Models), 1);
    assert_eq!(server.most_in_flight.get(), IN_FLIGHT);
    assert_eq!(audit.stats.count(Status::Created), 5_200);
}

#[tokio::test(start_paused = true)]
async fn what_the_server_lacks_has_under_another_id_or_still_has_is_told() {
    let server = Server::new(|request, _| {
        holding(request, |_, target| match target {
            1 | 4 => None,
            2 => Some(7),
            _ => Some(target.cast_signed() + 1000),
        })
    });
    let mut records = created("a", 1..=3);
    records.push(good(5, "a", 4, Status::Deleted, 1004));
    records.push(good(6, "a", 5, Status::Deleted, 1005));
    records.push(good(7, "a", 6, Status::Deleted, 9));
    let audit = audit(&server, records).await;
    assert_eq!(audit.lines(FindingKind::Missing), [2]);
    assert_eq!(audit.lines(FindingKind::Different), [3]);
    assert_eq!(audit.lines(FindingKind::NotDeleted), [6], "and not the one that came after it");
    assert_eq!(server.finds(), [6, 3], "only what is off is asked for again");
}

#[tokio::test(start_paused = true)]
async fn a_read_that_lags_is_no_finding() {
    let server = Server::new(|request, before| {
        holding(
            request,
            |source, target| {
                if before < 2 { None } else { as_created(source, target) }
            },
        )
    });
    let start = Instant::now();
    let audit = audit(&server, created("a", 1..=3)).await;
    assert!(audit.findings.is_empty());
    assert!(start.elapsed() >= LAG);
    assert_eq!(server.finds(), [3, 3]);
}

/// A server on which the pair of this target is by half: the target's model does not show it the first
/// `lags` times.
fn half(half: u64, lags: usize) -> Server {
    let asked = Cell::new(0);
    Server::new(move |request, _| {
        let through_target = matches!(request, Request::Find(find) if *find.obj_id == *"t");
        asked.update(|times| times + usize::from(through_target));
        let hidden = through_target && asked.get() <= lags;
        holding(request, |source, target| {
            as_created(source, target).filter(|_| !(hidden && target == half))
        })
    })
}

#[tokio::test(start_paused = true)]
async fn a_row_that_only_its_source_shows_is_half_written_once_that_is_believed() {
    let server = half(2, usize::MAX);
    let audit_of_half = audit(&server, created("a", 1..=3)).await;
    assert_eq!(audit_of_half.lines(FindingKind::HalfWritten), [3]);
    assert_eq!(audit_of_half.findings.groups().count(), 1);
    assert_eq!((server.finds(), server.finds_through("t")), (vec![3, 1], vec![3, 1]));
    let (_, group) = audit_of_half.findings.groups().next().unwrap();
    let what = &group.first[0].1;
    assert!(what.contains("1002") && what.contains("delete 1002 through s"), "{what}");

    let lagging = audit(&half(2, 1), created("a", 1..=3)).await;
    assert!(lagging.findings.is_empty(), "the target's table lags on its own");
}

/// A row that deletes.
fn delete(line: u64, target: u64, status: Status, id: i64) -> Record {
    let named = Named { action: "delete".into(), ..Named::default() };
    let mut record = good(line.max(2), "a", target, status, id);
    record.cells = Cells::with_names(["a", "1", &target.to_string(), ""], named);
    record.outcome.association_id = Some(id).filter(|_| status == Status::Deleted);
    Record { line, ..record }
}

#[tokio::test(start_paused = true)]
async fn what_was_to_go_has_to_be_gone_unless_a_later_line_brought_it_back() {
    // 3 is there under the id of its delete, 4 under another, and so is 6.
    let there = |_: u64, target: u64| match target {
        3 => Some(1003),
        4 | 6 => Some(2000 + target.cast_signed()),
        _ => None,
    };
    let server = Server::new(move |request, _| holding(request, there));
    let gone = Status::Deleted;
    let mut records = vec![
        delete(0, 1, gone, 1001),
        delete(0, 3, gone, 1003),
        delete(2, 4, gone, 1004),
        delete(3, 5, Status::Absent, 0),
        delete(4, 6, Status::Absent, 0),
    ];
    for (ordinal, record) in (0..).zip(&mut records) {
        record.ordinal = ordinal;
    }
    let audit_of_all = audit(&server, records.clone()).await;
    assert_eq!(audit_of_all.lines(FindingKind::NotDeleted), [2, 4]);
    assert_eq!(audit_of_all.findings.count(FindingKind::NotDeleted), 3, "one has no line");
    assert_eq!(audit_of_all.findings.groups().count(), 1, "{:?}", audit_of_all.findings);

    // Lines behind bring 4 and 6 back, and what was there before is not asked for any more.
    records.remove(1);
    records.extend([
        good(5, "a", 4, Status::Created, 2004),
        good(6, "a", 6, Status::Existed, 2006),
        good(7, "a", 7, Status::Created, 1007),
        delete(8, 7, gone, 1007),
    ]);
    for (ordinal, record) in (0..).zip(&mut records) {
        record.ordinal = ordinal;
    }
    let found = audit(&server, records).await.findings;
    assert!(found.is_empty(), "{found:?}");
}

#[tokio::test(start_paused = true)]
async fn a_delete_that_failed_says_nothing_of_what_is_there() {
    let server = Server::new(|request, _| holding(request, |_, _| None));
    let with = |reason| {
        let outcome = Outcome::bad(reason, String::new(), 1, 0);
        let there = good(2, "a", 1, Status::Existed, 1001);
        vec![there, Record { outcome, ..delete(3, 1, Status::Failed, 0) }]
    };
    let unknown = audit(&server, with(Reason::OutcomeUnknown)).await.findings;
    assert!(unknown.is_empty(), "it may have been deleted: {unknown:?}");
    let throttled = audit(&server, with(Reason::Throttled)).await;
    assert_eq!(throttled.lines(FindingKind::Missing), [2], "it was surely not");
}

fn failed(line: u64, target: u64, reason: Reason) -> Record {
    let outcome = Outcome::bad(reason, String::new(), 1, 0);
    Record { outcome, ..good(line, "a", target, Status::Created, 1) }
}

#[tokio::test(start_paused = true)]
async fn a_failed_row_that_is_there_is_told_unless_another_line_is_why() {
    // 2 and 3 are there; 3 is what line 5 created.
    let there =
        |_: u64, target: u64| (2..=3).contains(&target).then_some(target.cast_signed() + 1000);
    let server = Server::new(move |request, _| holding(request, there));
    let records = vec![
        failed(2, 1, Reason::MissingSource),
        failed(3, 2, Reason::OutcomeUnknown),
        failed(4, 3, Reason::Throttled),
        good(5, "a", 3, Status::Created, 1003),
        failed(6, 2, Reason::MainlineAssociation),
        failed(7, 2, Reason::MissingTarget),
        Record {
            cells: Cells::new(["unknown", "1", "2", ""]),
            ..failed(8, 2, Reason::UnknownAssociation)
        },
        Record { cells: Cells::new(["a", "x", "2", ""]), ..failed(9, 2, Reason::InvalidRow) },
    ];
    let audit = audit(&server, records).await;
    assert_eq!(audit.lines(FindingKind::Exists), [3, 7]);
    assert_eq!(audit.findings.groups().count(), 1, "{:?}", audit.findings);
    let first = &audit.findings.groups().next().unwrap().1.first;
    let says = ["1002: its create was executed", "1002: it was created since, or"];
    assert!(first[0].1.contains(says[0]) && first[1].1.contains(says[1]), "{first:?}");
    assert!(first[0].1.contains("`rerun`"), "{first:?}");
    assert!(first[1].1.contains("`rerun --reason missing-target`"), "{first:?}");
}

/// A server under a rule that has these associations: id, source, target.
fn bounded(mapping: &'static str, rows: &'static [(i64, u64, u64)]) -> Server {
    Server::new(move |request, _| {
        let data = match request {
            Request::Models(_) => to_raw_value(&[serde_json::json!({
                "bk_obj_asst_id": "a", "bk_obj_id": "s", "bk_asst_obj_id": "t", "bk_asst_id": "x",
                "mapping": mapping,
            })]),
            Request::Find(find) => {
                let fits = |pattern: &Pattern, source: u64, target: u64| match pattern {
                    Pattern::Pair(s, t) => (s.get(), t.get()) == (source, target),
                    Pattern::Source(s) => s.get() == source,
                    Pattern::Target(t) => t.get() == target,
                    Pattern::Id(_) => false,
                };
                let found: Vec<_> = (rows.iter())
                    .filter(|(_, s, t)| find.any_of.iter().any(|pattern| fits(pattern, *s, *t)))
                    .map(|&(id, bk_inst_id, bk_asst_inst_id)| {
                        let bk_obj_asst_id = "a".to_owned();
                        Found { id, bk_obj_asst_id, bk_inst_id, bk_asst_inst_id }
                    })
                    .collect();
                to_raw_value(&found)
            }
            other => panic!("asked for {other:?}"),
        };
        answer(true, 0, "success", data.unwrap())
    })
}

#[tokio::test(start_paused = true)]
async fn what_stands_beside_a_row_against_its_rule_is_told_with_both_ids_and_ends() {
    // Row 2 shares its source with 50, row 3 its target with 51.
    let rows = &[(1002, 1, 2), (50, 1, 9), (1003, 1, 3), (51, 8, 3)];
    for (mapping, broken) in [("n:n", vec![]), ("1:n", vec![4]), ("1:1", vec![3, 4])] {
        let audit = audit(&bounded(mapping, rows), created("a", 2..=3)).await;
        assert_eq!(audit.lines(FindingKind::RuleBroken), broken, "{mapping}");
        assert_eq!(audit.findings.groups().count(), usize::from(!broken.is_empty()));
        if mapping == "1:n" {
            let what = &audit.findings.groups().next().unwrap().1.first[0].1;
            for says in ["created as 1003", "a 1 -> 3", "51 (8 -> 3)", "1:n rule"] {
                assert!(what.contains(says), "{what}");
            }
        }
    }
    // Of what is gone, and of a rule that is only guessed, nothing stands in the way.
    let deleted = vec![good(3, "a", 3, Status::Deleted, 7)];
    assert!(audit(&bounded("1:1", &[(51, 8, 3)]), deleted).await.findings.is_empty());
    let options = EngineOptions {
        models: vec![crate::options::model("a=s,t").unwrap()],
        ..EngineOptions::default()
    };
    let server = bounded("1:1", rows);
    let guessed = audit_until(&server, created("a", 2..=3), options, std::future::pending());
    assert!(guessed.await.findings.is_empty());
}

#[tokio::test(start_paused = true)]
async fn however_many_patterns_a_row_needs_a_call_has_no_more_than_a_look_up() {
    let server = bounded("1:1", &[]);
    let records = (1..=1_000).map(|n| {
        let mut record = good(n + 1, "a", n, Status::Existed, 1);
        record.cells = Cells::new(["a", &n.to_string(), &n.to_string(), ""]);
        record
    });
    audit(&server, records.collect()).await;
    assert_eq!(server.finds().iter().max(), Some(&LOOK_UP));
}

#[tokio::test(start_paused = true)]
async fn of_one_model_with_itself_there_is_one_table_to_ask() {
    let server = half(2, usize::MAX);
    let options = EngineOptions {
        models: vec![crate::options::model("a=t,t").unwrap()],
        ..EngineOptions::default()
    };
    audit_until(&server, created("a", 1..=1), options, std::future::pending()).await;
    assert_eq!((server.finds(), server.finds_through("t")), (vec![], vec![1]));
}

#[tokio::test(start_paused = true)]
async fn a_user_who_may_not_see_the_targets_model_is_told_what_is_not_known() {
    let server = Server::new(|request, _| match request {
        Request::Find(find) if *find.obj_id == *"t" => refusal(9_900_403, "no permission"),
        _ => holding(request, as_created),
    });
    let audit = audit(&server, created("a", 1..=3)).await;
    assert_eq!((audit.lines(FindingKind::NotAsked), audit.halt), (vec![2, 3, 4], None));
}

#[tokio::test(start_paused = true)]
async fn a_call_without_an_answer_is_made_again() {
    let server = Server::new(|request, before| match before % 3 {
        0 => Reply::Lost("reset".to_owned()),
        1 => refusal(1_199_997, "too many requests"),
        _ => holding(request, as_created),
    });
    let audit = audit(&server, created("a", 1..=1)).await;
    assert!(audit.findings.is_empty() && audit.halt.is_none());
    assert_eq!((audit.stats.calls.retries, audit.stats.calls.throttled), (6, 3));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_answers_or_stops_answering_ends_it_with_exit_6() {
    let options = EngineOptions::default();
    let start = Instant::now();
    let silent = Server::new(|_, _| Reply::NotSent("connection refused".to_owned()));
    let never = audit(&silent, created("a", 1..=3)).await;
    let (exit, message) = never.halted();
    assert_eq!(exit, Exit::Outage);
    assert!(message.contains("no answer ever") && message.contains("refused"), "{message}");
    assert!(start.elapsed() < options.connect_timeout + Duration::from_secs(1));

    let start = Instant::now();
    let dying = Server::new(|request, before| match before {
        0 => holding(request, as_created),
        _ => Reply::Lost("reset".to_owned()),
    });
    let gone = audit(&dying, created("a", 1..=3)).await;
    let (exit, message) = gone.halted();
    assert_eq!(exit, Exit::Outage);
    assert!(message.contains("15m") && message.contains("reset"), "{message}");
    assert!(start.elapsed() < options.max_outage + Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn answers_that_nobody_can_read_end_it_with_exit_6_too() {
    let garbled = RawValue::from_string("[7]".to_owned()).unwrap();
    for readable in [0, 1] {
        let garbled = garbled.clone();
        let server = Server::new(move |request, before| match before {
            _ if before < readable => holding(request, as_created),
            _ => answer(true, 0, "success", garbled.clone()),
        });
        let start = Instant::now();
        let audit = audit(&server, created("a", 1..=3)).await;
        assert_eq!(audit.halted().0, Exit::Outage);
        assert!(start.elapsed() < EngineOptions::default().max_outage + Duration::from_mins(1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_refuses_the_caller_ends_it_with_exit_8_and_advice() {
    let forbidding = Server::new(|request, _| match request {
        Request::Find(_) => refusal(9_900_403, "no permission"),
        _ => holding(request, as_created),
    });
    let forbidden = audit(&forbidding, created("a", 1..=3)).await;
    let (exit, message) = forbidden.halted();
    assert_eq!(exit, Exit::Target);
    assert!(message.contains("permission to find instances of s"), "{message}");

    let silent = Server::new(|_, _| refusal(9_900_403, "no permission"));
    let unasked = audit(&silent, created("a", 1..=3)).await;
    let (exit, message) = unasked.halted();
    assert_eq!(exit, Exit::Target);
    assert!(message.contains("--model a="), "{message}");

    let strict = Server::new(|_, _| refusal(1_306_000, "Invalid APP Code [x]"));
    let refused = audit(&strict, created("a", 1..=3)).await;
    let (exit, message) = refused.halted();
    assert_eq!(exit, Exit::Target);
    assert!(message.contains("--app-code"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_model_association_that_is_given_is_not_asked_for() {
    let server = Server::new(|request, _| match request {
        Request::Models(_) => refusal(9_900_403, "no permission"),
        _ => holding(request, as_created),
    });
    let options = EngineOptions {
        models: vec![crate::options::model("a=s,t").unwrap()],
        ..EngineOptions::default()
    };
    let audit = audit_until(&server, created("a", 1..=3), options, std::future::pending()).await;
    assert!(audit.findings.is_empty() && audit.halt.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_question_that_is_too_long_is_asked_in_parts() {
    let server = Server::new(|request, _| match request {
        Request::Find(find) if find.any_of.len() > 100 => refusal(1_641_301, "too large"),
        _ => holding(request, as_created),
    });
    let audit = audit(&server, created("a", 1..=500)).await;
    assert!(audit.findings.is_empty() && audit.halt.is_none());
    let finds = server.finds();
    assert_eq!(finds[..4], [500, 250, 125, 62]);
    assert!(finds.len() < 16, "{finds:?}");
}

#[tokio::test(start_paused = true)]
async fn a_question_that_takes_too_long_is_asked_in_parts_that_grow_again() {
    let server = Server::new(|request, before| match request {
        Request::Find(find) if find.any_of.len() > 100 && before < 20 => {
            Reply::Lost("no answer within 30s".to_owned())
        }
        _ => holding(request, as_created),
    });
    let audit = audit(&server, created("a", 1..=20_000)).await;
    assert!(audit.findings.is_empty() && audit.halt.is_none());
    assert_eq!(audit.stats.count(Status::Created), 20_000);
    let finds = server.finds();
    assert_eq!(finds.last(), Some(&LOOK_UP), "{finds:?}");
    assert!(finds.len() < 100, "{finds:?}");
}

/// The one that the server refuses is found, however many others are answered meanwhile.
#[tokio::test(start_paused = true)]
async fn a_row_that_may_not_be_asked_for_is_singled_out_while_others_are_answered() {
    let server = Server::new(|request, _| match request {
        Request::Find(find) if find.any_of.contains(&pair(700)) => refusal(1_199_011, "no"),
        _ => holding(request, as_created),
    });
    let audit = audit(&server, created("a", 1..=20_000)).await;
    assert_eq!((audit.lines(FindingKind::NotAsked), audit.halt), (vec![701], None));
    assert!(server.finds().len() < 200, "{:?}", server.finds());
}

fn pair(target: u64) -> Pattern {
    let id = |value| crate::association::InstId::new(value).unwrap();
    Pattern::Pair(id(1), id(target))
}

#[tokio::test(start_paused = true)]
async fn what_can_not_be_asked_for_is_told() {
    let server = Server::new(|request, _| match request {
        Request::Find(find) if find.any_of.contains(&pair(2)) => refusal(1_199_011, "no"),
        _ => holding(request, as_created),
    });
    let mut records = created("a", 1..=4);
    records.push(good(6, "unknown", 5, Status::Existed, 1005));
    records.push(good(7, "strange", 6, Status::Existed, 1006));
    let audit = audit(&server, records).await;
    assert_eq!(audit.lines(FindingKind::NotAsked), [3, 6, 7]);
    assert_eq!(audit.findings.groups().count(), 1);
}

#[tokio::test(start_paused = true)]
async fn it_ends_when_it_is_told_to_and_when_its_time_is_over() {
    let server = || Server::new(|_, _| Reply::Lost("reset".to_owned()));
    let stop = async {
        sleep(Duration::from_secs(5)).await;
        Halt { exit: Exit::Terminated, message: "interrupted".to_owned() }
    };
    let options = EngineOptions::default();
    let stopped = audit_until(&server(), created("a", 1..=3), options, stop).await;
    assert_eq!(stopped.halted(), (Exit::Terminated, "interrupted"));

    let options =
        EngineOptions { max_duration: Some(Duration::from_secs(9)), ..EngineOptions::default() };
    let late = audit_until(&server(), created("a", 1..=3), options, std::future::pending()).await;
    assert_eq!(late.halted(), (Exit::MaxDuration, "--max-duration 9s is over"));
}
