//! How a check's rows get to where they go.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::association::Column;
use crate::check::Records;
use crate::config::Output;
use crate::engine::stats::{ReasonStats, RunStats};
use crate::options::Format;
use crate::outcome::Record;
use crate::storage::results::{self, Layout, ResultsError};

/// Where the rows go, on a thread that may block.
pub(super) struct Delivery {
    pub(super) output: Output,
    pub(super) format: Format,
    pub(super) files: Vec<String>,
    /// What rows say beside ids.
    pub(super) columns: Vec<Column>,
    pub(super) folder: PathBuf,
    /// Set when the rows are wanted no more.
    pub(super) stop: Arc<AtomicBool>,
}

impl Delivery {
    /// Writes the rows, and counts what was written.
    pub(super) fn of(self, mut records: Records) -> Result<(RunStats, ReasonStats), ResultsError> {
        let mut stats = RunStats::default();
        let mut each = |record: &Record| stats.add(record);
        let rows = records.by_ref().map(|record| {
            if self.stop.load(Ordering::Relaxed) {
                return Err(unwritable(&self.folder)(io::ErrorKind::Interrupted.into()));
            }
            record.map_err(unwritable(&self.folder))
        });
        let layout = Layout { columns: &self.columns, files: &self.files };
        match &self.output {
            Output::File(path) => {
                results::write(path, self.format, layout, rows, each)?;
            }
            Output::Nowhere => {
                for record in rows {
                    each(&record?);
                }
            }
            Output::Stdout => {
                let stdout = io::stdout().lock();
                let name = Path::new("stdout");
                results::write_to(stdout, name, self.format, layout, rows, each)?;
            }
        }
        Ok((stats, records.repeats))
    }
}

fn unwritable(path: &Path) -> impl FnOnce(io::Error) -> ResultsError {
    let path = path.to_owned();
    move |error| ResultsError::Unwritable { path, error }
}
