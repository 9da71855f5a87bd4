//! Results that are written and read back: equal. And results of any bytes: never a panic, and what
//! is read of them is read again from what is written of it.
#![no_main]

use bkassoc::association::{Cells, Column};
use bkassoc::options::Format;
use bkassoc::outcome::{Outcome, Reason, Record, Status};
use bkassoc::storage::results::Layout;
use bkassoc::storage::results::reader::Reader;
use bkassoc::storage::results::writer::Writer;
use bkassoc_fuzz::scratch;
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
enum Input<'a> {
    /// A file's format and bytes.
    Raw(u8, &'a [u8]),
    /// A file's format, and what stands below its header.
    Rows(u8, &'a [u8]),
    Records {
        files: Vec<&'a str>,
        rows: Vec<Row<'a>>,
    },
}

#[derive(Arbitrary, Debug)]
struct Row<'a> {
    file: u8,
    line: u32,
    cells: [&'a str; 4],
    status: u8,
    reason: u8,
    id: i64,
    code: Option<i64>,
    message: &'a str,
    attempts: u32,
    request_id: &'a str,
    /// Seconds after 1970, and milliseconds.
    finished_at: (u32, u16),
}

impl Row<'_> {
    fn record(&self, ordinal: u64, files: usize) -> Record {
        let status = Status::ALL[usize::from(self.status) % Status::ALL.len()];
        let finished_at = i64::from(self.finished_at.0) * 1000 + i64::from(self.finished_at.1);
        let mut outcome = if status.is_good() {
            Outcome::good(status, self.id, self.attempts, finished_at)
        } else {
            let reason = Reason::ALL[usize::from(self.reason) % Reason::ALL.len()];
            let bad = Outcome::bad(reason, self.message.to_owned(), self.attempts, finished_at);
            Outcome { status, code: self.code, ..bad }
        };
        outcome.request_id = Some(self.request_id.to_owned()).filter(|id| !id.is_empty());
        Record {
            ordinal,
            file: if files > 1 { u32::from(self.file) % files as u32 } else { 0 },
            line: u64::from(self.line),
            cells: Cells::new(self.cells),
            outcome,
        }
    }
}

const FORMATS: [(Format, &str); 3] =
    [(Format::Csv, "r.csv"), (Format::Tsv, "r.tsv"), (Format::Jsonl, "r.jsonl")];

fn of(number: u8) -> (Format, &'static str) {
    FORMATS[usize::from(number) % FORMATS.len()]
}

fn written(records: &[Record], format: Format, files: &[String]) -> Vec<u8> {
    let mut writer =
        Writer::new(Vec::new(), format, Layout { columns: &Column::BESIDE_IDS, files })
            .expect("writing to memory");
    for record in records {
        writer.write(record).expect("writing to memory");
    }
    writer.finish().expect("writing to memory").0
}

/// Records, each with its file's name, whose numbers may differ.
fn named(records: &[Record], files: &[String]) -> Vec<(String, Record)> {
    let name = |record: &Record| match files {
        [] | [_] => String::new(),
        many => many[record.file as usize].clone(),
    };
    records.iter().map(|record| (name(record), Record { file: 0, ..record.clone() })).collect()
}

fn read_back(name: &str, bytes: &[u8]) -> Vec<(String, Record)> {
    let path = scratch::file(name, bytes);
    let mut reader = Reader::open(&path, &[]).expect("what was written can be read");
    let records: Vec<Record> =
        reader.by_ref().map(|record| record.unwrap_or_else(|error| panic!("{error}"))).collect();
    let files = reader.files();
    let name = |record: &Record| files.get(record.file as usize).cloned().unwrap_or_default();
    records.iter().map(|record| (name(record), Record { file: 0, ..record.clone() })).collect()
}

fn check(records: &[Record], files: &[String]) {
    let expected = named(records, files);
    for (format, name) in FORMATS {
        assert_eq!(read_back(name, &written(records, format, files)), expected, "{name}");
    }
}

/// Reads any bytes; what is read must come back.
fn check_bytes(name: &str, bytes: &[u8]) {
    let Ok(mut reader) = Reader::open(&scratch::file(name, bytes), &[]) else {
        return;
    };
    let mut records = Vec::new();
    for record in reader.by_ref() {
        match record {
            Ok(record) => records.push(record),
            Err(error) if error.is_of_a_line() => {}
            Err(_) => break,
        }
    }
    let mut files = reader.files().to_vec();
    if files.len() == 1 {
        files.clear();
        records.iter_mut().for_each(|record| record.file = 0);
    }
    check(&records, &files);
}

fuzz_target!(|input: Input<'_>| match input {
    Input::Raw(format, bytes) => check_bytes(of(format).1, bytes),
    Input::Rows(format, rows) => {
        let (format, name) = of(format);
        let mut bytes = written(&[], format, &["a".to_owned(), "b".to_owned()]);
        bytes.extend_from_slice(rows);
        check_bytes(name, &bytes);
    }
    Input::Records { files, rows } => {
        let mut files: Vec<String> = files.into_iter().map(str::to_owned).collect();
        files.retain(|file| !file.is_empty());
        let count = files.len();
        let record = |(ordinal, row): (usize, &Row<'_>)| row.record(ordinal as u64, count);
        let records: Vec<Record> = rows.iter().enumerate().map(record).collect();
        check(&records, &files);
    }
});
