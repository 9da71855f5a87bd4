use proptest::prelude::*;

use super::*;
use crate::association::{Cells, Column, Named, RowError};
use crate::input::RowParser;
use crate::storage::manifest::Head;

fn head(files: &[String]) -> Head {
    Head { inputs: files.to_vec(), files: files.to_vec(), ..Head::of_import() }
}

fn planned(ordinal: u64, ids: [&str; 4], named: [&str; 3], step: Step) -> PlannedRow {
    let [source, target, action] = named.map(Into::into);
    let cells = Cells::with_names(ids, Named { source, target, action });
    let parsed = match &step {
        Step::Create | Step::Delete(_) | Step::Keep(_) | Step::Absent => {
            RowParser::new(None, false).read(ids).1
        }
        Step::Refuse(_, message) => Err(RowError::Broken(message.as_str().into())),
        Step::Carry => Err(RowError::Broken("carried over".into())),
    };
    let row = Row { ordinal, file: (ordinal % 2) as u32, line: ordinal + 2, cells, parsed };
    PlannedRow { row, step }
}

fn write(path: &Path, head: &Head, rows: &[PlannedRow]) -> PlanManifest {
    let mut writer = Writer::new(path, head).unwrap();
    for row in rows {
        let PlannedRow { row, step } = row;
        let file = head.files.get(row.file as usize).map_or("", String::as_str);
        writer.write(row.line, file, &row.cells, step).unwrap();
    }
    writer.finish(head.clone(), Vec::new(), 0, Some(2.0)).unwrap()
}

fn two_files() -> Vec<String> {
    vec!["a.csv".to_owned(), "=b.csv".to_owned()]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        "'{0,2}[=+@\t-][ -~]{0,4}",
        "[a名\u{feff}\"',;\t\r\n\\\\ 0\u{0}]{0,8}",
        any::<String>(),
    ]
}

fn row() -> impl Strategy<Value = ([String; 2], [String; 3], u8)> {
    let id = || (1..u64::from(u32::MAX)).prop_map(|id| id.to_string());
    ([id(), id()], [text(), text(), text()], 0..7_u8)
}

proptest! {
    // Each case is synced to the disk.
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_was_planned_is_read_back(rows in prop::collection::vec(row(), 0..8), said in text()) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plan.csv");
        let rows: Vec<_> = (0..).zip(&rows).map(|(ordinal, ([source, target], named, step))| {
            let step = match step {
                0 => Step::Create,
                1 => Step::Refuse(Reason::MissingSource, said.clone()),
                2 => Step::Delete(None),
                3 => Step::Delete(Some(77)),
                4 => Step::Keep(78),
                5 => Step::Absent,
                _ => Step::Carry,
            };
            let [a, b, c] = named;
            planned(ordinal, ["a", source, target, ""], [a, b, c], step)
        }).collect();
        let manifest = write(&path, &head(&two_files()), &rows);
        prop_assert_eq!(PlanManifest::of(&path).unwrap(), manifest.clone());
        let back: Vec<_> = Reader::open(&path, &manifest).unwrap().map(Result::unwrap).collect();
        prop_assert_eq!(back, rows);
    }
}

#[test]
fn a_plan_that_is_not_whole_leaves_what_was_there_and_one_that_was_changed_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plan.csv");
    let row = planned(0, ["a", "1", "2", ""], ["x", "", ""], Step::Create);
    let mut unfinished = Writer::new(&path, &head(&two_files())).unwrap();
    unfinished.write(2, "a.csv", &row.row.cells, &row.step).unwrap();
    drop(unfinished);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "neither plan nor draft");
    let error = PlanManifest::of(&path).unwrap_err();
    assert!(matches!(error, PlanError::NoPlan { .. }), "{error}");

    let manifest = write(&path, &head(&two_files()), std::slice::from_ref(&row));
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace(",1,2,", ",1,3,")).unwrap();
    let error = Reader::open(&path, &manifest).err().unwrap();
    assert!(matches!(error, PlanError::Changed { .. }), "{error}");
    std::fs::write(&path, &text[..text.len() - 1]).unwrap();
    assert!(Reader::open(&path, &manifest).is_err(), "cut short");
}

#[test]
fn lines_are_counted_by_action_and_the_columns_are_those_in_which_rows_say_something() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plan.csv");
    let refused = Step::Refuse(Reason::AmbiguousTarget, "why".to_owned());
    let rows = [
        planned(0, ["a", "1", "2", ""], ["", "", ""], Step::Create),
        planned(1, ["a", "1", "3", ""], ["", "", ""], Step::Create),
        planned(2, ["b", "1", "", ""], ["", "y", ""], refused),
    ];
    let manifest = write(&path, &head(&two_files()), &rows);
    let count = |name: &str, word: &str| manifest.associations[name].get(word).copied();
    assert_eq!((count("a", "create"), count("b", "create")), (Some(2), None));
    assert_eq!((manifest.counts["none"], manifest.reasons["ambiguous-target"]), (1, 1));
    assert_eq!((manifest.calls, manifest.seconds), (2, Some(1)));
    assert_eq!(manifest.head.columns, [Column::Source, Column::Target]);
    let ids = write(&path, &head(&two_files()), &rows[..2]);
    assert_eq!(ids.head.columns, []);
}
