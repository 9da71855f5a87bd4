//! How far the making of a plan has come, for a display.
//!
//! Counts alone: who makes the plan adds to them, and who shows it looks now and then.

use std::cell::{Cell, RefCell};

/// What was done so far.
#[derive(Debug, Default)]
pub(crate) struct Headway {
    /// Rows read.
    pub(crate) rows: Cell<u64>,
    /// About how many rows there will be.
    pub(crate) expected: Cell<Option<u64>>,
    /// Different names that the rows have, as far as they are read.
    pub(crate) names: Cell<u64>,
    /// How many of them are answered.
    pub(crate) answered: Cell<u64>,
    /// What is listed, once it is.
    pub(crate) listed: RefCell<Option<Listed>>,
}

/// A model association that is listed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listed {
    /// Which.
    pub(crate) name: String,
    /// Which one of how many, from 1.
    pub(crate) number: usize,
    /// How many there are to list.
    pub(crate) of: usize,
    /// How many associations it has so far.
    pub(crate) associations: u64,
}

impl Headway {
    /// Another row was read.
    pub(super) fn read(&self) {
        self.rows.update(|rows| rows + 1);
    }

    /// Another name has to be asked for.
    pub(super) fn met(&self) {
        self.names.update(|names| names + 1);
    }

    /// So many names are answered.
    pub(super) fn answered(&self, names: usize) {
        self.answered.update(|answered| answered + names as u64);
    }

    /// A model association is listed from now on.
    pub(super) fn lists(&self, name: &str, number: usize, of: usize) {
        *self.listed.borrow_mut() =
            Some(Listed { name: name.to_owned(), number, of, associations: 0 });
    }

    /// Another association is there.
    pub(super) fn found(&self) {
        if let Some(listed) = &mut *self.listed.borrow_mut() {
            listed.associations += 1;
        }
    }
}
