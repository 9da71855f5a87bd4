//! What was understood of names, for each model: what a bare value stands for, and how many names were
//! found, are missing, fit several instances, or can't be told.
//!
//! Knows nothing of calls.

use crate::engine::stats::Place;

/// How many names of a kind are kept with their places.
pub(crate) const SHOWN: usize = 5;

/// What was understood so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Understood {
    /// Models in the order in which they were first named.
    pub(crate) models: Vec<UnderstoodModel>,
}

/// What was understood of one model's names. Each name counts once, unless it came again after so many
/// others that it was forgotten.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct UnderstoodModel {
    /// The model.
    pub(crate) model: String,
    /// The ids of the properties that a bare value stands for; empty where it stands for none.
    pub(crate) key: Vec<String>,
    /// Names of one instance.
    pub(crate) found: Names,
    /// Names of none.
    pub(crate) missing: Names,
    /// Names of several.
    pub(crate) ambiguous: Names,
    /// Names that can't be looked up.
    pub(crate) unresolvable: Names,
}

/// Names, and the first of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Names {
    /// How many.
    pub(crate) count: u64,
    /// The first, at most [`SHOWN`], in input order: where, and as a message shows it.
    pub(crate) first: Vec<(Place, String)>,
}

impl Names {
    pub(super) fn add(&mut self, place: Place, name: &str) {
        self.count += 1;
        if self.first.len() < SHOWN {
            self.first.push((place, name.to_owned()));
        }
    }
}
