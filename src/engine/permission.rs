//! Whether this user may write at all.
//!
//! A refusal for lack of permission is a row's own only once some row has been let through: until then
//! it may be everybody's, and ends the run instead of failing every row. Knows rows as slots only.

use crate::cmdb::server_message::ServerMessage;
use crate::cmdb::verdict::Verdict;
use crate::engine::conflicts::Slot;
use crate::exit::{Exit, Halt};
use crate::outcome::{Outcome, Reason};

/// Rows that are all refused before the run is.
const REFUSED_ROWS: usize = 20;

/// What is known of it.
#[derive(Debug, Default)]
pub struct Permission {
    granted: bool,
    /// Rows refused while nothing proves that it is theirs alone, with the outcome that they would have.
    refused: Vec<(Slot, Outcome)>,
}

impl Permission {
    /// Whether a write was let through ever.
    pub const fn is_granted(&self) -> bool {
        self.granted
    }

    /// Whether rows are held back.
    pub fn holds_rows(&self) -> bool {
        !self.refused.is_empty()
    }

    /// Holds a refused row back. The end of the run, where there are enough of them.
    pub fn hold(&mut self, slot: Slot, outcome: Outcome, said: &ServerMessage) -> Option<Halt> {
        self.refused.push((slot, outcome));
        (self.refused.len() >= REFUSED_ROWS).then(|| Halt {
            exit: Exit::Target,
            message: format!(
                "the first {REFUSED_ROWS} rows were all refused for lack of permission ({said}): give \
                 the user edit permission on the instances of both models, then give the same command"
            ),
        })
    }

    /// Takes note of a write that was let through.
    pub fn grant(&mut self) {
        self.granted = true;
    }

    /// Takes note of a create's verdict.
    pub fn heard(&mut self, verdict: Verdict) {
        self.granted |= matches!(
            verdict,
            Verdict::Created(_)
                | Verdict::LookUp(_)
                | Verdict::Failed(Reason::MissingSource | Reason::MissingTarget)
        );
    }

    /// The rows whose refusal is their own: all that are held, to be settled now.
    pub fn release(&mut self) -> Vec<(Slot, Outcome)> {
        std::mem::take(&mut self.refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused() -> Outcome {
        Outcome::bad(Reason::Forbidden, String::new(), 1, 0)
    }

    #[test]
    fn refusals_are_the_rows_own_once_one_was_let_through() {
        let mut permission = Permission::default();
        assert_eq!(permission.hold(7, refused(), &ServerMessage::default()), None);
        permission.heard(Verdict::Failed(Reason::Forbidden));
        assert!(!permission.is_granted() && permission.holds_rows());
        permission.heard(Verdict::Failed(Reason::MissingTarget));
        assert!(permission.is_granted());
        assert_eq!(permission.release(), [(7, refused())]);
    }

    #[test]
    fn rows_that_are_all_refused_end_the_run_and_none_of_them() {
        let mut permission = Permission::default();
        for slot in 1..REFUSED_ROWS {
            assert_eq!(permission.hold(slot, refused(), &ServerMessage::default()), None);
        }
        let halt = permission.hold(0, refused(), &ServerMessage::default()).unwrap();
        assert_eq!(halt.exit, Exit::Target);
        assert!(halt.message.contains("permission"), "{}", halt.message);
    }
}
