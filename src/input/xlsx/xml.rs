//! XML as a stream of elements and texts: the only home of quick-xml.
//!
//! Bounds how much one element or text may hold and how deep elements may stand in each other, and so memory.
//! Prefixes of names don't matter: a workbook has one vocabulary.

use std::borrow::Cow;
use std::io::{self, BufRead, BufReader, Read};

use quick_xml::escape::resolve_xml_entity;
use quick_xml::events::{BytesStart, Event};
use quick_xml::{Error, Reader, XmlVersion};

use super::package::{Unpacked, broken};

/// How long a tag or a piece of text may be.
const LONGEST: usize = 2 << 20;

/// How long the text of an element may be. It is what a row of any input may be.
const LONGEST_TEXT: usize = 1 << 20;

/// How deep elements may stand in each other. Those of a workbook stay far below.
const DEEPEST: usize = 100;

pub struct Xml {
    reader: Reader<Bounded>,
    buffer: Vec<u8>,
    depth: usize,
    part: String,
}

/// What comes next.
pub enum Node<'a> {
    /// An element begins.
    Start(Element<'a>),
    /// The element that began last, and has not ended, ends.
    End,
    /// Text in the element.
    Text(Cow<'a, str>),
    /// Nothing that says anything.
    Other,
    /// The part ends.
    Eof,
}

/// The start of an element.
pub struct Element<'a>(BytesStart<'a>);

impl Element<'_> {
    /// The name, without a prefix.
    pub fn name(&self) -> &str {
        self.0.local_name().into_inner()
    }

    /// An attribute's value.
    pub fn attribute(&self, name: &str) -> Option<Cow<'_, str>> {
        let mut all = self.0.attributes();
        let mut all = all.with_checks(false).filter_map(Result::ok);
        let found = all.find(|attribute| attribute.key.local_name().into_inner() == name)?;
        found.normalized_value(XmlVersion::Implicit1_0).ok()
    }
}

impl Xml {
    /// Reads a part of a workbook.
    pub fn new(part: Unpacked) -> Self {
        let name = part.name().to_owned();
        let from = Bounded { from: BufReader::with_capacity(1 << 16, part), left: LONGEST };
        let mut reader = Reader::from_reader(from);
        reader.config_mut().expand_empty_elements = true;
        Self { reader, buffer: Vec::new(), depth: 0, part: name }
    }

    /// What is wrong with the part.
    pub fn broken(&self, what: impl std::fmt::Display) -> io::Error {
        broken(format_args!("{}: {what}", self.part))
    }

    /// What comes next.
    pub fn next(&mut self) -> io::Result<Node<'_>> {
        self.buffer.clear();
        self.reader.get_mut().left = LONGEST;
        let event = self.reader.read_event_into(&mut self.buffer).map_err(|error| match error {
            Error::Io(error) => io::Error::new(error.kind(), error.to_string()),
            error => broken(format_args!("{}: {error}", self.part)),
        })?;
        Ok(match event {
            Event::Start(start) => {
                self.depth += 1;
                if self.depth > DEEPEST {
                    return Err(broken(format_args!("{}: nested too deeply", self.part)));
                }
                Node::Start(Element(start))
            }
            Event::End(_) => {
                self.depth = self.depth.saturating_sub(1);
                Node::End
            }
            Event::Text(text) => Node::Text(text.xml10_content()),
            Event::CData(text) => Node::Text(text.xml10_content()),
            Event::GeneralRef(reference) => {
                let text = match reference.resolve_char_ref() {
                    Ok(Some(character)) => Some(Cow::Owned(character.to_string())),
                    Ok(None) => resolve_xml_entity(&reference).map(Cow::Borrowed),
                    Err(_) => None,
                };
                let unknown =
                    || broken(format_args!("{}: &{}; is unknown", self.part, &*reference));
                Node::Text(text.ok_or_else(unknown)?)
            }
            Event::DocType(_) => {
                return Err(broken(format_args!("{} has a DOCTYPE", self.part)));
            }
            Event::Eof => Node::Eof,
            Event::Empty(_) | Event::Comment(_) | Event::Decl(_) | Event::PI(_) => Node::Other,
        })
    }

    /// Reads to the end of the element that began last.
    pub fn skip(&mut self) -> io::Result<()> {
        let depth = self.depth;
        while self.depth >= depth {
            if let Node::Eof = self.next()? {
                return Err(self.broken("is cut off"));
            }
        }
        Ok(())
    }

    /// The text of the element that began last, to its end.
    pub fn text(&mut self) -> io::Result<String> {
        self.collect(|_| true)
    }

    /// The text of the element that began last, to its end, where it is made of runs. What is said of their
    /// pronunciation is no part of it.
    pub fn rich_text(&mut self) -> io::Result<String> {
        self.collect(|name| name == "t")
    }

    fn collect(&mut self, is_text: fn(&str) -> bool) -> io::Result<String> {
        let depth = self.depth;
        let mut collected = String::new();
        // The element that the text belongs to. Without any, it is the first one.
        let mut is_counted = is_text("");
        while self.depth >= depth {
            match self.next()? {
                Node::Start(element) if element.name() == "rPh" => self.skip()?,
                Node::Start(element) => is_counted = is_text(element.name()),
                Node::Text(text) if is_counted => collected.push_str(&text),
                Node::End => is_counted = is_text(""),
                Node::Text(_) | Node::Other => {}
                Node::Eof => return Err(self.broken("is cut off")),
            }
            if collected.len() > LONGEST_TEXT {
                return Err(self.broken("a text is longer than 1 MiB"));
            }
        }
        Ok(unescaped(collected))
    }

    /// Reads to the end of the part, which proves that it is whole.
    pub fn finish(&mut self) -> io::Result<()> {
        io::copy(&mut self.reader.get_mut().from, &mut io::sink()).map(drop)
    }
}

/// Excel writes what XML can't hold as `_x0007_`, and what reads like that with `_x005F_` in front.
fn unescaped(text: String) -> String {
    if !text.contains("_x") {
        return text;
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = &*text;
    while let Some(at) = rest.find("_x") {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let code = rest.get(2..6).filter(|code| code.bytes().all(|c| c.is_ascii_hexdigit()));
        let code = code.filter(|_| rest[6..].starts_with('_'));
        let code = code.and_then(|code| u32::from_str_radix(code, 16).ok());
        let (written, read) = match code.and_then(char::from_u32) {
            Some(character) => (character, 7),
            None => ('_', 1),
        };
        out.push(written);
        rest = &rest[read..];
    }
    out + rest
}

/// Gives no more bytes than one tag or text may have, until told that another begins.
struct Bounded {
    from: BufReader<Unpacked>,
    left: usize,
}

impl Read for Bounded {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(out)?;
        self.consume(read);
        Ok(read)
    }
}

impl BufRead for Bounded {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let found = self.from.fill_buf()?;
        if self.left == 0 && !found.is_empty() {
            let what = format_args!("a tag or a text in it is longer than {} MiB", LONGEST >> 20);
            return Err(broken(what));
        }
        Ok(&found[..found.len().min(self.left)])
    }

    fn consume(&mut self, length: usize) {
        self.left -= length.min(self.left);
        self.from.consume(length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_xml_cannot_hold_is_read_as_excel_shows_it() {
        for (written, shown) in [
            ("a_x000D_\nb", "a\r\nb"),
            ("_x005F_x000D_", "_x000D_"),
            ("_x00zz_", "_x00zz_"),
            ("_xD800_", "_xD800_"),
            ("a_x", "a_x"),
            ("_x一二_", "_x一二_"),
            ("my_xml_name", "my_xml_name"),
        ] {
            assert_eq!(unescaped(written.to_owned()), shown);
        }
    }
}
