//! Which rows of a results file a rerun settles again.
//!
//! Knows results' records alone; a run keeps its choice in its head.

use crate::association::{Action, Column};
use crate::outcome::{Outcome, Reason, Record, Status};
use crate::storage::manifest::Head;

/// The option under which a head keeps that names are asked for anew.
const RESOLVE_AGAIN: &str = "resolve-again";

/// The option under which a head keeps that rows may delete.
const ALLOW_DELETE: &str = "allow-delete";

/// Which rows of a results file are settled again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Choice {
    /// Rows of these statuses; empty: of any.
    pub(crate) statuses: Vec<Status>,
    /// Rows of these reasons; empty: of any.
    pub(crate) reasons: Vec<Reason>,
    /// What their names mean is asked anew, also where there is an id.
    pub(crate) resolve_again: bool,
    /// Rows that delete may be among them.
    pub(crate) allow_delete: bool,
}

impl Choice {
    /// As it stands in a head's options: with another choice it is another run.
    pub(crate) fn named(&self) -> Vec<(&'static str, String)> {
        let statuses: Vec<_> = self.statuses.iter().map(|status| status.as_str()).collect();
        let reasons: Vec<_> = self.reasons.iter().map(|reason| reason.as_str()).collect();
        [("status", statuses), ("reason", reasons)]
            .into_iter()
            .filter(|(_, words)| !words.is_empty())
            .map(|(name, words)| (name, words.join(",")))
            .chain(self.resolve_again.then(|| (RESOLVE_AGAIN, "true".to_owned())))
            .collect()
    }

    /// Read back from a head's options.
    pub(crate) fn of_head(head: &Head) -> Self {
        let words = |name| head.options.get(name).map_or("", String::as_str).split(',');
        Self {
            statuses: words("status").filter_map(Status::parse).collect(),
            reasons: words("reason").filter_map(Reason::parse).collect(),
            resolve_again: head.options.contains_key(RESOLVE_AGAIN),
            allow_delete: head.options.contains_key(ALLOW_DELETE),
        }
    }

    /// Whether a row is taken: it is chosen, and nothing keeps it out.
    pub(super) fn takes(&self, record: &Record) -> bool {
        let Record { line, cells, outcome, .. } = record;
        let may_be_taken = match Action::parse(cells.get(Column::Action)) {
            // What no input asks for, the next sync does.
            Some(Action::Delete) => self.allow_delete && *line > 0,
            Some(Action::Create) => true,
            // Such a row asked for something else than it reads like.
            None => outcome.reason != Some(Reason::UnsupportedAction),
        };
        may_be_taken && self.chooses(outcome)
    }

    /// Whether a row is left out only because it is a delete.
    pub(crate) fn leaves_out(&self, record: &Record) -> bool {
        record.cells.action() == Action::Delete
            && self.chooses(&record.outcome)
            && !self.takes(record)
    }

    /// Nothing chosen means: what may well succeed as it is.
    fn chooses(&self, outcome: &Outcome) -> bool {
        if self.statuses.is_empty() && self.reasons.is_empty() {
            return outcome.retryable && !outcome.status.is_good();
        }
        (self.statuses.is_empty() || self.statuses.contains(&outcome.status))
            && (self.reasons.is_empty()
                || outcome.reason.is_some_and(|reason| self.reasons.contains(&reason)))
    }
}
