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

/// An item's key, and where its bytes lie in those of the chunk.
type Item = (u64, u32, u32);

/// Takes items in any order.
#[derive(Debug)]
pub struct Sorter {
    items: Vec<Item>,
    /// All bytes of the chunk in one piece: many small ones would leave memory in splinters.
    bytes: Vec<u8>,
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

    /// A sorter that holds about `chunk` bytes in memory, for where there are several at a time. The
    /// smaller the chunks, the more there are, and a merge holds 16 KiB of each.
    pub fn with_chunk(folder: &Path, chunk: usize) -> io::Result<Self> {
        let file = tempfile::tempfile_in(folder)?;
        Ok(Self { items: Vec::new(), bytes: Vec::new(), chunk, file, chunks: Vec::new() })
    }

    /// Takes an item. Items with equal keys come out in the order in which they came.
    pub fn push(&mut self, key: u64, bytes: &[u8]) -> io::Result<()> {
        let size = self.bytes.len() + self.items.len() * size_of::<Item>();
        if size + bytes.len() > self.chunk && !self.items.is_empty() {
            self.spill()?;
        }
        self.items.push((key, self.bytes.len() as u32, bytes.len() as u32));
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn spill(&mut self) -> io::Result<()> {
        self.items.sort_by_key(|(key, ..)| *key);
        let start = self.file.seek(SeekFrom::End(0))?;
        let mut out = io::BufWriter::with_capacity(1 << 18, &self.file);
        for item in self.items.drain(..) {
            out.write_all(&item.0.to_le_bytes())?;
            out.write_all(&item.2.to_le_bytes())?;
            out.write_all(of(item, &self.bytes))?;
        }
        out.flush()?;
        drop(out);
        self.chunks.push((start, self.file.stream_position()?));
        self.bytes.clear();
        Ok(())
    }

    /// Gives the items in order.
    pub fn sorted(mut self) -> io::Result<Sorted> {
        if !self.chunks.is_empty() && !self.items.is_empty() {
            self.spill()?;
        }
        self.items.sort_by_key(|(key, ..)| *key);
        let file = Arc::new(self.file);
        let mut runs: Vec<Run> = (self.chunks.into_iter())
            .map(|(start, end)| {
                let part = Part { file: Arc::clone(&file), at: start, end };
                Run::File(io::BufReader::with_capacity(READ_AHEAD, part))
            })
            .collect();
        if !self.items.is_empty() {
            runs.push(Run::Memory(self.items.into_iter(), self.bytes));
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

/// The next item of a chunk: its key, which chunk, and its bytes.
type Head = (u64, usize, Box<[u8]>);

/// The items in order.
#[derive(Debug)]
pub struct Sorted {
    runs: Vec<Run>,
    heads: BinaryHeap<Reverse<Head>>,
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
    Memory(std::vec::IntoIter<Item>, Vec<u8>),
    File(io::BufReader<Part>),
}

impl Run {
    fn next(&mut self) -> io::Result<Option<(u64, Box<[u8]>)>> {
        let reader = match self {
            Self::Memory(items, bytes) => {
                return Ok(items.next().map(|item| (item.0, of(item, bytes).into())));
            }
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

fn of((_, start, length): Item, bytes: &[u8]) -> &[u8] {
    &bytes[start as usize..][..length as usize]
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
