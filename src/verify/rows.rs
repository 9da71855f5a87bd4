//! Verifies results against their own rules and against `run.json`, without a server or an input.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::ids::Ids;
use super::overtaken::{Lines, Overtaken};
use super::places::Places;
use super::{FindingKind, Findings, Spot, shown};
use crate::association::{Action, NewAssociation, RowError};
use crate::engine::stats::{Place, RunStats, exit_of};
use crate::input;
use crate::outcome::{Outcome, Reason, Record, Status};
use crate::storage::manifest::{Manifest, Work};

/// Verifies the lines of a results file, one by one.
pub struct RowAudit {
    work: Option<Work>,
    places: Places,
    cells: input::RowParser,
    ids: Ids,
    /// Only where a line may delete.
    lines: Option<Lines>,
    folder: PathBuf,
    undoes: bool,
    added: u64,
    stats: RunStats,
}

/// What all lines together came to.
pub struct Rows {
    /// The counts.
    pub stats: RunStats,
    /// How many lines no input has.
    pub added: u64,
    /// The lines that no longer say what is there.
    pub overtaken: Overtaken,
    /// Whether lines say that what they created was deleted, as an undo's do.
    pub undoes: bool,
}

impl RowAudit {
    /// Starts with the first line of a file that this work wrote, if that is known. `may_delete` says whether
    /// its rows may say so. What does not fit into memory goes to the disk of `folder`.
    pub fn new(work: Option<Work>, may_delete: bool, folder: &Path) -> io::Result<Self> {
        Ok(Self {
            lines: may_delete.then(|| Lines::new(folder)).transpose()?,
            folder: folder.to_owned(),
            undoes: work == Some(Work::Undo),
            added: 0,
            work,
            places: Places::new(work.is_some()),
            cells: input::RowParser::new(None, false).with_actions(Action::Create, true),
            ids: Ids::new(folder)?,
            stats: RunStats::default(),
        })
    }

    /// The counts so far.
    pub fn stats(&mut self) -> &mut RunStats {
        &mut self.stats
    }

    /// Verifies the next line, of the input `file`, and returns its place in the inputs.
    pub fn take(
        &mut self,
        record: &Record,
        file: Option<&str>,
        findings: &mut Findings,
    ) -> io::Result<Place> {
        self.stats.add(record);
        self.added += u64::from(record.line == 0);
        let (place, wrong) = self.places.next(&mut findings.files, file, record.line);
        let spot = Spot::Row(place);
        // Such a row has no other name.
        let of =
            if record.line == 0 { format!("{}: ", record.cells.triple()) } else { String::new() };
        if let Some(what) = wrong {
            findings.say(FindingKind::Order, spot, format!("{of}{what}"));
        }
        for (kind, what) in unfit(record, self.work) {
            findings.say(kind, spot, format!("{of}{what}"));
        }
        let status = record.outcome.status;
        self.undoes |= status == Status::Deleted
            && record.cells.action() == Action::Create
            && self.work.is_none();
        if status == Status::Invalid {
            return Ok(place);
        }
        let parsed = match record.cells.named() {
            None => self.cells.read(record.cells.ids()).1,
            Some(named) => self.cells.read_named(record.cells.ids(), named.clone()).1,
        };
        match parsed {
            Ok(NewAssociation { association, .. }) => {
                if let Some(lines) = &mut self.lines {
                    let action = record.cells.action();
                    lines.take(record.ordinal, &record.outcome, action, &association)?;
                }
                let id = record.outcome.association_id.filter(|id| *id > 0);
                if status == Status::Absent || (status.is_good() && id.is_some()) {
                    self.ids.take(id, status, place, &association)?;
                }
            }
            // A name for which no id was found is never sent.
            Err(RowError::Named { .. })
                if status == Status::Failed && record.outcome.attempts == 0 => {}
            Err(error) => {
                findings.say(FindingKind::Cells, spot, format!("{}: {error}", status.as_str()));
            }
        }
        Ok(place)
    }

    /// Verifies at the end of the file what needs all lines, and compares the counts with `run.json`.
    pub fn finish(self, manifest: Option<&Manifest>, findings: &mut Findings) -> io::Result<Rows> {
        self.ids.finish(findings)?;
        if let Some(manifest) = manifest {
            count(&self.stats, manifest, findings);
        }
        let overtaken = self.lines.map(|lines| lines.finish(&self.folder)).transpose()?;
        let Self { stats, added, undoes, .. } = self;
        Ok(Rows { stats, added, overtaken: overtaken.unwrap_or_default(), undoes })
    }
}

/// The parts of an outcome that do not fit together.
fn unfit(record: &Record, work: Option<Work>) -> Vec<(FindingKind, String)> {
    let mut unfit = Vec::new();
    let Outcome { status, association_id, reason, retryable, .. } = &record.outcome;
    let (ended, action) = (status.as_str(), record.cells.action());
    if record.line == 0 && matches!(work, Some(Work::Import | Work::Undo)) {
        let what = "in no input, and no sync has added it";
        unfit.push((FindingKind::Order, what.to_owned()));
    }
    if matches!(status, Status::NotAttempted | Status::InDoubt) {
        unfit.push((FindingKind::Status, format!("{ended}: the row was not settled")));
    }
    let (makes, deletes) = match status {
        Status::Created | Status::Existed | Status::Recovered => (true, false),
        Status::Deleted | Status::Absent => (false, true),
        _ => (false, false),
    };
    let which = match (work, action) {
        (Some(Work::Undo), _) if makes => Some("row of an undo"),
        (Some(work), Action::Create) if deletes && work.creates() => Some("row that creates"),
        (_, Action::Delete) if makes => Some("row that deletes"),
        _ => None,
    };
    if let Some(which) = which {
        unfit.push((FindingKind::Status, format!("{ended}: no {which} ends so")));
    }
    match association_id {
        Some(id) if !status.is_good() || *status == Status::Absent => {
            unfit.push((FindingKind::Id, format!("{ended}, and has association_id {id}")));
        }
        Some(id) if *id <= 0 => {
            unfit.push((
                FindingKind::Id,
                format!("{ended} with association_id {id}, which is no id"),
            ));
        }
        None if status.is_good() && *status != Status::Absent => {
            unfit.push((FindingKind::Id, format!("{ended}, and has no association_id")));
        }
        Some(_) | None => {}
    }
    let needed = matches!(status, Status::Failed | Status::Invalid);
    match reason {
        None if needed => {
            unfit.push((FindingKind::Reason, format!("{ended}, and no reason is given")));
        }
        Some(reason) if !fits(*reason, record, work) => {
            unfit.push((FindingKind::Reason, format!("{ended} for {}", reason.as_str())));
        }
        Some(_) | None => {}
    }
    let expected = reason.is_some_and(Reason::retryable);
    let is_open = matches!(status, Status::NotAttempted | Status::InDoubt);
    if *retryable != expected && !is_open {
        let reason = reason.map_or(String::new(), |reason| format!(" for {}", reason.as_str()));
        unfit.push((
            FindingKind::Retryable,
            format!("{ended}{reason}, and retryable is {retryable}"),
        ));
    }
    unfit
}

/// Whether a row can have this reason.
fn fits(reason: Reason, record: &Record, work: Option<Work>) -> bool {
    let of_undo = !work.is_some_and(Work::creates);
    let deletes = record.cells.action() == Action::Delete;
    let is_failed = record.outcome.status == Status::Failed;
    match reason {
        _ if reason.is_of_invalid_row() => record.outcome.status == Status::Invalid,
        Reason::NotFound => is_failed && of_undo,
        Reason::NotTheSame => is_failed && (of_undo || deletes),
        Reason::Withheld => is_failed && deletes,
        _ => is_failed,
    }
}

/// Compares the rows with what `run.json` counts.
fn count(stats: &RunStats, manifest: &Manifest, findings: &mut Findings) {
    let statuses = Status::ALL.map(|status| (status.as_str(), stats.count(status)));
    let reasons =
        Reason::ALL.iter().map(|&reason| (reason.as_str(), stats.of_reason(reason).count));
    let mut compare = |said: &BTreeMap<String, u64>, found: BTreeMap<&str, u64>| {
        let names: std::collections::BTreeSet<&str> =
            said.keys().map(String::as_str).chain(found.keys().copied()).collect();
        for name in names {
            let was = said.get(name).copied().unwrap_or(0);
            let is = found.get(name).copied().unwrap_or(0);
            if was != is {
                let what = format!("run.json counts {was} rows {}, the file has {is}", shown(name));
                findings.say(FindingKind::Counts, Spot::Whole, what);
            }
        }
    };
    compare(&manifest.counts, statuses.into_iter().collect());
    compare(&manifest.reasons, reasons.collect());
    let exit = exit_of(stats).code();
    if exit != manifest.exit {
        let what = format!(
            "run.json says that the run ended with exit code {}, these rows make it {exit}",
            manifest.exit
        );
        findings.say(FindingKind::Counts, Spot::Whole, what);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::association::{Cells, Named};
    use crate::exit::Exit;
    use crate::storage::manifest::Head;

    fn record(line: u64, target: &str, outcome: Outcome) -> Record {
        Record { ordinal: 0, file: 0, line, cells: Cells::new(["a", "1", target, ""]), outcome }
    }

    fn good(line: u64, target: &str, status: Status, id: i64) -> Record {
        record(line, target, Outcome::good(status, id, 1, 0))
    }

    fn bad(line: u64, reason: Reason) -> Record {
        record(line, &line.to_string(), Outcome::bad(reason, String::new(), 1, 0))
    }

    /// Four sound rows, one of each good end that an import has, and one that failed.
    fn sound() -> Vec<Record> {
        vec![
            good(2, "2", Status::Created, 7),
            good(3, "3", Status::Existed, 5),
            good(4, "4", Status::Recovered, 8),
            bad(5, Reason::Throttled),
        ]
    }

    fn manifest(counts: &[(&str, u64)], reasons: &[(&str, u64)], exit: Exit) -> Manifest {
        let owned = |pairs: &[(&str, u64)]| {
            pairs.iter().map(|&(name, count)| (name.to_owned(), count)).collect()
        };
        Manifest {
            head: Head::of_import(),
            digests: Vec::new(),
            blank_rows: 0,
            finished_at: String::new(),
            counts: owned(counts),
            reasons: owned(reasons),
            history: None,
            server: None,
            exit: exit.code(),
            results_sha256: String::new(),
            seals: Vec::new(),
            undone: None,
        }
    }

    fn found(
        records: &[Record],
        work: Work,
        manifest: Option<&Manifest>,
    ) -> Vec<(FindingKind, Spot)> {
        let folder = tempfile::tempdir().unwrap();
        let mut findings = Findings::default();
        let mut rows = RowAudit::new(Some(work), true, folder.path()).unwrap();
        for record in records {
            rows.take(record, None, &mut findings).unwrap();
        }
        rows.finish(manifest, &mut findings).unwrap();
        (findings.groups())
            .flat_map(|(kind, group)| group.first.iter().map(move |(spot, _)| (kind, *spot)))
            .collect()
    }

    fn row(line: u64) -> Spot {
        Spot::Row(Place { file: 0, line })
    }

    /// The findings about a file with one more row.
    fn with(last: Record) -> Vec<(FindingKind, Spot)> {
        let mut records = sound();
        records.push(last);
        found(&records, Work::Import, None)
    }

    #[test]
    fn sound_results_have_no_findings() {
        let said = manifest(
            &[("created", 1), ("existed", 1), ("recovered", 1), ("failed", 1)],
            &[("throttled", 1)],
            Exit::AllRetryable,
        );
        assert_eq!(found(&sound(), Work::Import, Some(&said)), []);
        let undone = [good(2, "2", Status::Deleted, 7), bad(4, Reason::NotFound)];
        assert_eq!(found(&undone, Work::Undo, None), []);
        assert_eq!(with(bad(6, Reason::InvalidRow)), []);
        assert_eq!(with(good(6, "2", Status::Existed, 7)), [], "a second row of the same");
    }

    #[test]
    fn a_line_that_does_not_follow_is_told() {
        assert_eq!(with(bad(5, Reason::Rejected)), [(FindingKind::Order, row(5))]);
        assert_eq!(with(bad(3, Reason::Rejected)), [(FindingKind::Order, row(3))]);
    }

    #[test]
    fn a_status_that_a_finished_run_does_not_leave_is_told() {
        for status in [Status::NotAttempted, Status::InDoubt] {
            assert_eq!(
                with(record(6, "6", Outcome::open(status, String::new()))),
                [(FindingKind::Status, row(6))]
            );
        }
        assert_eq!(with(good(6, "6", Status::Deleted, 9)), [(FindingKind::Status, row(6))]);
        let created = [good(2, "2", Status::Created, 7)];
        assert_eq!(found(&created, Work::Undo, None), [(FindingKind::Status, row(2))]);
    }

    #[test]
    fn an_id_that_does_not_fit_the_status_is_told() {
        assert_eq!(with(good(6, "6", Status::Existed, 0)), [(FindingKind::Id, row(6))]);
        let mut none = good(6, "6", Status::Existed, 9);
        none.outcome.association_id = None;
        assert_eq!(with(none), [(FindingKind::Id, row(6))]);
        let mut some = bad(6, Reason::Rejected);
        some.outcome.association_id = Some(9);
        assert_eq!(with(some), [(FindingKind::Id, row(6))]);
    }

    #[test]
    fn a_reason_that_does_not_fit_the_status_is_told() {
        let with_reason = |status, reason| {
            let mut record = bad(6, Reason::Rejected);
            record.outcome.status = status;
            record.outcome.reason = reason;
            record.outcome.association_id = status.is_good().then_some(9);
            with(record)
        };
        let said = [(FindingKind::Reason, row(6))];
        assert_eq!(with_reason(Status::Failed, None), said);
        assert_eq!(with_reason(Status::Invalid, None), said);
        assert_eq!(with_reason(Status::Existed, Some(Reason::Rejected)), said);
        assert_eq!(with_reason(Status::Invalid, Some(Reason::Rejected)), said);
        assert_eq!(with_reason(Status::Failed, Some(Reason::InvalidRow)), said);
        assert_eq!(with_reason(Status::Failed, Some(Reason::NotFound)), said, "of an undo");
    }

    #[test]
    fn retryable_that_contradicts_the_reason_is_told() {
        let mut record = bad(6, Reason::Rejected);
        record.outcome.retryable = true;
        assert_eq!(with(record), [(FindingKind::Retryable, row(6))]);
        let mut record = good(6, "6", Status::Existed, 9);
        record.outcome.retryable = true;
        assert_eq!(with(record), [(FindingKind::Retryable, row(6))]);
    }

    #[test]
    fn a_row_that_was_sent_and_names_no_association_is_told() {
        assert_eq!(with(good(6, "six", Status::Created, 9)), [(FindingKind::Cells, row(6))]);
    }

    #[test]
    fn an_id_that_two_lines_made_is_told_at_the_second() {
        assert_eq!(with(good(6, "2", Status::Recovered, 7)), [(FindingKind::Claimed, row(6))]);
        let undone = [good(2, "2", Status::Deleted, 7), good(3, "2", Status::Deleted, 7)];
        assert_eq!(found(&undone, Work::Undo, None), [(FindingKind::Claimed, row(3))]);
        let older = [good(2, "2", Status::Existed, 7), good(3, "2", Status::Created, 7)];
        assert_eq!(found(&older, Work::Import, None), [], "one claims it, wherever it stands");
    }

    /// A row that deletes.
    fn delete(line: u64, target: &str, outcome: Outcome) -> Record {
        let named = Named { action: "delete".into(), ..Named::default() };
        let cells = Cells::with_names(["a", "1", target, ""], named);
        Record { cells, ..record(line, target, outcome) }
    }

    fn deleted(line: u64, target: &str, id: i64) -> Record {
        delete(line, target, Outcome::good(Status::Deleted, id, 1, 0))
    }

    fn absent(line: u64, target: &str) -> Record {
        let outcome = Outcome { association_id: None, ..Outcome::good(Status::Absent, 1, 1, 0) };
        delete(line, target, outcome)
    }

    #[test]
    fn a_row_ends_as_its_action_may_end() {
        for work in [Work::Import, Work::Rerun, Work::Apply, Work::Sync] {
            let rows = [deleted(2, "2", 7), absent(3, "3"), good(4, "4", Status::Created, 8)];
            assert_eq!(found(&rows, work, None), []);
            let status = |rows: &[Record], line| {
                assert_eq!(found(rows, work, None), [(FindingKind::Status, row(line))], "{work:?}");
            };
            status(&[good(2, "2", Status::Deleted, 7)], 2);
            status(
                &[Record { cells: good(2, "2", Status::Existed, 1).cells, ..absent(2, "2") }],
                2,
            );
            for made in [Status::Created, Status::Existed, Status::Recovered] {
                status(&[delete(2, "2", Outcome::good(made, 7, 1, 0))], 2);
            }
            let id = [delete(2, "2", Outcome::good(Status::Absent, 7, 1, 0))];
            assert_eq!(found(&id, work, None), [(FindingKind::Id, row(2))]);
        }
        let bad = |reason| Outcome::bad(reason, String::new(), 1, 0);
        for reason in [Reason::NotTheSame, Reason::Withheld] {
            assert_eq!(found(&[delete(2, "2", bad(reason))], Work::Sync, None), []);
            let create = record(2, "2", bad(reason));
            assert_eq!(found(&[create], Work::Sync, None), [(FindingKind::Reason, row(2))]);
        }
        let undo = [delete(2, "2", bad(Reason::NotFound))];
        assert_eq!(found(&undo, Work::Sync, None), [(FindingKind::Reason, row(2))], "it is absent");
    }

    #[test]
    fn what_no_input_names_is_a_delete_of_a_sync() {
        let rows = [deleted(0, "2", 7), deleted(0, "3", 8), good(2, "4", Status::Created, 9)];
        for work in [Work::Rerun, Work::Apply, Work::Sync] {
            assert_eq!(found(&rows, work, None), []);
        }
        let order = (FindingKind::Order, row(0));
        assert_eq!(found(&rows[..1], Work::Import, None), [order]);
        let late = [good(2, "4", Status::Created, 9), deleted(0, "2", 7)];
        assert_eq!(found(&late, Work::Sync, None), [order]);
        let twice = [deleted(0, "2", 7), deleted(0, "2", 7)];
        assert_eq!(found(&twice, Work::Sync, None), [(FindingKind::Claimed, row(0))]);
    }

    #[test]
    fn an_association_may_be_deleted_and_created_in_one_run_and_the_other_way_round() {
        let anew = [
            good(2, "2", Status::Existed, 5),
            deleted(3, "2", 5),
            good(4, "2", Status::Created, 8),
            good(5, "2", Status::Existed, 8),
            deleted(6, "2", 8),
            absent(7, "2"),
        ];
        assert_eq!(found(&anew, Work::Import, None), []);
        let claimed = |rows: &[Record], line| {
            assert_eq!(found(rows, Work::Import, None), [(FindingKind::Claimed, row(line))]);
        };
        claimed(&[deleted(2, "2", 5), good(3, "2", Status::Created, 5)], 3);
        claimed(&[deleted(2, "2", 5), good(3, "2", Status::Existed, 5)], 3);
        claimed(&[deleted(2, "2", 5), deleted(3, "2", 5)], 3);
        let two = [good(2, "2", Status::Existed, 5), deleted(3, "2", 8)];
        assert_eq!(found(&two, Work::Import, None), [(FindingKind::Doubled, row(3))]);
    }

    #[test]
    fn an_id_of_two_associations_and_an_association_of_two_ids_are_told() {
        assert_eq!(with(good(6, "9", Status::Existed, 7)), [(FindingKind::Shared, row(6))]);
        assert_eq!(with(good(6, "2", Status::Existed, 9)), [(FindingKind::Doubled, row(6))]);
    }

    #[test]
    fn counts_that_are_not_those_of_run_json_are_told() {
        let counts = [("created", 1), ("existed", 1), ("recovered", 1), ("failed", 1)];
        let reasons = [("throttled", 1)];
        let whole = [(FindingKind::Counts, Spot::Whole)];
        for said in [
            manifest(&counts[1..], &reasons, Exit::AllRetryable),
            manifest(&counts, &[], Exit::AllRetryable),
            manifest(&counts, &reasons, Exit::Ok),
        ] {
            assert_eq!(found(&sound(), Work::Import, Some(&said)), whole);
        }
    }
}
