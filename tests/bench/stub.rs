//! A server that answers at once (or after a given latency): what a benchmark measures against.
//!
//! `stub PORT [LATENCY_MS]`. Every create gets the next id; the question for model associations gets
//! an n:n one under the name that was asked for. It reads just enough of HTTP for that.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};

static NEXT_ID: AtomicU64 = AtomicU64::new(1);
static CONNECTIONS: AtomicU64 = AtomicU64::new(0);

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let port: u16 = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(18200);
    let latency = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(0);
    let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("the port is free");
    println!("listening");
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        CONNECTIONS.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(serve(stream, Duration::from_millis(latency)));
    }
}

async fn serve(mut stream: TcpStream, latency: Duration) {
    let _ = stream.set_nodelay(true);
    let mut buffer = Vec::with_capacity(4096);
    loop {
        let Some(request) = read(&mut stream, &mut buffer).await else { return };
        if !latency.is_zero() {
            wait_until(Instant::now() + latency).await;
        }
        let body = answer(&request);
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        if stream.write_all((head + &body).as_bytes()).await.is_err() {
            return;
        }
    }
}

/// The timer rounds up to the next millisecond: the last of the wait is spent in turns of the loop.
async fn wait_until(due: Instant) {
    sleep_until(due - Duration::from_millis(2)).await;
    while Instant::now() < due {
        yield_now().await;
    }
}

/// One request, head and body.
async fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<String> {
    loop {
        if let Some(length) = length_of(buffer) {
            let rest = buffer.split_off(length);
            let request = std::mem::replace(buffer, rest);
            return String::from_utf8(request).ok();
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

/// The length of the first whole request in a buffer.
fn length_of(buffer: &[u8]) -> Option<usize> {
    let head = buffer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&buffer[..head]).ok()?.to_ascii_lowercase();
    let body = text.lines().find_map(|line| line.strip_prefix("content-length:"));
    let whole = head + body.map_or(0, |length| length.trim().parse().unwrap_or(0));
    (buffer.len() >= whole).then_some(whole)
}

fn answer(request: &str) -> String {
    let line = request.lines().next().unwrap_or_default();
    let data = if line.contains("find_object_association") {
        let name = request.split("\"bk_obj_asst_id\":\"").nth(1).unwrap_or_default();
        let name = name.split('"').next().unwrap_or_default();
        format!(
            r#"[{{"id":1,"bk_obj_asst_id":"{name}","bk_obj_id":"a","bk_asst_obj_id":"b","bk_asst_id":"run","mapping":"n:n"}}]"#
        )
    } else if line.contains("connections") {
        CONNECTIONS.load(Ordering::Relaxed).to_string()
    } else if line.contains("batch_create") {
        let ids = request
            .matches("bk_asst_inst_id")
            .enumerate()
            .map(|(place, _)| format!("\"{place}\":{}", NEXT_ID.fetch_add(1, Ordering::Relaxed)));
        let ids = ids.collect::<Vec<_>>().join(",");
        format!("{{\"success_created\":{{{ids}}},\"error_msg\":{{}}}}")
    } else {
        format!("{{\"id\":{}}}", NEXT_ID.fetch_add(1, Ordering::Relaxed))
    };
    format!(
        r#"{{"result":true,"code":0,"message":"","data":{data},"permission":null,"request_id":"e43da4ef221746868dc4c837d36f3807"}}"#
    )
}
