//! `bkassoc import`: create what the rows say.

use super::{announce, check, conclude, resolve};
use crate::cli::Import;
use crate::cli::layers::Typed;
use crate::exit::{Exit, Halt};
use crate::report::progress::Screen;
use crate::session::Session;
use crate::session::source::RowSource;

/// Runs it.
pub(super) fn run(typed: &Typed, screen: &Screen) -> Result<Exit, Halt> {
    let (args, config) = resolve::<Import>(typed, None)?;
    if args.dry_run {
        return check::run(&args.inputs, &config, typed, screen);
    }
    announce(&config, screen);
    let rows = RowSource::inputs(&args.inputs, config.input.clone());
    let session = Session::of(&config, screen, rows);
    conclude(&session, typed, session.run())
}
