//! From journal to results, in input order.
