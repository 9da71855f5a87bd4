//! How input is read: as flags say, or as a run that read it before keeps them.

use std::collections::BTreeMap;

use super::ConfigError;
use crate::cli::layers;
use crate::cli::{BusinessArgs, InputArgs};
use crate::input::{InputOptions, UnknownEncoding};
use crate::target::Entrance;

/// As flags say it. Where a business is sent, each row must have one.
pub(super) fn of(
    reading: Option<&InputArgs>,
    business: Option<&BusinessArgs>,
    entrance: Entrance,
) -> Result<InputOptions, UnknownEncoding> {
    let encoding = reading.and_then(|args| args.encoding.as_deref());
    Ok(InputOptions {
        map: reading.map(|args| args.map.clone()).unwrap_or_default(),
        format: reading.and_then(|args| args.input_format),
        sheet: reading.and_then(|args| args.sheet.clone()),
        delimiter: reading.and_then(|args| args.delimiter),
        no_header: reading.is_some_and(|args| args.no_header),
        encoding: encoding.map(str::parse).transpose()?,
        default_biz_id: business.and_then(|args| args.biz_id),
        require_biz_id: sends_biz_id(business, entrance),
    })
}

/// As the options of an earlier run say it, which went to this entrance.
pub fn of_run(
    options: &BTreeMap<String, Vec<String>>,
    entrance: Entrance,
) -> Result<InputOptions, ConfigError> {
    let (reading, business) = layers::reading(options)?;
    Ok(of(Some(&reading), Some(&business), entrance)?)
}

pub(super) fn sends_biz_id(business: Option<&BusinessArgs>, entrance: Entrance) -> bool {
    business.is_some_and(|args| args.send_biz_id.at(entrance))
}
