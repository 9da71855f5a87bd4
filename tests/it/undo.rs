//! What an undo leaves behind: what it says of the run that it undoes, and of what it could not delete.

use std::io::Write;
use std::time::Duration;

use bkassoc::sandbox::Endpoint;
use bkassoc::target::Entrance;
use rustix::process::Signal;

use crate::raw::{Raw, ok, refusal};
use crate::server::Server;
use crate::workdir::{Cli, NN, Workdir, links, stats};

/// An ESB that sends deletes to the path of before 3.10, and a run through it.
fn old_esb(latency: Duration) -> (Server, Workdir) {
    let server = Server::with(Entrance::Esb, |setup| {
        setup.old_esb = true;
        setup.latency = latency;
    });
    let work = Workdir::new();
    work.write("in.csv", links(30));
    (server, work)
}

#[track_caller]
fn assert_nothing_says_it_was_undone(work: &Workdir, server: &Server) {
    work.bkassoc("import in.csv").to(server).ends(0);
    work.bkassoc("rerun in.results.csv --all-failed").to(server).ends(0);
    work.bkassoc("verify in.results.csv --live").to(server).ends(0);
    work.bkassoc("verify in.rerun-1.csv").ends(0);
    work.bkassoc("results in.results.csv -o all.csv").ends(0);
    for name in ["in.rerun-1.csv", "in.rerun-1.csv.run.json", "all.csv"] {
        std::fs::remove_file(work.path(name)).unwrap();
    }
}

fn undo(work: &Workdir, server: &Server) -> Cli {
    work.bkassoc("undo in.results.csv --yes").to(server)
}

#[test]
fn where_an_entrance_has_no_call_that_deletes_nothing_was_undone() {
    let (esb, work) = old_esb(Duration::ZERO);
    let before = esb.stored();
    work.bkassoc("import in.csv").to(&esb).ends(0);
    let audit = work.read("in.results.csv.run.json");
    for _ in 0..2 {
        let refused = undo(&work, &esb).ends(8).saying(&["Nothing was deleted", "1306000"]);
        assert_eq!(esb.stored(), before + 30);
        assert_eq!(work.read("in.results.csv.run.json"), audit);
        assert_eq!(work.names(), ["in.csv", "in.results.csv", "in.results.csv.run.json"]);
        assert_nothing_says_it_was_undone(&work, &esb);
        assert!(!refused.stdout.contains("To go on"), "{}", refused.stdout);
    }
    let json = undo(&work, &esb).args("--json").ends(8);
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    let told = json["error"].as_str().unwrap().lines().last().unwrap();
    assert!(json["next"].is_null(), "{json}");
    let native = esb.beside(Entrance::Native);
    let way = told.replace("http://APISERVER", &native.url()).replace("bkassoc ", "");
    work.bkassoc(way.trim()).env("BK_APP_SECRET", "sandbox-secret").ends(0);
    assert_eq!(esb.stored(), before);
    work.bkassoc("import in.csv").to(&esb).ends(2).saying(&["undone by in.undo.csv"]);
}

#[test]
fn an_unfinished_run_that_could_not_be_undone_goes_on() {
    let (esb, work) = old_esb(Duration::ZERO);
    let before = esb.stored();
    work.bkassoc("import in.csv --rate 100/s --max-duration 100ms").to(&esb).ends(9);
    undo(&work, &esb).ends(8).saying(&["Nothing was deleted"]);
    work.bkassoc("results in.results.csv -o so-far.csv").ends(0);
    work.bkassoc("import in.csv").to(&esb).ends(0);
    assert_eq!(esb.stored(), before + 30);
}

#[test]
fn an_undo_that_was_killed_has_undone_only_what_may_be_gone() {
    let esb = Server::with(Entrance::Esb, |setup| setup.latency = Duration::from_millis(200));
    let work = Workdir::new();
    work.write("in.csv", links(30));
    let before = esb.stored();
    work.bkassoc("import in.csv").to(&esb).ends(0);
    let audit = work.read("in.results.csv.run.json");
    let finds = esb.calls(Endpoint::Find);
    let before_a_delete = undo(&work, &esb).start();
    before_a_delete.until_true(|| esb.calls(Endpoint::Find) > finds);
    before_a_delete.signal(Signal::KILL);
    before_a_delete.wait().with(-9);
    assert_eq!(work.read("in.results.csv.run.json"), audit);
    assert_nothing_says_it_was_undone(&work, &esb);
    let within_a_delete = undo(&work, &esb).start();
    within_a_delete.until_true(|| work.read("in.undo.csv.journal").contains(r#"{"deletes":"#));
    within_a_delete.signal(Signal::KILL);
    within_a_delete.wait().with(-9);
    assert_ne!(work.read("in.results.csv.run.json"), audit, "it may have deleted");
    undo(&work, &esb).ends(0);
    assert_eq!(esb.stored(), before);
    assert_eq!(stats(&work.rows("in.undo.csv"), "status"), "deleted 30");
    work.bkassoc("import in.csv").to(&esb).ends(2).saying(&["undone by in.undo.csv"]);
}

#[test]
fn an_undo_whose_deletes_were_all_refused_has_undone_nothing() {
    let server = Server::esb();
    let work = Workdir::new();
    work.write("in.csv", links(3));
    work.bkassoc("import in.csv").to(&server).ends(0);
    let audit = work.read("in.results.csv.run.json");
    let stored: Vec<_> = (work.rows("in.results.csv").iter())
        .map(|row| {
            let (id, source, target) =
                (&row["association_id"], &row["inst_id"], &row["asst_inst_id"]);
            format!(
                r#"{{"id":{id},"bk_obj_asst_id":"{NN}","bk_inst_id":{source},"bk_asst_inst_id":{target}}}"#
            )
        })
        .collect();
    let found = ok(&format!("[{}]", stored.join(",")));
    let forbidding = Raw::serve(move |asked, stream| {
        let answer = match &*asked.path {
            path if path.contains("find_instance_association") => found.clone(),
            path if path.contains("delete_") => refusal(9_900_403, "no permission"),
            _ => asked.honest(),
        };
        stream.write_all(&answer).is_ok()
    });
    let words = "undo in.results.csv --yes --allow-other-target";
    let url = format!("http://{}", forbidding.address);
    work.bkassoc(words).aim(Entrance::Esb, &url).ends(3).saying(&["3  forbidden"]);
    assert_eq!(work.read("in.results.csv.run.json"), audit);
    assert_nothing_says_it_was_undone(&work, &server);
}

#[test]
fn what_may_be_somebody_elses_is_counted_before_it_is_deleted() {
    let server = Server::esb();
    let work = Workdir::new();
    work.write("in.csv", links(5));
    let before = server.stored();
    work.bkassoc("import in.csv").to(&server).ends(0);
    let results = work.read("in.results.csv").replacen(",created,", ",recovered,", 2);
    work.write("in.results.csv", results);
    let undo = |flags: &str| work.bkassoc("undo in.results.csv").args(flags).to(&server);
    let said = "5 associations at";
    undo("").ends(2).saying(&["delete 3 associations at"]);
    let foreign = "2 of them are recovered: found after a call of ours got no answer, they may be somebody else's";
    undo("--include-recovered").ends(2).saying(&[said, foreign, "Delete them all?"]);
    assert_eq!(server.stored(), before + 5);
    undo("--include-recovered --yes").ends(0).saying(&["deleting 5 associations", foreign]);
    assert_eq!(server.stored(), before);
    let help = work.bkassoc("undo --help").ends(0);
    assert!(help.stdout.contains("may be somebody else's"), "{}", help.stdout);
}

/// Look-ups before and after included.
#[test]
fn five_thousand_rows_are_undone_in_a_few_calls() {
    for entrance in [Entrance::Esb, Entrance::Gateway, Entrance::Native] {
        let server = Server::new(entrance);
        let work = Workdir::new();
        work.write("in.csv", links(5_000));
        let before = server.stored();
        work.bkassoc("import in.csv --batch 200").to(&server).ends(0);
        let calls = server.all_calls();
        undo(&work, &server).ends(0);
        assert_eq!(stats(&work.rows("in.undo.csv"), "status"), "deleted 5000");
        assert_eq!((server.stored(), server.calls(Endpoint::Delete)), (before, 0));
        let calls = server.all_calls() - calls;
        assert!(calls <= 140, "{calls} calls by {entrance:?}");
        work.bkassoc("verify in.undo.csv --live").to(&server).ends(0);
    }
}
