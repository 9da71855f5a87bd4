//! Where a run goes and as whom: entrance, endpoint, account, identity and secrets.
//!
//! Owns the type for secrets, which nothing can print. Knows nothing of HTTP.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How the CMDB is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Entrance {
    /// The ESB: `/api/c/compapi/v2/cc/NAME/`, credentials in the body.
    Esb,
    /// The API gateway: `/api/v3/…`, credentials in `X-Bkapi-Authorization`.
    Gateway,
    /// CMDB's own apiserver: `/api/v3/…`, trusted headers.
    Native,
}

impl Entrance {
    /// The word that flags and files use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Esb => "esb",
            Self::Gateway => "gateway",
            Self::Native => "native",
        }
    }
}

/// What a run writes to. Two runs with equal targets write to the same place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// How it is reached.
    pub entrance: Entrance,
    /// Base URL without a trailing slash, or `sandbox`.
    pub endpoint: String,
    /// The supplier account.
    pub supplier_account: String,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.endpoint, self.entrance.as_str())?;
        if self.supplier_account != "0" {
            write!(f, " account {}", self.supplier_account)?;
        }
        Ok(())
    }
}

/// A text that can't be printed, logged or serialized by accident.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself. For the wire, and for looking it up in texts that must not hold it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// As whom the calls are made.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// `bk_app_code`
    pub app_code: Option<String>,
    /// `bk_app_secret`
    pub app_secret: Option<Secret>,
    /// `bk_username`
    pub username: Option<String>,
    /// `bk_token`; never sent beside a username, since the server would prefer it.
    pub token: Option<Secret>,
}

impl Identity {
    /// The secrets it holds, to be kept out of every text.
    pub fn secrets(&self) -> impl Iterator<Item = &Secret> {
        self.app_secret.iter().chain(&self.token)
    }
}
