//! The texts that the cells of a workbook share, by their place in a list.
//!
//! They stand in a [`Spool`], of which only the places of some are remembered: a million distinct names take
//! little memory.

use std::io;

use rustc_hash::FxHashMap;

use super::package::broken;
use crate::input::spool::Spool;

/// How many texts are found by one place.
const GROUP: usize = 32;

/// How many bytes of groups that were read are kept.
const KEPT: usize = 4 << 20;

#[derive(Default)]
pub struct Strings {
    /// Each text behind its length, in four bytes.
    spool: Spool,
    /// Where each group starts.
    starts: Vec<u64>,
    count: usize,
    groups: FxHashMap<usize, Vec<u8>>,
    kept: usize,
}

impl Strings {
    /// Appends a text.
    pub fn push(&mut self, text: &str) -> io::Result<()> {
        if self.count.is_multiple_of(GROUP) {
            self.starts.push(self.spool.len());
        }
        self.count += 1;
        self.spool.push(&(text.len() as u32).to_le_bytes())?;
        self.spool.push(text.as_bytes())
    }

    /// The text at a place, if there is one.
    pub fn get(&mut self, index: usize) -> io::Result<Option<String>> {
        if index >= self.count {
            return Ok(None);
        }
        let (number, within) = (index / GROUP, index % GROUP);
        if !self.groups.contains_key(&number) {
            let start = self.starts[number];
            let end = self.starts.get(number + 1).copied().unwrap_or(self.spool.len());
            let mut group = vec![0; usize::try_from(end - start).unwrap_or_default()];
            self.spool.read_exact_at(&mut group, start)?;
            if self.kept + group.len() > KEPT {
                self.groups.clear();
                self.kept = 0;
            }
            self.kept += group.len();
            self.groups.insert(number, group);
        }
        let mut rest = &self.groups[&number][..];
        let damaged = || broken("its texts can't be read back");
        for place in 0..=within {
            let (length, after) = rest.split_first_chunk::<4>().ok_or_else(damaged)?;
            let length = u32::from_le_bytes(*length) as usize;
            let (text, after) = after.split_at_checked(length).ok_or_else(damaged)?;
            if place == within {
                let text = str::from_utf8(text).map_err(|_| damaged())?;
                return Ok(Some(text.to_owned()));
            }
            rest = after;
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_text_is_found_by_its_place_whatever_the_order() {
        let mut strings = Strings::default();
        let text = |place: usize| format!("{place}{}", "名".repeat(place % 100));
        for place in 0..60_000 {
            strings.push(&text(place)).unwrap();
        }
        for step in [1, 77_773] {
            for place in (0..20_000).map(|count| count * step % 60_000) {
                assert_eq!(strings.get(place).unwrap(), Some(text(place)));
                assert!(strings.kept <= KEPT + (1 << 20));
            }
        }
        assert_eq!(strings.get(60_000).unwrap(), None);
    }
}
