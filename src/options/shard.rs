//! Which part of a job's rows a process takes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::OptionError;

/// One of several parts of a job's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// Which one, from 1.
    pub index: u32,
    /// How many there are.
    pub count: u32,
}

impl Shard {
    /// More shards than this are a mistake: each reads the whole input.
    pub const MOST: u32 = 10_000;

    /// The shard of that number.
    pub fn new(index: u32, count: u32) -> Result<Self, OptionError> {
        let is_one = (1..=count).contains(&index) && count <= Self::MOST;
        if is_one { Ok(Self { index, count }) } else { Err(OptionError::Shard) }
    }

    /// As a part of a file's name. Names sort like shards.
    pub fn in_name(self) -> String {
        let width = self.count.to_string().len();
        format!("{:0width$}-of-{}", self.index, self.count)
    }
}

impl FromStr for Shard {
    type Err = OptionError;

    fn from_str(text: &str) -> Result<Self, OptionError> {
        let (index, count) = text.split_once('/').ok_or(OptionError::Shard)?;
        let number = |text: &str| text.parse().map_err(|_| OptionError::Shard);
        Self::new(number(index)?, number(count)?)
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}
