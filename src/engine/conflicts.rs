//! Which rows may be under way together.
//!
//! The server's own check of its 1:1 and 1:n rules is racy: a real one stored 19 rows where one is
//! allowed (docs/cmdb-api.md#mapping-rules). So two rows that could break a rule, and two rows of the same triple,
//! are never under way together. Owns the keys and the queues behind them; knows nothing of calls.
//!
//! Rows enter in input order. A row stands in one queue for each of its keys and may go when it is
//! first in all of them: first come, first served per key, no deadlock, since every queue has the
//! order of entering.

use rustc_hash::FxHashMap;

use crate::association::{Association, InstId, Mapping};

/// A row's place among those that are not settled; the caller's number, reused after it left.
pub type Slot = usize;

/// What two rows collide on. The `u32` numbers the model association.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    Pair(u32, InstId, InstId),
    Source(u32, InstId),
    Target(u32, InstId),
}

fn keys(model: u32, mapping: Mapping, association: &Association) -> [Option<Key>; 2] {
    let source = Key::Source(model, association.inst_id);
    let target = Key::Target(model, association.asst_inst_id);
    match mapping {
        Mapping::OneToOne => [Some(source), Some(target)],
        Mapping::OneToMany => [Some(target), None],
        Mapping::ManyToMany => {
            [Some(Key::Pair(model, association.inst_id, association.asst_inst_id)), None]
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Place {
    key: Option<Key>,
    /// Who comes after this row in the key's queue.
    next: Option<Slot>,
}

#[derive(Clone, Debug, Default)]
struct Standing {
    places: [Place; 2],
    /// In how many queues another row is before this one.
    behind: u8,
}

/// The queues of all rows that are not settled.
#[derive(Debug, Default)]
pub struct Conflicts {
    /// The last row of each key's queue.
    last: FxHashMap<Key, Slot>,
    standing: Vec<Standing>,
}

impl Conflicts {
    /// A row takes its places. True where it may go at once.
    pub fn enter(&mut self, slot: Slot, model: u32, mapping: Mapping, row: &Association) -> bool {
        if self.standing.len() <= slot {
            self.standing.resize_with(slot + 1, Standing::default);
        }
        let mut standing = Standing::default();
        for (side, key) in keys(model, mapping, row).into_iter().enumerate() {
            let Some(key) = key else { continue };
            standing.places[side] = Place { key: Some(key), next: None };
            if let Some(before) = self.last.insert(key, slot) {
                standing.behind += 1;
                let places = &mut self.standing[before].places;
                let place = places.iter_mut().find(|place| place.key == Some(key));
                place.expect("the last of a queue stands in it").next = Some(slot);
            }
        }
        let free = standing.behind == 0;
        self.standing[slot] = standing;
        free
    }

    /// Whether others stand behind a row in one of its queues.
    pub fn is_before_others(&self, slot: Slot) -> bool {
        self.standing[slot].places.iter().any(|place| place.next.is_some())
    }

    /// A settled row leaves its places; `freed` is told who may go now.
    pub fn leave(&mut self, slot: Slot, mut freed: impl FnMut(Slot)) {
        for Place { key, next } in std::mem::take(&mut self.standing[slot]).places {
            let Some(key) = key else { continue };
            match next {
                Some(next) => {
                    let standing = &mut self.standing[next];
                    standing.behind -= 1;
                    if standing.behind == 0 {
                        freed(next);
                    }
                }
                None => {
                    self.last.remove(&key);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pair(source: u64, target: u64) -> Association {
        Association {
            obj_asst_id: "a".into(),
            inst_id: InstId::new(source).unwrap(),
            asst_inst_id: InstId::new(target).unwrap(),
        }
    }

    fn collide(mapping: Mapping, a: (u64, u64), b: (u64, u64)) -> bool {
        match mapping {
            Mapping::OneToOne => a.0 == b.0 || a.1 == b.1,
            Mapping::OneToMany => a.1 == b.1,
            Mapping::ManyToMany => a == b,
        }
    }

    proptest! {
        /// Against the plain definition: a row may go when no earlier row that collides is there.
        #[test]
        fn a_row_may_go_just_when_no_earlier_colliding_row_is_left(
            rows in prop::collection::vec((1..5u64, 1..5u64), 1..40),
            mapping in prop_oneof![
                Just(Mapping::OneToOne), Just(Mapping::OneToMany), Just(Mapping::ManyToMany)
            ],
            picks in prop::collection::vec(any::<prop::sample::Index>(), 40),
        ) {
            let mut conflicts = Conflicts::default();
            let mut free = Vec::new();
            for (slot, &(s, t)) in rows.iter().enumerate() {
                if conflicts.enter(slot, 0, mapping, &pair(s, t)) {
                    free.push(slot);
                }
            }
            let mut left: Vec<Slot> = (0..rows.len()).collect();
            for pick in picks.iter().take(rows.len()) {
                let expected: Vec<Slot> = left
                    .iter()
                    .copied()
                    .filter(|&r| !left.iter().any(|&e| e < r && collide(mapping, rows[e], rows[r])))
                    .collect();
                free.sort_unstable();
                prop_assert_eq!(&free, &expected);
                let slot = free.remove(pick.index(free.len()));
                left.retain(|&r| r != slot);
                conflicts.leave(slot, |next| free.push(next));
            }
            prop_assert!(conflicts.last.is_empty());
        }
    }
}
