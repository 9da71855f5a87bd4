//! `bkassoc sync`: make the CMDB what the input says.

use super::{announce, conclude, resolve};
use crate::cli::Sync;
use crate::cli::layers::Typed;
use crate::config::Output;
use crate::exit::{Exit, Halt};
use crate::report::progress::Screen;
use crate::session::Session;
use crate::session::source::RowSource;
use crate::storage::links::followed;

/// Runs it.
pub(super) fn run(typed: &Typed, screen: &Screen) -> Result<Exit, Halt> {
    let (args, config) = resolve::<Sync>(typed, None)?;
    if let (Some(previous), Output::File(results)) =
        (&config.pruning.previous, &config.results.output)
        && followed(previous) == followed(results)
    {
        return Err(Halt::usage(format!(
            "--previous {} is where the results of this sync go: give another -o",
            previous.display()
        )));
    }
    announce(&config, screen);
    let rows = RowSource::synced(&args.inputs, config.input.clone(), config.pruning.clone());
    let session = Session::of(&config, screen, rows);
    conclude(&session, typed, session.run())
}
