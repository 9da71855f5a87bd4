//! Sorting more than fits into memory: by number, in chunks on disk, merged.
//!
//! Owns the temporary file, which has no name and is gone with the process. Knows nothing of what it
//! sorts.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// Memory for what is not on disk yet, and what a merge reads ahead of each chunk.
const CHUNK: usize = 8 << 20;
const READ_AHEAD: usize = 16 << 10;
/// What an item costs in memory beside its bytes.
const OVERHEAD: usize = 32;

/// Takes items in any order.
#[derive(Debug)]
pub struct Sorter {
    items: Vec<(u64, Box<[u8]>)>,
    size: usize,
    chunk: usize,
    file: File,
    /// Where each sorted chunk lies in the file.
    chunks: Vec<(u64, u64)>,
}

impl Sorter {
    /// A sorter whose chunks lie on the disk of `folder`.
    pub fn new(folder: &Path) -> io::Result<Self> {
        Self::with_chunk(folder, CHUNK)
    }

    fn with_chunk(folder: &Path, chunk: usize) -> io::Result<Self> {
        let file = tempfile::tempfile_in(folder)?;
        Ok(Self { items: Vec::new(), size: 0, chunk, file, chunks: Vec::new() })
    }

    /// Takes an item. Items with equal keys come out in the order in which they came.
    pub fn push(&mut self, key: u64, bytes: &[u8]) -> io::Result<()> {
        self.size += bytes.len() + OVERHEAD;
        self.items.push((key, bytes.into()));
        if self.size >= self.chunk { self.spill() } else { Ok(()) }
    }

    fn spill(&mut self) -> io::Result<()> {
        self.items.sort_by_key(|(key, _)| *key);
        let start = self.file.seek(SeekFrom::End(0))?;
        let mut out = io::BufWriter::with_capacity(1 << 18, &self.file);
        for (key, bytes) in self.items.drain(..) {
            out.write_all(&key.to_le_bytes())?;
            out.write_all(&(bytes.len() as u32).to_le_bytes())?;
            out.write_all(&bytes)?;
        }
        out.flush()?;
        drop(out);
        self.chunks.push((start, self.file.stream_position()?));
        self.size = 0;
        Ok(())
    }

    /// Gives the items in order.
    pub fn sorted(mut self) -> io::Result<Sorted> {
        if !self.chunks.is_empty() && !self.items.is_empty() {
            self.spill()?;
        }
        self.items.sort_by_key(|(key, _)| *key);
        let file = Arc::new(self.file);
        let mut runs: Vec<Run> = (self.chunks.into_iter())
            .map(|(start, end)| {
                let part = Part { file: Arc::clone(&file), at: start, end };
                Run::File(io::BufReader::with_capacity(READ_AHEAD, part))
            })
            .collect();
        if !self.items.is_empty() {
            runs.push(Run::Memory(self.items.into_iter()));
        }
        let mut heads = BinaryHeap::with_capacity(runs.len());
        for (index, run) in runs.iter_mut().enumerate() {
            if let Some((key, bytes)) = run.next()? {
                heads.push(Reverse((key, index, bytes)));
            }
        }
        Ok(Sorted { runs, heads })
    }
}

/// The items in order.
#[derive(Debug)]
pub struct Sorted {
    runs: Vec<Run>,
    heads: BinaryHeap<Reverse<(u64, usize, Box<[u8]>)>>,
}

impl Iterator for Sorted {
    type Item = io::Result<(u64, Box<[u8]>)>;

    fn next(&mut self) -> Option<Self::Item> {
        let Reverse((key, index, bytes)) = self.heads.pop()?;
        match self.runs[index].next() {
            Ok(Some((next, bytes))) => self.heads.push(Reverse((next, index, bytes))),
            Ok(None) => {}
            Err(error) => return Some(Err(error)),
        }
        Some(Ok((key, bytes)))
    }
}

#[derive(Debug)]
enum Run {
    Memory(std::vec::IntoIter<(u64, Box<[u8]>)>),
    File(io::BufReader<Part>),
}

impl Run {
    fn next(&mut self) -> io::Result<Option<(u64, Box<[u8]>)>> {
        let reader = match self {
            Self::Memory(items) => return Ok(items.next()),
            Self::File(reader) => reader,
        };
        if reader.buffer().is_empty() && reader.get_ref().at == reader.get_ref().end {
            return Ok(None);
        }
        let (mut key, mut length) = ([0; 8], [0; 4]);
        reader.read_exact(&mut key)?;
        reader.read_exact(&mut length)?;
        let mut bytes = vec![0; u32::from_le_bytes(length) as usize];
        reader.read_exact(&mut bytes)?;
        Ok(Some((u64::from_le_bytes(key), bytes.into())))
    }
}

/// A stretch of the file, read without moving anybody else's position.
#[derive(Debug)]
struct Part {
    file: Arc<File>,
    at: u64,
    end: u64,
}

impl Read for Part {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min((self.end - self.at) as usize);
        let read = self.file.read_at(&mut buffer[..most], self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_goes_in_comes_out_in_order_however_small_the_chunks(
            keys in prop::collection::vec(0..50u64, 0..200),
            chunk in 1..2000usize,
        ) {
            let folder = tempfile::tempdir().unwrap();
            let mut sorter = Sorter::with_chunk(folder.path(), chunk).unwrap();
            for (place, key) in keys.iter().enumerate() {
                sorter.push(*key, place.to_string().as_bytes()).unwrap();
            }
            let sorted: Vec<(u64, usize)> = sorter
                .sorted()
                .unwrap()
                .map(|item| {
                    let (key, bytes) = item.unwrap();
                    (key, std::str::from_utf8(&bytes).unwrap().parse().unwrap())
                })
                .collect();
            let mut expected: Vec<(u64, usize)> =
                keys.iter().enumerate().map(|(place, key)| (*key, place)).collect();
            expected.sort_unstable();
            prop_assert_eq!(sorted, expected);
        }
    }
}
