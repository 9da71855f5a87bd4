//! The files of a run: its journal while it is under way, its results and `run.json` afterwards, and
//! the state of a results path.
//!
//! Knows nothing of calls, pace or sessions.

pub(crate) mod links;
pub(crate) mod sort;
pub mod parent;
pub mod survey;
pub mod history;
pub mod abilities;
pub mod sharding;
pub mod manifest;
pub mod journal;
pub(crate) mod seals;
pub(crate) mod draft;
pub mod results;
pub mod plan;
pub(crate) mod path_state;
