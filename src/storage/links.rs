//! Where a path leads that is a symbolic link.
//!
//! All files of a run stand beside the file that the link names, so that the run is the same one under
//! both names. Knows nothing of what the files hold.

use std::path::{Path, PathBuf};

/// As many links after one another as Linux follows.
const MOST: usize = 40;

/// The path that the links at the end of `path` lead to, whether a file is there or not.
pub fn followed(path: &Path) -> PathBuf {
    let mut path = path.to_owned();
    for _ in 0..MOST {
        let Ok(target) = std::fs::read_link(&path) else { break };
        // What is relative begins at the link's folder.
        path = path.parent().unwrap_or(Path::new("")).join(target);
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_lead_on_from_their_own_folders_and_a_circle_ends() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("data")).unwrap();
        symlink("data/second", at("first")).unwrap();
        symlink("third", at("data/second")).unwrap();
        assert_eq!(followed(&at("first")), at("data/third"));
        assert_eq!(followed(&at("nothing")), at("nothing"));
        symlink("circle", at("circle")).unwrap();
        assert_eq!(followed(&at("circle")), at("circle"));
    }
}
