//! The run that is undone, finished or not, and the note in it that it is.

use std::path::{Path, PathBuf};

use super::open_journal::open_journal;
use super::parent::{self, ParentRun};
use super::runtime::runtime;
use super::source::{Deletes, RowSource, deletes_of};
use crate::config;
use crate::exit::Halt;
use crate::report::summary::grouped;
use crate::storage::journal::{self, replay};
use crate::storage::manifest::{self, Head, Manifest, Parent, Undone, Work};
use crate::storage::path_state::{self, PathState};
use crate::storage::results;

/// The run that is undone.
pub(crate) enum UndoneRun {
    Finished(ParentRun),
    /// By its journal, whose first line says what it is.
    Unfinished {
        results: PathBuf,
        head: Box<Head>,
        /// By what it was undone before.
        undone: Option<Undone>,
    },
}

impl UndoneRun {
    pub(crate) fn find(path: &Path) -> Result<Self, Halt> {
        let found = if matches!(path_state::look(path)?, PathState::Unfinished) {
            let replay = replay::replay(&journal::path_for(path), |_| {})?;
            let none = || Halt::usage(format!("{}: nothing was begun there", path.display()));
            let head = Box::new(replay.head.ok_or_else(none)?);
            Self::Unfinished { results: path.to_owned(), head, undone: replay.undone }
        } else {
            Self::Finished(ParentRun::find(path)?)
        };
        if found.head().is_some_and(|head| head.work == Work::Undo) {
            return Err(Halt::usage(
                "these are the results of an undo: to go on with one, give its own command again",
            ));
        }
        Ok(found)
    }

    fn head(&self) -> Option<&Head> {
        match self {
            Self::Finished(run) => run.manifest().map(|manifest| &manifest.head),
            Self::Unfinished { head, .. } => Some(head),
        }
    }

    fn results(&self) -> &Path {
        match self {
            Self::Finished(run) => &run.results,
            Self::Unfinished { results, .. } => results,
        }
    }

    /// Without a manifest nothing says of which CMDB the ids are.
    pub(crate) fn refuse_ids_of_nowhere(&self) -> Result<(), Halt> {
        if self.head().is_some() {
            return Ok(());
        }
        Err(Halt::usage(format!(
            "there is no {}: nothing says of which CMDB these ids are. Give --allow-other-target to delete \
             them at the one that you name",
            manifest::path_for(self.results()).display()
        )))
    }

    /// What it used is what the undo uses by itself.
    pub(crate) fn inherited(&self) -> Option<config::Parent> {
        match self {
            Self::Finished(run) => run.inherited(),
            Self::Unfinished { results, head, .. } => {
                Some(parent::inherited(head, journal::path_for(results)))
            }
        }
    }

    /// Who can't be told that it is undone.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let Self::Finished(run) = self else { return Vec::new() };
        let lost = Manifest::lost_in(&run.lineage).map(|lost| {
            format!("{lost}. Nor can it be told of this undo: its own command would end well, with rows that are gone")
        });
        lost.into_iter().collect()
    }

    /// How the undo names it.
    pub(crate) fn named(&self) -> Parent {
        parent::named(self.results(), self.head())
    }

    /// What it deleted besides, and an undo can't bring back.
    pub(crate) fn stays_deleted(&self) -> Result<Option<String>, Halt> {
        let (path, files) = match self {
            Self::Finished(run) => (run.results.clone(), &[][..]),
            Self::Unfinished { results, head, .. } => (journal::path_for(results), &*head.files),
        };
        let Deletes { of_others, .. } = deletes_of(&path, files)?;
        Ok((of_others > 0).then(|| {
            let count = grouped(of_others);
            format!("{count} associations that the run deleted stay deleted: an undo only deletes what was created")
        }))
    }

    /// What it created.
    pub(crate) fn created(&self, include_recovered: bool) -> Result<RowSource, Halt> {
        let (path, files) = match self {
            Self::Finished(run) => (run.results.clone(), run.files(|_| {})?),
            Self::Unfinished { results, head, .. } => {
                (journal::path_for(results), head.files.clone())
            }
        };
        Ok(RowSource::Created { path, files, include_recovered })
    }

    /// Notes in the run by what it is undone, if it was not before: before the first delete, and as firmly
    /// as a mark, so that it never passes for a run whose rows are there.
    pub(crate) fn note(&self, by: &Undone) -> Result<(), Halt> {
        match self {
            Self::Finished(run) => {
                // A rerun's results hold what the runs before it created.
                for (path, before) in &run.lineage {
                    let undone = before.undone.clone().unwrap_or_else(|| by.clone());
                    rewrite(path, before, Some(undone))?;
                }
            }
            Self::Unfinished { results, head, undone } => {
                write_in_journal(results, head, Some(undone.as_ref().unwrap_or(by)))?;
            }
        }
        Ok(())
    }

    /// Takes this undo's note back, where it is there: nothing was undone after all.
    pub(crate) fn take_back(&self, by: &Undone) -> Result<(), Halt> {
        match self {
            Self::Finished(run) => {
                for (path, before) in &run.lineage {
                    if Manifest::read(path)?.is_some_and(|now| now.undone.as_ref() == Some(by)) {
                        rewrite(path, before, None)?;
                    }
                }
            }
            Self::Unfinished { results, head, .. } => {
                let replay = replay::replay(&journal::path_for(results), |_| {})?;
                if replay.undone.as_ref() == Some(by) {
                    write_in_journal(results, head, None)?;
                }
            }
        }
        Ok(())
    }
}

fn rewrite(results: &Path, run: &Manifest, undone: Option<Undone>) -> Result<(), Halt> {
    let manifest = Manifest { undone, ..run.clone() };
    Ok(results::write_whole(&manifest::path_for(results), &manifest.to_json())?)
}

fn write_in_journal(path: &Path, head: &Head, undone: Option<&Undone>) -> Result<(), Halt> {
    let mut opened = open_journal(path, head)?;
    opened.journal.undone(undone);
    // Within a run there is no second runtime.
    let settled = std::thread::scope(|scope| {
        scope.spawn(|| runtime()?.block_on(opened.journal.sync_all()).map_err(Halt::from)).join()
    });
    settled.expect("a thread that panics ends the process")
}
