//! What a server can do: a check without input asks for it by calls that do nothing, tells what is missing and
//! whom to ask for what; a run remembers what it saw, and asks nothing for that.

use std::io::Write;

use bkassoc::sandbox::{Endpoint, Quota, Version};
use bkassoc::target::Entrance;
use serde_json::Value;
use std::time::Duration;

use crate::raw::{Asked, Raw, http, ok, refusal};
use crate::server::Server;
use crate::workdir::{Done, NN, Workdir, csv_of};

fn check(server: &Server) -> Done {
    Workdir::new().bkassoc("check").to(server).ends(0)
}

fn found(server: &Server) -> Value {
    let done = Workdir::new().bkassoc("check --json").to(server).ends(0);
    done.json()["check"]["server"].clone()
}

fn states(server: &Value) -> Vec<(&str, &str)> {
    let abilities = server["abilities"].as_object().unwrap();
    abilities.iter().map(|(ability, told)| (&**ability, told["state"].as_str().unwrap())).collect()
}

/// What is not there, and how.
fn missing(server: &Value) -> Vec<(&str, &str)> {
    let is_missing = |state: &str| !matches!(state, "there" | "not-tried");
    states(server).into_iter().filter(|(_, state)| is_missing(state)).collect()
}

#[test]
fn a_check_without_input_tells_of_each_entrance_what_it_can_do() {
    for (entrance, path, from) in [
        (Entrance::Esb, "/api/c/compapi/v2/cc", "3.10.2"),
        (Entrance::Gateway, "/api/v3", "3.12.4"),
        (Entrance::Native, "/api/v3", "3.10.2"),
    ] {
        let server = Server::with(entrance, |setup| setup.version = Version::V3_14);
        let told = found(&server);
        assert_eq!(told["path"], path);
        assert_eq!(told["version"], serde_json::json!({"from": from, "before": null}));
        assert_eq!(missing(&told), [], "{told}");
        assert_eq!(states(&told).len(), 10, "{told}");
        assert_eq!(told["abilities"]["delete"]["state"], "not-tried");
        assert_eq!(told["abilities"]["batch"]["code"], 1_199_038);
        let done = Workdir::new().bkassoc("check -v").to(&server).ends(0);
        assert!(done.stderr.contains("is there, by code 1199038"), "{}", done.stderr);
        for line in ["create many in one call   yes", &format!("path of the calls         {path}")]
        {
            assert!(done.stdout.contains(line), "{line}: {}", done.stdout);
        }
        assert!(!done.stdout.contains("To ask"), "{}", done.stdout);
    }
}

#[test]
fn probes_change_nothing_and_are_few() {
    for (entrance, old_esb, version) in [
        (Entrance::Esb, false, Version::V3_10_18),
        (Entrance::Esb, true, Version::V3_10_18),
        (Entrance::Esb, true, Version::V3_5),
        (Entrance::Gateway, false, Version::V3_14),
        (Entrance::Native, false, Version::V3_10_18),
        (Entrance::Native, false, Version::V3_5),
    ] {
        let server = Server::with(entrance, |setup| {
            (setup.old_esb, setup.version) = (old_esb, version);
        });
        let before = server.sandbox.rows();
        check(&server);
        assert_eq!(server.sandbox.rows(), before);
        for endpoint in Endpoint::ALL {
            // The contact is tested by the first of them.
            let most = if endpoint == Endpoint::Models { 2 } else { 1 };
            assert!(server.calls(endpoint) <= most, "{endpoint:?}");
        }
    }
}

#[test]
fn an_old_esb_lacks_what_the_administrator_is_asked_for() {
    let server = Server::with(Entrance::Esb, |setup| setup.old_esb = true);
    let told = found(&server);
    let lacks = [
        ("batch", "absent"),
        ("delete", "unserved"),
        ("delete-many", "absent"),
        ("instances", "absent"),
        ("list", "absent"),
        ("properties", "unserved"),
    ];
    assert_eq!(missing(&told), lacks);
    assert_eq!(told["version"], serde_json::json!({"from": "3.10", "before": null}));
    let delete = &told["abilities"]["delete"];
    assert_eq!(delete["code"], 1_306_000);
    assert!(delete["request_id"].is_string());
    let text = |key: &str| delete[key].as_str().unwrap();
    assert!(text("without").contains("exit 8"), "{delete}");
    assert!(text("ask").contains("delete_instance_association"), "{delete}");
    let done = check(&server);
    for part in [
        "the contact works",
        "To ask its administrator for:",
        "The ESB component batch_create_instance_association is not registered \
         (POST /api/c/compapi/v2/cc/batch_create_instance_association/)",
        "let the app sandbox call it. It needs CMDB 3.10.2 or newer. Without it: each row is created by a call of its own",
        "3.10 or newer",
    ] {
        assert!(done.stdout.contains(part), "{part}: {}", done.stdout);
    }
}

#[test]
fn an_old_cmdb_is_told_by_what_it_lacks() {
    let server = Server::with(Entrance::Native, |setup| setup.version = Version::V3_5);
    let told = found(&server);
    assert_eq!(told["version"], serde_json::json!({"from": null, "before": "3.9"}));
    assert_eq!(told["abilities"]["instances"]["state"], "there", "by the older call");
    assert_eq!(told["abilities"]["delete-many"]["code"], 1_199_009);
    let asked = told["abilities"]["batch"]["ask"].as_str().unwrap();
    assert!(asked.contains("POST /api/v3/createmany/instassociation"), "{asked}");
    assert!(asked.contains("3.10.2"), "{asked}");
}

#[test]
fn a_call_that_the_app_may_not_make_is_told_from_one_that_is_not_there() {
    for entrance in [Entrance::Esb, Entrance::Gateway] {
        let server = Server::with(entrance, |setup| {
            setup.models.credentials.denied = vec!["batch_create_instance_association".to_owned()];
        });
        let told = found(&server);
        assert_eq!(missing(&told), [("batch", "not-granted")], "{entrance:?}");
        let ask = told["abilities"]["batch"]["ask"].as_str().unwrap();
        assert!(ask.contains("the app sandbox"), "{ask}");
        assert!(ask.contains("batch_create_instance_association (POST /api/"), "{ask}");
    }
}

#[test]
fn a_server_without_what_an_import_needs_ends_the_check_with_exit_8() {
    let server = Server::with(Entrance::Gateway, |setup| {
        setup.models.credentials.denied = vec!["add_instance_association".to_owned()];
    });
    let done = Workdir::new().bkassoc("check").to(&server).ends(8);
    for part in [
        "this server can't do what an import needs: create one: no: the app sandbox may not call",
        "create one                no",
        "find hosts by name        yes",
        "import, apply, sync and rerun don't work",
    ] {
        assert!(done.stdout.contains(part), "{part}: {}", done.stdout);
    }
    assert_eq!(server.calls(Endpoint::Create), 0);
}

#[test]
fn what_an_import_needs_and_the_user_may_not_use_ends_the_check_with_exit_8() {
    for (odd, code, said) in [
        ("/add_instance_association", 8, "create one: yes, but not for this user: code 9900403"),
        ("/find_instance_association", 8, "look up: yes, but not for this user: code 9900403"),
        ("/batch_create_instance_association", 0, ""),
    ] {
        let raw = esb(odd, |_, stream| stream.write_all(&refusal(9_900_403, "no")).is_ok());
        let done = Workdir::new().bkassoc("check").aim(Entrance::Esb, &raw.url()).ends(code);
        assert!(done.stdout.contains(said), "{}", done.stdout);
        assert_eq!(done.stdout.contains("the contact works"), code == 0, "{}", done.stdout);
    }
}

#[test]
fn where_nothing_says_that_an_import_is_possible_the_check_ends_with_exit_6() {
    for (odd, what) in [
        ("/add_instance_association", "create one: not known: HTTP 200 <html>"),
        ("/find_instance_association", "look up: not known: HTTP 200 <html>"),
    ] {
        let raw = esb(odd, |_, stream| stream.write_all(&http(200, "", "<html>log in")).is_ok());
        let check =
            |words: &str| Workdir::new().bkassoc(words).aim(Entrance::Esb, &raw.url()).ends(6);
        let done = check("check");
        for part in ["whether an import is possible is not known", what, "look up", "yes"] {
            assert!(done.stdout.contains(part), "{part}: {}", done.stdout);
        }
        for untrue in ["the contact works", "the server does not answer"] {
            assert!(!done.stdout.contains(untrue), "{untrue}: {}", done.stdout);
        }
        let summary = check("check --json").json();
        assert_eq!(summary["exit"], 6, "{summary}");
        assert!(summary["error"].as_str().unwrap().contains(what), "{summary}");
        assert_eq!(summary["check"]["server"]["abilities"]["hosts"]["state"], "there");
    }
}

#[test]
fn the_delete_of_one_is_asked_for_where_that_of_many_is_not_known_to_be_there() {
    let page = http(502, "", "<html>");
    for (answer, state) in [(page, "not-known"), (refusal(9_900_403, "no"), "forbidden")] {
        let raw =
            esb("delete_related_inst_asso", move |_, stream| stream.write_all(&answer).is_ok());
        let told = found_of(&raw, "check", 0);
        assert_eq!(told["abilities"]["delete-many"]["state"], state);
        assert_eq!(told["abilities"]["delete"]["state"], "there", "{told}");
    }
}

#[test]
fn a_limit_is_told_with_whose_it_is() {
    let limited = |entrance| {
        Server::with(entrance, |setup| {
            setup.quota = Some(Quota { calls: 100, window: Duration::from_secs(1) });
            setup.rate_headers = true;
        })
    };
    let gateway = limited(Entrance::Gateway);
    let told = serde_json::json!({"calls": 100, "window_ms": 1000, "counted": "route"});
    assert_eq!(found(&gateway)["quota"], told);
    assert!(check(&gateway).stdout.contains("counted for this app and each resource apart"));
    let esb = limited(Entrance::Esb);
    let told = serde_json::json!({"calls": 100, "window_ms": 1000, "counted": null});
    assert_eq!(found(&esb)["quota"], told);
    assert!(check(&esb).stdout.contains("which calls are counted together is not told"));
    let silent = Server::esb();
    assert_eq!(found(&silent)["quota"], Value::Null);
}

/// An ESB that answers one call as it likes, and others well.
fn esb(
    odd: &'static str,
    answer: impl Fn(&Asked, &mut std::net::TcpStream) -> bool + Send + Sync + 'static,
) -> Raw {
    Raw::serve(move |asked, stream| {
        if asked.path.contains(odd) {
            return answer(asked, stream);
        }
        let refused = |code: i64, text: &str| {
            let body = format!(
                r#"{{"result":false,"code":{code},"message":"{text}","data":null,"request_id":"r"}}"#
            );
            http(200, "", &body)
        };
        let answer = match asked.path.rsplit('/').nth(1).unwrap() {
            "add_instance_association" => refused(1_101_046, "no such"),
            "batch_create_instance_association" => refused(1_199_038, "none"),
            "delete_related_inst_asso" => refused(1_199_003, "none"),
            "find_instance_association" | "find_object_association" | "search_object_attribute" => {
                ok("[]")
            }
            _ => ok(r#"{"info":[],"count":0}"#),
        };
        stream.write_all(&answer).is_ok()
    })
}

fn found_of(raw: &Raw, words: &str, code: i32) -> Value {
    let done =
        Workdir::new().bkassoc(words).arg("--json").aim(Entrance::Esb, &raw.url()).ends(code);
    done.json()["check"]["server"].clone()
}

#[test]
fn a_page_instead_of_an_answer_is_not_known_and_ends_nothing() {
    for page in [200, 404, 502] {
        let raw = esb("batch_create_instance_association", move |_, stream| {
            stream
                .write_all(&http(page, "Content-Type: text/html\r\n", "<html>log in</html>"))
                .is_ok()
        });
        let told = found_of(&raw, "check", 0);
        assert_eq!(missing(&told), [("batch", "not-known")]);
        let message = told["abilities"]["batch"]["message"].as_str().unwrap();
        assert!(message.contains(&format!("HTTP {page} <html>")), "{message}");
        assert_eq!(
            told["abilities"]["batch"]["ask"],
            Value::Null,
            "nobody is asked for what is not known"
        );
        assert_eq!(told["version"]["from"], "3.10.1", "by what others told");
    }
}

#[test]
fn a_probe_that_gets_no_answer_in_time_is_not_known_and_the_others_go_on() {
    let raw = esb("batch_create_instance_association", |_, _| true);
    for words in ["check --timeout 200ms", "check --max-outage 200ms"] {
        let told = found_of(&raw, words, 0);
        assert_eq!(missing(&told), [("batch", "not-known")]);
        assert_eq!(told["abilities"]["delete-many"]["state"], "there");
    }
}

#[test]
fn where_no_probe_gets_an_answer_two_are_enough() {
    let raw = Raw::serve(|asked, stream| {
        !asked.path.contains("find_object_association") || stream.write_all(&ok("[]")).is_ok()
    });
    let told = found_of(&raw, "check --timeout 100ms", 6);
    assert_eq!(raw.asked().len(), 4);
    let states = states(&told);
    let count = |of: &str| states.iter().filter(|(_, state)| *state == of).count();
    assert_eq!((count("there"), count("not-known"), count("not-tried")), (1, 2, 7), "{states:?}");
}

#[test]
fn a_create_that_claims_success_is_not_believed() {
    let raw =
        esb("add_instance_association", |_, stream| stream.write_all(&ok(r#"{"id":7}"#)).is_ok());
    assert_eq!(missing(&found_of(&raw, "check", 6)), [("create", "not-known")]);
}

#[test]
fn no_create_is_tried_where_its_association_may_exist() {
    let raw = Raw::serve(|asked, stream| stream.write_all(&asked.honest()).is_ok());
    let given = format!("check --model {NN}=bk_load_balance,host,n:n");
    for words in ["check", &given] {
        let told = found_of(&raw, words, 0);
        assert_eq!(told["abilities"]["create"]["state"], "not-tried", "{told}");
    }
    assert_eq!(raw.creates(), 0);
}

#[test]
fn what_a_limit_refuses_is_asked_once_more() {
    let server = Server::with(Entrance::Esb, |setup| {
        setup.quota = Some(Quota { calls: 4, window: Duration::from_millis(500) });
    });
    assert_eq!(missing(&found(&server)), []);
}

#[test]
fn a_run_remembers_what_it_saw_and_asks_nothing_for_it() {
    let work = Workdir::new();
    work.write("in.csv", csv_of((0..3).map(|n| format!("{NN},{},{},1", 1 + n, 100 + n))));
    let server = Server::with(Entrance::Gateway, |setup| {
        setup.quota = Some(Quota { calls: 100, window: Duration::from_secs(1) });
    });
    let done = work.bkassoc("import in.csv -v").to(&server).ends(0);
    assert_eq!(server.all_calls(), 4, "the model association, and three rows");
    let told = work.json("in.results.csv.run.json")["server"].clone();
    assert_eq!(
        told,
        serde_json::json!({
            "path": "/api/v3",
            "version": {"from": null, "before": null},
            "quota": {"calls": 100, "window_ms": 1000, "counted": "route"},
            "abilities": {"create": "there", "models": "there"},
        })
    );
    for line in ["this server: create is there", "this server: 100 calls in 1s or longer"] {
        assert!(done.stderr.contains(line), "{line}: {}", done.stderr);
    }
    let undo = work.bkassoc("undo in.results.csv --yes").to(&server).ends(0);
    let told = work.json("in.undo.csv.run.json")["server"]["abilities"].clone();
    assert_eq!(told["delete-many"], "there", "{undo:?}");
}

#[test]
fn a_run_json_without_it_is_read() {
    let work = Workdir::new();
    work.write("in.csv", csv_of([format!("{NN},1,100,1")]));
    let server = Server::esb();
    work.bkassoc("import in.csv").to(&server).ends(0);
    let mut run = work.json("in.results.csv.run.json");
    assert!(run.as_object_mut().unwrap().remove("server").is_some());
    work.write("in.results.csv.run.json", run.to_string());
    work.bkassoc("verify in.results.csv").ends(0);
}
