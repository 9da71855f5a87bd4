//! What earlier runs created, by the chain of their `run.json`: what may go once the input names it no more.
//!
//! A CMDB never uses an id again, but one that was restored from a backup does: so an association is known by
//! its id and by what it joins. What was found there, or may be somebody else's, is not among them. Knows
//! nothing of servers.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};

use rustc_hash::{FxHashSet, FxHasher};

use crate::association::Cells;
use crate::exit::Halt;
use crate::outcome::{Record, Status};
use crate::storage::manifest::{Manifest, Parent, Work};
use crate::storage::path_state;
use crate::storage::results::reader::Reader;
use crate::storage::survey::Found;
use crate::target::Target;

/// An earlier run, and those before it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Previous {
    /// How a `run.json` names it.
    pub(crate) named: Option<Parent>,
    /// What they created and did not delete, ascending.
    created: Vec<Made>,
    /// How many associations that run left of each model association.
    there: BTreeMap<String, u64>,
}

/// An association: its id, and a digest of what it joins.
type Made = (i64, u64);

fn made(id: i64, name: &str, source: u64, target: u64) -> Made {
    let mut hasher = FxHasher::default();
    (name, source, target).hash(&mut hasher);
    (id, hasher.finish())
}

/// What a line of results says to be there, or gone.
fn of_record(id: i64, cells: &Cells) -> Option<Made> {
    let [name, source, target, _] = cells.ids().map(str::trim);
    Some(made(id, name, source.parse().ok()?, target.parse().ok()?))
}

impl Previous {
    /// Reads the results at `path`, and as far back as `created` is wanted and results are to be found.
    pub(crate) fn read(path: &Path, target: &Target, created: bool) -> Result<Self, Halt> {
        if path_state::is_unfinished(path) {
            return Err(Halt::usage(format!(
                "--previous {}: this run is not finished: finish it first, with its own command",
                path.display()
            )));
        }
        let Some(manifest) = Manifest::read(path)? else {
            return Err(Halt::usage(format!(
                "--previous {}: these are no results of a run (they have no run.json)",
                path.display()
            )));
        };
        if !target.continues(&manifest.head.target) {
            return Err(Halt::usage(format!(
                "--previous {}: this run was at {}, and not at {target}: ids differ between CMDBs",
                path.display(),
                manifest.head.target
            )));
        }
        refuse_changed(path, &manifest)?;
        let survey = manifest.head.survey.iter().flat_map(|survey| &survey.scope);
        // What it left, if all went as it was planned.
        let left = |found: &Found| (found.there + found.create).saturating_sub(found.delete);
        let there = survey.map(|(name, found)| (name.clone(), left(found))).collect();
        let named = Some(Parent {
            results: path.display().to_string(),
            started_at: Some(manifest.head.started_at.clone()),
        });
        let created = if created { chain(path.to_owned(), manifest)? } else { Vec::new() };
        Ok(Self { named, created, there })
    }

    /// Whether an earlier run created this association.
    pub(super) fn has_created(&self, id: i64, name: &str, source: u64, target: u64) -> bool {
        self.created.binary_search(&made(id, name, source, target)).is_ok()
    }

    /// How many associations it left.
    pub(super) fn there(&self, name: &str) -> Option<u64> {
        self.there.get(name).copied()
    }
}

/// What the runs of a chain created and did not delete, from the newest back to the first that is found.
fn chain(mut path: PathBuf, mut manifest: Manifest) -> Result<Vec<Made>, Halt> {
    let (mut created, mut gone) = (Vec::new(), FxHashSet::default());
    let mut seen = FxHashSet::default();
    loop {
        seen.insert(manifest.results_sha256.clone());
        let creates = manifest.head.work != Work::Undo;
        for record in Reader::open(&path, &manifest.head.files)? {
            let Record { cells, outcome, .. } = record?;
            let Some(id) = outcome.association_id else { continue };
            match outcome.status {
                Status::Created if creates => created.extend(of_record(id, &cells)),
                Status::Deleted => {
                    gone.insert(id);
                }
                _ => {}
            }
        }
        let before = manifest.head.survey.as_ref().and_then(|survey| survey.previous.clone());
        let Some(before) = before else { break };
        let Some((at, found)) =
            find(&before, &path).filter(|(_, run)| !seen.contains(&run.results_sha256))
        else {
            tracing::warn!(
                "{}: the run before this one, {}, is not to be found: what it created is taken for \
                 somebody else's, and stays",
                path.display(),
                before.results
            );
            break;
        };
        refuse_changed(&at, &found)?;
        (path, manifest) = (at, found);
    }
    created.retain(|(id, _)| !gone.contains(id));
    created.sort_unstable();
    created.dedup();
    Ok(created)
}

/// What somebody else wrote into results is not what a run created.
fn refuse_changed(path: &Path, manifest: &Manifest) -> Result<(), Halt> {
    if manifest.wrote(path)? {
        return Ok(());
    }
    Err(Halt::usage(format!(
        "--previous: {} was changed since it was written, and what it calls created would be deleted: restore it, \
         or leave --previous out",
        path.display()
    )))
}

/// Where a run's results are: as it was named, or beside the run that names it.
fn find(run: &Parent, from: &Path) -> Option<(PathBuf, Manifest)> {
    let named = PathBuf::from(&run.results);
    let beside = from.with_file_name(named.file_name()?);
    [named, beside].into_iter().find_map(|path| {
        let found = Manifest::read(&path).ok().flatten()?;
        (run.started_at.as_ref() == Some(&found.head.started_at)).then_some((path, found))
    })
}
