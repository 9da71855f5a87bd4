//! Where bytes come from: a file or standard input, hashed as they stand and then decompressed.
//!
//! Knows nothing of text.

use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{self, BufReader, Chain, Cursor, ErrorKind, Read};
use std::path::PathBuf;

use flate2::read::MultiGzDecoder;
use sha2::{Digest as _, Sha256};

use super::error::InputError;

/// What bkassoc is told to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file, or anything else that can be opened by its name.
    Path(PathBuf),
    /// Standard input.
    Stdin,
}

impl Source {
    /// Whether it can be opened a second time and gives the same again.
    pub(super) fn is_regular_file(&self) -> bool {
        match self {
            Self::Path(path) => path.metadata().is_ok_and(|found| found.is_file()),
            Self::Stdin => false,
        }
    }
}

/// `-` is standard input.
impl From<PathBuf> for Source {
    fn from(path: PathBuf) -> Self {
        if path.as_os_str() == "-" { Self::Stdin } else { Self::Path(path) }
    }
}

/// The name as it was given.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(f),
            Self::Stdin => f.write_str("-"),
        }
    }
}

/// What proves that an input is the same as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest {
    /// The name as it was given, `-` for standard input.
    pub name: String,
    /// SHA-256 of the bytes as they stand in the file (still compressed), in hex.
    pub sha256: String,
    /// How many bytes.
    pub bytes: u64,
}

/// Reads a source to its end and hashes it, without looking into it.
pub fn digest(source: &Source) -> Result<Digest, InputError> {
    Raw::open(source)?.finish().map_err(|error| InputError::unreadable(source, error))
}

/// The bytes of a source as they stand, hashed on the way.
pub(super) struct Raw {
    name: String,
    from: Box<dyn Read + Send>,
    hasher: Sha256,
    bytes: u64,
}

impl Raw {
    pub(super) fn open(source: &Source) -> Result<Self, InputError> {
        let from: Box<dyn Read + Send> = match source {
            Source::Stdin => Box::new(io::stdin()),
            Source::Path(path) => {
                if path.is_dir() {
                    return Err(InputError::Folder { file: source.to_string() });
                }
                Box::new(File::open(path).map_err(|error| InputError::unreadable(source, error))?)
            }
        };
        Ok(Self::new(source.to_string(), from))
    }

    pub(super) fn new(name: String, from: Box<dyn Read + Send>) -> Self {
        Self { name, from, hasher: Sha256::new(), bytes: 0 }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Reads what is left, for its hash alone.
    pub(super) fn finish(mut self) -> io::Result<Digest> {
        io::copy(&mut BufReader::with_capacity(1 << 16, &mut self), &mut io::sink())?;
        let mut sha256 = String::with_capacity(64);
        for byte in self.hasher.finalize() {
            // Writing to a String can't fail.
            let _ = write!(sha256, "{byte:02x}");
        }
        Ok(Digest { name: self.name, sha256, bytes: self.bytes })
    }
}

impl Read for Raw {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.from.read(out) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(read) => {
                    self.hasher.update(&out[..read]);
                    self.bytes += read as u64;
                    return Ok(read);
                }
            }
        }
    }
}

const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
const ZIP: &[u8] = b"PK\x03\x04";

type Started = Chain<Cursor<Vec<u8>>, Raw>;

/// The bytes of a source, decompressed if their first bytes say so.
pub(super) enum Inflate {
    Plain(Started),
    /// flate2 asks for more input before it gives the rest of what did not fit: of a burst over
    /// 32 KiB on a slow pipe, the last rows may wait for the next burst.
    Gzip(MultiGzDecoder<Started>),
    Zstd(zstd::Decoder<'static, BufReader<Started>>),
}

impl Inflate {
    pub(super) fn new(mut raw: Raw) -> io::Result<Self> {
        let start = read_signature(&mut raw, &[GZIP, ZSTD, ZIP])?;
        let is = |signature: &[u8]| start == signature;
        let (gzip, zstd, zip) = (is(GZIP), is(ZSTD), is(ZIP));
        let started = Cursor::new(start).chain(raw);
        if zip {
            return Err(io::Error::new(
                ErrorKind::InvalidData,
                "this is a zip archive or an Excel workbook; save the sheet as CSV UTF-8",
            ));
        }
        Ok(if gzip {
            Self::Gzip(MultiGzDecoder::new(started))
        } else if zstd {
            Self::Zstd(zstd::Decoder::new(started)?)
        } else {
            Self::Plain(started)
        })
    }

    pub(super) fn into_raw(self) -> Raw {
        let started = match self {
            Self::Plain(started) => started,
            Self::Gzip(decoder) => decoder.into_inner(),
            Self::Zstd(decoder) => decoder.finish().into_inner(),
        };
        started.into_inner().1
    }
}

impl Read for Inflate {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let (result, name) = match self {
            Self::Plain(from) => return from.read(out),
            Self::Gzip(from) => (from.read(out), "gzip"),
            Self::Zstd(from) => (from.read(out), "zstd"),
        };
        result.map_err(|error| io::Error::new(error.kind(), format!("broken {name} data: {error}")))
    }
}

/// Reads on only while what was read may still become one of the signatures, so that a slow pipe is
/// never waited on for more than is needed. The bytes are the caller's to put back.
fn read_signature(from: &mut Raw, signatures: &[&[u8]]) -> io::Result<Vec<u8>> {
    let mut start = Vec::with_capacity(4);
    let mut byte = [0];
    while signatures
        .iter()
        .any(|signature| signature.len() > start.len() && signature.starts_with(&start))
        && from.read(&mut byte)? == 1
    {
        start.push(byte[0]);
    }
    Ok(start)
}
