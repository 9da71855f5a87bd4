//! How a run is named by one that builds on it.

use serde::{Deserialize, Serialize};

/// A run whose results another run reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    /// Its results' path, as it was named.
    pub results: String,
    /// When it started.
    pub started_at: Option<String>,
}
