//! The plan: the rows of a run with their ids, in a file that is whole on disk before the first write.
//!
//! Owns the file's columns and its `run.json`, which says what the plan was made from and what its hash
//! is. What a name means is decided before, and what a row comes to afterwards: neither is known here.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::draft::{Draft, DraftError};
use super::links::followed;
use super::manifest::{self, Head, Unread};
use super::results::writer::{guarded, unguarded};
use crate::association::{Cells, Column, Named, Row, RowError};
use crate::clock;
use crate::input::digest::{self, Digest, Hashing};
use crate::input::{RowParser, Source, digest_of};
use crate::outcome::Reason;

/// The columns, in order. `asked` is what the row's own `action` says.
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

/// How many model associations are counted by name, and how long a name may be for it, in bytes.
const MOST_NAMES: usize = 10_000;
const LONGEST_NAME: usize = 256;
/// Under which name the others are counted.
const OTHER_NAMES: &str = "(others)";

/// What is to be done for a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is created.
    Create,
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
            Self::Refuse(..) | Self::Carry => "none",
        }
    }
}

/// A row and what is to be done for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedRow {
    /// The row. Where it is to be created, it says an association.
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
    /// Rows of the inputs.
    pub rows: u64,
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

    /// Whether the plan was made from these inputs, by their bytes.
    pub fn is_of(&self, digests: &[Digest]) -> bool {
        digest::are_same(&self.digests, digests)
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

/// Writes a plan.
pub struct Writer {
    draft: Draft,
    path: PathBuf,
    table: csv::Writer<Hashing<File>>,
    has_files: bool,
    /// Whether any row had a name.
    names: bool,
    /// Whether any had an action.
    actions: bool,
    counted: Counted,
}

#[derive(Default)]
struct Counted {
    rows: u64,
    counts: BTreeMap<String, u64>,
    reasons: BTreeMap<String, u64>,
    associations: BTreeMap<String, BTreeMap<String, u64>>,
}

impl Writer {
    /// A draft with nothing but a header. What is there stays until it is whole. `head` names the inputs.
    pub fn new(path: &Path, head: &Head) -> Result<Self, PlanError> {
        let unwritable = |error| PlanError::Unwritable { path: path.to_owned(), error };
        let draft = Draft::of(path)?;
        let file = draft.file().try_clone().map_err(unwritable)?;
        let mut table =
            csv::WriterBuilder::new().buffer_capacity(1 << 16).from_writer(Hashing::new(file));
        let has_files = head.files.len() > 1;
        table.write_record(columns(has_files)).map_err(|error| unwritable(error.into()))?;
        Ok(Self {
            draft,
            path: path.to_owned(),
            table,
            has_files,
            names: false,
            actions: false,
            counted: Counted::default(),
        })
    }

    /// Writes the next line. `file` is the name of the row's input.
    pub fn write(&mut self, planned: &PlannedRow, file: &str) -> Result<(), PlanError> {
        let PlannedRow { row, step } = planned;
        let says = |column| !row.cells.get(column).is_empty();
        self.names |= says(Column::Source) || says(Column::Target);
        self.actions |= says(Column::Action);
        self.counted.add(row, step);
        let line = row.line.to_string();
        let (reason, message) = match step {
            Step::Refuse(reason, message) => (reason.as_str(), message.as_str()),
            Step::Create | Step::Carry => ("", ""),
        };
        let cell = |column| guarded(row.cells.get(column));
        let cells = [
            line.into(),
            step.word().into(),
            cell(Column::ObjAsstId),
            cell(Column::InstId),
            cell(Column::AsstInstId),
            cell(Column::BizId),
            cell(Column::Source),
            cell(Column::Target),
            "".into(),
            reason.into(),
            guarded(message),
            cell(Column::Action),
            guarded(file),
        ];
        let cells = cells.iter().take(columns(self.has_files).len());
        let written = self.table.write_record(cells.map(|cell| cell.as_bytes()));
        written.map_err(|error| self.unwritable(error.into()))
    }

    /// Puts the plan in place, and then its `run.json`. `head` is that of the run that is planned, `rate` in
    /// calls a second.
    pub fn finish(
        self,
        mut head: Head,
        digests: Vec<Digest>,
        blank_rows: u64,
        rate: Option<f64>,
    ) -> Result<PlanManifest, PlanError> {
        let Self { draft, path, table, names, actions, counted, .. } = self;
        let unwritable = |error| PlanError::Unwritable { path: path.clone(), error };
        let hashing = table.into_inner().map_err(|error| unwritable(error.into_error()))?;
        let (_, plan_sha256) = hashing.finish();
        head.columns = match (names, actions) {
            (false, false) => Vec::new(),
            (true, false) => vec![Column::Source, Column::Target],
            (false, true) => vec![Column::Action],
            (true, true) => Column::BESIDE_IDS.to_vec(),
        };
        let Counted { rows, counts, reasons, associations } = counted;
        let calls = counts.get(Step::Create.word()).copied().unwrap_or_default();
        let manifest = PlanManifest {
            head,
            digests,
            planned_at: clock::now(),
            rows,
            blank_rows,
            counts,
            reasons,
            associations,
            calls,
            seconds: rate.map(|rate| (calls as f64 / rate).ceil() as u64),
            plan_sha256,
        };
        draft.put_in_place()?;
        Draft::whole(&manifest::path_for(&path), &manifest::to_json(&manifest))?;
        Ok(manifest)
    }

    fn unwritable(&self, error: io::Error) -> PlanError {
        PlanError::Unwritable { path: self.path.clone(), error }
    }
}

impl Counted {
    fn add(&mut self, row: &Row, step: &Step) {
        self.rows += 1;
        *self.counts.entry(step.word().to_owned()).or_default() += 1;
        if let Step::Refuse(reason, _) = step {
            *self.reasons.entry(reason.as_str().to_owned()).or_default() += 1;
        }
        let name = row.cells.get(Column::ObjAsstId).trim();
        let has_room = self.associations.len() < MOST_NAMES && name.len() <= LONGEST_NAME;
        let is_known = self.associations.contains_key(name);
        let name = if is_known || has_room { name } else { OTHER_NAMES };
        let counts = self.associations.entry(name.to_owned()).or_default();
        *counts.entry(step.word().to_owned()).or_default() += 1;
    }
}

fn columns(has_files: bool) -> &'static [&'static str] {
    &COLUMNS[..COLUMNS.len() - usize::from(!has_files)]
}

/// Reads a plan that is whole and unchanged.
pub struct Reader {
    path: PathBuf,
    table: csv::Reader<File>,
    record: csv::StringRecord,
    cells: RowParser,
    files: Vec<String>,
    ordinal: u64,
    digest: Digest,
}

impl Reader {
    /// The plan's own digest.
    pub const fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Opens the plan at `path`, which must be the one that `manifest` tells of.
    pub fn open(path: &Path, manifest: &PlanManifest) -> Result<Self, PlanError> {
        let unreadable = |what: String| PlanError::Unreadable { path: path.to_owned(), what };
        let digest = digest_of(&Source::Path(path.to_owned())).map_err(|error| {
            PlanError::NoPlan { path: path.to_owned(), what: error.to_string() }
        })?;
        if digest.sha256 != manifest.plan_sha256 {
            return Err(PlanError::Changed { path: path.to_owned() });
        }
        let files = manifest.head.files.clone();
        let mut table = csv::ReaderBuilder::new()
            .buffer_capacity(1 << 16)
            .from_path(path)
            .map_err(|error| unreadable(error.to_string()))?;
        let header = table.headers().map_err(|error| unreadable(error.to_string()))?;
        if header != columns(files.len() > 1) {
            return Err(PlanError::NoPlan {
                path: path.to_owned(),
                what: format!("its columns are {}", header.iter().collect::<Vec<_>>().join(", ")),
            });
        }
        Ok(Self {
            path: path.to_owned(),
            table,
            record: csv::StringRecord::new(),
            cells: RowParser::new(None, false),
            files,
            ordinal: 0,
            digest,
        })
    }

    fn line(&mut self) -> Result<PlannedRow, String> {
        let cell = |place: usize| unguarded(self.record.get(place).unwrap_or_default());
        let bad = |place: usize| format!("column {}: {:?}", COLUMNS[place], cell(place));
        let ids = [cell(2), cell(3), cell(4), cell(5)];
        let named =
            Named { source: cell(6).into(), target: cell(7).into(), action: cell(11).into() };
        let cells = Cells::with_names(ids, named);
        let reason = Some(cell(9)).filter(|reason| !reason.is_empty());
        let (step, parsed) = match (cell(1), reason) {
            ("create", None) => {
                let (_, parsed) = self.cells.read(ids);
                (Step::Create, Ok(parsed.map_err(|error| error.to_string())?))
            }
            ("none", None) => (Step::Carry, Err(RowError::Broken("carried over".into()))),
            ("none", Some(reason)) => {
                let reason = Reason::parse(reason).ok_or_else(|| bad(9))?;
                let message = cell(10).to_owned();
                let error = RowError::Broken(message.as_str().into());
                (Step::Refuse(reason, message), Err(error))
            }
            _ => return Err(bad(1)),
        };
        let line = cell(0).parse().map_err(|_| bad(0))?;
        let file = match self.files.len() {
            0 | 1 => 0,
            _ => self.files.iter().position(|name| name == cell(12)).ok_or_else(|| bad(12))?,
        };
        let row = Row { ordinal: self.ordinal, file: file as u32, line, cells, parsed };
        self.ordinal += 1;
        Ok(PlannedRow { row, step })
    }
}

impl Iterator for Reader {
    type Item = Result<PlannedRow, PlanError>;

    fn next(&mut self) -> Option<Self::Item> {
        let read = match self.table.read_record(&mut self.record) {
            Ok(false) => return None,
            Ok(true) => {
                let at = self.record.position().map_or(0, csv::Position::line);
                self.line().map_err(|what| format!("line {at}: {what}"))
            }
            Err(error) => Err(error.to_string()),
        };
        Some(read.map_err(|what| PlanError::Unreadable { path: self.path.clone(), what }))
    }
}

#[cfg(test)]
mod tests;
