//! The sandbox, held against what real servers answered.

mod names;

use serde::Deserialize;
use serde_json::{Value, json};

use super::dialect::Written;
use super::models::Models;
use super::server::exchange;
use super::{Sandbox, Setup, Version};
use crate::cmdb::Cmdb;
use crate::cmdb::wire::{Reply, Request};
use crate::options::Language;
use crate::target::Entrance;

/// Answers of `tests/wire/cmdb-*.json` that the sandbox does not give: of calls that it does not have, of a
/// body that was not kept whole, and of another server.
const NOT_OURS: [&str; 6] =
    ["cmdb 6.15", "cmdb 8.8", "cmdb 10.1", "cmdb 10.5", "cmdb 11.1", "cmdb 11.2"];

/// The models of answers 1 to 9, behind the five that every CMDB has.
const MODELS: &str = r#"
    [instances]
    biz = ["2"]
    set = []
    module = []
    host = ["1"]
    app_svc = ["3-62", "123-272"]
    db_node = ["63-122", "273-422"]
    [[association]]
    obj_asst_id = "set_bk_mainline_biz"
    source = "set"
    target = "biz"
    mapping = "1:1"
    [[association]]
    obj_asst_id = "module_bk_mainline_set"
    source = "module"
    target = "set"
    mapping = "1:1"
    [[association]]
    obj_asst_id = "host_bk_mainline_module"
    source = "host"
    target = "module"
    mapping = "1:1"
    [[association]]
    obj_asst_id = "host_default_host"
    source = "host"
    target = "host"
    mapping = "n:n"
    [[association]]
    obj_asst_id = "biz_default_host"
    source = "biz"
    target = "host"
    mapping = "n:n"
    [[association]]
    obj_asst_id = "app_svc_run_db_node"
    name = "n:n test"
    source = "app_svc"
    target = "db_node"
    mapping = "n:n"
    [[association]]
    obj_asst_id = "app_svc_belong_db_node"
    name = "1:n test"
    source = "app_svc"
    target = "db_node"
    mapping = "1:n"
    [[association]]
    obj_asst_id = "app_svc_connect_db_node"
    name = "1:1 test"
    source = "app_svc"
    target = "db_node"
    mapping = "1:1"
"#;

/// The models that answers 10 add.
const MORE_MODELS: &str = r#"
    [[association]]
    obj_asst_id = "app_svc_run_host"
    name = "runs on"
    source = "app_svc"
    target = "host"
    mapping = "n:n"
    [[association]]
    obj_asst_id = "app_svc_group_app_svc"
    source = "app_svc"
    target = "app_svc"
    mapping = "n:n"
"#;

fn sandbox(models: &str, change: impl FnOnce(&mut Setup)) -> Sandbox {
    let mut setup = Setup::new(Models::from_toml(models).unwrap());
    change(&mut setup);
    Sandbox::new(setup).unwrap()
}

#[derive(Deserialize)]
struct Capture {
    #[serde(rename = "capture")]
    id: String,
    request: Asked,
    response: Answered,
}

#[derive(Deserialize)]
struct Asked {
    method: String,
    path: String,
    headers: Vec<String>,
    /// Null where it was not kept.
    body: Option<String>,
}

impl Asked {
    fn body(&self) -> &str {
        self.body.as_deref().unwrap_or_default()
    }
}

#[derive(Deserialize)]
struct Answered {
    status: u16,
    headers: Vec<String>,
    body: String,
}

/// The answers of a file of `tests/wire`.
fn captures(file: &str) -> Vec<Capture> {
    let path = format!("{}/tests/wire/{file}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn split(header: &str) -> (&str, &str) {
    header.split_once(": ").unwrap()
}

/// Whether a header of an answer is the same whenever it is asked for.
fn is_telling(header: &(&str, &str)) -> bool {
    match *header {
        ("Allow", _) => true,
        ("Cc_request_id", id) => !id.starts_with("cc0000"),
        _ => false,
    }
}

/// Sends a chapter's requests one after another and compares every answer; returns how many.
async fn replay(sandbox: &Sandbox, chapters: impl IntoIterator<Item = u32>) -> usize {
    let mut compared = 0;
    let all = chapters.into_iter().flat_map(|number| captures(&format!("cmdb-{number:02}")));
    for Capture { id, request, response } in all {
        if NOT_OURS.contains(&id.as_str()) {
            continue;
        }
        let headers: Vec<_> = request.headers.iter().map(|header| split(header)).collect();
        let line = (request.method.as_str(), request.path.as_str());
        let written = exchange(sandbox, Entrance::Native, line, &headers, request.body()).await;
        let written = written.unwrap();
        assert_eq!(written.status, response.status, "{id}");
        let headers = response.headers.iter().map(|header| split(header));
        for (name, value) in headers.clone().filter(is_telling) {
            let sent = written.headers.iter().any(|(n, v)| *n == name && v == value);
            assert!(sent, "{id}: {name}: {value}");
        }
        let mut content_type = headers.filter(|(name, _)| *name == "Content-Type");
        assert_eq!(content_type.next(), Some(("Content-Type", written.content_type)), "{id}");
        match serde_json::from_str::<Value>(&response.body) {
            Ok(answer) => assert_eq!(json_of(&written), answer, "{id}"),
            Err(_) => assert_eq!(written.body, response.body.trim(), "{id}"),
        }
        compared += 1;
    }
    compared
}

fn json_of(written: &Written) -> Value {
    serde_json::from_str(&written.body).unwrap()
}

#[tokio::test(start_paused = true)]
async fn answers_1_to_8_are_those_of_a_real_cmdb() {
    let sandbox = sandbox(MODELS, |_| ());
    assert_eq!(replay(&sandbox, 1..=8).await, 92);
}

#[tokio::test(start_paused = true)]
async fn answers_10_and_11_are_those_of_a_real_cmdb() {
    let sandbox = sandbox(&format!("{MODELS}{MORE_MODELS}"), |_| ());
    sandbox.state().rows.skip_to(1976);
    assert_eq!(replay(&sandbox, [10]).await, 6);
    assert_eq!(sandbox.insert("app_svc_run_db_node", 263, 413), Some(1980));
    assert_eq!(replay(&sandbox, [11]).await, 5);
}

#[tokio::test(start_paused = true)]
async fn a_batch_of_201_is_refused_whole() {
    let sandbox = sandbox(MODELS, |_| ());
    let detail = json!({"bk_inst_id": 23, "bk_asst_inst_id": 93});
    let body = json!({
        "bk_obj_id": "app_svc", "bk_asst_obj_id": "db_node",
        "bk_obj_asst_id": "app_svc_run_db_node", "details": vec![detail; 201],
    });
    let answer = native(&sandbox, "createmany/instassociation", &body).await;
    assert_eq!(answer["bk_error_code"], 1_199_035);
    assert_eq!(answer["bk_error_msg"], " details 超过限制 200");
    assert!(sandbox.is_empty());
}

async fn native(sandbox: &Sandbox, path: &str, body: &Value) -> Value {
    let path = format!("/api/v3/{path}");
    let headers = [("BK_USER", "admin"), ("HTTP_BLUEKING_SUPPLIER_ID", "0")];
    let line = ("POST", path.as_str());
    let body = body.to_string();
    json_of(&exchange(sandbox, Entrance::Native, line, &headers, &body).await.unwrap())
}

fn pair(name: &str, source: i64, target: i64) -> Value {
    json!({"bk_obj_asst_id": name, "bk_inst_id": source, "bk_asst_inst_id": target})
}

#[tokio::test(start_paused = true)]
async fn each_version_has_its_own_codes() {
    // The codes of a taken target, a number as business id, broken JSON, and a text as id
    // (docs/cmdb-api.md#versions).
    for (version, taken, business, broken, text) in [
        (Version::V3_5, 1_101_061, 1_199_000, 1_199_000, 1_199_006),
        (Version::V3_10_18, 1_101_052, 0, 1_199_006, 1_199_006),
        (Version::V3_14, 1_101_061, 0, 1_199_006, 1_199_006),
    ] {
        let sandbox = sandbox(MODELS, |setup| setup.version = version);
        sandbox.insert("app_svc_belong_db_node", 3, 63);
        let create = "create/instassociation";
        let answer = native(&sandbox, create, &pair("app_svc_belong_db_node", 4, 63)).await;
        assert_eq!(answer["bk_error_code"], taken, "{version:?}");
        let mut with_number = pair("app_svc_run_db_node", 3, 63);
        with_number["metadata"] = json!({"label": {"bk_biz_id": 1}});
        let answer = native(&sandbox, create, &with_number).await;
        assert_eq!(answer["bk_error_code"], business, "{version:?}");
        let answer = native(&sandbox, create, &json!([])).await;
        assert_eq!(answer["bk_error_code"], broken, "{version:?}");
        let mut with_text = pair("app_svc_run_db_node", 3, 63);
        with_text["bk_inst_id"] = json!("3");
        let answer = native(&sandbox, create, &with_text).await;
        assert_eq!(answer["bk_error_code"], text, "{version:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_3_5_looks_up_and_deletes_without_a_model_and_has_no_batch() {
    let sandbox = sandbox(MODELS, |setup| setup.version = Version::V3_5);
    let id = sandbox.insert("app_svc_run_db_node", 3, 63).unwrap();
    let found =
        native(&sandbox, "find/instassociation", &json!({"condition": {"bk_inst_id": 3}})).await;
    assert_eq!(found["data"][0]["id"], id);
    let headers = [("BK_USER", "admin"), ("HTTP_BLUEKING_SUPPLIER_ID", "0")];
    for (method, path, status) in [
        ("POST", "/api/v3/createmany/instassociation", 404),
        ("POST", "/api/v3/search/instance_associations/object/app_svc", 404),
        ("DELETE", "/api/v3/delete/instassociation/app_svc/1", 404),
        ("DELETE", "/api/v3/delete/instassociation/1", 200),
    ] {
        let written = exchange(&sandbox, Entrance::Native, (method, path), &headers, "{}").await;
        assert_eq!(written.unwrap().status, status, "{path}");
    }
    assert!(sandbox.is_empty());
    let again = ("DELETE", "/api/v3/delete/instassociation/1");
    let written = exchange(&sandbox, Entrance::Native, again, &headers, "").await.unwrap();
    assert_eq!(json_of(&written)["bk_error_code"], 1_199_019);
}

#[tokio::test(start_paused = true)]
async fn search_pages_and_counts_only_what_a_model_is_the_source_of() {
    let sandbox = sandbox(MODELS, |_| ());
    for target in 63..=66 {
        sandbox.insert("app_svc_run_db_node", 3, target);
    }
    let search = "search/instance_associations/object/db_node";
    let body = json!({"fields": ["id"], "page": {"start": 1, "limit": 2}});
    let answer = native(&sandbox, search, &body).await;
    assert_eq!(answer["data"], json!({"info": [{"id": 2}, {"id": 3}]}));
    for limit in [0, 501] {
        let answer = native(&sandbox, search, &json!({"page": {"limit": limit}})).await;
        assert_eq!(answer["bk_error_code"], 1_199_006);
        assert_eq!(answer["bk_error_msg"], "'page.limit' 数据参数校验不通过");
    }
    for (model, count) in [("app_svc", 4), ("db_node", 0)] {
        let path = format!("count/instance_associations/object/{model}");
        assert_eq!(native(&sandbox, &path, &json!({})).await["data"]["count"], count);
    }
}

#[tokio::test(start_paused = true)]
async fn an_or_of_pairs_finds_them_and_an_empty_one_is_refused() {
    let sandbox = sandbox(MODELS, |_| ());
    sandbox.insert("app_svc_run_db_node", 11, 111);
    sandbox.insert("app_svc_run_db_node", 12, 112);
    let find = |any: Value| json!({"bk_obj_id": "app_svc", "condition": {"bk_obj_asst_id": "app_svc_run_db_node", "$or": any}});
    let path = "find/instassociation";
    let pairs = json!([
        {"bk_inst_id": 12, "bk_asst_inst_id": 112},
        {"bk_inst_id": 11, "bk_asst_inst_id": 111},
        {"bk_inst_id": 11, "bk_asst_inst_id": 112},
    ]);
    let answer = native(&sandbox, path, &find(pairs)).await;
    let ids: Vec<_> = answer["data"].as_array().unwrap().iter().map(|row| &row["id"]).collect();
    assert_eq!(ids, [1, 2]);
    assert_eq!(native(&sandbox, path, &find(json!([]))).await["bk_error_code"], 1_199_998);
}

#[tokio::test(start_paused = true)]
async fn a_batch_of_an_unknown_association_is_refused_whole_by_3_14_and_item_by_item_before() {
    let body = json!({
        "bk_obj_id": "app_svc", "bk_asst_obj_id": "db_node",
        "bk_obj_asst_id": "app_svc_nosuch_db_node",
        "details": [{"bk_inst_id": 23, "bk_asst_inst_id": 93}],
    });
    for (version, code) in [(Version::V3_10_18, 0), (Version::V3_14, 1_101_046)] {
        let sandbox = sandbox(MODELS, |setup| setup.version = version);
        let answer = native(&sandbox, "createmany/instassociation", &body).await;
        assert_eq!(answer["bk_error_code"], code, "{version:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_account_that_owns_nothing_sees_the_models_and_no_rows() {
    // tests/wire/cmdb-05.json#5.10, and what follows from it.
    let sandbox = sandbox(MODELS, |_| ());
    let change = json!({"bk_supplier_account": "tencent"});
    let (_, answer) = esb(&sandbox, "add_instance_association", change).await;
    assert_eq!(answer["code"], 1_101_073);
    sandbox.insert("app_svc_run_db_node", 11, 111);
    for (account, rows) in [("0", 1), ("tencent", 0)] {
        let find = json!({"bk_supplier_account": account, "bk_obj_id": "app_svc", "condition": {}});
        let (_, answer) = esb(&sandbox, "find_instance_association", find).await;
        assert_eq!(answer["data"].as_array().unwrap().len(), rows, "{account}");
        let ask = json!({"bk_obj_asst_id": "app_svc_run_db_node"});
        let ask = json!({"bk_supplier_account": account, "condition": ask});
        let (_, answer) = esb(&sandbox, "find_object_association", ask).await;
        assert_eq!(answer["data"].as_array().unwrap().len(), 1, "{account}");
    }
}

/// An ESB's call with credentials, some of them changed.
async fn esb(sandbox: &Sandbox, component: &str, change: Value) -> (u16, Value) {
    let mut body = json!({
        "bk_app_code": "sandbox", "bk_app_secret": "sandbox-secret", "bk_username": "admin",
        "bk_obj_asst_id": "app_svc_run_db_node", "bk_inst_id": 11, "bk_asst_inst_id": 111,
        "metadata": {"label": {"bk_biz_id": "3"}},
    });
    for (key, value) in change.as_object().unwrap() {
        body[key] = value.clone();
    }
    let path = format!("/api/c/compapi/v2/cc/{component}/");
    esb_raw(sandbox, ("POST", &path), &[], &body.to_string()).await
}

async fn esb_raw(
    sandbox: &Sandbox,
    line: (&str, &str),
    headers: &[(&str, &str)],
    body: &str,
) -> (u16, Value) {
    let written = exchange(sandbox, Entrance::Esb, line, headers, body).await.unwrap();
    (written.status, serde_json::from_str(&written.body).unwrap_or_default())
}

const NO_SECRET: &str =
    "Signature [bk_signature] and APP Secret [bk_app_secret] cannot be empty at the same time";
const NO_IDENTITY: &str = "User authentication failed, please provide a valid user identity, such as bk_token, bk_username";
const BAD_TOKEN: &str = "User authentication failed, please check if the bk_token is valid";

#[tokio::test(start_paused = true)]
async fn the_esb_checks_credentials_in_its_order_and_words() {
    for (section, change, message) in [
        ("2.1", json!({"bk_app_code": null}), "APP Code [bk_app_code] cannot be empty"),
        (
            "2.2",
            json!({"bk_app_code": "no_such_app"}),
            "Invalid APP Code [bk_app_code=no_such_app], please confirm if the APP Code has been registered",
        ),
        (
            "2.3",
            json!({"bk_app_secret": "wrong"}),
            "APP Secret verification failed, pelase confirm if the APP Secret and APP Code [bk_app_code=sandbox] match",
        ),
        ("2.4", json!({"bk_app_secret": null}), NO_SECRET),
        ("2.5", json!({"bk_username": null}), NO_IDENTITY),
        ("2.7", json!({"bk_username": null, "bk_token": "bad"}), BAD_TOKEN),
        ("2.9", json!({"bk_token": "bad"}), BAD_TOKEN),
        (
            "2.11",
            json!({"bk_access_token": "nope"}),
            "The specified user TOKEN [bk_access_token] does not exist",
        ),
    ] {
        let sandbox = sandbox(MODELS, |_| ());
        let (status, answer) = esb(&sandbox, "add_instance_association", change).await;
        assert_eq!((status, &answer["code"]), (200, &json!(1_306_000)), "{section}");
        assert_eq!(answer["message"], message, "{section}");
        assert_eq!(
            (&answer["result"], &answer["data"]),
            (&json!(false), &Value::Null),
            "{section}"
        );
        assert_eq!(answer["request_id"].as_str().unwrap().len(), 32, "{section}");
        assert!(sandbox.is_empty(), "{section}");
    }
    let untrusted = sandbox(MODELS, |setup| setup.models.credentials.trusted = false);
    let (_, answer) = esb(&untrusted, "add_instance_association", json!({})).await;
    assert_eq!(answer["message"], NO_IDENTITY, "2.6");
}

#[tokio::test(start_paused = true)]
async fn the_esb_lets_through_what_a_real_one_did() {
    for (section, change) in [
        ("1.1", json!({})),
        ("2.8", json!({"bk_username": null, "bk_token": "sandbox-token"})),
        (
            "2.12",
            json!({"bk_app_code": null, "bk_app_secret": null, "bk_username": null,
            "app_code": "sandbox", "app_secret": "sandbox-secret", "username": "admin"}),
        ),
    ] {
        let sandbox = sandbox(MODELS, |_| ());
        let (status, answer) = esb(&sandbox, "add_instance_association", change).await;
        assert_eq!((status, &answer["code"]), (200, &json!(0)), "{section}");
        let mut keys: Vec<_> = answer.as_object().unwrap().keys().collect();
        keys.sort();
        assert_eq!(keys, ["code", "data", "message", "request_id", "result"], "{section}");
        assert_eq!(answer["data"], json!({"id": 1}), "{section}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_esb_reads_bodies_and_paths_as_a_real_one_did() {
    const PATH: &str = "/api/c/compapi/v2/cc/add_instance_association/";
    const BODY: &str = r#"{"bk_app_code":"sandbox","bk_app_secret":"sandbox-secret","bk_username":"admin","bk_obj_asst_id":"app_svc_run_db_node","bk_inst_id":11,"bk_asst_inst_id":111}"#;
    const FORM: &str = "bk_app_code=sandbox&bk_app_secret=sandbox%2Dsecret&bk_username=admin&bk_obj_asst_id=app_svc_run_db_node&bk_inst_id=11&bk_asst_inst_id=111";
    let catch_all = Some(1_306_000);
    let in_query = format!("{PATH}?{FORM}");
    let spaced = format!(" \n{BODY}");
    let marked = format!("\u{feff}{BODY}");
    let listed = format!("[{BODY}]");
    for (section, method, path, body, status, code) in [
        ("3.1", "POST", PATH, "{\"bk_app_code\": \"bulk_app\", ", 200, catch_all),
        ("3.2", "POST", PATH, "hello", 200, catch_all),
        ("3.3", "POST", PATH, "", 200, catch_all),
        ("3.4", "POST", PATH, "{}", 200, catch_all),
        ("3.5", "POST", PATH, &listed, 200, catch_all),
        ("3.6", "POST", PATH, &marked, 200, catch_all),
        ("3.7", "POST", PATH, &spaced, 200, Some(0)),
        // A form's ids reach CMDB as texts, which it can't decode.
        ("3.10", "POST", PATH, FORM, 200, Some(1_199_006)),
        ("4.1", "POST", "/api/c/compapi/v2/cc/add_instance_asociation/", BODY, 404, None),
        ("4.2", "POST", "/api/c/compapi/v2/cmdb/add_instance_association/", BODY, 404, None),
        ("4.3", "POST", "/api/c/compapi/cc/add_instance_association/", BODY, 404, None),
        ("4.4", "POST", "/c/compapi/v2/cc/add_instance_association/", BODY, 404, None),
        ("4.6", "POST", "/api/c/compapi/v2/cc/add_instance_association", BODY, 200, Some(0)),
        ("4.7", "POST", "/api/c/compapi/v2//cc/add_instance_association/", BODY, 200, Some(0)),
        ("4.8", "POST", "/API/C/compapi/v2/cc/ADD_instance_association/", BODY, 200, Some(0)),
        ("4.9", "GET", PATH, "", 200, catch_all),
        ("4.10", "GET", &in_query, "", 200, Some(1_199_006)),
        ("4.11", "PUT", PATH, BODY, 404, None),
        ("4.11", "DELETE", PATH, BODY, 404, None),
        ("4.13", "OPTIONS", PATH, "", 404, None),
    ] {
        let sandbox = sandbox(MODELS, |_| ());
        let (got, answer) = esb_raw(&sandbox, (method, path), &[], body).await;
        assert_eq!((got, answer["code"].as_i64()), (status, code), "{section}: {answer}");
        if section == "3.1" {
            let wrong = "Request JSON string is wrong in format, which cannot be analyzed.";
            assert_eq!(answer["message"], wrong);
        } else if code == catch_all {
            assert_eq!(answer["message"], NO_SECRET, "{section}");
        } else if section.starts_with("4.1") && status == 404 {
            let gone =
                json!({"message": "The content does not exist", "data": null, "result": false});
            assert_eq!(answer, gone, "{section}");
        }
    }
    let sandbox = sandbox(MODELS, |_| ());
    let header = [("X-Use-Test-Env", "1")];
    let (_, answer) = esb_raw(&sandbox, ("POST", PATH), &header, BODY).await;
    assert_eq!(answer["code"], 1_306_206, "5.9");
    let header = [("Blueking-Language", "zh-cn")];
    sandbox.insert("app_svc_run_db_node", 11, 111);
    let (_, answer) = esb_raw(&sandbox, ("POST", PATH), &header, BODY).await;
    assert_eq!(answer["message"], "数据唯一性校验失败， association 重复", "5.2");
}

#[tokio::test(start_paused = true)]
async fn the_chain_answers_as_a_real_esb_before_a_real_cmdb_did() {
    let sandbox = sandbox(MODELS, |setup| setup.old_esb = true);
    let (_, answer) = esb(&sandbox, "add_instance_association", json!({})).await;
    assert_eq!((&answer["code"], &answer["message"]), (&json!(0), &json!("success")));
    let (_, answer) = esb(&sandbox, "add_instance_association", json!({})).await;
    assert_eq!(answer["code"], 1_199_014);
    let duplicated = "duplicated instances exist, fields [association] duplicated";
    assert_eq!(answer["message"], duplicated);
    let find = json!({"bk_obj_id": "app_svc", "condition": pair("app_svc_run_db_node", 11, 111)});
    let (_, answer) = esb(&sandbox, "find_instance_association", find).await;
    assert_eq!(
        answer["data"],
        json!([{
            "bk_asst_inst_id": 111, "bk_asst_obj_id": "db_node", "bk_obj_id": "app_svc",
            "bk_asst_id": "run", "bk_supplier_account": "0", "bk_inst_id": 11,
            "bk_obj_asst_id": "app_svc_run_db_node", "id": 1,
        }])
    );
    let names = json!({"$in": ["app_svc_run_db_node", "app_svc_belong_db_node", "nope"]});
    let ask = json!({"condition": {"bk_obj_asst_id": names}});
    let (_, answer) = esb(&sandbox, "find_object_association", ask).await;
    assert_eq!(answer["data"].as_array().unwrap().len(), 2);
    let (status, answer) = esb(&sandbox, "batch_create_instance_association", json!({})).await;
    assert_eq!((status, answer.get("code")), (404, None));
    let delete = json!({"id": 1, "bk_obj_id": "app_svc"});
    let (status, answer) = esb(&sandbox, "delete_instance_association", delete).await;
    assert_eq!((status, &answer["code"]), (200, &json!(1_306_000)));
    assert_eq!(
        answer["message"],
        "Request interface error, the response content is not a json string: 404: Page Not Found"
    );
    assert_eq!(sandbox.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_newer_esb_deletes_by_model_and_id_and_says_what_is_missing() {
    let sandbox = sandbox(MODELS, |_| ());
    esb(&sandbox, "add_instance_association", json!({})).await;
    let (_, answer) = esb(&sandbox, "delete_instance_association", json!({"id": 1})).await;
    assert_eq!(answer["code"], 1_306_406);
    assert_eq!(answer["message"], "Parameters error, param bk_obj_id is required");
    let delete = json!({"id": 1, "bk_obj_id": "db_node"});
    let (_, answer) = esb(&sandbox, "delete_instance_association", delete).await;
    assert_eq!((&answer["code"], &answer["data"]), (&json!(0), &Value::Null));
    assert!(sandbox.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_app_may_not_make_the_calls_that_are_denied_to_it() {
    let denied = vec!["add_instance_association".to_owned()];
    let deny = |setup: &mut Setup| setup.models.credentials.denied.clone_from(&denied);
    let closed = sandbox(MODELS, deny);
    let (_, mut answer) = esb(&closed, "add_instance_association", json!({})).await;
    let captures: Vec<Value> =
        serde_json::from_str(include_str!("../../tests/wire/esb-6.json")).unwrap();
    let real = captures.iter().find(|capture| capture["capture"] == "esb 6.2").unwrap();
    let mut real: Value = serde_json::from_str(real["response"]["body"].as_str().unwrap()).unwrap();
    for body in [&mut answer, &mut real] {
        body["request_id"] = Value::Null;
    }
    assert_eq!(answer, real);
    let (_, answer) = esb(&closed, "find_instance_association", json!({})).await;
    assert_ne!(answer["code"], real["code"], "others are open");
    let authorization =
        r#"{"bk_app_code":"sandbox","bk_app_secret":"sandbox-secret","bk_username":"admin"}"#;
    let headers = [("X-Bkapi-Authorization", authorization)];
    let line = ("POST", "/prod/api/v3/create/instassociation");
    let written = exchange(&closed, Entrance::Gateway, line, &headers, "{}").await.unwrap();
    assert_eq!(written.status, 403);
    assert!(written.body.contains("1640301"), "{}", written.body);
    assert!(closed.is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_gateway_has_its_own_refusals_and_renames_keys_from_3_12_4_on() {
    const PATH: &str = "/api/bk-cmdb/prod/api/v3/create/instassociation";
    const OPEN: &str = "/api/bk-cmdb/prod/api/v3/open/create/instassociation";
    const RIGHT: &str =
        r#"{"bk_app_code":"sandbox","bk_app_secret":"sandbox-secret","bk_username":"admin"}"#;
    const NOBODY: &str = r#"{"bk_app_code":"sandbox","bk_app_secret":"sandbox-secret"}"#;
    const WRONG: &str = r#"{"bk_app_code":"sandbox","bk_app_secret":"x","bk_username":"admin"}"#;
    let body = pair("app_svc_run_db_node", 3, 63).to_string();
    for (version, path, authorization, status, key, code) in [
        (Version::V3_14, PATH, RIGHT, 200, "code", 0),
        (Version::V3_14, OPEN, RIGHT, 200, "code", 0),
        (Version::V3_10_18, PATH, RIGHT, 200, "bk_error_code", 0),
        (Version::V3_14, PATH, NOBODY, 200, "bk_error_code", 1_199_998),
        (Version::V3_14, PATH, WRONG, 400, "code", 1_640_001),
        (Version::V3_14, PATH, "{", 400, "code", 1_640_001),
        (Version::V3_14, PATH, "{}", 400, "code", 1_640_001),
        (Version::V3_14, "/prod/api/v3/create/nothing", RIGHT, 404, "code", 1_640_401),
        (Version::V3_14, "/nowhere", RIGHT, 404, "code", 1_640_401),
    ] {
        let sandbox = sandbox(MODELS, |setup| setup.version = version);
        let headers = [("X-Bkapi-Authorization", authorization)];
        let written = exchange(&sandbox, Entrance::Gateway, ("POST", path), &headers, &body).await;
        let written = written.unwrap();
        let answer = json_of(&written);
        assert_eq!((written.status, &answer[key]), (status, &json!(code)), "{answer}");
        let has = |name: &str| written.headers.iter().any(|(header, _)| *header == name);
        assert!(has("X-Bkapi-Request-Id"));
        assert_eq!(has("X-Bkapi-Error-Code"), code > 1_600_000, "{answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_in_process_is_answered_as_the_entrance_would() {
    let name: std::sync::Arc<str> = "app_svc_run_db_node".into();
    let ask = || Request::Models(vec![std::sync::Arc::clone(&name), "nope".into()]);
    for entrance in [Entrance::Esb, Entrance::Gateway, Entrance::Native] {
        let sandbox = sandbox(MODELS, |setup| {
            setup.entrance = entrance;
            setup.language = Language::Zh;
        });
        let Reply::Answered(answer) = sandbox.call(ask()).await else { panic!("lost") };
        let envelope = answer.envelope.unwrap();
        assert_eq!(envelope.succeeded(), Some(true));
        let models = envelope.models().unwrap();
        assert_eq!(models.len(), 1);
        let model = models[0].as_ref().unwrap();
        assert_eq!((&model.obj_asst_id, model.mainline), (&name, false));
        assert!(answer.request_id.is_some_and(|id| id.len() >= 26), "{entrance:?}");
    }
}
