//! Workbooks for tests, whole and hostile.

use std::fmt::Write as _;
use std::io::Write as _;

/// A zip archive of parts. Each is packed.
pub fn zipped(parts: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut archive = Vec::new();
    let mut list = Vec::new();
    for (name, bytes) in parts {
        let level = flate2::Compression::best();
        let mut packer = flate2::write::DeflateEncoder::new(Vec::new(), level);
        packer.write_all(bytes).unwrap();
        let packed = packer.finish().unwrap();
        let mut head = vec![20, 0, 0, 0, 8, 0, 0, 0, 0, 0];
        head.extend(crc32fast::hash(bytes).to_le_bytes());
        head.extend((packed.len() as u32).to_le_bytes());
        head.extend((bytes.len() as u32).to_le_bytes());
        head.extend((name.len() as u16).to_le_bytes());
        head.extend([0, 0]);
        list.extend(b"PK\x01\x02\x14\x00");
        list.extend(&head);
        list.extend([0; 10]);
        list.extend((archive.len() as u32).to_le_bytes());
        list.extend(name.as_bytes());
        archive.extend(b"PK\x03\x04");
        archive.extend(&head);
        archive.extend(name.as_bytes());
        archive.extend(&packed);
    }
    let start = archive.len() as u32;
    archive.extend(&list);
    archive.extend(b"PK\x05\x06\0\0\0\0");
    archive
        .extend([(parts.len() as u16).to_le_bytes(), (parts.len() as u16).to_le_bytes()].concat());
    archive.extend((list.len() as u32).to_le_bytes());
    archive.extend(start.to_le_bytes());
    archive.extend([0, 0]);
    archive
}

/// The parts of a workbook with sheets of these cells, and these shared texts.
pub fn parts(sheets: &[(&str, &str)], strings: &str) -> Vec<(&'static str, Vec<u8>)> {
    const PARTS: [&str; 3] =
        ["xl/worksheets/sheet1.xml", "xl/worksheets/sheet2.xml", "xl/worksheets/sheet3.xml"];
    let (mut names, mut related) = (String::new(), String::new());
    let mut relate = |id: &str, kind: &str, target: &str| {
        write!(related, r#"<Relationship Id="{id}" Type="http://x/{kind}" Target="{target}"/>"#)
            .unwrap();
    };
    relate("s", "sharedStrings", "sharedStrings.xml");
    relate("t", "styles", "/xl/styles.xml");
    let mut parts = Vec::new();
    for ((name, cells), part) in sheets.iter().zip(PARTS) {
        write!(names, r#"<sheet name="{name}" sheetId="1" r:id="{part}"/>"#).unwrap();
        relate(part, "worksheet", part.strip_prefix("xl/").unwrap());
        let sheet = format!("<worksheet><sheetData>{cells}</sheetData><x/></worksheet>");
        parts.push((part, sheet.into_bytes()));
    }
    let root = r#"<R><Relationship Type="http://x/officeDocument" Target="xl/workbook.xml"/></R>"#;
    let styles = r#"<s><numFmts><numFmt numFmtId="170" formatCode="yyyy\-mm"/></numFmts>
        <cellStyleXfs><xf numFmtId="14"/></cellStyleXfs>
        <cellXfs><xf numFmtId="0"/><xf numFmtId="14"/><xf numFmtId="170"/></cellXfs></s>"#;
    parts.extend([
        ("_rels/.rels", root.as_bytes().to_vec()),
        ("xl/workbook.xml", format!("<w><sheets>{names}</sheets></w>").into_bytes()),
        ("xl/_rels/workbook.xml.rels", format!("<R>{related}</R>").into_bytes()),
        ("xl/sharedStrings.xml", format!("<sst>{strings}</sst>").into_bytes()),
        ("xl/styles.xml", styles.as_bytes().to_vec()),
    ]);
    parts
}

/// A workbook with sheets of these cells, and these shared texts.
pub fn workbook(sheets: &[(&str, &str)], strings: &str) -> Vec<u8> {
    zipped(&parts(sheets, strings))
}

/// Cells of texts, from the first row on.
pub fn cells(rows: &[&[&str]]) -> String {
    let mut out = String::new();
    for row in rows {
        out.push_str("<row>");
        for text in *row {
            let text = text.replace('&', "&amp;").replace('<', "&lt;");
            write!(out, r#"<c t="inlineStr"><is><t xml:space="preserve">{text}</t></is></c>"#)
                .unwrap();
        }
        out.push_str("</row>");
    }
    out
}

/// The bytes of an export that CMDB's page made.
pub fn export(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/excel/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(path).unwrap()
}
