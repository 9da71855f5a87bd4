use super::*;
use crate::association::Cells;
use crate::outcome::{Outcome, Record};

fn stats() -> RunStats {
    let mut stats = RunStats::default();
    let outcomes = [
        Outcome::good(Status::Created, 1, 1, 0),
        Outcome::good(Status::Created, 2, 1, 0),
        Outcome::bad(Reason::Throttled, String::new(), 6, 0),
        Outcome::bad(Reason::InvalidRow, String::new(), 0, 0),
    ];
    for outcome in outcomes {
        stats.add(&Record { ordinal: 0, file: 0, line: 2, cells: Cells::default(), outcome });
    }
    stats.calls.sent(CallKind::Create);
    stats.calls.answered(Duration::from_millis(30));
    stats.calls.answered(Duration::from_mins(2));
    stats.calls.held(Bottleneck::Rate, Duration::from_millis(1_500));
    stats.calls.in_flight = 7;
    stats
}

fn file(folder: &tempfile::TempDir) -> MetricsOptions {
    MetricsOptions { path: folder.path().join("links.prom"), job: "links".to_owned() }
}

fn written(options: &MetricsOptions) -> String {
    std::fs::read_to_string(&options.path).unwrap()
}

#[test]
fn a_run_is_told_in_series() {
    let text = text("links", &stats(), 7, Before::default());
    for line in [
        r#"bkassoc_rows{job="links",status="created",reason=""} 2"#,
        r#"bkassoc_rows{job="links",status="failed",reason="throttled"} 1"#,
        r#"bkassoc_rows{job="links",status="failed",reason=""} 0"#,
        r#"bkassoc_rows{job="links",status="invalid",reason="invalid-row"} 1"#,
        r#"bkassoc_calls_total{job="links",kind="create"} 1"#,
        r#"bkassoc_call_duration_seconds_bucket{job="links",le="0.025"} 0"#,
        r#"bkassoc_call_duration_seconds_bucket{job="links",le="0.05"} 1"#,
        r#"bkassoc_call_duration_seconds_bucket{job="links",le="40"} 1"#,
        r#"bkassoc_call_duration_seconds_bucket{job="links",le="+Inf"} 2"#,
        r#"bkassoc_call_duration_seconds_sum{job="links"} 120.03"#,
        r#"bkassoc_call_duration_seconds_count{job="links"} 2"#,
        r#"bkassoc_throttled_total{job="links"} 0"#,
        r#"bkassoc_held_seconds_total{job="links",by="rate"} 1.5"#,
        r#"bkassoc_in_flight{job="links"} 7"#,
        "# TYPE bkassoc_calls_total counter",
        "# TYPE bkassoc_call_duration_seconds histogram",
        "# TYPE bkassoc_rows gauge",
    ] {
        assert!(text.lines().any(|known| known == line), "{line}\n{text}");
    }
    assert!(
        !text.contains("exit_code") && !text.contains("timestamp"),
        "nothing has ended: {text}"
    );
}

#[test]
fn a_job_s_name_can_t_end_its_label() {
    let job = "a\"} 1\nevil{x=\"\\";
    let ended = Before { last_success: Some(5), ..Before::default() };
    let text = text(job, &RunStats::default(), 0, ended);
    assert!(text.contains(r#"{job="a\"} 1\nevil{x=\"\\"} 5"#), "{text}");
    assert!(text.lines().all(|line| line.starts_with("bkassoc_") || line.starts_with("# ")));
    assert_eq!(Before::of(&text, job), ended);
    assert_eq!(Before::of(&text, "a"), Before::default(), "it is another job's");
}

#[tokio::test(start_paused = true)]
async fn the_file_is_due_every_fifteen_seconds_however_often_it_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let mut metrics = MetricsFile::new(&file(&folder));
    let mut due = Vec::new();
    for tenth in 1..=310 {
        tokio::time::advance(Duration::from_millis(100)).await;
        if metrics.text_if_due(&stats()).is_some() {
            due.push(tenth);
        }
    }
    assert_eq!(due, [150, 300]);
}

#[tokio::test(start_paused = true)]
async fn while_a_run_is_under_way_the_file_still_says_how_the_last_one_ended() {
    let folder = tempfile::tempdir().unwrap();
    let options = file(&folder);
    conclude(&options, &RunStats::default(), Exit::Ok);
    let first = Before::of(&written(&options), "links");
    assert_eq!((first.exit_code, first.last_run), (Some(0), first.last_success));
    let mut metrics = MetricsFile::new(&options);
    tokio::time::advance(EVERY).await;
    metrics.show(&stats());
    metrics.finish();
    assert_eq!(Before::of(&written(&options), "links"), first);
    assert!(written(&options).contains("bkassoc_in_flight{job=\"links\"} 7"));
    conclude(&options, &stats(), Exit::SomeFailed);
    let second = Before::of(&written(&options), "links");
    assert_eq!((second.exit_code, second.last_success), (Some(3), first.last_success));
    assert!(second.last_run >= first.last_run);
    assert!(written(&options).contains("bkassoc_in_flight{job=\"links\"} 0"));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no draft is left");
}

#[tokio::test(start_paused = true)]
async fn calls_are_told_while_a_plan_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let options = file(&folder);
    let mut metrics = MetricsFile::new(&options);
    metrics.show_calls(&stats().calls);
    tokio::time::advance(EVERY).await;
    metrics.show_calls(&stats().calls);
    metrics.finish();
    assert!(written(&options).contains("bkassoc_calls_total{job=\"links\",kind=\"create\"} 1"));
    assert!(written(&options).contains("status=\"created\",reason=\"\"} 0"));
}

#[test]
fn a_file_that_can_t_be_written_ends_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nowhere").join("links.prom");
    let options = MetricsOptions { path, job: "links".to_owned() };
    conclude(&options, &stats(), Exit::Ok);
    assert!(!options.path.exists());
}
