//! `bkassoc merge`: make one results file of those of all shards.

use super::{begin, print, warn};
use crate::cli::Merge;
use crate::cli::layers::Typed;
use crate::config::paths::{dated, format_of, refuse_own_input};
use crate::config::{Display, Environment};
use crate::exit::{Exit, Halt};
use crate::report::look::Look;
use crate::report::progress::{Progress, Screen};
use crate::report::summary::{Summary, next_step};
use crate::session::merging::{Merged, Shards};

/// Runs it.
pub(super) fn run(
    args: &Merge,
    warnings: &[String],
    typed: &Typed,
    screen: &Screen,
) -> Result<Exit, Halt> {
    let display = Display::of(&args.display, &Environment::of_process());
    begin(display, screen);
    warn(warnings);
    let out = dated(&args.output, Environment::of_process().today);
    let usage = |error: crate::config::PathError| Halt::usage(error.to_string());
    let format = format_of(&out, "-o").map_err(usage)?;
    refuse_own_input(&out, &args.results).map_err(usage)?;
    let shards = Shards::find(&args.results)?;
    let (files, target) = (shards.files().to_vec(), shards.target().clone());
    let kind = shards.work().into();
    let progress = Progress::new(display.progress, screen.clone(), display.language);
    let Merged { stats, exit } = shards.merge(out.clone(), format, progress)?;
    let next = next_step(kind, exit, &stats, Some(&out), &typed.again(), &typed.identity_flags());
    let summary = Summary {
        kind,
        target: Some(&target),
        shard: None,
        stats: &stats,
        inputs: &files,
        results: Some(&out),
        unfinished: None,
        exit,
        error: None,
        warnings,
        survey: None,
        checked: None,
        next,
        look: Look::of_stdout(display.language),
    };
    let text = summary.render(display.quiet, display.json);
    Ok(text.map_or(exit, |text| print(text.as_bytes(), exit, screen)))
}
