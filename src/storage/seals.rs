//! Seals of results: a digest of each few lines that ended well, by which a later edit of one is noticed.
//!
//! Owns what of a line is sealed: where it stands, its association, its business, its action, its status and its id, by
//! their meaning, so that a spreadsheet may write them in its own way. Lines that did not end well are left
//! out: those may be mended.

use std::fmt::Write as _;
use std::ops::RangeInclusive;

use crate::association::Action;
use crate::input::digest::Hasher;
use crate::outcome::Record;

/// Lines under one seal: an edit is told to so many.
const LINES: u64 = 256;
/// Hex digits of a seal.
const LENGTH: usize = 16;

/// What parts the cells of a sealed line: no text that a person types has it.
const SEPARATOR: char = '\u{1f}';

/// Seals lines as they pass.
#[derive(Default)]
pub struct Sealer {
    hasher: Hasher,
    text: String,
    lines: u64,
    seals: Vec<String>,
}

impl Sealer {
    /// Takes the next line.
    pub fn take(&mut self, record: &Record) {
        let Record { line, cells, outcome, .. } = record;
        if outcome.status.is_good() {
            self.text.clear();
            for cell in cells.ids() {
                self.text.push_str(meaning(cell));
                self.text.push(SEPARATOR);
            }
            // Versions that knew creates alone sealed nothing of it.
            if cells.action() == Action::Delete {
                self.text.push_str(Action::Delete.as_str());
                self.text.push(SEPARATOR);
            }
            self.text.push_str(outcome.status.as_str());
            let id = outcome.association_id.unwrap_or_default();
            // Writing to a String can't fail.
            let _ = writeln!(self.text, " {line} {id}");
            self.hasher.update(self.text.as_bytes());
        }
        self.lines += 1;
        if self.lines.is_multiple_of(LINES) {
            self.seal();
        }
    }

    fn seal(&mut self) {
        let mut seal = std::mem::take(&mut self.hasher).sha256();
        seal.truncate(LENGTH);
        self.seals.push(seal);
    }

    /// The seals of all lines.
    pub fn finish(mut self) -> Vec<String> {
        if !self.lines.is_multiple_of(LINES) {
            self.seal();
        }
        self.seals
    }
}

/// A cell as a spreadsheet may write it: blanks around it and zeros before an id say nothing.
fn meaning(cell: &str) -> &str {
    let cell = cell.trim();
    let is_padded = cell.starts_with('0') && cell.bytes().all(|byte| byte.is_ascii_digit());
    if is_padded { cell.trim_start_matches('0') } else { cell }
}

/// The rows under the first seal that is broken, counted from 1.
pub fn broken<E>(
    seals: &[String],
    records: impl Iterator<Item = Result<Record, E>>,
) -> Result<Option<RangeInclusive<u64>>, E> {
    let mut sealer = Sealer::default();
    for record in records {
        sealer.take(&record?);
        let rows = sealer.lines;
        if rows.is_multiple_of(LINES) && sealer.seals.last() != seals.get(sealer.seals.len() - 1) {
            return Ok(Some(rows - LINES + 1..=rows));
        }
    }
    let rows = sealer.lines;
    Ok((sealer.finish() != seals).then_some(rows - rows % LINES + 1..=rows))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::association::{Cells, Named};
    use crate::outcome::{Outcome, Reason, Status};

    /// Lines of which every third failed.
    fn records() -> Vec<Record> {
        let outcome = |n: u64| match n % 3 {
            0 => Outcome::bad(Reason::Throttled, String::new(), 1, 0),
            _ => Outcome::good(Status::Created, n.cast_signed(), 1, 0),
        };
        let record = |n: u64| Record {
            ordinal: n,
            file: 0,
            line: n + 2,
            cells: Cells::new(["a", "1", &n.to_string(), "7"]),
            outcome: outcome(n),
        };
        (0..1_000).map(record).collect()
    }

    fn broken_by(edit: impl FnOnce(&mut Record), at: usize) -> Option<RangeInclusive<u64>> {
        let mut records = records();
        let mut sealer = Sealer::default();
        for record in &records {
            sealer.take(record);
        }
        let seals = sealer.finish();
        assert_eq!(seals.len(), 4);
        edit(&mut records[at]);
        broken(&seals, records.into_iter().map(Ok::<_, ()>)).unwrap()
    }

    #[test]
    fn an_edit_of_what_ended_well_is_told_to_a_few_lines() {
        assert_eq!(broken_by(|_| {}, 1), None);
        let cells =
            |texts: [&'static str; 4]| move |record: &mut Record| record.cells = Cells::new(texts);
        let deletes = |record: &mut Record| {
            let named = Named { action: "删除".into(), ..Named::default() };
            record.cells = Cells::with_names(record.cells.ids(), named);
        };
        assert_eq!(broken_by(deletes, 1), Some(1..=256));
        for texts in
            [["b", "1", "1", "7"], ["a", "2", "1", "7"], ["a", "1", "x", "7"], ["a", "1", "1", "8"]]
        {
            assert_eq!(broken_by(cells(texts), 1), Some(1..=256), "{texts:?}");
        }
        assert_eq!(
            broken_by(|record| record.outcome.association_id = Some(9), 998),
            Some(769..=1_000)
        );
        assert_eq!(
            broken_by(|record| record.outcome.status = Status::Existed, 256),
            Some(257..=512)
        );
        assert_eq!(broken_by(|record| record.line += 1, 1), Some(1..=256));
    }

    #[test]
    fn what_failed_may_be_mended_and_nothing_may_turn_from_bad_to_good() {
        assert_eq!(broken_by(|record| record.cells = Cells::new(["b", "2", "3", "4"]), 3), None);
        assert_eq!(broken_by(|record| record.outcome.reason = Some(Reason::Rejected), 3), None);
        let good = Outcome::good(Status::Created, 3, 1, 0);
        assert_eq!(broken_by(|record| record.outcome = good, 3), Some(1..=256));
        let bad = Outcome::bad(Reason::Throttled, String::new(), 1, 0);
        assert_eq!(broken_by(|record| record.outcome = bad, 4), Some(1..=256));
    }

    #[test]
    fn a_spreadsheet_may_write_the_same_in_its_own_way() {
        assert_eq!(
            broken_by(|record| record.cells = Cells::new(["a", " 1 ", "001", "7 "]), 1),
            None
        );
    }
}
