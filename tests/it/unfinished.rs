//! Unfinished runs, and what other commands make of the files that they left.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

const ROWS: &str = "\
obj_asst_id,inst_id,asst_inst_id,biz_id
bk_switch_belong_bk_host,11,21,1
bk_switch_belong_bk_host,11,22,1
";

/// A folder with an input, and a sandbox in each process.
struct Work(TempDir);

impl Work {
    fn new() -> Self {
        let work = Self(tempfile::tempdir().unwrap());
        work.write("a.csv", ROWS);
        work
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn run(&self, line: &str) -> (Option<i32>, String) {
        let Output { status, stderr, .. } = Command::new(env!("CARGO_BIN_EXE_bkassoc"))
            .args(line.split_whitespace())
            .current_dir(self.0.path())
            .env_clear()
            .stdin(Stdio::null())
            .output()
            .unwrap();
        (status.code(), String::from_utf8(stderr).unwrap())
    }

    /// An import that settled every row and could not write its results.
    fn import_without_results(&self) {
        fs::create_dir(self.path("r.csv.draft")).unwrap();
        let (exit, said) = self.run("import a.csv --sandbox -o r.csv");
        assert_eq!(exit, Some(11), "{said}");
        fs::remove_dir(self.path("r.csv.draft")).unwrap();
        assert!(self.path("r.csv.journal").exists() && !self.path("r.csv").exists());
    }
}

#[test]
fn results_that_could_not_be_written_are_written_by_the_same_command() {
    let work = Work::new();
    work.import_without_results();
    assert_eq!(work.run("import a.csv --sandbox -o r.csv").0, Some(0));
    let results = fs::read_to_string(work.path("r.csv")).unwrap();
    assert_eq!(results.matches(",created,").count(), 2, "{results}");
    assert!(!work.path("r.csv.journal").exists());
}

#[test]
fn rows_of_another_input_are_never_passed_off_as_settled() {
    let work = Work::new();
    work.import_without_results();
    work.write("a.csv", &ROWS.replace(",22,", ",23,"));
    let (exit, said) = work.run("import a.csv --sandbox -o r.csv");
    assert_eq!(exit, Some(7), "{said}");
    assert!(said.contains("line 3: the input changed"), "{said}");
    assert!(work.path("r.csv.journal").exists());
}

#[test]
fn the_beginning_of_a_first_line_is_a_run_that_began_nothing() {
    let work = Work::new();
    work.write("r.csv.journal", "c5e84eb4 {\"head\":{\"form");
    for line in ["results r.csv -o x.csv", "undo r.csv --sandbox --yes"] {
        let (exit, said) = work.run(line);
        assert!(matches!(exit, Some(2 | 7)), "{line}: {exit:?} {said}");
    }
    assert_eq!(work.run("import a.csv --sandbox -o r.csv").0, Some(0));
}

#[test]
fn what_another_version_wrote_is_refused_and_left_as_it_is() {
    let work = Work::new();
    let read = |name: &str| fs::read_to_string(work.path(name)).unwrap();
    work.import_without_results();
    let whole = read("r.csv.journal");
    let (head, rest) = whole.split_once('\n').unwrap();
    let body = head[9..].replace("\"format\":1,", "\"format\":2,");
    let checksum = crc32fast::hash(body.as_bytes());
    let journal = format!("{checksum:08x} {body}\n{rest}torn");
    work.write("r.csv.journal", &journal);
    for line in
        ["import a.csv --sandbox -o r.csv", "results r.csv -o x.csv", "undo r.csv --sandbox --yes"]
    {
        let (exit, said) = work.run(line);
        assert_eq!(exit, Some(2), "{line}: {said}");
        assert!(said.contains("in format 2, not 1"), "{line}: {said}");
        assert_eq!(read("r.csv.journal"), journal, "{line}");
    }

    let work = Work::new();
    let read = |name: &str| fs::read_to_string(work.path(name)).unwrap();
    assert_eq!(work.run("import a.csv --sandbox -o r.csv").0, Some(0));
    work.write(
        "r.csv.run.json",
        &read("r.csv.run.json").replace("\"format\": 1,", "\"format\": 2,"),
    );
    for (line, ends) in [
        ("import a.csv --sandbox -o r.csv", 2),
        ("results r.csv -o x.csv", 2),
        ("undo r.csv --sandbox --yes", 2),
        ("rerun r.csv --sandbox", 2),
        ("verify r.csv", 3),
    ] {
        let (exit, said) = work.run(line);
        assert_eq!(exit, Some(ends), "{line}: {said}");
        assert!(ends == 3 || said.contains("in format 2, not 1"), "{line}: {said}");
    }
}

#[test]
fn a_client_that_can_t_be_made_leaves_nothing_that_binds_the_next_try() {
    let work = Work::new();
    let import = "import a.csv -o r.csv --app-code a --username u --entrance native";
    let there = "--endpoint https://127.0.0.1:1 --connect-timeout 1s";
    let (exit, said) = work.run(&format!("{import} {there} --ca-cert missing.pem"));
    assert_eq!(exit, Some(8), "{said}");
    let (exit, said) = work.run("import a.csv --sandbox -o r.csv");
    assert_eq!(exit, Some(0), "{said}");
}

#[test]
fn what_an_undo_left_is_not_created_by_a_rerun() {
    let work = Work::new();
    assert_eq!(work.run("import a.csv --sandbox -o r.csv").0, Some(0));
    // Each process has a sandbox of its own: nothing is found there.
    assert_eq!(work.run("undo r.csv --sandbox --yes -o u.csv").0, Some(3));
    for lost in [false, true] {
        if lost {
            fs::remove_file(work.path("u.csv.run.json")).unwrap();
            let undone = fs::read_to_string(work.path("u.csv")).unwrap();
            work.write("u.csv", &undone.replacen(",failed,,not-found,", ",deleted,7,,", 1));
        }
        let (exit, said) = work.run("rerun u.csv --sandbox --all-failed -o x.csv");
        assert_eq!(exit, Some(2), "{said}");
        assert!(said.contains("a rerun creates"), "{said}");
    }
}

#[test]
fn what_an_unfinished_run_knows_replaces_an_earlier_copy_and_no_other_file() {
    let work = Work::new();
    work.import_without_results();
    assert_eq!(work.run("import a.csv --sandbox -o done.csv").0, Some(0));
    work.write("notes.csv", "what,ever\n1,2\n");
    for taken in ["a.csv", "./a.csv", "./r.csv", "done.csv", "notes.csv"] {
        let before = fs::read(work.path(taken)).ok();
        let (exit, said) = work.run(&format!("results r.csv -o {taken}"));
        assert_eq!(exit, Some(2), "{taken}: {said}");
        assert!(said.contains("give another"), "{said}");
        assert_eq!(fs::read(work.path(taken)).ok(), before, "{taken}");
    }
    for _ in 0..2 {
        assert_eq!(work.run("results r.csv -o copy.csv").0, Some(0));
    }
}

#[test]
fn an_undo_is_not_undone_and_ids_of_nobody_knows_where_are_not_deleted() {
    let work = Work::new();
    assert_eq!(work.run("import a.csv --sandbox -o r.csv").0, Some(0));
    fs::copy(work.path("r.csv"), work.path("copy.csv")).unwrap();
    let (exit, said) = work.run("undo copy.csv --sandbox --yes");
    assert_eq!(exit, Some(2), "{said}");
    assert!(said.contains("copy.csv.run.json") && said.contains("--allow-other-target"), "{said}");
    assert_eq!(work.run("undo r.csv --sandbox --yes -o u.csv").0, Some(3));
    let (exit, said) = work.run("undo u.csv --sandbox --yes");
    assert_eq!(exit, Some(2), "{said}");
    assert!(said.contains("results of an undo"), "{said}");
}
