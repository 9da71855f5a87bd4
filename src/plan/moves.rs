//! Deletes that make room for a create: a partner goes only where the instances of the new one exist.
//!
//! Owns which creates can't be carried out, and on which sides deletes must not make room for them. Knows
//! nothing of how it is found out whether an instance exists.

use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::association::Mapping;
use crate::engine::stats::Place;

/// Rows that can't be created are known to that many; beyond, nothing makes room for anything.
pub(super) const MOST: usize = 300_000;

/// A side of an association.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Side {
    /// `inst_id`
    Source,
    /// `asst_inst_id`
    Target,
}

impl Side {
    /// The sides of which a rule allows just one.
    pub(super) const fn bound_by(mapping: Mapping) -> &'static [Self] {
        match mapping {
            Mapping::OneToOne => &[Self::Source, Self::Target],
            Mapping::OneToMany => &[Self::Target],
            Mapping::ManyToMany => &[],
        }
    }

    /// The instance on it.
    pub(super) const fn of(self, (source, target): (u64, u64)) -> u64 {
        match self {
            Self::Source => source,
            Self::Target => target,
        }
    }
}

/// A row that can't be created, for which a delete would make room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Successor {
    /// It stands there.
    At(Place),
    /// There are too many to know them all.
    Unknown,
}

/// An instance on a side of the model association with this number.
pub(super) type Seat = (u32, Side, u64);

/// Rows that can't be created, as they come in.
#[derive(Debug, Default)]
pub(crate) struct LostRows {
    rows: Vec<Lost>,
    /// Model associations of those beyond [`MOST`].
    beyond: FxHashSet<Arc<str>>,
}

#[derive(Debug)]
struct Lost {
    name: Arc<str>,
    sides: [Option<u64>; 2],
    place: Place,
}

impl LostRows {
    /// Takes a row of the model association `name`, with source and target where they are known.
    pub(super) fn push(&mut self, name: Arc<str>, sides: [Option<u64>; 2], place: Place) {
        if self.rows.len() < MOST {
            self.rows.push(Lost { name, sides, place });
        } else {
            self.beyond.insert(name);
        }
    }
}

/// What is known of rows that can't be created.
#[derive(Debug, Default)]
pub(crate) struct Moves {
    /// The seats for which a row can't be created, and that row.
    lost: FxHashMap<Seat, Place>,
    /// Seats of model associations with too many such rows.
    too_many: FxHashSet<u32>,
}

impl Moves {
    /// What is known of these rows. `of` gives the number and the rule of a model association, where it can
    /// be used.
    pub(super) fn of_lost(
        rows: &LostRows,
        mut of: impl FnMut(&Arc<str>) -> Option<(u32, Mapping)>,
    ) -> Self {
        let mut this = Self::default();
        for Lost { name, sides, place } in &rows.rows {
            if let Some((number, mapping)) = of(name) {
                this.lose(number, mapping, *sides, *place);
            }
        }
        let beyond = rows.beyond.iter().filter_map(of);
        this.too_many.extend(beyond.map(|(number, _)| number));
        this
    }

    /// A row can't be created, of which these sides are known.
    pub(super) fn lose(
        &mut self,
        number: u32,
        mapping: Mapping,
        sides: [Option<u64>; 2],
        place: Place,
    ) {
        for side in Side::bound_by(mapping) {
            let [source, target] = sides;
            let id = match side {
                Side::Source => source,
                Side::Target => target,
            };
            if self.lost.len() >= MOST {
                self.too_many.insert(number);
            } else if let Some(id) = id {
                self.lost.entry((number, *side, id)).or_insert(place);
            }
        }
    }

    /// The seats of this model association for which a row can't be created.
    pub(super) fn lost_of(&self, number: u32) -> Vec<(Seat, Place)> {
        let own = self.lost.iter().filter(|(seat, _)| seat.0 == number);
        own.map(|(seat, place)| (*seat, *place)).collect()
    }

    /// A row can't be created for this seat.
    pub(super) fn lose_seat(&mut self, seat: Seat, place: Place) {
        self.lost.entry(seat).or_insert(place);
    }

    /// Nobody knows for what a delete of this model association would make room.
    pub(super) fn give_up(&mut self, number: u32) {
        self.too_many.insert(number);
    }

    /// For which row this association would make room that can't be created.
    pub(super) fn is_for(
        &self,
        number: u32,
        mapping: Mapping,
        [source, target]: [u64; 2],
    ) -> Option<Successor> {
        let seats = Side::bound_by(mapping).iter().map(|side| match side {
            Side::Source => (number, *side, source),
            Side::Target => (number, *side, target),
        });
        let lost = seats.into_iter().find_map(|seat| self.lost.get(&seat));
        let is_any = mapping != Mapping::ManyToMany && self.too_many.contains(&number);
        lost.map(|place| Successor::At(*place)).or(is_any.then_some(Successor::Unknown))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delete_makes_room_on_the_sides_that_its_rule_binds() {
        let place = Place { file: 0, line: 7 };
        for (mapping, by_source, by_target) in [
            (Mapping::OneToOne, Some(Successor::At(place)), Some(Successor::At(place))),
            (Mapping::OneToMany, None, Some(Successor::At(place))),
            (Mapping::ManyToMany, None, None),
        ] {
            let mut moves = Moves::default();
            moves.lose(3, mapping, [Some(1), Some(2)], place);
            assert_eq!(moves.is_for(3, mapping, [1, 9]), by_source, "{mapping:?}");
            assert_eq!(moves.is_for(3, mapping, [9, 2]), by_target, "{mapping:?}");
            assert_eq!(moves.is_for(4, mapping, [1, 2]), None, "of another model association");
            assert_eq!(moves.is_for(3, mapping, [2, 1]), None);
        }
    }

    #[test]
    fn where_too_many_rows_can_not_be_created_nothing_makes_room() {
        let mut moves = Moves::default();
        let place = Place { file: 0, line: 2 };
        for id in 0..=MOST as u64 {
            moves.lose(1, Mapping::OneToMany, [None, Some(id)], place);
        }
        assert_eq!(moves.is_for(1, Mapping::OneToMany, [0, u64::MAX]), Some(Successor::Unknown));
        assert_eq!(moves.is_for(2, Mapping::OneToMany, [0, u64::MAX]), None);
    }
}
