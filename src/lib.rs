//! Bulk import of instance associations into BlueKing CMDB: every row in is exactly one true line
//! out, whatever fails. `docs/design.md` says how. The modules stand in the order in which they build
//! on each other: each imports only from those above it, and so do the modules within each.

pub(crate) mod exit;
pub(crate) mod version;
pub(crate) mod clock;
pub mod association;
pub mod target;
pub mod outcome;
pub mod options;
pub(crate) mod gzip;
pub mod cmdb;
pub mod sandbox;
pub mod input;
pub mod storage;
pub mod engine;
pub(crate) mod plan;
pub(crate) mod report;
pub(crate) mod check;
pub mod verify;
pub mod cli;
pub mod config;
pub(crate) mod session;
pub mod commands;
