//! One command a file.

pub mod completions;
pub mod man;
