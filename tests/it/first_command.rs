//! What the README promises: one command, no server, and every kind of outcome.

use crate::workdir::{HEADER, Workdir, assert_conserved, samples, stats};

fn sample() -> Workdir {
    let work = Workdir::new();
    work.write("associations.csv", std::fs::read(samples().join("associations.csv")).unwrap());
    work
}

const COMMAND: &str = "import associations.csv --sandbox";
const RESULTS: &str = "associations.sandbox.results.csv";

#[test]
fn it_shows_rows_of_every_outcome_and_ends_with_3() {
    let work = sample();
    work.bkassoc(COMMAND).ends(3).saying(&["13  created", "4  existed", "6  failed", "3  invalid"]);
    let results = work.rows(RESULTS);
    assert_eq!(stats(&results, "status"), "created 13, existed 4, failed 6, invalid 3");
    assert_conserved(&results, &work.rows("associations.csv"));
    assert_eq!(work.read(RESULTS).lines().next(), Some(HEADER));
    assert_eq!(
        stats(&results, "reason"),
        " 17, invalid-row 3, mainline-association 1, mapping-conflict 2, missing-source 1, missing-target 1, \
         unknown-association 1"
    );
}

#[test]
fn it_can_be_given_twice_and_leaves_only_results_and_their_record() {
    let work = sample();
    work.bkassoc(COMMAND).ends(3);
    let first = work.rows(RESULTS);
    work.bkassoc(COMMAND).ends(3);
    let second = work.rows(RESULTS);
    for (one, other) in first.iter().zip(&second) {
        // Ids come in the order in which calls are answered.
        for column in ["line", "status", "reason"] {
            assert_eq!(one[column], other[column]);
        }
    }
    let record = format!("{RESULTS}.run.json");
    assert_eq!(work.names(), ["associations.csv", RESULTS, record.as_str()]);
}

#[test]
fn its_results_hold_an_id_just_where_a_row_ended_well() {
    let work = sample();
    work.bkassoc(COMMAND).ends(3);
    for row in work.rows(RESULTS) {
        let well = ["created", "existed"].contains(&row["status"].as_str());
        assert_eq!(well, !row["association_id"].is_empty(), "{row:?}");
        assert_eq!(well, row["reason"].is_empty(), "{row:?}");
        assert_eq!(well, row["retryable"].is_empty(), "{row:?}");
        assert_eq!(row["attempts"] == "0", row["request_id"].is_empty(), "{row:?}");
        row["finished_at"].parse::<jiff::Timestamp>().unwrap();
    }
}

#[test]
fn its_record_agrees_with_its_results() {
    use sha2::{Digest, Sha256};
    let work = sample();
    let said = work.bkassoc(COMMAND).arg("--json").ends(3).json();
    let record = work.json(&format!("{RESULTS}.run.json"));
    let hex = |bytes: &[u8]| -> String {
        let digits =
            Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>();
        digits.concat()
    };
    assert_eq!(record["results_sha256"], hex(work.read(RESULTS).as_bytes()));
    assert_eq!(record["digests"][0]["sha256"], hex(work.read("associations.csv").as_bytes()));
    assert_eq!(record["exit"], 3);
    for status in ["created", "existed", "failed", "invalid"] {
        assert_eq!(record["counts"][status], said[status], "{status}");
    }
}

#[test]
fn it_never_reads_real_credentials() {
    let work = sample();
    work.bkassoc(COMMAND)
        .env("BK_APP_SECRET", "real")
        .env("BKASSOC_ENDPOINT", "http://127.0.0.1:1")
        .env("BKASSOC_APP_SECRET_FILE", "/nowhere")
        .ends(3)
        .saying(&["to sandbox"]);
}
