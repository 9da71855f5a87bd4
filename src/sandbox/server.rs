//! Puts a sandbox behind HTTP: paths, methods, credentials and bodies of three entrances.
//!
//! The only home of axum. Owns what happens before CMDB has the call (contract sections 1, 8 and 9,
//! captures 5, captures-esb 2 to 5). Knows nothing of rules or rows.

mod connection;
mod esb;
mod gateway;
mod native;

use std::future::Future;
use std::io;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use tokio::net::TcpListener;

use self::connection::{Cut, Door};
use super::call::{Call, Endpoint, PathParts, parse_body};
use super::dialect::{Dialect, Written, page};
use super::refusal::{Language, Refusal};
use super::{Caller, Sandbox, Version};
use crate::target::Entrance;

/// Larger bodies are refused; nginx in front of a real ESB lets 512 MiB through.
const LARGEST_BODY: usize = 64 << 20;

/// Serves until the signal comes, then lets calls under way answer.
pub async fn serve(
    listener: TcpListener,
    sandbox: Sandbox,
    entrance: Entrance,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let router = Router::new().fallback(handle).with_state(Served { sandbox, entrance });
    let service = router.into_make_service_with_connect_info::<Cut>();
    axum::serve(Door::new(listener), service).with_graceful_shutdown(shutdown).await
}

#[derive(Clone)]
struct Served {
    sandbox: Sandbox,
    entrance: Entrance,
}

/// A request that has arrived whole.
struct Arrived<'a> {
    method: &'a Method,
    path: &'a str,
    query: &'a str,
    headers: &'a axum::http::HeaderMap,
    body: &'a [u8],
}

impl Arrived<'_> {
    fn header(&self, name: &str) -> Option<&str> {
        let value = self.headers.get(name)?.to_str().ok()?;
        (!value.is_empty()).then_some(value)
    }

    fn any_header(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|name| self.header(name))
    }
}

async fn handle(
    State(served): State<Served>,
    ConnectInfo(cut): ConnectInfo<Cut>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let written = match to_bytes(body, LARGEST_BODY).await {
        Ok(body) => answer(&served, &parts, &body).await,
        Err(_) => Some(page(413, "413 Request Entity Too Large")),
    };
    match written {
        Some(written) => respond(written),
        None => {
            cut.close();
            Response::default()
        }
    }
}

async fn answer(served: &Served, parts: &Parts, body: &Bytes) -> Option<Written> {
    let arrived = Arrived {
        method: &parts.method,
        path: parts.uri.path(),
        query: parts.uri.query().unwrap_or_default(),
        headers: &parts.headers,
        body,
    };
    let sandbox = &served.sandbox;
    let understood = match served.entrance {
        Entrance::Esb => esb::understand(sandbox, &arrived),
        Entrance::Gateway => gateway::understand(sandbox, &arrived),
        Entrance::Native => native::understand(sandbox, &arrived),
    };
    match understood {
        Ok(Understood { endpoint, call, caller }) => sandbox.answer(endpoint, call, caller).await,
        Err(written) => Some(*written),
    }
}

/// A call that may go on to CMDB, decodable or not.
struct Understood {
    endpoint: Endpoint,
    call: Result<Call, Refusal>,
    caller: Caller,
}

/// What the entrance itself answers.
type TurnedAway = Box<Written>;

fn respond(written: Written) -> Response {
    let mut response = Response::new(Body::from(written.body));
    *response.status_mut() =
        StatusCode::from_u16(written.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(written.content_type));
    let rate = written.rate;
    let seconds = |duration: std::time::Duration| duration.as_secs();
    let numbers = [
        ("X-Bkapi-RateLimit-Limit", rate.limit),
        ("X-Bkapi-RateLimit-Remaining", rate.remaining),
        ("X-Bkapi-RateLimit-Reset", rate.reset.map(seconds)),
        ("Retry-After", rate.retry_after.map(seconds)),
    ];
    let numbers = numbers.into_iter().filter_map(|(name, n)| Some((name, n?.to_string())));
    for (name, value) in numbers.chain(written.headers) {
        let pair =
            HeaderName::from_bytes(name.as_bytes()).ok().zip(HeaderValue::from_str(&value).ok());
        if let Some((name, value)) = pair {
            headers.insert(name, value);
        }
    }
    response
}

/// A call without a socket, for tests.
#[cfg(test)]
pub(super) async fn exchange(
    sandbox: &Sandbox,
    entrance: Entrance,
    (method, target): (&str, &str),
    headers: &[(&str, &str)],
    body: &str,
) -> Option<Written> {
    let mut request = axum::http::Request::builder().method(method).uri(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let (parts, ()) = request.body(()).unwrap().into_parts();
    let sandbox = sandbox.clone();
    answer(&Served { sandbox, entrance }, &parts, &Bytes::copy_from_slice(body.as_bytes())).await
}
