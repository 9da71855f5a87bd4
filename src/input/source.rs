//! The source of bytes: a file or standard input. Bytes are hashed as they come, then decompressed.
//!
//! Knows nothing of text.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Chain, Cursor, ErrorKind, Read};
use std::path::PathBuf;

use super::error::InputError;
use super::spool::Spool;
use super::xlsx;
use crate::gzip::{self, MultiGzDecoder};
use crate::input::digest::{Digest, Hasher};

/// An input that the user names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file, or anything else that can be opened by its name.
    Path(PathBuf),
    /// Standard input.
    Stdin,
}

impl Source {
    /// Whether it can be opened a second time and gives the same bytes again.
    pub fn is_regular_file(&self) -> bool {
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

/// Reads a source to its end and hashes it, without looking into it.
pub fn digest_of(source: &Source) -> Result<Digest, InputError> {
    Raw::open(source)?.finish().map_err(|error| InputError::unreadable(source, error))
}

/// About how many rows the sources hold, by their line breaks. `None` where one is compressed or no
/// file.
pub fn about_how_many(sources: &[Source]) -> Option<u64> {
    sources.iter().map(about_how_many_in).sum()
}

fn about_how_many_in(source: &Source) -> Option<u64> {
    let Source::Path(path) = source else { return None };
    if !source.is_regular_file() {
        return None;
    }
    let mut file = BufReader::with_capacity(1 << 16, File::open(path).ok()?);
    let start = file.fill_buf().ok()?;
    if [GZIP, ZSTD, xlsx::SIGNATURE].iter().any(|signature| start.starts_with(signature)) {
        return None;
    }
    let header = u64::from(!start.starts_with(b"{"));
    let mut breaks = 0_u64;
    loop {
        let block = file.fill_buf().ok()?;
        if block.is_empty() {
            return Some(breaks.saturating_sub(header));
        }
        breaks += block.iter().filter(|byte| **byte == b'\n').count() as u64;
        let length = block.len();
        file.consume(length);
    }
}

/// The bytes of a source as they come, hashed on the way.
pub(super) struct Raw {
    name: String,
    from: Box<dyn Read + Send>,
    /// The same, where it can be read at any place.
    file: Option<File>,
    /// The first bytes, where they were looked at and not read.
    start: Cursor<Vec<u8>>,
    hasher: Hasher,
}

impl Raw {
    pub(super) fn open(source: &Source) -> Result<Self, InputError> {
        let path = match source {
            Source::Stdin => return Ok(Self::new(source.to_string(), Box::new(io::stdin()))),
            Source::Path(path) if path.is_dir() => {
                return Err(InputError::Folder { file: source.to_string() });
            }
            Source::Path(path) => path,
        };
        let file = File::open(path).map_err(|error| InputError::unreadable(source, error))?;
        let is_regular = file.metadata().is_ok_and(|found| found.is_file());
        // Reading at a place does not move the other's place.
        let clone = if is_regular { file.try_clone().ok() } else { None };
        Ok(Self { file: clone, ..Self::new(source.to_string(), Box::new(file)) })
    }

    pub(super) fn new(name: String, from: Box<dyn Read + Send>) -> Self {
        Self { name, from, file: None, start: Cursor::default(), hasher: Hasher::default() }
    }

    /// Whether the bytes are a workbook's, or at least a zip archive's or an old workbook's. Nothing is read
    /// of them by that.
    pub(super) fn is_workbook(&mut self) -> io::Result<bool> {
        let signatures = [xlsx::SIGNATURE, xlsx::OLE_SIGNATURE];
        let start = read_signature(self, &signatures)?;
        let is_workbook = signatures.contains(&&*start);
        self.start = Cursor::new(start);
        Ok(is_workbook)
    }

    /// All bytes, to be read at any place.
    pub(super) fn spool(&mut self) -> io::Result<Spool> {
        let is_old = self.start.get_ref() == xlsx::OLE_SIGNATURE;
        let spool = match self.file.take() {
            Some(file) => Spool::of_file(file)?,
            None => Spool::of_read(self)?,
        };
        if is_old {
            return Err(io::Error::new(ErrorKind::InvalidData, xlsx::described_ole(&spool)));
        }
        Ok(spool)
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Reads the rest, only to hash it.
    pub(super) fn finish(mut self) -> io::Result<Digest> {
        io::copy(&mut BufReader::with_capacity(1 << 16, &mut self), &mut io::sink())?;
        Ok(self.hasher.digest(self.name))
    }
}

impl Read for Raw {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.start.read(out)?;
        if read > 0 || out.is_empty() {
            return Ok(read);
        }
        loop {
            match self.from.read(out) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(read) => {
                    self.hasher.update(&out[..read]);
                    return Ok(read);
                }
            }
        }
    }
}

const GZIP: &[u8] = gzip::SIGNATURE;
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

type Started = Chain<Cursor<Vec<u8>>, Raw>;

/// The bytes of a source, decompressed if their first bytes say so.
pub(super) enum Inflate {
    Plain(Started),
    /// flate2 asks for more input before it gives the rest of a large output: the last rows of a burst
    /// over 32 KiB on a slow pipe may have to wait for the next burst.
    Gzip(MultiGzDecoder<Started>),
    Zstd(zstd::Decoder<'static, BufReader<Started>>),
}

impl Inflate {
    pub(super) fn new(mut raw: Raw) -> io::Result<Self> {
        let start = read_signature(&mut raw, &[GZIP, ZSTD])?;
        let is = |signature: &[u8]| start == signature;
        let (gzip, zstd) = (is(GZIP), is(ZSTD));
        let started = Cursor::new(start).chain(raw);
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

/// Reads only while the bytes may still become one of the signatures, so that a slow pipe is not waited
/// for longer than needed. The caller puts the bytes back.
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
