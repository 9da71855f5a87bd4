//! Failed lines whose association the server has.
//!
//! Where another line of the same file says that it is there, that is why, and nothing is off. There may
//! be millions of either, so they are sorted on disk, and only if there is such a failed line.

use std::io;
use std::path::{Path, PathBuf};

use super::{FindingKind, Findings, Spot};
use crate::association::{Association, NewAssociation};
use crate::engine::stats::Place;
use crate::input::RowParser;
use crate::storage::journal::disk::folder_of;
use crate::storage::results::ResultsError;
use crate::storage::results::reader::Reader;
use crate::storage::sort::Sorter;

/// The failed lines, as they come in.
pub(super) struct Suspects {
    results: PathBuf,
    by_id: Option<Sorter>,
}

/// A failed line, or one that explains others: that has no words.
struct Line<'a> {
    place: Place,
    /// The association as text, equal for equal associations.
    association: &'a str,
    what: &'a str,
}

const HEAD: usize = 4 + 8 + 4;

impl<'a> Line<'a> {
    fn write(&self) -> Vec<u8> {
        let Self { place, association, what } = self;
        let mut bytes = Vec::with_capacity(HEAD + association.len() + what.len());
        bytes.extend(place.file.to_le_bytes());
        bytes.extend(place.line.to_le_bytes());
        bytes.extend((association.len() as u32).to_le_bytes());
        bytes.extend(association.as_bytes());
        bytes.extend(what.as_bytes());
        bytes
    }

    fn read(bytes: &'a [u8]) -> Self {
        let (head, text) = bytes.split_at(HEAD);
        let number =
            |from: usize| u32::from_le_bytes(std::array::from_fn(|byte| head[from + byte]));
        let line = u64::from_le_bytes(std::array::from_fn(|byte| head[4 + byte]));
        let text = std::str::from_utf8(text).unwrap_or_default();
        let (association, what) = text.split_at_checked(number(12) as usize).unwrap_or_default();
        Self { place: Place { file: number(0), line }, association, what }
    }
}

impl Suspects {
    /// Starts empty, for the lines of `results`.
    pub(super) fn of(results: &Path) -> Self {
        Self { results: results.to_owned(), by_id: None }
    }

    /// Takes a line at `place`, whose association the server has under `id`.
    pub(super) fn take(
        &mut self,
        id: i64,
        place: Place,
        association: &Association,
        what: &str,
    ) -> Result<(), ResultsError> {
        let association = &association.to_string();
        self.push(id, &Line { place, association, what }).map_err(|error| self.unsortable(error))
    }

    fn push(&mut self, id: i64, line: &Line<'_>) -> io::Result<()> {
        if self.by_id.is_none() {
            // Beside the results, or, where that can't be written, where the system keeps such things.
            let sorter = Sorter::new(folder_of(&self.results));
            self.by_id = Some(sorter.or_else(|_| Sorter::new(&std::env::temp_dir()))?);
        }
        self.by_id.as_mut().map_or(Ok(()), |by_id| by_id.push(id.cast_unsigned(), &line.write()))
    }

    /// Says of which lines no other line of the results explains that they are there.
    pub(super) fn finish(mut self, findings: &mut Findings) -> Result<(), ResultsError> {
        if self.by_id.is_none() {
            return Ok(());
        }
        let mut cells = RowParser::new(None, false);
        let place = Place { file: 0, line: 0 };
        for record in Reader::open(&self.results, &[])? {
            let record = match record {
                Err(error) if error.is_of_a_line() => continue,
                record => record?,
            };
            let id = record.outcome.association_id.filter(|_| record.outcome.status.is_good());
            if let (Some(id), Ok(NewAssociation { association, .. })) =
                (id, cells.read(record.cells.ids()).1)
            {
                let association = &association.to_string();
                let explains = Line { place, association, what: "" };
                self.push(id, &explains).map_err(|error| self.unsortable(error))?;
            }
        }
        let path = self.results.clone();
        self.compare(findings).map_err(|error| ResultsError::Unwritable { path, error })
    }

    /// The lines of an id come before those that explain them, since they were taken first.
    fn compare(self, findings: &mut Findings) -> io::Result<()> {
        let Some(by_id) = self.by_id else { return Ok(()) };
        let mut suspects: Vec<Box<[u8]>> = Vec::new();
        let mut current = None;
        for item in by_id.sorted()? {
            let (id, bytes) = item?;
            if current.replace(id) != Some(id) {
                say(suspects.drain(..), findings);
            }
            let line = Line::read(&bytes);
            if line.what.is_empty() {
                suspects.retain(|suspect| Line::read(suspect).association != line.association);
            } else {
                suspects.push(bytes);
            }
        }
        say(suspects.drain(..), findings);
        Ok(())
    }

    fn unsortable(&self, error: io::Error) -> ResultsError {
        ResultsError::Unwritable { path: self.results.clone(), error }
    }
}

fn say(lines: impl Iterator<Item = Box<[u8]>>, findings: &mut Findings) {
    for line in lines {
        let Line { place, what, .. } = Line::read(&line);
        findings.say(FindingKind::Exists, Spot::Row(place), what);
    }
}
