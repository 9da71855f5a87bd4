//! The file a person reads: one line for each row of input, in input order.
//!
//! Owns columns and formats, and turns a journal into results. The summary is taken from what is written
//! here, and rows in are compared with rows out.

pub mod reader;
pub mod writer;

use std::io::{self, Write};
use std::iter::Peekable;
use std::path::{Path, PathBuf};

use rustc_hash::FxHashMap;

use crate::association::Column;
use crate::options::Format;
use crate::outcome::{Record, Status};
use crate::storage::draft::{Draft, DraftError};
use crate::storage::journal::disk::folder_of;
use crate::storage::journal::{JournalError, replay};
use crate::storage::manifest::Head;
use crate::storage::sort::{Sorted, Sorter};
use writer::Writer;

/// The columns that all results have, in order. What else they have is their [`Layout`].
pub const COLUMNS: [&str; 14] = [
    "line",
    "obj_asst_id",
    "inst_id",
    "asst_inst_id",
    "biz_id",
    "status",
    "association_id",
    "reason",
    "retryable",
    "code",
    "message",
    "attempts",
    "request_id",
    "finished_at",
];

/// The columns behind [`COLUMNS`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Layout<'a> {
    /// Some of [`Column::BESIDE_IDS`], in order: those in which any row says something.
    pub columns: &'a [Column],
    /// Input names, in order; empty for a single input. `file` comes last where there are several.
    pub files: &'a [String],
}

impl<'a> Layout<'a> {
    /// The results of a run.
    pub fn of(head: &'a Head) -> Self {
        Self { columns: &head.columns, files: &head.files }
    }

    /// Results of rows of ids alone.
    pub fn of_files(files: &'a [String]) -> Self {
        Self { columns: &[], files }
    }

    /// The names of these columns.
    fn names(&self) -> impl Iterator<Item = &'static str> {
        let file = (self.files.len() > 1).then_some("file");
        self.columns.iter().map(|column| column.name()).chain(file)
    }
}

/// What can go wrong with results.
#[derive(Debug, thiserror::Error)]
pub enum ResultsError {
    /// The file can't be written.
    #[error("{}: {error}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// The journal can't be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A row in is no line out, or two lines. This is a bug.
    #[error(
        "row {expected} of the input is not the next line of the results, row {found} is: this is a bug; the journal is kept"
    )]
    NotConserved {
        /// The next row of the input, from 0.
        expected: u64,
        /// The next row of the results.
        found: u64,
    },
    /// The file can't be read, or is no results file.
    #[error("{}{}: {what}", path.display(), line.map(|line| format!(", line {line}")).unwrap_or_default())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The line, if one is at fault.
        line: Option<u64>,
        /// What is wrong, and what to do.
        what: String,
    },
}

impl ResultsError {
    /// Whether a line is at fault, so that the lines after it can still be read.
    pub const fn is_of_a_line(&self) -> bool {
        matches!(self, Self::Unreadable { line: Some(_), .. })
    }
}

/// How well a line claims an id, best first: an answer that named it (0) before one that was lost (1),
/// then the place in the input.
type ClaimRank = (u8, u64);

/// The outcomes of a journal, in input order.
pub struct Outcomes {
    sorted: Peekable<Sorted>,
    /// The line whose claim counts, for each id that a `recovered` line claims.
    claims: FxHashMap<i64, ClaimRank>,
    journal: PathBuf,
    folder: PathBuf,
}

impl Outcomes {
    /// Sorts the outcomes of a journal by their place in the input.
    pub fn of_journal(journal: &Path) -> Result<Self, ResultsError> {
        let folder = folder_of(journal).to_owned();
        let unwritable = |error| ResultsError::Unwritable { path: folder.clone(), error };
        let mut sorter = Sorter::new(&folder).map_err(unwritable)?;
        let mut failed = None;
        let mut claims = FxHashMap::default();
        replay::outcomes(journal, |row, body| {
            if let Err(error) = sorter.push(row, body) {
                failed.get_or_insert(error);
            }
            if let Some(id) = replay::claim(body, &[Status::Recovered]) {
                claims.insert(id, (u8::MAX, u64::MAX));
            }
        })?;
        if let Some(error) = failed {
            return Err(unwritable(error));
        }
        if !claims.is_empty() {
            replay::outcomes(journal, |row, body| {
                for (rank, status) in (0..).zip([Status::Created, Status::Recovered]) {
                    if let Some(id) = replay::claim(body, &[status])
                        && let Some(best) = claims.get_mut(&id)
                    {
                        *best = (rank, row).min(*best);
                    }
                }
            })?;
        }
        let sorted = sorter.sorted().map_err(unwritable)?.peekable();
        Ok(Self { sorted, claims, journal: journal.to_owned(), folder })
    }

    /// Makes an id `created` or `recovered` on one line only. Two lines of the same association may both
    /// have been found after a crash, and what a rerun finds may be what another line of the parent run
    /// created. A `created` line keeps the claim, else the first line does.
    fn demote(&self, record: &mut Record) {
        let outcome = &mut record.outcome;
        if let (Status::Created | Status::Recovered, Some(id)) =
            (outcome.status, outcome.association_id)
            && self.claims.get(&id).is_some_and(|(_, row)| *row != record.ordinal)
        {
            outcome.status = Status::Existed;
        }
    }
}

impl Outcomes {
    /// What was noted of a row after its outcome stands behind that.
    fn add_notes(&mut self, record: &mut Record) {
        let note = |next: &io::Result<(u64, Box<[u8]>)>| {
            let (row, body) = next.as_ref().ok()?;
            replay::note(body).filter(|_| *row == record.ordinal)
        };
        while let Some(text) = self.sorted.peek().and_then(note) {
            let message = &mut record.outcome.message;
            if !message.is_empty() {
                message.push_str("; ");
            }
            message.push_str(&text);
            self.sorted.next();
        }
    }
}

impl Iterator for Outcomes {
    type Item = Result<Record, ResultsError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (row, body) = match self.sorted.next()? {
            Ok(item) => item,
            Err(error) => {
                return Some(Err(ResultsError::Unwritable { path: self.folder.clone(), error }));
            }
        };
        let Some(mut record) = replay::record(&body) else {
            let what = format!("the outcome of row {row} can't be read");
            return Some(Err(JournalError::Foreign { path: self.journal.clone(), what }.into()));
        };
        self.demote(&mut record);
        self.add_notes(&mut record);
        Some(Ok(record))
    }
}

/// Writes records to a draft that replaces `path` once it is whole and on disk, and returns its SHA-256
/// in lower-case hex. `each` sees every written record. After an error there is no draft, and `path` is unchanged.
pub fn write(
    path: &Path,
    format: Format,
    layout: Layout<'_>,
    records: impl IntoIterator<Item = Result<Record, ResultsError>>,
    each: impl FnMut(&Record),
) -> Result<String, ResultsError> {
    let draft = Draft::of(path).map_err(unwritable)?;
    let sha256 = write_to(draft.file(), path, format, layout, records, each)?;
    draft.put_in_place().map_err(unwritable)?;
    Ok(sha256)
}

/// Writes records to `out`, which messages call `path`, and returns the SHA-256 of the bytes.
pub fn write_to(
    out: impl Write,
    path: &Path,
    format: Format,
    layout: Layout<'_>,
    records: impl IntoIterator<Item = Result<Record, ResultsError>>,
    mut each: impl FnMut(&Record),
) -> Result<String, ResultsError> {
    let unwritable = |error| ResultsError::Unwritable { path: path.to_owned(), error };
    let mut writer = Writer::new(out, format, layout).map_err(unwritable)?;
    for record in records {
        let record = record?;
        writer.write(&record).map_err(unwritable)?;
        each(&record);
    }
    let (_, sha256) = writer.finish().map_err(unwritable)?;
    Ok(sha256)
}

/// Lets records through as long as each row of the input comes once and in order. A missing, repeated or
/// extra one is an error, which ends it.
pub fn conserved(
    records: impl IntoIterator<Item = Result<Record, ResultsError>>,
    rows: u64,
) -> impl Iterator<Item = Result<Record, ResultsError>> {
    let mut expected = 0;
    let mut records = records.into_iter().fuse();
    std::iter::from_fn(move || {
        let next = records.next();
        let found = match &next {
            None if expected == rows => return None,
            None => u64::MAX,
            Some(Ok(record)) => record.ordinal,
            Some(Err(_)) => return next,
        };
        if found != expected || expected == rows {
            // Nothing comes after an error.
            expected = rows;
            records.by_ref().for_each(drop);
            return Some(Err(ResultsError::NotConserved { expected, found }));
        }
        expected += 1;
        next
    })
}

/// Writes a small file whole, as [`write()`] does results.
pub fn write_whole(path: &Path, text: &str) -> Result<(), ResultsError> {
    Draft::whole(path, text).map_err(unwritable)
}

fn unwritable((path, error): DraftError) -> ResultsError {
    ResultsError::Unwritable { path, error }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;
    use crate::association::Cells;
    use crate::outcome::Outcome;
    use crate::storage::journal::Journal;

    fn record(ordinal: u64) -> Record {
        let outcome = Outcome::open(Status::NotAttempted, String::new());
        Record { ordinal, file: 0, line: ordinal + 2, cells: Cells::default(), outcome }
    }

    #[test]
    fn an_id_is_claimed_by_the_line_that_created_it_else_by_the_first_that_found_it() {
        use Status::{Created, Existed, Recovered};
        for (found, written) in [
            ([Recovered, Recovered, Existed], [Recovered, Existed, Existed]),
            ([Created, Recovered, Existed], [Created, Existed, Existed]),
            ([Recovered, Created, Recovered], [Existed, Created, Existed]),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("r.csv.journal");
            let file = std::sync::Arc::new(File::create(&path).unwrap());
            let mut journal = Journal::new(path.clone(), Box::new(file), 0, 0);
            for (ordinal, status) in (0..).zip(found) {
                let outcome = Outcome::good(status, 7, 1, 1);
                journal.outcome(&Record { outcome, ..record(ordinal) });
            }
            journal.flush().unwrap();
            let outcomes = Outcomes::of_journal(&path).unwrap();
            let statuses: Vec<_> = outcomes.map(|record| record.unwrap().outcome.status).collect();
            assert_eq!(statuses, written);
        }
    }

    #[test]
    fn what_can_t_be_written_whole_leaves_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.csv");
        std::fs::write(&path, "before").unwrap();
        for last in [
            Ok(record(5)),
            Err(ResultsError::Unwritable { path: path.clone(), error: io::Error::other("full") }),
        ] {
            let records = [Ok(record(0)), last];
            write(&path, Format::Csv, Layout::default(), conserved(records, 2), |_| {})
                .unwrap_err();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), "before");
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no draft");
        }
        let in_the_way = folder.path().join("folder");
        std::fs::create_dir(&in_the_way).unwrap();
        write_whole(&in_the_way, "{}").unwrap_err();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "no draft");
    }
}
