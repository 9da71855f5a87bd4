//! The files of a run: its journal while it is under way, its results and `run.json` afterwards, and
//! the state of a results path.
//!
//! Knows nothing of calls, pace or sessions.

pub mod links;
pub mod sort;
pub mod manifest;
pub mod journal;
pub mod path_state;
pub mod seals;
pub mod results;
