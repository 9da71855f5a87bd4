//! The wire, held against what real servers said: `tests/wire/*.json` has every captured answer, word
//! for word. Neither the client nor the sandbox wrote it.

mod captures;
mod stub;

use std::io::Write as _;
use std::sync::Arc;

use bkassoc::association::{Association, InstId, Mapping, ModelAssociation, NewAssociation};
use bkassoc::cmdb::Cmdb;
use bkassoc::cmdb::http::{ClientError, HttpClient, HttpOptions};
use bkassoc::cmdb::verdict::{Availability, availability};
use bkassoc::cmdb::wire::{
    Answer, AnyOf, Attributes, AuditList, AuditRecord, Envelope, Find, IdWindow, InstanceCall,
    Instances, List, Page, Part, Pattern, PropertyValue, RateHint, Reply, Request, RequestId,
    Route, SharedBy,
};
use bkassoc::options::{Language, Proxy};
use bkassoc::target::{Entrance, Identity, Secret, Target};
use captures::Capture;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;
use stub::{Act, Seen, Stub, chunked, sized, sized_bytes};

const SUCCESS: &str = r#"{"result":true,"code":0,"message":"","data":{"id":1038}}"#;

fn id(value: u64) -> InstId {
    InstId::new(value).unwrap()
}

fn link(name: &str, source: u64, target: u64, biz: Option<u64>) -> Request {
    Request::Create(NewAssociation {
        association: Association {
            obj_asst_id: name.into(),
            inst_id: id(source),
            asst_inst_id: id(target),
        },
        biz_id: biz.map(id),
    })
}

/// The row of the API's own example (tests/wire/seed.json#1).
fn seed() -> Request {
    link("bk_switch_belong_bk_host", 11, 21, Some(1))
}

fn find() -> Request {
    Request::Find(Find {
        obj_id: "app_svc".into(),
        obj_asst_id: "app_svc_run_db_node".into(),
        any_of: vec![Pattern::Pair(id(3), id(63)), Pattern::Target(id(64))],
    })
}

fn batch() -> Request {
    Request::CreateMany {
        model: Arc::new(ModelAssociation {
            obj_asst_id: "app_svc_run_db_node".into(),
            source: "app_svc".into(),
            target: "db_node".into(),
            mapping: Mapping::ManyToMany,
            guessed: false,
            mainline: false,
        }),
        pairs: vec![(id(23), id(83)), (id(23), id(84))],
    }
}

fn delete() -> Request {
    Request::Delete { obj_id: "app_svc".into(), id: 14 }
}

fn deletes() -> Request {
    Request::DeleteMany { obj_id: "app_svc".into(), ids: vec![14, 15] }
}

fn attributes(language: Language) -> Request {
    Request::Attributes(Attributes { obj_id: "bk_switch".into(), language })
}

fn instances(call: InstanceCall, obj_id: &str, property: &str, after: Option<i64>) -> Request {
    let values = ["a", "b"].map(|text| PropertyValue::Text(text.into())).into();
    let any_of = Some(AnyOf { property: property.into(), values });
    Request::Instances(Instances {
        call,
        obj_id: obj_id.into(),
        any_of: any_of.filter(|_| call != InstanceCall::SearchBusiness),
        fields: vec![call.id_field().into(), property.into()],
        page: Page { after, start: 0, limit: call.page_limit() },
    })
}

/// Both questions about the audit log.
fn audit() -> [Request; 2] {
    let list = AuditList {
        obj_id: "app_svc".into(),
        sources: vec![id(3), id(23)],
        since: "2026-11-23 04:06:12".to_owned(),
        until: "2026-11-25 04:07:00".to_owned(),
        start: 200,
    };
    [Request::AuditList(list), Request::AuditRecords(vec![7, 5])]
}

/// Every part of a list.
fn lists() -> [Request; 6] {
    let window = IdWindow { first: Some(7), end: Some(9) };
    let open = IdWindow { end: None, ..window };
    [
        Part::PageAfter(7),
        Part::Newest,
        Part::In(window),
        Part::Multiples(IdWindow::default(), 100),
        Part::Multiples(open, 100),
        Part::OfSources(vec![2, 3]),
    ]
    .map(|part| {
        let obj_asst_id = "app_svc_run_db_node".into();
        Request::List(List { obj_id: "app_svc".into(), obj_asst_id, part })
    })
}

/// Every question about instances.
fn names() -> [Request; 6] {
    use InstanceCall::{ListHosts, SearchBusiness, SearchInst, SearchObjectInstances};
    [
        attributes(Language::En),
        instances(SearchObjectInstances, "bk_switch", "bk_inst_name", None),
        instances(SearchObjectInstances, "bk_switch", "bk_inst_name", Some(7)),
        instances(SearchInst, "bk_switch", "bk_inst_name", None),
        instances(ListHosts, "host", "bk_host_innerip", Some(7)),
        instances(SearchBusiness, "biz", "bk_biz_name", None),
    ]
}

fn identity() -> Identity {
    Identity {
        app_code: Some("esb_test".to_owned()),
        app_secret: Some(Secret::new("xxx-secret")),
        username: Some("admin".to_owned()),
        token: None,
    }
}

fn client_as(entrance: Entrance, endpoint: &str, identity: &Identity) -> HttpClient {
    let target = Target::new(entrance, endpoint, "0").unwrap();
    HttpClient::new(&target, identity, &HttpOptions::default()).unwrap()
}

fn client(entrance: Entrance, endpoint: &str) -> HttpClient {
    client_as(entrance, endpoint, &identity())
}

fn answered(reply: Reply) -> Answer {
    match reply {
        Reply::Answered(answer) => answer,
        other => panic!("no answer: {other:?}"),
    }
}

/// The `name: value` lines that a request may carry beside those that its test names.
fn own_headers(seen: &Seen) -> Vec<&str> {
    let common = ["accept", "content-length", "host", "user-agent"];
    let is_common = |line: &&str| common.contains(&line.split(':').next().unwrap());
    let lines = seen.headers.iter().map(String::as_str);
    lines.filter(|line| !is_common(line)).collect()
}

// What answers mean.

#[test]
fn every_captured_answer_means_what_it_was_understood_to_mean() {
    let captures = Capture::all();
    assert!(captures.len() > 300, "only {} captures", captures.len());
    for capture in captures {
        let body = capture.response.body.as_bytes();
        let envelope = Envelope::parse(body);
        let reply = Reply::Answered(Answer {
            status: capture.response.status,
            excerpt: match envelope {
                Some(_) => String::new(),
                None => capture.response.body.clone(),
            },
            envelope,
            ..Answer::default()
        });
        for proven in [false, true] {
            let judged = capture.judged(&reply, proven);
            assert_eq!(
                judged.as_deref(),
                capture.expected(proven),
                "{} (proven: {proven})",
                capture.name()
            );
        }
    }
}

/// Whether an id was kept shortened, as some in tests/wire/chain.json.
fn is_shortened(id: &Value) -> bool {
    id.as_str().is_some_and(|id| id.ends_with('…'))
}

#[test]
fn every_captured_list_is_read_whole() {
    let (mut associations, mut models) = (0, 0);
    for capture in Capture::all() {
        if capture.call.as_deref() != Some("query") || capture.expected(true) != Some("Answered") {
            continue;
        }
        let name = capture.name();
        let body: Value = serde_json::from_str(&capture.response.body).unwrap();
        let envelope = Envelope::parse(capture.response.body.as_bytes()).unwrap();
        let entries = body["data"].as_array().unwrap();
        let all = |key: &str| entries.iter().map(|entry| entry[key].clone()).collect::<Vec<_>>();
        if capture.request.path.contains("object_association")
            || capture.request.path.contains("objectassociation")
        {
            let read = envelope.models().unwrap().into_iter().map(|model| {
                let model = model.unwrap();
                [model.obj_asst_id, model.source, model.target].map(|text| Value::from(&*text))
            });
            let read: Vec<_> = read.collect();
            let column = |index: usize| read.iter().map(|all| all[index].clone()).collect();
            let columns: [Vec<Value>; 3] = [column(0), column(1), column(2)];
            assert_eq!(
                columns,
                ["bk_obj_asst_id", "bk_obj_id", "bk_asst_obj_id"].map(all),
                "{name}"
            );
            models += read.len();
        } else {
            let read = envelope.found().unwrap();
            let ids: Vec<_> = read.iter().map(|found| Value::from(found.id)).collect();
            let sources: Vec<_> = read.iter().map(|found| Value::from(found.bk_inst_id)).collect();
            let targets = read.iter().map(|found| Value::from(found.bk_asst_inst_id)).collect();
            let columns: [Vec<Value>; 3] = [ids, sources, targets];
            assert_eq!(columns, ["id", "bk_inst_id", "bk_asst_inst_id"].map(all), "{name}");
            associations += read.len();
        }
    }
    assert_eq!((associations, models), (26, 9));
}

#[test]
fn every_captured_answer_about_instances_is_read_whole() {
    let (mut instances, mut attributes) = (0, 0);
    for capture in Capture::all() {
        let name = capture.name();
        let envelope = Envelope::parse(capture.response.body.as_bytes()).unwrap_or_default();
        let data = || serde_json::from_str::<Value>(envelope.data.as_ref().unwrap().get()).unwrap();
        match (capture.call.as_deref(), capture.expected(true)) {
            (Some("instances"), Some("Answered")) => {
                let (data, read) = (data(), envelope.instances().unwrap());
                assert_eq!(read.count, data["count"].as_u64(), "{name}");
                let info = data["info"].as_array().cloned().unwrap_or_default();
                instances += info.len();
                let read: Vec<_> = read.info.into_iter().map(Value::Object).collect();
                assert_eq!(read, info, "{name}");
            }
            (Some("attributes"), Some("Answered")) => {
                let (data, read) = (data(), envelope.attributes().unwrap());
                attributes += read.len();
                let entries = data.as_array().unwrap();
                assert_eq!(read.len(), entries.len(), "{name}");
                for (read, entry) in read.into_iter().zip(entries) {
                    let texts = [read.property_id, read.name, read.kind];
                    let keys = ["bk_property_id", "bk_property_name", "bk_property_type"];
                    assert_eq!(
                        texts.map(Value::from),
                        keys.map(|key| entry[key].clone()),
                        "{name}"
                    );
                }
            }
            _ => {}
        }
    }
    assert_eq!((instances, attributes), (15, 63));
}

/// The example of the API's own documentation, with the record of an association as the source has it.
#[test]
fn the_audit_log_is_read_and_what_is_no_record_of_an_association_is_left_out() {
    let listed = r#"{"result":true,"code":0,"data":{"count":2,"info":[{"id":7,"audit_type":"","operation_detail":null},{"id":2}]}}"#;
    assert_eq!(Envelope::parse(listed.as_bytes()).unwrap().audit_ids(), Some(vec![7, 2]));
    let none = r#"{"result":true,"code":0,"data":{"count":0,"info":null}}"#;
    assert_eq!(Envelope::parse(none.as_bytes()).unwrap().audit_ids(), Some(vec![]));
    let records = r#"{"result":true,"bk_error_code":0,"data":[
        {"id":7,"audit_type":"model_instance","bk_supplier_account":"0","user":"admin",
         "resource_type":"instance_association","action":"create","operate_from":"user",
         "operation_detail":{"asst_id":"a_run_b","asst_kind":"run","src_obj_id":"a","dest_obj_id":"b",
         "dest_inst_id":63,"dest_inst_name":"b-63"},"operation_time":"2020-10-09 21:30:51",
         "resource_id":3,"resource_name":"a-3","code":"app","rid":"00000000000000000000000000000abc"},
        {"id":6,"action":"delete","operation_detail":{"asst_id":"a_run_b","dest_inst_id":64},
         "resource_id":3,"rid":"cc0000d3b6e8d4c1b1"},
        {"id":5,"action":"create","operation_detail":{"details":{}},"resource_id":"x"}]}"#;
    let record = |id, created, target, request_id| AuditRecord {
        id,
        created,
        obj_asst_id: "a_run_b".to_owned(),
        source: 3,
        target,
        request_id,
    };
    assert_eq!(
        Envelope::parse(records.as_bytes()).unwrap().audit_records(),
        Some(vec![record(7, true, 63, Some(RequestId(0xabc))), record(6, false, 64, None)])
    );
}

#[test]
fn an_enums_options_are_read_from_a_list_and_from_a_text_that_is_one() {
    let options = |option: &str| {
        let body = format!(
            r#"{{"result":true,"code":0,"data":[{{"bk_property_id":"p","bk_property_type":"enum","option":{option}}}]}}"#
        );
        let read = Envelope::parse(body.as_bytes()).unwrap().attributes().unwrap();
        read[0].options.clone()
    };
    let list =
        r#"[{"id":"1","name":"正常","type":"text","is_default":true},{"id":"2","name":"停用"}]"#;
    let wanted = [("1", "正常"), ("2", "停用")].map(|(id, name)| (id.to_owned(), name.to_owned()));
    assert_eq!(options(list), wanted);
    assert_eq!(options(&serde_json::to_string(list).unwrap()), wanted);
    for none in ["null", "\"\"", "{}", "[1]", r#"["a"]"#] {
        assert_eq!(options(none), [], "{none}");
    }
}

#[tokio::test]
async fn every_captured_answer_arrives_whole_sized_and_chunked() {
    let captures = Capture::all();
    let script = captures.iter().flat_map(|Capture { response, .. }| {
        let headers = unframed(response);
        let sized = sized(response.status, &headers, &response.body);
        let chunked = chunked(response.status, &headers, &response.body);
        [Act::Answer(sized), Act::Answer(chunked)]
    });
    let stub = Stub::start(script.collect()).await;
    let client = client(Entrance::Native, &stub.url());
    for capture in &captures {
        for _ in ["sized", "chunked"] {
            let request = match capture.call.as_deref() {
                Some("create") => seed(),
                Some("batch") => batch(),
                Some("delete") => delete(),
                Some("deletes") => deletes(),
                Some("attributes") => attributes(Language::Zh),
                Some("instances") => {
                    instances(InstanceCall::SearchInst, "app_svc", "bk_inst_name", None)
                }
                _ => find(),
            };
            let reply = client.call(request).await;
            let judged = capture.judged(&reply, true);
            assert_eq!(judged.as_deref(), capture.expected(true), "{}", capture.name());
            assert_arrived(capture, answered(reply));
        }
    }
    assert_eq!(stub.connections(), 1);
}

/// The headers of an answer, less those that say how its body is sent.
fn unframed(response: &captures::Response) -> Vec<&str> {
    let framing = ["Content-Length:", "Transfer-Encoding:", "Connection:"];
    let is_framing = |line: &&str| framing.iter().any(|name| line.starts_with(name));
    let lines = response.headers.iter().map(String::as_str);
    lines.filter(|line| !is_framing(line)).collect()
}

fn assert_arrived(capture: &Capture, answer: Answer) {
    let (name, body) = (capture.name(), &capture.response.body);
    let on_one_line = |text: &str| text.replace(['\r', '\n'], " ").trim().to_owned();
    assert_eq!(answer.status, capture.response.status, "{name}");
    let Ok(json) = serde_json::from_str::<Value>(body) else {
        assert!(answer.envelope.is_none(), "{name}");
        let start: String = on_one_line(body).chars().take(100).collect();
        assert!(answer.excerpt.starts_with(&start), "{name}: {}", answer.excerpt);
        return;
    };
    let message = json.get("message").or(json.get("bk_error_msg")).unwrap();
    let envelope = answer.envelope.unwrap();
    assert_eq!(envelope.message(), on_one_line(message.as_str().unwrap()), "{name}");
    let own = json.get("request_id").filter(|id| !is_shortened(id)).and_then(Value::as_str);
    let mut lines = capture.response.headers.iter();
    let header = lines.find_map(|line| line.strip_prefix("Cc_request_id: "));
    assert_eq!(answer.request_id.as_deref(), own.or(header), "{name}");
}

// What requests are.

/// The call that makes a captured request, where this tool makes it.
fn rebuild(capture: &Capture) -> Option<(Request, Target, Identity)> {
    let captured = &capture.request;
    let body: Value = match captured.body.as_deref() {
        None => Value::Null,
        Some(text) => serde_json::from_str(text).ok()?,
    };
    let text = |key: &str| Some(body.get(key)?.as_str()?.to_owned());
    let number = |value: &Value, key: &str| InstId::new(value.get(key)?.as_u64()?).ok();
    let entrance = match capture.entrance.as_str() {
        "esb" => Entrance::Esb,
        _ => Entrance::Native,
    };
    let last = captured.path.trim_end_matches('/').rsplit('/').next()?;
    let request = match (capture.call.as_deref()?, last) {
        ("create", "instassociation" | "add_instance_association") => {
            let metadata = body.get("metadata");
            let biz = metadata.and_then(|m| m.pointer("/label/bk_biz_id")?.as_str());
            Request::Create(NewAssociation {
                association: Association {
                    obj_asst_id: text("bk_obj_asst_id")?.into(),
                    inst_id: number(&body, "bk_inst_id")?,
                    asst_inst_id: number(&body, "bk_asst_inst_id")?,
                },
                biz_id: biz.and_then(|biz| InstId::parse(biz).ok()),
            })
        }
        ("batch", _) => {
            let details = body.get("details")?.as_array()?.iter();
            let pair = |item| Some((number(item, "bk_inst_id")?, number(item, "bk_asst_inst_id")?));
            Request::CreateMany {
                model: Arc::new(ModelAssociation {
                    obj_asst_id: text("bk_obj_asst_id")?.into(),
                    source: text("bk_obj_id")?.into(),
                    target: text("bk_asst_obj_id")?.into(),
                    mapping: Mapping::ManyToMany,
                    guessed: false,
                    mainline: false,
                }),
                pairs: details.map(pair).collect::<Option<_>>()?,
            }
        }
        ("query", "objectassociation" | "find_object_association") => {
            Request::Models(vec![body.pointer("/condition/bk_obj_asst_id")?.as_str()?.into()])
        }
        ("query", _) => {
            let condition = body.get("condition")?;
            let (source, target) =
                (number(condition, "bk_inst_id"), number(condition, "bk_asst_inst_id"));
            Request::Find(Find {
                obj_id: text("bk_obj_id")?.into(),
                obj_asst_id: condition.get("bk_obj_asst_id")?.as_str()?.into(),
                any_of: vec![match (source, target) {
                    (Some(source), Some(target)) => Pattern::Pair(source, target),
                    (Some(source), None) => Pattern::Source(source),
                    (None, target) => Pattern::Target(target?),
                }],
            })
        }
        ("attributes", _) => Request::Attributes(Attributes {
            obj_id: text("bk_obj_id")?.into(),
            language: if capture.id.ends_with(" en") { Language::En } else { Language::Zh },
        }),
        ("instances", last) => rebuild_instances(&body, last)?,
        ("delete", "delete_instance_association") => {
            Request::Delete { obj_id: text("bk_obj_id")?.into(), id: body.get("id")?.as_i64()? }
        }
        ("deletes", _) => Request::DeleteMany {
            obj_id: text("bk_obj_id")?.into(),
            ids: body.get("id")?.as_array()?.iter().map(Value::as_i64).collect::<Option<_>>()?,
        },
        ("delete", id) => {
            let mut segments =
                captured.path.strip_prefix("/api/v3/delete/instassociation/")?.split('/');
            Request::Delete {
                obj_id: segments.next()?.into(),
                id: segments.next().filter(|segment| *segment == id)?.parse().ok()?,
            }
        }
        _ => return None,
    };
    let account = match entrance {
        Entrance::Esb => text("bk_supplier_account"),
        _ => captured.header("HTTP_BLUEKING_SUPPLIER_ID").map(str::to_owned),
    };
    let user = captured.header("BK_USER").map(str::to_owned);
    let identity = Identity {
        app_code: text("bk_app_code"),
        app_secret: text("bk_app_secret").map(Secret::new),
        username: user.or(text("bk_username")),
        token: text("bk_token").map(Secret::new),
    };
    let endpoint = "http://127.0.0.1";
    let target = Target::new(entrance, endpoint, account.unwrap_or("0".to_owned())).ok()?;
    Some((request, target, identity))
}

/// A captured question about instances, by the end of its path: a component, a model, or another end.
fn rebuild_instances(body: &Value, last: &str) -> Option<Request> {
    let value = |value: &Value| match value {
        Value::String(text) => Some(PropertyValue::Text(text.as_str().into())),
        Value::Number(number) => number.as_i64().map(PropertyValue::Integer),
        _ => None,
    };
    let any_of = |rule: &Value| {
        let values = rule["value"].as_array()?.iter().map(value).collect::<Option<_>>()?;
        Some(AnyOf { property: rule["field"].as_str()?.into(), values })
    };
    let (call, rule, fields) = if body.get("host_property_filter").is_some() {
        let rule = body.pointer("/host_property_filter/rules/0");
        (InstanceCall::ListHosts, rule, &body["fields"])
    } else if body.get("conditions").is_some() {
        let rule = body.pointer("/conditions/rules/0");
        (InstanceCall::SearchObjectInstances, rule, &body["fields"])
    } else if let Some(model) = body["fields"].as_object()?.keys().next() {
        let rule = body.pointer(&format!("/condition/{model}/0"));
        (InstanceCall::SearchInst, rule, &body["fields"][model])
    } else {
        return None;
    };
    let obj_id = match call {
        InstanceCall::ListHosts => "host",
        _ => body.get("bk_obj_id").and_then(Value::as_str).unwrap_or(last),
    };
    let fields = fields.as_array()?.iter().map(|field| field.as_str().map(Into::into));
    Some(Request::Instances(Instances {
        call,
        obj_id: obj_id.into(),
        any_of: Some(any_of(rule?)?),
        fields: fields.collect::<Option<_>>()?,
        page: Page {
            after: None,
            start: body["page"]["start"].as_u64()?,
            limit: body["page"]["limit"].as_u64()?.try_into().ok()?,
        },
    }))
}

#[tokio::test]
async fn the_client_sends_what_was_captured() {
    let mut held = std::collections::BTreeMap::<String, usize>::new();
    for capture in Capture::all() {
        let Some((request, mut target, identity)) = rebuild(&capture) else {
            continue;
        };
        let stub = Stub::start(vec![Act::Answer(sized(200, &[], SUCCESS))]).await;
        target.endpoint = stub.url();
        let captured = &capture.request;
        let chinese = captured.header("Blueking-Language") == Some("zh-cn");
        let options = HttpOptions {
            language: if chinese { Language::Zh } else { Language::En },
            ..HttpOptions::default()
        };
        let client = HttpClient::new(&target, &identity, &options).unwrap();
        answered(client.call(request).await);
        let seen = stub.only();

        // A capture that tries what this tool never sends (a number for a business id, a field of the
        // stub's, a token beside a username) is no example to follow.
        let json = |text: &str| serde_json::from_str::<Value>(text).unwrap_or(Value::Null);
        let (sent, wanted) = (json(&seen.body), json(captured.body.as_deref().unwrap_or("")));
        let start = format!("{} {} HTTP/1.1", captured.method, captured.path);
        if sent != wanted || seen.start != start {
            continue;
        }
        let name = capture.name();
        for header in [
            "Content-Type",
            "BK_USER",
            "HTTP_BLUEKING_SUPPLIER_ID",
            "HTTP_BLUEKING_LANGUAGE",
            "Blueking-Language",
        ] {
            let value = captured.header(header);
            if value.is_some_and(|value| value != "text/plain") {
                assert_eq!(seen.header(&header.to_ascii_lowercase()), value, "{name}");
            }
        }
        assert_eq!(seen.header("transfer-encoding"), None, "{name}");
        if captured.method == "POST" {
            let length = seen.body.len().to_string();
            assert_eq!(seen.header("content-length"), Some(&*length), "{name}");
        }
        *held.entry(format!("{} {}", capture.entrance, capture.call.unwrap())).or_default() += 1;
    }
    let held: Vec<_> = held.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    let wanted = [
        "esb attributes 1",
        "esb create 46",
        "esb delete 1",
        "esb deletes 1",
        "esb instances 2",
        "esb query 3",
        "native attributes 4",
        "native batch 8",
        "native create 55",
        "native delete 3",
        "native deletes 6",
        "native instances 13",
        "native query 8",
    ];
    assert_eq!(held, wanted);
}

#[tokio::test]
async fn the_esb_gets_the_seeds_example_to_the_byte() {
    let example = r#"{"bk_app_code":"esb_test","bk_app_secret":"xxx","bk_username":"xxx","bk_token":"xxx","bk_obj_asst_id":"bk_switch_belong_bk_host","bk_inst_id":11,"bk_asst_inst_id":21,"metadata":{"label":{"bk_biz_id":"1"}}}"#;
    let both = Identity {
        app_code: Some("esb_test".to_owned()),
        app_secret: Some(Secret::new("xxx")),
        username: Some("xxx".to_owned()),
        token: Some(Secret::new("xxx")),
    };
    let token_alone = Identity { username: None, ..both.clone() };
    for (identity, left_out) in
        [(both, r#""bk_token":"xxx","#), (token_alone, r#""bk_username":"xxx","#)]
    {
        let stub = Stub::start(vec![Act::Answer(sized(200, &[], SUCCESS))]).await;
        let pasted = format!("{}/api/c/compapi/v2/cc/add_instance_association/", stub.url());
        let reply = client_as(Entrance::Esb, &pasted, &identity).call(seed()).await;
        assert_eq!(answered(reply).envelope.unwrap().created_id(), Some(1038));
        let seen = stub.only();
        assert_eq!(seen.body, example.replace(left_out, ""));
        assert_eq!(seen.start, "POST /api/c/compapi/v2/cc/add_instance_association/ HTTP/1.1");
        assert_eq!(own_headers(&seen), ["blueking-language: en", "content-type: application/json"]);
        let length = seen.body.len().to_string();
        assert_eq!(seen.header("content-length"), Some(&*length));
        assert_eq!(seen.header("host"), Some(&*stub.address.to_string()));
        let agent = concat!("bkassoc/", env!("CARGO_PKG_VERSION"));
        assert_eq!(seen.header("user-agent"), Some(agent));
    }
}

/// Start line and body of every request at one entrance.
async fn requests_at(entrance: Entrance, base: &str) -> Vec<(String, String)> {
    let stub = Stub::start(vec![Act::Answer(sized(200, &[], SUCCESS))]).await;
    let client = client_as(entrance, &format!("{}{base}", stub.url()), &Identity::default());
    let names = ["a_run_b", "a_on_c"].map(Into::into);
    let associations = [
        link("app_svc_run_db_node", 3, 63, None),
        batch(),
        find(),
        Request::Models(names[..1].to_vec()),
        Request::Models(names.to_vec()),
        delete(),
    ];
    for request in associations.into_iter().chain(self::names()).chain(lists()).chain(audit()) {
        answered(client.call(request).await);
    }
    let seen = stub.seen().into_iter();
    seen.map(|seen| (seen.start, seen.body)).collect()
}

const CREATE: &str =
    r#"{"bk_obj_asst_id":"app_svc_run_db_node","bk_inst_id":3,"bk_asst_inst_id":63}"#;
const BATCH: &str = r#"{"bk_obj_id":"app_svc","bk_asst_obj_id":"db_node","bk_obj_asst_id":"app_svc_run_db_node","details":[{"bk_inst_id":23,"bk_asst_inst_id":83},{"bk_inst_id":23,"bk_asst_inst_id":84}]}"#;
const FIND: &str = r#"{"bk_obj_id":"app_svc","condition":{"bk_obj_asst_id":"app_svc_run_db_node","$or":[{"bk_inst_id":3,"bk_asst_inst_id":63},{"bk_asst_inst_id":64}]}}"#;
const MODEL: &str = r#"{"condition":{"bk_obj_asst_id":"a_run_b"}}"#;
const MODELS: &str = r#"{"condition":{"bk_obj_asst_id":{"$in":["a_run_b","a_on_c"]}}}"#;

const ATTRIBUTES: &str = r#"{"bk_obj_id":"bk_switch"}"#;
const OBJECT: &str = r#""conditions":{"condition":"AND","rules":[{"field":"bk_inst_name","operator":"in","value":["a","b"]}]},"fields":["bk_inst_id","bk_inst_name"],"page":{"start":0,"limit":500,"sort":"bk_inst_id"}}"#;
const OBJECT_AFTER: &str = r#""conditions":{"condition":"AND","rules":[{"field":"bk_inst_name","operator":"in","value":["a","b"]},{"field":"bk_inst_id","operator":"greater","value":7}]},"fields":["bk_inst_id","bk_inst_name"],"page":{"start":0,"limit":500,"sort":"bk_inst_id"}}"#;
const INST: &str = r#""condition":{"bk_switch":[{"field":"bk_inst_name","operator":"$in","value":["a","b"]}]},"fields":{"bk_switch":["bk_inst_id","bk_inst_name"]},"page":{"start":0,"limit":200,"sort":"bk_inst_id"}}"#;
const HOSTS: &str = r#"{"host_property_filter":{"condition":"AND","rules":[{"field":"bk_host_innerip","operator":"in","value":["a","b"]},{"field":"bk_host_id","operator":"greater","value":7}]},"fields":["bk_host_id","bk_host_innerip"],"page":{"start":0,"limit":500}}"#;
const BUSINESSES: &str = r#"{"condition":{},"fields":["bk_biz_id","bk_biz_name"],"page":{"start":0,"limit":200,"sort":"bk_biz_id"}}"#;
const PAGE: &str = r#""conditions":{"condition":"AND","rules":[{"field":"bk_obj_asst_id","operator":"equal","value":"app_svc_run_db_node"},{"field":"id","operator":"greater","value":7}]},"fields":["id","bk_obj_asst_id","bk_inst_id","bk_asst_inst_id"],"page":{"start":0,"limit":500,"sort":"id"}}"#;
const NEWEST: &str = r#""conditions":{"condition":"AND","rules":[{"field":"bk_obj_asst_id","operator":"equal","value":"app_svc_run_db_node"}]},"fields":["id","bk_obj_asst_id","bk_inst_id","bk_asst_inst_id"],"page":{"start":0,"limit":1,"sort":"-id"}}"#;
const WINDOW: &str = r#"{"bk_obj_id":"app_svc","condition":{"bk_obj_asst_id":"app_svc_run_db_node","id":{"$gte":7,"$lt":9}}}"#;
const MULTIPLES: &str = r#"{"bk_obj_id":"app_svc","condition":{"bk_obj_asst_id":"app_svc_run_db_node","id":{"$mod":[100,0]}}}"#;
const SOME_MULTIPLES: &str = r#"{"bk_obj_id":"app_svc","condition":{"bk_obj_asst_id":"app_svc_run_db_node","id":{"$gte":7,"$mod":[100,0]}}}"#;
const OF_SOURCES: &str = r#"{"bk_obj_id":"app_svc","condition":{"bk_obj_asst_id":"app_svc_run_db_node","bk_inst_id":{"$in":[2,3]}}}"#;
const AUDIT_LIST: &str = r#"{"condition":{"audit_type":"model_instance","resource_type":"instance_association","action":["create","delete"],"bk_obj_id":"app_svc","operation_time":{"start":"2026-11-23 04:06:12","end":"2026-11-25 04:07:00"},"condition":[{"field":"resource_id","operator":"in","value":[3,23]}]},"page":{"start":200,"limit":200,"sort":"-id"}}"#;
const AUDIT_RECORDS: &str = r#"{"id":[7,5]}"#;

#[tokio::test]
async fn every_esb_request_is_a_post_to_its_component() {
    let component = |name: &str| format!("POST /portal/api/c/compapi/v2/cc/{name}/ HTTP/1.1");
    let object = |rest: &str| format!(r#"{{"bk_obj_id":"bk_switch",{rest}"#);
    let (objects, objects_after) = (object(OBJECT), object(OBJECT_AFTER));
    let inst = format!(r#"{{"bk_supplier_account":"0","bk_obj_id":"bk_switch",{INST}"#);
    let [page, newest] = [PAGE, NEWEST].map(|rest| format!(r#"{{"bk_obj_id":"app_svc",{rest}"#));
    let wanted = [
        ("add_instance_association", CREATE),
        ("batch_create_instance_association", BATCH),
        ("find_instance_association", FIND),
        ("find_object_association", MODEL),
        ("find_object_association", MODELS),
        ("delete_instance_association", r#"{"bk_obj_id":"app_svc","id":14}"#),
        ("search_object_attribute", ATTRIBUTES),
        ("search_object_instances", &objects),
        ("search_object_instances", &objects_after),
        ("search_inst", &inst),
        ("list_hosts_without_biz", HOSTS),
        ("search_business", BUSINESSES),
        ("search_instance_associations", &page),
        ("search_instance_associations", &newest),
        ("find_instance_association", WINDOW),
        ("find_instance_association", MULTIPLES),
        ("find_instance_association", SOME_MULTIPLES),
        ("find_instance_association", OF_SOURCES),
        ("list_operation_audit", AUDIT_LIST),
        ("find_audit_by_id", AUDIT_RECORDS),
    ];
    assert_eq!(
        requests_at(Entrance::Esb, "/portal").await,
        wanted.map(|(name, body)| (component(name), body.to_owned()))
    );
}

#[tokio::test]
async fn gateway_and_native_requests_go_to_cmdbs_own_paths() {
    let path = |start: &str| format!("{start} HTTP/1.1");
    let [objects, objects_after, inst, page, newest] =
        [OBJECT, OBJECT_AFTER, INST, PAGE, NEWEST].map(|rest| format!("{{{rest}"));
    let wanted = [
        ("POST /prod/api/v3/create/instassociation", CREATE),
        ("POST /prod/api/v3/createmany/instassociation", BATCH),
        ("POST /prod/api/v3/find/instassociation", FIND),
        ("POST /prod/api/v3/find/objectassociation", MODEL),
        ("POST /prod/api/v3/find/objectassociation", MODELS),
        ("DELETE /prod/api/v3/delete/instassociation/app_svc/14", ""),
        ("POST /prod/api/v3/find/objectattr", ATTRIBUTES),
        ("POST /prod/api/v3/search/instances/object/bk_switch", &objects),
        ("POST /prod/api/v3/search/instances/object/bk_switch", &objects_after),
        ("POST /prod/api/v3/find/instassociation/object/bk_switch", &inst),
        ("POST /prod/api/v3/hosts/list_hosts_without_app", HOSTS),
        ("POST /prod/api/v3/biz/search/0", BUSINESSES),
        ("POST /prod/api/v3/search/instance_associations/object/app_svc", &page),
        ("POST /prod/api/v3/search/instance_associations/object/app_svc", &newest),
        ("POST /prod/api/v3/find/instassociation", WINDOW),
        ("POST /prod/api/v3/find/instassociation", MULTIPLES),
        ("POST /prod/api/v3/find/instassociation", SOME_MULTIPLES),
        ("POST /prod/api/v3/find/instassociation", OF_SOURCES),
        ("POST /prod/api/v3/findmany/audit_list", AUDIT_LIST),
        ("POST /prod/api/v3/find/audit", AUDIT_RECORDS),
    ];
    for entrance in [Entrance::Gateway, Entrance::Native] {
        assert_eq!(
            requests_at(entrance, "/prod").await,
            wanted.map(|(start, body)| (path(start), body.to_owned()))
        );
    }
}

#[tokio::test]
async fn what_stands_behind_the_api_root_in_the_endpoint_is_in_every_path() {
    for entrance in [Entrance::Gateway, Entrance::Native] {
        let starts = requests_at(entrance, "/prod/api/v3/open/").await;
        let starts: Vec<_> = starts.iter().map(|(start, _)| start.as_str()).collect();
        assert_eq!(
            starts,
            [
                "POST /prod/api/v3/open/create/instassociation HTTP/1.1",
                "POST /prod/api/v3/open/createmany/instassociation HTTP/1.1",
                "POST /prod/api/v3/open/find/instassociation HTTP/1.1",
                "POST /prod/api/v3/open/find/objectassociation HTTP/1.1",
                "POST /prod/api/v3/open/find/objectassociation HTTP/1.1",
                "DELETE /prod/api/v3/open/delete/instassociation/app_svc/14 HTTP/1.1",
                "POST /prod/api/v3/open/find/objectattr HTTP/1.1",
                "POST /prod/api/v3/open/search/instances/object/bk_switch HTTP/1.1",
                "POST /prod/api/v3/open/search/instances/object/bk_switch HTTP/1.1",
                "POST /prod/api/v3/open/find/instassociation/object/bk_switch HTTP/1.1",
                "POST /prod/api/v3/open/hosts/list_hosts_without_app HTTP/1.1",
                "POST /prod/api/v3/open/biz/search/0 HTTP/1.1",
                "POST /prod/api/v3/open/search/instance_associations/object/app_svc HTTP/1.1",
                "POST /prod/api/v3/open/search/instance_associations/object/app_svc HTTP/1.1",
                "POST /prod/api/v3/open/find/instassociation HTTP/1.1",
                "POST /prod/api/v3/open/find/instassociation HTTP/1.1",
                "POST /prod/api/v3/open/find/instassociation HTTP/1.1",
                "POST /prod/api/v3/open/find/instassociation HTTP/1.1",
                "POST /prod/api/v3/open/findmany/audit_list HTTP/1.1",
                "POST /prod/api/v3/open/find/audit HTTP/1.1",
            ]
        );
    }
}

#[tokio::test]
async fn the_gateway_gets_the_credentials_in_its_header_and_none_in_the_body() {
    let stub = Stub::start(vec![Act::Answer(sized(200, &[], SUCCESS))]).await;
    answered(client(Entrance::Gateway, &stub.url()).call(seed()).await);
    let seen = stub.only();
    assert_eq!(
        own_headers(&seen),
        [
            "content-type: application/json",
            "http_blueking_language: en",
            r#"x-bkapi-authorization: {"bk_app_code":"esb_test","bk_app_secret":"xxx-secret","bk_username":"admin"}"#,
            "x-bkapi-language: en",
            "x-bkcmdb-language: en",
        ]
    );
    assert!(!seen.body.contains("secret"), "{}", seen.body);
}

#[tokio::test]
async fn the_apiserver_gets_user_and_account_under_old_and_new_names_and_no_secret() {
    let stub = Stub::start(vec![Act::Answer(sized(200, &[], SUCCESS))]).await;
    let target = Target::new(Entrance::Native, &stub.url(), "tencent").unwrap();
    let options = HttpOptions { language: Language::Zh, ..HttpOptions::default() };
    let client = HttpClient::new(&target, &identity(), &options).unwrap();
    answered(client.call(seed()).await);
    assert_eq!(
        own_headers(&stub.only()),
        [
            "bk_user: admin",
            "content-type: application/json",
            "http_blueking_language: zh-cn",
            "http_blueking_supplier_id: tencent",
            "x-bkcmdb-language: zh-cn",
            "x-bkcmdb-supplier-account: tencent",
            "x-bkcmdb-user: admin",
        ]
    );
}

#[tokio::test]
async fn display_names_are_asked_for_in_either_language_whatever_that_of_messages() {
    for (entrance, headers) in [
        (Entrance::Esb, &["blueking-language"][..]),
        (Entrance::Gateway, &["http_blueking_language", "x-bkapi-language", "x-bkcmdb-language"]),
        (Entrance::Native, &["http_blueking_language", "x-bkcmdb-language"]),
    ] {
        let stub = Stub::start(vec![Act::Answer(sized(200, &[], SUCCESS))]).await;
        let client = client(entrance, &stub.url());
        let requests = [attributes(Language::Zh), attributes(Language::En), find()];
        for request in requests {
            answered(client.call(request).await);
        }
        for (seen, tag) in stub.seen().iter().zip(["zh-cn", "en", "en"]) {
            let sent = seen.headers.iter().filter(|line| line.contains("language: "));
            let wanted: Vec<_> = headers.iter().map(|name| format!("{name}: {tag}")).collect();
            assert!(sent.eq(&wanted), "{entrance:?}: {:?}", seen.headers);
        }
    }
}

#[tokio::test]
async fn another_account_is_named_once_wherever_it_belongs() {
    for (entrance, start, inst) in [
        (Entrance::Esb, "POST /api/c/compapi/v2/cc/search_business/ HTTP/1.1", 1),
        (Entrance::Native, "POST /api/v3/biz/search/tencent HTTP/1.1", 0),
    ] {
        let stub = Stub::start(vec![Act::Answer(sized(200, &[], SUCCESS))]).await;
        let target = Target::new(entrance, &stub.url(), "tencent").unwrap();
        let client = HttpClient::new(&target, &identity(), &HttpOptions::default()).unwrap();
        let [.., search_inst, _, businesses] = names();
        for request in [search_inst, businesses] {
            answered(client.call(request).await);
        }
        let seen = stub.seen();
        assert_eq!(seen[0].body.matches("bk_supplier_account").count(), inst, "{}", seen[0].body);
        assert_eq!(seen[1].start, start);
    }
}

#[tokio::test]
async fn an_id_of_ours_is_sent_where_it_is_kept() {
    for (entrance, names) in [
        (Entrance::Esb, &[][..]),
        (Entrance::Gateway, &["x-request-id"]),
        (Entrance::Native, &["cc_request_id", "x-request-id"]),
    ] {
        let stub = Stub::start(vec![Act::Answer(sized(200, &[], SUCCESS))]).await;
        let client = client(entrance, &stub.url());
        answered(client.call_as(seed(), Some(RequestId(0xabc))).await);
        answered(client.call(seed()).await);
        let ids_of = |seen: &Seen| -> Vec<String> {
            let headers = seen.headers.iter().filter_map(|line| line.split_once(": "));
            let ids = headers
                .filter(|(name, _)| name.ends_with("request_id") || name.ends_with("request-id"));
            ids.map(|(name, id)| format!("{name} {id}")).collect()
        };
        let wanted: Vec<_> = names.iter().map(|name| format!("{name} {:032x}", 0xabc)).collect();
        assert_eq!(ids_of(&stub.seen()[0]), wanted);
        assert_eq!(ids_of(&stub.seen()[1]), [""; 0]);
    }
}

#[tokio::test]
async fn a_tenant_is_named_at_every_entrance() {
    for entrance in [Entrance::Esb, Entrance::Gateway, Entrance::Native] {
        let stub = Stub::start(vec![Act::Answer(sized(200, &[], SUCCESS))]).await;
        let target = Target::new(entrance, &stub.url(), "0").unwrap();
        for tenant_id in [None, Some("tencent".to_owned())] {
            let target = Target { tenant_id, ..target.clone() };
            let client = HttpClient::new(&target, &identity(), &HttpOptions::default()).unwrap();
            answered(client.call(seed()).await);
        }
        let named: Vec<_> = stub
            .seen()
            .iter()
            .map(|seen| seen.header("x-bk-tenant-id").map(str::to_owned))
            .collect();
        assert_eq!(named, [None, Some("tencent".to_owned())]);
    }
}

#[tokio::test]
async fn a_model_name_stays_one_segment_of_the_path() {
    let stub = Stub::start(vec![Act::Answer(sized(200, &[], SUCCESS))]).await;
    let request = Request::Delete { obj_id: "../a b/模".into(), id: 7 };
    answered(client(Entrance::Native, &stub.url()).call(request).await);
    assert_eq!(
        stub.only().start,
        "DELETE /api/v3/delete/instassociation/..%2Fa%20b%2F%E6%A8%A1/7 HTTP/1.1"
    );
}

// What is proven when no answer comes.

#[tokio::test]
async fn a_refused_connection_proves_that_nothing_was_sent() {
    let stub = Stub::start(vec![Act::Close]).await;
    let free = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    let reply = client(Entrance::Esb, &url).call(seed()).await;
    assert!(matches!(reply, Reply::NotSent(_)), "{reply:?}");
    assert_eq!(stub.seen().len(), 0);
}

#[tokio::test]
async fn a_post_is_never_sent_twice_when_a_kept_connection_dies_under_it() {
    let stub = Stub::start(vec![
        Act::Answer(sized(200, &[], SUCCESS)),
        Act::Close,
        Act::Answer(sized(200, &[], SUCCESS)),
    ])
    .await;
    let client = client(Entrance::Esb, &stub.url());
    answered(client.call(seed()).await);
    let reply = client.call(seed()).await;
    assert!(matches!(reply, Reply::Lost(_)), "{reply:?}");
    assert_eq!((stub.seen().len(), stub.connections()), (2, 1));
    answered(client.call(seed()).await);
    assert_eq!((stub.seen().len(), stub.connections()), (3, 2));
}

#[tokio::test]
async fn a_connection_that_the_server_closed_is_replaced_without_a_loss() {
    let stub =
        Stub::start(vec![Act::AnswerAndClose(sized(200, &["Connection: close"], SUCCESS))]).await;
    let client = client(Entrance::Esb, &stub.url());
    for _ in 0..5 {
        answered(client.call(seed()).await);
    }
    assert_eq!((stub.seen().len(), stub.connections()), (5, 5));
}

#[tokio::test]
async fn a_connection_that_dies_unannounced_costs_at_most_an_answer() {
    let stub = Stub::start(vec![Act::AnswerAndClose(sized(200, &[], SUCCESS))]).await;
    let client = client(Entrance::Esb, &stub.url());
    for sent in 1..=50 {
        let reply = client.call(seed()).await;
        assert!(matches!(reply, Reply::Answered(_) | Reply::Lost(_)), "{reply:?}");
        assert!(stub.seen().len() <= sent, "a request was sent twice");
    }
}

#[tokio::test]
async fn an_answer_that_is_cut_is_lost() {
    for bytes in [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"result\":true".to_vec(),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"res\r\n".to_vec(),
        b"HTTP/1.1 200 OK\r\nContent-Le".to_vec(),
        b"not HTTP at all\r\n\r\n".to_vec(),
    ] {
        let stub = Stub::start(vec![Act::AnswerAndClose(bytes)]).await;
        let reply = client(Entrance::Esb, &stub.url()).call(seed()).await;
        assert!(matches!(reply, Reply::Lost(_)), "{reply:?}");
        assert_eq!(stub.seen().len(), 1);
    }
}

#[tokio::test]
async fn an_answer_without_end_is_read_only_as_far_as_it_may_go() {
    let flood = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for (request, limit) in [(seed(), "1 MiB"), (find(), "16 MiB")] {
        let stub = Stub::start(vec![Act::Flood(flood.clone())]).await;
        let reply = client(Entrance::Esb, &stub.url()).call(request).await;
        let Reply::Oversized(reason) = reply else {
            panic!("{reply:?}");
        };
        assert_eq!(reason, format!("answer larger than {limit}"));
        // What was under way in the sockets comes on top.
        assert!(stub.flooded() < 64 << 20, "{} bytes", stub.flooded());
    }
}

#[tokio::test]
async fn an_answer_that_announces_a_gibibyte_is_not_read_at_all() {
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n".to_vec();
    let stub = Stub::start(vec![Act::Answer(head)]).await;
    let reply = client(Entrance::Esb, &stub.url()).call(seed()).await;
    assert!(matches!(&reply, Reply::Oversized(reason) if reason.contains("larger")), "{reply:?}");
}

#[tokio::test]
async fn a_look_up_may_answer_with_megabytes() {
    let padding = "x".repeat(10 << 20);
    let body = format!(r#"{{"result":true,"code":0,"data":[],"padding":"{padding}"}}"#);
    let stub = Stub::start(vec![Act::Answer(chunked(200, &[], &body))]).await;
    let answer = answered(client(Entrance::Esb, &stub.url()).call(find()).await);
    assert_eq!(answer.envelope.unwrap().found(), Some(Vec::new()));
}

fn gzipped(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn an_answer_in_gzip_or_behind_a_byte_order_mark_is_read() {
    let marked = format!("\u{feff}{SUCCESS}");
    let bodies =
        [gzipped(SUCCESS.as_bytes()), marked.clone().into_bytes(), gzipped(marked.as_bytes())];
    for body in bodies {
        for headers in [&["Content-Encoding: gzip"][..], &[]] {
            let stub = Stub::start(vec![Act::Answer(sized_bytes(200, headers, &body))]).await;
            let answer = answered(client(Entrance::Esb, &stub.url()).call(seed()).await);
            assert_eq!(answer.envelope.unwrap().created_id(), Some(1038));
            assert_eq!(stub.only().header("accept-encoding"), None, "nobody asks for it");
        }
    }
}

#[tokio::test]
async fn an_answer_in_gzip_that_unpacks_to_more_than_may_be_is_not_read() {
    for (request, limit) in [(seed(), 1), (find(), 16)] {
        let bomb = gzipped(&vec![b' '; (limit << 20) + 1]);
        let stub = Stub::start(vec![Act::Answer(sized_bytes(200, &[], &bomb))]).await;
        let Reply::Oversized(reason) = client(Entrance::Esb, &stub.url()).call(request).await
        else {
            panic!("it was read");
        };
        assert_eq!(reason, format!("answer larger than {limit} MiB"));
    }
}

#[tokio::test]
async fn an_answer_in_gzip_that_is_cut_did_not_arrive() {
    let packed = gzipped(SUCCESS.as_bytes());
    let cut = sized_bytes(200, &[], &packed[..packed.len() - 9]);
    let stub = Stub::start(vec![Act::Answer(cut)]).await;
    let reply = client(Entrance::Esb, &stub.url()).call(seed()).await;
    assert!(matches!(&reply, Reply::Lost(reason) if reason.contains("gzip")), "{reply:?}");
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let elsewhere = Stub::start(vec![Act::Answer(sized(200, &[], SUCCESS))]).await;
    for status in [301, 302, 303, 307, 308] {
        let location = format!("Location: {}/login", elsewhere.url());
        let stub = Stub::start(vec![Act::Answer(sized(status, &[&location], ""))]).await;
        let answer = answered(client(Entrance::Esb, &stub.url()).call(seed()).await);
        assert_eq!(answer.status, status);
        assert_eq!(stub.seen().len(), 1);
    }
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test]
async fn calls_at_once_take_no_more_connections_than_there_are_calls() {
    let stub = Stub::start(vec![Act::Answer(sized(200, &[], SUCCESS))]).await;
    let client = client(Entrance::Esb, &stub.url());
    for _ in 0..20 {
        let calls = (0..8).map(|_| client.call(seed()));
        for reply in futures::future::join_all(calls).await {
            answered(reply);
        }
    }
    assert_eq!(stub.seen().len(), 160);
    assert!(stub.connections() <= 8, "{} connections", stub.connections());
}

// What comes in is cleaned.

#[tokio::test]
async fn a_secret_that_the_server_echoes_is_masked_everywhere() {
    let identity = Identity { app_secret: Some(Secret::new("c4n/ry \"1")), ..identity() };
    let message = r#"{"result":false,"code":1306000,"message":"wrong c4n/ry \"1, url ?s=c4n%2Fry%20%221\u001b[2J","request_id":"c4n/ry"}"#;
    let page = "<html>your body: {\"s\":\"c4n/ry \\\"1\"}\n\u{202e}";
    let stub = Stub::start(vec![
        Act::Answer(sized(200, &["X-Request-Id: fine-1"], message)),
        Act::Answer(sized(502, &[], page)),
    ])
    .await;
    let client = client_as(Entrance::Esb, &stub.url(), &identity);
    let answer = answered(client.call(seed()).await);
    let envelope = answer.envelope.as_ref().unwrap();
    assert_eq!(envelope.message(), "wrong [secret], url ?s=[secret][2J");
    let page = answered(client.call(seed()).await);
    assert_eq!(page.excerpt, r#"<html>your body: {"s":"[secret]"}"#);
    for answer in [answer, page] {
        let shown = format!("{answer:?}");
        assert!(!shown.contains("c4n/ry \"1") && !shown.contains("c4n%2F"), "{shown}");
    }
}

#[tokio::test]
async fn the_servers_limit_and_its_id_for_the_call_are_read_from_headers() {
    let headers = [
        "X-Bkapi-RateLimit-Limit: 100",
        "X-Bkapi-RateLimit-Remaining: 3",
        "X-Bkapi-RateLimit-Reset: 1",
        "X-Bkapi-RateLimit-Plugin: bk-resource-rate-limit",
        "X-Bkapi-Request-Id: 5e4cfc3d-970f",
    ];
    let stub = Stub::start(vec![Act::Answer(sized(429, &headers, ""))]).await;
    let answer = answered(client(Entrance::Gateway, &stub.url()).call(seed()).await);
    assert_eq!(
        answer.rate,
        RateHint {
            limit: Some(100),
            remaining: Some(3),
            reset: Some(std::time::Duration::from_secs(1)),
            retry_after: None,
            shared_by: Some(SharedBy::Route),
        }
    );
    assert_eq!(answer.request_id.as_deref(), Some("5e4cfc3d-970f"));
}

// Proxies.

fn via(url: impl Into<String>, but_for: Option<&str>) -> Proxy {
    Proxy::Through {
        url: Secret::new(url),
        origin: "http_proxy".to_owned(),
        but_for: but_for.map(str::to_owned),
    }
}

fn through(proxy: Proxy, endpoint: &str) -> HttpClient {
    let target = Target::new(Entrance::Esb, endpoint, "0").unwrap();
    let options = HttpOptions { proxy, ..HttpOptions::default() };
    HttpClient::new(&target, &identity(), &options).unwrap()
}

#[tokio::test]
async fn a_proxy_that_is_given_gets_the_calls() {
    let proxy = Stub::start(vec![Act::Answer(sized(200, &[], SUCCESS))]).await;
    let client = through(via(proxy.url(), None), "http://cmdb.example.com");
    answered(client.call(seed()).await);
    assert_eq!(
        proxy.only().start,
        "POST http://cmdb.example.com/api/c/compapi/v2/cc/add_instance_association/ HTTP/1.1"
    );
}

#[tokio::test]
async fn a_loopback_address_is_called_directly_whatever_the_proxy() {
    let proxy = Stub::start(vec![Act::Answer(sized(200, &[], SUCCESS))]).await;
    let stub = Stub::start(vec![Act::Answer(sized(200, &[], SUCCESS))]).await;
    let port = stub.address.port();
    for host in ["127.0.0.1", "localhost"] {
        let client = through(via(proxy.url(), None), &format!("http://{host}:{port}"));
        answered(client.call(seed()).await);
    }
    assert_eq!((stub.seen().len(), proxy.connections()), (2, 0));
}

#[tokio::test]
async fn a_proxy_that_refuses_proves_that_nothing_was_sent() {
    let free = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    let reply = through(via(url, None), "http://cmdb.example.com").call(seed()).await;
    assert!(matches!(reply, Reply::NotSent(_)), "{reply:?}");
}

#[tokio::test]
async fn a_proxy_that_opens_no_tunnel_proves_that_nothing_was_sent() {
    let proxy = Stub::start(vec![Act::AnswerAndClose(sized(407, &[], ""))]).await;
    let client = through(via(proxy.url(), None), "https://cmdb.example.com");
    let reply = client.call(seed()).await;
    assert!(matches!(reply, Reply::NotSent(_)), "{reply:?}");
    let seen = proxy.only();
    assert_eq!(seen.start, "CONNECT cmdb.example.com:443 HTTP/1.1");
    assert_eq!(seen.body, "");
}

#[test]
fn a_proxy_that_is_no_url_is_refused_without_being_shown() {
    let target = Target::new(Entrance::Esb, "http://cmdb.example.com", "0").unwrap();
    for url in ["", "socks9://u:hunter2@h", "u:hunter2@h:1"] {
        let options = HttpOptions { proxy: via(url, None), ..HttpOptions::default() };
        let error = HttpClient::new(&target, &identity(), &options).err().unwrap();
        assert!(matches!(error, ClientError::Proxy { .. }), "{error:?}");
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }
}

#[tokio::test]
async fn a_proxys_user_is_sent_with_and_without_a_password() {
    for (user, sent) in [("u:p%2Fw", "Basic dTpwL3c="), ("tok%2Fen", "Basic dG9rL2VuOg==")] {
        let proxy = Stub::start(vec![Act::Answer(sized(200, &[], SUCCESS))]).await;
        let url = proxy.url().replace("http://", &format!("http://{user}@"));
        answered(through(via(url, None), "http://cmdb.example.com").call(seed()).await);
        assert_eq!(proxy.only().header("proxy-authorization"), Some(sent));
    }
}

/// A name of this machine that is not recognised as loopback, so that a proxy would get its calls.
#[tokio::test]
async fn a_proxys_password_goes_to_no_server_that_is_reached_without_it() {
    let server = Stub::start(vec![Act::Answer(sized(200, &[], SUCCESS))]).await;
    let endpoint = server.url().replace("127.0.0.1", "0.0.0.0");
    let proxy = via("http://u:pw@127.0.0.1:9".to_owned(), Some("0.0.0.0"));
    answered(through(proxy, &endpoint).call(seed()).await);
    assert_eq!(server.only().header("proxy-authorization"), None);
}

/// The third column behind the addresses: 02 is the timer of keepalive.
#[tokio::test]
async fn connections_are_kept_alive_by_tcp() {
    let stub = Stub::start(vec![Act::Answer(sized(200, &[], SUCCESS))]).await;
    answered(client(Entrance::Esb, &stub.url()).call(seed()).await);
    let client = client(Entrance::Esb, &stub.url());
    answered(client.call(seed()).await);
    let sockets = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
    let port = format!("0100007F:{:04X}", stub.address.port());
    let timers: Vec<_> = (sockets.lines())
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|fields| fields.get(2) == Some(&&*port) && fields[3] == "01")
        .map(|fields| fields[5][..2].to_owned())
        .collect();
    assert!(!timers.is_empty() && timers.iter().all(|timer| timer == "02"), "{timers:?}");
}

/// What docs/cmdb-api.md#what-a-server-can-do makes of answers.
#[test]
fn captured_answers_show_whether_there_is_a_call() {
    use Availability::{Absent, Forbidden, NotGranted, There, Unserved};
    let captures = Capture::all();
    for (id, route, shown) in [
        ("chain 6", Route::Models, Some(There)),
        ("cmdb 3.1", Route::Create, Some(There)),
        ("cmdb 8.7", Route::CreateMany, Some(There)),
        ("cmdb 6.6", Route::Find, Some(There)),
        ("names 4.3", Route::List, Some(There)),
        ("names 1.6", Route::SearchObjectInstances, Some(There)),
        ("names 5.6", Route::DeleteMany, Some(There)),
        ("cmdb 7.3", Route::Delete, Some(There)),
        ("esb 1.9", Route::Find, Some(Forbidden)),
        ("chain 4", Route::CreateMany, Some(Absent)),
        ("names 6.6", Route::List, Some(Absent)),
        ("names 6.3", Route::SearchObjectInstances, Some(Absent)),
        ("names 6.9", Route::DeleteMany, Some(Absent)),
        ("cmdb 7.1", Route::Delete, Some(Absent)),
        ("cmdb 5.9", Route::Delete, Some(Absent)),
        ("esb 4.4", Route::Create, None),
        ("esb 6.1", Route::Create, Some(Absent)),
        ("esb 6.2", Route::Create, Some(NotGranted)),
        ("chain 7", Route::Delete, Some(Unserved)),
        ("names 6.4", Route::Attributes, Some(Unserved)),
        ("names 6.11", Route::SearchInst, Some(Unserved)),
        ("cmdb 5.8", Route::CreateMany, Some(Unserved)),
        ("cmdb 7.4", Route::DeleteMany, Some(Unserved)),
        ("cmdb 7.4", Route::Delete, Some(There)),
        ("cmdb 12.15", Route::Create, None),
        ("cmdb 12.6", Route::Create, None),
        ("cmdb 5.2", Route::Create, None),
        ("esb 2.3", Route::Create, None),
        ("esb 6.3 call 3", Route::Create, None),
        ("esb 7.1", Route::Create, None),
        ("esb 1.15", Route::CreateMany, None),
        ("esb 7.5", Route::CreateMany, None),
    ] {
        let capture = captures.iter().find(|capture| capture.id == id).expect(id);
        let body = &*capture.response.body;
        let reply = Reply::Answered(Answer {
            status: capture.response.status,
            envelope: Envelope::parse(body.as_bytes()),
            excerpt: body.to_owned(),
            ..Answer::default()
        });
        assert_eq!(availability(route, &reply), shown, "{}", capture.name());
    }
}

/// With permissions on, which no capture has: what was read in the server's source
/// (docs/cmdb-api.md#permissions).
#[test]
fn the_permission_check_shows_which_paths_it_knows() {
    for (number, text, shown) in [
        (1_199_045, "no matched rules", Some(Availability::Unserved)),
        (
            1_199_045,
            "model association [map[bk_obj_asst_id:x]] not found",
            Some(Availability::There),
        ),
        (1_199_045, "model [map[bk_obj_id:x]] not found", Some(Availability::There)),
        (1_199_045, "Post http://x: dial tcp: refused", None),
        (1_199_998, "get model by objID failed, val: [x]", Some(Availability::There)),
        (1_199_998, "server selection error", None),
        (1_640_301, "App has no permission to the resource", Some(Availability::NotGranted)),
        (1_640_401, "API not found", Some(Availability::Absent)),
        (1_642_903, "API rate limit exceeded", None),
        (9_900_403, "no", Some(Availability::Forbidden)),
    ] {
        let body = serde_json::json!({"result": false, "code": number, "message": text});
        let envelope = Envelope::parse(body.to_string().as_bytes());
        let reply = Reply::Answered(Answer { status: 200, envelope, ..Answer::default() });
        assert_eq!(availability(Route::CreateMany, &reply), shown, "{number} {text}");
    }
}
