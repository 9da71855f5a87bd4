//! Reads results back, for rerun, undo and verify.
//!
//! A spreadsheet in which somebody mended rows may have rewritten the file in its own way: another
//! encoding or delimiter, `TRUE` for `true`, empty lines at the end. It means the same.

mod sheets;

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde_json::Value;

use super::writer::unguarded;
use super::{COLUMNS, ResultsError};
use crate::association::{Action, Cells, Column, Named};
use crate::clock;
use crate::input::Decoder;
use crate::options::Format;
use crate::outcome::{Outcome, Reason, Record, Status};
use sheets::Sheets;

/// The longest line that results have. This bounds memory.
const LONGEST_LINE: u64 = 8 << 20;
/// The delimiters that are detected; in a tie the first wins.
const DELIMITERS: [u8; 3] = [b',', b'\t', b';'];
/// How many characters of a cell a message shows.
const SHOWN: usize = 60;

/// The columns that results may have behind [`COLUMNS`].
const OPTIONAL: [&str; 4] =
    [Column::Source.name(), Column::Target.name(), Column::Action.name(), "file"];

/// Reads a results file line by line.
pub struct Reader {
    path: PathBuf,
    lines: Lines,
    ordinal: u64,
    files: HashMap<String, u32>,
    names: Vec<String>,
    /// Whether all names are known.
    names_are_known: bool,
}

/// A file's text.
type Text = BufReader<Decoder<File>>;

enum Lines {
    Table {
        reader: Box<csv::Reader<Bounded<Text>>>,
        row: csv::StringRecord,
        /// Lines that `reader` does not count: Excel's `sep=`, and one whose `\r\n` is only half read.
        uncounted: u64,
        /// The place of each known column; those of [`OPTIONAL`] may be missing.
        places: [Option<usize>; COLUMNS.len() + OPTIONAL.len()],
    },
    Json {
        reader: Text,
        number: u64,
        /// The first line, which was read to see which columns there are.
        ahead: Option<io::Result<Vec<u8>>>,
    },
    Sheets(Box<Sheets>),
}

/// Why there is no next line. Without a line number the file can't be read, and nothing comes after it.
struct BadLine {
    line: Option<u64>,
    what: String,
}

impl BadLine {
    fn new(line: impl Into<Option<u64>>, what: &impl ToString) -> Self {
        Self { line: line.into(), what: what.to_string() }
    }
}

/// Gives no more bytes than one line may have, until told that another line begins. A quote that is never
/// closed would make the rest of the file one cell.
struct Bounded<R> {
    from: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            let what = format!("longer than {} MiB: is a quote never closed?", LONGEST_LINE >> 20);
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        let read = (&mut self.from).take(self.left).read(out)?;
        self.left -= read as u64;
        Ok(read)
    }
}

/// One line's cells, by column.
type Texts = [String; COLUMNS.len() + OPTIONAL.len()];

impl Reader {
    /// Opens a results file, which must have all columns. `files` are the names of the run's inputs, which
    /// number the lines' inputs; if there are none, names are numbered as they first appear.
    pub fn open(path: &Path, files: &[String]) -> Result<Self, ResultsError> {
        let unreadable =
            |what: String| ResultsError::Unreadable { path: path.to_owned(), line: None, what };
        let format = Format::of_name(path)
            .ok_or_else(|| unreadable("results end with .csv, .tsv, .jsonl or .xlsx".to_owned()))?;
        let file = File::open(path).map_err(|error| unreadable(error.to_string()))?;
        // What Excel saved may have kept another name.
        let format = if sheets::is_workbook(&file) { Format::Xlsx } else { format };
        let lines = match format {
            Format::Xlsx => {
                let sheets = Sheets::open(file).map_err(|error| unreadable(error.to_string()))?;
                Lines::Sheets(Box::new(sheets))
            }
            Format::Jsonl => {
                let mut text = text_of(file).map_err(|error| unreadable(error.to_string()))?;
                let first = json_line(&mut text);
                Lines::Json { reader: text, number: 0, ahead: Some(first) }
            }
            Format::Csv | Format::Tsv => {
                let mut text = text_of(file).map_err(|error| unreadable(error.to_string()))?;
                let (delimiter, skipped) =
                    delimiter_of(&mut text).map_err(|error| unreadable(error.to_string()))?;
                let mut reader = csv::ReaderBuilder::new()
                    .delimiter(delimiter)
                    .flexible(false)
                    .buffer_capacity(1 << 16)
                    .from_reader(Bounded { from: text, left: LONGEST_LINE });
                let header = reader.headers().map_err(|error| unreadable(error.to_string()))?;
                let place = |name: &str| {
                    header.iter().position(|cell| cell.trim().eq_ignore_ascii_case(name))
                };
                let mut places = [None; COLUMNS.len() + OPTIONAL.len()];
                for (slot, name) in places.iter_mut().zip(COLUMNS) {
                    *slot = Some(place(name).ok_or_else(|| {
                        unreadable(format!(
                            "no results file: it has no column {name:?}, only {}",
                            header.iter().collect::<Vec<_>>().join(", ")
                        ))
                    })?);
                }
                for (slot, name) in places[COLUMNS.len()..].iter_mut().zip(OPTIONAL) {
                    *slot = place(name);
                }
                let uncounted = skipped + u64::from(reader.position().line() == 1);
                let row = csv::StringRecord::new();
                Lines::Table { reader: Box::new(reader), row, uncounted, places }
            }
        };
        let mut numbers = HashMap::new();
        for (index, name) in (0..).zip(files) {
            numbers.entry(name.clone()).or_insert(index);
        }
        Ok(Self {
            path: path.to_owned(),
            lines,
            ordinal: 0,
            files: numbers,
            names: files.to_vec(),
            names_are_known: !files.is_empty(),
        })
    }

    /// Whether its rows may say something beside ids.
    pub fn says_more_than_ids(&self) -> bool {
        match &self.lines {
            Lines::Table { places, .. } => {
                places[COLUMNS.len()..][..Column::BESIDE_IDS.len()].iter().any(Option::is_some)
            }
            Lines::Sheets(sheets) => sheets.says_more_than_ids(),
            Lines::Json { ahead, .. } => {
                let first = ahead.as_ref().and_then(|first| first.as_deref().ok());
                serde_json::from_slice(first.unwrap_or_default()).is_ok_and(
                    |object: HashMap<String, Value>| {
                        Column::BESIDE_IDS.iter().any(|column| object.contains_key(column.name()))
                    },
                )
            }
        }
    }

    /// The inputs' names, in order, as far as they are known; empty for a single input.
    pub fn files(&self) -> &[String] {
        &self.names
    }

    fn fail(&self, line: u64, what: impl Into<String>) -> ResultsError {
        ResultsError::Unreadable { path: self.path.clone(), line: Some(line), what: what.into() }
    }

    /// The next line's cells, and its number in the results file.
    fn next_texts(&mut self) -> Result<Option<(u64, Texts)>, BadLine> {
        match &mut self.lines {
            Lines::Table { reader, row, uncounted, places } => loop {
                let line = reader.position().line() + *uncounted;
                reader.get_mut().left = LONGEST_LINE;
                let read = reader.read_record(row).map_err(|error| match error.kind() {
                    csv::ErrorKind::Io(error) => {
                        BadLine::new(None, &format!("line {line}: {error}"))
                    }
                    _ => BadLine::new(line, &error),
                });
                if !read? {
                    return Ok(None);
                }
                if row.iter().all(str::is_empty) {
                    continue;
                }
                let line = row.position().map_or(line, |at| at.line() + *uncounted);
                let cell = |place: Option<usize>| {
                    unguarded(place.and_then(|at| row.get(at)).unwrap_or_default()).to_owned()
                };
                return Ok(Some((line, places.map(cell))));
            },
            Lines::Sheets(sheets) => sheets.next_texts(),
            Lines::Json { reader, number, ahead } => loop {
                *number += 1;
                let line = ahead.take().unwrap_or_else(|| json_line(reader));
                let line =
                    line.map_err(|error| BadLine::new(None, &format!("line {number}: {error}")))?;
                if line.is_empty() {
                    return Ok(None);
                }
                if line.trim_ascii().is_empty() {
                    continue;
                }
                let object: HashMap<String, Value> = serde_json::from_slice(&line)
                    .map_err(|error| BadLine::new(*number, &format!("no results line: {error}")))?;
                let names = COLUMNS.into_iter().chain(OPTIONAL);
                let mut texts = Texts::default();
                for (text, name) in texts.iter_mut().zip(names) {
                    *text = match object.get(name) {
                        None if OPTIONAL.contains(&name) => String::new(),
                        None => {
                            let what = format!("no results line: no {name:?}");
                            return Err(BadLine::new(*number, &what));
                        }
                        Some(Value::Null) => String::new(),
                        Some(Value::String(text)) => text.clone(),
                        Some(other) => other.to_string(),
                    };
                }
                return Ok(Some((*number, texts)));
            },
        }
    }

    fn record(&mut self, at: u64, texts: Texts) -> Result<Record, ResultsError> {
        let [
            line,
            asst,
            inst,
            asst_inst,
            biz,
            status,
            id,
            reason,
            retryable,
            code,
            message,
            attempts,
            request_id,
            finished_at,
            source,
            target,
            action,
            file,
        ] = texts;
        let bad = |name: &str, text: &str| {
            let shown: String = text.chars().take(SHOWN).collect();
            self.fail(at, format!("column {name}: {shown:?}"))
        };
        let outcome = Outcome {
            status: Status::parse(&status).ok_or_else(|| bad("status", &status))?,
            association_id: number(&id).map_err(|_| bad("association_id", &id))?,
            reason: match reason.as_str() {
                "" => None,
                text => Some(Reason::parse(text).ok_or_else(|| bad("reason", text))?),
            },
            retryable: match retryable.to_ascii_lowercase().as_str() {
                "true" => true,
                "false" | "" => false,
                _ => return Err(bad("retryable", &retryable)),
            },
            code: number(&code).map_err(|_| bad("code", &code))?,
            message,
            attempts: number(&attempts).map_err(|_| bad("attempts", &attempts))?.unwrap_or(0),
            request_id: Some(request_id).filter(|id| !id.is_empty()),
            finished_at: match finished_at.as_str() {
                "" => 0,
                text => clock::parse_millis(text).ok_or_else(|| bad("finished_at", text))?,
            },
        };
        // A row that is in no input is a delete that a sync adds.
        let is_added = line.is_empty() && Action::parse(&action) == Some(Action::Delete);
        let number = if is_added { Ok(0) } else { line.parse() };
        let line =
            number.ok().filter(|line| is_added || *line > 0).ok_or_else(|| bad("line", &line))?;
        let ids = [&*asst, &inst, &asst_inst, &biz];
        let [source, target, action] = [source, target, action].map(Into::into);
        let cells = Cells::with_names(ids, Named { source, target, action });
        let number = if is_added && file.is_empty() { Some(0) } else { self.file(&file) };
        let Some(number) = number else {
            return Err(self.fail(at, format!("column file: {file:?} is no input of this run")));
        };
        let ordinal = self.ordinal;
        self.ordinal += 1;
        Ok(Record { ordinal, file: number, line, cells, outcome })
    }

    /// The number of an input; `None` if it is not among the known ones.
    fn file(&mut self, name: &str) -> Option<u32> {
        if let Some(number) = self.files.get(name) {
            return Some(*number);
        }
        if self.names_are_known {
            return None;
        }
        if name.is_empty() {
            return Some(0);
        }
        let number = self.names.len() as u32;
        self.names.push(name.to_owned());
        self.files.insert(name.to_owned(), number);
        Some(number)
    }
}

fn text_of(file: File) -> io::Result<Text> {
    Ok(BufReader::with_capacity(1 << 16, Decoder::new(file, None, true)?))
}

/// The next line, with its end; empty where there is none.
fn json_line(reader: &mut Text) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    reader.take(LONGEST_LINE).read_until(b'\n', &mut line)?;
    if line.len() as u64 == LONGEST_LINE && !line.ends_with(b"\n") {
        let what = format!("longer than {} MiB", LONGEST_LINE >> 20);
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    Ok(line)
}

/// The delimiter of a table, and how many lines to skip: Excel's `sep=` names it and is skipped, else the
/// delimiter is the one that splits the header into the most known columns.
fn delimiter_of(text: &mut Text) -> io::Result<(u8, u64)> {
    let start = text.fill_buf()?;
    let end = start.iter().position(|byte| *byte == b'\n').unwrap_or(start.len());
    let line = String::from_utf8_lossy(&start[..end]).trim_end().to_ascii_lowercase();
    if let Some(&[delimiter]) = line.strip_prefix("sep=").map(str::as_bytes) {
        let whole = (end + 1).min(start.len());
        text.consume(whole);
        return Ok((delimiter, 1));
    }
    let ours = |delimiter: &u8| {
        let names = line.split(char::from(*delimiter)).map(|name| name.trim_matches(['"', ' ']));
        names.filter(|name| COLUMNS.contains(name)).count()
    };
    let best = DELIMITERS.into_iter().rev().max_by_key(ours);
    Ok((best.unwrap_or(DELIMITERS[0]), 0))
}

/// The number in a cell; none if the cell is empty.
fn number<T: FromStr>(text: &str) -> Result<Option<T>, T::Err> {
    if text.is_empty() { Ok(None) } else { text.parse().map(Some) }
}

impl Iterator for Reader {
    type Item = Result<Record, ResultsError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.next_texts() {
            Ok(None) => None,
            Ok(Some((at, texts))) => Some(self.record(at, texts)),
            Err(BadLine { line, what }) => {
                Some(Err(ResultsError::Unreadable { path: self.path.clone(), line, what }))
            }
        }
    }
}

#[cfg(test)]
mod tests;
