//! Rows that say what is to be done: a delete is made only where that was allowed, and each row's line tells
//! what became of it.

use std::time::Duration;

use bkassoc::sandbox::Endpoint;
use bkassoc::sandbox::faults::{Fault, Faults};
use bkassoc::target::Entrance;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;

use crate::server::Server;
use crate::workdir::{NN, ONE_N, ONE_ONE, Row, Workdir, csv_of, samples, stats};

const STATUSES: [&str; 8] =
    ["deleted", "created", "absent", "deleted", "created", "created", "deleted", "created"];

fn statuses(rows: &[Row]) -> Vec<&str> {
    rows.iter().map(|row| &*row["status"]).collect()
}

fn moves() -> Workdir {
    let work = Workdir::new();
    work.write("in.csv", std::fs::read(samples().join("links-moves.csv")).unwrap());
    work
}

fn rows_of_ids(rows: &[(&str, u64, u64)]) -> String {
    csv_of(rows.iter().map(|(name, source, target)| format!("{name},{source},{target},1")))
}

/// What the server has, as `obj_asst_id source -> target`.
fn stored(server: &Server) -> Vec<String> {
    let triple = |row: bkassoc::sandbox::StoredRow| {
        format!("{} {} -> {}", row.obj_asst_id, row.source, row.target)
    };
    server.sandbox.rows().into_iter().map(triple).collect()
}

#[test]
fn links_are_moved_and_deleted_in_the_order_of_their_rows() {
    for entrance in [Entrance::Esb, Entrance::Gateway, Entrance::Native] {
        let (server, work) = (Server::new(entrance), moves());
        let before = server.stored();
        let done = work.bkassoc("import in.csv --allow-delete --json").to(&server).ends(0).json();
        let said = ["rows", "created", "deleted", "absent"].map(|key| &done[key]);
        assert_eq!(said, [&json!(8), &json!(4), &json!(3), &json!(1)]);
        let rows = work.rows("in.results.csv");
        assert_eq!(statuses(&rows), STATUSES);
        let asked: Vec<_> = rows.iter().map(|row| &*row["action"]).collect();
        let expected = ["delete", "create", "delete", "删除", "新增", "", "Delete", "add"];
        assert_eq!(asked, expected, "as it stood in the input");
        assert!(rows[2]["association_id"].is_empty());
        assert_ne!(rows[6]["association_id"], rows[7]["association_id"], "created anew");
        let created: Vec<_> = rows.into_iter().filter(|row| row["status"] == "created").collect();
        server.assert_stored(&created);
        assert_eq!(server.stored(), before - 3 + 4);

        let verify = "verify in.results.csv --live --against in.csv";
        work.bkassoc(verify).to(&server).ends(0);
        // Finished, and nothing is sent.
        let calls = server.all_calls();
        work.bkassoc("import in.csv --allow-delete").to(&server).ends(0);
        assert_eq!(server.all_calls(), calls);
        work.bkassoc("import in.csv").to(&server).ends(2).saying(&["--allow-delete"]);
    }
}

#[test]
fn a_row_deletes_only_where_that_was_allowed_and_a_rerun_must_be_allowed_anew() {
    let (server, work) = (Server::esb(), moves());
    let before = stored(&server);
    let done = work.bkassoc("import in.csv").to(&server).ends(3);
    done.saying(&["4  unsupported-action", "deletes need --allow-delete"]);
    let rows = work.rows("in.results.csv");
    let invalid = [0, 2, 3, 6].map(|at| &rows[at]);
    for row in invalid {
        assert_eq!((&*row["status"], &*row["reason"]), ("invalid", "unsupported-action"));
        assert!(row["message"].contains("deletes need --allow-delete"), "{row:?}");
    }
    assert_eq!(server.calls(Endpoint::Delete), 0);
    assert!(before.iter().all(|row| stored(&server).contains(row)));

    // A rerun does not take over what was never allowed, and says what it leaves.
    let done = work.bkassoc("rerun in.results.csv --all-failed").to(&server).ends(3);
    done.saying(&["carried over as they are: 4 rows that delete"]);
    assert_eq!(server.calls(Endpoint::Delete), 0);
    let done = work.bkassoc("rerun in.rerun-1.csv --all-failed --allow-delete -o all.csv");
    done.to(&server).ends(0);
    assert_eq!(statuses(&work.rows("all.csv"))[..3], ["deleted", "created", "absent"]);
    // Nor does a variable allow it.
    work.write(
        "in.csv",
        format!("obj_asst_id,inst_id,asst_inst_id,biz_id,action\n{NN},9,99,1,delete\n"),
    );
    let done = work.bkassoc("import in.csv --fresh --yes").env("BKASSOC_ALLOW_DELETE", "true");
    done.to(&server).ends(3).saying(&["BKASSOC_ALLOW_DELETE has no effect"]);
}

#[test]
fn rows_without_an_action_delete_where_that_is_what_none_stands_for() {
    let (server, work) = (Server::esb(), Workdir::new());
    let rows = format!("obj_asst_id,inst_id,asst_inst_id\n{ONE_N},13,31\n{NN},3,30\n");
    work.write("in.csv", &rows);
    work.bkassoc("import in.csv --action delete").to(&server).ends(3).saying(&["--allow-delete"]);
    let command = "import in.csv --action delete --allow-delete -o gone.csv";
    work.bkassoc(command).to(&server).ends(0);
    let rows = work.rows("gone.csv");
    assert_eq!(
        (stats(&rows, "status"), stats(&rows, "action")),
        ("deleted 2".into(), "delete 2".into())
    );
    assert!(work.has("gone.csv.plan.csv"), "what is to go is written down first");
    work.bkassoc("verify gone.csv --against in.csv").ends(0);
    // Somebody puts one back.
    work.write("back.csv", rows_of_ids(&[(NN, 3, 30)]));
    work.bkassoc("import back.csv").to(&server).ends(0);
    let done = work.bkassoc("verify gone.csv --live --json").to(&server).ends(3).json();
    let found = &done["findings"][0];
    assert_eq!((&found["kind"], &found["first"][0]["line"]), (&json!("not-deleted"), &json!(3)));
}

#[test]
fn lines_of_json_and_a_workbook_may_delete_too() {
    let (server, work) = (Server::esb(), Workdir::new());
    let row = |source, target, action: serde_json::Value| {
        let row = json!({"obj_asst_id": NN, "inst_id": source, "asst_inst_id": target,
                         "biz_id": 1, "action": action});
        format!("{row}\n")
    };
    let first = json!({"obj_asst_id": NN, "inst_id": 4, "asst_inst_id": 40, "biz_id": 1});
    let lines = format!("{first}\n{}{}", row(3, 30, json!("DELETE")), row(5, 50, json!(null)));
    work.write("in.jsonl", lines);
    work.bkassoc("import in.jsonl --allow-delete -o out.xlsx").to(&server).ends(0);
    work.bkassoc("results out.xlsx -o out.csv").ends(0);
    assert_eq!(statuses(&work.rows("out.csv")), ["created", "deleted", "created"]);
    work.bkassoc("verify out.xlsx").ends(0);
    assert_eq!(server.stored(), 3 + 2);
}

#[test]
fn a_row_that_asks_for_something_else_is_never_taken_for_a_create() {
    let (server, work) = (Server::esb(), Workdir::new());
    let head = "obj_asst_id,inst_id,asst_inst_id,biz_id,action";
    work.write("in.csv", format!("{head}\n{NN},4,40,1,remove\n{NN},4,41,1,delete \n"));
    work.bkassoc("import in.csv").to(&server).ends(3);
    let before = server.all_calls();
    work.bkassoc("rerun in.results.csv --all-failed").to(&server).ends(3);
    assert_eq!(server.all_calls(), before, "nothing is taken");
    // Mended, it is.
    let mended = work.read("in.results.csv").replace(",remove", ",create");
    work.write("in.results.csv", mended);
    work.bkassoc("rerun in.results.csv --all-failed -o all.csv").to(&server).ends(3);
    assert_eq!(statuses(&work.rows("all.csv")), ["created", "invalid"]);
}

#[test]
fn an_undo_deletes_what_was_created_and_says_what_stays_deleted() {
    let (server, work) = (Server::esb(), moves());
    let before = stored(&server);
    // What the run deletes of its own is none of an undo's.
    let input = work.read("in.csv");
    let own = format!("{input}create,{NN},lb-4,10.0.0.40,1\ndelete,{NN},lb-4,10.0.0.40,\n");
    work.write("in.csv", own);
    work.bkassoc("import in.csv --allow-delete").to(&server).ends(0);
    let told = "3 associations that the run deleted stay deleted";
    let undo = work.bkassoc("undo in.results.csv --yes --json").to(&server).ends(0);
    undo.saying(&[told]);
    let said = work.bkassoc("undo in.results.csv --yes --json").to(&server).ends(0).json();
    assert_eq!((&said["deleted"], &said["rows"]), (&json!(4), &json!(4)));
    assert!(said["warnings"][0].as_str().unwrap().contains(told), "{said}");
    let after = stored(&server);
    assert_eq!(after.len(), before.len() - 3);
    assert!(after.iter().all(|row| before.contains(row)));
    work.bkassoc("verify in.undo.csv --live").to(&server).ends(0);
    work.bkassoc("import in.csv --allow-delete").to(&server).ends(2).saying(&["undone by"]);
}

#[test]
fn a_check_counts_what_would_be_deleted_and_what_is_not_allowed() {
    let (server, work) = (Server::esb(), moves());
    let before = stored(&server);
    let done = work.bkassoc("check in.csv --allow-delete --json").to(&server).ends(0).json();
    let said = [&done["outstanding"], &done["check"]["deletes"], &done["check"]["not_allowed"]];
    assert_eq!(said, [&json!(8), &json!(4), &json!(0)]);
    let forecast = ["create", "delete"].map(|key| &done["check"]["forecast"][key]);
    assert_eq!(forecast, [&json!(4), &json!(1)]);
    let rows = work.rows("in.check.csv");
    assert_eq!((stats(&rows, "status"), &*rows[0]["action"]), ("not_attempted 8".into(), "delete"));
    let done = work.bkassoc("check in.csv").to(&server).ends(3);
    done.saying(&["4 rows delete, and are invalid without --allow-delete."]);
    assert_eq!(stored(&server), before);

    // What is deleted in between is in nobody's way.
    let row = |source, action| format!("{ONE_N},{source},50,1,{action}");
    for (middle, exit) in [("15,50,1,create", 3), ("14,50,1,delete", 0)] {
        let head = "obj_asst_id,inst_id,asst_inst_id,biz_id,action";
        let (first, last) = (row(14, "create"), row(16, "create"));
        work.write("three.csv", format!("{head}\n{first}\n{ONE_N},{middle}\n{last}\n"));
        work.bkassoc("check three.csv --allow-delete").to(&server).ends(exit);
    }
}

#[test]
fn where_an_entrance_can_not_delete_nothing_is_written_at_all() {
    let server = Server::with(Entrance::Esb, |setup| setup.old_esb = true);
    let work = Workdir::new();
    let header = "obj_asst_id,inst_id,asst_inst_id,biz_id,action";
    work.write("in.csv", format!("{header}\n{NN},5,600,1,create\n{NN},1,101,1,delete\n"));
    let before = stored(&server);
    let refused = work.bkassoc("import in.csv --allow-delete").to(&server).ends(8);
    refused.saying(&["no call that deletes"]);
    assert_eq!((stored(&server), server.calls(Endpoint::Create)), (before, 0));
    assert!(!work.path("in.results.csv.journal").exists(), "nothing was begun");
    // Creates alone need no call that deletes.
    work.write("in.csv", format!("{header}\n{NN},5,600,1,create\n"));
    work.bkassoc("import in.csv --allow-delete").to(&server).ends(0);
}

#[test]
fn a_delete_and_the_create_that_failed_after_it_say_so_of_each_other() {
    let (server, work) = (Server::esb(), Workdir::new());
    let stored = server.sandbox.rows();
    let old = stored.iter().find(|one| (one.source, one.target) == (13, 31)).unwrap().id;
    // Somebody's race broke the rule before.
    server.sandbox.insert(ONE_N, 11, 31).unwrap();
    let rows = format!("{ONE_N},13,31,1,delete\n{ONE_N},12,31,1,create\n{ONE_N},12,33,1,create\n");
    work.write("in.csv", format!("obj_asst_id,inst_id,asst_inst_id,biz_id,action\n{rows}"));
    work.bkassoc("import in.csv --allow-delete").to(&server).ends(3);
    let rows = work.rows("in.results.csv");
    assert_eq!(statuses(&rows), ["deleted", "failed", "created"], "{rows:?}");
    let room = format!("association {old} (13 -> 31) was deleted to make room for it. ");
    assert!(rows[1]["message"].starts_with(&room), "{}", rows[1]["message"]);
    let told = "what was to take its place is not there: in.csv, line 3: mapping-conflict";
    assert_eq!((&*rows[0]["message"], &*rows[2]["message"]), (told, ""));
    work.bkassoc("verify in.results.csv --live").to(&server).ends(0);
}

#[test]
fn what_a_sync_deletes_beside_its_inputs_is_read_back_by_every_command() {
    for ending in ["csv", "jsonl", "xlsx"] {
        let (server, work) = (Server::esb(), Workdir::new());
        for target in 61..=69 {
            server.sandbox.insert(NN, 6, target).unwrap();
        }
        let rows = |action: &str, target: u64| {
            format!("obj_asst_id,inst_id,asst_inst_id,biz_id,action\n{NN},6,{target},1,{action}\n")
        };
        work.write("a.csv", rows("", 61)).write("b.csv", rows("delete", 62));
        let results = format!("all.{ending}");
        let sync = format!("sync a.csv b.csv --prune all --max-delete 50 -o {results}");
        let done = work.bkassoc(&format!("{sync} --json")).to(&server).ends(0).json();
        // The sample's own of this association goes, too.
        let said = ["rows", "existed", "deleted"].map(|key| &done[key]);
        assert_eq!(said, [&json!(10), &json!(1), &json!(9)]);
        work.bkassoc(&format!("results {results} -o all.again.csv")).ends(0);
        let rows = work.rows("all.again.csv");
        let places: Vec<_> = rows.iter().map(|row| (&*row["line"], &*row["file"])).collect();
        assert_eq!(places[..8], [("", ""); 8]);
        assert_eq!(places[8..], [("2", "a.csv"), ("2", "b.csv")]);
        assert_eq!(stats(&rows, "action"), " 1, delete 9");

        let verify = format!("verify {results} --live --against a.csv --against b.csv --json");
        let said = work.bkassoc(&verify).to(&server).ends(0).json();
        assert_eq!((&said["rows"], &said["added"]), (&json!(10), &json!(8)));
        server.sandbox.insert(NN, 6, 63).unwrap();
        let said = work.bkassoc(&verify).to(&server).ends(3).json();
        let found = &said["findings"][0];
        assert_eq!(
            (&found["kind"], &found["first"][0]["line"]),
            (&json!("not-deleted"), &json!(null))
        );
        assert!(found["first"][0]["what"].as_str().unwrap().starts_with(&format!("{NN} 6 -> 63")));

        let undo = work.bkassoc(&format!("undo {results} --yes -o undone.csv")).to(&server).ends(0);
        undo.saying(&["9 associations that the run deleted stay deleted"]);
    }
}

#[test]
fn a_rerun_leaves_to_the_next_sync_what_no_input_names() {
    for ending in ["csv", "jsonl", "xlsx"] {
        let (server, work) = (Server::esb(), Workdir::new());
        work.write("in.csv", rows_of_ids(&[(NN, 6, 61)]));
        let plan = "plan in.csv --prune all --max-delete 5 -o p.csv";
        work.bkassoc(plan).to(&server).ends(0);
        // Under the id of the plan it is gone by then.
        let old = server.sandbox.rows().into_iter().find(|row| &*row.obj_asst_id == NN).unwrap();
        assert!(server.sandbox.remove(old.id));
        server.sandbox.insert(NN, old.source, old.target).unwrap();
        let results = format!("r.{ending}");
        work.bkassoc(&format!("apply p.csv -o {results}")).to(&server).ends(3);
        let again = format!("rerun {results} --all-failed --allow-delete -o again.csv --json");
        let done = work.bkassoc(&again).to(&server).ends(3).json();
        let warning = done["warnings"][0].as_str().unwrap();
        assert!(warning.contains("1 deletes of what no input names"), "{warning}");
        assert!(!warning.contains("--allow-delete"), "{warning}");
        let rows = work.rows("again.csv");
        let of = |column: &str| (rows[0][column].clone(), rows[1][column].clone());
        assert_eq!(of("line"), (String::new(), "2".to_owned()));
        assert_eq!(of("status"), ("failed".to_owned(), "created".to_owned()));
        assert_eq!(rows[0]["reason"], "not-the-same");
        work.bkassoc("verify again.csv --live").to(&server).ends(0);
        let sync = "sync in.csv --prune all --max-delete 5 -o next.csv";
        work.bkassoc(sync).to(&server).ends(0);
        assert_eq!(stats(&work.rows("next.csv"), "status"), "deleted 1, existed 1");
    }
}

#[test]
fn links_that_move_are_where_they_should_be_whatever_is_lost_or_killed() {
    for (seed, name) in [(1, ONE_ONE), (2, ONE_N), (3, NN)] {
        let server = Server::with(Entrance::Esb, |setup| {
            setup.faults =
                Faults::none().with(Fault::LostAnswer, 0.1).with(Fault::LateCommit, 0.02);
            setup.faults.late_by = Duration::from_millis(100);
        });
        let others = server.stored();
        let mut lines = vec!["obj_asst_id,inst_id,asst_inst_id,biz_id,action".to_owned()];
        for n in 0..60 {
            server.sandbox.insert(name, 200 + n, 600 + n).unwrap();
            lines.push(format!("{name},{},{},,delete", 200 + n, 600 + n));
        }
        // Every partner moves by one.
        for n in 0..60 {
            lines.push(format!("{name},{},{},1,", 200 + n, 600 + (n + 1) % 60));
        }
        let work = Workdir::new();
        work.write("in.csv", lines.join("\n"));
        let words = "import in.csv --allow-delete -o r.csv --settle-after 1s --timeout 2s";
        let mut rng = StdRng::seed_from_u64(seed);
        for lives in 0..6 {
            let time = Duration::from_millis(rng.random_range(20..200 + 100 * lives));
            if work.bkassoc(words).to(&server).start().kill_after(time).is_some() {
                break;
            }
        }
        work.bkassoc(words).to(&server).ends(0);
        let rows = work.rows("r.csv");
        assert_eq!((rows.len(), server.stored()), (120, others + 60), "{name}");
        assert!(rows[..60].iter().all(|row| row["status"] == "deleted"), "{name}: {rows:?}");
        server.assert_stored(&rows[60..]);
        server.assert_none_twice();
        work.bkassoc("verify r.csv --live --against in.csv").to(&server).ends(0);
    }
}
