//! The runtime that a command's calls are made on: one thread.

use super::failure::Failure;
use crate::exit::Exit;

/// A new one.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Bug, format!("no runtime: {error}")))
}
