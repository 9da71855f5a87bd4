//! One command a file; what they share: how a command fails, and the surroundings it works in.

mod signals;
mod server;
mod rows;
mod opened;
mod road;
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
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use crate::cli::Command;
use crate::cli::layers::{Typed, switch};
use crate::config::{self, Config, ConfigError, Environment, InputConfig};
use crate::engine::stats::{Calls, RunStats};
use crate::exit::Exit;
use crate::input::{InputError, InputOptions, UnknownEncoding};
use crate::report::log;
use crate::report::progress::Screen;
use crate::report::summary::{Kind, Summary};
use crate::storage::journal::JournalError;
use crate::storage::manifest::ManifestError;
use crate::storage::path_state::ClearError;
use crate::storage::results::ResultsError;
use crate::verify::Findings;
use crate::verify::report::Report;
use signals::Signals;

/// Why a command ended without doing its work.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    exit: Exit,
    message: String,
}

impl Failure {
    fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }

    fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }
}

macro_rules! failures {
    ($($error:ty => |$it:ident| $exit:expr;)*) => {
        $(impl From<$error> for Failure {
            fn from($it: $error) -> Self {
                Self { exit: $exit, message: $it.to_string() }
            }
        })*
    };
}

failures! {
    ConfigError => |_error| Exit::Usage;
    ManifestError => |error| match error {
        ManifestError::OtherRows { .. } => Exit::Input,
        ManifestError::Unreadable { .. } | ManifestError::Foreign { .. } => Exit::Usage,
    };
    InputError => |error| if error.is_usage() { Exit::Usage } else { Exit::Input };
    ClearError => |error| match error {
        ClearError::Held(_) => Exit::Held,
        ClearError::Refused { .. } => Exit::Unwritable,
    };
    JournalError => |error| match error {
        JournalError::Held { .. } => Exit::Held,
        JournalError::Unwritable { .. }
        | JournalError::Unreadable { .. }
        | JournalError::Unseen(_)
        | JournalError::Damaged { .. } => Exit::Unwritable,
        JournalError::Foreign { .. } => Exit::Usage,
    };
    ResultsError => |error| match &error {
        ResultsError::Unwritable { .. } | ResultsError::Journal(_) => Exit::Unwritable,
        ResultsError::NotConserved { .. } => Exit::Bug,
        ResultsError::Unreadable { .. } => Exit::Input,
    };
    crate::cmdb::http::ClientError => |_error| Exit::Target;
}

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
            kind: Kind::Import,
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

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Bug, format!("no runtime: {error}")))
}

/// Writes to stdout. A reader that has gone is no failure.
fn print(bytes: &[u8]) -> Exit {
    let mut stdout = io::stdout().lock();
    let _ = stdout.write_all(bytes).and_then(|()| stdout.flush());
    Exit::Ok
}

/// Asks on the terminal, where there is one.
fn ask(screen: &Screen, question: &str) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::usage(format!("{question} Give --yes to say so without a terminal")));
    }
    screen.say(&format!("bkassoc: {question} [y/N]"));
    let read = || {
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer).map(|_| answer)
    };
    // A part of the run may have gone before, and from then on signals are for us to hear.
    runtime()?.block_on(async {
        let mut signals = Signals::listen()?;
        tokio::select! {
            exit = signals.next() => std::process::exit(exit.code().into()),
            answer = tokio::task::spawn_blocking(read) => {
                Ok(matches!(answer, Ok(Ok(answer)) if matches!(answer.trim(), "y" | "Y" | "yes")))
            }
        }
    })
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

/// RFC 3339, local time with its offset.
fn now() -> String {
    jiff::ZonedDateTime::now().strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
}
