//! `bkassoc verify`: audit a results file.

use std::path::{Path, PathBuf};

use super::{announce, print, resolve};
use crate::cli::Verify;
use crate::cli::layers::Typed;
use crate::config::{Config, Connection, Display, reading};
use crate::engine::stats::{Calls, RunStats};
use crate::exit::{Exit, Halt};
use crate::input::{InputOptions, Source};
use crate::outcome::Status;
use crate::report::abilities;
use crate::report::look::Look;
use crate::report::progress::{Progress, Screen};
use crate::session::parent::ParentRun;
use crate::session::runtime::runtime;
use crate::session::server::Server;
use crate::session::signals::Signals;
use crate::storage::manifest::{self, Manifest, ManifestError, Work};
use crate::storage::path_state;
use crate::storage::plan::PlanManifest;
use crate::storage::results::reader::Reader;
use crate::target::Target;
use crate::verify::Findings;
use crate::verify::against::{Against, Origin};

use crate::verify::audit_trail::AuditTrail;
use crate::verify::claims::Claims;
use crate::verify::live::{self, Compared, Setting};
use crate::verify::offline::Offline;
use crate::verify::overtaken::Overtaken;
use crate::verify::provenance::Recovered;
use crate::verify::report::{Checked, Report};
use crate::verify::rows::Rows;

/// Runs it.
pub(super) fn run(typed: &Typed, args: &Verify, screen: &Screen) -> Result<Exit, Halt> {
    let (run, lost) = find(&args.results)?;
    let (args, config) = resolve::<Verify>(typed, run.inherited().as_ref())?;
    refuse_lost_sandbox(&config)?;
    let trail = AuditTrail::of(&run.lineage);
    let offline = offline(&args, run, lost, &config)?;
    announce(&config, screen);
    let mut checked = checks(&offline, &args);
    let runtime = runtime()?;
    let (mut findings, rows) =
        runtime.block_on(audit_unless_interrupted(offline, config.display, screen))?;
    let Rows { stats, added, overtaken, undoes: of_undo } = rows;
    let (mut calls, mut recovered, mut halt) = (Calls::default(), Recovered::default(), None);
    if let Some(connection) = &config.connection {
        let claims = claims(&stats, of_undo);
        let results = &args.results;
        let live = Live { connection, config: &config, results, of_undo, claims, screen };
        let compared = runtime.block_on(live.go(trail, overtaken, &mut findings))?;
        let asked = compared.stats.rows();
        (calls, recovered, halt) = (compared.stats.calls, compared.recovered, compared.halt);
        abilities::log(&calls.abilities, &connection.target);
        if halt.is_none() {
            checked.push(Checked::Server(connection.target.to_string(), asked));
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
        added,
        checked: &checked,
        findings: &findings,
        recovered: &recovered,
        calls: &calls,
        exit,
        error: halt.as_ref().map(|halt| halt.message.as_str()),
        look: Look::of_stdout(config.display.language),
    };
    let text = report.render(config.display.quiet, config.display.json);
    Ok(text.map_or(exit, |text| print(text.as_bytes(), exit, screen)))
}

/// The run that wrote these results, and why its manifest is lost, if it is: that is a finding.
fn find(results: &Path) -> Result<(ParentRun, Option<String>), Halt> {
    if let Err(error @ ManifestError::Foreign { .. }) = path_state::look(results) {
        return Ok((ParentRun::new(results, None), Some(error.to_string())));
    }
    let run = ParentRun::find(results)?;
    let lost = format!("there is no {}", manifest::path_for(results).display());
    let lost = run.manifest().is_none().then_some(lost);
    Ok((run, lost))
}

/// A sandbox in memory is gone with the run that it was for.
fn refuse_lost_sandbox(config: &Config) -> Result<(), Halt> {
    match &config.connection {
        Some(connection) if connection.target.endpoint == Target::SANDBOX => Err(Halt::usage(
            "--live: a sandbox in memory is gone with its run; give results of a server (as \
             `bkassoc sandbox` is one), or leave out --live",
        )),
        Some(_) | None => Ok(()),
    }
}

/// About how many rows say what the server has, or has not.
fn claims(stats: &RunStats, of_undo: bool) -> u64 {
    let says = |status: &&Status| status.is_good() || (!of_undo && **status == Status::Failed);
    Status::ALL.iter().filter(says).map(|status| stats.count(*status)).sum()
}

/// What is checked without a server: the file, and what the run says of itself.
fn offline(
    args: &Verify,
    run: ParentRun,
    lost: Option<String>,
    config: &Config,
) -> Result<Offline, Halt> {
    let files = run.lineage.last().map(|(_, first)| first.head.files.clone()).unwrap_or_default();
    if let (Some(manifest), false) = (run.manifest(), args.against.is_empty()) {
        refuse_other_inputs(args, manifest, &files)?;
    }
    let against = if args.against.is_empty() {
        None
    } else {
        Some(open_inputs(&args.against, &config.input, &run.lineage)?)
    };
    Ok(Offline {
        results: run.results,
        lineage: run.lineage,
        lost,
        is_live: config.connection.is_some(),
        files,
        against,
    })
}

fn checks(offline: &Offline, args: &Verify) -> Vec<Checked> {
    let inputs: Vec<_> = args.against.iter().map(|input| input.display().to_string()).collect();
    let mut checks = vec![Checked::File];
    checks.extend(offline.lost.is_none().then_some(Checked::RunJson));
    checks.extend((!inputs.is_empty()).then_some(Checked::Input(inputs)));
    checks
}

/// Reading takes a while, and writes nothing that a signal would leave half done.
async fn audit_unless_interrupted(
    offline: Offline,
    display: Display,
    screen: &Screen,
) -> Result<(Findings, Rows), Halt> {
    let mut progress = Progress::new(display.progress, screen.clone(), display.language);
    let audit = move || {
        let audited = offline.audit(&mut |stats| progress.show(stats));
        progress.finish();
        audited
    };
    let done = Signals::listen()?.or_interrupted(audit).await;
    done.map_err(|exit| Halt::new(exit, "interrupted"))?
}

/// Opens the inputs as the run read them, but for what is said otherwise now.
fn open_inputs(
    inputs: &[PathBuf],
    given: &InputOptions,
    lineage: &[(PathBuf, Manifest)],
) -> Result<Against, Halt> {
    let sharding = Manifest::sharding_in(lineage).cloned();
    let mut origin = Origin { sharding, ..Origin::default() };
    let mut run = InputOptions::default();
    for (_, manifest) in lineage {
        run = reading::of_run(&manifest.head.settings, manifest.head.target.entrance)?;
        match manifest.head.work {
            Work::Rerun => origin.later_biz_ids.extend(run.default_biz_id),
            // What was read, and how, the plan says.
            Work::Apply => {
                let plan = manifest.head.inputs.first().map(Path::new);
                if let Some(plan) = plan.map(PlanManifest::read).transpose()?.flatten() {
                    run = reading::of_run(&plan.head.settings, plan.head.target.entrance)?;
                    origin.digests = plan.digests;
                }
            }
            Work::Import | Work::Sync | Work::Undo => origin.digests.clone_from(&manifest.digests),
        }
    }
    let given = given.clone();
    let options = InputOptions {
        map: if given.map.is_empty() { run.map } else { given.map },
        format: given.format.or(run.format),
        sheet: given.sheet.or(run.sheet),
        delimiter: given.delimiter.or(run.delimiter),
        no_header: given.no_header || run.no_header,
        encoding: given.encoding.or(run.encoding),
        default_biz_id: run.default_biz_id,
        // Only a row's texts count, not what it lacks, nor what it may.
        require_biz_id: false,
        action: run.action,
        allow_delete: true,
    };
    let sources: Vec<_> = inputs.iter().cloned().map(Source::from).collect();
    Ok(Against::open(&sources, &options, origin)?)
}

/// Only results that have a line for each row of an input can be held against one.
fn refuse_other_inputs(args: &Verify, manifest: &Manifest, files: &[String]) -> Result<(), Halt> {
    if manifest.head.work == Work::Undo {
        return Err(Halt::usage(
            "--against: an undo has lines for some rows of its input only; hold the results of the \
             import or rerun against it",
        ));
    }
    let (read, given) = (files.len().max(1), args.against.len());
    if read != given {
        return Err(Halt::usage(format!(
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
    of_undo: bool,
    claims: u64,
    screen: &'a Screen,
}

impl Live<'_> {
    async fn go(
        &self,
        trail: AuditTrail,
        overtaken: Overtaken,
        findings: &mut Findings,
    ) -> Result<Compared, Halt> {
        let engine = &self.config.engine;
        let server = Server::of(self.connection, engine.concurrency)?;
        let setting = Setting {
            cmdb: &server,
            target: &self.connection.target,
            options: engine,
            results: self.results,
            expected: self.claims,
            trail,
            seed: rand::random(),
        };
        let reader = Reader::open(self.results, &[])?;
        let claims = Claims::new(reader, findings.files.clone(), self.of_undo, overtaken);
        let signals = Signals::listen()?;
        // Nothing is at stake: what is in flight need not be waited for.
        let stop = async {
            let exit = signals.halt().await.exit;
            Halt { exit, message: "interrupted: not every row was asked for".to_owned() }
        };
        let display = self.config.display;
        let mut progress = Progress::new(display.progress, self.screen.clone(), display.language);
        let mut show = |stats: &RunStats| progress.show(stats);
        let ended = live::compare(setting, claims, findings, stop, &mut show).await;
        progress.finish();
        Ok(ended?)
    }
}
