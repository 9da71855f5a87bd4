//! The one way to stderr, and the lines that stand below all that is written there.
//!
//! Everything for stderr passes a [`Screen`], so that nothing tears those lines, nothing but ours moves the cursor, and
//! a closed stderr does no harm.
//! They are drawn anew over themselves in one write, also where the terminal was made wider or narrower meanwhile and
//! has broken them. Knows nothing of what is told.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::termios::tcgetwinsize;

use crate::options::Language;
use crate::report::look::{Look, without_codes};
use crate::report::width::columns_of;

/// The width of a terminal that does not say.
const COLUMNS: usize = 80;

/// stderr. Copies are the same screen.
#[derive(Clone, Debug, Default)]
pub struct Screen {
    below: Arc<Mutex<Vec<Line>>>,
}

/// A line that is drawn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// With its colours.
    pub(super) text: String,
    /// The columns that it takes.
    pub(super) columns: usize,
}

impl Line {
    /// A text with its colours.
    pub(super) fn new(text: String) -> Self {
        Self { columns: columns_of(&without_codes(&text)), text }
    }
}

impl Screen {
    /// Writes a line.
    pub fn say(&self, line: &str) {
        self.put(&format!("{line}\n"));
    }

    fn put(&self, text: &str) {
        let text = Look::of_stderr(Language::En).shown(text);
        let below = self.below();
        write(&drawn(&below, columns(), &text, &below));
    }

    /// Shows these lines below all else, in place of those that are there.
    pub(super) fn show_below(&self, lines: Vec<Line>) {
        let mut below = self.below();
        write(&drawn(&below, columns(), "", &lines));
        *below = lines;
    }

    fn below(&self) -> MutexGuard<'_, Vec<Line>> {
        self.below.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes whole lines, as a logger does. Never fails.
impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.put(&String::from_utf8_lossy(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether lines can be drawn: on a terminal that can go back to them.
pub(super) fn can_draw() -> bool {
    io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// How wide the terminal is, which may change at any time.
pub(super) fn columns() -> usize {
    match tcgetwinsize(io::stderr()) {
        Ok(size) if size.ws_col > 0 => size.ws_col.into(),
        _ => COLUMNS,
    }
}

/// Ignores errors: whoever reads stderr may be gone, and that is no reason to stop.
fn write(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

/// What takes the lines `before` away from a terminal of so many columns, writes a text, and puts the lines
/// `after` below it. The cursor stands behind the last of them.
fn drawn(before: &[Line], columns: usize, text: &str, after: &[Line]) -> String {
    let mut codes = String::new();
    if !before.is_empty() {
        // A terminal that was made narrower breaks the lines that it shows.
        let rows: usize = before.iter().map(|line| line.columns.div_ceil(columns).max(1)).sum();
        codes.push('\r');
        if rows > 1 {
            // Writing to a String can't fail.
            let _ = write!(codes, "\x1b[{}A", rows - 1);
        }
        if !text.is_empty() || after.is_empty() {
            codes.push_str("\x1b[J");
        }
    }
    codes.push_str(text);
    let lines: Vec<_> = after.iter().map(|line| format!("{}\x1b[K", line.text)).collect();
    codes.push_str(&lines.join("\n"));
    if !after.is_empty() {
        codes.push_str("\x1b[J");
    }
    codes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(texts: &[&str]) -> Vec<Line> {
        texts.iter().map(|text| Line::new((*text).to_owned())).collect()
    }

    #[test]
    fn lines_are_drawn_over_themselves_and_texts_stand_above_them() {
        let (none, two) = (lines(&[]), lines(&["one", "two"]));
        let shown = "one\x1b[K\ntwo\x1b[K\x1b[J";
        assert_eq!(drawn(&none, 80, "log\n", &none), "log\n");
        assert_eq!(drawn(&none, 80, "", &two), shown);
        assert_eq!(drawn(&two, 80, "", &two), format!("\r\x1b[1A{shown}"));
        assert_eq!(drawn(&two, 80, "log\n", &two), format!("\r\x1b[1A\x1b[Jlog\n{shown}"));
        assert_eq!(drawn(&two, 80, "", &none), "\r\x1b[1A\x1b[J");
    }

    #[test]
    fn lines_that_a_narrower_terminal_has_broken_are_taken_away_whole() {
        let wide = lines(&[&"x".repeat(59), "已创建"]);
        for (columns, up) in [(60, 1), (59, 1), (58, 2), (30, 2), (20, 3), (5, 13)] {
            let codes = drawn(&wide, columns, "", &[]);
            assert_eq!(codes, format!("\r\x1b[{up}A\x1b[J"), "{columns}");
        }
    }
}
