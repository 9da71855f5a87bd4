//! The server that a run calls, and as whom: entrance, endpoint, account, identity and secrets.
//!
//! Owns the type for secrets, which nothing can print. Knows nothing of HTTP.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How the CMDB is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
    /// Base URL without a trailing slash, or `sandbox`. What stands behind [`API_ROOT`] in it is part of
    /// every call's path.
    pub endpoint: String,
    /// The supplier account.
    pub supplier_account: String,
    /// The tenant (CMDB 3.15 and newer), where one is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<String>,
}

/// Under which path the ESB has its calls.
pub const ESB_CALLS: &str = "/api/c/compapi/v2/cc";

/// Under which path the gateway and the apiserver have their calls.
pub const API_ROOT: &str = "/api/v3";

/// Why a text is no endpoint. Its message completes a sentence that names flag and value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// Another scheme, or none.
    #[error("must start with http:// or https://")]
    Scheme,
    /// `http:///path`
    #[error("names no host")]
    NoHost,
    /// `http://user:password@host`
    #[error("must not hold a user or a password")]
    Userinfo,
    /// Spaces, control characters, a backslash.
    #[error("holds a character that no URL has")]
    Character,
    /// `?` or `#`
    #[error("must end before any ? or #")]
    Query,
}

impl Target {
    /// The endpoint that stands for the in-process sandbox.
    pub const SANDBOX: &str = "sandbox";

    /// A target of no tenant, with its endpoint brought into one form: no trailing slash, no pasted tail of the
    /// API's own path, scheme and host in lower case.
    pub fn new(
        entrance: Entrance,
        endpoint: &str,
        supplier_account: impl Into<String>,
    ) -> Result<Self, EndpointError> {
        Ok(Self {
            entrance,
            endpoint: normalize(entrance, endpoint)?,
            supplier_account: supplier_account.into(),
            tenant_id: None,
        })
    }

    /// Whether the account is another than the one that every installation has.
    pub fn has_own_account(&self) -> bool {
        self.supplier_account != "0"
    }

    /// The path below which its calls are.
    pub fn api_path(&self) -> String {
        let behind_scheme = self.endpoint.split_once("://").map_or("", |(_, rest)| rest);
        let path = behind_scheme.find('/').map_or("", |at| &behind_scheme[at..]);
        let root = match self.entrance {
            Entrance::Esb => ESB_CALLS,
            Entrance::Gateway | Entrance::Native if behind_api_root(path).is_some() => "",
            Entrance::Gateway | Entrance::Native => API_ROOT,
        };
        format!("{path}{root}")
    }

    /// Whether this is where a run went that wrote down `earlier`. Version 0.1.0 cut an endpoint at
    /// [`API_ROOT`], so that its runs have less of the same endpoint.
    pub fn continues(&self, earlier: &Self) -> bool {
        let cut = behind_api_root(&self.endpoint).map(|at| &self.endpoint[..at - API_ROOT.len()]);
        let endpoint = match cut {
            Some(cut) if cut == earlier.endpoint => earlier.endpoint.clone(),
            _ => self.endpoint.clone(),
        };
        Self { endpoint, ..self.clone() } == *earlier
    }
}

/// Where the path begins that stands behind [`API_ROOT`], if the root is there.
pub fn behind_api_root(path: &str) -> Option<usize> {
    segments_end(path, API_ROOT)
}

/// Where the first `segments` of a path end.
fn segments_end(path: &str, segments: &str) -> Option<usize> {
    let mut ends = path.match_indices(segments).map(|(at, _)| at + segments.len());
    ends.find(|end| matches!(path.as_bytes().get(*end), None | Some(b'/')))
}

/// A path less the call's own part, which an address has that was pasted from a call.
fn without_call(entrance: Entrance, path: &str) -> &str {
    const ESB_ROOT: &str = "/api/c/compapi";
    const CALLS: [&str; 5] = [
        "/create/instassociation",
        "/createmany/instassociation",
        "/find/instassociation",
        "/find/objectassociation",
        "/delete/instassociation",
    ];
    let root = if entrance == Entrance::Esb { ESB_ROOT } else { API_ROOT };
    let Some(behind) = segments_end(path, root) else {
        return path;
    };
    if entrance == Entrance::Esb {
        return &path[..behind - root.len()];
    }
    let call = CALLS.iter().filter_map(|call| path[behind..].find(call)).min();
    let kept = path[..call.map_or(path.len(), |at| behind + at)].trim_end_matches('/');
    kept.strip_suffix(root).unwrap_or(kept)
}

fn normalize(entrance: Entrance, endpoint: &str) -> Result<String, EndpointError> {
    let endpoint = endpoint.trim();
    if endpoint == Target::SANDBOX {
        return Ok(endpoint.to_owned());
    }
    let bad = |c: char| c.is_whitespace() || c.is_control() || c == '\\';
    if endpoint.contains(bad) {
        return Err(EndpointError::Character);
    }
    let (scheme, rest) = endpoint.split_once("://").ok_or(EndpointError::Scheme)?;
    let scheme = scheme.to_ascii_lowercase();
    if scheme != "http" && scheme != "https" {
        return Err(EndpointError::Scheme);
    }
    // An @ may also come after a `/`, `?` or `#`, which a password may hold.
    if rest.contains('@') {
        return Err(EndpointError::Userinfo);
    }
    if rest.contains(['?', '#']) {
        return Err(EndpointError::Query);
    }
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    if authority.is_empty() || authority.starts_with(':') {
        return Err(EndpointError::NoHost);
    }
    let authority = authority.to_ascii_lowercase();
    let base = without_call(entrance, path).trim_end_matches('/');
    Ok(format!("{scheme}://{authority}{base}"))
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.endpoint, self.entrance.as_str())?;
        if self.has_own_account() {
            write!(f, " account {}", self.supplier_account)?;
        }
        if let Some(tenant) = &self.tenant_id {
            write!(f, " tenant {tenant}")?;
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

    /// The text itself: for the wire, and for finding it in texts that must not hold it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// The app and the user in whose name calls are made.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// `bk_app_code`
    pub app_code: Option<String>,
    /// `bk_app_secret`
    pub app_secret: Option<Secret>,
    /// `bk_username`
    pub username: Option<String>,
    /// `bk_token`; never sent with a username, since the server would prefer the token.
    pub token: Option<Secret>,
}

impl Identity {
    /// The secrets it holds, to be kept out of every text.
    pub fn secrets(&self) -> impl Iterator<Item = &Secret> {
        self.app_secret.iter().chain(&self.token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pasted_endpoint_loses_its_tail_and_its_slash() {
        use Entrance::{Esb, Gateway, Native};
        for (entrance, pasted, endpoint) in [
            (Esb, "https://paas.example.com", "https://paas.example.com"),
            (Esb, " HTTPS://Paas.Example.com/ ", "https://paas.example.com"),
            (
                Esb,
                "https://paas.example.com/api/c/compapi/v2/cc/add_instance_association/",
                "https://paas.example.com",
            ),
            (Esb, "http://h:80/t/api/c/compapi", "http://h:80/t"),
            (Esb, "http://h/api/c/compapi2", "http://h/api/c/compapi2"),
            (
                Gateway,
                "https://bkapi.example.com/api/bk-cmdb/prod/",
                "https://bkapi.example.com/api/bk-cmdb/prod",
            ),
            (
                Gateway,
                "https://bkapi.example.com/api/bk-cmdb/prod/api/v3/create/instassociation",
                "https://bkapi.example.com/api/bk-cmdb/prod",
            ),
            (
                Gateway,
                "https://bkapi.example.com/api/bk-cmdb/prod/api/v3/open/",
                "https://bkapi.example.com/api/bk-cmdb/prod/api/v3/open",
            ),
            (
                Gateway,
                "https://h/prod/api/v3/open/find/instassociation",
                "https://h/prod/api/v3/open",
            ),
            (
                Gateway,
                "https://h/prod/api/v3/open/delete/instassociation/bk_host/7",
                "https://h/prod/api/v3/open",
            ),
            (Native, "http://[::1]:8080/api/v3/", "http://[::1]:8080"),
            (Native, "http://h/api/v3x", "http://h/api/v3x"),
            (Native, "sandbox", "sandbox"),
        ] {
            assert_eq!(normalize(entrance, pasted).as_deref(), Ok(endpoint), "{pasted}");
            assert_eq!(normalize(entrance, endpoint).as_deref(), Ok(endpoint), "{endpoint}");
        }
    }

    #[test]
    fn the_path_of_calls_has_all_that_stands_before_them() {
        for (entrance, endpoint, path) in [
            (Entrance::Esb, "https://h", "/api/c/compapi/v2/cc"),
            (Entrance::Esb, "https://h/t", "/t/api/c/compapi/v2/cc"),
            (Entrance::Gateway, "https://h/api/bk-cmdb/prod", "/api/bk-cmdb/prod/api/v3"),
            (Entrance::Gateway, "https://h/prod/api/v3/open", "/prod/api/v3/open"),
            (Entrance::Native, "http://h:80", "/api/v3"),
            (Entrance::Native, Target::SANDBOX, "/api/v3"),
        ] {
            assert_eq!(Target::new(entrance, endpoint, "0").unwrap().api_path(), path);
        }
    }

    #[test]
    fn a_run_of_an_endpoint_that_0_1_0_cut_is_gone_on_with() {
        let at = |endpoint| Target::new(Entrance::Gateway, endpoint, "0").unwrap();
        let (open, cut) = (at("https://h/prod/api/v3/open"), at("https://h/prod"));
        assert!(open.continues(&open) && open.continues(&cut));
        assert!(!cut.continues(&open) && !open.continues(&at("https://h/stag")));
        assert!(!open.continues(&Target { supplier_account: "1".to_owned(), ..cut.clone() }));
        assert!(!open.continues(&Target { tenant_id: Some("a".to_owned()), ..cut.clone() }));
        assert!(!open.continues(&Target { entrance: Entrance::Native, ..cut }));
    }

    #[test]
    fn what_is_no_endpoint_is_refused_with_the_reason() {
        for (text, error) in [
            ("paas.example.com", EndpointError::Scheme),
            ("ftp://h", EndpointError::Scheme),
            ("", EndpointError::Scheme),
            ("http://", EndpointError::NoHost),
            ("http://:80/", EndpointError::NoHost),
            ("http://user:pw@h/", EndpointError::Userinfo),
            ("http://user:p/w@h/", EndpointError::Userinfo),
            ("http://user:p?w@h/", EndpointError::Userinfo),
            ("http://h/?a=b", EndpointError::Query),
            ("http://h/a b", EndpointError::Character),
            ("http://h\\x", EndpointError::Character),
        ] {
            assert_eq!(normalize(Entrance::Esb, text), Err(error), "{text}");
        }
    }
}
