//! Puts a sandbox behind HTTP: paths, methods, credentials and bodies of three entrances.
//!
//! The only home of axum. Owns what happens before CMDB has the call. Knows nothing of rules or rows.

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
use super::call::{Call, PathParts, parse_body};
use super::dialect::{Dialect, Written, page};
use super::endpoint::Endpoint;
use super::refusal::{Refusal, language_of};
use super::{Caller, Sandbox, Version};
use crate::cmdb::wire::{SharedBy, code};
use crate::target::Entrance;

/// Larger bodies are refused; nginx in front of a real ESB lets 512 MiB through.
const LARGEST_BODY: usize = 64 << 20;

/// Serves until `shutdown` is ready, then lets calls under way finish.
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
    if written.is_none() {
        cut.close();
    }
    written.map(respond).unwrap_or_default()
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
        Ok(Understood { caller, .. }) if !is_tenant(sandbox, &arrived) => {
            let refusal = Refusal::new(code::INVALID_TENANT);
            Some(sandbox.dialect(&caller).refused(&refusal))
        }
        Ok(Understood { endpoint, call, caller }) => sandbox.answer(endpoint, call, &caller).await,
        Err(written) => Some(*written),
    }
}

/// Whether a call names the tenant, where there are tenants (CMDB 3.15).
fn is_tenant(sandbox: &Sandbox, arrived: &Arrived<'_>) -> bool {
    let tenant = sandbox.0.models.tenant_id.as_deref();
    tenant.is_none() || tenant == arrived.header("X-Bk-Tenant-Id")
}

/// A call that may go on to CMDB, decodable or not.
struct Understood {
    endpoint: Endpoint,
    call: Result<Call, Refusal>,
    caller: Caller,
}

/// The answer of the entrance itself.
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
    let plugin = rate.shared_by.map(|shared_by| match shared_by {
        SharedBy::Route => "bk-resource-rate-limit",
        SharedBy::All => "bk-stage-rate-limit",
    });
    let plugin = plugin.map(|name| ("X-Bkapi-RateLimit-Plugin", name.to_owned()));
    for (name, value) in numbers.chain(plugin).chain(written.headers) {
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

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::sync::oneshot;
    use tokio::task::JoinHandle;
    use tokio::time::sleep;

    use super::*;
    use crate::sandbox::faults::{Fault, Faults};
    use crate::sandbox::models::Models;
    use crate::sandbox::{Quota, Setup};

    struct Running {
        sandbox: Sandbox,
        address: SocketAddr,
        stop: oneshot::Sender<()>,
        task: JoinHandle<io::Result<()>>,
    }

    async fn run(entrance: Entrance, change: impl FnOnce(&mut Setup)) -> Running {
        let mut setup = Setup::new(Models::sample());
        change(&mut setup);
        let sandbox = Sandbox::new(setup).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let shutdown = async { stopped.await.unwrap_or_default() };
        let task = tokio::spawn(serve(listener, sandbox.clone(), entrance, shutdown));
        Running { sandbox, address, stop, task }
    }

    fn request(target: i64) -> String {
        let body = format!(
            r#"{{"bk_app_code":"sandbox","bk_app_secret":"sandbox-secret","bk_username":"admin","bk_obj_asst_id":"bk_load_balance_connect_bk_host","bk_inst_id":1,"bk_asst_inst_id":{target}}}"#
        );
        let path = "/api/c/compapi/v2/cc/add_instance_association/";
        format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    }

    /// Sends and reads until the server closes or the body is whole.
    async fn send(stream: &mut TcpStream, request: &str) -> String {
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        loop {
            let text = String::from_utf8_lossy(&answer).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                if length.unwrap().parse() == Ok(body.len()) {
                    return text;
                }
            }
            match stream.read_buf(&mut answer).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => return text,
            }
        }
    }

    #[tokio::test]
    async fn calls_are_answered_on_one_connection_until_the_signal_comes() {
        let running = run(Entrance::Esb, |_| ()).await;
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        for target in [21, 22] {
            let answer = send(&mut stream, &request(target)).await;
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
            assert!(answer.contains("content-type: application/json; charset=utf-8"), "{answer}");
            assert!(answer.contains(r#""code":0,"#), "{answer}");
        }
        running.stop.send(()).unwrap();
        running.task.await.unwrap().unwrap();
        assert!(running.sandbox.rows().iter().any(|row| row.target == 22));
    }

    #[tokio::test]
    async fn a_lost_answer_closes_the_connection_without_a_byte() {
        let faults = Faults::none().with(Fault::LostAnswer, 1.0);
        let running = run(Entrance::Esb, |setup| setup.faults = faults).await;
        let before = running.sandbox.len();
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        assert_eq!(send(&mut stream, &request(21)).await, "");
        assert_eq!(running.sandbox.len(), before + 1);
    }

    #[tokio::test]
    async fn a_garbled_answer_is_half_a_body_that_claims_to_be_whole() {
        let faults = Faults::none().with(Fault::Garbled, 1.0);
        let running = run(Entrance::Esb, |setup| setup.faults = faults).await;
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        let answer = send(&mut stream, &request(21)).await;
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        assert!(body.starts_with('{') && !body.ends_with('}'), "{answer}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_leaves_does_not_stop_its_create() {
        let latency = Duration::from_secs(10);
        let running = run(Entrance::Esb, |setup| setup.latency = latency).await;
        let before = running.sandbox.len();
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        stream.write_all(request(21).as_bytes()).await.unwrap();
        while running.sandbox.calls(Endpoint::Create) == 0 {
            sleep(Duration::from_millis(1)).await;
        }
        drop(stream);
        sleep(latency * 2).await;
        assert_eq!(running.sandbox.len(), before + 1);
    }

    #[tokio::test]
    async fn limits_are_told_in_headers() {
        let running = run(Entrance::Esb, |setup| {
            setup.quota = Some(Quota { calls: 100, window: Duration::from_mins(1) });
            setup.rate_headers = true;
        });
        let running = running.await;
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        let answer = send(&mut stream, &request(21)).await;
        for header in ["limit: 100", "remaining: 99", "reset: 60"] {
            assert!(answer.contains(&format!("x-bkapi-ratelimit-{header}\r\n")), "{answer}");
        }
        let faults = Faults::none().with(Fault::Throttled429, 1.0);
        running.sandbox.set_faults(faults);
        let answer = send(&mut stream, &request(21)).await;
        assert!(answer.starts_with("HTTP/1.1 429 "), "{answer}");
        assert!(answer.contains("retry-after: 1\r\n"), "{answer}");
    }
}
