use super::sample::{cells, export, parts, workbook, zipped};
use super::*;

fn spool(bytes: &[u8]) -> Spool {
    Spool::of_read(bytes).unwrap()
}

/// All rows of a sheet, or what is wrong.
fn read(bytes: &[u8], sheet: &str) -> io::Result<Vec<SheetRow>> {
    let mut workbook = Workbook::open(spool(bytes))?;
    let mut rows = workbook.rows(sheet)?.expect("the sheet is there");
    let mut all = Vec::new();
    while let Some(row) = rows.next(&mut workbook)? {
        all.push(row);
    }
    Ok(all)
}

fn fails(bytes: &[u8]) -> String {
    read(bytes, "a").unwrap_err().to_string()
}

#[test]
fn cells_are_read_as_excel_shows_them() {
    let row = |cells: &str| {
        let strings = r#"<si><t>one</t></si>
            <si><r><t>ru</t></r><r><rPr><b/></rPr><t xml:space="preserve">n </t></r>
            <rPh><t>phonetic</t></rPh></si><si><t> 0015 </t></si>"#;
        let bytes = workbook(&[("a", &format!("<row>{cells}</row>"))], strings);
        let mut rows = read(&bytes, "a").unwrap();
        rows.pop().unwrap_or_default().cells.pop().unwrap_or_default()
    };
    for (cell, text, doubt) in [
        (r#"<c t="s"><v>0</v></c>"#, "one", None),
        (r#"<c t="s"><v>1</v></c>"#, "run ", None),
        (r#"<c t="s"><v>2</v></c>"#, " 0015 ", None),
        (r#"<c t="s"><v>3</v></c>"#, "", Some(Doubt::Lost)),
        (r#"<c t="s"><v>-1</v></c>"#, "-1", Some(Doubt::Lost)),
        (r#"<c t="s"></c>"#, "", None),
        (r#"<c t="s"/>"#, "", None),
        (r#"<c t="inlineStr"><is><t>a &amp; &#20013;</t></is></c>"#, "a & 中", None),
        (
            r#"<c t="inlineStr"><is><r><t>a</t></r><r><t><![CDATA[<b>]]></t></r></is></c>"#,
            "a<b>",
            None,
        ),
        (r#"<c t="inlineStr"><is><t>a_x0007_</t></is></c>"#, "a\u{7}", None),
        ("<c><v>42</v></c>", "42", None),
        (r#"<c t="n"><v>1.2E1</v></c>"#, "12", None),
        (r#"<c s="1"><v>45000</v></c>"#, "45000 (date)", Some(Doubt::Date)),
        (r#"<c s="2"><v>45000</v></c>"#, "45000 (date)", Some(Doubt::Date)),
        (r#"<c s="99"><v>45000</v></c>"#, "45000", None),
        (r#"<c t="d"><v>2026-01-02</v></c>"#, "2026-01-02", Some(Doubt::Date)),
        (r#"<c t="b"><v>1</v></c>"#, "TRUE", Some(Doubt::Bool)),
        (r#"<c t="e"><v>#N/A</v></c>"#, "#N/A", Some(Doubt::Error)),
        (r#"<c t="str"><f>A1</f><v> x</v></c>"#, " x", None),
        (r#"<c t="str"><f>""</f><v></v></c>"#, "", None),
        ("<c><f>1+1</f><v>2</v></c>", "2", None),
        ("<c><f>1+1</f><v/></c>", "", Some(Doubt::NoValue)),
        ("<c><f>1+1</f></c>", "", Some(Doubt::NoValue)),
        (r#"<c><extLst><ext uri="x"/></extLst><v>1</v></c>"#, "1", None),
        (r#"<x:c xmlns:x="y"><x:v>1</x:v></x:c>"#, "1", None),
        ("<c/>", "", None),
    ] {
        let found = row(cell);
        assert_eq!((&*found.text, found.doubt), (text, doubt), "{cell}");
    }
}

#[test]
fn rows_and_cells_stand_where_they_say_else_one_behind_the_other() {
    let sheet = r#"<row r="3"><c r="B3"><v>1</v></c><c><v>2</v></c></row><row/>
        <row><c r="XFD5"><v>3</v></c></row><row r="1048576"><c><v>4</v></c></row>"#;
    let rows = read(&workbook(&[("a", sheet)], ""), "a").unwrap();
    let places: Vec<_> = rows
        .iter()
        .flat_map(|row| row.cells.iter().map(|cell| (row.number, cell.column, &*cell.text)))
        .collect();
    assert_eq!(places, [(3, 1, "1"), (3, 2, "2"), (5, 16_383, "3"), (1_048_576, 0, "4")]);
}

#[test]
fn what_stands_nowhere_or_in_no_order_is_refused() {
    for sheet in [
        r#"<row r="2"/><row r="1"/>"#,
        r#"<row r="2"/><row r="2"/>"#,
        r#"<row r="0"/>"#,
        r#"<row r="1048577"/>"#,
        r#"<row r="99999999999"/>"#,
        r#"<row r="1048576"/><row/>"#,
        r#"<row r="x"/>"#,
        r#"<row><c r="B1"/><c r="A1"/></row>"#,
        r#"<row><c r="A1"/><c r="A1"/></row>"#,
        r#"<row><c r="A2"/></row>"#,
        r#"<row><c r="XFE1"/></row>"#,
        r#"<row><c r="XFD1"/><c/></row>"#,
        r#"<row><c r="A99999999999"/></row>"#,
        r#"<row><c r="1"/></row>"#,
    ] {
        let error = fails(&workbook(&[("a", sheet)], ""));
        assert!(error.contains("not in order, or too many"), "{sheet}: {error}");
    }
}

#[test]
fn what_is_no_workbook_is_told_as_what_it_is() {
    let empty = || Vec::new();
    for (parts, told) in [
        (vec![("xl/workbook.bin", empty())], ".xlsb"),
        (vec![("mimetype", empty()), ("content.xml", empty())], ".ods"),
        (vec![("links.csv", b"a,b".to_vec())], r#"zip archive ("links.csv")"#),
        (vec![("_rels/.rels", b"<R/>".to_vec())], "no Excel workbook"),
    ] {
        let error = fails(&zipped(&parts));
        assert!(error.contains(told), "{error}");
    }
    let whole = workbook(&[("a", "")], "");
    assert!(read(&whole, "a").unwrap().is_empty());
    assert!(fails(&whole[..whole.len() - 30]).contains("not copied whole"));
    let chart = parts(&[("a", "")], "").into_iter().map(|(name, bytes)| {
        let text = String::from_utf8(bytes).unwrap();
        (name, text.replace("/worksheet\"", "/chartsheet\"").into_bytes())
    });
    assert!(fails(&zipped(&chart.collect::<Vec<_>>())).contains("no sheet with cells"));
    for (text, told) in [("EncryptedPackage", "without a password"), ("Workbook", "(.xls)")] {
        let mut ole = vec![0; 2048];
        ole[30] = 9;
        ole[48] = 1;
        let name: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        ole[1024 + 128..][..name.len()].copy_from_slice(&name);
        assert!(described_ole(&spool(&ole)).contains(told));
    }
}

#[test]
fn what_was_cut_or_changed_is_noticed() {
    let sheet = cells(&[&["a", "b"], &["c", "d"]]);
    let good = parts(&[("a", &sheet)], "");
    let mut cut = good.clone();
    let end = sheet.find("</c>").unwrap() + "<worksheet><sheetData></c>".len();
    cut[0].1.truncate(end);
    let error = fails(&zipped(&cut));
    assert!(error.contains("cut off"), "{error}");
    let mut bytes = zipped(&good);
    // The sum in the list of parts.
    let at = bytes.windows(4).position(|bytes| bytes == b"PK\x01\x02").unwrap() + 16;
    bytes[at] ^= 1;
    assert!(fails(&bytes).contains("sheet1.xml is damaged"));
    bytes[at] ^= 1;
    bytes[at - 8] |= 1;
    assert!(fails(&bytes).contains("encrypted"));
    let doctype = zipped(&[
        ("xl/workbook.xml", b"<!DOCTYPE x [<!ENTITY a \"b\">]><w/>".to_vec()),
        ("xl/_rels/workbook.xml.rels", b"<R/>".to_vec()),
    ]);
    assert!(fails(&doctype).contains("DOCTYPE"));
}

#[test]
fn a_bomb_is_stopped_before_it_fills_memory() {
    let large = |start: &str, filling: &str, length: usize| {
        let mut bytes = Vec::with_capacity(length + 100);
        bytes.extend(start.as_bytes());
        while bytes.len() < length {
            bytes.extend(filling.as_bytes());
        }
        bytes
    };
    let with = |name: &str, bytes: Vec<u8>| {
        let mut parts = parts(&[("a", &cells(&[&["x"]]))], "");
        parts.iter_mut().find(|(part, _)| *part == name).unwrap().1 = bytes;
        zipped(&parts)
    };
    let sheet = "xl/worksheets/sheet1.xml";
    for (name, start, filling, told) in [
        (sheet, "<worksheet><sheetData>", " <!-- -->", "too large"),
        (sheet, "<worksheet><sheetData>", "<row/>", "too many"),
        (sheet, "<worksheet><sheetData><row>", "<c/>", "too many"),
        (sheet, "<worksheet><sheetData>", "<a>", "nested too deeply"),
        (sheet, "<worksheet><sheetData><row><c><v>", "11111111", "longer than"),
        (sheet, "<worksheet><sheetData><row><c><v>", "1<!-- -->", "longer than 1 MiB"),
        (sheet, "<worksheet><sheetData><row x='", "aaaaaaaa", "longer than 2 MiB"),
        ("xl/sharedStrings.xml", "<sst>", "<si><t>aaaaaa</t></si>", "save the sheet as CSV"),
        ("xl/styles.xml", "<s><cellXfs>", "<xf/>", "save the sheet as CSV"),
        ("xl/workbook.xml", "<w>", "        ", "longer than 2 MiB"),
    ] {
        // What is told early needs no more.
        let length = if ["too large", "save the sheet"].iter().any(|late| told.starts_with(late)) {
            17
        } else {
            12
        };
        let bomb = with(name, large(start, filling, length << 20));
        assert!(bomb.len() < 1 << 20);
        let error = fails(&bomb);
        assert!(error.contains(told), "{filling}: {error}");
    }
}

/// Whatever is done to a workbook, it is read or refused.
#[test]
fn a_workbook_with_any_bytes_changed_is_read_or_refused() {
    let mut chance = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = |below: usize| {
        chance ^= chance << 13;
        chance ^= chance >> 7;
        chance ^= chance << 17;
        (chance % below as u64) as usize
    };
    let whole = export("t9c_move10.xlsx");
    for _ in 0..150 {
        let mut bytes = whole.clone();
        for _ in 0..=next(4) {
            let at = next(bytes.len());
            match next(3) {
                0 => bytes[at] = next(256) as u8,
                1 => bytes.truncate(at),
                _ => drop(bytes.drain(at..(at + next(9)).min(bytes.len()))),
            }
            if bytes.is_empty() {
                break;
            }
        }
        let _ = read_any(&bytes);
    }
    // The same to what is packed, which the sums would give away.
    let sheet = cells(&[&["obj_asst_id", "inst_id"], &["a_x000D_", "1"]]);
    let mut good = parts(&[("a", &sheet)], "<si><t>a</t></si>");
    good.push(("x", Vec::new()));
    for _ in 0..1_500 {
        let mut parts = good.clone();
        let part = next(parts.len() - 1);
        let bytes = &mut parts[part].1;
        for _ in 0..=next(3) {
            let at = next(bytes.len());
            match next(3) {
                0 => bytes[at] = b"<>&;/\"'=rct0 \xff"[next(14)],
                1 => bytes.truncate(at.max(1)),
                _ => bytes.insert(at, b"<>&;/\"'=rct0 \xff"[next(14)]),
            }
        }
        let _ = read_any(&zipped(&parts));
    }
}

fn read_any(bytes: &[u8]) -> io::Result<()> {
    let mut workbook = Workbook::open(spool(bytes))?;
    for name in workbook.names() {
        if let Some(mut rows) = workbook.rows(&name)? {
            while rows.next(&mut workbook)?.is_some() {}
        }
    }
    Ok(())
}
