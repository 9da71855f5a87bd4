//! The file under a journal: append and sync, and the lock that keeps other processes out.
//!
//! Knows bytes, not records.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;

/// Takes a journal's bytes. The second implementor is the tests' disk, which fails on demand.
pub trait Disk: Send {
    /// Appends bytes. A failure may leave a part of them in the file.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Makes sure that all bytes appended before this call survive a power loss.
    fn sync(&self) -> BoxFuture<'static, io::Result<()>>;
}

impl Disk for Arc<File> {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        (&**self).write_all(bytes)
    }

    /// Runs beside the loop: a sync takes 0.1 to 10 ms, and calls go on meanwhile.
    fn sync(&self) -> BoxFuture<'static, io::Result<()>> {
        let file = Arc::clone(self);
        tokio::task::spawn_blocking(move || file.sync_data())
            .map(|joined| joined.unwrap_or_else(|error| Err(io::Error::other(error))))
            .boxed()
    }
}

/// Opens (or creates) a file for appending and locks it; `None` if another process holds it.
///
/// The lock is on the file, not on its name. If the name points to another file once the lock is taken,
/// the previous holder has finished and removed the file, so the opening starts again.
pub fn open_locked(path: &Path) -> io::Result<Option<File>> {
    loop {
        let file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let held = file.metadata()?;
        match std::fs::metadata(path) {
            Ok(named) if (named.dev(), named.ino()) == (held.dev(), held.ino()) => {
                return Ok(Some(file));
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
}

/// The folder of a path.
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Makes a file's name survive a power loss.
pub fn sync_folder_of(path: &Path) -> io::Result<()> {
    File::open(folder_of(path))?.sync_all()
}
