//! `bkassoc verify` from outside: what it finds right, and that it finds what is wrong.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use bkassoc::sandbox::faults::{Fault, Faults};
use bkassoc::sandbox::{Setup, Version};
use bkassoc::target::Entrance;
use serde_json::Value;
use tempfile::TempDir;

use crate::server::Server as InProcess;
use crate::workdir::{NN, ONE_N, Workdir, csv_of, links};

const BKASSOC: &str = env!("CARGO_BIN_EXE_bkassoc");

const ROWS: &str = "\
obj_asst_id,inst_id,asst_inst_id,biz_id
bk_switch_belong_bk_host,11,21,1
bk_switch_belong_bk_host,11,22,
bk_load_balance_connect_bk_host,1,21,1
bk_load_balance_connect_bk_host,1,21,1
bk_switch_belong_bk_host,1.0,23,1
bk_switch_run_bk_rack,1,24,1
";

/// A sandbox behind HTTP, gone with the value.
struct Server {
    process: Child,
    endpoint: String,
}

impl Server {
    fn start() -> Self {
        let mut process = Command::new(BKASSOC)
            .args(["sandbox", "--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut first = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut first).unwrap();
        let at = first.find("http://").unwrap();
        Self { endpoint: first[at..].trim().to_owned(), process }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A folder to work in, beside a server.
struct Work {
    folder: TempDir,
    server: Server,
}

impl Work {
    fn new() -> Self {
        let work = Self { folder: tempfile::tempdir().unwrap(), server: Server::start() };
        work.write("a.csv", ROWS);
        work
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn edit(&self, name: &str, from: &str, to: &str) {
        let text = self.read(name);
        assert!(text.contains(from), "{from:?} in {text}");
        self.write(name, &text.replacen(from, to, 1));
    }

    fn run(&self, line: &str) -> Output {
        let words: Vec<_> = line.split_whitespace().collect();
        let identity = ["--app-code", "sandbox", "--username", "admin"];
        let calls = words.contains(&"--live") || words[0] != "verify";
        Command::new(BKASSOC)
            .args(&words)
            .args(calls.then_some(identity).into_iter().flatten())
            .current_dir(self.folder.path())
            .env_clear()
            .env("BKASSOC_ENDPOINT", &self.server.endpoint)
            .env("BKASSOC_RATE", "unlimited")
            .env("BK_APP_SECRET", "sandbox-secret")
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    fn import(&self, line: &str) {
        let output = self.run(&format!("import {line}"));
        assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    }

    /// Verifies, and gives the exit code and the findings by their kinds.
    fn verify(&self, line: &str) -> (Option<i32>, Value) {
        let output = self.run(&format!("verify {line} --json"));
        let json = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", text(&output.stderr)));
        (output.status.code(), json)
    }

    fn kinds(&self, line: &str) -> Vec<String> {
        let (exit, json) = self.verify(line);
        let kinds: Vec<_> = (json["findings"].as_array().unwrap().iter())
            .map(|finding| finding["kind"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(exit, Some(if kinds.is_empty() { 0 } else { 3 }), "{json}");
        kinds
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_run_of_ours_is_right_in_every_respect_and_format() {
    let work = Work::new();
    for results in ["r.csv", "r.tsv", "r.jsonl"] {
        work.import(&format!("a.csv --biz-id 2 -o {results}"));
        let (exit, json) = work.verify(&format!("{results} --against a.csv --live"));
        assert_eq!(exit, Some(0), "{json}");
        assert_eq!(json["rows"], 6);
        assert_eq!(json["checked"], serde_json::json!(["file", "run.json", "input", "server"]));
        assert_eq!(json["calls"]["find"], 4, "one for each end of each model association");
    }
    let output = work.run("verify r.csv --against a.csv");
    assert!(text(&output.stdout).contains("nothing is off"), "{}", text(&output.stdout));
    let output = work.run("verify r.csv -q");
    assert_eq!((text(&output.stdout), text(&output.stderr)), (String::new(), String::new()));
}

#[test]
fn the_input_is_read_as_the_run_read_it() {
    let work = Work::new();
    let header = "obj_asst_id,源实例,目标,biz_id";
    let renamed = ROWS.replace("obj_asst_id,inst_id,asst_inst_id,biz_id", header);
    work.write("b.csv", &renamed.replace(',', ";"));
    work.import("b.csv --map inst_id=源实例 --map asst_inst_id=目标 --biz-id 2 --delimiter ;");
    assert_eq!(work.kinds("b.results.csv --against b.csv"), [""; 0]);
}

#[test]
fn several_inputs_are_held_against_in_the_order_of_the_run() {
    let work = Work::new();
    work.write("b.csv", "obj_asst_id,inst_id,asst_inst_id,biz_id\n");
    work.write("c.csv", ROWS);
    work.import("a.csv b.csv c.csv --biz-id 2 -o r.csv");
    let against = "--against a.csv --against b.csv --against c.csv";
    assert_eq!(work.kinds(&format!("r.csv {against}")), [""; 0]);
    let swapped = "--against a.csv --against c.csv --against b.csv";
    assert!(work.kinds(&format!("r.csv {swapped}")).contains(&"row-missing".to_owned()));
    let output = work.run("verify r.csv --against a.csv");
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("a.csv, b.csv, c.csv"), "{}", text(&output.stderr));
}

#[test]
fn a_rerun_is_held_against_the_input_of_its_import() {
    let work = Work::new();
    work.import("a.csv --biz-id 2 -o r.csv");
    work.run("rerun r.csv --all-failed -o r2.csv");
    assert_eq!(work.kinds("r2.csv --against a.csv --live"), [""; 0]);

    work.write("b.csv", &ROWS.replace(",1\n", ",\n"));
    work.import("b.csv -o b1.csv");
    work.run("rerun b1.csv --biz-id 3 --status invalid -o b2.csv");
    work.run("rerun b2.csv --all-failed -o b3.csv");
    assert!(work.read("b3.csv").contains("11,21,3,existed"));
    assert_eq!(work.kinds("b3.csv --against b.csv"), [""; 0], "a business is no other row");

    work.edit("r.csv", "belong_bk_host,1.0,23", "belong_bk_host,12,23");
    work.run("rerun r.csv --all-failed -o r3.csv");
    let (_, json) = work.verify("r3.csv --against a.csv");
    assert_eq!(json["findings"][0]["kind"], "row-different");
    assert_eq!(json["findings"][0]["first"][0]["line"], 6);
}

#[test]
fn a_file_that_was_changed_is_told_with_what_it_lacks() {
    let work = Work::new();
    work.import("a.csv --biz-id 2 -o r.csv");
    let whole = work.read("r.csv");
    let mut lines: Vec<_> = whole.lines().collect();
    lines.remove(2);
    work.write("r.csv", &(lines.join("\n") + "\n"));
    assert_eq!(work.kinds("r.csv --against a.csv"), ["changed", "counts", "row-missing"]);
    work.write("r.csv", &whole[..whole.len() - 20]);
    let kinds = work.kinds("r.csv");
    assert!(kinds.contains(&"unreadable".to_owned()), "{kinds:?}");
    work.write("r.csv", &whole);
    work.edit("a.csv", "11,21", "11,25");
    assert_eq!(work.kinds("r.csv --against a.csv"), ["input-changed", "row-different"]);
}

#[test]
fn a_lost_or_damaged_run_json_is_a_finding() {
    let work = Work::new();
    work.import("a.csv --biz-id 2 -o r.csv");
    work.write("r.csv.run.json", "{}");
    assert_eq!(work.kinds("r.csv"), ["no-run-json"]);
    fs::remove_file(work.path("r.csv.run.json")).unwrap();
    assert_eq!(work.kinds("r.csv --live"), ["no-run-json"], "flags can say where to ask");
}

#[test]
fn what_the_server_has_no_more_or_under_another_id_is_listed() {
    let work = Work::new();
    work.import("a.csv --biz-id 2 -o r.csv");
    fs::copy(work.path("r.csv"), work.path("kept.csv")).unwrap();
    fs::copy(work.path("r.csv.run.json"), work.path("kept.csv.run.json")).unwrap();
    let undone = work.run("undo r.csv --yes -o undo.csv");
    assert_eq!(undone.status.code(), Some(0), "{}", text(&undone.stderr));
    assert_eq!(work.kinds("undo.csv --live"), [""; 0]);
    let output = work.run("verify undo.csv --against r.csv");
    assert_eq!(output.status.code(), Some(2), "an undo has no input to be held against");

    let (exit, json) = work.verify("kept.csv --live");
    assert_eq!(exit, Some(3));
    let missing = &json["findings"][0];
    assert_eq!((&missing["kind"], &missing["count"]), (&"missing".into(), &4.into()));
    let lines: Vec<_> =
        missing["first"].as_array().unwrap().iter().map(|first| &first["line"]).collect();
    assert_eq!(lines, [2, 3, 4, 5]);

    work.import("a.csv --biz-id 2 -o again.csv");
    assert_eq!(work.kinds("kept.csv --live"), ["different"], "created anew under other ids");
}

#[test]
fn an_unfinished_run_a_stranger_and_a_lost_sandbox_are_refused_with_what_to_do() {
    let work = Work::new();
    work.import("a.csv --biz-id 2 -o r.csv");
    work.write("r.csv.journal", "x");
    let output = work.run("verify r.csv");
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("bkassoc results"), "{}", text(&output.stderr));
    let output = work.run("verify a.csv");
    assert_eq!(output.status.code(), Some(7));
    assert!(text(&output.stderr).contains("no results file"), "{}", text(&output.stderr));

    let sandboxed = work.run("import a.csv --sandbox --biz-id 2 -o s.csv");
    assert_eq!(sandboxed.status.code(), Some(3), "{}", text(&sandboxed.stderr));
    assert_eq!(work.kinds("s.csv --against a.csv"), [""; 0]);
    let output = work.run("verify s.csv --live --sandbox");
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("in memory"), "{}", text(&output.stderr));
}

#[test]
fn a_server_that_refuses_the_caller_ends_it_with_exit_8() {
    let work = Work::new();
    work.import("a.csv --biz-id 2 -o r.csv");
    let wrong = work.path("secret");
    fs::write(&wrong, "not-the-secret").unwrap();
    let (exit, json) = work.verify("r.csv --live --app-secret-file secret");
    assert_eq!((exit, &json["exit"]), (Some(8), &8.into()));
    let error = json["error"].as_str().unwrap();
    assert!(error.contains("--app-secret-file") && !error.contains("not-the-secret"), "{error}");
    assert_eq!(json["checked"], serde_json::json!(["file", "run.json"]));
}

#[test]
fn a_row_that_a_cut_batch_left_by_half_is_found() {
    let server = InProcess::esb();
    let work = Workdir::new();
    work.write("in.csv", links(3));
    work.bkassoc("import in.csv").to(&server).ends(0);
    work.bkassoc("verify in.results.csv --live").to(&server).ends(0);
    let half = server.sandbox.insert_half(NN, 1, 77).unwrap();
    work.write("in.csv", links(3) + &format!("{NN},1,77,1\n"));
    work.bkassoc("import in.csv -o half.csv").to(&server).ends(0);
    let said = work.bkassoc("verify half.csv --live --json").to(&server).ends(3).json();
    let found = &said["findings"][0];
    assert_eq!((&found["kind"], &found["count"]), (&"half-written".into(), &1.into()), "{said}");
    let what = found["first"][0]["what"].as_str().unwrap();
    assert!(what.contains(&format!("delete {half} through bk_load_balance")), "{what}");
}

#[test]
fn a_rule_that_two_imports_at_once_have_broken_is_found() {
    let server = InProcess::esb();
    let work = Workdir::new();
    work.write("in.csv", csv_of([format!("{ONE_N},11,2001,1"), format!("{ONE_N},11,2002,1")]));
    work.bkassoc("import in.csv").to(&server).ends(0);
    // The server checks before it locks: another's create may have passed at the same time.
    let other = server.sandbox.insert(ONE_N, 12, 2002).unwrap();
    let said = work.bkassoc("verify in.results.csv --live --json").to(&server).ends(3).json();
    let found = &said["findings"][0];
    assert_eq!((&found["kind"], &found["count"]), (&"rule-broken".into(), &1.into()), "{said}");
    let what = found["first"][0]["what"].as_str().unwrap();
    assert!(what.contains(&format!("{other} (12 -> 2002)")), "{what}");
    assert_eq!(found["first"][0]["line"], 3);
}

#[test]
fn a_failed_row_that_exists_and_statuses_that_were_swapped_are_found() {
    let work = Work::new();
    work.import("a.csv --biz-id 2 -o r.csv");
    assert_eq!(work.kinds("r.csv --live"), [""; 0]);
    // Nobody can tell offline that this was not so.
    let text = work.read("r.csv");
    let created: Vec<_> = text.lines().nth(1).unwrap().split(',').collect();
    let failed: Vec<_> = text.lines().nth(6).unwrap().split(',').collect();
    assert_eq!((created[5], failed[5]), ("created", "failed"), "{text}");
    let swapped = |of: &[&str], as_other: &[&str]| [&of[..5], &as_other[5..]].concat().join(",");
    let text = text.replace(&created.join(","), &swapped(&created, &failed));
    let text = text.replace(&failed.join(","), &swapped(&failed, &created));
    work.write("r.csv", &text);
    fs::remove_file(work.path("r.csv.run.json")).unwrap();
    let (_, json) = work.verify("r.csv --live");
    let found: Vec<_> = (json["findings"].as_array().unwrap().iter())
        .map(|finding| (finding["kind"].as_str().unwrap(), &finding["first"][0]["line"]))
        .collect();
    let (second, seventh) = (Value::from(2), Value::from(7));
    let whole = Value::Null;
    assert_eq!(
        found,
        [("no-run-json", &whole), ("exists", &second), ("not-asked", &seventh)],
        "{json}"
    );
}

#[test]
fn a_parent_that_was_moved_away_is_said_to_be_missing() {
    let server = InProcess::esb();
    let work = Workdir::new();
    work.write("in.csv", links(2) + &format!("{NN},99999,21,1\n"));
    let said = |line: &str, code| {
        let ended = work.bkassoc(line).to(&server).ends(code);
        (ended.stderr, ended.stdout)
    };
    said("import in.csv -o a.csv", 3);
    let (stderr, stdout) = said("rerun a.csv --all-failed -o b.csv", 3);
    assert!(!(stderr + &stdout).contains("not to be found"));
    said("verify b.csv", 0);

    fs::create_dir(work.path("aside")).unwrap();
    for name in ["a.csv", "a.csv.run.json"] {
        fs::rename(work.path(name), work.path(&format!("aside/{name}"))).unwrap();
    }
    said("undo aside/a.csv --yes", 0);
    let says = "carries rows of a.csv, and that run is not to be found";
    let (stderr, stdout) = said("rerun b.csv --all-failed -o c.csv", 3);
    assert!(stderr.contains(says) && stdout.contains(says), "{stderr}{stdout}");
    let ended = work.bkassoc("results b.csv -o so-far.csv").ends(0);
    assert!(ended.stderr.contains(says), "{}", ended.stderr);
    let found = work.bkassoc("verify c.csv --json").ends(3).json();
    assert_eq!(found["findings"][0]["kind"], "no-parent", "{found}");
    let found = work.bkassoc("verify c.csv --live --json").to(&server).ends(3).json();
    assert_eq!(found["findings"][0]["kind"], "missing", "the server tells: {found}");
    let undone = work.bkassoc("undo c.csv --yes --json").to(&server).ends(3).json();
    assert!(undone["warnings"][0].as_str().unwrap().contains("told of this undo"), "{undone}");
}

#[test]
fn a_rerun_refuses_a_row_that_ended_well_and_was_changed_and_takes_mended_ones() {
    let work = Work::new();
    work.import("a.csv --biz-id 2 -o r.csv");
    let whole = work.read("r.csv");
    let rerun = |out: &str| work.run(&format!("rerun r.csv --all-failed -o {out}"));
    let created = whole.lines().nth(1).unwrap();
    let id = created.split(',').nth(6).unwrap();
    for (from, to) in [
        ("bk_host,11,21,", "bk_host,11,29,"),
        ("created,", "existed,"),
        (&format!("created,{id},"), "created,999,"),
        ("line,obj", "line,obj"),
    ] {
        work.write("r.csv", &whole);
        work.edit("r.csv", from, to);
        // A failed row may be mended in any case.
        work.edit("r.csv", "belong_bk_host,1.0,23", "belong_bk_host,12,23");
        let output = rerun("never.csv");
        let said = text(&output.stderr);
        if from == to {
            assert_eq!(output.status.code(), Some(3), "{said}");
            assert!(work.read("never.csv").contains("12,23,1,created"), "{said}");
        } else {
            assert_eq!(output.status.code(), Some(2), "{from}: {said}");
            assert!(said.contains("among rows 1 to 6"), "{said}");
            assert!(!work.path("never.csv").exists());
        }
    }
    // As a spreadsheet writes it.
    work.write("r.csv", &whole.replace(',', ";"));
    assert_eq!(rerun("other.csv").status.code(), Some(3));
    // As version 0.1.0 left it.
    work.edit("r.csv", "bk_host;11;21;", "bk_host;11;29;");
    let mut manifest: Value = serde_json::from_str(&work.read("r.csv.run.json")).unwrap();
    manifest.as_object_mut().unwrap().remove("seals").unwrap();
    work.write("r.csv.run.json", &manifest.to_string());
    let output = rerun("unsealed.csv");
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains("left nothing to tell by"), "{}", text(&output.stderr));
}

/// Imports 30 rows, of which some answers are lost, and verifies them. Gives how many are ours and what is
/// said of the others.
fn whose(entrance: Entrance, change: impl FnOnce(&mut Setup)) -> (u64, u64, String) {
    let server = InProcess::with(entrance, |setup| {
        setup.faults = Faults::none().with(Fault::LostAnswer, 0.3);
        setup.fault_seed = 3;
        change(setup);
    });
    let work = Workdir::new();
    work.write("in.csv", links(30));
    work.bkassoc("import in.csv --max-attempts 20").to(&server).ends(0);
    let recovered = work.rows("in.results.csv");
    let recovered = recovered.iter().filter(|row| row["status"] == "recovered").count() as u64;
    assert!(recovered > 2, "{recovered}");
    server.sandbox.set_faults(Faults::none());
    let told = work.bkassoc("verify in.results.csv --live --json").to(&server).ends(0).json();
    let of = |whose| {
        let mut groups = told["recovered"].as_array().unwrap().iter();
        groups.find(|group| group["whose"] == whose).cloned().unwrap_or_default()
    };
    let count = |group: &Value| group["count"].as_u64().unwrap_or_default();
    let (ours, unknown) = (of("ours"), of("unknown"));
    assert_eq!(count(&ours) + count(&unknown), recovered, "{told}");
    let first = unknown["first"][0]["what"].as_str().unwrap_or_default().to_owned();
    (count(&ours), count(&unknown), first)
}

#[test]
fn recovered_rows_are_proven_ours_by_the_audit_log_where_our_ids_get_there() {
    let newer = |setup: &mut Setup| setup.version = Version::V3_14;
    for (entrance, change) in [
        (Entrance::Native, None),
        (Entrance::Native, Some(newer)),
        (Entrance::Gateway, Some(newer)),
    ] {
        let (ours, unknown, first) =
            whose(entrance, |setup| change.iter().for_each(|to| to(setup)));
        assert!(ours > 2 && unknown == 0, "{entrance:?}: {first}");
    }
    let (ours, _, first) = whose(Entrance::Gateway, |_| {});
    assert!(ours == 0 && first.contains("a gateway before CMDB 3.14"), "{first}");
    let (ours, _, first) = whose(Entrance::Esb, |_| {});
    assert!(ours == 0 && first.contains("the ESB gives calls ids of its own"), "{first}");
    let blind = |setup: &mut Setup| setup.models.credentials.audit = false;
    let (ours, _, first) = whose(Entrance::Native, blind);
    assert!(
        ours == 0 && first.contains("no permission to see the audit log: code 9900403"),
        "{first}"
    );
}

#[test]
fn a_recovered_row_that_somebody_else_created_is_not_ours() {
    let server = InProcess::new(Entrance::Native);
    let work = Workdir::new();
    let row = |target: u32| format!("{NN},11,{target},1");
    work.write("in.csv", csv_of([row(21), row(22)])).write("other.csv", csv_of([row(21)]));
    server.sandbox.set_faults(Faults::none().with(Fault::LostRequest, 1.0));
    let model = format!("--model {NN}=bk_load_balance,host,n:n");
    let import = format!("import in.csv {model} --settle-after 1s --connect-timeout 1s");
    work.bkassoc(&import).to(&server).ends(6);
    server.sandbox.set_faults(Faults::none());
    work.bkassoc("import other.csv").to(&server).ends(0);
    work.bkassoc(&import).to(&server).ends(0);
    let results = work.rows("in.results.csv");
    assert_eq!(results[0]["status"], "recovered");
    assert_eq!(results[1]["status"], "created");
    let told = work.bkassoc("verify in.results.csv --live --json").to(&server).ends(0).json();
    let groups = told["recovered"].as_array().unwrap();
    assert_eq!((groups.len(), &groups[0]["whose"]), (1, &"not-ours".into()), "{told}");
    assert_eq!(groups[0]["first"][0]["line"], 2, "{told}");
}
