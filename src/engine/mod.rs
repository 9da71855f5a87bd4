//! The engine: rows come in with ids, calls go out at the pace that the server bears, outcomes are
//! written down.
//!
//! Knows nothing of files' formats, of HTTP, or of what a person sees.

pub mod remaining;
pub mod row_queue;
pub mod models;
pub mod conflicts;
pub mod retry;
pub mod pacer;
pub mod call_size;
pub mod batches;
pub mod circuit_breaker;
pub mod stats;
pub mod server_health;
pub mod time_limits;
pub mod request_ids;
pub mod caller;
pub mod in_flight;
pub mod asker;
pub mod preflight;
pub mod permission;
pub mod task;
pub mod active_rows;
pub mod recorder;
pub mod intake;
pub mod run;
