//! The append-only file in which a run is written down first: `RESULTS.journal`.
//!
//! Owns the format, the order of write and sync, and the lock. Knows nothing of calls or of what
//! results look like. Each line is one entry, `CHECKSUM JSON`: first the head, then marks, outcomes and
//! syncs, last the end. Two promises rest on it:
//!
//! * no row is sent before a mark that covers it is on disk ([`Journal::covers`]);
//! * after a failed write or sync nothing more is appended: what the disk holds stays readable.

pub mod disk;
pub mod replay;

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::association::Cells;
use crate::exit::Halt;
use crate::input::digest::Digest;
use crate::outcome::{Outcome, Record};
use crate::storage::links::followed;
use crate::storage::manifest::{Head, Undone};
use disk::Disk;

/// Outcomes reach the disk at least this often.
pub const SYNC_EVERY: Duration = Duration::from_millis(200);

/// What can go wrong with a journal.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file can't be written or synced. Nothing more is appended after it.
    #[error("{}: {error}: the run stops, and the same command goes on when that is mended", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The file can't be read.
    #[error("{}: can't be read: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// There is no journal, and outcomes can't be shown either.
    #[error("stdout can't be written: {0}: rows may have been created after the last one shown")]
    Unseen(io::Error),
    /// What has to be done before the first delete was not done, so that none went out.
    #[error("{}", .0.message)]
    NotBegun(Halt),
    /// Another process holds it.
    #[error("{}: held by {}", path.display(), known(holder.as_ref()))]
    Held {
        /// The file.
        path: PathBuf,
        /// The process that holds it; `None` before it has begun.
        holder: Option<Holder>,
    },
    /// It is damaged before the last point known to be on disk.
    #[error(
        "{}: line {line} is damaged, and later lines are known to have been written: the disk lost \
         what it had confirmed. Restore the file, or start anew with --fresh",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The damaged line, from 1.
        line: u64,
    },
    /// It is no journal, or one of another version.
    #[error("{}: not a journal of this version of bkassoc: {what}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What was found.
        what: String,
    },
}

/// The process that holds a journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Host name.
    pub host: String,
    /// Process id.
    pub pid: u32,
    /// When it opened the journal, RFC 3339.
    pub since: String,
    /// The same in milliseconds since 1970. Version 0.1.0 did not write it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<i64>,
}

fn known(holder: Option<&Holder>) -> String {
    holder.map_or_else(
        || "another process, whose run has not begun: it asks what names mean".to_owned(),
        |Holder { host, pid, since, .. }| format!("process {pid} on {host} since {since}"),
    )
}

/// A line of the file, as it is read.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Entry {
    Head(Box<Head>),
    Opened(Holder),
    Mark(MarkEntry),
    Outcome(OutcomeEntry),
    /// What is to be said of a row beside its outcome, which is there already.
    Noted(u64, String),
    /// Bytes known to be on disk.
    Synced(u64),
    /// The process ended in order: of the marked rows without an outcome, only these may have been
    /// sent.
    Closed(Vec<u64>),
    /// This row's association was seen, and its delete goes out. Version 0.1.0 wrote it, and did not wait for
    /// the disk.
    Deleting(u64),
    /// These rows' associations were seen under these ids, and their deletes go out once this is on disk.
    Deletes(Vec<(u64, i64)>),
    /// These rows were in doubt when the process began, or were to be there already, and are sent.
    Resent(Vec<u64>),
    Undone(Option<Undone>),
    End(EndEntry),
}

/// Says that every row is settled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndEntry {
    /// The number of rows.
    pub rows: u64,
    /// The inputs they came from.
    pub inputs: Vec<Digest>,
    /// When the run ended, RFC 3339.
    pub finished_at: String,
}

/// Says that rows up to `through` (exclusive) may be sent from now on.
#[derive(Debug, Serialize, Deserialize)]
struct MarkEntry {
    through: u64,
    /// The largest association id seen so far.
    #[serde(rename = "floor")]
    id_watermark: i64,
    /// Eight hex digits for each row, from the previous mark's `through` on.
    rows: String,
}

#[derive(Debug, Deserialize)]
struct OutcomeEntry {
    row: u64,
    #[serde(default)]
    file: u32,
    line: u64,
    cells: Cells,
    #[serde(rename = "end")]
    outcome: Outcome,
}

/// [`OutcomeEntry`] as it is written, borrowing everything.
#[derive(Serialize)]
struct OutcomeLine<'a> {
    row: u64,
    #[serde(skip_serializing_if = "is_zero")]
    file: u32,
    line: u64,
    cells: &'a Cells,
    #[serde(rename = "end")]
    outcome: &'a Outcome,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Line<'a> {
    Head(&'a Head),
    Opened(&'a Holder),
    Mark(&'a MarkEntry),
    Outcome(OutcomeLine<'a>),
    Noted(u64, &'a str),
    Synced(u64),
    Closed(&'a [u64]),
    Deletes(&'a [(u64, i64)]),
    Resent(&'a [u64]),
    Undone(Option<&'a Undone>),
    End(&'a EndEntry),
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape that serde calls")]
fn is_zero(n: &u32) -> bool {
    *n == 0
}

impl From<OutcomeEntry> for Record {
    fn from(entry: OutcomeEntry) -> Self {
        Self {
            ordinal: entry.row,
            file: entry.file,
            line: entry.line,
            cells: entry.cells,
            outcome: entry.outcome,
        }
    }
}

/// The eight lower-case hex digits that stand before a line's body.
fn checksum(body: &[u8]) -> [u8; 8] {
    let mut checksum = crc32fast::hash(body);
    let mut digits = [0; 8];
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(checksum & 0xf) as usize];
        checksum >>= 4;
    }
    digits
}

/// The journal's path beside results.
pub fn path_for(results: &Path) -> PathBuf {
    followed(results).with_added_extension("journal")
}

/// A journal open for appending, held by this process alone.
pub struct Journal {
    path: PathBuf,
    disk: Box<dyn Disk>,
    /// Lines that are rendered and not yet written.
    buffer: Vec<u8>,
    /// The length of the file, as written.
    written: u64,
    /// Marks, and rows to be sent again, that no sync covers yet: the file's length after each, and the row
    /// through which marks go there.
    unsynced_marks: VecDeque<(u64, u64)>,
    marked_through: u64,
    durable_through: u64,
    durable_bytes: u64,
    dirty_since: Option<Instant>,
    syncing: Option<u64>,
    broken: bool,
    /// Whether a delete's record was written or is about to be.
    deletes: bool,
    before_deletes: Option<BeforeDeletes>,
}

/// What is done before the first delete's record is written, and so before any delete goes out.
pub type BeforeDeletes = Box<dyn FnOnce() -> Result<(), Halt> + Send>;

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Journal {
    /// Takes over a file that is locked by this process and holds `written` bytes of which marks
    /// through `marked_through` are already in it.
    pub fn new(path: PathBuf, disk: Box<dyn Disk>, written: u64, marked_through: u64) -> Self {
        Self {
            path,
            disk,
            buffer: Vec::with_capacity(64 * 1024),
            written,
            // A mark that was read back counts only after the next sync: it may be in the system's cache
            // and not on the disk.
            unsynced_marks: VecDeque::from_iter(
                (marked_through > 0).then_some((written, marked_through)),
            ),
            marked_through,
            durable_through: 0,
            durable_bytes: 0,
            dirty_since: (marked_through > 0).then(Instant::now),
            syncing: None,
            broken: false,
            deletes: false,
            before_deletes: None,
        }
    }

    /// Sets what is done before the first delete's record is written. Where it fails, none is.
    pub fn before_deletes(&mut self, first: BeforeDeletes) {
        self.before_deletes = Some(first);
    }

    /// Writes the first line of a new file.
    pub fn write_head(&mut self, head: &Head) {
        self.push(&Line::Head(head));
    }

    /// Writes which process holds the file from now on.
    pub fn write_holder(&mut self, holder: &Holder) {
        self.push(&Line::Opened(holder));
    }

    /// Says that rows through `through` (exclusive) may be sent once this is on disk.
    /// `fingerprints` are those of the rows since the previous mark; `id_watermark` is the largest
    /// association id seen so far.
    pub fn mark(&mut self, fingerprints: &[u32], id_watermark: i64) {
        use std::fmt::Write as _;
        let through = self.marked_through + fingerprints.len() as u64;
        let mut rows = String::with_capacity(fingerprints.len() * 8);
        for fingerprint in fingerprints {
            let _ = write!(rows, "{fingerprint:08x}");
        }
        self.push(&Line::Mark(&MarkEntry { through, id_watermark, rows }));
        self.marked_through = through;
        self.unsynced_marks.push_back((self.end(), through));
    }

    /// Writes a row's outcome.
    pub fn outcome(&mut self, record: &Record) {
        self.push(&Line::Outcome(OutcomeLine {
            row: record.ordinal,
            file: record.file,
            line: record.line,
            cells: &record.cells,
            outcome: &record.outcome,
        }));
    }

    /// Says more of a row that has its outcome already.
    pub fn noted(&mut self, ordinal: u64, text: &str) {
        self.push(&Line::Noted(ordinal, text));
    }

    /// Says that this process sends nothing more, and which rows without an outcome may have been sent.
    pub fn close(&mut self, sent: &[u64]) {
        self.push(&Line::Closed(sent));
    }

    /// Says that associations of rows were seen under these ids, and that their deletes may go out, once this
    /// is on disk. Gives the point in the file that [`Self::is_on_disk`] is to be asked for.
    pub fn deletes(&mut self, rows: &[(u64, i64)]) -> u64 {
        self.deletes = true;
        self.push(&Line::Deletes(rows));
        self.awaited()
    }

    /// The same of rows which were in doubt when this process began, or were to be there already: they may be
    /// sent.
    pub fn resent(&mut self, ordinals: &[u64]) -> u64 {
        self.push(&Line::Resent(ordinals));
        self.awaited()
    }

    /// The end of the file, for which something waits.
    fn awaited(&mut self) -> u64 {
        self.unsynced_marks.push_back((self.end(), self.marked_through));
        self.end()
    }

    /// Whether everything up to a point in the file is on disk.
    pub fn is_on_disk(&self, end: u64) -> bool {
        end <= self.durable_bytes
    }

    /// Says which undo undoes this run, or that none does after all.
    pub fn undone(&mut self, undone: Option<&Undone>) {
        self.push(&Line::Undone(undone));
    }

    /// Says that every row has its outcome.
    pub fn end_of_run(&mut self, end: &EndEntry) {
        self.push(&Line::End(end));
    }

    /// Whether a write or a sync failed, so that later lines are not in the file.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The row through which (exclusive) marks have been written, on disk or not.
    pub fn marked_through(&self) -> u64 {
        self.marked_through
    }

    /// Whether a mark that covers this row is on disk.
    pub fn covers(&self, ordinal: u64) -> bool {
        ordinal < self.durable_through
    }

    /// Writes the rendered lines.
    pub fn flush(&mut self) -> Result<(), JournalError> {
        self.refuse_if_broken()?;
        if self.buffer.is_empty() {
            return Ok(());
        }
        if self.deletes
            && let Some(first) = self.before_deletes.take()
            && let Err(halt) = first()
        {
            self.broken = true;
            return Err(JournalError::NotBegun(halt));
        }
        if let Err(error) = self.disk.append(&self.buffer) {
            return Err(self.broke(error));
        }
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// When the next sync is due: at once if rows wait for a mark.
    pub fn sync_due(&self) -> Option<Instant> {
        if self.broken || self.syncing.is_some() {
            return None;
        }
        match (self.dirty_since, self.unsynced_marks.is_empty()) {
            (Some(since), true) => Some(since + SYNC_EVERY),
            (Some(since), false) => Some(since),
            (None, _) => None,
        }
    }

    /// Starts a sync of everything written so far. Writing may go on meanwhile. The caller gives the
    /// result to [`Self::synced`].
    pub fn start_sync(&mut self) -> Result<BoxFuture<'static, io::Result<()>>, JournalError> {
        self.flush()?;
        self.syncing = Some(self.written);
        self.dirty_since = None;
        Ok(self.disk.sync())
    }

    /// Notes the result of a sync.
    pub fn synced(&mut self, result: io::Result<()>) -> Result<(), JournalError> {
        let through = self.syncing.take().unwrap_or(0);
        // A failed sync may have dropped the pages for good: the next one would succeed and lie.
        result.map_err(|error| self.broke(error))?;
        self.durable_bytes = self.durable_bytes.max(through);
        while let Some(&(end, rows)) = self.unsynced_marks.front() {
            if end > through {
                break;
            }
            self.durable_through = self.durable_through.max(rows);
            self.unsynced_marks.pop_front();
        }
        let dirty_since = self.dirty_since;
        self.push(&Line::Synced(through));
        self.dirty_since = dirty_since;
        Ok(())
    }

    /// Writes and syncs everything, and waits for it.
    pub async fn sync_all(&mut self) -> Result<(), JournalError> {
        let sync = self.start_sync()?;
        let result = sync.await;
        self.synced(result)?;
        self.flush()
    }

    fn end(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    fn push(&mut self, line: &Line<'_>) {
        if self.broken {
            return;
        }
        let start = self.buffer.len();
        self.buffer.extend_from_slice(b"00000000 ");
        let body = start + 9;
        serde_json::to_writer(&mut self.buffer, line).expect("a journal line is plain data");
        let checksum = checksum(&self.buffer[body..]);
        self.buffer[start..start + 8].copy_from_slice(&checksum);
        self.buffer.push(b'\n');
        self.dirty_since.get_or_insert_with(Instant::now);
    }

    fn refuse_if_broken(&self) -> Result<(), JournalError> {
        if self.broken {
            return Err(JournalError::Unwritable {
                path: self.path.clone(),
                error: io::Error::other("an earlier write failed"),
            });
        }
        Ok(())
    }

    fn broke(&mut self, error: io::Error) -> JournalError {
        self.broken = true;
        JournalError::Unwritable { path: self.path.clone(), error }
    }
}

#[cfg(test)]
mod tests;
