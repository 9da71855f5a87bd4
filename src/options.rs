//! The options of a run, as values that parse and print themselves.
//!
//! Owns their spelling, so that a flag, a variable, a profile and `run.json` read alike. Knows nothing
//! of where a value was given.

mod language;
mod pruning;
mod shard;

use std::borrow::Cow;
use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use crate::association::{Mapping, ModelAssociation};
use crate::target::{Entrance, Secret};

pub use language::Language;
pub use pruning::{GuardOptions, MaxDelete, Prune, Pruning};
pub use shard::Shard;

/// Why a text is no value of an option. The message says what is one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// No rate.
    #[error("a rate is a positive number, as 90, 90/s or 600/m, or `unlimited`")]
    Rate,
    /// No shard.
    #[error("a shard is I/N, as 3/8: I from 1 to N, and N up to {most}", most = Shard::MOST)]
    Shard,
    /// No limit of failures.
    #[error("a limit is a number of rows, as 100, or a percentage above 0 and up to 100, as 5%")]
    MaxFailures,
    /// No batch size.
    #[error("a batch is `off`, `auto`, or a size from 1 to {max}", max = Batch::MAX)]
    Batch,
    /// No model association.
    #[error(
        "a model association is ASST=SRC,DST or ASST=SRC,DST,MAPPING with a mapping of 1:1, 1:n or n:n"
    )]
    Model,
    /// No key of a model.
    #[error(
        "a key is MODEL=PROPERTY or MODEL=PROPERTY+PROPERTY, as bk_switch=bk_asset_id, each once"
    )]
    Key,
    /// No limit of deletes.
    #[error("a limit is a number of associations, as 100, or a percentage from 0 to 100, as 5%")]
    MaxDelete,
    /// No duration.
    #[error("a duration is a number of seconds or has units, as 90, 40s, 15m, 1h30m")]
    Duration,
}

/// Rates that a clock of nanoseconds can keep.
const RATES: std::ops::RangeInclusive<f64> = 1e-6..=1e6;
/// The longest duration, so that it can be added to any time.
const LONGEST: Duration = Duration::from_hours(100 * 365 * 24);

/// How many calls a second, at most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rate {
    /// No ceiling.
    Unlimited,
    /// Calls a second, from one in two weeks to a million.
    PerSecond(f64),
}

impl Rate {
    /// The ceiling in calls a second, if there is one.
    pub const fn per_second(self) -> Option<f64> {
        match self {
            Self::Unlimited => None,
            Self::PerSecond(rate) => Some(rate),
        }
    }

    /// What each of so many processes takes of it.
    #[must_use]
    pub fn shared_by(self, processes: u32) -> Self {
        match self {
            Self::Unlimited => self,
            Self::PerSecond(rate) => Self::PerSecond(rate / f64::from(processes)),
        }
    }
}

impl FromStr for Rate {
    type Err = OptionError;

    fn from_str(text: &str) -> Result<Self, OptionError> {
        if text == "unlimited" {
            return Ok(Self::Unlimited);
        }
        let (number, seconds) = match text.split_once('/') {
            None => (text, 1.0),
            Some((number, "s")) => (number, 1.0),
            Some((number, "m")) => (number, 60.0),
            Some(_) => return Err(OptionError::Rate),
        };
        let number: f64 = number.parse().map_err(|_| OptionError::Rate)?;
        let rate = number / seconds;
        if !RATES.contains(&rate) {
            return Err(OptionError::Rate);
        }
        Ok(Self::PerSecond(rate))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Unlimited => f.write_str("unlimited"),
            Self::PerSecond(rate) if rate < 1.0 => write!(f, "{}/m", rate * 60.0),
            Self::PerSecond(rate) => write!(f, "{rate}/s"),
        }
    }
}

/// After how many failed rows a run stops.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MaxFailures {
    /// That many.
    Rows(u64),
    /// That many in a hundred settled rows.
    Percent(f64),
}

impl MaxFailures {
    /// Settled rows before a percentage says anything.
    pub const PERCENT_FROM: u64 = 1_000;

    /// Whether that many failures among that many settled rows are too many.
    pub fn reached(self, failed: u64, settled: u64) -> bool {
        match self {
            Self::Rows(rows) => failed >= rows,
            Self::Percent(percent) => {
                settled >= Self::PERCENT_FROM && failed as f64 * 100.0 >= percent * settled as f64
            }
        }
    }
}

impl FromStr for MaxFailures {
    type Err = OptionError;

    fn from_str(text: &str) -> Result<Self, OptionError> {
        let parsed = match text.strip_suffix('%') {
            Some(number) => (number.parse().ok())
                .filter(|percent| *percent > 0.0 && *percent <= 100.0)
                .map(Self::Percent),
            None => (text.parse().ok()).filter(|rows| *rows > 0).map(Self::Rows),
        };
        parsed.ok_or(OptionError::MaxFailures)
    }
}

impl fmt::Display for MaxFailures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rows(rows) => rows.fmt(f),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

/// How many rows go in one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batch {
    /// One row in a call.
    Off,
    /// As many as the server takes, if it takes them at all.
    Auto,
    /// That many at most.
    Size(u16),
}

impl Batch {
    /// The most that the server takes in a call (docs/cmdb-api.md#batch-create).
    pub const MAX: u16 = 200;
}

impl FromStr for Batch {
    type Err = OptionError;

    fn from_str(text: &str) -> Result<Self, OptionError> {
        match text {
            "off" => Ok(Self::Off),
            "auto" => Ok(Self::Auto),
            _ => (text.parse().ok())
                .filter(|size| (1..=Self::MAX).contains(size))
                .map(Self::Size)
                .ok_or(OptionError::Batch),
        }
    }
}

impl fmt::Display for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Auto => f.write_str("auto"),
            Self::Size(size) => size.fmt(f),
        }
    }
}

/// Whether `metadata.label.bk_biz_id` is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendBizId {
    /// On `esb` only.
    Auto,
    /// With every create.
    Always,
    /// With none.
    Never,
}

impl SendBizId {
    /// The values by their words.
    pub const WORDS: [(&str, Self); 3] =
        [("auto", Self::Auto), ("always", Self::Always), ("never", Self::Never)];

    /// Whether it is sent at this entrance. Where it is, each row must have one.
    pub const fn at(self, entrance: Entrance) -> bool {
        match self {
            Self::Auto => matches!(entrance, Entrance::Esb),
            Self::Always => true,
            Self::Never => false,
        }
    }
}

/// The format of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Comma-separated, or as `--delimiter` says.
    Csv,
    /// Tab-separated.
    Tsv,
    /// One JSON object on each line.
    Jsonl,
    /// An Excel workbook.
    Xlsx,
}

impl Format {
    /// The values by their words.
    pub const WORDS: [(&str, Self); 4] = [
        (Self::Csv.as_str(), Self::Csv),
        (Self::Tsv.as_str(), Self::Tsv),
        (Self::Jsonl.as_str(), Self::Jsonl),
        (Self::Xlsx.as_str(), Self::Xlsx),
    ];

    /// The format of a file name's ending.
    pub fn of_name(path: &Path) -> Option<Self> {
        let ending = path.extension()?.to_str()?;
        Self::WORDS.into_iter().find(|(word, _)| *word == ending).map(|(_, format)| format)
    }

    /// The word, which is also the ending of a file's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Tsv => "tsv",
            Self::Jsonl => "jsonl",
            Self::Xlsx => "xlsx",
        }
    }
}

/// The way to the server. A URL may hold a password, so it prints without one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proxy {
    /// Directly.
    None,
    /// Through this one.
    Through {
        /// Its URL.
        url: Secret,
        /// The flag or the variable that names it.
        origin: String,
        /// The hosts that it is not for, as `no_proxy` has them.
        but_for: Option<String>,
    },
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Through { url, origin, but_for } => {
                f.write_str(&without_userinfo(url.expose()))?;
                match but_for {
                    Some(_) => write!(f, " ({origin}, but for no_proxy)"),
                    None if origin == "--proxy" => Ok(()),
                    None => write!(f, " ({origin})"),
                }
            }
        }
    }
}

/// A URL with `***` for user and password, even where it is no valid URL since the password holds a plain
/// `/`, `?` or `#`.
pub fn without_userinfo(url: &str) -> Cow<'_, str> {
    let Some(at) = url.rfind('@') else { return Cow::Borrowed(url) };
    let is_scheme = |end: &usize| url[..*end].bytes().all(|byte| byte.is_ascii_alphanumeric());
    let start = url[..at].find("://").filter(is_scheme).map_or(0, |end| end + 3);
    Cow::Owned(format!("{}***{}", &url[..start], &url[at..]))
}

/// A duration: humantime's spelling, or a bare number of seconds.
pub fn duration(text: &str) -> Result<Duration, OptionError> {
    let duration = match text.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => humantime::parse_duration(text).ok(),
    };
    duration.filter(|duration| *duration <= LONGEST).ok_or(OptionError::Duration)
}

/// A duration as it is given: `15m`, `1h 30m`.
pub fn exact_duration(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

/// A duration for people, to the second: `2h 3m 4s`.
pub fn brief_duration(duration: Duration) -> String {
    if duration < Duration::from_secs(1) {
        return format!("{}ms", duration.as_millis());
    }
    exact_duration(Duration::from_secs(duration.as_secs()))
}

/// A model association as `--model` gives it. Without a mapping it counts as 1:1, the strictest: rows
/// that could collide under any rule are kept apart.
pub fn model(text: &str) -> Result<ModelAssociation, OptionError> {
    let (name, rest) = text.split_once('=').ok_or(OptionError::Model)?;
    let parts: Vec<&str> = rest.split(',').map(str::trim).collect();
    let (source, target, mapping) = match parts[..] {
        [source, target] => (source, target, None),
        [source, target, mapping] => {
            let mapping = Mapping::parse(mapping).ok_or(OptionError::Model)?;
            (source, target, Some(mapping))
        }
        _ => return Err(OptionError::Model),
    };
    let name = name.trim();
    if name.is_empty() || source.is_empty() || target.is_empty() {
        return Err(OptionError::Model);
    }
    Ok(ModelAssociation {
        obj_asst_id: name.into(),
        source: source.into(),
        target: target.into(),
        mapping: mapping.unwrap_or(Mapping::OneToOne),
        guessed: mapping.is_none(),
        mainline: false,
    })
}

/// What names mean where they leave it open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Naming {
    /// `--key`: a model, and the properties that a bare value of its instances stands for, as they were
    /// typed: ids or display names. Of several for one model the last counts.
    pub keys: Vec<(String, Vec<String>)>,
    /// `--cloud-id`: the cloud area of addresses that name none.
    pub cloud_id: Option<i64>,
}

impl Naming {
    /// The properties that `--key` gives for a model.
    pub fn key_of(&self, model: &str) -> Option<&[String]> {
        let given = self.keys.iter().rev().find(|(of, _)| of == model);
        given.map(|(_, properties)| properties.as_slice())
    }
}

/// A key as `--key` gives it: `MODEL=PROPERTY[+PROPERTY]`, spaces around each allowed.
pub fn key(text: &str) -> Result<(String, Vec<String>), OptionError> {
    let (model, properties) = text.split_once('=').ok_or(OptionError::Key)?;
    let model = model.trim();
    let properties: Vec<_> = properties.split('+').map(|one| one.trim().to_owned()).collect();
    let is_twice = |(at, one): (usize, &String)| properties[..at].contains(one);
    if model.is_empty()
        || properties.iter().any(String::is_empty)
        || properties.iter().enumerate().any(is_twice)
    {
        return Err(OptionError::Key);
    }
    Ok((model.to_owned(), properties))
}

/// The engine's options: how fast, how long, how often.
#[derive(Clone, Debug, PartialEq)]
pub struct EngineOptions {
    /// The ceiling of all calls of the job.
    pub rate: Rate,
    /// How many processes share that ceiling, and what the server tells of quotas: the job's shards.
    pub shards: u32,
    /// The most calls in flight.
    pub concurrency: usize,
    /// How long one call may take.
    pub timeout: Duration,
    /// How long after a call went in doubt its absence on the server is believed.
    pub settle_after: Duration,
    /// The most creates charged to one row.
    pub max_attempts: u32,
    /// How long to wait for the first answer ever.
    pub connect_timeout: Duration,
    /// How long to go on while nothing settles.
    pub max_outage: Duration,
    /// Stop after that many failed rows of this process.
    pub max_failures: Option<MaxFailures>,
    /// Stop admitting after that time.
    pub max_duration: Option<Duration>,
    /// How many rows go in one call.
    pub batch: Batch,
    /// Whether a business is sent with each create.
    pub send_biz_id: bool,
    /// Model associations that the user names, so that the server is not asked for them.
    pub models: Vec<ModelAssociation>,
}

impl EngineOptions {
    /// Where nothing else is said; the flags' defaults are these.
    pub const DEFAULT: Self = Self {
        rate: Rate::PerSecond(90.0),
        shards: 1,
        concurrency: 32,
        timeout: Duration::from_secs(40),
        settle_after: Duration::from_secs(35),
        max_attempts: 6,
        connect_timeout: Duration::from_secs(30),
        max_outage: Duration::from_mins(15),
        max_failures: None,
        max_duration: None,
        batch: Batch::Off,
        send_biz_id: true,
        models: Vec::new(),
    };
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self::DEFAULT
    }
}

#[cfg(test)]
mod tests;
