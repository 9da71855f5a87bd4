//! Where the rows of a run come from, and how they reach the loop when a run goes on.

use std::path::{Path, PathBuf};

use crate::association::{Row, RowError};
use crate::config::InputConfig;
use crate::engine::remaining::{Goal, PendingRow, Remaining, what_remains};
use crate::engine::row_queue::{Ended, RowQueueError, RowSink};
use crate::input::digest::Digest;
use crate::input::{self, InputOptions, Reader, Source};
use crate::outcome::{Outcome, Reason, Record, Status};
use crate::storage::journal::replay::{Fingerprints, Replay};
use crate::storage::manifest::Head;
use crate::storage::results::{self, Outcomes, ResultsError};

/// What a run reads.
pub(crate) enum RowSource {
    /// Files with rows.
    Input(Box<Reader>),
    /// The results of another run.
    Results(Box<OfResults>),
    /// What another run created.
    Undo(Box<ToUndo>),
}

/// The rows of a results file: those that are chosen are settled again, the others carried over.
pub(crate) struct OfResults {
    path: PathBuf,
    reader: results::reader::Reader,
    cells: input::RowParser,
    choice: Choice,
}

/// The rows of a results file that a run created. The others are no rows of an undo.
pub(crate) struct ToUndo {
    path: PathBuf,
    records: Box<dyn Iterator<Item = Result<Record, ResultsError>> + Send>,
    cells: input::RowParser,
    include_recovered: bool,
    count: u64,
}

impl ToUndo {
    /// The option under which a head keeps that recovered rows are deleted too.
    pub(crate) const INCLUDE_RECOVERED: &str = "include-recovered";

    /// Whether an undo deletes it.
    pub(crate) fn takes(outcome: &Outcome, include_recovered: bool) -> Option<i64> {
        let taken = outcome.status == Status::Created
            || (include_recovered && outcome.status == Status::Recovered);
        outcome.association_id.filter(|_| taken)
    }

    fn next(&mut self) -> Option<Result<PendingRow, ResultsError>> {
        loop {
            let record = match self.records.next()? {
                Ok(record) => record,
                Err(error) => return Some(Err(error)),
            };
            let Some(id) = Self::takes(&record.outcome, self.include_recovered) else { continue };
            let (cells, parsed) = self.cells.read(record.cells.all());
            let ordinal = self.count;
            self.count += 1;
            let Record { file, line, .. } = record;
            let row = Row { ordinal, file, line, cells, parsed };
            return Some(Ok(PendingRow { row, remaining: Remaining::All(Goal::Delete { id }) }));
        }
    }
}

/// Which rows of a results file are settled again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Choice {
    /// Rows of these statuses; empty: of any.
    pub(crate) statuses: Vec<Status>,
    /// Rows of these reasons; empty: of any.
    pub(crate) reasons: Vec<Reason>,
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
            .collect()
    }

    /// Read back from a head's options.
    pub(crate) fn of_head(head: &Head) -> Self {
        let words = |name| head.options.get(name).map_or("", String::as_str).split(',');
        Self {
            statuses: words("status").filter_map(Status::parse).collect(),
            reasons: words("reason").filter_map(Reason::parse).collect(),
        }
    }

    /// Nothing chosen means: what may well succeed as it is.
    fn takes(&self, outcome: &Outcome) -> bool {
        if self.statuses.is_empty() && self.reasons.is_empty() {
            return outcome.retryable && !outcome.status.is_good();
        }
        (self.statuses.is_empty() || self.statuses.contains(&outcome.status))
            && (self.reasons.is_empty()
                || outcome.reason.is_some_and(|reason| self.reasons.contains(&reason)))
    }
}

impl OfResults {
    fn planned(&mut self, record: Record) -> PendingRow {
        let Record { ordinal, file, line, cells, outcome } = record;
        if !self.choice.takes(&outcome) {
            let parsed = Err(RowError::Broken("carried over".into()));
            let row = Row { ordinal, file, line, cells, parsed };
            return PendingRow { row, remaining: Remaining::Carry(outcome) };
        }
        let (cells, parsed) = self.cells.read(cells.all());
        let may_exist =
            outcome.status == Status::InDoubt || outcome.reason == Some(Reason::OutcomeUnknown);
        // The parent run did not say what it had seen before it sent the row.
        let remaining = if may_exist {
            Remaining::InDoubt { goal: Goal::Create, id_watermark: 0 }
        } else {
            Remaining::All(Goal::Create)
        };
        PendingRow { row: Row { ordinal, file, line, cells, parsed }, remaining }
    }
}

impl RowSource {
    /// Opens inputs: what is wrong with their headers is known before anything is sent.
    pub(crate) fn of_input(
        sources: &[Source],
        options: &InputOptions,
    ) -> Result<Self, crate::input::InputError> {
        Ok(Self::Input(Box::new(Reader::open(sources, options)?)))
    }

    /// Opens a results file.
    pub(crate) fn of_results(
        path: &Path,
        files: &[String],
        input: &InputConfig,
        choice: Choice,
    ) -> Result<Self, ResultsError> {
        Ok(Self::Results(Box::new(OfResults {
            path: path.to_owned(),
            reader: results::reader::Reader::open(path, files)?,
            cells: input::RowParser::new(input.default_biz_id, input.require_biz_id),
            choice,
        })))
    }

    /// Opens a results file, or the journal of an unfinished run, to delete what it says was
    /// created.
    pub(crate) fn to_undo(
        path: &Path,
        files: &[String],
        include_recovered: bool,
    ) -> Result<Self, ResultsError> {
        Ok(Self::Undo(Box::new(ToUndo {
            path: path.to_owned(),
            records: records_at(path, files)?,
            cells: input::RowParser::new(None, false),
            include_recovered,
            count: 0,
        })))
    }

    /// The next row.
    pub(crate) fn next(&mut self) -> Option<Result<PendingRow, RowQueueError>> {
        match self {
            Self::Input(reader) => Some(match reader.next()? {
                Ok(row) => Ok(PendingRow { row, remaining: Remaining::All(Goal::Create) }),
                Err(error) => Err(RowQueueError::Unreadable(error.to_string())),
            }),
            Self::Results(results) => Some(match results.reader.next()? {
                Ok(record) => Ok(results.planned(record)),
                Err(error) => Err(RowQueueError::Unreadable(error.to_string())),
            }),
            Self::Undo(undo) => {
                Some(undo.next()?.map_err(|error| RowQueueError::Unreadable(error.to_string())))
            }
        }
    }

    fn digests(&self) -> Result<Vec<Digest>, RowQueueError> {
        match self {
            Self::Input(reader) => Ok(reader.digests().to_vec()),
            Self::Results(results) => digests_of(&results.path),
            Self::Undo(undo) => digests_of(&undo.path),
        }
    }
}

/// The records of a results file, or of a journal as far as it goes.
pub(crate) fn records_at(
    path: &Path,
    files: &[String],
) -> Result<Box<dyn Iterator<Item = Result<Record, ResultsError>> + Send>, ResultsError> {
    if path.extension().is_some_and(|ending| ending == "journal") {
        return Ok(Box::new(Outcomes::of_journal(path)?));
    }
    Ok(Box::new(results::reader::Reader::open(path, files)?))
}

fn digests_of(path: &Path) -> Result<Vec<Digest>, RowQueueError> {
    let digest = input::digest_of(&Source::Path(path.to_owned()));
    Ok(vec![digest.map_err(|error| RowQueueError::Unreadable(error.to_string()))?])
}

/// Feeds the loop: rows that are settled are left out, rows that were marked must be what they were.
/// Rows that were never marked were never sent.
pub(crate) fn feed(
    mut rows: RowSource,
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
        if let Some(marks) = marks.as_mut().filter(|_| is_marked(&row))
            && marks.read()? != row.fingerprint()
        {
            return Err(RowQueueError::Changed { row: place_of(&row) });
        }
        let Some(remaining) = what_remains(replay, row.ordinal, remaining) else { continue };
        if sink.push(PendingRow { row, remaining }).is_err() {
            return Ok(Ended::default());
        }
    }
    if count < replay.marked_through {
        return Err(RowQueueError::Short { rows: count, marked: replay.marked_through });
    }
    Ok(Ended { rows: count, digests: rows.digests()? })
}

/// The inputs of a command, as sources.
pub(crate) fn sources(inputs: &[PathBuf]) -> Vec<Source> {
    inputs.iter().cloned().map(Source::from).collect()
}

/// Input names, in order; empty for a single input.
pub(crate) fn files_of(sources: &[Source]) -> Vec<String> {
    if sources.len() > 1 { sources.iter().map(ToString::to_string).collect() } else { Vec::new() }
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
        let rows = || {
            RowSource::of_input(&sources(std::slice::from_ref(&input)), &InputOptions::default())
        };
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
            let fed = RowQueue::spawn(move |sink| feed(rows, &path, &replay, place_of, true, sink));
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
}
