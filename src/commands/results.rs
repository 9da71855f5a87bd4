//! `bkassoc results`: what an unfinished run's journal knows so far.
//!
//! Rows without an outcome are written too, as far as the inputs can still be read: `in_doubt` where
//! a mark says that they may have been sent, `not_attempted` otherwise. So the file can be given to
//! rerun.

use std::path::{Path, PathBuf};

use super::say_all;
use crate::cli::Results as Args;
use crate::config::Environment;
use crate::config::paths::{dated, refuse_own_input};
use crate::exit::{Exit, Halt};
use crate::options::Format;
use crate::outcome::Record;
use crate::report::progress::Screen;
use crate::session::parent::ParentRun;
use crate::session::unfinished::Unfinished;
use crate::storage::path_state::{self, PathState};
use crate::storage::results::reader::Reader;
use crate::storage::results::{self, Layout, ResultsError};

/// Runs it.
pub(super) fn run(args: &Args, warnings: &[String], screen: &Screen) -> Result<Exit, Halt> {
    say_all(warnings, screen);
    let output = dated(&args.output, Environment::of_process().today);
    let args = &Args { output, results: args.results.clone() };
    let format =
        if is_stdout(&args.output) { Some(Format::Csv) } else { Format::of_name(&args.output) };
    let format = format.ok_or_else(|| {
        Halt::usage(format!(
            "{}: results end with .csv, .tsv, .jsonl or .xlsx",
            args.output.display()
        ))
    })?;
    if !is_stdout(&args.output) {
        refuse_to_replace(&args.output)?;
    }
    match path_state::look(&args.results)? {
        PathState::Unfinished => unfinished(args, format, screen),
        PathState::Finished(manifest) => {
            let head = manifest.head.clone();
            let run = ParentRun::new(&args.results, Some(*manifest));
            run.refuse_undone()?;
            say_all(&run.warnings(), screen);
            write(args, format, Layout::of(&head), Reader::open(&args.results, &head.files)?)
        }
        PathState::Free | PathState::Stranger => Err(nothing_there(&args.results)),
    }
}

fn is_stdout(output: &Path) -> bool {
    output == Path::new("-")
}

/// What is written here may take the place of what was written here before, and of nothing else.
fn refuse_to_replace(output: &Path) -> Result<(), Halt> {
    let refuse = |what: &str| {
        Err(Halt::usage(format!("-o {}: {what}: give another file", output.display())))
    };
    match path_state::look(output)? {
        PathState::Unfinished | PathState::Finished(_) => refuse("a run has its results there"),
        PathState::Stranger if !holds_results(output) => refuse("is there, and holds no results"),
        PathState::Free | PathState::Stranger => Ok(()),
    }
}

fn holds_results(path: &Path) -> bool {
    Reader::open(path, &[]).is_ok_and(|mut reader| !matches!(reader.next(), Some(Err(_))))
}

fn nothing_there(results: &Path) -> Halt {
    let message = format!("{}: there is no run, finished or not", results.display());
    Halt::new(Exit::Input, message)
}

fn unfinished(args: &Args, format: Format, screen: &Screen) -> Result<Exit, Halt> {
    let run = Unfinished::read(&args.results)?.ok_or_else(|| nothing_there(&args.results))?;
    if let Some(undone) = run.undone() {
        return Err(Halt::usage(format!(
            "the unfinished run at {} was {undone}: what became of its rows stands there",
            args.results.display()
        )));
    }
    if !is_stdout(&args.output) {
        let inputs: Vec<_> = run.head.inputs.iter().map(PathBuf::from).collect();
        refuse_own_input(&args.output, &inputs).map_err(|error| Halt::usage(error.to_string()))?;
    }
    let head = run.head.clone();
    let layout = Layout::of(&head);
    match run.rows() {
        Ok(rows) => write(args, format, layout, run.records(rows)),
        Err(halt) => {
            screen.say(&format!(
                "bkassoc: {}: rows without an outcome are left out, since only the input has their text",
                halt.message
            ));
            write(args, format, layout, run.outcomes)
        }
    }
}

fn write(
    args: &Args,
    format: Format,
    layout: Layout<'_>,
    records: impl IntoIterator<Item = Result<Record, ResultsError>>,
) -> Result<Exit, Halt> {
    if is_stdout(&args.output) {
        let stdout = std::io::stdout().lock();
        results::write_to(stdout, &args.output, format, layout, records, |_| {})?;
    } else {
        results::write(&args.output, format, layout, records, |_| {})?;
    }
    Ok(Exit::Ok)
}
