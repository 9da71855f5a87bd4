//! How connections are made, and what it proves when they are not: pool, proxy, certificates.

use std::error::Error as _;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use reqwest::header::HeaderMap;
use reqwest::{Certificate, Client, ClientBuilder, NoProxy, Url};

use super::{ClientError, HttpOptions};
use crate::options::Proxy;

/// How long a connection may take to be made, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Shorter than the 2 s after which a gunicorn without nginx in front of it closes idle connections
/// (docs/cmdb-api.md#connections).
const POOL_IDLE_TIMEOUT: Duration = Duration::from_millis(1500);

/// The client for an endpoint.
pub(super) fn client(
    endpoint: &Url,
    headers: &HeaderMap,
    options: &HttpOptions,
) -> Result<Client, ClientError> {
    // Another part of the process may have been first; any provider will do.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let authorities = authorities(options)?;
    let attempt = |trust_system: bool| {
        let builder = Client::builder()
            .user_agent(&options.user_agent)
            .default_headers(headers.clone())
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .http1_only()
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .pool_max_idle_per_host(options.concurrency)
            .tcp_nodelay(true)
            .danger_accept_invalid_certs(options.insecure)
            .tls_built_in_root_certs(trust_system);
        let builder = with_proxy(builder, endpoint, &options.proxy)?;
        let authorities = authorities.iter().cloned();
        let builder = authorities.fold(builder, ClientBuilder::add_root_certificate);
        builder.build().map_err(|error| ClientError::Tls(causes(&error)))
    };
    // Plain HTTP needs no certificates, loading them takes time, and a minimal container has none. A
    // proxy may need them all the same.
    if endpoint.scheme() == "https" {
        return attempt(true);
    }
    if is_loopback(endpoint) || options.proxy == Proxy::None {
        return attempt(false);
    }
    attempt(true).or_else(|_| attempt(false))
}

fn with_proxy(
    builder: ClientBuilder,
    endpoint: &Url,
    proxy: &Proxy,
) -> Result<ClientBuilder, ClientError> {
    match proxy {
        Proxy::Through { url, origin, but_for } if !is_loopback(endpoint) => {
            let proxy = proxy_at(url.expose())
                .ok_or_else(|| ClientError::Proxy { origin: origin.clone() })?;
            Ok(builder.proxy(proxy.no_proxy(but_for.as_deref().and_then(hosts))))
        }
        Proxy::Through { .. } | Proxy::None => Ok(builder.no_proxy()),
    }
}

/// Hosts as `no_proxy` has them. reqwest compares them as they stand, and a URL's host is in small
/// letters.
fn hosts(text: &str) -> Option<NoProxy> {
    NoProxy::from_string(&text.to_lowercase())
}

/// The proxy of a URL, if that is one of HTTP.
pub(super) fn proxy_at(text: &str) -> Option<reqwest::Proxy> {
    let url = Url::parse(text).ok()?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return None;
    }
    let proxy = reqwest::Proxy::all(text).ok()?;
    if url.username().is_empty() || url.password().is_some() {
        return Some(proxy);
    }
    // A URL with a user and no password (a token as the user): reqwest alone would send neither.
    let user = percent_decode_str(url.username()).decode_utf8_lossy();
    Some(proxy.basic_auth(&user, ""))
}

pub(super) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

fn authorities(options: &HttpOptions) -> Result<Vec<Certificate>, ClientError> {
    let Some(path) = &options.ca_cert else {
        return Ok(Vec::new());
    };
    let pem = std::fs::read(path)
        .map_err(|source| ClientError::CaCertUnreadable { path: path.clone(), source })?;
    match Certificate::from_pem_bundle(&pem) {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(ClientError::CaCertEmpty { path: path.clone() }),
    }
}

/// An error and its causes in one line.
pub(super) fn causes(error: &reqwest::Error) -> String {
    if speaks_no_tls(error) {
        return "what answers there does not speak TLS, as https:// asks for".to_owned();
    }
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        if !line.contains(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        source = cause.source();
    }
    line
}

/// Whether the connection failed for a reason that waiting does not mend: a certificate, or a port
/// that speaks no TLS.
pub(super) fn is_hopeless(error: &reqwest::Error) -> bool {
    use rustls::Error;
    let certificate = matches!(
        tls_error(error),
        Some(
            Error::InvalidCertificate(_)
                | Error::NoCertificatesPresented
                | Error::UnsupportedNameType
                | Error::PeerIncompatible(_)
        )
    );
    certificate || speaks_no_tls(error)
}

fn speaks_no_tls(error: &reqwest::Error) -> bool {
    use rustls::{Error, InvalidMessage};
    matches!(tls_error(error), Some(Error::InvalidMessage(InvalidMessage::InvalidContentType)))
}

fn tls_error(error: &reqwest::Error) -> Option<&rustls::Error> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(tls) = error.downcast_ref() {
            return Some(tls);
        }
        // An I/O error does not count what it wraps as its source.
        cause = match error.downcast_ref().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_that_a_proxy_is_not_for_may_be_written_in_any_case() {
        let small = format!("{:?}", NoProxy::from_string("example.com,.corp,10.0.0.0/8").unwrap());
        assert_eq!(format!("{:?}", hosts("Example.COM,.corp,10.0.0.0/8").unwrap()), small);
    }
}
