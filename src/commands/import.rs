//! `bkassoc import`: create what the rows say.

use super::road::Road;
use super::rows::{RowSource, files_of, sources};
use super::{Failure, announce};
use crate::cli::Command;
use crate::cli::layers::Typed;
use crate::config::Config;
use crate::exit::Exit;
use crate::report::progress::Screen;
use crate::storage::manifest::Work;

/// Runs it.
pub(super) fn run(config: &Config, typed: &Typed, screen: &Screen) -> Result<Exit, Failure> {
    let Command::Import(args) = &config.command else {
        return Err(Failure::usage("this is no import"));
    };
    let sources = sources(&args.inputs);
    let road = Road {
        config,
        typed,
        screen,
        work: Work::Import,
        files: files_of(&sources),
        sources: sources.clone(),
        choice: Vec::new(),
        parent: None,
    };
    let options = super::input_options(&config.input)?;
    announce(config, screen);
    road.go(|| Ok(RowSource::of_input(&sources, &options)?))
}
