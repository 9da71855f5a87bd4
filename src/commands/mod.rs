//! One command a file; what they share: how a command fails, and the surroundings it works in.

pub mod check;
pub mod import;
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

use crate::cli::layers::{Typed, wants_json};
use crate::cli::{Args, Check, Command, ServerCommand};
use crate::config::{self, Config, Environment, Output};
use crate::engine::stats::{Calls, RunStats};
use crate::exit::{Exit, Halt};
use crate::report::log;
use crate::report::progress::Screen;
use crate::report::summary::{RunKind, Summary, next_step};
use crate::session::{Ending, Session};
use crate::storage::path_state;
use crate::verify::Findings;
use crate::verify::report::Report;

/// Runs the command line.
pub fn main(argv: impl IntoIterator<Item = OsString>) -> ExitCode {
    // Wherever it happens, also on a thread whose end nobody waits for.
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
        Err(halt) => {
            if typed.wants_json() {
                let is_verify = matches!(typed.command(), Command::Verify(_));
                print_as_json(is_verify, halt.exit, &halt.message);
            }
            log::say_error(&screen, &halt.message);
            halt.exit.into()
        }
    }
}

/// A script that asked for JSON gets it also where nothing was begun.
fn print_as_json(is_verify: bool, exit: Exit, error: &str) {
    let error = Some(error);
    let text = if is_verify {
        Report {
            results: Path::new(""),
            rows: 0,
            checked: &[],
            findings: &Findings::default(),
            calls: &Calls::default(),
            exit,
            error,
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
            error,
            warnings: &[],
            checked: None,
            next: None,
        }
        .json()
    };
    print(text.as_bytes());
}

fn answer_usage(error: &clap::Error, argv: &[OsString]) -> ExitCode {
    // Help and version are no errors.
    if !error.use_stderr() {
        let _ = error.print();
        return Exit::Ok.into();
    }
    if wants_json(argv) {
        let is_verify = argv.get(1).is_some_and(|word| word == "verify");
        print_as_json(is_verify, Exit::Usage, error.to_string().trim_end());
    }
    let _ = error.print();
    Exit::Usage.into()
}

fn dispatch(typed: &Typed, screen: &Screen) -> Result<Exit, Halt> {
    match typed.command() {
        Command::Import(_) => import::run(typed, screen),
        Command::Check(_) => {
            let (args, config) = resolve::<Check>(typed, None)?;
            check::run(&args.inputs, &config, typed, screen)
        }
        Command::Rerun(args) => rerun::run(typed, args, screen),
        Command::Undo(args) => undo::run(typed, args, screen),
        Command::Verify(args) => verify::run(typed, args, screen),
        Command::Results(_) => results::run(&resolve_plain(typed)?, screen),
        Command::Sandbox(_) => sandbox::run(&resolve_plain(typed)?, screen),
        Command::Completions { shell } => Ok(print(&completions::script(*shell))),
        Command::Man { command } => {
            let page = man::page(command.as_deref());
            Ok(print(&page.map_err(|error| Halt::usage(error.to_string()))?))
        }
    }
}

/// Decides a command that has no target.
fn resolve_plain<A: Args>(typed: &Typed) -> Result<A, Halt> {
    Ok(config::plain(typed, &Environment::of_process())?)
}

/// Decides a command that has a target; `parent` is the run whose results it starts from.
fn resolve<A: ServerCommand>(
    typed: &Typed,
    parent: Option<&config::Parent>,
) -> Result<(A, Config), Halt> {
    Ok(config::resolve(typed, &Environment::of_process(), parent)?)
}

/// Says how a run ended: on stdout, unless rows are there.
fn conclude(session: &Session<'_>, typed: &Typed, ending: Ending) -> Exit {
    let Ending { stats, exit, results, error } = ending;
    let results = results.as_deref();
    let (kind, config) = (session.rows.work().into(), session.config);
    let next = next_step(kind, exit, &stats, results, &typed.again(), &typed.identity_flags());
    let summary = Summary {
        kind,
        target: Some(session.target()),
        stats: &stats,
        inputs: &session.rows.files(),
        results: results.filter(|_| error.is_none()),
        unfinished: results.filter(|path| path_state::is_unfinished(path)),
        exit,
        error: error.as_deref(),
        warnings: &session.warnings,
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
    warn(&config.warnings);
}

fn warn(warnings: &[String]) {
    for warning in warnings {
        tracing::warn!("{warning}");
    }
}

/// Writes to stdout. A reader that has gone is no failure.
fn print(bytes: &[u8]) -> Exit {
    let mut stdout = io::stdout().lock();
    let _ = stdout.write_all(bytes).and_then(|()| stdout.flush());
    Exit::Ok
}
