//! Records as CSV, TSV or JSON lines.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufWriter, Write};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use sha2::{Digest, Sha256};

use super::COLUMNS;
use crate::association::{Column, InstId};
use crate::options::Format;
use crate::outcome::{Reason, Record};

/// Writes records one after the other.
pub struct Writer<'a, W: Write = File> {
    out: Out<W>,
    files: &'a [String],
    zone: TimeZone,
}

enum Out<W: Write> {
    Table(Box<csv::Writer<Hashing<W>>>),
    Lines(BufWriter<Hashing<W>>),
}

impl<'a, W: Write> Writer<'a, W> {
    /// A writer that has written the header, if the format has one. `files` are the inputs' names
    /// where there are several.
    pub fn new(out: W, format: Format, files: &'a [String]) -> io::Result<Self> {
        let out = Hashing { out, hash: Sha256::new() };
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
        Ok(Self { out, files, zone: TimeZone::system() })
    }

    /// Writes a record.
    pub fn write(&mut self, record: &Record) -> io::Result<()> {
        let finished_at = self.time_of(record);
        let file = (self.files.len() > 1).then(|| self.files[record.file as usize].as_str());
        match &mut self.out {
            Out::Table(table) => write_cells(table, record, &finished_at, file).map_err(Into::into),
            Out::Lines(lines) => {
                let line = Line { record, finished_at: &finished_at, file };
                serde_json::to_writer(&mut *lines, &line)?;
                lines.write_all(b"\n")
            }
        }
    }

    /// Hands everything to the system.
    pub fn flush(&mut self) -> io::Result<()> {
        match &mut self.out {
            Out::Table(table) => table.flush(),
            Out::Lines(lines) => lines.flush(),
        }
    }

    /// Ends the file, and says its SHA-256 as lower-case hex.
    pub fn finish(self) -> io::Result<(W, String)> {
        let hashing = match self.out {
            Out::Table(table) => table.into_inner().map_err(csv::IntoInnerError::into_error)?,
            Out::Lines(lines) => lines.into_inner().map_err(io::IntoInnerError::into_error)?,
        };
        let mut hex = String::with_capacity(64);
        for byte in hashing.hash.finalize() {
            use std::fmt::Write as _;
            let _ = write!(hex, "{byte:02x}");
        }
        Ok((hashing.out, hex))
    }

    /// RFC 3339 in the local offset; empty for rows without an end.
    fn time_of(&self, record: &Record) -> String {
        if record.outcome.finished_at == 0 {
            return String::new();
        }
        Timestamp::from_millisecond(record.outcome.finished_at).map_or_else(
            |_| String::new(),
            |time| {
                time.to_zoned_datetime(self.zone.clone())
                    .strftime("%Y-%m-%dT%H:%M:%S%.3f%:z")
                    .to_string()
            },
        )
    }
}

fn write_cells<W: Write>(
    table: &mut csv::Writer<W>,
    record: &Record,
    finished_at: &str,
    file: Option<&str>,
) -> csv::Result<()> {
    let outcome = &record.outcome;
    let text = |value: Option<i64>| value.map(|n| n.to_string()).unwrap_or_default();
    table.write_field(record.line.to_string())?;
    for cell in record.cells.all() {
        table.write_field(&*guarded(cell))?;
    }
    table.write_field(outcome.status.as_str())?;
    table.write_field(text(outcome.association_id))?;
    table.write_field(outcome.reason.map_or("", Reason::as_str))?;
    table.write_field(retryable(record).map_or("", |yes| if yes { "true" } else { "false" }))?;
    table.write_field(text(outcome.code))?;
    table.write_field(&*guarded(&outcome.message))?;
    table.write_field(outcome.attempts.to_string())?;
    table.write_field(&*guarded(outcome.request_id.as_deref().unwrap_or_default()))?;
    table.write_field(finished_at)?;
    if let Some(file) = file {
        table.write_field(&*guarded(file))?;
    }
    table.write_record(None::<&[u8]>)
}

/// Whether a rerun takes the row; nothing for rows that ended well.
fn retryable(record: &Record) -> Option<bool> {
    (!record.outcome.status.is_good()).then_some(record.outcome.retryable)
}

/// A text that no spreadsheet takes for a formula: it gets a leading `'`, as does one that would
/// read like a guarded text.
pub(super) fn guarded(text: &str) -> Cow<'_, str> {
    if text.trim_start_matches('\'').starts_with(['=', '+', '-', '@', '\t']) {
        Cow::Owned(format!("'{text}"))
    } else {
        Cow::Borrowed(text)
    }
}

/// Takes the `'` off again.
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

/// An id goes out as a number where the text is just that number.
fn plain_id(column: Column, text: &str) -> Option<u64> {
    let id = InstId::parse(text).ok().filter(|_| column != Column::ObjAsstId)?;
    (id.to_string() == text).then(|| id.get())
}

/// Hashes what passes through.
struct Hashing<W> {
    out: W,
    hash: Sha256,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hash.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
