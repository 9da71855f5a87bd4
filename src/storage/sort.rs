//! Sorting more than fits into memory: by numbers, in sorted runs on disk, merged.
//!
//! Owns the temporary file, which has no name and is gone with the process. Knows nothing of what it
//! sorts, but expects it to be nearly in order, as a journal's outcomes are: whenever a new item comes,
//! the least in memory goes to disk (replacement selection), so a run ends only where an item comes too
//! late for it. Then there are few runs, however many rows, and a merge holds little in memory.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, binary_heap};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::marker::PhantomData;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// Memory for items that are not on disk yet: more than 8,192 outcomes of the usual size, which is how
/// far rows overtake each other. Small, since a check has up to four sorters at a time.
const MEMORY: usize = 4 << 20;
/// How much a merge reads ahead of each run.
const READ_AHEAD: usize = 16 << 10;
/// What items are sorted by: a number, or several.
pub trait Key: Copy + Ord {
    /// What it takes on disk.
    type Bytes: AsRef<[u8]> + AsMut<[u8]> + Default;

    /// As it is kept on disk.
    fn to_bytes(self) -> Self::Bytes;

    /// Read back from there.
    fn of_bytes(bytes: &Self::Bytes) -> Self;
}

impl Key for u64 {
    type Bytes = [u8; 8];

    fn to_bytes(self) -> [u8; 8] {
        self.to_le_bytes()
    }

    fn of_bytes(bytes: &[u8; 8]) -> Self {
        Self::from_le_bytes(*bytes)
    }
}

/// Of an association: the number of its model association, its source and its target.
impl Key for (u32, u64, u64) {
    type Bytes = [u8; 20];

    fn to_bytes(self) -> [u8; 20] {
        let mut bytes = [0; 20];
        bytes[..4].copy_from_slice(&self.0.to_le_bytes());
        bytes[4..12].copy_from_slice(&self.1.to_le_bytes());
        bytes[12..].copy_from_slice(&self.2.to_le_bytes());
        bytes
    }

    fn of_bytes(bytes: &[u8; 20]) -> Self {
        let at = |from: usize| bytes[from..].first_chunk().map_or(0, |n| u64::from_le_bytes(*n));
        let number = bytes.first_chunk().map_or(0, |n| u32::from_le_bytes(*n));
        (number, at(4), at(12))
    }
}

/// An item in memory. The order of the fields is the order in which items leave it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Item<K> {
    /// The run on disk that it belongs to.
    run: u32,
    key: K,
    /// How many items came before it.
    place: u64,
    bytes: Box<[u8]>,
}

/// Takes items in any order, and gives them sorted.
#[derive(Debug)]
pub struct Sorter<K: Key = u64> {
    memory: usize,
    heap: BinaryHeap<Reverse<Item<K>>>,
    /// Bytes that the heap takes.
    held: usize,
    taken: u64,
    out: BufWriter<File>,
    /// Where the next byte goes.
    at: u64,
    /// The run that is being written, where it starts, and its last key.
    run: u32,
    start: u64,
    last: Option<K>,
    /// Where each ended run lies in the file.
    runs: Vec<(u64, u64)>,
}

impl<K: Key> Sorter<K> {
    /// The memory of an item besides its bytes: its place in the heap, and the allocator's share.
    const OVERHEAD: usize = size_of::<Item<K>>() + 16;

    /// A sorter whose runs are on the disk of `folder`. Items in random order make runs of twice the
    /// memory, and a merge holds 16 KiB of each.
    pub fn new(folder: &Path) -> io::Result<Self> {
        Self::with_memory(folder, MEMORY)
    }

    fn with_memory(folder: &Path, memory: usize) -> io::Result<Self> {
        let file = tempfile::tempfile_in(folder)?;
        Ok(Self {
            memory,
            heap: BinaryHeap::new(),
            held: 0,
            taken: 0,
            out: BufWriter::with_capacity(64 << 10, file),
            at: 0,
            run: 0,
            start: 0,
            last: None,
            runs: Vec::new(),
        })
    }

    /// Takes an item. Items with equal keys come out in the order in which they came.
    pub fn push(&mut self, key: K, bytes: &[u8]) -> io::Result<()> {
        while self.held + bytes.len() + Self::OVERHEAD > self.memory && self.write_least()? {}
        let late = self.last.is_some_and(|last| key < last);
        self.heap.push(Reverse(Item {
            run: self.run + u32::from(late),
            key,
            place: self.taken,
            bytes: bytes.into(),
        }));
        self.held += bytes.len() + Self::OVERHEAD;
        self.taken += 1;
        Ok(())
    }

    /// Moves the least item to disk; false if there is none.
    fn write_least(&mut self) -> io::Result<bool> {
        let Some(Reverse(item)) = self.heap.pop() else {
            return Ok(false);
        };
        if item.run != self.run {
            self.end_run();
            self.run = item.run;
        }
        let key = item.key.to_bytes();
        self.out.write_all(key.as_ref())?;
        self.out.write_all(&(item.bytes.len() as u32).to_le_bytes())?;
        self.out.write_all(&item.bytes)?;
        self.at += (key.as_ref().len() + 4 + item.bytes.len()) as u64;
        self.last = Some(item.key);
        self.held -= item.bytes.len() + Self::OVERHEAD;
        Ok(true)
    }

    fn end_run(&mut self) {
        if self.start < self.at {
            self.runs.push((self.start, self.at));
        }
        self.start = self.at;
    }

    /// Gives the items in order, as often as that is asked for.
    pub fn spooled(mut self) -> io::Result<Runs<K>> {
        while self.write_least()? {}
        self.end_run();
        let file = Arc::new(self.out.into_inner().map_err(io::IntoInnerError::into_error)?);
        Ok(Runs { file, places: self.runs, key: PhantomData })
    }

    /// Gives the items in order.
    pub fn sorted(mut self) -> io::Result<Sorted<K>> {
        self.end_run();
        let file = Arc::new(self.out.into_inner().map_err(io::IntoInnerError::into_error)?);
        let mut runs = files(&file, &self.runs);
        // Items still in memory came after their equals on disk, and need no run.
        let rest = self.heap.into_iter().map(|Reverse(item)| Reverse(Item { run: 0, ..item }));
        runs.push(Run::Memory(rest.collect()));
        Sorted::of(runs)
    }
}

fn files<K>(file: &Arc<File>, runs: &[(u64, u64)]) -> Vec<Run<K>> {
    let part = |&(start, end): &(u64, u64)| {
        let part = Part { file: Arc::clone(file), at: start, end };
        Run::File(BufReader::with_capacity(READ_AHEAD, part))
    };
    runs.iter().map(part).collect()
}

/// Sorted items on disk.
#[derive(Debug)]
pub struct Runs<K: Key> {
    file: Arc<File>,
    /// Where each run lies in the file.
    places: Vec<(u64, u64)>,
    key: PhantomData<K>,
}

impl<K: Key> Runs<K> {
    /// Reads them in order, from the first.
    pub fn read(&self) -> io::Result<Sorted<K>> {
        Sorted::of(files(&self.file, &self.places))
    }
}

/// The next item of a run: its key, which run, and its bytes.
type Head<K> = (K, usize, Box<[u8]>);

/// The items in order.
#[derive(Debug)]
pub struct Sorted<K: Key = u64> {
    runs: Vec<Run<K>>,
    heads: BinaryHeap<Reverse<Head<K>>>,
}

impl<K: Key> Sorted<K> {
    fn of(mut runs: Vec<Run<K>>) -> io::Result<Self> {
        let mut heads = BinaryHeap::with_capacity(runs.len());
        for (index, run) in runs.iter_mut().enumerate() {
            if let Some((key, bytes)) = run.next()? {
                heads.push(Reverse((key, index, bytes)));
            }
        }
        Ok(Self { runs, heads })
    }
}

impl<K: Key> Iterator for Sorted<K> {
    type Item = io::Result<(K, Box<[u8]>)>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut least = self.heads.peek_mut()?;
        let Reverse((_, index, _)) = *least;
        match self.runs[index].next() {
            Ok(Some((next, bytes))) => {
                let Reverse((key, _, bytes)) =
                    std::mem::replace(&mut *least, Reverse((next, index, bytes)));
                Some(Ok((key, bytes)))
            }
            Ok(None) => {
                let Reverse((key, _, bytes)) = binary_heap::PeekMut::pop(least);
                Some(Ok((key, bytes)))
            }
            Err(error) => {
                binary_heap::PeekMut::pop(least);
                Some(Err(error))
            }
        }
    }
}

#[derive(Debug)]
enum Run<K> {
    Memory(BinaryHeap<Reverse<Item<K>>>),
    File(BufReader<Part>),
}

impl<K: Key> Run<K> {
    fn next(&mut self) -> io::Result<Option<(K, Box<[u8]>)>> {
        let reader = match self {
            Self::Memory(heap) => {
                return Ok(heap.pop().map(|Reverse(item)| (item.key, item.bytes)));
            }
            Self::File(reader) => reader,
        };
        if reader.buffer().is_empty() && reader.get_ref().at == reader.get_ref().end {
            return Ok(None);
        }
        let (mut key, mut length) = (K::Bytes::default(), [0; 4]);
        reader.read_exact(key.as_mut())?;
        reader.read_exact(&mut length)?;
        let mut bytes = vec![0; u32::from_le_bytes(length) as usize];
        reader.read_exact(&mut bytes)?;
        Ok(Some((K::of_bytes(&key), bytes.into())))
    }
}

/// A part of the file, read at its own position.
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
        fn what_goes_in_comes_out_in_order_however_small_the_memory(
            keys in prop::collection::vec(0..50u64, 0..200),
            memory in 1..20_000usize,
            twice in any::<bool>(),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let mut sorter = Sorter::with_memory(folder.path(), memory).unwrap();
            for (place, key) in keys.iter().enumerate() {
                sorter.push(*key, place.to_string().as_bytes()).unwrap();
            }
            let read = |sorted: Sorted| -> Vec<(u64, usize)> {
                let item = |item: io::Result<(u64, Box<[u8]>)>| {
                    let (key, bytes) = item.unwrap();
                    (key, std::str::from_utf8(&bytes).unwrap().parse().unwrap())
                };
                sorted.map(item).collect()
            };
            let mut expected: Vec<(u64, usize)> =
                keys.iter().enumerate().map(|(place, key)| (*key, place)).collect();
            expected.sort_unstable();
            if twice {
                let runs = sorter.spooled().unwrap();
                prop_assert_eq!(read(runs.read().unwrap()), expected.clone());
                prop_assert_eq!(read(runs.read().unwrap()), expected);
            } else {
                prop_assert_eq!(read(sorter.sorted().unwrap()), expected);
            }
        }
    }

    proptest! {
        #[test]
        fn associations_are_sorted_by_model_source_and_target(
            keys in prop::collection::vec(any::<(u32, u64, u64)>(), 0..100),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let mut sorter = Sorter::with_memory(folder.path(), 500).unwrap();
            for key in &keys {
                sorter.push(*key, &[]).unwrap();
            }
            let sorted: Vec<_> = sorter.sorted().unwrap().map(|item| item.unwrap().0).collect();
            let mut expected = keys;
            expected.sort_unstable();
            prop_assert_eq!(sorted, expected);
        }
    }

    #[test]
    fn what_is_nearly_in_order_makes_one_run_however_much_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let mut sorter =
            Sorter::with_memory(folder.path(), 200 * (Sorter::<u64>::OVERHEAD + 8)).unwrap();
        // Items of a window of a hundred come in reverse, window after window.
        for window in 0..500_u64 {
            for key in (window * 100..(window + 1) * 100).rev() {
                sorter.push(key, &key.to_le_bytes()).unwrap();
            }
        }
        let sorted = sorter.sorted().unwrap();
        assert_eq!(sorted.runs.len(), 2, "one on disk, and what is in memory");
        for (expected, item) in (0..50_000_u64).zip(sorted) {
            let (key, bytes) = item.unwrap();
            assert_eq!((key, &*bytes), (expected, &expected.to_le_bytes()[..]));
        }
    }
}
