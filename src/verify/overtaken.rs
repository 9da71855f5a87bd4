//! Which lines a later line of the same association takes back: where a run both creates and deletes, an earlier
//! line no longer says what is there.
//!
//! Lines are sorted on disk, since there may be tens of millions.

use std::hash::{Hash, Hasher};
use std::io;
use std::iter::Peekable;
use std::path::Path;

use rustc_hash::{FxHashMap, FxHasher};

use crate::association::{Action, Association};
use crate::outcome::{Outcome, Reason, Status};
use crate::storage::sort::{Sorted, Sorter};

/// The lines of a file, as they come in.
#[derive(Debug)]
pub(super) struct Lines {
    /// By association, the last line first.
    by_association: Sorter<(u32, u64, u64)>,
    buffer: Vec<u8>,
}

/// What a line does to its association.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    /// It is there afterwards, or may be.
    Makes,
    /// It is gone afterwards, or may be.
    Takes,
}

impl Effect {
    /// That of a line, and whether it is known for sure.
    fn of(outcome: &Outcome, action: Action) -> Option<(Self, bool)> {
        match outcome.status {
            Status::Created | Status::Existed | Status::Recovered => Some((Self::Makes, true)),
            Status::Deleted | Status::Absent => Some((Self::Takes, true)),
            Status::Failed if outcome.reason == Some(Reason::OutcomeUnknown) => match action {
                Action::Create => Some((Self::Makes, false)),
                Action::Delete => Some((Self::Takes, false)),
            },
            _ => None,
        }
    }
}

impl Lines {
    /// Starts empty. What does not fit into memory goes to the disk of `folder`.
    pub(super) fn new(folder: &Path) -> io::Result<Self> {
        Ok(Self { by_association: Sorter::new(folder)?, buffer: Vec::new() })
    }

    /// Takes the line with this ordinal.
    pub(super) fn take(
        &mut self,
        ordinal: u64,
        outcome: &Outcome,
        action: Action,
        association: &Association,
    ) -> io::Result<()> {
        let Some((effect, is_sure)) = Effect::of(outcome, action) else { return Ok(()) };
        let mut hasher = FxHasher::default();
        association.hash(&mut hasher);
        self.buffer.clear();
        self.buffer.extend([u8::from(effect == Effect::Makes), u8::from(is_sure)]);
        self.buffer.extend(association.inst_id.get().to_le_bytes());
        self.buffer.extend(association.asst_inst_id.get().to_le_bytes());
        self.buffer.extend(association.obj_asst_id.as_bytes());
        self.by_association.push((0, hasher.finish(), !ordinal), &self.buffer)
    }

    /// Tells which of them are overtaken.
    pub(super) fn finish(self, folder: &Path) -> io::Result<Overtaken> {
        let mut found = Sorter::new(folder)?;
        let mut key_before = None;
        // What lines behind do to the associations that share the key, mostly one.
        let mut behind: FxHashMap<Box<[u8]>, [bool; 2]> = FxHashMap::default();
        for item in self.by_association.sorted()? {
            let ((_, key, ordinal), bytes) = item?;
            if key_before.replace(key) != Some(key) {
                behind.clear();
            }
            let &[makes, is_sure, ref association @ ..] = &*bytes else { continue };
            let behind = behind.entry(association.into()).or_default();
            if is_sure == 1 && behind[usize::from(makes == 0)] {
                found.push(!ordinal, &[])?;
            }
            behind[usize::from(makes)] = true;
        }
        Ok(Overtaken(Some(found.sorted()?.peekable())))
    }
}

/// The lines that are overtaken, in the order of the file.
#[derive(Debug, Default)]
pub struct Overtaken(Option<Peekable<Sorted>>);

impl Overtaken {
    /// Whether the line with this ordinal is one of them. Ordinals are asked for in ascending order.
    pub(super) fn has(&mut self, ordinal: u64) -> io::Result<bool> {
        let Some(lines) = &mut self.0 else { return Ok(false) };
        while let Some(next) = lines.next_if(|next| !matches!(next, Ok((at, _)) if *at >= ordinal))
        {
            next?;
        }
        Ok(matches!(lines.peek(), Some(Ok((at, _))) if *at == ordinal))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::association::InstId;

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Line {
        There,
        Gone,
        CreateUnknown,
        DeleteUnknown,
        Failed,
    }

    impl Line {
        fn outcome(self) -> (Outcome, Action) {
            let bad = |reason| Outcome::bad(reason, String::new(), 1, 0);
            match self {
                Self::There => (Outcome::good(Status::Existed, 1, 1, 0), Action::Create),
                Self::Gone => (Outcome::good(Status::Deleted, 1, 1, 0), Action::Delete),
                Self::CreateUnknown => (bad(Reason::OutcomeUnknown), Action::Create),
                Self::DeleteUnknown => (bad(Reason::OutcomeUnknown), Action::Delete),
                Self::Failed => (bad(Reason::Throttled), Action::Delete),
            }
        }
    }

    fn association(number: u64) -> Association {
        let id = InstId::new(number + 1).unwrap();
        Association { obj_asst_id: "a".into(), inst_id: id, asst_inst_id: id }
    }

    fn found(lines: &[(u64, Line)]) -> Vec<bool> {
        let folder = tempfile::tempdir().unwrap();
        let mut taken = Lines::new(folder.path()).unwrap();
        for (ordinal, (number, line)) in (0..).zip(lines) {
            let (outcome, action) = line.outcome();
            taken.take(ordinal, &outcome, action, &association(*number)).unwrap();
        }
        let mut overtaken = taken.finish(folder.path()).unwrap();
        (0..lines.len() as u64).map(|ordinal| overtaken.has(ordinal).unwrap()).collect()
    }

    #[test]
    fn only_the_last_word_on_an_association_stands() {
        use Line::{CreateUnknown, DeleteUnknown, Failed, Gone, There};
        let one = |lines: &[Line]| found(&lines.iter().map(|line| (0, *line)).collect::<Vec<_>>());
        assert_eq!(one(&[There, Gone, There, There]), [true, true, false, false]);
        assert_eq!(one(&[There, Failed]), [false, false], "it was surely not deleted");
        assert_eq!(one(&[There, DeleteUnknown]), [true, false]);
        assert_eq!(one(&[Gone, CreateUnknown]), [true, false]);
        assert_eq!(one(&[There, CreateUnknown, There]), [false; 3]);
        assert_eq!(found(&[(0, There), (1, Gone)]), [false; 2], "another association");
    }

    proptest! {
        #[test]
        fn a_line_is_overtaken_where_a_later_one_of_its_association_may_undo_it(
            lines in prop::collection::vec((0..4u64, prop::sample::select(&[
                Line::There, Line::Gone, Line::CreateUnknown, Line::DeleteUnknown, Line::Failed,
            ][..])), 0..40),
        ) {
            let expected: Vec<_> = (0..lines.len()).map(|at| {
                let (number, line) = lines[at];
                let undone_by: &[Line] = match line {
                    Line::There => &[Line::Gone, Line::DeleteUnknown],
                    Line::Gone => &[Line::There, Line::CreateUnknown],
                    _ => &[],
                };
                lines[at + 1..].iter().any(|(other, line)| *other == number && undone_by.contains(line))
            }).collect();
            prop_assert_eq!(found(&lines), expected);
        }
    }
}
