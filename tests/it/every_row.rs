//! Every row in is one line out, with the server's own id, over HTTP on all three entrances.

use bkassoc::sandbox::Endpoint;
use bkassoc::target::Entrance;

use crate::server::Server;
use crate::workdir::{NN, ONE_N, ONE_ONE, Row, Workdir, assert_conserved, csv_of, links, stats};

/// 2,000 rows: of each hundred 60 n:n and 20 1:n that can be created, six repeats of the row before,
/// two that exist, five for each way to fail without a call, two that the server refuses.
fn mixed() -> String {
    csv_of((0..2000).map(|n| {
        let (source, target) = (20 + n, 100 + n);
        match n % 100 {
            0..60 => format!("{NN},{source},{target},1"),
            60..80 => format!("{ONE_N},{source},{target},1"),
            80..86 => format!("{ONE_N},{},{},1", source - n % 100 + 79, target - n % 100 + 79),
            86 => format!("{NN},3,30,1"),
            87 => format!("{ONE_ONE},15,16,1"),
            88..93 => format!("no_such_association,{source},{target},1"),
            93..98 => format!("{NN},{source},{target}.0,1"),
            98 => format!("{NN},99999,{target},1"),
            _ => format!("{ONE_N},{source},31,1"),
        }
    }))
}

fn every_row_is_accounted_for(entrance: Entrance) {
    let server = Server::new(entrance);
    let work = Workdir::new();
    work.write("in.csv", mixed());
    work.bkassoc("import in.csv").to(&server).ends(3);

    let results = work.rows("in.results.csv");
    assert_conserved(&results, &work.rows("in.csv"));
    server.assert_stored(&results);
    server.assert_none_twice();
    assert_eq!(stats(&results, "status"), "created 1600, existed 160, failed 140, invalid 100");
    assert_eq!(
        stats(&results, "reason"),
        " 1760, invalid-row 100, mapping-conflict 20, missing-source 20, unknown-association 100"
    );
    let created = results.iter().filter(|row| row["status"] == "created").count();
    assert_eq!(server.sandbox.len(), 4 + created, "each creation is one line");

    let sent = results.iter().filter(|row| row["attempts"] != "0").count() as u64;
    assert_eq!(server.calls(Endpoint::Create), sent, "a call for each row that was sent");
    assert_eq!(sent, 1800, "and none for invalid and unknown rows");
    assert!(server.calls(Endpoint::Models) <= 4, "one question for all rows of a name");
}

#[test]
fn every_row_is_accounted_for_behind_an_esb() {
    every_row_is_accounted_for(Entrance::Esb);
}

#[test]
fn every_row_is_accounted_for_behind_a_gateway() {
    every_row_is_accounted_for(Entrance::Gateway);
}

#[test]
fn every_row_is_accounted_for_without_either() {
    every_row_is_accounted_for(Entrance::Native);
}

#[test]
fn a_second_run_finds_everything_and_ends_with_0() {
    let server = Server::esb();
    let work = Workdir::new();
    work.write("in.csv", links(500));
    work.bkassoc("import in.csv -o first.csv").to(&server).ends(0);
    work.bkassoc("import in.csv -o second.csv").to(&server).ends(0);
    let (first, second) = (work.rows("first.csv"), work.rows("second.csv"));
    assert_eq!(stats(&first, "status"), "created 500");
    assert_eq!(stats(&second, "status"), "existed 500");
    let ids = |rows: &[Row]| -> Vec<String> {
        rows.iter().map(|row| row["association_id"].clone()).collect()
    };
    assert_eq!(ids(&first), ids(&second));
}

#[test]
fn no_call_at_all_is_spent_on_an_input_of_invalid_rows() {
    let server = Server::esb();
    let work = Workdir::new();
    let bad = ["1.0", "1e3", "+5", "-1", "0", "\"=\"\"12\"\"\"", "١٢", "9223372036854775808", ""];
    work.write("in.csv", csv_of(bad.map(|id| format!("{NN},{id},100,1"))));
    work.bkassoc("import in.csv").to(&server).ends(3);
    let results = work.rows("in.results.csv");
    assert_eq!(stats(&results, "status"), "invalid 9");
    for row in &results {
        assert!(row["message"].contains("inst_id"), "{row:?}");
        assert!(row["message"].contains(&format!("line {}", row["line"])), "{row:?}");
    }
    assert_eq!(server.all_calls(), 0);
}

#[test]
fn the_largest_id_there_is_travels_unchanged() {
    let server = Server::with(Entrance::Esb, |setup| {
        let models = format!(
            "[instances]\na = [\"1-9\"]\nb = [\"{0}\"]\n[[association]]\nobj_asst_id = \"a_of_b\"\nsource = \"a\"\n\
             target = \"b\"\nmapping = \"n:n\"",
            i64::MAX
        );
        setup.models = bkassoc::sandbox::models::Models::from_toml(&models).unwrap();
    });
    let work = Workdir::new();
    work.write("in.csv", csv_of([format!("a_of_b,1,{},1", i64::MAX)]));
    work.bkassoc("import in.csv").to(&server).ends(0);
    assert_eq!(server.sandbox.rows()[0].target, i64::MAX);
}

#[test]
fn a_thousand_repeats_of_one_row_are_created_once() {
    let server = Server::esb();
    let work = Workdir::new();
    work.write("in.csv", csv_of(vec![format!("{NN},1,100,1"); 1000]));
    work.bkassoc("import in.csv").to(&server).ends(0);
    let results = work.rows("in.results.csv");
    assert_eq!(stats(&results, "status"), "created 1, existed 999");
    assert_eq!(results[0]["status"], "created", "the first line is the one");
    server.assert_stored(&results);
}

#[test]
fn the_same_row_in_another_spelling_is_the_same_row() {
    let server = Server::esb();
    let work = Workdir::new();
    work.write(
        "in.csv",
        csv_of(["7,100", " 7 ,100", "7, 100", "7 ,\t100"].map(|ids| format!("{NN},{ids},1"))),
    );
    work.bkassoc("import in.csv").to(&server).ends(0);
    assert_eq!(stats(&work.rows("in.results.csv"), "status"), "created 1, existed 3");
}

#[test]
fn of_rows_that_exclude_each_other_the_first_is_created() {
    let server = Server::with(Entrance::Esb, |setup| {
        setup.latency = std::time::Duration::from_millis(5);
    });
    let work = Workdir::new();
    let pairs = (0..60).flat_map(|n| {
        let target = 1000 + n;
        [(1, target), (2, target), (1, target)]
            .map(|(source, target)| format!("{ONE_N},{},{target},1", 3000 + 10 * n + source))
    });
    work.write("in.csv", csv_of(pairs));
    work.bkassoc("import in.csv").to(&server).ends(3);
    for three in work.rows("in.results.csv").chunks(3) {
        let said = stats(three, "status");
        assert_eq!(said, "created 1, existed 1, failed 1");
        assert_eq!((&*three[0]["status"], &*three[1]["status"]), ("created", "failed"));
        let in_the_way = format!("association {} is in the way", three[0]["association_id"]);
        assert!(three[1]["message"].contains(&in_the_way), "{three:?}");
    }
    server.assert_none_twice();
}

#[test]
fn memory_does_not_grow_with_rows() {
    let server = Server::esb();
    let work = Workdir::new();
    work.write("in.csv", csv_of((0..40_000).map(|n| format!("{NN},{n}.0,100,1"))));
    let small = "ulimit -v 200000; exec \"$@\"";
    work.under(small, "import in.csv").to(&server).ends(3).saying(&["40,000  invalid"]);
    assert_eq!(work.rows("in.results.csv").len(), 40_000);
}
