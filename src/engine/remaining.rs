//! What is left to do for a row, once all that is known of it is taken together: what the command
//! wants of it, what the run before left, and what an earlier process of this run wrote down.
//!
//! One pure function decides. Knows nothing of files or of calls.

use crate::association::{Action, Row};
use crate::outcome::{Outcome, Reason, Status};
use crate::storage::journal::replay::Replay;

/// What a row is to end as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// The association exists.
    Create,
    /// What a run created is gone. That it was not there is a failure.
    Undo {
        /// The id under which it was created.
        id: i64,
    },
    /// The association is gone. That it was not there is a good end.
    Delete {
        /// The one that is meant; `None`: whatever there is when it is first looked for.
        id: Option<i64>,
    },
}

impl Goal {
    /// What a row of input asks for.
    pub const fn of(action: Action) -> Self {
        match action {
            Action::Create => Self::Create,
            Action::Delete => Self::Delete { id: None },
        }
    }
}

/// What is left to do for a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Remaining {
    /// Everything: no call that writes was made for it.
    All(Goal),
    /// It was there when the run was planned: it is looked up, and created where it is gone.
    Expected,
    /// A call that writes may have been made for it: it is looked up before anything is sent.
    InDoubt {
        /// What it is to end as.
        goal: Goal,
        /// The largest association id that had been seen before that call: what is found with a larger
        /// one may be that call's doing.
        id_watermark: i64,
        /// Since when, in milliseconds since 1970, no process of this run has sent it; `None`: since this
        /// process began.
        since: Option<i64>,
        /// The ids of associations of which deletes may have gone out for it.
        deleting: Vec<i64>,
    },
    /// Nothing: its outcome is carried over from the parent run.
    Carry(Outcome),
    /// Nothing: the plan says how it ended.
    Planned(Outcome),
}

impl Remaining {
    /// What is left to do for a row that another run left with this outcome, and that is to be settled
    /// again.
    pub fn again(outcome: &Outcome, goal: Goal) -> Self {
        let may_have_been_sent =
            outcome.status == Status::InDoubt || outcome.reason == Some(Reason::OutcomeUnknown);
        // A delete looks first in any case.
        if may_have_been_sent && goal == Goal::Create {
            // That run did not say what it had seen before it sent the row.
            return Self::InDoubt { goal, id_watermark: 0, since: None, deleting: Vec::new() };
        }
        Self::All(goal)
    }

    /// Whether calls may have to be made for the row.
    pub const fn needs_calls(&self) -> bool {
        !matches!(self, Self::Carry(_) | Self::Planned(_))
    }

    /// Whether a call that writes may have been sent for the row already.
    pub const fn may_have_been_sent(&self) -> bool {
        matches!(self, Self::InDoubt { .. })
    }
}

/// A row and what is left to do for it.
#[derive(Clone, Debug, PartialEq)]
pub struct PendingRow {
    /// The row.
    pub row: Row,
    /// What is left to do.
    pub remaining: Remaining,
}

/// What is left to do for a row of a run that goes on. `asked` is what was left when the run began;
/// `None` where the row is settled.
pub fn what_remains(earlier: &Replay, ordinal: u64, asked: Remaining) -> Option<Remaining> {
    if earlier.settled.contains(ordinal) {
        return None;
    }
    let (goal, sent) = match asked {
        Remaining::All(goal @ Goal::Create) => (goal, earlier.may_have_been_sent(ordinal)),
        // A delete goes out only after its own record, as does the create of what is there already.
        Remaining::All(goal @ (Goal::Undo { .. } | Goal::Delete { .. })) => {
            (goal, earlier.may_have_been_sent(ordinal) && earlier.deleting.contains_key(&ordinal))
        }
        Remaining::Expected => {
            let sent = earlier.may_have_been_sent(ordinal) && earlier.resent.contains(&ordinal);
            (Goal::Create, sent)
        }
        Remaining::InDoubt { goal, .. } => (goal, true),
        Remaining::Carry(_) | Remaining::Planned(_) => return Some(asked),
    };
    if !sent {
        return Some(asked);
    }
    let id_watermark = match asked {
        Remaining::InDoubt { id_watermark, .. } => id_watermark,
        _ => earlier.id_watermark_of(ordinal),
    };
    let since = earlier.doubted_since.get(&ordinal).copied().flatten();
    let deleting = earlier.deleting.get(&ordinal).cloned().unwrap_or_default();
    Some(Remaining::InDoubt { goal, id_watermark, since, deleting })
}

/// What is known so far of a row that has no outcome, of a run that is not finished.
pub fn known_so_far(earlier: &Replay, ordinal: u64, asked: Remaining) -> Outcome {
    let status = match what_remains(earlier, ordinal, asked) {
        Some(Remaining::Carry(outcome) | Remaining::Planned(outcome)) => return outcome,
        // Its create's own record is on disk before that goes out.
        Some(Remaining::Expected) => Status::NotAttempted,
        // Version 0.1.0 did not wait for the disk before a delete: its record may be lost with the power,
        // and a mark is not.
        Some(Remaining::All(_)) if !earlier.may_have_been_sent(ordinal) => Status::NotAttempted,
        // The run may be at work: what has an outcome by now may have had none a moment ago.
        Some(Remaining::All(_) | Remaining::InDoubt { .. }) | None => Status::InDoubt,
    };
    Outcome::open(status, String::new())
}

#[cfg(test)]
mod tests;
