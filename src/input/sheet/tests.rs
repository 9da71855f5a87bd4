use std::collections::BTreeMap;
use std::io::Cursor;

use super::*;
use crate::association::{IdError, InstId};
use crate::input::xlsx::sample::{cells, export, workbook};
use crate::input::{InputOptions, Reader, Source, digest_of};
use crate::options::Format;

/// A row's number, and the texts of columns B to E.
type Texts = (u64, String, String, String, String);

fn read_with(bytes: &[u8], options: &InputOptions) -> Result<Vec<Row>, InputError> {
    Reader::from_read("in", Cursor::new(bytes.to_vec()), options)?.collect()
}

fn read(sheet: &str) -> Vec<Row> {
    read_with(&workbook(&[("links", sheet)], ""), &InputOptions::default()).unwrap()
}

fn fails(bytes: &[u8], options: &InputOptions) -> (String, bool) {
    let error = read_with(bytes, options).unwrap_err();
    (error.to_string(), error.is_usage())
}

/// What is wrong with a row.
fn said(row: &Row) -> String {
    row.parsed.as_ref().unwrap_err().to_string()
}

#[test]
fn each_row_of_cmdb_s_own_exports_is_read_as_it_stands() {
    let rows = std::str::from_utf8(&export("rows.json")).unwrap().to_owned();
    let expected: BTreeMap<String, Vec<Texts>> = serde_json::from_str(&rows).unwrap();
    assert_eq!(expected.len(), 6);
    assert_eq!(expected.values().map(Vec::len).sum::<usize>(), 593);
    for (file, expected) in expected {
        let rows = read_with(&export(&file), &InputOptions::default()).unwrap();
        let found: Vec<_> = rows
            .iter()
            .map(|row| {
                let text = |column| row.cells.get(column).to_owned();
                (
                    row.line,
                    text(Column::ObjAsstId),
                    text(Column::Action),
                    text(Column::Source),
                    text(Column::Target),
                )
            })
            .collect();
        assert_eq!(found, expected, "{file}");
        for row in &rows {
            let understood = match &row.parsed {
                Err(RowError::InCell { cell, error }) => {
                    **error == RowError::Delete && **cell == *format!("association!C{}", row.line)
                }
                parsed => matches!(parsed, Err(RowError::Named { .. })),
            };
            assert!(understood, "{file}: {:?}", row.parsed);
        }
        let may_delete = InputOptions { allow_delete: true, ..InputOptions::default() };
        for row in read_with(&export(&file), &may_delete).unwrap() {
            assert!(matches!(row.parsed, Err(RowError::Named { .. })), "{file}: {:?}", row.parsed);
        }
    }
}

#[test]
fn a_sheet_with_our_own_headers_is_a_table() {
    let rows = read(&cells(&[
        &["", " "],
        &["note", "bk_inst_id", "OBJ_ASST_ID", "asst_inst_id", "biz_id"],
        &["", "1", "run", " 2 ", "3"],
        &[],
        &["", " ", "", "", ""],
        &["", "9223372036854775807", "run", "2"],
    ]));
    let found: Vec<_> = rows.iter().map(|row| (row.line, row.cells.ids())).collect();
    let last = ["run", "9223372036854775807", "2", ""];
    assert_eq!(found, [(3, ["run", "1", " 2 ", "3"]), (6, last)]);
    assert!(rows.iter().all(|row| row.parsed.is_ok()));
}

#[test]
fn columns_have_the_names_that_map_gives_or_none_at_all() {
    let sheet = cells(&[&["关系", "源实例", "目标实例"], &["run", "k=v", " 5 "]]);
    let book = workbook(&[("links", &sheet)], "");
    let map = vec![(Column::ObjAsstId, "关系".to_owned())];
    let rows = read_with(&book, &InputOptions { map, ..InputOptions::default() }).unwrap();
    assert_eq!(rows[0].cells.get(Column::Target), " 5 ");
    let (error, is_usage) = fails(&book, &InputOptions::default());
    assert!(is_usage && error.contains("no column obj_asst_id"), "{error}");
    let sheet = cells(&[&["run", "1", "2"], &["run", "3", "4"]]);
    let book = workbook(&[("links", &sheet)], "");
    assert!(fails(&book, &InputOptions::default()).0.contains("--no-header"));
    let options = InputOptions { no_header: true, ..InputOptions::default() };
    assert_eq!(read_with(&book, &options).unwrap().len(), 2);
}

#[test]
fn a_cell_that_says_nothing_for_sure_makes_its_row_invalid_and_is_named() {
    let head = cells(&[&["obj_asst_id", "inst_id", "asst_inst_id", "note"]]);
    let rows = read(&format!(
        r#"{head}
        <row><c t="str"><v>run</v></c><c><v>1</v></c><c><v>1.5</v></c></row>
        <row><c t="str"><v>run</v></c><c s="1"><v>45000</v></c><c><v>2</v></c></row>
        <row><c t="e"><v>#N/A</v></c><c><v>1</v></c><c><v>2</v></c></row>
        <row><c t="str"><v>run</v></c><c><f>A1</f></c><c><v>2</v></c></row>
        <row><c t="str"><v>run</v></c><c t="b"><v>1</v></c><c><v>2</v></c></row>
        <row><c t="str"><v>run</v></c><c t="str"><v>1x</v></c><c><v>2</v></c></row>
        <row><c t="str"><v>run</v></c><c><v>9007199254740993</v></c><c><v>2</v></c></row>
        <row><c t="str"><v>run</v></c><c><v>9007199254740991</v></c><c><v>2E0</v></c><c t="e"/></row>"#
    ));
    for (row, told) in rows.iter().zip([
        "links!C2: column asst_inst_id: \"1.5e0\" is a number, but no whole one",
        "links!B3: column inst_id: \"45000 (date)\" is a date",
        "links!A4: column obj_asst_id: \"#N/A\" is the error of a formula",
        "links!B5: column inst_id: \"\" is a formula without a stored value",
        "links!B6: column inst_id: \"TRUE\" is a truth value",
        "links!B7: column inst_id: \"1x\" is not a plain decimal integer",
        "links!B8: column inst_id: \"9.007199254740992e15\" is a number, but no whole one",
    ]) {
        assert!(said(row).starts_with(told), "{}", said(row));
        let texts = row.cells.ids();
        let is_id = |text: &str| InstId::parse(text).is_ok();
        assert!(!(is_id(texts[1]) && is_id(texts[2])) || texts[0] == "#N/A", "a rerun may read it");
    }
    assert!(rows[7].parsed.is_ok(), "{:?}", rows[7]);
    assert_eq!(rows[7].cells.ids(), ["run", "9007199254740991", "2", ""]);
    let Err(RowError::InCell { error, .. }) = &rows[5].parsed else { panic!() };
    assert!(matches!(**error, RowError::BadId { error: IdError::NotPlain, .. }));
}

#[test]
fn a_second_table_below_the_first_is_told_as_that() {
    let rows = read(&cells(&[
        &["obj_asst_id", "inst_id", "asst_inst_id"],
        &["run", "1", "2"],
        &["obj_asst_id", "inst_id", "asst_inst_id"],
        &["run", "3", "4"],
        &[],
        &["obj_asst_id", "asst_inst_id", "inst_id"],
        &["run", "5", "6"],
    ]));
    let fine: Vec<_> = rows.iter().map(|row| row.parsed.is_ok()).collect();
    assert_eq!(fine, [true, false, true, false, false]);
    assert!(said(&rows[1]).starts_with("links!3: is another header"));
    assert!(said(&rows[4]).starts_with("links!7: stands below another header (row 6)"));
}

#[test]
fn an_export_without_the_line_of_hints_loses_no_row() {
    let head = ["关联属性(请勿编辑)", "关联标识", "操作", "源实例", "目标实例"];
    let row = ["", "run", "", "a", "b"];
    let rows = read(&cells(&[&head, &row, &["实例数据"], &row]));
    assert_eq!(rows.iter().map(|row| row.line).collect::<Vec<_>>(), [2, 4]);
    let hints = ["填写说明(请勿编辑)", "例如:x", "新增/删除", "", ""];
    let rows = read(&cells(&[&head, &hints, &["实例数据", "run", "", "a", "b"]]));
    assert_eq!(rows.iter().map(|row| row.line).collect::<Vec<_>>(), [3]);
    let options = InputOptions { require_biz_id: true, ..InputOptions::default() };
    let book = workbook(&[("association", &cells(&[&head, &row]))], "");
    assert!(fails(&book, &options).0.contains("--biz-id N"));
}

#[test]
fn the_sheet_is_the_one_named_else_associations_else_the_first() {
    let table =
        |inst: &str| cells(&[&["obj_asst_id", "inst_id", "asst_inst_id"], &["x", inst, "1"]]);
    let [one, two] = [table("1"), table("2")];
    let inst_id = |book: &[u8], sheet: Option<&str>| {
        let sheet = sheet.map(str::to_owned);
        let rows = read_with(book, &InputOptions { sheet, ..InputOptions::default() }).unwrap();
        rows[0].cells.get(Column::InstId).to_owned()
    };
    let book = workbook(&[("a", &one), ("association", &two)], "");
    assert_eq!(inst_id(&book, None), "2");
    assert_eq!(inst_id(&book, Some("a")), "1");
    assert_eq!(inst_id(&workbook(&[("a", &one), ("b", &two)], ""), None), "1");
    let options = InputOptions { sheet: Some("c".to_owned()), ..InputOptions::default() };
    let (error, is_usage) = fails(&book, &options);
    assert!(is_usage);
    assert_eq!(error, r#"in: there is no sheet "c"; it has "a", "association""#);
    let (error, is_usage) = fails(b"obj_asst_id,inst_id,asst_inst_id\n", &options);
    assert!(is_usage && error.contains("leave --sheet out"), "{error}");
}

#[test]
fn a_workbook_is_told_by_its_bytes() {
    let sheet = cells(&[&["obj_asst_id", "inst_id", "asst_inst_id"], &["x", "1", "2"]]);
    let book = workbook(&[("a", &sheet)], "");
    for (format, told) in [
        (Format::Csv, "is an Excel workbook: leave --input-format csv out"),
        (Format::Jsonl, "is an Excel workbook: leave --input-format jsonl out"),
    ] {
        let options = InputOptions { format: Some(format), ..InputOptions::default() };
        assert_eq!(fails(&book, &options), (format!("in: {told}"), true));
    }
    let options = InputOptions { format: Some(Format::Xlsx), ..InputOptions::default() };
    assert_eq!(read_with(&book, &options).unwrap().len(), 1);
    assert!(fails(b"a,b", &options).0.contains("is no Excel workbook (.xlsx)"));
    let old = [&b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"[..], &[0; 100]].concat();
    assert!(fails(&old, &InputOptions::default()).0.contains("save it as .xlsx"));
}

#[test]
fn files_and_pipes_give_the_same_rows_and_digest() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = export("t9c_move10.xlsx");
    // The name says nothing.
    let path = folder.path().join("links.csv");
    std::fs::write(&path, &bytes).unwrap();
    let source = Source::Path(path);
    let options = InputOptions::default();
    let digest = digest_of(&source).unwrap();
    for sources in [vec![source.clone()], vec![source.clone(), source.clone()]] {
        let mut reader = Reader::open(&sources, &options).unwrap();
        let rows: Vec<_> = reader.by_ref().map(Result::unwrap).collect();
        assert_eq!(rows.len(), 20 * sources.len());
        assert_eq!(reader.digests(), vec![digest.clone(); sources.len()]);
    }
    let mut reader = Reader::from_read("p", Cursor::new(bytes), &options).unwrap();
    assert_eq!(reader.by_ref().map(Result::unwrap).count(), 20);
    assert_eq!(reader.digests()[0].sha256, digest.sha256);
}

#[test]
fn results_in_a_sheet_are_told_as_results() {
    let sheet = cells(&[&["line", "obj_asst_id", "status", "association_id", "finished_at"]]);
    let (error, is_usage) = fails(&workbook(&[("a", &sheet)], ""), &InputOptions::default());
    assert!(is_usage && error.contains("bkassoc rerun"), "{error}");
}
