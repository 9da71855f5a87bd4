//! A journal that is open: locked, read back, and ready to be gone on with.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;

use crate::clock::{millis, now};
use crate::engine::stats::{CallKind, RunStats};
use crate::exit::{Exit, Halt};
use crate::outcome::Status;
use crate::storage::history::History;
use crate::storage::journal::disk::{self, Disk};
use crate::storage::journal::replay::{self, Replay};
use crate::storage::journal::{self, Holder, Journal, JournalError};
use crate::storage::manifest::{Head, Work};
use crate::storage::results::ResultsError;

/// A journal that is open, and what it says.
pub(crate) struct OpenJournal {
    pub(crate) journal: Journal,
    pub(crate) replay: Replay,
    /// Rows settled by earlier processes are counted in.
    pub(crate) stats: RunStats,
    pub(crate) head: Head,
    /// Whether an earlier process had begun it.
    pub(crate) resumes: bool,
    /// What this process did over time, once it has made its calls.
    pub(crate) history: Option<History>,
    /// Whether an earlier process may have sent a delete.
    deletes_before: bool,
    /// Whether it had found out that there is a call that deletes.
    asked_before: bool,
    /// Held as long as this file is open.
    pub(crate) lock: Option<Arc<File>>,
}

impl OpenJournal {
    /// The journal of a run that keeps none.
    pub(crate) fn nowhere(head: Head) -> Self {
        Self {
            journal: Journal::new("-".into(), Box::new(Nowhere), 0, 0),
            replay: Replay::default(),
            stats: RunStats::default(),
            head,
            resumes: false,
            history: None,
            deletes_before: false,
            asked_before: false,
            lock: None,
        }
    }

    /// Writes down that this process goes on from here.
    pub(crate) fn begin(&mut self) -> Result<(), JournalError> {
        if !self.resumes {
            self.journal.write_head(&self.head);
        }
        self.journal.write_holder(&holder());
        self.journal.flush()?;
        let path = self.journal.path();
        disk::sync_folder_of(path)
            .map_err(|error| JournalError::Unwritable { path: path.to_owned(), error })
    }

    /// Counts the rows anew where not all that was settled could be written: what a person is told is
    /// what was written down.
    pub(crate) fn count_what_was_written(&mut self) {
        if !self.journal.is_broken() {
            return;
        }
        let carried = self.stats.settled() - self.stats.settled_here();
        let mut stats = self.stats.clone().without_rows();
        let written = replay::replay(self.journal.path(), |record| {
            if stats.settled() < carried { stats.carry(&record) } else { stats.add(&record) }
        });
        if written.is_ok() {
            stats.unsettled = self.stats.rows().saturating_sub(stats.settled());
            stats.input_ended = self.stats.input_ended;
            self.stats = stats;
        }
    }

    /// Whether the server may hold anything of this run, or have lost anything to it: else the journal is
    /// worth nothing, and would only bind the next try to a target that may have been wrong.
    pub(crate) fn may_have_written(&self) -> bool {
        let calls = &self.stats.calls;
        if self.head.work == Work::Undo {
            // What has no call that deletes had none for a process before that did not ask.
            let before = self.deletes_before && (self.asked_before || !calls.lacks_delete);
            let unrefused = calls.count(CallKind::Delete) > calls.refused_deletes;
            return before || unrefused || self.stats.count(Status::Deleted) > 0;
        }
        let writes = [CallKind::Create, CallKind::Batch, CallKind::Delete];
        self.resumes || writes.into_iter().any(|kind| calls.count(kind) > 0)
    }
}

/// Opens and locks a journal. One that is new begins with this head.
pub(crate) fn open_journal(results: &Path, head: &Head) -> Result<OpenJournal, Halt> {
    let path = journal::path_for(results);
    let unwritable = |error| JournalError::Unwritable { path: path.clone(), error };
    // Nothing was begun: that the run stops and goes on is not what has to be told.
    let no_place = |error| {
        let folder = disk::folder_of(&path).display();
        let message = format!(
            "{}: {error}: results and their journal are written to {folder}, which has to be there and \
             to be writable",
            results.display()
        );
        Halt::new(Exit::Unwritable, message)
    };
    let Some(file) = disk::open_locked(&path).map_err(no_place)? else {
        return Err(held(&path).into());
    };
    let mut stats = RunStats::default();
    let replay = replay::replay(&path, |record| stats.carry(&record))?;
    let resumes = replay.head.is_some();
    let head = replay.head.clone().unwrap_or_else(|| head.clone());
    file.set_len(replay.good_bytes).map_err(unwritable)?;
    let file = Arc::new(file);
    let disk = Box::new(Arc::clone(&file));
    let journal = Journal::new(path.clone(), disk, replay.good_bytes, replay.marked_through);
    let (deletes_before, asked_before) = (replay.deletes, replay.asked_before_deletes);
    let lock = Some(file);
    Ok(OpenJournal {
        journal,
        replay,
        stats,
        head,
        resumes,
        history: None,
        deletes_before,
        asked_before,
        lock,
    })
}

pub(crate) fn remove(journal: &Path) -> Result<(), ResultsError> {
    let unwritable = |error| ResultsError::Unwritable { path: journal.to_owned(), error };
    std::fs::remove_file(journal).map_err(unwritable)?;
    disk::sync_folder_of(journal).map_err(unwritable)
}

pub(crate) fn held(path: &Path) -> JournalError {
    JournalError::Held { path: path.to_owned(), holder: replay::holder(path) }
}

fn holder() -> Holder {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    Holder { host, pid: std::process::id(), since: now(), at: Some(millis()) }
}

struct Nowhere;

impl Disk for Nowhere {
    fn append(&mut self, _bytes: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn sync(&self) -> BoxFuture<'static, io::Result<()>> {
        std::future::ready(Ok(())).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delete_of_a_version_that_did_not_ask_was_none_where_there_is_no_call_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let results = folder.path().join("r.csv");
        let head = Head { work: Work::Undo, ..Head::of_import() };
        let line = "8ddb2d63 {\"deleting\":0}\n";
        let mut lines = Vec::new();
        {
            let mut opened = open_journal(&results, &head).unwrap_or_else(|_| panic!("free"));
            opened.begin().unwrap();
            lines.extend(std::fs::read(opened.journal.path()).unwrap());
        }
        lines.extend(line.as_bytes());
        let path = journal::path_for(&results);
        std::fs::write(&path, lines).unwrap();
        let may_have_written = |lacks_delete| {
            let mut opened = open_journal(&results, &head).unwrap_or_else(|_| panic!("free"));
            opened.stats.calls.lacks_delete = lacks_delete;
            opened.may_have_written()
        };
        assert_eq!([false, true].map(may_have_written), [true, false]);
        {
            let mut opened = open_journal(&results, &head).unwrap_or_else(|_| panic!("free"));
            opened.journal.deletes(&[(0, 7)]);
            opened.journal.flush().unwrap();
        }
        assert_eq!([false, true].map(may_have_written), [true, true], "it had asked");
    }
}
