//! What is checked of results without a server, and in which order: the file against `run.json` and against
//! its own rules, the run's lineage, and the inputs where they are given.
//!
//! Knows nothing of flags or of how anything is shown. [`super::live`] asks the server.

use std::path::{Path, PathBuf};

use super::against::Against;
use super::rows::{RowAudit, Rows};
use super::{FindingKind, Findings, Spot};
use crate::engine::stats::RunStats;
use crate::exit::{Exit, Halt};
use crate::input::{Source, digest_of};
use crate::storage::journal::disk::folder_of;
use crate::storage::manifest::Manifest;
use crate::storage::results::ResultsError;
use crate::storage::results::reader::Reader;

/// Results that are to be checked.
pub struct Offline {
    /// The file.
    pub results: PathBuf,
    /// The run that wrote it, and those whose rows it settled again, as far as they are to be found.
    pub lineage: Vec<(PathBuf, Manifest)>,
    /// Why there is no manifest.
    pub lost: Option<String>,
    /// Whether the server is asked afterwards.
    pub is_live: bool,
    /// Input names, in order; empty for a single input.
    pub files: Vec<String>,
    /// The inputs, where they are given.
    pub against: Option<Against>,
}

impl Offline {
    /// Checks it all, in this order. `show` is called now and then.
    pub fn audit(mut self, show: &mut dyn FnMut(&RunStats)) -> Result<(Findings, Rows), Halt> {
        let mut findings = Findings::new(self.files);
        if let Some(what) = self.lost {
            findings.say(FindingKind::NoRunJson, Spot::Whole, what);
        }
        let results = &self.results;
        let manifest = self.lineage.first().map(|(_, manifest)| manifest);
        if let Some(manifest) = manifest {
            let is = digest_of(&Source::Path(results.clone()))?.sha256;
            let was = &manifest.results_sha256;
            if is != *was {
                let what = format!("its SHA-256 is {is}, and run.json says {was}");
                findings.say(FindingKind::Changed, Spot::Whole, what);
            }
        }
        if let Some(undone) = Manifest::undone_in(&self.lineage) {
            findings.say(FindingKind::Undone, Spot::Whole, undone);
        }
        // The server tells whether the rows are there, whatever became of them.
        if let (Some(lost), false) = (Manifest::lost_in(&self.lineage), self.is_live) {
            findings.say(FindingKind::NoParent, Spot::Whole, lost);
        }
        let mut reader = Reader::open(results, &[])?;
        let mut rows = rows(manifest, results, reader.says_more_than_ids())?;
        rows.stats().expected = manifest.map(|found| found.counts.values().sum());
        while let Some(record) = reader.next() {
            let record = match record {
                Ok(record) => record,
                Err(ResultsError::Unreadable { line: Some(line), what, .. }) => {
                    findings.say(FindingKind::Unreadable, Spot::Line(line), what);
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let file = reader.files().get(record.file as usize).map(String::as_str);
            let place =
                rows.take(&record, file, &mut findings).map_err(|error| temporary(&error))?;
            if let Some(against) = &mut self.against {
                against.take(place, &record, &mut findings)?;
            }
            show(rows.stats());
        }
        if let Some(against) = self.against {
            against.finish(&mut findings)?;
        }
        let rows = rows.finish(manifest, &mut findings).map_err(|error| temporary(&error))?;
        Ok((findings, rows))
    }
}

/// What does not fit into memory goes beside the results, or, where that can't be written, to where
/// the system keeps such things.
fn rows(manifest: Option<&Manifest>, results: &Path, may_delete: bool) -> Result<RowAudit, Halt> {
    let work = manifest.map(|manifest| manifest.head.work);
    RowAudit::new(work, may_delete, folder_of(results))
        .or_else(|_| RowAudit::new(work, may_delete, &std::env::temp_dir()))
        .map_err(|error| temporary(&error))
}

fn temporary(error: &std::io::Error) -> Halt {
    Halt::new(Exit::Unwritable, format!("a temporary file for sorting: {error}"))
}
