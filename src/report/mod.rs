//! What a person sees of a run: progress while it is under way, logs, and the summary at its end.
//!
//! Makes texts from counts. Decides nothing.

pub(crate) mod controls;
pub(crate) mod look;
pub(crate) mod width;
pub(crate) mod screen;
pub(crate) mod words;
pub(crate) mod names;
pub(crate) mod abilities;
pub(crate) mod summary;
pub(crate) mod plan;
pub(crate) mod progress;
pub(crate) mod metrics;
pub(crate) mod sampler;
pub(crate) mod advice;
pub(crate) mod page;
pub(crate) mod log;
