//! Readers of fields that servers write in several ways. A field that can't be read counts as absent,
//! so that it does not hide the others.

use serde::Deserialize;
use serde::de::{self, Deserializer};
use serde_json::value::RawValue;

/// A negative number becomes one above all ids, which equals none.
pub(super) fn any_integer<'de, D: Deserializer<'de>>(d: D) -> Result<u64, D::Error> {
    i64::deserialize(d).map(i64::cast_unsigned)
}

pub(super) fn present<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(d).map(Some)
}

/// A code as number or numeric text. A code that is neither counts as no code.
pub(super) fn lenient_code<'de, D: Deserializer<'de>>(d: D) -> Result<Option<i64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Code<'a> {
        Number(i64),
        Text(#[serde(borrow)] std::borrow::Cow<'a, str>),
        Other(de::IgnoredAny),
    }
    Ok(match Code::deserialize(d)? {
        Code::Number(number) => Some(number),
        Code::Text(text) => text.trim().parse().ok(),
        Code::Other(_) => None,
    })
}

pub(super) fn lenient_bool<'de, D: Deserializer<'de>>(d: D) -> Result<Option<bool>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Flag {
        Bool(bool),
        Other(de::IgnoredAny),
    }
    Ok(match Flag::deserialize(d)? {
        Flag::Bool(flag) => Some(flag),
        Flag::Other(_) => None,
    })
}

pub(super) fn lenient_text<'de, D: Deserializer<'de>>(d: D) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Text {
        Text(String),
        Other(de::IgnoredAny),
    }
    Ok(match Text::deserialize(d)? {
        Text::Text(text) => Some(text),
        Text::Other(_) => None,
    })
}
