//! What a sync may delete.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::OptionError;

/// Which associations go that the input does not name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Prune {
    /// None.
    #[default]
    None,
    /// Those that an earlier run created.
    Previous,
    /// Those of the sources that the input names.
    Sources,
    /// All in scope.
    All,
}

impl Prune {
    /// The words for them.
    pub const WORDS: [(&'static str, Self); 4] = [
        ("none", Self::None),
        ("previous", Self::Previous),
        ("sources", Self::Sources),
        ("all", Self::All),
    ];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Previous => "previous",
            Self::Sources => "sources",
            Self::All => "all",
        }
    }
}

/// What a sync rules over, and what it may delete there.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Pruning {
    /// Which associations go.
    pub prune: Prune,
    /// Model associations in scope besides those of the input.
    pub scope: Vec<String>,
    /// The results of an earlier run.
    pub previous: Option<PathBuf>,
}

/// How many associations may be deleted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MaxDelete {
    /// That many.
    Count(u64),
    /// That many in a hundred of those that are there.
    Percent(f64),
}

impl MaxDelete {
    /// The most that may go where `there` are.
    pub fn of(self, there: u64) -> u64 {
        match self {
            Self::Count(count) => count,
            Self::Percent(percent) => (there as f64 * percent / 100.0) as u64,
        }
    }
}

impl FromStr for MaxDelete {
    type Err = OptionError;

    fn from_str(text: &str) -> Result<Self, OptionError> {
        let parsed = match text.strip_suffix('%') {
            Some(number) => (number.parse().ok())
                .filter(|percent| (0.0..=100.0).contains(percent))
                .map(Self::Percent),
            None => text.parse().ok().map(Self::Count),
        };
        parsed.ok_or(OptionError::MaxDelete)
    }
}

impl fmt::Display for MaxDelete {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => count.fmt(f),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

/// What has to be so before anything is sent.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct GuardOptions {
    /// How many associations may go: of each model association, and of all. Without it a tenth, once there
    /// are ten.
    pub max_delete: Option<MaxDelete>,
    /// Whether an input without rows is meant.
    pub allow_empty: bool,
    /// Whether it is known that there is less than half of what the run before saw.
    pub allow_shrunk: bool,
}
