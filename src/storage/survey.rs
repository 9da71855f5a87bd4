//! What was there when a run was planned, and what its input does not name of it.
//!
//! Owns how that is written down, in `run.json` and in the journal. Knows nothing of how it is found out.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::options::Prune;
use crate::storage::parent::Parent;

/// A survey of model associations.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Survey {
    /// Which associations go that the input does not name.
    pub prune: Prune,
    /// The run whose creates may go, or with which the counts are compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Parent>,
    /// When the last list was complete, RFC 3339.
    pub listed_at: String,
    /// What was found, by model association: these are the scope.
    pub scope: BTreeMap<String, Found>,
}

/// What was found of a model association.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Found {
    /// How many associations there are.
    pub there: u64,
    /// Whether these are only those of the sources that the input names: the server lists no others.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub of_sources: bool,
    /// How many of them the input does not name.
    pub unnamed: u64,
    /// How many are to be created.
    pub create: u64,
    /// How many are to be deleted.
    pub delete: u64,
    /// How many more go than that: of associations that the server holds more than once, rows delete all.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub doubles: u64,
    /// How many are there, as the input has it.
    pub keep: u64,
    /// How many rows are refused.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub refused: u64,
    /// How many of these go, as `prune` says.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub pruned: u64,
    /// How many of these would go, and stay: rows of the input are not understood, and one of them may mean
    /// any.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub withheld: u64,
    /// Why they stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withheld_for: Option<String>,
    /// How many there were for the run before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape that serde calls")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}
