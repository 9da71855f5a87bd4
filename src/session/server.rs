//! The server that a command calls: behind HTTP, or a sandbox in this process.

use crate::cmdb::Cmdb;
use crate::cmdb::http::{HttpClient, HttpOptions};
use crate::cmdb::wire::{Reply, Request, RequestId};
use crate::config::Connection;
use crate::exit::{Exit, Halt};
use crate::sandbox::models::Models;
use crate::sandbox::{Sandbox, Setup};
use crate::target::Target;

/// Where a command's calls go.
pub(crate) enum Server {
    Near(Sandbox),
    Far(Box<HttpClient>),
}

impl Server {
    /// The server of a connection. Opens none: nothing is sent.
    pub(crate) fn of(connection: &Connection, concurrency: usize) -> Result<Self, Halt> {
        let Connection { target, identity, http, .. } = connection;
        if target.endpoint == Target::SANDBOX {
            let mut setup = Setup::new(Models::sample());
            setup.entrance = target.entrance;
            setup.language = http.language;
            let sandbox = Sandbox::new(setup);
            return Ok(Self::Near(
                sandbox.map_err(|error| Halt::new(Exit::Bug, error.to_string()))?,
            ));
        }
        let options = HttpOptions { concurrency, ..http.clone() };
        Ok(Self::Far(Box::new(HttpClient::new(target, identity, &options)?)))
    }
}

impl Cmdb for Server {
    async fn call(&self, request: Request) -> Reply {
        self.call_as(request, None).await
    }

    async fn call_as(&self, request: Request, id: Option<RequestId>) -> Reply {
        match self {
            // On the heap: its state is larger than that of a call over HTTP, and would be its.
            Self::Near(sandbox) => Box::pin(sandbox.call_as(request, id)).await,
            Self::Far(client) => client.call_as(request, id).await,
        }
    }
}
