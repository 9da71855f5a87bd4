//! Reads a plan.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::{COLUMNS, PlanError, PlanManifest, PlannedRow, Step, columns};
use crate::association::{Cells, Named, Row, RowError};
use crate::input::digest::Digest;
use crate::input::{RowParser, Source, digest_of};
use crate::outcome::Reason;
use crate::storage::results::writer::unguarded;

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
        let listed = Some(cell(8)).filter(|id| !id.is_empty());
        let listed = listed.map(|id| id.parse::<i64>().map_err(|_| bad(8))).transpose()?;
        let step = match (cell(1), reason, listed) {
            ("create", None, None) => Step::Create,
            ("delete", None, id) => Step::Delete(id),
            ("keep", None, Some(id)) => Step::Keep(id),
            ("none", None, None) => Step::Absent,
            ("none", Some(reason), None) => {
                let reason = Reason::parse(reason).ok_or_else(|| bad(9))?;
                Step::Refuse(reason, cell(10).to_owned())
            }
            ("carry", None, None) => Step::Carry,
            _ => return Err(bad(1)),
        };
        let parsed = match &step {
            Step::Refuse(_, message) => Err(RowError::Broken(message.as_str().into())),
            Step::Carry => Err(RowError::Broken("carried over".into())),
            Step::Create | Step::Delete(_) | Step::Keep(_) | Step::Absent => {
                let (_, parsed) = self.cells.read(ids);
                Ok(parsed.map_err(|error| error.to_string())?)
            }
        };
        let line = match cell(0) {
            "" if matches!(step, Step::Delete(Some(_)) | Step::Carry) => 0,
            line => line.parse().ok().filter(|line| *line > 0).ok_or_else(|| bad(0))?,
        };
        let file = match self.files.len() {
            0 | 1 => 0,
            _ if line == 0 => 0,
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
