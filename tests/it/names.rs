//! Rows that name instances: what a name means is asked first, written down, and carried out as it stands
//! there, whatever happens.

use std::time::Duration;

use bkassoc::sandbox::Endpoint;
use bkassoc::target::Entrance;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;

use crate::server::Server;
use crate::workdir::{NN, ONE_N, Workdir};

/// Rows of names, each with the ids that it means or the reason why it means none.
const KINDS: [(&str, &str, &str); 15] = [
    ("sw-20", "10.0.0.40", "20 40"),
    ("core-sw", "10.0.0.41", "ambiguous-source"),
    ("bk_asset_id=SW-A1", "10.0.0.42@0", "11 42"),
    ("edge, sw=1 机房", "172.16.1.2", "13 9999001"),
    ("实例名=sw-21", "云区域=0,内网IP=10.0.0.43", "21 43"),
    ("sw-22", "172.16.1.3", "ambiguous-target"),
    ("sw-23", "172.16.1.3@3", "23 9999003"),
    ("sw-24", "[fd00:0:0::1]@0", "24 9999004"),
    ("固资编号 = SW-00025", "inner ip=10.0.0.44, cloud area=0", "25 44"),
    ("SW-26", "10.0.0.45", "missing-source"),
    ("foo=26", "10.0.0.46", "missing-source"),
    ("sw-27", "10.0.0.47@x", "unresolvable"),
    ("0028", "10.0.0.48", "missing-source"),
    ("=SUM(A1)", "10.0.0.49", "missing-source"),
    ("9007199254740993", "10.0.0.50", "missing-source"),
];

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

fn table(rows: impl IntoIterator<Item = (String, String)>) -> String {
    let lines = rows
        .into_iter()
        .map(|(source, target)| format!("{ONE_N},1,{},{}\n", quoted(&source), quoted(&target)));
    format!("关联标识,biz_id,源实例,目标实例\n{}", lines.collect::<String>())
}

fn kinds() -> String {
    table(KINDS.map(|(source, target, _)| (source.to_owned(), target.to_owned())))
}

#[test]
fn every_kind_of_name_means_its_instance_or_is_refused_with_its_reason() {
    for entrance in [Entrance::Esb, Entrance::Gateway, Entrance::Native] {
        let server = Server::new(entrance);
        let work = Workdir::new();
        work.write("in.csv", kinds());
        work.bkassoc("import in.csv").to(&server).ends(3);
        let rows = work.rows("in.results.csv");
        for (row, (source, target, expected)) in rows.iter().zip(KINDS) {
            let said = match &*row["reason"] {
                "" => format!("{} {}", row["inst_id"], row["asst_inst_id"]),
                reason => reason.to_owned(),
            };
            assert_eq!(said, expected, "{source} -> {target}: {}", row["message"]);
            let named = row["source"].trim_start_matches('\'');
            assert_eq!((named, &*row["target"]), (source, target), "guarded against formulas");
            assert_eq!(row["status"] == "created", row["reason"].is_empty());
        }
        assert_eq!(rows.len(), KINDS.len());
        server.assert_stored(&rows);

        // Two names are mended, and nothing else is sent.
        let mended = work.read("in.results.csv");
        let mended =
            mended.replace(",core-sw,", ",bk_asset_id=SW-A2,").replace(",SW-26,", ",sw-26,");
        work.write("in.results.csv", mended);
        let created = server.calls(Endpoint::Create);
        work.bkassoc("rerun in.results.csv --all-failed").to(&server).ends(3);
        let again = work.rows("in.rerun-1.csv");
        assert_eq!(server.calls(Endpoint::Create), created + 2);
        assert_eq!((&*again[1]["inst_id"], &*again[1]["status"]), ("12", "created"));
        assert_eq!((&*again[9]["inst_id"], &*again[9]["asst_inst_id"]), ("26", "45"));
        assert_eq!(again[0], rows[0], "what ended well is carried over");
        server.assert_stored(&again);
        work.bkassoc("verify in.rerun-1.csv --live").to(&server).ends(0);
    }
}

#[test]
fn a_plan_is_the_same_each_time_and_apply_creates_what_it_says() {
    let server = Server::esb();
    let work = Workdir::new();
    work.write("in.csv", kinds());
    work.bkassoc("plan in.csv").to(&server).ends(0);
    let (first, calls) = (work.read("in.plan.csv"), server.calls(Endpoint::Create));
    work.bkassoc("plan in.csv").to(&server).ends(0);
    assert_eq!(work.read("in.plan.csv"), first, "byte for byte");
    assert_eq!((calls, server.stored()), (0, Server::esb().stored()), "nothing was written");
    let plan = work.rows("in.plan.csv");
    assert_eq!(plan.len(), KINDS.len());
    let manifest = work.json("in.plan.csv.run.json");
    assert_eq!(manifest["counts"], json!({"create": 7, "none": 8}));
    assert_eq!(manifest["calls"], 7);

    work.bkassoc("apply in.plan.csv --app-code sandbox --username admin")
        .env("BK_APP_SECRET", "sandbox-secret")
        .ends(3);
    let rows = work.rows("in.results.csv");
    for (row, line) in rows.iter().zip(&plan) {
        for column in
            ["line", "obj_asst_id", "inst_id", "asst_inst_id", "source", "target", "reason"]
        {
            assert_eq!(row[column], line[column], "{column}");
        }
    }
    server.assert_stored(&rows);
    // What is finished sends nothing, however old the plan is.
    let calls = server.all_calls();
    work.bkassoc("apply in.plan.csv --max-plan-age 1ms").to(&server).ends(3);
    assert_eq!(server.all_calls(), calls);
    work.bkassoc("verify in.results.csv --live").to(&server).ends(0);
    work.bkassoc("verify in.results.csv --against in.csv").ends(0);
    let other = work.read("in.results.csv").replace(",sw-20,", ",sw-19,");
    work.write("in.results.csv", other);
    let done = work.bkassoc("verify in.results.csv --against in.csv").ends(3);
    assert!(
        done.stdout.contains("source is \"sw-20\" there and \"sw-19\" here"),
        "{}",
        done.stdout
    );
}

#[test]
fn a_plan_that_is_another_too_old_or_for_another_place_is_refused() {
    let server = Server::esb();
    let work = Workdir::new();
    work.write("in.csv", kinds());
    work.bkassoc("plan in.csv").to(&server).ends(0);
    let done = work.bkassoc("apply in.plan.csv --max-plan-age 1ms").to(&server).ends(2);
    assert!(done.stderr.contains("--max-plan-age"), "{}", done.stderr);
    let other = Server::esb();
    let done = work.bkassoc("apply in.plan.csv").to(&other).ends(2);
    assert!(done.stderr.contains("ids differ between CMDBs"), "{}", done.stderr);
    let plan = work.read("in.plan.csv");
    work.write("in.plan.csv", plan.replace(",20,40,", ",20,41,"));
    let done = work.bkassoc("apply in.plan.csv").to(&server).ends(2);
    assert!(done.stderr.contains("was changed"), "{}", done.stderr);
    let done = work.bkassoc("apply in.csv").to(&server).ends(2);
    assert!(done.stderr.contains("is no plan"), "{}", done.stderr);
    // A plan takes the place of a plan alone.
    let done = work.bkassoc("plan in.csv -o in.csv").to(&server).ends(2);
    assert!(done.stderr.contains("read by this command"), "{}", done.stderr);
    work.write("mine.csv", "precious");
    work.bkassoc("plan in.csv -o mine.csv").to(&server).ends(2);
    assert_eq!(work.read("mine.csv"), "precious");
    assert_eq!(server.calls(Endpoint::Create) + other.calls(Endpoint::Create), 0);
}

#[test]
fn the_calls_that_names_took_are_among_those_that_are_told() {
    let server = Server::esb();
    let work = Workdir::new();
    work.write("in.csv", kinds());
    for command in ["check in.csv", "import in.csv", "rerun in.results.csv --all-failed"] {
        let before = server.all_calls();
        let done = work.bkassoc(command).args("--json").to(&server).ends(3);
        let told = done.json()["calls"].clone();
        let all: u64 =
            told.as_object().unwrap().values().filter_map(serde_json::Value::as_u64).sum();
        assert_eq!(all, server.all_calls() - before, "{command}: {told}");
        assert!(told["names"].as_u64() > Some(0), "{command}: {told}");
    }
}

#[test]
fn a_slip_in_a_key_ends_the_command_before_anything_is_planned_or_sent() {
    let server = Server::esb();
    let work = Workdir::new();
    work.write("in.csv", kinds());
    for command in ["import", "plan", "check"] {
        let done = work
            .bkassoc(&format!("{command} in.csv --key bk_switch=bk_asset_idd"))
            .to(&server)
            .ends(2);
        assert!(done.stderr.contains("no property \"bk_asset_idd\"; it has"), "{}", done.stderr);
    }
    assert_eq!(work.names(), ["in.csv"]);
    assert_eq!(server.calls(Endpoint::Create), 0);
}

#[test]
fn what_is_no_plan_stays_where_a_run_would_put_its_own() {
    let server = Server::esb();
    let work = Workdir::new();
    work.write("in.csv", kinds()).write("in.results.csv.plan.csv", "precious");
    let done = work.bkassoc("import in.csv").to(&server).ends(2);
    assert!(done.stderr.contains("in.results.csv.plan.csv"), "{}", done.stderr);
    assert_eq!(work.read("in.results.csv.plan.csv"), "precious");
    assert_eq!(work.names(), ["in.csv", "in.results.csv.plan.csv"]);
    assert_eq!(server.calls(Endpoint::Create), 0);
    work.bkassoc("import in.csv --fresh --yes").to(&server).ends(3);
    assert_eq!(work.read("in.results.csv.plan.csv.old"), "precious");
}

#[test]
fn a_plan_takes_the_place_of_a_plan_that_was_cut_short_and_of_no_run() {
    let server = Server::esb();
    let work = Workdir::new();
    work.write("in.csv", kinds());
    work.bkassoc("plan in.csv").to(&server).ends(0);
    // As after a crash before the second file was in place.
    std::fs::remove_file(work.path("in.plan.csv.run.json")).unwrap();
    work.bkassoc("plan in.csv").to(&server).ends(0);
    assert!(work.has("in.plan.csv.run.json"));

    // The record of a run whose results are gone, and the journal of one that is not finished.
    work.bkassoc("import in.csv").to(&server).ends(3);
    std::fs::remove_file(work.path("in.results.csv")).unwrap();
    let record = work.read("in.results.csv.run.json");
    let done = work.bkassoc("plan in.csv -o in.results.csv").to(&server).ends(2);
    assert!(done.stderr.contains("--fresh"), "{}", done.stderr);
    assert_eq!(work.read("in.results.csv.run.json"), record);
    work.write("ids.csv", format!("obj_asst_id,inst_id,asst_inst_id,biz_id\n{NN},1,100,1\n"));
    let running = work.bkassoc("import - -o r.csv").open_stdin(work.read("ids.csv"));
    let running = running.to(&server).start();
    running.until_true(|| std::fs::metadata(work.path("r.csv.journal")).is_ok_and(|j| j.len() > 0));
    let done = work.bkassoc("plan in.csv -o r.csv").to(&server).ends(2);
    assert!(done.stderr.contains("not finished"), "{}", done.stderr);
    running.kill_after(Duration::ZERO);
    work.bkassoc("plan in.csv -o r.csv").to(&server).ends(2);
    assert!(!work.has("r.csv"));

    // What stands in the way is moved only once the input is known to be one.
    let done = work.bkassoc("plan none.csv -o in.results.csv --fresh --yes").to(&server).ends(7);
    assert!(done.stderr.contains("none.csv"), "{}", done.stderr);
    assert_eq!(work.read("in.results.csv.run.json"), record);
}

#[test]
fn a_plan_is_no_input_and_the_message_names_what_carries_it_out() {
    let server = Server::esb();
    let work = Workdir::new();
    work.write("in.csv", kinds());
    work.bkassoc("plan in.csv").to(&server).ends(0);
    let done = work.bkassoc("import in.plan.csv").to(&server).ends(2);
    assert!(done.stderr.contains("bkassoc apply in.plan.csv"), "{}", done.stderr);
}

#[test]
fn of_two_that_make_the_same_plan_one_is_told_that_the_other_does() {
    let server = Server::with(Entrance::Esb, |setup| setup.latency = Duration::from_millis(300));
    let work = Workdir::new();
    work.write("in.csv", kinds());
    let first = work.bkassoc("plan in.csv").to(&server).start();
    first.until_true(|| work.has("in.plan.csv.draft"));
    let done = work.bkassoc("plan in.csv").to(&server).ends(10);
    assert!(done.stderr.contains("in.plan.csv"), "{}", done.stderr);
    first.wait().with(0);
    assert_eq!(work.names(), ["in.csv", "in.plan.csv", "in.plan.csv.run.json"]);

    let first = work.bkassoc("import in.csv").to(&server).start();
    first.until_true(|| work.has("in.results.csv.plan.csv.draft"));
    let done = work.bkassoc("import in.csv").to(&server).ends(10);
    assert!(done.stderr.contains("not begun"), "{}", done.stderr);
    first.wait().with(3);
}

/// Names that mean one instance each.
fn many(count: usize) -> String {
    table((0..count).map(|n| (format!("sw-{}", 100 + n), format!("10.0.1.{}", 1 + n))))
}

#[test]
fn killed_at_random_moments_names_mean_what_they_meant_when_the_plan_was_whole() {
    let server = Server::esb();
    let work = Workdir::new();
    work.write("in.csv", many(200));
    // Slow enough for some kills to come after the plan, and lives long enough for a plan on a machine that
    // is busy.
    let words = "import in.csv --timeout 2s --concurrency 4 --rate 150/s";
    let command = || work.bkassoc(words).to(&server);
    let mut rng = StdRng::seed_from_u64(7);
    let mut moved = false;
    for lives in 0..25 {
        let time = Duration::from_millis(rng.random_range(5..120 + 40 * lives));
        if let Some(done) = command().start().kill_after(time) {
            done.with(0);
            break;
        }
        let begun = std::fs::metadata(work.path("in.results.csv.journal"));
        if !moved && begun.is_ok_and(|journal| journal.len() > 0) {
            // The plan is whole. From now on every name means another instance.
            for id in 100..300 {
                server
                    .sandbox
                    .put_instance("bk_switch", id, json!({"bk_inst_name": "gone"}))
                    .unwrap();
                let name = json!({"bk_inst_name": format!("sw-{id}")});
                server.sandbox.put_instance("bk_switch", id + 5000, name).unwrap();
            }
            moved = true;
        }
    }
    command().ends(0);
    assert!(moved, "no kill came after the plan was whole");
    let rows = work.rows("in.results.csv");
    assert_eq!(rows.len(), 200);
    for (n, row) in rows.iter().enumerate() {
        assert_eq!(row["inst_id"], (100 + n).to_string(), "{row:?}");
        assert!(matches!(&*row["status"], "created" | "recovered"), "{row:?}");
    }
    server.assert_none_twice();
    server.assert_stored(&rows);
    assert_eq!(
        work.names(),
        [
            "in.csv",
            "in.results.csv",
            "in.results.csv.plan.csv",
            "in.results.csv.plan.csv.run.json",
            "in.results.csv.run.json"
        ]
    );
}

#[test]
fn an_input_or_a_plan_that_changed_under_way_ends_the_run_with_7() {
    let server = Server::esb();
    let work = Workdir::new();
    work.write("in.csv", many(200));
    let command = || work.bkassoc("import in.csv").to(&server).args("--rate 20/s");
    let running = command().start();
    running.until_true(|| server.calls(Endpoint::Create) > 2);
    running.kill_after(Duration::ZERO);
    let (input, plan) = (work.read("in.csv"), work.read("in.results.csv.plan.csv"));
    let created = server.calls(Endpoint::Create);
    // Also where the rows that were marked are the same.
    work.write("in.csv", input.replace("sw-299", "sw-298"));
    let done = command().ends(7);
    assert!(done.stderr.contains("the input changed"), "{}", done.stderr);
    work.write("in.csv", &input);
    work.write("in.results.csv.plan.csv", plan.replace(",299,", ",298,"));
    let done = command().ends(7);
    assert!(done.stderr.contains("plan"), "{}", done.stderr);
    assert_eq!(server.calls(Endpoint::Create), created);
    work.write("in.results.csv.plan.csv", &plan);
    work.bkassoc("import in.csv").to(&server).ends(0);
    server.assert_stored(&work.rows("in.results.csv"));
}

#[test]
fn what_stops_while_planning_leaves_nothing_and_ids_need_no_plan() {
    let mut server = Server::esb();
    let work = Workdir::new();
    work.write("in.csv", kinds())
        .write("ids.csv", format!("obj_asst_id,inst_id,asst_inst_id,biz_id\n{NN},1,100,1\n"));
    work.bkassoc("import ids.csv").to(&server).ends(0);
    assert_eq!(work.names(), ["ids.csv", "ids.results.csv", "ids.results.csv.run.json", "in.csv"]);
    server.stop();
    let names = work.names();
    let done = work.bkassoc("import in.csv --connect-timeout 1s --json").to(&server).ends(6);
    let summary: serde_json::Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(summary["next"][1], "import", "the same command tries again");
    work.bkassoc("plan in.csv --connect-timeout 1s").to(&server).ends(6);
    work.bkassoc("import in.csv --key bk_switch=room")
        .to(&server)
        .args("--connect-timeout 1s")
        .ends(6);
    assert_eq!(work.names(), names);
    server.start();
    let done = work.bkassoc("import in.csv").args("--app-code wrong").to(&server).run();
    assert_ne!(done.code, 0);
    assert_eq!(server.calls(Endpoint::Create), 1);
}

#[test]
fn rows_on_stdout_and_lines_of_json_may_have_names_too() {
    let server = Server::esb();
    let work = Workdir::new();
    let line = |source: &str| {
        format!(
            "{}\n",
            json!({"obj_asst_id": NN, "biz_id": 1, "source": source, "target": "10.0.0.60"})
        )
    };
    work.write("in.jsonl", line("lb-7") + &line("lb-none"));
    let done = work.bkassoc("import in.jsonl -o -").to(&server).ends(3);
    let rows: Vec<serde_json::Value> =
        done.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), 2);
    let found = rows.iter().find(|row| row["source"] == "lb-7").unwrap();
    assert_eq!((&found["inst_id"], &found["asst_inst_id"]), (&json!(7), &json!(60)));
    assert_eq!(work.names(), ["in.jsonl"]);
}

#[test]
fn an_old_esb_finds_hosts_and_says_who_finds_the_rest() {
    let server = Server::with(Entrance::Esb, |setup| setup.old_esb = true);
    let work = Workdir::new();
    work.write("in.csv", format!(
        "obj_asst_id,biz_id,inst_id,source,target\n{ONE_N},1,20,,10.0.0.40\n{ONE_N},1,,sw-21,10.0.0.41\n"
    ));
    work.bkassoc("import in.csv").to(&server).ends(3);
    let rows = work.rows("in.results.csv");
    assert_eq!((&*rows[0]["status"], &*rows[0]["asst_inst_id"]), ("created", "40"));
    assert_eq!(rows[1]["reason"], "unresolvable");
    assert!(rows[1]["message"].contains("gateway"), "{}", rows[1]["message"]);
}

#[test]
fn names_are_asked_for_again_only_where_that_is_said() {
    let server = Server::esb();
    let work = Workdir::new();
    // The host is taken, so that the row fails with its ids filled in.
    work.write("in.csv", table([("sw-20".to_owned(), "10.0.0.31".to_owned())]));
    work.bkassoc("import in.csv").to(&server).ends(3);
    assert_eq!(work.rows("in.results.csv")[0]["reason"], "mapping-conflict");
    let moved = json!({"bk_host_innerip": "10.0.0.31"});
    server.sandbox.put_instance("host", 31, json!({"bk_host_innerip": "10.9.9.9"})).unwrap();
    server.sandbox.put_instance("host", 77, moved).unwrap();
    work.bkassoc("rerun in.results.csv --all-failed").to(&server).ends(3);
    assert_eq!(work.rows("in.rerun-1.csv")[0]["asst_inst_id"], "31");
    work.bkassoc("rerun in.rerun-1.csv --all-failed --resolve-again").to(&server).ends(0);
    let row = &work.rows("in.rerun-2.csv")[0];
    assert_eq!((&*row["asst_inst_id"], &*row["status"]), ("77", "created"));
}

#[test]
fn a_check_says_what_names_were_taken_for_and_what_is_wrong_with_each() {
    let server = Server::esb();
    let work = Workdir::new();
    work.write("in.csv", kinds());
    let done = work.bkassoc("check in.csv --json").to(&server).ends(3);
    let summary: serde_json::Value = serde_json::from_str(&done.stdout).unwrap();
    let calls = ["names", "models"].map(|kind| summary["calls"][kind].as_u64().unwrap());
    assert_eq!(calls.iter().sum::<u64>(), server.all_calls());
    let names = &summary["check"]["names"];
    let model = |id: &str| names.as_array().unwrap().iter().find(|names| names["model"] == id);
    let switches = model("bk_switch").unwrap();
    assert_eq!(switches["key"], json!(["bk_inst_name"]));
    let counts = ["found", "missing", "ambiguous", "unresolvable"].map(|kind| &switches[kind]);
    assert_eq!(counts, [&json!(9), &json!(5), &json!(1), &json!(0)]);
    assert_eq!(switches["first_ambiguous"], json!(["\"core-sw\" (line 3)"]));
    assert_eq!(model("host").unwrap()["key"], json!(["bk_host_innerip"]));
    // What a check says of each row, the import finds.
    let checked = work.rows("in.check.csv");
    work.bkassoc("import in.csv").to(&server).ends(3);
    for (checked, row) in checked.iter().zip(work.rows("in.results.csv")) {
        for column in ["line", "inst_id", "asst_inst_id", "reason", "message", "source", "target"] {
            assert_eq!(checked[column], row[column], "{column}");
        }
    }
    // Without a server a name is none that is wrong.
    work.bkassoc("check in.csv --offline -o offline.csv").ends(0);
    assert!(work.rows("offline.csv").iter().all(|row| row["status"] == "not_attempted"));
}
