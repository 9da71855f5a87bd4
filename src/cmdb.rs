//! What a CMDB is to the rest of the tool: something that takes a request and gives a reply.
//!
//! Two implementors: [`http`], the client, and the sandbox's store (and the commands' choice between
//! the two). Nothing here decides anything.

pub mod http;

use std::future::Future;

use crate::wire::{Reply, Request};

/// A CMDB, near or far.
pub trait Cmdb {
    /// Makes one call. Dropping the future abandons the call, which may be executed all the same.
    fn call(&self, request: Request) -> impl Future<Output = Reply>;
}
