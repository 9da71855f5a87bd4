//! What the input asks for, held against what is there, association by association.
//!
//! Both come in sorted, so that one pass decides about every row and finds what no row names. Knows nothing
//! of servers, or of what may be deleted.

use std::io;
use std::iter::Peekable;

use super::desired::{Triple, Wish, WishReader};
use super::moves::Side;
use crate::association::Action;
use crate::storage::sort::Sorted;

/// What is to be done for a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// It is created.
    Create,
    /// It is deleted. Its id, where it is known to be there.
    Delete(Option<i64>),
    /// It is there, under this id.
    Keep(i64),
    /// It is to be gone, and is not there.
    Absent,
    /// It is not there, and can't be created: there is no such instance on this side.
    Missing(Side),
}

impl Decision {
    pub(super) fn to_bytes(self) -> [u8; 9] {
        let (tag, id) = match self {
            Self::Create => (0, 0),
            Self::Delete(None) => (1, 0),
            Self::Delete(Some(id)) => (2, id),
            Self::Keep(id) => (3, id),
            Self::Absent => (4, 0),
            Self::Missing(Side::Source) => (5, 0),
            Self::Missing(Side::Target) => (6, 0),
        };
        let mut bytes = [tag; 9];
        bytes[1..].copy_from_slice(&id.to_le_bytes());
        bytes
    }

    pub(super) fn of_bytes(bytes: &[u8]) -> Option<Self> {
        let id = i64::from_le_bytes(*bytes.get(1..)?.first_chunk()?);
        Some(match bytes.first()? {
            0 => Self::Create,
            1 => Self::Delete(None),
            2 => Self::Delete(Some(id)),
            3 => Self::Keep(id),
            4 => Self::Absent,
            5 => Self::Missing(Side::Source),
            6 => Self::Missing(Side::Target),
            _ => return None,
        })
    }
}

/// What a comparison finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// What is to be done for a row.
    Row {
        triple: Triple,
        wish: Wish,
        decision: Decision,
        /// Whether it is the last row of its association.
        is_last: bool,
        /// How many more there are of what it deletes: a server may hold an association twice.
        doubles: u64,
    },
    /// An association that no row names.
    Unnamed {
        triple: Triple,
        id: i64,
        /// Whether a row names its source.
        of_named_source: bool,
    },
}

/// What is known of the association of the rows at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    There(i64),
    Gone,
    /// An earlier row changes it, or nobody looked.
    Unknown,
}

/// A model association's rows, held against what there is of it.
pub(super) struct Comparison<'w> {
    number: u32,
    wishes: &'w mut WishReader,
    /// `None` where nobody looked.
    there: Option<Peekable<Sorted<Triple>>>,
    /// The association of the row given last, and what is known of it now.
    at: Option<(Triple, Known)>,
    /// How many more there are of it.
    doubles: u64,
}

impl<'w> Comparison<'w> {
    /// Of the model association with this number: `wishes` must be at its first row. `there` has ids.
    pub(super) fn new(
        number: u32,
        wishes: &'w mut WishReader,
        there: Option<Sorted<Triple>>,
    ) -> Self {
        Self { number, wishes, there: there.map(Iterator::peekable), at: None, doubles: 0 }
    }

    fn next_wish(&self) -> Option<Triple> {
        self.wishes.peek().map(|(triple, _)| *triple).filter(|triple| triple.0 == self.number)
    }

    /// The next association that is there, if it is `triple`, or any.
    fn take_there(&mut self, only: Option<Triple>) -> io::Result<Option<(Triple, i64)>> {
        let Some(there) = &mut self.there else { return Ok(None) };
        let is_wanted = |item: &io::Result<(Triple, Box<[u8]>)>| match (item, only) {
            (Ok((triple, _)), Some(only)) => *triple == only,
            _ => true,
        };
        let Some((triple, bytes)) = there.next_if(is_wanted).transpose()? else { return Ok(None) };
        let id = bytes.first_chunk().map(|id| i64::from_le_bytes(*id));
        Ok(Some((triple, id.ok_or(io::ErrorKind::InvalidData)?)))
    }

    fn peek_there(&mut self) -> Option<Triple> {
        match self.there.as_mut()?.peek()? {
            Ok((triple, _)) => Some(*triple),
            // It comes out as the next one.
            Err(_) => Some((0, 0, 0)),
        }
    }

    fn find(&mut self) -> io::Result<Option<Finding>> {
        let (wish, there) = (self.next_wish(), self.peek_there());
        if let Some(there) = there.filter(|there| wish.is_none_or(|wish| *there < wish)) {
            let Some((triple, id)) = self.take_there(None)? else { return Ok(None) };
            debug_assert_eq!(triple, there);
            // Rows of the same source stand right before and right after.
            let before = self.at.is_some_and(|((_, source, _), _)| source == triple.1);
            let after = wish.is_some_and(|(_, source, _)| source == triple.1);
            return Ok(Some(Finding::Unnamed { triple, id, of_named_source: before || after }));
        }
        if wish.is_none() {
            return Ok(None);
        }
        let Some((triple, wish)) = self.wishes.take()? else { return Ok(None) };
        let known = match self.at {
            Some((at, known)) if at == triple => known,
            _ => self.look(triple)?,
        };
        let (decision, known) = decide(wish.action, known);
        self.at = Some((triple, known));
        let is_last = self.next_wish() != Some(triple);
        let doubles = if let Decision::Delete(Some(_)) = decision { self.doubles } else { 0 };
        Ok(Some(Finding::Row { triple, wish, decision, is_last, doubles }))
    }

    /// What there is of an association: of doubles, the oldest.
    fn look(&mut self, triple: Triple) -> io::Result<Known> {
        let mut known = if self.there.is_some() { Known::Gone } else { Known::Unknown };
        self.doubles = 0;
        while let Some((_, id)) = self.take_there(Some(triple))? {
            known = match known {
                Known::There(other) => {
                    self.doubles += 1;
                    Known::There(other.min(id))
                }
                Known::Gone | Known::Unknown => Known::There(id),
            };
        }
        Ok(known)
    }
}

/// What is to be done for a row, and what is known then.
const fn decide(action: Action, known: Known) -> (Decision, Known) {
    match (action, known) {
        (Action::Create, Known::There(id)) => (Decision::Keep(id), known),
        (Action::Create, Known::Gone | Known::Unknown) => (Decision::Create, Known::Unknown),
        (Action::Delete, Known::There(id)) => (Decision::Delete(Some(id)), Known::Unknown),
        (Action::Delete, Known::Gone) => (Decision::Absent, known),
        (Action::Delete, Known::Unknown) => (Decision::Delete(None), Known::Unknown),
    }
}

impl Iterator for Comparison<'_> {
    type Item = io::Result<Finding>;

    fn next(&mut self) -> Option<Self::Item> {
        self.find().transpose()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::desired::Desired;
    use super::*;
    use crate::association::{Association, InstId};
    use crate::engine::stats::Place;
    use crate::storage::sort::Sorter;

    type Row = (bool, u64, u64);

    fn compare(rows: &[Row], there: Option<&[(u64, u64)]>) -> Vec<Finding> {
        let folder = tempfile::tempdir().unwrap();
        let mut desired = Desired::new(folder.path()).unwrap();
        let id = |n| InstId::new(n).unwrap();
        for (ordinal, &(deletes, source, target)) in (0..).zip(rows) {
            let association = Association {
                obj_asst_id: "a".into(),
                inst_id: id(source),
                asst_inst_id: id(target),
            };
            let action = if deletes { Action::Delete } else { Action::Create };
            let place = Place { file: 0, line: ordinal + 2 };
            desired.push(&association, Wish { ordinal, place, action }).unwrap();
        }
        let (wishes, _) = desired.sorted().unwrap();
        let there = there.map(|there| {
            let mut sorter: Sorter<Triple> = Sorter::new(folder.path()).unwrap();
            for (id, &(source, target)) in (1_i64..).zip(there) {
                sorter.push((0, source, target), &id.to_le_bytes()).unwrap();
            }
            sorter.sorted().unwrap()
        });
        let mut reader = wishes.read().unwrap();
        let found = Comparison::new(0, &mut reader, there).map(Result::unwrap).collect();
        assert_eq!(reader.take().unwrap(), None);
        found
    }

    proptest! {
        /// Row by row on a map of what is there.
        #[test]
        fn what_is_decided_leaves_what_the_rows_ask_for(
            rows in prop::collection::vec((any::<bool>(), 1..5u64, 1..5u64), 0..30),
            there in prop::collection::vec((1..5u64, 1..5u64), 0..20),
        ) {
            let found = compare(&rows, Some(&there));
            let first = |pair: (u64, u64)| {
                (1_i64..).zip(&there).find(|(_, other)| **other == pair).map(|(id, _)| id)
            };
            let mut decisions = BTreeMap::new();
            let mut unnamed = Vec::new();
            for finding in found {
                match finding {
                    Finding::Row { wish, decision, is_last, triple, doubles } => {
                        let all = there.iter().filter(|pair| **pair == (triple.1, triple.2)).count() as u64;
                        let goes = matches!(decision, Decision::Delete(Some(_)));
                        prop_assert_eq!(doubles, if goes { all - 1 } else { 0 });
                        let pair = (triple.1, triple.2);
                        let later = |(at, row): (usize, &Row)| {
                            at as u64 > wish.ordinal && (row.1, row.2) == pair
                        };
                        let last = !rows.iter().enumerate().any(later);
                        prop_assert_eq!(is_last, last);
                        prop_assert_eq!(decisions.insert(wish.ordinal, decision), None);
                    }
                    Finding::Unnamed { triple, id, of_named_source } => {
                        let named = rows.iter().any(|row| row.1 == triple.1);
                        prop_assert_eq!(of_named_source, named);
                        unnamed.push((triple.1, triple.2, id));
                    }
                }
            }
            let expected: Vec<_> = {
                let free = (1_i64..).zip(&there).filter(|(_, pair)| {
                    !rows.iter().any(|row| (row.1, row.2) == **pair)
                });
                let mut free: Vec<_> = free.map(|(id, pair)| (pair.0, pair.1, id)).collect();
                free.sort_unstable();
                free
            };
            prop_assert_eq!(unnamed, expected);
            prop_assert_eq!(decisions.len(), rows.len());
            let mut touched = BTreeMap::new();
            for (ordinal, &(deletes, source, target)) in (0..).zip(&rows) {
                let pair = (source, target);
                let before = touched.get(&pair).copied().unwrap_or(false);
                let expected = match (deletes, before, first(pair)) {
                    (false, false, Some(id)) => Decision::Keep(id),
                    (false, _, _) => Decision::Create,
                    (true, false, Some(id)) => Decision::Delete(Some(id)),
                    (true, false, None) => Decision::Absent,
                    (true, true, _) => Decision::Delete(None),
                };
                prop_assert_eq!(decisions[&ordinal], expected);
                let changes = !matches!(expected, Decision::Keep(_) | Decision::Absent);
                touched.insert(pair, before || changes);
            }
        }
    }

    #[test]
    fn where_nobody_looked_every_row_is_looked_up() {
        let rows = [(false, 1, 2), (true, 1, 2), (true, 1, 3)];
        let decisions: Vec<_> = (compare(&rows, None).into_iter())
            .map(|finding| match finding {
                Finding::Row { decision, .. } => decision,
                Finding::Unnamed { .. } => panic!("nobody looked"),
            })
            .collect();
        let looks = Decision::Delete(None);
        assert_eq!(decisions, [Decision::Create, looks, looks]);
    }

    #[test]
    fn decisions_are_read_back_as_they_were() {
        let of = [
            Decision::Create,
            Decision::Delete(None),
            Decision::Delete(Some(i64::MAX)),
            Decision::Keep(7),
            Decision::Absent,
            Decision::Missing(Side::Source),
            Decision::Missing(Side::Target),
        ];
        for decision in of {
            assert_eq!(Decision::of_bytes(&decision.to_bytes()), Some(decision));
        }
    }
}
