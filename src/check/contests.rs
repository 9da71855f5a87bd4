//! Rows in each other's way: repeats, and rows that their mapping does not allow beside an earlier one.
//!
//! Decides as an import would: in input order, first come, first served, and a row that loses takes
//! nothing. A row that deletes gives back what an earlier row of the same association has taken. Sorting on disk
//! brings together the rows that want the same. For n:n and 1:n that is enough: the first row of a group wins. For
//! 1:1 a row is in two groups, and whether it wins in one depends on the other. So groups are numbered, and one
//! pass in input order marks what is taken, with one bit for each group of more than one row. Only these bits grow
//! with the number of rows.

use std::hash::{Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};

use rustc_hash::FxHasher;
use serde::{Deserialize, Serialize};

use super::{from_bytes, to_bytes};
use crate::association::{Action, Association, Mapping};
use crate::engine::stats::Place;
use crate::storage::sort::{Sorted, Sorter};

/// What a row has in common with the earlier one in its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Relation {
    /// The same association.
    Repeat,
    /// Another with the same source, where there may be one.
    Source,
    /// Another with the same target, where there may be one.
    Target,
}

/// A row's clash with an earlier one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Clash {
    pub(super) relation: Relation,
    /// The row in its way, which is sent before it and wins.
    pub(super) earlier: Place,
    /// The source and the target of that one.
    pub(super) source: u64,
    pub(super) target: u64,
}

impl Clash {
    fn of(prize: Prize, row: &Contestant, holder: &Contestant) -> Self {
        let relation = match prize {
            _ if Prize::Pair.is_shared(holder, row) => Relation::Repeat,
            Prize::Pair | Prize::Source => Relation::Source,
            Prize::Target => Relation::Target,
        };
        let Contestant { place, source, target, .. } = *holder;
        Self { relation, earlier: place, source, target }
    }
}

/// The part of an association of which there may be only one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum Prize {
    Pair,
    Source,
    Target,
}

impl Prize {
    /// The key that sorts rows together that may want the same.
    fn key(self, row: &Contestant) -> u64 {
        let mut hasher = FxHasher::default();
        (self, &row.name).hash(&mut hasher);
        match self {
            Self::Pair => (row.source, row.target).hash(&mut hasher),
            Self::Source => row.source.hash(&mut hasher),
            Self::Target => row.target.hash(&mut hasher),
        }
        hasher.finish()
    }

    /// Whether two rows want the same.
    fn is_shared(self, a: &Contestant, b: &Contestant) -> bool {
        a.name == b.name
            && match self {
                Self::Pair => a.source == b.source && a.target == b.target,
                Self::Source => a.source == b.source,
                Self::Target => a.target == b.target,
            }
    }
}

/// A row that would be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Contestant {
    ordinal: u64,
    place: Place,
    name: String,
    source: u64,
    target: u64,
    /// Whether it deletes.
    deletes: bool,
}

/// A contestant on disk.
type Packed = (u64, u32, u64, String, u64, u64, bool);

impl Contestant {
    fn packed(&self) -> (u64, u32, u64, &str, u64, u64, bool) {
        let Place { file, line } = self.place;
        (self.ordinal, file, line, &self.name, self.source, self.target, self.deletes)
    }

    fn unpacked((ordinal, file, line, name, source, target, deletes): Packed) -> Self {
        Self { ordinal, place: Place { file, line }, name, source, target, deletes }
    }
}

/// The rows that would be sent, as they come in.
#[derive(Debug)]
pub(super) struct Contests {
    folder: PathBuf,
    /// Each row, with the prize that decides about it.
    decided: Sorter,
    /// Rows of 1:1, by source.
    one_to_one: Sorter,
}

impl Contests {
    pub(super) fn new(folder: &Path) -> io::Result<Self> {
        let folder = folder.to_owned();
        let (decided, one_to_one) = (Sorter::new(&folder)?, Sorter::new(&folder)?);
        Ok(Self { folder, decided, one_to_one })
    }

    /// Takes the next row in input order. Without a mapping only its repeats are found.
    pub(super) fn enter(
        &mut self,
        ordinal: u64,
        place: Place,
        association: &Association,
        action: Action,
        mapping: Option<Mapping>,
    ) -> io::Result<()> {
        let row = Contestant {
            ordinal,
            place,
            name: association.obj_asst_id.to_string(),
            source: association.inst_id.get(),
            target: association.asst_inst_id.get(),
            deletes: action == Action::Delete,
        };
        match mapping {
            None | Some(Mapping::ManyToMany) => self.enter_for(Prize::Pair, &row),
            Some(Mapping::OneToMany) => self.enter_for(Prize::Target, &row),
            Some(Mapping::OneToOne) => {
                let bytes = to_bytes(&(NO_GROUPS, row.packed()))?;
                self.one_to_one.push(Prize::Source.key(&row), &bytes)
            }
        }
    }

    /// The first to enter for a prize has it, until its association is deleted.
    fn enter_for(&mut self, prize: Prize, row: &Contestant) -> io::Result<()> {
        self.decided.push(prize.key(row), &to_bytes(&(prize, row.packed()))?)
    }

    /// Gives the clashes, in input order.
    pub(super) fn decide(mut self) -> io::Result<Clashes> {
        self.decide_one_to_one()?;
        let mut found = Sorter::new(&self.folder)?;
        let mut holders: Vec<(Prize, Contestant)> = Vec::new();
        let mut key_before = None;
        for item in self.decided.sorted()? {
            let (key, bytes) = item?;
            let (prize, packed): (Prize, Packed) = from_bytes(&bytes)?;
            let row = Contestant::unpacked(packed);
            // Rows with one key are of one group, but for the rare keys that are equal by chance.
            if key_before.replace(key) != Some(key) {
                holders.clear();
            }
            let same =
                |(of, holder): &&(Prize, Contestant)| *of == prize && prize.is_shared(holder, &row);
            match holders.iter().find(same) {
                None if row.deletes => {}
                None => holders.push((prize, row)),
                Some((_, holder)) if row.deletes => {
                    if Prize::Pair.is_shared(holder, &row) {
                        holders.retain(|held| !same(&held));
                    }
                }
                Some((_, holder)) => {
                    found.push(row.ordinal, &to_bytes(&Clash::of(prize, &row, holder))?)?;
                }
            }
        }
        Ok(Clashes(found.sorted()?))
    }

    /// Enters the rows of 1:1 for the prize that decides about them. Rows whose sides no other row has
    /// enter for nothing.
    fn decide_one_to_one(&mut self) -> io::Result<()> {
        let empty = Sorter::new(&self.folder)?;
        let by_source = std::mem::replace(&mut self.one_to_one, empty).sorted()?;
        let mut by_target = Sorter::new(&self.folder)?;
        let sources = number(by_source, Prize::Source, |groups, row| {
            by_target.push(Prize::Target.key(&row), &to_bytes(&(groups, row.packed()))?)
        })?;
        let mut by_pair = Sorter::new(&self.folder)?;
        let targets = number(by_target.sorted()?, Prize::Target, |groups, row| {
            match (groups.source, groups.target) {
                (ALONE, ALONE) => Ok(()),
                _ => by_pair.push(Prize::Pair.key(&row), &to_bytes(&(groups, row.packed()))?),
            }
        })?;
        let mut in_order = Sorter::new(&self.folder)?;
        let pairs = number(by_pair.sorted()?, Prize::Pair, |groups, row| {
            in_order.push(row.ordinal, &to_bytes(&(groups, row.packed()))?)
        })?;
        let mut taken = [sources, targets, pairs].map(Bits::new);
        for item in in_order.sorted()? {
            let (groups, packed): (Groups, Packed) = from_bytes(&item?.1)?;
            let row = Contestant::unpacked(packed);
            let Groups { source, target, pair } = groups;
            let [sources, targets, pairs] = &mut taken;
            if row.deletes {
                if !pairs.get(pair) {
                    continue;
                }
            } else if sources.get(source) {
                self.enter_for(Prize::Source, &row)?;
                continue;
            } else if targets.get(target) {
                self.enter_for(Prize::Target, &row)?;
                continue;
            }
            // A group of one row is in nobody's way.
            let is_taken = !row.deletes;
            if pair != ALONE {
                pairs.set(pair, is_taken);
            }
            if source != ALONE {
                sources.set(source, is_taken);
                self.enter_for(Prize::Source, &row)?;
            }
            if target != ALONE {
                targets.set(target, is_taken);
                self.enter_for(Prize::Target, &row)?;
            }
        }
        Ok(())
    }
}

/// The number of all groups of a single row.
const ALONE: u64 = 0;

/// The numbers of a row's groups, as far as they are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Groups {
    source: u64,
    target: u64,
    pair: u64,
}

const NO_GROUPS: Groups = Groups { source: ALONE, target: ALONE, pair: ALONE };

impl Groups {
    fn with(self, prize: Prize, group: u64) -> Self {
        match prize {
            Prize::Source => Self { source: group, ..self },
            Prize::Target => Self { target: group, ..self },
            Prize::Pair => Self { pair: group, ..self },
        }
    }
}

/// Numbers the groups of rows that want the same prize, and gives each row with its group's number among
/// those that it had before. Returns how many numbers there are.
fn number(
    rows: Sorted,
    prize: Prize,
    mut each: impl FnMut(Groups, Contestant) -> io::Result<()>,
) -> io::Result<u64> {
    let mut rows = rows.peekable();
    let mut numbers = ALONE + 1;
    let mut groups: Vec<(u64, Contestant)> = Vec::new();
    let mut key_before = None;
    while let Some(item) = rows.next() {
        let (key, bytes) = item?;
        let (before, packed): (Groups, Packed) = from_bytes(&bytes)?;
        let row = Contestant::unpacked(packed);
        if key_before.replace(key) != Some(key) {
            groups.clear();
            let others = matches!(rows.peek(), Some(Ok((next, _))) if *next == key);
            if !others {
                each(before.with(prize, ALONE), row)?;
                continue;
            }
        }
        let known = groups.iter().find(|(_, first)| prize.is_shared(first, &row));
        let group = known.map_or(numbers, |(group, _)| *group);
        if group == numbers {
            groups.push((group, row.clone()));
            numbers += 1;
        }
        each(before.with(prize, group), row)?;
    }
    Ok(numbers)
}

/// A bit for each number.
struct Bits(Vec<u64>);

impl Bits {
    fn new(numbers: u64) -> Self {
        Self(vec![0; numbers.div_ceil(64) as usize])
    }

    fn get(&self, number: u64) -> bool {
        self.0[(number / 64) as usize] >> (number % 64) & 1 == 1
    }

    fn set(&mut self, number: u64, to: bool) {
        let (bits, bit) = (&mut self.0[(number / 64) as usize], 1 << (number % 64));
        *bits = if to { *bits | bit } else { *bits & !bit };
    }
}

/// The clashes, in input order.
#[derive(Debug)]
pub(super) struct Clashes(Sorted);

impl Iterator for Clashes {
    type Item = io::Result<(u64, Clash)>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = self.0.next()?;
        Some(item.and_then(|(ordinal, bytes)| Ok((ordinal, from_bytes(&bytes)?))))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::association::InstId;

    const MAPPINGS: [Option<Mapping>; 4] =
        [None, Some(Mapping::ManyToMany), Some(Mapping::OneToMany), Some(Mapping::OneToOne)];

    /// A row: which of [`MAPPINGS`], source, target, and what it asks for.
    type Row = (usize, u64, u64, Action);

    fn association((mapping, source, target, _): Row) -> Association {
        let id = |value| InstId::new(value).unwrap();
        Association {
            obj_asst_id: format!("asst_{mapping}").into(),
            inst_id: id(source),
            asst_inst_id: id(target),
        }
    }

    fn action() -> impl Strategy<Value = Action> {
        prop_oneof![3 => Just(Action::Create), 1 => Just(Action::Delete)]
    }

    fn found(rows: &[Row]) -> Vec<(u64, Clash)> {
        let folder = tempfile::tempdir().unwrap();
        let mut contests = Contests::new(folder.path()).unwrap();
        for (ordinal, &row) in (0..).zip(rows) {
            let place = Place { file: 0, line: ordinal + 2 };
            contests.enter(ordinal, place, &association(row), row.3, MAPPINGS[row.0]).unwrap();
        }
        contests.decide().unwrap().map(Result::unwrap).collect()
    }

    /// What an import does, row by row: admitted rows stay in the way of later ones until they are deleted.
    fn expected(rows: &[Row]) -> Vec<(u64, Clash)> {
        let mut admitted: Vec<(u64, Row)> = Vec::new();
        let mut found = Vec::new();
        for (ordinal, &row) in (0..).zip(rows) {
            if row.3 == Action::Delete {
                let own = |other: &Row| (other.0, other.1, other.2) == (row.0, row.1, row.2);
                admitted.retain(|(_, other)| !own(other));
                continue;
            }
            let clash = |relation, &(line, (_, source, target, _)): &(u64, Row)| {
                let earlier = Place { file: 0, line };
                Clash { relation, earlier, source, target }
            };
            let of_name = || admitted.iter().filter(|(_, other)| other.0 == row.0);
            let same = of_name().find(|(_, other)| *other == row);
            let source = of_name()
                .find(|(_, other)| MAPPINGS[row.0] == Some(Mapping::OneToOne) && other.1 == row.1);
            let target = of_name().find(|(_, other)| {
                matches!(MAPPINGS[row.0], Some(Mapping::OneToOne | Mapping::OneToMany))
                    && other.2 == row.2
            });
            let clash = (same.map(|other| clash(Relation::Repeat, other)))
                .or(source.map(|other| clash(Relation::Source, other)))
                .or(target.map(|other| clash(Relation::Target, other)));
            match clash {
                Some(clash) => found.push((ordinal, clash)),
                None => admitted.push((ordinal + 2, row)),
            }
        }
        found
    }

    proptest! {
        #[test]
        fn what_is_found_is_what_an_import_would_run_into(
            rows in prop::collection::vec((0..4usize, 1..7u64, 1..7u64, action()), 0..60),
        ) {
            prop_assert_eq!(found(&rows), expected(&rows));
        }

        #[test]
        fn long_chains_of_one_to_one_are_followed_to_their_end(
            rows in prop::collection::vec((Just(3usize), 1..40u64, 1..40u64, action()), 0..200),
        ) {
            prop_assert_eq!(found(&rows), expected(&rows));
        }

        #[test]
        fn partners_that_move_often_are_followed_too(
            rows in prop::collection::vec((Just(3usize), 1..4u64, 1..4u64, action()), 0..60),
        ) {
            prop_assert_eq!(found(&rows), expected(&rows));
        }
    }

    #[test]
    fn a_row_that_loses_takes_nothing() {
        let rows = [(3, 1, 1), (3, 1, 2), (3, 2, 2), (3, 1, 2)]
            .map(|(mapping, source, target)| (mapping, source, target, Action::Create));
        let losers: Vec<u64> = found(&rows).iter().map(|(ordinal, _)| *ordinal).collect();
        assert_eq!(losers, [1, 3], "2 -> 2 gets what 1 -> 2 could not have");
    }

    #[test]
    fn who_comes_after_a_delete_of_the_partner_finds_its_place_free() {
        use Action::{Create, Delete};
        for mapping in [2, 3] {
            let moved = [(mapping, 1, 5, Create), (mapping, 1, 5, Delete), (mapping, 2, 5, Create)];
            assert_eq!(found(&moved), []);
            let [first, gone, second] = moved;
            assert_eq!(found(&[first, second, gone])[0].0, 1, "too early");
            let other = (mapping, 3, 5, Delete);
            assert_eq!(found(&[first, other, second])[0].0, 2, "of another partner");
        }
    }

    #[test]
    fn rows_whose_keys_are_equal_by_chance_are_still_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let mut sorter = Sorter::new(folder.path()).unwrap();
        for (ordinal, source) in [(0, 1), (1, 2), (2, 1)] {
            let place = Place { file: 0, line: 0 };
            let (name, target) = ("a".to_owned(), ordinal);
            let row = Contestant { ordinal, place, name, source, target, deletes: false };
            sorter.push(7, &to_bytes(&(NO_GROUPS, row.packed())).unwrap()).unwrap();
        }
        let mut groups = Vec::new();
        let numbers = number(sorter.sorted().unwrap(), Prize::Source, |of, _| {
            groups.push(of.source);
            Ok(())
        });
        assert_eq!((numbers.unwrap(), groups), (3, vec![1, 2, 1]));
    }
}
