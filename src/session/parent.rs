//! The run that made some results: found, and refused where it can't be gone on from.

use std::path::{Path, PathBuf};

use crate::association::Action;
use crate::config;
use crate::exit::{Exit, Halt};
use crate::options::Shard;
use crate::outcome::{Record, Status};
use crate::storage::manifest::{self, Head, Manifest, Parent, Work};
use crate::storage::path_state::{self, PathState};
use crate::storage::results::reader::Reader;
use crate::storage::seals;

/// A finished run by its results.
pub(crate) struct ParentRun {
    pub(crate) results: PathBuf,
    /// The run itself, and before it the runs whose rows it settled again, back to the import; empty
    /// where its manifest is lost.
    pub(crate) lineage: Vec<(PathBuf, Manifest)>,
}

impl ParentRun {
    pub(crate) fn new(results: &Path, manifest: Option<Manifest>) -> Self {
        let lineage = manifest.map(|manifest| manifest.lineage(results)).unwrap_or_default();
        Self { results: results.to_owned(), lineage }
    }

    /// Finds the run that wrote these results, if it is finished.
    pub(crate) fn find(results: &Path) -> Result<Self, Halt> {
        match path_state::look(results)? {
            PathState::Finished(manifest) => Ok(Self::new(results, Some(*manifest))),
            PathState::Stranger => Ok(Self::new(results, None)),
            PathState::Free => {
                Err(Halt::new(Exit::Input, format!("{}: no such file", results.display())))
            }
            PathState::Unfinished => Err(Halt::usage(format!(
                "the run at {} is not finished: give its command again, or write what it knows so far with \
                 `bkassoc results {0} -o FILE` and take that",
                results.display()
            ))),
        }
    }

    /// Its `run.json`, unless that is lost.
    pub(crate) fn manifest(&self) -> Option<&Manifest> {
        self.lineage.first().map(|(_, manifest)| manifest)
    }

    /// A rerun creates what is missing: of an undo's rows, what that deleted.
    pub(crate) fn refuse_undo(&self) -> Result<(), Halt> {
        let is_undo = match self.manifest() {
            Some(manifest) => manifest.head.work == Work::Undo,
            None => Reader::open(&self.results, &[])?.map_while(Result::ok).any(|record| {
                let Record { cells, outcome, .. } = record;
                outcome.status == Status::Deleted && cells.action() == Action::Create
            }),
        };
        if !is_undo {
            return Ok(());
        }
        Err(Halt::usage(format!(
            "{} are the results of an undo, and a rerun creates: to delete what is left, give the undo again \
             with another -o",
            self.results.display()
        )))
    }

    /// What an undo deleted is not there any more, and reruns carry it over from run to run.
    pub(crate) fn refuse_undone(&self) -> Result<(), Halt> {
        let Some(undone) = Manifest::undone_in(&self.lineage) else { return Ok(()) };
        Err(Halt::usage(format!(
            "{undone}, so what it calls created is gone: import its input anew, with another -o or with --fresh"
        )))
    }

    /// The shard whose rows it has, where these are not all of the input.
    pub(crate) fn shard(&self) -> Option<Shard> {
        Manifest::sharding_in(&self.lineage).map(|sharding| sharding.shard)
    }

    /// What can't be known, since a run before it is not to be found.
    pub(crate) fn warnings(&self) -> Vec<String> {
        Manifest::lost_in(&self.lineage).into_iter().collect()
    }

    /// Whether the results are no more as the run wrote them.
    pub(crate) fn is_changed(&self) -> Result<bool, Halt> {
        let Some(manifest) = self.manifest() else { return Ok(false) };
        Ok(!manifest.wrote(&self.results)?)
    }

    /// Refuses results in which a row that ended well was changed, since a rerun carries it over as if the
    /// server had said so. Gives what can't be known of them.
    pub(crate) fn refuse_edited(&self) -> Result<Option<String>, Halt> {
        let Some(manifest) = self.manifest() else { return Ok(None) };
        if !self.is_changed()? {
            return Ok(None);
        }
        let results = self.results.display();
        if manifest.seals.is_empty() {
            return Ok(Some(format!(
                "{results} was changed since its run wrote it. Whether rows that ended well were, too, bkassoc {}                  left nothing to tell by: see `bkassoc verify {results} --against INPUT`",
                manifest.head.tool
            )));
        }
        let reader = Reader::open(&self.results, &manifest.head.files)?;
        let Some(rows) = seals::broken(&manifest.seals, reader)? else { return Ok(None) };
        Err(Halt::usage(format!(
            "{results}: a row that ended well was changed since the run wrote it, among rows {} to {} of \
             the file: its cells, its status or its association_id. A rerun would carry it over as if the \
             server had said so: restore it. Only rows that are settled again may be mended. `bkassoc \
             verify {results} --against INPUT` names cells that differ, `--live` what the server has",
            rows.start(),
            rows.end()
        )))
    }

    /// Input names, in order; empty for a single input. Reads the whole file, so that a line that is
    /// none of ours, or one that is gone, is known before anything is sent. `each` sees every line.
    pub(crate) fn files(&self, mut each: impl FnMut(&Record)) -> Result<Vec<String>, Halt> {
        let manifest = self.manifest();
        let known = manifest.map_or(&[][..], |manifest| &manifest.head.files);
        let mut reader = Reader::open(&self.results, known)?;
        let mut rows = 0;
        for record in reader.by_ref() {
            each(&record?);
            rows += 1;
        }
        if let Some(manifest) = manifest {
            manifest.refuse_other_than(rows, &self.results)?;
        }
        Ok(reader.files().to_vec())
    }

    /// What it used is what a command that starts from its results uses by itself.
    pub(crate) fn inherited(&self) -> Option<config::Parent> {
        let head = &self.manifest()?.head;
        Some(inherited(head, manifest::path_for(&self.results)))
    }

    /// How a run that starts from its results names it.
    pub(crate) fn named(&self) -> Parent {
        named(&self.results, self.manifest().map(|manifest| &manifest.head))
    }
}

/// What a run used, as `file` says.
pub(super) fn inherited(head: &Head, file: PathBuf) -> config::Parent {
    config::Parent { file, target: head.target.clone(), options: head.settings.clone() }
}

pub(super) fn named(results: &Path, head: Option<&Head>) -> Parent {
    Parent {
        results: results.display().to_string(),
        started_at: head.map(|head| head.started_at.clone()),
    }
}
