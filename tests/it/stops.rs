//! Every way in which a run stops before its end: its exit code, what it says, and that the same
//! command goes on.

use std::fs;
use std::io::Write;
use std::net::TcpListener;

use bkassoc::sandbox::Endpoint;
use bkassoc::target::Entrance;
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::raw::{Raw, http, ok, refusal};
use crate::server::Server;
use crate::workdir::{Cli, NN, Workdir, assert_conserved, csv_of, links, stats};

#[test]
fn max_failures_ends_it_with_5() {
    let server = Server::esb();
    let work = Workdir::new();
    work.write("in.csv", csv_of((0..500).map(|n| format!("{NN},99999,{},1", 100 + n))));
    let done = work.bkassoc("import in.csv --max-failures 10 --json").to(&server).ends(5);
    assert!(done.json()["error"].as_str().unwrap().contains("max-failures"));
    assert!(server.calls(Endpoint::Create) < 500);
    work.bkassoc("import in.csv").to(&server).ends(3);
    let results = work.rows("in.results.csv");
    assert_conserved(&results, &work.rows("in.csv"));
    assert_eq!(server.calls(Endpoint::Create), 500, "no row was sent twice");
}

#[test]
fn max_duration_ends_it_with_9_and_the_same_command_goes_on() {
    let server = Server::esb();
    let work = Workdir::new();
    work.write("in.csv", links(1000));
    work.bkassoc("import in.csv --max-duration 300ms").to(&server).args("--rate 100/s").ends(9);
    work.bkassoc("import in.csv").to(&server).ends(0);
    assert_eq!(stats(&work.rows("in.results.csv"), "status"), "created 1000");
}

#[test]
fn no_server_at_all_ends_it_with_6_and_leaves_nothing() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let work = Workdir::new();
    work.write("in.csv", links(5));
    let url = format!("http://{free}");
    let done = work
        .bkassoc("import in.csv --connect-timeout 500ms --json")
        .aim(Entrance::Esb, &url)
        .ends(6);
    let error = done.json()["error"].as_str().unwrap().to_owned();
    assert!(error.contains("no answer ever came from") && error.contains(&url), "{error}");
    assert_eq!(work.names(), ["in.csv"], "nothing was sent, so nothing binds the next try");
}

#[test]
fn a_server_that_only_accepts_ends_it_with_6() {
    let silent = Raw::silent();
    let work = Workdir::new();
    work.write("in.csv", links(5));
    work.bkassoc("import in.csv --connect-timeout 500ms")
        .aim(Entrance::Esb, &silent.url())
        .ends(6)
        .saying(&["no answer ever came from"]);
    assert_eq!(silent.creates(), 0);
}

#[test]
fn a_server_that_goes_away_is_waited_for() {
    let mut server = Server::esb();
    let work = Workdir::new();
    work.write("in.csv", links(300));
    let running = work.bkassoc("import in.csv").to(&server).args("--rate 200/s").start();
    running.until_true(|| server.calls(Endpoint::Create) >= 20);
    server.stop();
    running.until("does not answer");
    server.start();
    running.wait().with(0).saying(&["answers again"]);
    let results = work.rows("in.results.csv");
    assert_eq!(results.len(), 300);
    server.assert_stored(&results);
    server.assert_none_twice();
}

#[test]
fn a_server_that_stays_away_ends_it_with_6_and_no_row_has_failed() {
    let mut server = Server::esb();
    let work = Workdir::new();
    work.write("in.csv", links(300));
    let running = work
        .bkassoc("import in.csv --max-outage 1s --json")
        .to(&server)
        .args("--rate 200/s")
        .start();
    running.until_true(|| server.calls(Endpoint::Create) >= 20);
    server.stop();
    let said = running.wait().with(6).json();
    assert_eq!(said["failed"], 0);
    assert!(said["outstanding"].as_u64().unwrap() > 0, "{said}");
    assert_eq!(said["next"][1], "import");
    server.start();
    work.bkassoc("import in.csv").to(&server).ends(0);
    let results = work.rows("in.results.csv");
    assert_conserved(&results, &work.rows("in.csv"));
    server.assert_stored(&results);
    server.assert_none_twice();
}

#[test]
fn a_broken_gzip_ends_it_with_7_and_what_was_settled_is_safe() {
    let server = Server::esb();
    let work = Workdir::new();
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(links(2000).as_bytes()).unwrap();
    let gzip = gzip.finish().unwrap();
    work.write("in.csv.gz", &gzip[..gzip.len() / 2]);
    let command = || work.bkassoc("import in.csv.gz -o out.csv").to(&server);
    command().ends(7).saying(&["in.csv.gz"]);
    assert!(!work.has("out.csv"));
    work.write("in.csv.gz", &gzip);
    command().ends(0);
    let results = work.rows("out.csv");
    assert_conserved(&results, &work.write("in.csv", links(2000)).rows("in.csv"));
    server.assert_stored(&results);
    assert_eq!(server.calls(Endpoint::Create), 2000, "no row was sent twice");
}

#[test]
fn a_missing_column_ends_it_with_2_before_anything_is_sent() {
    let server = Server::esb();
    let work = Workdir::new();
    work.write("in.csv", "obj_asst_id,inst_id,destination\na,1,2\n");
    work.bkassoc("import in.csv").to(&server).ends(2).saying(&[
        "asst_inst_id",
        "target",
        "destination",
    ]);
    work.write("in.csv", "obj_asst_id,inst_id,asst_inst_id\na,1,2\n");
    work.bkassoc("import in.csv").to(&server).ends(2).saying(&["biz_id"]);
    work.write("in.csv", "");
    work.bkassoc("import in.csv").to(&server).ends(2);
    assert_eq!(server.all_calls(), 0);
    assert_eq!(work.names(), ["in.csv"]);
}

#[test]
fn an_input_that_is_not_there_ends_it_with_7() {
    let server = Server::esb();
    let work = Workdir::new();
    work.bkassoc("import in.csv").to(&server).ends(7).saying(&["in.csv"]);
    fs::create_dir(work.path("folder.csv")).unwrap();
    work.bkassoc("import folder.csv").to(&server).ends(7).saying(&["folder.csv"]);
    assert_eq!(server.all_calls(), 0);
    assert_eq!(work.names(), ["folder.csv"]);
}

#[test]
fn a_folder_that_is_not_there_ends_it_with_11_before_anything_is_sent() {
    let server = Server::esb();
    let work = Workdir::new();
    work.write("in.csv", links(5));
    let command = || work.bkassoc("import in.csv -o new/out.csv").to(&server);
    command().ends(11).saying(&["new/out.csv", "new, which has to be there"]);
    assert_eq!(server.all_calls(), 0);
    fs::create_dir(work.path("new")).unwrap();
    command().ends(0);
}

#[test]
fn a_full_disk_ends_it_with_11_and_the_same_command_goes_on() {
    let server = Server::esb();
    let work = Workdir::new();
    work.write("in.csv", links(1200));
    let full = "trap '' XFSZ; ulimit -f 100; exec \"$@\"";
    let words = "import in.csv";
    let done = work.under(full, words).to(&server).args("--json").ends(11);
    let said = done.json();
    assert!(said["error"].as_str().unwrap().contains("in.results.csv.journal"));
    let journal = work.read("in.results.csv.journal");
    let whole = &journal[..=journal.rfind('\n').unwrap()];
    assert_eq!(said["created"], whole.matches(r#""status":"created""#).count(), "as written down");
    assert!(server.calls(Endpoint::Create) < 1200, "admission stopped");
    work.bkassoc(words).to(&server).ends(0);
    let results = work.rows("in.results.csv");
    assert_conserved(&results, &work.rows("in.csv"));
    server.assert_stored(&results);
    server.assert_none_twice();
}

#[test]
fn no_room_for_results_ends_it_with_11_and_the_same_command_makes_them() {
    let server = Server::esb();
    let work = Workdir::new();
    work.write("in.csv", links(300));
    fs::create_dir(work.path("in.results.csv.draft")).unwrap();
    let done = work.bkassoc("import in.csv --json").to(&server).ends(11);
    let said = done.json();
    assert!(said["error"].as_str().unwrap().contains("in.results.csv"), "{said}");
    assert_eq!((&said["created"], &said["next"][1]), (&300.into(), &"import".into()));
    fs::remove_dir(work.path("in.results.csv.draft")).unwrap();
    work.bkassoc("import in.csv").to(&server).ends(0);
    assert_eq!(server.calls(Endpoint::Create), 300);
}

#[test]
fn an_endpoint_that_is_no_cmdb_ends_it_with_8_before_any_create() {
    for answer in [
        crate::raw::http(404, "", "<html>not found</html>"),
        crate::raw::http(200, "", "<html>welcome</html>"),
        crate::raw::http(302, "Location: /login\r\n", ""),
        crate::raw::http(401, "", ""),
    ] {
        let text = String::from_utf8_lossy(&answer).into_owned();
        let raw = Raw::serve(move |_, stream| stream.write_all(&answer).is_ok());
        let work = Workdir::new();
        work.write("in.csv", links(5));
        let done = work.bkassoc("import in.csv").aim(Entrance::Esb, &raw.url()).run();
        assert_eq!(done.code, 8, "{text}: {done:?}");
        assert_eq!(raw.creates(), 0);
        assert_eq!(work.names(), ["in.csv"]);
    }
}

#[test]
fn what_cmdb_misses_in_the_gateways_token_ends_it_with_8() {
    for (text, says) in [
        ("user is not set", "--username"),
        ("app is not verified", "--app-secret-file"),
        ("jwt public key is not set", "public key"),
    ] {
        let answer = http(
            200,
            "",
            &format!(r#"{{"result":false,"bk_error_code":1199998,"bk_error_msg":"{text}"}}"#),
        );
        let raw = Raw::serve(move |_, stream| stream.write_all(&answer).is_ok());
        let work = Workdir::new();
        work.write("in.csv", links(3));
        let done = work.bkassoc("import in.csv").aim(Entrance::Gateway, &raw.url()).ends(8);
        let _ = done.saying(&[text, says]);
        assert_eq!(raw.asked().len(), 1);
    }
}

#[test]
fn a_tenant_that_cmdb_does_not_know_ends_it_with_8_and_a_rerun_names_the_same() {
    for entrance in [Entrance::Esb, Entrance::Gateway, Entrance::Native] {
        let server = Server::with(entrance, |setup| setup.models.tenant_id = Some("a".to_owned()));
        let work = Workdir::new();
        work.write("in.csv", csv_of([format!("{NN},11,21,1"), format!("{NN},99999,21,1")]));
        for flags in ["", "--tenant-id b"] {
            let done = work.bkassoc("import in.csv").args(flags).to(&server).ends(8);
            let _ = done.saying(&["1100005", "--tenant-id"]);
        }
        assert_eq!((server.all_calls(), work.names()), (0, vec!["in.csv".to_owned()]));
        work.bkassoc("import in.csv --tenant-id a").to(&server).ends(3);
        assert!(work.read("in.results.csv.run.json").contains(r#""tenant_id": "a""#));
        work.bkassoc("rerun in.results.csv --all-failed").to(&server).ends(3);
        let other = work.bkassoc("rerun in.results.csv --all-failed --tenant-id b").to(&server);
        let _ = other.ends(2).saying(&["tenant a", "tenant b"]);
        let account = "import in.csv -o other.csv --tenant-id a --supplier-account 1";
        if entrance == Entrance::Gateway {
            let _ = work.bkassoc(account).to(&server).ends(2).saying(&["--supplier-account"]);
        }
    }
}

#[test]
fn urls_that_can_not_be_right_end_it_with_2_or_8() {
    let work = Workdir::new();
    work.write("in.csv", links(5));
    for url in ["ftp://127.0.0.1", "127.0.0.1", "http://", "https://u:p@127.0.0.1:1", "x y"] {
        let done = work.bkassoc("import in.csv").arg("--endpoint").arg(url).run();
        assert!([2, 8].contains(&done.code), "{url}: {done:?}");
    }
    work.bkassoc("import in.csv").ends(2).saying(&["--endpoint"]);
    assert_eq!(work.names(), ["in.csv"]);
}

const FORBIDDEN: &str = "Do not have access permission.";

#[test]
fn a_permission_that_no_row_has_ends_it_with_8_and_no_row_has_failed() {
    let raw = Raw::answering_creates_with(refusal(9_900_403, FORBIDDEN));
    let work = Workdir::new();
    work.write("in.csv", links(100));
    let done = work.bkassoc("import in.csv --json").aim(Entrance::Esb, &raw.url()).ends(8);
    let said = done.json();
    assert_eq!(said["failed"], 0);
    assert!(said["error"].as_str().unwrap().contains(FORBIDDEN), "{said}");
    assert!((20..=52).contains(&raw.creates()), "{}", raw.creates());
}

#[test]
fn a_permission_that_a_row_lacks_is_that_rows_failure() {
    let raw = Raw::serve(|asked, stream| {
        let answer = match asked.is_create() {
            true if asked.body.contains("\"bk_inst_id\":30,") => ok(r#"{"id":7}"#),
            true => refusal(9_900_403, FORBIDDEN),
            false => asked.honest(),
        };
        stream.write_all(&answer).is_ok()
    });
    let work = Workdir::new();
    work.write("in.csv", links(30).replacen(&format!("{NN},1,"), &format!("{NN},30,"), 1));
    work.bkassoc("import in.csv --concurrency 1").aim(Entrance::Esb, &raw.url()).ends(3);
    let rows = work.rows("in.results.csv");
    assert_eq!(stats(&rows, "reason"), " 2, forbidden 28");
    assert_eq!(rows[1]["code"], "9900403");
}

#[test]
fn rows_that_alone_get_no_answer_are_charged_while_the_server_answers_others() {
    let raw = Raw::serve(|asked, stream| {
        // Creates stay without an answer, look-ups don't.
        asked.is_create() || stream.write_all(&asked.honest()).is_ok()
    });
    let work = Workdir::new();
    work.write("in.csv", links(2));
    work.bkassoc("import in.csv --timeout 300ms --max-attempts 2")
        .aim(Entrance::Esb, &raw.url())
        .ends(4);
    assert_eq!(stats(&work.rows("in.results.csv"), "reason"), "outcome-unknown 2");
    assert_eq!(raw.creates(), 4);
}

#[test]
fn too_few_file_descriptors_hold_a_run_up_and_fail_nothing() {
    let server = Server::esb();
    let work = Workdir::new();
    work.write("in.csv", links(80));
    let few = "ulimit -n 32; exec \"$@\"";
    let done =
        work.under(few, "import in.csv --connect-timeout 2s --max-outage 2s").to(&server).run();
    assert!([0, 6, 11].contains(&done.code), "{done:?}");
    work.bkassoc("import in.csv").to(&server).ends(0);
    let results = work.rows("in.results.csv");
    assert_conserved(&results, &work.rows("in.csv"));
    server.assert_stored(&results);
    server.assert_none_twice();
}

#[test]
fn results_that_nobody_can_read_end_it_with_11() {
    let work = Workdir::new();
    work.write("in.csv", links(3));
    work.write("none.csv", "obj_asst_id,inst_id,asst_inst_id,biz_id\n");
    for input in ["in.csv", "none.csv"] {
        let words = format!("import {input} --sandbox -o -");
        let done = work.under("exec \"$@\" >/dev/full", &words).ends(11);
        assert!(done.stderr.contains("stdout can't be written"), "{}", done.stderr);
        assert!(!done.stderr.contains("next:"), "{}", done.stderr);
    }
}

/// The program with a pipe for its stdout that nobody reads.
const GONE: &str = r#"rm -f p; mkfifo p; exec 4<>p 5>p 4<&-; exec "$@" >&5"#;

#[test]
fn what_a_command_has_to_say_and_can_not_is_no_success() {
    let server = Server::esb();
    let work = Workdir::new();
    work.write("in.csv", links(3));
    work.write("bad.csv", "obj_asst_id,inst_id,asst_inst_id,biz_id\nx,y,z,1\n");
    work.bkassoc("import in.csv").to(&server).ends(0);
    work.write("many.csv", links(300));
    let half = "import many.csv -o half.csv --max-duration 300ms";
    work.bkassoc(half).to(&server).args("--rate 100/s").ends(9);
    for (words, exit) in [
        ("import in.csv", Some(0)),
        ("import in.csv --json", Some(0)),
        ("import bad.csv -q", Some(3)),
        ("import bad.csv", Some(3)),
        ("check in.csv --offline", Some(0)),
        ("check in.csv --offline -o -", None),
        ("rerun in.results.csv", Some(0)),
        ("results half.csv -o -", None),
        ("results in.results.csv -o -", None),
        ("verify in.results.csv", Some(0)),
        ("verify in.results.csv --json", Some(0)),
        ("import none.csv --json --sandbox", Some(7)),
        ("import --json", Some(2)),
        ("completions bash", Some(0)),
        ("man", Some(0)),
        ("--help", Some(0)),
        ("--version", Some(0)),
        ("undo in.results.csv --yes", Some(0)),
    ] {
        let of_server = ["import in", "import bad", "rerun", "undo"];
        let of_server = of_server.iter().any(|command| words.starts_with(command));
        let aimed = |cli: Cli| if of_server { cli.to(&server) } else { cli };
        let full = aimed(work.under(r#"exec "$@" >/dev/full"#, words)).run();
        assert_eq!(full.code, 11, "{words}: {}", full.stderr);
        assert!(full.stderr.contains("No space left"), "{words}: {}", full.stderr);
        // A reader that is gone has seen what it wanted.
        if let Some(exit) = exit {
            aimed(work.under(GONE, words)).ends(exit);
        }
    }
}

#[test]
fn a_run_that_was_undone_never_passes_for_one_whose_rows_are_there() {
    let stopped = "import in.csv --max-duration 300ms --rate 100/s";
    for (first, exit) in [("import in.csv", 0), (stopped, 9)] {
        let server = Server::esb();
        let work = Workdir::new();
        work.write("in.csv", links(300));
        let before = server.stored();
        work.bkassoc(first).to(&server).ends(exit);
        work.bkassoc("undo in.results.csv --yes").to(&server).ends(0);
        assert_eq!(server.stored(), before);
        let again = work.bkassoc("import in.csv").to(&server).ends(2);
        assert!(again.stderr.contains("undone by in.undo.csv"), "{}", again.stderr);
        if exit == 0 {
            work.bkassoc("rerun in.results.csv --all-failed").to(&server).ends(2);
        }
        // The undo itself is finished, and says so again.
        work.bkassoc("undo in.results.csv --yes").to(&server).ends(0);
        work.bkassoc("import in.csv --fresh --yes").to(&server).ends(0);
        assert_eq!(server.stored(), before + 300);
    }
}

#[test]
fn what_an_undo_deleted_is_called_created_by_no_other_command() {
    let server = Server::esb();
    let work = Workdir::new();
    work.write("in.csv", csv_of([format!("{NN},11,21,1"), format!("{NN},99999,21,1")]));
    work.bkassoc("import in.csv").to(&server).ends(3);
    for child in ["x.csv", "y.csv"] {
        let words = format!("rerun in.results.csv --all-failed -o {child}");
        work.bkassoc(&words).to(&server).ends(3);
    }
    work.bkassoc("undo x.csv --yes").to(&server).ends(0);
    for words in [
        "rerun x.csv --all-failed",
        "rerun y.csv --all-failed",
        "results in.results.csv -o a.csv",
        "results y.csv -o a.csv",
    ] {
        let command = work.bkassoc(words);
        let calls = words.starts_with("rerun");
        let refused = if calls { command.to(&server) } else { command }.ends(2);
        assert!(refused.stderr.contains("undone by x.undo.csv"), "{words}: {}", refused.stderr);
    }
    work.bkassoc("verify y.csv").ends(3).saying(&["in.results.csv was undone by x.undo.csv"]);
    // Of two undos the first counts.
    work.bkassoc("undo in.results.csv --yes -o again.csv").to(&server).ends(3);
    assert_eq!(work.json("in.results.csv.run.json")["undone"]["by"], "x.undo.csv");
}

#[test]
fn what_an_unfinished_run_knew_before_its_undo_is_not_told_any_more() {
    let server = Server::esb();
    let work = Workdir::new();
    work.write("in.csv", links(300));
    work.bkassoc("import in.csv --max-duration 300ms --rate 100/s").to(&server).ends(9);
    work.bkassoc("results in.results.csv -o before.csv").ends(0);
    work.bkassoc("undo in.results.csv --yes").to(&server).ends(0);
    let refused = work.bkassoc("results in.results.csv -o after.csv").ends(2);
    assert!(refused.stderr.contains("undone by in.undo.csv"), "{}", refused.stderr);
    assert!(!work.has("after.csv"));
}

#[test]
fn results_that_lost_or_gained_rows_are_not_gone_by() {
    let server = Server::esb();
    let work = Workdir::new();
    work.write("in.csv", links(3));
    work.bkassoc("import in.csv").to(&server).ends(0);
    let whole = work.read("in.results.csv");
    let stored = server.stored();
    let last = whole.lines().last().unwrap();
    for changed in [
        whole.replace(&format!("{last}\n"), ""),
        format!("{whole}{last}\n"),
        format!("{}\n", whole.lines().next().unwrap()),
    ] {
        work.write("in.results.csv", changed);
        for words in
            ["import in.csv", "rerun in.results.csv --all-failed", "undo in.results.csv --yes"]
        {
            let refused = work.bkassoc(words).to(&server).ends(7);
            let said = "its run.json says that 3 were written";
            assert!(refused.stderr.contains(said), "{words}: {}", refused.stderr);
        }
        assert_eq!(server.stored(), stored);
    }
    work.write("in.results.csv", whole);
    work.bkassoc("import in.csv").to(&server).ends(0);
}

#[test]
fn what_undoes_a_rerun_undoes_the_run_before_it() {
    let server = Server::esb();
    let work = Workdir::new();
    work.write("in.csv", csv_of([format!("{NN},11,21,1"), format!("{NN},99999,21,1")]));
    work.bkassoc("import in.csv").to(&server).ends(3);
    work.bkassoc("rerun in.results.csv --all-failed").to(&server).ends(3);
    work.bkassoc("undo in.rerun-1.csv --yes").to(&server).ends(0);
    let again = work.bkassoc("import in.csv").to(&server).ends(2);
    assert!(again.stderr.contains("undone by in.rerun-1.undo.csv"), "{}", again.stderr);
}

#[test]
fn an_undo_that_never_began_takes_no_other_undos_note_away() {
    let server = Server::esb();
    let work = Workdir::new();
    work.write("in.csv", csv_of([format!("{NN},11,21,1"), format!("{NN},99999,21,1")]));
    work.bkassoc("import in.csv").to(&server).ends(3);
    work.bkassoc("rerun in.results.csv --all-failed").to(&server).ends(3);
    work.bkassoc("undo in.results.csv --yes").to(&server).ends(0);
    let refused = "undo in.rerun-1.csv --yes";
    work.bkassoc(refused).to(&server).env("BK_APP_SECRET", "wrong").ends(8);
    let again = work.bkassoc("import in.csv").to(&server).ends(2);
    assert!(again.stderr.contains("undone by in.undo.csv"), "{}", again.stderr);
}

#[test]
fn a_row_that_asks_for_a_delete_is_created_neither_by_its_import_nor_by_a_rerun() {
    let server = Server::esb();
    let (work, before) = (Workdir::new(), server.stored());
    let rows = [format!("{NN},99999,21,1,add"), format!("{NN},11,21,1,delete")];
    let in_csv = format!("obj_asst_id,inst_id,asst_inst_id,biz_id,action\n{}\n", rows.join("\n"));
    work.write("in.csv", in_csv);
    work.bkassoc("import in.csv").to(&server).ends(3).saying(&["unsupported-action"]);
    for rerun in ["--all-failed", "--status invalid", "--reason unsupported-action"] {
        let rerun = format!("rerun in.results.csv {rerun} --fresh --yes -o again.csv");
        work.bkassoc(&rerun).to(&server).ends(3);
        assert!(work.read("again.csv").contains("unsupported-action"), "{rerun}");
    }
    assert_eq!(server.stored(), before);
}

#[test]
fn results_that_change_under_a_rerun_are_told_by_the_row_that_did() {
    let server = Server::esb();
    let work = Workdir::new();
    work.write("in.csv", csv_of((0..200).map(|n| format!("{NN},99999,{},1", 100 + n))));
    work.bkassoc("import in.csv").to(&server).ends(3);
    let rerun = "rerun in.results.csv --all-failed --max-duration 300ms";
    work.bkassoc(rerun).to(&server).args("--rate 100/s").ends(9);
    let changed = work.read("in.results.csv").replace(",99999,100,", ",99999,999,");
    work.write("in.results.csv", changed);
    let said = work.bkassoc("rerun in.results.csv --all-failed").to(&server).ends(7);
    let _ = said.saying(&["in.results.csv, the row of line 2: the input changed"]);
}

#[test]
fn an_undo_of_nothing_leaves_the_run_as_it_was() {
    let server = Server::esb();
    let work = Workdir::new();
    work.write("in.csv", csv_of([format!("{NN},99999,21,1")]));
    work.bkassoc("import in.csv").to(&server).ends(3);
    let before = work.read("in.results.csv.run.json");
    work.bkassoc("undo in.results.csv --yes").to(&server).ends(0);
    assert_eq!(work.read("in.results.csv.run.json"), before);
    work.bkassoc("import in.csv").to(&server).ends(3);
}

#[test]
fn an_undo_that_never_came_to_a_delete_leaves_the_run_as_it_was() {
    let server = Server::esb();
    let work = Workdir::new();
    work.write("in.csv", links(3));
    work.bkassoc("import in.csv").to(&server).ends(0);
    let before = work.read("in.results.csv.run.json");
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gone = format!("http://{free}");
    let words = "undo in.results.csv --yes --allow-other-target --connect-timeout 300ms";
    work.bkassoc(words).aim(Entrance::Esb, &gone).ends(6);
    assert_eq!(work.read("in.results.csv.run.json"), before);
    work.bkassoc("import in.csv").to(&server).ends(0);
}
