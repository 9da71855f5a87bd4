//! How texts are shown to a person: in which language, and with colours or without.
//!
//! The only home of anstream and anstyle. A colour adds codes around a text and changes nothing of it. Knows
//! nothing of what is told.

use std::fmt::Display;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;

use anstream::adapter::strip_str;
use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Effects, Style};
use rustix::termios::tcgetwinsize;

use crate::options::Language;
use crate::outcome::Status;
use crate::report::controls::shown;

/// When colours are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Color {
    /// As `NO_COLOR`, `CLICOLOR_FORCE`, `CLICOLOR` and `TERM` say, else where the stream is a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Color {
    /// The values by their words.
    pub const WORDS: [(&str, Self); 3] =
        [("auto", Self::Auto), ("always", Self::Always), ("never", Self::Never)];

    /// The value of a word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::WORDS.into_iter().find(|(known, _)| *known == word).map(|(_, color)| color)
    }

    /// Decides for the whole process: clap's texts, logs and all that is told.
    pub fn choose(self) {
        match self {
            // anstream takes a 0 for a yes.
            Self::Auto if std::env::var_os("CLICOLOR_FORCE").is_some_and(|force| force == "0") => {
                if io::stdout().is_terminal() && io::stderr().is_terminal() && !says_no() {
                    ColorChoice::Always
                } else {
                    ColorChoice::Never
                }
            }
            Self::Auto => ColorChoice::Auto,
            Self::Always => ColorChoice::Always,
            Self::Never => ColorChoice::Never,
        }
        .write_global();
    }
}

fn says_no() -> bool {
    let is = |name: &str, value: &str| std::env::var_os(name).is_some_and(|set| set == value);
    let has_no_color = std::env::var_os("NO_COLOR").is_some_and(|set| !set.is_empty());
    has_no_color || is("CLICOLOR", "0") || is("TERM", "dumb")
}

/// What a colour says of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// It is as it was asked for.
    Good,
    /// It failed.
    Bad,
    /// Nobody knows, or not yet.
    Open,
    /// It is read first.
    Strong,
    /// It is read last.
    Faint,
}

impl Tone {
    /// That of rows which ended so.
    pub const fn of(status: Status) -> Self {
        match status {
            Status::Created
            | Status::Existed
            | Status::Recovered
            | Status::Deleted
            | Status::Absent => Self::Good,
            Status::Failed | Status::Invalid => Self::Bad,
            Status::InDoubt | Status::NotAttempted => Self::Open,
        }
    }

    const fn style(self) -> Style {
        match self {
            Self::Good => AnsiColor::Green.on_default(),
            Self::Bad => AnsiColor::Red.on_default(),
            Self::Open => AnsiColor::Yellow.on_default(),
            Self::Strong => Style::new().effects(Effects::BOLD),
            Self::Faint => Style::new().effects(Effects::DIMMED),
        }
    }
}

fn columns_of_terminal(stream: impl AsFd) -> Option<usize> {
    let size = tcgetwinsize(stream).ok()?;
    (size.ws_col > 0).then_some(size.ws_col.into())
}

/// A text as it is without colours.
pub fn without_codes(text: &str) -> String {
    strip_str(text).to_string()
}

/// How texts are shown. By itself in English, and without colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// The language.
    pub language: Language,
    /// Whether there are colours.
    pub colors: bool,
    /// How wide the terminal is, where it is one.
    pub columns: Option<usize>,
}

impl Look {
    /// That of stdout.
    pub fn of_stdout(language: Language) -> Self {
        let colors = AutoStream::choice(&io::stdout()) != ColorChoice::Never;
        Self { language, colors, columns: columns_of_terminal(io::stdout()) }
    }

    /// That of stderr.
    pub fn of_stderr(language: Language) -> Self {
        let colors = AutoStream::choice(&io::stderr()) != ColorChoice::Never;
        Self { language, colors, columns: columns_of_terminal(io::stderr()) }
    }

    /// One of a text in both languages: English, Chinese.
    pub fn pick<T>(self, both: (T, T)) -> T {
        self.language.pick(both)
    }

    /// A text in a tone. What the text itself would have a terminal do is shown.
    pub fn paint(self, tone: Tone, text: impl Display) -> String {
        let (style, text) = (tone.style(), text.to_string());
        let text = shown(&text, false);
        if self.colors { format!("{style}{text}{style:#}") } else { text.into_owned() }
    }

    /// A whole text as it leaves: with our colours, and nothing else that a terminal obeys.
    pub fn shown(self, text: &str) -> String {
        shown(text, self.colors).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_colour_changes_nothing_but_adds_codes() {
        let plain = Look::default();
        let painted = Look { colors: true, ..plain };
        for tone in [Tone::Good, Tone::Bad, Tone::Open, Tone::Strong, Tone::Faint] {
            assert_eq!(plain.paint(tone, "  7  rows"), "  7  rows");
            let text = painted.paint(tone, "  7  rows");
            assert!(text.starts_with("\u{1b}[") && text.ends_with('m'), "{text:?}");
            assert_eq!(without_codes(&text), "  7  rows");
        }
    }

    #[test]
    fn a_colour_is_no_way_for_what_a_terminal_obeys() {
        let plain = Look::default();
        let painted = Look { colors: true, ..plain };
        for tone in [Tone::Good, Tone::Bad, Tone::Open, Tone::Strong, Tone::Faint] {
            let text = painted.paint(tone, "f\x1b[0m\x1b]0;T\x07");
            assert_eq!(without_codes(&text), r"f\u001b[0m\u001b]0;T\u0007");
            let line = format!("{text} \x1b[31mg\u{202e}");
            assert_eq!(painted.shown(&line), format!(r"{text} \u001b[31mg\u202e"));
            assert_eq!(plain.paint(tone, "\x1b[31m"), r"\u001b[31m");
        }
    }
}
