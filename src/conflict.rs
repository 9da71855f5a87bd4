//! Which rows may be under way together.
