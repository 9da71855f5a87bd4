//! How names are asked for.

use std::time::Duration;

use serde_json::json;

use super::super::*;
use super::world::*;
use crate::cmdb::wire::code::ESB_NO_COMPONENT;
use crate::cmdb::wire::{Answer, Envelope, InstanceCall, PropertyValue, Reply, Request, Route};
use crate::exit::Exit;
use crate::options;
use crate::sandbox::Quota;
use crate::sandbox::models::Models as SandboxModels;
use crate::target::Entrance;

const NO_SWITCH: &str = "unresolvable: column source: no bk_switch can be found by name: this ESB has no \
    call for that (hosts and businesses alone can be named): use --entrance gateway or native, or have \
    its administrator set up CMDB's own list of components (cc.yaml of 3.11 or newer); or put ids";

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

#[tokio::test(start_paused = true)]
async fn the_older_call_is_asked_where_the_newer_one_is_missing() {
    let world = World::new().instead(|request, _| {
        let lacks = request.route() == Route::SearchObjectInstances;
        lacks.then(|| says_code(ESB_NO_COMPONENT, "no such component"))
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
    // There is one, and nobody can say which.
    says(by_name("b").await, &["unresolvable:", "without a valid id"]);
}

/// What stands in between may cut pages, and the count tells.
#[tokio::test(start_paused = true)]
async fn a_page_that_is_shorter_than_asked_for_does_not_hide_a_second_instance() {
    for counted in [4, 400] {
        let world = World::new().instead(move |request, _| {
            let Request::Instances(asked) = request else { return None };
            if asked.call != InstanceCall::ListHosts {
                return None;
            }
            let host = |(id, n): (u64, u64)| {
                json!({"bk_host_id": id, "bk_host_innerip": format!("10.0.0.{n}"), "bk_cloud_id": 0})
            };
            let hosts = [(1, 1), (2, 2), (3, 3), (4, 1)].map(host);
            let after = |host: &serde_json::Value| host["bk_host_id"].as_i64() > asked.page.after;
            let info: Vec<_> = hosts.into_iter().filter(after).take(2).collect();
            let body = json!({"result": true, "code": 0, "data": {"count": counted, "info": info}});
            let envelope = Envelope::parse(body.to_string().as_bytes());
            Some(Reply::Answered(Answer { status: 200, envelope, ..Answer::default() }))
        });
        says(world.host("10.0.0.1").await, &["ambiguous-target", "ids 1, 4"]);
        assert_eq!(world.host("10.0.0.3").await, Ok(3));
        says(world.host("10.0.0.9").await, &["missing-target"]);
    }
}

/// Of two instances one has an id that there can't be: which is meant nobody can say.
#[tokio::test(start_paused = true)]
async fn an_instance_without_a_valid_id_is_not_passed_over() {
    for id in [json!(null), json!("8"), json!(0), json!(-8), json!(8.5), json!(1_u64 << 63)] {
        let world = World::new().instead(move |request, _| {
            let Request::Instances(asked) = request else { return None };
            let other = json!({"bk_inst_id": id, "bk_inst_name": "a"});
            let info = json!([{"bk_inst_id": 7, "bk_inst_name": "a"}, other]);
            (&*asked.obj_id == "bk_switch").then(|| found(&info))
        });
        says(world.switch("a").await, &["unresolvable:", "without a valid id"]);
    }
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
        let bad = values.contains(&PropertyValue::Text("bad".into()));
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

#[tokio::test(start_paused = true)]
async fn more_instances_than_a_page_holds_are_counted_and_more_than_many_pages_are_at_least_so_many()
 {
    for lacks in [false, true] {
        let world = World::of_toml(NAMED_ALIKE).instead(move |request, _| {
            let newer = request.route() == Route::SearchObjectInstances && lacks;
            newer.then(|| says_code(ESB_NO_COMPONENT, "none"))
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
        lacks.then(|| says_code(ESB_NO_COMPONENT, "none"))
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
    let mut world = World::new().instead(|request, _| {
        // A page in plain text, as an apiserver gives it.
        let lacks = matches!(request, Request::Attributes(_));
        lacks.then(|| Reply::Answered(Answer { status: 404, ..Answer::default() }))
    });
    world.options.models = vec![options::model("bk_switch_belong_bk_host=bk_switch,host").unwrap()];
    assert_eq!(world.one(ON_HOST, "sw-14", "10.0.0.40").await, Ok((14, 40)));
    assert!(!world.routes().contains(&Route::Models));
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
async fn a_queue_is_full_by_rows_or_by_bytes() {
    let world = World::new();
    let asker = Asker::new(&world, &world.target, &world.options, 4, 1);
    let headway = Headway::default();
    for (name, most) in [("sw-14".to_owned(), MOST_ROWS), ("x".repeat(1 << 20), 16)] {
        let cells = RowParser::new(None, false);
        let mut planner = Planner::new(&asker, &[], &world.naming, cells, &headway);
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

#[tokio::test(start_paused = true)]
async fn the_servers_limit_is_kept_and_costs_no_answer() {
    let quota = Quota { calls: 10, window: Duration::from_secs(1) };
    let world = World::of(SandboxModels::from_toml(LARGE).unwrap(), |setup| {
        setup.entrance = Entrance::Gateway;
        setup.quota = Some(quota);
    });
    let (out, _) = world.plan(drawn(20_000, 40_000).map(|(row, ..)| row)).await;
    for (planned, (_, app, node)) in out.iter().zip(drawn(20_000, 40_000)) {
        assert_eq!(told(planned), Ok((app, node)));
    }
    assert!(world.calls.get() <= 70, "{}", world.calls.get());
}

/// A server that gives the same full page again and again may hide a second instance.
#[tokio::test(start_paused = true)]
async fn pages_that_never_end_prove_nothing_and_are_not_read_for_ever() {
    for lacks in [false, true] {
        let world = World::of_toml(LARGE).instead(move |request, _| {
            let Request::Instances(asked) = request else { return None };
            if lacks && request.route() == Route::SearchObjectInstances {
                return Some(says_code(ESB_NO_COMPONENT, "none"));
            }
            let one = |id| json!({"bk_inst_id": id, "bk_inst_name": format!("app-{id}")});
            let page: Vec<_> = (1..=u64::from(asked.page.limit)).map(one).collect();
            Some(found(&page.into()))
        });
        let rows = [
            row(0, "app_run_node", "app-7", "bk_inst_id=1"),
            row(1, "app_run_node", "app-0", "bk_inst_id=1"),
        ];
        let (out, _) = world.plan(rows).await;
        for planned in &out {
            says(
                told(planned),
                &["unresolvable: column source: ", "more instances than can be read"],
            );
        }
        assert!(world.calls.get() < 40, "{}", world.calls.get());
    }
}
