//! What cells were found to mean, kept while it may be needed again, within a bound.
//!
//! Two generations: what is used moves into the younger one; when that is full, the older one is
//! forgotten. Rows that wait hold what they wait for by themselves. Knows nothing of models or calls.

use std::borrow::Borrow;
use std::cell::{Cell, OnceCell};
use std::hash::{Hash, Hasher};
use std::rc::Rc;

use rustc_hash::FxHashSet;

use crate::association::InstId;

/// A generation is full with this many bytes: about 100,000 names.
const GENERATION: usize = 12 << 20;
/// What a name takes beside its text, about.
const OVERHEAD: usize = 96;

/// A cell of a model.
#[derive(Debug)]
pub(super) struct Asked {
    /// As it stands in the input.
    pub(super) text: Box<str>,
    /// What it means, once that is known.
    pub(super) meaning: OnceCell<Meaning>,
    /// Whether a row told of it.
    pub(super) is_counted: Cell<bool>,
}

/// What a cell means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// This instance.
    One(InstId),
    /// No instance, or none that can be told: reading the cell again says why.
    None,
    /// Several instances.
    Several(Box<Several>),
    /// The server has no call that could tell.
    NoCall,
    /// The server refuses the question, in these words.
    Refused(Box<str>),
}

/// Instances that a cell fits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Several {
    /// The first, ascending.
    pub(super) first: Vec<InstId>,
    /// How many.
    pub(super) count: usize,
    /// Whether there are more.
    pub(super) at_least: bool,
}

impl Asked {
    pub(super) fn new(text: &str) -> Rc<Self> {
        Rc::new(Self { text: text.into(), meaning: OnceCell::new(), is_counted: Cell::new(false) })
    }

    /// Takes note of what it means. What is known stays.
    pub(super) fn means(&self, meaning: Meaning) {
        let _ = self.meaning.set(meaning);
    }
}

/// What was asked, by its text.
#[derive(Debug)]
struct ByText(Rc<Asked>);

impl Borrow<str> for ByText {
    fn borrow(&self) -> &str {
        &self.0.text
    }
}

impl Hash for ByText {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.text.hash(state);
    }
}

impl PartialEq for ByText {
    fn eq(&self, other: &Self) -> bool {
        self.0.text == other.0.text
    }
}

impl Eq for ByText {}

/// The cells of one model.
#[derive(Debug, Default)]
pub(super) struct Cache {
    young: FxHashSet<ByText>,
    old: FxHashSet<ByText>,
}

/// The bound of all models' caches together.
#[derive(Debug)]
pub(super) struct Room {
    bytes: usize,
    most: usize,
}

impl Default for Room {
    fn default() -> Self {
        Self { bytes: 0, most: GENERATION }
    }
}

impl Room {
    /// Whether the young generation is full; then each cache has to grow old.
    pub(super) fn is_full(&mut self) -> bool {
        let is_full = self.bytes >= self.most;
        if is_full {
            self.bytes = 0;
        }
        is_full
    }
}

impl Cache {
    /// What was asked with this text, if that is still known.
    pub(super) fn get(&mut self, text: &str, room: &mut Room) -> Option<Rc<Asked>> {
        if let Some(ByText(asked)) = self.young.get(text) {
            return Some(Rc::clone(asked));
        }
        let ByText(asked) = self.old.take(text)?;
        self.insert(&asked, room);
        Some(asked)
    }

    /// Keeps what is asked.
    pub(super) fn insert(&mut self, asked: &Rc<Asked>, room: &mut Room) {
        room.bytes += asked.text.len() + OVERHEAD;
        self.young.insert(ByText(Rc::clone(asked)));
    }

    /// The young generation is old from now on.
    pub(super) fn grow_old(&mut self) {
        self.old = std::mem::take(&mut self.young);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_what_is_not_is_forgotten() {
        let mut room = Room { bytes: 0, most: 10 * (OVERHEAD + 2) };
        let mut cache = Cache::default();
        let mut most = 0;
        for round in 0..100 {
            let text = format!("{round:02}");
            cache.insert(&Asked::new(&text), &mut room);
            assert!(cache.get("00", &mut room).is_some(), "{round}");
            if room.is_full() {
                cache.grow_old();
            }
            most = most.max(cache.young.len() + cache.old.len());
        }
        assert!(cache.get("50", &mut room).is_none());
        assert!(cache.get("99", &mut room).is_some());
        assert!((10..=20).contains(&most), "{most}");
    }
}
