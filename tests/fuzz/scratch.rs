//! Files for readers that open what they read by its name.

use std::path::PathBuf;
use std::sync::LazyLock;

use tempfile::TempDir;

static FOLDER: LazyLock<TempDir> =
    LazyLock::new(|| tempfile::tempdir().expect("a folder for scratch files"));

/// The file of this name.
pub fn path(name: &str) -> PathBuf {
    FOLDER.path().join(name)
}

/// Puts bytes into the file of this name, in place of those before them, and says where it is.
pub fn file(name: &str, bytes: &[u8]) -> PathBuf {
    let path = path(name);
    std::fs::write(&path, bytes).expect("room for a scratch file");
    path
}
