//! Rows of an input that contradict each other: their model association's rule allows one of them alone.
//!
//! Knows nothing of what is there.

use std::io;
use std::path::Path;

use super::desired::Triple;
use crate::association::Mapping;
use crate::engine::stats::Place;
use crate::storage::sort::Sorter;

/// Associations that the input wants and that its model association's rule does not allow beside each
/// other. They come sorted by source.
pub(super) struct Contradictions {
    mapping: Mapping,
    last: Option<(Triple, Place)>,
    by_target: Option<Sorter<Triple>>,
}

impl Contradictions {
    pub(super) fn new(mapping: Mapping, folder: &Path) -> io::Result<Self> {
        let binds = mapping != Mapping::ManyToMany;
        let by_target = binds.then(|| Sorter::new(folder)).transpose()?;
        Ok(Self { mapping, last: None, by_target })
    }

    /// Takes the next association. The row that wants another target of the same source, where that is one too
    /// many.
    pub(super) fn take(&mut self, triple: Triple, place: Place) -> io::Result<Option<Place>> {
        if let Some(by_target) = &mut self.by_target {
            let (number, source, target) = triple;
            let at = [&place.file.to_le_bytes()[..], &place.line.to_le_bytes()].concat();
            by_target.push((number, target, source), &at)?;
        }
        let last = self.last.replace((triple, place));
        let same_source = last.filter(|((_, source, _), _)| *source == triple.1);
        Ok(same_source.map(|(_, place)| place).filter(|_| self.mapping == Mapping::OneToOne))
    }

    /// The rows that want another source of the same target.
    pub(super) fn of_targets(self) -> io::Result<impl Iterator<Item = io::Result<[Place; 2]>>> {
        let mut sorted = self.by_target.map(Sorter::sorted).transpose()?.into_iter().flatten();
        let mut last: Option<(u64, Place)> = None;
        Ok(std::iter::from_fn(move || {
            for item in sorted.by_ref() {
                let ((_, target, _), bytes) = match item {
                    Ok(item) => item,
                    Err(error) => return Some(Err(error)),
                };
                let file = bytes.first_chunk().map_or(0, |file| u32::from_le_bytes(*file));
                let line = bytes.last_chunk().map_or(0, |line| u64::from_le_bytes(*line));
                let place = Place { file, line };
                if let Some((same, other)) = last.replace((target, place))
                    && same == target
                {
                    return Some(Ok([other, place]));
                }
            }
            None
        }))
    }
}
