//! Which instances there are: ids in, in bulk, and those of them out that do not exist.
//!
//! Owns which call can tell for which model. Knows nothing of names, rows or associations.

use std::sync::Arc;

use rustc_hash::FxHashSet;

use super::businesses::Businesses;
use super::search::{InstanceCalls, Landing, ask_until_answered};
use crate::association::InstId;
use crate::cmdb::Cmdb;
use crate::cmdb::wire::{AnyOf, Envelope, InstanceCall, Instances, Page, PropertyValue, Request};
use crate::engine::asker::Asker;
use crate::exit::Halt;

/// Asks which instances there are.
#[derive(Debug)]
pub(crate) struct Existence<'a, C> {
    asker: &'a Asker<'a, C>,
    calls: InstanceCalls,
    businesses: AllBusinesses,
}

/// The ids of all businesses, which are listed once.
#[derive(Debug)]
enum AllBusinesses {
    NotAsked,
    NobodyTells,
    Are(FxHashSet<u64>),
}

impl<'a, C: Cmdb> Existence<'a, C> {
    /// Nothing is asked yet.
    pub(crate) fn new(asker: &'a Asker<'a, C>) -> Self {
        Self { asker, calls: InstanceCalls::default(), businesses: AllBusinesses::NotAsked }
    }

    /// Those of a model's instances that do not exist. Of models that no call tells of none is among them.
    pub(crate) async fn missing(
        &mut self,
        model: &Arc<str>,
        ids: &[InstId],
    ) -> Result<Vec<InstId>, Halt> {
        if &**model == "biz" && !ids.is_empty() {
            let listed = self.businesses(model).await?;
            let is_missing = |id: &InstId| listed.is_some_and(|listed| !listed.contains(&id.get()));
            return Ok(ids.iter().copied().filter(is_missing).collect());
        }
        let mut missing = Vec::new();
        let mut rest = ids;
        while !rest.is_empty() {
            let Some(call) = self.calls.of(model) else { return Ok(Vec::new()) };
            let (some, behind) = rest.split_at(rest.len().min(call.page_limit().into()));
            match self.missing_of(call, model, some).await? {
                Ok(none) => {
                    missing.extend(none);
                    rest = behind;
                }
                // Another call may know.
                Err(Landing::NoSuchCall) => self.calls.lack(call),
                Err(_) => return Ok(Vec::new()),
            }
        }
        Ok(missing)
    }

    /// The same for as many as a page may have. What is not in an answer is asked for again, until an answer
    /// has nothing of it: something on the way may cut pages short.
    async fn missing_of(
        &self,
        call: InstanceCall,
        model: &Arc<str>,
        ids: &[InstId],
    ) -> Result<Result<Vec<InstId>, Landing>, Halt> {
        let mut open = ids.to_vec();
        while !open.is_empty() {
            let values = open.iter().map(|id| PropertyValue::Integer(id.get().cast_signed()));
            let property: Arc<str> = call.id_field().into();
            let request = Request::Instances(Instances {
                call,
                obj_id: Arc::clone(model),
                any_of: Some(AnyOf { property: Arc::clone(&property), values: values.collect() }),
                fields: vec![property],
                page: Page { after: None, start: 0, limit: call.page_limit() },
            });
            let asked = ask_until_answered(self.asker, &request, model, Envelope::instances);
            let info = match asked.await? {
                Ok(answer) => answer.info,
                Err(landing) => return Ok(Err(landing)),
            };
            let ids = info.iter().filter_map(|instance| instance.get(call.id_field())?.as_u64());
            let found: FxHashSet<u64> = ids.collect();
            let before = open.len();
            open.retain(|id| !found.contains(&id.get()));
            if open.len() == before {
                break;
            }
        }
        Ok(Ok(open))
    }

    async fn businesses(&mut self, model: &Arc<str>) -> Result<Option<&FxHashSet<u64>>, Halt> {
        if let AllBusinesses::NotAsked = self.businesses {
            self.businesses = match Businesses::list(self.asker, model).await? {
                Ok(all) => AllBusinesses::Are(all.ids().collect()),
                Err(_) => AllBusinesses::NobodyTells,
            };
        }
        Ok(match &self.businesses {
            AllBusinesses::Are(all) => Some(all),
            AllBusinesses::NotAsked | AllBusinesses::NobodyTells => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;
    use crate::cmdb::wire::{Answer, Reply, Route};
    use crate::options::{EngineOptions, Rate};
    use crate::sandbox::models::Models;
    use crate::sandbox::{Sandbox, Setup, Version};
    use crate::target::{Entrance, Target};

    const MODELS: &str = r#"
        [instances]
        app = ["1-3000"]
        host = ["1-3000"]
        set = ["1-9"]
        biz = ["2-300"]
        [credentials]
        view = true
    "#;

    struct World {
        sandbox: Sandbox,
        target: Target,
        options: EngineOptions,
        routes: RefCell<Vec<Route>>,
        /// How many instances come through at once.
        most: Cell<usize>,
    }

    impl Cmdb for World {
        async fn call(&self, request: Request) -> Reply {
            self.routes.borrow_mut().push(request.route());
            let reply = self.sandbox.call(request).await;
            let Some(found) = reply.envelope().and_then(Envelope::instances) else { return reply };
            let info: Vec<_> = found.info.into_iter().take(self.most.get()).collect();
            let body = serde_json::json!({"result": true, "code": 0, "data": {"info": info}});
            let envelope = Envelope::parse(body.to_string().as_bytes());
            Reply::Answered(Answer { status: 200, envelope, ..Answer::default() })
        }
    }

    fn world(models: &str, change: impl Fn(&mut Setup)) -> World {
        let mut setup = Setup::new(Models::from_toml(models).unwrap());
        change(&mut setup);
        let target = Target {
            entrance: setup.entrance,
            endpoint: "http://cmdb".to_owned(),
            supplier_account: "0".to_owned(),
            tenant_id: None,
        };
        World {
            sandbox: Sandbox::new(setup).unwrap(),
            target,
            options: EngineOptions { rate: Rate::Unlimited, ..EngineOptions::default() },
            routes: RefCell::default(),
            most: Cell::new(usize::MAX),
        }
    }

    fn ids(ids: impl IntoIterator<Item = u64>) -> Vec<InstId> {
        ids.into_iter().map(|id| InstId::new(id).unwrap()).collect()
    }

    impl World {
        async fn missing(&self, model: &str, asked: &[InstId]) -> (Vec<InstId>, usize) {
            let asker = Asker::new(self, &self.target, &self.options, 4, 1);
            asker.test().await.unwrap();
            self.routes.borrow_mut().clear();
            let missing = Existence::new(&asker).missing(&model.into(), asked).await.unwrap();
            (missing, self.routes.borrow().len())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_there_is_missing_through_every_entrance_and_version() {
        for (entrance, version, each) in [
            (Entrance::Esb, Version::V3_10_18, 500),
            (Entrance::Gateway, Version::V3_14, 500),
            (Entrance::Native, Version::V3_10_18, 500),
            (Entrance::Native, Version::V3_5, 200),
        ] {
            let world = world(MODELS, |setup| {
                (setup.entrance, setup.version) = (entrance, version);
            });
            for (model, page) in [("app", each), ("host", 500)] {
                let asked = ids(2_006..=3_010);
                let (missing, calls) = world.missing(model, &asked).await;
                assert_eq!(missing, ids(3_001..=3_010), "{entrance:?} {version:?} {model}");
                let lacking = usize::from(page == 200);
                let pages = 1_005_usize.div_ceil(page);
                assert_eq!(calls, lacking + pages + 1, "what is missing is asked for twice");
                assert_eq!(world.missing(model, &ids(1..=500)).await.0, []);
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_page_cut_short_on_the_way_makes_nothing_missing() {
        let world = world(MODELS, |_| {});
        world.most.set(70);
        let asked = ids((1..=300).chain([5_000]));
        assert_eq!(world.missing("app", &asked).await.0, ids([5_000]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_business_is_missing_where_it_is_not_listed() {
        let world = world(MODELS, |_| {});
        let (missing, calls) = world.missing("biz", &ids([2, 300, 301])).await;
        assert_eq!((missing, calls), (ids([301]), 2));
        assert_eq!(world.missing("biz", &[]).await, (vec![], 0));
    }

    #[tokio::test(start_paused = true)]
    async fn where_nobody_can_tell_nothing_is_missing() {
        let world = world(MODELS, |setup| setup.old_esb = true);
        for (model, missing, most) in
            [("set", ids([]), 0), ("app", ids([]), 2), ("host", ids([9_999]), 2)]
        {
            let (told, calls) = world.missing(model, &ids([1, 9_999])).await;
            assert_eq!((told, calls), (missing, most), "{model}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_user_who_may_not_see_instances_is_an_end() {
        let models = MODELS.replace("view = true", "view = false");
        let world = world(&models, |setup| setup.version = Version::V3_14);
        let asker = Asker::new(&world, &world.target, &world.options, 4, 1);
        let halt = Existence::new(&asker).missing(&"app".into(), &ids([1])).await.unwrap_err();
        assert!(halt.message.contains("permission to find instances of app"), "{}", halt.message);
    }
}
