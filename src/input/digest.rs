//! Proof that a file has not changed: its length and its SHA-256. The only home of sha2.

use std::fmt::Write as _;
use std::io::{self, Write};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// A file's length and hash, of its bytes as they are on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest {
    /// The name as it was given, `-` for standard input.
    pub name: String,
    /// Lower-case hex.
    pub sha256: String,
    /// The file's length.
    pub bytes: u64,
}

/// Whether files have the same bytes, one by one.
pub fn are_same(files: &[Digest], others: &[Digest]) -> bool {
    files.len() == others.len()
        && files.iter().zip(others).all(|(file, other)| file.sha256 == other.sha256)
}

/// Hashes bytes as they pass.
#[derive(Debug, Default)]
pub struct Hasher {
    hash: Sha256,
    bytes: u64,
}

impl Hasher {
    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
    }

    /// The digest of the bytes, as a file of this name.
    pub fn digest(self, name: String) -> Digest {
        let bytes = self.bytes;
        Digest { name, sha256: self.sha256(), bytes }
    }

    /// The SHA-256 of the bytes, in lower-case hex.
    pub fn sha256(self) -> String {
        let mut hex = String::with_capacity(64);
        for byte in self.hash.finalize() {
            // Writing to a String can't fail.
            let _ = write!(hex, "{byte:02x}");
        }
        hex
    }
}

/// Hashes what is written through it.
#[derive(Debug)]
pub struct Hashing<W> {
    out: W,
    hasher: Hasher,
}

impl<W> Hashing<W> {
    /// Nothing is written yet.
    pub fn new(out: W) -> Self {
        Self { out, hasher: Hasher::default() }
    }

    /// What was written to, and the SHA-256 of all that was written, in lower-case hex.
    pub fn finish(self) -> (W, String) {
        (self.out, self.hasher.sha256())
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_of_all_bytes_in_whatever_pieces_they_came() {
        let mut hasher = Hasher::default();
        hasher.update(b"a");
        hasher.update(b"bc");
        let digest = hasher.digest("x".to_owned());
        // FIPS 180-2, appendix B.1.
        let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!((&*digest.name, &*digest.sha256, digest.bytes), ("x", sha256, 3));
    }
}
