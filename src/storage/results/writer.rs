//! Writes records as CSV, TSV or JSON lines.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::ops::Range;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::COLUMNS;
use crate::association::{Column, InstId};
use crate::input::digest::Hasher;
use crate::options::Format;
use crate::outcome::{Reason, Record};

/// Writes records one by one.
pub struct Writer<'a, W: Write = File> {
    out: Out<W>,
    files: &'a [String],
    clock: Clock,
}

enum Out<W: Write> {
    Table(Box<csv::Writer<Hashing<W>>>),
    Lines(BufWriter<Hashing<W>>),
}

impl<'a, W: Write> Writer<'a, W> {
    /// A writer that has written the header, if the format has one. `files` are the inputs' names, in
    /// order; empty for a single input.
    pub fn new(out: W, format: Format, files: &'a [String]) -> io::Result<Self> {
        let out = Hashing { out, hasher: Hasher::default() };
        let mut out = match format {
            Format::Jsonl => Out::Lines(BufWriter::with_capacity(1 << 16, out)),
            Format::Csv | Format::Tsv => Out::Table(Box::new(
                csv::WriterBuilder::new()
                    .delimiter(if format == Format::Tsv { b'\t' } else { b',' })
                    .buffer_capacity(1 << 16)
                    .from_writer(out),
            )),
        };
        if let Out::Table(table) = &mut out {
            let file = (files.len() > 1).then_some("file");
            table.write_record(COLUMNS.into_iter().chain(file))?;
        }
        Ok(Self { out, files, clock: Clock::new(TimeZone::system()) })
    }

    /// Writes a record. It is an error if its input has no name.
    pub fn write(&mut self, record: &Record) -> io::Result<()> {
        let finished_at = self.clock.show(record.outcome.finished_at);
        let file = match self.files {
            [] | [_] => None,
            files => {
                Some(files.get(record.file as usize).map(String::as_str).ok_or_else(|| {
                    io::Error::other(format!("line {} is of no input of this run", record.line))
                })?)
            }
        };
        match &mut self.out {
            Out::Table(table) => write_cells(table, record, finished_at, file).map_err(Into::into),
            Out::Lines(lines) => {
                let line = Line { record, finished_at, file };
                serde_json::to_writer(&mut *lines, &line)?;
                lines.write_all(b"\n")
            }
        }
    }

    /// Writes out everything.
    pub fn flush(&mut self) -> io::Result<()> {
        match &mut self.out {
            Out::Table(table) => table.flush(),
            Out::Lines(lines) => lines.flush(),
        }
    }

    /// Writes out everything, and returns the SHA-256 of all bytes in lower-case hex.
    pub fn finish(mut self) -> io::Result<(W, String)> {
        self.flush()?;
        let hashing = match self.out {
            Out::Table(table) => table.into_inner().map_err(csv::IntoInnerError::into_error)?,
            Out::Lines(lines) => lines.into_inner().map_err(io::IntoInnerError::into_error)?,
        };
        Ok((hashing.out, hashing.hasher.sha256()))
    }
}

/// Formats times as RFC 3339 in the local offset. Thousands of rows end in one second, so within a second
/// only the milliseconds of the text are rewritten.
struct Clock {
    zone: TimeZone,
    /// The second that `text` shows, since 1970.
    second: i64,
    text: String,
}

/// The milliseconds in `2026-11-24T02:11:09.123+08:00`.
const MILLISECONDS: Range<usize> = 20..23;

impl Clock {
    fn new(zone: TimeZone) -> Self {
        Self { zone, second: i64::MIN, text: String::new() }
    }

    /// The text of milliseconds since 1970; empty for 0, which unsettled rows have.
    fn show(&mut self, milliseconds: i64) -> &str {
        if milliseconds == 0 {
            return "";
        }
        let (second, rest) = (milliseconds.div_euclid(1000), milliseconds.rem_euclid(1000));
        if second != self.second {
            let Ok(time) = Timestamp::from_second(second) else {
                return "";
            };
            let time = time.to_zoned_datetime(self.zone.clone());
            self.text = time.strftime("%Y-%m-%dT%H:%M:%S.000%:z").to_string();
            self.second = second;
        }
        let digits = [rest / 100, rest / 10 % 10, rest % 10].map(|digit| b'0' + digit as u8);
        let digits = std::str::from_utf8(&digits).expect("digits are ASCII");
        self.text.replace_range(MILLISECONDS, digits);
        &self.text
    }
}

fn write_cells<W: Write>(
    table: &mut csv::Writer<W>,
    record: &Record,
    finished_at: &str,
    file: Option<&str>,
) -> csv::Result<()> {
    let outcome = &record.outcome;
    let mut digits = itoa::Buffer::new();
    table.write_field(digits.format(record.line))?;
    for cell in record.cells.all() {
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
    if let Some(file) = file {
        table.write_field(&*guarded(file))?;
    }
    table.write_record(None::<&[u8]>)
}

/// Whether a rerun takes the row; `None` for rows that ended well.
fn retryable(record: &Record) -> Option<bool> {
    (!record.outcome.status.is_good()).then_some(record.outcome.retryable)
}

/// Guards a text against being taken for a formula: it gets a leading `'`, and so does a text that would
/// read like a guarded one.
pub(super) fn guarded(text: &str) -> Cow<'_, str> {
    if text.trim_start_matches('\'').starts_with(['=', '+', '-', '@', '\t']) {
        Cow::Owned(format!("'{text}"))
    } else {
        Cow::Borrowed(text)
    }
}

/// Takes the guarding `'` off again.
pub(super) fn unguarded(text: &str) -> &str {
    match text.strip_prefix('\'') {
        Some(rest) if rest.trim_start_matches('\'').starts_with(['=', '+', '-', '@', '\t']) => rest,
        _ => text,
    }
}

struct Line<'a> {
    record: &'a Record,
    finished_at: &'a str,
    file: Option<&'a str>,
}

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (record, outcome) = (self.record, &self.record.outcome);
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("line", &record.line)?;
        for column in Column::ALL {
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
        if let Some(file) = self.file {
            map.serialize_entry("file", file)?;
        }
        map.end()
    }
}

/// The number of an id, if the text is just that number.
fn plain_id(column: Column, text: &str) -> Option<u64> {
    let id = InstId::parse(text).ok().filter(|_| column != Column::ObjAsstId)?;
    (id.to_string() == text).then(|| id.get())
}

/// Hashes the bytes that pass through.
struct Hashing<W> {
    out: W,
    hasher: Hasher,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::association::Cells;
    use crate::outcome::{Outcome, Status};

    #[test]
    fn moments_are_shown_to_the_millisecond_in_the_offset_of_their_second() {
        // Summer time ends at 2026-10-25 01:00:00 UTC.
        let mut clock = Clock::new(TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap());
        for (milliseconds, shown) in [
            (0, ""),
            (1_792_889_999_999, "2026-10-25T02:59:59.999+02:00"),
            (1_792_890_000_000, "2026-10-25T02:00:00.000+01:00"),
            (1_792_890_000_042, "2026-10-25T02:00:00.042+01:00"),
            (1_792_889_999_007, "2026-10-25T02:59:59.007+02:00"),
            (-1, "1970-01-01T00:59:59.999+01:00"),
            (i64::MAX, ""),
        ] {
            assert_eq!(clock.show(milliseconds), shown, "{milliseconds}");
        }
    }

    #[test]
    fn a_line_of_an_input_that_has_no_name_is_an_error() {
        let files = ["a.csv", "b.csv"].map(str::to_owned);
        let outcome = Outcome::good(Status::Created, 1, 1, 0);
        let record = Record { ordinal: 0, file: 2, line: 7, cells: Cells::default(), outcome };
        for format in [Format::Csv, Format::Jsonl] {
            let mut writer = Writer::new(Vec::new(), format, &files).unwrap();
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
