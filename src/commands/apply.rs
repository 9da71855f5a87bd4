//! `bkassoc apply`: carry a plan out.

use super::{announce, conclude, resolve};
use crate::cli::Apply;
use crate::cli::layers::Typed;
use crate::config;
use crate::exit::{Exit, Halt};
use crate::input::{Source, digest_of};
use crate::report::progress::Screen;
use crate::session::Session;
use crate::session::source::RowSource;
use crate::storage::manifest::{self, Parent, Work};
use crate::storage::plan::{PlanError, PlanManifest};

/// Runs it.
pub(super) fn run(typed: &Typed, args: &Apply, screen: &Screen) -> Result<Exit, Halt> {
    let manifest = PlanManifest::of(&args.plan)?;
    let inherited = config::Parent {
        file: manifest::path_for(&args.plan),
        target: manifest.head.target.clone(),
        options: manifest.head.settings.clone(),
    };
    let (args, config) = resolve::<Apply>(typed, Some(&inherited))?;
    refuse_what_is_no_import(&args, &manifest)?;
    refuse_changed(&args, &manifest)?;
    let (files, columns) = (manifest.head.files.clone(), manifest.head.columns.clone());
    let sha256 = manifest.plan_sha256.clone();
    let (path, max_age) = (args.plan.clone(), Some(args.max_plan_age));
    let rows = RowSource::Plan { path, sha256, files, columns, max_age };
    announce(&config, screen);
    let parent = Some(Parent {
        results: args.plan.display().to_string(),
        started_at: Some(manifest.head.started_at.clone()),
    });
    let survey = manifest.head.survey.clone();
    let session = Session { parent, survey, ..Session::of(&config, screen, rows) };
    conclude(&session, typed, session.run())
}

/// The plan of a rerun has no outcomes of the rows that are carried over.
fn refuse_what_is_no_import(args: &Apply, manifest: &PlanManifest) -> Result<(), Halt> {
    if matches!(manifest.head.work, Work::Import | Work::Sync) {
        return Ok(());
    }
    Err(Halt::usage(format!(
        "{} is the plan of a {}, whose own command carries it out",
        args.plan.display(),
        manifest.head.work.as_str()
    )))
}

fn refuse_changed(args: &Apply, manifest: &PlanManifest) -> Result<(), Halt> {
    let is = digest_of(&Source::Path(args.plan.clone()))?.sha256;
    if is == manifest.plan_sha256 {
        return Ok(());
    }
    Err(Halt::usage(PlanError::Changed { path: args.plan.clone() }.to_string()))
}
