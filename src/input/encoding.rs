//! Decodes bytes to UTF-8. The encoding is told, or found by its byte order mark or by the bytes.
//!
//! Bytes that can't be decoded are never replaced by something that looks like text: UTF-8 is passed on
//! as it is, and in other encodings the byte 0xFF, which no UTF-8 holds, stands for them. So whoever
//! uses a cell sees that it is damaged, and damage in a cell that nobody uses does no harm.

use std::fmt;
use std::io::{self, ErrorKind, Read};
use std::str::FromStr;

use encoding_rs::{DecoderResult, GB18030, UTF_8, UTF_16BE, UTF_16LE};

/// How many bytes, from the first non-ASCII one on, are judged where they can be had without waiting.
const WINDOW: usize = 1 << 16;

/// How many non-ASCII characters of UTF-8 settle that it is UTF-8. Half of GB18030's common characters
/// can't even begin a UTF-8 sequence.
const ENOUGH: usize = 8;

/// The byte order marks.
const MARKS: [&[u8]; 3] = [b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff"];

/// Stands for bytes that can't be decoded.
const UNDECODABLE: u8 = 0xff;

/// A text encoding by its usual names (`utf-8`, `utf-16`, `gb18030`, `gbk`, `big5` …).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Encoding(&'static encoding_rs::Encoding);

/// The name of no known encoding.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no encoding that is known; try utf-8, utf-16 or gb18030")]
pub struct UnknownEncoding(String);

impl FromStr for Encoding {
    type Err = UnknownEncoding;

    fn from_str(name: &str) -> Result<Self, UnknownEncoding> {
        encoding_rs::Encoding::for_label_no_replacement(name.as_bytes())
            .map(Self)
            .ok_or_else(|| UnknownEncoding(name.to_owned()))
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name())
    }
}

impl fmt::Debug for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Encoding({self})")
    }
}

/// Why the text can't be read on.
#[derive(Clone, Copy, Debug, thiserror::Error)]
enum Undecodable {
    #[error(
        "the text from here on is neither clearly UTF-8 nor GB18030 (what is no UTF-8 comes \
         {lines} lines further on); say what it is with --encoding, e.g. --encoding gb18030"
    )]
    Unclear { lines: usize },
    #[error("this line is not valid {0}; if the file is whole, say what it is with --encoding")]
    Malformed(&'static str),
}

enum Mode {
    /// No mark, and no encoding was told: ASCII so far, and this many characters that may be UTF-8.
    Undecided { seen: usize },
    /// Bytes pass as they are.
    Utf8,
    /// Bytes are decoded.
    Other(encoding_rs::Decoder),
    /// Everything was read.
    End,
}

/// Reads text of any encoding as UTF-8.
pub(crate) struct Decoder<R> {
    from: R,
    /// The source is a file, so that reading more costs no waiting.
    patient: bool,
    mode: Mode,
    /// Bytes that were read and not yet passed on.
    pending: Vec<u8>,
    /// How many of the pending bytes pass as they are.
    ready: usize,
    failed: Option<Undecodable>,
}

impl<R: Read> Decoder<R> {
    /// Takes off the byte order mark, if there is one.
    pub(crate) fn new(from: R, said: Option<Encoding>, patient: bool) -> io::Result<Self> {
        let mut decoder = Self {
            from,
            patient,
            mode: Mode::Undecided { seen: 0 },
            pending: Vec::new(),
            ready: 0,
            failed: None,
        };
        let may_become_mark = |bytes: &[u8]| {
            let longer = |mark: &&[u8]| mark.len() > bytes.len() && mark.starts_with(bytes);
            MARKS.iter().any(longer)
        };
        while may_become_mark(&decoder.pending) && decoder.refill()? {}
        let marked = encoding_rs::Encoding::for_bom(&decoder.pending);
        let encoding = match (said.map(|said| said.0), marked) {
            // "utf-16" alone does not say which byte order.
            (Some(said), Some((mark, _))) if is_utf16(said) && is_utf16(mark) => Some(mark),
            (Some(said), _) => Some(said),
            (None, marked) => marked.map(|(mark, _)| mark),
        };
        if let Some((mark, length)) = marked
            && encoding == Some(mark)
        {
            decoder.pending.drain(..length);
        }
        if let Some(encoding) = encoding {
            decoder.mode = if encoding == UTF_8 {
                Mode::Utf8
            } else {
                Mode::Other(encoding.new_decoder_without_bom_handling())
            };
        }
        Ok(decoder)
    }

    pub(super) fn into_inner(self) -> R {
        self.from
    }

    /// One more read; false at the end.
    fn refill(&mut self) -> io::Result<bool> {
        let length = self.pending.len();
        self.pending.resize(length + WINDOW, 0);
        let read = self.from.read(&mut self.pending[length..]);
        self.pending.truncate(length + *read.as_ref().unwrap_or(&0));
        Ok(read? > 0)
    }

    /// Passes on bytes that need no decoding.
    fn pass(&mut self, out: &mut [u8]) -> usize {
        let length = self.ready.min(out.len());
        out[..length].copy_from_slice(&self.pending[..length]);
        self.pending.drain(..length);
        self.ready -= length;
        length
    }

    /// Passes ASCII on and keeps the bytes after it to be judged.
    fn read_ascii(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(out)?;
        if read == 0 {
            self.mode = Mode::End;
        }
        let ascii = ascii_prefix(&out[..read]);
        self.pending.extend_from_slice(&out[ascii..read]);
        Ok(ascii)
    }

    /// Decides the encoding of the pending bytes, of which the first is not ASCII.
    fn judge(&mut self, seen: usize) -> io::Result<()> {
        let mut more = true;
        while more
            && (self.patient && self.pending.len() < WINDOW
                || cut_off(&self.pending) == self.pending.len())
        {
            more = self.refill()?;
        }
        let cut = if more { cut_off(&self.pending) } else { 0 };
        let judged = &self.pending[..self.pending.len() - cut];
        let found = Utf8Share::of(judged);
        if found.invalid == 0 {
            self.ready = judged.len();
            let seen = seen + found.characters;
            self.mode = if seen < ENOUGH { Mode::Undecided { seen } } else { Mode::Utf8 };
        } else if seen == 0 && !found.is_large() && is_gb18030(&self.pending, !more) {
            self.mode = Mode::Other(GB18030.new_decoder_without_bom_handling());
        } else {
            let utf8 = judged.utf8_chunks().next().map_or("", |chunk| chunk.valid());
            let lines = utf8.matches('\n').count();
            self.failed = Some(Undecodable::Unclear { lines });
        }
        Ok(())
    }

    fn read_other(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            let last = self.pending.is_empty() && !self.refill()?;
            let Mode::Other(decoder) = &mut self.mode else {
                return Ok(0);
            };
            // One byte is left for `UNDECODABLE`.
            let room = out.len() - 1;
            let (result, read, written) =
                decoder.decode_to_utf8_without_replacement(&self.pending, &mut out[..room], last);
            let encoding = decoder.encoding();
            self.pending.drain(..read);
            if let DecoderResult::Malformed(..) = result {
                if is_utf16(encoding) {
                    self.failed = Some(Undecodable::Malformed(encoding.name()));
                    return Ok(written);
                }
                out[written] = UNDECODABLE;
                return Ok(written + 1);
            }
            if last && result == DecoderResult::InputEmpty {
                self.mode = Mode::End;
                return Ok(written);
            }
            if written > 0 {
                return Ok(written);
            }
        }
    }
}

impl<R: Read> Read for Decoder<R> {
    /// `out` must have room for 16 bytes.
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.ready > 0 {
                return Ok(self.pass(out));
            }
            if let Some(error) = self.failed {
                return Err(io::Error::new(ErrorKind::InvalidData, error));
            }
            let read = match self.mode {
                Mode::End => return Ok(0),
                Mode::Utf8 if self.pending.is_empty() => return self.from.read(out),
                Mode::Utf8 => {
                    self.ready = self.pending.len();
                    0
                }
                Mode::Undecided { .. } if self.pending.is_empty() => self.read_ascii(out)?,
                Mode::Undecided { seen } => {
                    self.ready = ascii_prefix(&self.pending);
                    if self.ready == 0 {
                        self.judge(seen)?;
                    }
                    0
                }
                Mode::Other(_) => self.read_other(out)?,
            };
            if read > 0 {
                return Ok(read);
            }
        }
    }
}

fn is_utf16(encoding: &'static encoding_rs::Encoding) -> bool {
    encoding == UTF_16LE || encoding == UTF_16BE
}

/// The length of the UTF-8 sequence that is cut off by the end of the bytes.
fn cut_off(bytes: &[u8]) -> usize {
    let is_begun = |length: &usize| {
        let tail = &bytes[bytes.len() - length..];
        str::from_utf8(tail)
            .is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
    };
    (1..=bytes.len().min(3)).find(is_begun).unwrap_or(0)
}

fn ascii_prefix(bytes: &[u8]) -> usize {
    let end = bytes.iter().position(|byte| !byte.is_ascii());
    end.unwrap_or(bytes.len())
}

/// How much of the non-ASCII bytes of a text is UTF-8.
#[derive(Default)]
struct Utf8Share {
    characters: usize,
    /// How many bytes the characters take.
    valid: usize,
    /// How many bytes belong to no character.
    invalid: usize,
}

impl Utf8Share {
    fn of(bytes: &[u8]) -> Self {
        let mut share = Self::default();
        for chunk in bytes.utf8_chunks() {
            for character in chunk.valid().chars().filter(|c| !c.is_ascii()) {
                share.characters += 1;
                share.valid += character.len_utf8();
            }
            share.invalid += chunk.invalid().len();
        }
        share
    }

    /// Whether the share is too large for chance: about a third of Chinese text in GB18030 passes for
    /// UTF-8.
    fn is_large(&self) -> bool {
        self.valid > 2 * self.invalid
    }
}

fn is_gb18030(bytes: &[u8], last: bool) -> bool {
    let mut decoder = GB18030.new_decoder_without_bom_handling();
    let room = decoder.max_utf8_buffer_length_without_replacement(bytes.len());
    let mut out = vec![0; room.unwrap_or(0)];
    let (result, ..) = decoder.decode_to_utf8_without_replacement(bytes, &mut out, last);
    result == DecoderResult::InputEmpty
}
