//! What is known before the first write: which instances names mean.
//!
//! Owns the way from a cell to an id. The engine knows nothing of it: what comes out has ids.

pub(crate) mod headway;
pub(crate) mod properties;
pub(crate) mod name;
pub(crate) mod condition;
pub(crate) mod question;
pub(crate) mod cache;
pub(crate) mod search;
pub(crate) mod businesses;
pub(crate) mod model;
pub(crate) mod resolver;
pub(crate) mod listing;
pub(crate) mod existence;
pub(crate) mod understood;
pub(crate) mod planner;

pub(crate) mod desired;
pub(crate) mod moves;
pub(crate) mod exchanges;
pub(crate) mod comparison;
pub(crate) mod contradictions;
pub(crate) mod withheld;
pub(crate) mod gathered;
pub(crate) mod previous;
pub(crate) mod surveyed;
pub(crate) mod surveyor;
pub(crate) mod guards;
