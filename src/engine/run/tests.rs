//! Whole runs in virtual time.

mod collisions;
mod disk;
mod doubts;
mod matrix;
mod weather;
mod world;
