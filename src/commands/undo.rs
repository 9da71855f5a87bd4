//! `bkassoc undo`: delete what a run created.

use std::path::{Path, PathBuf};

use super::rerun::{files_of, parent_of};
use super::results::rows_of;
use super::road::Road;
use super::rows::{Rows, ToUndo, records_at};
use super::{Failure, announce, ask, resolve_with};
use crate::cli::layers::Typed;
use crate::cli::{Command, Undo as Args};
use crate::config::{self, Output, ResultsConfig};
use crate::exit::Exit;
use crate::input::Source;
use crate::journal::{self, replay};
use crate::manifest::{self, Head, Manifest, Parent, Work};
use crate::progress::Screen;
use crate::site::{self, Site};
use crate::summary::{Kind, grouped};

/// The option under which a head keeps that recovered rows are deleted too.
pub(super) const INCLUDE_RECOVERED: &str = "include-recovered";

/// Runs it.
pub(super) fn run(typed: &Typed, args: &Args, screen: &Screen) -> Result<Exit, Failure> {
    let made = Made::look(&args.results)?;
    let config = resolve_with(typed, made.parent(&args.results).as_ref())?;
    let Command::Undo(args) = &config.command else {
        return Err(Failure::usage("this is no undo"));
    };
    if made.head().is_none() && !args.parent.allow_other_target {
        return Err(Failure::usage(format!(
            "there is no {}: nothing says of which CMDB these ids are. Give --allow-other-target to delete \
             them at the one that you name",
            manifest::path_for(&args.results).display()
        )));
    }
    let choice = args.include_recovered.then(|| (INCLUDE_RECOVERED, "true".to_owned()));
    let path = made.path(&args.results);
    let road = Road {
        config: &config,
        typed,
        screen,
        work: Work::Undo,
        kind: Kind::Undo,
        sources: vec![Source::Path(path.clone())],
        files: made.files(&args.results)?,
        choice: choice.into_iter().collect(),
        parent: Some(Parent {
            results: args.results.display().to_string(),
            started_at: made.head().map(|head| head.started_at.clone()),
        }),
    };
    announce(&config, screen);
    if begins(&config.results)? {
        if let Made::Unfinished(head) = &made
            && let Some(exit) = road.settle_doubts(&args.results, rows_of(head)?)?
        {
            return Ok(exit);
        }
        let count = count(&path, args.include_recovered)?;
        if count > 0 && !config.results.yes {
            let question = format!("delete {} associations at {}?", grouped(count), road.target());
            if !ask(screen, &question)? {
                return Err(Failure::usage("nothing was deleted"));
            }
        }
    }
    road.go(|| Ok(Rows::to_undo(&path, &road.files, args.include_recovered)?))
}

/// The run that is undone.
enum Made {
    /// Its results, and its manifest unless that is lost.
    Finished(Option<Box<Manifest>>),
    /// Its journal, whose first line says what it is.
    Unfinished(Box<Head>),
}

impl Made {
    fn look(results: &Path) -> Result<Self, Failure> {
        let undo = || {
            Failure::usage(
                "these are the results of an undo: to go on with one, give its own command again",
            )
        };
        if !matches!(site::look(results)?, Site::Unfinished) {
            let manifest = parent_of(results)?;
            if manifest.as_ref().is_some_and(|found| found.head.work == Work::Undo) {
                return Err(undo());
            }
            return Ok(Self::Finished(manifest.map(Box::new)));
        }
        let replay = replay::replay(&journal::path_for(results), |_| {})?;
        let none = || Failure::usage(format!("{}: nothing was begun there", results.display()));
        let head = replay.head.ok_or_else(none)?;
        if head.work == Work::Undo {
            return Err(undo());
        }
        Ok(Self::Unfinished(Box::new(head)))
    }

    fn head(&self) -> Option<&Head> {
        match self {
            Self::Finished(manifest) => manifest.as_ref().map(|found| &found.head),
            Self::Unfinished(head) => Some(head),
        }
    }

    /// What the undone run used is what the undo uses by itself.
    fn parent(&self, results: &Path) -> Option<config::Parent> {
        let file = match self {
            Self::Finished(_) => manifest::path_for(results),
            Self::Unfinished(_) => journal::path_for(results),
        };
        let head = self.head()?;
        let (target, options) = (head.target.clone(), head.settings.clone());
        Some(config::Parent { file, target, options })
    }

    /// Where its outcomes are.
    fn path(&self, results: &Path) -> PathBuf {
        match self {
            Self::Finished(_) => results.to_owned(),
            Self::Unfinished(_) => journal::path_for(results),
        }
    }

    fn files(&self, results: &Path) -> Result<Vec<String>, Failure> {
        match self {
            Self::Finished(manifest) => files_of(results, manifest.as_deref()),
            Self::Unfinished(head) => Ok(head.files.clone()),
        }
    }
}

/// Whether this command would begin an undo, and not go on with one or show its end.
fn begins(results: &ResultsConfig) -> Result<bool, Failure> {
    match &results.output {
        Output::File(path) => Ok(results.fresh || matches!(site::look(path)?, Site::Free)),
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
