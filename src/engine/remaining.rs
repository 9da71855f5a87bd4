//! What an earlier process or parent run left to do for a row.

use crate::association::Row;
use crate::outcome::Outcome;
use crate::storage::journal::replay::Replay;

/// What is to be done for a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Plan {
    /// No call was ever made for it.
    Send,
    /// A call may have been made: look before creating. What is found with an id above `id_watermark` may
    /// be that call's doing.
    LookUpFirst {
        /// The largest id that had been seen before the call.
        id_watermark: i64,
    },
    /// It is to be deleted.
    Delete {
        /// The id under which it was created.
        id: i64,
        /// Whether it was seen already, and a delete may have been sent.
        sent: bool,
    },
    /// It is settled: the outcome is carried over from the parent run.
    Carry(Outcome),
}

impl Plan {
    /// Whether a call that writes may have been sent for the row already.
    pub const fn may_have_been_sent(&self) -> bool {
        matches!(self, Self::LookUpFirst { .. } | Self::Delete { sent: true, .. })
    }
}

/// A row with its plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// The row.
    pub row: Row,
    /// What is to be done for it.
    pub plan: Plan,
}

/// What is left to do for a row when a run goes on: nothing where it is settled, a look-up first
/// where a mark says that it may have been sent.
pub fn going_on(replay: &Replay, ordinal: u64, plan: Plan) -> Option<Plan> {
    if replay.settled.contains(ordinal) {
        return None;
    }
    if !replay.may_have_been_sent(ordinal) {
        return Some(plan);
    }
    Some(match plan {
        Plan::Send => Plan::LookUpFirst { id_watermark: replay.id_watermark_of(ordinal) },
        Plan::Delete { id, .. } => Plan::Delete { id, sent: replay.deleting.contains(&ordinal) },
        Plan::LookUpFirst { .. } | Plan::Carry(_) => plan,
    })
}
