//! The one loop with concurrency: admit, call, record, stop.
