//! What is left to do for a row, once all that is known of it is taken together: what the command
//! wants of it, what the run before left, and what an earlier process of this run wrote down.
//!
//! One pure function decides. Knows nothing of files or of calls.

use crate::association::Row;
use crate::outcome::{Outcome, Reason, Status};
use crate::storage::journal::replay::Replay;

/// What a row is to end as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// The association exists.
    Create,
    /// The association that has this id is gone.
    Delete {
        /// The id under which it was created.
        id: i64,
    },
}

/// What is left to do for a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Remaining {
    /// Everything: no call that writes was made for it.
    All(Goal),
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
    },
    /// Nothing: its outcome is carried over from the parent run.
    Carry(Outcome),
    /// Nothing: it was refused when the run was planned, and this is its outcome.
    Refused(Outcome),
}

impl Remaining {
    /// What is left to do for a row that another run left with this outcome, and that is to be settled
    /// again.
    pub fn again(outcome: &Outcome) -> Self {
        let goal = Goal::Create;
        match (outcome.status, outcome.reason) {
            // That run did not say what it had seen before it sent the row.
            (Status::InDoubt, _) | (_, Some(Reason::OutcomeUnknown)) => {
                Self::InDoubt { goal, id_watermark: 0, since: None }
            }
            _ => Self::All(goal),
        }
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
    let since = earlier.doubted_since.get(&ordinal).copied().flatten();
    let goal = match asked {
        Remaining::All(goal) => goal,
        Remaining::InDoubt { goal, id_watermark, .. } => {
            return Some(Remaining::InDoubt { goal, id_watermark, since });
        }
        Remaining::Carry(_) | Remaining::Refused(_) => return Some(asked),
    };
    let sent = match goal {
        Goal::Create => earlier.may_have_been_sent(ordinal),
        // A delete goes out only after its own record.
        Goal::Delete { .. } => {
            earlier.may_have_been_sent(ordinal) && earlier.deleting.contains(&ordinal)
        }
    };
    if !sent {
        return Some(asked);
    }
    Some(Remaining::InDoubt { goal, id_watermark: earlier.id_watermark_of(ordinal), since })
}

/// What is known so far of a row that has no outcome, of a run that is not finished.
pub fn known_so_far(earlier: &Replay, ordinal: u64, asked: Remaining) -> Outcome {
    let status = match what_remains(earlier, ordinal, asked) {
        Some(Remaining::Carry(outcome) | Remaining::Refused(outcome)) => return outcome,
        // A delete's own record may be lost with the power: a mark is not.
        Some(Remaining::All(_)) if !earlier.may_have_been_sent(ordinal) => Status::NotAttempted,
        // The run may be at work: what has an outcome by now may have had none a moment ago.
        Some(Remaining::All(_) | Remaining::InDoubt { .. }) | None => Status::InDoubt,
    };
    Outcome::open(status, String::new())
}

#[cfg(test)]
mod tests;
