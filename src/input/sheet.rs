//! Rows of a workbook's sheet: CMDB's own export by its columns' places, or a table with a header.
//!
//! Knows nothing of how a workbook is made.

use std::io;

use super::columns::{Columns, refuse_our_own};
use super::csv::{Layout, Places, find_places, is_row, ordered_places};
use super::digest::Digest;
use super::error::InputError;
use super::row::{RowParser, shown};
use super::source::Raw;
use super::xlsx::{Cell, Rows, SheetRow, Workbook, letters_of};
use crate::association::{Column, Named, Row, RowError};

/// The sheet that CMDB's page writes associations to.
const ASSOCIATIONS: &str = "association";

/// The heads of CMDB's own export in row 1, which stand in columns B to E, in Chinese and English.
const HEADS: [(Column, [&str; 2]); 4] = [
    (Column::ObjAsstId, ["关联标识", "association ID"]),
    (Column::Action, ["操作", "Operation"]),
    (Column::Source, ["源实例", "source instance"]),
    (Column::Target, ["目标实例", "target instance"]),
];

/// How the hints below those heads begin, in column A.
const HINTS: [&str; 2] = ["填写说明", "field_description"];

/// A sheet whose header was read.
pub(super) struct Sheet {
    raw: Raw,
    file: String,
    name: String,
    workbook: Workbook,
    rows: Rows,
    places: Places,
    /// Whether the columns are those of CMDB's own export.
    is_export: bool,
    /// Rows of blank cells above the header that are not counted yet.
    blank_above: u64,
    /// A row that was read and not given.
    unread: Option<SheetRow>,
    /// The row of a header further down that names other columns. What stands below it can't be told.
    other_header: Option<u32>,
}

impl Sheet {
    /// Reads the header of a sheet: the one that is named, else the one that CMDB's page writes, else the
    /// first. The bytes are the workbook's.
    pub(super) fn open(
        mut raw: Raw,
        wanted: Option<&str>,
        layout: Layout,
        columns: &Columns,
    ) -> Result<Self, InputError> {
        let file = raw.name().to_owned();
        let unreadable = |error| InputError::Unreadable { file: file.clone(), error };
        let mut workbook = raw.spool().and_then(Workbook::open).map_err(unreadable)?;
        let names = workbook.names();
        let own = || names.iter().map(String::as_str).find(|name| *name == ASSOCIATIONS);
        let name = wanted.or_else(own).unwrap_or_else(|| workbook.first()).to_owned();
        let Some(mut rows) = workbook.rows(&name).map_err(unreadable)? else {
            return Err(InputError::NoSuchSheet { file, sheet: name, found: names });
        };
        let mut blank_above = 0;
        let first = loop {
            match rows.next(&mut workbook).map_err(|error| broken(&file, &rows, error))? {
                Some(row) if row.is_blank() => blank_above += 1,
                found => break found.unwrap_or_default(),
            }
        };
        let line = u64::from(first.number);
        let mut cells = Vec::new();
        for cell in &first.cells {
            cells.resize(cell.column as usize, String::new());
            cells.push(cell.text.trim().to_owned());
        }
        refuse_our_own(&cells, &file)?;
        let is_export = !columns.are_mapped() && !layout.no_header && is_export(&first);
        let mut unread = None;
        let places = if is_export {
            let named = HEADS.map(|(column, _)| column.name().to_owned());
            find_places(&file, &[&[String::new()], &named[..]].concat(), layout, columns)?
        } else if layout.no_header {
            let places = ordered_places(&file, line, &cells, layout, columns)?;
            unread = Some(first);
            places
        } else if is_row(&cells, columns) {
            return Err(InputError::NoHeader { file, line });
        } else {
            find_places(&file, &cells, layout, columns)?
        };
        let mut sheet = Self {
            raw,
            file,
            name,
            workbook,
            rows,
            places,
            is_export,
            blank_above,
            unread,
            other_header: None,
        };
        if is_export {
            let second = sheet.read()?;
            let is_hint = |row: &SheetRow| HINTS.iter().any(|hint| row.text(0).starts_with(hint));
            sheet.unread = second.filter(|row| !is_hint(row));
        }
        Ok(sheet)
    }

    /// Whether its rows may say something beside ids.
    pub(super) fn says_more_than_ids(&self) -> bool {
        self.places[Column::Source as usize..].iter().any(Option::is_some)
    }

    /// The next row; none at the end.
    pub(super) fn next(
        &mut self,
        columns: &Columns,
        rows: &mut RowParser,
    ) -> Result<Option<Row>, InputError> {
        rows.skip_blank(std::mem::take(&mut self.blank_above));
        loop {
            let found = match self.unread.take() {
                Some(row) => Some(row),
                None => self.read()?,
            };
            let Some(found) = found else { return Ok(None) };
            // A7 of an export says that instances follow, and where rows were taken out still does.
            let is_blank = |cell: &Cell| {
                (self.is_export && cell.column == 0)
                    || (cell.text.trim().is_empty() && cell.doubt.is_none())
            };
            if found.cells.iter().all(is_blank) {
                rows.skip_blank(1);
                continue;
            }
            return Ok(Some(self.row(&found, columns, rows)));
        }
    }

    fn read(&mut self) -> Result<Option<SheetRow>, InputError> {
        let found = self.rows.next(&mut self.workbook);
        found.map_err(|error| broken(&self.file, &self.rows, error))
    }

    fn row(&mut self, found: &SheetRow, columns: &Columns, rows: &mut RowParser) -> Row {
        let line = u64::from(found.number);
        let texts = self.places.map(|place| place.map_or("", |at| found.text(at as u32)));
        let [name, inst_id, asst_inst_id, biz_id, source, target, action] = texts;
        let ids = [name, inst_id, asst_inst_id, biz_id];
        let named = Named { source: source.into(), target: target.into(), action: action.into() };
        let has_names = self.places[Column::Source as usize..].iter().any(Option::is_some);
        let mut row =
            if has_names { rows.named_row(line, ids, named) } else { rows.row(line, ids) };
        if let Some(error) = self.fault(found, &row, columns) {
            row.parsed = Err(error);
        }
        row
    }

    /// What is wrong with a row, with its place; none where nothing is but that a name has to be looked up.
    fn fault(&mut self, found: &SheetRow, row: &Row, columns: &Columns) -> Option<RowError> {
        let cell = |column: Option<u32>| {
            let letters = column.map_or(String::new(), letters_of);
            format!("{}!{letters}{}", shown(&self.name), found.number).into()
        };
        let at =
            |column, error| Some(RowError::InCell { cell: cell(column), error: Box::new(error) });
        if row.parsed.is_err()
            && let Some(places) = self.header(found, columns)
        {
            if places != self.places {
                self.other_header.get_or_insert(found.number);
            }
            let what = "is another header: a sheet is read as one table; put what is below it into a sheet of its own";
            return at(None, RowError::Broken(what.into()));
        }
        if let Some(header) = self.other_header {
            let what = format!(
                "stands below another header (row {header}); put it into a sheet of its own"
            );
            return at(None, RowError::Broken(what.into()));
        }
        for (column, place) in Column::ALL.into_iter().zip(self.places) {
            let found = place.and_then(|place| found.cell(place as u32));
            if let Some((cell, doubt)) = found.and_then(|cell| Some((cell, cell.doubt?))) {
                let what = format!("column {}: {:?} {doubt}", column.name(), shown(&cell.text));
                return at(Some(cell.column), RowError::Broken(what.into()));
            }
        }
        match &row.parsed {
            Ok(_) | Err(RowError::Named { .. }) => None,
            Err(error) => {
                let place = error.column().and_then(|column| self.places[column as usize]);
                at(place.map(|place| place as u32), error.clone())
            }
        }
    }

    /// The places that a row gives to the columns, if it is a header.
    fn header(&self, found: &SheetRow, columns: &Columns) -> Option<Places> {
        let mut places = Places::default();
        for cell in &found.cells {
            let head = cell.text.trim();
            let of_export = HEADS.iter().find(|(_, heads)| heads.contains(&head));
            let of_export = of_export.filter(|_| self.is_export).map(|(column, _)| *column);
            if let Some(column) = of_export.or_else(|| columns.field(head)) {
                places[column as usize].get_or_insert(cell.column as usize);
            }
        }
        let is_header = places.iter().flatten().count() > 1;
        (is_header && places[Column::ObjAsstId as usize].is_some()).then_some(places)
    }

    /// Reads the rest of the workbook and gives the digest of all of it.
    pub(super) fn finish(self) -> Result<Digest, InputError> {
        let (file, line) = (self.file, u64::from(self.rows.number()));
        self.raw.finish().map_err(|error| InputError::Broken { file, line, error })
    }
}

fn broken(file: &str, rows: &Rows, error: io::Error) -> InputError {
    let file = file.to_owned();
    match rows.number() {
        0 => InputError::Unreadable { file, error },
        number => InputError::Broken { file, line: u64::from(number), error },
    }
}

/// Whether a row has the heads of CMDB's own export, each in its place.
fn is_export(first: &SheetRow) -> bool {
    (1..).zip(HEADS).all(|(column, (_, heads))| {
        heads.iter().any(|head| head.eq_ignore_ascii_case(first.text(column).trim()))
    })
}

#[cfg(test)]
mod tests;
