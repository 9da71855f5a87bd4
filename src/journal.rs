//! The append-only file in which a run's outcomes are written first.
