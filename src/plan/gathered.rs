//! The rows of an input, once their names are known: they wait on disk until all is known of what is there.
//!
//! Owns which rows withhold deletes, since it is not known what they mean. Knows nothing of servers.

use std::io;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::desired::{Desired, Wish};
use super::moves::LostRows;
use super::withheld::Withheld;
use crate::association::{Cells, Column, InstId, NewAssociation, Row, RowError};
use crate::engine::stats::Place;
use crate::exit::{Exit, Halt};
use crate::outcome::Reason;
use crate::storage::sort::{Sorted, Sorter};

/// A longer name is none of a model association.
const LONGEST_NAME: usize = 256;

/// What is known of a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Known {
    /// It says an association, and what is to become of it.
    Wish,
    /// It is refused.
    Refused(Reason, String),
    /// Another run settled it.
    Carried,
}

/// Rows as they come in.
pub(crate) struct Gathered {
    rows: Sorter,
    /// What they ask for.
    pub(crate) desired: Desired,
    /// Which deletes stay undone.
    pub(crate) withheld: Withheld,
    /// Rows that can't be created.
    pub(crate) lost: LostRows,
    files: Vec<String>,
}

/// A row that waited.
#[derive(Debug)]
pub(crate) struct Waited {
    /// Its place over all inputs, from 0.
    pub(crate) ordinal: u64,
    /// The input's place among all inputs, from 0.
    pub(crate) file: u32,
    /// The line of its file.
    pub(crate) line: u64,
    /// Its texts.
    pub(crate) cells: Cells,
    /// What is known of it.
    pub(crate) known: Known,
}

impl Gathered {
    /// None yet. They wait on the disk of `folder`; `files` are the inputs' names, empty for a single one.
    pub(crate) fn new(folder: &Path, files: &[String]) -> io::Result<Self> {
        Ok(Self {
            rows: Sorter::new(folder)?,
            desired: Desired::new(folder)?,
            withheld: Withheld::default(),
            lost: LostRows::default(),
            files: files.to_vec(),
        })
    }

    /// Takes the next row, in input order. `found` are the sides of a refused row whose names are known.
    pub(crate) fn push(
        &mut self,
        row: &Row,
        known: &Known,
        found: [Option<InstId>; 2],
    ) -> io::Result<()> {
        let place = Place { file: row.file, line: row.line };
        match (known, &row.parsed) {
            (Known::Wish, Ok(NewAssociation { association, .. })) => {
                let wish = Wish { ordinal: row.ordinal, place, action: row.action() };
                self.desired.push(association, wish)?;
            }
            (Known::Refused(reason, _), parsed) => {
                self.refuse(row, *reason, parsed.as_ref().err(), found);
            }
            (Known::Wish | Known::Carried, _) => {}
        }
        let bytes = serde_json::to_vec(&(row.file, row.line, &row.cells, known));
        self.rows.push(row.ordinal, &bytes.map_err(io::Error::other)?)
    }

    fn refuse(
        &mut self,
        row: &Row,
        reason: Reason,
        error: Option<&RowError>,
        found: [Option<InstId>; 2],
    ) {
        let place = Place { file: row.file, line: row.line };
        let what = format!("{}: {}", place.among(&self.files), reason.as_str());
        let name = row.cells.get(Column::ObjAsstId).trim();
        // A row that says no model association, or one that does not exist, may be mistyped, and be of any.
        let is_of_any = name.is_empty()
            || name.len() > LONGEST_NAME
            || matches!(error, Some(RowError::BadName { .. } | RowError::Broken(_)))
            || matches!(reason, Reason::UnknownAssociation | Reason::MainlineAssociation);
        if is_of_any {
            self.withheld.note(None, &what);
            return;
        }
        let name: Arc<str> = name.into();
        let number = self.desired.number(&name);
        self.withheld.note(Some(number), &what);
        let side = |of: usize, column| {
            let id = found[of].or_else(|| InstId::parse(row.cells.get(column)).ok());
            id.map(InstId::get)
        };
        let sides = [side(0, Column::InstId), side(1, Column::AsstInstId)];
        self.lost.push(name, sides, place);
    }

    /// All rows are in: what they ask for, which deletes stay undone, and the rows, in input order.
    pub(crate) fn finish(self) -> io::Result<(Desired, Withheld, LostRows, WaitedRows)> {
        let Self { rows, desired, withheld, lost, .. } = self;
        Ok((desired, withheld, lost, WaitedRows(rows.sorted()?)))
    }
}

/// What becomes of an error of the disk on which rows wait.
pub(crate) fn unwritable(folder: &Path) -> impl Fn(io::Error) -> Halt + use<> {
    let folder = folder.to_owned();
    move |error| {
        let what = "what is planned waits there to be sorted";
        Halt::new(Exit::Unwritable, format!("{}: {error} ({what})", folder.display()))
    }
}

/// The rows, in input order.
pub(crate) struct WaitedRows(Sorted);

impl Iterator for WaitedRows {
    type Item = io::Result<Waited>;

    fn next(&mut self) -> Option<Self::Item> {
        let row = self.0.next()?;
        Some(row.and_then(|(ordinal, bytes)| {
            let row = serde_json::from_slice(&bytes).map_err(io::Error::other)?;
            let (file, line, cells, known) = row;
            Ok(Waited { ordinal, file, line, cells, known })
        }))
    }
}
