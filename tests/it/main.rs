//! The integration tests: one binary, a module for each promise.

mod wire;
