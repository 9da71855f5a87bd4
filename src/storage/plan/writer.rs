//! Writes a plan.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::{PlanError, PlanManifest, Step, columns};
use crate::association::{Cells, Column};
use crate::clock;
use crate::input::digest::{Digest, Hashing};
use crate::storage::draft::Draft;
use crate::storage::manifest::{self, Head};
use crate::storage::results::writer::guarded;

/// How many model associations are counted by name, and how long a name may be for it, in bytes.
const MOST_NAMES: usize = 10_000;
const LONGEST_NAME: usize = 256;
/// How many associations are looked up, or deleted, in one call.
const MOST_IN_A_CALL: u64 = 500;
/// Under which name the others are counted.
const OTHER_NAMES: &str = "(others)";

/// Writes a plan.
pub struct Writer {
    draft: Draft,
    path: PathBuf,
    table: csv::Writer<Hashing<File>>,
    has_files: bool,
    /// The inputs of which no row has come.
    empty: BTreeSet<String>,
    /// Whether any row had a name.
    names: bool,
    /// Whether any had an action.
    actions: bool,
    counted: Counted,
}

#[derive(Default)]
struct Counted {
    rows: u64,
    counts: BTreeMap<String, u64>,
    reasons: BTreeMap<String, u64>,
    associations: BTreeMap<String, BTreeMap<String, u64>>,
}

impl Writer {
    /// A draft with nothing but a header. What is there stays until it is whole. `head` names the inputs.
    pub fn new(path: &Path, head: &Head) -> Result<Self, PlanError> {
        let unwritable = |error| PlanError::Unwritable { path: path.to_owned(), error };
        let draft = Draft::of(path)?;
        let file = draft.file().try_clone().map_err(unwritable)?;
        let mut table =
            csv::WriterBuilder::new().buffer_capacity(1 << 16).from_writer(Hashing::new(file));
        let has_files = head.files.len() > 1;
        table.write_record(columns(has_files)).map_err(|error| unwritable(error.into()))?;
        Ok(Self {
            draft,
            path: path.to_owned(),
            table,
            has_files,
            empty: head.files.iter().cloned().collect(),
            names: false,
            actions: false,
            counted: Counted::default(),
        })
    }

    /// Writes the next line: of the row at `line` of the input named `file`; line 0 where no input has it.
    pub fn write(
        &mut self,
        line: u64,
        file: &str,
        cells: &Cells,
        step: &Step,
    ) -> Result<(), PlanError> {
        let says = |column| !cells.get(column).is_empty();
        self.names |= says(Column::Source) || says(Column::Target);
        self.actions |= says(Column::Action);
        self.counted.add(line, cells, step);
        if !self.empty.is_empty() {
            self.empty.remove(file);
        }
        let line = if line == 0 { String::new() } else { line.to_string() };
        let listed = step.listed().map_or_else(String::new, |id| id.to_string());
        let (reason, message) = match step {
            Step::Refuse(reason, message) => (reason.as_str(), message.as_str()),
            Step::Absent => ("", "it is not there"),
            Step::Create | Step::Delete(_) | Step::Keep(_) | Step::Carry => ("", ""),
        };
        let cell = |column| guarded(cells.get(column));
        let cells = [
            line.into(),
            step.word().into(),
            cell(Column::ObjAsstId),
            cell(Column::InstId),
            cell(Column::AsstInstId),
            cell(Column::BizId),
            cell(Column::Source),
            cell(Column::Target),
            listed.into(),
            reason.into(),
            guarded(message),
            cell(Column::Action),
            guarded(file),
        ];
        let cells = cells.iter().take(columns(self.has_files).len());
        let written = self.table.write_record(cells.map(|cell| cell.as_bytes()));
        written.map_err(|error| self.unwritable(error.into()))
    }

    /// Puts the plan in place, and then its `run.json`. `head` is that of the run that is planned, `rate` in
    /// calls a second.
    pub fn finish(
        self,
        mut head: Head,
        digests: Vec<Digest>,
        blank_rows: u64,
        rate: Option<f64>,
    ) -> Result<PlanManifest, PlanError> {
        let Self { draft, path, table, empty, names, actions, counted, .. } = self;
        let unwritable = |error| PlanError::Unwritable { path: path.clone(), error };
        let hashing = table.into_inner().map_err(|error| unwritable(error.into_error()))?;
        let (_, plan_sha256) = hashing.finish();
        head.columns = match (names, actions) {
            (false, false) => Vec::new(),
            (true, false) => vec![Column::Source, Column::Target],
            (false, true) => vec![Column::Action],
            (true, true) => Column::BESIDE_IDS.to_vec(),
        };
        let Counted { rows, counts, reasons, associations } = counted;
        let of_all = head.survey.iter_mut().flat_map(|survey| &mut survey.scope);
        for (found, counts) in
            of_all.filter_map(|(name, found)| Some((found, associations.get(name)?)))
        {
            let of = |word: &str| counts.get(word).copied().unwrap_or_default();
            found.create = of("create");
            found.delete = of("delete");
            found.keep = of("keep");
            found.refused = of("none");
        }
        let calls = least_calls(&counts);
        let manifest = PlanManifest {
            head,
            digests,
            planned_at: clock::now(),
            rows,
            empty: empty.into_iter().collect(),
            blank_rows,
            counts,
            reasons,
            associations,
            calls,
            seconds: rate.map(|rate| (calls as f64 / rate).ceil() as u64),
            plan_sha256,
        };
        draft.put_in_place()?;
        Draft::whole(&manifest::path_for(&path), &manifest::to_json(&manifest))?;
        Ok(manifest)
    }

    fn unwritable(&self, error: io::Error) -> PlanError {
        PlanError::Unwritable { path: self.path.clone(), error }
    }
}

impl Counted {
    fn add(&mut self, line: u64, cells: &Cells, step: &Step) {
        self.rows += u64::from(line > 0);
        *self.counts.entry(step.counted_as().to_owned()).or_default() += 1;
        if let Step::Refuse(reason, _) = step {
            *self.reasons.entry(reason.as_str().to_owned()).or_default() += 1;
        }
        let name = cells.get(Column::ObjAsstId).trim();
        let has_room = self.associations.len() < MOST_NAMES && name.len() <= LONGEST_NAME;
        let is_known = self.associations.contains_key(name);
        let name = if is_known || has_room { name } else { OTHER_NAMES };
        let counts = self.associations.entry(name.to_owned()).or_default();
        *counts.entry(step.counted_as().to_owned()).or_default() += 1;
    }
}

/// Creates go singly; what is looked up or deleted goes in hundreds.
fn least_calls(counts: &BTreeMap<String, u64>) -> u64 {
    let of = |word: &str| counts.get(word).copied().unwrap_or_default();
    let deletes = of("delete").div_ceil(MOST_IN_A_CALL);
    of("create") + of("keep").div_ceil(MOST_IN_A_CALL) + 3 * deletes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_model_associations_are_counted_within_a_bound() {
        let mut counted = Counted::default();
        for (ordinal, name) in ["a".to_owned(), "x".repeat(1 << 20), "y".repeat(257)]
            .into_iter()
            .chain((0..20_000).map(|n| format!("n{n}")))
            .chain(["a".to_owned()])
            .enumerate()
        {
            counted.add(ordinal as u64 + 2, &Cells::new([&name, "1", "2", ""]), &Step::Create);
        }
        let of = |name: &str| counted.associations.get(name).map(|counts| counts["create"]);
        assert_eq!((of("a"), of("n9997"), of("n9998")), (Some(2), Some(1), None));
        assert_eq!(of(OTHER_NAMES), Some(10_004));
    }
}
