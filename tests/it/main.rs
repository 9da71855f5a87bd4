//! The integration tests: one binary, a module for each promise.

#![allow(clippy::unwrap_used, unreachable_pub, reason = "all of it is test")]

mod check;
mod docs;
mod unfinished;
mod verify;
mod wire;
