//! Bytes that can be read at any place: a file, or what came from a pipe. The latter are in memory while they
//! are few, and in a file without a name where they are more.
//!
//! Knows nothing of what the bytes are.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// How many bytes stay in memory.
const IN_MEMORY: usize = 8 << 20;

#[derive(Default)]
pub struct Spool {
    file: Option<File>,
    on_disk: u64,
    /// What comes behind the bytes in the file.
    memory: Vec<u8>,
}

impl Spool {
    /// The bytes of a file that can be read at any place.
    pub fn of_file(file: File) -> io::Result<Self> {
        let on_disk = file.metadata()?.len();
        Ok(Self { file: Some(file), on_disk, memory: Vec::new() })
    }

    /// All that can be read.
    pub fn of_read(mut from: impl Read) -> io::Result<Self> {
        let mut spool = Self::default();
        let mut block = vec![0; 1 << 16];
        loop {
            let read = from.read(&mut block)?;
            if read == 0 {
                return Ok(spool);
            }
            spool.push(&block[..read])?;
        }
    }

    /// Appends bytes.
    pub fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.memory.extend_from_slice(bytes);
        if self.memory.len() < IN_MEMORY {
            return Ok(());
        }
        self.write_out().map_err(|error| {
            let folder = std::env::temp_dir();
            let what = format!(
                "can't be kept in {}: {error}; the variable TMPDIR names another folder",
                folder.display()
            );
            io::Error::new(error.kind(), what)
        })
    }

    fn write_out(&mut self) -> io::Result<()> {
        let mut file = match self.file.take() {
            Some(file) => file,
            None => tempfile::tempfile()?,
        };
        file.write_all(&self.memory)?;
        self.file = Some(file);
        self.on_disk += self.memory.len() as u64;
        self.memory.clear();
        Ok(())
    }

    /// How many bytes there are.
    pub fn len(&self) -> u64 {
        self.on_disk + self.memory.len() as u64
    }

    /// Reads some bytes at a place; none at the end.
    pub fn read_at(&self, out: &mut [u8], at: u64) -> io::Result<usize> {
        if let (Some(file), true) = (&self.file, at < self.on_disk) {
            let most = usize::try_from(self.on_disk - at).unwrap_or(usize::MAX);
            let length = out.len().min(most);
            return file.read_at(&mut out[..length], at);
        }
        let start = usize::try_from(at - self.on_disk).unwrap_or(usize::MAX);
        let rest = self.memory.get(start..).unwrap_or_default();
        let length = rest.len().min(out.len());
        out[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }

    /// Fills `out` from a place on.
    pub fn read_exact_at(&self, mut out: &mut [u8], mut at: u64) -> io::Result<()> {
        while !out.is_empty() {
            match self.read_at(out, at) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => {
                    out = &mut out[read..];
                    at += read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// A part of a spool, to be read from its start to its end.
pub struct Section {
    spool: Arc<Spool>,
    at: u64,
    end: u64,
}

impl Section {
    /// So many bytes from a place on.
    pub fn new(spool: Arc<Spool>, at: u64, length: u64) -> Self {
        Self { spool, at, end: at.saturating_add(length) }
    }
}

impl Read for Section {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let length = out.len().min(most);
        let read = self.spool.read_at(&mut out[..length], self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_in_memory_and_on_disk_are_read_alike() {
        let bytes: Vec<u8> = (0..IN_MEMORY + 70_000).map(|at| (at % 251) as u8).collect();
        let spool = Spool::of_read(&bytes[..]).unwrap();
        assert_eq!(spool.len(), bytes.len() as u64);
        assert!(spool.file.is_some() && !spool.memory.is_empty());
        for at in [0, 5, IN_MEMORY - 3, IN_MEMORY + 10, bytes.len() - 9] {
            let mut out = [0; 9];
            spool.read_exact_at(&mut out, at as u64).unwrap();
            assert_eq!(out, bytes[at..at + 9], "{at}");
        }
        let end = spool.len();
        assert_eq!(spool.read_at(&mut [0; 9], end).unwrap(), 0);
        assert_eq!(spool.read_at(&mut [0; 9], end + 7).unwrap(), 0);
        let mut all = Vec::new();
        Section::new(Arc::new(spool), 0, u64::MAX).read_to_end(&mut all).unwrap();
        assert!(all == bytes);
    }
}
