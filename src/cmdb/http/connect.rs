//! How connections come about, and what it proves when they don't: pool, proxy, certificates.

use std::error::Error as _;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{Certificate, Client, ClientBuilder, Url};

use super::{ClientError, HttpOptions};
use crate::options::Proxy;

/// How long a connection may take to come about, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Shorter than the 2 s after which a gunicorn without its nginx closes (captures-esb 11).
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
    // Plain HTTP needs no certificates, and a minimal container has none. Loading them takes time, but
    // a proxy may need them.
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
        _ if is_loopback(endpoint) => Ok(builder.no_proxy()),
        Proxy::FromEnvironment => Ok(builder),
        Proxy::None => Ok(builder.no_proxy()),
        Proxy::Url(url) => {
            let url = url.expose();
            let usable = Url::parse(url)
                .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
            let proxy = usable.then(|| reqwest::Proxy::all(url).ok()).flatten();
            Ok(builder.proxy(proxy.ok_or(ClientError::Proxy)?))
        }
    }
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

/// Whether no connection came about for a reason that no waiting mends: a certificate, or a port that
/// speaks no TLS.
pub(super) fn is_hopeless(error: &reqwest::Error) -> bool {
    use rustls::{Error, InvalidMessage};
    matches!(
        tls_error(error),
        Some(
            Error::InvalidCertificate(_)
                | Error::NoCertificatesPresented
                | Error::UnsupportedNameType
                | Error::PeerIncompatible(_)
                | Error::InvalidMessage(InvalidMessage::InvalidContentType)
        )
    )
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
