//! What it means: flags, environment, profile.
