//! The plan of a run: whatever has to be asked about its rows, asked and written down before the first
//! write.
//!
//! Owns how rows get into a plan and when a plan that is there is kept. Knows nothing of how a name is
//! looked up.

use std::collections::VecDeque;
use std::path::Path;

use super::runtime::runtime;
use super::server::Server;
use super::signals::Signals;
use super::source::{self, OpenSource};
use crate::association::Action;
use crate::config::Config;
use crate::engine::asker::Asker;
use crate::engine::models::invalidity;
use crate::engine::remaining::{PendingRow, Remaining};
use crate::engine::row_queue::{Ended, RowQueue};
use crate::engine::stats::Calls;
use crate::exit::{Exit, Halt};
use crate::outcome::Reason;
use crate::plan::planner::{PlannedRow as Resolved, Planner};
use crate::plan::understood::Understood;
use crate::storage::manifest::Head;
use crate::storage::plan::{PlanManifest, Step, Writer};

/// How many rows are taken from the reader at once.
const AT_ONCE: usize = 1024;

/// A plan that was made, and what its names were taken for.
pub(crate) struct Made {
    pub(crate) manifest: PlanManifest,
    pub(crate) understood: Understood,
    /// The calls that this took.
    pub(crate) calls: Calls,
}

/// Makes the plan of these rows at `path`. `head` is that of the run that is planned. Nothing is written
/// to the CMDB, and unless all is asked and written down there is no plan.
pub(crate) fn make(
    config: &Config,
    rows: OpenSource,
    path: &Path,
    head: Head,
) -> Result<Made, Halt> {
    let runtime = runtime()?;
    let made = runtime.block_on(async {
        let (interrupted, at_once) = Signals::listen()?.twice();
        tokio::select! {
            made = plan(config, rows, path, head) => made,
            halt = interrupted => Err(Halt::new(halt.exit, "interrupted while planning: nothing was sent")),
            exit = at_once => Err(Halt::new(exit, "interrupted while planning: nothing was sent")),
        }
    });
    // A resolver that hangs is not waited for.
    runtime.shutdown_background();
    made
}

async fn plan(config: &Config, rows: OpenSource, path: &Path, head: Head) -> Result<Made, Halt> {
    let connection = config.connection.as_ref().expect("this command calls a server");
    let engine = &config.engine;
    let server = Server::of(connection, engine.concurrency)?;
    let asker = Asker::new(&server, &connection.target, engine, engine.concurrency, rand::random());
    let cells = config.input.parser();
    let mut lines = Lines {
        planner: Planner::new(&asker, &engine.models, &config.naming, cells),
        carried: VecDeque::new(),
        writer: Writer::new(path, &head)?,
        head: &head,
    };
    let ended = lines.of(rows).await?;
    let Lines { planner, writer, .. } = lines;
    let understood = planner.understood().clone();
    let rate = engine.rate.per_second();
    let manifest = writer.finish(head.clone(), ended.digests, ended.blank_rows, rate)?;
    let calls = asker.stats.borrow().calls.clone();
    Ok(Made { manifest, understood, calls })
}

/// The lines of a plan as they come.
struct Lines<'a, C> {
    planner: Planner<'a, C>,
    /// Of the rows in the planner, in order, whether another run settled them.
    carried: VecDeque<bool>,
    writer: Writer,
    head: &'a Head,
}

impl<C: crate::cmdb::Cmdb> Lines<'_, C> {
    /// Writes a line for each of these rows.
    async fn of(&mut self, rows: OpenSource) -> Result<Ended, Halt> {
        let mut queue = RowQueue::spawn(rows.waits(), move |sink| source::pour(rows, sink));
        let mut waiting = VecDeque::new();
        let mut ended = None;
        loop {
            while !self.planner.is_full()
                && let Some(PendingRow { row, remaining }) = waiting.pop_front()
            {
                self.carried.push_back(matches!(remaining, Remaining::Carry(_)));
                self.planner.push(row);
            }
            self.write_known()?;
            if self.planner.is_full() {
                self.planner.resolve(false).await?;
            } else if waiting.is_empty() {
                match ended.take() {
                    Some(ended) => {
                        self.planner.resolve(true).await?;
                        self.write_known()?;
                        return Ok(ended);
                    }
                    None => ended = more(&mut queue, &mut waiting).await?,
                }
            }
        }
    }

    /// Writes the lines of the first rows, as far as all is known that they say.
    fn write_known(&mut self) -> Result<(), Halt> {
        while let Some(Resolved { row, refusal }) = self.planner.pop() {
            let carried = self.carried.pop_front().unwrap_or_default();
            let step = match (refusal, &row.parsed) {
                _ if carried => Step::Carry,
                (Some((reason, message)), _) => Step::Refuse(reason, message),
                (None, Ok(_)) if row.action() == Action::Delete => {
                    Step::Refuse(Reason::UnsupportedAction, "no run deletes rows yet".to_owned())
                }
                (None, Ok(_)) => Step::Create,
                (None, Err(error)) => {
                    let (reason, message) = invalidity(&row, error);
                    Step::Refuse(reason, message)
                }
            };
            let file = self.head.files.get(row.file as usize).map_or("", String::as_str);
            self.writer.write(row.line, file, &row.cells, &step)?;
        }
        Ok(())
    }
}

/// Waits for rows. The end, where there is none any more.
async fn more(
    queue: &mut RowQueue,
    rows: &mut VecDeque<PendingRow>,
) -> Result<Option<Ended>, Halt> {
    loop {
        rows.extend(queue.take(AT_ONCE));
        if !rows.is_empty() {
            return Ok(None);
        }
        if let Some(end) = queue.end() {
            return Ok(Some(end?));
        }
        queue.news().await;
    }
}

/// The plan that a run carries out, which an earlier process of it made of the same input.
pub(crate) fn kept(path: &Path, rows: OpenSource, head: &Head) -> Result<PlanManifest, Halt> {
    let changed = |what: String| {
        Err(Halt::new(
            Exit::Input,
            format!("{what}: restore it and give the same command, or start anew with --fresh"),
        ))
    };
    let Some(manifest) = PlanManifest::read(path)? else {
        return changed(format!("{}: the plan that this run carries out is gone", path.display()));
    };
    if head.plan.as_ref() != Some(&manifest.plan_sha256) {
        return changed(format!("{} is not the plan that this run carries out", path.display()));
    }
    if !manifest.is_of(&source::digests_to_the_end(rows)?) {
        let inputs = manifest.head.inputs.join(", ");
        return changed(format!(
            "{inputs}: the input changed since this run made its plan of it ({})",
            path.display()
        ));
    }
    Ok(manifest)
}
