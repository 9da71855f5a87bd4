//! `bkassoc undo`: delete what a run created.

use std::path::{Path, PathBuf};

use super::rerun::{files_of, parent_of};
use super::results::rows_of;
use super::{announce, conclude, resolve_with};
use crate::cli::layers::Typed;
use crate::cli::{Command, Undo as Args};
use crate::clock;
use crate::config::{self, Output, ResultsConfig};
use crate::exit::Exit;
use crate::input::Source;
use crate::report::progress::Screen;
use crate::report::summary::grouped;
use crate::session::failure::Failure;
use crate::session::open_journal::open_journal;
use crate::session::question::ask;
use crate::session::runtime::runtime;
use crate::session::source::{RowSource, ToUndo, records_at};
use crate::session::{Ending, Session};
use crate::storage::journal::{self, replay};
use crate::storage::manifest::{self, Head, Manifest, Parent, Undone, Work};
use crate::storage::path_state::{self, PathState};
use crate::storage::results;

/// Runs it.
pub(super) fn run(typed: &Typed, args: &Args, screen: &Screen) -> Result<Exit, Failure> {
    let made = Made::look(&args.results)?;
    let config = resolve_with(typed, made.parent(&args.results).as_ref())?;
    let Command::Undo(args) = &config.command else {
        return Err(Failure::usage("this is no undo"));
    };
    made.refuse_ids_of_nowhere(args)?;
    let choice = args.include_recovered.then(|| (ToUndo::INCLUDE_RECOVERED, "true".to_owned()));
    let session = Session {
        config: &config,
        screen,
        work: Work::Undo,
        sources: vec![Source::Path(made.path(&args.results))],
        files: made.files(&args.results)?,
        choice: choice.into_iter().collect(),
        parent: Some(Parent {
            results: args.results.display().to_string(),
            started_at: made.head().map(|head| head.started_at.clone()),
        }),
    };
    announce(&config, screen);
    let mut begins_to_delete = false;
    if begins(&config.results)? {
        if let Made::Unfinished(head, _) = &made
            && let Some(ending) = session.settle_doubts(&args.results, rows_of(head)?)?
        {
            return Ok(conclude(&session, typed, ending));
        }
        let count = count(&made.path(&args.results), args.include_recovered)?;
        begins_to_delete = count > 0;
        if begins_to_delete && !config.results.yes {
            confirm(count, &session)?;
        }
    }
    let ending = delete(&made, &session, args, begins_to_delete)?;
    Ok(conclude(&session, typed, ending))
}

fn confirm(count: u64, session: &Session<'_>) -> Result<(), Failure> {
    let question = format!("delete {} associations at {}?", grouped(count), session.target());
    if ask(session.screen, &question)? {
        Ok(())
    } else {
        Err(Failure::usage("nothing was deleted"))
    }
}

/// Deletes, once the run knows of it. Where an undo goes on, the run knows already.
fn delete(
    made: &Made,
    session: &Session<'_>,
    args: &Args,
    begins: bool,
) -> Result<Ending, Failure> {
    let output = &session.config.results.output;
    let by = match output {
        Output::File(path) => path.display().to_string(),
        Output::Stdout | Output::Nowhere => "-".to_owned(),
    };
    let ending = session.run(|| {
        if begins {
            made.note(&args.results, Some(&Undone { by, at: clock::now() }))?;
        }
        let path = made.path(&args.results);
        Ok(RowSource::to_undo(&path, &session.files, args.include_recovered)?)
    });
    if let Output::File(output) = output
        && matches!(path_state::look(output)?, PathState::Free)
    {
        // It never came to a delete.
        made.note(&args.results, None)?;
    }
    ending
}

/// The run that is undone.
enum Made {
    /// Its lineage, as it was before; empty where its manifest is lost.
    Finished(Vec<(PathBuf, Manifest)>),
    /// Its journal, whose first line says what it is, and by what it was undone before.
    Unfinished(Box<Head>, Option<Undone>),
}

impl Made {
    fn look(results: &Path) -> Result<Self, Failure> {
        let undo = || {
            Failure::usage(
                "these are the results of an undo: to go on with one, give its own command again",
            )
        };
        if !matches!(path_state::look(results)?, PathState::Unfinished) {
            let manifest = parent_of(results)?;
            if manifest.as_ref().is_some_and(|found| found.head.work == Work::Undo) {
                return Err(undo());
            }
            let lineage = manifest.map(|manifest| manifest.lineage(results));
            return Ok(Self::Finished(lineage.unwrap_or_default()));
        }
        let replay = replay::replay(&journal::path_for(results), |_| {})?;
        let none = || Failure::usage(format!("{}: nothing was begun there", results.display()));
        let head = replay.head.ok_or_else(none)?;
        if head.work == Work::Undo {
            return Err(undo());
        }
        Ok(Self::Unfinished(Box::new(head), replay.undone))
    }

    /// Without a manifest nothing says of which CMDB the ids are.
    fn refuse_ids_of_nowhere(&self, args: &Args) -> Result<(), Failure> {
        if self.head().is_some() || args.parent.allow_other_target {
            return Ok(());
        }
        Err(Failure::usage(format!(
            "there is no {}: nothing says of which CMDB these ids are. Give --allow-other-target to delete \
             them at the one that you name",
            manifest::path_for(&args.results).display()
        )))
    }

    fn head(&self) -> Option<&Head> {
        match self {
            Self::Finished(lineage) => lineage.first().map(|(_, manifest)| &manifest.head),
            Self::Unfinished(head, _) => Some(head),
        }
    }

    /// Notes in the run by what it is undone, if it was not before (`None`: takes the note back): before
    /// the first delete, and as firmly as a mark, so that it never passes for a run whose rows are there.
    fn note(&self, results: &Path, undone: Option<&Undone>) -> Result<(), Failure> {
        match self {
            Self::Finished(lineage) => {
                // A rerun's results hold what the runs before it created.
                for (path, before) in lineage {
                    let undone = before.undone.as_ref().or(undone).cloned();
                    let manifest = Manifest { undone, ..before.clone() };
                    results::write_whole(&manifest::path_for(path), &manifest.to_json())?;
                }
            }
            Self::Unfinished(head, before) => {
                let mut opened = open_journal(results, head)?;
                opened.journal.undone(before.as_ref().or(undone));
                runtime()?.block_on(opened.journal.settle())?;
            }
        }
        Ok(())
    }

    /// What the undone run used is what the undo uses by itself.
    fn parent(&self, results: &Path) -> Option<config::Parent> {
        let file = match self {
            Self::Finished(_) => manifest::path_for(results),
            Self::Unfinished(..) => journal::path_for(results),
        };
        let head = self.head()?;
        let (target, options) = (head.target.clone(), head.settings.clone());
        Some(config::Parent { file, target, options })
    }

    /// Where its outcomes are.
    fn path(&self, results: &Path) -> PathBuf {
        match self {
            Self::Finished(_) => results.to_owned(),
            Self::Unfinished(..) => journal::path_for(results),
        }
    }

    fn files(&self, results: &Path) -> Result<Vec<String>, Failure> {
        match self {
            Self::Finished(lineage) => {
                files_of(results, lineage.first().map(|(_, manifest)| manifest))
            }
            Self::Unfinished(head, _) => Ok(head.files.clone()),
        }
    }
}

/// Whether this command would begin an undo, and not go on with one or show its end.
fn begins(results: &ResultsConfig) -> Result<bool, Failure> {
    match &results.output {
        Output::File(path) => {
            Ok(results.fresh || matches!(path_state::look(path)?, PathState::Free))
        }
        Output::Stdout | Output::Nowhere => Ok(true),
    }
}

fn count(path: &Path, include_recovered: bool) -> Result<u64, Failure> {
    let mut count = 0;
    for record in records_at(path, &[])? {
        count += u64::from(ToUndo::takes(&record?.outcome, include_recovered).is_some());
    }
    Ok(count)
}
