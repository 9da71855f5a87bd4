//! `bkassoc undo`: delete what a run created.

use super::rerun::{as_parent, files_of, parent_of};
use super::road::Road;
use super::rows::{Rows, ToUndo};
use super::{Failure, resolve_with};
use crate::cli::layers::Typed;
use crate::cli::{Command, Undo as Args};
use crate::config::Output;
use crate::exit::Exit;
use crate::input::Source;
use crate::manifest::{Parent, Work};
use crate::progress::Screen;
use crate::results::reader::Reader;
use crate::site::{self, Site};
use crate::summary::{Kind, grouped};

/// The option under which a head keeps that recovered rows are deleted too.
pub(super) const INCLUDE_RECOVERED: &str = "include-recovered";

/// Runs it.
pub(super) fn run(typed: &Typed, args: &Args, screen: &Screen) -> Result<Exit, Failure> {
    let manifest = parent_of(&args.results)?;
    let parent = manifest.as_ref().map(|found| as_parent(&args.results, found));
    let config = resolve_with(typed, parent)?;
    let Command::Undo(args) = &config.command else {
        return Err(Failure::usage("this is no undo"));
    };
    let choice = args.include_recovered.then(|| (INCLUDE_RECOVERED, "true".to_owned()));
    let road = Road {
        config: &config,
        typed,
        screen,
        work: Work::Undo,
        kind: Kind::Undo,
        sources: vec![Source::Path(args.results.clone())],
        files: files_of(&args.results, manifest.as_ref())?,
        choice: choice.into_iter().collect(),
        parent: Some(Parent {
            results: args.results.display().to_string(),
            started_at: manifest.map(|found| found.head.started_at),
        }),
    };
    if begins(&config.results.output)? && !config.results.yes {
        let count = grouped(count(args)?);
        let target = road.target();
        if !road.ask(&format!("delete {count} associations at {target}?"))? {
            return Err(Failure::usage("nothing was deleted"));
        }
    }
    road.go(|| Ok(Rows::to_undo(&args.results, args.include_recovered)?))
}

/// Whether this command would begin an undo, and not go on with one or show its end.
fn begins(output: &Output) -> Result<bool, Failure> {
    match output {
        Output::File(path) => Ok(matches!(site::look(path)?, Site::Free)),
        Output::Stdout | Output::Nowhere => Ok(true),
    }
}

fn count(args: &Args) -> Result<u64, Failure> {
    let mut count = 0;
    for record in Reader::open(&args.results)? {
        count += u64::from(ToUndo::takes(&record?.outcome, args.include_recovered).is_some());
    }
    Ok(count)
}
