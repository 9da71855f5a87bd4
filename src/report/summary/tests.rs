use std::time::Duration;

use super::*;
use crate::association::Cells;
use crate::engine::stats::Bottleneck;
use crate::outcome::{Outcome, Record};
use crate::target::Entrance;

fn words(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

fn record(file: u32, line: u64, outcome: Outcome) -> Record {
    Record { ordinal: line, file, line, cells: Cells::default(), outcome }
}

fn target() -> Target {
    Target {
        entrance: Entrance::Esb,
        endpoint: "https://paas.example.com".to_owned(),
        supplier_account: "0".to_owned(),
        tenant_id: None,
    }
}

/// Eleven rows: one of each good end, six of one reason, one retryable, one invalid.
fn stats() -> RunStats {
    let mut stats = RunStats::default();
    for (line, status) in [(2, Status::Created), (3, Status::Existed), (4, Status::Recovered)] {
        stats.add(&record(0, line, Outcome::good(status, 1, 1, 0)));
    }
    for line in 5..=10 {
        let message = "the association inst is not exist\n".to_owned();
        let mut outcome = Outcome::bad(Reason::MissingSource, message, 1, 0);
        outcome.code = Some(1_101_073);
        stats.add(&record(0, line, outcome));
    }
    let throttled = Outcome::bad(Reason::Throttled, String::new(), 6, 0);
    stats.add(&record(1, 11, throttled));
    let invalid = Outcome::bad(Reason::InvalidRow, "column inst_id: \"x\"".to_owned(), 0, 0);
    stats.add(&record(0, 12, invalid));
    stats.input_ended = true;
    stats.elapsed = Duration::from_millis(5_500);
    for _ in 0..1_234 {
        stats.calls.sent(CallKind::Create);
    }
    stats.calls.sent(CallKind::Find);
    stats.calls.retries = 3;
    stats.calls.throttled = 2;
    for _ in 0..100 {
        stats.calls.answered(Duration::from_micros(12_300));
    }
    stats.calls.held(Bottleneck::Rate, Duration::from_secs(3));
    stats.calls.held(Bottleneck::Nothing, Duration::from_secs(1));
    stats
}

/// An import of which some rows failed.
fn ended(stats: &RunStats) -> Summary<'_> {
    Summary {
        kind: RunKind::Import,
        target: None,
        shard: None,
        stats,
        inputs: &[],
        results: None,
        unfinished: None,
        exit: Exit::SomeFailed,
        error: None,
        warnings: &[],
        survey: None,
        checked: None,
        next: None,
        look: Look::default(),
    }
}

#[test]
fn a_stranger_reads_what_happened_and_what_to_do() {
    let (stats, target) = (stats(), target());
    let summary = Summary {
        target: Some(&target),
        inputs: &["a.csv".to_owned()],
        results: Some(Path::new("my results.csv")),
        next: Some(vec!["bkassoc".into(), "rerun".into(), "my results.csv".into()]),
        ..ended(&stats)
    };
    assert_eq!(
        summary.text(),
        "\
bkassoc import, https://paas.example.com (esb): finished, some rows failed.

           11  rows
            1  created
            1  existed
            1  recovered
            7  failed
                  6  missing-source: lines 5, 6, 7, 8, 9, …
                     1101073 the association inst is not exist
                  1  throttled: line 11
            1  invalid
                  1  invalid-row: line 12
                     column inst_id: \"x\"

Calls: 1,235 (1,234 create, 1 find)
Retries: 3, throttled answers: 2
Latency: p50 12.3 ms, p90 12.3 ms, p99 12.3 ms
Took 5s, 2.0 rows/s; held back by --rate for 75 % of the time

Results: my results.csv

1 of the rows may well succeed now:
  bkassoc rerun 'my results.csv'
"
    );
    assert_eq!(
        summary.line(),
        "bkassoc import: finished, some rows failed; 11 rows, 1 created, 1 existed, 1 recovered, \
         7 failed, 1 invalid; next: bkassoc rerun 'my results.csv'\n"
    );
}

#[test]
fn a_message_is_cut_where_the_terminal_ends() {
    let stats = stats();
    let shown = |columns| {
        let look = Look { columns, ..Look::default() };
        let summary = Summary { look, ..ended(&stats) };
        let text = summary.text();
        text.lines().find(|line| line.contains("1101073")).unwrap().trim_start().to_owned()
    };
    assert_eq!(shown(None), "1101073 the association inst is not exist");
    assert_eq!(shown(Some(120)), shown(None));
    assert_eq!(shown(Some(60)), "1101073 the association inst is not ex…");
    assert_eq!(shown(Some(1)), "1101073 the association inst…");
}

#[test]
fn lines_of_several_inputs_are_told_with_their_files() {
    let stats = stats();
    let summary = Summary { inputs: &["a.csv".to_owned(), "b.csv".to_owned()], ..ended(&stats) };
    let text = summary.text();
    assert!(text.contains("throttled: line b.csv:11\n"), "{text}");
    assert!(text.contains("missing-source: lines a.csv:5, a.csv:6, "), "{text}");
}

#[test]
fn the_json_has_the_keys_of_the_design_in_their_order() {
    let (stats, target) = (stats(), target());
    let summary = Summary {
        target: Some(&target),
        results: Some(Path::new("a.results.csv")),
        next: Some(words("bkassoc rerun a.results.csv")),
        ..ended(&stats)
    };
    assert_eq!(
        summary.json(),
        concat!(
            r#"{"schema":1,"target":{"entrance":"esb","endpoint":"https://paas.example.com","#,
            r#""supplier_account":"0"},"rows":11,"created":1,"existed":1,"recovered":1,"#,
            r#""deleted":0,"absent":0,"failed":7,"invalid":1,"outstanding":0,"#,
            r#""reasons":{"invalid-row":1,"missing-source":6,"throttled":1},"#,
            r#""calls":{"batch":0,"create":1234,"delete":0,"find":1,"list":0,"models":0,"names":0,"probe":0},"#,
            r#""retries":3,"throttled":2,"latency_ms":{"p50":12.3,"p90":12.3,"p99":12.3},"#,
            r#""elapsed_ms":5500,"rows_per_s":2.0,"exit":3,"results":"a.results.csv","#,
            r#""next":["bkassoc","rerun","a.results.csv"],"error":null}"#,
            "\n"
        )
    );
}

#[test]
fn a_run_that_ends_in_an_error_tells_it_in_every_form() {
    let mut stats = RunStats::default();
    stats.unsettled = 8;
    let summary = Summary {
        kind: RunKind::Undo,
        unfinished: Some(Path::new("a undo.csv")),
        exit: Exit::Outage,
        error: Some("no answer ever came from https://h"),
        next: Some(words("bkassoc undo a.csv")),
        ..ended(&stats)
    };
    assert_eq!(
        summary.text(),
        "\
bkassoc undo: stopped, the server does not answer.
no answer ever came from https://h

            8  rows
            8  outstanding: read, but not settled
               the input was not read to its end

What is known so far: bkassoc results 'a undo.csv' -o FILE

To go on, once the server is well again:
  bkassoc undo a.csv
"
    );
    let json: serde_json::Value = serde_json::from_str(&summary.json()).unwrap();
    assert_eq!(json["error"], "no answer ever came from https://h");
    assert_eq!(json["outstanding"], 8);
    assert_eq!(json["deleted"], 0);
    assert!(json["target"].is_null() && json["latency_ms"]["p50"].is_null());
    assert!(summary.line().contains("no answer ever came"));
}

#[test]
fn deletes_are_counted_and_those_that_a_sync_adds_are_told_by_what_they_are() {
    let mut stats = RunStats::default();
    stats.add(&record(0, 2, Outcome::good(Status::Created, 1, 1, 0)));
    stats.add(&record(0, 3, Outcome::good(Status::Deleted, 1, 1, 0)));
    stats.input_ended = true;
    let mut summary = Summary { kind: RunKind::Sync, exit: Exit::Ok, ..ended(&stats) };
    let text = summary.text();
    assert!(
        text.starts_with("bkassoc sync: finished, every row is there, or gone as asked.\n"),
        "{text}"
    );
    assert!(text.contains("\n            1  created\n            1  deleted\n"), "{text}");
    let mut stats = stats.clone();
    let throttled = || Outcome::bad(Reason::Throttled, "later".to_owned(), 1, 0);
    for target in ["2", "3"] {
        let cells = Cells::new(["a", "1", target, ""]);
        stats.add(&Record { cells, ..record(0, 0, throttled()) });
    }
    stats.add(&record(0, 7, throttled()));
    summary.stats = &stats;
    let text = summary.text();
    assert!(text.contains(" 3  throttled: line 7, a 1 -> 2, a 1 -> 3\n"), "{text}");
}

#[test]
fn quiet_says_nothing_when_all_went_well_but_json_is_always_written() {
    let stats = RunStats::default();
    let mut summary = Summary { exit: Exit::Ok, ..ended(&stats) };
    assert_eq!(summary.render(true, false), None);
    assert_eq!(summary.render(true, true), Some(summary.json()));
    assert_eq!(summary.render(false, false), Some(summary.text()));
    summary.exit = Exit::AllRetryable;
    let line = summary.render(true, false).unwrap();
    assert_eq!(line.lines().count(), 1);
}

#[test]
fn numbers_are_grouped_by_thousands() {
    for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (12_345_678, "12,345,678")] {
        assert_eq!(grouped(number), text);
    }
}
