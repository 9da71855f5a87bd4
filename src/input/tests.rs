//! What input may look like, from bytes to rows.

use std::collections::VecDeque;
use std::io::{self, Cursor, Read, Write};
use std::sync::Arc;

use proptest::prelude::*;

use super::source::Raw;
use super::text::MAX_RECORD;
use super::*;
use crate::association::{Association, IdError, NewAssociation, RowError};

const HEADER: &str = "obj_asst_id,inst_id,asst_inst_id,biz_id\n";

/// A source in memory that gives its chunks one by one, and then ends or would keep its reader
/// waiting.
struct Pipe {
    chunks: VecDeque<Vec<u8>>,
    ends: bool,
}

impl Read for Pipe {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let Some(mut chunk) = self.chunks.pop_front() else {
            return if self.ends { Ok(0) } else { Err(io::Error::other("read without need")) };
        };
        let length = chunk.len().min(out.len());
        out[..length].copy_from_slice(&chunk[..length]);
        let rest = chunk.split_off(length);
        if !rest.is_empty() {
            self.chunks.push_front(rest);
        }
        Ok(length)
    }
}

/// The rows of one source, read by hand.
struct Opened {
    lines: Lines,
    columns: Columns,
    rows: RowParser,
}

impl Opened {
    fn new(from: impl Read + Send + 'static, options: &InputOptions) -> Result<Self, InputError> {
        let raw = Raw::new("in".to_owned(), Box::new(from));
        let columns = Columns::new(&options.map)?;
        Ok(Self {
            lines: Lines::of_raw(raw, false, false, options, &columns)?,
            columns,
            rows: options.parser(),
        })
    }

    fn next(&mut self) -> Result<Option<Row>, InputError> {
        self.lines.next(&self.columns, &mut self.rows)
    }

    fn all(mut self) -> Result<Vec<Row>, InputError> {
        let mut rows = Vec::new();
        while let Some(row) = self.next()? {
            rows.push(row);
        }
        Ok(rows)
    }
}

fn read_with(bytes: impl AsRef<[u8]>, options: &InputOptions) -> Result<Vec<Row>, InputError> {
    Opened::new(Cursor::new(bytes.as_ref().to_vec()), options)?.all()
}

fn read(bytes: impl AsRef<[u8]>) -> Result<Vec<Row>, InputError> {
    read_with(bytes, &InputOptions::default())
}

fn rows(bytes: impl AsRef<[u8]>) -> Vec<Row> {
    read(bytes).unwrap()
}

fn error_of(result: Result<Vec<Row>, InputError>) -> (bool, String) {
    let error = result.expect_err("input that can't be read");
    (error.is_usage(), error.to_string())
}

fn link(name: &str, inst_id: u64, asst_inst_id: u64, biz_id: u64) -> NewAssociation {
    NewAssociation {
        association: Association {
            obj_asst_id: name.into(),
            inst_id: InstId::new(inst_id).unwrap(),
            asst_inst_id: InstId::new(asst_inst_id).unwrap(),
        },
        biz_id: InstId::new(biz_id).ok(),
    }
}

fn invalid(row: &Row) -> String {
    row.parsed.as_ref().expect_err("an invalid row").to_string()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

fn utf16(text: &str, to_bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
    let marked = std::iter::once(0xfeff).chain(text.encode_utf16());
    marked.flat_map(to_bytes).collect()
}

fn gb18030(text: &str) -> Vec<u8> {
    encoding_rs::GB18030.encode(text).0.into_owned()
}

fn said(encoding: &str) -> InputOptions {
    InputOptions { encoding: Some(encoding.parse().unwrap()), ..Default::default() }
}

mod header {
    use super::*;

    #[test]
    fn columns_may_stand_in_any_order_under_either_name_among_others() {
        let rows = rows("note,bk_biz_id, Asst_Inst_ID ,bk_obj_asst_id,inst_id\nx,1,21,a,11\n");
        assert_eq!(rows[0].parsed, Ok(link("a", 11, 21, 1)));
        assert_eq!(rows[0].cells.ids(), ["a", "11", "21", "1"]);
    }

    #[test]
    fn a_missing_column_is_named_with_what_was_found_and_what_to_do() {
        let (is_usage, message) = error_of(read("源,inst_id,asst_inst_id\na,1,2\n"));
        assert!(is_usage);
        assert_eq!(
            message,
            "in: no column obj_asst_id; the header has \"源\", \"inst_id\", \"asst_inst_id\". \
             If a column has another name: --map obj_asst_id=COLUMN"
        );
    }

    #[test]
    fn biz_id_is_missed_only_where_it_is_needed_and_no_default_was_given() {
        let bytes = "obj_asst_id,inst_id,asst_inst_id\na,1,2\n";
        let mut options = InputOptions { require_biz_id: true, ..Default::default() };
        let (is_usage, message) = error_of(read_with(bytes, &options));
        assert!(is_usage && message.contains("no column biz_id"), "{message}");
        assert!(message.contains("--biz-id N; ") && message.ends_with("--send-biz-id never"));
        options.default_biz_id = InstId::new(7).ok();
        let rows = read_with(bytes, &options).unwrap();
        assert_eq!(rows[0].parsed, Ok(link("a", 1, 2, 7)));
        assert_eq!(rows[0].cells.ids(), ["a", "1", "2", "7"]);
        assert_eq!(super::rows(bytes)[0].parsed, Ok(link("a", 1, 2, 0)));
    }

    #[test]
    fn two_columns_for_one_field_are_an_error_unless_map_decides() {
        let bytes = "obj_asst_id,inst_id,bk_inst_id,asst_inst_id\na,1,2,3\n";
        let (is_usage, message) = error_of(read(bytes));
        assert!(is_usage);
        assert_eq!(
            message,
            "in: columns \"inst_id\" and \"bk_inst_id\" both mean inst_id; choose one with --map inst_id=COLUMN"
        );
        let options = InputOptions {
            map: vec![(Column::InstId, "bk_inst_id".to_owned())],
            ..Default::default()
        };
        let rows = read_with(bytes, &options).unwrap();
        assert_eq!(rows[0].parsed, Ok(link("a", 2, 3, 0)));
    }

    #[test]
    fn map_finds_chinese_columns_in_any_encoding() {
        let text = "关联;源实例;目标实例\na;1;2\n";
        let options = InputOptions {
            map: vec![
                (Column::ObjAsstId, "关联".to_owned()),
                (Column::InstId, "源实例".to_owned()),
                (Column::AsstInstId, "目标实例".to_owned()),
            ],
            ..Default::default()
        };
        for bytes in [text.as_bytes().to_vec(), gb18030(text), utf16(text, u16::to_le_bytes)] {
            let rows = read_with(bytes, &options).unwrap();
            assert_eq!(rows[0].parsed, Ok(link("a", 1, 2, 0)));
        }
    }

    #[test]
    fn a_mapped_column_that_is_not_there_is_an_error_even_for_biz_id() {
        let options =
            InputOptions { map: vec![(Column::BizId, "业务".to_owned())], ..Default::default() };
        let (is_usage, message) = error_of(read_with(HEADER, &options));
        assert!(is_usage);
        assert!(
            message.starts_with("in: --map biz_id=业务: there is no such column; the header has"),
            "{message}"
        );
    }

    #[test]
    fn results_are_refused_in_both_formats() {
        let csv =
            "line,obj_asst_id,inst_id,asst_inst_id,biz_id,status,association_id,finished_at\n";
        let jsonl =
            r#"{"obj_asst_id":"a","status":"failed","association_id":null,"finished_at":""}"#;
        for bytes in [csv, jsonl] {
            let (is_usage, message) = error_of(read(bytes));
            assert!(is_usage && message.contains("bkassoc rerun in"), "{message}");
        }
    }

    #[test]
    fn an_empty_file_lacks_its_columns_and_a_header_alone_has_no_rows() {
        let (is_usage, message) = error_of(read(""));
        assert!(is_usage && message.contains("the file is empty"), "{message}");
        assert_eq!(rows(HEADER), []);
        assert_eq!(rows(HEADER.trim_end()), []);
    }

    #[test]
    fn the_delimiter_is_the_one_that_shows_our_columns() {
        for delimiter in [",", ";", "\t", "|"] {
            let bytes = "\"a, b; c\"|inst_id|asst_inst_id|obj_asst_id\nx|1|2|a\n";
            let rows = rows(bytes.replace('|', delimiter));
            assert_eq!(rows[0].parsed, Ok(link("a", 1, 2, 0)), "{delimiter:?}");
        }
        for separator in [";", "\t", ":"] {
            let bytes = format!("SEP={separator}\r\nobj_asst_id|inst_id|asst_inst_id\r\na|1|2\r\n");
            let rows = rows(bytes.replace('|', separator));
            assert_eq!(rows[0].parsed, Ok(link("a", 1, 2, 0)), "{separator:?}");
            assert_eq!(rows[0].line, 3);
        }
        for delimiter in [":", "，", "；", "│", "\u{1f600}", "é"] {
            let options = InputOptions { delimiter: delimiter.parse().ok(), ..Default::default() };
            let text = "||\nobj_asst_id|inst_id|note|asst_inst_id\na|1|\"x|\"|2\n\"y|\"|1||2\n";
            let rows = read_with(text.replace('|', delimiter), &options).unwrap();
            assert_eq!(rows[0].parsed, Ok(link("a", 1, 2, 0)), "{delimiter:?}");
            assert_eq!(rows[1].cells.ids()[0], format!("y{delimiter}"));
            assert_eq!(rows.len(), 2);
        }
    }
}

mod table_rows {
    use super::*;

    #[test]
    fn cells_stay_as_they_stood_and_values_are_trimmed() {
        let rows = rows(format!("{HEADER} a ,\" 11\",21\u{3000},\t1 \n"));
        assert_eq!(rows[0].cells.ids(), [" a ", " 11", "21\u{3000}", "\t1 "]);
        assert_eq!(rows[0].parsed, Ok(link("a", 11, 21, 1)));
    }

    #[test]
    fn lines_count_as_an_editor_counts_them() {
        let bytes = "\u{feff}\r\nobj_asst_id,inst_id,asst_inst_id,note\r\n\r\n\na,1,2,\"x\r\ny\nz\"\r\n\r\nb,1,2,\n   \n\nc,1,2,\"\n\"\nd,1,2,";
        let lines: Vec<_> = rows(bytes).iter().map(|row| row.line).collect();
        assert_eq!(lines, [5, 9, 12, 14]);
        let old_mac = bytes.replace("\r\n", "\n").replace('\n', "\r");
        let lines: Vec<_> = rows(old_mac).iter().map(|row| row.line).collect();
        assert_eq!(lines, [5, 9, 12, 14]);
    }

    #[test]
    fn a_bad_value_is_named_with_its_column_and_stops_nothing() {
        let bytes = format!(
            "{HEADER}a,1.0,2,1\n,1,2,1\na,1,,1\na,1,2,x\na,1,9223372036854775808,1\na\u{7}b,1,2,1\n{},1,2,1\nb,3,4,5\n",
            "n".repeat(257)
        );
        let rows = rows(bytes);
        let bad = |column, value: &str, error| {
            Err(RowError::BadId { column, value: value.into(), error })
        };
        assert_eq!(rows[0].parsed, bad(Column::InstId, "1.0", IdError::NotPlain));
        assert_eq!(rows[1].parsed, Err(RowError::BadName { value: "".into() }));
        assert_eq!(rows[2].parsed, bad(Column::AsstInstId, "", IdError::Empty));
        assert_eq!(rows[3].parsed, bad(Column::BizId, "x", IdError::NotPlain));
        let big = "9223372036854775808";
        assert_eq!(rows[4].parsed, bad(Column::AsstInstId, big, IdError::TooLarge));
        assert!(invalid(&rows[5]).contains("not the name"));
        let message = invalid(&rows[6]);
        assert!(message.contains(&format!("{}…", "n".repeat(60))), "{message}");
        assert_eq!(rows[7].parsed, Ok(link("b", 3, 4, 5)));
        assert_eq!((rows[7].ordinal, rows[7].line), (7, 9));
    }

    #[test]
    fn an_id_wins_over_a_name_and_a_name_alone_is_no_id() {
        let bytes = "关联标识,inst_id,源实例,asst_inst_id,dst,操作\n\
            a,1,x,2,,\na,,名=1,2,,add\na,1,x,,,\na,1,,2,,remove\na,1,,2,,删除\na,z,n,2,,\n";
        let rows = rows(bytes);
        assert_eq!(rows[0].parsed, Ok(NewAssociation { biz_id: None, ..link("a", 1, 2, 1) }));
        assert_eq!(rows[0].cells.get(Column::Source), "x");
        let (id, name) = (Column::InstId, Column::Source);
        assert_eq!(rows[1].parsed, Err(RowError::Named { id, name }));
        assert_eq!(rows[1].cells.get(Column::Source), "名=1");
        let (id, name) = (Column::AsstInstId, Column::Target);
        assert_eq!(rows[2].parsed, Err(RowError::NoInstance { id, name }));
        assert_eq!(rows[3].parsed, Err(RowError::BadAction("remove".into())));
        assert_eq!(rows[4].parsed, Err(RowError::Delete), "what shall go is never created");
        assert!(invalid(&rows[5]).contains("inst_id"), "a name does not mend an id");
    }

    #[test]
    fn a_row_deletes_where_that_is_allowed_and_its_action_or_the_one_for_none_says_so() {
        let bytes = "obj_asst_id,inst_id,asst_inst_id,action\n\
            a,1,2,\na,1,2, Delete \na,1,2,新增\na,1,2,no\na,x,2,删除\n";
        let delete = Action::Delete;
        let read = |action, allow_delete| {
            read_with(bytes, &InputOptions { action, allow_delete, ..InputOptions::default() })
                .unwrap()
        };
        let said = |rows: &[Row]| {
            let said = rows.iter().map(|row| row.cells.get(Column::Action).to_owned());
            said.collect::<Vec<_>>()
        };
        let rows = read(Action::Create, true);
        assert_eq!(rows[0].parsed, rows[1].parsed);
        assert_eq!(
            [rows[0].action(), rows[1].action(), rows[2].action()],
            [Action::Create, delete, Action::Create]
        );
        assert_ne!(rows[0].fingerprint(), rows[1].fingerprint(), "a mark is of an action, too");
        assert_eq!(rows[3].parsed, Err(RowError::BadAction("no".into())));
        assert!(invalid(&rows[4]).contains("inst_id"), "a delete needs its ids as well");
        assert_eq!(said(&rows), ["", " Delete ", "新增", "no", "删除"]);
        let rows = read(delete, true);
        assert_eq!(rows[0].action(), delete);
        assert_eq!(said(&rows)[0], "delete", "the line of results says it");
        let rows = read(delete, false);
        assert_eq!(rows[0].parsed, Err(RowError::Delete));
        assert!(rows[2].parsed.is_ok());
    }

    #[test]
    fn a_table_without_actions_holds_deletes_where_that_is_what_none_stands_for() {
        let bytes = "obj_asst_id,inst_id,asst_inst_id\na,1,2\n";
        let options = InputOptions {
            action: Action::Delete,
            allow_delete: true,
            require_biz_id: true,
            ..InputOptions::default()
        };
        let rows = read_with(bytes, &options).unwrap();
        assert_eq!(rows[0].action(), Action::Delete);
        assert_eq!(rows[0].cells.get(Column::Action), "delete");
        assert!(rows[0].parsed.is_ok(), "a delete needs no business");
        let reader = Reader::from_read("a.csv", bytes.as_bytes(), &options).unwrap();
        assert!(reader.says_more_than_ids());
    }

    #[test]
    fn any_object_may_ask_for_a_delete_where_that_is_allowed() {
        let lines = r#"{"obj_asst_id":"a","inst_id":1,"asst_inst_id":2}
{"obj_asst_id":"a","inst_id":1,"asst_inst_id":2,"action":null}
{"obj_asst_id":"a","inst_id":1,"asst_inst_id":2,"action":"DELETE"}
{"obj_asst_id":"a","inst_id":1,"asst_inst_id":2,"action":true}
"#;
        for allow_delete in [false, true] {
            let options = InputOptions { allow_delete, ..InputOptions::default() };
            let rows = read_with(lines, &options).unwrap();
            let actions: Vec<_> = rows.iter().map(Row::action).collect();
            assert_eq!(actions[..3], [Action::Create, Action::Create, Action::Delete]);
            assert_eq!(rows[2].parsed.is_ok(), allow_delete);
            assert_eq!(rows[3].parsed, Err(RowError::BadAction("true".into())));
            let reader = Reader::from_read("a.jsonl", lines.as_bytes(), &options).unwrap();
            assert_eq!(reader.says_more_than_ids(), allow_delete);
        }
    }

    #[test]
    fn an_empty_biz_id_is_filled_missed_or_none() {
        let bytes = format!("{HEADER}a,1,2, \na,1,2,3\n");
        let mut options = InputOptions { require_biz_id: true, ..Default::default() };
        let rows = read_with(&bytes, &options).unwrap();
        assert_eq!(rows[0].parsed, Err(RowError::MissingBizId));
        assert_eq!(rows[1].parsed, Ok(link("a", 1, 2, 3)));
        options.default_biz_id = InstId::new(9).ok();
        let rows = read_with(&bytes, &options).unwrap();
        assert_eq!(rows[0].parsed, Ok(link("a", 1, 2, 9)));
        assert_eq!(rows[0].cells.get(Column::BizId), "9");
        assert_eq!(rows[1].parsed, Ok(link("a", 1, 2, 3)));
    }

    #[test]
    fn a_row_of_another_width_is_invalid_unless_what_is_more_is_empty() {
        let rows = rows(format!("{HEADER}a,1,2,3,,\na,1,2\na,1,2,3,4\n,,,\na\n"));
        assert_eq!(rows[0].parsed, Ok(link("a", 1, 2, 3)));
        assert_eq!(invalid(&rows[1]), "3 cells, but the header has 4");
        assert_eq!(rows[1].cells.ids(), ["a", "1", "2", ""]);
        assert!(invalid(&rows[2]).starts_with("5 cells, but the header has 4; a cell"));
        assert_eq!(rows[2].cells.ids(), ["a", "1", "2", "3"]);
        assert_eq!(invalid(&rows[3]), "1 cells, but the header has 4");
    }

    #[test]
    fn rows_of_blank_cells_are_skipped_and_counted_wherever_they_stand() {
        let blank = [",,,\n", " ,\t, ,\n", "\"\",\"\",\"\",\"\"\n", ",,\n", "\u{3000},,,,,\n"];
        let around = blank.concat();
        // Lines without a delimiter are empty lines, and not counted.
        let text = format!("{around}\n   \n{HEADER}{around}a,1,2,3\n  \n{around}b,x,2,3\n{around}");
        for text in [text.replace("\u{3000}", ""), text] {
            let options = InputOptions::default();
            let mut reader = Reader::from_read("in", Cursor::new(text), &options).unwrap();
            let mut lines = Vec::new();
            while let Some(row) = reader.next() {
                let row = row.unwrap();
                let blank_before = reader.blank_before().map(|row| (row.line, row.ordinal));
                lines.push((row.ordinal, row.line, blank_before));
            }
            assert_eq!(lines, [(0, 14, Some((9, 0))), (1, 21, Some((16, 1)))]);
            assert_eq!(reader.blank_before().map(|row| row.line), Some(22));
            assert_eq!(reader.blank_rows(), 20);
        }
    }

    #[test]
    fn a_cell_beside_the_fields_makes_a_row_that_is_not_blank() {
        let rows = rows("obj_asst_id,inst_id,asst_inst_id,biz_id,note\n,,,,to do\n,,,2,\n");
        assert_eq!(rows.len(), 2);
    }

    fn without_header() -> InputOptions {
        InputOptions { no_header: true, ..Default::default() }
    }

    #[test]
    fn a_file_without_a_header_is_told_and_read_in_the_order_of_the_columns() {
        for text in
            ["a,1,2,3\nb,4,5,6\n", "a\t1\t2\t3\nb\t4\t5\t6\n", "sep=;\na;1;2;3;\nb;4;5;6;\n"]
        {
            let (is_usage, message) = error_of(read(text));
            assert!(is_usage && message.contains("looks like a row"), "{message}");
            assert!(message.contains("--no-header"), "{message}");
            let rows = read_with(text, &without_header()).unwrap();
            let parsed: Vec<_> = rows.iter().map(|row| row.parsed.clone()).collect();
            assert_eq!(parsed, [Ok(link("a", 1, 2, 3)), Ok(link("b", 4, 5, 6))]);
        }
        let rows = read_with("\n,,\na,1,2\nb,3\n", &without_header()).unwrap();
        assert_eq!((rows[0].line, rows[0].cells.ids()), (3, ["a", "1", "2", ""]));
        assert_eq!(invalid(&rows[1]), "2 cells, but the first row has 3");
        assert_eq!(rows.len(), 2);
        let rows = read_with("a,1,2,,,\na,1,2,3\n", &without_header()).unwrap();
        assert_eq!(rows[1].parsed, Ok(link("a", 1, 2, 3)), "the business of the first is empty");
    }

    #[test]
    fn no_header_is_refused_where_there_is_one_or_columns_are_missing() {
        let (is_usage, message) = error_of(read_with(HEADER, &without_header()));
        assert!(is_usage && message.contains("line 1 is a header"), "{message}");
        let (is_usage, message) = error_of(read_with("a,1\n", &without_header()));
        assert!(is_usage && message.contains("line 1 has 2 cells"), "{message}");
        let options = InputOptions { require_biz_id: true, ..without_header() };
        let (is_usage, message) = error_of(read_with("a,1,2\n", &options));
        assert!(is_usage && message.contains("--biz-id"), "{message}");
        assert_eq!(read_with("", &without_header()).unwrap_or_default(), []);
    }

    #[test]
    fn full_width_commas_delimit_where_the_header_proves_it() {
        let text = "obj_asst_id，inst_id，asst_inst_id，biz_id，note\n\
                    a，1，2，3，\"x，y\"\n，，，，\na，1，2，3，é，\n\"x，y\"，1，2，3，一\n";
        for chunk in 1..text.len() {
            let chunks = text.as_bytes().chunks(chunk).map(<[u8]>::to_vec).collect();
            let pipe = Pipe { chunks, ends: true };
            let rows = Opened::new(pipe, &InputOptions::default()).unwrap().all().unwrap();
            assert_eq!(rows[0].parsed, Ok(link("a", 1, 2, 3)), "{chunk}");
            assert_eq!(rows[1].parsed, Ok(link("a", 1, 2, 3)), "{chunk}");
            assert_eq!(rows[2].cells.ids(), ["x，y", "1", "2", "3"], "{chunk}");
            assert_eq!(rows.len(), 3, "{chunk}");
        }
    }

    #[test]
    fn a_comma_of_the_other_width_is_hinted_at() {
        let row = |text: &str| invalid(&rows(text)[0]);
        let said = row(&format!("{HEADER}a，1，2，3\n"));
        assert_eq!(
            said,
            "1 cells, but the header has 4; a full-width comma (，) is no delimiter in this file"
        );
        let said = row("obj_asst_id，inst_id，asst_inst_id\na,1,2\n");
        assert!(
            said.ends_with("the delimiter in this file is the full-width comma (，)"),
            "{said}"
        );
        let said = error_of(read("obj_asst_id，inst_id,asst_inst_id\n")).1;
        assert!(said.contains("a full-width comma (，) is no delimiter there"), "{said}");
        let (row, width) = (rows(format!("{HEADER}a,1,2,x，y\n")), "has 4");
        assert!(!invalid(&row[0]).contains(width), "it has all its cells: {row:?}");
    }

    #[test]
    fn rows_share_the_names_of_their_model_associations() {
        let rows = rows(format!("{HEADER}a,1,2,\nb,1,2,\na,3,4,\n"));
        let name = |index: usize| &rows[index].parsed.as_ref().unwrap().association.obj_asst_id;
        assert!(Arc::ptr_eq(name(0), name(2)));
        assert!(!Arc::ptr_eq(name(0), name(1)));
    }

    #[test]
    fn a_quote_that_is_never_closed_ends_the_input_and_swallows_no_row_silently() {
        let bytes = "obj_asst_id,inst_id,asst_inst_id,note\na,1,2,x\nb,1,2,\"y\nc,1,2,z\n";
        let (is_usage, message) = error_of(read(bytes));
        assert!(!is_usage && message.starts_with("in: line 3: a quote"), "{message}");
    }

    #[test]
    fn a_row_may_be_as_long_as_the_limit_and_not_longer() {
        let header = "obj_asst_id,inst_id,asst_inst_id,note\n";
        let row = |length: usize| format!("{header}a,1,2,{}\nb,1,2,\n", "n".repeat(length - 7));
        assert_eq!(rows(row(MAX_RECORD)).len(), 2);
        let (is_usage, message) = error_of(read(row(MAX_RECORD + 1)));
        assert!(!is_usage && message.starts_with("in: line 2: the row"), "{message}");
    }
}

mod objects {
    use super::*;

    #[test]
    fn ids_are_exact_whether_numbers_or_strings() {
        let bytes = concat!(
            r#"{"inst_id":9007199254740993,"asst_inst_id":"9223372036854775807","obj_asst_id":"a"}"#,
            "\n\n  \r\n",
            r#" {"bk_obj_asst_id":"\u540d","bk_inst_id":1,"bk_asst_inst_id":" 2","bk_biz_id":"3","x":{"y":[]}} "#,
        );
        let rows = rows(bytes);
        assert_eq!(rows[0].parsed, Ok(link("a", 9_007_199_254_740_993, i64::MAX as u64, 0)));
        assert_eq!(rows[1].parsed, Ok(link("名", 1, 2, 3)));
        assert_eq!(rows[1].cells.ids(), ["名", "1", " 2", "3"]);
        assert_eq!((rows[0].line, rows[1].line), (1, 4));
    }

    #[test]
    fn what_is_no_id_is_refused_with_its_text_as_it_stood() {
        for (value, cell) in [
            ("1.0", "1.0"),
            ("1e3", "1e3"),
            ("-5", "-5"),
            ("true", "true"),
            ("null", ""),
            ("[1]", "[1]"),
            ("{\"a\": 1}", "{\"a\": 1}"),
            ("9223372036854775808", "9223372036854775808"),
            ("\"\\u0661\"", "١"),
        ] {
            let bytes = format!("{{\"obj_asst_id\":\"a\",\"inst_id\":{value},\"asst_inst_id\":1}}");
            let rows = rows(bytes);
            assert_eq!(rows[0].cells.get(Column::InstId), cell);
            assert!(
                matches!(&rows[0].parsed, Err(RowError::BadId { column: Column::InstId, value, .. }) if **value == *cell),
                "{value}: {:?}",
                rows[0].parsed
            );
        }
    }

    #[test]
    fn an_object_may_hold_names_and_an_action() {
        let lines = r#"{"obj_asst_id":"a","inst_id":1,"target":"db=1","action":"create"}
{"obj_asst_id":"a","inst_id":1,"asst_inst_id":2,"action":"delete"}
{"obj_asst_id":"a","inst_id":1,"asst_inst_id":2}
"#;
        let rows = rows(lines);
        let (id, name) = (Column::AsstInstId, Column::Target);
        assert_eq!(rows[0].parsed, Err(RowError::Named { id, name }));
        assert_eq!(rows[0].cells.get(Column::Target), "db=1");
        assert_eq!(rows[1].parsed, Err(RowError::Delete));
        assert!(rows[2].parsed.is_ok() && rows[2].cells.named().is_none());
    }

    #[test]
    fn a_name_is_a_string_and_nothing_else() {
        for value in ["5", "true", "null", "[]", "\"\""] {
            let bytes = format!("{{\"obj_asst_id\":{value},\"inst_id\":1,\"asst_inst_id\":2}}");
            let rows = rows(bytes);
            assert!(matches!(rows[0].parsed, Err(RowError::BadName { .. })), "{value}");
        }
    }

    #[test]
    fn the_apis_own_body_is_a_row() {
        let body = r#"{"bk_app_code":"esb_test","bk_obj_asst_id":"bk_switch_belong_bk_host","bk_inst_id":11,"bk_asst_inst_id":21,"metadata":{"label":{"bk_biz_id":"1"}}}"#;
        let rows = rows(body);
        assert_eq!(rows[0].parsed, Ok(link("bk_switch_belong_bk_host", 11, 21, 1)));
        let options =
            InputOptions { map: vec![(Column::BizId, "biz".to_owned())], ..Default::default() };
        let rows = read_with(body, &options).unwrap();
        assert_eq!(rows[0].parsed, Ok(link("bk_switch_belong_bk_host", 11, 21, 0)));
    }

    #[test]
    fn json_in_another_shape_is_refused_once_with_the_command_that_mends_it() {
        let row = r#"{"obj_asst_id":"a","inst_id":1,"asst_inst_id":2}"#;
        let pretty = row.replace(',', ",\n  ").replace('{', "{\n  ").replace('}', "\n}");
        for (text, said) in [
            (format!("{pretty}\n{pretty}\n"), "line 1: an object takes several lines"),
            (format!("\n{pretty}"), "line 2: an object takes several lines"),
            (format!("{row} {row}\n{row}\n"), "line 1: several values stand on one line"),
            (format!("{row}{row}{row}"), "line 1: several values stand on one line"),
        ] {
            for chunk in [1, 7, 1000] {
                let chunks = text.as_bytes().chunks(chunk).map(<[u8]>::to_vec).collect();
                let opened = Opened::new(Pipe { chunks, ends: true }, &InputOptions::default());
                let error = opened.err().unwrap();
                assert!(error.is_usage());
                let error = error.to_string();
                assert!(error.contains(said) && error.contains("`jq -c . in`"), "{error}");
            }
        }
        let (is_usage, message) = error_of(read(format!("[\n {row}\n]\n")));
        assert!(is_usage && message.contains("jq -c '.[]' in"), "{message}");
    }

    #[test]
    fn a_first_line_that_is_torn_is_one_invalid_row() {
        let row = r#"{"obj_asst_id":"a","inst_id":1,"asst_inst_id":2}"#;
        for cut in 1..row.len() {
            let rows = rows(format!("{}\n{row}\n{row}\n", &row[..cut]));
            let good: Vec<_> = rows.iter().map(|row| row.parsed.is_ok()).collect();
            assert_eq!(good, [false, true, true], "cut at {cut}");
        }
        let rows = rows(format!("{row} and more\n{row}\n"));
        assert_eq!([rows[0].parsed.is_ok(), rows[1].parsed.is_ok()], [false, true]);
    }

    #[test]
    fn a_line_that_is_no_object_is_invalid_and_the_next_one_is_read() {
        let good = r#"{"obj_asst_id":"a","inst_id":1,"asst_inst_id":2}"#;
        for (bad, what) in [
            ("[1]", "expected an object"),
            ("{\"inst_id\":", "EOF"),
            ("{\"inst_id\":01}", "invalid number"),
            (r#"{"inst_id":1} x"#, "trailing characters"),
            (r#"{"inst_id":1,"bk_inst_id":1}"#, "two values for inst_id"),
            (r#"{"inst_id":1,"inst_id":1}"#, "two values for inst_id"),
            (r#"{"biz_id":1,"metadata":{"label":{"bk_biz_id":"1"}}}"#, "two values for biz_id"),
            (r#"{"obj_asst_id":"\ud800"}"#, "obj_asst_id: unexpected end of hex escape"),
            (
                r#"{"metadata":{"label":{"bk_biz_id":"1","bk_biz_id":"2"}}}"#,
                "metadata: duplicate field",
            ),
        ] {
            let rows = rows(format!("{good}\n{bad}\n{good}\n"));
            let message = invalid(&rows[1]);
            assert!(message.contains(what), "{message}");
            assert!(message.contains("(column "), "{message}");
            assert!(message.contains(&format!("{bad:?}")), "{message}");
            assert_eq!(rows[1].cells.ids(), [""; 4]);
            assert_eq!(rows[2].parsed, Ok(link("a", 1, 2, 0)));
            assert_eq!(rows[2].line, 3);
        }
        let rows = rows(format!("{good}\n{{{}", "x".repeat(1000)));
        assert!(invalid(&rows[1]).len() < 400);
        let rows = super::rows(format!("{good}\n\"{}\"", "x".repeat(1000)));
        assert!(invalid(&rows[1]).len() < 600);
    }

    #[test]
    fn a_row_without_a_key_is_invalid() {
        let rows = rows(r#"{"obj_asst_id":"a","inst_id":1}"#);
        assert_eq!(invalid(&rows[0]), "column asst_inst_id: \"\" is empty");
    }

    #[test]
    fn nesting_however_deep_does_no_harm() {
        let deep = "[".repeat(200_000) + &"]".repeat(200_000);
        let bytes = format!(
            "{{\"x\":{deep},\"metadata\":{deep},\"obj_asst_id\":\"a\",\"inst_id\":1,\"asst_inst_id\":2}}\n{{\"inst_id\":{}",
            "[".repeat(200_000)
        );
        let rows = rows(bytes);
        assert_eq!(rows[0].parsed, Ok(link("a", 1, 2, 0)));
        assert!(invalid(&rows[1]).contains("EOF"));
    }

    #[test]
    fn a_line_longer_than_the_limit_ends_the_input() {
        let line = |length: usize| format!("{{\"x\":\"{}\"}}", "n".repeat(length - 8));
        assert_eq!(rows(line(MAX_RECORD)).len(), 1);
        let (is_usage, message) = error_of(read(format!("{{}}\n{}", line(MAX_RECORD + 1))));
        assert!(!is_usage && message.starts_with("in: line 2: the row"), "{message}");
    }
}

mod bytes {
    use super::*;

    const CHINESE: &str =
        "obj_asst_id,inst_id,asst_inst_id,备注\n属于,1,2,主机一\n运行,3,4,交换机\n";

    fn assert_chinese(rows: &[Row]) {
        assert_eq!(rows[0].parsed, Ok(link("属于", 1, 2, 0)));
        assert_eq!(rows[1].parsed, Ok(link("运行", 3, 4, 0)));
        assert_eq!(rows.len(), 2);
    }

    #[test]
    fn encodings_are_told_by_mark_or_by_what_the_bytes_are() {
        for bytes in [
            CHINESE.as_bytes().to_vec(),
            format!("\u{feff}{CHINESE}").into_bytes(),
            utf16(CHINESE, u16::to_le_bytes),
            utf16(CHINESE, u16::to_be_bytes),
            gb18030(CHINESE),
        ] {
            for bytes in [gzip(&bytes), zstd(&bytes), bytes] {
                assert_chinese(&rows(bytes));
            }
        }
    }

    #[test]
    fn a_told_encoding_goes_before_what_is_found() {
        assert_chinese(&read_with(gb18030(CHINESE), &said("gbk")).unwrap());
        assert_chinese(&read_with(utf16(CHINESE, u16::to_be_bytes), &said("utf-16")).unwrap());
        let (big5, ..) = encoding_rs::BIG5.encode("obj_asst_id,inst_id,asst_inst_id\n屬於,1,2\n");
        let rows = read_with(big5, &said("big5")).unwrap();
        assert_eq!(rows[0].parsed, Ok(link("屬於", 1, 2, 0)));
        let unmarked = &utf16(CHINESE, u16::to_le_bytes)[2..];
        assert_chinese(&read_with(unmarked, &said("utf-16le")).unwrap());
        assert!("klingon".parse::<Encoding>().is_err());
    }

    #[test]
    fn what_cannot_be_decoded_spoils_its_row_only_where_it_is_used() {
        let mut bytes = gb18030(CHINESE);
        bytes.extend(b"a,1,2,\xff\n\xd6,1,2,x\na,\xff1,2,x\n");
        let rows = read_with(&bytes, &said("gb18030")).unwrap();
        assert_eq!(rows[2].parsed, Ok(link("a", 1, 2, 0)));
        assert!(invalid(&rows[3]).starts_with("column obj_asst_id: "), "{:?}", rows[3]);
        assert!(invalid(&rows[3]).contains("--encoding"));
        assert!(invalid(&rows[4]).starts_with("column inst_id: "), "{:?}", rows[4]);

        let bytes = [CHINESE.as_bytes(), b"a,1,2,\xff\n\xd6,1,2,x\nb,1,2,x\n"].concat();
        let rows = read_with(bytes, &said("utf-8")).unwrap();
        assert_eq!(rows[2].parsed, Ok(link("a", 1, 2, 0)));
        assert!(invalid(&rows[3]).contains("--encoding"));
        assert_eq!(rows[4].parsed, Ok(link("b", 1, 2, 0)));
    }

    #[test]
    fn text_that_is_neither_clearly_this_nor_that_is_refused() {
        // One broken character among UTF-8 that would all pass for GB18030.
        let bytes = [CHINESE.as_bytes(), "b,1,2,好".as_bytes(), b"\xe5\xa5\n"].concat();
        let (is_usage, message) = error_of(read(&bytes));
        assert!(!is_usage && message.starts_with("in: line 1: "), "{message}");
        assert!(message.contains("comes 3 lines further on"), "{message}");
        // The same, where GB18030 finds nothing wrong.
        let start = "obj_asst_id,inst_id,asst_inst_id\na,1,2\n好好".as_bytes();
        let bytes = [start, b"\xe5\xa5,1,2\n"].concat();
        assert!(!encoding_rs::GB18030.decode(&bytes).2);
        let (is_usage, message) = error_of(read(&bytes));
        assert!(!is_usage && message.starts_with("in: line 3: "), "{message}");
        // Neither of the two.
        let bytes = b"obj_asst_id,inst_id,asst_inst_id,x\na,1,2,caf\xe9\n";
        let (is_usage, message) = error_of(read(bytes));
        assert!(!is_usage && message.starts_with("in: line 2: "), "{message}");
        // A character that is one in both, and later, unseen when the first was passed on, one of GB18030.
        let first = gb18030("obj_asst_id,inst_id,asst_inst_id,x\na,1,2,一\n");
        let pipe = Pipe { chunks: [first, gb18030("b,1,2,\nc,1,2,中国\n")].into(), ends: true };
        let mut opened = Opened::new(pipe, &InputOptions::default()).unwrap();
        assert_eq!(opened.next().unwrap().unwrap().line, 2);
        assert_eq!(opened.next().unwrap().unwrap().line, 3);
        let message = opened.next().unwrap_err().to_string();
        assert!(message.starts_with("in: line 4: "), "{message}");
        assert!(message.contains("--encoding"), "{message}");
    }

    #[test]
    fn utf_8_that_was_seen_enough_of_stays_utf_8() {
        let pipe = Pipe {
            chunks: [CHINESE.as_bytes().to_vec(), b"a,1,2,\xd6\xd0\n\xd6\xd0,1,2,\n".to_vec()]
                .into(),
            ends: true,
        };
        let rows = Opened::new(pipe, &InputOptions::default()).unwrap().all().unwrap();
        assert_eq!(rows[2].parsed, Ok(link("a", 1, 2, 0)));
        assert!(invalid(&rows[3]).contains("can't be decoded"));
    }

    #[test]
    fn broken_utf_16_ends_the_input() {
        let mut bytes = utf16(&format!("{HEADER}a,1,2,3\nb,1,2,3"), u16::to_le_bytes);
        bytes.extend([0x00, 0xd8, 0x0a, 0x00]);
        let (is_usage, message) = error_of(read(&bytes));
        assert!(!is_usage && message.starts_with("in: line 3: "), "{message}");
        assert!(message.contains("UTF-16LE"), "{message}");
        let cut = utf16(&format!("{HEADER}a,1,2,3"), u16::to_le_bytes);
        let (is_usage, message) = error_of(read(&cut[..cut.len() - 1]));
        assert!(!is_usage && message.starts_with("in: line 2: "), "{message}");
    }

    #[test]
    fn gzip_may_have_many_members_and_zstd_many_frames() {
        let (a, b) = CHINESE.split_at(CHINESE.find('运').unwrap());
        let (a, b) = (a.as_bytes(), b.as_bytes());
        assert_chinese(&rows([gzip(a), gzip(b)].concat()));
        assert_chinese(&rows([zstd(a), zstd(b)].concat()));
    }

    #[test]
    fn broken_compression_ends_the_input_after_the_rows_before_it() {
        let mut text = HEADER.as_bytes().to_vec();
        for id in 1..=50_000_u64 {
            writeln!(text, "a,{},{id},3", id * 7_919 % 104_729).unwrap();
        }
        let (gz, zst) = (gzip(&text), zstd(&text));
        let mut wrong_sum = gz.clone();
        let at = wrong_sum.len() - 8;
        wrong_sum[at] ^= 1;
        for (bytes, name) in [
            (gz[..gz.len() - 1].to_vec(), "gzip"),
            (gz[..gz.len() / 2].to_vec(), "gzip"),
            (wrong_sum, "gzip"),
            (zst[..zst.len() - 1].to_vec(), "zstd"),
            (zst[..zst.len() / 2].to_vec(), "zstd"),
        ] {
            let mut opened = Opened::new(Cursor::new(bytes), &InputOptions::default()).unwrap();
            let mut count = 0;
            let error = loop {
                match opened.next() {
                    Ok(Some(_)) => count += 1,
                    Ok(None) => panic!("{name}: no error"),
                    Err(error) => break error,
                }
            };
            assert!(!error.is_usage());
            let message = error.to_string();
            assert!(message.contains(&format!("broken {name} data")), "{message}");
            assert!(message.starts_with("in: line "), "{message}");
            assert!(count <= 50_000);
        }
    }

    #[test]
    fn a_workbook_is_refused_with_advice() {
        let (is_usage, message) = error_of(read(b"PK\x03\x04rest"));
        assert!(!is_usage && message.contains("save the sheet as CSV"), "{message}");
    }
}

mod pipes {
    use super::*;

    /// Compresses or encodes chunk by chunk, as a program does that flushes after each row.
    fn chunks(texts: [&str; 3]) -> Vec<(&'static str, Vec<Vec<u8>>)> {
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let mut zst = zstd::Encoder::new(Vec::new(), 1).unwrap();
        let gz_chunks = texts.map(|text| {
            gz.write_all(text.as_bytes()).unwrap();
            gz.flush().unwrap();
            std::mem::take(gz.get_mut())
        });
        let zst_chunks = texts.map(|text| {
            zst.write_all(text.as_bytes()).unwrap();
            zst.flush().unwrap();
            std::mem::take(zst.get_mut())
        });
        let le = texts.map(|text| utf16(text, u16::to_le_bytes));
        let le = [le[0].clone(), le[1][2..].to_vec(), le[2][2..].to_vec()];
        vec![
            ("utf-8", texts.map(|text| text.as_bytes().to_vec()).to_vec()),
            ("gb18030", texts.map(gb18030).to_vec()),
            ("utf-16", le.to_vec()),
            ("gzip", gz_chunks.to_vec()),
            ("zstd", zst_chunks.to_vec()),
        ]
    }

    #[test]
    fn a_row_that_has_arrived_is_given_without_waiting_for_the_next() {
        let csv = ["obj_asst_id,inst_id,asst_inst_id,备注\n", "属,1,2,中\n", "a,1,2,\"\n\"\r\n"];
        let jsonl = [
            "{\"obj_asst_id\":\"属\",\"inst_id\":1,\"asst_inst_id\":1}\n",
            "{\"obj_asst_id\":\"属\",\"inst_id\":1,\"asst_inst_id\":2}\n",
            "{\"obj_asst_id\":\"于\",\"inst_id\":1,\"asst_inst_id\":3}\n",
        ];
        for (texts, given) in [(csv, [0, 1, 2]), (jsonl, [1, 2, 3])] {
            for (name, chunks) in chunks(texts) {
                for (so_far, rows) in given.into_iter().enumerate() {
                    let pipe = Pipe { chunks: chunks[..=so_far].to_vec().into(), ends: false };
                    let mut opened = Opened::new(pipe, &InputOptions::default()).unwrap();
                    for _ in 0..rows {
                        let row = opened.next().unwrap().unwrap();
                        assert!(row.parsed.is_ok(), "{name}: {row:?}");
                    }
                    let error = opened.next().unwrap_err().to_string();
                    assert!(error.contains("read without need"), "{name}: {error}");
                }
            }
        }
    }

    #[test]
    fn nothing_is_read_after_the_end_which_on_a_terminal_is_not_the_last() {
        let chunks = [HEADER, "a,1,2,3", "", "b,1,2,3\n"];
        let pipe =
            Pipe { chunks: chunks.map(|chunk| chunk.as_bytes().to_vec()).into(), ends: true };
        let mut opened = Opened::new(pipe, &said("utf-8")).unwrap();
        assert_eq!(opened.next().unwrap().unwrap().parsed, Ok(link("a", 1, 2, 3)));
        assert_eq!(opened.next().unwrap(), None);
        assert_eq!(opened.next().unwrap(), None);
    }

    #[test]
    fn a_long_row_that_comes_byte_by_byte_is_read_whole() {
        let (names, cells) = ("x,".repeat(200), format!("{},", "y".repeat(20)).repeat(200));
        let text = format!("{names}obj_asst_id,inst_id,asst_inst_id\n{cells}a,1,2");
        let pipe = Pipe { chunks: text.bytes().map(|byte| vec![byte]).collect(), ends: true };
        let rows = Opened::new(pipe, &InputOptions::default()).unwrap().all().unwrap();
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].parsed, Ok(link("a", 1, 2, 0)));
    }
}

mod sources {
    use super::*;

    fn file(folder: &tempfile::TempDir, name: &str, bytes: impl AsRef<[u8]>) -> Source {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        Source::from(path)
    }

    fn collect(sources: &[Source]) -> (Vec<Row>, Vec<Digest>) {
        let mut reader = Reader::open(sources, &InputOptions::default()).unwrap();
        let rows = reader.by_ref().collect::<Result<_, _>>().unwrap();
        (rows, reader.digests().to_vec())
    }

    #[test]
    fn about_how_many_rows_there_are_is_told_where_lines_can_be_counted() {
        let folder = tempfile::tempdir().unwrap();
        let table = file(&folder, "a.csv", format!("{HEADER}a,1,2,\nb,1,2,\n"));
        let objects = file(&folder, "b.jsonl", "{}\n{}\n{}\n");
        let empty = file(&folder, "empty.csv", "");
        let packed = file(&folder, "c.csv.gz", gzip(b"a\nb\n"));
        assert_eq!(about_how_many(&[table.clone(), objects, empty]), Some(5));
        let folder = Source::Path(folder.path().to_owned());
        for unknown in [packed, folder, Source::Stdin] {
            assert_eq!(about_how_many(&[table.clone(), unknown]), None);
        }
    }

    #[test]
    fn rows_are_counted_over_all_inputs_and_each_has_its_digest() {
        let folder = tempfile::tempdir().unwrap();
        let sources = [
            file(&folder, "a.csv", format!("{HEADER}a,1,2,\nb,1,2,\n")),
            file(&folder, "empty.jsonl", ""),
            file(&folder, "b.jsonl.gz", gzip(br#"{"obj_asst_id":"c"}"#)),
        ];
        let (rows, digests) = collect(&sources);
        let places: Vec<_> = rows.iter().map(|row| (row.ordinal, row.file, row.line)).collect();
        assert_eq!(places, [(0, 0, 2), (1, 0, 3), (2, 2, 1)]);
        assert_eq!(digests.len(), 3);
        for (source, found) in sources.iter().zip(&digests) {
            assert_eq!(&digest_of(source).unwrap(), found);
            assert_eq!(found.name, source.to_string());
        }
        assert_eq!(
            digests[1].sha256,
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        assert_eq!(digests[0].bytes, HEADER.len() as u64 + 14);
    }

    #[test]
    fn what_is_wrong_with_the_last_input_is_known_before_the_first_row() {
        let folder = tempfile::tempdir().unwrap();
        let good = file(&folder, "a.csv", format!("{HEADER}a,1,2,\n"));
        let bad = file(&folder, "b.csv", "obj_asst_id,inst_id\na,1\n");
        let error = Reader::open(&[good.clone(), bad], &InputOptions::default()).err().unwrap();
        assert!(error.is_usage() && error.to_string().contains("b.csv: no column asst_inst_id"));
        let error = Reader::open(&[Source::Stdin, Source::Stdin], &InputOptions::default());
        assert!(error.err().unwrap().is_usage());
        for (source, what) in [
            (Source::from(folder.path().join("none.csv")), "can't be read"),
            (Source::from(folder.path().to_owned()), "is a folder"),
        ] {
            assert!(digest_of(&source).unwrap_err().to_string().contains(what));
            let error =
                Reader::open(&[good.clone(), source], &InputOptions::default()).err().unwrap();
            assert!(!error.is_usage() && error.to_string().contains(what), "{error}");
        }
        assert_eq!(Source::from(std::path::PathBuf::from("-")), Source::Stdin);
    }

    #[test]
    fn an_error_is_the_last_thing_a_reader_gives() {
        let folder = tempfile::tempdir().unwrap();
        let text = "obj_asst_id,inst_id,asst_inst_id,x\na,1,2,\nb,1,2,\"";
        let sources =
            [file(&folder, "a.csv", text), file(&folder, "b.csv", format!("{HEADER}a,1,2,\n"))];
        let mut reader = Reader::open(&sources, &InputOptions::default()).unwrap();
        assert!(reader.next().unwrap().is_ok());
        assert!(reader.next().unwrap().is_err());
        assert!(reader.next().is_none());
    }

    #[test]
    fn an_input_that_changes_before_its_turn_is_no_usage_error() {
        let folder = tempfile::tempdir().unwrap();
        let sources = [
            file(&folder, "a.csv", format!("{HEADER}a,1,2,\n")),
            file(&folder, "b.csv", format!("{HEADER}a,1,2,\n")),
        ];
        let mut reader = Reader::open(&sources, &InputOptions::default()).unwrap();
        file(&folder, "b.csv", "x\n");
        assert!(reader.next().unwrap().is_ok());
        let error = reader.next().unwrap().unwrap_err();
        assert!(!error.is_usage() && error.to_string().contains("different"), "{error}");
        assert_eq!(reader.digests().len(), 1);
    }

    #[test]
    fn the_content_goes_before_the_name() {
        let folder = tempfile::tempdir().unwrap();
        let object = r#"{"obj_asst_id":"a","inst_id":1,"asst_inst_id":2}"#;
        for (name, bytes, expected) in [
            ("a.csv", object.as_bytes().to_vec(), Ok(link("a", 1, 2, 0))),
            ("b.jsonl", format!("{HEADER}a,1,2,3").into_bytes(), Ok(link("a", 1, 2, 3))),
            ("c.csv.gz", format!("{HEADER}a,1,2,3").into_bytes(), Ok(link("a", 1, 2, 3))),
            ("d.csv", zstd(format!("{HEADER}a,1,2,3").as_bytes()), Ok(link("a", 1, 2, 3))),
        ] {
            let (rows, _) = collect(&[file(&folder, name, bytes)]);
            assert_eq!(rows[0].parsed, expected, "{name}");
        }
        let (rows, _) = collect(&[file(&folder, "e.jsonl", format!("oops\n{object}\n"))]);
        assert!(invalid(&rows[0]).contains("\"oops\""));
        assert_eq!(rows[1].parsed, Ok(link("a", 1, 2, 0)));
    }

    #[test]
    fn the_first_chinese_character_of_a_file_may_come_late_and_alone() {
        let folder = tempfile::tempdir().unwrap();
        for filling in 8180..8195 {
            let text = format!(
                "obj_asst_id,inst_id,asst_inst_id,x\n{}a,1,2,一\n{}b,1,2,中国\n",
                "a,1,2,x\n".repeat(filling),
                "a,1,2,x\n".repeat(100),
            );
            let (rows, _) = collect(&[file(&folder, "a.csv", gb18030(&text))]);
            assert_eq!(rows.len(), filling + 102);
        }
    }

    #[test]
    fn bytes_from_elsewhere_are_read_as_a_file_s_are() {
        let bytes = gzip(format!("{HEADER}a,1,2,3\nb,x,2,3\n").as_bytes());
        let from = Cursor::new(bytes.clone());
        let mut reader = Reader::from_read("there", from, &InputOptions::default()).unwrap();
        let rows = reader.by_ref().collect::<Result<Vec<_>, _>>().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (there, digests) = collect(&[file(&folder, "there", bytes)]);
        assert_eq!((rows.len(), &rows), (2, &there));
        assert_eq!(reader.digests()[0].sha256, digests[0].sha256);
        let error =
            Reader::from_read("there", io::empty(), &InputOptions::default()).err().unwrap();
        assert!(error.to_string().starts_with("there: no column"), "{error}");
    }

    #[test]
    fn a_reader_can_live_on_its_own_thread() {
        fn is_send<T: Send + 'static>() {}
        is_send::<Reader>();
    }
}

mod any_input {
    use super::*;

    #[derive(Clone, Copy, Debug)]
    enum Form {
        Csv,
        CsvQuoted,
        Tsv,
        Jsonl,
    }

    #[derive(Clone, Copy, Debug)]
    enum Packing {
        Plain,
        Gzip,
        Members,
        Zstd,
    }

    const ENCODINGS: [&str; 5] = ["utf-8", "bom", "utf-16le", "utf-16be", "gb18030"];

    /// The line after a text.
    fn line_after(text: &str) -> u64 {
        let unix = text.replace("\r\n", "\n").replace('\r', "\n");
        unix.matches('\n').count() as u64 + 1
    }

    /// A table as text, and the line of each row.
    fn write(table: &[[String; 5]], form: Form, break_with: &str) -> (String, Vec<u64>) {
        let header = ["obj_asst_id", "inst_id", "asst_inst_id", "bk_biz_id", "x"];
        let record = |cells: [&str; 5]| match form {
            Form::Jsonl => {
                let pairs = header.into_iter().zip(cells);
                let object: std::collections::BTreeMap<_, _> = pairs.collect();
                serde_json::to_string(&object).unwrap()
            }
            Form::Csv | Form::CsvQuoted | Form::Tsv => {
                let quotes = match form {
                    Form::CsvQuoted => ::csv::QuoteStyle::Always,
                    _ => ::csv::QuoteStyle::Necessary,
                };
                let delimiter = if matches!(form, Form::Tsv) { b'\t' } else { b',' };
                let mut writer = ::csv::WriterBuilder::new()
                    .quote_style(quotes)
                    .delimiter(delimiter)
                    .from_writer(Vec::new());
                writer.write_record(cells).unwrap();
                let line = String::from_utf8(writer.into_inner().unwrap()).unwrap();
                line.strip_suffix('\n').unwrap().to_owned()
            }
        };
        let mut text = String::new();
        if !matches!(form, Form::Jsonl) {
            text = record(header) + break_with;
        }
        let mut lines = Vec::new();
        for row in table {
            lines.push(line_after(&text));
            text += &record([0, 1, 2, 3, 4].map(|index: usize| &*row[index]));
            text += break_with;
        }
        (text, lines)
    }

    fn encode(text: &str, encoding: &str) -> Vec<u8> {
        match encoding {
            "utf-8" => text.as_bytes().to_vec(),
            "bom" => format!("\u{feff}{text}").into_bytes(),
            "utf-16le" => utf16(text, u16::to_le_bytes),
            "utf-16be" => utf16(text, u16::to_be_bytes),
            _ => gb18030(text),
        }
    }

    fn pack(bytes: &[u8], packing: Packing) -> Vec<u8> {
        let (a, b) = bytes.split_at(bytes.len() / 2);
        match packing {
            Packing::Plain => bytes.to_vec(),
            Packing::Gzip => gzip(bytes),
            Packing::Members => [gzip(a), gzip(b)].concat(),
            Packing::Zstd => zstd(bytes),
        }
    }

    /// A cell: an id, a name, or anything at all.
    fn cell() -> impl Strategy<Value = String> {
        // The one character that GB18030 lacks.
        let any = any::<String>().prop_map(|text| text.replace('\u{e5e5}', ""));
        prop_oneof![
            4 => "[1-9][0-9]{0,18}",
            2 => "[a-z_]{1,12}",
            2 => "[一-龥 ,;|\t\r\n\"'{]{0,8}",
            1 => any,
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn any_table_reads_back_the_same(
            table in prop::collection::vec(prop::array::uniform5(cell()), 0..12),
            form in prop::sample::select(vec![Form::Csv, Form::CsvQuoted, Form::Tsv, Form::Jsonl]),
            break_with in prop::sample::select(vec!["\n", "\r\n", "\n\n", "\r\n\n"]),
            encoding in prop::sample::select(ENCODINGS.to_vec()),
            packing in prop::sample::select(
                vec![Packing::Plain, Packing::Gzip, Packing::Members, Packing::Zstd]
            ),
            chunk in 1_usize..200,
        ) {
            let (text, lines) = write(&table, form, break_with);
            let bytes = pack(&encode(&text, encoding), packing);
            // A few characters may be valid in both; marks and UTF-8 must be detected without help.
            let mut options = match encoding {
                "gb18030" => said(encoding),
                _ => InputOptions::default(),
            };
            if table.is_empty() {
                options.format = matches!(form, Form::Jsonl).then_some(Format::Jsonl);
            }
            let pipe = Pipe { chunks: bytes.chunks(chunk).map(<[u8]>::to_vec).collect(), ends: true };
            let rows = Opened::new(pipe, &options).unwrap().all().unwrap();
            let found: Vec<_> = rows.iter().map(|row| (row.line, row.cells.ids())).collect();
            let is_row = |row: &[String; 5]| {
                matches!(form, Form::Jsonl) || row.iter().any(|cell| !cell.trim().is_empty())
            };
            let expected: Vec<_> = table
                .iter()
                .zip(lines)
                .filter(|(row, _)| is_row(row))
                .map(|(row, line)| (line, [0, 1, 2, 3].map(|index: usize| &*row[index])))
                .collect();
            prop_assert_eq!(found, expected);
            for (row, texts) in rows.iter().zip(table.iter().filter(|row| is_row(row))) {
                let ids = [1, 2, 3].map(|index: usize| InstId::parse(&texts[index]).map(InstId::get));
                if let Ok(link) = &row.parsed {
                    prop_assert_eq!(&*link.association.obj_asst_id, texts[0].trim());
                    prop_assert_eq!(Ok(link.association.inst_id.get()), ids[0]);
                    prop_assert_eq!(Ok(link.association.asst_inst_id.get()), ids[1]);
                    prop_assert_eq!(link.biz_id.map(InstId::get), ids[2].ok());
                } else {
                    let name = texts[0].trim();
                    prop_assert!(
                        name.is_empty() || name.len() > 256 || name.contains(char::is_control)
                            || ids[0].is_err() || ids[1].is_err()
                            || (ids[2].is_err() && ids[2] != Err(IdError::Empty))
                    );
                }
            }
        }

        #[test]
        fn any_bytes_end_without_panic(
            start in prop::sample::select(vec![
                &b""[..], HEADER.as_bytes(), b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf", b"\x1f\x8b\x08",
                b"\x28\xb5\x2f\xfd", b"{\"inst_id\":",
            ]),
            bytes in prop::collection::vec(
                prop_oneof![any::<u8>(), prop::sample::select(b"\r\n,\"{}:1\\".to_vec())], 0..300
            ),
            format in prop::option::of(prop::sample::select(vec![Format::Csv, Format::Tsv, Format::Jsonl])),
            encoding in prop::option::of(prop::sample::select(vec!["utf-8", "utf-16", "gb18030"])),
            chunk in 1_usize..50,
        ) {
            let bytes = [start, &bytes].concat();
            let options = InputOptions {
                format,
                encoding: encoding.map(|name| name.parse().unwrap()),
                ..Default::default()
            };
            let pipe = Pipe { chunks: bytes.chunks(chunk).map(<[u8]>::to_vec).collect(), ends: true };
            if let Ok(mut opened) = Opened::new(pipe, &options) {
                let mut last = 0;
                while let Ok(Some(row)) = opened.next() {
                    prop_assert!(row.line > last);
                    last = row.line;
                }
            }
        }

        #[test]
        fn each_line_of_jsonl_that_is_not_blank_is_one_row(
            lines in prop::collection::vec("[ {}\\[\\]\",:a-z0-9\\\\]{0,20}", 0..20),
        ) {
            let options = InputOptions { format: Some(Format::Jsonl), ..Default::default() };
            let rows = match read_with(lines.join("\n"), &options) {
                Err(InputError::JsonShape { .. }) => return Ok(()),
                rows => rows.unwrap(),
            };
            let found: Vec<_> = rows.iter().map(|row| row.line).collect();
            let expected: Vec<_> = (1..)
                .zip(&lines)
                .filter(|(_, line)| !line.trim().is_empty())
                .map(|(number, _)| number)
                .collect();
            prop_assert_eq!(found, expected);
        }
    }
}
