//! What an earlier process or parent run left to do for a row.
