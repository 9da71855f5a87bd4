//! Where the rows of a run come from, and how they reach the loop when a run goes on.

use std::path::{Path, PathBuf};

use crate::association::Row;
use crate::feed::{Ended, FeedError, Sink};
use crate::input::{InputOptions, Reader, Source};
use crate::journal::replay::{self, Replay};
use crate::manifest::Digested;
use crate::plan::{Plan, Planned, going_on};

/// What a run reads.
pub(super) enum Rows {
    /// Files with rows.
    Input(Box<Reader>),
}

impl Rows {
    /// Opens inputs: what is wrong with their headers is known before anything is sent.
    pub(super) fn of_input(
        sources: &[Source],
        options: &InputOptions,
    ) -> Result<Self, crate::input::InputError> {
        Ok(Self::Input(Box::new(Reader::open(sources, options)?)))
    }

    pub(super) fn next(&mut self) -> Option<Result<Planned, FeedError>> {
        match self {
            Self::Input(reader) => Some(match reader.next()? {
                Ok(row) => Ok(Planned { row, plan: Plan::Send }),
                Err(error) => Err(FeedError::Unreadable(error.to_string())),
            }),
        }
    }

    fn digests(&self) -> Vec<Digested> {
        match self {
            Self::Input(reader) => reader.digests().iter().map(digested).collect(),
        }
    }
}

pub(super) fn digested(digest: &crate::input::Digest) -> Digested {
    Digested { name: digest.name.clone(), sha256: digest.sha256.clone(), bytes: digest.bytes }
}

/// Feeds the loop: rows that are settled are left out, rows that were marked must be what they were.
pub(super) fn feed(
    mut rows: Rows,
    journal: &Path,
    replay: &Replay,
    files: &[String],
    sink: &mut Sink,
) -> Result<Ended, FeedError> {
    let mut marked = fingerprints(journal, replay)?;
    let mut count = 0;
    while let Some(planned) = rows.next() {
        let Planned { row, plan } = planned?;
        count = row.ordinal + 1;
        if row.ordinal < replay.marked_through && marked.next() != Some(row.fingerprint()) {
            return Err(changed(&row, files));
        }
        let Some(plan) = going_on(replay, row.ordinal, plan) else { continue };
        if sink.push(Planned { row, plan }).is_err() {
            return Ok(Ended::default());
        }
    }
    if count < replay.marked_through {
        return Err(FeedError::Short { rows: count, marked: replay.marked_through });
    }
    Ok(Ended { rows: count, digests: rows.digests() })
}

fn fingerprints(
    journal: &Path,
    replay: &Replay,
) -> Result<Box<dyn Iterator<Item = u32>>, FeedError> {
    if replay.marked_through == 0 {
        return Ok(Box::new(std::iter::empty()));
    }
    let marked =
        replay::fingerprints(journal).map_err(|error| FeedError::Unreadable(error.to_string()))?;
    Ok(Box::new(marked))
}

fn changed(row: &Row, files: &[String]) -> FeedError {
    let file = files.get(row.file as usize).map_or("the input", String::as_str);
    FeedError::Changed { file: file.to_owned(), line: row.line }
}

/// The inputs of a command, as sources.
pub(super) fn sources(inputs: &[PathBuf]) -> Vec<Source> {
    inputs.iter().cloned().map(Source::from).collect()
}
