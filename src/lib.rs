//! Bulk import of instance associations into BlueKing CMDB: every row in is exactly one true line
//! out, whatever fails. `docs/design.md` says how. The modules stand in the order in which they build
//! on each other: each imports only from those above it.

pub mod association;
pub mod outcome;
pub mod target;
pub mod options;
pub mod exit;
pub mod wire;
pub mod told;
pub mod verdict;
pub mod cmdb;
pub mod digest;
pub mod input;
pub mod manifest;
pub mod journal;
pub mod plan;
pub mod feed;
pub mod models;
pub mod conflict;
pub mod pacer;
pub mod finds;
pub mod retry;
pub mod outage;
pub mod tally;
pub mod summary;
pub mod settle;
pub mod removal;
pub mod contact;
pub mod run;
pub mod site;
pub mod sort;
pub mod check;
pub mod results;
pub mod audit;
pub mod progress;
pub mod log;
pub mod sandbox;
pub mod cli;
pub mod config;
pub mod commands;
