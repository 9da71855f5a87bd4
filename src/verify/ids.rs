//! Ids and associations compared over all lines: sorted on disk, since they may be tens of millions.

use std::hash::{Hash, Hasher};
use std::io;
use std::path::Path;

use rustc_hash::{FxHashMap, FxHasher};

use super::{Findings, Kind, Spot};
use crate::association::Association;
use crate::engine::stats::Place;
use crate::outcome::Status;
use crate::storage::sort::Sorter;

/// Takes every line that has an id.
#[derive(Debug)]
pub(super) struct Ids {
    by_id: Sorter,
    /// Equal associations have equal keys; others may have, too.
    by_association: Sorter,
    buffer: Vec<u8>,
}

/// A line that has an id.
#[derive(Clone, Copy, Debug)]
struct Entry<'a> {
    id: i64,
    status: Status,
    place: Place,
    /// The association in bytes: equal for equal ones.
    association: &'a [u8],
}

const HEAD: usize = 8 + 1 + 4 + 8;

impl<'a> Entry<'a> {
    fn read(bytes: &'a [u8]) -> Self {
        let (head, association) = bytes.split_at(HEAD);
        let number =
            |from: usize| u64::from_le_bytes(std::array::from_fn(|byte| head[from + byte]));
        Self {
            id: number(0).cast_signed(),
            status: Status::ALL[usize::from(head[8])],
            place: Place {
                file: u32::from_le_bytes(std::array::from_fn(|byte| head[9 + byte])),
                line: number(13),
            },
            association,
        }
    }

    /// Whether the line says that this run made or removed the association.
    fn is_claim(&self) -> bool {
        matches!(self.status, Status::Created | Status::Recovered | Status::Deleted)
    }
}

impl Ids {
    /// Nothing yet; what does not fit into memory goes to the disk of `folder`.
    pub(super) fn new(folder: &Path) -> io::Result<Self> {
        let (by_id, by_association) = (Sorter::new(folder)?, Sorter::new(folder)?);
        Ok(Self { by_id, by_association, buffer: Vec::new() })
    }

    /// Takes a line.
    pub(super) fn take(
        &mut self,
        id: i64,
        status: Status,
        place: Place,
        association: &Association,
    ) -> io::Result<()> {
        let number = Status::ALL.iter().position(|other| *other == status).unwrap_or_default();
        self.buffer.clear();
        self.buffer.extend(id.to_le_bytes());
        self.buffer.push(number as u8);
        self.buffer.extend(place.file.to_le_bytes());
        self.buffer.extend(place.line.to_le_bytes());
        self.buffer.extend(association.inst_id.get().to_le_bytes());
        self.buffer.extend(association.asst_inst_id.get().to_le_bytes());
        self.buffer.extend(association.obj_asst_id.as_bytes());
        self.by_id.push(id.cast_unsigned(), &self.buffer)?;
        if status != Status::Deleted {
            let mut hasher = FxHasher::default();
            self.buffer[HEAD..].hash(&mut hasher);
            self.by_association.push(hasher.finish(), &self.buffer)?;
        }
        Ok(())
    }

    /// Says what is off.
    pub(super) fn finish(self, findings: &mut Findings) -> io::Result<()> {
        Self::compare_by_id(self.by_id, findings)?;
        Self::compare_by_association(self.by_association, findings)
    }

    /// An id stands for one association (the server never gives it again), and one line says that
    /// the run made it.
    fn compare_by_id(by_id: Sorter, findings: &mut Findings) -> io::Result<()> {
        let mut first: Option<Box<[u8]>> = None;
        let mut claim: Option<Place> = None;
        for item in by_id.sorted()? {
            let (_, bytes) = item?;
            let entry = Entry::read(&bytes);
            let same = first.as_deref().map(Entry::read).filter(|first| first.id == entry.id);
            let Some(same) = same else {
                claim = entry.is_claim().then_some(entry.place);
                first = Some(bytes);
                continue;
            };
            let (id, spot) = (entry.id, Spot::Row(entry.place));
            if same.association != entry.association {
                let first = at(same.place, findings);
                let what = format!("has id {id}, which another association has {first}");
                findings.say(Kind::Shared, spot, what);
            }
            match claim {
                Some(before) if entry.is_claim() => {
                    let first = at(before, findings);
                    let what =
                        format!("{} with id {id}, as {first} says, too", entry.status.as_str());
                    findings.say(Kind::Claimed, spot, what);
                }
                None if entry.is_claim() => claim = Some(entry.place),
                Some(_) | None => {}
            }
        }
        Ok(())
    }

    /// An association has one id at a time.
    fn compare_by_association(by_association: Sorter, findings: &mut Findings) -> io::Result<()> {
        let mut key = None;
        // All that share a key: mostly one.
        let mut ids: FxHashMap<Box<[u8]>, (i64, Place)> = FxHashMap::default();
        for item in by_association.sorted()? {
            let (next, bytes) = item?;
            if key.replace(next) != Some(next) {
                ids.clear();
            }
            let entry = Entry::read(&bytes);
            match ids.get(entry.association) {
                None => {
                    ids.insert(entry.association.into(), (entry.id, entry.place));
                }
                Some((id, place)) if *id != entry.id => {
                    let first = at(*place, findings);
                    let what =
                        format!("has id {}, and {first} has the same with id {id}", entry.id);
                    findings.say(Kind::Doubled, Spot::Row(entry.place), what);
                }
                Some(_) => {}
            }
        }
        Ok(())
    }
}

/// A place in a sentence.
fn at(place: Place, findings: &Findings) -> String {
    match findings.file_of(Spot::Row(place)) {
        Some(file) => format!("line {} of {file}", place.line),
        None => format!("line {}", place.line),
    }
}
