//! An Excel workbook that is written as a stream: a zip archive of sheets, with what describes them at its end.
//!
//! The same rows give the same bytes. Knows nothing of what the cells mean.

use std::fmt::Write as _;
use std::io::{self, Write};

use crate::gzip::{Compression, DeflateEncoder};

/// The most rows of a sheet, its header among them.
const MOST_ROWS: u32 = 1_048_576;

/// How long a sheet may become before another begins, in bytes. A part of 4 GiB would want another format.
const LONGEST: u64 = 2 << 30;

/// How many UTF-16 units Excel takes in a cell.
const MOST_UNITS: usize = 32_767;

/// What stands at the end of a text that is cut.
const CUT: &str = "… (cut)";

const XML: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?>\n";
const MAIN: &str = "http://schemas.openxmlformats.org/spreadsheetml/2006/main";
const OFFICE: &str = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";
const PACKAGE: &str = "http://schemas.openxmlformats.org/package/2006";
const KIND: &str = "application/vnd.openxmlformats-officedocument.spreadsheetml";

/// The colour of a row's cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tint {
    None,
    Red,
    Orange,
    Yellow,
    Grey,
}

impl Tint {
    /// Those that are colours, as RGB.
    const COLOURS: [&str; 4] = ["FFF8CBAD", "FFFCE4D6", "FFFFF2CC", "FFEDEDED"];
}

/// A column: its head, its width in characters, and whether its cells are numbers.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    pub name: &'static str,
    pub width: u32,
    pub is_number: bool,
}

/// Writes a workbook row by row.
pub struct Workbook<W: Write> {
    archive: Archive<W>,
    heads: Vec<Head>,
    /// How many sheets were begun.
    sheets: u32,
    /// How many rows the sheet has.
    rows: u32,
    /// The row under way.
    row: String,
    column: usize,
    tint: Tint,
}

impl<W: Write> Workbook<W> {
    /// A workbook whose sheets have these columns.
    pub fn new(out: W, heads: Vec<Head>) -> io::Result<Self> {
        let mut workbook = Self {
            archive: Archive::new(out),
            heads,
            sheets: 0,
            rows: 0,
            row: String::new(),
            column: 0,
            tint: Tint::None,
        };
        workbook.begin_sheet()?;
        Ok(workbook)
    }

    /// Begins a row.
    pub fn begin_row(&mut self, tint: Tint) -> io::Result<()> {
        if self.rows == MOST_ROWS || self.archive.length() > LONGEST {
            self.end_sheet()?;
            self.begin_sheet()?;
        }
        self.start_row(tint);
        Ok(())
    }

    /// Writes the row's next cell.
    pub fn cell(&mut self, text: &str) {
        let is_number = self.heads[self.column].is_number;
        self.styled(text, 2 + 2 * self.tint as usize + usize::from(is_number), is_number);
    }

    /// Ends the row.
    pub fn end_row(&mut self) -> io::Result<()> {
        self.row.push_str("</row>");
        self.archive.write(self.row.as_bytes())
    }

    fn start_row(&mut self, tint: Tint) {
        self.rows += 1;
        self.column = 0;
        self.tint = tint;
        self.row.clear();
        // Writing to a String can't fail.
        let _ = write!(self.row, "<row r=\"{}\">", self.rows);
    }

    fn styled(&mut self, text: &str, style: usize, is_number: bool) {
        let column = self.column;
        self.column += 1;
        if text.is_empty() && self.tint == Tint::None {
            return;
        }
        let (place, row) = (letter(column), self.rows);
        let _ = write!(self.row, "<c r=\"{place}{row}\" s=\"{style}\"");
        if text.is_empty() {
            self.row.push_str("/>");
        } else if is_number {
            let _ = write!(self.row, "><v>{text}</v></c>");
        } else {
            self.row.push_str(" t=\"inlineStr\"><is><t xml:space=\"preserve\">");
            push_text(&mut self.row, text);
            self.row.push_str("</t></is></c>");
        }
    }

    fn begin_sheet(&mut self) -> io::Result<()> {
        self.sheets += 1;
        self.rows = 0;
        self.archive.begin(format!("xl/worksheets/sheet{}.xml", self.sheets))?;
        let mut start = format!(
            "{XML}<worksheet xmlns=\"{MAIN}\"><sheetViews><sheetView workbookViewId=\"0\">\
             <pane ySplit=\"1\" topLeftCell=\"A2\" activePane=\"bottomLeft\" state=\"frozen\"/>\
             </sheetView></sheetViews><cols>"
        );
        for (number, Head { width, is_number, .. }) in (1..).zip(&self.heads) {
            // What is typed into an empty cell stays text, where the column is of texts.
            let style = 2 + u32::from(*is_number);
            let _ = write!(
                start,
                "<col min=\"{number}\" max=\"{number}\" width=\"{width}\" style=\"{style}\" customWidth=\"1\"/>"
            );
        }
        start.push_str("</cols><sheetData>");
        self.archive.write(start.as_bytes())?;
        self.start_row(Tint::None);
        for column in 0..self.heads.len() {
            self.styled(self.heads[column].name, 1, false);
        }
        self.end_row()
    }

    fn end_sheet(&mut self) -> io::Result<()> {
        let last = letter(self.heads.len() - 1);
        let end = format!("</sheetData><autoFilter ref=\"A1:{last}{}\"/></worksheet>", self.rows);
        self.archive.write(end.as_bytes())?;
        self.archive.end()
    }

    /// Writes the rest.
    pub fn finish(mut self) -> io::Result<W> {
        self.end_sheet()?;
        let (mut types, mut names, mut related) = (String::new(), String::new(), String::new());
        for number in 1..=self.sheets {
            let name = if number == 1 { "results".to_owned() } else { format!("results {number}") };
            let _ = write!(
                types,
                "<Override PartName=\"/xl/worksheets/sheet{number}.xml\" ContentType=\"{KIND}.worksheet+xml\"/>"
            );
            let _ =
                write!(names, "<sheet name=\"{name}\" sheetId=\"{number}\" r:id=\"rId{number}\"/>");
            let _ = write!(
                related,
                "<Relationship Id=\"rId{number}\" Type=\"{OFFICE}/worksheet\" Target=\"worksheets/sheet{number}.xml\"/>"
            );
        }
        let styles = self.sheets + 1;
        let parts = [
            ("xl/styles.xml", styles_part()),
            (
                "xl/workbook.xml",
                format!(
                    "<workbook xmlns=\"{MAIN}\" xmlns:r=\"{OFFICE}\"><sheets>{names}</sheets></workbook>"
                ),
            ),
            (
                "xl/_rels/workbook.xml.rels",
                format!(
                    "<Relationships xmlns=\"{PACKAGE}/relationships\">{related}<Relationship Id=\"rId{styles}\" \
                     Type=\"{OFFICE}/styles\" Target=\"styles.xml\"/></Relationships>"
                ),
            ),
            (
                "_rels/.rels",
                format!(
                    "<Relationships xmlns=\"{PACKAGE}/relationships\"><Relationship Id=\"rId1\" \
                     Type=\"{OFFICE}/officeDocument\" Target=\"xl/workbook.xml\"/></Relationships>"
                ),
            ),
            (
                "[Content_Types].xml",
                format!(
                    "<Types xmlns=\"{PACKAGE}/content-types\"><Default Extension=\"rels\" \
                     ContentType=\"application/vnd.openxmlformats-package.relationships+xml\"/>\
                     <Override PartName=\"/xl/workbook.xml\" ContentType=\"{KIND}.sheet.main+xml\"/>\
                     <Override PartName=\"/xl/styles.xml\" ContentType=\"{KIND}.styles+xml\"/>{types}</Types>"
                ),
            ),
        ];
        for (name, text) in parts {
            self.archive.begin(name.to_owned())?;
            self.archive.write(XML.as_bytes())?;
            self.archive.write(text.as_bytes())?;
            self.archive.end()?;
        }
        self.archive.finish()
    }
}

/// The styles: Excel's own, that of heads, then for each tint that of texts and that of numbers.
fn styles_part() -> String {
    let mut fills = String::new();
    let mut cells = "<xf numFmtId=\"0\" fontId=\"0\" fillId=\"0\" borderId=\"0\" xfId=\"0\"/>\
                     <xf numFmtId=\"49\" fontId=\"1\" fillId=\"0\" borderId=\"0\" xfId=\"0\" \
                     applyNumberFormat=\"1\" applyFont=\"1\"/>"
        .to_owned();
    for colour in Tint::COLOURS {
        let _ = write!(
            fills,
            "<fill><patternFill patternType=\"solid\"><fgColor rgb=\"{colour}\"/></patternFill></fill>"
        );
    }
    for tint in 0..=Tint::COLOURS.len() {
        // The first two fills are Excel's own.
        let fill = if tint == 0 { 0 } else { tint + 1 };
        for format in [49, 0] {
            let _ = write!(
                cells,
                "<xf numFmtId=\"{format}\" fontId=\"0\" fillId=\"{fill}\" borderId=\"0\" xfId=\"0\" \
                 applyNumberFormat=\"1\" applyFill=\"1\"/>"
            );
        }
    }
    let (filled, styled) = (Tint::COLOURS.len() + 2, 2 * Tint::COLOURS.len() + 4);
    format!(
        "<styleSheet xmlns=\"{MAIN}\">\
         <fonts count=\"2\"><font><sz val=\"11\"/><name val=\"Calibri\"/></font>\
         <font><b/><sz val=\"11\"/><name val=\"Calibri\"/></font></fonts>\
         <fills count=\"{filled}\"><fill><patternFill patternType=\"none\"/></fill>\
         <fill><patternFill patternType=\"gray125\"/></fill>{fills}</fills>\
         <borders count=\"1\"><border><left/><right/><top/><bottom/><diagonal/></border></borders>\
         <cellStyleXfs count=\"1\"><xf numFmtId=\"0\" fontId=\"0\" fillId=\"0\" borderId=\"0\"/></cellStyleXfs>\
         <cellXfs count=\"{styled}\">{cells}</cellXfs>\
         <cellStyles count=\"1\"><cellStyle name=\"Normal\" xfId=\"0\" builtinId=\"0\"/></cellStyles>\
         </styleSheet>"
    )
}

/// The letter of a column, of which there are no more than 26.
fn letter(column: usize) -> char {
    char::from(b'A' + column as u8)
}

/// Writes a text so that Excel shows it as it is: what XML can't hold as `_x0007_`, and what reads like that
/// with its first character written so. What is longer than a cell takes is cut, and says so.
fn push_text(out: &mut String, text: &str) {
    // A character has no more units than bytes.
    let is_long = text.len() > MOST_UNITS && text.encode_utf16().count() > MOST_UNITS;
    let mut units = MOST_UNITS - CUT.encode_utf16().count();
    for (at, c) in text.char_indices() {
        if is_long {
            match units.checked_sub(c.len_utf16()) {
                Some(left) => units = left,
                None => return out.push_str(CUT),
            }
        }
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '_' if reads_escaped(&text[at..]) => out.push_str("_x005F_"),
            '\t' | '\n' => out.push(c),
            '\0'..'\u{20}' | '\u{fffe}' | '\u{ffff}' => {
                let _ = write!(out, "_x{:04X}_", u32::from(c));
            }
            _ => out.push(c),
        }
    }
}

/// Whether a text begins as `_x0007_` does.
fn reads_escaped(text: &str) -> bool {
    let code = text.strip_prefix("_x").and_then(|rest| rest.as_bytes().split_at_checked(4));
    code.is_some_and(|(code, rest)| {
        code.iter().all(u8::is_ascii_hexdigit) && rest.first() == Some(&b'_')
    })
}

/// A zip archive, written as a stream: the sizes of a part stand behind it.
struct Archive<W: Write> {
    /// None while a part is written, and after an error.
    out: Option<Counted<W>>,
    part: Option<Part<W>>,
    list: Vec<u8>,
    parts: u64,
}

struct Part<W: Write> {
    packer: DeflateEncoder<Counted<W>>,
    name: String,
    start: u64,
    hash: crc32fast::Hasher,
    length: u64,
}

struct Counted<W> {
    out: W,
    written: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.written += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// The version that is needed, sizes behind the part and names in UTF-8, deflated, and the first day that a
/// zip archive knows.
const HEAD: [u8; 10] = [20, 0, 8, 8, 8, 0, 0, 0, 33, 0];

/// A number as four bytes hold it; all ones where they don't.
fn short_of(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn broken() -> io::Error {
    io::Error::other("an earlier write failed")
}

impl<W: Write> Archive<W> {
    fn new(out: W) -> Self {
        Self { out: Some(Counted { out, written: 0 }), part: None, list: Vec::new(), parts: 0 }
    }

    /// How long the part under way is.
    fn length(&self) -> u64 {
        self.part.as_ref().map_or(0, |part| part.length)
    }

    fn begin(&mut self, name: String) -> io::Result<()> {
        let mut out = self.out.take().ok_or_else(broken)?;
        let start = out.written;
        let mut head = b"PK\x03\x04".to_vec();
        head.extend(HEAD);
        head.extend([0; 12]);
        head.extend((name.len() as u32).to_le_bytes());
        head.extend(name.as_bytes());
        out.write_all(&head)?;
        let packer = DeflateEncoder::new(out, Compression::fast());
        let hash = crc32fast::Hasher::new();
        self.part = Some(Part { packer, name, start, hash, length: 0 });
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let part = self.part.as_mut().ok_or_else(broken)?;
        part.hash.update(bytes);
        part.length += bytes.len() as u64;
        part.packer.write_all(bytes)
    }

    fn end(&mut self) -> io::Result<()> {
        let part = self.part.take().ok_or_else(broken)?;
        let mut out = part.packer.finish()?;
        let packed = out.written - part.start - 30 - part.name.len() as u64;
        let mut sizes = part.hash.finalize().to_le_bytes().to_vec();
        sizes.extend((packed as u32).to_le_bytes());
        sizes.extend((part.length as u32).to_le_bytes());
        out.write_all(b"PK\x07\x08")?;
        out.write_all(&sizes)?;
        self.parts += 1;
        self.list.extend(b"PK\x01\x02\x14\x00");
        self.list.extend(HEAD);
        self.list.extend(sizes);
        self.list.extend((part.name.len() as u16).to_le_bytes());
        // A place beyond 4 GiB stands in a field of its own.
        let mut field = Vec::new();
        let start = short_of(part.start);
        if start == u32::MAX {
            field.extend([1, 0, 8, 0]);
            field.extend(part.start.to_le_bytes());
        }
        self.list.extend((field.len() as u16).to_le_bytes());
        self.list.extend([0; 10]);
        self.list.extend(start.to_le_bytes());
        self.list.extend(part.name.as_bytes());
        self.list.extend(field);
        self.out = Some(out);
        Ok(())
    }

    fn finish(mut self) -> io::Result<W> {
        let mut out = self.out.take().ok_or_else(broken)?;
        let start = out.written;
        let end = start + self.list.len() as u64;
        let mut tail = self.list;
        let (parts, length) = (self.parts, end - start);
        if short_of(end) == u32::MAX {
            tail.extend(b"PK\x06\x06");
            tail.extend(44_u64.to_le_bytes());
            tail.extend([45, 0, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            for number in [parts, parts, length, start] {
                tail.extend(number.to_le_bytes());
            }
            tail.extend(b"PK\x06\x07\0\0\0\0");
            tail.extend(end.to_le_bytes());
            tail.extend([1, 0, 0, 0]);
        }
        tail.extend(b"PK\x05\x06\0\0\0\0");
        for number in [parts, parts] {
            tail.extend(u16::try_from(number).unwrap_or(u16::MAX).to_le_bytes());
        }
        for number in [length, start] {
            tail.extend(short_of(number).to_le_bytes());
        }
        tail.extend([0, 0]);
        out.write_all(&tail)?;
        out.flush()?;
        Ok(out.out)
    }
}

#[cfg(test)]
mod tests;
