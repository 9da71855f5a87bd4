//! What stands at a results path: nothing, an unfinished run, a finished one, or a stranger's file.
//!
//! A run is its results path: what is found here decides whether a command starts, goes on, shows
//! what was, or refuses.

use std::io;
use std::path::{Path, PathBuf};

use crate::storage::journal::{self, disk};
use crate::storage::links::followed;
use crate::storage::manifest::{self, Manifest, ManifestError};
use crate::storage::plan;

/// What stands there.
#[derive(Debug)]
pub enum PathState {
    /// Nothing.
    Free,
    /// A journal: a run that is not finished, or whose end was interrupted.
    Unfinished,
    /// Results and their `run.json`.
    Finished(Box<Manifest>),
    /// A file without a `run.json`.
    Stranger,
}

/// Whether a run is not finished there, or its end was interrupted.
pub fn is_unfinished(results: &Path) -> bool {
    let journal = std::fs::metadata(journal::path_for(results));
    journal.is_ok_and(|found| found.is_file() && found.len() > 0)
}

/// Looks.
pub fn look(results: &Path) -> Result<PathState, ManifestError> {
    if is_unfinished(results) {
        return Ok(PathState::Unfinished);
    }
    if !results.exists() {
        return Ok(PathState::Free);
    }
    Ok(Manifest::read(results)?
        .map_or(PathState::Stranger, |found| PathState::Finished(Box::new(found))))
}

/// Why a path could not be freed.
#[derive(Debug, thiserror::Error)]
pub enum ClearError {
    /// A process is at work on it.
    #[error("{}: a run is under way there", .0.display())]
    Held(PathBuf),
    /// The system refused.
    #[error("{}: {error}", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

/// Frees the path: everything a run left there is moved aside (`….old`, `….old-2` and so on), which
/// is logged, or removed.
pub fn clear(results: &Path, keep: bool) -> Result<(), ClearError> {
    let journal = journal::path_for(results);
    // Held while everything moves, so that no run is at work on what is moved, or begins meanwhile.
    let refused = |error| ClearError::Refused { path: journal.clone(), error };
    let lock = disk::open_locked(&journal).map_err(refused)?;
    let lock = lock.ok_or_else(|| ClearError::Held(results.to_owned()))?;
    let is_empty = lock.metadata().map_err(refused)?.len() == 0;
    let plan = plan::path_for(results);
    let beside_plan = manifest::path_for(&plan);
    let paths =
        [followed(results), manifest::path_for(results), journal.clone(), plan, beside_plan];
    let aside = aside(&paths);
    for path in paths {
        let to = path.with_added_extension(&aside);
        let keeps = keep && !(path == journal && is_empty);
        let done = if keeps { std::fs::rename(&path, &to) } else { std::fs::remove_file(&path) };
        match done {
            Ok(()) if keeps => tracing::info!("{} is now {}", path.display(), to.display()),
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(ClearError::Refused { path, error });
            }
            _ => {}
        }
    }
    Ok(())
}

/// The first ending under which none of the files has been moved aside before: what an earlier run
/// left may be all that tells what it created.
fn aside(paths: &[PathBuf]) -> String {
    let endings = (1..).map(|n| if n == 1 { "old".to_owned() } else { format!("old-{n}") });
    let is_free = |ending: &String| {
        !paths.iter().any(|path| path.with_added_extension(ending).symlink_metadata().is_ok())
    };
    endings.into_iter().find(is_free).expect("endings have no end")
}
