//! Whose rows are that a run calls recovered: found after a call of its own got no answer.
//!
//! Nothing is off with such a row, whoever created it, so that this is no finding.

use super::{Group, Spot};

/// Who created an association.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provenance {
    /// A call of the run, or of one before it.
    Ours,
    /// Another call.
    NotOurs,
    /// There is nothing that tells.
    Unknown,
}

impl Provenance {
    /// All of them, in the order in which a report shows them.
    pub const ALL: [Self; 3] = [Self::Ours, Self::NotOurs, Self::Unknown];

    /// The word for scripts.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::NotOurs => "not-ours",
            Self::Unknown => "unknown",
        }
    }

    /// What it means, for a person: English, Chinese.
    pub const fn meaning(self) -> (&'static str, &'static str) {
        match self {
            Self::Ours => ("a call of this run created them", "由本次运行的请求创建"),
            Self::NotOurs => ("somebody else's call created them", "由别人的请求创建"),
            Self::Unknown => ("whose they are can't be told", "无法判断由谁创建"),
        }
    }
}

/// The recovered rows, counted by whose they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered([Group; Provenance::ALL.len()]);

impl Recovered {
    /// Those of one provenance.
    pub const fn of(&self, provenance: Provenance) -> &Group {
        &self.0[provenance as usize]
    }

    /// All that there are any of.
    pub fn groups(&self) -> impl Iterator<Item = (Provenance, &Group)> {
        let groups =
            Provenance::ALL.into_iter().map(|provenance| (provenance, self.of(provenance)));
        groups.filter(|(_, group)| group.count > 0)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.groups().next().is_none()
    }

    pub(super) fn add(&mut self, provenance: Provenance, spot: Spot, what: String) {
        self.0[provenance as usize].add(spot, what);
    }

    /// Adds rows that were counted before it was known whose they are.
    pub(super) fn absorb(&mut self, provenance: Provenance, group: Group) {
        self.0[provenance as usize].absorb(group);
    }
}
