//! The cells of a sheet, row after row.

use std::io;

use super::Workbook;
use super::xml::{Node, Xml};

/// The most rows that Excel has in a sheet.
const MOST_ROWS: u32 = 1_048_576;

/// The most columns: up to XFD.
const MOST_COLUMNS: u32 = 16_384;

/// How long the texts of a row may be together, in bytes. It is what a row of any input may be.
const LONGEST_ROW: usize = 1 << 20;

/// Numbers below that are exact in a cell.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// A cell that holds something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    /// From 0.
    pub column: u32,
    /// What the cell shows, or the digits of its number.
    pub text: String,
    /// Why the text says nothing for sure.
    pub doubt: Option<Doubt>,
}

/// Why a cell's text says nothing for sure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Doubt {
    /// A number with a fraction, or too large to be exact.
    #[error("is a number, but no whole one below 2^53; make the cell text, and type it again")]
    Inexact,
    /// A number shown as a date.
    #[error("is a date; make the cell text, and type it again")]
    Date,
    /// `TRUE` or `FALSE`, and no text.
    #[error("is a truth value and no text")]
    Bool,
    /// What Excel shows for a formula that failed.
    #[error("is the error of a formula")]
    Error,
    /// A formula without a value.
    #[error("is a formula without a stored value; open the file in Excel and save it")]
    NoValue,
    /// A text that is not there.
    #[error("refers to a text that the workbook lacks")]
    Lost,
}

/// A row that has cells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SheetRow {
    /// Its number, from 1.
    pub number: u32,
    /// Its cells, in order.
    pub cells: Vec<Cell>,
}

impl SheetRow {
    /// The cell of a column.
    pub fn cell(&self, column: u32) -> Option<&Cell> {
        let found = self.cells.binary_search_by_key(&column, |cell| cell.column);
        found.ok().map(|at| &self.cells[at])
    }

    /// A cell's text; empty where there is none.
    pub fn text(&self, column: u32) -> &str {
        self.cell(column).map_or("", |cell| &cell.text)
    }

    /// Whether no cell says anything.
    pub fn is_blank(&self) -> bool {
        self.cells.iter().all(|cell| cell.text.trim().is_empty() && cell.doubt.is_none())
    }
}

/// Reads a sheet's rows in order.
pub struct Rows {
    xml: Xml,
    /// The number of the row that was read last; 0 before the first.
    number: u32,
    ended: bool,
}

impl Rows {
    pub(super) fn new(mut xml: Xml) -> io::Result<Self> {
        loop {
            match xml.next()? {
                Node::Start(element) if element.name() == "sheetData" => break,
                Node::Eof => return Err(xml.broken("has no cells")),
                _ => {}
            }
        }
        Ok(Self { xml, number: 0, ended: false })
    }

    /// The number of the row that was read last, or could not be read.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The next row that has cells; none at the end.
    pub fn next(&mut self, workbook: &mut Workbook) -> io::Result<Option<SheetRow>> {
        while !self.ended {
            match self.xml.next()? {
                Node::Start(element) if element.name() == "row" => {
                    let number = match element.attribute("r") {
                        None => self.number.checked_add(1),
                        Some(number) => number.trim().parse().ok(),
                    };
                    let number = number.filter(|number| *number <= MOST_ROWS);
                    let Some(number) = number.filter(|number| *number > self.number) else {
                        return Err(self.xml.broken("rows are not in order, or too many"));
                    };
                    self.number = number;
                    let row = self.row(workbook)?;
                    if !row.cells.is_empty() {
                        return Ok(Some(row));
                    }
                }
                Node::Start(_) => self.xml.skip()?,
                Node::End => {
                    self.ended = true;
                    self.xml.finish()?;
                }
                Node::Eof => return Err(self.xml.broken("is cut off")),
                Node::Text(_) | Node::Other => {}
            }
        }
        Ok(None)
    }

    /// The row that has begun.
    fn row(&mut self, workbook: &mut Workbook) -> io::Result<SheetRow> {
        let mut row = SheetRow { number: self.number, cells: Vec::new() };
        let (mut next, mut length) = (0, 0);
        loop {
            match self.xml.next()? {
                Node::Start(element) if element.name() == "c" => {
                    let place = match element.attribute("r") {
                        None => Some((next, self.number)),
                        Some(place) => place_of(&place),
                    };
                    let style = element.attribute("s").and_then(|style| style.parse().ok());
                    let kind = Kind::of(element.attribute("t").as_deref());
                    let place = place.filter(|(column, row)| {
                        *column >= next && *column < MOST_COLUMNS && *row == self.number
                    });
                    let Some((column, _)) = place else {
                        return Err(self.xml.broken("cells are not in order, or too many"));
                    };
                    next = column + 1;
                    let is_date = workbook.styles.is_date(style.unwrap_or(0));
                    let raw = self.cell()?;
                    let (text, doubt) = match kind {
                        Kind::Shared => match raw.value.as_deref().map(str::trim) {
                            None | Some("") => raw.text(),
                            Some(index) => match index.parse() {
                                Err(_) => (index.to_owned(), Some(Doubt::Lost)),
                                Ok(index) => match workbook.strings.get(index)? {
                                    None => (String::new(), Some(Doubt::Lost)),
                                    Some(text) => (text, None),
                                },
                            },
                        },
                        Kind::Text => raw.text(),
                        Kind::Number => raw.number(is_date),
                        Kind::Date => raw.doubtful(Doubt::Date),
                        Kind::Error => raw.doubtful(Doubt::Error),
                        Kind::Bool => raw.truth(),
                    };
                    length += text.len();
                    if length > LONGEST_ROW {
                        return Err(self.xml.broken("the row's texts are longer than 1 MiB"));
                    }
                    if !text.is_empty() || doubt.is_some() {
                        row.cells.push(Cell { column, text, doubt });
                    }
                }
                Node::Start(_) => self.xml.skip()?,
                Node::End => return Ok(row),
                Node::Eof => return Err(self.xml.broken("is cut off")),
                Node::Text(_) | Node::Other => {}
            }
        }
    }

    /// What the cell that has begun holds.
    fn cell(&mut self) -> io::Result<Raw> {
        let mut raw = Raw::default();
        loop {
            match self.xml.next()? {
                Node::Start(element) => match element.name() {
                    "v" => raw.value = Some(self.xml.text()?),
                    "is" => raw.inline = Some(self.xml.rich_text()?),
                    name => {
                        raw.is_formula |= name == "f";
                        self.xml.skip()?;
                    }
                },
                Node::End => return Ok(raw),
                Node::Eof => return Err(self.xml.broken("is cut off")),
                Node::Text(_) | Node::Other => {}
            }
        }
    }
}

/// What a cell says that it holds.
enum Kind {
    Shared,
    Text,
    Number,
    Date,
    Bool,
    Error,
}

impl Kind {
    fn of(kind: Option<&str>) -> Self {
        match kind {
            None | Some("n") => Self::Number,
            Some("s") => Self::Shared,
            Some("b") => Self::Bool,
            Some("e") => Self::Error,
            Some("d") => Self::Date,
            Some(_) => Self::Text,
        }
    }
}

/// What stands in a cell.
#[derive(Default)]
struct Raw {
    value: Option<String>,
    inline: Option<String>,
    is_formula: bool,
}

impl Raw {
    /// Without a value, a formula says nothing.
    fn doubt(&self) -> Option<Doubt> {
        (self.is_formula && self.value.is_none()).then_some(Doubt::NoValue)
    }

    fn text(self) -> (String, Option<Doubt>) {
        let doubt = self.doubt();
        (self.inline.or(self.value).unwrap_or_default(), doubt)
    }

    fn doubtful(self, doubt: Doubt) -> (String, Option<Doubt>) {
        let text = self.value.unwrap_or_default();
        let doubt = (self.is_formula || !text.is_empty()).then_some(doubt);
        (text, doubt)
    }

    fn truth(self) -> (String, Option<Doubt>) {
        let text = match self.value.as_deref().map(str::trim) {
            Some("1" | "true") => "TRUE",
            Some("0" | "false") => "FALSE",
            _ => return self.doubtful(Doubt::Bool),
        };
        (text.to_owned(), Some(Doubt::Bool))
    }

    /// What is no exact number has a text that can't be taken for one.
    fn number(self, is_date: bool) -> (String, Option<Doubt>) {
        let text = self.value.as_deref().unwrap_or_default().trim();
        if text.is_empty() {
            return (String::new(), self.is_formula.then_some(Doubt::NoValue));
        }
        let Ok(number) = text.parse::<f64>() else {
            return (format!("{text:?}"), Some(Doubt::Inexact));
        };
        if is_date {
            return (format!("{text} (date)"), Some(Doubt::Date));
        }
        if number.fract() != 0.0 || number.abs() >= EXACT || !number.is_finite() {
            return (format!("{number:e}"), Some(Doubt::Inexact));
        }
        (format!("{}", number as i64), None)
    }
}

/// The column and the row of a place such as `D7`.
fn place_of(place: &str) -> Option<(u32, u32)> {
    let letters = place.bytes().take_while(u8::is_ascii_alphabetic).count();
    let (letters, digits) = place.split_at(letters);
    let mut column = 0_u32;
    for letter in letters.bytes() {
        let value = u32::from(letter.to_ascii_uppercase() - b'A') + 1;
        column = column.checked_mul(26)?.checked_add(value)?;
    }
    Some((column.checked_sub(1)?, digits.parse().ok()?))
}

/// The letters of a column, from 0.
pub fn letters_of(mut column: u32) -> String {
    let mut letters = Vec::new();
    loop {
        letters.push(char::from(b'A' + (column % 26) as u8));
        match column / 26 {
            0 => return letters.iter().rev().collect(),
            rest => column = rest - 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_have_letters_and_a_number() {
        for (letters, column) in
            [("A", 0), ("Z", 25), ("AA", 26), ("AZ", 51), ("BA", 52), ("XFD", 16_383)]
        {
            assert_eq!(letters_of(column), letters);
            assert_eq!(place_of(&format!("{letters}7")), Some((column, 7)));
        }
        for place in ["", "7", "A", "A-1", "A 1", "AAAAAAAAAA1", "A99999999999", "一1"] {
            assert_eq!(place_of(place), None, "{place}");
        }
    }

    #[test]
    fn a_number_is_exact_or_in_doubt() {
        for (value, text, doubt) in [
            ("7", "7", None),
            ("7.0", "7", None),
            ("1E3", "1000", None),
            ("-5", "-5", None),
            ("-0", "0", None),
            ("9007199254740991", "9007199254740991", None),
            ("9007199254740992", "9.007199254740992e15", Some(Doubt::Inexact)),
            ("1.5", "1.5e0", Some(Doubt::Inexact)),
            ("1E+400", "inf", Some(Doubt::Inexact)),
            ("x", "\"x\"", Some(Doubt::Inexact)),
            ("", "", None),
        ] {
            let raw = Raw { value: Some(value.to_owned()), ..Raw::default() };
            assert_eq!(raw.number(false), (text.to_owned(), doubt), "{value}");
        }
        let raw = Raw { value: Some("45000".to_owned()), ..Raw::default() };
        assert_eq!(raw.number(true), ("45000 (date)".to_owned(), Some(Doubt::Date)));
    }
}
