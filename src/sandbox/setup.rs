//! How a sandbox is set up: version, entrance, limits, faults.
//!
//! Owns what the flags of `bkassoc sandbox` mean. Knows nothing of what is done with it.

use std::path::PathBuf;
use std::time::Duration;

use super::faults::Faults;
use super::models::Models;
use crate::options::Language;
use crate::target::Entrance;

/// The version whose rules the sandbox follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Version {
    /// No batch, no list, no locks, no unique index; look-ups and deletes need no model.
    V3_5,
    /// 1101052 for every mapping violation of a single create.
    #[default]
    V3_10_18,
    /// 1101061 for 1:n; behind a gateway the keys `code` and `message`.
    V3_14,
}

impl Version {
    /// The values by their words.
    pub const WORDS: [(&str, Self); 3] =
        [("3.5", Self::V3_5), ("3.10.18", Self::V3_10_18), ("3.14", Self::V3_14)];
}

/// A number of calls in a window of fixed length. Windows follow each other from the start on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// How many calls: of all kinds together, behind a gateway of each kind.
    pub calls: u64,
    /// The window's length.
    pub window: Duration,
}

/// How a sandbox is set up.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Models, instances and credentials.
    pub models: Models,
    /// The version whose rules it follows.
    pub version: Version,
    /// The entrance as which calls in process are answered.
    pub entrance: Entrance,
    /// The language of answers in process.
    pub language: Language,
    /// The supplier account of calls in process.
    pub supplier_account: String,
    /// How long a call takes.
    pub latency: Duration,
    /// How many calls are let through, if there is a limit.
    pub quota: Option<Quota>,
    /// Whether every entrance tells the quota in `X-Bkapi-RateLimit-*`. A gateway always does.
    pub rate_headers: bool,
    /// Whether the ESB has its own old list of components: no batch, no list, no count, and a delete that
    /// only 3.5 understands (docs/cmdb-api.md#entrances-and-paths). With 3.5 it always has.
    pub old_esb: bool,
    /// What goes wrong.
    pub faults: Faults,
    /// The seed that faults are drawn from.
    pub fault_seed: u64,
    /// Where rows are kept over a restart.
    pub data: Option<PathBuf>,
}

impl Setup {
    /// A 3.10.18 behind an ESB that speaks English, answers at once and never fails.
    pub fn new(models: Models) -> Self {
        Self {
            supplier_account: models.supplier_account.clone(),
            models,
            version: Version::default(),
            entrance: Entrance::Esb,
            language: Language::En,
            latency: Duration::ZERO,
            quota: None,
            rate_headers: false,
            old_esb: false,
            faults: Faults::none(),
            fault_seed: 0,
            data: None,
        }
    }
}
