//! What a run is: its head, which opens the journal, and `RESULTS.run.json`, the audit record of a
//! finished run.
//!
//! Owns which differences between two heads make them different runs. Holds no secret.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::association::{Column, Row};
use crate::input::digest::{self, Digest};
use crate::input::{InputError, Source, digest_of};
use crate::options::Shard;
use crate::storage::abilities::KnownServer;
use crate::storage::history::History;
use crate::storage::links::followed;
pub use crate::storage::parent::Parent;
use crate::storage::sharding::Sharding;
use crate::storage::survey::Survey;
use crate::target::Target;

/// The version of journal and `run.json`.
pub const FORMAT: u32 = 1;

/// What a run does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Work {
    /// Creates what the rows say.
    Import,
    /// Settles chosen rows of a results file again.
    Rerun,
    /// Deletes what a results file says was created.
    Undo,
    /// Carries a plan out.
    Apply,
    /// Makes the CMDB what the rows say.
    Sync,
}

impl Work {
    /// Whether it creates; else it only deletes.
    pub const fn creates(self) -> bool {
        matches!(self, Self::Import | Self::Rerun | Self::Apply | Self::Sync)
    }

    /// The command's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Import => "import",
            Self::Rerun => "rerun",
            Self::Undo => "undo",
            Self::Apply => "apply",
            Self::Sync => "sync",
        }
    }
}

/// What is known of a run before its first row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// [`FORMAT`]
    pub format: u32,
    /// The tool's version.
    pub tool: String,
    /// What is done.
    pub work: Work,
    /// Where.
    pub target: Target,
    /// As which app.
    pub app_code: Option<String>,
    /// As which user.
    pub username: Option<String>,
    /// The options that decide what a row means, by flag name, as text.
    pub options: BTreeMap<String, String>,
    /// All options that a rerun takes over, by flag name.
    #[serde(default)]
    pub settings: BTreeMap<String, Vec<String>>,
    /// The inputs, as they were named.
    pub inputs: Vec<String>,
    /// Input names, in order; empty for a single input.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
    /// What rows say beside ids: the columns of the results that say it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<Column>,
    /// The SHA-256 of the plan that the run carries out, where it made one for itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// What was there when that was made, and what the input does not name of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub survey: Option<Survey>,
    /// Which of the job's rows are this run's, where they are not all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<Sharding>,
    /// The shards whose results these are, in order, where they were merged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shards: Vec<Parent>,
    /// RFC 3339.
    pub started_at: String,
    /// Of which run this one settles rows again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Parent>,
}

/// An undo that began to delete what a run created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undone {
    /// Its results' path, as it was named.
    pub by: String,
    /// When it began, RFC 3339.
    pub at: String,
}

impl std::fmt::Display for Undone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "undone by {} since {}", self.by, self.at)
    }
}

impl Head {
    /// That of an import, for tests: each says only what it is about.
    #[cfg(test)]
    pub(crate) fn of_import() -> Self {
        Self {
            format: FORMAT,
            tool: String::new(),
            work: Work::Import,
            target: Target::new(crate::target::Entrance::Esb, "http://h", "0").unwrap(),
            app_code: None,
            username: None,
            options: BTreeMap::new(),
            settings: BTreeMap::new(),
            inputs: Vec::new(),
            files: Vec::new(),
            columns: Vec::new(),
            plan: None,
            survey: None,
            shard: None,
            shards: Vec::new(),
            started_at: String::new(),
            parent: None,
        }
    }

    /// What tells this run from all others, and stays the same over its processes.
    pub fn key(&self) -> String {
        let Self { work, target, inputs, started_at, .. } = self;
        let (work, endpoint, inputs) = (work.as_str(), &target.endpoint, inputs.join("\n"));
        let shard = self.shard.as_ref().map(|sharding| format!("\n{}", sharding.shard));
        format!("{work}\n{endpoint}\n{started_at}\n{inputs}{}", shard.unwrap_or_default())
    }

    /// The same of all runs whose results these are: of the shards, where they were merged.
    pub fn keys(&self) -> Vec<String> {
        let count = self.shards.len() as u32;
        if count == 0 {
            return vec![self.key()];
        }
        let key = |(index, run): (u32, &Parent)| {
            let shard = Some(Sharding::undecided(Shard { index, count }));
            let started_at = run.started_at.clone().unwrap_or_default();
            Self { shard, shards: Vec::new(), started_at, ..self.clone() }.key()
        };
        (1..).zip(&self.shards).map(key).collect()
    }

    /// Why this version can't go by what stands under this head, if it can't.
    pub fn foreign(&self) -> Option<String> {
        (self.format != FORMAT).then(|| {
            format!("bkassoc {} wrote it in format {}, not {FORMAT}", self.tool, self.format)
        })
    }

    /// Where a row of this run's input stands. A row of results stands at the line of the file that it
    /// first came from.
    pub fn place_of(&self, row: &Row) -> String {
        if row.line == 0 {
            return format!("{}, the delete of {}", self.inputs.join(", "), row.cells.triple());
        }
        let at = |names: &[String]| match names.get(row.file as usize) {
            Some(name) => format!("{name}, line {}", row.line),
            None => format!("line {}", row.line),
        };
        match self.work {
            Work::Import | Work::Sync => at(&self.inputs),
            Work::Rerun | Work::Undo | Work::Apply => {
                format!("{}, the row of {}", self.inputs.join(", "), at(&self.files))
            }
        }
    }

    /// Why the same results path can't go on under `other`: the first thing that differs, or
    /// nothing. Who asks, when, and how fast do not matter.
    pub fn difference(&self, other: &Self) -> Option<String> {
        let said = |name: &str, was: &str, is: &str| Some(format!("{name} was {was}, and is {is}"));
        if self.work != other.work {
            return said("the command", self.work.as_str(), other.work.as_str());
        }
        if !other.target.continues(&self.target) {
            return said("the target", &self.target.to_string(), &other.target.to_string());
        }
        let names: std::collections::BTreeSet<_> =
            self.options.keys().chain(other.options.keys()).collect();
        for name in names {
            let (was, is) = (self.options.get(name), other.options.get(name));
            if was != is {
                let text = |v: Option<&String>| v.map_or("not given".to_owned(), Clone::clone);
                return said(&format!("--{name}"), &text(was), &text(is));
            }
        }
        let shard = |head: &Self| head.shard.as_ref().map(|sharding| sharding.shard);
        if shard(self) != shard(other) {
            let text = |head| shard(head).map_or("not given".to_owned(), |shard| shard.to_string());
            return said("--shard", &text(self), &text(other));
        }
        if self.inputs.len() != other.inputs.len() {
            return said("the input", &self.inputs.join(" "), &other.inputs.join(" "));
        }
        None
    }
}

/// `RESULTS.run.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// What was known before the first row.
    #[serde(flatten)]
    pub head: Head,
    /// The inputs with their digests.
    pub digests: Vec<Digest>,
    /// RFC 3339.
    pub finished_at: String,
    /// Rows by status, as written.
    pub counts: BTreeMap<String, u64>,
    /// Failed rows by reason, as written.
    pub reasons: BTreeMap<String, u64>,
    /// Rows of blank cells in the inputs, which have no line.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub blank_rows: u64,
    /// How the process ended.
    pub exit: u8,
    /// What it did over time; none before version 0.2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<History>,
    /// What its calls showed of the server; none before version 0.2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<KnownServer>,
    /// Of the results file, lower-case hex.
    pub results_sha256: String,
    /// Of what ended well in each 256 lines of them, in order; none before version 0.2.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub seals: Vec<String>,
    /// By what it is undone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undone: Option<Undone>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape that serde calls")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// The manifest's path beside results.
pub fn path_for(results: &Path) -> PathBuf {
    followed(results).with_added_extension("run.json")
}

/// Why what stands beside a file can't be used.
pub(super) enum Unread {
    /// The system refused.
    Refused(io::Error),
    /// It is another version's, or no manifest.
    Foreign(String),
}

/// Reads a `run.json`; `None` where there is none. `head` gives the head of what is read.
pub(super) fn read<T: DeserializeOwned>(
    path: &Path,
    head: impl FnOnce(&T) -> &Head,
) -> Result<Option<T>, Unread> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Unread::Refused(error)),
    };
    let read: T =
        serde_json::from_slice(&text).map_err(|error| Unread::Foreign(error.to_string()))?;
    head(&read).foreign().map_or(Ok(Some(read)), |what| Err(Unread::Foreign(what)))
}

/// The text that is written there.
pub(super) fn to_json(manifest: &impl Serialize) -> String {
    let mut text = serde_json::to_string_pretty(manifest).expect("a manifest is plain data");
    text.push('\n');
    text
}

/// What goes wrong with a manifest.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Can't be read.
    #[error("{}: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Is no manifest.
    #[error("{}: not a run.json of this version of bkassoc: {what}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What was found.
        what: String,
    },
    /// The results beside it are not all that was written, or more.
    #[error(
        "{} has {rows} rows, and its run.json says that {written} were written: restore it. (Cells may \
         be mended; rows may not be taken away or added)",
        results.display()
    )]
    OtherRows {
        /// The results.
        results: PathBuf,
        /// How many rows they have.
        rows: u64,
        /// How many the run wrote.
        written: u64,
    },
}

impl Manifest {
    /// Reads the manifest beside results; `None` where there is none.
    pub fn read(results: &Path) -> Result<Option<Self>, ManifestError> {
        let path = path_for(results);
        read(&path, |read: &Self| &read.head).map_err(|unread| match unread {
            Unread::Refused(error) => ManifestError::Unreadable { path, error },
            Unread::Foreign(what) => ManifestError::Foreign { path, what },
        })
    }

    /// This run, which wrote `results`, the run whose rows it settled again, and so on back to the
    /// import, as far as each is to be found: where its results are, and its manifest. Behind merged results
    /// come the shards'.
    pub fn lineage(self, results: &Path) -> Vec<(PathBuf, Self)> {
        let next = |(path, run): &(PathBuf, Self)| run.settled_again(path);
        let runs = std::iter::successors(Some((results.to_owned(), self)), next);
        let with_shards = |(path, run): (PathBuf, Self)| {
            let shards = run.head.shards.iter();
            let shards: Vec<_> = shards.filter_map(|shard| Self::found(shard, &path)).collect();
            std::iter::once((path, run)).chain(shards)
        };
        runs.flat_map(with_shards).collect()
    }

    /// The shard whose rows a lineage is of, where they are not all rows of the input.
    pub fn sharding_in(lineage: &[(PathBuf, Self)]) -> Option<&Sharding> {
        let whole = |(_, run): &&(PathBuf, Self)| run.head.shards.is_empty();
        lineage.iter().take_while(whole).find_map(|(_, run)| run.head.shard.as_ref())
    }

    /// By what a run of a lineage was undone: what it created is gone, and later ones carry it over.
    pub fn undone_in(lineage: &[(PathBuf, Self)]) -> Option<String> {
        lineage.iter().find_map(|(path, run)| {
            Some(format!("{} was {}", path.display(), run.undone.as_ref()?))
        })
    }

    /// What a lineage ends at, where that is no import: the run before it is not to be found, and nobody
    /// knows whether that was undone.
    pub fn lost_in(lineage: &[(PathBuf, Self)]) -> Option<String> {
        let (path, last) = lineage.last().filter(|(_, last)| last.head.work == Work::Rerun)?;
        let before = last.head.parent.as_ref()?;
        Some(format!(
            "{} carries rows of {}, and that run is not to be found there, nor beside it: whether its rows \
             were undone can't be known. Put {1} back, with its run.json, or ask the server with `bkassoc \
             verify {0} --live`",
            path.display(),
            before.results
        ))
    }

    /// Where this one is a rerun: the run whose rows it settled again.
    fn settled_again(&self, results: &Path) -> Option<(PathBuf, Self)> {
        let parent = self.head.parent.as_ref().filter(|_| self.head.work == Work::Rerun)?;
        Self::found(parent, results)
    }

    /// A run that one at `results` builds on, where it was or beside that, unless another stands there by now.
    fn found(parent: &Parent, results: &Path) -> Option<(PathBuf, Self)> {
        let named = PathBuf::from(&parent.results);
        let beside = results.with_file_name(named.file_name().unwrap_or_default());
        let is_it = |found: &Self| parent.started_at.as_ref() == Some(&found.head.started_at);
        [named, beside].into_iter().find_map(|path| {
            let found = Self::read(&path).ok().flatten().filter(is_it)?;
            Some((path, found))
        })
    }

    /// The file's text.
    pub fn to_json(&self) -> String {
        to_json(self)
    }

    /// Refuses results with more or fewer rows than were written: cells may be mended, but what a row
    /// came to is known of all of them or of none.
    pub fn refuse_other_than(&self, rows: u64, results: &Path) -> Result<(), ManifestError> {
        let written = self.counts.values().sum();
        if rows == written {
            return Ok(());
        }
        Err(ManifestError::OtherRows { results: results.to_owned(), rows, written })
    }

    /// Whether these are the results that the run wrote, by their bytes.
    pub fn wrote(&self, results: &Path) -> Result<bool, InputError> {
        Ok(digest_of(&Source::Path(results.to_owned()))?.sha256 == self.results_sha256)
    }

    /// Whether a finished run had the same inputs, by their bytes.
    pub fn has_inputs(&self, digests: &[Digest]) -> bool {
        digest::are_same(&self.digests, digests)
    }
}
