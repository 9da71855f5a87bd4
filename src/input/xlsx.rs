//! Excel workbooks: their sheets, and the cells of a sheet as texts, row after row.
//!
//! Owns what a workbook may be. Knows nothing of what the cells mean. Memory does not grow with the number of
//! rows or texts, and nothing in a file is believed of how large another part of it is.

mod package;
mod xml;
mod strings;
mod styles;
mod cells;

use std::fs::File;
use std::io::{self, ErrorKind};

use super::spool::Spool;
pub use cells::{Cell, Doubt, Rows, SheetRow, letters_of};
use package::{Package, broken};
use rustc_hash::FxHashMap;
use strings::Strings;
use styles::Styles;
use xml::{Node, Xml};

/// How a zip archive begins, and so a workbook.
pub const SIGNATURE: &[u8] = b"PK\x03\x04";

/// How old workbooks (`.xls`) begin, and those with a password.
pub const OLE_SIGNATURE: &[u8] = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1";

/// How long the parts that say what there is may be when they are unpacked.
const SMALL: u64 = 64 << 20;

/// How long the shared texts may be.
const STRINGS: u64 = 1 << 30;

/// How long a sheet may be.
const SHEET: u64 = 4 << 30;

/// The most sheets of a workbook.
const MOST_SHEETS: usize = 1_000;

pub struct Workbook {
    package: Package,
    sheets: Vec<Sheet>,
    strings: Strings,
    styles: Styles,
}

struct Sheet {
    name: String,
    part: String,
    hidden: bool,
}

impl Workbook {
    /// Reads all but the sheets.
    pub fn open(spool: Spool) -> io::Result<Self> {
        let package = Package::open(spool)?;
        let document = document(&package)?;
        let (folder, name) = document.rsplit_once('/').unwrap_or(("", &document));
        let related = relations(&package, folder, &format!("{folder}/_rels/{name}.rels"))?;
        let sheets = sheets(&package, &document, &related)?;
        let of_kind = |kind: &str| {
            let found = related.values().find(|related| related.kind.ends_with(kind));
            found.map(|related| &*related.part).filter(|part| package.has(part))
        };
        let styles = match of_kind("/styles") {
            None => Styles::default(),
            Some(part) => Styles::read(Xml::new(package.part(part, SMALL)?))?,
        };
        let strings = match of_kind("/sharedStrings") {
            None => Strings::default(),
            Some(part) => strings(Xml::new(package.part(part, STRINGS)?))?,
        };
        Ok(Self { package, sheets, strings, styles })
    }

    /// Reads all of a file but the sheets.
    pub fn of_file(file: File) -> io::Result<Self> {
        Self::open(Spool::of_file(file)?)
    }

    /// The sheets' names, in order.
    pub fn names(&self) -> Vec<String> {
        self.sheets.iter().map(|sheet| sheet.name.clone()).collect()
    }

    /// The name of the first sheet that is not hidden.
    pub fn first(&self) -> &str {
        let shown = self.sheets.iter().find(|sheet| !sheet.hidden);
        shown.or(self.sheets.first()).map_or("", |sheet| &sheet.name)
    }

    /// The rows of a sheet; none where there is no such sheet.
    pub fn rows(&self, name: &str) -> io::Result<Option<Rows>> {
        let Some(sheet) = self.sheets.iter().find(|sheet| sheet.name == name) else {
            return Ok(None);
        };
        Rows::new(Xml::new(self.package.part(&sheet.part, SHEET)?)).map(Some)
    }
}

/// What a part refers to.
struct Related {
    kind: String,
    part: String,
}

/// The part that says which sheets there are.
fn document(package: &Package) -> io::Result<String> {
    let other = |what: &str| Err(io::Error::new(ErrorKind::InvalidData, what.to_owned()));
    if package.has("xl/workbook.bin") {
        return other("this is a binary workbook (.xlsb); save it as .xlsx");
    }
    if package.has("content.xml") && package.has("mimetype") {
        return other("this is an OpenDocument file (.ods); save it as .xlsx");
    }
    let of_relations = if package.has("_rels/.rels") {
        let related = relations(package, "", "_rels/.rels")?;
        related.into_values().find(|related| related.kind.ends_with("/officeDocument"))
    } else {
        None
    };
    let part = of_relations.map_or("xl/workbook.xml".to_owned(), |related| related.part);
    if package.has(&part) {
        return Ok(part);
    }
    let names: Vec<_> = package.names().take(3).map(|name| format!("{name:?}")).collect();
    other(&format!(
        "this is a zip archive ({}), and no Excel workbook; unpack it",
        names.join(", ")
    ))
}

/// What a part in a folder refers to, by its ids.
fn relations(
    package: &Package,
    folder: &str,
    part: &str,
) -> io::Result<FxHashMap<String, Related>> {
    let mut found = FxHashMap::default();
    let mut xml = Xml::new(package.part(part.trim_start_matches('/'), SMALL)?);
    loop {
        match xml.next()? {
            Node::Start(element) if element.name() == "Relationship" => {
                let text = |name| element.attribute(name).unwrap_or_default().into_owned();
                let related =
                    Related { kind: text("Type"), part: resolved(folder, &text("Target")) };
                found.insert(text("Id"), related);
                if found.len() > 10 * MOST_SHEETS {
                    return Err(xml.broken("has too many parts"));
                }
            }
            Node::Eof => return Ok(found),
            _ => {}
        }
    }
}

/// The name of a part as a part in a folder calls it.
fn resolved(folder: &str, target: &str) -> String {
    let target = target.replace('\\', "/");
    let mut path: Vec<&str> = match target.strip_prefix('/') {
        Some(_) => Vec::new(),
        None => folder.split('/').filter(|step| !step.is_empty()).collect(),
    };
    for step in target.split('/') {
        match step {
            "" | "." => {}
            ".." => drop(path.pop()),
            step => path.push(step),
        }
    }
    path.join("/")
}

/// The sheets that have cells, in order.
fn sheets(
    package: &Package,
    document: &str,
    related: &FxHashMap<String, Related>,
) -> io::Result<Vec<Sheet>> {
    let mut sheets = Vec::new();
    let mut xml = Xml::new(package.part(document, SMALL)?);
    loop {
        match xml.next()? {
            Node::Start(element) if element.name() == "sheet" => {
                let id = element.attribute("id").unwrap_or_default();
                let Some(related) = related.get(&*id) else { continue };
                if !related.kind.ends_with("/worksheet") {
                    continue;
                }
                let hidden = element.attribute("state").is_some_and(|state| state != "visible");
                let name = element.attribute("name").unwrap_or_default().into_owned();
                sheets.push(Sheet { name, part: related.part.clone(), hidden });
                if sheets.len() > MOST_SHEETS {
                    return Err(xml.broken("has too many sheets"));
                }
            }
            Node::Eof if sheets.is_empty() => return Err(broken("it has no sheet with cells")),
            Node::Eof => return Ok(sheets),
            _ => {}
        }
    }
}

/// The texts that cells share.
fn strings(mut xml: Xml) -> io::Result<Strings> {
    let mut strings = Strings::default();
    loop {
        match xml.next()? {
            Node::Start(element) if element.name() == "si" => strings.push(&xml.rich_text()?)?,
            Node::Eof => return Ok(strings),
            _ => {}
        }
    }
}

/// What an OLE file is, for a message.
pub fn described_ole(spool: &Spool) -> &'static str {
    const ENCRYPTED: &str = "this workbook is encrypted; save it without a password";
    const OLD: &str = "this is an old workbook (.xls); save it as .xlsx";
    // The directory's first sector; a sector has 512 bytes or more.
    let mut head = [0; 64];
    if spool.read_exact_at(&mut head, 0).is_err() {
        return OLD;
    }
    let size = 1_u64 << head[30].clamp(9, 16);
    let sector = u32::from_le_bytes([head[48], head[49], head[50], head[51]]);
    let mut directory = [0; 4096];
    let read = spool.read_at(&mut directory, (u64::from(sector) + 1) * size).unwrap_or(0);
    let name: Vec<u8> = "EncryptedPackage".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let is_encrypted = directory[..read].windows(name.len()).any(|bytes| bytes == name);
    if is_encrypted { ENCRYPTED } else { OLD }
}

#[cfg(test)]
pub mod sample;
#[cfg(test)]
mod tests;
