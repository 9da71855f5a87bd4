//! A file that is whole or not there: written beside its place, synced, and put there.
//!
//! Knows nothing of what it holds.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::journal::disk::{open_locked, sync_folder_of};
use super::links::followed;

/// A file that is being written. Unless it is put in place, it is removed, and what was there stays.
#[derive(Debug)]
pub struct Draft {
    file: File,
    path: PathBuf,
    place: PathBuf,
    in_place: bool,
}

/// Which file could not be written, and what the system said.
pub type DraftError = (PathBuf, io::Error);

/// Whether a regular file is there that begins so: one of a kind that may be replaced. Nothing is waited for, as a
/// pipe would be.
pub fn is_file_of(place: &Path, opening: &[u8]) -> bool {
    if !std::fs::metadata(place).is_ok_and(|there| there.is_file()) {
        return false;
    }
    let mut start = vec![0; opening.len()];
    let read = File::open(place).and_then(|mut file| file.read_exact(&mut start));
    read.is_ok() && start == opening
}

impl Draft {
    /// A draft of the file at `place`: where that is a link, of what it names. One that a process which
    /// was killed left there is begun anew; one that another is at work on is an error, [`io::ErrorKind::WouldBlock`].
    pub fn of(place: &Path) -> Result<Self, DraftError> {
        let place = followed(place);
        let path = place.with_added_extension("draft");
        let new = || {
            let held =
                || io::Error::new(io::ErrorKind::WouldBlock, "another process is writing it");
            // Through a link that stands there somebody else's file would be written.
            if std::fs::symlink_metadata(&path).is_ok_and(|there| !there.is_file()) {
                return Err(io::Error::other("it is there and no regular file: move it away"));
            }
            let file = open_locked(&path)?.ok_or_else(held)?;
            file.set_len(0)?;
            Ok(file)
        };
        let file = new().map_err(|error| (path.clone(), error))?;
        Ok(Self { file, path, place, in_place: false })
    }

    /// Puts a small file in place, whole.
    pub fn whole(place: &Path, text: &str) -> Result<(), DraftError> {
        let draft = Self::of(place)?;
        let written = (&draft.file).write_all(text.as_bytes());
        written.map_err(|error| (draft.place.clone(), error))?;
        draft.put_in_place()
    }

    /// What is written.
    pub const fn file(&self) -> &File {
        &self.file
    }

    /// Once it is on disk, it takes the place of what was there.
    pub fn put_in_place(mut self) -> Result<(), DraftError> {
        let place = |error| (self.place.clone(), error);
        self.file.sync_all().map_err(place)?;
        std::fs::rename(&self.path, &self.place).map_err(place)?;
        self.in_place = true;
        sync_folder_of(&self.place).map_err(|error| (self.place.clone(), error))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.in_place {
            // If it can't be removed, what went wrong before is still what has to be told.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
