//! The policy as a table, held against `tests/wire/verdicts.txt`.

use std::fmt::Write as _;
use std::ops::RangeInclusive;

use super::texts::{ESB_NO_SUCH_PATH, Position, TEXTS};
use super::*;
use crate::target::Entrance;

/// Every answer's verdict, in the words of `tests/wire/verdicts.txt`.
fn verdicts(reply: &Reply, proven: bool) -> [String; 7] {
    [
        format!("{:?}", judge(reply, proven)),
        format!("{:?}", judge_query(reply, proven)),
        format!("{:?}", judge_batch(reply, proven)),
        format!("{:?}", judge_delete(reply, proven)),
        format!("{:?}", judge_delete_many(reply, proven)),
        format!("{:?}", judge_instances(reply, proven)),
        format!("{:?}", judge_attributes(reply, proven)),
    ]
}

fn answer(status: u16, body: &str) -> Reply {
    let envelope = Envelope::parse(body.as_bytes());
    Reply::Answered(Answer {
        status,
        excerpt: match envelope {
            Some(_) => String::new(),
            None => body.to_owned(),
        },
        envelope,
        ..Answer::default()
    })
}

fn refusal(number: i64, message: &str) -> Reply {
    let envelope = Envelope::new(false, number, message, Box::default());
    Reply::Answered(Answer { status: 200, envelope: Some(envelope), ..Answer::default() })
}

fn heading(table: &mut String, title: &str) {
    let columns = ["create", "query", "batch", "delete", "deletes", "instances", "attributes"];
    writeln!(table, "\n## {title}\n").unwrap();
    row(table, "", &columns.map(str::to_owned));
}

fn row(table: &mut String, what: &str, cells: &[String; 7]) {
    let [create, query, batch, delete, deletes, instances, attributes] = cells;
    let cells = format!(
        "{create:27} {query:22} {batch:22} {delete:22} {deletes:22} {instances:22} {attributes}"
    );
    writeln!(table, "{what:66} {cells}").unwrap();
}

/// One row, and a second one where an answer means something else later in a run.
fn rows(table: &mut String, what: &str, reply: &Reply) {
    let (first, later) = (verdicts(reply, false), verdicts(reply, true));
    row(table, what, &first);
    if first != later {
        row(table, "    once a call has succeeded", &later);
    }
}

/// Neighbouring statuses with one policy share a row, and so do bodies.
fn statuses(table: &mut String) {
    const BODIES: [(&str, &str); 5] = [
        ("no body", ""),
        ("a web page", "<html>"),
        ("cut JSON", r#"{"result":tr"#),
        ("CMDB's JSON", r#"{"result":false,"message":"x","data":null}"#),
        ("other JSON", r#"{"error":"x"}"#),
    ];
    let policy = |status: u16| {
        BODIES.map(|(_, body)| [false, true].map(|p| verdicts(&answer(status, body), p)))
    };
    let mut runs: Vec<RangeInclusive<u16>> = Vec::new();
    for status in 100..=599 {
        match runs.last_mut() {
            Some(run) if policy(*run.end()) == policy(status) => *run = *run.start()..=status,
            _ => runs.push(status..=status),
        }
    }
    for run in runs {
        let (from, to) = (*run.start(), *run.end());
        let policies = policy(from);
        for (place, (kind, body)) in BODIES.iter().enumerate() {
            let same = |other: usize| policies[other] == policies[place];
            if (0..place).any(same) {
                continue;
            }
            let kinds: Vec<_> = (place..BODIES.len()).filter(|&other| same(other)).collect();
            let kinds = match kinds.len() {
                5 => "any body".to_owned(),
                1 => (*kind).to_owned(),
                _ => kinds.iter().map(|&kind| BODIES[kind].0).collect::<Vec<_>>().join(", "),
            };
            let range = if from == to { from.to_string() } else { format!("{from}-{to}") };
            rows(table, &format!("{range:8} {kinds}"), &answer(from, body));
        }
    }
}

const HEAD: &str = "\
# The whole policy: what each answer means for a create, for a query (look-up, model association), for
# a whole batch, for a delete, for a delete of many, and for the questions about instances (pages of a list, too)
# and about a model's attributes.
# Written by the test that holds it, when run with UPDATE_SNAPSHOTS=1. docs/cmdb-api.md says what the server does.
";

#[test]
fn the_table_in_tests_wire_is_the_policy() {
    let mut table = HEAD.to_owned();
    heading(&mut table, "No answer");
    rows(&mut table, "not sent", &Reply::NotSent(String::new()));
    rows(&mut table, "lost", &Reply::Lost(String::new()));
    rows(&mut table, "oversized", &Reply::Oversized(String::new()));
    rows(&mut table, "unusable", &Reply::Unusable(String::new()));

    heading(&mut table, "HTTP status, where the body has no number");
    statuses(&mut table);

    heading(&mut table, "Success, and what looks like it");
    for body in [
        r#"{"result":true,"code":0,"data":{"id":7}}"#,
        r#"{"result":true,"code":"0","data":{"id":7}}"#,
        r#"{"result":true,"bk_error_code":0,"data":{"id":7}}"#,
        r#"{"result":true,"code":0,"data":[]}"#,
        r#"{"result":true,"code":0,"data":null}"#,
        r#"{"result":true,"code":0}"#,
        r#"{"result":true,"code":0,"data":{"info":[]}}"#,
        r#"{"result":true,"code":0,"data":{"count":0,"info":null}}"#,
        r#"{"result":true,"code":0,"data":{"info":{}}}"#,
        r#"{"result":true,"code":0,"data":{"info":[}}"#,
        r#"{"result":true,"code":0,"data":{"id":0}}"#,
        r#"{"result":true,"code":0,"data":{"id":-7}}"#,
        r#"{"result":true,"code":0,"data":{"id":"7"}}"#,
        r#"{"result":true,"code":0,"data":{"id":7.5}}"#,
        r#"{"result":true,"code":0,"data":{"id":9223372036854775808}}"#,
        r#"{"result":false,"code":0,"data":{"id":7}}"#,
        r#"{"code":0,"data":{"id":7}}"#,
        r#"{"result":true,"data":{"id":7}}"#,
        r#"{"result":true,"code":1199014,"data":{"id":7}}"#,
        r#"{"result":"true","code":0,"data":{"id":7}}"#,
        r#"{"code":1199014}"#,
    ] {
        rows(&mut table, body, &answer(200, body));
    }

    heading(&mut table, "Numbers, whatever the text and the HTTP status");
    for number in numbers() {
        rows(&mut table, &number.to_string(), &refusal(number, "any text"));
    }
    rows(&mut table, "a number that nobody knows", &refusal(42, ""));
    rows(
        &mut table,
        "a number that nobody knows, HTTP 429",
        &answer(429, r#"{"result":false,"code":42}"#),
    );

    heading(&mut table, "Numbers with several causes, told apart by a text");
    for text in TEXTS {
        let (message, shown) = match text.position {
            Position::Prefix(prefix) => (format!("{prefix} and more"), format!("{prefix}…")),
            Position::Part(part) => (format!("before {part} after"), format!("…{part}…")),
        };
        rows(&mut table, &format!("{} {shown}", text.number), &refusal(text.number, &message));
    }
    rows(
        &mut table,
        "1306000 …not a json string: 404: Page Not Found",
        &refusal(code::ESB_CATCH_ALL, ESB_NO_SUCH_PATH),
    );

    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/wire/verdicts.txt");
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(path, &table).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap();
    for (number, (now, kept)) in table.lines().zip(kept.lines()).enumerate() {
        assert_eq!(now, kept, "{path}:{}", number + 1);
    }
    assert_eq!(table.lines().count(), kept.lines().count(), "{path}");
}

/// Every number of `docs/cmdb-api.md` and of the answers in `tests/wire/`.
fn numbers() -> impl Iterator<Item = i64> {
    let alone = [
        -1, 1_100_004, 1_100_005, 1_101_046, 1_101_052, 1_101_061, 1_101_062, 1_101_072, 1_101_073,
        1_101_074, 1_102_020, 1_109_001, 1_109_002, 1_109_005, 1_113_051, 1_113_053, 1_199_000,
        1_199_002, 1_199_003, 1_199_006, 1_199_009, 1_199_010, 1_199_011, 1_199_014, 1_199_019,
        1_199_027, 1_199_035, 1_199_036, 1_199_037, 1_199_038, 1_199_045, 1_199_046, 1_199_059,
        1_199_065, 1_199_066, 1_199_067, 1_199_084, 1_199_099, 1_199_997, 1_199_998, 1_199_999,
        1_306_000, 1_306_201, 1_306_203, 1_306_206, 1_306_207, 1_306_208, 1_306_209, 1_306_401,
        1_306_402, 1_306_403, 1_306_404, 1_306_405, 1_306_406, 1_306_408, 1_306_429, 1_640_001,
        1_640_004, 1_640_100, 1_640_101, 1_640_102, 1_640_301, 1_640_302, 1_640_303, 1_640_304,
        1_640_401, 1_641_301, 1_641_401, 1_642_901, 1_642_902, 1_642_903, 1_642_904, 1_650_000,
        1_650_001, 1_650_002, 1_650_200, 1_650_201, 1_650_300, 1_650_401, 1_650_801, 9_900_403,
    ];
    alone.into_iter()
}

#[test]
fn a_number_decides_whatever_the_status() {
    for status in 100..=599 {
        let refused = answer(status, r#"{"result":false,"bk_error_code":"1199014"}"#);
        assert_eq!(judge(&refused, false), Verdict::LookUp(Taken::Triple), "{status}");
    }
}

#[test]
fn an_answer_nested_beyond_measure_is_one_that_did_not_arrive() {
    let deep = "[".repeat(100_000);
    for body in [
        deep.clone(),
        format!(r#"{{"code":{deep}"#),
        format!(r#"{{"result":true,"code":0,"data":{deep}"#),
        format!(r#"{{"message":{deep}"#),
    ] {
        assert_eq!(judge(&answer(200, &body), true), Verdict::InDoubt(Cause::NoAnswer));
    }
    let closed = format!(r#"{{"result":true,"code":0,"data":{deep}{}}}"#, "]".repeat(100_000));
    assert_eq!(judge(&answer(200, &closed), true), Verdict::InDoubt(Cause::Unclear));
    let Reply::Answered(Answer { envelope: Some(envelope), .. }) = answer(200, &closed) else {
        panic!("it is a JSON object");
    };
    assert_eq!((envelope.found(), envelope.models()), (None, None));
}

#[test]
fn the_advice_names_the_credential_that_the_esb_refused() {
    for (message, flag) in [
        ("APP Code [bk_app_code] cannot be empty", "--app-code"),
        ("Invalid APP Code [bk_app_code=no_such_app], please", "--app-code"),
        ("APP Secret verification failed, pelase confirm", "--app-secret-file"),
        ("Signature [bk_signature] and APP Secret [bk_app_secret]", "BK_APP_SECRET"),
        ("User authentication failed, please provide a valid", "white list"),
        ("User authentication failed, please check if the bk_token is", "--token-file"),
        ("The specified user TOKEN [bk_access_token] does not", "--token-file"),
    ] {
        let reply = refusal(code::ESB_CATCH_ALL, message);
        let advice = Stop::Credentials.advice(&reply, Entrance::Esb);
        assert!(advice.contains(flag), "{message}: {advice}");
    }
}

#[test]
fn the_advice_names_what_cmdb_missed_before_it_looked_at_the_call() {
    let tenant = refusal(code::INVALID_TENANT, "failed to verify the tenant identity.");
    assert!(Stop::Setup.advice(&tenant, Entrance::Native).contains("--tenant-id"));
    for (message, says) in [
        ("user is not set", "--username"),
        ("app is not verified", "--app-secret-file"),
        ("jwt public key is not set", "administrator"),
    ] {
        let reply = refusal(code::UNKNOWN_OR_DRIVER, message);
        let Verdict::Stop(stop) = judge(&reply, true) else { panic!("{message} stops nothing") };
        let advice = stop.advice(&reply, Entrance::Gateway);
        assert!(advice.contains(says), "{message}: {advice}");
    }
}

#[test]
fn every_stop_has_an_advice_that_names_a_flag_or_who_can_help() {
    let silent = Reply::Lost(String::new());
    for stop in
        [Stop::Credentials, Stop::ApiForbidden, Stop::WrongAddress, Stop::Certificate, Stop::Setup]
    {
        for entrance in [Entrance::Esb, Entrance::Gateway, Entrance::Native] {
            let advice = stop.advice(&silent, entrance);
            assert!(advice.contains("--") || advice.contains("administrator"), "{advice}");
        }
    }
}
