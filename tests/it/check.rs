//! `bkassoc check`: it finds what an import would run into, says what it does not know, and leaves
//! nothing behind that nobody asked for.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

type Row = BTreeMap<String, String>;

fn program(folder: &TempDir, words: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bkassoc"));
    command.args(words.split_whitespace()).env_clear().current_dir(folder.path());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// What a program said, after it ended with this exit code.
fn ends(mut command: Command, code: i32) -> (String, String) {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let (stdout, stderr) = (text(output.stdout), text(output.stderr));
    assert_eq!(output.status.code(), Some(code), "{stdout}\n{stderr}");
    (stdout, stderr)
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn rows(path: &Path) -> Vec<Row> {
    csv::Reader::from_path(path).unwrap().deserialize().map(Result::unwrap).collect()
}

fn with(text: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.csv"), text).unwrap();
    folder
}

fn names(folder: &TempDir) -> Vec<String> {
    let entries = fs::read_dir(folder.path()).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

const SAMPLE: &str = include_str!("../../samples/associations.csv");

#[test]
fn the_sample_is_judged_row_by_row_and_nothing_is_created() {
    let folder = with(SAMPLE);
    let (stdout, _) = ends(program(&folder, "check a.csv --sandbox"), 3);
    assert_eq!(names(&folder), ["a.check.csv", "a.csv"]);
    let rows = rows(&folder.path().join("a.check.csv"));
    assert_eq!(rows.len(), 26);
    for row in &rows {
        let (status, reason) = match &*row["line"] {
            "19" | "20" => ("failed", "mapping-conflict"),
            "23" => ("failed", "unknown-association"),
            "24" => ("failed", "mainline-association"),
            "25" | "26" | "27" => ("invalid", "invalid-row"),
            _ => ("not_attempted", ""),
        };
        assert_eq!((&*row["status"], &*row["reason"]), (status, reason), "{row:?}");
        assert_eq!((&*row["attempts"], &*row["association_id"]), ("0", ""));
    }
    let message = |line: usize| &*rows[line - 2]["message"];
    assert_eq!(message(18), "the same as line 8: it would end as existed");
    assert_eq!(
        message(19),
        "line 16 ties target 31 to source 13 already, and the mapping allows just one"
    );
    assert_eq!(message(25), "line 25: column inst_id: \"1.0\" is not a plain decimal integer");
    for part in [
        "some rows would fail; nothing was created",
        "19  to be sent",
        "1  of them repeat an earlier row and would end as existed: line 18",
        "mapping-conflict: lines 19, 20",
        "Not tested: write permission; whether the instances exist; what is on the server already.",
        "Results: a.check.csv",
    ] {
        assert!(stdout.contains(part), "{part}: {stdout}");
    }
}

#[test]
fn a_dry_run_is_a_check() {
    let folder = with(SAMPLE);
    let said = |words| {
        let mut summary = json(&ends(program(&folder, words), 3).0);
        for volatile in ["elapsed_ms", "rows_per_s", "latency_ms"] {
            summary.as_object_mut().unwrap().remove(volatile);
        }
        summary["check"]["forecast"] = Value::Null;
        summary
    };
    let check = said("check a.csv --sandbox --json");
    assert_eq!(said("import a.csv --sandbox -n --json"), check);
    assert_eq!(check["calls"]["models"], 1, "all names in one call");
    assert_eq!(check["check"]["repeats"], 1);
    assert_eq!(check["check"]["first_repeats"], json(r#"[{"file":0,"line":18}]"#));
    assert_eq!((&check["outstanding"], &check["created"]), (&Value::from(19), &Value::from(0)));
    assert_eq!(names(&folder), ["a.check.csv", "a.csv"], "the same name, replaced");
}

#[test]
fn a_dry_run_creates_nothing_wherever_it_is_asked_for() {
    let folder = with(SAMPLE);
    let mut command = program(&folder, "import a.csv --sandbox --json");
    command.env("BKASSOC_DRY_RUN", "true");
    let summary = json(&ends(command, 3).0);
    assert_eq!((&summary["outstanding"], &summary["created"]), (&Value::from(19), &Value::from(0)));
}

/// Rows of all mappings that collide in every way, none of which the server has.
fn crowd() -> String {
    let mut text = "obj_asst_id,inst_id,asst_inst_id,biz_id\n".to_owned();
    let mut state = 7u64;
    let mut below = |most: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) % most
    };
    for _ in 0..400 {
        let (name, source, target) = match below(3) {
            0 => ("bk_switch_belong_bk_host", 20 + below(9), 50 + below(40)),
            1 => ("bk_switch_connect_bk_switch", 20 + below(40), 20 + below(40)),
            _ => ("bk_load_balance_connect_bk_host", 20 + below(12), 50 + below(12)),
        };
        writeln!(text, "{name},{source},{target},1").unwrap();
    }
    text
}

#[test]
fn what_a_check_finds_is_what_an_import_runs_into() {
    let folder = with(&crowd());
    ends(program(&folder, "check a.csv --sandbox"), 3);
    ends(program(&folder, "import a.csv --sandbox --rate unlimited"), 3);
    let checked = rows(&folder.path().join("a.check.csv"));
    let imported = rows(&folder.path().join("a.sandbox.results.csv"));
    assert_eq!((checked.len(), imported.len()), (400, 400));
    let mut seen = [0; 3];
    for (check, import) in checked.iter().zip(&imported) {
        let (kind, status) = match (&*check["status"], &*check["reason"], &*check["message"]) {
            ("failed", "mapping-conflict", _) => (0, "failed"),
            ("not_attempted", "", "") => (1, "created"),
            ("not_attempted", "", _) => (2, "existed"),
            _ => panic!("{check:?}"),
        };
        seen[kind] += 1;
        assert_eq!(import["status"], status, "{check:?} {import:?}");
        assert_eq!(import["reason"], check["reason"]);
    }
    assert!(seen.iter().all(|count| *count > 20), "{seen:?}");
}

#[test]
fn offline_needs_no_server_and_judges_what_it_is_told() {
    const ROWS: &str = "\
obj_asst_id,inst_id,asst_inst_id,biz_id
no_run_body,1,2,1
no_run_body,3,2,1
no_run_body,1,2,1
";
    let folder = with(ROWS);
    for (words, exit, conflicts) in [
        ("check a.csv --offline --json", 0, 0),
        ("check a.csv --offline --json --model no_run_body=no,body,1:n", 3, 1),
        ("check a.csv --offline --json --model no_run_body=no,body,n:n", 0, 0),
        ("check a.csv --offline --json --model no_run_body=no,body", 0, 0),
    ] {
        let summary = json(&ends(program(&folder, words), exit).0);
        assert_eq!(summary["failed"], conflicts, "{words}");
        assert_eq!(summary["check"]["repeats"], 1, "{words}");
        assert_eq!(summary["calls"]["models"], 0);
        assert_eq!(summary["target"], Value::Null);
        assert_eq!(summary["check"]["forecast"]["create"], 3);
        assert_eq!(summary["check"]["not_tested"][0], "the contact with the server");
    }
    ends(program(&folder, "check --offline"), 2);
}

#[test]
fn the_forecast_follows_from_the_rows_the_rate_and_the_batch() {
    let mut text = "obj_asst_id,inst_id,asst_inst_id,biz_id\n".to_owned();
    for row in 1..=1_000 {
        writeln!(text, "a_run_b,{row},{row},1").unwrap();
    }
    let folder = with(&text);
    let forecast = |words: &str| {
        let words = format!("{words} --json --model a_run_b=a,b,n:n");
        json(&ends(program(&folder, &words), 0).0)["check"]["forecast"].clone()
    };
    let alone = forecast("check a.csv --offline --rate 50");
    assert_eq!((&alone["calls"], &alone["duration_ms"]), (&1_000.into(), &20_000.into()));
    let batched = forecast("import -n a.csv --sandbox --batch 150 --rate 600/m");
    assert_eq!((&batched["create"], &batched["duration_ms"]), (&7.into(), &700.into()));
    assert_eq!(forecast("check a.csv --offline --rate unlimited")["duration_ms"], Value::Null);
}

#[test]
fn only_its_own_name_is_replaced_without_asking() {
    let folder = with(SAMPLE);
    let there = folder.path().join("x.csv");
    fs::write(&there, "mine").unwrap();
    let (_, stderr) = ends(program(&folder, "check a.csv --sandbox -o x.csv"), 2);
    assert!(stderr.contains("x.csv is there"), "{stderr}");
    assert_eq!(fs::read_to_string(&there).unwrap(), "mine");
    ends(program(&folder, "check a.csv --sandbox -o x.csv --fresh --yes"), 3);
    assert_eq!(names(&folder), ["a.csv", "x.csv", "x.csv.old"]);
    ends(program(&folder, "import a.csv --sandbox -o a.check.csv --rate unlimited"), 3);
    let (_, stderr) = ends(program(&folder, "check a.csv --sandbox"), 2);
    assert!(stderr.contains("a.check.csv is there"), "the results of an import: {stderr}");
}

#[test]
fn rows_from_stdin_go_to_stdout_and_the_summary_to_stderr() {
    let folder = tempfile::tempdir().unwrap();
    let mut child =
        program(&folder, "check - --sandbox -o -").stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(SAMPLE.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let rows = csv::Reader::from_reader(&*output.stdout).into_records().count();
    assert_eq!(rows, 26);
    assert!(String::from_utf8(output.stderr).unwrap().contains("some rows would fail"));
    assert_eq!(names(&folder).len(), 0);
}

#[test]
fn an_input_that_breaks_off_ends_with_what_was_seen_and_no_results() {
    let text = format!("{SAMPLE}bk_switch_belong_bk_host,\"11,21,1\n");
    let folder = with(&text);
    let summary = json(&ends(program(&folder, "check a.csv --sandbox --json"), 7).0);
    assert!(summary["error"].as_str().unwrap().contains("line 28"), "{summary}");
    assert_eq!(summary["results"], Value::Null);
    assert_eq!(names(&folder), ["a.csv"]);
}

/// `bkassoc sandbox` on a free port.
struct Server(Child, String);

impl Server {
    fn start(folder: &TempDir) -> Self {
        let mut child = program(folder, "sandbox --listen 127.0.0.1:0").spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("listening on ").unwrap().to_owned();
        Self(child, url)
    }

    fn check(&self, folder: &TempDir, words: &str, secret: &str) -> Command {
        let words =
            format!("check {words} --endpoint {} --app-code sandbox --username admin", self.1);
        let mut command = program(folder, &words);
        command.env("BK_APP_SECRET", secret);
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill().and_then(|()| self.0.wait());
    }
}

#[test]
fn without_input_the_contact_is_tested() {
    let folder = with(SAMPLE);
    let server = Server::start(&folder);
    let (stdout, _) = ends(server.check(&folder, "", "sandbox-secret"), 0);
    assert!(stdout.contains("the contact works"), "{stdout}");
    assert!(stdout.contains("Not tested: write permission; any row."), "{stdout}");
    for words in ["", "a.csv"] {
        let (stdout, _) = ends(server.check(&folder, words, "wrong"), 8);
        assert!(stdout.contains("--app-secret-file"), "{stdout}");
    }
    assert_eq!(names(&folder), ["a.csv"]);
}

#[test]
fn where_every_model_is_given_the_contact_is_tested_all_the_same() {
    let row = "obj_asst_id,inst_id,asst_inst_id,biz_id\nbk_switch_belong_bk_host,11,21,1\n";
    let folder = with(row);
    let server = Server::start(&folder);
    let words = "a.csv --json --model bk_switch_belong_bk_host=bk_switch,host,1:n";
    let summary = json(&ends(server.check(&folder, words, "sandbox-secret"), 0).0);
    assert_eq!((&summary["calls"]["find"], &summary["calls"]["models"]), (&1.into(), &0.into()));
    ends(server.check(&folder, words, "wrong"), 8);
}

#[test]
fn a_server_that_is_not_there_ends_it_after_the_connect_timeout() {
    let folder = with(SAMPLE);
    // Bound and given back: nobody listens there.
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let words = format!("check a.csv --entrance native --username me --endpoint http://{free}");
    let mut command = program(&folder, &words);
    command.args(["--connect-timeout", "200ms", "--json"]);
    let summary = json(&ends(command, 6).0);
    assert!(summary["error"].as_str().unwrap().contains("no answer ever came"), "{summary}");
    assert_eq!(summary["next"][1], "check");
    assert_eq!(names(&folder), ["a.csv"]);
}

#[test]
fn a_signal_ends_it_at_once_and_leaves_nothing() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
        let folder = with(SAMPLE);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let words = format!(
            "check a.csv --json --entrance native --username me --endpoint http://{address}"
        );
        let child = program(&folder, &words).spawn().unwrap();
        // It has called, and waits for an answer that nobody gives.
        let called = listener.accept().unwrap();
        kill_process(Pid::from_child(&child), signal).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(code));
        let summary = json(&String::from_utf8(output.stdout).unwrap());
        assert_eq!(summary["exit"], code);
        assert_eq!(names(&folder), ["a.csv"]);
        drop(called);
    }
}
