//! `bkassoc rerun`: settle again the rows of a results file that did not end well.

use super::{announce, conclude, resolve, warn};
use crate::cli::Rerun;
use crate::cli::layers::Typed;
use crate::exit::{Exit, Halt};
use crate::outcome::Status;
use crate::report::progress::Screen;
use crate::report::summary::grouped;
use crate::session::Session;
use crate::session::parent::ParentRun;
use crate::session::source::{Choice, RowSource};

/// Runs it.
pub(super) fn run(typed: &Typed, args: &Rerun, screen: &Screen) -> Result<Exit, Halt> {
    let parent = ParentRun::find(&args.results)?;
    parent.refuse_undo()?;
    parent.refuse_undone()?;
    let (args, config) = resolve::<Rerun>(typed, parent.inherited().as_ref())?;
    if let (Some(shard), Some(before)) = (config.shard, parent.shard()) {
        return Err(Halt::usage(format!(
            "--shard {shard}: these are the results of shard {before} already. Rerun them without --shard, or \
             merge all shards first"
        )));
    }
    let choice = choice(&args);
    let (mut deletes, mut added) = (0, 0);
    let files = parent.files(|record| match choice.leaves_out(record) {
        true if record.line == 0 => added += 1,
        true => deletes += 1,
        false => {}
    })?;
    let mut warnings = parent.warnings();
    warnings.extend(left_out(deletes, added));
    // What is settled again need not be what it was.
    if !choice.statuses.iter().any(|status| status.is_good()) {
        warnings.extend(parent.refuse_edited()?);
    }
    let rows =
        RowSource::Results { files, options: config.input.clone(), choice, path: args.results };
    announce(&config, screen);
    warn(&warnings);
    let survey = parent.manifest().and_then(|manifest| manifest.head.survey.clone());
    let parent = Some(parent.named());
    let session = Session { parent, warnings, survey, ..Session::of(&config, screen, rows) };
    conclude(&session, typed, session.run())
}

/// What is carried over although it was chosen, since a permission is of one command alone.
fn left_out(deletes: u64, added: u64) -> Option<String> {
    let deletes = (deletes > 0).then(|| {
        format!(
            "{} rows that delete, which a rerun takes with --allow-delete only",
            grouped(deletes)
        )
    });
    let added = (added > 0).then(|| {
        format!("{} deletes of what no input names, which the next sync makes", grouped(added))
    });
    let both: Vec<_> = deletes.into_iter().chain(added).collect();
    (!both.is_empty()).then(|| format!("carried over as they are: {}", both.join("; ")))
}

fn choice(args: &Rerun) -> Choice {
    let mut statuses = args.status.clone();
    if args.all_failed {
        statuses.extend([Status::Failed, Status::Invalid]);
    }
    Choice {
        statuses,
        reasons: args.reason.clone(),
        resolve_again: args.resolve_again,
        allow_delete: args.deletes.allow_delete,
    }
}
