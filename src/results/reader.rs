//! Results read back: what rerun, undo and verify start from.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use jiff::Timestamp;
use serde_json::Value;

use super::writer::unguarded;
use super::{COLUMNS, ResultsError};
use crate::association::Cells;
use crate::options::Format;
use crate::outcome::{Outcome, Reason, Record, Status};

/// A line longer than this is none of ours.
const LONGEST_LINE: u64 = 8 << 20;

/// Reads a results file line by line.
pub struct Reader {
    path: PathBuf,
    lines: Lines,
    ordinal: u64,
    files: HashMap<String, u32>,
    /// The inputs' names, in the order in which they first appear.
    names: Vec<String>,
}

enum Lines {
    Table {
        reader: Box<csv::Reader<BufReader<File>>>,
        row: csv::StringRecord,
        /// Where each column of ours stands; the last is `file`, which may be missing.
        places: [Option<usize>; COLUMNS.len() + 1],
    },
    Json {
        reader: BufReader<File>,
        number: u64,
    },
}

/// Why there is no next line. Without a number it is the file that can't be read, and nothing can be
/// read after it.
struct BadLine {
    line: Option<u64>,
    what: String,
}

impl BadLine {
    fn new(line: impl Into<Option<u64>>, what: &impl ToString) -> Self {
        Self { line: line.into(), what: what.to_string() }
    }
}

/// One line's cells, by column.
type Texts = [String; COLUMNS.len() + 1];

impl Reader {
    /// Opens a results file; it must have all columns.
    pub fn open(path: &Path) -> Result<Self, ResultsError> {
        let unreadable =
            |what: String| ResultsError::Unreadable { path: path.to_owned(), line: None, what };
        let format = Format::of_name(path)
            .ok_or_else(|| unreadable("results end with .csv, .tsv or .jsonl".to_owned()))?;
        let file = File::open(path).map_err(|error| unreadable(error.to_string()))?;
        let file = BufReader::with_capacity(1 << 16, file);
        let lines = match format {
            Format::Jsonl => Lines::Json { reader: file, number: 0 },
            Format::Csv | Format::Tsv => {
                let delimiter = if format == Format::Tsv { b'\t' } else { b',' };
                let mut reader = csv::ReaderBuilder::new()
                    .delimiter(delimiter)
                    .flexible(false)
                    .from_reader(file);
                let header = reader.headers().map_err(|error| unreadable(error.to_string()))?;
                let place = |name: &str| {
                    header.iter().position(|cell| cell.trim_start_matches('\u{feff}') == name)
                };
                let mut places = [None; COLUMNS.len() + 1];
                for (slot, name) in places.iter_mut().zip(COLUMNS) {
                    *slot = Some(place(name).ok_or_else(|| {
                        unreadable(format!(
                            "no results file: it has no column {name:?}, only {}",
                            header.iter().collect::<Vec<_>>().join(", ")
                        ))
                    })?);
                }
                places[COLUMNS.len()] = place("file");
                let row = csv::StringRecord::new();
                Lines::Table { reader: Box::new(reader), row, places }
            }
        };
        let (ordinal, files, names) = (0, HashMap::new(), Vec::new());
        Ok(Self { path: path.to_owned(), lines, ordinal, files, names })
    }

    /// Numbers the inputs as another run did, whose lines these are.
    #[must_use]
    pub fn of_files(mut self, names: &[String]) -> Self {
        for (index, name) in (0..).zip(names) {
            self.files.entry(name.clone()).or_insert(index);
        }
        self.names = names.to_vec();
        self
    }

    /// The inputs' names seen so far; empty where the results are of one input.
    pub fn files(&self) -> &[String] {
        &self.names
    }

    fn fail(&self, line: u64, what: impl Into<String>) -> ResultsError {
        ResultsError::Unreadable { path: self.path.clone(), line: Some(line), what: what.into() }
    }

    /// The next line's cells, and its number in the results file.
    fn next_texts(&mut self) -> Result<Option<(u64, Texts)>, BadLine> {
        match &mut self.lines {
            Lines::Table { reader, row, places } => {
                let line = reader.position().line();
                let read = reader
                    .read_record(row)
                    .map_err(|error| BadLine::new((!error.is_io_error()).then_some(line), &error));
                if !read? {
                    return Ok(None);
                }
                let line = row.position().map_or(line, csv::Position::line);
                let cell = |place: Option<usize>| {
                    unguarded(place.and_then(|at| row.get(at)).unwrap_or_default()).to_owned()
                };
                Ok(Some((line, places.map(cell))))
            }
            Lines::Json { reader, number } => loop {
                *number += 1;
                let mut line = Vec::new();
                reader
                    .take(LONGEST_LINE)
                    .read_until(b'\n', &mut line)
                    .map_err(|error| BadLine::new(None, &format!("line {number}: {error}")))?;
                if line.is_empty() {
                    return Ok(None);
                }
                if line.len() as u64 == LONGEST_LINE && !line.ends_with(b"\n") {
                    let what = format!("line {number}: longer than {} MiB", LONGEST_LINE >> 20);
                    return Err(BadLine::new(None, &what));
                }
                if line.trim_ascii().is_empty() {
                    continue;
                }
                let object: HashMap<String, Value> = serde_json::from_slice(&line)
                    .map_err(|error| BadLine::new(*number, &format!("no results line: {error}")))?;
                let names = COLUMNS.iter().copied().chain(["file"]);
                let mut texts = Texts::default();
                for (text, name) in texts.iter_mut().zip(names) {
                    *text = match object.get(name) {
                        None if name == "file" => String::new(),
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
            target,
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
            file,
        ] = texts;
        let bad = |name: &str, text: &str| self.fail(at, format!("column {name}: {text:?}"));
        let outcome = Outcome {
            status: Status::parse(&status).ok_or_else(|| bad("status", &status))?,
            association_id: number(&id).map_err(|_| bad("association_id", &id))?,
            reason: match reason.as_str() {
                "" => None,
                text => Some(Reason::parse(text).ok_or_else(|| bad("reason", text))?),
            },
            retryable: match retryable.as_str() {
                "true" => true,
                "false" | "" => false,
                text => return Err(bad("retryable", text)),
            },
            code: number(&code).map_err(|_| bad("code", &code))?,
            message,
            attempts: number(&attempts).map_err(|_| bad("attempts", &attempts))?.unwrap_or(0),
            request_id: Some(request_id).filter(|id| !id.is_empty()),
            finished_at: match finished_at.as_str() {
                "" => 0,
                text => text
                    .parse::<Timestamp>()
                    .map_err(|_| bad("finished_at", text))?
                    .as_millisecond(),
            },
        };
        let line = line.parse().map_err(|_| bad("line", &line))?;
        let cells = Cells::new([&asst, &inst, &target, &biz]);
        let file = self.file(file);
        let ordinal = self.ordinal;
        self.ordinal += 1;
        Ok(Record { ordinal, file, line, cells, outcome })
    }

    fn file(&mut self, name: String) -> u32 {
        if name.is_empty() {
            return 0;
        }
        if let Some(index) = self.files.get(&name) {
            return *index;
        }
        let index = self.names.len() as u32;
        self.names.push(name.clone());
        self.files.insert(name, index);
        index
    }
}

/// A cell's number; an empty cell has none.
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
