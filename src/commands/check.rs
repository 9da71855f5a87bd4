//! `bkassoc check` and `bkassoc import --dry-run`: all that an import does before its first create.
//!
//! No journal and no marks: nothing is sent that would have to be remembered.

mod delivery;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustc_hash::FxHashMap;
use tokio::task::{spawn_blocking, yield_now};
use tokio::time::{Instant, timeout};

use super::{announce, look, show};
use crate::association::{Action, Column, Mapping, Row, RowError};
use crate::check::Check;
use crate::cli::layers::Typed;
use crate::clock;
use crate::config::{Config, Output};
use crate::engine::abilities::Abilities;
use crate::engine::asker::Asker;
use crate::engine::models::{Admission, Models};
use crate::engine::probes::{self, Probed};
use crate::engine::remaining::{PendingRow, Remaining};
use crate::engine::row_queue::RowQueue;
use crate::engine::run::COMPANY;
use crate::engine::stats::{CallKind, ReasonStats, RunStats};
use crate::engine::time_limits;
use crate::exit::{Exit, Halt};
use crate::options::Batch;
use crate::outcome::{Outcome, Reason, Record, Status};
use crate::report::abilities::{self, ServerReport};
use crate::report::names::NamesReport;
use crate::report::progress::{Progress, Screen};
use crate::report::summary::{Checked, Forecast, RunKind, Scope, Summary, next_step};
use crate::session::feeding;
use crate::session::head;
use crate::session::planning::{self, Made};
use crate::session::question::may_start_anew;
use crate::session::runtime::runtime;
use crate::session::server::Server;
use crate::session::signals::Signals;
use crate::session::source::{OpenSource, RowSource};
use crate::storage::journal::disk::folder_of;
use crate::storage::path_state::{self, PathState};
use crate::storage::plan::Scratch;
use crate::storage::results::ResultsError;
use delivery::Delivery;

/// Rows that are looked at together, so that their model associations are asked for together.
const ROWS: usize = 1024;
/// How often the display may change while no rows come.
const SHOW_EVERY: Duration = Duration::from_millis(200);

/// Runs it.
pub(super) fn run(
    inputs: &[PathBuf],
    config: &Config,
    typed: &Typed,
    screen: &Screen,
) -> Result<Exit, Halt> {
    announce(config, screen);
    let source = RowSource::inputs(inputs, config.input.clone());
    let job = Job { config, typed, screen, files: source.files() };
    job.make_way()?;
    let mut rows = if inputs.is_empty() { None } else { Some(source.open()?) };
    let mut made = None;
    let scratch;
    // Without a contact nobody knows what a name means.
    if let Some(named) =
        rows.take_if(|rows| rows.says_more_than_ids() && config.connection.is_some())
    {
        scratch = Scratch::new()?;
        let plan = planning::make(
            config,
            screen,
            &source,
            named,
            &scratch.plan(),
            &head(config, &source, None),
        )?;
        rows = Some(source.carried_out(&scratch.plan(), plan.manifest.clone(), false)?);
        made = Some(plan);
    }
    let end = runtime()?.block_on(job.go(rows, made.as_ref()))?;
    Ok(job.summarize(end, made.as_ref()))
}

/// A check, decided and not begun.
struct Job<'a> {
    config: &'a Config,
    typed: &'a Typed,
    screen: &'a Screen,
    /// Input names, in order; empty for a single input.
    files: Vec<String>,
}

/// What was seen of rows and calls.
#[derive(Default)]
struct Seen {
    stats: RunStats,
    /// Rows that an import would create, by the number of their model association where it is known.
    sent: FxHashMap<Option<u32>, u64>,
    /// Rows that an import would delete.
    deletes: u64,
    /// Rows that it would delete if that were allowed.
    not_allowed: u64,
    repeats: ReasonStats,
}

/// How a check ended.
struct End {
    scope: Scope,
    seen: Seen,
    /// What was asked of the server's abilities.
    probed: Vec<Probed>,
    halt: Option<Halt>,
}

impl Job<'_> {
    /// A check replaces what an earlier check left under its own name, and nothing else.
    fn make_way(&self) -> Result<(), Halt> {
        let results = &self.config.results;
        let Output::File(path) = &results.output else {
            return Ok(());
        };
        match path_state::look(path)? {
            PathState::Free => Ok(()),
            PathState::Stranger if results.replace => Ok(()),
            _ if results.fresh => {
                may_start_anew(path, self.config, self.screen)?;
                Ok(path_state::clear(path, true)?)
            }
            PathState::Stranger | PathState::Unfinished | PathState::Finished(_) => {
                Err(Halt::usage(format!(
                    "{} is there: give another -o, or --fresh to move it aside",
                    path.display()
                )))
            }
        }
    }

    async fn go(&self, rows: Option<OpenSource>, made: Option<&Made>) -> Result<End, Halt> {
        let engine = &self.config.engine;
        let Some(connection) = &self.config.connection else {
            return self.look(None, rows, made).await;
        };
        let server = Server::of(connection, engine.concurrency)?;
        let asker = Asker::new(&server, &connection.target, engine, 1, rand::random());
        self.look(Some(asker), rows, made).await
    }

    /// Reads, asks, decides, writes: until the end or the first signal.
    async fn look(
        &self,
        mut contact: Option<Asker<'_, Server>>,
        rows: Option<OpenSource>,
        made: Option<&Made>,
    ) -> Result<End, Halt> {
        let scope = match (&contact, &rows) {
            (None, _) => Scope::Offline,
            (_, None) => Scope::Contact,
            _ => Scope::Rows,
        };
        let mut signals = Signals::listen()?;
        let started = Instant::now();
        let mut seen = Seen::default();
        let mut probed = Vec::new();
        let display = self.config.display;
        let mut progress = Progress::new(display.progress, self.screen.clone(), display.language);
        let read = async {
            let check = match rows {
                Some(rows) => {
                    let mut show = |stats: &RunStats| progress.show(stats);
                    Some(self.read(rows, contact.as_mut(), &mut seen, &mut show).await?)
                }
                None => None,
            };
            // Rows that needed no question have not shown that there is a server.
            if let Some(contact) = contact.as_mut().filter(|contact| !contact.is_proven()) {
                contact.test().await?;
                if scope == Scope::Contact {
                    probed = probes::ask(contact).await?;
                }
            }
            Ok(check)
        };
        let read = tokio::select! {
            read = read => read,
            exit = signals.next() => Err(interrupted(exit)),
        };
        progress.finish();
        if let Some(contact) = contact {
            seen.stats.calls = contact.stats.into_inner().calls;
        }
        let done = match read {
            Ok(Some(check)) => {
                let columns = made.map(|made| made.manifest.head.columns.clone());
                let columns = columns.unwrap_or_default();
                self.write(check, columns, &mut seen, &mut signals).await
            }
            Ok(None) => Ok(()),
            Err(stopped) => Err(stopped),
        };
        seen.stats.elapsed = started.elapsed();
        match done {
            Ok(()) => Ok(End { scope, seen, probed, halt: None }),
            // These say nothing of what was checked.
            Err(halt) if matches!(halt.exit, Exit::Unwritable | Exit::Bug) => Err(halt),
            Err(halt) => Ok(End { scope, seen, probed, halt: Some(halt) }),
        }
    }

    /// Takes every row to where it waits for the others.
    async fn read(
        &self,
        rows: OpenSource,
        mut contact: Option<&mut Asker<'_, Server>>,
        seen: &mut Seen,
        show: &mut dyn FnMut(&RunStats),
    ) -> Result<Check, Halt> {
        let unwritable = |error| self.unwritable(error);
        let mut check = Check::new(&self.folder()).map_err(unwritable)?;
        let mut models = Models::given(&self.config.engine.models);
        let started = Instant::now();
        let mut feed = RowQueue::spawn(rows.waits(), move |sink| feeding::pour(rows, sink));
        let (mut staged, mut ended) = (Vec::new(), None);
        while ended.is_none() {
            if let Some(most) = self.config.engine.max_duration
                && started.elapsed() >= most
            {
                return Err(time_limits::duration_over(most));
            }
            seen.stats.elapsed = started.elapsed();
            show(&seen.stats);
            staged.append(&mut feed.take(ROWS - staged.len()));
            if staged.len() < ROWS {
                ended = feed.end();
                // What comes together is judged together, but a slow input is not waited for.
                if ended.is_none() && timeout(SHOW_EVERY, feed.news()).await.is_ok() {
                    continue;
                }
            }
            for link in staged.iter().filter_map(|planned| planned.row.parsed.as_ref().ok()) {
                models.look(&link.association.obj_asst_id);
            }
            seen.stats.unsettled += staged.len() as u64;
            for PendingRow { row, remaining } in staged.drain(..) {
                let judged = match (remaining, &row.parsed) {
                    (Remaining::Planned(outcome), _) => {
                        Judged::Ended(Outcome { finished_at: clock::millis(), ..outcome })
                    }
                    (_, Err(RowError::Named { .. })) if contact.is_none() => {
                        let message = "names are not looked up without a server".to_owned();
                        Judged::Ended(Outcome::open(Status::NotAttempted, message))
                    }
                    _ => admit(&row, &mut models, contact.as_deref_mut()).await?,
                };
                take(&mut check, row, judged, seen).map_err(unwritable)?;
            }
            if contact.is_none() {
                models.ask_nobody();
            }
            // Signals are heard even where rows come without end.
            yield_now().await;
        }
        match ended {
            Some(Err(error)) => return Err(error.into()),
            Some(Ok(ended)) => seen.stats.blank_rows = ended.blank_rows,
            None => {}
        }
        seen.stats.input_ended = true;
        Ok(check)
    }

    /// Brings the rows together, and writes them where they go. The counts are those of what was
    /// written.
    async fn write(
        &self,
        check: Check,
        columns: Vec<Column>,
        seen: &mut Seen,
        signals: &mut Signals,
    ) -> Result<(), Halt> {
        let results = &self.config.results;
        let (files, now) = (self.files.clone(), clock::millis());
        let records = signals.or_interrupted(move || check.records(files, now)).await;
        let records = records.map_err(interrupted)?.map_err(|error| self.unwritable(error))?;
        let stop = Arc::new(AtomicBool::new(false));
        let delivery = Delivery {
            output: results.output.clone(),
            format: results.format,
            files: self.files.clone(),
            columns,
            folder: self.folder(),
            stop: Arc::clone(&stop),
        };
        let mut delivering = spawn_blocking(move || delivery.of(records));
        let mut halt = None;
        let done = tokio::select! {
            done = &mut delivering => done,
            exit = signals.next() => {
                stop.store(true, Ordering::Relaxed);
                halt = Some(interrupted(exit));
                delivering.await
            }
        };
        match (done.map_err(|error| bug(&error))?, halt) {
            (Ok((stats, repeats)), _) => {
                let before = std::mem::replace(&mut seen.stats, stats);
                seen.stats.calls = before.calls;
                seen.stats.blank_rows = before.blank_rows;
                seen.stats.input_ended = true;
                seen.repeats = repeats;
                Ok(())
            }
            (Err(_), Some(halt)) => Err(halt),
            (Err(error), None) => Err(error.into()),
        }
    }

    /// Where rows wait: beside the results, else where temporary files are.
    fn folder(&self) -> PathBuf {
        match &self.config.results.output {
            Output::File(path) => folder_of(path).to_owned(),
            Output::Stdout | Output::Nowhere => std::env::temp_dir(),
        }
    }

    fn unwritable(&self, error: io::Error) -> Halt {
        ResultsError::Unwritable { path: self.folder(), error }.into()
    }

    fn summarize(&self, end: End, made: Option<&Made>) -> Exit {
        let End { scope, mut seen, probed, mut halt } = end;
        let known = seen.stats.calls.abilities.clone();
        let server = self.report_on(&known, &probed);
        if let Some(server) = &server {
            server.log();
            halt = halt.or_else(|| server.against_import());
        } else if let Some(connection) = &self.config.connection {
            abilities::log(&seen.stats.calls.abilities, &connection.target);
        }
        let judged = if seen.stats.bad() == 0 { Exit::Ok } else { Exit::SomeFailed };
        let exit = halt.as_ref().map_or(judged, |halt| halt.exit);
        let output = &self.config.results.output;
        let results = match output {
            Output::File(path) if halt.is_none() && scope != Scope::Contact => Some(&**path),
            _ => None,
        };
        let forecast = self.forecast(&seen).filter(|_| halt.is_none());
        if let Some(made) = made {
            seen.stats.calls.count_in(&made.calls);
        }
        let names =
            made.map(|made| NamesReport { understood: &made.understood, files: &self.files });
        let Seen { deletes, not_allowed, repeats, .. } = seen;
        let checked = Checked { scope, repeats, deletes, not_allowed, forecast, names, server };
        let (again, identity) = (self.typed.again(), self.typed.identity_flags());
        let next = next_step(RunKind::Check, exit, &seen.stats, results, &again, &identity)
            // Without rows there is nothing to import.
            .filter(|_| scope != Scope::Contact || halt.is_some());
        let summary = Summary {
            kind: RunKind::Check,
            target: self.config.connection.as_ref().map(|connection| &connection.target),
            shard: None,
            stats: &seen.stats,
            inputs: &self.files,
            results,
            unfinished: None,
            exit,
            error: halt.as_ref().map(|halt| &*halt.message),
            warnings: &[],
            survey: None,
            checked: Some(&checked),
            next,
            look: look(self.config),
        };
        show(&summary, self.config, self.screen)
    }

    /// What there is to tell of the server, where it was asked for that.
    fn report_on<'a>(
        &'a self,
        abilities: &'a Abilities,
        probed: &'a [Probed],
    ) -> Option<ServerReport<'a>> {
        let connection = self.config.connection.as_ref().filter(|_| !probed.is_empty())?;
        let identity = &connection.identity;
        Some(ServerReport {
            target: &connection.target,
            app: identity.app_code.as_deref(),
            user: identity.username.as_deref(),
            has_models: !self.config.engine.models.is_empty(),
            abilities,
            probed,
        })
    }

    /// What the import will take, where it has rows to send.
    fn forecast(&self, seen: &Seen) -> Option<Forecast> {
        let engine = &self.config.engine;
        let size = match engine.batch {
            Batch::Off => 1,
            Batch::Auto => Batch::MAX,
            Batch::Size(size) => size,
        };
        let creates: u64 = seen.sent.values().map(|rows| rows.div_ceil(size.into())).sum();
        let calls = &seen.stats.calls;
        let asked = calls.count(CallKind::Models).saturating_sub(calls.retries);
        let conflicts = seen.stats.of_reason(Reason::MappingConflict).count;
        let company = COMPANY as u64;
        // Each is looked up before and afterwards.
        let deletes = seen.deletes.div_ceil(company);
        (creates + deletes > 0).then(|| Forecast {
            models: asked + u64::from(seen.sent.contains_key(&None)),
            creates,
            deletes,
            finds: (seen.repeats.count + conflicts).div_ceil(company) + 2 * deletes,
            rate: engine.rate,
            concurrency: engine.concurrency,
            latency: calls.latency_ms(0.5).map(|ms| Duration::from_secs_f64(ms / 1_000.0)),
        })
    }
}

/// What an import would do with a row.
enum Judged {
    /// Send it: the number of its model association and its rule, where they are known.
    Sent(Option<u32>, Option<Mapping>),
    /// End it so, without a call.
    Ended(Outcome),
}

/// What an import would do with a row, where there is a contact after asking what has to be asked.
async fn admit(
    row: &Row,
    models: &mut Models,
    mut contact: Option<&mut Asker<'_, Server>>,
) -> Result<Judged, Halt> {
    loop {
        return Ok(match (models.admit(row), contact.as_deref_mut()) {
            (Admission::Wanted, Some(contact)) => {
                contact.ask_for(models).await?;
                continue;
            }
            (Admission::Wanted, None) => Judged::Sent(None, None),
            (Admission::Known(number, model), _) => {
                Judged::Sent(Some(number), (!model.guessed).then_some(model.mapping))
            }
            (Admission::Refused(reason, message), _) => {
                Judged::Ended(Outcome::bad(reason, message, 0, clock::millis()))
            }
        });
    }
}

/// A row goes to where it waits, with what is known of it by itself.
fn take(check: &mut Check, row: Row, judged: Judged, seen: &mut Seen) -> io::Result<()> {
    let link = row.parsed.clone();
    let (outcome, sent) = match judged {
        Judged::Sent(number, mapping) => {
            (Outcome::open(Status::NotAttempted, String::new()), Some((number, mapping)))
        }
        Judged::Ended(outcome) => (outcome, None),
    };
    let record = Record::of(row, outcome);
    check.take(&record)?;
    if let (Some((number, mapping)), Ok(link)) = (sent, link) {
        check.contest(&record, &link.association, mapping)?;
        match record.cells.action() {
            Action::Create => *seen.sent.entry(number).or_default() += 1,
            Action::Delete => seen.deletes += 1,
        }
    }
    if record.outcome.reason == Some(Reason::UnsupportedAction)
        && record.cells.action() == Action::Delete
    {
        seen.not_allowed += 1;
    }
    seen.stats.add(&record);
    seen.stats.unsettled -= 1;
    Ok(())
}

fn interrupted(exit: Exit) -> Halt {
    Halt { exit, message: "interrupted: nothing was created, no results were written".to_owned() }
}

fn bug(error: &tokio::task::JoinError) -> Halt {
    Halt::new(Exit::Bug, error.to_string())
}
