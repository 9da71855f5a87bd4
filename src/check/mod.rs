//! A check's rows: each goes in once, in input order, and comes out once, with what is wrong with it.
//!
//! Owns the files in which rows wait until all are read. Knows nothing of servers or of where results
//! go.

mod contests;

use std::io;
use std::path::Path;

use crate::association::{Association, Cells, Mapping};
use crate::engine::stats::{Place, ReasonStats};
use crate::outcome::{Outcome, Reason, Record, Status};
use crate::storage::sort::{Sorted, Sorter};
use contests::{Clash, Clashes, Contests, Relation};

/// The rows of a check, as they come in.
#[derive(Debug)]
pub struct Check {
    /// All rows, in input order.
    rows: Sorter,
    contests: Contests,
}

impl Check {
    /// A check whose rows wait on the disk of `folder`.
    pub fn new(folder: &Path) -> io::Result<Self> {
        Ok(Self { rows: Sorter::new(folder)?, contests: Contests::new(folder)? })
    }

    /// Takes the next row, with the outcome that it has by itself.
    pub fn take(&mut self, record: &Record) -> io::Result<()> {
        let outcome = (record.outcome.status != Status::NotAttempted).then_some(&record.outcome);
        let row = (record.file, record.line, &record.cells, outcome);
        self.rows.push(record.ordinal, &to_bytes(&row)?)
    }

    /// Says that the row taken last would be sent, so that other rows may be in its way. `mapping` is its
    /// rule, if that is known.
    pub fn contest(
        &mut self,
        record: &Record,
        association: &Association,
        mapping: Option<Mapping>,
    ) -> io::Result<()> {
        let place = Place { file: record.file, line: record.line };
        self.contests.enter(record.ordinal, place, association, record.cells.action(), mapping)
    }

    /// Gives the rows in input order. `files` are the inputs' names, in order; empty for a single input.
    /// `now` is the time at which failing rows end, in milliseconds since 1970.
    pub fn records(self, files: Vec<String>, now: i64) -> io::Result<Records> {
        // All rows go to the disk first, since deciding needs the memory.
        let rows = self.rows.sorted()?;
        let mut clashes = self.contests.decide()?;
        let clash = clashes.next().transpose()?;
        Ok(Records { rows, clashes, clash, files, now, repeats: ReasonStats::default() })
    }
}

/// The rows, in input order, each with its outcome.
#[derive(Debug)]
pub struct Records {
    rows: Sorted,
    clashes: Clashes,
    /// The next clash.
    clash: Option<(u64, Clash)>,
    files: Vec<String>,
    now: i64,
    /// Those of the rows given so far that repeat an earlier one.
    pub repeats: ReasonStats,
}

impl Records {
    fn read(&mut self, ordinal: u64, bytes: &[u8]) -> io::Result<Record> {
        let (file, line, cells, outcome): (u32, u64, Cells, Option<Outcome>) = from_bytes(bytes)?;
        let outcome = outcome.unwrap_or_else(|| Outcome::open(Status::NotAttempted, String::new()));
        let mut record = Record { ordinal, file, line, cells, outcome };
        if let Some((_, clash)) = self.clash.take_if(|(at, _)| *at == ordinal) {
            self.clash = self.clashes.next().transpose()?;
            self.apply(&clash, &mut record);
        }
        Ok(record)
    }

    fn apply(&mut self, clash: &Clash, record: &mut Record) {
        let first = self.name(clash.earlier, record.file);
        let (source, target) = (clash.source, clash.target);
        let ties = match clash.relation {
            Relation::Repeat => {
                let message = format!("the same as {first}: it would end as existed");
                record.outcome = Outcome::open(Status::NotAttempted, message);
                self.repeats.add(record);
                return;
            }
            Relation::Source => format!("source {source} to target {target}"),
            Relation::Target => format!("target {target} to source {source}"),
        };
        let message = format!("{first} ties {ties} already, and the mapping allows just one");
        record.outcome = Outcome::bad(Reason::MappingConflict, message, 0, self.now);
    }

    /// The name of a row in a message about a row of `file`.
    fn name(&self, place: Place, file: u32) -> String {
        match self.files.get(place.file as usize) {
            Some(name) if place.file != file => format!("{name}, line {}", place.line),
            _ => format!("line {}", place.line),
        }
    }
}

impl Iterator for Records {
    type Item = io::Result<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        let row = self.rows.next()?;
        Some(row.and_then(|(ordinal, bytes)| self.read(ordinal, &bytes)))
    }
}

/// Rows wait on disk as JSON, which holds any text.
fn to_bytes(value: &impl serde::Serialize) -> io::Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(io::Error::other)
}

fn from_bytes<'a, T: serde::Deserialize<'a>>(bytes: &'a [u8]) -> io::Result<T> {
    serde_json::from_slice(bytes).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::association::InstId;

    fn record(ordinal: u64, file: u32, line: u64, outcome: Outcome) -> Record {
        let cells = Cells::new([" a_run_b ", "\"1\"", "é\n", ""]);
        Record { ordinal, file, line, cells, outcome }
    }

    fn open() -> Outcome {
        Outcome::open(Status::NotAttempted, String::new())
    }

    #[test]
    fn every_row_comes_out_once_as_it_went_in_with_what_is_in_its_way() {
        let folder = tempfile::tempdir().unwrap();
        let mut check = Check::new(folder.path()).unwrap();
        let bad = Outcome::bad(Reason::InvalidRow, "line 4: broken".to_owned(), 0, 1);
        let rows = [
            (record(0, 0, 2, open()), Some((1, 7))),
            (record(1, 0, 3, bad), None),
            (record(2, 0, 5, open()), Some((1, 7))),
            (record(3, 1, 2, open()), Some((2, 7))),
            (record(4, 1, 3, open()), Some((3, 8))),
        ];
        for (record, pair) in &rows {
            check.take(record).unwrap();
            if let Some((source, target)) = *pair {
                let id = |value| InstId::new(value).unwrap();
                let association = Association {
                    obj_asst_id: "a_run_b".into(),
                    inst_id: id(source),
                    asst_inst_id: id(target),
                };
                check.contest(record, &association, Some(Mapping::OneToMany)).unwrap();
            }
        }
        let files = vec!["a.csv".to_owned(), "b.csv".to_owned()];
        let mut records = check.records(files, 99).unwrap();
        let out: Vec<Record> = records.by_ref().map(Result::unwrap).collect();
        let mut expected = rows.map(|(record, _)| record);
        expected[2].outcome.message = "the same as line 2: it would end as existed".to_owned();
        expected[3].outcome = Outcome::bad(
            Reason::MappingConflict,
            "a.csv, line 2 ties target 7 to source 1 already, and the mapping allows just one"
                .to_owned(),
            0,
            99,
        );
        assert_eq!(out, expected);
        assert_eq!(records.repeats.count, 1);
        assert_eq!(records.repeats.first, [Place { file: 0, line: 5 }]);
    }
}
