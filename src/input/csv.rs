//! Tables: a header and records, with any delimiter. The only home of `csv_core`, which splits cells
//! and leaves to its caller what a whole reader would hide: where a record starts, how long it is, and
//! whether its quotes are closed.

use std::borrow::Cow;

use csv_core::ReadRecordResult;

use super::InputOptions;
use super::columns::{Columns, refuse_our_own};
use super::error::InputError;
use super::row::{RowParser, shown};
use super::text::{MAX_RECORD, Text};
use crate::association::{Action, Column, InstId, Named, Row, RowError};

/// The delimiters that are detected; in a tie the first wins.
pub(super) const DELIMITERS: [char; 5] = [',', '\t', ';', '|', WIDE_COMMA];

/// The comma of Chinese input methods.
const WIDE_COMMA: char = '，';

/// Stands for a delimiter beyond ASCII in the splitter, whose delimiters are single bytes.
const WIDE_BYTE: u8 = 0x1f;

/// How many names of a header a message lists.
const LISTED: usize = 30;

/// The delimiter that splits a header into the most known columns (in a tie, into the most columns),
/// and the number of known columns.
pub(super) fn detect_delimiter(header: &str, columns: &Columns) -> (char, usize) {
    let ours = |delimiter: char| {
        let names = header.split(delimiter);
        names.filter(|name| columns.field(name.trim().trim_matches('"')).is_some()).count()
    };
    // A full-width comma may be part of a text, so only known columns prove it.
    let count = |delimiter| match delimiter {
        WIDE_COMMA => 0,
        _ => header.matches(delimiter).count(),
    };
    let best = DELIMITERS.into_iter().rev().max_by_key(|&d| (ours(d), count(d)));
    best.map_or((',', 0), |delimiter| (delimiter, ours(delimiter)))
}

/// How a table is read.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    /// What stands between cells.
    pub(super) delimiter: char,
    /// Whether the first record is a row, and fields stand in the order of [`Column::IDS`].
    pub(super) no_header: bool,
    /// Whether each row needs a column for its business.
    pub(super) needs_biz_id: bool,
    /// Rows of blank cells that were stepped over above the first record.
    pub(super) blank_above: u64,
}

impl Layout {
    pub(super) fn new(delimiter: char, options: &InputOptions, blank_above: u64) -> Self {
        Self {
            delimiter,
            no_header: options.no_header,
            needs_biz_id: options.require_biz_id
                && options.default_biz_id.is_none()
                && options.action == Action::Create,
            blank_above,
        }
    }
}

/// The place of each field's column, in the order of [`Column::ALL`].
pub(super) type Places = [Option<usize>; Column::ALL.len()];

/// A table whose header was read.
pub(super) struct Table {
    records: Records,
    /// How many cells the header has, or the first row where there is none.
    width: usize,
    /// What has that many cells, for messages.
    widest: &'static str,
    /// The place of each field's column.
    places: Places,
    /// Rows of blank cells above the header that are not counted yet.
    blank_above: u64,
    /// Where a row starts that was read and not given.
    unread: Option<u64>,
}

impl Table {
    /// Reads the header. Every field must have a column, the business only if it is needed.
    pub(super) fn open(text: Text, layout: Layout, columns: &Columns) -> Result<Self, InputError> {
        let mut records = Records::new(text, layout.delimiter);
        let first = records.read()?;
        let cells: Vec<String> = (0..records.count())
            .map(|index| String::from_utf8_lossy(&records.cell(index)).trim().to_owned())
            .collect();
        let file = records.text.file();
        refuse_our_own(&cells, file)?;
        let no_header = layout.no_header;
        let places = match first {
            Some(line) if no_header => ordered_places(file, line, &cells, layout, columns)?,
            Some(line) if is_row(&cells, columns) => {
                return Err(InputError::NoHeader { file: file.to_owned(), line });
            }
            _ => find_places(file, &cells, layout, columns)?,
        };
        let named = cells.iter().rposition(|cell| !cell.is_empty()).map_or(0, |last| last + 1);
        Ok(Self {
            // A cell of the first row may be empty, and its column is there all the same.
            width: if no_header { named.max(places.iter().flatten().count()) } else { named },
            widest: if no_header { "first row" } else { "header" },
            places,
            blank_above: layout.blank_above,
            unread: first.filter(|_| no_header),
            records,
        })
    }

    /// The next row; none at the end. Rows of blank cells are what spreadsheets leave, and no rows.
    pub(super) fn next(&mut self, rows: &mut RowParser) -> Result<Option<Row>, InputError> {
        rows.skip_blank(std::mem::take(&mut self.blank_above));
        if let Some(line) = self.unread.take() {
            return Ok(Some(self.row(line, rows)));
        }
        while let Some(line) = self.records.read()? {
            let count = self.records.count();
            let is_blank = (0..count).all(|index| is_blank(&self.records.cell(index)));
            if !is_blank {
                return Ok(Some(self.row(line, rows)));
            }
            if count > 1 {
                let row = self.row(line, rows);
                rows.take_back_blank(row);
            }
        }
        Ok(None)
    }

    fn row(&self, line: u64, rows: &mut RowParser) -> Row {
        let mut undecodable = None;
        let cells = self
            .places
            .map(|place| place.map_or(Cow::Borrowed(&[][..]), |index| self.records.cell(index)));
        let [name, inst_id, asst_inst_id, biz_id, source, target, action] =
            Column::ALL.map(|column| {
                let cell = &*cells[column as usize];
                str::from_utf8(cell).unwrap_or_else(|_| {
                    undecodable = undecodable.or(Some((column, cell)));
                    ""
                })
            });
        let texts = [name, inst_id, asst_inst_id, biz_id];
        if let Some((column, cell)) = undecodable {
            let message = format!(
                "column {}: {:?} can't be decoded; is --encoding right?",
                column.name(),
                shown(&String::from_utf8_lossy(cell)),
            );
            return rows.bad(line, texts, RowError::Broken(message.into()));
        }
        let count = self.records.count();
        let has_more = (self.width..count).any(|index| !is_blank(&self.records.cell(index)));
        if count < self.width || has_more {
            let hint = match self.records.other_comma() {
                _ if has_more => "; a cell that holds the delimiter must be in quotes",
                Some(WIDE_COMMA) => "; a full-width comma (，) is no delimiter in this file",
                Some(_) => "; the delimiter in this file is the full-width comma (，)",
                None => "",
            };
            let (width, widest) = (self.width, self.widest);
            let message = format!("{count} cells, but the {widest} has {width}{hint}");
            return rows.bad(line, texts, RowError::Broken(message.into()));
        }
        if self.says_more_than_ids() {
            let [source, target, action] = [source, target, action].map(Into::into);
            return rows.named_row(line, texts, Named { source, target, action });
        }
        rows.row(line, texts)
    }

    /// Whether it has columns for names or actions.
    pub(super) fn says_more_than_ids(&self) -> bool {
        Column::BESIDE_IDS.iter().any(|column| self.places[*column as usize].is_some())
    }

    /// The text that the table is read from.
    pub(super) fn into_text(self) -> Text {
        self.records.text
    }
}

fn is_blank(cell: &[u8]) -> bool {
    match cell.first() {
        None => true,
        // What nearly all cells begin with.
        Some(first) if first.is_ascii_graphic() => false,
        Some(_) => str::from_utf8(cell).is_ok_and(|text| text.trim().is_empty()),
    }
}

/// Whether this is a row where a header should be: no name of ours, and two ids at least.
pub(super) fn is_row(cells: &[String], columns: &Columns) -> bool {
    cells.iter().all(|cell| columns.field(cell).is_none())
        && cells.iter().filter(|cell| InstId::parse(cell).is_ok()).count() > 1
}

/// Where fields stand in a table without a header, of which this is the first row.
pub(super) fn ordered_places(
    file: &str,
    line: u64,
    cells: &[String],
    layout: Layout,
    columns: &Columns,
) -> Result<Places, InputError> {
    let file = || file.to_owned();
    if cells.iter().filter(|cell| columns.field(cell).is_some()).count() > 2 {
        return Err(InputError::UnwantedHeader { file: file(), line });
    }
    let needed = if layout.needs_biz_id { 4 } else { 3 };
    if cells.len() < needed {
        return Err(InputError::FewColumns { file: file(), line, cells: cells.len(), needed });
    }
    let mut places = Places::default();
    for column in Column::IDS {
        places[column as usize] = Some(column as usize).filter(|index| *index < cells.len());
    }
    Ok(places)
}

/// Where fields stand by the names of a header. A side has a column for its id or one for its name.
pub(super) fn find_places(
    file: &str,
    header: &[String],
    layout: Layout,
    columns: &Columns,
) -> Result<Places, InputError> {
    let mut places = Places::default();
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
        let is_missing = match column {
            Column::ObjAsstId => true,
            Column::InstId => places[Column::Source as usize].is_none(),
            Column::AsstInstId => places[Column::Target as usize].is_none(),
            Column::BizId => layout.needs_biz_id,
            Column::Source | Column::Target | Column::Action => false,
        };
        if is_missing {
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
    let found = match header.len().saturating_sub(LISTED) {
        0 => format!("the header has {list}"),
        more => format!("the header has {list} and {more} more"),
    };
    if header.iter().any(|name| name.contains(WIDE_COMMA)) {
        return found + "; a full-width comma (，) is no delimiter there: put plain ones";
    }
    found
}

/// Splits a text into records of cells. Holds one at a time.
struct Records {
    text: Text,
    core: Box<csv_core::Reader>,
    /// What delimits, where that is beyond ASCII.
    wide: Option<char>,
    cells: Vec<u8>,
    /// The end of each cell of the record, in `cells`.
    ends: Vec<usize>,
    count: usize,
}

impl Records {
    fn new(text: Text, delimiter: char) -> Self {
        let wide = Some(delimiter).filter(|delimiter| !delimiter.is_ascii());
        let delimiter = wide.map_or(delimiter as u8, |_| WIDE_BYTE);
        Self {
            text,
            core: Box::new(csv_core::ReaderBuilder::new().delimiter(delimiter).build()),
            wide,
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
            let next = next_piece(self.text.pending(), self.wide, at_end);
            if next.is_none() && !at_end {
                at_end = !self.text.fill()?;
                continue;
            }
            // The parser takes an empty input for the end of the file, so it gets none before. The last
            // record may lack its line break. Within quotes the added one changes nothing.
            let input = next.map_or(&b"\n"[..], |piece| piece.bytes);
            let (result, read, wrote, ended) = self.core.read_record(
                input,
                &mut self.cells[written..],
                &mut self.ends[self.count..],
            );
            written += wrote;
            self.count += ended;
            let is_last = next.is_none();
            if let Some(piece) = next {
                let read = if read == piece.bytes.len() { piece.length } else { read };
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
                ReadRecordResult::InputEmpty if is_last => {
                    return Err(self.text.open_quote(line));
                }
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
    fn cell(&self, index: usize) -> Cow<'_, [u8]> {
        if index >= self.count {
            return Cow::Borrowed(&[]);
        }
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        let cell = &self.cells[start..self.ends[index]];
        match self.wide {
            // Within quotes.
            Some(wide) if cell.contains(&WIDE_BYTE) => {
                let text = String::from_utf8_lossy(cell);
                let text = text.replace(char::from(WIDE_BYTE), wide.encode_utf8(&mut [0; 4]));
                Cow::Owned(text.into_bytes())
            }
            _ => Cow::Borrowed(cell),
        }
    }

    /// The comma that does not delimit here, if the record holds it.
    fn other_comma(&self) -> Option<char> {
        let other = if self.wide == Some(WIDE_COMMA) { ',' } else { WIDE_COMMA };
        let holds = |index| String::from_utf8_lossy(&self.cell(index)).contains(other);
        (0..self.count).any(holds).then_some(other)
    }
}

/// A part of the text as the parser sees it.
#[derive(Clone, Copy)]
struct Piece<'a> {
    bytes: &'a [u8],
    /// How many bytes of the text it stands for.
    length: usize,
}

/// The next piece of a text of which `pending` is there; none where more has to be read.
fn next_piece(pending: &[u8], wide: Option<char>, at_end: bool) -> Option<Piece<'_>> {
    let as_is = |bytes| Piece { bytes, length: bytes.len() };
    let Some(wide) = wide.filter(|_| !at_end) else {
        return (!pending.is_empty()).then(|| as_is(pending));
    };
    let mut bytes = [0; 4];
    let wide = wide.encode_utf8(&mut bytes).as_bytes();
    match pending.windows(wide.len()).position(|bytes| bytes == wide) {
        Some(0) => Some(Piece { bytes: &[WIDE_BYTE], length: wide.len() }),
        Some(at) => Some(as_is(&pending[..at])),
        None => {
            // Its first bytes may stand at the end.
            let begun = (1..wide.len()).rev().find(|&begun| pending.ends_with(&wide[..begun]));
            let whole = &pending[..pending.len() - begun.unwrap_or(0)];
            (!whole.is_empty()).then(|| as_is(whole))
        }
    }
}
