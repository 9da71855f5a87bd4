//! What calls have shown of the server: `server` of `run.json`.
//!
//! Plain data. Knows nothing of how it is found out or told.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What is known of a server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownServer {
    /// The path below which its calls are.
    pub path: String,
    /// Which versions of CMDB have calls like these.
    #[serde(default)]
    pub version: Versions,
    /// The limit that it tells.
    #[serde(default)]
    pub quota: Option<ToldQuota>,
    /// Whether there are these calls; those of which nothing is known are left out.
    #[serde(default)]
    pub abilities: BTreeMap<String, String>,
}

/// A range of versions; an end that nothing tells is open.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    /// The first that it may be.
    pub from: Option<String>,
    /// The first that it can't be any more.
    pub before: Option<String>,
}

/// A limit of calls that a server tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToldQuota {
    /// Calls in a window.
    pub calls: u64,
    /// The window's length, as far as it was seen.
    pub window_ms: u64,
    /// Which calls are counted together: those of one `route`, or `all`; `None` where nobody says.
    pub counted: Option<String>,
}
