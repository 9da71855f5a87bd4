//! What the process that finished a run did over time: `history` of `run.json`.
//!
//! Plain data. Knows nothing of how it is taken or shown.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Samples of the same length, in order, and what they come to. Times are in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// How long the process worked.
    pub elapsed_ms: u64,
    /// What one sample spans; the last may be shorter.
    pub every_ms: u64,
    /// Rows settled in each.
    pub rows: Vec<u64>,
    /// The most calls in flight that were seen in each.
    pub in_flight: Vec<u64>,
    /// Calls by kind.
    pub calls: BTreeMap<String, u64>,
    /// Calls made again.
    pub retries: u64,
    /// Answers by which the server refused for its limit.
    pub throttled: u64,
    /// How long what held the pace back.
    pub held_ms: BTreeMap<String, u64>,
    /// How long answers took; `None` where none came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<Latency>,
}

/// How long answers took.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Half of them took no longer.
    pub p50_ms: f64,
    /// Nine of ten took no longer.
    pub p90_ms: f64,
    /// All but one of a hundred took no longer.
    pub p99_ms: f64,
    /// The upper ends of ranges, ascending.
    pub limits_ms: Vec<u64>,
    /// Answers in each range; the last count is of those beyond all limits.
    pub counts: Vec<u64>,
}
