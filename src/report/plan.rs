//! What a plan would do, told to a person or as JSON.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::names::NamesReport;
use super::summary::{as_operand, grouped, shell_quoted};
use crate::options::brief_duration;
use crate::plan::understood::Understood;
use crate::storage::plan::PlanManifest;

/// How many model associations are listed.
const LISTED: usize = 20;

/// A plan that was made.
pub(crate) struct PlanReport<'a> {
    /// Where it is.
    pub(crate) path: &'a Path,
    pub(crate) manifest: &'a PlanManifest,
    pub(crate) understood: &'a Understood,
    /// Calls that making it took.
    pub(crate) asked: u64,
    /// What of the typed flags reaches the same server as the same user.
    pub(crate) identity: &'a [String],
}

#[derive(Serialize)]
struct Json<'a> {
    command: &'static str,
    plan: &'a Path,
    #[serde(flatten)]
    manifest: &'a PlanManifest,
    names: NamesReport<'a>,
    asked: u64,
    next: Vec<String>,
}

impl PlanReport<'_> {
    /// One object and a line end.
    pub(crate) fn json(&self) -> String {
        let &Self { path, manifest, .. } = self;
        let names = self.names();
        let json = Json {
            command: "plan",
            plan: path,
            manifest,
            names,
            asked: self.asked,
            next: self.next(),
        };
        let mut text = serde_json::to_string(&json).expect("a report is plain data");
        text.push('\n');
        text
    }

    const fn names(&self) -> NamesReport<'_> {
        NamesReport { understood: self.understood, files: self.manifest.head.files.as_slice() }
    }

    fn next(&self) -> Vec<String> {
        let words = ["bkassoc".to_owned(), "apply".to_owned(), as_operand(self.path)];
        words.into_iter().chain(self.identity.iter().cloned()).collect()
    }
}

/// `+ 120 create, 2 can't be done`.
fn counted(counts: &BTreeMap<String, u64>) -> String {
    let of = |word: &str| counts.get(word).copied().unwrap_or_default();
    let creates = format!("+ {} create", grouped(of("create")));
    match of("none") {
        0 => creates,
        none => format!("{creates}, {} can't be done", grouped(none)),
    }
}

impl fmt::Display for PlanReport<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let manifest = self.manifest;
        let (rows, asked) = (grouped(manifest.rows), grouped(self.asked));
        writeln!(f, "bkassoc plan: {rows} rows, {asked} calls")?;
        writeln!(f, "  {}", counted(&manifest.counts))?;
        for (name, counts) in manifest.associations.iter().take(LISTED) {
            writeln!(f, "    {:<40} {}", name.escape_debug().to_string(), counted(counts))?;
        }
        if let Some(more) = manifest.associations.len().checked_sub(LISTED).filter(|more| *more > 0)
        {
            writeln!(f, "    and {} more model associations", grouped(more as u64))?;
        }
        for (reason, count) in &manifest.reasons {
            writeln!(f, "  {reason:<22} {}", grouped(*count))?;
        }
        write!(f, "{}", self.names())?;
        writeln!(
            f,
            "\nThe plan is at {}. Nothing was sent. To carry it out:",
            self.path.display()
        )?;
        writeln!(f, "  {}", shell_quoted(&self.next()))?;
        if let Some(seconds) = manifest.seconds {
            let took = brief_duration(Duration::from_secs(seconds));
            writeln!(f, "That takes about {} calls and {took}.", grouped(manifest.calls))?;
        }
        Ok(())
    }
}
