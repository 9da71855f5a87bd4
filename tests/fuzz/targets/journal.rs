//! Journals that were damaged, or that nobody ever wrote: what is read back is the beginning of
//! what was written, or the journal is refused; never anything else.
#![no_main]

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bkassoc::association::Cells;
use bkassoc::outcome::{Outcome, Reason, Record, Status};
use bkassoc::storage::journal::disk::Disk;
use bkassoc::storage::journal::replay::{self, Fingerprints, Replay, replay};
use bkassoc::storage::journal::{EndEntry, Holder, Journal, JournalError};
use bkassoc::storage::manifest::{FORMAT, Head, Work};
use bkassoc::target::{Entrance, Target};
use bkassoc_fuzz::scratch;
use futures::future::{self, BoxFuture, FutureExt};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
enum Input<'a> {
    /// Bytes that may be anything.
    Raw(&'a [u8]),
    /// Lines that may be anything, under a right checksum.
    Lines(Vec<&'a str>),
    /// A journal, and what befell it.
    Written(Vec<Step<'a>>, Damage<'a>),
}

#[derive(Arbitrary, Debug)]
enum Step<'a> {
    Mark { rows: u8, id_watermark: i64 },
    Outcome { pick: u8, status: u8, cells: [&'a str; 4], message: &'a str, id: i64 },
    Sync,
    Opened,
    End,
}

#[derive(Arbitrary, Debug)]
enum Damage<'a> {
    None,
    Cut(u16),
    Overwrite(u16, &'a [u8]),
    Flip(u16, u8),
    Zeros(u16, u16),
    Insert(u16, &'a [u8]),
    Remove(u16, u16),
    Repeat(u16, u16),
    RemoveLines(u8, u8),
    RepeatLines(u8, u8),
}

#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl Disk for Memory {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.lock().expect("one thread").extend_from_slice(bytes);
        Ok(())
    }

    fn sync(&self) -> BoxFuture<'static, io::Result<()>> {
        future::ready(Ok(())).boxed()
    }
}

fn head() -> Head {
    Head {
        format: FORMAT,
        tool: "test".to_owned(),
        work: Work::Import,
        target: Target {
            entrance: Entrance::Esb,
            endpoint: "http://cmdb.example.com".to_owned(),
            supplier_account: "0".to_owned(),
            tenant_id: None,
        },
        app_code: Some("app".to_owned()),
        username: None,
        options: Default::default(),
        settings: Default::default(),
        inputs: vec!["a.csv".to_owned()],
        files: Vec::new(),
        columns: Vec::new(),
        plan: None,
        survey: None,
        shard: None,
        shards: Vec::new(),
        started_at: "2026-01-01T00:00:00+00:00".to_owned(),
        parent: None,
    }
}

/// What was written, and what a reader has to find in it.
#[derive(Default)]
struct Written {
    bytes: Vec<u8>,
    records: Vec<Record>,
    fingerprints: Vec<u32>,
    /// How many bytes the last sync vouches for.
    synced: u64,
}

fn write(steps: &[Step<'_>]) -> Written {
    let memory = Memory::default();
    let mut journal = Journal::new(PathBuf::from("journal"), Box::new(memory.clone()), 0, 0);
    let mut written = Written::default();
    let holder = Holder {
        host: "host".to_owned(),
        pid: 7,
        since: "2026-01-01T00:00:00+00:00".to_owned(),
        at: None,
    };
    journal.write_head(&head());
    journal.write_holder(&holder);
    let mut open: Vec<u64> = Vec::new();
    for step in steps {
        match step {
            Step::Mark { rows, id_watermark } => {
                let start = written.fingerprints.len() as u32;
                let more: Vec<u32> = (start..start + u32::from(rows % 8)).collect();
                open.extend(more.iter().copied().map(u64::from));
                journal.mark(&more, *id_watermark);
                written.fingerprints.extend(more);
            }
            Step::Outcome { pick, status, cells, message, id } if !open.is_empty() => {
                let ordinal = open.swap_remove(usize::from(*pick) % open.len());
                let attempts = u32::from(*pick);
                let outcome = match status % 4 {
                    0 => Outcome::good(Status::Created, *id, attempts, 1_700_000_000_000),
                    1 => Outcome::good(Status::Recovered, *id, attempts, *id),
                    2 => Outcome::open(Status::InDoubt, (*message).to_owned()),
                    _ => Outcome::bad(Reason::Rejected, (*message).to_owned(), attempts, 1),
                };
                let record = Record {
                    ordinal,
                    file: u32::from(status >> 4),
                    line: ordinal + 2,
                    cells: Cells::new(*cells),
                    outcome,
                };
                journal.outcome(&record);
                written.records.push(record);
            }
            Step::Outcome { .. } => {}
            Step::Sync => {
                drop(journal.start_sync().expect("a sound disk"));
                written.synced = memory.0.lock().expect("one thread").len() as u64;
                journal.synced(Ok(())).expect("a sound disk");
            }
            Step::Opened => journal.write_holder(&holder),
            Step::End => journal.end_of_run(&EndEntry {
                rows: written.records.len() as u64,
                inputs: Vec::new(),
                finished_at: "2026-01-01T00:00:00+00:00".to_owned(),
            }),
        }
    }
    journal.flush().expect("a sound disk");
    written.bytes = memory.0.lock().expect("one thread").clone();
    written
}

/// Where the lines from `first` on begin and end, `count` of them.
fn lines(bytes: &[u8], first: u8, count: u8) -> std::ops::Range<usize> {
    let mut ends = vec![0];
    ends.extend(bytes.iter().enumerate().filter(|(_, b)| **b == b'\n').map(|(at, _)| at + 1));
    let first = usize::from(first) % ends.len();
    let last = (first + usize::from(count)).min(ends.len() - 1);
    ends[first]..ends[last]
}

fn damage(mut bytes: Vec<u8>, damage: &Damage<'_>) -> Vec<u8> {
    let length = bytes.len();
    let place = |at: &u16| usize::from(*at) % length;
    let span = |at: &u16, count: &u16| {
        let start = place(at);
        start..(start + usize::from(*count)).min(length)
    };
    match damage {
        Damage::None => {}
        Damage::Cut(at) => bytes.truncate(place(at)),
        Damage::Overwrite(at, with) => {
            let span = span(at, &(with.len() as u16));
            let with = &with[..span.len()];
            bytes[span].copy_from_slice(with);
        }
        Damage::Flip(at, mask) => bytes[place(at)] ^= mask,
        Damage::Zeros(at, count) => bytes[span(at, count)].fill(0),
        Damage::Insert(at, what) => drop(bytes.splice(place(at)..place(at), what.iter().copied())),
        Damage::Remove(at, count) => drop(bytes.drain(span(at, count))),
        Damage::Repeat(at, count) => {
            let span = span(at, count);
            let (end, again) = (span.end, bytes[span].to_vec());
            drop(bytes.splice(end..end, again));
        }
        Damage::RemoveLines(first, count) => drop(bytes.drain(lines(&bytes, *first, *count))),
        Damage::RepeatLines(first, count) => {
            let span = lines(&bytes, *first, *count);
            let (end, again) = (span.end, bytes[span].to_vec());
            drop(bytes.splice(end..end, again));
        }
    }
    bytes
}

fn under_checksums(lines: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for line in lines {
        let line = line.replace('\n', " ");
        let checksum = crc32fast::hash(line.as_bytes());
        bytes.extend_from_slice(format!("{checksum:08x} {line}\n").as_bytes());
    }
    bytes
}

fn read(path: &Path) -> Result<(Replay, Vec<Record>), JournalError> {
    let mut records = Vec::new();
    let replay = replay(path, |record| records.push(record))?;
    // Every other reader of the file must see the same.
    let _ = replay::holder(path);
    let mut again = Vec::new();
    replay::outcomes(path, |row, body| again.push((row, replay::record(body))))?;
    again.truncate(records.len());
    assert!(
        again.into_iter().eq(records.iter().cloned().map(|record| (record.ordinal, Some(record))))
    );
    Ok((replay, records))
}

fn check(replay: &Replay, records: &[Record], bytes: &[u8]) {
    assert!(replay.good_bytes <= bytes.len() as u64);
    assert_eq!(replay.settled.len(), records.len() as u64);
    for record in records {
        assert!(record.ordinal < replay.marked_through);
        assert!(replay.settled.contains(record.ordinal));
        assert!(record.outcome.association_id.is_none_or(|id| id <= replay.largest_id));
        assert!(replay.id_watermark_of(record.ordinal) <= replay.largest_id);
    }
    // What is cut off is not needed to read the rest.
    let path = scratch::file("good", &bytes[..replay.good_bytes as usize]);
    let (again, same) = read(&path).expect("the good lines alone are a journal");
    assert_eq!((&*same, again.good_bytes), (records, replay.good_bytes));
}

fuzz_target!(|input: Input<'_>| {
    let (steps, what) = match input {
        Input::Raw(bytes) => {
            if let Ok((replay, records)) = read(&scratch::file("journal", bytes)) {
                check(&replay, &records, bytes);
            }
            return;
        }
        Input::Lines(lines) => {
            let bytes = under_checksums(&lines);
            if let Ok((replay, records)) = read(&scratch::file("journal", &bytes)) {
                check(&replay, &records, &bytes);
            }
            return;
        }
        Input::Written(steps, damage) => (steps, damage),
    };
    let written = write(&steps);
    let bytes = damage(written.bytes.clone(), &what);
    let same = bytes.iter().zip(&written.bytes).take_while(|(a, b)| a == b).count();
    let whole = bytes.len() == same && same == written.bytes.len();
    let path = scratch::file("journal", &bytes);
    let (replay, records) = match read(&path) {
        Ok(read) => read,
        Err(error) => {
            assert!(!whole, "{error}");
            // What only lacks its end, after what was known to be on disk, is no damage.
            assert!(bytes.len() > same || (same as u64) < written.synced, "{error}");
            return;
        }
    };
    check(&replay, &records, &bytes);
    assert_eq!(records, written.records[..records.len()], "misread");
    let mut fingerprints = Fingerprints::open(&path).expect("it was read a moment ago");
    for fingerprint in &written.fingerprints[..replay.marked_through as usize] {
        assert_eq!(fingerprints.read().expect("it was read a moment ago"), *fingerprint);
    }
    if whole {
        assert_eq!(records.len(), written.records.len());
        assert_eq!(replay.head, Some(head()));
        assert_eq!(replay.good_bytes, bytes.len() as u64);
    }
});
