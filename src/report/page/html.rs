//! Texts in HTML: the one function that escapes, and texts in two languages.
//!
//! Results and what a server said are untrusted. Knows nothing of what is told.

use std::fmt::Write as _;

use base64::prelude::{BASE64_STANDARD, Engine as _};

use crate::input::digest::Hasher;
use crate::report::controls::is_obeyed;

/// A text as content or as an attribute's value. Control characters, and those that turn the direction of
/// writing, are shown by their numbers.
pub fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c if is_hidden(c) => {
                // Writing to a String can't fail.
                let _ = write!(safe, "\\u{{{:x}}}", u32::from(c));
            }
            c => safe.push(c),
        }
    }
    safe
}

/// What a terminal obeys, and what nobody sees.
fn is_hidden(c: char) -> bool {
    is_obeyed(c)
        || matches!(c, '\u{200b}'..='\u{200d}' | '\u{2028}' | '\u{2029}' | '\u{2060}'..='\u{2065}' | '\u{206a}'..='\u{206f}' | '\u{feff}')
}

/// A text in both languages, of which one is shown. Code between backticks is set as code.
pub fn both((english, chinese): (&str, &str)) -> String {
    format!(
        "<span class=\"en\">{}</span><span class=\"zh\" lang=\"zh\">{}</span>",
        with_code(english),
        with_code(chinese)
    )
}

fn with_code(text: &str) -> String {
    let parts = text.split('`').enumerate().map(|(at, part)| match at % 2 {
        0 => escaped(part),
        _ => format!("<code>{}</code>", escaped(part)),
    });
    parts.collect()
}

/// How a policy names a style or a script that stands in the page itself: by its SHA-256.
pub fn source_hash(text: &str) -> String {
    let mut hasher = Hasher::default();
    hasher.update(text.as_bytes());
    let hex = hasher.sha256();
    let bytes: Vec<u8> = (0..hex.len() / 2)
        .filter_map(|at| u8::from_str_radix(hex.get(2 * at..2 * at + 2)?, 16).ok())
        .collect();
    format!("'sha256-{}'", BASE64_STANDARD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_ends_what_it_stands_in() {
        let evil = "</script><img src=x onerror=\"alert('1')\">&amp;\u{202e}\u{7}\u{2066}\n";
        assert_eq!(
            escaped(evil),
            "&lt;/script&gt;&lt;img src=x onerror=&quot;alert(&#39;1&#39;)&quot;&gt;&amp;amp;\
             \\u{202e}\\u{7}\\u{2066}\\u{a}"
        );
        assert_eq!(escaped("关联 ü"), "关联 ü");
    }

    #[test]
    fn code_is_set_as_code() {
        let text = both(("mend `a<b`", "改 `a<b`"));
        assert!(
            text.contains("mend <code>a&lt;b</code>") && text.contains("改 <code>a&lt;b</code>")
        );
    }

    #[test]
    fn a_hash_is_what_a_policy_takes() {
        assert_eq!(source_hash(""), "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='");
    }
}
