//! Tables: a header and records, with any delimiter. The only home of `csv_core`, which splits cells
//! and leaves to its caller what a whole reader would hide: where a record starts, how long it is, and
//! whether its quotes are closed.

use csv_core::ReadRecordResult;

use super::columns::{Columns, are_results};
use super::error::InputError;
use super::row::{RowParser, shown};
use super::text::{MAX_RECORD, Text};
use crate::association::{Column, Row, RowError};

/// The delimiters that are detected; in a tie the first wins.
const DELIMITERS: [u8; 4] = [b',', b'\t', b';', b'|'];

/// How many names of a header a message lists.
const LISTED: usize = 30;

/// The delimiter that splits a header into the most known columns (in a tie, into the most columns),
/// and the number of known columns.
pub(super) fn detect_delimiter(header: &str, columns: &Columns) -> (u8, usize) {
    let ours = |delimiter: u8| {
        let names = header.split(char::from(delimiter));
        names.filter(|name| columns.field(name.trim().trim_matches('"')).is_some()).count()
    };
    let count = |delimiter: u8| header.bytes().filter(|&byte| byte == delimiter).count();
    let best = DELIMITERS.into_iter().rev().max_by_key(|&d| (ours(d), count(d)));
    best.map_or((b',', 0), |delimiter| (delimiter, ours(delimiter)))
}

/// A table whose header was read.
pub(super) struct Table {
    records: Records,
    /// How many cells the header has.
    width: usize,
    /// The place of each field's column.
    places: [Option<usize>; 4],
}

impl Table {
    /// Reads the header. Every field must have a column, `biz_id` only if it is needed.
    pub(super) fn open(
        text: Text,
        delimiter: u8,
        columns: &Columns,
        biz_id_needed: bool,
    ) -> Result<Self, InputError> {
        let mut records = Records::new(text, delimiter);
        records.read()?;
        let header: Vec<String> = (0..records.count())
            .map(|index| String::from_utf8_lossy(records.cell(index)).trim().to_owned())
            .collect();
        let file = records.text.file();
        if are_results(&header) {
            return Err(InputError::Results { file: file.to_owned() });
        }
        Ok(Self {
            width: header.iter().rposition(|name| !name.is_empty()).map_or(0, |last| last + 1),
            places: find_places(file, &header, columns, biz_id_needed)?,
            records,
        })
    }

    /// The next row; none at the end.
    pub(super) fn next(&mut self, rows: &mut RowParser) -> Result<Option<Row>, InputError> {
        while let Some(line) = self.records.read()? {
            if self.records.count() > 1 || !is_blank(self.records.cell(0)) {
                return Ok(Some(self.row(line, rows)));
            }
        }
        Ok(None)
    }

    fn row(&self, line: u64, rows: &mut RowParser) -> Row {
        let mut undecodable = None;
        let texts = Column::ALL.map(|column| {
            let place = self.places[column as usize];
            let cell = place.map_or(&[][..], |index| self.records.cell(index));
            str::from_utf8(cell).unwrap_or_else(|_| {
                undecodable = undecodable.or(Some((column, cell)));
                ""
            })
        });
        if let Some((column, cell)) = undecodable {
            let message = format!(
                "column {}: {:?} can't be decoded; is --encoding right?",
                column.name(),
                shown(&String::from_utf8_lossy(cell)),
            );
            return rows.bad(line, texts, RowError::Broken(message.into()));
        }
        let count = self.records.count();
        let has_more = (self.width..count).any(|index| !is_blank(self.records.cell(index)));
        if count < self.width || has_more {
            let hint =
                if has_more { "; a cell that holds the delimiter must be in quotes" } else { "" };
            let message = format!("{count} cells, but the header has {}{hint}", self.width);
            return rows.bad(line, texts, RowError::Broken(message.into()));
        }
        rows.row(line, texts)
    }

    /// The text that the table is read from.
    pub(super) fn into_text(self) -> Text {
        self.records.text
    }
}

fn is_blank(cell: &[u8]) -> bool {
    cell.trim_ascii().is_empty()
}

fn find_places(
    file: &str,
    header: &[String],
    columns: &Columns,
    biz_id_needed: bool,
) -> Result<[Option<usize>; 4], InputError> {
    let mut places: [Option<usize>; 4] = [None; 4];
    for (index, name) in header.iter().enumerate() {
        let Some(column) = columns.field(name) else {
            continue;
        };
        if let Some(first) = places[column as usize].replace(index) {
            return Err(InputError::Ambiguous {
                file: file.to_owned(),
                column,
                first: header[first].clone(),
                second: name.clone(),
            });
        }
    }
    let mut missing = Vec::new();
    for column in Column::ALL {
        if places[column as usize].is_some() {
            continue;
        }
        if let Some(name) = columns.mapped(column) {
            return Err(InputError::UnknownMapped {
                file: file.to_owned(),
                column,
                name: name.to_owned(),
                found: found(header),
            });
        }
        if column != Column::BizId || biz_id_needed {
            missing.push(column);
        }
    }
    if missing.is_empty() {
        return Ok(places);
    }
    Err(InputError::MissingColumns { file: file.to_owned(), missing, found: found(header) })
}

/// The header's columns, as a clause of a message.
fn found(header: &[String]) -> String {
    if header.is_empty() {
        return "the file is empty".to_owned();
    }
    let shown = header.iter().take(LISTED).map(|name| format!("{:?}", shown(name)));
    let list = shown.collect::<Vec<_>>().join(", ");
    match header.len().saturating_sub(LISTED) {
        0 => format!("the header has {list}"),
        more => format!("the header has {list} and {more} more"),
    }
}

/// Splits a text into records of cells. Holds one at a time.
struct Records {
    text: Text,
    core: Box<csv_core::Reader>,
    cells: Vec<u8>,
    /// The end of each cell of the record, in `cells`.
    ends: Vec<usize>,
    count: usize,
}

impl Records {
    fn new(text: Text, delimiter: u8) -> Self {
        Self {
            text,
            core: Box::new(csv_core::ReaderBuilder::new().delimiter(delimiter).build()),
            cells: vec![0; 1 << 10],
            ends: vec![0; 1 << 5],
            count: 0,
        }
    }

    /// Reads the next record and gives the line it starts at; none at the end. Empty lines are no
    /// records.
    fn read(&mut self) -> Result<Option<u64>, InputError> {
        self.count = 0;
        if !self.text.skip_empty_lines()? {
            return Ok(None);
        }
        let line = self.text.line();
        let (mut written, mut length) = (0, 0);
        let mut at_end = false;
        loop {
            // The parser takes an empty input for the end of the file.
            if !at_end && self.text.pending().is_empty() {
                at_end = !self.text.fill()?;
            }
            // The last record may lack its line break. Within quotes the added one changes nothing.
            let input = if at_end { b"\n" } else { self.text.pending() };
            let (result, read, wrote, ended) = self.core.read_record(
                input,
                &mut self.cells[written..],
                &mut self.ends[self.count..],
            );
            written += wrote;
            self.count += ended;
            if !at_end {
                self.text.consume(read);
                length += read;
            }
            if length > MAX_RECORD {
                return Err(self.text.too_long(line));
            }
            match result {
                ReadRecordResult::Record => return Ok(Some(line)),
                ReadRecordResult::OutputFull => self.cells.resize(self.cells.len() * 2, 0),
                ReadRecordResult::OutputEndsFull => self.ends.resize(self.ends.len() * 2, 0),
                ReadRecordResult::InputEmpty if at_end => return Err(self.text.open_quote(line)),
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::End => return Ok(None),
            }
        }
    }

    /// How many cells the record has.
    fn count(&self) -> usize {
        self.count
    }

    /// One cell; nothing where the record is too short.
    fn cell(&self, index: usize) -> &[u8] {
        if index >= self.count {
            return &[];
        }
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.cells[start..self.ends[index]]
    }
}
