//! Which bkassoc this is: its version, and of which commit and day where a release was built so.
//!
//! Knows nothing of who shows it. `.ci/release` sets the two variables; a build without them is as good, and says less.

use std::fmt::Write as _;

/// As in `Cargo.toml`.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The first digits of the commit's hash.
pub const COMMIT: Option<&str> = option_env!("RELEASE_COMMIT");

/// The commit's day, UTC: that of the build would make each build another.
const DATE: Option<&str> = option_env!("RELEASE_DATE");

/// All that is known, in a line.
pub fn in_full() -> String {
    told(COMMIT, DATE)
}

fn told(commit: Option<&str>, date: Option<&str>) -> String {
    let mut text = VERSION.to_owned();
    if let Some(commit) = commit {
        let _ = write!(text, " (commit {commit}");
        if let Some(date) = date {
            let _ = write!(text, " of {date}");
        }
        text.push(')');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_tells_its_commit_and_day_and_another_build_its_version_alone() {
        assert_eq!(told(None, None), VERSION);
        assert_eq!(told(None, Some("2026-11-29")), VERSION);
        assert_eq!(told(Some("6793e46a1b2c"), None), format!("{VERSION} (commit 6793e46a1b2c)"));
        let both = told(Some("6793e46a1b2c"), Some("2026-11-29"));
        assert_eq!(both, format!("{VERSION} (commit 6793e46a1b2c of 2026-11-29)"));
    }
}
