//! The plan: the rows of a run with their ids, in a file that is whole on disk before the first write.
//!
//! Owns the file's columns and its `run.json`, which says what the plan was made from and what its hash
//! is. What a name means is decided before, and what a row comes to afterwards: neither is known here.

mod manifest;
mod writer;
mod reader;

use std::io;
use std::path::{Path, PathBuf};

use super::draft::DraftError;
use super::links::followed;
use crate::association::Row;
use crate::outcome::Reason;

pub use manifest::PlanManifest;
pub use reader::Reader;
pub use writer::Writer;

/// The columns, in order. `asked` is what the row's own `action` says. A delete of what the input does not
/// name has no `line`.
const COLUMNS: [&str; 13] = [
    "line",
    "action",
    "obj_asst_id",
    "inst_id",
    "asst_inst_id",
    "biz_id",
    "source",
    "target",
    "association_id",
    "reason",
    "message",
    "asked",
    "file",
];

/// What is to be done for a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is created.
    Create,
    /// It is deleted. The id under which it was listed, where that was done.
    Delete(Option<i64>),
    /// Nothing: it was there when that was listed, under this id.
    Keep(i64),
    /// Nothing: it is to be gone, and was not there when that was listed.
    Absent,
    /// Nothing: it is refused.
    Refuse(Reason, String),
    /// Nothing: another run settled it, and it is carried over.
    Carry,
}

impl Step {
    /// The word in the column `action`.
    const fn word(&self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Delete(_) => "delete",
            Self::Keep(_) => "keep",
            Self::Absent | Self::Refuse(..) => "none",
            Self::Carry => "carry",
        }
    }

    /// Under which word it is counted: not with those that are refused, where nothing has to be done.
    pub(crate) const fn counted_as(&self) -> &'static str {
        match self {
            Self::Absent => "absent",
            step => step.word(),
        }
    }

    /// The id under which it was listed.
    const fn listed(&self) -> Option<i64> {
        match self {
            Self::Delete(id) => *id,
            Self::Keep(id) => Some(*id),
            Self::Create | Self::Absent | Self::Refuse(..) | Self::Carry => None,
        }
    }
}

/// A row and what is to be done for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedRow {
    /// The row; with line 0 where the input does not name it. Unless it is refused or carried over, it says an
    /// association.
    pub row: Row,
    /// What is to be done.
    pub step: Step,
}

/// What can go wrong with a plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// It can't be written.
    #[error("{}: {error}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// Another process is making it.
    #[error("{}: another process is making this plan", path.display())]
    Held {
        /// The file.
        path: PathBuf,
    },
    /// It can't be read.
    #[error("{}: {what}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said, or what is wrong.
        what: String,
    },
    /// There is none.
    #[error(
        "{} is no plan, or not a whole one: {what}. `bkassoc plan INPUT -o PLAN` makes one", path.display()
    )]
    NoPlan {
        /// The file.
        path: PathBuf,
        /// What was found.
        what: String,
    },
    /// It is not as it was written.
    #[error(
        "{} was changed since it was made: its run.json has another SHA-256. A plan is not edited: mend the \
         input, and make it anew",
        path.display()
    )]
    Changed {
        /// The file.
        path: PathBuf,
    },
}

impl From<DraftError> for PlanError {
    fn from((path, error): DraftError) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock => Self::Held { path },
            _ => Self::Unwritable { path, error },
        }
    }
}

/// Whether a plan may be put there: nothing is lost with what stands there now. A crash may leave a plan
/// without its `run.json`.
pub fn may_go_to(path: &Path) -> bool {
    match PlanManifest::read(path) {
        Ok(Some(_)) => true,
        Err(_) => false,
        Ok(None) => !path.exists() || is_headed(path),
    }
}

/// Whether a file begins as a plan does.
fn is_headed(path: &Path) -> bool {
    let reader = csv::ReaderBuilder::new().has_headers(false).from_path(path);
    let first = reader.ok().and_then(|mut reader| reader.records().next()?.ok());
    first.is_some_and(|first| [true, false].iter().any(|has_files| first == *columns(*has_files)))
}

/// The plan that a run makes for itself stands beside its results.
pub fn path_for(results: &Path) -> PathBuf {
    followed(results).with_added_extension("plan.csv")
}

/// A folder for the plan of a run that is kept nowhere. It goes with this value.
pub struct Scratch(tempfile::TempDir);

impl Scratch {
    /// A new one.
    pub fn new() -> Result<Self, PlanError> {
        let folder = tempfile::tempdir();
        folder
            .map(Self)
            .map_err(|error| PlanError::Unwritable { path: std::env::temp_dir(), error })
    }

    /// Where the plan is.
    pub fn plan(&self) -> PathBuf {
        self.0.path().join("plan.csv")
    }
}

fn columns(has_files: bool) -> &'static [&'static str] {
    &COLUMNS[..COLUMNS.len() - usize::from(!has_files)]
}

#[cfg(test)]
mod tests;
