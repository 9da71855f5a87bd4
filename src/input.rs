//! Reads rows from files and standard input.
