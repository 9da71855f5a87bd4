//! One command a file; what they share: how a command fails, and the surroundings it works in.

pub mod import;
pub mod check;
pub mod rerun;
pub mod results;
pub mod undo;
pub mod verify;
pub mod sandbox;
pub mod completions;
pub mod man;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use crate::cli::Command;
use crate::cli::layers::{Typed, switch};
use crate::config::{self, Config, Environment, InputConfig, Output};
use crate::engine::stats::{Calls, RunStats};
use crate::exit::Exit;
use crate::input::{InputOptions, UnknownEncoding};
use crate::report::log;
use crate::report::progress::Screen;
use crate::report::summary::{RunKind, Summary, next_step};
use crate::session::failure::Failure;
use crate::session::{Ending, Session};
use crate::storage::path_state;
use crate::verify::Findings;
use crate::verify::report::Report;

/// Runs the command line.
pub fn main(argv: impl IntoIterator<Item = OsString>) -> ExitCode {
    std::panic::set_hook(Box::new(|panic| {
        let _ = writeln!(io::stderr(), "bkassoc: this is a bug: {panic}");
        std::process::exit(Exit::Bug.code().into());
    }));
    let argv: Vec<OsString> = argv.into_iter().collect();
    let typed = match Typed::parse(argv.iter().cloned()) {
        Ok(typed) => typed,
        Err(error) => return answer_usage(&error, &argv),
    };
    let screen = Screen::default();
    match dispatch(&typed, &screen) {
        Ok(exit) => exit.into(),
        Err(Outcome::Usage(error)) => answer_usage(&error, &argv),
        Err(Outcome::Failed(failure)) => {
            print_as_json(&argv, failure.exit, &failure.message);
            log::say_error(&screen, &failure.message);
            failure.exit.into()
        }
    }
}

/// A script that asked for JSON gets it also where nothing was begun. Only the words and the variable
/// are asked: a profile may be what is wrong.
fn print_as_json(argv: &[OsString], exit: Exit, error: &str) {
    let asked = argv.iter().any(|word| word == "--json")
        || std::env::var_os("BKASSOC_JSON").and_then(|value| switch(&value)) == Some(true);
    if !asked {
        return;
    }
    let text = if argv.get(1).is_some_and(|word| word == "verify") {
        Report {
            results: Path::new(""),
            rows: 0,
            checked: &[],
            findings: &Findings::default(),
            calls: &Calls::default(),
            exit,
            error: Some(error),
        }
        .json()
    } else {
        Summary {
            kind: RunKind::Import,
            target: None,
            stats: &RunStats::default(),
            inputs: &[],
            results: None,
            unfinished: None,
            exit,
            error: Some(error),
            checked: None,
            next: None,
        }
        .json()
    };
    print(text.as_bytes());
}

enum Outcome {
    Usage(clap::Error),
    Failed(Failure),
}

impl<F: Into<Failure>> From<F> for Outcome {
    fn from(failure: F) -> Self {
        Self::Failed(failure.into())
    }
}

fn answer_usage(error: &clap::Error, argv: &[OsString]) -> ExitCode {
    // Help and version are no errors.
    if !error.use_stderr() {
        let _ = error.print();
        return Exit::Ok.into();
    }
    print_as_json(argv, Exit::Usage, error.to_string().trim_end());
    let _ = error.print();
    Exit::Usage.into()
}

fn dispatch(typed: &Typed, screen: &Screen) -> Result<Exit, Outcome> {
    match typed.command().map_err(Outcome::Usage)? {
        Command::Import(args) if args.dry_run => Ok(check::run(&resolve(typed)?, typed, screen)?),
        Command::Import(_) => Ok(import::run(&resolve(typed)?, typed, screen)?),
        Command::Check(_) => Ok(check::run(&resolve(typed)?, typed, screen)?),
        Command::Completions { shell } => Ok(print(&completions::script(shell))),
        Command::Man { command } => {
            let page =
                man::page(command.as_deref()).map_err(|error| Failure::usage(error.to_string()))?;
            Ok(print(&page))
        }
        Command::Rerun(args) => Ok(rerun::run(typed, &args, screen)?),
        Command::Undo(args) => Ok(undo::run(typed, &args, screen)?),
        Command::Verify(args) => Ok(verify::run(typed, &args, screen)?),
        Command::Results(_) | Command::Sandbox(_) => Ok(run_plain(typed, screen)?),
    }
}

/// Runs a command that has no target.
fn run_plain(typed: &Typed, screen: &Screen) -> Result<Exit, Failure> {
    match config::plain(typed, &Environment::of_process())? {
        Command::Results(args) => results::run(&args, screen),
        Command::Sandbox(args) => sandbox::run(&args, screen),
        _ => unreachable!("variables make no other command of it"),
    }
}

/// Decides a command that has no parent run.
fn resolve(typed: &Typed) -> Result<Config, Failure> {
    resolve_with(typed, None)
}

/// Decides a command that starts from the results of a parent run.
fn resolve_with(typed: &Typed, parent: Option<&config::Parent>) -> Result<Config, Failure> {
    Ok(config::resolve(typed, &Environment::of_process(), parent)?)
}

/// Says how a run ended: on stdout, unless rows are there.
fn conclude(session: &Session<'_>, typed: &Typed, ending: Ending) -> Exit {
    let Ending { stats, exit, results, error } = ending;
    let results = results.as_deref();
    let (kind, config) = (session.work.into(), session.config);
    let next = next_step(kind, exit, &stats, results, &typed.again(), &typed.identity_flags());
    let summary = Summary {
        kind,
        target: Some(session.target()),
        stats: &stats,
        inputs: &session.files,
        results: results.filter(|_| error.is_none()),
        unfinished: results.filter(|path| path_state::is_unfinished(path)),
        exit,
        error: error.as_deref(),
        checked: None,
        next,
    };
    show(&summary, config, session.screen);
    exit
}

/// Shows a summary where the rows are not.
fn show(summary: &Summary<'_>, config: &Config, screen: &Screen) {
    let Some(text) = summary.render(config.display.quiet, config.display.json) else { return };
    if config.results.output == Output::Stdout {
        screen.say(text.trim_end());
    } else {
        print(text.as_bytes());
    }
}

/// Starts logging, and says where the calls go before anything is sent.
fn announce(config: &Config, screen: &Screen) {
    let display = &config.display;
    log::start(display.log_format, display.quiet, display.verbose, screen.clone());
    if let Some(connection) = &config.connection
        && !display.quiet
    {
        log::say(screen, &connection.announcement(config.engine.rate));
    }
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
}

/// Writes to stdout. A reader that has gone is no failure.
fn print(bytes: &[u8]) -> Exit {
    let mut stdout = io::stdout().lock();
    let _ = stdout.write_all(bytes).and_then(|()| stdout.flush());
    Exit::Ok
}

fn input_options(config: &InputConfig) -> Result<InputOptions, Failure> {
    let encoding = config.encoding.as_deref().map(str::parse).transpose();
    Ok(InputOptions {
        map: config.map.clone(),
        format: config.format,
        delimiter: config.delimiter,
        encoding: encoding.map_err(|error: UnknownEncoding| Failure::usage(error.to_string()))?,
        default_biz_id: config.default_biz_id,
        require_biz_id: config.require_biz_id,
    })
}
