//! Questions about instances: `tests/wire/names-*.json`, word for word.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{Capture, esb, json_of, native, sandbox};
use crate::cmdb::Cmdb;
use crate::cmdb::wire::{
    AnyOf, Attributes, Envelope, InstanceCall, Instances, Page, PropertyValue, Reply, Request,
};
use crate::options::Language;
use crate::sandbox::faults::{Fault, Faults};
use crate::sandbox::server::exchange;
use crate::sandbox::{Endpoint, Sandbox, Setup, Version};
use crate::target::Entrance;

/// What those answers know of.
const WORLD: &str = r#"
    [instances]
    app_svc = ["4-700"]
    db_node = ["20-5000"]
    [[instance]]
    model = "app_svc"
    ids = "2-3"
    bk_inst_name = "app_svc-{n:04}"
    [[instance]]
    model = "bk_switch"
    id = 8033
    bk_inst_name = "core-sw"
    bk_asset_id = "SW-A1"
    [[instance]]
    model = "bk_switch"
    id = 8034
    bk_inst_name = "core-sw"
    bk_asset_id = "SW-A2"
    [[instance]]
    model = "bk_switch"
    id = 8035
    bk_inst_name = "edge, sw=1 机房"
    bk_asset_id = "SW-B1"
    [[instance]]
    model = "host"
    id = 51
    bk_host_innerip = "10.9.0.1"
    bk_asset_id = "AS-000"
    [[instance]]
    model = "host"
    ids = "52-70"
    bk_host_innerip = "{10.9.0.1+n}"
    bk_asset_id = "AS-{n:03}"
    [[instance]]
    model = "host"
    id = 71
    bk_host_innerip = "10.9.1.1,10.9.1.2"
    [[instance]]
    model = "biz"
    id = 2
    bk_biz_name = "蓝鲸"
    [[association]]
    obj_asst_id = "app_svc_run_db_node"
    source = "app_svc"
    target = "db_node"
    mapping = "n:n"
"#;

/// The associations that those answers show, by id.
const STORED: &[(u32, i64, i64)] = &[
    (99_969, 622, 4244),
    (99_971, 563, 23),
    (99_973, 246, 4520),
    (99_974, 624, 4449),
    (99_975, 317, 4547),
    (99_977, 132, 4551),
    (100_100, 592, 4100),
    (100_200, 224, 4062),
];

fn captures(number: u32) -> Vec<Capture> {
    super::captures(&format!("names-{number}"))
}

fn world() -> Sandbox {
    let sandbox = sandbox(WORLD, |_| ());
    for &(id, source, target) in STORED {
        sandbox.state().rows.skip_to(id);
        assert_eq!(sandbox.insert("app_svc_run_db_node", source, target), Some(id.into()));
    }
    sandbox
}

async fn exchanged(sandbox: &Sandbox, capture: &Capture) -> (u16, Value) {
    let asked = &capture.request;
    let language = if capture.id.ends_with(" en") { "en" } else { "zh-cn" };
    let headers = [
        ("BK_USER", "admin"),
        ("HTTP_BLUEKING_SUPPLIER_ID", "0"),
        ("HTTP_BLUEKING_LANGUAGE", language),
    ];
    let line = (asked.method.as_str(), asked.path.as_str());
    let written = exchange(sandbox, Entrance::Native, line, &headers, asked.body()).await.unwrap();
    (written.status, json_of(&written))
}

fn answer_of(capture: &Capture) -> Value {
    serde_json::from_str(&capture.response.body).unwrap()
}

#[tokio::test(start_paused = true)]
async fn instances_hosts_and_lists_are_found_as_by_a_real_cmdb() {
    let sandbox = world();
    let mut compared = 0;
    for capture in [1, 2, 4].into_iter().flat_map(captures) {
        // It counts associations that the other answers do not show.
        if capture.id == "names 4.5" {
            continue;
        }
        let name = &capture.id;
        let expected = (capture.response.status, answer_of(&capture));
        assert_eq!(exchanged(&sandbox, &capture).await, expected, "{name}");
        compared += 1;
    }
    assert_eq!(compared, 23);
}

#[tokio::test(start_paused = true)]
async fn attributes_and_unique_rules_are_those_of_a_real_cmdb() {
    let sandbox = world();
    let mut compared = 0;
    for capture in captures(3) {
        let (_, mut answer) = exchanged(&sandbox, &capture).await;
        let mut expected = answer_of(&capture);
        let name = &capture.id;
        let pairs = expected["data"].as_array_mut().unwrap().iter_mut();
        for (wanted, said) in pairs.zip(answer["data"].as_array_mut().unwrap()) {
            let wanted = wanted.as_object_mut().unwrap();
            wanted.remove("last_time");
            said.as_object_mut().unwrap().retain(|key, _| wanted.contains_key(key));
            assert_eq!(Value::Object(wanted.clone()), *said, "{name}");
            compared += 1;
        }
    }
    assert_eq!(compared, 2 * 11 + 21 + 20 + 1 + 4);
}

#[tokio::test(start_paused = true)]
async fn many_are_deleted_as_by_a_real_cmdb() {
    let sandbox = world();
    let mut compared = 0;
    for capture in captures(5) {
        let expected = (capture.response.status, answer_of(&capture));
        assert_eq!(exchanged(&sandbox, &capture).await, expected, "{}", capture.id);
        compared += 1;
    }
    assert_eq!((compared, sandbox.len()), (7, STORED.len() - 3));
}

#[tokio::test(start_paused = true)]
async fn what_deletes_many_differs_by_version_and_entrance() {
    // The version, the entrance, the number of ids that are gone, and what is answered (docs/cmdb-api.md#deletes).
    for (version, entrance, gone, answered) in [
        (Version::V3_14, Entrance::Native, 1, json!(2)),
        (Version::V3_14, Entrance::Gateway, 0, json!(2)),
        (Version::V3_10_18, Entrance::Esb, 0, json!(2)),
        (Version::V3_10_18, Entrance::Esb, 1, json!(1_199_999)),
        (Version::V3_5, Entrance::Native, 0, json!(1_199_009)),
        (Version::V3_5, Entrance::Esb, 0, Value::Null),
    ] {
        let change = |setup: &mut Setup| (setup.version, setup.entrance) = (version, entrance);
        let sandbox = sandbox(WORLD, change);
        let mut ids =
            [1, 2].map(|n| sandbox.insert("app_svc_run_db_node", n, 20).unwrap()).to_vec();
        ids.extend((0..gone).map(|n| 1_000 + n));
        let request = Request::DeleteMany { obj_id: "app_svc".into(), ids };
        let envelope = ask(&sandbox, request).await;
        let data = envelope.data.as_ref().and_then(|data| serde_json::from_str(data.get()).ok());
        let number = envelope.code().filter(|number| *number != 0).map(Value::from);
        let said = number.or(data).unwrap_or_default();
        assert_eq!(said, answered, "{version:?} {entrance:?}");
        assert_eq!(sandbox.is_empty(), answered == json!(2), "{version:?} {entrance:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_old_esb_has_hosts_and_businesses_and_nothing_else_by_name() {
    let sandbox = sandbox(WORLD, |setup| setup.old_esb = true);
    for &(id, source, target) in &[STORED, &[(100_235, 2, 4449)]].concat() {
        sandbox.state().rows.skip_to(id);
        sandbox.insert("app_svc_run_db_node", source, target).unwrap();
    }
    let mut compared = 0;
    for capture in captures(6) {
        // Components that the sandbox does not have.
        if ["names 6.2", "names 6.12", "names 6.14"].contains(&capture.id.as_str()) {
            continue;
        }
        let component = capture.request.path.trim_end_matches('/').rsplit('/').next().unwrap();
        let mut change: Value = serde_json::from_str(capture.request.body()).unwrap();
        // The helper's own fields must not get in the way.
        change["metadata"] = Value::Null;
        let (status, mut answer) = esb(&sandbox, component, change).await;
        let mut expected = answer_of(&capture);
        for said in [&mut answer, &mut expected] {
            said.as_object_mut().unwrap().remove("request_id");
        }
        let name = &capture.id;
        assert_eq!((status, answer), (capture.response.status, expected), "{name}");
        compared += 1;
    }
    assert_eq!(compared, 11);
}

#[tokio::test(start_paused = true)]
async fn a_newer_esb_and_a_gateway_have_every_question_about_instances() {
    let sandbox = world();
    for (component, body, found) in [
        ("search_object_instances", SEARCH, 1),
        ("search_inst", MONGO, 1),
        ("list_hosts_without_biz", r#"{"page":{"limit":500}}"#, 21),
        ("search_business", r#"{"condition":{"bk_biz_name":"鲸"},"page":{}}"#, 1),
    ] {
        let mut change: Value = serde_json::from_str(body).unwrap();
        change["bk_obj_id"] = "app_svc".into();
        let (_, answer) = esb(&sandbox, component, change).await;
        assert_eq!(answer["data"]["info"].as_array().unwrap().len(), found, "{answer}");
    }
    let headers = [(
        "X-Bkapi-Authorization",
        r#"{"bk_app_code":"sandbox","bk_app_secret":"sandbox-secret","bk_username":"admin"}"#,
    )];
    for (path, body) in [
        ("search/instances/object/app_svc", SEARCH),
        ("open/find/instassociation/object/app_svc", MONGO),
        ("hosts/list_hosts_without_app", r#"{"page":{"limit":500}}"#),
        ("biz/search/0", "{}"),
        ("find/objectattr", r#"{"bk_obj_id":"host"}"#),
    ] {
        let path = format!("/prod/api/v3/{path}");
        let line = ("POST", path.as_str());
        let written = exchange(&sandbox, Entrance::Gateway, line, &headers, body).await.unwrap();
        let answer = json_of(&written);
        assert_eq!((written.status, &answer["bk_error_code"]), (200, &json!(0)), "{path}");
        assert!(!answer["data"].is_null(), "{path}");
    }
}

const SEARCH: &str = r#"{"conditions":{"condition":"AND","rules":[{"field":"bk_inst_name","operator":"in","value":["app_svc-0002"]}]},"page":{"limit":500}}"#;
const MONGO: &str = r#"{"condition":{"app_svc":[{"field":"bk_inst_name","operator":"$in","value":["app_svc-0002"]}]},"page":{"limit":200}}"#;

#[tokio::test(start_paused = true)]
async fn a_3_5_has_no_search_by_rules() {
    let sandbox = sandbox(WORLD, |setup| setup.version = Version::V3_5);
    let search: Value = serde_json::from_str(SEARCH).unwrap();
    let answer = native(&sandbox, "search/instances/object/app_svc", &search).await;
    assert_eq!(answer["bk_error_code"], 1_199_037);
    let mongo: Value = serde_json::from_str(MONGO).unwrap();
    let answer = native(&sandbox, "find/instassociation/object/app_svc", &mongo).await;
    assert_eq!(answer["data"]["info"][0]["bk_inst_id"], 3);
}

#[tokio::test(start_paused = true)]
async fn a_list_is_in_the_order_of_ids_from_either_model_and_in_every_dress() {
    let both = r#"
        [instances]
        app_svc = ["1-5000"]
        db_node = ["1-5000"]
        [[association]]
        obj_asst_id = "app_svc_run_db_node"
        source = "app_svc"
        target = "db_node"
        mapping = "n:n"
        [[association]]
        obj_asst_id = "db_node_group_app_svc"
        source = "db_node"
        target = "app_svc"
        mapping = "n:n"
    "#;
    let sandbox = sandbox(both, |_| ());
    for n in 1..=700 {
        // Sources descend, so that ids are in another order than the pairs.
        sandbox.insert("app_svc_run_db_node", 1_000 - n, n).unwrap();
        sandbox.insert("db_node_group_app_svc", n, n).unwrap();
    }
    sandbox.insert_half("app_svc_run_db_node", 3_000, 3_000).unwrap();
    (3..=9).step_by(2).for_each(|id| assert!(sandbox.remove(id)));
    let of_one =
        json!({"field": "bk_obj_asst_id", "operator": "equal", "value": "app_svc_run_db_node"});
    let behind = json!({"field": "id", "operator": "greater", "value": 1});
    let list = |rules: &[&Value], page: Value| json!({"conditions": {"condition": "AND", "rules": rules}, "fields": ["id"], "page": page});
    let ids = |answer: &Value| -> Vec<i64> {
        let info = answer["data"]["info"].as_array().unwrap();
        info.iter().map(|row| row["id"].as_i64().unwrap()).collect()
    };
    let page = json!({"start": 0, "limit": 500, "sort": "id"});
    let after = list(&[&of_one, &behind], page.clone());
    let first: Vec<i64> = (11..).step_by(2).take(500).collect();
    for model in ["app_svc", "db_node"] {
        let path = format!("search/instance_associations/object/{model}");
        assert_eq!(ids(&native(&sandbox, &path, &after).await), first, "{model}");
        let any = list(&[&behind], page.clone());
        let of_both = ids(&native(&sandbox, &path, &any).await);
        assert_eq!(of_both[..6], [2, 4, 6, 8, 10, 11], "a table has both directions");
        let newest = list(&[&of_one], json!({"start": 0, "limit": 2, "sort": "-id"}));
        // The half row is in its source model's table alone.
        let newest_ids = if model == "app_svc" { [1_401, 1_399] } else { [1_399, 1_397] };
        assert_eq!(ids(&native(&sandbox, &path, &newest).await), newest_ids, "{model}");
        let second = list(&[&of_one], json!({"start": 1, "limit": 2, "sort": "id"}));
        assert_eq!(ids(&native(&sandbox, &path, &second).await), [11, 13]);
    }
    let mut through_esb = after.clone();
    through_esb["bk_obj_id"] = "app_svc".into();
    let (_, answer) = esb(&sandbox, "search_instance_associations", through_esb).await;
    assert_eq!(ids(&answer), first);
    let line = ("POST", "/prod/api/v3/search/instance_associations/object/app_svc");
    let headers = [(
        "X-Bkapi-Authorization",
        r#"{"bk_app_code":"sandbox","bk_app_secret":"sandbox-secret","bk_username":"admin"}"#,
    )];
    let body = after.to_string();
    let written = exchange(&sandbox, Entrance::Gateway, line, &headers, &body).await.unwrap();
    assert_eq!(ids(&json_of(&written)), first);
}

#[tokio::test(start_paused = true)]
async fn a_list_may_lag_and_from_3_13_on_may_be_forbidden() {
    let models = format!("{WORLD}\n[credentials]\nview = false\n");
    let sandbox = sandbox(&models, |setup| {
        setup.faults = Faults::none().with(Fault::ReadLag, 1.0);
    });
    let path = "search/instance_associations/object/app_svc";
    let body = json!({"page": {"limit": 500}});
    for (row, wait, found) in [(1, 0, 0), (2, 1_100, 1), (3, 2_000, 3)] {
        tokio::time::advance(Duration::from_millis(wait)).await;
        sandbox.insert("app_svc_run_db_node", 5, 20 + row).unwrap();
        tokio::time::advance(Duration::from_millis(if row == 3 { 1_100 } else { 0 })).await;
        let answer = native(&sandbox, path, &body).await;
        assert_eq!(answer["data"]["info"].as_array().unwrap().len(), found, "{row}");
    }
    let sandbox = super::sandbox(&models, |setup| setup.version = Version::V3_14);
    for (path, code) in [
        (path, 9_900_403),
        ("find/instassociation", 9_900_403),
        ("search/instances/object/app_svc", 9_900_403),
        ("count/instance_associations/object/app_svc", 0),
    ] {
        let body = json!({"bk_obj_id": "app_svc", "page": {"limit": 500}});
        let answer = native(&sandbox, path, &body).await;
        assert_eq!(answer["bk_error_code"], code, "{path}");
    }
}

/// The question of the tool itself, in process.
async fn ask(sandbox: &Sandbox, request: Request) -> Envelope {
    let Reply::Answered(answer) = sandbox.call(request).await else { panic!("lost") };
    answer.envelope.unwrap()
}

fn question(call: InstanceCall, obj_id: &str, property: &str, values: &[&str]) -> Instances {
    let values = values.iter().map(|text| PropertyValue::Text((*text).into())).collect();
    Instances {
        call,
        obj_id: obj_id.into(),
        any_of: Some(AnyOf { property: property.into(), values }),
        fields: vec![call.id_field().into(), property.into()],
        page: Page { after: None, start: 0, limit: call.page_limit() },
    }
}

async fn ids(sandbox: &Sandbox, question: Instances) -> Vec<i64> {
    let id_field = question.call.id_field();
    let info = ask(sandbox, Request::Instances(question)).await.instances().unwrap().info;
    info.iter().map(|found| found[id_field].as_i64().unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_hundred_thousand_names_are_paged_through_by_id() {
    let models = r#"
        [[instance]]
        model = "app_svc"
        ids = "1001-101000"
        bk_inst_name = "app-{n}"
    "#;
    let sandbox = sandbox(models, |setup| setup.entrance = Entrance::Native);
    let call = InstanceCall::SearchObjectInstances;
    let names: Vec<_> = (1..=100).map(|n| format!("app-{}", n * 1_000)).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let mut asked = question(call, "app_svc", "bk_inst_name", &names);
    asked.page.limit = 40;
    let mut seen: Vec<i64> = Vec::new();
    loop {
        let page = ids(&sandbox, asked.clone()).await;
        seen.extend(&page);
        asked.page.after = page.last().copied();
        if page.len() < 40 {
            break;
        }
    }
    assert_eq!(seen, (1..=100).map(|n| 1_000 + n * 1_000).collect::<Vec<i64>>());
    assert_eq!(sandbox.calls(Endpoint::SearchObjectInstances), 3);
    let all = Instances { any_of: None, ..question(call, "app_svc", "bk_inst_name", &[]) };
    let after = Page { after: Some(100_990), ..all.page };
    assert_eq!(ids(&sandbox, Instances { page: after, ..all }).await.len(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_renamed_instance_goes_by_its_new_name_and_one_that_is_gone_by_none() {
    let sandbox = world();
    let call = InstanceCall::SearchObjectInstances;
    let named = |name| question(call, "bk_switch", "bk_inst_name", &[name]);
    sandbox.put_instance("bk_switch", 8033, json!({"bk_inst_name": "spine"})).unwrap();
    sandbox.put_instance("bk_switch", 9001, json!({"bk_inst_name": "core-sw"})).unwrap();
    assert_eq!(ids(&sandbox, named("spine")).await, [8033]);
    assert_eq!(ids(&sandbox, named("core-sw")).await, [8034, 9001]);
    let by_asset = question(call, "bk_switch", "bk_asset_id", &["SW-A1"]);
    assert_eq!(ids(&sandbox, by_asset).await, [8033], "what was not changed stays");
    sandbox.remove_instance("bk_switch", 8034);
    assert_eq!(ids(&sandbox, named("core-sw")).await, [9001]);
    for (model, properties) in [
        ("bk_switch", json!({"nothing": 1})),
        ("bk_switch", json!({"bk_inst_name": 1})),
        ("nothing", json!({})),
    ] {
        assert!(sandbox.put_instance(model, 1, properties).is_err());
    }
    let hosts = || question(InstanceCall::ListHosts, "host", "bk_host_innerip", &["10.9.1.9"]);
    sandbox.put_instance("host", 51, json!({"bk_host_innerip": "10.9.1.9,10.9.1.2"})).unwrap();
    assert_eq!(ids(&sandbox, hosts()).await, [51]);
    // An instance that is gone is not there for a create either.
    sandbox.remove_instance("app_svc", 5);
    let create =
        json!({"bk_obj_asst_id": "app_svc_run_db_node", "bk_inst_id": 5, "bk_asst_inst_id": 20});
    let answer = native(&sandbox, "create/instassociation", &create).await;
    assert_eq!(answer["bk_error_code"], 1_101_073);
}

#[tokio::test(start_paused = true)]
async fn an_address_in_two_clouds_and_one_of_version_6_are_found() {
    let models = r#"
        [[instance]]
        model = "host"
        id = 1
        bk_host_innerip = ["10.0.0.1"]
        [[instance]]
        model = "host"
        id = 2
        bk_host_innerip = "10.0.0.1"
        bk_cloud_id = 5
        bk_host_innerip_v6 = "fd00::1"
    "#;
    let sandbox = sandbox(models, |_| ());
    let call = InstanceCall::ListHosts;
    let mut asked = question(call, "host", "bk_host_innerip", &["10.0.0.1"]);
    asked.fields.push("bk_cloud_id".into());
    let read = ask(&sandbox, Request::Instances(asked)).await.instances().unwrap();
    let clouds: Vec<_> = read.info.iter().map(|host| &host["bk_cloud_id"]).collect();
    assert_eq!((read.count, clouds), (Some(2), vec![&json!(0), &json!(5)]));
    let asked = question(call, "host", "bk_host_innerip_v6", &["FD00:0::1"]);
    let read = ask(&sandbox, Request::Instances(asked)).await.instances().unwrap();
    let long = "fd00:0000:0000:0000:0000:0000:0000:0001";
    let wanted = json!({"bk_host_id": 2, "bk_host_innerip_v6": long});
    assert_eq!(read.info, [wanted.as_object().unwrap().clone()]);
}

#[tokio::test(start_paused = true)]
async fn declared_attributes_have_both_names_and_their_options() {
    let models = r#"
        [[attribute]]
        model = "app_svc"
        id = "tier"
        type = "enum"
        zh = "层级"
        en = "tier level"
        options = [["1", "核心"], ["2", "普通"]]
        [[attribute]]
        model = "app_svc"
        id = "port"
        type = "int"
        [[unique]]
        model = "app_svc"
        keys = ["tier", "port"]
        [[instance]]
        model = "app_svc"
        id = 7
        bk_inst_name = "a"
        tier = "2"
        port = 80
    "#;
    let sandbox = sandbox(models, |_| ());
    for (language, name) in [(Language::Zh, "层级"), (Language::En, "tier level")] {
        let request = Request::Attributes(Attributes { obj_id: "app_svc".into(), language });
        let read = ask(&sandbox, request).await.attributes().unwrap();
        let ids: Vec<_> = read.iter().map(|one| one.property_id.as_str()).collect();
        assert_eq!(ids, ["bk_inst_name", "tier", "port"]);
        assert_eq!((read[1].name.as_str(), read[1].kind.as_str()), (name, "enum"));
        let options = [("1", "核心"), ("2", "普通")];
        assert_eq!(read[1].options, options.map(|(id, name)| (id.to_owned(), name.to_owned())));
        assert_eq!((read[2].name.as_str(), read[2].kind.as_str()), ("port", "int"));
    }
    let call = InstanceCall::SearchObjectInstances;
    let mut asked = question(call, "app_svc", "port", &[]);
    for (value, found) in [(PropertyValue::Integer(80), 1), (PropertyValue::Text("80".into()), 0)] {
        asked.any_of = Some(AnyOf { property: "port".into(), values: vec![value] });
        assert_eq!(ids(&sandbox, asked.clone()).await.len(), found);
    }
    let rules = native(&sandbox, "find/objectunique/object/app_svc", &Map::new().into()).await;
    let keys: Vec<_> = rules["data"][0]["keys"].as_array().unwrap().iter().collect();
    assert_eq!(keys.len(), 2);
}
