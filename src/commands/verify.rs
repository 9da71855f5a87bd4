//! `bkassoc verify`: audit a results file.

use std::path::{Path, PathBuf};

use super::rerun::{as_parent, parent_of};
use super::results::reading_of;
use super::{announce, input_options, print, resolve_with};
use crate::cli::layers::Typed;
use crate::cli::{Command, Verify as Args};
use crate::config::{Config, Connection, InputConfig};
use crate::engine::run::Halt;
use crate::engine::stats::{Calls, RunStats};
use crate::exit::Exit;
use crate::input::{Source, digest_of};
use crate::outcome::Status;
use crate::report::progress::{Progress, ProgressMode, Screen};
use crate::session::failure::Failure;
use crate::session::runtime::runtime;
use crate::session::server::Server;
use crate::session::signals::Signals;
use crate::session::source::sources;
use crate::storage::journal::disk::folder_of;
use crate::storage::manifest::{self, Manifest, ManifestError, Work};
use crate::storage::path_state;
use crate::storage::results::ResultsError;
use crate::storage::results::reader::Reader;
use crate::target::Target;
use crate::verify::against::{Against, Origin};
use crate::verify::claims::Claims;
use crate::verify::live::{self, Setting};
use crate::verify::report::{Checked, Report};
use crate::verify::rows::RowAudit;
use crate::verify::{FindingKind, Findings, Spot};

/// Runs it.
pub(super) fn run(typed: &Typed, args: &Args, screen: &Screen) -> Result<Exit, Failure> {
    let manifest = manifest_of(&args.results)?;
    let parent = manifest.as_ref().ok().map(|found| as_parent(&args.results, found));
    let config = resolve_with(typed, parent.as_ref())?;
    let Command::Verify(args) = &config.command else {
        return Err(Failure::usage("this is no verify"));
    };
    refuse_lost_sandbox(&config)?;
    let offline = Offline::new(args, manifest, &config, screen)?;
    announce(&config, screen);
    let mut checked = offline.checks();
    let runtime = runtime()?;
    let (mut findings, stats) = runtime.block_on(offline.go_unless_interrupted(screen))?;
    let (mut calls, mut halt) = (Calls::default(), None);
    if let Some(connection) = &config.connection {
        let claims = claims(&stats);
        let live = Live { connection, config: &config, results: &args.results, claims, screen };
        let (asked, ended) = runtime.block_on(live.go(&mut findings))?;
        (calls, halt) = (asked.calls, ended);
        if halt.is_none() {
            checked.push(Checked::Server(connection.target.to_string(), claims));
        }
    }
    let exit = match &halt {
        Some(halt) => halt.exit,
        None if findings.is_empty() => Exit::Ok,
        None => Exit::SomeFailed,
    };
    let report = Report {
        results: &args.results,
        rows: stats.rows(),
        checked: &checked,
        findings: &findings,
        calls: &calls,
        exit,
        error: halt.as_ref().map(|halt| halt.message.as_str()),
    };
    if let Some(text) = report.render(config.display.quiet, config.display.json) {
        print(text.as_bytes());
    }
    Ok(exit)
}

/// The manifest of the run that wrote these results, or why there is none: that is a finding.
fn manifest_of(results: &Path) -> Result<Result<Manifest, String>, Failure> {
    match path_state::look(results) {
        Err(error @ ManifestError::Foreign { .. }) => Ok(Err(error.to_string())),
        _ => Ok(parent_of(results)?
            .ok_or_else(|| format!("there is no {}", manifest::path_for(results).display()))),
    }
}

/// A sandbox in memory is gone with the run that it was for.
fn refuse_lost_sandbox(config: &Config) -> Result<(), Failure> {
    match &config.connection {
        Some(connection) if connection.target.endpoint == Target::SANDBOX => Err(Failure::usage(
            "--live: a sandbox in memory is gone with its run; give results of a server (as \
             `bkassoc sandbox` is one), or leave out --live",
        )),
        Some(_) | None => Ok(()),
    }
}

/// How many rows say what the server has.
fn claims(stats: &RunStats) -> u64 {
    Status::ALL.iter().filter(|status| status.is_good()).map(|status| stats.count(*status)).sum()
}

/// All that needs no server.
struct Offline {
    results: PathBuf,
    manifest: Result<Manifest, String>,
    /// By what the run, or one whose rows it carries, was undone.
    undone: Option<String>,
    /// Input names, in order; empty for a single input.
    files: Vec<String>,
    against: Option<Against>,
    inputs: Vec<String>,
    screen: Screen,
    mode: ProgressMode,
}

impl Offline {
    fn new(
        args: &Args,
        manifest: Result<Manifest, String>,
        config: &Config,
        screen: &Screen,
    ) -> Result<Self, Failure> {
        let lineage = manifest.clone().map(|found| found.lineage(&args.results));
        let lineage = lineage.unwrap_or_default();
        let files = lineage.last().map(|(_, first)| first.head.files.clone()).unwrap_or_default();
        if let (Ok(manifest), false) = (&manifest, args.against.is_empty()) {
            refuse_other_inputs(args, manifest, &files)?;
        }
        let against = if args.against.is_empty() {
            None
        } else {
            Some(open_inputs(&args.against, &config.input, &lineage)?)
        };
        Ok(Self {
            results: args.results.clone(),
            manifest,
            undone: Manifest::undone_in(&lineage),
            files,
            against,
            inputs: args.against.iter().map(|input| input.display().to_string()).collect(),
            screen: screen.clone(),
            mode: config.display.progress,
        })
    }

    fn checks(&self) -> Vec<Checked> {
        let mut checks = vec![Checked::File];
        checks.extend(self.manifest.is_ok().then_some(Checked::RunJson));
        checks.extend((!self.inputs.is_empty()).then(|| Checked::Input(self.inputs.clone())));
        checks
    }

    /// Reading takes a while, and writes nothing that a signal would leave half done.
    async fn go_unless_interrupted(self, screen: &Screen) -> Result<(Findings, RunStats), Failure> {
        let mut signals = Signals::listen()?;
        tokio::select! {
            done = tokio::task::spawn_blocking(move || self.go()) => {
                done.map_err(|error| Failure::new(Exit::Bug, error.to_string()))?
            }
            exit = signals.next() => {
                screen.say("bkassoc: interrupted");
                std::process::exit(exit.code().into());
            }
        }
    }

    fn go(mut self) -> Result<(Findings, RunStats), Failure> {
        let mut findings = Findings::new(self.files);
        let manifest = match self.manifest {
            Ok(manifest) => Some(manifest),
            Err(what) => {
                findings.say(FindingKind::NoRunJson, Spot::Whole, what);
                None
            }
        };
        if let Some(manifest) = &manifest {
            let is = digest_of(&Source::Path(self.results.clone()))?.sha256;
            let was = &manifest.results_sha256;
            if is != *was {
                let what = format!("its SHA-256 is {is}, and run.json says {was}");
                findings.say(FindingKind::Changed, Spot::Whole, what);
            }
        }
        if let Some(undone) = self.undone {
            findings.say(FindingKind::Undone, Spot::Whole, undone);
        }
        let mut rows = rows(manifest.as_ref(), &self.results)?;
        rows.stats().expected = manifest.as_ref().map(|found| found.counts.values().sum());
        let mut reader = Reader::open(&self.results, &[])?;
        let mut progress = Progress::new(self.mode, self.screen);
        while let Some(record) = reader.next() {
            let record = match record {
                Ok(record) => record,
                Err(ResultsError::Unreadable { line: Some(line), what, .. }) => {
                    findings.say(FindingKind::Unreadable, Spot::Line(line), what);
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let file = reader.files().get(record.file as usize).map(String::as_str);
            let place =
                rows.take(&record, file, &mut findings).map_err(|error| temporary(&error))?;
            if let Some(against) = &mut self.against {
                against.take(place, &record, &mut findings)?;
            }
            progress.show(rows.stats());
        }
        if let Some(against) = self.against {
            against.finish(&mut findings)?;
        }
        let stats =
            rows.finish(manifest.as_ref(), &mut findings).map_err(|error| temporary(&error))?;
        progress.finish();
        Ok((findings, stats))
    }
}

/// What does not fit into memory goes beside the results, or, where that can't be written, to where
/// the system keeps such things.
fn rows(manifest: Option<&Manifest>, results: &Path) -> Result<RowAudit, Failure> {
    let work = manifest.map(|manifest| manifest.head.work);
    RowAudit::new(work, folder_of(results))
        .or_else(|_| RowAudit::new(work, &std::env::temp_dir()))
        .map_err(|error| temporary(&error))
}

fn temporary(error: &std::io::Error) -> Failure {
    Failure::new(Exit::Unwritable, format!("a temporary file for sorting: {error}"))
}

/// Opens the inputs as the run read them, but for what is said otherwise now.
fn open_inputs(
    inputs: &[PathBuf],
    given: &InputConfig,
    lineage: &[(PathBuf, Manifest)],
) -> Result<Against, Failure> {
    let mut origin = Origin::default();
    let mut run = InputConfig::default();
    for (_, manifest) in lineage {
        run = reading_of(&manifest.head)?;
        if manifest.head.work == Work::Rerun {
            origin.later_biz_ids.extend(run.default_biz_id);
        } else {
            origin.digests.clone_from(&manifest.digests);
        }
    }
    let given = given.clone();
    let reading = InputConfig {
        map: if given.map.is_empty() { run.map } else { given.map },
        format: given.format.or(run.format),
        delimiter: given.delimiter.or(run.delimiter),
        encoding: given.encoding.or(run.encoding),
        default_biz_id: run.default_biz_id,
        // Only a row's texts count, not what it lacks.
        require_biz_id: false,
    };
    Ok(Against::open(&sources(inputs), &input_options(&reading)?, origin)?)
}

/// Only results that have a line for each row of an input can be held against one.
fn refuse_other_inputs(args: &Args, manifest: &Manifest, files: &[String]) -> Result<(), Failure> {
    if manifest.head.work == Work::Undo {
        return Err(Failure::usage(
            "--against: an undo has lines for some rows of its input only; hold the results of the \
             import or rerun against it",
        ));
    }
    let (read, given) = (files.len().max(1), args.against.len());
    if read != given {
        return Err(Failure::usage(format!(
            "--against: the run read {read} inputs, and {given} are given: name all of them, in the \
             order of the run{}",
            if files.is_empty() { String::new() } else { format!(" ({})", files.join(", ")) }
        )));
    }
    Ok(())
}

/// The part that asks the server.
struct Live<'a> {
    connection: &'a Connection,
    config: &'a Config,
    results: &'a Path,
    claims: u64,
    screen: &'a Screen,
}

impl Live<'_> {
    async fn go(&self, findings: &mut Findings) -> Result<(RunStats, Option<Halt>), Failure> {
        let engine = &self.config.engine;
        let server = Server::of(self.connection, engine.concurrency)?;
        let setting = Setting {
            cmdb: &server,
            target: &self.connection.target,
            options: engine,
            expected: self.claims,
            seed: rand::random(),
        };
        let claims = Claims::new(Reader::open(self.results, &[])?, findings.files.clone());
        let signals = Signals::listen()?;
        // Nothing is at stake: what is in flight need not be waited for.
        let stop = async {
            let exit = signals.halt().await.exit;
            Halt { exit, message: "interrupted: not every row was asked for".to_owned() }
        };
        let mut progress = Progress::new(self.config.display.progress, self.screen.clone());
        let mut show = |stats: &RunStats| progress.show(stats);
        let ended = live::compare(setting, claims, findings, stop, &mut show).await;
        progress.finish();
        Ok(ended?)
    }
}
