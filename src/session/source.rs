//! Where the rows of a run come from, and how they reach the loop when a run goes on.
//!
//! A source is what a journal's head says of it, so that it can be opened again from there.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustc_hash::FxHashSet;

use crate::association::{Action, Cells, Column, Named, Row, RowError};
use crate::config::reading;
use crate::engine::remaining::{Goal, PendingRow, Remaining, what_remains};
use crate::engine::row_queue::{Ended, RowQueueError, RowSink};
use crate::exit::{Exit, Halt};
use crate::input::digest::Digest;
use crate::input::{self, InputOptions, Reader, RowParser, Source};
use crate::options::{Prune, Pruning};
use crate::outcome::{Outcome, Reason, Record, Status};
use crate::storage::journal::replay::{Fingerprints, Replay};
use crate::storage::manifest::{Head, Work};
use crate::storage::plan::{self, PlanManifest, PlannedRow, Step};
use crate::storage::results::{self, Outcomes, ResultsError};
use crate::storage::sharding::{Sharder, Sharding};

/// The option under which a head keeps that recovered rows are deleted too.
const INCLUDE_RECOVERED: &str = "include-recovered";

/// The option under which a head keeps that names are asked for anew.
const RESOLVE_AGAIN: &str = "resolve-again";

/// The option under which a head keeps that rows may delete.
const ALLOW_DELETE: &str = "allow-delete";

/// What a run reads.
#[derive(Clone, Debug)]
pub(crate) enum RowSource {
    /// Files with rows. With `pruning` they are what shall be, in a sync.
    Inputs { sources: Vec<Source>, options: InputOptions, pruning: Option<Pruning> },
    /// The results of another run: those rows that are chosen are settled again, the others carried over.
    Results { path: PathBuf, files: Vec<String>, options: InputOptions, choice: Choice },
    /// What another run created, by its results or its journal, to be deleted. Its other rows are none
    /// of an undo.
    Created { path: PathBuf, files: Vec<String>, include_recovered: bool },
    /// A plan that another command made, by its SHA-256.
    Plan {
        path: PathBuf,
        sha256: String,
        files: Vec<String>,
        columns: Vec<Column>,
        /// How old it may be when it begins to be carried out; `None` where it has begun.
        max_age: Option<Duration>,
    },
    /// The plan that a run made for itself of what it reads.
    Planned { plan: PathBuf, of: Box<Self> },
    /// A shard of its rows.
    Sharded { sharding: Sharding, of: Box<Self> },
}

impl RowSource {
    pub(crate) fn inputs(paths: &[PathBuf], options: InputOptions) -> Self {
        let sources = paths.iter().cloned().map(Source::from).collect();
        Self::Inputs { sources, options, pruning: None }
    }

    /// What shall be, and what may be deleted that it does not name.
    pub(crate) fn synced(paths: &[PathBuf], options: InputOptions, pruning: Pruning) -> Self {
        let sources = paths.iter().cloned().map(Source::from).collect();
        Self::Inputs { sources, options, pruning: Some(pruning) }
    }

    /// Of a sync, what may be deleted.
    pub(crate) const fn pruning(&self) -> Option<&Pruning> {
        match self {
            Self::Inputs { pruning, .. } => pruning.as_ref(),
            _ => None,
        }
    }

    /// What the run at `results` reads, as its head says.
    pub(crate) fn of_head(head: &Head, results: &Path) -> Result<Self, Halt> {
        let of = Self::beneath_plan(head)?;
        Ok(match (&head.plan, &head.shard) {
            (Some(_), _) => Self::Planned { plan: plan::path_for(results), of: Box::new(of) },
            (None, Some(sharding)) => {
                Self::Sharded { sharding: sharding.clone(), of: Box::new(of) }
            }
            (None, None) => of,
        })
    }

    fn beneath_plan(head: &Head) -> Result<Self, Halt> {
        // What stood there is in the plan.
        if head.plan.is_none() && head.inputs.iter().any(|name| name == "-") {
            return Err(Halt::new(Exit::Input, "the input was standard input"));
        }
        let paths: Vec<_> = head.inputs.iter().map(PathBuf::from).collect();
        let path = paths.first().cloned().unwrap_or_default();
        let options = reading::of_run(&head.settings, head.target.entrance)?;
        let files = head.files.clone();
        Ok(match head.work {
            Work::Import => Self::inputs(&paths, options),
            Work::Sync => {
                let options = InputOptions { allow_delete: true, ..options };
                Self::synced(&paths, options, pruning_of(head))
            }
            Work::Rerun => Self::Results { path, files, options, choice: Choice::of_head(head) },
            Work::Undo => {
                let include_recovered = head.options.contains_key(INCLUDE_RECOVERED);
                Self::Created { path, files, include_recovered }
            }
            Work::Apply => {
                let sha256 = head.options.get(PLAN_SHA256).cloned().unwrap_or_default();
                Self::Plan { path, sha256, files, columns: head.columns.clone(), max_age: None }
            }
        })
    }

    /// What a run does with them.
    pub(crate) const fn work(&self) -> Work {
        match self {
            Self::Inputs { pruning: None, .. } => Work::Import,
            Self::Inputs { pruning: Some(_), .. } => Work::Sync,
            Self::Results { .. } => Work::Rerun,
            Self::Created { .. } => Work::Undo,
            Self::Plan { .. } => Work::Apply,
            Self::Planned { of, .. } | Self::Sharded { of, .. } => of.work(),
        }
    }

    /// What is read, by name.
    pub(crate) fn sources(&self) -> Vec<Source> {
        match self {
            Self::Inputs { sources, .. } => sources.clone(),
            Self::Results { path, .. } | Self::Created { path, .. } | Self::Plan { path, .. } => {
                vec![Source::Path(path.clone())]
            }
            Self::Planned { of, .. } | Self::Sharded { of, .. } => of.sources(),
        }
    }

    /// Input names, in order; empty for a single input.
    pub(crate) fn files(&self) -> Vec<String> {
        match self {
            Self::Inputs { sources, .. } if sources.len() > 1 => {
                sources.iter().map(ToString::to_string).collect()
            }
            Self::Inputs { .. } => Vec::new(),
            Self::Results { files, .. }
            | Self::Created { files, .. }
            | Self::Plan { files, .. } => files.clone(),
            Self::Planned { of, .. } | Self::Sharded { of, .. } => of.files(),
        }
    }

    /// What its rows say beside ids, where that is known before a run begins.
    pub(crate) fn columns(&self) -> Vec<Column> {
        match self {
            Self::Plan { columns, .. } => columns.clone(),
            Self::Sharded { of, .. } => of.columns(),
            _ => Vec::new(),
        }
    }

    /// Which of its rows are taken, as a head keeps that: with another choice it is another run.
    pub(crate) fn choice(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Results { choice, .. } => choice.named(),
            Self::Created { include_recovered: true, .. } => {
                vec![(INCLUDE_RECOVERED, "true".to_owned())]
            }
            Self::Planned { of, .. } | Self::Sharded { of, .. } => of.choice(),
            Self::Inputs { pruning: Some(pruning), .. } => pruned_by(pruning),
            // Another plan at the same path is another run.
            Self::Plan { sha256, .. } => vec![(PLAN_SHA256, sha256.clone())],
            Self::Inputs { .. } | Self::Created { .. } => Vec::new(),
        }
    }

    /// How many rows it has.
    pub(crate) fn count(&self) -> Result<u64, Halt> {
        let mut rows = self.open()?;
        let mut count = 0;
        while let Some(row) = rows.next() {
            row?;
            count += 1;
        }
        Ok(count)
    }

    /// Opens it: what is wrong with headers is known before anything is sent.
    pub(crate) fn open(&self) -> Result<OpenSource, Halt> {
        Ok(match self {
            Self::Inputs { sources, options, .. } => {
                let reader = Box::new(Reader::open(sources, options)?);
                let waits = !sources.iter().all(Source::is_regular_file);
                OpenSource::Inputs { reader, waits }
            }
            Self::Results { path, files, options, choice } => {
                OpenSource::Results(Box::new(OpenResults {
                    path: path.clone(),
                    records: results::reader::Reader::open(path, files)?,
                    cells: options.parser(),
                    choice: choice.clone(),
                }))
            }
            Self::Created { path, files, include_recovered } => {
                OpenSource::Created(Box::new(Created {
                    path: path.clone(),
                    records: records_at(path, files)?,
                    gone: deletes_of(path, files)?.of_created,
                    cells: RowParser::new(None, false),
                    include_recovered: *include_recovered,
                    count: 0,
                }))
            }
            Self::Plan { path, .. } => {
                let manifest = PlanManifest::of(path)?;
                let lines = plan::Reader::open(path, &manifest)?;
                let digests = vec![lines.digest().clone()];
                let manifest = PlanManifest { digests, ..manifest };
                let trusts_list = false;
                OpenSource::Planned(Box::new(Planned {
                    lines,
                    results: None,
                    manifest,
                    trusts_list,
                }))
            }
            Self::Planned { plan, of } => of.carried_out(plan, PlanManifest::of(plan)?, false)?,
            Self::Sharded { sharding, of } => of.open()?.of_shard(sharding.clone()),
        })
    }

    /// The same rows as the plan at `path` has them. What the plan says of inputs is not read again. With
    /// `trusts_list` what it says to be there was listed just now, and is not looked up.
    pub(crate) fn carried_out(
        &self,
        path: &Path,
        manifest: PlanManifest,
        trusts_list: bool,
    ) -> Result<OpenSource, Halt> {
        let results = match self {
            Self::Results { .. } => match self.open()? {
                OpenSource::Results(results) => Some(results),
                _ => None,
            },
            _ => None,
        };
        let lines = plan::Reader::open(path, &manifest)?;
        Ok(OpenSource::Planned(Box::new(Planned { lines, results, manifest, trusts_list })))
    }
}

/// The records of a results file, or of a journal as far as it goes.
fn records_at(path: &Path, files: &[String]) -> Result<Records, ResultsError> {
    if path.extension().is_some_and(|ending| ending == "journal") {
        return Ok(Box::new(Outcomes::of_journal(path)?));
    }
    Ok(Box::new(results::reader::Reader::open(path, files)?))
}

/// What a run deleted.
#[derive(Default)]
pub(crate) struct Deletes {
    /// The ids of what it had created itself.
    of_created: FxHashSet<i64>,
    /// How many others, which no undo brings back.
    pub(crate) of_others: u64,
}

/// What a run deleted, by its results or its journal.
pub(crate) fn deletes_of(path: &Path, files: &[String]) -> Result<Deletes, ResultsError> {
    let is_journal = path.extension().is_some_and(|ending| ending == "journal");
    if !is_journal && !results::reader::Reader::open(path, files)?.says_more_than_ids() {
        return Ok(Deletes::default());
    }
    let records = || records_at(path, files).map(|records| records.map_while(Result::ok));
    let is = |record: &Record, statuses: &[Status]| statuses.contains(&record.outcome.status);
    // Ids ascend: what has a smaller one than all that the run created was there before, and need not be
    // remembered.
    let created = records()?.filter(|record| is(record, &[Status::Created, Status::Recovered]));
    let first = created.filter_map(|record| record.outcome.association_id).min();
    let mut deletes = Deletes::default();
    let mut later = FxHashSet::default();
    for record in records()?.filter(|record| is(record, &[Status::Deleted])) {
        deletes.of_others += 1;
        later.extend(
            record.outcome.association_id.filter(|id| first.is_some_and(|first| *id >= first)),
        );
    }
    if !later.is_empty() {
        for record in records()?.filter(|record| is(record, &[Status::Created, Status::Recovered]))
        {
            deletes
                .of_created
                .extend(record.outcome.association_id.filter(|id| later.contains(id)));
        }
        deletes.of_others -= deletes.of_created.len() as u64;
    }
    Ok(deletes)
}

type Records = Box<dyn Iterator<Item = Result<Record, ResultsError>> + Send>;

/// The option under which a head keeps which plan is applied.
const PLAN_SHA256: &str = "plan-sha256";

/// The options under which a head keeps what a sync may delete.
const PRUNE: &str = "prune";
const SCOPE: &str = "scope";
const PREVIOUS: &str = "previous";

/// With other deletes it is another run.
fn pruned_by(pruning: &Pruning) -> Vec<(&'static str, String)> {
    let Pruning { prune, scope, previous } = pruning;
    let scope = (!scope.is_empty()).then(|| (SCOPE, scope.join(",")));
    let previous = previous.as_ref().map(|path| (PREVIOUS, path.display().to_string()));
    [(PRUNE, prune.as_str().to_owned())].into_iter().chain(scope).chain(previous).collect()
}

fn pruning_of(head: &Head) -> Pruning {
    let option = |name| head.options.get(name);
    let prune = option(PRUNE).and_then(|word| {
        Prune::WORDS.into_iter().find(|(known, _)| known == word).map(|(_, prune)| prune)
    });
    Pruning {
        prune: prune.unwrap_or_default(),
        scope: option(SCOPE)
            .map(|names| names.split(',').map(str::to_owned).collect())
            .unwrap_or_default(),
        previous: option(PREVIOUS).map(PathBuf::from),
    }
}

/// Which rows of a results file are settled again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Choice {
    /// Rows of these statuses; empty: of any.
    pub(crate) statuses: Vec<Status>,
    /// Rows of these reasons; empty: of any.
    pub(crate) reasons: Vec<Reason>,
    /// What their names mean is asked anew, also where there is an id.
    pub(crate) resolve_again: bool,
    /// Rows that delete may be among them.
    pub(crate) allow_delete: bool,
}

impl Choice {
    /// As it stands in a head's options: with another choice it is another run.
    pub(crate) fn named(&self) -> Vec<(&'static str, String)> {
        let statuses: Vec<_> = self.statuses.iter().map(|status| status.as_str()).collect();
        let reasons: Vec<_> = self.reasons.iter().map(|reason| reason.as_str()).collect();
        [("status", statuses), ("reason", reasons)]
            .into_iter()
            .filter(|(_, words)| !words.is_empty())
            .map(|(name, words)| (name, words.join(",")))
            .chain(self.resolve_again.then(|| (RESOLVE_AGAIN, "true".to_owned())))
            .collect()
    }

    /// Read back from a head's options.
    pub(crate) fn of_head(head: &Head) -> Self {
        let words = |name| head.options.get(name).map_or("", String::as_str).split(',');
        Self {
            statuses: words("status").filter_map(Status::parse).collect(),
            reasons: words("reason").filter_map(Reason::parse).collect(),
            resolve_again: head.options.contains_key(RESOLVE_AGAIN),
            allow_delete: head.options.contains_key(ALLOW_DELETE),
        }
    }

    /// Whether a row is taken: it is chosen, and nothing keeps it out.
    fn takes(&self, record: &Record) -> bool {
        let Record { line, cells, outcome, .. } = record;
        let may_be_taken = match Action::parse(cells.get(Column::Action)) {
            // What no input asks for, the next sync does.
            Some(Action::Delete) => self.allow_delete && *line > 0,
            Some(Action::Create) => true,
            // Such a row asked for something else than it reads like.
            None => outcome.reason != Some(Reason::UnsupportedAction),
        };
        may_be_taken && self.chooses(outcome)
    }

    /// Whether a row is left out only because it is a delete.
    pub(crate) fn leaves_out(&self, record: &Record) -> bool {
        record.cells.action() == Action::Delete
            && self.chooses(&record.outcome)
            && !self.takes(record)
    }

    /// Nothing chosen means: what may well succeed as it is.
    fn chooses(&self, outcome: &Outcome) -> bool {
        if self.statuses.is_empty() && self.reasons.is_empty() {
            return outcome.retryable && !outcome.status.is_good();
        }
        (self.statuses.is_empty() || self.statuses.contains(&outcome.status))
            && (self.reasons.is_empty()
                || outcome.reason.is_some_and(|reason| self.reasons.contains(&reason)))
    }
}

/// A source that is open, at its next row.
pub(crate) enum OpenSource {
    Inputs { reader: Box<Reader>, waits: bool },
    Results(Box<OpenResults>),
    Created(Box<Created>),
    Planned(Box<Planned>),
    Sharded(Box<Sharded>),
}

/// A shard's rows, counted by themselves: to journal and results there are no others.
pub(crate) struct Sharded {
    rows: OpenSource,
    sharder: Sharder,
    /// Rows that were read, of any shard.
    read: u64,
    /// Rows that were given.
    given: u64,
}

/// The lines of a plan. Of a rerun's, those that are carried over have their outcomes in the results
/// beneath, line by line.
pub(crate) struct Planned {
    lines: plan::Reader,
    results: Option<Box<OpenResults>>,
    manifest: PlanManifest,
    /// Whether what it says to be there was listed just now, so that it need not be looked up.
    trusts_list: bool,
}

pub(crate) struct OpenResults {
    path: PathBuf,
    records: results::reader::Reader,
    cells: RowParser,
    choice: Choice,
}

pub(crate) struct Created {
    path: PathBuf,
    records: Records,
    /// The ids that the run deleted itself, of what it had created.
    gone: FxHashSet<i64>,
    cells: RowParser,
    include_recovered: bool,
    count: u64,
}

impl OpenSource {
    /// Whether its rows may say more than ids, so that a plan has to be made of them.
    pub(crate) fn says_more_than_ids(&self) -> bool {
        match self {
            Self::Inputs { reader, .. } => reader.says_more_than_ids(),
            Self::Results(results) => results.records.says_more_than_ids(),
            Self::Sharded(sharded) => sharded.rows.says_more_than_ids(),
            Self::Created(_) | Self::Planned(_) => false,
        }
    }

    /// Whether any of its rows is to be deleted.
    pub(crate) fn deletes(&self) -> bool {
        match self {
            Self::Created(_) => true,
            Self::Planned(planned) => planned.manifest.count("delete", None) > 0,
            Self::Sharded(sharded) => sharded.rows.deletes(),
            Self::Inputs { .. } | Self::Results(_) => false,
        }
    }

    /// Those of its rows that are a shard's.
    pub(crate) fn of_shard(self, sharding: Sharding) -> Self {
        let sharder = Sharder::new(sharding);
        Self::Sharded(Box::new(Sharded { rows: self, sharder, read: 0, given: 0 }))
    }

    /// About how many rows it has, where that is known.
    pub(crate) fn rows(&self) -> Option<u64> {
        match self {
            Self::Planned(planned) => Some(planned.manifest.lines()),
            Self::Sharded(sharded) => {
                let sharding = sharded.sharder.sharding();
                Some(sharding.rows.div_ceil(sharding.shard.count.into()))
            }
            _ => None,
        }
    }

    /// Whether the next row may be long in coming.
    pub(crate) const fn waits(&self) -> bool {
        matches!(self, Self::Inputs { waits: true, .. })
    }

    /// The next row, with what is left to do for it when the run begins.
    pub(crate) fn next(&mut self) -> Option<Result<PendingRow, RowQueueError>> {
        let unreadable = |error: &dyn ToString| RowQueueError::Unreadable(error.to_string());
        Some(match self {
            Self::Inputs { reader, .. } => match reader.next()? {
                Ok(row) => {
                    let remaining = Remaining::All(Goal::of(row.action()));
                    Ok(PendingRow { row, remaining })
                }
                Err(error) => Err(unreadable(&error)),
            },
            Self::Results(results) => match results.records.next()? {
                Ok(record) => Ok(results.pending(record)),
                Err(error) => Err(unreadable(&error)),
            },
            Self::Created(created) => created.next()?.map_err(|error| unreadable(&error)),
            Self::Planned(planned) => planned.next()?.map_err(|what| unreadable(&what)),
            Self::Sharded(sharded) => sharded.next()?,
        })
    }

    /// How many rows of blank cells were skipped.
    pub(crate) fn blank_rows(&self) -> u64 {
        match self {
            Self::Inputs { reader, .. } => reader.blank_rows(),
            Self::Planned(planned) => planned.manifest.blank_rows,
            Self::Sharded(sharded) => sharded.rows.blank_rows(),
            Self::Results(_) | Self::Created(_) => 0,
        }
    }

    /// The row of blank cells before the row given last (at the end, after it), if it has this
    /// fingerprint.
    fn blank_before(&self, fingerprint: u32) -> Option<&Row> {
        match self {
            Self::Inputs { reader, .. } => {
                reader.blank_before().filter(|row| row.fingerprint() == fingerprint)
            }
            Self::Sharded(sharded) => sharded.rows.blank_before(fingerprint),
            Self::Results(_) | Self::Created(_) | Self::Planned(_) => None,
        }
    }

    fn digests(&self) -> Result<Vec<Digest>, RowQueueError> {
        let path = match self {
            Self::Inputs { reader, .. } => return Ok(reader.digests().to_vec()),
            Self::Results(results) => &results.path,
            Self::Created(created) => &created.path,
            Self::Planned(planned) => return Ok(planned.manifest.digests.clone()),
            Self::Sharded(sharded) => return sharded.rows.digests(),
        };
        let digest = input::digest_of(&Source::Path(path.clone()));
        Ok(vec![digest.map_err(|error| RowQueueError::Unreadable(error.to_string()))?])
    }
}

impl Sharded {
    fn next(&mut self) -> Option<Result<PendingRow, RowQueueError>> {
        loop {
            let mut pending = match self.rows.next() {
                Some(Ok(pending)) => pending,
                Some(Err(error)) => return Some(Err(error)),
                None if self.read < self.sharder.sharding().rows => {
                    return Some(Err(self.changed()));
                }
                None => return None,
            };
            self.read += 1;
            if self.read > self.sharder.sharding().rows {
                return Some(Err(self.changed()));
            }
            let row = &mut pending.row;
            if self.sharder.owns(row.file, row.line, &row.cells) {
                row.ordinal = self.given;
                self.given += 1;
                return Some(Ok(pending));
            }
        }
    }

    /// There are other rows than when the shards were decided: one of them may be no shard's, or two shards'.
    fn changed(&self) -> RowQueueError {
        let rows = self.sharder.sharding().rows;
        let has = match self.read {
            read if read < rows => format!("only {read} rows"),
            _ => "more rows".to_owned(),
        };
        RowQueueError::Unreadable(format!(
            "the input has {has}, and had {rows} when this shard began: restore it and give the same command, or \
             start all shards anew with --fresh"
        ))
    }
}

impl OpenResults {
    /// The ids that count where a row has names. Of a row that may have been sent, what was sent is asked for.
    fn ids_kept<'c>(&self, cells: &'c Cells, named: &Named, remaining: &Remaining) -> [&'c str; 4] {
        let [name, mut source, mut target, biz] = cells.ids();
        if self.choice.resolve_again && !remaining.may_have_been_sent() {
            source = if named.source.trim().is_empty() { source } else { "" };
            target = if named.target.trim().is_empty() { target } else { "" };
        }
        [name, source, target, biz]
    }

    fn pending(&mut self, record: Record) -> PendingRow {
        let is_taken = self.choice.takes(&record);
        let Record { ordinal, file, line, cells, outcome } = record;
        if !is_taken {
            let parsed = Err(RowError::Broken("carried over".into()));
            let row = Row { ordinal, file, line, cells, parsed };
            return PendingRow { row, remaining: Remaining::Carry(outcome) };
        }
        let remaining = Remaining::again(&outcome, Goal::of(cells.action()));
        let (cells, parsed) = match cells.named() {
            Some(named) => {
                let ids = self.ids_kept(&cells, named, &remaining);
                self.cells.read_named(ids, named.clone())
            }
            None => self.cells.read(cells.ids()),
        };
        let row = Row { ordinal, file, line, cells, parsed };
        PendingRow { row, remaining }
    }
}

impl Planned {
    fn next(&mut self) -> Option<Result<PendingRow, String>> {
        let beneath = match &mut self.results {
            None => None,
            Some(results) => match results.records.next() {
                Some(Ok(record)) => Some(results.pending(record)),
                Some(Err(error)) => return Some(Err(error.to_string())),
                None => return None,
            },
        };
        let PlannedRow { row, step } = match self.lines.next()? {
            Ok(planned) => planned,
            Err(error) => return Some(Err(error.to_string())),
        };
        if let Step::Carry = step {
            return Some(beneath.ok_or_else(|| {
                format!("line {} is carried over from results, and this plan has none", row.line)
            }));
        }
        let remaining = match (step, beneath) {
            (Step::Refuse(reason, message), _) => {
                Remaining::Planned(Outcome::bad(reason, message, 0, 0))
            }
            (_, Some(beneath)) => beneath.remaining,
            (Step::Create | Step::Carry, None) => Remaining::All(Goal::Create),
            // What no row names is deleted under the id that was listed, and under no other.
            (Step::Delete(id), None) if row.line == 0 => Remaining::All(Goal::Delete { id }),
            (Step::Keep(id), None) if self.trusts_list => {
                Remaining::Planned(Outcome::good(Status::Existed, id, 0, 0))
            }
            (Step::Keep(_), None) => Remaining::Expected,
            (Step::Delete(_) | Step::Absent, None) => Remaining::All(Goal::Delete { id: None }),
        };
        Some(Ok(PendingRow { row, remaining }))
    }
}

impl Created {
    fn next(&mut self) -> Option<Result<PendingRow, ResultsError>> {
        loop {
            let Record { file, line, cells, outcome, .. } = match self.records.next()? {
                Ok(record) => record,
                Err(error) => return Some(Err(error)),
            };
            let Some(id) = self.deletes(&outcome) else { continue };
            let (_, parsed) = self.cells.read(cells.ids());
            let row = Row { ordinal: self.count, file, line, cells, parsed };
            self.count += 1;
            return Some(Ok(PendingRow { row, remaining: Remaining::All(Goal::Undo { id }) }));
        }
    }

    fn deletes(&self, outcome: &Outcome) -> Option<i64> {
        let taken = outcome.status == Status::Created
            || (self.include_recovered && outcome.status == Status::Recovered);
        outcome.association_id.filter(|id| taken && !self.gone.contains(id))
    }
}

/// Gives all rows as they are when a run begins.
pub(crate) fn pour(mut rows: OpenSource, sink: &mut RowSink) -> Result<Ended, RowQueueError> {
    let mut count = 0;
    while let Some(pending) = rows.next() {
        count += 1;
        if sink.push(pending?).is_err() {
            return Ok(Ended::default());
        }
    }
    Ok(Ended { rows: count, blank_rows: rows.blank_rows(), digests: rows.digests()? })
}

/// The digests of what is read, which is read to its end.
pub(crate) fn digests_to_the_end(mut rows: OpenSource) -> Result<Vec<Digest>, RowQueueError> {
    if let OpenSource::Inputs { .. } = &rows {
        while let Some(row) = rows.next() {
            row?;
        }
    }
    rows.digests()
}

/// Feeds the loop: rows that are settled are left out, rows that were marked must be what they were.
/// Rows that were never marked were never sent.
pub(crate) fn feed(
    mut rows: OpenSource,
    journal: &Path,
    replay: &Replay,
    place_of: impl Fn(&Row) -> String,
    unmarked_too: bool,
    sink: &mut RowSink,
) -> Result<Ended, RowQueueError> {
    let is_marked = |row: &Row| row.ordinal < replay.marked_through;
    let mut marks = match replay.marked_through {
        0 => None,
        _ => Some(Fingerprints::open(journal)?),
    };
    let mut count = 0;
    while let Some(planned) = rows.next() {
        let PendingRow { row, remaining } = planned?;
        if !unmarked_too && !is_marked(&row) {
            break;
        }
        count = row.ordinal + 1;
        if let Some(marks) = marks.as_mut().filter(|_| is_marked(&row)) {
            let marked = marks.read()?;
            if marked != row.fingerprint() {
                return Err(match rows.blank_before(marked) {
                    Some(blank) => RowQueueError::Blank { row: place_of(blank) },
                    None => RowQueueError::Changed { row: place_of(&row) },
                });
            }
        }
        let Some(remaining) = what_remains(replay, row.ordinal, remaining) else { continue };
        if sink.push(PendingRow { row, remaining }).is_err() {
            return Ok(Ended::default());
        }
    }
    if count < replay.marked_through {
        if let Some(marks) = &mut marks
            && let Some(blank) = rows.blank_before(marks.read()?)
        {
            return Err(RowQueueError::Blank { row: place_of(blank) });
        }
        return Err(RowQueueError::Short { rows: count, marked: replay.marked_through });
    }
    Ok(Ended { rows: count, blank_rows: rows.blank_rows(), digests: rows.digests()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::row_queue::RowQueue;
    use crate::storage::journal::{Journal, JournalError};

    #[tokio::test]
    async fn a_journal_that_can_t_be_read_is_not_told_as_a_changed_input() {
        let folder = tempfile::tempdir().unwrap();
        let input = folder.path().join("a.csv");
        std::fs::write(&input, "obj_asst_id,inst_id,asst_inst_id\na,1,2\na,1,3\n").unwrap();
        let rows =
            || RowSource::inputs(std::slice::from_ref(&input), InputOptions::default()).open();
        let mut read = rows().unwrap();
        let prints: Vec<_> =
            std::iter::from_fn(|| read.next()).map(|row| row.unwrap().row.fingerprint()).collect();
        for (prints, damaged) in [(vec![prints[0], 0], false), (prints[..1].to_vec(), true)] {
            let path = folder.path().join("r.csv.journal");
            let file = std::sync::Arc::new(std::fs::File::create(&path).unwrap());
            let mut journal = Journal::new(path.clone(), Box::new(file), 0, 0);
            journal.mark(&prints, 0);
            journal.flush().unwrap();
            let replay = Replay { marked_through: 2, ..Replay::default() };
            let rows = rows().unwrap();
            let place_of = |row: &Row| format!("line {}", row.line);
            let mut fed =
                RowQueue::spawn(true, move |sink| feed(rows, &path, &replay, place_of, true, sink));
            let error = loop {
                fed.take(2);
                match fed.end() {
                    Some(end) => break end.unwrap_err(),
                    None => fed.news().await,
                }
            };
            match error {
                RowQueueError::Changed { row } if row == "line 3" => assert!(!damaged),
                RowQueueError::Journal(JournalError::Damaged { line: 2, .. }) => assert!(damaged),
                error => panic!("{error}"),
            }
        }
    }

    #[test]
    fn the_rows_of_a_run_with_several_inputs_are_read_as_it_read_them() {
        let folder = tempfile::tempdir().unwrap();
        let inputs = ["a.csv", "b.csv"].map(|name| {
            let path = folder.path().join(name);
            std::fs::write(&path, "obj_asst_id;von;asst_inst_id\na;1;2\n").unwrap();
            path.display().to_string()
        });
        let settings = [("map", "inst_id=von"), ("delimiter", ";"), ("biz-id", "7")];
        let settings = settings.map(|(flag, value)| (flag.to_owned(), vec![value.to_owned()]));
        let head = Head {
            settings: settings.into_iter().collect(),
            inputs: inputs.to_vec(),
            files: inputs.to_vec(),
            ..Head::of_import()
        };
        let mut rows = RowSource::of_head(&head, Path::new("r.csv")).unwrap().open().unwrap();
        let mut cells = Vec::new();
        while let Some(planned) = rows.next() {
            let row = planned.unwrap().row;
            cells.push((row.file, row.cells.ids().join(",")));
        }
        assert_eq!(cells, [(0, "a,1,2,7".to_owned()), (1, "a,1,2,7".to_owned())]);
    }
}
