//! Writes records as CSV, TSV, JSON lines or an Excel workbook.

mod workbook;

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufWriter, Write};

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::{COLUMNS, Layout};
use crate::association::{Column, InstId};
use crate::clock::Moments;
use crate::input::digest::Hashing;
use crate::options::Format;
use crate::outcome::{Reason, Record, Status};
use workbook::{Head, Tint, Workbook};

/// Writes records one by one.
pub struct Writer<'a, W: Write = File> {
    out: Out<W>,
    layout: Layout<'a>,
    clock: Moments,
}

enum Out<W: Write> {
    Table(Box<csv::Writer<Hashing<W>>>),
    Lines(BufWriter<Hashing<W>>),
    Sheets(Box<Workbook<Hashing<W>>>),
}

impl<'a, W: Write> Writer<'a, W> {
    /// A writer that has written the header, if the format has one.
    pub fn new(out: W, format: Format, layout: Layout<'a>) -> io::Result<Self> {
        let out = Hashing::new(out);
        let mut out = match format {
            Format::Xlsx => {
                let heads = COLUMNS.into_iter().chain(layout.names()).map(head).collect();
                Out::Sheets(Box::new(Workbook::new(out, heads)?))
            }
            Format::Jsonl => Out::Lines(BufWriter::with_capacity(1 << 16, out)),
            Format::Csv | Format::Tsv => Out::Table(Box::new(
                csv::WriterBuilder::new()
                    .delimiter(if format == Format::Tsv { b'\t' } else { b',' })
                    .buffer_capacity(1 << 16)
                    .from_writer(out),
            )),
        };
        if let Out::Table(table) = &mut out {
            table.write_record(COLUMNS.into_iter().chain(layout.names()))?;
        }
        Ok(Self { out, layout, clock: Moments::local() })
    }

    /// Writes a record. It is an error if its input has no name.
    pub fn write(&mut self, record: &Record) -> io::Result<()> {
        let finished_at = self.clock.show(record.outcome.finished_at);
        let file = match self.layout.files {
            [] | [_] => None,
            _ if record.line == 0 => Some(""),
            files => {
                Some(files.get(record.file as usize).map(String::as_str).ok_or_else(|| {
                    io::Error::other(format!("line {} is of no input of this run", record.line))
                })?)
            }
        };
        let columns = self.layout.columns;
        match &mut self.out {
            Out::Table(table) => {
                write_cells(table, record, finished_at, columns, file).map_err(Into::into)
            }
            Out::Lines(lines) => {
                let line = Line { record, finished_at, columns, file };
                serde_json::to_writer(&mut *lines, &line)?;
                lines.write_all(b"\n")
            }
            Out::Sheets(workbook) => write_row(workbook, record, finished_at, columns, file),
        }
    }

    /// Writes out everything.
    pub fn flush(&mut self) -> io::Result<()> {
        match &mut self.out {
            Out::Table(table) => table.flush(),
            Out::Lines(lines) => lines.flush(),
            // Nothing of it can be read before its end.
            Out::Sheets(_) => Ok(()),
        }
    }

    /// Writes out everything, and returns the SHA-256 of all bytes in lower-case hex.
    pub fn finish(mut self) -> io::Result<(W, String)> {
        self.flush()?;
        let hashing = match self.out {
            Out::Table(table) => table.into_inner().map_err(csv::IntoInnerError::into_error)?,
            Out::Lines(lines) => lines.into_inner().map_err(io::IntoInnerError::into_error)?,
            Out::Sheets(workbook) => workbook.finish()?,
        };
        Ok(hashing.finish())
    }
}

fn write_cells<W: Write>(
    table: &mut csv::Writer<W>,
    record: &Record,
    finished_at: &str,
    columns: &[Column],
    file: Option<&str>,
) -> csv::Result<()> {
    let outcome = &record.outcome;
    let mut digits = itoa::Buffer::new();
    table.write_field(line(record).map_or("", |line| digits.format(line)))?;
    for cell in record.cells.ids() {
        table.write_field(&*guarded(cell))?;
    }
    table.write_field(outcome.status.as_str())?;
    table.write_field(outcome.association_id.map_or("", |id| digits.format(id)))?;
    table.write_field(outcome.reason.map_or("", Reason::as_str))?;
    table.write_field(retryable(record).map_or("", |yes| if yes { "true" } else { "false" }))?;
    table.write_field(outcome.code.map_or("", |code| digits.format(code)))?;
    table.write_field(&*guarded(&outcome.message))?;
    table.write_field(digits.format(outcome.attempts))?;
    table.write_field(&*guarded(outcome.request_id.as_deref().unwrap_or_default()))?;
    table.write_field(finished_at)?;
    for column in columns {
        table.write_field(&*guarded(record.cells.get(*column)))?;
    }
    if let Some(file) = file {
        table.write_field(&*guarded(file))?;
    }
    table.write_record(None::<&[u8]>)
}

/// How a column stands in a workbook. Ids are texts: as numbers their last digits would be lost.
fn head(name: &'static str) -> Head {
    let width = match name {
        "line" | "code" | "attempts" | "biz_id" | "action" => 9,
        "status" | "retryable" | "inst_id" | "asst_inst_id" | "association_id" => 15,
        "message" => 60,
        "obj_asst_id" | "source" | "target" => 30,
        _ => 24,
    };
    Head { name, width, is_number: matches!(name, "line" | "attempts") }
}

fn write_row<W: Write>(
    workbook: &mut Workbook<W>,
    record: &Record,
    finished_at: &str,
    columns: &[Column],
    file: Option<&str>,
) -> io::Result<()> {
    let outcome = &record.outcome;
    let mut digits = itoa::Buffer::new();
    workbook.begin_row(match outcome.status {
        Status::Failed => Tint::Red,
        Status::Invalid => Tint::Orange,
        Status::InDoubt => Tint::Yellow,
        Status::NotAttempted => Tint::Grey,
        Status::Created
        | Status::Existed
        | Status::Recovered
        | Status::Deleted
        | Status::Absent => Tint::None,
    })?;
    workbook.cell(line(record).map_or("", |line| digits.format(line)));
    for cell in record.cells.ids() {
        workbook.cell(cell);
    }
    workbook.cell(outcome.status.as_str());
    workbook.cell(outcome.association_id.map_or("", |id| digits.format(id)));
    workbook.cell(outcome.reason.map_or("", Reason::as_str));
    workbook.cell(retryable(record).map_or("", |yes| if yes { "true" } else { "false" }));
    workbook.cell(outcome.code.map_or("", |code| digits.format(code)));
    workbook.cell(&outcome.message);
    workbook.cell(digits.format(outcome.attempts));
    workbook.cell(outcome.request_id.as_deref().unwrap_or_default());
    workbook.cell(finished_at);
    for column in columns {
        workbook.cell(record.cells.get(*column));
    }
    if let Some(file) = file {
        workbook.cell(file);
    }
    workbook.end_row()
}

/// Where the row starts; `None` where no input has it.
fn line(record: &Record) -> Option<u64> {
    Some(record.line).filter(|line| *line > 0)
}

/// Whether a rerun takes the row; `None` for rows that ended well.
fn retryable(record: &Record) -> Option<bool> {
    (!record.outcome.status.is_good()).then_some(record.outcome.retryable)
}

/// Guards a text against being taken for a formula: it gets a leading `'`, and so does a text that would
/// read like a guarded one.
pub(in crate::storage) fn guarded(text: &str) -> Cow<'_, str> {
    if text.trim_start_matches('\'').starts_with(['=', '+', '-', '@', '\t']) {
        Cow::Owned(format!("'{text}"))
    } else {
        Cow::Borrowed(text)
    }
}

/// Takes the guarding `'` off again.
pub(in crate::storage) fn unguarded(text: &str) -> &str {
    match text.strip_prefix('\'') {
        Some(rest) if rest.trim_start_matches('\'').starts_with(['=', '+', '-', '@', '\t']) => rest,
        _ => text,
    }
}

struct Line<'a> {
    record: &'a Record,
    finished_at: &'a str,
    columns: &'a [Column],
    file: Option<&'a str>,
}

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (record, outcome) = (self.record, &self.record.outcome);
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("line", &line(record))?;
        for column in Column::IDS {
            let text = record.cells.get(column);
            match plain_id(column, text) {
                Some(id) => map.serialize_entry(column.name(), &id)?,
                None if text.is_empty() => map.serialize_entry(column.name(), &())?,
                None => map.serialize_entry(column.name(), text)?,
            }
        }
        map.serialize_entry("status", outcome.status.as_str())?;
        map.serialize_entry("association_id", &outcome.association_id)?;
        map.serialize_entry("reason", &outcome.reason.map(Reason::as_str))?;
        map.serialize_entry("retryable", &retryable(record))?;
        map.serialize_entry("code", &outcome.code)?;
        map.serialize_entry("message", &outcome.message)?;
        map.serialize_entry("attempts", &outcome.attempts)?;
        map.serialize_entry("request_id", &outcome.request_id)?;
        let finished_at = Some(self.finished_at).filter(|time| !time.is_empty());
        map.serialize_entry("finished_at", &finished_at)?;
        for column in self.columns {
            let text = Some(record.cells.get(*column)).filter(|text| !text.is_empty());
            map.serialize_entry(column.name(), &text)?;
        }
        if let Some(file) = self.file {
            map.serialize_entry("file", &Some(file).filter(|file| !file.is_empty()))?;
        }
        map.end()
    }
}

/// The number of an id, if the text is just that number.
fn plain_id(column: Column, text: &str) -> Option<u64> {
    let id = InstId::parse(text).ok().filter(|_| column != Column::ObjAsstId)?;
    (id.to_string() == text).then(|| id.get())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::association::Cells;
    use crate::outcome::{Outcome, Status};

    #[test]
    fn a_line_of_an_input_that_has_no_name_is_an_error() {
        let files = ["a.csv", "b.csv"].map(str::to_owned);
        let outcome = Outcome::good(Status::Created, 1, 1, 0);
        let record = Record { ordinal: 0, file: 2, line: 7, cells: Cells::default(), outcome };
        for format in [Format::Csv, Format::Jsonl] {
            let mut writer = Writer::new(Vec::new(), format, Layout::of_files(&files)).unwrap();
            let error = writer.write(&record).unwrap_err().to_string();
            assert_eq!(error, "line 7 is of no input of this run");
        }
    }

    #[test]
    fn formulas_are_guarded_and_every_text_comes_back() {
        for text in ["=1+1", "+5", "-1", "@x", "\tx", "'=1", "''-", "plain", "'quoted'", "", "'"] {
            let written = guarded(text);
            assert!(!written.starts_with(['=', '+', '-', '@', '\t']), "{text}");
            assert_eq!(unguarded(&written), text);
        }
        assert_eq!(guarded("=1"), "'=1");
        assert_eq!(guarded("plain"), "plain");
    }
}
