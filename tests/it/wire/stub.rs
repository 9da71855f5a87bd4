//! A raw TCP server that records every byte it gets and plays a script.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What to do once a request has been read.
#[derive(Clone)]
pub enum Act {
    /// Write these bytes and keep the connection.
    Answer(Vec<u8>),
    /// Write these bytes and close.
    AnswerAndClose(Vec<u8>),
    /// Close without a word.
    Close,
    /// Write these bytes, then chunks without end.
    Flood(Vec<u8>),
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Seen {
    /// `POST /path HTTP/1.1`
    pub start: String,
    /// `name: value`, the name in lower case, sorted.
    pub headers: Vec<String>,
    pub body: String,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

pub struct Stub {
    pub address: SocketAddr,
    state: Arc<State>,
}

struct State {
    script: Vec<Act>,
    seen: Mutex<Vec<Seen>>,
    connections: AtomicUsize,
    flooded: AtomicUsize,
}

impl Stub {
    /// Plays the acts in the order in which requests come, the last one over and over.
    pub async fn start(script: Vec<Act>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            script,
            seen: Mutex::default(),
            connections: AtomicUsize::new(0),
            flooded: AtomicUsize::new(0),
        });
        let shared = state.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                shared.connections.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(serve(stream, shared.clone()));
            }
        });
        Self { address, state }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().unwrap().clone()
    }

    /// The only request there was.
    pub fn only(&self) -> Seen {
        let seen = self.seen();
        assert_eq!(seen.len(), 1, "{seen:?}");
        seen.into_iter().next().unwrap()
    }

    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::Relaxed)
    }

    /// Bytes that a flood could write before the client hung up.
    pub fn flooded(&self) -> usize {
        self.state.flooded.load(Ordering::Relaxed)
    }
}

async fn serve(mut stream: TcpStream, state: Arc<State>) {
    let mut buffer = Vec::new();
    while let Some(seen) = read_request(&mut stream, &mut buffer).await {
        let act = {
            let mut all = state.seen.lock().unwrap();
            all.push(seen);
            state.script[(all.len() - 1).min(state.script.len() - 1)].clone()
        };
        match act {
            Act::Answer(bytes) => stream.write_all(&bytes).await.unwrap(),
            Act::AnswerAndClose(bytes) => {
                stream.write_all(&bytes).await.unwrap();
                return;
            }
            Act::Close => return,
            Act::Flood(head) => {
                stream.write_all(&head).await.unwrap();
                let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x1_0000)).into_bytes();
                while stream.write_all(&chunk).await.is_ok() {
                    state.flooded.fetch_add(chunk.len(), Ordering::Relaxed);
                }
                return;
            }
        }
    }
}

async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Seen> {
    let head_end = loop {
        if let Some(at) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        read_more(stream, buffer).await?;
    };
    let head = String::from_utf8(buffer[..head_end].to_vec()).unwrap();
    let mut lines = head.trim_end().split("\r\n");
    let start = lines.next()?.to_owned();
    let mut headers: Vec<String> = lines
        .map(|line| {
            let (name, value) = line.split_once(": ").unwrap();
            format!("{}: {value}", name.to_ascii_lowercase())
        })
        .collect();
    headers.sort();
    let length = headers
        .iter()
        .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok())
        .unwrap_or(0);
    while buffer.len() < head_end + length {
        read_more(stream, buffer).await?;
    }
    let body = String::from_utf8(buffer[head_end..head_end + length].to_vec()).unwrap();
    buffer.drain(..head_end + length);
    Some(Seen { start, headers, body })
}

async fn read_more(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<()> {
    match stream.read_buf(buffer).await {
        Ok(0) | Err(_) => None,
        Ok(_) => Some(()),
    }
}

/// An answer with its length.
pub fn sized(status: u16, headers: &[&str], body: &str) -> Vec<u8> {
    sized_bytes(status, headers, body.as_bytes())
}

/// The same of bytes that are no text.
pub fn sized_bytes(status: u16, headers: &[&str], body: &[u8]) -> Vec<u8> {
    let length = format!("Content-Length: {}", body.len());
    [head(status, headers, &length).as_bytes(), body].concat()
}

/// An answer in two chunks.
pub fn chunked(status: u16, headers: &[&str], body: &str) -> Vec<u8> {
    let mut bytes = head(status, headers, "Transfer-Encoding: chunked").into_bytes();
    let (first, second) = body.as_bytes().split_at(body.len() / 2);
    for chunk in [first, second].into_iter().filter(|chunk| !chunk.is_empty()) {
        bytes.extend(format!("{:x}\r\n", chunk.len()).bytes());
        bytes.extend_from_slice(chunk);
        bytes.extend(b"\r\n");
    }
    bytes.extend(b"0\r\n\r\n");
    bytes
}

fn head(status: u16, headers: &[&str], framing: &str) -> String {
    let start = format!("HTTP/1.1 {status} Status");
    let lines = [&[start.as_str()], headers, &[framing, "", ""]].concat();
    lines.join("\r\n")
}
