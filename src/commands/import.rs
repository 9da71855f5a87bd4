//! `bkassoc import`: create what the rows say.

use super::{announce, conclude};
use crate::cli::Command;
use crate::cli::layers::Typed;
use crate::config::Config;
use crate::exit::Exit;
use crate::report::progress::Screen;
use crate::session::Session;
use crate::session::failure::Failure;
use crate::session::source::{RowSource, files_of, sources};
use crate::storage::manifest::Work;

/// Runs it.
pub(super) fn run(config: &Config, typed: &Typed, screen: &Screen) -> Result<Exit, Failure> {
    let Command::Import(args) = &config.command else {
        return Err(Failure::usage("this is no import"));
    };
    let sources = sources(&args.inputs);
    let session = Session {
        config,
        screen,
        work: Work::Import,
        files: files_of(&sources),
        sources: sources.clone(),
        choice: Vec::new(),
        parent: None,
    };
    let options = super::input_options(&config.input)?;
    announce(config, screen);
    let ending = session.run(|| Ok(RowSource::of_input(&sources, &options)?))?;
    Ok(conclude(&session, typed, ending))
}
