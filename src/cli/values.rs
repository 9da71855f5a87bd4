//! How values of flags are read from text.

use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};

use crate::association::{Column, InstId};
use crate::options::{self, Proxy};
use crate::outcome::{Reason, Status};
use crate::target::{Entrance, Secret};

pub(super) const ENTRANCES: [(&str, Entrance); 3] = [
    (Entrance::Esb.as_str(), Entrance::Esb),
    (Entrance::Gateway.as_str(), Entrance::Gateway),
    (Entrance::Native.as_str(), Entrance::Native),
];

/// Takes the words of a closed list, and lists them in help and completions.
pub(super) fn words<T, const N: usize>(
    list: [(&'static str, T); N],
) -> impl TypedValueParser<Value = T>
where
    T: Copy + Send + Sync + 'static,
{
    PossibleValuesParser::new(list.map(|(word, _)| word)).try_map(move |text| {
        let known = list.iter().find(|(word, _)| *word == text);
        known.map(|(_, value)| *value).ok_or("no such word")
    })
}

pub(super) fn status(text: &str) -> Result<Status, String> {
    let words = || Status::ALL.map(Status::as_str).join(", ");
    Status::parse(text).ok_or_else(|| format!("a status is one of {}", words()))
}

pub(super) fn reason(text: &str) -> Result<Reason, String> {
    let words = || Reason::ALL.iter().map(|reason| reason.as_str());
    Reason::parse(text)
        .ok_or_else(|| format!("a reason is one of {}", words().collect::<Vec<_>>().join(", ")))
}

pub(super) fn biz_id(text: &str) -> Result<InstId, String> {
    InstId::parse(text).map_err(|error| error.to_string())
}

/// Takes any text: a URL that is refused here would be shown with its password.
#[expect(clippy::unnecessary_wraps, reason = "clap's signature")]
pub(super) fn proxy(text: &str) -> Result<Proxy, std::convert::Infallible> {
    Ok(match text {
        "none" => Proxy::None,
        url => {
            Proxy::Through { url: Secret::new(url), origin: "--proxy".to_owned(), but_for: None }
        }
    })
}

pub(super) fn mapped_column(text: &str) -> Result<(Column, String), String> {
    let (field, name) = text.split_once('=').ok_or("FIELD=COLUMN is expected")?;
    let column = (Column::ALL.into_iter())
        .find(|column| column.name() == field || column.other_names().contains(&field))
        .ok_or_else(|| format!("a field is one of {}", Column::ALL.map(Column::name).join(", ")))?;
    if name.is_empty() {
        return Err("the column's name is missing".to_owned());
    }
    Ok((column, name.to_owned()))
}

pub(super) fn delimiter(text: &str) -> Result<char, String> {
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        _ if text == "tab" || text == "\\t" => Ok('\t'),
        (Some(one), None) if !matches!(one, '"' | '\r' | '\n' | '\0') => Ok(one),
        _ => Err("one character or `tab` is expected".to_owned()),
    }
}

pub(super) fn some_duration(text: &str) -> Result<Duration, String> {
    match options::duration(text) {
        Ok(Duration::ZERO) => Err("it must be longer than nothing".to_owned()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(error.to_string()),
    }
}

pub(super) fn at_least_one<T: std::str::FromStr + Default + PartialEq>(
    text: &str,
) -> Result<T, String> {
    (text.parse().ok())
        .filter(|number| *number != T::default())
        .ok_or_else(|| "a whole number from 1 on is expected".to_owned())
}
