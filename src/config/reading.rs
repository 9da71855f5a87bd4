//! How input is read: as flags say, or as a run that read it before keeps them.

use std::collections::BTreeMap;

use super::ConfigError;
use crate::cli::layers;
use crate::cli::{ActionArgs, BusinessArgs, DeleteArgs, InputArgs, ReadArgs};
use crate::input::{InputOptions, UnknownEncoding};
use crate::target::Entrance;

/// As flags say it. Where a business is sent, each row must have one. A command that has no flag for deletes
/// is one that shows them before it makes any.
pub(super) fn of(
    reading: Option<&InputArgs>,
    action: Option<&ActionArgs>,
    deletes: Option<&DeleteArgs>,
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
        action: action.and_then(|args| args.action).unwrap_or_default(),
        allow_delete: deletes.is_none_or(|args| args.allow_delete),
    })
}

/// As the options of an earlier run say it, which went to this entrance.
pub fn of_run(
    options: &BTreeMap<String, Vec<String>>,
    entrance: Entrance,
) -> Result<InputOptions, ConfigError> {
    let ReadArgs { reading, action, deletes, business } = layers::reading(options)?;
    Ok(of(Some(&reading), Some(&action), Some(&deletes), Some(&business), entrance)?)
}

pub(super) fn sends_biz_id(business: Option<&BusinessArgs>, entrance: Entrance) -> bool {
    business.is_some_and(|args| args.send_biz_id.at(entrance))
}
