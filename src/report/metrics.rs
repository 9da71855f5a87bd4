//! Metrics of a run, for the textfile collector of `node_exporter`: the only home of prometheus-client.
//!
//! Owns their names (docs/monitoring.md) and the file that holds them. That it can't be written is a
//! warning, and a disk that hangs holds up nobody. Knows nothing of how a run goes on.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet, prometheus_text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use tokio::time::Instant;

use crate::clock;
use crate::engine::stats::{Bottleneck, CallKind, Calls, RunStats};
use crate::exit::Exit;
use crate::outcome::{Reason, Status};
use crate::storage::draft::{Draft, is_file_of};
use crate::version;

/// How often the file is written while calls are made.
const EVERY: Duration = Duration::from_secs(15);
/// How long the last writing is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// A file that is longer than that is not ours.
const LONGEST: u64 = 1 << 20;
/// The upper ends of the histogram's buckets, in milliseconds: from a server next door to `--timeout`.
const LIMITS_MS: [u64; 13] =
    [5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 20_000, 40_000];

/// How the file begins.
const OPENING: &[u8] = b"# HELP bkassoc_";

const LAST_RUN: &str = "last_run_timestamp_seconds";
const LAST_SUCCESS: &str = "last_success_timestamp_seconds";
const EXIT_CODE: &str = "exit_code";

/// Where metrics go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricsOptions {
    /// The file.
    pub path: PathBuf,
    /// What tells this job from others: the label `job`.
    pub job: String,
}

/// The file while calls are made.
#[derive(Debug)]
pub struct MetricsFile {
    job: String,
    before: Before,
    due: Instant,
    writer: Writer,
}

impl MetricsFile {
    /// Nothing is written until it is due.
    pub fn new(options: &MetricsOptions) -> Self {
        Self {
            job: options.job.clone(),
            before: Before::read(options),
            due: Instant::now() + EVERY,
            writer: Writer::start(options.path.clone()),
        }
    }

    /// Writes how the run stands, if that is due, so it may be called at any time.
    pub fn show(&mut self, stats: &RunStats) {
        if let Some(text) = self.text_if_due(stats) {
            self.writer.write(text);
        }
    }

    /// The same, while there are calls and no rows yet.
    pub fn show_calls(&mut self, calls: &Calls) {
        if self.due <= Instant::now() {
            let mut stats = RunStats::default();
            stats.calls.clone_from(calls);
            self.show(&stats);
        }
    }

    /// Waits for what is being written.
    pub fn finish(self) {
        self.writer.finish();
    }

    fn text_if_due(&mut self, stats: &RunStats) -> Option<String> {
        let now = Instant::now();
        if now < self.due {
            return None;
        }
        self.due = now + EVERY;
        Some(text(&self.job, stats, stats.calls.in_flight, self.before))
    }
}

/// Writes how a command ended.
pub fn conclude(options: &MetricsOptions, stats: &RunStats, exit: Exit) {
    let now = clock::millis() / 1_000;
    let before = Before::read(options);
    let ended = Before {
        last_run: Some(now),
        last_success: if exit == Exit::Ok { Some(now) } else { before.last_success },
        exit_code: Some(exit.code().into()),
    };
    let writer = Writer::start(options.path.clone());
    writer.write(text(&options.job, stats, 0, ended));
    writer.finish();
}

/// What is there that metrics may not take the place of: anything but metrics of ours.
pub fn stranger_at(path: &Path) -> Option<&'static str> {
    let there = std::fs::metadata(path).ok()?;
    if !there.is_file() {
        return Some("it is no regular file");
    }
    let is_ours = there.len() == 0 || is_file_of(path, OPENING);
    (!is_ours).then_some("it is there, and holds no metrics of bkassoc")
}

/// Writes texts to the file, one after the other, on a thread of its own.
#[derive(Debug)]
struct Writer {
    path: PathBuf,
    texts: Sender<String>,
    /// Ends with the thread.
    ended: Receiver<()>,
}

impl Writer {
    fn start(path: PathBuf) -> Self {
        let (texts, unwritten) = mpsc::channel::<String>();
        let (end, ended) = mpsc::channel();
        let place = path.clone();
        let write_all = move || {
            let _end = end;
            let mut warned = false;
            while let Ok(text) = unwritten.recv() {
                // Where the disk is slow, only the newest counts.
                let text = unwritten.try_iter().last().unwrap_or(text);
                let written = match stranger_at(&place) {
                    Some(what) => Err((place.clone(), what.to_owned())),
                    None => Draft::whole(&place, &text)
                        .map_err(|(file, error)| (file, error.to_string())),
                };
                if let Err((file, error)) = written
                    && !std::mem::replace(&mut warned, true)
                {
                    warn(&file, &error);
                }
            }
        };
        if let Err(error) = thread::Builder::new().spawn(write_all) {
            warn(&path, &error);
        }
        Self { path, texts, ended }
    }

    fn write(&self, text: String) {
        // A thread that could not be started was told of.
        let _ = self.texts.send(text);
    }

    fn finish(self) {
        drop(self.texts);
        if self.ended.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            warn(&self.path, &"the disk does not answer");
        }
    }
}

fn warn(path: &Path, error: &dyn fmt::Display) {
    tracing::warn!("the metrics in {} can't be written: {error}. The run goes on", path.display());
}

/// What is known of the runs before: what the file that is there says, if it is of the same job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Before {
    last_run: Option<i64>,
    last_success: Option<i64>,
    exit_code: Option<i64>,
}

impl Before {
    fn read(options: &MetricsOptions) -> Self {
        let is_ours = |file: &std::fs::Metadata| file.is_file() && file.len() < LONGEST;
        let there = std::fs::metadata(&options.path).ok().filter(is_ours);
        let text = there.and_then(|_| std::fs::read_to_string(&options.path).ok());
        text.map_or_else(Self::default, |text| Self::of(&text, &options.job))
    }

    fn of(text: &str, job: &str) -> Self {
        let job = job.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let value = |name: &str| {
            let series = format!("bkassoc_{name}{{job=\"{job}\"}} ");
            text.lines().find_map(|line| line.strip_prefix(&series)?.parse().ok())
        };
        Self {
            last_run: value(LAST_RUN),
            last_success: value(LAST_SUCCESS),
            exit_code: value(EXIT_CODE),
        }
    }
}

/// Prometheus' text format, version 0.0.4.
fn text(job: &str, stats: &RunStats, in_flight: usize, ended: Before) -> String {
    let labels = [("job".into(), job.to_owned().into())];
    let mut registry = Registry::with_prefix_and_labels("bkassoc", labels.into_iter());
    registry.register_collector(Box::new(Snapshot(families(stats, in_flight, ended))));
    let mut text = String::new();
    // Writing to a String can't fail.
    let _ = prometheus_text::encode(&mut text, &registry);
    text
}

/// All metrics at one moment.
#[derive(Debug)]
struct Snapshot(Vec<Family>);

/// The series of one name.
#[derive(Debug)]
struct Family {
    name: &'static str,
    help: &'static str,
    values: Values,
}

type Labels = Vec<(&'static str, &'static str)>;

#[derive(Debug)]
enum Values {
    /// Numbers that go up and down.
    Gauges(Vec<(Labels, i64)>),
    /// Numbers that only grow while the process lives; the names get `_total`.
    Counters(Vec<(Labels, u64)>),
    /// Likewise, in seconds.
    Seconds(Vec<(Labels, f64)>),
    /// Seconds: their sum, how many there are, and how many up to each limit from the one before on.
    Histogram(f64, u64, Vec<(f64, u64)>),
}

fn families(stats: &RunStats, in_flight: usize, ended: Before) -> Vec<Family> {
    let calls = &stats.calls;
    let gauge = |value: Option<i64>| {
        Values::Gauges(value.into_iter().map(|value| (Vec::new(), value)).collect())
    };
    let of_kind = |kind: CallKind| (vec![("kind", kind.as_str())], calls.count(kind));
    let held = |hold: Bottleneck| (vec![("by", hold.as_str())], calls.holds.of(hold).as_secs_f64());
    let holds = Bottleneck::ALL.into_iter().filter(|hold| *hold != Bottleneck::Nothing);
    let families = [
        ("rows", "Rows of the run by what became of them", Values::Gauges(rows(stats))),
        (
            "calls",
            "Calls of the process by kind",
            // No run asks the audit log.
            Values::Counters(
                CallKind::ALL
                    .into_iter()
                    .filter(|kind| *kind != CallKind::Audit)
                    .map(of_kind)
                    .collect(),
            ),
        ),
        ("call_duration_seconds", "How long the answers of the run's calls took", histogram(calls)),
        (
            "throttled",
            "Answers by which the server refused for its limit",
            Values::Counters(vec![(Vec::new(), calls.throttled)]),
        ),
        (
            "held_seconds",
            "Time in which the pace was held back, by what",
            Values::Seconds(holds.map(held).collect()),
        ),
        ("in_flight", "Calls that are not answered yet", gauge(i64::try_from(in_flight).ok())),
        (LAST_RUN, "When a command of the job last ended", gauge(ended.last_run)),
        (LAST_SUCCESS, "When a command of the job last ended with 0", gauge(ended.last_success)),
        (EXIT_CODE, "The exit code of the command that ended last", gauge(ended.exit_code)),
        (
            "build_info",
            "The version of bkassoc, and the commit where a release was built",
            Values::Gauges(vec![(build(), 1)]),
        ),
    ];
    families.into_iter().map(|(name, help, values)| Family { name, help, values }).collect()
}

/// Which bkassoc it is. Only releases know their commit.
fn build() -> Labels {
    let revision = version::COMMIT.map(|commit| ("revision", commit));
    [("version", version::VERSION)].into_iter().chain(revision).collect()
}

/// Rows by status and reason. Each status that a finished run knows has a series, so that an alert on it
/// is never without data.
fn rows(stats: &RunStats) -> Vec<(Labels, i64)> {
    let series = |status: Status, reason, count: u64| {
        let labels = vec![("status", status.as_str()), ("reason", reason)];
        (labels, i64::try_from(count).unwrap_or(i64::MAX))
    };
    let is_of = |status: Status, reason: Reason| match status {
        Status::Invalid => reason.is_of_invalid_row(),
        Status::Failed => !reason.is_of_invalid_row(),
        _ => false,
    };
    let mut rows = Vec::new();
    for status in Status::ALL {
        let mut without_reason = stats.count(status);
        for (reason, of_reason) in stats.reasons() {
            if is_of(status, reason) {
                rows.push(series(status, reason.as_str(), of_reason.count));
                without_reason = without_reason.saturating_sub(of_reason.count);
            }
        }
        rows.push(series(status, "", without_reason));
    }
    rows
}

fn histogram(calls: &Calls) -> Values {
    let (answers, took) = calls.answers();
    let within = calls.answered_within(LIMITS_MS.map(Duration::from_millis));
    let longer = answers - within.iter().sum::<u64>();
    let limits = LIMITS_MS.map(|millis| millis as f64 / 1_000.0).into_iter().zip(within);
    let buckets = limits.chain([(f64::INFINITY, longer)]).collect();
    Values::Histogram(took.as_secs_f64(), answers, buckets)
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for Family { name, help, values } in &self.0 {
            let kind = match values {
                Values::Gauges(series) if series.is_empty() => continue,
                Values::Gauges(_) => MetricType::Gauge,
                Values::Counters(_) | Values::Seconds(_) => MetricType::Counter,
                Values::Histogram(..) => MetricType::Histogram,
            };
            let mut metric = encoder.encode_descriptor(name, help, None, kind)?;
            match values {
                Values::Gauges(series) => {
                    for (labels, value) in series {
                        metric.encode_family(labels)?.encode_gauge(value)?;
                    }
                }
                Values::Counters(series) => {
                    for (labels, value) in series {
                        let mut of_labels = metric.encode_family(labels)?;
                        of_labels.encode_counter::<NoLabelSet, _, u64>(value, None)?;
                    }
                }
                Values::Seconds(series) => {
                    for (labels, value) in series {
                        let mut of_labels = metric.encode_family(labels)?;
                        of_labels.encode_counter::<NoLabelSet, _, u64>(value, None)?;
                    }
                }
                Values::Histogram(sum, count, buckets) => {
                    metric.encode_histogram::<NoLabelSet>(*sum, *count, buckets, None)?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
