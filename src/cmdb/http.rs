//! The HTTP client: the only file that knows reqwest.
