//! The summary for a script.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use super::{Checked, Summary};
use crate::engine::stats::CallKind;
use crate::outcome::Status;
use crate::storage::survey::Found;
use crate::target::Target;

impl Summary<'_> {
    /// The summary for a script: one line, with the keys in the order of `docs/reference.md`. A check adds
    /// `check`.
    pub fn json(&self) -> String {
        let stats = self.stats;
        let calls = &stats.calls;
        let latency = |share| calls.latency_ms(share).map(tenths);
        let json = Json {
            schema: 1,
            target: self.target,
            shard: self.shard.map(|shard| shard.to_string()),
            rows: stats.rows(),
            created: stats.count(Status::Created),
            existed: stats.count(Status::Existed),
            recovered: stats.count(Status::Recovered),
            deleted: stats.count(Status::Deleted),
            absent: stats.count(Status::Absent),
            failed: stats.count(Status::Failed),
            invalid: stats.count(Status::Invalid),
            outstanding: stats.outstanding(),
            blank_rows: (stats.blank_rows > 0).then_some(stats.blank_rows),
            reasons: (stats.reasons().into_iter())
                .map(|(reason, stats)| (reason.as_str(), stats.count))
                .collect(),
            // No run asks the audit log.
            calls: (CallKind::ALL.into_iter().filter(|kind| *kind != CallKind::Audit))
                .map(|kind| (kind.as_str(), calls.count(kind)))
                .collect(),
            retries: calls.retries,
            throttled: calls.throttled,
            latency_ms: Latency { p50: latency(0.5), p90: latency(0.9), p99: latency(0.99) },
            elapsed_ms: stats.took().as_millis() as u64,
            rows_per_s: tenths(stats.rows_per_second()),
            exit: self.exit.code(),
            results: self.results.map(Path::to_string_lossy),
            next: self.next.as_deref(),
            error: self.error,
            warnings: self.warnings,
            scope: self.survey.map(|survey| &survey.scope),
            check: self.checked,
        };
        json_line(&json)
    }
}

/// A value as one line.
pub fn json_line(value: &impl Serialize) -> String {
    let mut line = serde_json::to_string(value).unwrap_or_default();
    line.push('\n');
    line
}

#[derive(Serialize)]
struct Json<'a> {
    schema: u32,
    target: Option<&'a Target>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shard: Option<String>,
    rows: u64,
    created: u64,
    existed: u64,
    recovered: u64,
    deleted: u64,
    absent: u64,
    failed: u64,
    invalid: u64,
    outstanding: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    blank_rows: Option<u64>,
    reasons: BTreeMap<&'static str, u64>,
    calls: BTreeMap<&'static str, u64>,
    retries: u64,
    throttled: u64,
    latency_ms: Latency,
    elapsed_ms: u64,
    rows_per_s: f64,
    exit: u8,
    results: Option<Cow<'a, str>>,
    next: Option<&'a [String]>,
    error: Option<&'a str>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    warnings: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<&'a BTreeMap<String, Found>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    check: Option<&'a Checked<'a>>,
}

#[derive(Serialize)]
struct Latency {
    p50: Option<f64>,
    p90: Option<f64>,
    p99: Option<f64>,
}

fn tenths(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}
