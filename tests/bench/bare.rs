//! The least that a call costs with reqwest: one fixed body, sent over and over, and nothing kept.
//!
//! `bare PORT CALLS CONCURRENCY`. What bkassoc costs above this is its own: reading, judging, pacing, the
//! journal, the results.

use futures::stream::{FuturesUnordered, StreamExt};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Client, Method, Request, Url};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BODY: &str = r#"{"bk_app_code":"app","bk_app_secret":"secret","bk_username":"admin","bk_obj_asst_id":"a_run_b","bk_inst_id":11,"bk_asst_inst_id":21,"metadata":{"label":{"bk_biz_id":"1"}}}"#;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<usize> =
        std::env::args().skip(1).map(|text| text.parse().expect("a number")).collect();
    let [port, calls, concurrency] = arguments[..] else { panic!("bare PORT CALLS CONCURRENCY") };
    let url = format!("http://127.0.0.1:{port}/api/c/compapi/v2/cc/add_instance_association/");
    let url: Url = url.parse().expect("a URL");
    let client = client(concurrency);
    let mut under_way = FuturesUnordered::new();
    let (mut sent, mut answered) = (0, 0);
    while answered < calls {
        while sent < calls && under_way.len() < concurrency {
            under_way.push(call(&client, url.clone()));
            sent += 1;
        }
        answered += usize::from(under_way.next().await.is_some());
    }
}

fn client(concurrency: usize) -> Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert("blueking-language", HeaderValue::from_static("en"));
    Client::builder()
        .no_proxy()
        .tls_built_in_root_certs(false)
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .http1_only()
        .tcp_nodelay(true)
        .default_headers(headers)
        .pool_max_idle_per_host(concurrency)
        .build()
        .expect("a client")
}

async fn call(client: &Client, url: Url) {
    let mut request = Request::new(Method::POST, url);
    *request.body_mut() = Some(BODY.into());
    let answer = client.execute(request).await.expect("an answer");
    answer.bytes().await.expect("a body");
}
