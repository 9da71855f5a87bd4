//! Every shape in which rows come in and go out.

use std::io::Write;

use encoding_rs::GB18030;
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::server::Server;
use crate::workdir::{HEADER, NN, Row, Workdir, assert_conserved, csv_of, links, stats};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

fn utf16(text: &str) -> Vec<u8> {
    let units = std::iter::once(0xfeff).chain(text.encode_utf16());
    units.flat_map(u16::to_le_bytes).collect()
}

/// Two rows in every packing that is told by its content: all end in the same two associations.
#[test]
fn packing_and_encoding_are_told_by_content() {
    let server = Server::esb();
    let work = Workdir::new();
    let plain = format!(
        "obj_asst_id,inst_id,asst_inst_id,biz_id,备注\n{NN},1,100,1,机架\n{NN},2,101,1,上联\n"
    );
    let gbk = GB18030.encode(&plain).0.into_owned();
    let jsonl = format!(
        "{{\"obj_asst_id\":\"{NN}\",\"inst_id\":1,\"asst_inst_id\":\"100\",\"biz_id\":1}}\n\
         {{\"bk_obj_asst_id\":\"{NN}\",\"bk_inst_id\":2,\"bk_asst_inst_id\":101,\"metadata\":{{\"label\":{{\"bk_biz_id\":\"1\"}}}}}}\n"
    );
    let book = include_bytes!("../excel/own-headers.xlsx");
    let packings: [(&str, Vec<u8>); 13] = [
        ("plain.csv", plain.clone().into()),
        ("bom.csv", format!("\u{feff}{plain}").into()),
        ("crlf.csv", plain.replace('\n', "\r\n").into()),
        ("gbk.csv", gbk.clone()),
        ("utf16.csv", utf16(&plain)),
        ("plain.csv.gz", gzip(plain.as_bytes())),
        ("gzip-by-content.csv", gzip(&gbk)),
        ("plain.csv.zst", zstd::encode_all(plain.as_bytes(), 3).unwrap()),
        ("plain.tsv", plain.replace(',', "\t").into()),
        ("plain.jsonl", jsonl.clone().into()),
        ("jsonl-by-content.txt", jsonl.into()),
        ("book.xlsx", book.to_vec()),
        ("book-by-content.csv", book.to_vec()),
    ];
    for (name, bytes) in packings {
        work.write(name, bytes);
        work.bkassoc("import").arg(name).args("-o out.csv --fresh --yes").to(&server).ends(0);
        let rows = work.rows("out.csv");
        let ids: Vec<_> =
            rows.iter().map(|row| (&*row["inst_id"], &*row["asst_inst_id"])).collect();
        assert_eq!(ids, [("1", "100"), ("2", "101")], "{name}");
    }
    assert_eq!(server.sandbox.len(), 4 + 2);
}

#[test]
fn columns_of_other_names_are_mapped() {
    let server = Server::esb();
    let work = Workdir::new();
    work.write("in.csv", format!("biz_id,目标,关联,源实例\n1,100,{NN},1\n"));
    let maps = "--map obj_asst_id=关联 --map inst_id=源实例 --map asst_inst_id=目标";
    work.bkassoc("import in.csv").args(maps).to(&server).ends(0);
    let rows = work.rows("in.results.csv");
    assert_eq!((&*rows[0]["inst_id"], &*rows[0]["asst_inst_id"]), ("1", "100"));
    server.assert_stored(&rows);
}

#[test]
fn several_inputs_are_one_run_and_each_line_names_its_file() {
    let server = Server::esb();
    let work = Workdir::new();
    work.write("a.csv", csv_of([format!("{NN},1,100,1"), format!("{NN},x,100,1")]));
    work.write(
        "b.tsv",
        csv_of([format!("{NN},1,100,1"), format!("{NN},2,100,1")]).replace(',', "\t"),
    );
    work.bkassoc("import a.csv b.tsv -o out.csv").to(&server).ends(3).saying(&["a.csv:3"]);
    assert_eq!(work.read("out.csv").lines().next().unwrap(), format!("{HEADER},file"));
    let said = |row: &Row| format!("{} {} {}", row["file"], row["line"], row["status"]);
    let rows: Vec<_> = work.rows("out.csv").iter().map(said).collect();
    assert_eq!(rows, ["a.csv 2 created", "a.csv 3 invalid", "b.tsv 2 existed", "b.tsv 3 created"]);
    let record = work.json("out.csv.run.json");
    assert_eq!(record["digests"].as_array().unwrap().len(), 2);
}

#[test]
fn lines_of_one_input_are_never_shown_under_the_name_of_another() {
    let server = Server::esb();
    let work = Workdir::new();
    work.write("a.csv", links(0)).write("b.csv", csv_of([format!("{NN},x,100,1")]));
    let import = || work.bkassoc("import a.csv b.csv -o out.csv").to(&server);
    for _ in ["begins", "is finished"] {
        let _ = import().ends(3).saying(&["line b.csv:2"]);
    }
    work.bkassoc("results out.csv -o copy-{date}.csv").ends(0);
    let copy = work.names().into_iter().find(|name| name.starts_with("copy-20")).unwrap();
    assert_eq!(work.read(&copy), work.read("out.csv"));

    let stray = work.read("out.csv").replace(",b.csv\n", ",c.csv\n");
    work.write("out.csv", stray);
    let results = work.bkassoc("results out.csv -o copy.csv");
    let rerun = work.bkassoc("rerun out.csv --all-failed -o rerun.csv").to(&server);
    for command in [results, rerun, import()] {
        let _ = command.ends(7).saying(&["line 2: column file: \"c.csv\" is no input of this run"]);
    }
}

#[test]
fn results_take_the_format_of_their_ending() {
    let server = Server::esb();
    let work = Workdir::new();
    work.write("in.csv", format!("{}{NN},x,7,\n", links(3)));
    for name in ["out.csv", "out.tsv", "out.jsonl"] {
        work.bkassoc("import in.csv --biz-id 5 -o").arg(name).to(&server).ends(3);
    }
    assert_conserved(&work.table("out.tsv", b'\t')[..3], &work.rows("in.csv")[..3]);
    let lines = work.read("out.jsonl");
    let lines: Vec<serde_json::Value> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut names: Vec<_> = lines[0].as_object().unwrap().keys().map(String::as_str).collect();
    let mut columns: Vec<_> = HEADER.split(',').collect();
    names.sort_unstable();
    columns.sort_unstable();
    assert_eq!(names, columns);
    let head = work.read("out.jsonl");
    let places: Vec<_> = HEADER.split(',').map(|name| head.find(&format!("\"{name}\":"))).collect();
    assert!(places.is_sorted() && places[0].is_some(), "keys stand in the order of the columns");
    assert_eq!(lines[0]["inst_id"], 1);
    assert_eq!(lines[0]["status"], "existed");
    assert_eq!(lines[3]["inst_id"], "x");
    assert_eq!(lines[3]["biz_id"], 5, "what --biz-id made of it");
    assert_eq!(lines[3]["retryable"], false);
    assert_eq!(lines[0]["reason"], serde_json::Value::Null);
}

#[test]
fn cells_come_out_as_they_stood_and_as_no_formula() {
    let server = Server::esb();
    let work = Workdir::new();
    let cells = [
        "\"=cmd|' /C calc'!A0\"",
        "+1",
        "-1",
        "@a",
        "\"\ta\"",
        "\" 7 \"",
        "\"a,\"\"b\"\"\"",
        "'=1",
    ];
    work.write("in.csv", csv_of(cells.map(|cell| format!("{NN},{cell},100,1"))));
    work.bkassoc("import in.csv").to(&server).ends(3);
    let out: Vec<_> =
        work.rows("in.results.csv").into_iter().map(|row| row["inst_id"].clone()).collect();
    assert_eq!(out, ["'=cmd|' /C calc'!A0", "'+1", "'-1", "'@a", "'\ta", " 7 ", "a,\"b\"", "''=1"]);
    assert_eq!(stats(&work.rows("in.results.csv"), "status"), "created 1, invalid 7");
    for row in work.rows("in.results.csv") {
        assert!(!row["message"].starts_with(['=', '+', '-', '@', '\t']), "{row:?}");
    }
}

#[test]
fn rows_that_are_no_rows_cost_nothing_and_stop_nothing() {
    let server = Server::esb();
    let work = Workdir::new();
    let text = format!(
        "obj_asst_id,inst_id,asst_inst_id,biz_id\n{NN},1\n\n{NN},1,100,1,more,and more\n\"{NN}\n\",2,100,1\n{NN},2,101,1\n"
    );
    work.write("in.csv", text);
    let done = work.bkassoc("import in.csv").to(&server).run();
    assert!([0, 3].contains(&done.code), "{done:?}");
    let rows = work.rows("in.results.csv");
    assert_eq!(rows.last().unwrap()["status"], "created", "{rows:?}");
    assert_eq!(rows.last().unwrap()["line"], "7");
    assert_eq!(rows[0]["status"], "invalid");
}

#[test]
fn a_row_without_business_is_invalid_on_an_esb_and_good_elsewhere() {
    let server = Server::esb();
    let work = Workdir::new();
    work.write("in.csv", csv_of([format!("{NN},1,100,"), format!("{NN},1,101,7")]));
    work.bkassoc("import in.csv").to(&server).ends(3);
    assert_eq!(stats(&work.rows("in.results.csv"), "reason"), " 1, missing-biz-id 1");
    let native = Server::new(bkassoc::target::Entrance::Native);
    work.bkassoc("import in.csv -o native.csv").to(&native).ends(0);
    work.bkassoc("import in.csv -o given.csv --biz-id 3").to(&server).ends(0);
    let rows = work.rows("given.csv");
    assert_eq!([&*rows[0]["biz_id"], &*rows[1]["biz_id"]], ["3", "7"]);
}

#[test]
fn half_a_megabyte_in_one_cell_is_one_invalid_row() {
    let server = Server::esb();
    let work = Workdir::new();
    let long = "9".repeat(1 << 19);
    work.write("in.csv", csv_of([format!("{NN},{long},100,1"), format!("{NN},1,100,1")]));
    work.bkassoc("import in.csv").to(&server).ends(3);
    let rows = work.rows("in.results.csv");
    assert_eq!(stats(&rows, "status"), "created 1, invalid 1");
    assert!(rows[0]["message"].len() < 1000, "a message is for people");
}

#[test]
fn a_quote_that_is_never_closed_ends_it_with_7_instead_of_filling_memory() {
    let server = Server::esb();
    let work = Workdir::new();
    let input = links(50_000).replacen(",1\n", ",\"1\n", 1);
    work.write("in.csv", input);
    work.bkassoc("import in.csv").to(&server).ends(7).saying(&["line 2", "quote"]);
    assert_eq!(server.calls(bkassoc::sandbox::Endpoint::Create), 0);
}

#[test]
fn a_json_array_is_refused_once_with_how_to_mend_it() {
    let work = Workdir::new();
    for array in ["[{\"bk_inst_id\":1}]", "\n [\n  {\n"] {
        work.write("in.json", array);
        let done = work.bkassoc("import in.json --sandbox").ends(2);
        assert!(done.stderr.contains("jq -c '.[]' in.json"), "{}", done.stderr);
        assert_eq!(work.names(), ["in.json"]);
    }
}

#[test]
fn json_in_other_shapes_is_refused_once_with_how_to_mend_it() {
    let work = Workdir::new();
    let row =
        format!("{{\"obj_asst_id\":\"{NN}\",\"inst_id\":1,\"asst_inst_id\":100,\"biz_id\":1}}");
    let pretty = row.replace(',', ",\n  ").replace('{', "{\n  ").replace('}', "\n}");
    for (text, said) in [
        (format!("{pretty}\n{pretty}\n"), "an object takes several lines"),
        (format!("{row} {row}\n"), "several values stand on one line"),
    ] {
        work.write("in.jsonl", &text);
        for command in ["import in.jsonl --sandbox", "check in.jsonl --offline"] {
            work.bkassoc(command).ends(2).saying(&[said, "`jq -c . in.jsonl`"]);
        }
        assert_eq!(work.names(), ["in.jsonl"]);
        let piped = work.bkassoc("import - -o out.csv --sandbox").stdin(text);
        piped.ends(2).saying(&[said, "`jq -c .`"]);
    }
}

#[test]
fn rows_of_blank_cells_are_no_rows_and_the_summary_counts_them() {
    let server = Server::esb();
    let work = Workdir::new();
    let rows = format!("{NN},1,100,1\n,,,\n{NN},2,101,1\n{NN},x,102,1\n");
    work.write(
        "in.csv",
        format!(",,,\n,,,\nobj_asst_id,inst_id,asst_inst_id,biz_id\n{rows} , ,,\n,,,\n"),
    );
    work.bkassoc("check in.csv --offline").ends(3).saying(&["3  rows", "5  rows of blank cells"]);
    let said = work.bkassoc("import in.csv --json").to(&server).ends(3).json();
    assert_eq!((&said["rows"], &said["blank_rows"]), (&3.into(), &5.into()));
    let results = work.rows("in.results.csv");
    assert_eq!(stats(&results, "status"), "created 2, invalid 1");
    let lines: Vec<_> = results.iter().map(|row| &*row["line"]).collect();
    assert_eq!(lines, ["4", "6", "7"]);
    assert_eq!(work.json("in.results.csv.run.json")["blank_rows"], 5);
    let again = work.bkassoc("import in.csv").to(&server).ends(3);
    let _ = again.saying(&["nothing is sent", "5  rows of blank cells"]);
    work.bkassoc("verify in.results.csv --against in.csv").ends(0);
    work.bkassoc("rerun in.results.csv --all-failed").to(&server).ends(3);
    work.bkassoc("verify in.rerun-1.csv --against in.csv").ends(0);
    work.write("in.csv", links(3));
    let said = work.bkassoc("import in.csv -o none.csv --json").to(&server).ends(0).json();
    assert!(said.get("blank_rows").is_none(), "{said}");
}

#[test]
fn a_file_without_a_header_is_told_as_that_and_read_with_no_header() {
    let server = Server::esb();
    let work = Workdir::new();
    work.write("in.csv", format!("{NN},1,100,1\n{NN},2,101,1\n"));
    let import = || work.bkassoc("import in.csv").to(&server);
    import().ends(2).saying(&["line 1 looks like a row", "--no-header"]);
    assert_eq!(server.all_calls(), 0);
    import().args("--no-header --map inst_id=a").ends(2).saying(&["--map"]);
    import().args("--no-header").ends(0);
    let results = work.rows("in.results.csv");
    let seen: Vec<_> = results.iter().map(|row| (&*row["line"], &*row["inst_id"])).collect();
    assert_eq!(seen, [("1", "1"), ("2", "2")]);
    server.assert_stored(&results);
    // It decides what a row means, and is known of the run from then on.
    import().ends(2).saying(&["--no-header"]);
    import().env("BKASSOC_NO_HEADER", "true").ends(0).saying(&["nothing is sent"]);
    work.bkassoc("verify in.results.csv --against in.csv").ends(0);
    work.write("in.csv", links(2));
    let headed = import().args("--no-header -o other.csv");
    headed.ends(2).saying(&["line 1 is a header"]);
}

#[test]
fn full_width_commas_are_read_where_the_header_proves_them_and_else_hinted_at() {
    let server = Server::esb();
    let work = Workdir::new();
    let rows = links(3);
    work.write("in.csv", rows.replace(',', "，")).write("ascii.csv", &rows);
    work.bkassoc("import in.csv").to(&server).ends(0);
    let results = work.rows("in.results.csv");
    assert_conserved(&results, &work.rows("ascii.csv"));
    server.assert_stored(&results);
    work.bkassoc("verify in.results.csv --against in.csv").ends(0);
    work.write("in.csv", rows.replacen(",100,", "，100，", 1));
    let mixed = work.bkassoc("import in.csv -o mixed.csv").to(&server);
    mixed.ends(3).saying(&["a full-width comma (，) is no delimiter in this file"]);
    work.write("in.csv", rows.replacen(',', "，", 1));
    let header = work.bkassoc("import in.csv -o header.csv").to(&server);
    header.ends(2).saying(&["full-width comma"]);
}

/// A workbook in, from a file and from a pipe, and workbooks out, which every command reads.
#[test]
fn results_in_excel_are_read_by_every_command() {
    let server = Server::esb();
    let work = Workdir::new();
    work.write("book.xlsx", include_bytes!("../excel/own-headers.xlsx"));
    work.bkassoc("import book.xlsx").to(&server).ends(0).saying(&["book.results.xlsx"]);
    work.bkassoc("import book.xlsx").to(&server).ends(0).saying(&["nothing is sent"]);
    work.bkassoc("results book.results.xlsx -o all.csv").ends(0);
    let rows = work.rows("all.csv");
    let found: Vec<_> = rows.iter().map(|row| (&*row["line"], &*row["inst_id"])).collect();
    assert_eq!(found, [("2", "1"), ("3", "2")]);
    server.assert_stored(&rows);
    let verified = work.bkassoc("verify book.results.xlsx --against book.xlsx --live").to(&server);
    verified.ends(0);
    work.bkassoc("rerun book.results.xlsx --status created").to(&server).ends(0);
    work.bkassoc("results book.rerun-1.xlsx -o again.csv").ends(0);
    assert_eq!(stats(&work.rows("again.csv"), "status"), "existed 2");
    work.bkassoc("undo book.results.xlsx --yes").to(&server).ends(0);
    work.bkassoc("results book.undo.xlsx -o undone.csv").ends(0);
    assert_eq!(stats(&work.rows("undone.csv"), "status"), "deleted 2");

    let piped = work.bkassoc("import - -o piped.csv").to(&server);
    piped.stdin(include_bytes!("../excel/own-headers.xlsx").to_vec()).ends(0);
    assert_eq!(work.rows("piped.csv").len(), 2);
    let said = work.bkassoc("import book.xlsx -o -").to(&server).ends(0);
    assert!(said.stdout.starts_with("line,obj_asst_id,"), "{}", said.stdout);
    work.bkassoc("check book.xlsx --offline --sheet x")
        .ends(2)
        .saying(&["there is no sheet \"x\"", "\"links\""]);
    work.bkassoc("check all.csv --offline --sheet x").ends(2).saying(&["leave --sheet out"]);
}

/// The sample that CMDB's page could have exported, with its names, from the plan to a rerun.
#[test]
fn an_export_of_cmdb_s_page_is_imported_as_it_is() {
    let server = Server::esb();
    let work = Workdir::new();
    work.write("links.xlsx", include_bytes!("../../samples/links-cmdb.xlsx"));
    work.bkassoc("plan links.xlsx --biz-id 1").to(&server).ends(0).saying(&["links.plan.csv"]);
    let imported = work.bkassoc("import links.xlsx --biz-id 1").to(&server).ends(3);
    imported.saying(&["links.results.xlsx", "ambiguous-source: line 9"]);
    work.bkassoc("results links.results.xlsx -o all.csv").ends(0);
    let rows = work.rows("all.csv");
    assert_eq!(stats(&rows, "status"), "created 9, existed 2, failed 4");
    assert_eq!(rows[0]["target"], "云区域=0,内网IP=10.0.0.21");
    server.assert_stored(&rows);
    work.bkassoc("verify links.results.xlsx --against links.xlsx").ends(0);
    work.bkassoc("rerun links.results.xlsx --all-failed").to(&server).ends(3);
    work.bkassoc("results links.rerun-1.xlsx -o again.csv").ends(0);
    assert_eq!(stats(&work.rows("again.csv"), "status"), "created 9, existed 2, failed 4");
}
