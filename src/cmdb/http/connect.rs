//! How connections are made, and what it proves when they are not: pool, proxy, certificates.

use std::error::Error as _;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use reqwest::header::HeaderMap;
use reqwest::{Certificate, Client, ClientBuilder, Url};

use super::{ClientError, HttpOptions};
use crate::options::Proxy;

/// How long a connection may take to be made, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Shorter than the 2 s after which a gunicorn without nginx in front of it closes idle connections
/// (docs/cmdb-api.md#connections).
const POOL_IDLE_TIMEOUT: Duration = Duration::from_millis(1500);
/// A firewall forgets a connection on which nothing passes, and an answer may take 30 s.
const TCP_KEEPALIVE: Duration = Duration::from_secs(15);

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
            .tcp_keepalive(TCP_KEEPALIVE)
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
            // Not left to reqwest, which would send the proxy's password to the server itself.
            if is_among(endpoint.host_str().unwrap_or_default(), but_for.as_deref()) {
                return Ok(builder.no_proxy());
            }
            Ok(builder.proxy(proxy))
        }
        Proxy::Through { .. } | Proxy::None => Ok(builder.no_proxy()),
    }
}

/// Whether a host, in small letters, is one of those that `no_proxy` names: by its name or that of a
/// domain above it, by its address or that of its network.
fn is_among(host: &str, names: Option<&str>) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let address: Option<IpAddr> = host.parse().ok();
    names.unwrap_or_default().to_lowercase().split(',').map(str::trim).any(|name| {
        if let Some(address) = address {
            let (network, length) = name.split_once('/').unwrap_or((name, "128"));
            let network = network.trim_start_matches('[').trim_end_matches(']').parse().ok();
            return network
                .zip(length.parse().ok())
                .is_some_and(|(network, length)| is_in(address, network, length));
        }
        let name = name.trim_start_matches('.');
        let above = host.strip_suffix(name).filter(|_| !name.is_empty());
        above.is_some_and(|above| above.is_empty() || above.ends_with('.'))
    })
}

/// Whether the first `length` bits of two addresses are the same.
fn is_in(address: IpAddr, network: IpAddr, length: u32) -> bool {
    let (different, bits) = match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (u128::from(a.to_bits() ^ b.to_bits()), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits(), 128),
        _ => return false,
    };
    let rest = bits - length.min(bits);
    rest == 128 || different >> rest == 0
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
        let names = "Example.COM, .corp,10.1.0.0/16,fd00::/8,[::2],10.2.0.1";
        for (host, is) in [
            ("example.com", true),
            ("cmdb.example.com", true),
            ("notexample.com", false),
            ("example.com.cn", false),
            ("corp", true),
            ("paas.corp", true),
            ("10.1.255.255", true),
            ("10.2.0.1", true),
            ("10.2.0.2", false),
            ("[fd00::1]", true),
            ("[fe00::1]", false),
            ("[::2]", true),
        ] {
            assert_eq!(is_among(host, Some(names)), is, "{host}");
            assert!(!is_among(host, Some("")) && !is_among(host, None), "{host}");
        }
        assert!(is_among("10.9.9.9", Some("0.0.0.0/0")) && is_among("[fe00::1]", Some("::/0")));
    }
}
