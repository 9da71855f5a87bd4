//! Whole runs in virtual time.

mod collisions;
mod disk;
mod matrix;
mod weather;
mod world;
