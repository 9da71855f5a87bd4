//! Gzip, and the bare packing of zip archives: the only home of flate2.
//!
//! Owns how compressed bytes are known and unpacked. Knows nothing of what is in them.

use std::io::{self, Read};

pub use flate2::Compression;
pub use flate2::read::{DeflateDecoder, MultiGzDecoder};
pub use flate2::write::DeflateEncoder;

/// How gzip begins.
pub const SIGNATURE: &[u8] = &[0x1f, 0x8b];

/// Unpacks bytes, at most `limit` of them; `None` where there are more.
pub fn unpack(packed: &[u8], limit: usize) -> io::Result<Option<Vec<u8>>> {
    let mut unpacked = Vec::new();
    let most = (limit as u64).saturating_add(1);
    MultiGzDecoder::new(packed).take(most).read_to_end(&mut unpacked)?;
    Ok((unpacked.len() <= limit).then_some(unpacked))
}
