//! The integration tests: one binary, a module for each promise. The built program is tested
//! from outside; [`workdir`], [`server`], [`raw`] and [`browser`] make a test a few lines long.

#![allow(clippy::unwrap_used, unreachable_pub, reason = "all of it is test")]

mod browser;
mod raw;
mod server;
mod workdir;

mod abilities;
mod actions;
mod architecture;
mod check;
mod display;
mod docs;
mod earlier_version;
mod every_row;
mod faults;
mod first_command;
mod going_on;
mod hostile;
mod inputs;
mod metrics;
mod names;
mod pace;
mod packages;
mod report;
mod sandbox;
mod secrets;
mod shards;
mod sites;
mod stops;
mod sync;
mod tls;
mod undo;
mod unfinished;
mod verify;
mod wire;
