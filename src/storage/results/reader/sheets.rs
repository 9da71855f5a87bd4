//! Results in an Excel workbook: its sheets in order, those that have the columns of results.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::{BadLine, OPTIONAL, SHOWN, Texts};
use crate::association::Column;
use crate::input::xlsx::{self, Doubt, Rows, SheetRow, Workbook};
use crate::storage::results::COLUMNS;

/// The place of each column; those of [`OPTIONAL`] may be missing.
type Places = [Option<u32>; COLUMNS.len() + OPTIONAL.len()];

pub struct Sheets {
    workbook: Workbook,
    /// The sheets whose turn has not come, the next one last.
    waiting: Vec<String>,
    name: String,
    rows: Rows,
    places: Places,
    /// Whether it is the first sheet with results.
    is_first: bool,
}

/// Whether a file is a workbook, by its bytes. Nothing is read of it by that.
pub fn is_workbook(file: &File) -> bool {
    let mut start = [0; xlsx::SIGNATURE.len()];
    file.read_exact_at(&mut start, 0).is_ok() && start == xlsx::SIGNATURE
}

impl Sheets {
    /// Reads the header of the first sheet that has the columns of results.
    pub fn open(file: File) -> io::Result<Self> {
        let workbook = Workbook::of_file(file)?;
        let mut waiting = workbook.names();
        waiting.reverse();
        let nothing = || {
            io::Error::new(
                io::ErrorKind::InvalidData,
                "no results file: none of its sheets has the columns of results",
            )
        };
        let name = waiting.last().cloned().ok_or_else(nothing)?;
        let rows = workbook.rows(&name)?.ok_or_else(nothing)?;
        let places = [None; COLUMNS.len() + OPTIONAL.len()];
        let mut sheets = Self { workbook, waiting, name, rows, places, is_first: true };
        if !sheets.next_sheet()? {
            return Err(nothing());
        }
        Ok(sheets)
    }

    /// Goes on with the next sheet that has the columns of results, if there is one. It is an error where a
    /// sheet has only some of those that no other table has.
    fn next_sheet(&mut self) -> io::Result<bool> {
        while let Some(name) = self.waiting.pop() {
            let Some(mut rows) = self.workbook.rows(&name)? else { continue };
            let header = loop {
                match rows.next(&mut self.workbook)? {
                    Some(row) if row.is_blank() => {}
                    found => break found.unwrap_or_default(),
                }
            };
            let place = |name: &str| {
                let is_named = |text: &str| text.trim().eq_ignore_ascii_case(name);
                let found = header.cells.iter().find(|cell| is_named(&cell.text));
                found.map(|cell| cell.column)
            };
            let own = ["status", "association_id", "finished_at", "retryable", "request_id"];
            if own.into_iter().filter_map(place).count() < 2 {
                continue;
            }
            let mut names = COLUMNS.into_iter().chain(OPTIONAL);
            self.places = std::array::from_fn(|_| names.next().and_then(place));
            if let Some(missing) = COLUMNS.into_iter().find(|name| place(name).is_none()) {
                let what = format!("no results file: sheet {name:?} has no column {missing:?}");
                return Err(io::Error::new(io::ErrorKind::InvalidData, what));
            }
            (self.name, self.rows) = (name, rows);
            return Ok(true);
        }
        Ok(false)
    }

    /// Whether its rows may say something beside ids.
    pub fn says_more_than_ids(&self) -> bool {
        self.places[COLUMNS.len()..][..Column::BESIDE_IDS.len()].iter().any(Option::is_some)
    }

    /// The next row's cells, and its number in its sheet.
    pub fn next_texts(&mut self) -> Result<Option<(u64, Texts)>, BadLine> {
        loop {
            let found = self.rows.next(&mut self.workbook).map_err(|error| self.unreadable(&error));
            let Some(row) = found? else {
                let is_more = self.next_sheet().map_err(|error| BadLine::new(None, &error))?;
                if !is_more {
                    return Ok(None);
                }
                self.is_first = false;
                continue;
            };
            if row.is_blank() {
                continue;
            }
            return self.texts(&row).map(Some);
        }
    }

    fn texts(&self, row: &SheetRow) -> Result<(u64, Texts), BadLine> {
        let number = u64::from(row.number);
        let mut texts = Texts::default();
        let names = COLUMNS.into_iter().chain(OPTIONAL);
        for ((text, place), name) in texts.iter_mut().zip(self.places).zip(names) {
            let Some(cell) = place.and_then(|place| row.cell(place)) else { continue };
            match cell.doubt {
                // What Excel makes of a `true` that is typed.
                None | Some(Doubt::Bool) => text.clone_from(&cell.text),
                Some(doubt) => {
                    let shown: String = cell.text.chars().take(SHOWN).collect();
                    let what = format!("{}column {name}: {shown:?} {doubt}", self.place());
                    return Err(BadLine::new(number, &what));
                }
            }
        }
        Ok((number, texts))
    }

    fn unreadable(&self, error: &io::Error) -> BadLine {
        BadLine::new(None, &format!("{}line {}: {error}", self.place(), self.rows.number()))
    }

    /// The sheet, for messages, where it is not the first.
    fn place(&self) -> String {
        if self.is_first { String::new() } else { format!("sheet {:?}, ", self.name) }
    }
}
