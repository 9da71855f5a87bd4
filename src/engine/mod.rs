//! The engine: rows come in with ids, calls go out at the pace that the server bears, outcomes are
//! written down.
//!
//! Knows nothing of files' formats, of HTTP, or of what a person sees.

pub(crate) mod remaining;
pub(crate) mod row_queue;
pub(crate) mod models;
pub(crate) mod conflicts;
pub(crate) mod retry;
pub mod pacer;
pub(crate) mod call_size;
pub(crate) mod batches;
pub(crate) mod deletes;
pub(crate) mod circuit_breaker;
pub(crate) mod abilities;
pub(crate) mod stats;
pub(crate) mod traces;
pub(crate) mod server_health;
pub(crate) mod time_limits;
pub(crate) mod request_ids;
pub(crate) mod caller;
pub(crate) mod in_flight;
pub(crate) mod asker;
pub(crate) mod preflight;
pub(crate) mod probes;
pub(crate) mod permission;
pub(crate) mod task;
pub(crate) mod active_rows;
pub(crate) mod recorder;
pub(crate) mod intake;
pub(crate) mod run;
