//! Where calls go: the target, the way to it, and the line that says so before anything is sent.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::cli::layers::Source;
use crate::cli::{ParentArgs, TargetArgs};
use crate::cmdb::http::{self, HttpOptions};
use crate::options::{Proxy, Rate, without_userinfo};
use crate::target::{Entrance, Identity, Secret, Target};

use super::{ConfigError, Environment, Parent, identity};

/// The server, the way to it, and as whom.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Where calls go.
    pub target: Target,
    /// Where that was given: `--endpoint`, `BKASSOC_ENDPOINT`, `profile "x" of …`.
    pub origin: String,
    /// As whom.
    pub identity: Identity,
    /// The way.
    pub http: HttpOptions,
}

impl Connection {
    /// The first line of a run: where it goes, as whom, by which way and how fast. Holds no secret.
    pub fn announcement(&self, rate: Rate) -> String {
        let mut line = format!("to {} from {}", self.target, self.origin);
        if self.target.endpoint == Target::SANDBOX {
            return line;
        }
        let identity = &self.identity;
        let app = identity.app_code.as_deref().unwrap_or("none");
        let user = match (&identity.username, &identity.token) {
            (Some(name), _) => name.as_str(),
            (None, Some(_)) => "as the token says",
            (None, None) => "none",
        };
        let ca = match &self.http.ca_cert {
            _ if self.http.insecure => "not verified".to_owned(),
            Some(path) => format!("system and {}", path.display()),
            None => "system".to_owned(),
        };
        // Writing to a String can't fail.
        let _ = write!(
            line,
            ", app {app}, user {user}, proxy {}, CA {ca}, rate {rate}",
            self.http.proxy
        );
        line
    }
}

/// The sandbox in this process: nothing of the real world is read.
pub(super) fn in_process(args: &TargetArgs, parent: Option<&Parent>) -> Connection {
    let origin = match parent {
        Some(parent) if !args.sandbox => parent.file.display().to_string(),
        _ => "--sandbox".to_owned(),
    };
    Connection {
        target: Target {
            entrance: args.entrance,
            endpoint: Target::SANDBOX.to_owned(),
            supplier_account: args.supplier_account.clone(),
            tenant_id: args.tenant_id.clone(),
        },
        origin,
        identity: Identity::default(),
        http: HttpOptions { language: args.cmdb_language, ..HttpOptions::default() },
    }
}

pub(super) fn connect(
    args: &TargetArgs,
    sources: &BTreeMap<String, (Source, String)>,
    environment: &Environment<'_>,
    warnings: &mut Vec<String>,
) -> Result<Connection, ConfigError> {
    let (Some(endpoint), Some((_, origin))) = (&args.endpoint, sources.get("endpoint")) else {
        return Err(ConfigError::NoEndpoint);
    };
    let account = args.supplier_account.clone();
    let target =
        Target::new(args.entrance, endpoint, account).map_err(|error| ConfigError::Endpoint {
            origin: origin.clone(),
            endpoint: without_userinfo(endpoint).into_owned(),
            error,
        })?;
    let target = Target { tenant_id: args.tenant_id.clone(), ..target };
    if target.entrance == Entrance::Gateway && target.has_own_account() {
        let flag = "--supplier-account".to_owned();
        let origin = sources.get("supplier-account").map_or(flag, |(_, at)| at.clone());
        return Err(ConfigError::AccountOfGateway { origin, account: target.supplier_account });
    }
    let found = identity::find(args, sources, environment)?;
    warnings.extend(found.warnings);
    if args.insecure {
        let at = sources.get("insecure").map_or("--insecure", |(_, origin)| origin);
        warnings.push(format!("{at}: the server's certificate is not verified"));
    }
    if let Some(Proxy::Through { url, .. }) = &args.proxy
        && !http::is_proxy(url.expose())
    {
        let origin = sources.get("proxy").map_or("--proxy", |(_, origin)| origin);
        return Err(ConfigError::Proxy { origin: origin.to_owned() });
    }
    let proxy = match &args.proxy {
        _ if http::is_loopback(&target.endpoint) => Proxy::None,
        Some(given) => given.clone(),
        None => proxy_of(&target, environment),
    };
    Ok(Connection {
        origin: origin.clone(),
        identity: found.identity,
        http: HttpOptions {
            language: args.cmdb_language,
            ca_cert: args.ca_cert.clone(),
            insecure: args.insecure,
            proxy,
            ..HttpOptions::default()
        },
        target,
    })
}

/// The proxy that the environment names for a target, small letters before capital ones.
fn proxy_of(target: &Target, environment: &Environment<'_>) -> Proxy {
    let of_scheme =
        if target.endpoint.starts_with("https:") { "https_proxy" } else { "http_proxy" };
    let get = |name: &str| {
        let names = [name.to_owned(), name.to_ascii_uppercase()];
        names.into_iter().find_map(|name| {
            let value = environment.get(&name)?.to_string_lossy().into_owned();
            Some((name, value))
        })
    };
    let Some((origin, mut url)) = get(of_scheme).or_else(|| get("all_proxy")) else {
        return Proxy::None;
    };
    if !url.contains("://") {
        url.insert_str(0, "http://");
    }
    let but_for = get("no_proxy").map(|(_, hosts)| hosts);
    // Of addresses too, for which reqwest does not take it.
    if but_for.as_ref().is_some_and(|hosts| hosts.split(',').any(|host| host.trim() == "*")) {
        return Proxy::None;
    }
    Proxy::Through { url: Secret::new(url), origin, but_for }
}

pub(super) fn same_target(
    connection: &Connection,
    parent: &Parent,
    args: Option<&ParentArgs>,
) -> Result<(), ConfigError> {
    let allowed = args.is_some_and(|args| args.allow_other_target);
    if allowed || connection.target.continues(&parent.target) {
        return Ok(());
    }
    Err(ConfigError::OtherTarget {
        ours: Box::new(connection.target.clone()),
        origin: connection.origin.clone(),
        theirs: Box::new(parent.target.clone()),
        file: parent.file.clone(),
    })
}
