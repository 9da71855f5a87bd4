//! A server that reads requests and leaves the bytes of the answer to the test, which may lie, stall or
//! flood.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use crate::workdir::NN;

/// A request that has arrived whole.
#[derive(Clone, Debug)]
pub struct Asked {
    pub path: String,
    pub body: String,
}

impl Asked {
    pub fn is_create(&self) -> bool {
        self.path.contains("add_instance_association")
    }

    /// The answer of an honest and empty ESB to anything but a create.
    pub fn honest(&self) -> Vec<u8> {
        if self.path.contains("find_object_association") {
            return ok(&format!(
                r#"[{{"bk_obj_asst_id":"{NN}","bk_obj_id":"bk_load_balance","bk_asst_obj_id":"host","bk_asst_id":"connect","mapping":"n:n"}}]"#
            ));
        }
        ok("[]")
    }
}

/// The server; its threads end with the test process.
pub struct Raw {
    pub address: SocketAddr,
    asked: Arc<(Mutex<Vec<Asked>>, Condvar)>,
}

impl Raw {
    /// Serves: `answer` writes to the connection whatever it likes, and says by `false` that it is to
    /// be closed.
    pub fn serve(answer: impl Fn(&Asked, &mut TcpStream) -> bool + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new((Mutex::new(Vec::new()), Condvar::new()));
        let (seen, answer) = (asked.clone(), Arc::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (seen, answer) = (seen.clone(), answer.clone());
                thread::spawn(move || {
                    let mut reader = BufReader::new(stream.try_clone().unwrap());
                    let mut stream = stream;
                    while let Some(asked) = read(&mut reader) {
                        seen.0.lock().unwrap().push(asked.clone());
                        seen.1.notify_all();
                        if !answer(&asked, &mut stream) {
                            return;
                        }
                    }
                });
            }
        });
        Self { address, asked }
    }

    /// Takes every request and never answers.
    pub fn silent() -> Self {
        Self::serve(|_, _| true)
    }

    /// Serves honestly, but answers creates with these bytes.
    pub fn answering_creates_with(bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        Self::serve(move |asked, stream| {
            let answer = if asked.is_create() { bytes.clone() } else { asked.honest() };
            stream.write_all(&answer).is_ok()
        })
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.0.lock().unwrap().clone()
    }

    /// Waits for this many requests.
    pub fn until_asked(&self, count: usize) {
        let asked = self.asked.0.lock().unwrap();
        let few = |asked: &mut Vec<Asked>| asked.len() < count;
        let limit = Duration::from_mins(1);
        let (asked, _) = self.asked.1.wait_timeout_while(asked, limit, few).unwrap();
        assert!(asked.len() >= count, "only {} requests came", asked.len());
    }

    pub fn creates(&self) -> usize {
        self.asked().iter().filter(|asked| asked.is_create()).count()
    }
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Asked> {
    let mut line = String::new();
    let path = loop {
        line.clear();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if let Some(path) = line.split(' ').nth(1) {
            break path.to_owned();
        }
    };
    let mut length = 0;
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        let header = line.trim().to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Asked { path, body: String::from_utf8(body).unwrap() })
}

/// An HTTP answer with its length.
pub fn http(status: u16, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status} x\r\nContent-Length: {length}\r\n{headers}\r\n{body}").into_bytes()
}

/// An ESB's success with this data.
pub fn ok(data: &str) -> Vec<u8> {
    http(200, "", &format!(r#"{{"result":true,"code":0,"message":"","data":{data}}}"#))
}

/// An ESB's refusal; the message is JSON text without its quotes.
pub fn refusal(code: i64, message: &str) -> Vec<u8> {
    http(200, "", &format!(r#"{{"result":false,"code":{code},"message":"{message}","data":null}}"#))
}
