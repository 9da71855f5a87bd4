//! `bkassoc plan`: what a sync would do, as a file that `bkassoc apply` carries out.

use std::path::{Path, PathBuf};

use super::{announce, look, print, resolve};
use crate::cli::Plan;
use crate::cli::layers::Typed;
use crate::config::paths::{self, Kind};
use crate::config::{Config, Output};
use crate::exit::{Exit, Halt};
use crate::options::Format;
use crate::plan::guards;
use crate::report::plan::{Guarded, PlanReport};
use crate::report::progress::Screen;
use crate::session::head;
use crate::session::planning::{self, Made};
use crate::session::question::may_start_anew;
use crate::session::source::RowSource;
use crate::storage::journal::{self, replay};
use crate::storage::manifest::Work;
use crate::storage::path_state;
use crate::storage::plan;

/// Runs it.
pub(super) fn run(typed: &Typed, screen: &Screen) -> Result<Exit, Halt> {
    let (args, config) = resolve::<Plan>(typed, None)?;
    let (path, is_taken) = place(&config)?;
    announce(&config, screen);
    let source = RowSource::synced(&args.inputs, config.input.clone(), config.pruning.clone());
    let rows = source.open()?;
    if is_taken {
        may_start_anew(&path, &config, screen)?;
        path_state::clear(&path, true)?;
    }
    let head = head(&config, &source, None);
    let Made { manifest, understood, calls, .. } =
        planning::make(&config, screen, &source, rows, &path, &head)?;
    let tripped = guards::judge(&manifest, &config.guards);
    let guarded = (!tripped.is_empty()).then(|| Guarded::of(&path, &manifest, &tripped));
    let exit = match &guarded {
        Some(_) => Exit::Guard,
        None if args.detailed_exitcode && manifest.has_work() => Exit::Changes,
        None => Exit::Ok,
    };
    let report = PlanReport {
        path: &path,
        manifest: &manifest,
        understood: &understood,
        asked: calls.total(),
        identity: &typed.identity_flags(),
        guarded: guarded.as_ref(),
        exit,
    };
    if config.display.json {
        return Ok(print(report.json().as_bytes(), exit, screen));
    }
    if config.display.quiet && guarded.is_none() {
        return Ok(exit);
    }
    Ok(print(report.text(look(&config)).as_bytes(), exit, screen))
}

/// Where the plan goes, and whether something has to be moved aside for it. It takes the place of another
/// plan, and of nothing else.
fn place(config: &Config) -> Result<(PathBuf, bool), Halt> {
    let results = &config.results;
    let Output::File(path) = &results.output else {
        return Err(Halt::usage("a plan is a file: give -o PLAN"));
    };
    if results.format != Format::Csv {
        return Err(Halt::usage(format!("-o {}: a plan ends in .csv", path.display())));
    }
    if let Some(run) = run_of(path).filter(|run| path_state::is_unfinished(run)) {
        return Err(Halt::usage(format!(
            "{} is the plan of the run at {}, which is not finished: give another -o",
            path.display(),
            run.display()
        )));
    }
    if path_state::is_unfinished(path) {
        return Err(Halt::usage(format!(
            "the run at {} is not finished: give another -o",
            path.display()
        )));
    }
    if let Some(run) = applied_by(path) {
        return Err(Halt::usage(format!(
            "{} is carried out by the run at {}, which is not finished: give another -o",
            path.display(),
            run.display()
        )));
    }
    // A run's record may be all that is left of it.
    let is_taken = !plan::may_go_to(path);
    if is_taken && !results.fresh {
        return Err(Halt::usage(format!(
            "{} is there, or what a run wrote of it, and is no plan: give another -o, or --fresh to move it aside",
            path.display()
        )));
    }
    Ok((path.clone(), is_taken))
}

/// The results of the unfinished run that applies this plan, where they have the name that they have by
/// themselves.
fn applied_by(plan: &Path) -> Option<PathBuf> {
    let results = paths::derived(plan, Kind::Apply, None).ok()?;
    let head = replay::replay(&journal::path_for(&results), |_| {}).ok()?.head?;
    let is_it =
        head.work == Work::Apply && head.inputs.iter().any(|input| Path::new(input) == plan);
    is_it.then_some(results)
}

/// The results of the run whose own plan stands at this path.
fn run_of(plan: &Path) -> Option<PathBuf> {
    let name = plan.file_name()?.to_str()?.strip_suffix(".plan.csv")?;
    Some(plan.with_file_name(name))
}
