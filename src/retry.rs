//! How long to wait before a call is made again, as pure data.
