//! `bkassoc plan`: what an import would do, as a file that `bkassoc apply` carries out.

use std::path::{Path, PathBuf};

use super::{announce, print, resolve};
use crate::cli::Plan;
use crate::cli::layers::Typed;
use crate::config::{Config, Output};
use crate::exit::{Exit, Halt};
use crate::options::Format;
use crate::report::plan::PlanReport;
use crate::report::progress::Screen;
use crate::session::head;
use crate::session::planning::{self, Made};
use crate::session::question::may_start_anew;
use crate::session::source::RowSource;
use crate::storage::path_state;
use crate::storage::plan::PlanManifest;

/// Runs it.
pub(super) fn run(typed: &Typed, screen: &Screen) -> Result<Exit, Halt> {
    let (args, config) = resolve::<Plan>(typed, None)?;
    let path = place(&config, screen)?;
    announce(&config, screen);
    let source = RowSource::inputs(&args.inputs, config.input.clone());
    let rows = source.open()?;
    let head = head(&config, &source, None);
    let Made { manifest, understood, calls } = planning::make(&config, rows, &path, head)?;
    let report = PlanReport {
        path: &path,
        manifest: &manifest,
        understood: &understood,
        asked: calls.total(),
        identity: &typed.identity_flags(),
    };
    if config.display.json {
        return Ok(print(report.json().as_bytes(), Exit::Ok, screen));
    }
    if config.display.quiet {
        return Ok(Exit::Ok);
    }
    Ok(print(report.to_string().as_bytes(), Exit::Ok, screen))
}

/// Where the plan goes. It takes the place of another plan, and of nothing else.
fn place(config: &Config, screen: &Screen) -> Result<PathBuf, Halt> {
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
    let is_plan = path.exists() && matches!(PlanManifest::read(path), Ok(Some(_)));
    if path.exists() && !is_plan {
        if !results.fresh {
            return Err(Halt::usage(format!(
                "{} is there and is no plan: give another -o, or --fresh to move it aside",
                path.display()
            )));
        }
        may_start_anew(path, results.yes, screen)?;
        path_state::clear(path, true)?;
    }
    Ok(path.clone())
}

/// The results of the run whose own plan stands at this path.
fn run_of(plan: &Path) -> Option<PathBuf> {
    let name = plan.file_name()?.to_str()?.strip_suffix(".plan.csv")?;
    Some(plan.with_file_name(name))
}
