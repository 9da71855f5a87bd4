//! A server that fails in every way: no row fails because of it, none is stored twice, and each id is
//! the server's.

use std::collections::BTreeSet;
use std::time::Duration;

use bkassoc::sandbox::Quota;
use bkassoc::sandbox::faults::{Fault, Faults};
use bkassoc::target::Entrance;

use crate::server::Server;
use crate::workdir::{NN, ONE_N, ONE_ONE, Workdir, assert_conserved, csv_of, stats};

/// 60 rows of all three mappings.
fn rows() -> String {
    csv_of((0..60).map(|n| match n % 3 {
        0 => format!("{NN},{},{},1", 10 + n, 100 + n),
        1 => format!("{ONE_N},{},{},1", 100 + n, 1000 + n),
        _ => format!("{ONE_ONE},{},{},1", 2000 + n, 3000 + n),
    }))
}

/// Imports from a server that shows these faults; the late ones come 100 ms after their calls, well
/// within `--settle-after`.
#[track_caller]
fn import_with(entrance: Entrance, faults: &[(Fault, f64)]) {
    let server = Server::with(entrance, |setup| {
        let with = |faults: Faults, (fault, rate): &(Fault, f64)| faults.with(*fault, *rate);
        setup.faults = faults.iter().fold(Faults::none(), with);
        setup.faults.late_by = Duration::from_millis(100);
        setup.faults.lag_by = Duration::from_millis(100);
        setup.fault_seed = 3;
    });
    let work = Workdir::new();
    work.write("in.csv", rows());
    work.bkassoc("import in.csv --max-attempts 20").to(&server).ends(0);
    let results = work.rows("in.results.csv");
    assert_conserved(&results, &work.rows("in.csv"));
    server.assert_none_twice();
    server.assert_stored(&results);
    assert_eq!(server.sandbox.len(), 4 + 60);
    let wrong = results.iter().filter(|row| !["created", "recovered"].contains(&&*row["status"]));
    assert_eq!(wrong.count(), 0, "the server was empty: {}", stats(&results, "status"));
}

#[test]
fn answers_that_are_lost_are_recovered() {
    import_with(Entrance::Esb, &[(Fault::LostAnswer, 0.15)]);
}

#[test]
fn a_call_that_got_no_answer_is_named_by_an_id_of_ours_where_the_entrance_takes_one() {
    for entrance in [Entrance::Native, Entrance::Gateway, Entrance::Esb] {
        let faults = Faults::none().with(Fault::LostAnswer, 1.0);
        let server = Server::with(entrance, |setup| setup.faults = faults);
        let work = Workdir::new();
        work.write("in.csv", csv_of([format!("{NN},11,21,1"), format!("{NN},11,22,1")]));
        let model = format!("--model {NN}=bk_load_balance,host,n:n");
        let flags = format!("import in.csv -v {model} --max-outage 500ms --connect-timeout 500ms");
        let done = work.bkassoc(&flags).to(&server).run();
        // Nothing is answered, so that the run stops; what was sent is in the log.
        let ids: Vec<&str> = (done.stderr.split("(request ").skip(1))
            .map(|rest| rest.split_once(')').unwrap().0)
            .collect();
        let is_id = |id: &&str| id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit());
        assert!(ids.iter().all(is_id), "{}", done.stderr);
        assert_eq!(ids.is_empty(), entrance == Entrance::Esb, "{}", done.stderr);
    }
}

#[test]
fn a_run_that_ends_since_its_questions_are_lost_names_one_by_an_id_of_ours() {
    for entrance in [Entrance::Native, Entrance::Gateway, Entrance::Esb] {
        let faults = Faults::none().with(Fault::LostAnswer, 1.0);
        let server = Server::with(entrance, |setup| setup.faults = faults);
        let work = Workdir::new();
        work.write("in.csv", csv_of([format!("{NN},11,21,1")]));
        for command in ["import", "check"] {
            let flags = format!("{command} in.csv --connect-timeout 500ms --json");
            let ended = work.bkassoc(&flags).to(&server).ends(6).json();
            let error = ended["error"].as_str().unwrap();
            assert!(error.contains("no answer ever came"), "{error}");
            let is_named = entrance != Entrance::Esb;
            assert_eq!(error.contains("(request "), is_named, "{command}: {error}");
        }
    }
}

#[test]
fn a_row_that_was_recovered_is_shown_with_the_id_that_its_create_had() {
    let server = Server::with(Entrance::Native, |setup| {
        setup.faults = Faults::none().with(Fault::LostAnswer, 0.15);
        setup.fault_seed = 3;
    });
    let work = Workdir::new();
    work.write("in.csv", rows());
    work.bkassoc("import in.csv --max-attempts 20 --batch off").to(&server).ends(0);
    let results = work.rows("in.results.csv");
    let ids: BTreeSet<&str> = results.iter().map(|row| row["request_id"].as_str()).collect();
    assert_eq!(ids.len(), results.len(), "each row has one of its own");
    assert!(ids.iter().all(|id| id.len() == 32), "{ids:?}");
    assert!(results.iter().any(|row| row["status"] == "recovered"));
}

#[test]
fn commits_that_come_late_are_waited_for() {
    import_with(Entrance::Esb, &[(Fault::LateCommit, 0.15)]);
}

#[test]
fn requests_that_are_lost_are_sent_again() {
    import_with(Entrance::Native, &[(Fault::LostRequest, 0.15)]);
}

#[test]
fn pages_of_a_gateway_that_is_ill_are_no_outcome() {
    import_with(Entrance::Esb, &[(Fault::BadGateway, 0.15)]);
    import_with(Entrance::Native, &[(Fault::BadGateway, 0.15)]);
}

#[test]
fn bodies_that_are_cut_are_no_outcome() {
    import_with(Entrance::Gateway, &[(Fault::Garbled, 0.15)]);
}

#[test]
fn a_success_without_data_is_no_success() {
    import_with(Entrance::Esb, &[(Fault::DataNull, 0.2)]);
}

#[test]
fn locks_are_waited_for() {
    import_with(Entrance::Esb, &[(Fault::Locked, 0.2)]);
}

#[test]
fn every_style_of_throttling_is_waited_for() {
    import_with(Entrance::Esb, &[(Fault::ThrottledCmdb, 0.05)]);
    import_with(Entrance::Native, &[(Fault::Throttled429, 0.01)]);
    import_with(Entrance::Gateway, &[(Fault::ThrottledGateway, 0.02)]);
}

#[test]
fn a_refusal_of_the_first_call_does_not_make_a_run_crawl() {
    let server = Server::with(Entrance::Native, |setup| {
        setup.faults = Faults::none().with(Fault::Throttled429, 0.02);
        setup.fault_seed = 3;
    });
    let work = Workdir::new();
    work.write("in.csv", rows());
    work.bkassoc("import in.csv --max-duration 15s").to(&server).ends(0);
}

#[test]
fn reads_that_lag_behind_are_no_proof_of_absence() {
    import_with(Entrance::Esb, &[(Fault::ReadLag, 0.5), (Fault::LostAnswer, 0.1)]);
}

#[test]
fn all_of_it_at_once_loses_and_doubles_nothing() {
    let faults = [
        Fault::LostAnswer,
        Fault::LateCommit,
        Fault::LostRequest,
        Fault::BadGateway,
        Fault::Garbled,
        Fault::DataNull,
        Fault::Locked,
        Fault::ReadLag,
    ];
    import_with(Entrance::Esb, &faults.map(|fault| (fault, 0.03)));
}

#[test]
fn a_quota_holds_a_run_up_and_fails_nothing() {
    let server = Server::with(Entrance::Gateway, |setup| {
        setup.quota = Some(Quota { calls: 50, window: Duration::from_secs(1) });
    });
    let work = Workdir::new();
    work.write("in.csv", rows());
    let said = work.bkassoc("import in.csv --json").to(&server).ends(0).json();
    assert_eq!(said["created"], 60);
}

#[test]
fn rows_whose_every_try_is_lost_say_that_they_may_exist() {
    let server = Server::with(Entrance::Esb, |setup| {
        setup.faults = Faults::none().with(Fault::DataNull, 1.0);
    });
    let work = Workdir::new();
    work.write("in.csv", csv_of([format!("{NN},1,100,1")]));
    work.bkassoc("import in.csv --max-attempts 2").to(&server).ends(4);
    let rows = work.rows("in.results.csv");
    assert_eq!((&*rows[0]["reason"], &*rows[0]["retryable"]), ("outcome-unknown", "true"));
    assert!(rows[0]["message"].contains("may exist"), "{rows:?}");
}
