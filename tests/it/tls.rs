//! HTTPS: whom the client trusts, and what a connection that can't be made means for a run.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use bkassoc::cmdb::Cmdb;
use bkassoc::cmdb::http::{HttpClient, HttpOptions};
use bkassoc::cmdb::wire::{Reply, Request};
use bkassoc::sandbox::Endpoint;
use bkassoc::target::{Entrance, Identity, Secret, Target};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, crypto::ring};
use tokio::io::{
    AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, copy_bidirectional,
};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::server::Server;
use crate::workdir::{Workdir, links, stats};

/// An authority, which signs.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// A server's certificate for this name or address.
    fn certify(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> ServerConfig {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let chain: Vec<CertificateDer<'static>> = vec![certificate.into()];
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap()
    }
}

/// Speaks TLS in front of a server that does not.
struct Front {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    /// The lines that opened a tunnel.
    asked: Asked,
}

type Asked = Arc<Mutex<Vec<String>>>;

/// How a connection begins.
#[derive(Clone)]
enum Opening {
    Tls(Arc<ServerConfig>),
    /// A `CONNECT`, which is granted, and then TLS.
    Tunnel(Arc<ServerConfig>),
    /// The same within TLS of the proxy's own.
    TunnelInTls(Arc<ServerConfig>, Arc<ServerConfig>),
    /// It is closed.
    Closed,
}

impl Front {
    fn new(server: &Server, opening: Opening) -> Self {
        let connections = Arc::new(AtomicUsize::new(0));
        let (bound, address) = std::sync::mpsc::channel();
        let (behind, count) = (server.address, Arc::clone(&connections));
        let asked = Asked::default();
        let lines = Arc::clone(&asked);
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
                bound.send(listener.local_addr().unwrap()).unwrap();
                while let Ok((stream, _)) = listener.accept().await {
                    count.fetch_add(1, Ordering::Relaxed);
                    tokio::spawn(carry(stream, behind, opening.clone(), Arc::clone(&lines)));
                }
            });
        });
        Self { address: address.recv().unwrap(), connections, asked }
    }

    fn tls(server: &Server, config: ServerConfig) -> Self {
        Self::new(server, Opening::Tls(Arc::new(config)))
    }

    fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

async fn carry(mut near: TcpStream, behind: SocketAddr, opening: Opening, asked: Asked) {
    match opening {
        Opening::Closed => {}
        Opening::Tls(config) => encrypted(near, behind, config).await,
        Opening::Tunnel(config) => {
            grant(&mut near, &asked).await;
            encrypted(near, behind, config).await;
        }
        Opening::TunnelInTls(outer, inner) => {
            let Ok(mut near) = TlsAcceptor::from(outer).accept(near).await else { return };
            grant(&mut near, &asked).await;
            encrypted(near, behind, inner).await;
        }
    }
}

async fn grant<S: AsyncRead + AsyncWrite + Unpin>(near: &mut S, asked: &Asked) {
    let mut head = BufReader::new(&mut *near).lines();
    while let Some(line) = head.next_line().await.unwrap().filter(|line| !line.is_empty()) {
        asked.lock().unwrap().push(line);
    }
    near.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
}

async fn encrypted<S>(near: S, behind: SocketAddr, config: Arc<ServerConfig>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    // A client that does not trust the certificate goes away.
    let Ok(mut near) = TlsAcceptor::from(config).accept(near).await else { return };
    let mut far = TcpStream::connect(behind).await.unwrap();
    let _ = copy_bidirectional(&mut near, &mut far).await;
}

/// Checks that the run ends with this exit code and message before anything was sent.
#[track_caller]
fn ends_before_it_begins(url: &str, flags: &str, server: &Server, exit: i32, says: &[&str]) {
    let work = Workdir::new();
    work.write("in.csv", links(3)).write("ca.pem", Authority::new("another").pem);
    let import = format!("import in.csv --connect-timeout 2s {flags}");
    let done = work.bkassoc(&import).aim(Entrance::Esb, url).ends(exit);
    let said = done.stdout + &done.stderr;
    for text in says {
        assert!(said.contains(text), "no {text:?} in {said}");
    }
    assert_eq!(work.names(), ["ca.pem", "in.csv"]);
    assert_eq!(server.all_calls(), 0);
}

#[test]
fn an_authority_that_is_given_is_trusted_and_connections_are_kept() {
    let (server, authority) = (Server::esb(), Authority::new("ours"));
    let front = Front::tls(&server, authority.certify("127.0.0.1", |_| {}));
    let work = Workdir::new();
    // As files of authorities are: several of them, with texts in between.
    let others = Authority::new("another").pem;
    work.write("ca.pem", format!("# ours\n{others}\n# theirs\n{}", authority.pem));
    work.write("in.csv", links(200));
    let import = "import in.csv --ca-cert ca.pem --concurrency 4";
    work.bkassoc(import).aim(Entrance::Esb, &front.url()).ends(0);
    assert_eq!(stats(&work.rows("in.results.csv"), "status"), "created 200");
    assert_eq!(server.calls(Endpoint::Create), 200);
    // While the first handshakes last, a call may begin one more and then take what came free.
    assert!(front.connections() < 12, "{} connections", front.connections());
}

#[test]
fn an_authority_of_the_system_is_trusted() {
    let (server, authority) = (Server::esb(), Authority::new("ours"));
    let front = Front::tls(&server, authority.certify("127.0.0.1", |_| {}));
    let work = Workdir::new();
    work.write("system.pem", &authority.pem).write("in.csv", links(3));
    let import = work.bkassoc("import in.csv").aim(Entrance::Esb, &front.url());
    import.env("SSL_CERT_FILE", work.path("system.pem")).ends(0);
}

#[test]
fn a_certificate_that_is_not_trusted_ends_it_with_8_and_nothing_is_sent() {
    let (server, authority) = (Server::esb(), Authority::new("ours"));
    let unknown = Front::tls(&server, authority.certify("127.0.0.1", |_| {}));
    for flags in ["", "--ca-cert ca.pem"] {
        let says = ["UnknownIssuer", "--ca-cert"];
        ends_before_it_begins(&unknown.url(), flags, &server, 8, &says);
    }
}

#[test]
fn a_certificate_of_another_name_or_time_ends_it_with_8() {
    let (server, authority) = (Server::esb(), Authority::new("ours"));
    let work = Workdir::new();
    work.write("ca.pem", &authority.pem).write("in.csv", links(3));
    let other = authority.certify("cmdb.example.com", |_| {});
    let old = authority.certify("127.0.0.1", |params| {
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    });
    for (config, says) in [(other, "not valid for name"), (old, "expired")] {
        let front = Front::tls(&server, config);
        let import = work.bkassoc("import in.csv --ca-cert ca.pem");
        let done = import.aim(Entrance::Esb, &front.url()).ends(8);
        assert!(done.stderr.contains(says), "no {says:?} in {}", done.stderr);
    }
    assert_eq!(server.all_calls(), 0);
}

#[test]
fn insecure_trusts_any_certificate_and_says_so() {
    let (server, authority) = (Server::esb(), Authority::new("ours"));
    let config = authority.certify("cmdb.example.com", |_| {});
    let front = Front::tls(&server, config);
    let work = Workdir::new();
    work.write("in.csv", links(3));
    let done = work.bkassoc("import in.csv --insecure").aim(Entrance::Esb, &front.url()).ends(0);
    assert!(done.stderr.contains("--insecure"), "{}", done.stderr);
}

#[test]
fn a_port_that_speaks_no_tls_ends_it_with_8() {
    let server = Server::esb();
    let url = format!("https://{}", server.address);
    ends_before_it_begins(&url, "", &server, 8, &["does not speak TLS", "the scheme"]);
}

#[test]
fn a_file_without_authorities_is_refused_by_name() {
    let server = Server::esb();
    for (file, says) in [("in.csv", "no certificate"), ("none.pem", "No such file")] {
        let flags = format!("--ca-cert {file}");
        let says = [&*flags, says];
        ends_before_it_begins("https://127.0.0.1:1", &flags, &server, 8, &says);
    }
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_never_ends_proves_that_nothing_was_sent() {
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let endpoint = format!("https://{}", silent.local_addr().unwrap());
    let target = Target::new(Entrance::Esb, &endpoint, "0").unwrap();
    let app_secret = Some(Secret::new("xxx-secret"));
    let identity = Identity {
        app_code: Some("app".to_owned()),
        app_secret,
        username: Some("admin".to_owned()),
        token: None,
    };
    let client = HttpClient::new(&target, &identity, &HttpOptions::default()).unwrap();
    let reply = client.call(Request::Models(vec!["a_run_b".into()])).await;
    assert!(matches!(&reply, Reply::NotSent(reason) if reason.contains("timed out")), "{reply:?}");
}

#[test]
fn a_connection_that_is_cut_in_the_handshake_ends_it_with_6() {
    let server = Server::esb();
    let front = Front::new(&server, Opening::Closed);
    ends_before_it_begins(&front.url(), "", &server, 6, &["no answer ever came from"]);
    assert!(front.connections() > 1, "it was tried again");
}

#[test]
fn a_proxy_is_tunnelled_through() {
    let (server, authority) = (Server::esb(), Authority::new("ours"));
    let config = Arc::new(authority.certify("cmdb.example.com", |_| {}));
    let proxy = Front::new(&server, Opening::Tunnel(config));
    let work = Workdir::new();
    work.write("ca.pem", &authority.pem).write("in.csv", links(20));
    let import = format!("import in.csv --ca-cert ca.pem --proxy http://{}", proxy.address);
    work.bkassoc(&import).aim(Entrance::Esb, "https://cmdb.example.com").ends(0);
    assert_eq!(server.calls(Endpoint::Create), 20);
}

#[test]
fn a_proxys_user_opens_the_tunnel_and_reaches_nobody_behind_it() {
    let authority = Authority::new("ours");
    let certify = |name: &str| Arc::new(authority.certify(name, |_| {}));
    for in_tls in [false, true] {
        let (server, inner) = (Server::esb(), certify("cmdb.example.com"));
        let (scheme, opening) = if in_tls {
            ("https", Opening::TunnelInTls(certify("127.0.0.1"), inner))
        } else {
            ("http", Opening::Tunnel(inner))
        };
        let proxy = Front::new(&server, opening);
        let work = Workdir::new();
        work.write("ca.pem", &authority.pem).write("in.csv", links(3));
        for (user, sent) in [("u:p%2Fw", "Basic dTpwL3c="), ("tok%2Fen", "Basic dG9rL2VuOg==")] {
            let url = format!("{scheme}://{user}@{}", proxy.address);
            let import = format!("import in.csv --fresh --yes --ca-cert ca.pem --proxy {url}");
            work.bkassoc(&import).aim(Entrance::Esb, "https://cmdb.example.com").ends(0);
            let asked = std::mem::take(&mut *proxy.asked.lock().unwrap());
            let has = |wanted: &str| asked.iter().any(|line| line.eq_ignore_ascii_case(wanted));
            assert!(has("CONNECT cmdb.example.com:443 HTTP/1.1"), "{asked:?}");
            assert!(has(&format!("Proxy-Authorization: {sent}")), "{asked:?}");
        }
    }
}
