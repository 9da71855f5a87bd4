//! A run is its results path: what stands there decides what the same or another command does.

use std::fs;

use bkassoc::sandbox::Endpoint;

use crate::server::Server;
use crate::workdir::{NN, Workdir, links, stats};

/// A folder with a finished run of three good rows and one bad one.
fn finished(server: &Server) -> Workdir {
    let work = Workdir::new();
    work.write("in.csv", format!("{}{NN},x,1,1\n", links(3)));
    work.bkassoc("import in.csv").to(server).ends(3);
    work
}

#[test]
fn the_same_command_on_a_finished_run_calls_nobody_and_ends_as_it_did() {
    let server = Server::esb();
    let work = finished(&server);
    let (results, record) = (work.read("in.results.csv"), work.read("in.results.csv.run.json"));
    let calls = server.all_calls();
    work.bkassoc("import in.csv").to(&server).ends(3).saying(&["3  created", "1  invalid"]);
    assert_eq!(server.all_calls(), calls);
    assert_eq!(work.read("in.results.csv"), results);
    assert_eq!(work.read("in.results.csv.run.json"), record);
}

#[test]
fn another_input_at_the_path_of_a_finished_run_is_refused() {
    let server = Server::esb();
    let work = finished(&server);
    let (results, calls) = (work.read("in.results.csv"), server.all_calls());
    work.write("in.csv", links(4));
    work.bkassoc("import in.csv").to(&server).ends(2).saying(&["in.results.csv", "--fresh", "-o"]);
    assert_eq!(server.all_calls(), calls);
    assert_eq!(work.read("in.results.csv"), results);
}

#[test]
fn another_target_at_the_path_of_a_finished_run_is_refused() {
    let (server, other) = (Server::esb(), Server::esb());
    let work = finished(&server);
    work.bkassoc("import in.csv").to(&other).ends(2).saying(&[&server.url(), &other.url()]);
    assert_eq!(other.all_calls(), 0);
}

#[test]
fn a_strangers_file_is_left_alone() {
    let server = Server::esb();
    let work = Workdir::new();
    work.write("in.csv", links(3)).write("out.csv", "precious");
    work.bkassoc("import in.csv -o out.csv").to(&server).ends(2).saying(&["out.csv", "--fresh"]);
    assert_eq!(work.read("out.csv"), "precious");
    assert_eq!(server.all_calls(), 0);
    assert_eq!(work.names(), ["in.csv", "out.csv"]);
}

#[test]
fn the_input_itself_is_no_place_for_results() {
    let server = Server::esb();
    let work = Workdir::new();
    work.write("in.csv", links(3));
    work.bkassoc("import in.csv -o in.csv").to(&server).ends(2);
    work.bkassoc("import in.csv -o in.csv --fresh --yes").to(&server).ends(2);
    assert_eq!(work.read("in.csv"), links(3));
    assert_eq!(server.all_calls(), 0);
}

#[test]
fn fresh_needs_a_yes_where_nobody_can_be_asked() {
    let server = Server::esb();
    let work = finished(&server);
    let results = work.read("in.results.csv");
    work.bkassoc("import in.csv --fresh").to(&server).ends(2).saying(&["--yes"]);
    assert_eq!(work.read("in.results.csv"), results);
}

#[test]
fn fresh_moves_what_was_aside_and_starts() {
    let server = Server::esb();
    let work = finished(&server);
    let results = work.read("in.results.csv");
    work.write("in.csv", links(4));
    let begun = work.bkassoc("import in.csv --fresh --yes").to(&server).ends(0);
    assert!(begun.stderr.contains("in.results.csv is now in.results.csv.old"), "{}", begun.stderr);
    assert_eq!(work.read("in.results.csv.old"), results);
    assert!(work.has("in.results.csv.run.json.old"));
    assert_eq!(stats(&work.rows("in.results.csv"), "status"), "created 1, existed 3");
}

#[test]
fn a_record_whose_results_are_gone_is_kept() {
    let server = Server::esb();
    let work = finished(&server);
    let record = work.read("in.results.csv.run.json");
    std::fs::remove_file(work.path("in.results.csv")).unwrap();
    work.bkassoc("import in.csv").to(&server).ends(3);
    assert_eq!(work.read("in.results.csv.run.json.old"), record);
    assert_ne!(work.read("in.results.csv.run.json"), record);
}

#[test]
fn fresh_twice_loses_nothing_of_the_first_run() {
    let server = Server::esb();
    let work = finished(&server);
    let first = work.read("in.results.csv");
    for _ in 0..2 {
        work.bkassoc("import in.csv --fresh --yes").to(&server).ends(3);
    }
    let kept = work.names().into_iter().any(|name| work.read(&name) == first);
    assert!(kept, "{:?}", work.names());
}

#[test]
fn a_results_file_given_to_import_is_refused_for_rerun() {
    let server = Server::esb();
    let work = finished(&server);
    let calls = server.all_calls();
    work.bkassoc("import in.results.csv -o out.csv").to(&server).ends(2).saying(&["rerun"]);
    assert_eq!(server.all_calls(), calls);
}

#[test]
fn several_inputs_and_stdin_need_a_place_for_results() {
    let server = Server::esb();
    let work = Workdir::new();
    work.write("a.csv", links(1)).write("b.csv", links(1));
    work.bkassoc("import a.csv b.csv").to(&server).ends(2).saying(&["-o"]);
    work.bkassoc("import -").to(&server).stdin(links(1)).ends(2).saying(&["-o"]);
    assert_eq!(server.all_calls(), 0);
}

#[test]
fn the_date_in_a_name_makes_a_run_of_each_day() {
    let server = Server::esb();
    let work = Workdir::new();
    work.write("in.csv", links(1));
    work.bkassoc("import in.csv -o links-{date}.csv").env("TZ", "UTC").to(&server).ends(0);
    let day =
        |name: &String| name.len() == "links-2026-01-31.csv".len() && name.starts_with("links-20");
    assert!(work.names().iter().any(day), "{:?}", work.names());
}

/// A run through a link begins so: a file that is there would be a stranger's.
#[test]
fn a_link_to_what_is_not_there_yet_is_written_where_it_points_and_stays_a_link() {
    let server = Server::esb();
    let work = Workdir::new();
    work.write("in.csv", links(1));
    std::os::unix::fs::symlink(work.path("elsewhere.csv"), work.path("out.csv")).unwrap();
    work.bkassoc("import in.csv -o out.csv").to(&server).ends(0);
    assert!(work.has("elsewhere.csv") && work.has("elsewhere.csv.run.json"));
    assert!(work.path("out.csv").is_symlink());
}

#[test]
fn results_without_their_record_are_made_again_from_the_journal() {
    let server = Server::esb();
    let work = Workdir::new();
    work.write("in.csv", links(3));
    // The record can't be written: its draft's name is taken by a folder.
    fs::create_dir(work.path("out.csv.run.json.draft")).unwrap();
    work.bkassoc("import in.csv -o out.csv").to(&server).ends(11);
    let results = work.read("out.csv");
    fs::remove_dir(work.path("out.csv.run.json.draft")).unwrap();
    let creates = server.calls(Endpoint::Create);
    work.bkassoc("import in.csv -o out.csv").to(&server).ends(0);
    assert_eq!(server.calls(Endpoint::Create), creates);
    assert_eq!(work.read("out.csv"), results);
    assert_eq!(work.names(), ["in.csv", "out.csv", "out.csv.run.json"]);
}

#[test]
fn an_input_without_rows_ends_well() {
    let server = Server::esb();
    let work = Workdir::new();
    work.write("in.csv", links(0));
    work.bkassoc("import in.csv").to(&server).ends(0);
    assert_eq!(work.rows("in.results.csv").len(), 0);
    assert_eq!(server.all_calls(), 0);
    work.bkassoc("import in.csv").to(&server).ends(0);
}

#[test]
fn fresh_moves_nothing_where_no_run_can_start() {
    let server = Server::esb();
    let work = finished(&server);
    let names = work.names();
    work.write("in.csv", "no,columns\n");
    work.bkassoc("import in.csv --fresh --yes").to(&server).ends(2);
    work.write("in.csv", "");
    work.bkassoc("import in.csv --fresh --yes").to(&server).ends(2);
    assert_eq!(work.names(), names);
}

#[test]
fn a_journal_or_record_that_is_none_is_left_alone() {
    let server = Server::esb();
    let work = Workdir::new();
    work.write("in.csv", links(3)).write("out.csv.journal", "precious\n");
    work.bkassoc("import in.csv -o out.csv").to(&server).ends(2).saying(&["out.csv.journal"]);
    assert_eq!(work.read("out.csv.journal"), "precious\n");
    let work = finished(&server);
    let calls = server.all_calls();
    work.write("in.results.csv.run.json", "precious");
    work.bkassoc("import in.csv").to(&server).ends(2).saying(&["in.results.csv.run.json"]);
    assert_eq!(work.read("in.results.csv.run.json"), "precious");
    assert_eq!(server.all_calls(), calls);
}
