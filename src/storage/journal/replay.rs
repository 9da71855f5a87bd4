//! Reads a journal back: which rows are settled, which are marked, and where the file may go on.
//!
//! A torn end is cut off. Damage before the last sync is an error that names the line.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::path::Path;

use memchr::memmem;

use super::{EndEntry, Entry, Holder, JournalError};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::association::{Association, InstId};
use crate::outcome::{Record, Status};
use crate::storage::manifest::{Head, Undone};

/// What a journal says.
#[derive(Debug, Default)]
pub struct Replay {
    /// What the run is. `None` if the file ends within its first line.
    pub head: Option<Head>,
    /// Rows that have an outcome.
    pub settled: Settled,
    /// Rows below this may have been sent.
    pub marked_through: u64,
    /// For each mark: rows below `.0` that no earlier mark covers have the floor `.1`.
    pub id_watermarks: Vec<(u64, i64)>,
    /// The largest association id seen.
    pub largest_id: i64,
    /// If the last process ended in order: the rows without an outcome that may have been sent. Otherwise
    /// every marked row may have been sent.
    pub sent: Option<FxHashSet<u64>>,
    /// Rows without an outcome that were in doubt when a later process opened the journal, and that none
    /// has sent again since: when that was, in milliseconds since 1970; `None` where it was not written.
    pub doubted_since: FxHashMap<u64, Option<i64>>,
    /// Rows without an outcome whose association was seen before a delete went out, and the ids of what was
    /// to be deleted, where they were written.
    pub deleting: FxHashMap<u64, Vec<i64>>,
    /// Rows without an outcome of which a process said that it sends them after all.
    pub resent: FxHashSet<u64>,
    /// What rows left for those after them: the newest that deleted, and those found of late that were sent.
    pub traces: VecDeque<Trace>,
    /// Whether any delete may have gone out.
    pub deletes: bool,
    /// Whether it was known before that there is a call that deletes. Version 0.1.0 did not ask.
    pub asked_before_deletes: bool,
    /// The undo of this run, if there is one.
    pub undone: Option<Undone>,
    /// The last line, written when all rows are settled.
    pub end: Option<EndEntry>,
    /// The end of the good lines. What follows is torn.
    pub good_bytes: u64,
}

/// A row that is settled, as far as it is of interest to those after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// The row.
    pub ordinal: u64,
    /// What it is about.
    pub association: Association,
    /// How it ended.
    pub status: Status,
    /// With which id.
    pub id: i64,
    /// When, in milliseconds since 1970.
    pub at: i64,
}

/// Traces that are kept,
const TRACES: usize = 1 << 16;
/// and how much older than the newest one may be that deleted nothing, in milliseconds.
const FOUND_OF_LATE: i64 = 60_000;

impl Trace {
    fn of(record: &Record) -> Option<Self> {
        let outcome = &record.outcome;
        let sent_and_found =
            matches!(outcome.status, Status::Existed | Status::Recovered) && outcome.attempts > 0;
        if outcome.status != Status::Deleted && !sent_and_found {
            return None;
        }
        let [name, source, target, _] = record.cells.ids();
        let id = |text: &str| InstId::new(text.trim().parse().ok()?).ok();
        Some(Self {
            ordinal: record.ordinal,
            association: Association {
                obj_asst_id: name.trim().into(),
                inst_id: id(source)?,
                asst_inst_id: id(target)?,
            },
            status: outcome.status,
            id: outcome.association_id?,
            at: outcome.finished_at,
        })
    }
}

impl Replay {
    fn trace(&mut self, record: &Record) {
        let Some(trace) = Trace::of(record) else { return };
        let is_old =
            |old: &Trace| old.status != Status::Deleted && old.at + FOUND_OF_LATE < trace.at;
        while self.traces.len() >= TRACES || self.traces.front().is_some_and(is_old) {
            self.traces.pop_front();
        }
        self.traces.push_back(trace);
    }

    /// Whether a row without an outcome may have been sent.
    pub fn may_have_been_sent(&self, ordinal: u64) -> bool {
        ordinal < self.marked_through
            && self.sent.as_ref().is_none_or(|sent| sent.contains(&ordinal))
    }

    /// Another process opened the journal then. The one before it is gone: what that left in doubt is so
    /// since now at the latest, until this one sends it again.
    fn open(&mut self, at: Option<i64>) {
        for row in self.in_doubt_from(0) {
            self.doubted_since.entry(row).or_insert(at);
        }
        // From here on a process may have sent any marked row.
        self.sent = None;
    }

    /// The rows from `start` on that may have been sent and have no outcome.
    pub fn in_doubt_from(&self, start: u64) -> Vec<u64> {
        let open = |row: &u64| *row >= start && !self.settled.contains(*row);
        match &self.sent {
            Some(sent) => sent.iter().copied().filter(open).collect(),
            None => self.settled.gaps(start, self.marked_through).collect(),
        }
    }

    /// The largest id that had been seen when this row was marked.
    pub fn id_watermark_of(&self, ordinal: u64) -> i64 {
        let after = self.id_watermarks.partition_point(|(through, _)| *through <= ordinal);
        self.id_watermarks.get(after).map_or(self.largest_id, |(_, id_watermark)| *id_watermark)
    }
}

/// A set of ordinals, kept as ranges, so that its size is the number of its gaps.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Settled {
    /// Start to end (exclusive) of ranges that neither touch nor overlap.
    ranges: BTreeMap<u64, u64>,
}

impl Settled {
    /// Inserts an ordinal; false if it was there already.
    pub fn insert(&mut self, ordinal: u64) -> bool {
        let before = self.ranges.range(..=ordinal).next_back().map(|(s, e)| (*s, *e));
        if before.is_some_and(|(_, end)| ordinal < end) {
            return false;
        }
        let start = match before {
            Some((start, end)) if end == ordinal => start,
            _ => ordinal,
        };
        let end = self.ranges.remove(&(ordinal + 1)).unwrap_or(ordinal + 1);
        self.ranges.insert(start, end);
        true
    }

    /// Whether an ordinal is in the set.
    pub fn contains(&self, ordinal: u64) -> bool {
        self.ranges.range(..=ordinal).next_back().is_some_and(|(_, end)| ordinal < *end)
    }

    /// Those from `start` to `end` (exclusive) that are not in.
    pub fn gaps(&self, start: u64, end: u64) -> impl Iterator<Item = u64> {
        let before = self.ranges.range(..=start).next_back();
        let mut from = before.map_or(start, |(_, past)| start.max(*past));
        let next = self.ranges.range(start.saturating_add(1)..end.max(start.saturating_add(1)));
        let next = next.map(|(start, past)| (*start, *past)).chain([(end, end)]);
        next.flat_map(move |(next, past)| {
            let gap = from..next;
            from = from.max(past);
            gap
        })
    }

    /// The number of ordinals.
    pub fn len(&self) -> u64 {
        self.ranges.iter().map(|(start, end)| end - start).sum()
    }

    /// Whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }
}

/// Reads the whole file, giving each outcome to `each`.
pub fn replay(path: &Path, mut each: impl FnMut(Record)) -> Result<Replay, JournalError> {
    let mut lines = Lines::open(path)?;
    let mut replay = Replay::default();
    while let Some(entry) = lines.next_good()? {
        match entry {
            Entry::Head(head) if replay.head.is_none() => {
                if let Some(what) = head.foreign() {
                    return Err(lines.foreign(what));
                }
                replay.head = Some(*head);
            }
            Entry::Head(_) => return Err(lines.damaged()),
            _ if replay.head.is_none() => {
                return Err(lines.foreign("it has no header".to_owned()));
            }
            Entry::Opened(holder) => replay.open(holder.at),
            Entry::Closed(sent) => {
                let sent: FxHashSet<u64> = sent.into_iter().collect();
                replay.doubted_since.retain(|row, _| sent.contains(row));
                replay.deleting.retain(|row, _| sent.contains(row));
                replay.resent.retain(|row| sent.contains(row));
                replay.sent = Some(sent);
            }
            Entry::Resent(rows) => {
                for row in rows {
                    replay.doubted_since.remove(&row);
                    replay.resent.insert(row);
                }
            }
            // Whole lines are missing before this one.
            Entry::Synced(bytes) if bytes > lines.start() => return Err(lines.damaged()),
            Entry::Noted(row, _) if !replay.settled.contains(row) => return Err(lines.damaged()),
            Entry::Synced(_) | Entry::Noted(..) => {}
            Entry::Mark(mark) => {
                let rows = mark.rows.len() as u64 / 8;
                if mark.through != replay.marked_through + rows
                    || !mark.rows.len().is_multiple_of(8)
                {
                    return Err(lines.damaged());
                }
                replay.marked_through = mark.through;
                replay.largest_id = replay.largest_id.max(mark.id_watermark);
                replay.id_watermarks.push((mark.through, mark.id_watermark));
            }
            Entry::Outcome(outcome) => {
                if outcome.row >= replay.marked_through || !replay.settled.insert(outcome.row) {
                    return Err(lines.damaged());
                }
                replay.deleting.remove(&outcome.row);
                replay.resent.remove(&outcome.row);
                replay.doubted_since.remove(&outcome.row);
                let record = Record::from(outcome);
                replay.trace(&record);
                replay.largest_id =
                    replay.largest_id.max(record.outcome.association_id.unwrap_or(0));
                each(record);
            }
            Entry::Deleting(row) => {
                replay.deleting.entry(row).or_default();
                replay.deletes = true;
            }
            Entry::Deletes(rows) => {
                for (row, id) in rows {
                    let ids = replay.deleting.entry(row).or_default();
                    if !ids.contains(&id) {
                        ids.push(id);
                    }
                }
                (replay.deletes, replay.asked_before_deletes) = (true, true);
            }
            Entry::Undone(undone) => replay.undone = undone,
            Entry::End(end) => replay.end = Some(end),
        }
    }
    replay.good_bytes = lines.good_bytes;
    lines.refuse_damage_before_a_sync()?;
    if replay.head.is_none() {
        lines.refuse_foreign_bytes()?;
    }
    Ok(replay)
}

/// The process that last opened the journal.
pub fn holder(path: &Path) -> Option<Holder> {
    let mut lines = Lines::open(path).ok()?;
    let mut holder = None;
    while let Ok(Some(body)) = lines.next_body() {
        if body.starts_with(br#"{"opened""#)
            && let Some(Entry::Opened(found)) = entry(body)
        {
            holder = Some(found);
        }
    }
    holder
}

/// The fingerprints of marked rows, in order. A run that goes on compares its input with them.
pub struct Fingerprints {
    lines: Lines,
    of_mark: std::vec::IntoIter<u32>,
}

impl Fingerprints {
    /// Opens a journal that was read back, so that its marks are known to be good.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        Ok(Self { lines: Lines::open(path)?, of_mark: Vec::new().into_iter() })
    }

    /// The fingerprint of the next marked row. If the file ends before it, the file has changed.
    pub fn read(&mut self) -> Result<u32, JournalError> {
        loop {
            if let Some(fingerprint) = self.of_mark.next() {
                return Ok(fingerprint);
            }
            self.of_mark = self.next_mark()?.into_iter();
        }
    }

    fn next_mark(&mut self) -> Result<Vec<u32>, JournalError> {
        loop {
            let body = self.lines.next_body()?;
            if body.is_some_and(|body| !body.starts_with(br#"{"mark""#)) {
                continue;
            }
            let Some(Entry::Mark(mark)) = body.and_then(entry) else {
                return Err(self.lines.damaged());
            };
            let of_row = |hex: &[u8]| u32::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok();
            let of_mark: Option<Vec<_>> = mark.rows.as_bytes().chunks(8).map(of_row).collect();
            return of_mark.ok_or_else(|| self.lines.damaged());
        }
    }
}

/// The file's lines, up to the first that is damaged.
struct Lines {
    path: std::path::PathBuf,
    reader: BufReader<File>,
    line: Vec<u8>,
    /// The number of the line read last, from 1.
    number: u64,
    good_bytes: u64,
}

impl Lines {
    fn open(path: &Path) -> Result<Self, JournalError> {
        let file = File::open(path)
            .map_err(|error| JournalError::Unreadable { path: path.to_owned(), error })?;
        Ok(Self {
            path: path.to_owned(),
            reader: BufReader::with_capacity(64 * 1024, file),
            line: Vec::new(),
            number: 0,
            good_bytes: 0,
        })
    }

    /// The next line's entry; `None` at the end and for a damaged line. A line with a right checksum is
    /// not damaged, even if this version can't read it.
    fn next_good(&mut self) -> Result<Option<Entry>, JournalError> {
        let Some(body) = self.next_body()? else {
            return Ok(None);
        };
        let Some(entry) = entry(body) else {
            return Err(self.foreign(format!("line {} is of no known kind", self.number)));
        };
        self.good_bytes += self.line.len() as u64;
        Ok(Some(entry))
    }

    /// The start of the good line read last.
    fn start(&self) -> u64 {
        self.good_bytes - self.line.len() as u64
    }

    /// The next line's body, whatever it says; `None` at the end and for a damaged line.
    fn next_body(&mut self) -> Result<Option<&[u8]>, JournalError> {
        self.number += 1;
        self.line.clear();
        self.reader.read_until(b'\n', &mut self.line).map_err(|error| self.unreadable(error))?;
        Ok(body(&self.line))
    }

    /// Fails if a sync behind the good lines confirms more bytes than they have.
    fn refuse_damage_before_a_sync(&mut self) -> Result<(), JournalError> {
        let damaged_line = self.number;
        self.reader
            .seek(SeekFrom::Start(self.good_bytes))
            .map_err(|error| self.unreadable(error))?;
        loop {
            self.next_body()?;
            if self.line.is_empty() {
                return Ok(());
            }
            if synced_at_the_end(&self.line).is_some_and(|bytes| bytes > self.good_bytes) {
                return Err(JournalError::Damaged { path: self.path.clone(), line: damaged_line });
            }
        }
    }

    /// Fails if a file without a good first line is neither empty nor the beginning of one.
    fn refuse_foreign_bytes(&mut self) -> Result<(), JournalError> {
        const BEGINNING: &[u8] = br#" {"head":"#;
        self.reader.seek(SeekFrom::Start(0)).map_err(|error| self.unreadable(error))?;
        self.next_body()?;
        let body = self.line.get(8..).unwrap_or_default();
        let length = body.len().min(BEGINNING.len());
        if self.line.ends_with(b"\n") || body[..length] != BEGINNING[..length] {
            let what = "it does not begin like one, and is left as it is";
            return Err(self.foreign(what.to_owned()));
        }
        Ok(())
    }

    fn damaged(&self) -> JournalError {
        JournalError::Damaged { path: self.path.clone(), line: self.number }
    }

    fn foreign(&self, what: String) -> JournalError {
        JournalError::Foreign { path: self.path.clone(), what }
    }

    fn unreadable(&self, error: io::Error) -> JournalError {
        JournalError::Unreadable { path: self.path.clone(), error }
    }
}

/// A line's body, if its checksum is right.
fn body(line: &[u8]) -> Option<&[u8]> {
    let line = line.strip_suffix(b"\n")?;
    let (checksum, rest) = line.split_at_checked(8)?;
    let body = rest.strip_prefix(b" ")?;
    (checksum == super::checksum(body)).then_some(body)
}

/// The bytes that a sync at the end of a line confirms, even if the line break before it is lost.
fn synced_at_the_end(line: &[u8]) -> Option<u64> {
    const BEGINNING: &[u8] = br#" {"synced":"#;
    let at = line.windows(BEGINNING.len()).rposition(|window| window == BEGINNING)?;
    match body(&line[at.checked_sub(8)?..]).and_then(entry) {
        Some(Entry::Synced(bytes)) => Some(bytes),
        _ => None,
    }
}

/// Reads a body as text: checking UTF-8 once costs less than checking each string.
fn entry(body: &[u8]) -> Option<Entry> {
    serde_json::from_str(std::str::from_utf8(body).ok()?).ok()
}

/// Gives each outcome's row and its line's body, and so those of what is noted of it later, in the file's
/// order, to `each`.
pub fn outcomes(path: &Path, mut each: impl FnMut(u64, &[u8])) -> Result<(), JournalError> {
    let mut lines = Lines::open(path)?;
    while let Some(body) = lines.next_body()? {
        if let Some(row) = row_of(body, OUTCOME).or_else(|| row_of(body, NOTED)) {
            each(row, body);
        }
    }
    Ok(())
}

const OUTCOME: &[u8] = br#"{"outcome":{"row":"#;
const NOTED: &[u8] = br#"{"noted":["#;

/// What a line notes of a row, if it is one that does.
pub fn note(body: &[u8]) -> Option<String> {
    match body.starts_with(NOTED).then(|| entry(body))?? {
        Entry::Noted(_, text) => Some(text),
        _ => None,
    }
}

/// The row of a line that begins so; `None` for any other line.
fn row_of(body: &[u8], beginning: &[u8]) -> Option<u64> {
    let digits = body.strip_prefix(beginning)?;
    let end = digits.iter().position(|b| !b.is_ascii_digit())?;
    std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
}

/// The id of an outcome's line, if its status is one of these.
pub fn claim(body: &[u8], statuses: &[Status]) -> Option<i64> {
    // Most lines are ruled out without parsing them.
    if !statuses.iter().any(|status| memmem::find(body, status.as_str().as_bytes()).is_some()) {
        return None;
    }
    let outcome = record(body)?.outcome;
    outcome.association_id.filter(|_| statuses.contains(&outcome.status))
}

/// The record of an outcome's line; `None` if another version wrote what this one can't read.
pub fn record(body: &[u8]) -> Option<Record> {
    match entry(body)? {
        Entry::Outcome(outcome) => Some(outcome.into()),
        _ => None,
    }
}
