//! What calls have shown of the server so far, and what ends a run at the server's word.
//!
//! Knows nothing of rows, of time limits or of how calls are made.

use crate::cmdb::server_message::ServerMessage;
use crate::cmdb::verdict::{Cause, Query, Stop, judge_query, judge_question};
use crate::cmdb::wire::{Reply, Route};
use crate::exit::{Exit, Halt};
use crate::target::Target;

/// What calls have shown so far.
#[derive(Debug)]
pub struct ServerHealth {
    /// Any answer ever came.
    pub answered: bool,
    /// A call has succeeded: URL, certificate and credentials are right.
    pub proven: bool,
    /// What the last call said that brought nothing forward.
    pub trouble: String,
}

impl Default for ServerHealth {
    fn default() -> Self {
        Self { answered: false, proven: false, trouble: "nothing yet".to_owned() }
    }
}

impl ServerHealth {
    /// Judges the reply to a look-up or to the question for model associations, and adds what that shows.
    pub fn judge_query(&mut self, reply: &Reply) -> (Query, Option<Cause>) {
        self.note(judge_query(reply, self.proven))
    }

    /// The same for any question, by its route.
    pub fn judge_question(&mut self, route: Route, reply: &Reply) -> (Query, Option<Cause>) {
        self.note(judge_question(route, reply, self.proven))
    }

    fn note(&mut self, query: Query) -> (Query, Option<Cause>) {
        self.proven |= query == Query::Answered;
        (query, query.cause())
    }

    /// What a reply said brought nothing forward.
    pub fn note_trouble(&mut self, said: &ServerMessage) {
        self.trouble = said.to_string();
    }
}

/// The end of a run that the server, or something before it, does not let go on.
pub fn refused(stop: Stop, reply: &Reply, target: &Target) -> Halt {
    let advice = stop.advice(reply, target.entrance);
    Halt { exit: Exit::Target, message: format!("{}: {advice}", ServerMessage::of(reply)) }
}

/// The end of a run that may not look rows up through a model.
pub fn look_ups_refused(reply: &Reply, model: &str) -> Halt {
    let said = ServerMessage::of(reply);
    Halt {
        exit: Exit::Target,
        message: format!(
            "look-ups are refused ({said}): give the user permission to find instances of \
             {model}, then give the same command"
        ),
    }
}
