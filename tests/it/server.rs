//! A sandbox behind HTTP in the test's own process, so that a test sees its store and its calls.

use std::net::{Ipv4Addr, SocketAddr};
use std::thread::{self, JoinHandle};

use bkassoc::sandbox::models::Models;
use bkassoc::sandbox::{Endpoint, Sandbox, Setup, server};
use bkassoc::target::Entrance;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::workdir::Row;

/// A server on a free port of loopback; it ends with its connections when dropped.
pub struct Server {
    pub sandbox: Sandbox,
    pub entrance: Entrance,
    pub address: SocketAddr,
    running: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Server {
    /// The sample's world behind this entrance.
    pub fn new(entrance: Entrance) -> Self {
        Self::with(entrance, |_| {})
    }

    /// An ESB.
    pub fn esb() -> Self {
        Self::new(Entrance::Esb)
    }

    /// An ESB with a changed set-up.
    pub fn with(entrance: Entrance, change: impl FnOnce(&mut Setup)) -> Self {
        let mut setup = Setup::new(Models::sample());
        setup.entrance = entrance;
        change(&mut setup);
        let mut server = Self {
            sandbox: Sandbox::new(setup).unwrap(),
            entrance,
            address: (Ipv4Addr::LOCALHOST, 0).into(),
            running: None,
        };
        server.start();
        server
    }

    /// The same CMDB behind another entrance.
    pub fn beside(&self, entrance: Entrance) -> Self {
        let (sandbox, address) = (self.sandbox.clone(), (Ipv4Addr::LOCALHOST, 0).into());
        let mut server = Self { sandbox, entrance, address, running: None };
        server.start();
        server
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn calls(&self, endpoint: Endpoint) -> u64 {
        self.sandbox.calls(endpoint)
    }

    pub fn all_calls(&self) -> u64 {
        Endpoint::ALL.into_iter().map(|endpoint| self.calls(endpoint)).sum()
    }

    /// Stops, and closes all connections whatever is under way. The store stays.
    pub fn stop(&mut self) {
        if let Some((stop, thread)) = self.running.take() {
            let _ = stop.send(());
            thread.join().unwrap();
        }
    }

    /// Starts (again) at its address.
    pub fn start(&mut self) {
        let (stop, stopped) = oneshot::channel();
        let (bound, address) = std::sync::mpsc::channel();
        let (sandbox, entrance, at) = (self.sandbox.clone(), self.entrance, self.address);
        let serving = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let listener = TcpListener::bind(at).await.unwrap();
                bound.send(listener.local_addr().unwrap()).unwrap();
                tokio::select! {
                    served = server::serve(listener, sandbox, entrance, std::future::pending()) => served.unwrap(),
                    _ = stopped => {}
                }
            });
        });
        self.address = address.recv().unwrap();
        self.running = Some((stop, serving));
    }

    /// How many associations are stored.
    pub fn stored(&self) -> usize {
        self.sandbox.rows().len()
    }

    /// Checks that the id of each row that ended well is stored with the row's triple.
    #[track_caller]
    pub fn assert_stored(&self, results: &[Row]) {
        let stored = self.sandbox.rows();
        for row in results.iter().filter(|row| !row["association_id"].is_empty()) {
            let id: i64 = row["association_id"].parse().unwrap();
            let found = stored.binary_search_by_key(&id, |stored| stored.id);
            let found = &stored[found.unwrap_or_else(|_| panic!("{id} is not stored: {row:?}"))];
            let triple = (&*found.obj_asst_id, found.source.to_string(), found.target.to_string());
            let own =
                (row["obj_asst_id"].as_str(), row["inst_id"].trim(), row["asst_inst_id"].trim());
            assert_eq!((triple.0, triple.1.as_str(), triple.2.as_str()), own, "id {id}");
        }
    }

    /// Checks that no association is stored twice.
    #[track_caller]
    pub fn assert_none_twice(&self) {
        let mut triples: Vec<_> = (self.sandbox.rows().into_iter())
            .map(|row| (row.obj_asst_id, row.source, row.target))
            .collect();
        let all = triples.len();
        triples.sort();
        triples.dedup();
        assert_eq!(triples.len(), all, "some association is stored twice");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}
