use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use futures::FutureExt;
use futures::future::BoxFuture;
use proptest::prelude::*;

use super::replay::{Fingerprints, Settled, replay};
use super::*;
use crate::association::Cells;
use crate::outcome::{Reason, Status};
use crate::storage::manifest::FORMAT;
use crate::target::{Entrance, Target};

#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl Disk for Memory {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(())
    }

    fn sync(&self) -> BoxFuture<'static, io::Result<()>> {
        std::future::ready(Ok(())).boxed()
    }
}

fn head() -> Head {
    Head {
        tool: "test".to_owned(),
        target: Target::new(Entrance::Esb, "http://cmdb.example.com", "0").unwrap(),
        app_code: Some("app".to_owned()),
        inputs: vec!["a.csv".to_owned()],
        started_at: "2026-01-01T00:00:00+00:00".to_owned(),
        ..Head::of_import()
    }
}

fn record(ordinal: u64) -> Record {
    let outcome = match ordinal % 3 {
        0 => Outcome::good(Status::Created, 100 + ordinal as i64, 1, 1_700_000_000_000),
        1 => Outcome::good(Status::Recovered, 100 + ordinal as i64, 2, 1_700_000_000_001),
        _ => Outcome::bad(Reason::Rejected, "no: \"quoted\"\n名".to_owned(), 3, 1_700_000_000_002),
    };
    let cells = Cells::new(["a_名", " 1", "2", ""]);
    Record { ordinal, file: 0, line: ordinal + 2, cells, outcome }
}

/// A journal of two marks and nine outcomes in some order, with syncs in between.
async fn written() -> Vec<u8> {
    let memory = Memory::default();
    let mut journal = Journal::new(PathBuf::from("j"), Box::new(memory.clone()), 0, 0);
    journal.write_head(&head());
    journal.write_holder(&Holder {
        host: "h".to_owned(),
        pid: 7,
        since: "2026-01-01T00:00:00+00:00".to_owned(),
        at: Some(1_767_225_600_000),
    });
    journal.mark(&[11, 22, 33, 44], 0);
    journal.sync_all().await.unwrap();
    for ordinal in [2, 0, 1] {
        journal.outcome(&record(ordinal));
    }
    journal.mark(&[55, 66, 77, 88, 99], 105);
    journal.sync_all().await.unwrap();
    for ordinal in [8, 3, 5, 4] {
        journal.outcome(&record(ordinal));
    }
    journal.sync_all().await.unwrap();
    journal.outcome(&record(7));
    journal.flush().unwrap();
    let bytes = memory.0.lock().unwrap();
    bytes.clone()
}

fn read(bytes: &[u8]) -> Result<(replay::Replay, Vec<Record>), JournalError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("j");
    std::fs::write(&path, bytes).unwrap();
    let mut records = Vec::new();
    replay(&path, |record| records.push(record)).map(|replay| (replay, records))
}

#[tokio::test]
async fn what_was_written_is_read_back() {
    let bytes = written().await;
    let (back, records) = read(&bytes).unwrap();
    assert_eq!(back.head, Some(head()));
    assert_eq!(back.marked_through, 9);
    assert_eq!(back.good_bytes, bytes.len() as u64);
    assert_eq!(records, [2, 0, 1, 8, 3, 5, 4, 7].map(record));
    assert_eq!(back.largest_id, 107);
    assert!(!back.settled.contains(6));
    assert_eq!((back.id_watermark_of(0), back.id_watermark_of(4)), (0, 105));
}

#[tokio::test]
async fn cut_at_any_byte_it_is_read_up_to_there() {
    let bytes = written().await;
    let (_, all) = read(&bytes).unwrap();
    for length in 0..bytes.len() {
        let (back, records) = read(&bytes[..length]).unwrap();
        assert!(back.good_bytes <= length as u64);
        assert_eq!(records, all[..records.len()], "cut at {length}");
        let whole_lines = bytes[..length].iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        assert_eq!(back.good_bytes, whole_lines as u64, "cut at {length}");
    }
}

#[tokio::test]
async fn damaged_at_any_byte_it_is_read_before_it_or_refused_with_the_line_and_never_misread() {
    let bytes = written().await;
    let (_, all) = read(&bytes).unwrap();
    let last_sync = {
        let text = String::from_utf8_lossy(&bytes);
        let at = text.rfind("{\"synced\"").unwrap();
        text[at..].trim_start_matches("{\"synced\":").split('}').next().unwrap().parse().unwrap()
    };
    for at in 0..bytes.len() {
        {
            let mut damaged = bytes.clone();
            damaged[at] ^= [0x01, 0x20, 0x80][at % 3];
            let line = bytes[..at].iter().filter(|b| **b == b'\n').count() as u64 + 1;
            match read(&damaged) {
                Ok((back, records)) => {
                    assert!(at >= last_sync, "byte {at} was known to be on disk");
                    assert!(back.good_bytes <= at as u64, "byte {at} was believed");
                    assert_eq!(records, all[..records.len()]);
                }
                Err(JournalError::Damaged { line: named, .. }) => assert_eq!(named, line),
                Err(other) => panic!("byte {at}: {other}"),
            }
        }
    }
}

#[tokio::test]
async fn a_row_with_two_outcomes_or_without_a_mark_is_damage() {
    for ordinal in [2, 9] {
        let memory = Memory(Arc::new(Mutex::new(written().await)));
        let length = memory.0.lock().unwrap().len() as u64;
        let mut journal = Journal::new(PathBuf::from("j"), Box::new(memory.clone()), length, 9);
        journal.outcome(&record(ordinal));
        journal.flush().unwrap();
        let error = read(&memory.0.lock().unwrap()).unwrap_err();
        assert!(matches!(error, JournalError::Damaged { .. }), "{error}");
    }
}

#[tokio::test]
async fn whole_lines_that_are_missing_before_a_sync_are_damage() {
    let bytes = written().await;
    let text = String::from_utf8(bytes).unwrap();
    for lost in ["{\"opened\"", "{\"outcome\":{\"row\":2,", "{\"synced\""] {
        let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
        let at = lines.iter().position(|line| line.contains(lost)).unwrap();
        lines.remove(at);
        let error = read(lines.concat().as_bytes()).unwrap_err();
        assert!(matches!(error, JournalError::Damaged { .. }), "{lost}: {error}");
    }
}

#[tokio::test]
async fn fingerprints_are_those_of_all_marks_and_one_too_many_is_damage() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("j");
    let bytes = written().await;
    std::fs::write(&path, &bytes).unwrap();
    let mut fingerprints = Fingerprints::open(&path).unwrap();
    for row in 1..=9 {
        assert_eq!(fingerprints.read().unwrap(), 11 * row);
    }
    let lines = bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
    match fingerprints.read().unwrap_err() {
        JournalError::Damaged { line, .. } => assert_eq!(line, lines + 1),
        error => panic!("{error}"),
    }
}

#[tokio::test]
async fn another_format_is_refused_whatever_follows_its_head() {
    let bytes = written().await;
    let mut journal = Journal::new(PathBuf::from("j"), Box::new(Memory::default()), 0, 0);
    journal.write_head(&Head { format: FORMAT + 1, tool: "9.9".to_owned(), ..head() });
    let rest = bytes.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let error = read(&[&journal.buffer[..], &bytes[rest..], b"torn"].concat()).unwrap_err();
    assert!(matches!(error, JournalError::Foreign { .. }), "{error}");
    assert!(error.to_string().ends_with("bkassoc 9.9 wrote it in format 2, not 1"), "{error}");
}

#[tokio::test]
async fn a_line_that_is_whole_and_says_what_is_not_known_is_refused_and_not_cut_off() {
    let mut bytes = written().await;
    let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
    let body = br#"{"unheard-of":1}"#;
    bytes.extend_from_slice(&[&checksum(body), &b" "[..], body, b"\n"].concat());
    let error = read(&bytes).unwrap_err();
    assert!(matches!(error, JournalError::Foreign { .. }), "{error}");
    assert!(error.to_string().ends_with(&format!("line {} is of no known kind", lines + 1)));
}

#[test]
fn who_holds_a_journal_is_told_without_reading_what_became_of_rows() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("j");
    let mut journal = Journal::new(PathBuf::from("j"), Box::new(Memory::default()), 0, 0);
    let holder = |pid| Holder { host: "h".to_owned(), pid, since: "now".to_owned(), at: None };
    journal.write_holder(&holder(1));
    // As another version may write it.
    let outcome = br#"{"outcome":{"row":3,"end":{"status":"unheard-of"}}}"#;
    journal.buffer.extend_from_slice(&[&checksum(outcome), &b" "[..], outcome, b"\n"].concat());
    journal.write_holder(&holder(2));
    std::fs::write(&path, &journal.buffer).unwrap();
    assert_eq!(replay::holder(&path), Some(holder(2)));
}

#[test]
fn an_outcome_that_another_version_wrote_is_no_record() {
    let body =
        br#"{"outcome":{"row":3,"line":5,"cells":["a","1","2",""],"end":{"status":"unheard-of"}}}"#;
    assert_eq!(replay::record(body), None);
}

proptest! {
    #[test]
    fn settled_is_a_set(ordinals in prop::collection::vec(0..60u64, 0..80)) {
        let mut settled = Settled::default();
        let mut set = std::collections::BTreeSet::new();
        for ordinal in ordinals {
            prop_assert_eq!(settled.insert(ordinal), set.insert(ordinal));
            prop_assert_eq!(settled.len(), set.len() as u64);
        }
        for ordinal in 0..61 {
            prop_assert_eq!(settled.contains(ordinal), set.contains(&ordinal));
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = read(&bytes);
    }
}

#[test]
fn the_gaps_of_a_set_are_what_is_not_in_it() {
    let mut settled = Settled::default();
    for ordinal in [2, 3, 5, 9] {
        settled.insert(ordinal);
    }
    for start in 0..12 {
        for end in start..12 {
            let plain: Vec<u64> = (start..end).filter(|row| !settled.contains(*row)).collect();
            assert_eq!(settled.gaps(start, end).collect::<Vec<_>>(), plain, "{start}..{end}");
        }
    }
}
