//! What a run keeps on disk: its journal while it is under way, its results and `run.json` afterwards,
//! and what stands at a results path.
//!
//! Knows nothing of calls, of pace or of how a run is made.

pub mod sort;
pub mod manifest;
pub mod journal;
pub mod path_state;
pub mod results;
