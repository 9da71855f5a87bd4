//! Who gives way to whom in a model association whose rule allows one partner alone: a create takes the place of
//! what is deleted, and can't where what holds the place stays.
//!
//! Owns how that spreads: what is not deleted, since nothing can come for it, is in the way of others in turn.
//! Knows nothing of servers, or of what rows say.

use std::io;
use std::path::Path;

use rustc_hash::{FxHashMap, FxHashSet};

use super::desired::Triple;
use super::moves::{MOST, Moves, Seat, Side};
use crate::association::Mapping;
use crate::engine::stats::Place;
use crate::storage::sort::{Runs, Sorter};

/// What becomes of an association.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is to come, by this row.
    Comes(Place),
    /// It goes, as a row asks for.
    Goes,
    /// It goes, since no row names it.
    IsPruned,
    /// It is there, and stays.
    Stays,
}

/// The associations of one model association, as they come in.
pub(super) struct Exchanges {
    number: u32,
    mapping: Mapping,
    /// By seat: a side and an instance.
    seats: Sorter<Triple>,
}

/// Those of a seat for which they have to be known.
#[derive(Default)]
struct Sitters {
    come: Vec<(Pair, Place)>,
    go: Vec<(Pair, Fate)>,
}

type Pair = (u64, u64);

impl Exchanges {
    pub(super) fn new(number: u32, mapping: Mapping, folder: &Path) -> io::Result<Self> {
        Ok(Self { number, mapping, seats: Sorter::new(folder)? })
    }

    /// Takes an association.
    pub(super) fn push(&mut self, (source, target): Pair, fate: Fate) -> io::Result<()> {
        let (tag, Place { file, line }) = match fate {
            Fate::Comes(place) => (0, place),
            Fate::Goes => (1, Place { file: 0, line: 0 }),
            Fate::IsPruned => (2, Place { file: 0, line: 0 }),
            Fate::Stays => (3, Place { file: 0, line: 0 }),
        };
        for side in Side::bound_by(self.mapping) {
            let key = match side {
                Side::Source => (0, source, target),
                Side::Target => (1, target, source),
            };
            let at = [&[tag][..], &file.to_le_bytes(), &line.to_le_bytes()].concat();
            self.seats.push(key, &at)?;
        }
        Ok(())
    }

    /// Finds the seats that are lost, beside those that `moves` knows, and adds them. Says how many of what
    /// no row names stay for it; `None` where there are too many to follow. Unless it `prunes`, all of that
    /// stays.
    pub(super) fn spread(self, moves: &mut Moves, prunes: bool) -> io::Result<Option<u64>> {
        let Self { number, mapping, seats } = self;
        let groups = Groups { seats: seats.spooled()?, prunes };
        let mut lost: Vec<(Seat, Place)> = moves.lost_of(number);
        let known_lost: FxHashSet<(Side, u64)> =
            lost.iter().map(|((_, side, id), _)| (*side, *id)).collect();
        let is_whole = groups.each(|group| {
            group.find_lost(&mut lost, number, mapping);
            lost.len() <= MOST
        })?;
        if lost.is_empty() {
            return Ok(Some(0));
        }
        let mut graph: FxHashMap<(Side, u64), Sitters> = FxHashMap::default();
        let mut kept = 0;
        let is_whole = is_whole
            && groups.each(|group| {
                kept += group.keep(&mut graph, &known_lost);
                kept <= MOST
            })?;
        if !is_whole {
            moves.give_up(number);
            return Ok(None);
        }
        let mut stay: FxHashMap<Pair, Fate> = FxHashMap::default();
        while let Some((seat, place)) = lost.pop() {
            moves.lose_seat(seat, place);
            let Some(sitters) = graph.get(&(seat.1, seat.2)) else { continue };
            for &(pair, fate) in &sitters.go {
                if stay.insert(pair, fate).is_some() {
                    continue;
                }
                // What stays for this holds its other seat, too.
                for side in Side::bound_by(mapping) {
                    let held = graph.get(&(*side, side.of(pair)));
                    let come = held.map(|held| held.come.as_slice()).unwrap_or_default();
                    for &(comes, place) in come.iter().filter(|(comes, _)| *comes != pair) {
                        lost.extend(seats_of(number, mapping, comes).map(|seat| (seat, place)));
                    }
                }
            }
        }
        let pruned = stay.values().filter(|fate| **fate == Fate::IsPruned).count();
        Ok(Some(pruned as u64))
    }
}

/// All seats, with who shares each.
struct Groups {
    seats: Runs<Triple>,
    prunes: bool,
}

impl Groups {
    /// Gives each seat until `goes_on` says no more. True where all were given.
    fn each(&self, mut goes_on: impl FnMut(Group) -> bool) -> io::Result<bool> {
        let mut group = Group::default();
        for item in self.seats.read()? {
            let (key, bytes) = item?;
            let seat = (if key.0 == 0 { Side::Source } else { Side::Target }, key.1);
            let pair = if key.0 == 0 { (key.1, key.2) } else { (key.2, key.1) };
            if group.seat != Some(seat) {
                if !goes_on(std::mem::take(&mut group)) {
                    return Ok(false);
                }
                group.seat = Some(seat);
            }
            let fate = match fate(&bytes).ok_or(io::ErrorKind::InvalidData)? {
                Fate::IsPruned if !self.prunes => Fate::Stays,
                fate => fate,
            };
            group.push(pair, fate);
            if group.len() > MOST {
                return Ok(false);
            }
        }
        Ok(goes_on(group))
    }
}

fn seats_of(number: u32, mapping: Mapping, pair: Pair) -> impl Iterator<Item = Seat> {
    Side::bound_by(mapping).iter().map(move |side| (number, *side, side.of(pair)))
}

fn fate(bytes: &[u8]) -> Option<Fate> {
    let file = u32::from_le_bytes(*bytes.get(1..)?.first_chunk()?);
    let line = u64::from_le_bytes(*bytes.last_chunk()?);
    Some(match bytes.first()? {
        0 => Fate::Comes(Place { file, line }),
        1 => Fate::Goes,
        2 => Fate::IsPruned,
        3 => Fate::Stays,
        _ => return None,
    })
}

/// All that share a seat.
#[derive(Default)]
struct Group {
    seat: Option<(Side, u64)>,
    sitters: Sitters,
    stays: Option<Pair>,
}

impl Group {
    fn len(&self) -> usize {
        self.sitters.come.len() + self.sitters.go.len()
    }

    fn push(&mut self, pair: Pair, fate: Fate) {
        match fate {
            Fate::Comes(place) => self.sitters.come.push((pair, place)),
            Fate::Goes | Fate::IsPruned => self.sitters.go.push((pair, fate)),
            Fate::Stays => self.stays = Some(pair),
        }
    }

    /// Adds the seats of those that come to a seat that is held.
    fn find_lost(&self, lost: &mut Vec<(Seat, Place)>, number: u32, mapping: Mapping) {
        let Some(holder) = self.stays else { return };
        for &(pair, place) in self.sitters.come.iter().filter(|(pair, _)| *pair != holder) {
            lost.extend(seats_of(number, mapping, pair).map(|seat| (seat, place)));
        }
    }

    /// Keeps the seat in mind where something may spread from it: something leaves it, and something comes or
    /// can't come. Says how many that are.
    fn keep(
        self,
        graph: &mut FxHashMap<(Side, u64), Sitters>,
        known_lost: &FxHashSet<(Side, u64)>,
    ) -> usize {
        let Self { seat: Some(seat), sitters, .. } = self else { return 0 };
        if sitters.go.is_empty() || (sitters.come.is_empty() && !known_lost.contains(&seat)) {
            return 0;
        }
        let count = sitters.come.len() + sitters.go.len();
        graph.insert(seat, sitters);
        count
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::moves::Successor;
    use super::*;

    /// What stays of what was to go, row by row until nothing changes.
    fn expected(mapping: Mapping, all: &[(Pair, Fate)]) -> Vec<Pair> {
        let share = |one: Pair, other: Pair| {
            Side::bound_by(mapping).iter().any(|side| side.of(one) == side.of(other))
        };
        let of = |wanted: fn(&Fate) -> bool| {
            let fits = all.iter().filter(move |(_, fate)| wanted(fate));
            fits.map(|(pair, _)| *pair).collect::<Vec<_>>()
        };
        let come = of(|fate| matches!(fate, Fate::Comes(_)));
        let go = of(|fate| matches!(fate, Fate::Goes | Fate::IsPruned));
        let mut stay = of(|fate| *fate == Fate::Stays);
        let before = stay.len();
        loop {
            let is_lost = |comes: &&Pair| stay.iter().any(|s| *s != **comes && share(*s, **comes));
            let lost: Vec<Pair> = come.iter().filter(is_lost).copied().collect();
            let held = |g: &&Pair| lost.iter().any(|l| share(*l, **g)) && !stay.contains(g);
            let Some(next) = go.iter().find(held) else { break };
            stay.push(*next);
        }
        let mut stay = stay.split_off(before);
        stay.sort_unstable();
        stay
    }

    fn spread(mapping: Mapping, all: &[(Pair, Fate)]) -> (Vec<Pair>, u64) {
        let folder = tempfile::tempdir().unwrap();
        let mut exchanges = Exchanges::new(4, mapping, folder.path()).unwrap();
        for &(pair, fate) in all {
            exchanges.push(pair, fate).unwrap();
        }
        let mut moves = Moves::default();
        let pruned = exchanges.spread(&mut moves, true).unwrap().unwrap();
        let goes = |fate: &Fate| matches!(fate, Fate::Goes | Fate::IsPruned);
        let mut stay: Vec<Pair> = (all.iter())
            .filter(|((source, target), fate)| {
                goes(fate) && moves.is_for(4, mapping, [*source, *target]).is_some()
            })
            .map(|(pair, _)| *pair)
            .collect();
        stay.sort_unstable();
        (stay, pruned)
    }

    proptest! {
        #[test]
        fn what_nothing_can_come_for_stays_and_is_in_the_way_of_others(
            all in prop::collection::btree_map((1..7u64, 1..7u64), 0..4u8, 0..20),
            one_to_one in any::<bool>(),
        ) {
            let mapping = if one_to_one { Mapping::OneToOne } else { Mapping::OneToMany };
            let place = |line| Place { file: 0, line };
            let all: Vec<(Pair, Fate)> = (2..).zip(all).map(|(line, (pair, fate))| {
                let fate = match fate {
                    0 => Fate::Comes(place(line)),
                    1 => Fate::Goes,
                    2 => Fate::IsPruned,
                    _ => Fate::Stays,
                };
                (pair, fate)
            }).collect();
            let (stay, pruned) = spread(mapping, &all);
            prop_assert_eq!(&stay, &expected(mapping, &all));
            let of_pruned = all.iter().filter(|(pair, fate)| *fate == Fate::IsPruned && stay.contains(pair));
            prop_assert_eq!(pruned, of_pruned.count() as u64);
        }
    }

    #[test]
    fn a_row_that_can_not_be_created_holds_a_whole_chain() {
        let place = Place { file: 0, line: 9 };
        let mut moves = Moves::default();
        // 1 was to leave 11, for an instance that does not exist; 2 was to come to 11, and 3 to 12.
        moves.lose(4, Mapping::OneToOne, [Some(1), Some(99)], place);
        let folder = tempfile::tempdir().unwrap();
        let mut exchanges = Exchanges::new(4, Mapping::OneToOne, folder.path()).unwrap();
        for (pair, fate) in [
            ((1, 11), Fate::Goes),
            ((2, 12), Fate::Goes),
            ((2, 11), Fate::Comes(place)),
            ((3, 13), Fate::IsPruned),
            ((3, 12), Fate::Comes(place)),
            ((7, 17), Fate::Goes),
        ] {
            exchanges.push(pair, fate).unwrap();
        }
        assert_eq!(exchanges.spread(&mut moves, true).unwrap(), Some(1));
        let held = |pair| moves.is_for(4, Mapping::OneToOne, pair);
        for pair in [[1, 11], [2, 12], [3, 13]] {
            assert_eq!(held(pair), Some(Successor::At(place)));
        }
        assert_eq!(held([7, 17]), None);
    }
}
