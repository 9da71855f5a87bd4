//! Compares ids and associations over all lines. They are sorted on disk, since there may be tens of
//! millions.

use std::hash::{Hash, Hasher};
use std::io;
use std::path::Path;

use rustc_hash::{FxHashMap, FxHasher};

use super::{FindingKind, Findings, Spot};
use crate::association::Association;
use crate::engine::stats::Place;
use crate::outcome::Status;
use crate::storage::sort::Sorter;

/// The lines that have an id, as they come in.
#[derive(Debug)]
pub(super) struct Ids {
    by_id: Sorter,
    /// In the order of the lines. Equal associations have equal keys; others may have, too.
    by_association: Sorter,
    buffer: Vec<u8>,
}

/// A line that has an id.
#[derive(Clone, Copy, Debug)]
struct IdLine<'a> {
    id: i64,
    status: Status,
    place: Place,
    /// The association as bytes, equal for equal associations.
    association: &'a [u8],
}

const HEAD: usize = 8 + 1 + 4 + 8;

impl<'a> IdLine<'a> {
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

    /// Whether the line says that this run made the association.
    const fn makes(&self) -> bool {
        matches!(self.status, Status::Created | Status::Recovered)
    }

    /// Whether the line says that the association is gone.
    const fn is_gone(&self) -> bool {
        matches!(self.status, Status::Deleted | Status::Absent)
    }
}

impl Ids {
    /// Starts empty. What does not fit into memory goes to the disk of `folder`.
    pub(super) fn new(folder: &Path) -> io::Result<Self> {
        let (by_id, by_association) = (Sorter::new(folder)?, Sorter::new(folder)?);
        Ok(Self { by_id, by_association, buffer: Vec::new() })
    }

    /// Takes a line, which has no id if it says that there was nothing to delete.
    pub(super) fn take(
        &mut self,
        id: Option<i64>,
        status: Status,
        place: Place,
        association: &Association,
    ) -> io::Result<()> {
        let number = Status::ALL.iter().position(|other| *other == status).unwrap_or_default();
        self.buffer.clear();
        self.buffer.extend(id.unwrap_or_default().to_le_bytes());
        self.buffer.push(number as u8);
        self.buffer.extend(place.file.to_le_bytes());
        self.buffer.extend(place.line.to_le_bytes());
        self.buffer.extend(association.inst_id.get().to_le_bytes());
        self.buffer.extend(association.asst_inst_id.get().to_le_bytes());
        self.buffer.extend(association.obj_asst_id.as_bytes());
        if let Some(id) = id {
            self.by_id.push(id.cast_unsigned(), &self.buffer)?;
        }
        let mut hasher = FxHasher::default();
        self.buffer[HEAD..].hash(&mut hasher);
        self.by_association.push(hasher.finish(), &self.buffer)
    }

    /// Compares all lines.
    pub(super) fn finish(self, findings: &mut Findings) -> io::Result<()> {
        Self::compare_by_id(self.by_id, findings)?;
        Self::compare_by_association(self.by_association, findings)
    }

    /// Checks that an id stands for one association (the server never reuses it), that only one line says that
    /// the run created it and only one that it deleted it, and that this comes later.
    fn compare_by_id(by_id: Sorter, findings: &mut Findings) -> io::Result<()> {
        let mut first: Option<Box<[u8]>> = None;
        // Where it was made, and where it was deleted.
        let (mut made, mut deleted): (Option<Place>, Option<Place>) = (None, None);
        for item in by_id.sorted()? {
            let (_, bytes) = item?;
            let line = IdLine::read(&bytes);
            let same = first.as_deref().map(IdLine::read).filter(|first| first.id == line.id);
            let Some(same) = same else {
                made = line.makes().then_some(line.place);
                deleted = line.is_gone().then_some(line.place);
                first = Some(bytes);
                continue;
            };
            let (id, spot) = (line.id, Spot::Row(line.place));
            if same.association != line.association {
                let first = at(same.place, findings);
                let what = format!("has id {id}, which another association has {first}");
                findings.say(FindingKind::Shared, spot, what);
            }
            let ended = line.status.as_str();
            let (before, says) = match (line.is_gone(), deleted, made) {
                (true, Some(before), _) => (Some(before), "says, too"),
                (false, Some(before), _) => (Some(before), "deleted it"),
                (false, None, Some(before)) if line.makes() => (Some(before), "says, too"),
                _ => (None, ""),
            };
            if let Some(before) = before {
                let first = at(before, findings);
                let link = if says == "deleted it" { "after" } else { "as" };
                let what = format!("{ended} with id {id}, {link} {first} {says}");
                findings.say(FindingKind::Claimed, spot, what);
            }
            made = made.or(line.makes().then_some(line.place));
            deleted = deleted.or(line.is_gone().then_some(line.place));
        }
        Ok(())
    }

    /// Checks that an association has only one id, until a line deletes it.
    fn compare_by_association(by_association: Sorter, findings: &mut Findings) -> io::Result<()> {
        let mut key = None;
        // The associations that share the key, mostly one.
        let mut ids: FxHashMap<Box<[u8]>, (i64, Place)> = FxHashMap::default();
        for item in by_association.sorted()? {
            let (next, bytes) = item?;
            if key.replace(next) != Some(next) {
                ids.clear();
            }
            let line = IdLine::read(&bytes);
            match ids.get(line.association) {
                Some((id, place)) if *id != line.id && line.status != Status::Absent => {
                    let first = at(*place, findings);
                    let what = format!("has id {}, and {first} has the same with id {id}", line.id);
                    findings.say(FindingKind::Doubled, Spot::Row(line.place), what);
                }
                None if !line.is_gone() => {
                    ids.insert(line.association.into(), (line.id, line.place));
                }
                Some(_) | None => {}
            }
            if line.is_gone() {
                ids.remove(line.association);
            }
        }
        Ok(())
    }
}

/// A place in a sentence.
fn at(place: Place, findings: &Findings) -> String {
    if place.line == 0 {
        return "a delete that no input names".to_owned();
    }
    match findings.file_of(Spot::Row(place)) {
        Some(file) => format!("line {} of {file}", place.line),
        None => format!("line {}", place.line),
    }
}
