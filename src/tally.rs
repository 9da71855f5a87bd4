//! Counts of a run: what display and summary show.
