//! Characters that a terminal obeys instead of showing them.
//!
//! Names of files, and texts of files that somebody else wrote, may hold them. All that is told passes
//! [`shown`] where it leaves for stdout or stderr. Knows nothing of what is told.

use std::borrow::Cow;
use std::fmt::Write as _;

/// The start of a code that changes colours, and that which ends them.
const START: &str = "\x1b[";
const RESET: &str = "\x1b[0m";
/// Bold, dimmed, italic, underlined, and six colours: what our own texts, clap's and the logs have. None of them
/// hides a text.
const STYLES: [&str; 10] = ["1", "2", "3", "4", "31", "32", "33", "34", "35", "36"];

/// Whether a terminal obeys a character: it moves the cursor, gives a command, or turns the direction of a text.
pub fn is_obeyed(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

/// Such a character as JSON and bash write it, too.
pub fn escaped(c: char) -> String {
    format!("\\u{:04x}", u32::from(c))
}

/// A text in which nothing is left to be obeyed but line breaks, tabs and, with colours, parts that are
/// coloured from their first character to their last. So a colour of somebody else's can't run on.
pub fn shown(text: &str, colors: bool) -> Cow<'_, str> {
    let hides = |c: char| is_obeyed(c) && !matches!(c, '\n' | '\t');
    if !text.contains(hides) {
        return Cow::Borrowed(text);
    }
    let (mut told, mut rest) = (String::with_capacity(text.len() + 16), text);
    while let Some(at) = rest.find(hides) {
        told.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some((codes, inner, after)) = painted(rest).filter(|_| colors) {
            // Writing to a String can't fail.
            let _ = write!(told, "{codes}{}{RESET}", shown(inner, false));
            rest = after;
        } else if let Some(c) = rest.chars().next() {
            told.push_str(&escaped(c));
            rest = &rest[c.len_utf8()..];
        }
    }
    told.push_str(rest);
    Cow::Owned(told)
}

/// The codes, the text and what follows, where a text starts with a coloured part.
fn painted(text: &str) -> Option<(&str, &str, &str)> {
    let mut inner = text;
    while let Some((code, after)) = inner.strip_prefix(START).and_then(|code| code.split_once('m'))
        && STYLES.contains(&code)
    {
        inner = after;
    }
    let codes = &text[..text.len() - inner.len()];
    let end = inner.find('\x1b').filter(|_| !codes.is_empty())?;
    let after = inner[end..].strip_prefix(RESET)?;
    Some((codes, &inner[..end], after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_shown() {
        for (text, told) in [
            ("plain, 名称, é, 🙂\n\ttoo", "plain, 名称, é, 🙂\n\ttoo"),
            ("f\x1b]0;T\x07\x1b[31m.csv", r"f\u001b]0;T\u0007\u001b[31m.csv"),
            ("a\rb\0c\x7fd", r"a\u000db\u0000c\u007fd"),
            ("\u{9b}2J\u{85}", r"\u009b2J\u0085"),
            ("\u{202e}vsc\u{2066}.\u{2069}", r"\u202evsc\u2066.\u2069"),
            ("\u{61c}\u{200e}\u{200f}\u{202a}", r"\u061c\u200e\u200f\u202a"),
            // The first joins emoji, the second indents Chinese.
            ("\u{200d}\u{3000}", "\u{200d}\u{3000}"),
        ] {
            assert_eq!(shown(text, false), told);
            assert_eq!(shown(text, true), told);
        }
    }

    #[test]
    fn colours_are_let_through_whole_and_only_where_there_are_any() {
        for text in ["\x1b[31mred\x1b[0m, \x1b[1mbold\x1b[0m\n", "\x1b[1m\x1b[31merror:\x1b[0m x"] {
            assert_eq!(shown(text, true), text);
            assert!(!shown(text, false).contains('\x1b'));
        }
        for (text, told) in [
            // A colour that would run on.
            ("\x1b[31mf.csv", r"\u001b[31mf.csv"),
            ("\x1b[31mf \x1b[1mours\x1b[0m", "\\u001b[31mf \x1b[1mours\x1b[0m"),
            ("ours\x1b[0m", r"ours\u001b[0m"),
            // What is no colour: hidden, blinking, a cursor, a title.
            ("\x1b[8mx\x1b[0m", r"\u001b[8mx\u001b[0m"),
            ("\x1b[5mx\x1b[0m", r"\u001b[5mx\u001b[0m"),
            ("\x1b[2Jm\x1b[0m", r"\u001b[2Jm\u001b[0m"),
            ("\x1b[mx\x1b[0m", r"\u001b[mx\u001b[0m"),
            ("\x1b[31m\u{202e}\x07\x1b[0m", "\x1b[31m\\u202e\\u0007\x1b[0m"),
            ("\x1b", r"\u001b"),
        ] {
            assert_eq!(shown(text, true), told);
        }
    }

    #[test]
    fn json_stays_the_same_value() {
        let value = "名\u{202e}\u{9b}\\\u{2066}\x1b[31m\"";
        let json = serde_json::to_string(value).unwrap();
        let told = shown(&json, false);
        assert!(!told.contains(is_obeyed), "{told:?}");
        assert_eq!(serde_json::from_str::<String>(&told).unwrap(), value);
    }
}
