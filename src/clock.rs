//! The wall clock: what a run writes down of when things happened.
//!
//! The only home of jiff. Knows nothing of how long anything takes: that is tokio's clock, which tests
//! can move.

/// Now, RFC 3339: local time with its offset.
pub fn now() -> String {
    jiff::ZonedDateTime::now().strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
}

/// Now, in milliseconds since 1970, UTC.
pub fn millis() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}
