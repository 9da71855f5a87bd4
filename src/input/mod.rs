//! Reads rows from files and standard input, whatever their format, compression and encoding.
//!
//! Owns what input may look like (`docs/reference.md`, "Input"). Knows nothing of what becomes of a
//! row. Memory does not grow with the number of rows, and a row is given as soon as it has arrived.

pub mod digest;
mod error;
mod spool;
pub(crate) mod xlsx;
mod source;
mod encoding;
mod text;
mod columns;
mod row;
mod csv;
mod sheet;
mod jsonl;

use std::collections::VecDeque;
use std::io::Read;
use std::path::Path;

pub(crate) use encoding::Decoder;
pub use encoding::{Encoding, UnknownEncoding};
pub use error::InputError;
pub use row::RowParser;
pub(crate) use row::shown;
pub use source::{Source, about_how_many, digest_of};

use crate::association::{Action, Column, InstId, Row};
use crate::input::digest::Digest;
use crate::options::Format;
use columns::Columns;
use csv::{Layout, Table};
use jsonl::Objects;
use sheet::Sheet;
use source::Raw;
use text::Text;

/// What the user says about all inputs of a run. What is left open is detected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InputOptions {
    /// `--map`: the column (or key) that holds a field, where it has another name.
    pub map: Vec<(Column, String)>,
    /// `--input-format`
    pub format: Option<Format>,
    /// `--sheet`, where the input is a workbook.
    pub sheet: Option<String>,
    /// `--delimiter`.
    pub delimiter: Option<char>,
    /// `--no-header`: tables have none, and their columns stand in the order of [`Column::IDS`].
    pub no_header: bool,
    /// `--encoding`
    pub encoding: Option<Encoding>,
    /// `--biz-id`, for rows that have none.
    pub default_biz_id: Option<InstId>,
    /// Whether a row that creates needs a business id.
    pub require_biz_id: bool,
    /// `--action`: what a row asks for that does not say it.
    pub action: Action,
    /// `--allow-delete`: whether rows may ask for a delete.
    pub allow_delete: bool,
}

impl InputOptions {
    /// Makes rows as these options say.
    pub fn parser(&self) -> RowParser {
        RowParser::new(self.default_biz_id, self.require_biz_id)
            .with_actions(self.action, self.allow_delete)
    }
}

/// Gives the rows of all inputs, in order. An invalid row comes with its
/// [`RowError`](crate::association::RowError); an [`InputError`] ends the reading.
pub struct Reader {
    waiting: VecDeque<Waiting>,
    current: Option<Lines>,
    options: InputOptions,
    columns: Columns,
    rows: RowParser,
    digests: Vec<Digest>,
    says_more_than_ids: bool,
}

/// An input whose turn has not come.
enum Waiting {
    /// A file: it was closed again, so that many inputs need neither many descriptors nor many buffers.
    Closed(Source),
    /// A pipe or standard input, which gives its bytes only once.
    Open(Box<Lines>),
}

impl Reader {
    /// Opens every input and reads its header, so that an error in the last one is known before the
    /// first row is used.
    pub fn open(sources: &[Source], options: &InputOptions) -> Result<Self, InputError> {
        if sources.iter().filter(|&source| *source == Source::Stdin).count() > 1 {
            return Err(InputError::StdinTwice);
        }
        let columns = Columns::new(&options.map)?;
        let mut waiting = VecDeque::with_capacity(sources.len());
        let mut says_more_than_ids = false;
        for source in sources {
            let lines = Lines::open(source, options, &columns)?;
            says_more_than_ids |= lines.says_more_than_ids(options);
            // A workbook's shared texts take time to read.
            let stays = sources.len() == 1 && matches!(lines, Lines::Sheet(_));
            waiting.push_back(if source.is_regular_file() && !stays {
                Waiting::Closed(source.clone())
            } else {
                Waiting::Open(Box::new(lines))
            });
        }
        Ok(Self { says_more_than_ids, ..Self::new(waiting, columns, options) })
    }

    /// Reads the header of an input that is no [`Source`]. Messages call it `name`.
    pub fn from_read(
        name: &str,
        from: impl Read + Send + 'static,
        options: &InputOptions,
    ) -> Result<Self, InputError> {
        let columns = Columns::new(&options.map)?;
        let raw = Raw::new(name.to_owned(), Box::new(from));
        let lines = Lines::of_raw(raw, false, false, options, &columns)?;
        let says_more_than_ids = lines.says_more_than_ids(options);
        let waiting = [Waiting::Open(Box::new(lines))].into();
        Ok(Self { says_more_than_ids, ..Self::new(waiting, columns, options) })
    }

    fn new(waiting: VecDeque<Waiting>, columns: Columns, options: &InputOptions) -> Self {
        Self {
            digests: Vec::with_capacity(waiting.len()),
            says_more_than_ids: false,
            waiting,
            current: None,
            columns,
            rows: options.parser(),
            options: options.clone(),
        }
    }

    /// The digests of the inputs that were read to their end: all of them, once iteration has
    /// ended without an error.
    pub fn digests(&self) -> &[Digest] {
        &self.digests
    }

    /// Whether any input says more than ids: a table by its header, lines of objects by the first of them, and
    /// each where rows may be deletes without a word of their own.
    pub const fn says_more_than_ids(&self) -> bool {
        self.says_more_than_ids
    }

    /// How many rows of blank cells were skipped so far: spreadsheets leave them, and they are no rows.
    pub fn blank_rows(&self) -> u64 {
        self.rows.blank_rows()
    }

    /// The first row of blank cells between the row given last and the one before; at the end, after
    /// the last. Version 0.1.0 counted such rows.
    pub fn blank_before(&self) -> Option<&Row> {
        self.rows.blank_before()
    }

    fn next_row(&mut self) -> Result<Option<Row>, InputError> {
        loop {
            if let Some(lines) = &mut self.current
                && let Some(row) = lines.next(&self.columns, &mut self.rows)?
            {
                return Ok(Some(row));
            }
            if let Some(lines) = self.current.take() {
                self.digests.push(lines.finish()?);
                self.rows.next_file();
            }
            self.current = Some(match self.waiting.pop_front() {
                None => {
                    self.rows.end();
                    return Ok(None);
                }
                Some(Waiting::Open(lines)) => *lines,
                Some(Waiting::Closed(source)) => Lines::open(&source, &self.options, &self.columns)
                    .map_err(|error| InputError::Changed { error: Box::new(error) })?,
            });
        }
    }
}

impl Iterator for Reader {
    type Item = Result<Row, InputError>;

    fn next(&mut self) -> Option<Self::Item> {
        let row = self.next_row();
        if row.is_err() {
            self.waiting.clear();
            self.current = None;
        }
        row.transpose()
    }
}

/// One input whose header was read.
#[expect(clippy::large_enum_variant, reason = "there is one at a time")]
enum Lines {
    Table(Table),
    Objects(Objects),
    Sheet(Box<Sheet>),
}

impl Lines {
    fn open(
        source: &Source,
        options: &InputOptions,
        columns: &Columns,
    ) -> Result<Self, InputError> {
        let raw = Raw::open(source)?;
        Self::of_raw(raw, source.is_regular_file(), is_named_jsonl(source), options, columns)
    }

    /// Reads a workbook, or text, as the first bytes say. Text of a patient source may be waited for.
    fn of_raw(
        mut raw: Raw,
        patient: bool,
        named_jsonl: bool,
        options: &InputOptions,
        columns: &Columns,
    ) -> Result<Self, InputError> {
        let file = raw.name().to_owned();
        let unreadable = |error| InputError::Unreadable { file: file.clone(), error };
        let is_workbook = raw.is_workbook().map_err(unreadable)?;
        let wants_workbook = match options.format {
            Some(format) => format == Format::Xlsx,
            None => is_workbook || options.sheet.is_some(),
        };
        if is_workbook != wants_workbook {
            return Err(InputError::Workbook { file, is_workbook, format: options.format });
        }
        if is_workbook {
            let layout = Layout::new(',', options, 0);
            let sheet = Sheet::open(raw, options.sheet.as_deref(), layout, columns)?;
            return Ok(Self::Sheet(Box::new(sheet)));
        }
        let text = Text::new(raw, options.encoding, patient).map_err(unreadable)?;
        Self::new(text, named_jsonl, options, columns)
    }

    fn new(
        mut text: Text,
        named_jsonl: bool,
        options: &InputOptions,
        columns: &Columns,
    ) -> Result<Self, InputError> {
        let format = match options.format {
            Some(format) => format,
            None if is_jsonl(&mut text, named_jsonl, columns)? => Format::Jsonl,
            None => Format::Csv,
        };
        if format == Format::Jsonl {
            return Ok(Self::Objects(Objects::open(text, columns)?));
        }
        let mut blank_above = skip_blank_rows(&mut text, options.delimiter)?;
        let separator = skip_separator_line(&mut text)?;
        blank_above += skip_blank_rows(&mut text, options.delimiter.or(separator))?;
        let delimiter = match options.delimiter.or(separator) {
            Some(delimiter) => delimiter,
            None if format == Format::Tsv => '\t',
            None => csv::detect_delimiter(&first_line(&mut text)?, columns).0,
        };
        let layout = Layout::new(delimiter, options, blank_above);
        Table::open(text, layout, columns).map(Self::Table)
    }

    fn next(&mut self, columns: &Columns, rows: &mut RowParser) -> Result<Option<Row>, InputError> {
        match self {
            Self::Table(table) => table.next(rows),
            Self::Objects(objects) => objects.next(columns, rows),
            Self::Sheet(sheet) => sheet.next(columns, rows),
        }
    }

    fn says_more_than_ids(&self, options: &InputOptions) -> bool {
        if options.action == Action::Delete {
            return true;
        }
        match self {
            Self::Table(table) => table.says_more_than_ids(),
            // Any of them may have a key that the first has not.
            Self::Objects(objects) => objects.says_more_than_ids() || options.allow_delete,
            Self::Sheet(sheet) => sheet.says_more_than_ids(),
        }
    }

    /// Reads the rest of the source and gives the digest of all of it.
    fn finish(self) -> Result<Digest, InputError> {
        match self {
            Self::Table(table) => table.into_text().finish(),
            Self::Objects(objects) => objects.into_text().finish(),
            Self::Sheet(sheet) => sheet.finish(),
        }
    }
}

/// Whether the text is lines of JSON objects, which begin with a brace. Where the first line is neither
/// an object nor a header with known columns, the source's name decides.
fn is_jsonl(text: &mut Text, named_jsonl: bool, columns: &Columns) -> Result<bool, InputError> {
    let mut first = |skipped: &[u8]| {
        let at = text.find(|byte| !byte.is_ascii_whitespace() && !skipped.contains(&byte))?;
        Ok(at.map(|at| text.pending()[at]))
    };
    match first(b"")? {
        Some(b'{') => return Ok(true),
        Some(b'[') if named_jsonl || first(b"[")? == Some(b'{') => {
            let found = "is one JSON array";
            return Err(InputError::json_shape(text.file(), found, "'.[]'"));
        }
        _ => {}
    }
    Ok(named_jsonl && csv::detect_delimiter(&first_line(text)?, columns).1 == 0)
}

/// Skips lines of nothing but delimiters and blanks, and counts those with delimiters.
fn skip_blank_rows(text: &mut Text, delimiter: Option<char>) -> Result<u64, InputError> {
    let is_delimiter = |c: char| csv::DELIMITERS.contains(&c) || delimiter == Some(c);
    let mut count = 0;
    loop {
        let line = first_line(text)?;
        let unquoted = line.replace("\"\"", "");
        if line.is_empty() || !unquoted.chars().all(|c| c.is_whitespace() || is_delimiter(c)) {
            return Ok(count);
        }
        count += u64::from(unquoted.contains(is_delimiter));
        text.consume(line.len());
    }
}

/// Skips Excel's line `sep=;`, which may stand above the header, and gives its delimiter.
fn skip_separator_line(text: &mut Text) -> Result<Option<char>, InputError> {
    let line = first_line(text)?;
    let separator = match line.split_at_checked(4) {
        Some((key, value)) if key.eq_ignore_ascii_case("sep=") => value,
        _ => return Ok(None),
    };
    let &[separator] = separator.as_bytes() else { return Ok(None) };
    text.consume(line.len());
    Ok(Some(char::from(separator)))
}

/// The first line that is not empty. It stays pending.
fn first_line(text: &mut Text) -> Result<String, InputError> {
    text.skip_empty_lines()?;
    let end = text.find(|byte| matches!(byte, b'\r' | b'\n'))?;
    let line = &text.pending()[..end.unwrap_or(text.pending().len())];
    Ok(String::from_utf8_lossy(line).into_owned())
}

fn is_named_jsonl(source: &Source) -> bool {
    let Source::Path(path) = source else {
        return false;
    };
    let extension = |path: &Path| Some(path.extension()?.to_str()?.to_ascii_lowercase());
    let plain = match extension(path).as_deref() {
        Some("gz" | "zst") => path.with_extension(""),
        _ => path.clone(),
    };
    matches!(extension(&plain).as_deref(), Some("jsonl" | "ndjson" | "json"))
}

#[cfg(test)]
mod tests;
