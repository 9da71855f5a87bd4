//! A CMDB as the rest of the tool sees it: it takes a request and gives a reply; and what its replies
//! mean.
//!
//! [`Cmdb`] has two implementors: [`http`], the client, and the sandbox (and the commands' choice
//! between the two). Knows nothing of rows, files or runs. `docs/cmdb-api.md` has what real servers do.

pub mod wire;
pub(crate) mod server_message;
pub mod verdict;
pub mod http;

use std::future::Future;

use wire::{Reply, Request, RequestId};

/// A CMDB, near or far.
pub trait Cmdb {
    /// Makes one call. Dropping the future abandons the call, which may be executed all the same.
    fn call(&self, request: Request) -> impl Future<Output = Reply>;

    /// The same under an id of the caller's, where the way to the CMDB carries one.
    fn call_as(&self, request: Request, id: Option<RequestId>) -> impl Future<Output = Reply> {
        let _ = id;
        self.call(request)
    }
}
