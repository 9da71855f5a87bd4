//! The runtime that a command's calls are made on: one thread.

use crate::exit::{Exit, Halt};

/// A new one.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Halt> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Halt::new(Exit::Bug, format!("no runtime: {error}")))
}
