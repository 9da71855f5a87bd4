//! A window on a source's text that counts lines. It never reads ahead of what it is asked for, so that
//! a row that has arrived on a pipe does not wait for the next one.

use std::io::{self, Read};

use super::encoding::{Decoder, Encoding};
use super::error::InputError;
use super::source::{Inflate, Raw};
use crate::input::digest::Digest;

/// How long one row may be, in bytes of UTF-8. This bounds memory.
pub(super) const MAX_RECORD: usize = 1 << 20;

/// The buffer's size, and twice the least room that a read gets.
const CHUNK: usize = 1 << 16;

pub(super) struct Text {
    file: String,
    from: Decoder<Inflate>,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    line: u64,
    after_cr: bool,
    /// The end was seen. Reading again would make a terminal ask for more input.
    ended: bool,
}

impl Text {
    /// Reads bytes, whatever their compression and encoding.
    pub(super) fn new(raw: Raw, encoding: Option<Encoding>, patient: bool) -> io::Result<Self> {
        let file = raw.name().to_owned();
        Ok(Self {
            file,
            from: Decoder::new(Inflate::new(raw)?, encoding, patient)?,
            buffer: vec![0; CHUNK],
            start: 0,
            end: 0,
            line: 1,
            after_cr: false,
            ended: false,
        })
    }

    /// The source's name.
    pub(super) fn file(&self) -> &str {
        &self.file
    }

    /// The line of the next byte. Lines end in `\n`, `\r\n` or `\r`.
    pub(super) fn line(&self) -> u64 {
        self.line
    }

    /// The bytes that were read and not yet consumed.
    pub(super) fn pending(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Consumes pending bytes and counts their lines.
    pub(super) fn consume(&mut self, length: usize) {
        for &byte in &self.buffer[self.start..self.start + length] {
            if byte == b'\r' || (byte == b'\n' && !self.after_cr) {
                self.line += 1;
            }
            self.after_cr = byte == b'\r';
        }
        self.start += length;
    }

    /// Reads once, so that more is pending; false at the end of the text.
    pub(super) fn fill(&mut self) -> Result<bool, InputError> {
        if self.pending().len() > MAX_RECORD {
            return Err(self.too_long(self.line));
        }
        if self.ended {
            return Ok(false);
        }
        // A long row that comes in small pieces is moved only once.
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.buffer.len() - self.end < CHUNK / 2 {
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        match self.from.read(&mut self.buffer[self.end..]) {
            Ok(read) => {
                self.end += read;
                self.ended = read == 0;
                Ok(!self.ended)
            }
            Err(error) => {
                Err(InputError::Broken { file: self.file.clone(), line: self.line, error })
            }
        }
    }

    /// Consumes empty lines; false at the end of the text.
    pub(super) fn skip_empty_lines(&mut self) -> Result<bool, InputError> {
        loop {
            let is_text = |byte: &u8| !matches!(byte, b'\r' | b'\n');
            let empty = self.pending().iter().position(is_text);
            self.consume(empty.unwrap_or(self.pending().len()));
            if empty.is_some() {
                return Ok(true);
            }
            if !self.fill()? {
                return Ok(false);
            }
        }
    }

    /// Reads until a byte that satisfies `wanted` is pending, and gives its place; none at the end.
    pub(super) fn find(
        &mut self,
        wanted: impl Fn(u8) -> bool,
    ) -> Result<Option<usize>, InputError> {
        let mut searched = 0;
        loop {
            let rest = &self.pending()[searched..];
            if let Some(found) = rest.iter().position(|&byte| wanted(byte)) {
                return Ok(Some(searched + found));
            }
            searched = self.pending().len();
            if !self.fill()? {
                return Ok(None);
            }
        }
    }

    pub(super) fn too_long(&self, line: u64) -> InputError {
        InputError::TooLong { file: self.file.clone(), line }
    }

    pub(super) fn open_quote(&self, line: u64) -> InputError {
        InputError::OpenQuote { file: self.file.clone(), line }
    }

    /// Reads the rest of the source and gives the digest of all of it.
    pub(super) fn finish(self) -> Result<Digest, InputError> {
        let Self { file, from, line, .. } = self;
        let raw = from.into_inner().into_raw();
        raw.finish().map_err(|error| InputError::Broken { file, line, error })
    }
}
