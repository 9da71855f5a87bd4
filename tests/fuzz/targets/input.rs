//! Input of any bytes: never a panic, always the same rows whatever the bytes travel in, and rows
//! that are numbered as they come.
#![no_main]

use std::io::{self, Cursor, Read, Write};

use bkassoc::association::{Column, InstId, Row};
use bkassoc::input::{InputError, InputOptions, Reader, Source};
use bkassoc::options::Format;
use bkassoc_fuzz::scratch;
use libfuzzer_sys::fuzz_target;

/// Gives a few bytes at a time, as a slow pipe does.
struct Pipe {
    from: Cursor<Vec<u8>>,
    most: usize,
}

impl Read for Pipe {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let length = self.most.min(out.len());
        self.from.read(&mut out[..length])
    }
}

/// Two bytes decide the options, all others are the input.
fn options(first: u8, second: u8) -> InputOptions {
    const ENCODINGS: [&str; 8] =
        ["", "utf-8", "gb18030", "utf-16", "utf-16be", "gbk", "big5", "iso-2022-jp"];
    let encoding = ENCODINGS[usize::from(first & 7)];
    let mapped = |column: Column, name: &str| (column, name.to_owned());
    InputOptions {
        map: match second & 3 {
            1 => vec![mapped(Column::InstId, "源实例")],
            2 => vec![mapped(Column::BizId, "status"), mapped(Column::InstId, "metadata")],
            _ => Vec::new(),
        },
        format: [None, Some(Format::Csv), Some(Format::Tsv), Some(Format::Jsonl)]
            [usize::from(first >> 3 & 3)],
        sheet: None,
        delimiter: [None, Some(';'), Some(' '), Some('é')][usize::from(first >> 5 & 3)],
        encoding: (!encoding.is_empty()).then(|| encoding.parse().expect("a known encoding")),
        default_biz_id: InstId::new(u64::from(second >> 2 & 1)).ok(),
        require_biz_id: second >> 3 & 1 == 1,
        no_header: second >> 4 & 1 == 1,
    }
}

/// The rows before the end, or before the error.
fn rows(reader: Result<Reader, InputError>) -> (Vec<Row>, Option<InputError>) {
    let mut reader = match reader {
        Ok(reader) => reader,
        Err(error) => return (Vec::new(), Some(error)),
    };
    let mut rows = Vec::new();
    for row in &mut reader {
        match row {
            Ok(row) => rows.push(row),
            Err(error) => {
                assert!(reader.next().is_none(), "an error is the last thing a reader gives");
                return (rows, Some(error));
            }
        }
    }
    assert_eq!(reader.digests().len(), 1);
    (rows, None)
}

fn read(bytes: Vec<u8>, options: &InputOptions) -> (Vec<Row>, Option<InputError>) {
    rows(Reader::from_read("in", Cursor::new(bytes), options))
}

fn check(rows: &[Row], options: &InputOptions) {
    let mut line = 0;
    for (ordinal, row) in rows.iter().enumerate() {
        assert_eq!(row.ordinal, ordinal as u64);
        assert!(row.line > line, "two rows start in line {line}");
        line = row.line;
        match &row.parsed {
            Err(error) => assert!(error.to_string().len() < 4096, "a message of any length"),
            Ok(link) => {
                let association = &link.association;
                let [name, inst_id, asst_inst_id, biz_id] = row.cells.ids().map(str::trim);
                assert_eq!(&*association.obj_asst_id, name);
                assert_eq!(association.inst_id.to_string(), inst_id.trim_start_matches('0'));
                assert_eq!(
                    association.asst_inst_id.to_string(),
                    asst_inst_id.trim_start_matches('0')
                );
                assert_eq!(
                    link.biz_id.map(|id| id.to_string()).unwrap_or_default(),
                    biz_id.trim_start_matches('0')
                );
                assert!(link.biz_id.is_some() || !options.require_biz_id);
            }
        }
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("writing to memory");
    encoder.finish().expect("writing to memory")
}

fn is_packed(bytes: &[u8]) -> bool {
    [&b"\x1f\x8b"[..], b"\x28\xb5\x2f\xfd", b"PK\x03\x04", b"\xd0\xcf\x11\xe0"]
        .iter()
        .any(|signature| bytes.starts_with(signature))
}

fuzz_target!(|data: &[u8]| {
    let [first, second, input @ ..] = data else {
        return;
    };
    let options = options(*first, *second);
    let (plain, error) = read(input.to_vec(), &options);
    check(&plain, &options);
    let what = error.map(|error| error.to_string());

    // The same bytes, as they come from elsewhere.
    let (same, error) = match second >> 4 {
        0..=5 => {
            let most = 1 + usize::from(second >> 4);
            rows(Reader::from_read(
                "in",
                Pipe { from: Cursor::new(input.to_vec()), most },
                &options,
            ))
        }
        6..=9 if !is_packed(input) => read(gzip(input), &options),
        10..=13 if !is_packed(input) => {
            read(zstd::encode_all(input, 1).expect("writing to memory"), &options)
        }
        _ => {
            let path = scratch::file("in", input);
            rows(Reader::open(&[Source::Path(path)], &options))
        }
    };
    check(&same, &options);
    if is_packed(input) {
        // How much is unpacked before the damage is met depends on how much is read at once.
        assert_eq!(error.is_some(), what.is_some());
        assert!(error.is_some() || same == plain);
        assert!(same.iter().zip(&plain).all(|(same, plain)| same == plain));
    } else if options.encoding.is_some() || std::str::from_utf8(input).is_ok() {
        // Where nobody said what the bytes are, more of them at once may tell more.
        assert_eq!(same, plain);
        let file = scratch::path("in").display().to_string();
        assert_eq!(error.map(|error| error.to_string().replace(&file, "in")), what);
    }
});
