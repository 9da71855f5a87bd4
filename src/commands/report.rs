//! `bkassoc report`: what a finished run was, as a page to look at.

use std::path::{Path, PathBuf};

use super::{print, say_all};
use crate::cli::Report as Args;
use crate::config::Environment;
use crate::config::paths::dated;
use crate::engine::stats::RunStats;
use crate::exit::{Exit, Halt};
use crate::options::Language;
use crate::report::page::{OPENING, Report, SHOWN};
use crate::report::progress::Screen;
use crate::storage::draft::{Draft, is_file_of};
use crate::storage::manifest::Manifest;
use crate::storage::path_state::{self, PathState};
use crate::storage::results::reader::Reader;

/// Runs it.
pub(super) fn run(args: &Args, warnings: &[String], screen: &Screen) -> Result<Exit, Halt> {
    say_all(warnings, screen);
    let Page { html: page, changed } = page_of(&args.results, None, args.language.lang)?;
    if changed {
        let results = args.results.display();
        screen.say(&format!(
            "bkassoc: {results} was changed since its run wrote it: the report tells what stands in it now"
        ));
    }
    let place = match &args.output {
        Some(place) if place == Path::new("-") => {
            return Ok(print(page.as_bytes(), Exit::Ok, screen));
        }
        Some(place) => dated(place, Environment::of_process().today),
        None => args.results.with_extension("html"),
    };
    write(&place, &page)?;
    screen.say(&format!("bkassoc: the report is {}", place.display()));
    Ok(Exit::Ok)
}

/// Writes the report of the run that has just ended so, if it is finished.
pub(super) fn leave(
    results: Option<&Path>,
    stats: &RunStats,
    place: &Path,
    language: Option<Language>,
) {
    let made = match results {
        Some(results) => {
            page_of(results, Some(stats), language).and_then(|page| write(place, &page.html))
        }
        None => Err(Halt::usage("the run is not finished, or has no results")),
    };
    if let Err(halt) = made {
        tracing::warn!("no report in {}: {}", place.display(), halt.message);
    }
}

/// A report, made.
struct Page {
    html: String,
    /// The results were changed since their run wrote them.
    changed: bool,
}

fn page_of(
    results: &Path,
    known: Option<&RunStats>,
    language: Option<Language>,
) -> Result<Page, Halt> {
    let manifest = match path_state::look(results)? {
        PathState::Finished(manifest) => manifest,
        PathState::Unfinished => {
            return Err(Halt::usage(format!(
                "the run at {} is not finished: its report is made when it is",
                results.display()
            )));
        }
        PathState::Stranger | PathState::Free => {
            let message = format!(
                "{}: there is no finished run (results with their run.json beside them)",
                results.display()
            );
            return Err(Halt::new(Exit::Input, message));
        }
    };
    let manifest: &Manifest = &manifest;
    let changed = known.is_none() && !manifest.wrote(results)?;
    // Whoever counted the rows need not read all of them again.
    let most = known.map_or(SHOWN, |stats| SHOWN.min((stats.bad() + stats.outstanding()) as usize));
    let (mut counted, mut bad) = (RunStats::default(), Vec::new());
    let mut records = Reader::open(results, &manifest.head.files)?;
    while (known.is_none() || bad.len() < most)
        && let Some(record) = records.next().transpose()?
    {
        if known.is_none() {
            counted.add(&record);
        }
        if !record.outcome.status.is_good() && bad.len() < most {
            bad.push(record);
        }
    }
    let stats = known.unwrap_or(&counted);
    let html = Report { results, manifest, stats, bad: &bad, changed, language }.html();
    Ok(Page { html, changed })
}

/// A page may take the place of another, and of nothing else.
fn write(place: &Path, page: &str) -> Result<(), Halt> {
    if place.exists() && !is_file_of(place, OPENING.as_bytes()) {
        return Err(Halt::usage(format!(
            "{} is there and is no report: give another file",
            place.display()
        )));
    }
    Draft::whole(place, page).map_err(|(file, error): (PathBuf, _)| {
        Halt::new(Exit::Unwritable, format!("{}: {error}", file.display()))
    })
}
