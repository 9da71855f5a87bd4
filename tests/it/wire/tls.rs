//! Certificates, held against a TLS server whose authority no system knows (`tests/tls`).

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;

use bkassoc::cmdb::Cmdb;
use bkassoc::cmdb::http::{ClientError, HttpClient, HttpOptions};
use bkassoc::target::{Entrance, Target};
use bkassoc::verdict::{Stop, Verdict, judge};
use bkassoc::wire::Reply;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::stub::sized;
use super::{SUCCESS, answered, identity, seed};

fn file(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "tls", name].iter().collect()
}

/// Answers each connection's first request with success; its URL.
fn start() -> String {
    let certificate = CertificateDer::from_pem_file(file("server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(file("server.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for tcp in listener.incoming() {
            let connection = ServerConnection::new(config.clone()).unwrap();
            let mut stream = StreamOwned::new(connection, tcp.unwrap());
            // A client that does not trust us hangs up.
            if stream.read(&mut [0; 4096]).is_ok_and(|read| read > 0) {
                stream.write_all(&sized(200, &["Connection: close"], SUCCESS)).unwrap();
                stream.conn.send_close_notify();
                stream.flush().unwrap();
            }
        }
    });
    url
}

fn client(endpoint: &str, options: &HttpOptions) -> Result<HttpClient, ClientError> {
    HttpClient::new(&Target::new(Entrance::Esb, endpoint, "0").unwrap(), &identity(), options)
}

fn trusting(name: &str) -> HttpOptions {
    HttpOptions { ca_cert: Some(file(name)), ..HttpOptions::default() }
}

#[tokio::test]
async fn an_authority_that_nobody_knows_makes_the_target_unusable() {
    // The system may have no certificates at all: then one that does not fit stands for them.
    let reply = client(&start(), &trusting("server.pem")).unwrap().call(seed()).await;
    let Reply::Unusable(reason) = &reply else {
        panic!("{reply:?}");
    };
    assert!(reason.contains("UnknownIssuer"), "{reason}");
    assert_eq!(judge(&reply, false), Verdict::Stop(Stop::Certificate));
    let advice = Stop::Certificate.advice(&reply, Entrance::Esb);
    assert!(advice.contains("--ca-cert"), "{advice}");
}

#[tokio::test]
async fn an_authority_that_is_given_is_trusted() {
    let client = client(&start(), &trusting("authority.pem")).unwrap();
    let answer = answered(client.call(seed()).await);
    assert_eq!(answer.envelope.unwrap().created_id(), Some(1038));
}

#[tokio::test]
async fn a_certificate_of_another_name_makes_the_target_unusable() {
    let url = start().replace("127.0.0.1", "localhost");
    let reply = client(&url, &trusting("authority.pem")).unwrap().call(seed()).await;
    assert!(matches!(reply, Reply::Unusable(_)), "{reply:?}");
}

#[tokio::test]
async fn insecure_trusts_anybody() {
    let options = HttpOptions { insecure: true, ..HttpOptions::default() };
    answered(client(&start(), &options).unwrap().call(seed()).await);
}

#[tokio::test]
async fn a_port_that_speaks_no_tls_makes_the_target_unusable() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut tcp, _) = listener.accept().unwrap();
        let _ = tcp.read(&mut [0; 4096]).unwrap();
        tcp.write_all(&sized(400, &[], "this is plain HTTP")).unwrap();
    });
    let reply = client(&url, &trusting("authority.pem")).unwrap().call(seed()).await;
    assert!(matches!(reply, Reply::Unusable(_)), "{reply:?}");
}

#[test]
fn a_file_without_certificates_is_refused_by_name() {
    for (name, reason) in [("server.key", "no certificate"), ("no-such-file", "no-such-file")] {
        let error = client("https://127.0.0.1:1", &trusting(name)).err().unwrap();
        let text = error.to_string();
        assert!(text.contains("--ca-cert") && text.contains(reason), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_never_ends_proves_that_nothing_was_sent() {
    let silent = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("https://{}", silent.local_addr().unwrap());
    let reply = client(&url, &trusting("authority.pem")).unwrap().call(seed()).await;
    assert!(matches!(&reply, Reply::NotSent(reason) if reason.contains("timed out")), "{reply:?}");
}
