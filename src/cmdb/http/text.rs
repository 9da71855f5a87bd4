//! Cleans incoming texts: masks secrets, takes out what moves a terminal's cursor, and cuts length.

use super::headers::ascii_json;
use crate::target::{Identity, Secret};

/// The longest message that is kept, in characters.
const MESSAGE: usize = 500;
/// The longest beginning of a body that is kept, in characters.
const EXCERPT: usize = 200;
/// How much of a body its excerpt is made from, in bytes.
const EXCERPT_WINDOW: usize = 16 << 10;
/// Stands in the place of a secret.
const MASK: &str = "[secret]";

/// Keeps the secrets out of every text.
pub(super) struct Cleaner {
    /// The secrets in every form in which a text may hold them.
    needles: Vec<String>,
}

impl Cleaner {
    pub(super) fn new(identity: &Identity) -> Self {
        let mut needles: Vec<String> = identity
            .secrets()
            .map(Secret::expose)
            .filter(|secret| !secret.is_empty())
            .flat_map(forms)
            .collect();
        needles.sort_unstable();
        needles.dedup();
        Self { needles }
    }

    /// A message, fit to be shown and kept.
    pub(super) fn message(&self, text: &str) -> String {
        self.clean(text, MESSAGE)
    }

    /// The beginning of a body that was no JSON object.
    pub(super) fn excerpt(&self, body: &[u8]) -> String {
        let window = &body[..body.len().min(EXCERPT_WINDOW)];
        self.clean(&String::from_utf8_lossy(window), EXCERPT)
    }

    /// An id, if it looks like one.
    pub(super) fn request_id(&self, text: &str) -> Option<String> {
        let looks_like_one = (1..=64).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_graphic())
            && !self.holds_secret(text);
        looks_like_one.then(|| text.to_owned())
    }

    fn clean(&self, text: &str, limit: usize) -> String {
        let text = text.trim();
        let plain = text.bytes().all(|b| b == b' ' || b.is_ascii_graphic());
        if plain && text.len() <= limit && !self.holds_secret(text) {
            return text.to_owned();
        }
        let clean_piece = |piece: &&str| {
            let piece: String = piece.chars().filter_map(shown).collect();
            // What was left out may have stood inside a secret.
            self.between_secrets(&piece).join(MASK)
        };
        let pieces = self.between_secrets(text);
        let cleaned = pieces.iter().map(clean_piece).collect::<Vec<_>>().join(MASK);
        let cleaned = cleaned.trim();
        match cleaned.char_indices().nth(limit) {
            Some((end, _)) => format!("{}…", &cleaned[..end]),
            None => cleaned.to_owned(),
        }
    }

    fn holds_secret(&self, text: &str) -> bool {
        self.needles.iter().any(|needle| text.contains(needle.as_str()))
    }

    /// What stands before, between and behind the secrets of a text. All secrets are looked for in the
    /// text as it came: what was put in for one is no place to find another.
    fn between_secrets<'t>(&self, text: &'t str) -> Vec<&'t str> {
        let mut secrets: Vec<_> = self
            .needles
            .iter()
            .flat_map(|needle| text.match_indices(needle.as_str()))
            .map(|(at, secret)| (at, at + secret.len()))
            .collect();
        secrets.sort_unstable();
        let (mut pieces, mut from) = (Vec::new(), 0);
        for (start, end) in secrets {
            // What overlaps another one is hidden with it.
            if start >= from {
                pieces.push(&text[from..start]);
            }
            from = from.max(end);
        }
        pieces.push(&text[from..]);
        pieces
    }
}

/// A secret as it is, inside JSON, inside HTML, and inside a URL (the ESB echoes a token in one:
/// tests/wire/esb-1.json#1.17).
fn forms(secret: &str) -> Vec<String> {
    let quoted = serde_json::to_string(secret).expect("a text is plain JSON");
    let json = &quoted[1..quoted.len() - 1];
    let mut forms = vec![secret.to_owned(), json.to_owned(), ascii_json(json)];
    // JSON within JSON, and Python's `repr` of a text.
    forms.push(json.replace('\\', r"\\").replace('"', "\\\""));
    forms.push(secret.replace('\\', r"\\"));
    forms.push(secret.replace('\\', r"\\").replace('\'', r"\'"));
    for (quote, apostrophe) in [("&quot;", "&#39;"), ("&#34;", "&#39;"), ("&quot;", "&#x27;")] {
        let html = secret.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        forms.push(html.clone());
        forms.push(html.replace('"', quote).replace('\'', apostrophe));
    }
    for space in ["%20", "+"] {
        for digits in [b"0123456789ABCDEF", b"0123456789abcdef"] {
            let encoded = percent_encoded(secret, space, digits);
            forms.push(encoded.replace("%2F", "/").replace("%2f", "/"));
            forms.push(encoded);
        }
    }
    forms
}

fn percent_encoded(text: &str, space: &str, digits: &[u8; 16]) -> String {
    let mut encoded = String::with_capacity(text.len() * 3);
    for byte in text.bytes() {
        match byte {
            b' ' => encoded.push_str(space),
            b'-' | b'.' | b'_' | b'~' => encoded.push(byte.into()),
            _ if byte.is_ascii_alphanumeric() => encoded.push(byte.into()),
            _ => {
                encoded.push('%');
                encoded.push(digits[usize::from(byte >> 4)].into());
                encoded.push(digits[usize::from(byte & 15)].into());
            }
        }
    }
    encoded
}

/// What is shown of a character: a space for what breaks a line, nothing for what moves a terminal's
/// cursor, hides, or turns the direction of a text.
fn shown(c: char) -> Option<char> {
    match c {
        '\n' | '\r' | '\t' | '\u{85}' | '\u{2028}' | '\u{2029}' => Some(' '),
        '\u{61c}'
        | '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}' => None,
        _ if c.is_control() => None,
        _ => Some(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cleaner(secret: &str) -> Cleaner {
        Cleaner::new(&Identity {
            app_secret: Some(Secret::new(secret)),
            token: Some(Secret::new("tok/en 1")),
            ..Identity::default()
        })
    }

    #[test]
    fn nothing_that_moves_a_terminal_comes_through() {
        let cleaner = cleaner("s3cret");
        for (text, shown) in [
            ("数据唯一性校验失败， association 重复", "数据唯一性校验失败， association 重复"),
            ("a\u{1b}[31mb\u{9b}2Jc\u{7f}\0", "a[31mb2Jc"),
            ("one\r\ntwo\tthree\u{2028}four", "one  two three four"),
            ("\u{202e}gnp.exe\u{200b}\u{feff}\u{2066}", "gnp.exe"),
        ] {
            assert_eq!(cleaner.message(text), shown);
        }
    }

    #[test]
    fn a_secret_is_masked_in_every_form_it_may_travel_in() {
        let secret = "p\"w/ü+&'<";
        let cleaner = cleaner(secret);
        for text in [
            secret,
            r#"p\"w/ü+&'<"#,
            r#"p\"w/\u00fc+&'<"#,
            "p%22w%2F%C3%BC%2B%26%27%3C",
            "p%22w%2f%c3%bc%2b%26%27%3c",
            "p%22w/%C3%BC%2B%26%27%3C",
            "p\"w/ü+&\\'<",
            r#"p\\\"w/ü+&'<"#,
            "p\"w/ü+&amp;'&lt;",
            "p&quot;w/ü+&amp;&#x27;&lt;",
            "p&#34;w/ü+&amp;&#39;&lt;",
            "tok/en 1",
            "tok%2Fen%201",
            "tok%2fen+1",
        ] {
            let echoed = format!("wrong secret {text}, try again");
            assert_eq!(cleaner.message(&echoed), "wrong secret [secret], try again");
            assert_eq!(cleaner.excerpt(echoed.as_bytes()), "wrong secret [secret], try again");
        }
    }

    #[test]
    fn a_secret_torn_by_invisible_characters_or_by_the_limit_is_masked_too() {
        let cleaner = cleaner("hunter2hunter2");
        assert_eq!(cleaner.message("hunter2\u{200b}hunter2"), "[secret]");
        let long = format!("{}hunter2hunter2", "x".repeat(495));
        assert_eq!(cleaner.message(&long), format!("{}[secr…", "x".repeat(495)));
    }

    #[test]
    fn a_mask_is_no_place_to_find_a_secret() {
        let cleaner = |secret, token| {
            Cleaner::new(&Identity {
                app_secret: Some(Secret::new(secret)),
                token: Some(Secret::new(token)),
                ..Identity::default()
            })
        };
        for (secret, token) in [("secret", "cret]"), ("[sec", "secret"), ("hunter2", "secr")] {
            let cleaned = cleaner(secret, token).message(&format!("no {secret} for {token}\u{7}"));
            assert_eq!(cleaned, "no [secret] for [secret]", "{secret} {token}");
        }
        assert_eq!(cleaner("abcdef", "defghi").message("abcdefghi"), "[secret]");
        assert_eq!(cleaner("abcd", "efgh").message("abcdefgh"), "[secret][secret]");
    }

    #[test]
    fn texts_are_cut_by_characters() {
        let cleaner = cleaner("s3cret");
        assert_eq!(cleaner.message(&"名".repeat(500)), "名".repeat(500));
        assert_eq!(cleaner.message(&"名".repeat(501)), format!("{}…", "名".repeat(500)));
        assert_eq!(cleaner.excerpt(&vec![b'a'; 1 << 20]), format!("{}…", "a".repeat(200)));
        assert_eq!(cleaner.excerpt(b"\xff\xfe  "), "\u{fffd}\u{fffd}");
    }

    #[test]
    fn an_id_is_short_and_graphic_or_none() {
        let cleaner = cleaner("s3cret");
        assert_eq!(
            cleaner.request_id("e43da4ef221746868dc4c837d36f3807").as_deref(),
            Some("e43da4ef221746868dc4c837d36f3807")
        );
        for text in ["", "a b", "é", "a\u{1b}", "id-s3cret", &"a".repeat(65)] {
            assert_eq!(cleaner.request_id(text), None, "{text}");
        }
    }
}
