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
pub mod look_up_size;
pub mod circuit_breaker;
pub mod stats;
pub mod preflight;
pub mod settle;
pub mod delete_task;
pub mod run;
