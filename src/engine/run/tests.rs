//! Whole runs in virtual time.

mod collisions;
mod deletes;
mod disk;
mod doubts;
mod ledger;
mod matrix;
mod weather;
mod world;
