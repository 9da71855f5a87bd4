//! `bkassoc rerun`: settle again the rows of a results file that did not end well.

use std::path::Path;

use super::{announce, conclude, resolve_with};
use crate::cli::layers::Typed;
use crate::cli::{Command, Rerun as Args};
use crate::config;
use crate::exit::Exit;
use crate::input::Source;
use crate::outcome::Status;
use crate::report::progress::Screen;
use crate::session::Session;
use crate::session::failure::Failure;
use crate::session::source::{Choice, RowSource};
use crate::storage::manifest::{self, Manifest, Parent, Work};
use crate::storage::path_state::{self, PathState};
use crate::storage::results::reader::Reader;

/// Runs it.
pub(super) fn run(typed: &Typed, args: &Args, screen: &Screen) -> Result<Exit, Failure> {
    let manifest = parent_of(&args.results)?;
    refuse_undo(&args.results, manifest.as_ref())?;
    refuse_undone(&args.results, manifest.as_ref())?;
    let config = resolve_with(
        typed,
        manifest.as_ref().map(|found| as_parent(&args.results, found)).as_ref(),
    )?;
    let Command::Rerun(args) = &config.command else {
        return Err(Failure::usage("this is no rerun"));
    };
    let choice = choice(args);
    let session = Session {
        config: &config,
        screen,
        work: Work::Rerun,
        sources: vec![Source::Path(args.results.clone())],
        files: files_of(&args.results, manifest.as_ref())?,
        choice: choice.named(),
        parent: Some(Parent {
            results: args.results.display().to_string(),
            started_at: manifest.map(|found| found.head.started_at),
        }),
    };
    announce(&config, screen);
    let rows = || RowSource::of_results(&args.results, &session.files, &config.input, choice);
    let ending = session.run(|| Ok(rows()?))?;
    Ok(conclude(&session, typed, ending))
}

/// A rerun creates what is missing: of an undo's rows, what that deleted.
fn refuse_undo(results: &Path, manifest: Option<&Manifest>) -> Result<(), Failure> {
    let is_undo = match manifest {
        Some(manifest) => manifest.head.work == Work::Undo,
        None => Reader::open(results, &[])?
            .map_while(Result::ok)
            .any(|record| record.outcome.status == Status::Deleted),
    };
    if !is_undo {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "{} are the results of an undo, and a rerun creates: to delete what is left, give the undo again \
         with another -o",
        results.display()
    )))
}

/// What an undo deleted is not there any more, and reruns carry it over from run to run.
pub(super) fn refuse_undone(results: &Path, manifest: Option<&Manifest>) -> Result<(), Failure> {
    let lineage = manifest.map(|manifest| manifest.clone().lineage(results)).unwrap_or_default();
    let Some(undone) = Manifest::undone_in(&lineage) else { return Ok(()) };
    Err(Failure::usage(format!(
        "{undone}, so what it calls created is gone: import its input anew, with another -o or with --fresh"
    )))
}

/// The manifest of the run that wrote these results; `None` where it is lost.
pub(super) fn parent_of(results: &Path) -> Result<Option<Manifest>, Failure> {
    match path_state::look(results)? {
        PathState::Finished(manifest) => Ok(Some(*manifest)),
        PathState::Stranger => Ok(None),
        PathState::Free => {
            Err(Failure::new(Exit::Input, format!("{}: no such file", results.display())))
        }
        PathState::Unfinished => Err(Failure::usage(format!(
            "the run at {} is not finished: give its command again, or write what it knows so far with \
             `bkassoc results {0} -o FILE` and take that",
            results.display()
        ))),
    }
}

/// What the parent run used is what this one uses by itself.
pub(super) fn as_parent(results: &Path, manifest: &Manifest) -> config::Parent {
    config::Parent {
        file: manifest::path_for(results),
        target: manifest.head.target.clone(),
        options: manifest.head.settings.clone(),
    }
}

/// The files that lines are lines of. Reads the whole file, so that a line that is none of ours, or
/// one that is gone, is known before anything is sent.
pub(super) fn files_of(
    results: &Path,
    manifest: Option<&Manifest>,
) -> Result<Vec<String>, Failure> {
    let known = manifest.map_or(&[][..], |manifest| &manifest.head.files);
    let mut reader = Reader::open(results, known)?;
    let mut rows = 0;
    for record in reader.by_ref() {
        record?;
        rows += 1;
    }
    if let Some(manifest) = manifest {
        manifest.refuse_other_than(rows, results)?;
    }
    Ok(reader.files().to_vec())
}

fn choice(args: &Args) -> Choice {
    let mut statuses = args.status.clone();
    if args.all_failed {
        statuses.extend([Status::Failed, Status::Invalid]);
    }
    Choice { statuses, reasons: args.reason.clone() }
}
