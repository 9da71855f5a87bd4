//! One command a file; what they share: how a command fails, and the surroundings it works in.

mod check;
mod import;
mod plan;
mod apply;
mod sync;
mod rerun;
mod results;
mod report;
mod undo;
mod merge;
mod verify;
mod sandbox;
mod completions;
mod man;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use crate::cli::layers::{Typed, early, wants_json};
use crate::cli::{Args, Check, Command, ServerCommand};
use crate::config::{self, Config, Display, Environment, Output};
use crate::engine::stats::{Calls, RunStats};
use crate::exit::{Exit, Halt};
use crate::options::Language;
use crate::report::controls::shown;
use crate::report::log;
use crate::report::look::{Color, Look};
use crate::report::metrics;
use crate::report::progress::Screen;
use crate::report::summary::{RunKind, Summary, allowed, next_step};
use crate::session::{Ending, Session};
use crate::storage::path_state;
use crate::verify::Findings;
use crate::verify::provenance::Recovered;
use crate::verify::report::Report;

/// Runs the command line.
pub fn main(argv: impl IntoIterator<Item = OsString>) -> ExitCode {
    // Wherever it happens, also on a thread whose end nobody waits for.
    std::panic::set_hook(Box::new(|panic| {
        let panic = panic.to_string();
        let _ = writeln!(io::stderr(), "bkassoc: this is a bug: {}", shown(&panic, false));
        std::process::exit(Exit::Bug.code().into());
    }));
    let argv: Vec<OsString> = argv.into_iter().collect();
    // What is wrong with the words is told in colours, too, and a profile is not read by then.
    let color = early("color", &argv).and_then(|word| Color::parse(word.to_str()?));
    color.unwrap_or(Color::Auto).choose();
    let typed = match Typed::parse(argv.iter().cloned()) {
        Ok(typed) => typed,
        Err(error) => return answer_usage(&error, &argv),
    };
    let screen = Screen::default();
    match dispatch(&typed, &screen) {
        Ok(exit) => exit.into(),
        Err(halt) => {
            log::say_error(&screen, &halt.message);
            if !typed.wants_json() {
                return halt.exit.into();
            }
            let is_verify = matches!(typed.command(), Command::Verify(_));
            print_as_json(is_verify, halt.exit, &halt.message, &screen).into()
        }
    }
}

/// A script that asked for JSON gets it also where nothing was begun.
fn print_as_json(is_verify: bool, exit: Exit, error: &str, screen: &Screen) -> Exit {
    let error = Some(error);
    let text = if is_verify {
        Report {
            results: Path::new(""),
            rows: 0,
            added: 0,
            checked: &[],
            findings: &Findings::default(),
            recovered: &Recovered::default(),
            calls: &Calls::default(),
            exit,
            error,
            look: Look::default(),
        }
        .json()
    } else {
        Summary {
            kind: RunKind::Import,
            target: None,
            shard: None,
            stats: &RunStats::default(),
            inputs: &[],
            results: None,
            unfinished: None,
            exit,
            error,
            warnings: &[],
            survey: None,
            checked: None,
            next: None,
            look: Look::default(),
        }
        .json()
    };
    print(text.as_bytes(), exit, screen)
}

fn answer_usage(error: &clap::Error, argv: &[OsString]) -> ExitCode {
    let screen = Screen::default();
    // Help and version are no errors.
    if !error.use_stderr() {
        return printed_or(error.print(), Exit::Ok, &screen).into();
    }
    // It names words that were typed, or are names of files.
    let look = Look::of_stderr(Language::En);
    let text = if look.colors { error.render().ansi().to_string() } else { error.to_string() };
    screen.say(text.trim_end());
    if !wants_json(argv) {
        return Exit::Usage.into();
    }
    let is_verify = argv.get(1).is_some_and(|word| word == "verify");
    print_as_json(is_verify, Exit::Usage, error.to_string().trim_end(), &screen).into()
}

fn dispatch(typed: &Typed, screen: &Screen) -> Result<Exit, Halt> {
    match typed.command() {
        Command::Import(_) => import::run(typed, screen),
        Command::Check(_) => {
            let (args, config) = resolve::<Check>(typed, None)?;
            check::run(&args.inputs, &config, typed, screen)
        }
        Command::Plan(_) => plan::run(typed, screen),
        Command::Sync(_) => sync::run(typed, screen),
        Command::Apply(args) => apply::run(typed, args, screen),
        Command::Rerun(args) => rerun::run(typed, args, screen),
        Command::Undo(args) => undo::run(typed, args, screen),
        Command::Merge(_) => {
            let (args, warnings) = resolve_plain(typed)?;
            merge::run(&args, &warnings, typed, screen)
        }
        Command::Verify(args) => verify::run(typed, args, screen),
        Command::Results(_) => {
            let (args, warnings) = resolve_plain(typed)?;
            results::run(&args, &warnings, screen)
        }
        Command::Report(_) => {
            let (args, warnings) = resolve_plain(typed)?;
            report::run(&args, &warnings, screen)
        }
        Command::Sandbox(_) => {
            let (args, warnings) = resolve_plain(typed)?;
            sandbox::run(&args, &warnings, screen)
        }
        Command::Completions { shell } => Ok(print(&completions::script(*shell), Exit::Ok, screen)),
        Command::Man { command } => {
            let page = man::page(command.as_deref());
            let page = page.map_err(|error| Halt::usage(error.to_string()))?;
            Ok(print(&page, Exit::Ok, screen))
        }
    }
}

/// Decides a command that has no target, with what is to be told before it starts.
fn resolve_plain<A: Args>(typed: &Typed) -> Result<(A, Vec<String>), Halt> {
    Ok(config::plain(typed, &Environment::of_process())?)
}

/// Decides a command that has a target; `parent` is the run whose results it starts from.
fn resolve<A: ServerCommand>(
    typed: &Typed,
    parent: Option<&config::Parent>,
) -> Result<(A, Config), Halt> {
    Ok(config::resolve(typed, &Environment::of_process(), parent)?)
}

/// Says how a run ended, to a person and to what watches the job.
fn conclude(
    session: &Session<'_>,
    typed: &Typed,
    ended: Result<Ending, Halt>,
) -> Result<Exit, Halt> {
    let config = session.config;
    let finished = ended.as_ref().ok().filter(|ending| ending.error.is_none());
    let results = finished.and_then(|ending| ending.results.clone());
    let is_told_of = config.metrics.is_some() || config.report.is_some();
    let counted = ended.as_ref().ok().filter(|_| is_told_of);
    let stats = counted.map(|ending| ending.stats.clone()).unwrap_or_default();
    let ended = ended.map(|ending| tell(session, typed, ending));
    if let Some(place) = &config.report {
        report::leave(results.as_deref(), &stats, place, config.display.given_language);
    }
    let exit = ended.as_ref().map_or_else(|halt| halt.exit, |exit| *exit);
    // The metrics of a run are those of the process that holds it.
    if let Some(options) = config.metrics.as_ref().filter(|_| exit != Exit::Held) {
        metrics::conclude(options, &stats, exit);
    }
    ended
}

/// Says how a run ended: on stdout, unless rows are there.
fn tell(session: &Session<'_>, typed: &Typed, ending: Ending) -> Exit {
    let Ending { stats, exit, results, error, allowing, survey } = ending;
    let results = results.as_deref();
    let (kind, config) = (session.rows.work().into(), session.config);
    let next = match exit {
        Exit::Guard => Some(allowed(&typed.again(), &allowing)),
        _ => next_step(kind, exit, &stats, results, &typed.again(), &typed.identity_flags()),
    };
    let summary = Summary {
        kind,
        target: Some(session.target()),
        shard: config.shard,
        stats: &stats,
        inputs: &session.rows.files(),
        results: results.filter(|_| error.is_none()),
        unfinished: results.filter(|path| path_state::is_unfinished(path)),
        exit,
        error: error.as_deref(),
        warnings: &session.warnings,
        // A rerun's is that of the run before.
        survey: survey.as_ref().filter(|_| kind != RunKind::Rerun),
        checked: None,
        next,
        look: look(config),
    };
    show(&summary, config, session.screen)
}

/// Shows a summary where the rows are not.
fn show(summary: &Summary<'_>, config: &Config, screen: &Screen) -> Exit {
    match summary.render(config.display.quiet, config.display.json) {
        Some(text) if config.results.output == Output::Stdout => screen.say(text.trim_end()),
        Some(text) => return print(text.as_bytes(), summary.exit, screen),
        None => {}
    }
    summary.exit
}

/// Decides how all is shown from now on, and starts logging.
fn begin(display: Display, screen: &Screen) {
    display.color.choose();
    log::start(display.log_format, display.quiet, display.verbose, screen.clone());
}

/// How texts are shown that stand where the summary does: on stdout, unless rows are there.
fn look(config: &Config) -> Look {
    let language = config.display.language;
    match config.results.output {
        Output::Stdout => Look::of_stderr(language),
        Output::File(_) | Output::Nowhere => Look::of_stdout(language),
    }
}

/// Starts logging, and says where the calls go before anything is sent.
fn announce(config: &Config, screen: &Screen) {
    let display = config.display;
    begin(display, screen);
    if let Some(connection) = &config.connection
        && !display.quiet
    {
        log::say(screen, &connection.announcement(config.engine.rate));
        if let Some(shard) = config.shard {
            let count = shard.count;
            log::say(screen, &format!("shard {shard}, which takes 1/{count} of that rate"));
        }
    }
    warn(&config.warnings);
}

/// Tells of warnings where there are no logs.
fn say_all(warnings: &[String], screen: &Screen) {
    for warning in warnings {
        screen.say(&format!("bkassoc: {warning}"));
    }
}

fn warn(warnings: &[String]) {
    for warning in warnings {
        tracing::warn!("{warning}");
    }
}

/// Writes to stdout what a command that ends with `exit` has to say.
fn print(bytes: &[u8], exit: Exit, screen: &Screen) -> Exit {
    let mut stdout = io::stdout().lock();
    printed_or(stdout.write_all(bytes).and_then(|()| stdout.flush()), exit, screen)
}

/// How a command ends whose text was printed, or was not: a reader that has gone is no failure.
fn printed_or(printed: io::Result<()>, exit: Exit, screen: &Screen) -> Exit {
    match printed {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            log::say_error(screen, &format!("stdout can't be written: {error}"));
            if exit == Exit::Bug { exit } else { Exit::Unwritable }
        }
        Ok(()) | Err(_) => exit,
    }
}
