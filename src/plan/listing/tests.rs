//! Lists of a sandbox of which calls can be made to fail, and whose rows come and go meanwhile.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::association::Mapping;
use crate::options::{EngineOptions, Rate};
use crate::sandbox::models::Models;
use crate::sandbox::{Sandbox, Setup};
use crate::target::{Entrance, Target};

const MODELS: &str = r#"
    [instances]
    app = ["1-1000000"]
    node = ["1-1000000"]
    [[association]]
    obj_asst_id = "app_run_node"
    source = "app"
    target = "node"
    mapping = "n:n"
    [[association]]
    obj_asst_id = "node_run_app"
    source = "node"
    target = "app"
    mapping = "n:n"
"#;

/// What happens before a call, by the request and the number of calls before it, and what is answered
/// instead.
type Before = Box<dyn Fn(&Sandbox, &Request, usize) -> Option<Reply>>;

struct World {
    sandbox: Sandbox,
    target: Target,
    options: EngineOptions,
    before: Before,
    calls: Cell<usize>,
}

impl Cmdb for World {
    async fn call(&self, request: Request) -> Reply {
        let before = self.calls.get();
        self.calls.set(before + 1);
        match (self.before)(&self.sandbox, &request, before) {
            Some(reply) => reply,
            None => self.sandbox.call(request).await,
        }
    }
}

fn model(obj_asst_id: &str) -> ModelAssociation {
    let (source, target) = match obj_asst_id {
        "app_run_node" => ("app", "node"),
        _ => ("node", "app"),
    };
    ModelAssociation {
        obj_asst_id: obj_asst_id.into(),
        source: source.into(),
        target: target.into(),
        mapping: Mapping::ManyToMany,
        guessed: false,
        mainline: false,
    }
}

impl World {
    fn new(change: impl Fn(&mut Setup)) -> Self {
        let mut setup = Setup::new(Models::from_toml(MODELS).unwrap());
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
            before: Box::new(|_, _, _| None),
            calls: Cell::new(0),
        }
    }

    fn old_esb() -> Self {
        Self::new(|setup| setup.old_esb = true)
    }

    fn before(
        mut self,
        before: impl Fn(&Sandbox, &Request, usize) -> Option<Reply> + 'static,
    ) -> Self {
        self.before = Box::new(before);
        self
    }

    /// Stores so many rows of both associations, one after the other, and gives those of the first.
    fn fill(&self, rows: i64) -> BTreeMap<i64, (u64, u64)> {
        let mut all = BTreeMap::new();
        for n in 1..=rows {
            let (source, target) = (1 + n % 999, n);
            let id = self.sandbox.insert("app_run_node", source, target).unwrap();
            all.insert(id, (source.cast_unsigned(), target.cast_unsigned()));
            self.sandbox.insert("node_run_app", n, n).unwrap();
        }
        all
    }

    async fn list(
        &self,
        sources: Option<&[u64]>,
    ) -> Result<(Completeness, BTreeMap<i64, (u64, u64)>), Halt> {
        let asker = Asker::new(self, &self.target, &self.options, 4, 1);
        let mut listing = Listing::new(&asker);
        let mut told = BTreeMap::new();
        let mut sources = sources.map(|sources| sources.iter().map(|source| Ok(*source)));
        let sources = sources.as_mut().map(|sources| sources as &mut dyn Iterator<Item = _>);
        let mut each = |Listed { id, source, target }| {
            let before = told.insert(id, (source, target));
            assert_eq!(before, None, "{id} is told twice");
            Ok(())
        };
        let completeness = listing.list(&model("app_run_node"), sources, &mut each).await?;
        Ok((completeness, told))
    }
}

fn worlds() -> [World; 3] {
    [Entrance::Esb, Entrance::Gateway, Entrance::Native]
        .map(|entrance| World::new(|setup| setup.entrance = entrance))
}

#[tokio::test(start_paused = true)]
async fn pages_tell_each_association_once_and_nothing_of_others_through_every_entrance() {
    for world in worlds() {
        for rows in [0, 1, 499, 500, 501, 1_700] {
            world.sandbox.rows().iter().for_each(|row| assert!(world.sandbox.remove(row.id)));
            let all = world.fill(rows);
            world.calls.set(0);
            assert_eq!(world.list(None).await.unwrap(), (Completeness::Whole, all), "{rows}");
            let pages = (rows + 499) / 500 + 1;
            assert_eq!(world.calls.get(), 1 + pages as usize, "{rows}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_old_esb_lists_by_windows_of_ids() {
    let world = World::old_esb();
    for rows in [0, 1, 499, 1_700] {
        world.sandbox.rows().iter().for_each(|row| assert!(world.sandbox.remove(row.id)));
        let all = world.fill(rows);
        assert_eq!(world.list(None).await.unwrap(), (Completeness::Whole, all), "{rows}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_there_all_the_time_is_told_while_rows_come_and_go() {
    for old_esb in [false, true] {
        let world = World::new(|setup| setup.old_esb = old_esb).before(|sandbox, _, calls| {
            // With every call some of the last hundred rows go, and as many come.
            for id in (3..100).step_by(7).map(|n| n + 100 * calls as i64) {
                if id % 2 == 1 && id % 5 == 0 {
                    sandbox.remove(id);
                }
                sandbox.insert("app_run_node", 7_777, id);
            }
            None
        });
        let before = world.fill(1_700);
        let (_, told) = world.list(None).await.unwrap();
        let after: Vec<_> = world.sandbox.rows().into_iter().map(|row| row.id).collect();
        let stays = before.iter().filter(|(id, _)| after.contains(id));
        let mut stayed = 0;
        for (id, pair) in stays {
            assert_eq!(told.get(id), Some(pair), "{id} was there all the time");
            stayed += 1;
        }
        assert!((1_600..1_700).contains(&stayed), "{stayed}: some must go");
        for (id, pair) in told.iter().filter(|(id, _)| !before.contains_key(id)) {
            assert_eq!(pair.0, 7_777, "{id} never was");
        }
    }
}
