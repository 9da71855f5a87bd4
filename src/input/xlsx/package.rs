//! The zip archive that a workbook is: which parts it has, and the bytes of each.
//!
//! Bounds what a part becomes when it is unpacked by what really comes out of it, whatever the archive says.

use std::io::{self, ErrorKind, Read};
use std::sync::Arc;

use crate::gzip::DeflateDecoder;
use crate::input::spool::{Section, Spool};

/// How long the list of parts may be, in bytes. This bounds memory.
const LONGEST_LIST: u64 = 4 << 20;

/// How many times as long as its packed bytes a part may be: real sheets stay below a twentieth of that, and
/// no more than 1,032 times is possible.
const MOST_TIMES: u64 = 200;

/// How long a part may be however well it is packed.
const ALWAYS: u64 = 16 << 20;

const END: &[u8] = b"PK\x05\x06";
const END_64: &[u8] = b"PK\x06\x06";
const LOCATOR_64: &[u8] = b"PK\x06\x07";
const ENTRY: &[u8] = b"PK\x01\x02";
const LOCAL: &[u8] = b"PK\x03\x04";

pub struct Package {
    spool: Arc<Spool>,
    parts: Vec<Part>,
}

struct Part {
    name: String,
    encrypted: bool,
    method: u16,
    crc32: u32,
    packed: u64,
    header: u64,
}

pub fn broken(what: impl std::fmt::Display) -> io::Error {
    let advice = "open it in Excel and save it again, or save the sheet as CSV UTF-8";
    io::Error::new(ErrorKind::InvalidData, format!("broken workbook: {what}; {advice}"))
}

impl Package {
    /// Reads the list of parts.
    pub fn open(spool: Spool) -> io::Result<Self> {
        let (start, length, base) = find_list(&spool)?;
        if length > LONGEST_LIST {
            return Err(broken("it has too many parts"));
        }
        let mut list = vec![0; usize::try_from(length).unwrap_or_default()];
        spool
            .read_exact_at(&mut list, start)
            .map_err(|_| broken("its list of parts is cut off"))?;
        let mut parts = Vec::new();
        let mut rest = &list[..];
        while rest.starts_with(ENTRY) {
            let (part, after) =
                Part::read(rest, base).ok_or_else(|| broken("its list of parts is damaged"))?;
            parts.push(part);
            rest = after;
        }
        Ok(Self { spool: Arc::new(spool), parts })
    }

    /// The parts' names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().map(|part| &*part.name)
    }

    /// Whether there is such a part. Case does not matter.
    pub fn has(&self, name: &str) -> bool {
        self.names().any(|part| part.eq_ignore_ascii_case(name))
    }

    /// A part's bytes, at most `limit` of them: where there are more, reading fails.
    pub fn part(&self, name: &str, limit: u64) -> io::Result<Unpacked> {
        let found = self.parts.iter().find(|part| part.name.eq_ignore_ascii_case(name));
        let part = found.ok_or_else(|| broken(format_args!("it has no {name}")))?;
        if part.encrypted {
            return Err(broken(format_args!("{name} is encrypted; save it without a password")));
        }
        let mut header = [0; 30];
        self.spool
            .read_exact_at(&mut header, part.header)
            .ok()
            .filter(|()| header.starts_with(LOCAL))
            .ok_or_else(|| broken(format_args!("{name} is not where it should be")))?;
        let skipped = 30 + u64::from(short(&header, 26)) + u64::from(short(&header, 28));
        let at = part.header.saturating_add(skipped);
        let packed = part.packed.min(self.spool.len().saturating_sub(at));
        let section = Section::new(Arc::clone(&self.spool), at, packed);
        let from = match part.method {
            0 => Method::Stored(section),
            8 => Method::Deflated(Box::new(DeflateDecoder::new(section))),
            other => {
                return Err(broken(format_args!("{name} is packed by a method ({other}) unknown")));
            }
        };
        Ok(Unpacked {
            name: part.name.clone(),
            from,
            left: limit.min(packed.saturating_mul(MOST_TIMES).max(ALWAYS)),
            hash: crc32fast::Hasher::new(),
            crc32: part.crc32,
        })
    }
}

impl Part {
    /// One entry of the list, and what follows it.
    fn read(entry: &[u8], base: u64) -> Option<(Self, &[u8])> {
        let (head, rest) = entry.split_at_checked(46)?;
        let [name, extra, comment] = [28, 30, 32].map(|at| usize::from(short(head, at)));
        let (name, rest) = rest.split_at_checked(name)?;
        let (extra, rest) = rest.split_at_checked(extra)?;
        let rest = rest.get(comment..)?;
        let [packed, size, header] = [20, 24, 42].map(|at| u64::from(long(head, at)));
        let mut wide = wide_fields(extra);
        // Those that did not fit stand in the extra field, in this order.
        let [_, packed, header] = [size, packed, header].map(|field| match field {
            0xffff_ffff => wide.next().unwrap_or(field),
            _ => field,
        });
        let name = String::from_utf8_lossy(name).replace('\\', "/");
        let part = Self {
            name: name.trim_start_matches('/').to_owned(),
            encrypted: short(head, 8) & 1 == 1,
            method: short(head, 10),
            crc32: long(head, 16),
            packed,
            header: header.checked_add(base)?,
        };
        Some((part, rest))
    }
}

/// The numbers of an entry's zip64 field.
fn wide_fields(mut extra: &[u8]) -> impl Iterator<Item = u64> {
    let mut found = &[][..];
    while let Some((head, rest)) = extra.split_at_checked(4) {
        let Some((field, rest)) = rest.split_at_checked(usize::from(short(head, 2))) else { break };
        if short(head, 0) == 1 {
            found = field;
        }
        extra = rest;
    }
    found.chunks_exact(8).map(|number| wide(number, 0))
}

/// Where the list of parts starts, how long it is, and how many bytes stand before the archive.
fn find_list(spool: &Spool) -> io::Result<(u64, u64, u64)> {
    let cut_off = || broken("its end is missing, as of a file that was not copied whole");
    let length = spool.len();
    // The end is 22 bytes and a comment of up to 64 KiB.
    let from = length.saturating_sub(22 + 0xffff);
    let mut tail = vec![0; (length - from) as usize];
    spool.read_exact_at(&mut tail, from)?;
    let last = tail.len().checked_sub(22).ok_or_else(cut_off)?;
    let is_end = |at: &usize| {
        tail[*at..].starts_with(END) && at + 22 + usize::from(short(&tail, at + 20)) <= tail.len()
    };
    let end = (0..=last).rev().find(is_end).ok_or_else(cut_off)?;
    let (mut size, mut start) =
        (u64::from(long(&tail, end + 12)), u64::from(long(&tail, end + 16)));
    let mut list_end = from + end as u64;
    if (size == 0xffff_ffff || start == 0xffff_ffff || short(&tail, end + 10) == 0xffff)
        && let Some(locator) = end.checked_sub(20).filter(|at| tail[*at..].starts_with(LOCATOR_64))
    {
        let at = wide(&tail, locator + 8);
        let mut record = [0; 56];
        spool.read_exact_at(&mut record, at).map_err(|_| cut_off())?;
        if !record.starts_with(END_64) {
            return Err(cut_off());
        }
        (size, start, list_end) = (wide(&record, 40), wide(&record, 48), at);
    }
    let base = list_end.checked_sub(size).and_then(|at| at.checked_sub(start));
    let base = base.ok_or_else(|| broken("its list of parts is not where it should be"))?;
    Ok((start + base, size, base))
}

/// A number of two bytes.
fn short(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

/// A number of four bytes.
fn long(bytes: &[u8], at: usize) -> u32 {
    u32::from(short(bytes, at)) | u32::from(short(bytes, at + 2)) << 16
}

/// A number of eight bytes.
fn wide(bytes: &[u8], at: usize) -> u64 {
    u64::from(long(bytes, at)) | u64::from(long(bytes, at + 4)) << 32
}

/// The bytes of a part, up to a limit.
pub struct Unpacked {
    name: String,
    from: Method,
    left: u64,
    hash: crc32fast::Hasher,
    crc32: u32,
}

enum Method {
    Stored(Section),
    Deflated(Box<DeflateDecoder<Section>>),
}

impl Unpacked {
    /// The part's name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Read for Unpacked {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        let read = match &mut self.from {
            Method::Stored(from) => from.read(out),
            Method::Deflated(from) => from.read(out),
        };
        let read =
            read.map_err(|error| broken(format_args!("{} can't be unpacked: {error}", self.name)))?;
        if read == 0 && self.hash.clone().finalize() != self.crc32 {
            return Err(broken(format_args!("{} is damaged", self.name)));
        }
        self.hash.update(&out[..read]);
        self.left = self.left.checked_sub(read as u64).ok_or_else(|| {
            let what = format!(
                "{} becomes too large when it is unpacked; save the sheet as CSV UTF-8",
                self.name
            );
            io::Error::new(ErrorKind::InvalidData, what)
        })?;
        Ok(read)
    }
}
