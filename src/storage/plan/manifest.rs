//! `PLAN.run.json`: what a plan was made from.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::PlanError;
use crate::input::digest::{self, Digest};
use crate::storage::manifest::{self, Head, Unread};

/// `PLAN.run.json`: what a plan was made from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlanManifest {
    /// What is planned: the run as it would begin.
    #[serde(flatten)]
    pub head: Head,
    /// The inputs with their digests.
    pub digests: Vec<Digest>,
    /// When the last question was answered, RFC 3339.
    pub planned_at: String,
    /// Rows of the inputs. The plan may have more lines.
    pub rows: u64,
    /// Inputs without a row, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub empty: Vec<String>,
    /// Rows of blank cells in the inputs, which have no line.
    pub blank_rows: u64,
    /// Lines by action.
    pub counts: BTreeMap<String, u64>,
    /// Refused rows by reason.
    pub reasons: BTreeMap<String, u64>,
    /// Lines by model association and action.
    pub associations: BTreeMap<String, BTreeMap<String, u64>>,
    /// Calls that carrying it out takes at least.
    pub calls: u64,
    /// How many seconds these take at the rate that was given; null where that is unlimited.
    pub seconds: Option<u64>,
    /// Of the plan, lower-case hex.
    pub plan_sha256: String,
}

impl PlanManifest {
    /// Reads what stands beside a plan. `None`: nothing.
    pub fn read(plan: &Path) -> Result<Option<Self>, PlanError> {
        let path = manifest::path_for(plan);
        manifest::read(&path, |read: &Self| &read.head).map_err(|unread| match unread {
            Unread::Refused(error) => PlanError::Unreadable { path, what: error.to_string() },
            Unread::Foreign(what) => PlanError::NoPlan { path, what },
        })
    }

    /// Reads what stands beside a plan that has to be there.
    pub fn of(plan: &Path) -> Result<Self, PlanError> {
        Self::read(plan)?.ok_or_else(|| PlanError::NoPlan {
            path: plan.to_owned(),
            what: "it has no run.json".to_owned(),
        })
    }

    /// How many lines the plan has.
    pub fn lines(&self) -> u64 {
        self.counts.values().sum()
    }

    /// Whether carrying it out would change anything, or leave a row undone.
    pub fn has_work(&self) -> bool {
        ["create", "delete", "none"].iter().any(|action| self.count(action, None) > 0)
    }

    /// How many of its lines have this action; of a model association, where one is given.
    pub fn count(&self, action: &str, of: Option<&str>) -> u64 {
        let counts = of.map_or(Some(&self.counts), |name| self.associations.get(name));
        counts.and_then(|counts| counts.get(action)).copied().unwrap_or_default()
    }

    /// Whether the plan was made from these inputs, by their bytes.
    pub fn is_of(&self, digests: &[Digest]) -> bool {
        digest::are_same(&self.digests, digests)
    }
}
