//! Verifies results against the input: the same rows, in the same order, none missing.

use std::cmp::Ordering;

use super::{FindingKind, Findings, Spot, shown};
use crate::association::{Column, InstId, Row};
use crate::engine::stats::Place;
use crate::input::digest::Digest;
use crate::input::{InputError, InputOptions, Reader, Source};
use crate::outcome::{Record, Status};
use crate::storage::sharding::{Sharder, Sharding};

/// The input, read alongside the results.
pub struct Against {
    rows: Reader,
    /// The row that no line has reached yet.
    next: Option<Row>,
    origin: Origin,
    /// Tells which rows are those of the results, where they are a shard's.
    sharder: Option<Sharder>,
}

/// What is known about the way from the input to the results.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// The digests of the inputs that the run read.
    pub digests: Vec<Digest>,
    /// The business ids that reruns gave to rows without one.
    pub later_biz_ids: Vec<InstId>,
    /// The shard whose rows the results have, where these are not all.
    pub sharding: Option<Sharding>,
}

impl Against {
    /// Opens the inputs, in the run's order.
    pub fn open(
        sources: &[Source],
        options: &InputOptions,
        origin: Origin,
    ) -> Result<Self, InputError> {
        let mut rows = Reader::open(sources, options)?;
        let next = rows.next().transpose()?;
        let sharder = origin.sharding.clone().map(Sharder::new);
        Ok(Self { rows, next, origin, sharder })
    }

    /// Verifies the next line of the results, whose place is `place`.
    pub fn take(
        &mut self,
        place: Place,
        record: &Record,
        findings: &mut Findings,
    ) -> Result<(), InputError> {
        // What a sync deletes beside its input stands in none.
        if record.line == 0 {
            return Ok(());
        }
        while let Some(row) = &self.next {
            let here = place_of(row);
            match here.cmp(&place) {
                Ordering::Less if is_due(self.sharder.as_mut(), row) => missing(here, findings),
                Ordering::Less => {}
                Ordering::Equal => {
                    compare(row, record, &self.origin.later_biz_ids, findings);
                    return self.advance();
                }
                Ordering::Greater => break,
            }
            self.advance()?;
        }
        if !is_blank(record) {
            let what = "no row starts there in the input";
            findings.say(FindingKind::RowExtra, Spot::Row(place), what);
        }
        Ok(())
    }

    /// Verifies at the end of the results that the input ends, too, and is what the run read.
    pub fn finish(mut self, findings: &mut Findings) -> Result<(), InputError> {
        while let Some(row) = &self.next {
            if is_due(self.sharder.as_mut(), row) {
                missing(place_of(row), findings);
            }
            self.advance()?;
        }
        for (is, was) in self.rows.digests().iter().zip(&self.origin.digests) {
            if is.sha256 != was.sha256 {
                let what = format!(
                    "{}: its SHA-256 is {}, and was {} when the run read it ({} bytes then, {} now)",
                    is.name, is.sha256, was.sha256, was.bytes, is.bytes
                );
                findings.say(FindingKind::InputChanged, Spot::Whole, what);
            }
        }
        Ok(())
    }

    fn advance(&mut self) -> Result<(), InputError> {
        self.next = self.rows.next().transpose()?;
        Ok(())
    }
}

/// Whether this line stands for a row of blank cells. Version 0.1.0 wrote such lines; no row of the
/// input belongs to them, since the reader skips these rows.
fn is_blank(record: &Record) -> bool {
    let texts = [Column::ObjAsstId, Column::InstId, Column::AsstInstId];
    record.outcome.status == Status::Invalid
        && texts.iter().all(|column| record.cells.get(*column).trim().is_empty())
}

/// Whether the results must have a line for a row. Of one that has names, nobody knows here what they meant, and so
/// not whose it is; `run.json` counts it.
fn is_due(sharder: Option<&mut Sharder>, row: &Row) -> bool {
    let Some(sharder) = sharder else { return true };
    let is_named = row
        .cells
        .named()
        .is_some_and(|named| !named.source.trim().is_empty() || !named.target.trim().is_empty());
    !is_named && sharder.owns(row.file, row.line, &row.cells)
}

const fn place_of(row: &Row) -> Place {
    Place { file: row.file, line: row.line }
}

fn missing(place: Place, findings: &mut Findings) {
    findings.say(
        FindingKind::RowMissing,
        Spot::Row(place),
        "the results have no line for this row",
    );
}

fn compare(row: &Row, record: &Record, later_biz_ids: &[InstId], findings: &mut Findings) {
    let filled_in = |was: &str, is: &str| {
        was.trim().is_empty() && InstId::parse(is).is_ok_and(|id| later_biz_ids.contains(&id))
    };
    // Where the row has a name, any id may have been found for it.
    let found = |name: Column, was: &str, is: &str| {
        let is_named = was.trim().is_empty() && !row.cells.get(name).trim().is_empty();
        is_named && (is.trim().is_empty() || InstId::parse(is).is_ok())
    };
    let differs = |column: &Column| {
        let (was, is) = (row.cells.get(*column), record.cells.get(*column));
        let may_differ = match column {
            Column::BizId => filled_in(was, is),
            Column::InstId => found(Column::Source, was, is),
            Column::AsstInstId => found(Column::Target, was, is),
            _ => false,
        };
        was != is && !may_differ
    };
    let columns = if record.cells.named().is_some() { &Column::ALL[..] } else { &Column::IDS };
    let differences: Vec<_> = (columns.iter().copied().filter(differs))
        .map(|column| {
            let (was, is) = (row.cells.get(column), record.cells.get(column));
            format!("{} is {} there and {} here", column.name(), shown(was), shown(is))
        })
        .collect();
    if !differences.is_empty() {
        findings.say(FindingKind::RowDifferent, Spot::Row(place_of(row)), differences.join(", "));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::association::Cells;
    use crate::outcome::Outcome;

    const INPUT: &str = "obj_asst_id,inst_id,asst_inst_id,biz_id\na,1,2,\na,1,3,7\na,x,4,\n";

    /// The rows of [`INPUT`] as results show them.
    const LINES: [(u64, [&str; 4]); 3] =
        [(2, ["a", "1", "2", "5"]), (3, ["a", "1", "3", "7"]), (4, ["a", "x", "4", "5"])];

    fn found(
        input: &str,
        lines: &[(u64, [&str; 4])],
        sha256: Option<&str>,
    ) -> Vec<(FindingKind, Spot)> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv");
        std::fs::write(&path, input).unwrap();
        let options =
            InputOptions { default_biz_id: InstId::new(5).ok(), ..InputOptions::default() };
        let digests = sha256.map(|sha256| Digest {
            name: "a.csv".to_owned(),
            sha256: sha256.to_owned(),
            bytes: 1,
        });
        let origin = Origin { digests: digests.into_iter().collect(), ..Origin::default() };
        let mut against = Against::open(&[Source::Path(path)], &options, origin).unwrap();
        let mut findings = Findings::default();
        for &(line, texts) in lines {
            let outcome = Outcome::good(Status::Created, 1, 1, 0);
            let record = Record { ordinal: 0, file: 0, line, cells: Cells::new(texts), outcome };
            against.take(Place { file: 0, line }, &record, &mut findings).unwrap();
        }
        against.finish(&mut findings).unwrap();
        (findings.groups())
            .flat_map(|(kind, group)| group.first.iter().map(move |(spot, _)| (kind, *spot)))
            .collect()
    }

    fn row(line: u64) -> Spot {
        Spot::Row(Place { file: 0, line })
    }

    #[test]
    fn the_rows_of_the_input_with_the_business_filled_in_are_the_rows_of_the_results() {
        assert_eq!(found(INPUT, &LINES, None), []);
    }

    #[test]
    fn a_row_that_is_missing_anywhere_is_told_and_the_others_still_match() {
        let [first, second, third] = LINES;
        assert_eq!(found(INPUT, &[second, third], None), [(FindingKind::RowMissing, row(2))]);
        assert_eq!(found(INPUT, &[first, third], None), [(FindingKind::RowMissing, row(3))]);
        assert_eq!(found(INPUT, &[first, second], None), [(FindingKind::RowMissing, row(4))]);
    }

    #[test]
    fn a_line_that_the_input_does_not_have_is_told() {
        let [first, second, third] = LINES;
        let extra = (9, third.1);
        assert_eq!(
            found(INPUT, &[first, second, third, extra], None),
            [(FindingKind::RowExtra, row(9))]
        );
    }

    #[test]
    fn a_cell_that_differs_is_told() {
        let [first, second, third] = LINES;
        let mended = (4, ["a", "3", "4", "5"]);
        assert_eq!(
            found(INPUT, &[first, second, mended], None),
            [(FindingKind::RowDifferent, row(4))]
        );
        let business = (2, ["a", "1", "2", ""]);
        assert_eq!(
            found(INPUT, &[business, second, third], None),
            [(FindingKind::RowDifferent, row(2))]
        );
    }

    #[test]
    fn bytes_that_are_not_those_the_run_read_are_told() {
        assert_eq!(found(INPUT, &LINES, Some("00")), [(FindingKind::InputChanged, Spot::Whole)]);
    }
}
