//! The HTTP client: the only home of reqwest, and of rustls below it.
//!
//! Owns how a request travels: path, headers, credentials, proxy, certificates, and what a failed call
//! proves. Untrusted texts are cleaned here, at the door. Knows nothing of what an answer means; the
//! caller limits the time of a call by dropping its future. `docs/cmdb-api.md` says what the servers
//! expect.

mod connect;
mod headers;
mod text;

use std::io;
use std::path::PathBuf;

use reqwest::{Client, Method, Response, Url};
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::cmdb::Cmdb;
use crate::cmdb::wire::{Answer, Body, Envelope, Reply, Request, RequestId, Route};
use crate::gzip;
use crate::options::{Language, Proxy};
use crate::target::{API_ROOT, ESB_CALLS, Entrance, Identity, Target, behind_api_root};
use crate::version;
use headers::Credentials;
use text::Cleaner;

/// An answer about one association takes a few hundred bytes; one with a permission block, a few
/// thousand.
const SMALL_ANSWER: usize = 1 << 20;
/// A look-up of 2,000 triples or the answer to a batch.
const LARGE_ANSWER: usize = 16 << 20;

/// Everything about the way to the server that is not the target itself.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// Language of the server's messages.
    pub language: Language,
    /// Authorities to trust beside the system's, as PEM.
    pub ca_cert: Option<PathBuf>,
    /// Trusts any certificate.
    pub insecure: bool,
    /// The proxy that calls go through, if any.
    pub proxy: Proxy,
    /// Connections to keep: as many as there are calls in flight.
    pub concurrency: usize,
    /// The `User-Agent` header.
    pub user_agent: String,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            language: Language::En,
            ca_cert: None,
            insecure: false,
            proxy: Proxy::None,
            concurrency: 32,
            user_agent: format!("bkassoc/{}", version::VERSION),
        }
    }
}

/// Why there can be no client with these options. Nothing was sent.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The endpoint is no URL.
    #[error("--endpoint {endpoint} can't be called: {reason}")]
    Endpoint {
        /// As given.
        endpoint: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The authorities' file can't be read.
    #[error("--ca-cert {}: {source}", path.display())]
    CaCertUnreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The authorities' file holds no certificate.
    #[error("--ca-cert {}: holds no certificate in PEM form", path.display())]
    CaCertEmpty {
        /// Which file.
        path: PathBuf,
    },
    /// The proxy's URL can't be used. It is not shown, since it may hold a password.
    #[error(
        "{origin} is no URL of an HTTP proxy, such as http://proxy.example.com:3128 (`--proxy none` goes without one)"
    )]
    Proxy {
        /// The flag or the variable that gave it.
        origin: String,
    },
    /// A value that has to travel as a header can't.
    #[error("{what} holds a character that can't be sent in a header")]
    Header {
        /// The flag that gave it.
        what: &'static str,
    },
    /// TLS can't be set up.
    #[error("TLS can't be set up: {0}; give the authorities to trust with --ca-cert")]
    Tls(String),
}

/// A CMDB behind HTTP.
pub struct HttpClient {
    client: Client,
    entrance: Entrance,
    /// Where the requests of each route go, parsed once: without a model and an id behind it.
    urls: Box<[Url; Route::COUNT]>,
    /// The beginning of each body: an open JSON object with the credentials, or nothing.
    preamble: Vec<u8>,
    /// Whether the credentials do not name the account.
    has_no_account: bool,
    cleaner: Cleaner,
}

impl HttpClient {
    /// A client for a target. Reads the certificates; opens no connection.
    pub fn new(
        target: &Target,
        identity: &Identity,
        options: &HttpOptions,
    ) -> Result<Self, ClientError> {
        let endpoint = parse_endpoint(&target.endpoint)?;
        let headers = headers::fixed(target, identity, options.language)?;
        Ok(Self {
            client: connect::client(&endpoint, &headers, options)?,
            entrance: target.entrance,
            urls: Box::new(Route::ALL.map(|route| url_of(route, target, &endpoint))),
            preamble: preamble(target, identity),
            has_no_account: !target.has_own_account(),
            cleaner: Cleaner::new(identity),
        })
    }

    fn request(&self, request: &Request) -> reqwest::Request {
        let url = &self.urls[request.route() as usize];
        let mut http = match request {
            _ if self.entrance == Entrance::Esb => self.post(url.clone(), request),
            Request::Delete { obj_id, id } => {
                let url = append(url, &[obj_id, &id.to_string()]);
                reqwest::Request::new(Method::DELETE, url)
            }
            Request::DeleteMany { .. } => self.with_body(Method::DELETE, url.clone(), request),
            _ => match request.model_in_path() {
                Some(model) => self.post(append(url, &[model]), request),
                None => self.post(url.clone(), request),
            },
        };
        if let Request::Attributes(attributes) = request {
            headers::put_language(http.headers_mut(), self.entrance, attributes.language);
        }
        http
    }

    fn post(&self, url: Url, request: &Request) -> reqwest::Request {
        self.with_body(Method::POST, url, request)
    }

    fn with_body(&self, method: Method, url: Url, request: &Request) -> reqwest::Request {
        let mut http = reqwest::Request::new(method, url);
        *http.body_mut() = Some(self.body(request).into());
        http
    }

    /// The body in one buffer: the credentials' open object, joined with the request's own.
    fn body(&self, request: &Request) -> Vec<u8> {
        let mut body = Vec::with_capacity(self.preamble.len() + 160);
        body.extend_from_slice(&self.preamble);
        let own = body.len();
        let written = match self.entrance {
            Entrance::Esb => {
                let has_no_account = self.has_no_account;
                serde_json::to_writer(&mut body, &EsbBody { request, has_no_account })
            }
            Entrance::Gateway | Entrance::Native => {
                serde_json::to_writer(&mut body, &Body(request))
            }
        };
        written.expect("a request is plain JSON");
        if own > 0 {
            body[own] = b',';
        }
        body
    }

    fn fill(&self, answer: &mut Answer, body: &[u8]) {
        let Some(mut envelope) = Envelope::parse(body) else {
            answer.excerpt = self.cleaner.excerpt(body);
            return;
        };
        envelope.rewrite_texts(|text| self.cleaner.message(text));
        let own_id = envelope.request_id.as_deref();
        if let Some(id) = own_id.and_then(|id| self.cleaner.request_id(id)) {
            answer.request_id = Some(id);
        }
        answer.envelope = Some(envelope);
    }

    /// What a failed call proves. Only what happened before a connection stood is proof that nothing
    /// was sent; the pool itself tries again what it could not begin to write, and nothing else.
    fn failure(&self, error: reqwest::Error) -> Reply {
        if !error.is_connect() {
            return Reply::Lost(self.reason(error));
        }
        if connect::is_hopeless(&error) {
            return Reply::Unusable(self.reason(error));
        }
        Reply::NotSent(self.reason(error))
    }

    fn reason(&self, error: reqwest::Error) -> String {
        self.cleaner.message(&connect::causes(&error.without_url()))
    }
}

impl Cmdb for HttpClient {
    async fn call(&self, request: Request) -> Reply {
        self.call_as(request, None).await
    }

    async fn call_as(&self, request: Request, id: Option<RequestId>) -> Reply {
        let limit = match request {
            Request::Create(_) | Request::Delete { .. } | Request::DeleteMany { .. } => {
                SMALL_ANSWER
            }
            Request::CreateMany { .. }
            | Request::Find(_)
            | Request::Models(_)
            | Request::Attributes(_)
            | Request::Instances(_)
            | Request::List(_)
            | Request::AuditList(_)
            | Request::AuditRecords(_) => LARGE_ANSWER,
        };
        let mut http = self.request(&request);
        if let Some(id) = id {
            headers::put_request_id(http.headers_mut(), self.entrance, id);
        }
        let response = match self.client.execute(http).await {
            Ok(response) => response,
            Err(error) => return self.failure(error),
        };
        let mut answer = Answer {
            status: response.status().as_u16(),
            rate: headers::rate_hint(response.headers()),
            request_id: headers::request_id(response.headers())
                .and_then(|id| self.cleaner.request_id(id)),
            ..Answer::default()
        };
        let body = read(response, limit).await;
        match body.and_then(|body| unpacked(body, limit)) {
            Ok(body) => {
                self.fill(&mut answer, &body);
                Reply::Answered(answer)
            }
            Err(Cut::TooLarge) => {
                Reply::Oversized(format!("answer larger than {} MiB", limit >> 20))
            }
            Err(Cut::Broken(error)) => Reply::Lost(self.reason(error)),
            Err(Cut::Unreadable(error)) => {
                Reply::Lost(format!("the answer came in gzip that can't be unpacked: {error}"))
            }
        }
    }
}

/// The name of a call, as the ESB and CMDB's own definition of a gateway have it, and its method and path from the
/// API's root on, for who has to set it up. What a request puts into the path stands in braces.
pub fn call_of(route: Route, target: &Target) -> (&'static str, String) {
    let name = component(route);
    if target.entrance == Entrance::Esb {
        return (name, format!("POST {ESB_CALLS}/{name}/"));
    }
    let method = match route {
        Route::Delete | Route::DeleteMany => "DELETE",
        _ => "POST",
    };
    let in_path = match route {
        Route::Delete => "/{bk_obj_id}/{id}",
        Route::List | Route::SearchObjectInstances | Route::SearchInst => "/{bk_obj_id}",
        Route::SearchBusiness => "/{bk_supplier_account}",
        _ => "",
    };
    let path = target.api_path();
    let root = path.find(API_ROOT).map_or(API_ROOT, |at| &path[at..]);
    (name, format!("{method} {root}/{}{in_path}", resource(route).join("/")))
}

/// The ESB's name for the requests of a route.
const fn component(route: Route) -> &'static str {
    match route {
        Route::Create => "add_instance_association",
        Route::CreateMany => "batch_create_instance_association",
        Route::Find => "find_instance_association",
        Route::Models => "find_object_association",
        Route::Delete => "delete_instance_association",
        Route::DeleteMany => "delete_related_inst_asso",
        Route::Attributes => "search_object_attribute",
        Route::SearchObjectInstances => "search_object_instances",
        Route::SearchInst => "search_inst",
        Route::ListHosts => "list_hosts_without_biz",
        Route::SearchBusiness => "search_business",
        Route::List => "search_instance_associations",
        Route::AuditList => "list_operation_audit",
        Route::AuditRecords => "find_audit_by_id",
    }
}

/// A route's path behind the root of CMDB's API. Behind it follow, for some, model and id.
const fn resource(route: Route) -> &'static [&'static str] {
    match route {
        Route::Create => &["create", "instassociation"],
        Route::CreateMany => &["createmany", "instassociation"],
        Route::Find => &["find", "instassociation"],
        Route::Models => &["find", "objectassociation"],
        Route::Delete => &["delete", "instassociation"],
        Route::DeleteMany => &["delete", "instassociation", "batch"],
        Route::Attributes => &["find", "objectattr"],
        Route::SearchObjectInstances => &["search", "instances", "object"],
        Route::SearchInst => &["find", "instassociation", "object"],
        Route::ListHosts => &["hosts", "list_hosts_without_app"],
        Route::SearchBusiness => &["biz", "search"],
        Route::List => &["search", "instance_associations", "object"],
        Route::AuditList => &["findmany", "audit_list"],
        Route::AuditRecords => &["find", "audit"],
    }
}

/// Where the requests of a route go.
fn url_of(route: Route, target: &Target, endpoint: &Url) -> Url {
    if target.entrance == Entrance::Esb {
        return append(endpoint, &["api", "c", "compapi", "v2", "cc", component(route), ""]);
    }
    let root = match behind_api_root(endpoint.path()) {
        Some(_) => endpoint.clone(),
        None => append(endpoint, &["api", "v3"]),
    };
    let url = append(&root, resource(route));
    match route {
        Route::SearchBusiness => append(&url, &[&target.supplier_account]),
        _ => url,
    }
}

/// A body for the ESB, which takes from it what else stands in the path. There `search_inst` demands the
/// account, too (tests/wire/names-6.json#6.1).
struct EsbBody<'a> {
    request: &'a Request,
    has_no_account: bool,
}

impl Serialize for EsbBody<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if self.has_no_account && self.request.route() == Route::SearchInst {
            map.serialize_entry("bk_supplier_account", "0")?;
        }
        if let Some(model) = self.request.model_in_path() {
            map.serialize_entry("bk_obj_id", model)?;
        }
        Body(self.request).entries(&mut map)?;
        map.end()
    }
}

/// Whether a text is the URL of a proxy that calls can go through.
pub fn is_proxy(text: &str) -> bool {
    connect::proxy_at(text).is_some()
}

/// Whether an endpoint is on this machine: no proxy ever gets its calls.
pub fn is_loopback(endpoint: &str) -> bool {
    Url::parse(endpoint).is_ok_and(|url| connect::is_loopback(&url))
}

fn parse_endpoint(endpoint: &str) -> Result<Url, ClientError> {
    let refuse = |reason: String| ClientError::Endpoint { endpoint: endpoint.to_owned(), reason };
    let url = Url::parse(endpoint).map_err(|error| refuse(error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(refuse("it must start with http:// or https://".to_owned()));
    }
    Ok(url)
}

fn append(base: &Url, segments: &[&str]) -> Url {
    let mut url = base.clone();
    url.path_segments_mut()
        .expect("http and https URLs have a path")
        .pop_if_empty()
        .extend(segments);
    url
}

/// The beginning of a body: on the ESB an object with the credentials, left open; else nothing.
fn preamble(target: &Target, identity: &Identity) -> Vec<u8> {
    if target.entrance != Entrance::Esb {
        return Vec::new();
    }
    let mut open = serde_json::to_vec(&Credentials::in_body(target, identity))
        .expect("credentials are plain JSON");
    open.pop();
    if open.len() == 1 { Vec::new() } else { open }
}

/// Why a body did not arrive whole.
enum Cut {
    TooLarge,
    Broken(reqwest::Error),
    Unreadable(io::Error),
}

/// A body, unpacked where it came in gzip, which nobody asks for and some proxies send all the same.
/// The signature tells: no JSON begins so.
fn unpacked(body: Vec<u8>, limit: usize) -> Result<Vec<u8>, Cut> {
    if !body.starts_with(gzip::SIGNATURE) {
        return Ok(body);
    }
    gzip::unpack(&body, limit).map_err(Cut::Unreadable)?.ok_or(Cut::TooLarge)
}

async fn read(mut response: Response, limit: usize) -> Result<Vec<u8>, Cut> {
    let announced = response.content_length().unwrap_or(0);
    if announced > limit as u64 {
        return Err(Cut::TooLarge);
    }
    // What a server announces is not yet worth memory.
    let mut body = Vec::with_capacity(announced.min(64 << 10) as usize);
    while let Some(chunk) = response.chunk().await.map_err(Cut::Broken)? {
        if body.len() + chunk.len() > limit {
            return Err(Cut::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}
