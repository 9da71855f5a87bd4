use proptest::prelude::*;

use super::*;
use crate::storage::results::Layout;
use crate::storage::results::writer::Writer;

const NAMES: [(Format, &str); 4] = [
    (Format::Csv, "r.csv"),
    (Format::Tsv, "r.tsv"),
    (Format::Jsonl, "r.jsonl"),
    (Format::Xlsx, "r.xlsx"),
];

/// Writes records and reads them back.
fn through(
    (format, name): (Format, &str),
    records: &[Record],
    files: &[String],
) -> (Vec<Record>, Vec<String>) {
    let layout = Layout { columns: &Column::BESIDE_IDS, files };
    let mut writer = Writer::new(Vec::new(), format, layout).unwrap();
    for record in records {
        writer.write(record).unwrap();
    }
    let (bytes, _) = writer.finish().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    let mut reader = Reader::open(&path, &[]).unwrap();
    let back = reader.by_ref().collect::<Result<_, _>>().unwrap();
    (back, reader.names)
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        "[0-9]{1,20}",
        "'{0,2}[=+@\t-][ -~]{0,4}",
        "[a名\u{feff}\"',;\t\r\n\\\\ 0\u{0}]{0,8}",
        any::<String>(),
    ]
}

prop_compose! {
    fn outcome()(
        status in prop::sample::select(&Status::ALL[..]),
        reason in prop::sample::select(Reason::ALL),
        id in any::<i64>(),
        code in any::<Option<i64>>(),
        message in text(),
        attempts in any::<u32>(),
        request_id in text(),
        finished_at in 0..4_102_444_800_000_i64,
    ) -> Outcome {
        let outcome = if status.is_good() {
            Outcome::good(status, id, attempts, finished_at)
        } else {
            let bad = Outcome::bad(reason, message, attempts, finished_at);
            Outcome { status, code, ..bad }
        };
        Outcome { request_id: Some(request_id).filter(|id| !id.is_empty()), ..outcome }
    }
}

fn records() -> impl Strategy<Value = Vec<Record>> {
    let ids = [text(), text(), text(), text()];
    let named = prop::option::of([text(), text(), text()]);
    let row = (1..u64::from(u32::MAX), ids, named, outcome());
    let record = row.prop_map(|(line, ids, named, outcome)| {
        let ids = ids.each_ref().map(String::as_str);
        let cells = match named {
            None => Cells::new(ids),
            Some(named) => {
                let [source, target, action] = named.map(Into::into);
                Cells::with_names(ids, Named { source, target, action })
            }
        };
        Record { ordinal: 0, file: 0, line, cells, outcome }
    });
    prop::collection::vec(record, 0..8).prop_map(|mut records| {
        for (ordinal, record) in records.iter_mut().enumerate() {
            record.ordinal = ordinal as u64;
        }
        records
    })
}

proptest! {
    #[test]
    fn what_was_written_is_read_back_in_every_format(
        records in records(),
        (first, second) in (text(), text()),
    ) {
        for format in NAMES {
            let (back, files) = through(format, &records, &[]);
            prop_assert_eq!((&back, files.len()), (&records, 0));

            // Of several inputs, numbered by name in the order in which they appear.
            let names = [format!("{first}1"), format!("{second}2")];
            let several: Vec<Record> = records
                .iter()
                .map(|record| Record { file: record.ordinal as u32 % 2, ..record.clone() })
                .collect();
            let (back, files) = through(format, &several, &names);
            prop_assert_eq!(&back, &several);
            prop_assert_eq!(&files[..], &names[..several.len().min(2)]);
        }
    }
}

#[test]
fn a_delete_that_no_input_has_stands_without_a_line_in_every_format() {
    let cells = |action: &str| {
        let named = Named { action: action.into(), ..Named::default() };
        Cells::with_names(["a", "1", "2", ""], named)
    };
    let record = |ordinal, file, line, action| Record {
        ordinal,
        file,
        line,
        cells: cells(action),
        outcome: Outcome::good(Status::Deleted, 7, 1, 1),
    };
    let files = ["a.csv", "b.csv"].map(str::to_owned);
    let records = [record(0, 0, 0, "delete"), record(1, 1, 2, "删除")];
    for format in NAMES {
        assert_eq!(through(format, &records[..1], &[]).0, records[..1]);
        let (back, names) = through(format, &records[1..], &files);
        assert_eq!((back[0].file, &names[..]), (0, &files[1..]), "numbered by itself");
        let (back, names) = through(format, &records, &files);
        assert_eq!((back[0].line, back[1].line, &names[..]), (0, 2, &files[1..]));
    }
    let (header, folder) = (COLUMNS.join(","), tempfile::tempdir().unwrap());
    let path = folder.path().join("r.csv");
    for (line, action, is_good) in
        [("", "delete", true), ("", "create", false), ("0", "delete", false)]
    {
        let row = format!("{header},action\n{line},a,1,2,,absent,,,,,,0,,,{action}\n");
        std::fs::write(&path, row).unwrap();
        let read = Reader::open(&path, &[]).unwrap().next().unwrap();
        assert_eq!(read.is_ok(), is_good, "{line:?} {action}: {read:?}");
    }
}

#[test]
fn a_number_out_of_range_is_refused_and_never_cut() {
    let header = COLUMNS.join(",");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.csv");
    let row = |line: &str, attempts: &str| {
        format!("{header}\n{line},a,1,2,,created,5,,,,,{attempts},,\n")
    };
    for (line, attempts, column) in [
        ("2", "4294967296", "column attempts: \"4294967296\""),
        ("2", "-1", "column attempts: \"-1\""),
        ("-2", "1", "column line: \"-2\""),
        ("", "1", "column line: \"\""),
    ] {
        std::fs::write(&path, row(line, attempts)).unwrap();
        let error = Reader::open(&path, &[]).unwrap().next().unwrap().unwrap_err();
        assert!(error.is_of_a_line() && error.to_string().contains(column), "{error}");
    }
}

#[test]
fn lines_are_numbered_by_the_runs_inputs_where_these_are_known() {
    let names = ["a.csv", "b.csv"].map(str::to_owned);
    let folder = tempfile::tempdir().unwrap();
    let row = |file: &str| format!("2,a,1,2,,created,5,,,,,1,,,{file}\n");
    let read = |rows: &str, names: &[String]| {
        let path = folder.path().join("r.csv");
        std::fs::write(&path, format!("{},file\n{rows}", COLUMNS.join(","))).unwrap();
        Reader::open(&path, names).unwrap().map(|read| read.map(|record| record.file)).next()
    };
    assert_eq!(read(&row("b.csv"), &[]).unwrap().unwrap(), 0);
    assert_eq!(read(&row("b.csv"), &names).unwrap().unwrap(), 1);
    for stray in ["c.csv", ""] {
        let error = read(&row(stray), &names).unwrap().unwrap_err();
        let said = format!("line 2: column file: {stray:?} is no input of this run");
        assert!(error.is_of_a_line() && error.to_string().ends_with(&said), "{error}");
    }
}

#[test]
fn a_quote_that_is_never_closed_is_told_and_not_read_to_the_end_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.csv");
    let row = "2,a,1,2,,created,5,,,,,1,,\n";
    let mut text = format!("{}\n{row}3,\"", COLUMNS.join(","));
    while text.len() as u64 <= 2 * LONGEST_LINE {
        text.push_str(row);
    }
    std::fs::write(&path, text).unwrap();
    let mut reader = Reader::open(&path, &[]).unwrap();
    assert_eq!(reader.next().unwrap().unwrap().line, 2);
    let error = reader.next().unwrap().unwrap_err();
    let said = "line 3: longer than 8 MiB: is a quote never closed?";
    assert!(!error.is_of_a_line() && error.to_string().ends_with(said), "{error}");

    std::fs::write(&path, vec![b'"'; 2 * LONGEST_LINE as usize]).unwrap();
    let error = Reader::open(&path, &[]).err().unwrap().to_string();
    assert!(error.ends_with("longer than 8 MiB: is a quote never closed?"), "{error}");
}

#[test]
fn a_line_that_is_too_long_ends_the_file_and_is_never_read_as_two() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.jsonl");
    let mut bytes = vec![b' '; LONGEST_LINE as usize];
    bytes.extend_from_slice(b"{}\n");
    std::fs::write(&path, bytes).unwrap();
    let error = Reader::open(&path, &[]).unwrap().next().unwrap().unwrap_err();
    assert!(!error.is_of_a_line(), "{error}");
    assert!(error.to_string().ends_with("line 1: longer than 8 MiB"), "{error}");
}

#[test]
fn a_spreadsheet_may_have_written_the_file_in_its_own_way() {
    let row = |cell: &str| format!("2,a,{cell},2,1,failed,,rejected,TRUE,1199999,拒绝创建,1,,");
    let table = format!("{}\n{}\n{}\n", COLUMNS.join(","), row("1"), row("x"));
    let windows = table.replace('\n', "\r\n");
    let capitals = COLUMNS.join(",").to_uppercase() + &table[table.find('\n').unwrap()..];
    let gbk = encoding_rs::GB18030.encode(&table).0.into_owned();
    let units = windows.replace(',', "\t");
    let utf_16 = [0xfeff].into_iter().chain(units.encode_utf16()).flat_map(u16::to_le_bytes);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.csv");
    for bytes in [
        table.clone().into_bytes(),
        [b"\xef\xbb\xbf", windows.as_bytes()].concat(),
        table.replace(',', ";").into_bytes(),
        format!("sep=;\r\n{}", windows.replace(',', ";")).into_bytes(),
        format!("{table}{}\n", ",".repeat(COLUMNS.len() - 1)).into_bytes(),
        capitals.into_bytes(),
        gbk,
        utf_16.collect(),
    ] {
        std::fs::write(&path, &bytes).unwrap();
        let records: Vec<_> = Reader::open(&path, &[]).unwrap().map(Result::unwrap).collect();
        assert_eq!(records.len(), 2, "{}", String::from_utf8_lossy(&bytes));
        assert_eq!(records[1].cells.ids(), ["a", "x", "2", "1"]);
        let outcome = &records[1].outcome;
        assert_eq!((&*outcome.message, outcome.retryable), ("拒绝创建", true));
    }
    for (sep, line) in [("", 3), ("sep=,\r\n", 4)] {
        std::fs::write(&path, format!("{sep}{}", windows.replace("2,a,x", "y,a,x"))).unwrap();
        let error = Reader::open(&path, &[]).unwrap().find_map(Result::err).unwrap().to_string();
        assert!(error.contains(&format!("line {line}: column line")), "{error}");
    }
}

#[test]
fn a_workbook_that_excel_saved_again_means_the_same() {
    use crate::input::xlsx::sample::{cells, workbook};
    let header = cells(&[&COLUMNS]);
    let row = |number: &str, inst: &str, retryable: &str| {
        let text = |text: &str| format!(r#"<c t="str"><v>{text}</v></c>"#);
        let ahead = format!("<row><c><v>{number}</v></c>{}{inst}<c><v>2</v></c><c/>", text("a"));
        let outcome = text("failed") + "<c/>" + &text("rejected") + retryable;
        format!("{ahead}{outcome}<c><v>1199999</v></c><c/><c><v>1</v></c></row>")
    };
    let bool = r#"<c t="b"><v>1</v></c>"#;
    let first = header.clone() + &row("2", "<c><v>7</v></c>", bool);
    let second = format!("<row/>{header}<row/>{}", row("3", r#"<c t="str"><v>8</v></c>"#, "<c/>"));
    let folder = tempfile::tempdir().unwrap();
    // Excel keeps the name, whatever it says.
    let path = folder.path().join("r.csv");
    let open = |sheets: &[(&str, &str)]| {
        std::fs::write(&path, workbook(sheets, "")).unwrap();
        Reader::open(&path, &[])
    };
    let notes = cells(&[&["notes", "status"]]);
    let sheets = [("results", &*first), ("notes", &*notes), ("results 2", &*second)];
    let records: Vec<_> = open(&sheets).unwrap().map(Result::unwrap).collect();
    let found: Vec<_> = records
        .iter()
        .map(|record| {
            (record.ordinal, record.line, record.cells.ids()[1], record.outcome.retryable)
        })
        .collect();
    assert_eq!(found, [(0, 2, "7", true), (1, 3, "8", false)]);
    assert_eq!(records[0].outcome.code, Some(1_199_999));

    let inexact = header.clone() + &row("2", "<c><v>7.5</v></c>", bool);
    let mut reader = open(&[("results", &inexact)]).unwrap();
    let error = reader.next().unwrap().unwrap_err();
    assert!(error.is_of_a_line(), "{error}");
    assert!(error.to_string().contains("line 2: column inst_id: \"7.5e0\" is a number"), "{error}");
    let error = open(&[("a", &notes)]).err().unwrap().to_string();
    assert!(error.contains("none of its sheets has the columns of results"), "{error}");
    let fewer = cells(&[&COLUMNS[..13]]);
    let error = open(&[("results", &first), ("b", &fewer)]).unwrap().last().unwrap().unwrap_err();
    assert!(error.to_string().contains("sheet \"b\" has no column \"finished_at\""), "{error}");
}
