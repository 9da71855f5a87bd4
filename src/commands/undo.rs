//! `bkassoc undo`: delete what a run created.

use super::{announce, conclude, resolve, warn};
use crate::cli::Undo;
use crate::cli::layers::Typed;
use crate::clock;
use crate::config::{Output, ResultsConfig};
use crate::exit::{Exit, Halt};
use crate::report::progress::Screen;
use crate::report::summary::grouped;
use crate::session::question::ask;
use crate::session::source::RowSource;
use crate::session::undone_run::UndoneRun;
use crate::session::{Ending, Session};
use crate::storage::manifest::Undone;
use crate::storage::path_state::{self, PathState};

/// Runs it.
pub(super) fn run(typed: &Typed, args: &Undo, screen: &Screen) -> Result<Exit, Halt> {
    let undone = UndoneRun::find(&args.results)?;
    let (args, config) = resolve::<Undo>(typed, undone.inherited().as_ref())?;
    if !args.parent.allow_other_target {
        undone.refuse_ids_of_nowhere()?;
    }
    let rows = undone.created(args.include_recovered)?;
    let (parent, warnings) = (Some(undone.named()), undone.warnings());
    announce(&config, screen);
    warn(&warnings);
    let session = Session { config: &config, screen, rows, parent, warnings };
    let mut begins_to_delete = false;
    if begins(&config.results)? {
        if let UndoneRun::Unfinished { results, head, .. } = &undone
            && let Some(ending) = session.settle_doubts(results, &RowSource::of_head(head)?)?
        {
            return Ok(conclude(&session, typed, ending));
        }
        let count = session.rows.count()?;
        begins_to_delete = count > 0;
        if begins_to_delete && !config.results.yes {
            confirm(count, &session)?;
        }
    }
    let ending = delete(&undone, &session, begins_to_delete)?;
    Ok(conclude(&session, typed, ending))
}

fn confirm(count: u64, session: &Session<'_>) -> Result<(), Halt> {
    let question = format!("delete {} associations at {}?", grouped(count), session.target());
    if ask(session.screen, &question)? { Ok(()) } else { Err(Halt::usage("nothing was deleted")) }
}

/// Deletes, once the run knows of it. Where an undo goes on, the run knows already.
fn delete(undone: &UndoneRun, session: &Session<'_>, begins: bool) -> Result<Ending, Halt> {
    let output = &session.config.results.output;
    let by = match output {
        Output::File(path) => path.display().to_string(),
        Output::Stdout | Output::Nowhere => "-".to_owned(),
    };
    let ending = session
        .run(|| if begins { undone.note(Some(&Undone { by, at: clock::now() })) } else { Ok(()) });
    if let Output::File(output) = output
        && matches!(path_state::look(output)?, PathState::Free)
    {
        // It never came to a delete.
        undone.note(None)?;
    }
    ending
}

/// Whether this command would begin an undo, and not go on with one or show its end.
fn begins(results: &ResultsConfig) -> Result<bool, Halt> {
    match &results.output {
        Output::File(path) => {
            Ok(results.fresh || matches!(path_state::look(path)?, PathState::Free))
        }
        Output::Stdout | Output::Nowhere => Ok(true),
    }
}
