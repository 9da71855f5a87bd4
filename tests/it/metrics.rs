//! What `--metrics-file` leaves behind is Prometheus text, and says how the job is.

#![allow(clippy::float_cmp, reason = "what is compared was written as a whole number")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use bkassoc::sandbox::Endpoint;
use bkassoc::target::Entrance;
use serde_json::Value;

use crate::server::Server;
use crate::workdir::{NN, Workdir, links};

/// A series: its name and labels, in order.
type Series = (String, BTreeMap<String, String>);

/// Reads a file as strictly as the format (version 0.0.4) is written down: a family at a time, HELP and TYPE
/// first, each series once, histograms that add up.
fn parse(text: &str) -> BTreeMap<Series, f64> {
    assert!(text.ends_with('\n'), "the last line ends");
    let mut series = BTreeMap::new();
    let mut families: Vec<(String, String)> = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').unwrap();
            assert!(!help.is_empty() && is_name(name), "{line}");
            let kind = lines.next().and_then(|line| line.strip_prefix("# TYPE ")).unwrap();
            let (typed, kind) = kind.split_once(' ').unwrap();
            assert_eq!(typed, name);
            assert!(families.iter().all(|(other, _)| other != name), "{name} comes twice");
            families.push((name.to_owned(), kind.to_owned()));
            continue;
        }
        let (name, labels, value) = sample(line);
        let (family, kind) = families.last().unwrap_or_else(|| panic!("no family: {line}"));
        let ending = name.strip_prefix(family.as_str()).unwrap_or_else(|| panic!("stray: {line}"));
        let endings: &[&str] = match kind.as_str() {
            "counter" | "gauge" => &[""],
            "histogram" => &["_bucket", "_sum", "_count"],
            other => panic!("no such type: {other}"),
        };
        assert!(endings.contains(&ending), "{line}");
        assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
        assert!(series.insert((name, labels), value).is_none(), "twice: {line}");
    }
    for (family, _) in families.iter().filter(|(_, kind)| kind == "histogram") {
        let mut buckets: Vec<_> = (series.iter())
            .filter(|((name, _), _)| *name == format!("{family}_bucket"))
            .map(|((_, labels), count)| (number(&labels["le"]), *count))
            .collect();
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        assert!(buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{buckets:?}");
        let (last, all) = *buckets.last().unwrap();
        assert!(last.is_infinite() && all == one(&series, &format!("{family}_count"), &[]));
    }
    series
}

fn is_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn number(text: &str) -> f64 {
    if text == "+Inf" { f64::INFINITY } else { text.parse().unwrap() }
}

fn sample(line: &str) -> (String, BTreeMap<String, String>, f64) {
    let (name, rest) = line.split_at(line.find(['{', ' ']).unwrap());
    assert!(is_name(name), "{line}");
    let mut labels = BTreeMap::new();
    let Some(mut rest) = rest.strip_prefix('{') else {
        return (name.to_owned(), labels, number(rest.trim_start()));
    };
    while !rest.starts_with("} ") {
        let (label, value) = rest.split_once("=\"").unwrap_or_else(|| panic!("{line}"));
        assert!(is_name(label), "{line}");
        let (mut text, mut chars) = (String::new(), value.chars());
        loop {
            match chars.next().unwrap_or_else(|| panic!("{line}")) {
                '"' => break,
                '\\' => match chars.next() {
                    Some('n') => text.push('\n'),
                    Some(c @ ('"' | '\\')) => text.push(c),
                    other => panic!("{other:?} is escaped: {line}"),
                },
                c => text.push(c),
            }
        }
        assert!(labels.insert(label.to_owned(), text).is_none(), "{line}");
        rest = chars.as_str();
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
    (name.to_owned(), labels, number(&rest[2..]))
}

/// The value of the one series that has these labels.
#[track_caller]
fn one(series: &BTreeMap<Series, f64>, name: &str, labels: &[(&str, &str)]) -> f64 {
    let has = |known: &BTreeMap<String, String>| {
        labels.iter().all(|(label, value)| known.get(*label).is_some_and(|known| known == value))
    };
    let found: Vec<_> =
        series.iter().filter(|((known, labels), _)| known == name && has(labels)).collect();
    assert_eq!(found.len(), 1, "{name} {labels:?}: {found:?}");
    *found[0].1
}

/// promtool, where it is installed (`.ci/run` says where it is not).
fn promtool(arguments: &[&str], folder: &Path, stdin: Option<&str>) {
    let mut command = Command::new("promtool");
    command.args(arguments).current_dir(folder);
    if let Some(name) = stdin {
        command.stdin(fs::File::open(folder.join(name)).unwrap());
    }
    let Ok(output) = command.output() else { return };
    let said = [output.stdout, output.stderr].map(|said| String::from_utf8(said).unwrap()).concat();
    assert!(output.status.success(), "promtool {arguments:?}: {said}");
    assert!(stdin.is_none() || said.is_empty(), "promtool {arguments:?}: {said}");
}

fn checked(work: &Workdir, name: &str) -> BTreeMap<Series, f64> {
    promtool(&["check", "metrics"], &work.path(""), Some(name));
    parse(&work.read(name))
}

#[test]
fn an_import_leaves_metrics_of_its_rows_calls_and_end() {
    let server = Server::esb();
    let work = Workdir::new();
    let rows = links(20) + &format!("{NN},999999999,1,1\n{NN},x,1,1\n");
    work.write("in.csv", rows);
    work.bkassoc("import in.csv --metrics-file m.prom").to(&server).ends(3);
    let told = checked(&work, "m.prom");
    assert!(told.keys().all(|(_, labels)| labels["job"] == "in.results"), "{told:?}");
    let rows =
        |status, reason| one(&told, "bkassoc_rows", &[("status", status), ("reason", reason)]);
    assert_eq!((rows("created", ""), rows("failed", "missing-source")), (20.0, 1.0));
    assert_eq!(
        (rows("invalid", "invalid-row"), rows("failed", ""), rows("deleted", "")),
        (1.0, 0.0, 0.0)
    );
    assert_eq!(one(&told, "bkassoc_calls_total", &[("kind", "create")]), 21.0);
    assert!(one(&told, "bkassoc_call_duration_seconds_count", &[]) >= 22.0);
    assert!(one(&told, "bkassoc_call_duration_seconds_sum", &[]) > 0.0);
    assert_eq!(one(&told, "bkassoc_in_flight", &[]), 0.0);
    assert_eq!(one(&told, "bkassoc_exit_code", &[]), 3.0);
    assert!(one(&told, "bkassoc_last_run_timestamp_seconds", &[]) > 1.7e9);
    assert!(!work.read("m.prom").contains("last_success"), "there was none");
    assert!(!work.has("m.prom.draft"));
}

#[test]
fn the_last_success_outlives_runs_that_are_none() {
    let server = Server::esb();
    let work = Workdir::new();
    work.write("in.csv", links(3)).write("none.csv", "obj_asst_id,inst_id,asst_inst_id,biz_id\n");
    let sync = |input: &str, url: &str| {
        let command = work.bkassoc("sync -o out.csv --fresh --yes --connect-timeout 300ms");
        let command = command.args("--metrics-file m.prom --job night").arg(input);
        command.aim(Entrance::Esb, url)
    };
    sync("in.csv", &server.url()).ends(0);
    let first = checked(&work, "m.prom");
    let success = one(&first, "bkassoc_last_success_timestamp_seconds", &[("job", "night")]);
    assert_eq!(success, one(&first, "bkassoc_last_run_timestamp_seconds", &[]));
    for (input, url, exit) in [
        ("none.csv", server.url(), 12),
        ("gone.csv", server.url(), 7),
        ("in.csv", "http://127.0.0.1:9".to_owned(), 6),
    ] {
        // The work of another hour, as far as the file knows.
        let text = work.read("m.prom").replace(&format!("{success}"), "1234567890");
        work.write("m.prom", text);
        let done = sync(input, &url).run();
        let told = checked(&work, "m.prom");
        assert_eq!(one(&told, "bkassoc_exit_code", &[]), f64::from(exit), "{input}: {done:?}");
        assert_eq!(one(&told, "bkassoc_last_success_timestamp_seconds", &[]), 1_234_567_890.0);
        assert!(one(&told, "bkassoc_last_run_timestamp_seconds", &[]) >= success, "{input}");
    }
}

#[test]
fn apply_rerun_and_undo_leave_metrics_too() {
    let server = Server::new(Entrance::Gateway);
    let work = Workdir::new();
    work.write("in.csv", links(4));
    work.bkassoc("plan in.csv").to(&server).ends(0);
    let told = |job: &str, status: &str| {
        let told = checked(&work, "m.prom");
        one(&told, "bkassoc_rows", &[("job", job), ("status", status), ("reason", "")])
    };
    work.bkassoc("apply in.plan.csv --metrics-file m.prom").to(&server).ends(0);
    assert_eq!(told("in.results", "created"), 4.0);
    let rerun = "rerun in.results.csv --status created --metrics-file m.prom";
    work.bkassoc(rerun).to(&server).ends(0);
    assert_eq!(told("in.rerun-1", "existed"), 4.0);
    let undo = "undo in.results.csv --yes -o - --metrics-file m.prom";
    work.bkassoc(undo).to(&server).ends(0);
    assert_eq!(told("undo", "deleted"), 4.0);
}

#[test]
fn a_job_may_be_called_anything() {
    let server = Server::esb();
    let work = Workdir::new();
    work.write("in.csv", links(1));
    let job = "night\"} 1\nbkassoc_evil{x=\"\\ \u{202e}</script> 关联";
    let command = work.bkassoc("import in.csv --metrics-file m.prom --job").arg(job);
    command.to(&server).ends(0);
    let told = checked(&work, "m.prom");
    assert!(told.keys().all(|(name, labels)| labels["job"] == job && name != "bkassoc_evil"));
}

#[test]
fn metrics_that_can_t_be_written_are_a_warning() {
    let server = Server::esb();
    let work = Workdir::new();
    work.write("in.csv", links(3));
    let done = work.bkassoc("import in.csv --metrics-file nowhere/m.prom").to(&server).ends(0);
    done.saying(&["the metrics in nowhere/m.prom.draft can't be written"]);
    assert_eq!(work.rows("in.results.csv").len(), 3);
}

#[test]
fn metrics_take_no_other_file_s_place() {
    let server = Server::esb();
    let work = Workdir::new();
    work.write("in.csv", links(2)).write("other.prom", "node_load1 3\n");
    for name in
        ["in.csv", "other.prom", "in.results.csv", "in.results.csv.journal", "/dev/null", "-"]
    {
        let command = work.bkassoc("import in.csv --metrics-file").arg(name).to(&server);
        command.ends(2).saying(&["--metrics-file"]);
    }
    assert_eq!(server.calls(Endpoint::Create), 0);
    assert_eq!(work.names(), ["in.csv", "other.prom"]);
    assert_eq!(work.read("other.prom"), "node_load1 3\n");
    // What somebody put where the draft goes leads nowhere.
    work.write("theirs", "mine");
    std::os::unix::fs::symlink(work.path("theirs"), work.path("m.prom.draft")).unwrap();
    let done = work.bkassoc("import in.csv --metrics-file m.prom").to(&server).ends(0);
    done.saying(&["m.prom.draft", "no regular file"]);
    assert_eq!(work.read("theirs"), "mine");
}

#[test]
fn shards_leave_metrics_and_reports_of_their_own() {
    let server = Server::esb();
    let work = Workdir::new();
    work.write("in.csv", links(40));
    let import = "import in.csv -o out.{shard}.csv --shard 1/2 --report";
    work.bkassoc(&format!("{import} r.html")).to(&server).ends(2).saying(&["{shard}"]);
    let import = format!("{import} r.{{shard}}.html --metrics-file");
    work.bkassoc(&format!("{import} m.prom")).to(&server).ends(2).saying(&["{shard}"]);
    work.bkassoc(&format!("{import} m.{{shard}}.prom")).to(&server).ends(0);
    assert!(work.has("r.1-of-2.html"));
    let series = checked(&work, "m.1-of-2.prom");
    assert_eq!(one(&series, "bkassoc_exit_code", &[("job", "out.1-of-2")]), 0.0);
}

#[test]
fn a_process_that_finds_its_run_held_leaves_the_other_s_metrics_alone() {
    let server = Server::esb();
    let work = Workdir::new();
    work.write("m.prom", "");
    let import = "import - -o out.csv --metrics-file m.prom";
    let first = work.bkassoc(import).to(&server).open_stdin(links(1)).start();
    first.until_true(|| server.calls(Endpoint::Create) > 0);
    work.bkassoc(import).to(&server).stdin(links(1)).ends(10);
    assert!(!work.read("m.prom").contains("exit_code"));
}

fn document(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name);
    fs::read_to_string(path).unwrap()
}

/// What a text calls metrics of ours.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("bkassoc_")).map(str::to_owned).collect()
}

#[test]
fn alerts_dashboard_and_page_name_the_metrics_that_there_are() {
    let server = Server::esb();
    let work = Workdir::new();
    work.write("in.csv", links(1));
    work.bkassoc("import in.csv --metrics-file m.prom").to(&server).ends(0);
    let written = work.read("m.prom");
    let families: BTreeSet<_> = (written.lines())
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .map(str::to_owned)
        .collect();
    let page = document("monitoring.md");
    assert_eq!(named(&page), families);
    let series = named(&written);
    for name in ["alerts.yml", "grafana.json"] {
        let names = named(&document(name));
        assert!(names.len() >= 4 && names.is_subset(&series), "{name}: {names:?}");
    }
    let dashboard: Value = serde_json::from_str(&document("grafana.json")).unwrap();
    let shown = named(&dashboard["panels"].to_string());
    let shown = |family: &String| shown.iter().any(|name| name.starts_with(family.as_str()));
    assert!(families.iter().all(shown), "a metric stands in no panel");
    let alerts: Vec<_> = (page.lines())
        .filter_map(|line| line.strip_prefix("| `Bkassoc")?.split('`').next())
        .collect();
    let rules = document("alerts.yml");
    let ruled: Vec<_> =
        rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: Bkassoc")).collect();
    let sorted = |mut names: Vec<_>| {
        names.sort_unstable();
        names.join(" ")
    };
    assert_eq!(sorted(alerts), sorted(ruled));
}

/// What Prometheus makes of the alerts, over two days of a job that ends in each of these ways.
#[test]
fn each_alert_fires_when_the_page_says() {
    let work = Workdir::new();
    work.write("alerts.yml", document("alerts.yml"));
    promtool(&["check", "rules", "alerts.yml"], &work.path(""), None);
    work.write("tests.yml", ALERT_TESTS);
    promtool(&["test", "rules", "tests.yml"], &work.path(""), None);
}

/// Time begins at 0, when the job ended last.
const ALERT_TESTS: &str = r#"
rule_files: [alerts.yml]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - {series: 'bkassoc_last_run_timestamp_seconds{exported_job="a"}', values: '0x2000'}
      - {series: 'bkassoc_exit_code{exported_job="ok"}', values: '0x2000'}
      - {series: 'bkassoc_exit_code{exported_job="rows"}', values: '3x2000'}
      - {series: 'bkassoc_exit_code{exported_job="guard"}', values: '12x2000'}
      - {series: 'bkassoc_exit_code{exported_job="down"}', values: '6x2000'}
      - {series: 'bkassoc_rows{exported_job="rows",status="failed",reason="rejected"}', values: '2x2000'}
      - {series: 'bkassoc_rows{exported_job="rows",status="invalid"}', values: '1x2000'}
      - {series: 'bkassoc_rows{exported_job="ok",status="failed"}', values: '0x2000'}
      - {series: 'bkassoc_held_seconds_total{exported_job="gone",by="outage"}', values: '0+60x2000'}
      - {series: 'bkassoc_held_seconds_total{exported_job="ok",by="rate"}', values: '0+60x2000'}
    promql_expr_test:
      - {expr: 'count(ALERTS{alertname="BkassocRunLate",alertstate="firing"}) or vector(0)', eval_time: 26h, exp_samples: [{labels: '{}', value: 0}]}
      - {expr: 'count(ALERTS{alertname="BkassocRunLate",exported_job="a",alertstate="firing"})', eval_time: 27h, exp_samples: [{labels: '{}', value: 1}]}
      - {expr: 'count(ALERTS{alertname="BkassocRunFailed",alertstate="firing"})', eval_time: 1h, exp_samples: [{labels: '{}', value: 1}]}
      - {expr: 'count(ALERTS{alertname="BkassocRunFailed",exported_job="down"})', eval_time: 1h, exp_samples: [{labels: '{}', value: 1}]}
      - {expr: 'count(ALERTS{alertname="BkassocGuardTripped",alertstate="firing"})', eval_time: 1h, exp_samples: [{labels: '{}', value: 1}]}
      - {expr: 'count(ALERTS{alertname="BkassocGuardTripped",exported_job="guard"})', eval_time: 1h, exp_samples: [{labels: '{}', value: 1}]}
      - {expr: 'sum by (exported_job) (bkassoc_rows{status=~"failed|invalid"}) > 0', eval_time: 1h, exp_samples: [{labels: '{exported_job="rows"}', value: 3}]}
      - {expr: 'count(ALERTS{alertname="BkassocRowsFailed",alertstate="firing"})', eval_time: 1h, exp_samples: [{labels: '{}', value: 1}]}
      - {expr: 'count(ALERTS{alertname="BkassocServerGone",alertstate="firing"})', eval_time: 1h, exp_samples: [{labels: '{}', value: 1}]}
      - {expr: 'count(ALERTS{alertname="BkassocServerGone",exported_job="gone"})', eval_time: 1h, exp_samples: [{labels: '{}', value: 1}]}
"#;
