//! How fast calls may go.
