//! The plan of a run: whatever has to be asked about its rows, asked and written down before the first
//! write.
//!
//! Owns how rows get into a plan and when a plan that is there is kept. Knows nothing of how a name is
//! looked up.

use std::collections::VecDeque;
use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::feeding;
use super::server::Server;
use super::signals::unless_interrupted;
use super::source::{OpenSource, RowSource};
use crate::association::{Action, Cells, Named};
use crate::clock;
use crate::cmdb::Cmdb;
use crate::config::{Config, Display};
use crate::engine::asker::Asker;
use crate::engine::models::invalidity;
use crate::engine::remaining::{PendingRow, Remaining};
use crate::engine::row_queue::{Ended, RowQueue};
use crate::engine::stats::Calls;
use crate::exit::{Exit, Halt};
use crate::input::{RowParser, Source, about_how_many};
use crate::options::{Prune, Pruning, brief_duration};
use crate::plan::gathered::{Gathered, Known, Waited, unwritable};
use crate::plan::headway::Headway;
use crate::plan::planner::{PlannedRow as Resolved, Planner};
use crate::plan::previous::Previous;
use crate::plan::surveyed::Doomed;
use crate::plan::surveyor::{Surveyor, Terms};
use crate::plan::understood::Understood;
use crate::report::abilities;
use crate::report::metrics::MetricsFile;
use crate::report::progress::{Progress, Screen};
use crate::storage::journal::disk::folder_of;
use crate::storage::manifest::Head;
use crate::storage::plan::{PlanManifest, Step, Writer};
use crate::storage::survey::Survey;
use crate::target::Target;

/// How many rows are taken from the reader at once.
const AT_ONCE: usize = 1024;
/// How often the display may change.
const SHOW_EVERY: Duration = Duration::from_millis(200);

/// A plan that was made, and what its names were taken for.
pub(crate) struct Made {
    pub(crate) manifest: PlanManifest,
    pub(crate) understood: Understood,
    /// The calls and the time that this took.
    pub(crate) calls: Calls,
    pub(crate) took: Duration,
}

/// Makes the plan of rows of `source` at `path`, and shows how far it is. `head` is that of the run that is
/// planned; where the source prunes, what is there is listed. Nothing is written to the CMDB, and unless all is
/// asked and written down there is no plan.
pub(crate) fn make(
    config: &Config,
    screen: &Screen,
    source: &RowSource,
    rows: OpenSource,
    path: &Path,
    head: &Head,
) -> Result<Made, Halt> {
    let what = "interrupted while planning: nothing was sent";
    let Display { progress, language, .. } = config.display;
    let mut progress = Progress::new(progress, screen.clone(), language);
    let mut metrics = config.metrics.as_ref().map(MetricsFile::new);
    let mut show = |headway: &Headway, calls: &Calls| {
        progress.show_plan(headway, calls);
        if let Some(metrics) = &mut metrics {
            metrics.show_calls(calls);
        }
    };
    let made = unless_interrupted(what, plan(config, source, rows, (path, head), &mut show));
    progress.finish();
    // What is being written must not take the place of what the run writes.
    if let Some(metrics) = metrics {
        metrics.finish();
    }
    made
}

async fn plan(
    config: &Config,
    source: &RowSource,
    rows: OpenSource,
    (path, head): (&Path, &Head),
    show: &mut dyn FnMut(&Headway, &Calls),
) -> Result<Made, Halt> {
    let began = Instant::now();
    let connection = config.connection.as_ref().expect("this command calls a server");
    let pruning = source.pruning();
    let previous = previous(pruning, &connection.target)?;
    let engine = &config.engine;
    let server = Server::of(connection, engine.concurrency)?;
    let asker = Asker::new(&server, &connection.target, engine, engine.concurrency, rand::random());
    let (cells, headway) = (config.input.parser(), Headway::default());
    let mut writer = Writer::new(path, head)?;
    // What is there, or has to make room, is known only when all rows are.
    let waits = pruning.is_some() || config.input.allow_delete;
    let folder = folder_of(path);
    let mut lines = Lines {
        planner: Planner::new(&asker, &engine.models, &config.naming, cells, &headway),
        carried: VecDeque::new(),
        sink: if waits {
            let gathered = Gathered::new(folder, &head.files).map_err(unwritable(folder))?;
            Sink::Gathers(Box::new(gathered))
        } else {
            Sink::Writes(&mut writer)
        },
        head,
        folder,
        headway: &headway,
    };
    let mut show = || show(&headway, &asker.stats.borrow().calls);
    let sources = source.sources();
    let ended = showing(lines.of(rows, sources), &mut show).await?;
    let Lines { planner, sink, .. } = lines;
    let understood = planner.understood().clone();
    let mut surveyed = None;
    if let Sink::Gathers(gathered) = sink {
        let (files, headway) = (&head.files, &headway);
        let terms = Terms { pruning, previous: &previous, files, folder, headway };
        let surveyor = Surveyor::new(&asker, &engine.models, terms)?;
        let survey = survey(surveyor, *gathered, &mut writer, head, folder);
        surveyed = showing(survey, &mut show).await?;
    }
    let rate = engine.rate.per_second();
    let head = Head { survey: surveyed, ..head.clone() };
    let manifest = writer.finish(head, ended.digests, ended.blank_rows, rate)?;
    let calls = asker.stats.borrow().calls.clone();
    abilities::log(&calls.abilities, &connection.target);
    Ok(Made { manifest, understood, calls, took: began.elapsed() })
}

/// Does some work, and shows a few times a second how far it is.
async fn showing<T>(work: impl Future<Output = T>, show: &mut dyn FnMut()) -> T {
    let mut work = pin!(work);
    let mut tick = interval(SHOW_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            _ = tick.tick() => show(),
        }
    }
}

/// The earlier runs that a sync goes by.
fn previous(pruning: Option<&Pruning>, target: &Target) -> Result<Previous, Halt> {
    let Some(Pruning { prune, previous: Some(path), .. }) = pruning else {
        return Ok(Previous::default());
    };
    Previous::read(path, target, *prune == Prune::Previous)
}

/// Asks what is there, and writes the plan of the rows that waited for it.
async fn survey<C: Cmdb>(
    surveyor: Surveyor<'_, C>,
    gathered: Gathered,
    writer: &mut Writer,
    head: &Head,
    folder: &Path,
) -> Result<Option<Survey>, Halt> {
    let unwritable = unwritable(folder);
    let (desired, withheld, lost, rows) = gathered.finish().map_err(&unwritable)?;
    let mut surveyed = surveyor.survey(desired, withheld, &lost).await?;
    while let Some(Doomed { name, source, target, id }) = surveyed.next_doomed()? {
        let action = Action::Delete.as_str().into();
        let named = Named { action, ..Named::default() };
        let cells = Cells::with_names([&name, &source.to_string(), &target.to_string(), ""], named);
        writer.write(0, "", &cells, &Step::Delete(Some(id)))?;
    }
    let mut parser = RowParser::new(None, false);
    for row in rows {
        let Waited { ordinal, file, line, cells, known } = row.map_err(&unwritable)?;
        let step = match known {
            Known::Carried => Step::Carry,
            Known::Refused(reason, message) => Step::Refuse(reason, message),
            Known::Wish => {
                let (_, parsed) = parser.read(cells.ids());
                let new = parsed.map_err(|error| Halt::new(Exit::Bug, error.to_string()))?;
                surveyed.step(ordinal, &new.association)?
            }
        };
        let file = head.files.get(file as usize).map_or("", String::as_str);
        writer.write(line, file, &cells, &step)?;
    }
    Ok(surveyed.survey)
}

/// The lines of a plan as they come.
struct Lines<'a, 'w, C> {
    planner: Planner<'a, C>,
    /// Of the rows in the planner, in order, whether another run settled them.
    carried: VecDeque<bool>,
    sink: Sink<'w>,
    head: &'a Head,
    folder: &'a Path,
    headway: &'a Headway,
}

/// Where rows go whose names are known.
enum Sink<'w> {
    /// Into the plan.
    Writes(&'w mut Writer),
    /// They wait for what is there.
    Gathers(Box<Gathered>),
}

impl<C: Cmdb> Lines<'_, '_, C> {
    /// Writes a line for each of these rows.
    async fn of(&mut self, rows: OpenSource, sources: Vec<Source>) -> Result<Ended, Halt> {
        let mut queue = RowQueue::spawn(rows.waits(), move |sink| feeding::pour(rows, sink));
        queue.expect(move || about_how_many(&sources));
        let mut waiting = VecDeque::new();
        let mut ended = None;
        loop {
            while !self.planner.is_full()
                && let Some(PendingRow { row, remaining }) = waiting.pop_front()
            {
                self.headway.expected.set(queue.expected());
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

    /// Passes the first rows on, as far as all is known that they say.
    fn write_known(&mut self) -> Result<(), Halt> {
        while let Some(Resolved { row, refusal, found }) = self.planner.pop() {
            let carried = self.carried.pop_front().unwrap_or_default();
            let known = match (refusal, &row.parsed) {
                _ if carried => Known::Carried,
                (Some((reason, message)), _) => Known::Refused(reason, message),
                (None, Ok(_)) => Known::Wish,
                (None, Err(error)) => {
                    let (reason, message) = invalidity(&row, error);
                    Known::Refused(reason, message)
                }
            };
            match &mut self.sink {
                Sink::Gathers(gathered) => {
                    gathered.push(&row, &known, found).map_err(unwritable(self.folder))?;
                }
                Sink::Writes(writer) => {
                    let step = match known {
                        Known::Wish if row.action() == Action::Delete => Step::Delete(None),
                        Known::Wish => Step::Create,
                        Known::Refused(reason, message) => Step::Refuse(reason, message),
                        Known::Carried => Step::Carry,
                    };
                    let file = self.head.files.get(row.file as usize).map_or("", String::as_str);
                    writer.write(row.line, file, &row.cells, &step)?;
                }
            }
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
    if !manifest.is_of(&feeding::digests_to_the_end(rows)?) {
        let inputs = manifest.head.inputs.join(", ");
        return changed(format!(
            "{inputs}: the input changed since this run made its plan of it ({})",
            path.display()
        ));
    }
    Ok(manifest)
}

/// What names meant long ago they need not mean now.
pub(crate) fn refuse_old(path: &Path, manifest: &PlanManifest, most: Duration) -> Result<(), Halt> {
    let planned_at = clock::parse_millis(&manifest.planned_at);
    // Another machine's clock may be ahead, and by as much it is believed.
    let age = planned_at.map(|at| clock::millis().abs_diff(at));
    match age.map(Duration::from_millis) {
        Some(age) if age <= most => Ok(()),
        age => Err(Halt::usage(format!(
            "{} was made {} from now, and names may mean something else by now: make it anew, or say with \
             --max-plan-age how old it may be (it is {})",
            path.display(),
            age.map_or("long".to_owned(), brief_duration),
            brief_duration(most)
        ))),
    }
}
