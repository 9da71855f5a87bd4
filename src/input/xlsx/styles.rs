//! Which styles of a workbook show a number as a date or a time.

use std::io;

use rustc_hash::FxHashSet;

use super::xml::{Node, Xml};

#[derive(Default)]
pub struct Styles(Vec<bool>);

impl Styles {
    /// Whether cells of a style show dates.
    pub fn is_date(&self, style: usize) -> bool {
        self.0.get(style).copied().unwrap_or(false)
    }

    /// Reads the part that says it.
    pub fn read(mut xml: Xml) -> io::Result<Self> {
        let mut dates = FxHashSet::<u32>::default();
        let mut styles = Vec::new();
        let mut is_cells = false;
        loop {
            match xml.next()? {
                Node::Start(element) => match element.name() {
                    "cellXfs" => is_cells = true,
                    "cellStyleXfs" | "cellStyles" | "dxfs" => is_cells = false,
                    "numFmt" => {
                        let id = element.attribute("numFmtId").and_then(|id| id.parse().ok());
                        let code = element.attribute("formatCode");
                        if let (Some(id), true) = (id, code.is_some_and(|code| shows_dates(&code)))
                        {
                            dates.insert(id);
                        }
                    }
                    "xf" if is_cells => {
                        let id = element.attribute("numFmtId").and_then(|id| id.parse().ok());
                        let id = id.unwrap_or(0);
                        styles.push(is_builtin_date(id) || dates.contains(&id));
                    }
                    _ => {}
                },
                Node::Eof => return Ok(Self(styles)),
                _ => {}
            }
        }
    }
}

/// The formats that need no code, those of East Asia too (ECMA-376, part 1, 18.8.30).
fn is_builtin_date(id: u32) -> bool {
    matches!(id, 14..=22 | 27..=36 | 45..=47 | 50..=58)
}

/// Whether a format's code has a letter of dates outside of texts, colours and the like.
fn shows_dates(code: &str) -> bool {
    let mut rest = code.chars();
    while let Some(c) = rest.next() {
        match c {
            '"' => drop(rest.by_ref().find(|c| *c == '"')),
            '[' => {
                let within: String = rest.by_ref().take_while(|c| *c != ']').collect();
                // Hours that go on over 24, and the like.
                if !within.is_empty() && within.chars().all(|c| matches!(c, 'h' | 'm' | 's')) {
                    return true;
                }
            }
            '\\' | '_' | '*' => drop(rest.next()),
            'y' | 'Y' | 'm' | 'M' | 'd' | 'D' | 'h' | 'H' | 's' | 'S' => return true,
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_shows_dates_where_it_has_their_letters_outside_of_texts() {
        for (code, shows) in [
            ("yyyy-mm-dd", true),
            ("[$-804]yyyy\"年\"m\"月\"", true),
            ("[h]:mm", true),
            ("General", false),
            ("0.00", false),
            ("#,##0 \"days\"", false),
            ("[Red]0", false),
            ("_-* #,##0", false),
            ("0\\m", false),
        ] {
            assert_eq!(shows_dates(code), shows, "{code}");
        }
    }
}
