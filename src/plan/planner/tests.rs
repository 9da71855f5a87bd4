use std::cell::{Cell, RefCell};
use std::time::Duration;

use serde_json::json;

use super::*;
use crate::association::Named;
use crate::cmdb::wire::{Answer, Envelope, Reply, Request, Route};
use crate::exit::Exit;
use crate::options::{self, EngineOptions, Rate};
use crate::plan::understood::Names;
use crate::sandbox::models::Models as SandboxModels;
use crate::sandbox::{Sandbox, Setup};
use crate::target::{Entrance, Target};

const ON_HOST: &str = "bk_switch_belong_bk_host";
const ON_SWITCH: &str = "bk_switch_connect_bk_switch";

/// What is answered instead, by the request and the number of calls before it.
type Instead = Box<dyn Fn(&Request, usize) -> Option<Reply>>;

/// A sandbox of which calls can be made to fail.
struct World {
    sandbox: Sandbox,
    target: Target,
    options: EngineOptions,
    naming: Naming,
    instead: Instead,
    calls: Cell<usize>,
    requests: RefCell<Vec<Request>>,
    keeps_requests: bool,
}

impl Cmdb for World {
    async fn call(&self, request: Request) -> Reply {
        let before = self.calls.get();
        self.calls.set(before + 1);
        if self.keeps_requests {
            self.requests.borrow_mut().push(request.clone());
        }
        match (self.instead)(&request, before) {
            Some(reply) => reply,
            None => self.sandbox.call(request).await,
        }
    }
}

impl World {
    fn new() -> Self {
        Self::of(SandboxModels::sample(), |_| {})
    }

    fn of(models: SandboxModels, change: impl Fn(&mut Setup)) -> Self {
        let mut setup = Setup::new(models);
        setup.latency = Duration::from_millis(20);
        change(&mut setup);
        let target = Target {
            entrance: setup.entrance,
            endpoint: "http://cmdb".to_owned(),
            supplier_account: "0".to_owned(),
            tenant_id: None,
        };
        Self {
            sandbox: Sandbox::new(setup).unwrap(),
            target,
            options: EngineOptions { rate: Rate::Unlimited, ..EngineOptions::default() },
            naming: Naming::default(),
            instead: Box::new(|_, _| None),
            calls: Cell::new(0),
            requests: RefCell::default(),
            keeps_requests: true,
        }
    }

    fn of_toml(toml: &str) -> Self {
        Self::of(SandboxModels::from_toml(toml).unwrap(), |_| {})
    }

    fn old_esb() -> Self {
        Self::of(SandboxModels::sample(), |setup| setup.old_esb = true)
    }

    fn with_keys(mut self, keys: &[&str]) -> Self {
        self.naming.keys = keys.iter().map(|key| options::key(key).unwrap()).collect();
        self
    }

    fn with_cloud(mut self, cloud: i64) -> Self {
        self.naming.cloud_id = Some(cloud);
        self
    }

    fn instead(mut self, instead: impl Fn(&Request, usize) -> Option<Reply> + 'static) -> Self {
        self.instead = Box::new(instead);
        self
    }

    fn routes(&self) -> Vec<Route> {
        self.requests.borrow().iter().map(Request::route).collect()
    }

    /// All rows through a planner, pushed as long as it takes them.
    async fn plan(&self, rows: impl IntoIterator<Item = Row>) -> (Vec<PlannedRow>, Understood) {
        self.try_plan(rows).await.unwrap()
    }

    async fn try_plan(
        &self,
        rows: impl IntoIterator<Item = Row>,
    ) -> Result<(Vec<PlannedRow>, Understood), Halt> {
        let mut out = Vec::new();
        let understood = self.each(rows, |planned| out.push(planned)).await?;
        Ok((out, understood))
    }

    async fn each(
        &self,
        rows: impl IntoIterator<Item = Row>,
        mut take: impl FnMut(PlannedRow),
    ) -> Result<Understood, Halt> {
        let asker = Asker::new(self, &self.target, &self.options, 4, 1);
        let cells = RowParser::new(None, false);
        let mut planner = Planner::new(&asker, &self.options.models, &self.naming, cells);
        let mut rows = rows.into_iter();
        loop {
            let mut ended = false;
            while !planner.is_full() && !ended {
                match rows.next() {
                    Some(row) => planner.push(row),
                    None => ended = true,
                }
            }
            planner.resolve(ended).await?;
            assert!(ended || !planner.is_front_open(), "no row can come out");
            std::iter::from_fn(|| planner.pop()).for_each(&mut take);
            if ended {
                assert_eq!((planner.rows.len(), planner.bytes), (0, 0), "a row is kept");
                return Ok(planner.understood().clone());
            }
        }
    }

    /// What becomes of one row: its ids, or reason and message.
    async fn one(&self, link: &str, source: &str, target: &str) -> Result<(u64, u64), String> {
        let (out, _) = self.plan([row(0, link, source, target)]).await;
        told(&out[0])
    }

    /// What a switch's name means, as the source of an association with host 31.
    async fn switch(&self, name: &str) -> Result<u64, String> {
        self.one(ON_HOST, name, "bk_host_id=31").await.map(|(source, _)| source)
    }

    async fn host(&self, name: &str) -> Result<u64, String> {
        self.one(ON_HOST, "bk_inst_id=13", name).await.map(|(_, target)| target)
    }
}

fn told(planned: &PlannedRow) -> Result<(u64, u64), String> {
    match (&planned.refusal, &planned.row.parsed) {
        (Some((reason, message)), _) => Err(format!("{}: {message}", reason.as_str())),
        (None, Ok(link)) => {
            let ids = [link.association.inst_id, link.association.asst_inst_id];
            assert_eq!(planned.row.cells.ids()[1..3], ids.map(|id| id.to_string()));
            Ok((ids[0].get(), ids[1].get()))
        }
        (None, Err(error)) => Err(error.to_string()),
    }
}

fn row(ordinal: u64, link: &str, source: &str, target: &str) -> Row {
    with_ids(ordinal, [link, "", "", ""], source, target)
}

fn with_ids(ordinal: u64, ids: [&str; 4], source: &str, target: &str) -> Row {
    let named = Named { source: source.into(), target: target.into(), action: "".into() };
    let (cells, parsed) = RowParser::new(None, false).read_named(ids, named);
    Row { ordinal, file: 0, line: ordinal + 2, cells, parsed }
}

#[track_caller]
fn says<T: std::fmt::Debug>(told: Result<T, String>, texts: &[&str]) {
    let message = told.unwrap_err();
    for text in texts {
        assert!(message.contains(text), "{text:?} is not in {message:?}");
    }
}

fn worlds() -> [World; 3] {
    [Entrance::Esb, Entrance::Gateway, Entrance::Native]
        .map(|entrance| World::of(SandboxModels::sample(), |setup| setup.entrance = entrance))
}

#[tokio::test(start_paused = true)]
async fn every_kind_of_name_means_its_instance_by_every_entrance() {
    for world in worlds() {
        for (name, id) in [
            ("sw-14", 14),
            ("bk_inst_name=sw-15", 15),
            ("名称=sw-16", 16),
            ("middleware = sw-17", 17),
            ("固资编号=SW-A1", 11),
            ("asset id=SW-A2,名称=core-sw", 12),
            ("bk_inst_name=edge, sw=1 机房", 13),
            ("edge, sw=1 机房", 13),
            ("bk_inst_id=20", 20),
            ("实例名=sw-21", 21),
        ] {
            assert_eq!(world.switch(name).await, Ok(id), "{name}");
        }
        for (name, id) in [
            ("10.0.0.40", 40),
            ("10.0.0.41@0", 41),
            ("内网IP=10.0.0.42,云区域=0", 42),
            ("inner ip=10.0.0.43, cloud area=0", 43),
            ("内网IPv4=10.0.0.44", 44),
            ("bk_asset_id=AS-45", 45),
            ("172.16.1.1", 9_999_001),
            ("172.16.1.2", 9_999_001),
            ("内网IP=172.16.1.1,172.16.1.2,云区域=0", 9_999_001),
            ("172.16.1.3@3", 9_999_003),
            ("172.16.1.3@0", 9_999_002),
            ("fd00::1", 9_999_004),
            ("[fd00:0::1]@0", 9_999_004),
            ("bk_host_innerip_v6=FD00::1", 9_999_004),
        ] {
            assert_eq!(world.host(name).await, Ok(id), "{name}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_missing_or_fits_several_is_told_with_what_to_do() {
    let world = World::new();
    says(
        world.switch("core-1").await,
        &["missing-source: column source: no bk_switch has bk_inst_name \"core-1\"; create it"],
    );
    says(
        world.switch("core-sw").await,
        &[
            "ambiguous-source: column source: 2 bk_switch have bk_inst_name \"core-sw\": ids 11, 12;",
            "PROPERTY=VALUE",
        ],
    );
    says(
        world.host("172.16.1.3").await,
        &["ambiguous-target:", "ids 9999002, 9999003; say which with @CLOUD or --cloud-id"],
    );
    says(
        world.host("10.0.0.40@7").await,
        &["missing-target:", "no host has bk_host_innerip \"10.0.0.40\" and bk_cloud_id 7"],
    );
    says(world.host("10.0.0.40@x").await, &["unresolvable:", "\"x\" is no number of a cloud area"]);
    // The case of letters counts, and nothing is trimmed inside.
    for name in ["SW-14", "sw- 14", "编号=SW-A1", "sw-014"] {
        says(world.switch(name).await, &["missing-source:"]);
    }
    says(
        world.one(ON_SWITCH, "core-1", "core-2").await,
        &["missing-source: column source: no ", "; column target: no bk_switch has", "core-2"],
    );
    says(
        world.one(ON_SWITCH, "sw-14", "core-sw").await,
        &["ambiguous-target: column target: 2 bk_switch have"],
    );
}

#[tokio::test(start_paused = true)]
async fn a_property_that_the_model_lacks_is_told_from_an_instance_that_is_missing() {
    let world = World::new();
    for name in ["foo=bar", "名称=core-sw,foo=SW-A1"] {
        says(
            world.switch(name).await,
            &[
                "missing-source:",
                "bk_switch has no property \"foo\"; it has bk_asset_id (固资编号)",
            ],
        );
    }
    let bare = World::new();
    bare.sandbox.put_instance("bk_switch", 14, json!({"bk_inst_name": "foo=bar"})).unwrap();
    assert_eq!(bare.switch("foo=bar").await, Ok(14));
    says(world.switch("编号=1\u{1b}[0m").await, &["\\u{1b}"]);
}

#[tokio::test(start_paused = true)]
async fn a_text_is_never_taken_for_a_number_and_spaces_at_its_ends_are_tried_both_ways() {
    let world = World::new();
    let names = ["0015", "1e3", "=SUM(A1) 18", "9999999999999999999", " in front", "15", "a|b"];
    for (id, name) in (100..).zip(names) {
        world.sandbox.put_instance("bk_switch", id, json!({"bk_inst_name": name})).unwrap();
    }
    world.sandbox.put_instance("bk_switch", 200, json!({"bk_inst_name": "in front"})).unwrap();
    for (id, name) in (100..).zip(names) {
        assert_eq!(world.switch(name).await, Ok(id), "{name}");
    }
    assert_eq!(world.switch("名称= 0015 , 固资编号 = SW-00100 ").await, Ok(100));
    assert_eq!(world.switch("in front").await, Ok(200));
    assert_eq!(world.switch("in front ").await, Ok(200));
    says(world.switch("1000").await, &["missing-source"]);
    says(world.switch("bk_inst_id=0014").await, &["missing-source", "is a whole number"]);
}

#[tokio::test(start_paused = true)]
async fn a_key_says_what_a_bare_value_stands_for() {
    let world = World::new().with_keys(&["bk_switch=asset id+名称", "host=bk_asset_id"]);
    assert_eq!(world.one(ON_HOST, "SW-A2|core-sw", "AS-45").await, Ok((12, 45)));
    says(world.switch("SW-A2").await, &["unresolvable:", "not bk_asset_id|bk_inst_name"]);
    let wrong = World::new().with_keys(&["bk_switch=nothing"]);
    says(wrong.switch("x").await, &["--key bk_switch: bk_switch has no property \"nothing\""]);
    assert_eq!(wrong.switch("固资编号=SW-A2").await, Ok(12));
    let cloud = World::new().with_cloud(3);
    assert_eq!(cloud.host("172.16.1.3").await, Ok(9_999_003));
    assert_eq!(cloud.host("172.16.1.3@0").await, Ok(9_999_002));
    assert_eq!(cloud.host("内网IP=172.16.1.3,云区域=0").await, Ok(9_999_002));
    assert_eq!(cloud.host("bk_asset_id=AS-45").await, Ok(45));
    let (_, understood) = World::new()
        .with_keys(&["bk_switch=asset id+名称"])
        .plan([row(0, ON_HOST, "SW-A2|core-sw", "10.0.0.40")])
        .await;
    let keys: Vec<_> = understood.models.iter().map(|model| model.key.join("+")).collect();
    assert_eq!(keys, ["bk_asset_id+bk_inst_name", "bk_host_innerip"]);
}

fn says_code(code: i64, message: &str) -> Reply {
    let body = json!({"result": code == 0, "code": code, "message": message, "data": null});
    let envelope = Envelope::parse(body.to_string().as_bytes());
    Reply::Answered(Answer { status: 200, envelope, ..Answer::default() })
}

fn found(info: &serde_json::Value) -> Reply {
    let body = json!({"result": true, "code": 0, "message": "", "data": {"info": info}});
    let envelope = Envelope::parse(body.to_string().as_bytes());
    Reply::Answered(Answer { status: 200, envelope, ..Answer::default() })
}

#[tokio::test(start_paused = true)]
async fn through_an_old_esb_hosts_and_businesses_have_names_and_nothing_else_has() {
    let world = World::old_esb();
    assert_eq!(world.host("10.0.0.40").await, Err(NO_SWITCH.to_owned()));
    let by_id = with_ids(0, [ON_HOST, "13", "", ""], "", "内网IP=10.0.0.40,云区域=0");
    let (out, _) = world.plan([by_id]).await;
    assert_eq!(told(&out[0]), Ok((13, 40)));
    world.requests.borrow_mut().clear();
    let rows = (0..2000).map(|n| row(n, ON_SWITCH, &format!("a-{n}"), &format!("编号=b-{n}")));
    let (out, understood) = world.plan(rows).await;
    says(told(&out[7]), &["unresolvable: column source: no bk_switch can be found", "--entrance"]);
    assert!(out.iter().all(|row| told(row).is_err()));
    assert_eq!(understood.models[0].unresolvable.count, 4000);
    // Found out once: models, attributes, then each of the two calls, by as many as are in flight.
    assert!(world.routes().len() <= 2 + 2 * 4, "{:?}", world.routes());
}

const NO_SWITCH: &str = "unresolvable: column source: no bk_switch can be found by name: this ESB has no \
    call for that (hosts and businesses alone can be named): use --entrance gateway or native, or have \
    its administrator set up CMDB's own list of components (cc.yaml of 3.11 or newer); or put ids";

#[tokio::test(start_paused = true)]
async fn the_older_call_is_asked_where_the_newer_one_is_missing() {
    let world = World::new().instead(|request, _| {
        let lacks = request.route() == Route::SearchObjectInstances;
        lacks.then(|| says_code(crate::cmdb::wire::code::ESB_NO_COMPONENT, "no such component"))
    });
    let rows = (14..3014).map(|n| row(n, ON_SWITCH, &format!("sw-{n}"), "core-sw"));
    let (out, _) = world.plan(rows).await;
    says(told(&out[0]), &["ambiguous-target", "ids 11, 12"]);
    let rows = (14..34).map(|n| row(n, ON_SWITCH, &format!("sw-{n}"), "sw-99"));
    let (out, _) = world.plan(rows).await;
    assert_eq!(told(&out[3]), Ok((17, 99)));
    let newer =
        world.routes().iter().filter(|route| **route == Route::SearchObjectInstances).count();
    assert!((2..=5).contains(&newer), "{newer}");
}

/// A server that compares as it likes finds instances that were not asked for.
#[tokio::test(start_paused = true)]
async fn answers_are_compared_exactly_whatever_the_server_takes_for_equal() {
    let world = World::new().instead(|request, _| {
        let Request::Instances(asked) = request else { return None };
        let is_switch = &*asked.obj_id == "bk_switch";
        is_switch.then(|| {
            found(&json!([
                {"bk_inst_id": 1, "bk_inst_name": "A"},
                {"bk_inst_id": 2, "bk_inst_name": "a"},
                {"bk_inst_id": 3, "bk_inst_name": " a"},
                {"bk_inst_id": 4, "bk_inst_name": 1},
                {"bk_inst_id": 5},
                {"bk_inst_name": "b"},
                {"bk_inst_id": -1, "bk_inst_name": "b"},
            ]))
        })
    });
    let by_name = async |name: &str| world.one(ON_SWITCH, name, "a").await.map(|(id, _)| id);
    assert_eq!(by_name("A").await, Ok(1));
    assert_eq!(by_name("a").await, Ok(2));
    assert_eq!(by_name(" a").await, Ok(3));
    assert_eq!(by_name("a  ").await, Ok(2));
    says(by_name("1").await, &["missing-source"]);
    says(by_name("b").await, &["missing-source"]);
}

const LARGE: &str = r#"
[[instance]]
model = "app"
ids = "1-200000"
bk_inst_name = "app-{id}"

[[instance]]
model = "node"
ids = "1-400000"
bk_inst_name = "node-{id:06}"

[[association]]
obj_asst_id = "app_run_node"
source = "app"
target = "node"
mapping = "n:n"
"#;

/// Names drawn at random, so that each window of rows has some of nearly all.
fn drawn(rows: u64, names: u64) -> impl Iterator<Item = (Row, u64, u64)> {
    let mut state = 1_u64;
    (0..rows).map(move |n| {
        let mut draw = |most: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040);
            1 + (state >> 33) % most
        };
        let (app, node) = (draw(names / 2), draw(names / 2));
        let row = row(n, "app_run_node", &format!("app-{app}"), &format!("node-{node:06}"));
        (row, app, node)
    })
}

async fn calls_for(rows: u64, names: u64) -> usize {
    let mut world = World::of_toml(LARGE);
    world.keeps_requests = false;
    let mut expected = drawn(rows, names);
    let planned = drawn(rows, names).map(|(row, ..)| row);
    let understood = world.each(planned, |planned| {
        let (row, app, node) = expected.next().unwrap();
        assert_eq!(planned.row.ordinal, row.ordinal);
        assert_eq!(told(&planned), Ok((app, node)));
    });
    let understood = understood.await.unwrap();
    assert!(expected.next().is_none());
    let found: u64 = understood.models.iter().map(|model| model.found.count).sum();
    assert!(found <= names, "{found} names");
    world.calls.get()
}

#[tokio::test(start_paused = true)]
async fn a_hundred_thousand_rows_with_fifty_thousand_names_take_few_calls() {
    let calls = calls_for(100_000, 50_000).await;
    assert!(calls <= 120, "{calls}");
}

#[tokio::test(start_paused = true)]
async fn rows_come_out_in_their_order_whatever_they_say() {
    let world = World::new();
    let rows = [
        with_ids(0, [ON_HOST, "13", "31", ""], "", ""),
        row(1, ON_SWITCH, "sw-14", "SW-14"),
        with_ids(2, [ON_HOST, "x", "31", ""], "", ""),
        row(3, "nothing", "a", "b"),
        row(4, "set_bk_mainline_biz", "a", "b"),
        with_ids(5, [ON_SWITCH, " 14 ", "", "2"], "core-sw", "固资编号=SW-00014"),
        row(6, ON_SWITCH, "名称=sw-14", "固资编号=SW-00014"),
        row(7, ON_SWITCH, "sw-14", "sw-15"),
        with_ids(8, ["", "", "", ""], "sw-14", "sw-15"),
    ];
    let before = rows.clone();
    let (out, understood) = world.plan(rows).await;
    let ordinals: Vec<_> = out.iter().map(|planned| planned.row.ordinal).collect();
    assert_eq!(ordinals, [0, 1, 2, 3, 4, 5, 6, 7, 8]);
    for same in [0, 1, 2, 3, 4, 8] {
        assert_eq!(out[same].row, before[same], "{same}");
    }
    assert_eq!(told(&out[0]), Ok((13, 31)));
    says(
        told(&out[1]),
        &["missing-target: column target: no bk_switch has bk_inst_name \"SW-14\""],
    );
    says(told(&out[3]), &["unknown-association: model association \"nothing\" does not exist"]);
    says(told(&out[4]), &["mainline-association: \"set_bk_mainline_biz\" is part of"]);
    let Ok(filled) = &out[5].row.parsed else { panic!("{:?}", out[5]) };
    // The id that is there wins over the name beside it.
    assert_eq!((filled.association.inst_id.get(), filled.association.asst_inst_id.get()), (14, 14));
    assert_eq!(out[5].row.cells.ids(), [ON_SWITCH, " 14 ", "14", "2"]);
    assert_eq!(out[5].row.cells.named(), before[5].cells.named());
    assert_eq!(told(&out[6]), Ok((14, 14)));
    assert_eq!(told(&out[7]), Ok((14, 15)));
    let place = |line| Place { file: 0, line };
    let names = |count, first: &[(u64, &str)]| Names {
        count,
        first: first.iter().map(|&(line, name)| (place(line), name.to_owned())).collect(),
    };
    assert_eq!(
        understood.models,
        [UnderstoodModel {
            model: "bk_switch".to_owned(),
            key: vec!["bk_inst_name".to_owned()],
            found: names(
                4,
                &[(3, "sw-14"), (7, "固资编号=SW-00014"), (8, "名称=sw-14"), (9, "sw-15")]
            ),
            missing: names(1, &[(3, "SW-14")]),
            ..UnderstoodModel::default()
        }]
    );
    assert_eq!(world.routes().iter().filter(|route| **route == Route::Models).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_outage_in_the_middle_is_waited_for_and_no_answer_is_lost() {
    let world = World::of_toml(LARGE).instead(|_, before| {
        let silent = (12..40).contains(&before);
        silent.then(|| Reply::NotSent("connection refused".to_owned()))
    });
    let (out, _) = world.plan(drawn(5_000, 10_000).map(|(row, ..)| row)).await;
    for (planned, (_, app, node)) in out.iter().zip(drawn(5_000, 10_000)) {
        assert_eq!(told(planned), Ok((app, node)));
    }
    assert!(world.calls.get() > 40);
    let world = World::of_toml(LARGE)
        .instead(|_, before| (before >= 12).then(|| Reply::NotSent("refused".to_owned())));
    let halt = world.try_plan(drawn(5_000, 10_000).map(|(row, ..)| row)).await.unwrap_err();
    assert_eq!(halt.exit, Exit::Outage);
}

#[tokio::test(start_paused = true)]
async fn who_may_not_see_instances_is_told_so_at_once() {
    let world = World::new().instead(|request, _| {
        matches!(request, Request::Instances(_)).then(|| says_code(9_900_403, "no permission"))
    });
    let halt = world.try_plan([row(0, ON_SWITCH, "sw-14", "sw-15")]).await.unwrap_err();
    assert_eq!(halt.exit, Exit::Target);
    assert!(halt.message.contains("find instances of bk_switch"), "{}", halt.message);
}

#[tokio::test(start_paused = true)]
async fn one_value_that_the_server_refuses_costs_its_own_row_alone() {
    let world = World::of_toml(LARGE).instead(|request, _| {
        let Request::Instances(asked) = request else { return None };
        let values = &asked.any_of.as_ref()?.values;
        let bad = values.contains(&crate::cmdb::wire::PropertyValue::Text("bad".into()));
        bad.then(|| says_code(1_199_006, "parameter"))
    });
    let rows = (1..=400).map(|n| {
        let name = if n == 123 { "bad".to_owned() } else { format!("app-{n}") };
        row(n, "app_run_node", &name, "node-000007")
    });
    let (out, _) = world.plan(rows).await;
    let failed: Vec<_> = out.iter().filter(|row| told(row).is_err()).collect();
    assert_eq!(failed.len(), 1);
    says(told(failed[0]), &["unresolvable: column source: the server does not say", "1199006"]);
    assert!(world.calls.get() < 40, "{}", world.calls.get());
}

#[tokio::test(start_paused = true)]
async fn a_model_that_the_calls_for_instances_refuse_costs_few_calls() {
    for code in [1_199_084, 1_199_006] {
        let world = World::of_toml(LARGE).instead(move |request, _| {
            matches!(request, Request::Instances(_)).then(|| says_code(code, "inner model"))
        });
        let rows = (1..=2_000).map(|n| row(n, "app_run_node", &format!("app-{n}"), "node-000007"));
        let (out, _) = world.plan(rows).await;
        says(
            told(&out[1999]),
            &["unresolvable: column source: no app can be found", "inner model"],
        );
        assert!(out.iter().all(|row| told(row).is_err()));
        assert!(world.calls.get() < 60, "{}", world.calls.get());
    }
}

const NAMED_ALIKE: &str = r#"
[instances]
set = ["1-9"]

[[instance]]
model = "app"
ids = "1-1200"
bk_inst_name = "web"

[[instance]]
model = "app"
ids = "2001-22000"
bk_inst_name = "job"

[[instance]]
model = "app"
id = 30000
bk_inst_name = "one"
tier = "2"
core = true
weight = 0.5
rank = 7

[[attribute]]
model = "app"
id = "tier"
type = "enum"
zh = "层级"
options = [["1", "core"], ["2", "access"], ["access", "3"], ["4", "same"], ["5", "same"]]

[[attribute]]
model = "app"
id = "core"
type = "bool"
zh = "双"

[[attribute]]
model = "app"
id = "weight"
type = "float"
zh = "双"

[[attribute]]
model = "app"
id = "rank"
type = "int"

[[association]]
obj_asst_id = "app_run_app"
source = "app"
target = "app"
mapping = "n:n"

[[association]]
obj_asst_id = "biz_run_set"
source = "biz"
target = "set"
mapping = "n:n"

[[association]]
obj_asst_id = "biz_run_app"
source = "biz"
target = "app"
mapping = "n:n"

[[instance]]
model = "biz"
ids = "3-500"
bk_biz_name = "biz-{id}"

[[instance]]
model = "biz"
ids = "501-502"
bk_biz_name = "twin"
"#;

#[tokio::test(start_paused = true)]
async fn more_instances_than_a_page_holds_are_counted_and_more_than_many_pages_are_at_least_so_many()
 {
    for lacks in [false, true] {
        let world = World::of_toml(NAMED_ALIKE).instead(move |request, _| {
            let newer = request.route() == Route::SearchObjectInstances && lacks;
            newer.then(|| says_code(crate::cmdb::wire::code::ESB_NO_COMPONENT, "none"))
        });
        let (out, _) = world.plan([row(0, "app_run_app", "one", "web")]).await;
        says(
            told(&out[0]),
            &["ambiguous-target: column target: 1200 app have", "1, 2, 3, 4, 5, …"],
        );
        // One of which one was found before the reading ended is asked for again.
        let (out, _) = world.plan([row(0, "app_run_app", "job", "one")]).await;
        says(told(&out[0]), &["ambiguous-source: column source: at least ", "ids 2001, 2002"]);
        let (out, _) = world.plan([row(0, "app_run_app", "one", "one")]).await;
        assert_eq!(told(&out[0]), Ok((30_000, 30_000)));
        assert!(world.calls.get() < 80, "{}", world.calls.get());
    }
}

#[tokio::test(start_paused = true)]
async fn a_value_is_of_its_propertys_type() {
    let world = World::of_toml(NAMED_ALIKE);
    let app = async |name: &str| world.one("app_run_app", name, "one").await.map(|(id, _)| id);
    for name in [
        "层级=2",
        "tier= access,bk_inst_name=one",
        "core=true,bk_inst_name=one",
        "rank=7",
        "rank= 7 ",
    ] {
        // An option's id wins over another's name.
        let expected = if name.contains("access") { None } else { Some(30_000) };
        assert_eq!(app(name).await.ok(), expected, "{name}");
    }
    says(
        app("tier=none").await,
        &["missing-source", "tier has no option \"none\"; it has 1 (core)"],
    );
    says(app("tier=same").await, &["unresolvable", "several options of tier are called \"same\""]);
    says(app("core=yes").await, &["missing-source", "core is true or false"]);
    for text in ["07", "7.0", "+7", "7e0", "9999999999999999999", "seven"] {
        says(app(&format!("rank={text}")).await, &["missing-source", "rank is a whole number"]);
    }
    says(app("weight=0.5").await, &["unresolvable", "weight, of type float"]);
    says(app("双=1").await, &["unresolvable", "say which by its id, one of core, weight"]);
    says(app("rank= ").await, &["unresolvable", "no value stands for rank"]);
}

#[tokio::test(start_paused = true)]
async fn businesses_are_listed_once_and_told_by_their_exact_names() {
    let world = World::of_toml(NAMED_ALIKE);
    let rows =
        ["biz-3", "业务名=biz-500 ", "bk_biz_id=44", "BIZ-3", "biz", "twin", "bk_biz_maintainer=x"];
    let rows: Vec<_> =
        (0..).zip(rows).map(|(n, name)| row(n, "biz_run_app", name, "one")).collect();
    let (out, _) = world.plan(rows).await;
    let told: Vec<_> = out.iter().map(told).collect();
    assert_eq!(told[..3], [Ok((3, 30_000)), Ok((500, 30_000)), Ok((44, 30_000))]);
    says(told[3].clone(), &["missing-source: column source: no biz has bk_biz_name \"BIZ-3\""]);
    says(told[4].clone(), &["missing-source"]);
    says(told[5].clone(), &["ambiguous-source: column source: 2 biz have", "501, 502"]);
    says(told[6].clone(), &["unresolvable", "by bk_biz_name or bk_biz_id alone"]);
    assert_eq!(world.routes().iter().filter(|route| **route == Route::SearchBusiness).count(), 3);
    let (out, _) = world.plan([row(0, "biz_run_set", "biz-3", "default")]).await;
    says(
        super::tests::told(&out[0]),
        &["unresolvable: column target: a set can't be found by name"],
    );
}

#[tokio::test(start_paused = true)]
async fn a_model_without_properties_is_told_as_one_that_is_not_visible() {
    let world = World::new().instead(|request, _| {
        matches!(request, Request::Attributes(_)).then(|| says_code(0, "success"))
    });
    says(
        world.switch("sw-14").await,
        &["unresolvable", "there is no model bk_switch, or it is not"],
    );
}

#[tokio::test(start_paused = true)]
async fn where_properties_are_not_told_the_usual_ones_do() {
    let world = World::new().instead(|request, _| {
        let lacks = matches!(request, Request::Attributes(_));
        lacks.then(|| says_code(crate::cmdb::wire::code::ESB_NO_COMPONENT, "none"))
    });
    assert_eq!(world.switch("sw-14").await, Ok(14));
    assert_eq!(world.switch("实例名=core-sw,固资编号=SW-A2").await, Ok(12));
    assert_eq!(world.host("内网IP=172.16.1.3,管控区域=3").await, Ok(9_999_003));
    says(
        world.switch("bk_vendor=x").await,
        &["missing-source", "this entrance does not tell the properties of bk_switch"],
    );
}

/// Where all model associations are given, nothing was answered before the first question about names.
#[tokio::test(start_paused = true)]
async fn the_address_is_proven_before_a_call_may_be_missing() {
    let mut world = World::old_esb();
    world.options.models = vec![options::model("bk_switch_belong_bk_host=bk_switch,host").unwrap()];
    let by_id = with_ids(0, [ON_HOST, "13", "", ""], "", "10.0.0.40");
    let (out, _) = world.plan([by_id, row(1, ON_HOST, "sw-14", "10.0.0.40")]).await;
    assert_eq!(told(&out[0]), Ok((13, 40)));
    says(told(&out[1]), &["unresolvable"]);
    assert!(!world.routes().contains(&Route::Models));
}

#[tokio::test(start_paused = true)]
async fn a_queue_is_full_by_rows_or_by_bytes() {
    let world = World::new();
    let asker = Asker::new(&world, &world.target, &world.options, 4, 1);
    for (name, most) in [("sw-14".to_owned(), MOST_ROWS), ("x".repeat(1 << 20), 16)] {
        let cells = RowParser::new(None, false);
        let mut planner = Planner::new(&asker, &[], &world.naming, cells);
        let mut pushed = 0;
        while !planner.is_full() {
            planner.push(row(pushed, ON_SWITCH, &name, "sw-15"));
            pushed += 1;
        }
        assert!(pushed as usize <= most, "{pushed}");
        planner.resolve(false).await.unwrap();
        assert_eq!(std::iter::from_fn(|| planner.pop()).count() as u64, pushed);
        assert!(!planner.is_full());
    }
}
