//! How many columns of a terminal a text takes: a Chinese character takes two.
//!
//! The only home of unicode-width. Knows nothing of what is told.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// The columns that a text takes.
pub fn columns_of(text: &str) -> usize {
    text.width()
}

/// The beginning of a text that takes no more than so many columns.
pub fn cut(text: &str, columns: usize) -> &str {
    let mut taken = 0;
    let end = text.char_indices().find(|(_, c)| {
        taken += c.width().unwrap_or(0);
        taken > columns
    });
    end.map_or(text, |(end, _)| &text[..end])
}

/// A text with blanks behind it, so that what follows stands in one column.
pub fn padded(text: &str, columns: usize) -> String {
    format!("{text}{}", " ".repeat(columns.saturating_sub(columns_of(text))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chinese_character_takes_two_columns_and_is_never_halved() {
        assert_eq!((columns_of("ab"), columns_of("已创建 3")), (2, 8));
        for (columns, text) in [(0, ""), (1, ""), (2, "已"), (3, "已"), (4, "已创"), (9, "已创建a")]
        {
            assert_eq!(cut("已创建a", columns), text, "{columns}");
        }
        assert_eq!((padded("行", 4).as_str(), padded("abcde", 4).as_str()), ("行  ", "abcde"));
    }
}
