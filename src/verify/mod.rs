//! Verifies results against what they claim: their own rules, `run.json`, the input, the server.
//!
//! Owns the closed list of findings, and collects them: a count of each kind, and the first lines. Memory
//! does not grow with the rows. `offline.rs` has the order in which a file is checked, `live.rs` asks the
//! server. Knows nothing of flags.

mod places;
mod ids;
pub(crate) mod overtaken;
mod standing;
mod suspects;
pub(crate) mod provenance;
pub(crate) mod claims;
pub(crate) mod audit_trail;
pub(crate) mod rows;
pub(crate) mod against;
pub(crate) mod offline;
pub(crate) mod live;
pub(crate) mod report;

use std::collections::BTreeMap;

use crate::engine::stats::Place;

/// How many findings of each kind are shown by name.
pub const SHOWN: usize = 20;
/// How many characters of a text from a file a finding shows.
const TEXT_LENGTH: usize = 60;

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $word:literal, $meaning:literal, $chinese:literal;)*) => {
        /// The kinds of findings: a closed list.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum FindingKind {
            $($(#[$doc])* $variant,)*
        }

        impl FindingKind {
            /// The whole list, in the order in which a report shows it.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The word for scripts.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }

            /// What it means, for a person: English, Chinese.
            pub const fn meaning(self) -> (&'static str, &'static str) {
                match self { $(Self::$variant => ($meaning, $chinese)),* }
            }
        }
    };
}

kinds! {
    /// `run.json` is lost or can't be read.
    NoRunJson = "no-run-json", "whether the file is as the run wrote it can't be told",
        "无法确认文件是否与运行写出的一致";
    /// The SHA-256 is not the one in `run.json`.
    Changed = "changed", "the file is not as the run wrote it",
        "文件已不是运行写出的样子";
    /// Counts or exit code are not those in `run.json`.
    Counts = "counts", "the rows are not those that run.json counts",
        "行数与 run.json 的统计不符";
    /// An undo deleted what it, or a run before it, created.
    Undone = "undone", "what the run created was deleted by an undo",
        "本次运行创建的关联已被撤销（undo）删除";
    /// A run before it is not to be found.
    NoParent = "no-parent", "whether a run before it was undone can't be told",
        "无法确认之前的运行是否已被撤销";
    /// A line that is no line of results.
    Unreadable = "unreadable", "lines that can't be read",
        "无法读取的行";
    /// A line that does not come after the one before it.
    Order = "order", "lines that are out of order, or there twice",
        "顺序错乱或重复的行";
    /// A status that no row of such a finished run has.
    Status = "status", "statuses that a finished run does not leave",
        "已完成的运行不会有的状态";
    /// An id where none belongs, or none where one belongs.
    Id = "id", "association ids that don't fit their status",
        "关联 ID 与状态不符";
    /// A reason where none belongs, or none or another where one belongs.
    Reason = "reason", "reasons that don't fit their status",
        "原因与状态不符";
    /// `retryable` is not what the reason says.
    Retryable = "retryable", "`retryable` says other than the reason",
        "`retryable` 与原因不符";
    /// Cells that name no association, in a row that was sent.
    Cells = "cells", "rows that name no association, and yet were sent",
        "没有写明关联却已发送的行";
    /// One id created, recovered or deleted on more than one line, or there after it was deleted.
    Claimed = "claimed-twice",
        "ids that more than one line has created, recovered or deleted, or that a line has after another deleted it",
        "同一 ID 被多行创建、查到或删除，或被删除后又出现";
    /// One id on lines of different associations.
    Shared = "shared-id", "ids that stand for different associations",
        "同一 ID 对应多条不同的关联";
    /// One association under two ids.
    Doubled = "two-ids", "associations with two ids: one was deleted meanwhile, or the server holds two",
        "同一关联有两个 ID：期间被删除过，或服务端存了两条";
    /// The input's SHA-256 is not the one in `run.json`.
    InputChanged = "input-changed", "the input is not the one that was read",
        "输入已不是当时读取的内容";
    /// A row of the input that has no line.
    RowMissing = "row-missing", "rows of the input that have no line",
        "输入中有、结果中没有的行";
    /// A line that no row of the input has.
    RowExtra = "row-extra", "lines that no row of the input has",
        "结果中有、输入中没有的行";
    /// A line with other texts than its row.
    RowDifferent = "row-different", "lines with other values than the input's",
        "内容与输入不同的行";
    /// The server does not have it.
    Missing = "missing", "associations that the server does not have",
        "服务端没有的关联";
    /// The server has it under another id.
    Different = "different", "associations that the server has under another id",
        "服务端也有、但 ID 不同的关联";
    /// In the source model's table only.
    HalfWritten = "half-written", "associations that the server has in the source model's table only",
        "服务端只在源模型的表里有记录的关联";
    /// Others on a side that a rule bounds.
    RuleBroken = "rule-broken", "associations that stand beside others against a 1:1 or 1:n rule",
        "违反 1:1 或 1:n 源-目标约束而并存的关联";
    /// Failed or invalid, and there.
    Exists = "exists", "failed or invalid rows that the server has, by no other line of the file",
        "记为失败或无效、服务端却有，且文件里没有别的行能解释的行";
    /// Deleted, and there.
    NotDeleted = "not-deleted", "deleted associations that the server has",
        "记为已删除、服务端仍存在的关联";
    /// The server can't be asked for it.
    NotAsked = "not-asked", "associations that the server gives no answer for",
        "服务端没有返回查询结果的关联";
}

/// The place that a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Spot {
    /// The whole file.
    Whole,
    /// A row, by its place in the input.
    Row(Place),
    /// A line of the results file itself.
    Line(u64),
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The kind.
    pub kind: FindingKind,
    /// The place.
    pub spot: Spot,
    /// What is wrong, in words.
    pub what: String,
}

/// All findings of one kind, or other rows that have something in common.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// How many.
    pub count: u64,
    /// The first of them by their spot, at most [`SHOWN`].
    pub first: Vec<(Spot, String)>,
}

impl Group {
    fn add(&mut self, spot: Spot, what: String) {
        self.count += 1;
        let at = self.first.partition_point(|(other, _)| *other <= spot);
        if at < SHOWN {
            self.first.truncate(SHOWN - 1);
            self.first.insert(at, (spot, what));
        }
    }

    fn absorb(&mut self, other: Self) {
        let count = self.count + other.count;
        other.first.into_iter().for_each(|(spot, what)| self.add(spot, what));
        self.count = count;
    }
}

/// All findings, counted by kind.
#[derive(Debug, Default)]
pub struct Findings {
    groups: BTreeMap<FindingKind, Group>,
    /// The inputs' names, in order; empty for a single input.
    pub files: Vec<String>,
}

impl Findings {
    /// Starts empty. `files` are the names of the run's inputs, as far as they are known; empty for a
    /// single input.
    pub fn new(files: Vec<String>) -> Self {
        Self { groups: BTreeMap::new(), files }
    }

    /// Adds a finding. All are logged, since only the first are kept.
    pub fn add(&mut self, finding: Finding) {
        let Finding { kind, spot, what } = finding;
        let file = self.file_of(spot);
        let line = line_of(spot);
        tracing::debug!(kind = kind.as_str(), file, line, "{what}");
        self.groups.entry(kind).or_default().add(spot, what);
    }

    /// Adds a finding of these parts.
    pub fn say(&mut self, kind: FindingKind, spot: Spot, what: impl Into<String>) {
        self.add(Finding { kind, spot, what: what.into() });
    }

    /// The findings by kind.
    pub fn groups(&self) -> impl Iterator<Item = (FindingKind, &Group)> {
        self.groups.iter().map(|(kind, group)| (*kind, group))
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// The number of findings of a kind.
    pub fn count(&self, kind: FindingKind) -> u64 {
        self.groups.get(&kind).map_or(0, |group| group.count)
    }

    /// The input of a spot, if there are several.
    pub fn file_of(&self, spot: Spot) -> Option<&str> {
        match spot {
            Spot::Row(place) if self.files.len() > 1 && place.line > 0 => {
                self.files.get(place.file as usize).map(String::as_str)
            }
            Spot::Row(_) | Spot::Whole | Spot::Line(_) => None,
        }
    }
}

/// The line number of a spot.
const fn line_of(spot: Spot) -> Option<u64> {
    match spot {
        Spot::Whole => None,
        Spot::Row(place) if place.line == 0 => None,
        Spot::Row(place) => Some(place.line),
        Spot::Line(line) => Some(line),
    }
}

/// A text from a file, quoted, and cut if it is long.
fn shown(text: &str) -> String {
    match text.char_indices().nth(TEXT_LENGTH) {
        None => format!("{text:?}"),
        Some((end, _)) => format!("{:?}…", &text[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_a_kind_are_kept_in_order_whatever_order_they_come_in() {
        let mut findings = Findings::default();
        let place = |line| Spot::Row(Place { file: 0, line });
        for line in (1..=100).rev() {
            findings.say(FindingKind::Missing, place(line), line.to_string());
        }
        let (kind, group) = findings.groups().next().unwrap();
        assert_eq!((kind, group.count), (FindingKind::Missing, 100));
        let lines: Vec<_> = group.first.iter().map(|(spot, _)| *spot).collect();
        assert_eq!(lines, (1..=SHOWN as u64).map(place).collect::<Vec<_>>());
    }

    #[test]
    fn every_kind_has_a_word_of_its_own() {
        let words: std::collections::HashSet<_> =
            FindingKind::ALL.iter().map(|kind| kind.as_str()).collect();
        assert_eq!(words.len(), FindingKind::ALL.len());
    }
}
