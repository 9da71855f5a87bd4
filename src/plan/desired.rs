//! What the rows of an input ask for, by association: sorted on disk, to be held against what is there.
//!
//! Owns the numbers of model associations and the order. Knows nothing of servers, or of what a row says
//! beside the association and the action.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::association::{Action, Association};
use crate::engine::stats::Place;
use crate::storage::sort::{Runs, Sorted, Sorter};

/// A model association's number, a source and a target.
pub(super) type Triple = (u32, u64, u64);

/// The rows, as they come in.
pub(crate) struct Desired {
    rows: Sorter<Triple>,
    names: Names,
    /// Model associations of which rows are to be deleted.
    deletes: FxHashSet<u32>,
}

/// Model associations by number.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    numbers: FxHashMap<Arc<str>, u32>,
    by_number: Vec<Arc<str>>,
    of_deletes: FxHashSet<u32>,
}

impl Names {
    /// The number of a name, which is given one where it has none.
    pub(crate) fn number(&mut self, name: &Arc<str>) -> u32 {
        if let Some(&number) = self.numbers.get(name) {
            return number;
        }
        let number = self.by_number.len() as u32;
        self.by_number.push(Arc::clone(name));
        self.numbers.insert(Arc::clone(name), number);
        number
    }

    /// The number that a name has.
    pub(super) fn get(&self, name: &str) -> Option<u32> {
        self.numbers.get(name).copied()
    }

    /// Those that have one, by number.
    pub(super) fn all(&self) -> &[Arc<str>] {
        &self.by_number
    }

    /// Whether rows of it are to be deleted.
    pub(super) fn has_deletes(&self, number: u32) -> bool {
        self.of_deletes.contains(&number)
    }
}

/// A row that wants something of an association.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wish {
    /// Its place over all inputs, from 0.
    pub(crate) ordinal: u64,
    /// Where it stands.
    pub(crate) place: Place,
    /// What it asks for.
    pub(crate) action: Action,
}

impl Wish {
    pub(super) fn to_bytes(self) -> [u8; 21] {
        let mut bytes = [0; 21];
        bytes[..8].copy_from_slice(&self.ordinal.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.place.file.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.place.line.to_le_bytes());
        bytes[20] = u8::from(self.action == Action::Delete);
        bytes
    }

    pub(super) fn of_bytes(bytes: &[u8]) -> Option<Self> {
        let action = if *bytes.get(20)? == 1 { Action::Delete } else { Action::Create };
        Some(Self {
            ordinal: u64::from_le_bytes(*bytes.first_chunk()?),
            place: Place {
                file: u32::from_le_bytes(*bytes[8..].first_chunk()?),
                line: u64::from_le_bytes(*bytes[12..].first_chunk()?),
            },
            action,
        })
    }
}

impl Desired {
    /// Nothing yet. The rows wait on the disk of `folder`.
    pub(crate) fn new(folder: &Path) -> io::Result<Self> {
        Ok(Self {
            rows: Sorter::new(folder)?,
            names: Names::default(),
            deletes: FxHashSet::default(),
        })
    }

    /// Takes the next row, in input order.
    pub(crate) fn push(&mut self, association: &Association, wish: Wish) -> io::Result<()> {
        let number = self.names.number(&association.obj_asst_id);
        if wish.action == Action::Delete {
            self.deletes.insert(number);
        }
        let triple = (number, association.inst_id.get(), association.asst_inst_id.get());
        self.rows.push(triple, &wish.to_bytes())
    }

    /// The number of a model association, whether a row is of it or not.
    pub(crate) fn number(&mut self, name: &Arc<str>) -> u32 {
        self.names.number(name)
    }

    /// All rows are in.
    pub(super) fn sorted(self) -> io::Result<(Wishes, Names)> {
        let Self { rows, mut names, deletes } = self;
        names.of_deletes = deletes;
        Ok((Wishes(rows.spooled()?), names))
    }
}

/// The rows, sorted by association, and in input order where they are of the same.
pub(crate) struct Wishes(Runs<Triple>);

impl Wishes {
    /// Reads them from their first.
    pub(crate) fn read(&self) -> io::Result<WishReader> {
        let mut rows = self.0.read()?;
        let next = rows.next().transpose()?.map(wish).transpose()?;
        Ok(WishReader { rows, next })
    }
}

/// Reads wishes, one after the other.
pub(crate) struct WishReader {
    rows: Sorted<Triple>,
    next: Option<(Triple, Wish)>,
}

impl WishReader {
    /// The next one, which stays the next.
    pub(super) const fn peek(&self) -> Option<&(Triple, Wish)> {
        self.next.as_ref()
    }

    /// Takes the next one.
    pub(super) fn take(&mut self) -> io::Result<Option<(Triple, Wish)>> {
        let next = self.rows.next().transpose()?.map(wish).transpose()?;
        Ok(std::mem::replace(&mut self.next, next))
    }

    /// Passes over the rows of a model association, which must be the next one.
    pub(super) fn skip(&mut self, number: u32) -> io::Result<()> {
        self.sources(number).try_for_each(|source| source.map(drop))
    }

    /// The sources of a model association, each once, in order. It must be the next one, and is read to its
    /// end when this is.
    pub(super) fn sources(&mut self, number: u32) -> impl Iterator<Item = io::Result<u64>> {
        let mut last = None;
        std::iter::from_fn(move || {
            while let Some(&((of, source, _), _)) = self.peek().filter(|(key, _)| key.0 == number) {
                debug_assert_eq!(of, number);
                if let Err(error) = self.take() {
                    return Some(Err(error));
                }
                if last.replace(source) != Some(source) {
                    return Some(Ok(source));
                }
            }
            None
        })
    }
}

fn wish((triple, bytes): (Triple, Box<[u8]>)) -> io::Result<(Triple, Wish)> {
    let wish = Wish::of_bytes(&bytes);
    wish.map(|wish| (triple, wish)).ok_or_else(|| io::ErrorKind::InvalidData.into())
}
