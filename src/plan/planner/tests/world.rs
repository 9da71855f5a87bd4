//! A sandbox of which calls can be made to fail, and rows through a planner.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use serde_json::json;

use super::super::*;
use crate::association::Named;
use crate::cmdb::wire::{Answer, Envelope, Reply, Request, Route};
use crate::options::{self, EngineOptions, Rate};
use crate::sandbox::models::Models as SandboxModels;
use crate::sandbox::{Sandbox, Setup};
use crate::target::{Entrance, Target};

pub(super) const ON_HOST: &str = "bk_switch_belong_bk_host";
pub(super) const ON_SWITCH: &str = "bk_switch_connect_bk_switch";

/// What is answered instead, by the request and the number of calls before it.
pub(super) type Instead = Box<dyn Fn(&Request, usize) -> Option<Reply>>;

/// A sandbox of which calls can be made to fail.
pub(super) struct World {
    pub(super) sandbox: Sandbox,
    pub(super) target: Target,
    pub(super) options: EngineOptions,
    pub(super) naming: Naming,
    instead: Instead,
    pub(super) calls: Cell<usize>,
    pub(super) requests: RefCell<Vec<Request>>,
    pub(super) keeps_requests: bool,
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
    pub(super) fn new() -> Self {
        Self::of(SandboxModels::sample(), |_| {})
    }

    pub(super) fn of(models: SandboxModels, change: impl Fn(&mut Setup)) -> Self {
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

    pub(super) fn of_toml(toml: &str) -> Self {
        Self::of(SandboxModels::from_toml(toml).unwrap(), |_| {})
    }

    pub(super) fn old_esb() -> Self {
        Self::of(SandboxModels::sample(), |setup| setup.old_esb = true)
    }

    pub(super) fn with_keys(mut self, keys: &[&str]) -> Self {
        self.naming.keys = keys.iter().map(|key| options::key(key).unwrap()).collect();
        self
    }

    pub(super) fn with_cloud(mut self, cloud: i64) -> Self {
        self.naming.cloud_id = Some(cloud);
        self
    }

    pub(super) fn instead(
        mut self,
        instead: impl Fn(&Request, usize) -> Option<Reply> + 'static,
    ) -> Self {
        self.instead = Box::new(instead);
        self
    }

    pub(super) fn routes(&self) -> Vec<Route> {
        self.requests.borrow().iter().map(Request::route).collect()
    }

    /// All rows through a planner, pushed as long as it takes them.
    pub(super) async fn plan(
        &self,
        rows: impl IntoIterator<Item = Row>,
    ) -> (Vec<PlannedRow>, Understood) {
        self.try_plan(rows).await.unwrap()
    }

    pub(super) async fn try_plan(
        &self,
        rows: impl IntoIterator<Item = Row>,
    ) -> Result<(Vec<PlannedRow>, Understood), Halt> {
        let mut out = Vec::new();
        let understood = self.each(rows, |planned| out.push(planned)).await?;
        Ok((out, understood))
    }

    pub(super) async fn each(
        &self,
        rows: impl IntoIterator<Item = Row>,
        mut take: impl FnMut(PlannedRow),
    ) -> Result<Understood, Halt> {
        let asker = Asker::new(self, &self.target, &self.options, 4, 1);
        let cells = RowParser::new(None, false);
        let headway = Headway::default();
        let mut planner = Planner::new(&asker, &self.options.models, &self.naming, cells, &headway);
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
                assert_eq!(headway.names, headway.answered, "a name is open, or told twice");
                return Ok(planner.understood().clone());
            }
        }
    }

    /// What becomes of one row: its ids, or reason and message.
    pub(super) async fn one(
        &self,
        link: &str,
        source: &str,
        target: &str,
    ) -> Result<(u64, u64), String> {
        let (out, _) = self.plan([row(0, link, source, target)]).await;
        told(&out[0])
    }

    /// What a switch's name means, as the source of an association with host 31.
    pub(super) async fn switch(&self, name: &str) -> Result<u64, String> {
        self.one(ON_HOST, name, "bk_host_id=31").await.map(|(source, _)| source)
    }

    pub(super) async fn host(&self, name: &str) -> Result<u64, String> {
        self.one(ON_HOST, "bk_inst_id=13", name).await.map(|(_, target)| target)
    }
}

pub(super) fn told(planned: &PlannedRow) -> Result<(u64, u64), String> {
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

pub(super) fn row(ordinal: u64, link: &str, source: &str, target: &str) -> Row {
    with_ids(ordinal, [link, "", "", ""], source, target)
}

pub(super) fn with_ids(ordinal: u64, ids: [&str; 4], source: &str, target: &str) -> Row {
    let named = Named { source: source.into(), target: target.into(), action: "".into() };
    let (cells, parsed) = RowParser::new(None, false).read_named(ids, named);
    Row { ordinal, file: 0, line: ordinal + 2, cells, parsed }
}

#[track_caller]
pub(super) fn says<T: std::fmt::Debug>(told: Result<T, String>, texts: &[&str]) {
    let message = told.unwrap_err();
    for text in texts {
        assert!(message.contains(text), "{text:?} is not in {message:?}");
    }
}

pub(super) fn worlds() -> [World; 3] {
    [Entrance::Esb, Entrance::Gateway, Entrance::Native]
        .map(|entrance| World::of(SandboxModels::sample(), |setup| setup.entrance = entrance))
}

pub(super) fn says_code(code: i64, message: &str) -> Reply {
    let body = json!({"result": code == 0, "code": code, "message": message, "data": null});
    let envelope = Envelope::parse(body.to_string().as_bytes());
    Reply::Answered(Answer { status: 200, envelope, ..Answer::default() })
}

pub(super) fn found(info: &serde_json::Value) -> Reply {
    let body = json!({"result": true, "code": 0, "message": "", "data": {"info": info}});
    let envelope = Envelope::parse(body.to_string().as_bytes());
    Reply::Answered(Answer { status: 200, envelope, ..Answer::default() })
}

pub(super) const LARGE: &str = r#"
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
pub(super) fn drawn(rows: u64, names: u64) -> impl Iterator<Item = (Row, u64, u64)> {
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

pub(super) const NAMED_ALIKE: &str = r#"
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
