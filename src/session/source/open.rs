//! Rows one by one, from whatever they are read from, each with what is left to do for it.

use std::path::{Path, PathBuf};

use super::choice::Choice;
use super::created::Created;
use crate::association::{Cells, Named, Row, RowError};
use crate::engine::remaining::{Goal, PendingRow, Remaining};
use crate::engine::row_queue::RowQueueError;
use crate::input::digest::Digest;
use crate::input::{self, Reader, RowParser, Source};
use crate::outcome::{Outcome, Record, Status};
use crate::storage::plan::{self, PlanManifest, PlannedRow, Step};
use crate::storage::results::{self, ResultsError};
use crate::storage::sharding::{Sharder, Sharding};

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
    pub(crate) fn blank_before(&self, fingerprint: u32) -> Option<&Row> {
        match self {
            Self::Inputs { reader, .. } => {
                reader.blank_before().filter(|row| row.fingerprint() == fingerprint)
            }
            Self::Sharded(sharded) => sharded.rows.blank_before(fingerprint),
            Self::Results(_) | Self::Created(_) | Self::Planned(_) => None,
        }
    }

    pub(crate) fn digests(&self) -> Result<Vec<Digest>, RowQueueError> {
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
    pub(super) fn at(
        path: &Path,
        files: &[String],
        cells: RowParser,
        choice: Choice,
    ) -> Result<Self, ResultsError> {
        let records = results::reader::Reader::open(path, files)?;
        Ok(Self { path: path.to_owned(), records, cells, choice })
    }

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
    pub(super) const fn of(
        lines: plan::Reader,
        results: Option<Box<OpenResults>>,
        manifest: PlanManifest,
        trusts_list: bool,
    ) -> Self {
        Self { lines, results, manifest, trusts_list }
    }

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
