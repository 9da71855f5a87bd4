//! The file is the truth: what is not there is created, what it does not name goes as far as that was asked
//! for, and nothing else is touched.

use std::collections::BTreeSet;
use std::time::Duration;

use bkassoc::sandbox::Endpoint;
use bkassoc::sandbox::faults::{Fault, Faults};
use bkassoc::target::Entrance;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;

use crate::server::Server;
use crate::workdir::{NN, ONE_N, ONE_ONE, Row, Workdir, csv_of};

type Pair = (i64, i64);

fn file_of(name: &str, pairs: impl IntoIterator<Item = Pair>) -> String {
    csv_of(pairs.into_iter().map(|(source, target)| format!("{name},{source},{target},1")))
}

fn there(server: &Server, name: &str) -> BTreeSet<Pair> {
    let rows = server.sandbox.rows().into_iter().filter(|row| &*row.obj_asst_id == name);
    rows.map(|row| (row.source, row.target)).collect()
}

fn put(server: &Server, name: &str, pairs: impl IntoIterator<Item = Pair>) {
    for (source, target) in pairs {
        server.sandbox.insert(name, source, target).unwrap();
    }
}

/// A CMDB without associations.
fn empty(entrance: Entrance) -> Server {
    let server = Server::new(entrance);
    for row in server.sandbox.rows() {
        assert!(server.sandbox.remove(row.id));
    }
    server
}

fn writes(server: &Server) -> u64 {
    [Endpoint::Create, Endpoint::CreateMany, Endpoint::Delete]
        .map(|of| server.calls(of))
        .iter()
        .sum()
}

fn of_status(rows: &[Row], status: &str) -> usize {
    rows.iter().filter(|row| row["status"] == status).count()
}

/// A thousand are there; the file has 940 of them, and 50 new ones.
fn a_night() -> (BTreeSet<Pair>, BTreeSet<Pair>) {
    let pair = |n: i64| (1 + n % 900, 100 + n);
    let there = (0..1000).map(pair).collect();
    let wanted = (60..1050).map(pair).collect();
    (there, wanted)
}

#[test]
fn a_plan_says_what_a_sync_would_do_and_the_sync_does_just_that() {
    for entrance in [Entrance::Esb, Entrance::Gateway, Entrance::Native] {
        let server = empty(entrance);
        let work = Workdir::new();
        let (before, wanted) = a_night();
        put(&server, NN, before.iter().copied());
        put(&server, ONE_N, (1..20).map(|n| (n, 500 + n)));
        let others = there(&server, ONE_N);
        work.write("in.csv", file_of(NN, wanted.iter().copied()));

        work.bkassoc("plan in.csv --prune all -o p.csv").to(&server).ends(0);
        let first = work.read("p.csv");
        let manifest = work.json("p.csv.run.json");
        assert_eq!(manifest["counts"], json!({"create": 50, "delete": 60, "keep": 940}));
        assert_eq!(manifest["survey"]["scope"][NN]["there"], 1000);
        work.bkassoc("plan in.csv --prune all -o p.csv --detailed-exitcode").to(&server).ends(13);
        assert_eq!(work.read("p.csv"), first, "byte for byte");
        let plan = work.rows("p.csv");
        assert!(plan[..60].iter().all(|row| row["line"].is_empty() && row["action"] == "delete"));
        assert!(plan[60..].iter().zip(2..).all(|(row, line)| row["line"] == line.to_string()));
        assert_eq!(writes(&server), 0);

        let done = work
            .bkassoc("sync in.csv --prune all --max-delete 5% -o a.csv --json")
            .to(&server)
            .ends(12);
        let json = done.json();
        assert_eq!(json["exit"], 12);
        let next = json["next"].as_array().unwrap();
        assert_eq!(next[next.len() - 2..], [json!("--max-delete"), json!("60")]);
        assert!(!next.contains(&json!("5%")), "{next:?}");
        assert!(json["error"].as_str().unwrap().contains("60 of 1000"), "{json}");
        assert!(work.has("a.csv.plan.csv") && !work.has("a.csv") && !work.has("a.csv.journal"));
        assert_eq!(writes(&server), 0);

        work.bkassoc("sync in.csv -o none.csv").to(&server).ends(0);
        assert_eq!(there(&server, NN), before.union(&wanted).copied().collect());
        let results = work.rows("none.csv");
        assert_eq!((of_status(&results, "existed"), of_status(&results, "created")), (940, 50));

        let done = work.bkassoc("sync in.csv --prune all -o all.csv --json").to(&server).ends(0);
        assert_eq!(there(&server, NN), wanted);
        assert_eq!(there(&server, ONE_N), others);
        let results = work.rows("all.csv");
        assert_eq!((of_status(&results, "existed"), of_status(&results, "deleted")), (990, 60));
        assert_eq!(done.json()["scope"][NN]["delete"], 60);
        server.assert_none_twice();

        let sent = writes(&server);
        let done = work.bkassoc("sync in.csv --prune all -o again.csv --json").to(&server).ends(0);
        assert_eq!(writes(&server), sent, "nothing to do: {}", done.stdout);
        assert_eq!(done.json()["existed"], 990);
        work.bkassoc("plan in.csv --prune all -o p2.csv --detailed-exitcode").to(&server).ends(0);
    }
}

#[test]
fn a_plan_that_is_applied_later_looks_again_at_what_was_there() {
    let server = empty(Entrance::Esb);
    let work = Workdir::new();
    put(&server, NN, [(1, 101), (2, 102), (3, 103)]);
    work.write("in.csv", file_of(NN, [(1, 101), (2, 102), (4, 104)]));
    work.bkassoc("plan in.csv --prune all -o p.csv").to(&server).ends(0);
    let gone = server.sandbox.rows().into_iter().find(|row| row.source == 2).unwrap();
    assert!(server.sandbox.remove(gone.id), "somebody else deletes it");
    put(&server, NN, [(4, 104)]);
    let old = server.sandbox.rows().into_iter().find(|row| row.source == 3).unwrap();
    assert!(server.sandbox.remove(old.id), "and makes it anew");
    put(&server, NN, [(3, 103)]);
    work.bkassoc("apply p.csv -o r.csv").to(&server).ends(3);
    let results = work.rows("r.csv");
    let said: Vec<_> =
        (results.iter()).map(|row| (&*row["line"], &*row["status"], &*row["reason"])).collect();
    assert_eq!(
        said,
        [
            ("", "failed", "not-the-same"),
            ("2", "existed", ""),
            ("3", "created", ""),
            ("4", "existed", "")
        ]
    );
    assert_eq!(there(&server, NN), [(1, 101), (2, 102), (3, 103), (4, 104)].into());
}

#[test]
fn only_sources_that_the_file_names_are_pruned_where_that_was_asked_for() {
    let server = empty(Entrance::Esb);
    let work = Workdir::new();
    put(&server, NN, [(1, 101), (1, 102), (2, 101), (3, 300)]);
    work.write("in.csv", file_of(NN, [(1, 101), (3, 301)]));
    work.bkassoc("sync in.csv --prune sources -o r.csv").to(&server).ends(0);
    assert_eq!(there(&server, NN), [(1, 101), (2, 101), (3, 301)].into());
}

#[test]
fn what_another_created_is_never_deleted_by_prune_previous() {
    let server = empty(Entrance::Esb);
    let work = Workdir::new();
    put(&server, NN, [(1, 101), (2, 102)]);
    let night = |rows: &[Pair], flags: &str, out: &str| {
        work.write("in.csv", file_of(NN, rows.iter().copied()));
        work.bkassoc(&format!("sync in.csv {flags} -o {out}")).to(&server).ends(0);
    };
    night(&[(1, 101), (3, 103), (4, 104)], "", "1.csv");
    put(&server, NN, [(9, 109)]);
    // What was `existed` is not ours: it stays, though the file named it once.
    night(&[(3, 103), (5, 105)], "--prune previous --previous 1.csv", "2.csv");
    assert_eq!(there(&server, NN), [(1, 101), (2, 102), (3, 103), (5, 105), (9, 109)].into());
    // What a run before that created is ours by the chain.
    night(&[(5, 105)], "--prune previous --previous 2.csv", "3.csv");
    assert_eq!(there(&server, NN), [(1, 101), (2, 102), (5, 105), (9, 109)].into());
    // What was ours and was created anew by another is not ours any more.
    let ours = server.sandbox.rows().into_iter().find(|row| row.source == 5).unwrap();
    assert!(server.sandbox.remove(ours.id));
    put(&server, NN, [(5, 105)]);
    night(&[(1, 101)], "--prune previous --previous 3.csv", "4.csv");
    assert!(there(&server, NN).contains(&(5, 105)));

    let edited = work.read("3.csv").replace("existed", "created");
    work.write("3.csv", edited);
    let done = work.bkassoc("sync in.csv --prune previous --previous 3.csv -o 5.csv").to(&server);
    assert!(done.ends(2).stderr.contains("was changed"));
    let done = work.bkassoc("sync in.csv --prune previous -o 5.csv").to(&server).ends(2);
    assert!(done.stderr.contains("--previous"), "{}", done.stderr);
}

#[test]
fn an_input_that_is_not_understood_deletes_nothing() {
    let (before, wanted) = a_night();
    let whole = file_of(NN, wanted.iter().copied());
    let typo = |line: &str| format!("{whole}{line}\n");
    let half: String = whole.split_inclusive('\n').take(500).collect();
    let header = csv_of([] as [&str; 0]);
    for (what, text, exit) in [
        ("one id that is none", typo(&format!("{NN},1x,101,1")), 3),
        ("a name that is mistyped", typo("bk_load_balance_conect_bk_host,1,101,1"), 3),
        ("a name and an id that are mistyped", typo("bk_load_balance_conect_bk_host,1x,101,1"), 3),
        ("a line that says nothing", typo(",1,101,1"), 3),
        ("cut in half", half, 12),
        ("no rows", header, 12),
    ] {
        let server = empty(Entrance::Esb);
        let work = Workdir::new();
        put(&server, NN, before.iter().copied());
        work.write("in.csv", text);
        let words = format!("sync in.csv --prune all --scope {NN} -o r.csv --json");
        let done = work.bkassoc(&words).to(&server).ends(exit);
        assert!(there(&server, NN).is_superset(&before), "{what}");
        let found = &done.json()["scope"][NN];
        let withheld = if exit == 3 { 60 } else { 0 };
        assert_eq!(found["withheld"].as_u64().unwrap_or_default(), withheld, "{what}: {found}");
        if exit == 3 {
            assert_eq!(of_status(&work.rows("r.csv"), "deleted"), 0);
            assert!(found["withheld_for"].as_str().unwrap().contains("line 992"), "{found}");
        }
    }
}

#[test]
fn an_empty_file_empties_its_scope_only_where_that_is_said_twice() {
    let server = empty(Entrance::Esb);
    let work = Workdir::new();
    put(&server, NN, (1..=30).map(|n| (n, 100 + n)));
    work.write("in.csv", csv_of([] as [&str; 0]));
    let sync = format!("sync in.csv --prune all --scope {NN} -o r.csv --json");
    let done = work.bkassoc(&sync).to(&server).ends(12);
    let next: Vec<_> = done.json()["next"]
        .as_array()
        .unwrap()
        .iter()
        .map(|w| w.as_str().unwrap().to_owned())
        .collect();
    assert!(
        next.ends_with(&["--max-delete", "30", "--allow-empty"].map(str::to_owned)),
        "{next:?}"
    );
    work.bkassoc(&next[1..].join(" ")).env("BK_APP_SECRET", "sandbox-secret").ends(0);
    assert_eq!(there(&server, NN), BTreeSet::new());
}

#[test]
fn partners_are_moved_and_one_whose_new_partner_does_not_exist_keeps_its_own() {
    let server = empty(Entrance::Esb);
    let work = Workdir::new();
    put(&server, ONE_ONE, [(101, 102), (103, 104), (105, 106)]);
    // 101 and 103 swap; what 105 is to get does not exist.
    work.write("in.csv", file_of(ONE_ONE, [(101, 104), (103, 102), (105, 8_888_888)]));
    work.bkassoc("sync in.csv --prune all -o r.csv").to(&server).ends(3);
    assert_eq!(
        there(&server, ONE_ONE),
        [(101, 102), (103, 104), (105, 106)].into(),
        "all is withheld"
    );
    work.write("in.csv", file_of(ONE_ONE, [(101, 104), (103, 102), (105, 108)]));
    work.bkassoc("sync in.csv --prune all -o s.csv").to(&server).ends(0);
    assert_eq!(there(&server, ONE_ONE), [(101, 104), (103, 102), (105, 108)].into());

    let rows = format!(
        "obj_asst_id,inst_id,asst_inst_id,biz_id,action\n{ONE_ONE},101,104,1,delete\n{ONE_ONE},101,8888888,1,\n\
         {ONE_ONE},103,102,1,delete\n{ONE_ONE},103,112,1,create\n"
    );
    work.write("moves.csv", rows);
    work.bkassoc("import moves.csv --allow-delete -o m.csv").to(&server).ends(3);
    let results = work.rows("m.csv");
    let said: Vec<_> = results.iter().map(|row| (&*row["status"], &*row["reason"])).collect();
    assert_eq!(
        said,
        [("failed", "withheld"), ("failed", "missing-target"), ("deleted", ""), ("created", "")]
    );
    assert!(results[0]["message"].contains("line 3"), "{}", results[0]["message"]);
    assert_eq!(there(&server, ONE_ONE), [(101, 104), (103, 112), (105, 108)].into());
}

#[test]
fn what_the_server_holds_twice_counts_twice_before_it_is_deleted() {
    let server = empty(Entrance::Esb);
    let work = Workdir::new();
    for _ in 0..3 {
        put(&server, NN, [(1, 101)]);
    }
    let row = format!("obj_asst_id,inst_id,asst_inst_id,biz_id,action\n{NN},1,101,1,delete\n");
    work.write("in.csv", row);
    let words = "sync in.csv -o r.csv --json --max-delete";
    let done = work.bkassoc(&format!("{words} 2")).to(&server).ends(12);
    assert!(done.json()["error"].as_str().unwrap().contains("3 of 3"), "{}", done.stdout);
    work.bkassoc(&format!("{words} 3")).to(&server).ends(0);
    assert_eq!(server.stored(), 0);
}

#[test]
fn rows_that_contradict_each_other_withhold_what_would_be_deleted() {
    let server = empty(Entrance::Esb);
    let work = Workdir::new();
    put(&server, ONE_N, [(1, 101), (2, 102), (3, 103)]);
    work.write("in.csv", file_of(ONE_N, [(1, 101), (2, 102), (7, 101)]));
    let done = work.bkassoc("sync in.csv --prune all -o r.csv --json").to(&server).ends(3);
    assert_eq!(there(&server, ONE_N), [(1, 101), (2, 102), (3, 103)].into());
    let why = done.json()["scope"][ONE_N]["withheld_for"].as_str().unwrap().to_owned();
    assert!(why.contains("line 2 and line 4 contradict"), "{why}");
}

#[test]
fn killed_with_answers_lost_the_end_is_what_was_asked_for_and_each_line_is_true() {
    for (seed, name) in [(1, ONE_ONE), (2, ONE_N), (3, NN)] {
        let server = Server::with(Entrance::Esb, |setup| {
            setup.faults =
                Faults::none().with(Fault::LostAnswer, 0.1).with(Fault::LateCommit, 0.02);
            setup.faults.late_by = Duration::from_millis(100);
        });
        for row in server.sandbox.rows() {
            server.sandbox.remove(row.id);
        }
        let work = Workdir::new();
        // Every partner moves by one.
        let (before, wanted): (Vec<Pair>, Vec<Pair>) =
            (0..80).map(|n| ((200 + n, 600 + n), (200 + n, 600 + (n + 1) % 80))).unzip();
        put(&server, name, before);
        put(&server, if name == NN { ONE_N } else { NN }, [(7, 107)]);
        work.write("in.csv", file_of(name, wanted.iter().copied()));
        let words =
            "sync in.csv --prune all --max-delete 100% -o r.csv --settle-after 1s --timeout 2s";
        let mut rng = StdRng::seed_from_u64(seed);
        for lives in 0..6 {
            let time = Duration::from_millis(rng.random_range(20..200 + 100 * lives));
            if work.bkassoc(words).to(&server).start().kill_after(time).is_some() {
                break;
            }
        }
        work.bkassoc(words).to(&server).ends(0);
        assert_eq!(there(&server, name), wanted.into_iter().collect(), "{name}");
        server.assert_none_twice();
        assert_eq!(server.stored(), 81, "what is not in scope is as it was");
        let results = work.rows("r.csv");
        assert_eq!((results.len(), of_status(&results, "deleted")), (160, 80));
        let good = ["created", "recovered"].map(|status| of_status(&results, status));
        assert_eq!(good.iter().sum::<usize>(), 80, "{name}");
        work.bkassoc("verify r.csv --against in.csv").ends(0);
        assert_eq!(
            work.names(),
            ["in.csv", "r.csv", "r.csv.plan.csv", "r.csv.plan.csv.run.json", "r.csv.run.json"]
        );
    }
}

#[test]
fn what_failed_in_a_sync_that_deleted_is_settled_by_a_rerun() {
    let server = empty(Entrance::Esb);
    let work = Workdir::new();
    put(&server, NN, (1..=5).map(|n| (n, 100 + n)));
    // The rule of 1:n is in the way of one row, in another model association than the one that loses some.
    put(&server, ONE_N, [(107, 700)]);
    let text = file_of(NN, [(1, 101), (9, 109)]) + &format!("{ONE_N},108,700,1\n");
    work.write("in.csv", text);
    work.bkassoc("sync in.csv --prune sources --max-delete 100% -o none.csv").to(&server).ends(3);
    work.bkassoc("sync in.csv --prune all --max-delete 3 -o r.csv").to(&server).ends(12);
    let words = format!("{ONE_N},108,700,1\n");
    let text =
        work.read("in.csv").replace(&words, &format!("{ONE_N},107,700,1\n{ONE_N},108,701,1\n"));
    work.write("in.csv", text);
    work.bkassoc("sync in.csv --prune all --max-delete 100% -o r.csv").to(&server).ends(0);
    work.bkassoc("rerun r.csv --status created -o again.csv").to(&server).ends(0);
    let (before, after) = (work.rows("r.csv"), work.rows("again.csv"));
    assert_eq!(before.len(), after.len());
    assert_eq!(of_status(&before, "deleted"), of_status(&after, "deleted"));
    assert_eq!(of_status(&after, "created"), 0, "they are there by now");
    work.bkassoc("verify again.csv --live").to(&server).ends(0);
}

#[test]
fn a_permission_that_is_cut_is_no_empty_list() {
    let server = empty(Entrance::Native);
    let work = Workdir::new();
    put(&server, NN, (1..=30).map(|n| (n, 100 + n)));
    work.write("in.csv", file_of(NN, (1..=30).map(|n| (n, 100 + n))));
    work.bkassoc("sync in.csv -o 1.csv").to(&server).ends(0);
    // Most of it is gone from sight: what the night before counted tells.
    for row in server.sandbox.rows().into_iter().skip(10) {
        server.sandbox.remove(row.id);
    }
    let sent = writes(&server);
    let words = "sync in.csv -o 2.csv --previous 1.csv";
    let done = work.bkassoc(words).to(&server).ends(12);
    assert!(done.stderr.contains("lost a permission") || done.stdout.contains("lost a permission"));
    assert_eq!(writes(&server), sent);
    work.bkassoc(&format!("{words} --allow-shrunk")).to(&server).ends(0);
    assert_eq!(server.stored(), 30);
}
