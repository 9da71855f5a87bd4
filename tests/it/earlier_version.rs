//! Runs that version 0.1.0 made: what it left is read, gone on with, run again and undone by today's
//! program, and every row has its one true line. `tests/v0.1.0/README.md` says what is there.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use bkassoc::sandbox::Endpoint;
use bkassoc::target::Entrance;

use crate::server::Server;
use crate::workdir::{Cli, Row, Workdir, assert_conserved, counts, stats};

/// Where the runs of 0.1.0 called. As long as any address here: `synced` records count bytes.
const ADDRESS: &str = "127.0.0.1:40100";

/// Associations that the sample's world begins with.
const PRELOADED: usize = 4;

/// A copy of what a run left, and the server it called, as it was then.
struct Earlier {
    work: Workdir,
    server: Server,
}

impl Earlier {
    fn run(name: &str) -> Self {
        let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/v0.1.0")).join(name);
        let work = Workdir::new();
        let names: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap()).collect();
        for file in &names {
            fs::copy(file.path(), work.path(file.file_name().to_str().unwrap())).unwrap();
        }
        let store = work.path("store.jsonl");
        let server = Server::with(Entrance::Esb, |setup| setup.data = Some(store));
        let address = server.address.to_string();
        assert_eq!(address.len(), ADDRESS.len(), "a port of five digits");
        for name in work.names() {
            let moved = work.read(&name).replace(ADDRESS, &address);
            match Path::new(&name).extension().and_then(|extension| extension.to_str()) {
                Some("journal") => work.write(&name, with_checksums(&moved)),
                Some("json") => work.write(&name, moved),
                _ => &work,
            };
        }
        Self { work, server }
    }

    fn bkassoc(&self, words: &str) -> Cli {
        self.work.bkassoc(words).to(&self.server)
    }

    fn writes(&self) -> u64 {
        self.server.calls(Endpoint::Create) + self.server.calls(Endpoint::Delete)
    }

    /// Holds results to be the rows of the input, each once, and true.
    #[track_caller]
    fn assert_true(&self, results: &str) -> Vec<Row> {
        let rows = self.work.rows(results);
        assert_conserved(&rows, &self.work.rows("in.csv"));
        self.server.assert_stored(&rows);
        self.server.assert_none_twice();
        let good = counts(&rows, "status");
        let stored = good.get("created").unwrap_or(&0) + good.get("recovered").unwrap_or(&0);
        assert_eq!(self.server.stored(), PRELOADED + stored, "{good:?}");
        rows
    }
}

/// The same lines, each with the checksum that it has to have.
fn with_checksums(journal: &str) -> String {
    let lines = journal.lines().map(|line| {
        let body = &line[9..];
        format!("{:08x} {body}\n", crc32fast::hash(body.as_bytes()))
    });
    lines.collect()
}

/// Status and id by line, as a journal's outcomes have them.
fn outcomes(journal: &str) -> BTreeMap<String, (String, String)> {
    let records = journal.lines().map(|line| serde_json::from_str(&line[9..]).unwrap());
    let outcomes = records.filter_map(|record: serde_json::Value| {
        let outcome = record.get("outcome")?;
        let end = &outcome["end"];
        let id = end["association_id"].as_i64().map(|id| id.to_string());
        let status = end["status"].as_str().unwrap().to_owned();
        Some((outcome["line"].to_string(), (status, id.unwrap_or_default())))
    });
    outcomes.collect()
}

/// Holds the lines of outcomes that a journal had to be lines of the results, too.
#[track_caller]
fn assert_kept(journal: &str, results: &[Row]) -> usize {
    let outcomes = outcomes(journal);
    for (line, (status, id)) in &outcomes {
        let row = results.iter().find(|row| row["line"] == *line).unwrap();
        assert_eq!((&row["status"], &row["association_id"]), (status, id), "line {line}");
    }
    outcomes.len()
}

#[test]
fn a_finished_import_and_its_rerun_are_finished_and_right() {
    let earlier = Earlier::run("finished");
    for (command, results) in [
        ("import in.csv", "in.results.csv"),
        ("rerun in.results.csv --all-failed", "in.rerun-1.csv"),
    ] {
        let before = earlier.work.read(results);
        earlier.bkassoc(command).ends(3).saying(&["33", "nothing is sent"]);
        assert_eq!(earlier.work.read(results), before);
        earlier.bkassoc(&format!("verify {results} --live --against in.csv")).ends(0);
        assert_eq!(
            stats(&earlier.assert_true(results), "status"),
            "created 33, failed 4, invalid 3"
        );
    }
    assert_eq!(earlier.writes(), 0);
    earlier.work.bkassoc("results in.rerun-1.csv -o again.jsonl").ends(0);
    assert_eq!(earlier.work.read("again.jsonl").lines().count(), 40);
}

#[test]
fn a_rerun_of_a_rerun_takes_the_rows_that_failed_and_carries_the_others() {
    let earlier = Earlier::run("finished");
    let mended = earlier.work.read("in.rerun-1.csv").replacen(",999999,111,", ",11,111,", 1);
    earlier.work.write("in.rerun-1.csv", mended);
    earlier.bkassoc("rerun in.rerun-1.csv --reason missing-source").ends(3);
    let rows = earlier.work.rows("in.rerun-2.csv");
    assert_eq!(stats(&rows, "status"), "created 34, failed 3, invalid 3");
    earlier.server.assert_stored(&rows);
    assert_eq!(earlier.server.calls(Endpoint::Create), 4);
    let parent = &earlier.work.json("in.rerun-2.csv.run.json")["parent"]["results"];
    assert_eq!(parent, "in.rerun-1.csv");
}

#[test]
fn an_undo_of_a_rerun_undoes_the_import_it_came_from() {
    let earlier = Earlier::run("finished");
    earlier.bkassoc("undo in.rerun-1.csv --yes").ends(0);
    assert_eq!(earlier.server.stored(), PRELOADED);
    assert_eq!(stats(&earlier.work.rows("in.rerun-1.undo.csv"), "status"), "deleted 33");
    earlier.bkassoc("import in.csv").ends(2).saying(&["undone"]);
    earlier.bkassoc("verify in.results.csv").ends(3).saying(&["undone"]);
}

#[test]
fn results_in_json_lines_of_several_inputs_are_read_in_every_way() {
    let earlier = Earlier::run("jsonl");
    let inputs = "in.csv more.jsonl";
    earlier.bkassoc(&format!("import {inputs} -o out.jsonl")).ends(3).saying(&["nothing is sent"]);
    let verify = "verify out.jsonl --live --against in.csv --against more.jsonl";
    earlier.bkassoc(verify).ends(0);
    earlier.work.bkassoc("results out.jsonl -o out.csv").ends(0);
    let rows = earlier.work.rows("out.csv");
    assert_eq!(stats(&rows, "status"), "created 27, failed 3, invalid 2");
    assert_eq!(stats(&rows, "file"), "in.csv 30, more.jsonl 2");
    earlier.server.assert_stored(&rows);
    earlier.bkassoc("rerun out.jsonl --all-failed -o again.csv").ends(3);
    assert_eq!(stats(&earlier.work.rows("again.csv"), "status"), stats(&rows, "status"));
    earlier.bkassoc("undo out.jsonl --yes").ends(0);
    assert_eq!(earlier.server.stored(), PRELOADED);
}

#[test]
fn an_import_that_was_killed_goes_on_to_its_one_true_line_for_each_row() {
    let earlier = Earlier::run("killed");
    let journal = earlier.work.read("in.results.csv.journal");
    earlier.work.bkassoc("results in.results.csv -o so-far.csv").ends(0);
    let so_far = earlier.work.rows("so-far.csv");
    assert_conserved(&so_far, &earlier.work.rows("in.csv"));
    assert_eq!(stats(&so_far, "status"), "created 55, failed 2, in_doubt 140, recovered 3");
    assert_eq!(earlier.server.all_calls(), 0);

    let executed = earlier.server.stored() - PRELOADED;
    earlier.bkassoc("import in.csv").ends(3);
    let rows = earlier.assert_true("in.results.csv");
    assert_eq!(assert_kept(&journal, &rows), 60);
    let found = counts(&rows, "status")["recovered"];
    assert_eq!(found, 3 + executed - 58, "what was executed, and not written down, is found");
    earlier.bkassoc("verify in.results.csv --live --against in.csv").ends(0);
}

#[test]
fn an_import_that_was_killed_is_undone_with_what_it_left_in_doubt() {
    let earlier = Earlier::run("killed");
    earlier.bkassoc("undo in.results.csv --yes --include-recovered").ends(0);
    assert_eq!(earlier.server.stored(), PRELOADED);
    assert_eq!(stats(&earlier.work.rows("in.undo.csv"), "status"), "deleted 60");
    earlier.bkassoc("import in.csv").ends(2).saying(&["undone"]);
}

#[test]
fn an_import_that_was_stopped_in_order_goes_on_without_looking_for_what_it_never_sent() {
    let earlier = Earlier::run("closed");
    let journal = earlier.work.read("in.results.csv.journal");
    earlier.work.bkassoc("results in.results.csv -o so-far.csv").ends(0);
    let so_far = stats(&earlier.work.rows("so-far.csv"), "status");
    assert_eq!(so_far, "created 57, failed 2, in_doubt 2, not_attempted 136, recovered 3");
    earlier.bkassoc("import in.csv").ends(3);
    let rows = earlier.assert_true("in.results.csv");
    let kept = assert_kept(&journal, &rows);
    let creates = earlier.server.calls(Endpoint::Create) as usize;
    let recovered = counts(&rows, "status")["recovered"];
    assert_eq!((kept, creates), (62, 136 + 5 - recovered), "what was executed is not sent again");
}

#[test]
fn an_undo_that_was_killed_goes_on_and_knows_what_it_saw_before_its_deletes() {
    let earlier = Earlier::run("undo");
    let journal = earlier.work.read("in.undo.csv.journal");
    earlier.bkassoc("verify in.results.csv").ends(3).saying(&["undone"]);
    earlier.bkassoc("import in.csv").ends(2).saying(&["undone"]);
    let gone = earlier.work.rows("in.results.csv").len() - 12 - earlier.server.stored() + PRELOADED;
    assert!(gone > outcomes(&journal).len(), "some are gone and not written down: {gone}");
    earlier.bkassoc("undo in.results.csv --yes").ends(0);
    let rows = earlier.work.rows("in.undo.csv");
    assert_eq!(stats(&rows, "status"), "deleted 48");
    assert_kept(&journal, &rows);
    assert_eq!(earlier.server.stored(), PRELOADED);
    earlier.bkassoc("verify in.undo.csv --live").ends(0);
}

/// Such rows had a line then and have none now, so that all rows behind the first have another ordinal.
#[test]
fn a_run_whose_rows_of_blank_cells_were_counted_is_refused_with_its_reason_and_left_as_it_is() {
    let earlier = Earlier::run("blank-rows");
    let journal = earlier.work.read("in.results.csv.journal");
    let reason = ["line 5: this row has only blank cells", "Version 0.1.0", "--fresh"];
    earlier.bkassoc("import in.csv").ends(7).saying(&reason);
    earlier.bkassoc("undo in.results.csv --yes").ends(7).saying(&reason);
    earlier.work.bkassoc("results in.results.csv -o so-far.csv").ends(7).saying(&["version 0.1.0"]);
    assert!(!earlier.work.has("so-far.csv"));
    assert!(earlier.work.read("in.results.csv.journal").starts_with(&journal), "it is kept");
    assert_eq!(outcomes(&earlier.work.read("in.results.csv.journal")), outcomes(&journal));
    earlier.bkassoc("import in.csv --fresh --yes").ends(3).saying(&["2  rows of blank cells"]);
    assert_eq!(earlier.work.rows("in.results.csv").len(), 30);
    earlier.server.assert_none_twice();
}
