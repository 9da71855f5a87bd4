//! Whether there is a call that deletes, whether it takes many, and how many go in one.
//!
//! Owns what is asked of that before the first write, and what the server teaches about it later. Knows
//! nothing of rows.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::association::ModelAssociation;
use crate::cmdb::verdict::{BatchVerdict, Stop, Verdict};
use crate::cmdb::wire::{Request, Route};
use crate::engine::call_size::CallSize;

/// Associations that go in one call, at most (docs/cmdb-api.md#deletes).
const MOST: usize = 500;
/// How long after a question without an answer it is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// An id that no association gets: they are counted up from 1.
const NO_ID: i64 = i64::MAX;

/// What is known of the calls that delete.
#[derive(Debug)]
pub struct Deletes {
    /// Whether rows have to wait until it is known that something can be deleted.
    wanted: bool,
    /// Whether there is a call for many; `None` while nobody knows.
    many: Option<bool>,
    /// The same of the call for one.
    one: Option<bool>,
    size: CallSize,
    asking: bool,
    /// The next question goes no earlier.
    ask_at: Instant,
}

impl Deletes {
    /// Nothing is known. Where deletes are `wanted`, no row is let in before there is a call for them.
    pub fn new(wanted: bool, now: Instant) -> Self {
        let size = CallSize::new(1, MOST);
        Self { wanted, many: None, one: None, size, asking: false, ask_at: now }
    }

    /// Whether it is to be found out, before any row is let in, if anything can be deleted.
    pub fn is_open(&self) -> bool {
        self.wanted && self.many != Some(true) && self.one != Some(true)
    }

    /// Whether the question that finds it out may go now.
    pub fn is_due(&self, now: Instant) -> bool {
        self.is_open() && !self.asking && self.ask_at <= now
    }

    /// When a question that waits is asked again.
    pub fn next_due(&self, now: Instant) -> Option<Instant> {
        (self.is_open() && !self.asking && self.ask_at > now).then_some(self.ask_at)
    }

    /// Where that question goes.
    pub fn question_route(&self) -> Route {
        if self.many.is_none() { Route::DeleteMany } else { Route::Delete }
    }

    /// A delete of nothing: of no ids, or of one that can't be. Any number in the answer says that there is
    /// such a call.
    pub fn question(&mut self, model: &ModelAssociation) -> Request {
        self.asking = true;
        let obj_id = Arc::clone(&model.source);
        match self.many {
            None => Request::DeleteMany { obj_id, ids: Vec::new() },
            Some(_) => Request::Delete { obj_id, id: NO_ID },
        }
    }

    /// The question for many has ended. Some: what ends the run.
    pub fn many_landed(&mut self, verdict: BatchVerdict, now: Instant) -> Option<Stop> {
        self.asking = false;
        match verdict {
            BatchVerdict::Stop(stop) => return Some(stop),
            BatchVerdict::NoSuchPath => self.many = Some(false),
            verdict if verdict.cause().is_some() => self.ask_at = now + ASK_AGAIN,
            _ => self.many = Some(true),
        }
        None
    }

    /// The question for one has ended. Some: what ends the run.
    pub fn one_landed(&mut self, verdict: Verdict, now: Instant) -> Option<Stop> {
        self.asking = false;
        match verdict {
            Verdict::Stop(stop) => return Some(stop),
            verdict if verdict.cause().is_some() => self.ask_at = now + ASK_AGAIN,
            _ => self.one = Some(true),
        }
        None
    }

    /// A question is not waited for any more.
    pub fn question_given_up(&mut self, now: Instant) {
        (self.asking, self.ask_at) = (false, now);
    }

    /// How many may go together; `None` where each goes singly.
    pub fn size(&self) -> Option<usize> {
        (self.many != Some(false)).then(|| self.size.get())
    }

    /// Whether even one has to go by the call for many.
    pub fn lacks_one(&self) -> bool {
        self.one == Some(false) && self.many != Some(false)
    }

    /// The call for one is not there. True where that for many is: then it takes one, too.
    pub fn give_up_one(&mut self) -> bool {
        let has_many = self.many == Some(true);
        if has_many {
            self.one = Some(false);
        }
        has_many
    }

    /// There is no call for many, or not for us.
    pub fn give_up_many(&mut self, why: &str) {
        // Others may be under way, and fail the same way.
        if self.many != Some(false) {
            tracing::warn!("{why}: each association is deleted by a call of its own");
        }
        self.many = Some(false);
    }

    /// A call for so many got no answer in time.
    pub fn shrink(&mut self, rows: usize) {
        self.size.shrink(rows);
    }

    /// A call for so many is refused, and will be again.
    pub fn cap(&mut self, rows: usize) {
        self.size.cap(rows);
    }

    /// A call for many was answered.
    pub fn grow(&mut self) {
        self.many = Some(true);
        self.size.grow();
    }
}
