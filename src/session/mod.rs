//! The life of a run: what stands at its results path, its journal, its rows, its results, its end.
//!
//! Owns the order of these steps. Knows nothing of what was typed or of how an end is told.

pub(crate) mod failure;
pub(crate) mod runtime;
pub(crate) mod signals;
pub(crate) mod question;
pub(crate) mod server;
pub(crate) mod open_journal;
pub(crate) mod parent;
pub(crate) mod source;
pub(crate) mod feeding;
pub(crate) mod planning;
pub(crate) mod sharding;
pub(crate) mod unfinished;
pub(crate) mod undone_run;
pub(crate) mod merging;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::association::Row;
use crate::clock;
use crate::config::{Config, Connection, Output};
use crate::engine::row_queue::{Ended, RowQueue};
use crate::engine::run::{self, Finish, Setting};
use crate::engine::stats::{RunStats, exit_of};
use crate::exit::{Exit, Halt};
use crate::input::digest::Digest;
use crate::input::{about_how_many, digest_of};
use crate::outcome::{Record, Status};
use crate::plan::guards;
use crate::report::abilities;
use crate::report::metrics::MetricsFile;
use crate::report::plan::Guarded;
use crate::report::progress::{Progress, Screen};
use crate::report::sampler::Sampler;
use crate::storage::journal::{self, EndEntry, JournalError, replay};
use crate::storage::manifest::{self, FORMAT, Head, Manifest, Parent, Undone};
use crate::storage::path_state::{self, PathState};
use crate::storage::plan::{self, PlanManifest};
use crate::storage::results::writer::Writer;
use crate::storage::results::{self, Layout, Outcomes, ResultsError};
use crate::storage::seals::Sealer;
use crate::storage::sharding::Sharding;
use crate::storage::survey::Survey;
use crate::target::Target;
use crate::version;
use open_journal::{OpenJournal, held, open_journal, remove};
use planning::Made;
use question::may_start_anew;
use runtime::runtime;
use server::Server;
use signals::Signals;
use source::{OpenSource, RowSource};
use undone_run::UndoneRun;

/// How a run ended.
pub(crate) struct Ending {
    pub(crate) stats: RunStats,
    pub(crate) exit: Exit,
    /// Where its results are, or are to be; `None` where they are kept nowhere.
    pub(crate) results: Option<PathBuf>,
    /// Why it did not come to its own end.
    pub(crate) error: Option<String>,
    /// Where a guard refused its plan, the flags that allow it.
    pub(crate) allowing: Vec<String>,
    /// What was there when it was planned.
    pub(crate) survey: Option<Survey>,
}

impl Ending {
    /// Of a run that did not come to its own end, and has no results.
    fn early(stats: RunStats, exit: Exit, error: String) -> Self {
        let (results, error) = (None, Some(error));
        Self { stats, exit, results, error, allowing: Vec::new(), survey: None }
    }
}

/// What a run carries out.
enum Planned {
    /// These rows.
    Rows(OpenSource),
    /// Nothing.
    Guarded(Guarded),
}

impl From<Guarded> for Ending {
    fn from(guarded: Guarded) -> Self {
        let Guarded { message, allowing, survey } = guarded;
        Self { allowing, survey, ..Self::early(RunStats::default(), Exit::Guard, message) }
    }
}

/// A run, decided and not begun.
pub(crate) struct Session<'a> {
    pub(crate) config: &'a Config,
    pub(crate) screen: &'a Screen,
    pub(crate) rows: RowSource,
    /// The run whose results are read.
    pub(crate) parent: Option<Parent>,
    /// What is not known of that run.
    pub(crate) warnings: Vec<String>,
    /// The run that is undone.
    pub(crate) undoes: Option<Arc<UndoneRun>>,
    /// What was there when its rows were planned, by another command.
    pub(crate) survey: Option<Survey>,
}

impl<'a> Session<'a> {
    /// Of rows that no other run or command has to do with.
    pub(crate) const fn of(config: &'a Config, screen: &'a Screen, rows: RowSource) -> Self {
        let warnings = Vec::new();
        Self { config, screen, rows, parent: None, warnings, undoes: None, survey: None }
    }
}

impl Session<'_> {
    /// Runs it to its end.
    pub(crate) fn run(&self) -> Result<Ending, Halt> {
        let path = match &self.config.results.output {
            Output::File(path) => path,
            Output::Stdout => return self.stream(),
            Output::Nowhere => return Err(Halt::usage("results need a place: give -o")),
        };
        if let Some(ending) = self.find(path)? {
            return Ok(ending);
        }
        let is_shard = self.config.shard.is_some();
        if is_shard {
            sharding::refuse_unshared(&self.rows)?;
        }
        let rows = self.rows.open().map_err(|halt| self.changed_input(path, halt))?;
        if is_shard {
            sharding::refuse_unplanned(&self.rows, &rows)?;
        }
        self.make_room(path)?;
        let mut opened = self.open_own_journal(path)?;
        if !opened.resumes && path.exists() {
            // Another process began and finished since this one looked.
            remove(opened.journal.path())?;
            drop(opened);
            return self.find(path)?.ok_or_else(|| held(&journal::path_for(path)).into());
        }
        let rows = match self.planned(path, rows, &mut opened) {
            // Nothing has to be mended: the same command tries again.
            Err(Halt { exit: exit @ (Exit::Outage | Exit::MaxDuration), message }) => {
                let ending = Ending::early(opened.stats, exit, message);
                return Ok(Ending { results: Some(path.to_owned()), ..ending });
            }
            planned => match planned? {
                Planned::Rows(rows) => rows,
                Planned::Guarded(guarded) => {
                    return Ok(Ending { stats: opened.stats, ..guarded.into() });
                }
            },
        };
        opened.begin()?;
        if opened.resumes {
            let settled = opened.stats.settled();
            let in_doubt = opened.replay.in_doubt_from(0).len();
            tracing::info!(
                settled,
                in_doubt,
                "going on with the run at {}; rows in doubt are looked up first",
                path.display()
            );
        }
        self.finish(path, rows, opened)
    }

    /// Whether this command would begin a run, and not go on with one or show its end.
    pub(crate) fn begins(&self) -> Result<bool, Halt> {
        let results = &self.config.results;
        match &results.output {
            Output::File(path) => {
                Ok(results.fresh || matches!(path_state::look(path)?, PathState::Free))
            }
            Output::Stdout | Output::Nowhere => Ok(true),
        }
    }

    /// The rows that the run carries out: where a plan is needed, as that has them. It is made if this process
    /// begins the run, and kept if it goes on with it; so is what is a shard's.
    fn planned(
        &self,
        results: &Path,
        rows: OpenSource,
        opened: &mut OpenJournal,
    ) -> Result<Planned, Halt> {
        if opened.resumes {
            return self.kept(results, rows, &opened.head).map(Planned::Rows);
        }
        let planned = self.made(results, rows, opened);
        if !matches!(planned, Ok(Planned::Rows(_))) {
            // Nothing was begun.
            remove(opened.journal.path())?;
        }
        planned
    }

    /// The same of a run that an earlier process began.
    fn kept(&self, results: &Path, rows: OpenSource, head: &Head) -> Result<OpenSource, Halt> {
        if let Some(sharding) = &head.shard {
            return Ok(rows.of_shard(sharding.clone()));
        }
        if head.plan.is_none() {
            return Ok(rows);
        }
        let path = plan::path_for(results);
        let manifest = planning::kept(&path, rows, head)?;
        self.rows.carried_out(&path, manifest, false)
    }

    /// The same of a run that begins.
    fn made(
        &self,
        results: &Path,
        rows: OpenSource,
        opened: &mut OpenJournal,
    ) -> Result<Planned, Halt> {
        if let Some(guarded) = self.may_begin_to_apply()? {
            return Ok(Planned::Guarded(guarded));
        }
        if let Some(shard) = self.config.shard {
            let sharding = sharding::decide(self.config, self.rows.open()?, shard)?;
            opened.head.shard = Some(sharding.clone());
            return Ok(Planned::Rows(rows.of_shard(sharding)));
        }
        if !self.plans(&rows) {
            return Ok(Planned::Rows(rows));
        }
        let path = plan::path_for(results);
        if plan::may_go_to(&path) {
            return self.plan(&path, rows, opened);
        }
        Err(Halt::usage(format!(
            "{} is there and is no plan, and the plan of this run would take its place: give \
             another -o, or --fresh to move it aside",
            path.display()
        )))
    }

    /// Whether the plan of another command may begin to be carried out: it must not be old, and no guard may
    /// refuse it.
    fn may_begin_to_apply(&self) -> Result<Option<Guarded>, Halt> {
        let RowSource::Plan { path, max_age: Some(most), .. } = &self.rows else { return Ok(None) };
        let manifest = PlanManifest::of(path)?;
        planning::refuse_old(path, &manifest, *most)?;
        let tripped = guards::judge(&manifest, &self.config.guards);
        Ok((!tripped.is_empty()).then(|| Guarded::of(path, &manifest, &tripped)))
    }

    /// Whether its rows have to be planned.
    fn plans(&self, rows: &OpenSource) -> bool {
        self.rows.pruning().is_some() || rows.says_more_than_ids()
    }

    /// Makes the plan at `path`, and holds it against the guards.
    fn plan(
        &self,
        path: &Path,
        rows: OpenSource,
        opened: &mut OpenJournal,
    ) -> Result<Planned, Halt> {
        let head = opened.head.clone();
        let Made { manifest, calls, took, .. } =
            planning::make(self.config, self.screen, &self.rows, rows, path, &head)?;
        opened.stats.calls.count_in(&calls);
        opened.stats.planning = took;
        let tripped = guards::judge(&manifest, &self.config.guards);
        if !tripped.is_empty() {
            return Ok(Planned::Guarded(Guarded::of(path, &manifest, &tripped)));
        }
        tracing::info!(
            rows = manifest.rows,
            calls = calls.total(),
            "what is to be done is written down in {}",
            path.display()
        );
        opened.head.plan = Some(manifest.plan_sha256.clone());
        // A rerun lists nothing, and keeps the survey of the run before.
        if manifest.head.survey.is_some() {
            opened.head.survey.clone_from(&manifest.head.survey);
        }
        opened.head.columns.clone_from(&manifest.head.columns);
        Ok(Planned::Rows(self.rows.carried_out(path, manifest, true)?))
    }

    /// Settles what an unfinished run left in doubt, by looking only. Some ending: it could not.
    pub(crate) fn settle_doubts(
        &self,
        results: &Path,
        rows: &RowSource,
    ) -> Result<Option<Ending>, Halt> {
        let rows = rows.open()?;
        let mut opened = open_journal(results, &self.head())?;
        opened.begin()?;
        let finish = runtime()?.block_on(self.call(rows, &mut opened, false, &mut |_| Ok(())))?;
        let stats = opened.stats;
        Ok(finish.halt.map(|Halt { exit, message }| Ending::early(stats, exit, message)))
    }

    /// What stands at the results path decides: an ending where there is nothing left to do.
    fn find(&self, path: &Path) -> Result<Option<Ending>, Halt> {
        let results = &self.config.results;
        match path_state::look(path)? {
            PathState::Free => Ok(None),
            _ if results.replace => Ok(None),
            _ if results.fresh => may_start_anew(path, self.config, self.screen).map(|()| None),
            PathState::Unfinished => Ok(None),
            PathState::Stranger => Err(Halt::usage(format!(
                "{} is there and was not written by a run (it has no run.json): give another -o, or --fresh \
                 to move it aside",
                path.display()
            ))),
            PathState::Finished(manifest) => self.finished(path, &manifest).map(Some),
        }
    }

    /// Where the run is to start anew, what stands at its path goes, once the input is known to be one.
    /// A `run.json` whose results are gone is an audit record all the same.
    fn make_room(&self, path: &Path) -> Result<(), Halt> {
        let results = &self.config.results;
        let goes = match path_state::look(path)? {
            PathState::Free => {
                let plan = plan::path_for(path);
                manifest::path_for(path).exists() || (results.fresh && !plan::may_go_to(&plan))
            }
            _ => results.replace || results.fresh,
        };
        if goes {
            path_state::clear(path, !results.replace)?;
        }
        Ok(())
    }

    /// A finished run of the same input: how it ended, once more.
    fn finished(&self, path: &Path, manifest: &Manifest) -> Result<Ending, Halt> {
        let refuse = |what: String| {
            Err(Halt::usage(format!(
                "{} holds a finished run, and {what}. Give another -o (as -o 'links-{{date}}.csv'), or --fresh to \
                 move it aside",
                path.display()
            )))
        };
        if let Some(what) = manifest.head.difference(&self.head()) {
            return refuse(what);
        }
        if let Some(undone) = &manifest.undone {
            return refuse(format!("it was {undone}"));
        }
        let digests = self.digests()?;
        if !manifest.has_inputs(&digests) {
            let names: Vec<_> = digests.into_iter().map(|digest| digest.name).collect();
            return refuse(format!("its input was not what {} is now", names.join(", ")));
        }
        if !manifest.wrote(path)? {
            tracing::warn!(
                "{} was changed since it was written: `bkassoc verify` says more",
                path.display()
            );
        }
        let mut stats = RunStats::default();
        for record in results::reader::Reader::open(path, &manifest.head.files)? {
            stats.carry(&record?);
        }
        manifest.refuse_other_than(stats.rows(), path)?;
        stats.input_ended = true;
        stats.blank_rows = manifest.blank_rows;
        tracing::info!(
            "{} is finished since {}: nothing is sent",
            path.display(),
            manifest.finished_at
        );
        let exit = Exit::of_code(manifest.exit).unwrap_or_else(|| exit_of(&stats));
        let (results, survey) = (Some(path.to_owned()), manifest.head.survey.clone());
        Ok(Ending { stats, exit, results, error: None, allowing: Vec::new(), survey })
    }

    /// Why the input can't be opened. Where a run is to go on that read it before under the same options, it
    /// is the input that has changed.
    fn changed_input(&self, path: &Path, halt: Halt) -> Halt {
        let results = &self.config.results;
        let anew = results.replace || results.fresh || halt.exit != Exit::Usage;
        let goes_on = || {
            let replay = replay::replay(&journal::path_for(path), |_| {}).ok()?;
            Some(replay.head?.difference(&self.head()).is_none())
        };
        if anew || !path_state::is_unfinished(path) || goes_on() != Some(true) {
            return halt;
        }
        let message = format!(
            "{}. The run at {} is not finished, and this is not the input that it read: restore that, or \
             give --fresh to start anew",
            halt.message,
            path.display()
        );
        Halt::new(Exit::Input, message)
    }

    /// What is read, as it is now.
    fn digests(&self) -> Result<Vec<Digest>, Halt> {
        Ok(self.rows.sources().iter().map(digest_of).collect::<Result<_, _>>()?)
    }

    fn head(&self) -> Head {
        let head = head(self.config, &self.rows, self.parent.clone());
        Head { survey: self.survey.clone(), ..head }
    }

    fn connection(&self) -> &Connection {
        self.config.connection.as_ref().expect("this command calls a server")
    }

    pub(crate) fn target(&self) -> &Target {
        &self.connection().target
    }

    /// The journal of this run: new, or one that this very command may go on with.
    fn open_own_journal(&self, results: &Path) -> Result<OpenJournal, Halt> {
        let head = self.head();
        let opened = open_journal(results, &head)?;
        if let Some(what) = opened.head.difference(&head) {
            return Err(Halt::usage(format!(
                "{} is the journal of an unfinished run, and {what}. Give the same command as before, another \
                 -o, or --fresh to start anew",
                opened.journal.path().display()
            )));
        }
        if let Some(undone) = &opened.replay.undone {
            return Err(Halt::usage(format!(
                "the unfinished run at {} was {undone}. Give another -o, or --fresh to start anew",
                results.display()
            )));
        }
        Ok(opened)
    }

    /// The run to its end, and how it went, whatever happened.
    fn finish(
        &self,
        path: &Path,
        rows: OpenSource,
        mut opened: OpenJournal,
    ) -> Result<Ending, Halt> {
        let runtime = runtime()?;
        let ended = runtime.block_on(self.to_the_end(path, rows, &mut opened));
        // A disk or a resolver that hangs is not waited for.
        runtime.shutdown_background();
        let (stats, exit, error) = match ended {
            Ok((stats, exit)) => (stats, exit, None),
            Err(Halt { exit, message }) => {
                opened.count_what_was_written();
                (opened.stats, exit, Some(message))
            }
        };
        let (results, survey) = (Some(path.to_owned()), opened.head.survey);
        Ok(Ending { stats, exit, results, error, allowing: Vec::new(), survey })
    }

    async fn to_the_end(
        &self,
        path: &Path,
        rows: OpenSource,
        opened: &mut OpenJournal,
    ) -> Result<(RunStats, Exit), Halt> {
        // Where an earlier process settled every row, nothing is left to send; the input is read all
        // the same, since another input would be another run.
        let earlier = opened.replay.end.take();
        // From now on, so that a signal between the run and its results is heard too.
        let signals = Signals::listen()?;
        self.note_before_deletes(opened);
        let called = self.call(rows, opened, true, &mut |_| Ok(())).await.and_then(whole);
        if !opened.may_have_written() {
            self.take_note_back(opened)?;
            if called.is_err() {
                remove(opened.journal.path())?;
            }
        }
        let ended = called?;
        let end = match earlier {
            Some(earlier) if earlier.rows == ended.rows => earlier,
            _ => {
                let inputs = match self.undoes.as_deref() {
                    // The journal of a run that is undone has got its note since it was read.
                    Some(UndoneRun::Unfinished { .. }) => self.digests()?,
                    _ => ended.digests,
                };
                EndEntry { rows: ended.rows, inputs, finished_at: clock::now() }
            }
        };
        opened.journal.end_of_run(&end);
        opened.journal.sync_all().await?;
        self.make_results(path, opened, end, signals).await
    }

    /// What an undo deletes, the run that it undoes knows of from before the first delete on.
    fn note_before_deletes(&self, opened: &mut OpenJournal) {
        let Some(run) = self.undoes.clone() else { return };
        let by = self.named_as_undo(&opened.head);
        opened.journal.before_deletes(Box::new(move || run.note(&by)));
    }

    /// Nothing was deleted: nothing was undone.
    fn take_note_back(&self, opened: &OpenJournal) -> Result<(), Halt> {
        let Some(run) = &self.undoes else { return Ok(()) };
        run.take_back(&self.named_as_undo(&opened.head))
    }

    /// How the run that is undone names this undo.
    fn named_as_undo(&self, head: &Head) -> Undone {
        let by = match &self.config.results.output {
            Output::File(path) => path.display().to_string(),
            Output::Stdout | Output::Nowhere => "-".to_owned(),
        };
        Undone { by, at: head.started_at.clone() }
    }

    /// Makes the calls that the rows need, `writes` or only look-ups.
    async fn call(
        &self,
        rows: OpenSource,
        opened: &mut OpenJournal,
        writes: bool,
        each: &mut dyn FnMut(&Record) -> io::Result<()>,
    ) -> Result<Finish, Halt> {
        let server = Server::of(self.connection(), self.config.engine.concurrency)?;
        let OpenJournal { journal, replay, stats, head, history, .. } = opened;
        let earlier = Arc::new(std::mem::take(replay));
        let run_key = head.key();
        let head = head.clone();
        let place_of = |row: &Row| head.place_of(row);
        let setting = Setting {
            cmdb: &server,
            target: self.target(),
            options: &self.config.engine,
            run_key: &run_key,
            earlier: &earlier,
            clock: clock::millis,
            seed: rand::random(),
            writes,
            deletes: rows.deletes(),
            place_of: &place_of,
            each,
        };
        let path = journal.path().to_owned();
        let replay = Arc::clone(&earlier);
        let known = rows.rows();
        let named = head.clone();
        let queue = RowQueue::spawn(rows.waits(), move |sink| {
            feeding::feed(rows, &path, &replay, |row| named.place_of(row), writes, sink)
        });
        if writes {
            let sources = self.rows.sources();
            queue.expect(move || known.or_else(|| about_how_many(&sources)));
        }
        let signals = Signals::listen()?;
        let display = self.config.display;
        let mut progress = Progress::new(display.progress, self.screen.clone(), display.language);
        let metrics = self.config.metrics.as_ref().filter(|_| writes);
        let mut metrics = metrics.map(MetricsFile::new);
        let mut sampler = Sampler::start();
        let mut show = |stats: &RunStats| {
            progress.show(stats);
            sampler.see(stats);
            if let Some(metrics) = &mut metrics {
                metrics.show(stats);
            }
        };
        let (first, second) = signals.twice();
        let finish = tokio::select! {
            finish = run::run(setting, journal, queue, stats, first, &mut show) => finish,
            // As after a crash, but that what was counted is written.
            exit = second => journal.flush().map(|()| {
                let message = "interrupted: calls in flight were not waited for";
                Finish { halt: Some(Halt::new(exit, message)), ended: None }
            }),
        };
        progress.finish();
        if let Some(metrics) = metrics {
            metrics.finish();
        }
        let finish = finish?;
        abilities::log(&stats.calls.abilities, self.target());
        *history = Some(sampler.finish(stats));
        stats.blank_rows = finish.ended.as_ref().map_or(0, |ended| ended.blank_rows);
        Ok(finish)
    }

    /// Results, `run.json`, and only then is the journal removed: a crash in between is mended by
    /// the same command.
    async fn make_results(
        &self,
        path: &Path,
        opened: &mut OpenJournal,
        end: EndEntry,
        mut signals: Signals,
    ) -> Result<(RunStats, Exit), Halt> {
        let before = opened.stats.clone();
        let carried = before.settled() - before.settled_here();
        let (head, lock) = (opened.head.clone(), opened.lock.take());
        // A process that had only the results to write made no calls.
        let history = opened.history.take().filter(|history| !history.calls.is_empty());
        let (journal, results) = (opened.journal.path().to_owned(), path.to_owned());
        let format = self.config.results.format;
        let abilities = &before.calls.abilities;
        let server = abilities.is_known().then(|| abilities.of_server(self.target()));
        let work = move || -> Result<(RunStats, Exit), ResultsError> {
            let mut stats = before.without_rows();
            let outcomes = results::conserved(Outcomes::of_journal(&journal)?, end.rows);
            let mut sealer = Sealer::default();
            let sha256 = results::write(&results, format, Layout::of(&head), outcomes, |record| {
                sealer.take(record);
                if record.ordinal < carried { stats.carry(record) } else { stats.add(record) }
            })?;
            stats.input_ended = true;
            let exit = exit_of(&stats);
            let manifest = manifest(head, end, &stats, exit, sha256, sealer.finish());
            let manifest = Manifest { history, server, ..manifest };
            results::write_whole(&manifest::path_for(&results), &manifest.to_json())?;
            remove(&journal)?;
            drop(lock);
            Ok((stats, exit))
        };
        let done = signals.or_interrupted(work).await.map_err(|exit| {
            let message = "interrupted while writing results; the same command writes them";
            Halt::new(exit, message)
        })?;
        Ok(done?)
    }

    /// `-o -`: outcomes in order of completion on stdout, and no journal.
    fn stream(&self) -> Result<Ending, Halt> {
        let mut rows = self.rows.open()?;
        let mut opened = OpenJournal::nowhere(self.head());
        let scratch;
        if let Some(guarded) = self.may_begin_to_apply()? {
            return Ok(guarded.into());
        }
        if self.plans(&rows) {
            scratch = plan::Scratch::new()?;
            rows = match self.plan(&scratch.plan(), rows, &mut opened)? {
                Planned::Rows(rows) => rows,
                Planned::Guarded(guarded) => {
                    return Ok(Ending { stats: opened.stats, ..guarded.into() });
                }
            };
        }
        let (format, head) = (self.config.results.format, opened.head.clone());
        let mut writer = Writer::new(io::stdout().lock(), format, Layout::of(&head))
            .map_err(JournalError::Unseen)?;
        self.note_before_deletes(&mut opened);
        let mut each = |record: &Record| writer.write(record).and_then(|()| writer.flush());
        let runtime = runtime()?;
        let called =
            runtime.block_on(self.call(rows, &mut opened, true, &mut each)).and_then(whole);
        runtime.shutdown_background();
        if !opened.may_have_written() {
            self.take_note_back(&opened)?;
        }
        let flushed = writer.flush().map_err(JournalError::Unseen);
        let stats = opened.stats;
        let (exit, error) = match called.and_then(|_| Ok(flushed?)) {
            Ok(()) => (exit_of(&stats), None),
            Err(Halt { exit, message }) => (exit, Some(message)),
        };
        let survey = opened.head.survey;
        Ok(Ending { stats, exit, results: None, error, allowing: Vec::new(), survey })
    }
}

/// The head of a run of these rows that begins now.
pub(crate) fn head(config: &Config, rows: &RowSource, parent: Option<Parent>) -> Head {
    let connection = config.connection.as_ref().expect("this command calls a server");
    let mut options = config.meaning.clone();
    options.extend(rows.choice().into_iter().map(|(name, value)| (name.to_owned(), value)));
    Head {
        format: FORMAT,
        tool: version::VERSION.to_owned(),
        work: rows.work(),
        target: connection.target.clone(),
        app_code: connection.identity.app_code.clone(),
        username: connection.identity.username.clone(),
        options,
        settings: config.inherited.clone(),
        inputs: rows.sources().iter().map(ToString::to_string).collect(),
        files: rows.files(),
        columns: rows.columns(),
        plan: None,
        survey: None,
        shard: config.shard.map(Sharding::undecided),
        shards: Vec::new(),
        started_at: clock::now(),
        parent,
    }
}

/// A run that settled every row; else why it did not.
fn whole(finish: Finish) -> Result<Ended, Halt> {
    match finish {
        Finish { halt: Some(halt), .. } => Err(halt),
        Finish { halt: None, ended: Some(ended) } => Ok(ended),
        Finish { halt: None, ended: None } => {
            Err(Halt::new(Exit::Bug, "the run ended for no reason".to_owned()))
        }
    }
}

fn manifest(
    head: Head,
    end: EndEntry,
    stats: &RunStats,
    exit: Exit,
    sha256: String,
    seals: Vec<String>,
) -> Manifest {
    let counts = Status::ALL.into_iter().map(|status| (status, stats.count(status)));
    Manifest {
        head,
        digests: end.inputs,
        finished_at: end.finished_at,
        counts: counts
            .filter(|(_, count)| *count > 0)
            .map(|(status, count)| (status.as_str().to_owned(), count))
            .collect(),
        reasons: (stats.reasons().into_iter())
            .map(|(reason, stats)| (reason.as_str().to_owned(), stats.count))
            .collect(),
        blank_rows: stats.blank_rows,
        exit: exit.code(),
        history: None,
        server: None,
        results_sha256: sha256,
        seals,
        undone: None,
    }
}
