//! English or Chinese: what a person is told in, and what a server is asked to answer in.
//!
//! A text for a person stands in both languages at the place where it is written, so that neither can be
//! forgotten.

/// A language.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Language {
    /// English.
    #[default]
    En,
    /// Chinese.
    Zh,
}

impl Language {
    /// The values by their words.
    pub const WORDS: [(&str, Self); 2] = [("en", Self::En), ("zh", Self::Zh)];

    /// The server's name for it. The server takes anything but `en` for Chinese
    /// (docs/cmdb-api.md#language).
    pub const fn tag(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::Zh => "zh-cn",
        }
    }

    /// That of a locale, as `zh_CN.UTF-8`: whatever is not Chinese is English.
    pub fn of_locale(locale: &str) -> Self {
        match locale.get(..2) {
            Some(start) if start.eq_ignore_ascii_case("zh") => Self::Zh,
            _ => Self::En,
        }
    }

    /// One of both: English, Chinese.
    pub fn pick<T>(self, (english, chinese): (T, T)) -> T {
        match self {
            Self::En => english,
            Self::Zh => chinese,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_locale_is_chinese_or_english() {
        for locale in ["zh_CN.UTF-8", "zh", "zh_TW", "ZH_cn.gb18030"] {
            assert_eq!(Language::of_locale(locale), Language::Zh, "{locale}");
        }
        for locale in ["", "C", "POSIX", "en_US.UTF-8", "de_DE", "z", "中"] {
            assert_eq!(Language::of_locale(locale), Language::En, "{locale}");
        }
    }
}
