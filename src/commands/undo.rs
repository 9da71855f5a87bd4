//! `bkassoc undo`: delete what a run created.

use std::sync::Arc;

use super::{announce, conclude, resolve, warn};
use crate::cli::Undo;
use crate::cli::layers::Typed;
use crate::exit::{Exit, Halt};
use crate::report::progress::Screen;
use crate::report::summary::{grouped, shell_quoted, through_another_entrance};
use crate::session::question::ask;
use crate::session::source::RowSource;
use crate::session::undone_run::UndoneRun;
use crate::session::{Ending, Session};
use crate::storage::path_state;

/// Runs it.
pub(super) fn run(typed: &Typed, args: &Undo, screen: &Screen) -> Result<Exit, Halt> {
    let undone = Arc::new(UndoneRun::find(&args.results)?);
    let (args, config) = resolve::<Undo>(typed, undone.inherited().as_ref())?;
    if !args.parent.allow_other_target {
        undone.refuse_ids_of_nowhere()?;
    }
    let rows = undone.created(args.include_recovered)?;
    let (parent, mut warnings) = (Some(undone.named()), undone.warnings());
    warnings.extend(undone.stays_deleted()?);
    let undoes = Some(Arc::clone(&undone));
    announce(&config, screen);
    warn(&warnings);
    let session = Session { parent, warnings, undoes, ..Session::of(&config, screen, rows) };
    let ended = delete(&undone, &session);
    let ended = ended.map(|ending| with_the_way_that_works(ending, &session, typed));
    conclude(&session, typed, ended)
}

/// Runs it, once what the run left in doubt is settled and the deletes are confirmed.
fn delete(undone: &UndoneRun, session: &Session<'_>) -> Result<Ending, Halt> {
    if session.begins()? {
        if let UndoneRun::Unfinished { results, head, .. } = undone
            && let Some(ending) =
                session.settle_doubts(results, &RowSource::of_head(head, results)?)?
        {
            return Ok(ending);
        }
        let count = session.rows.count()?;
        let recovered = count - undone.created(false)?.count()?;
        if count > 0 {
            confirm(count, recovered, session)?;
        }
    }
    session.run()
}

/// Says what is about to be deleted, and asks, unless that was answered before.
fn confirm(count: u64, recovered: u64, session: &Session<'_>) -> Result<(), Halt> {
    let (count, target) = (grouped(count), session.target());
    let others = grouped(recovered);
    let foreign = format!(
        "{others} of them are recovered: found after a call of ours got no answer, they may be somebody else's"
    );
    if session.config.results.yes {
        if recovered > 0 {
            tracing::warn!("deleting {count} associations: {foreign}");
        }
        return Ok(());
    }
    let question = match recovered {
        0 => (
            format!("delete {count} associations at {target}?"),
            format!("删除 {target} 上的 {count} 条实例关联？"),
        ),
        _ => (
            format!("{count} associations at {target}. {foreign}. Delete them all?"),
            format!(
                "{target} 上共 {count} 条实例关联，其中 {others} 条为 recovered（无应答后查到，可能由别人创建）。\
                 全部删除？"
            ),
        ),
    };
    if ask(session.screen, session.config.display.language, question)? {
        Ok(())
    } else {
        Err(Halt::usage("nothing was deleted"))
    }
}

/// Where the server has no call that deletes, the same command will never do better.
fn with_the_way_that_works(ending: Ending, session: &Session<'_>, typed: &Typed) -> Ending {
    let goes_on = ending.results.as_ref().is_some_and(|path| path_state::is_unfinished(path));
    if !ending.stats.calls.lacks_delete || goes_on {
        return ending;
    }
    let error = ending.error.map(|error| {
        let (next, what) = through_another_entrance(&typed.again(), session.target().entrance);
        let next = shell_quoted(&next);
        format!("{error}. Nothing was deleted, and the run is as it was. {what}:\n  {next}")
    });
    Ending { error, ..ending }
}
