use std::fs::File;
use std::io::{Seek, SeekFrom};

use super::*;
use crate::input::xlsx;

fn heads() -> Vec<Head> {
    vec![
        Head { name: "line", width: 9, is_number: true },
        Head { name: "status", width: 9, is_number: false },
    ]
}

/// The texts of all rows of a file's sheets.
fn read(file: File) -> Vec<(String, Vec<Vec<String>>)> {
    let mut workbook = xlsx::Workbook::of_file(file).unwrap();
    let names = workbook.names();
    let sheets = names.into_iter().map(|name| {
        let mut rows = workbook.rows(&name).unwrap().unwrap();
        let mut texts = Vec::new();
        while let Some(row) = rows.next(&mut workbook).unwrap() {
            texts.push(row.cells.into_iter().map(|cell| cell.text).collect());
        }
        (name, texts)
    });
    sheets.collect()
}

#[test]
fn every_text_is_read_as_it_was_and_what_a_cell_can_t_hold_says_that_it_is_cut() {
    let long = "名".repeat(MOST_UNITS);
    let longer = format!("{long}1");
    let pairs = "\u{1f600}".repeat(MOST_UNITS);
    let texts = [
        "a&b<c>\"'",
        " x ",
        "=SUM(A1)",
        "0015",
        "\u{0}\u{7}\t\r\n\u{1f}",
        "_x0041_",
        "__x000D_",
        "_x005F_",
        "_x004_",
        "_x一二三四_",
        "\u{fffe}\u{ffff}\u{feff}",
        &long,
        &longer,
        &pairs,
    ];
    let mut workbook = Workbook::new(tempfile::tempfile().unwrap(), heads()).unwrap();
    for text in texts {
        workbook.begin_row(Tint::Red).unwrap();
        workbook.cell("7");
        workbook.cell(text);
        workbook.end_row().unwrap();
    }
    let sheets = read(workbook.finish().unwrap());
    assert_eq!(sheets[0].1[0], ["line", "status"]);
    for (text, row) in texts.into_iter().zip(&sheets[0].1[1..]) {
        if text.encode_utf16().count() <= MOST_UNITS {
            assert_eq!(row, &["7", text]);
        } else {
            let start = row[1].strip_suffix(CUT).unwrap();
            assert!(text.starts_with(start));
            let units = row[1].encode_utf16().count();
            assert!((MOST_UNITS - 1..=MOST_UNITS).contains(&units), "{units}");
        }
    }
}

#[test]
fn rows_that_a_sheet_can_t_hold_go_to_the_next() {
    let mut workbook = Workbook::new(tempfile::tempfile().unwrap(), heads()).unwrap();
    let row = |workbook: &mut Workbook<File>, line: &str| {
        workbook.begin_row(Tint::None).unwrap();
        workbook.cell(line);
        workbook.cell("");
        workbook.end_row().unwrap();
    };
    row(&mut workbook, "1");
    workbook.rows = MOST_ROWS - 1;
    for line in ["2", "3"] {
        row(&mut workbook, line);
    }
    workbook.archive.part.as_mut().unwrap().length = LONGEST + 1;
    row(&mut workbook, "4");
    let sheets = read(workbook.finish().unwrap());
    let found: Vec<_> = sheets.iter().map(|(name, rows)| (&**name, rows[1..].concat())).collect();
    let texts = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
    assert_eq!(
        found,
        [
            ("results", texts(&["1", "2"])),
            ("results 2", texts(&["3"])),
            ("results 3", texts(&["4"]))
        ]
    );
}

#[test]
fn an_archive_of_more_than_four_gib_has_its_places_in_wide_fields() {
    let start = 5_u64 << 30;
    // A hole, which takes no room on the disk.
    let mut file = tempfile::tempfile().unwrap();
    file.seek(SeekFrom::Start(start)).unwrap();
    let mut workbook = Workbook::new(tempfile::tempfile().unwrap(), heads()).unwrap();
    workbook.archive = Archive::new(file);
    workbook.archive.out.as_mut().unwrap().written = start;
    workbook.sheets = 0;
    workbook.begin_sheet().unwrap();
    let sheets = read(workbook.finish().unwrap());
    assert_eq!(sheets[0].1, [["line", "status"]]);
}

#[test]
fn the_same_rows_give_the_same_bytes() {
    let write = || {
        let mut workbook = Workbook::new(Vec::new(), heads()).unwrap();
        workbook.begin_row(Tint::Grey).unwrap();
        workbook.cell("1");
        workbook.cell("failed");
        workbook.end_row().unwrap();
        workbook.finish().unwrap()
    };
    assert_eq!(write(), write());
}
