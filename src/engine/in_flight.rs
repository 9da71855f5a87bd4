//! The calls that are not answered yet, and what their silence says.
//!
//! Owns what each call is for until it lands or is given up: a call that is given up may still land,
//! and then says nothing to anybody. Knows nothing of how calls are made.

use std::time::Duration;

use slab::Slab;
use tokio::time::Instant;

/// Silence of all calls that is worth a question, however fast the server usually is.
const QUIET: Duration = Duration::from_secs(5);
/// How many times the usual latency a silence has to last.
const UNUSUAL: u32 = 4;

/// A call's number, until it lands.
pub type Ticket = usize;

/// A call that is not answered.
#[derive(Debug)]
pub struct Pending<T> {
    /// What it is for.
    pub call: T,
    /// When it was sent.
    pub sent_at: Instant,
}

/// All calls in flight. Each is for a `T`.
#[derive(Debug)]
pub struct InFlight<T> {
    /// `None`: it was given up, and has not landed.
    calls: Slab<Option<Pending<T>>>,
    given_up: usize,
    /// Since when nothing has landed while something was in flight.
    quiet_since: Instant,
}

impl<T> InFlight<T> {
    /// Nothing is in flight.
    pub fn new(now: Instant) -> Self {
        Self { calls: Slab::new(), given_up: 0, quiet_since: now }
    }

    /// How many calls are waited for.
    pub fn len(&self) -> usize {
        self.calls.len() - self.given_up
    }

    /// Whether none is waited for.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether one of the calls that are waited for is such.
    pub fn any(&self, mut is_such: impl FnMut(&T) -> bool) -> bool {
        self.calls.iter().any(|(_, call)| call.as_ref().is_some_and(|call| is_such(&call.call)))
    }

    /// A call goes out.
    pub fn sent(&mut self, call: T, now: Instant) -> Ticket {
        if self.is_empty() {
            self.quiet_since = now;
        }
        self.calls.insert(Some(Pending { call, sent_at: now }))
    }

    /// A call has ended; `None` where it was given up before.
    pub fn landed(&mut self, ticket: Ticket, now: Instant) -> Option<Pending<T>> {
        let pending = self.calls.remove(ticket);
        match &pending {
            Some(_) => self.quiet_since = now,
            None => self.given_up -= 1,
        }
        pending
    }

    /// Gives up the calls that were sent before then.
    pub fn give_up_before(&mut self, then: Instant) -> Vec<Pending<T>> {
        let is_old = |pending: &mut Pending<T>| pending.sent_at < then;
        let given_up: Vec<_> =
            self.calls.iter_mut().filter_map(|(_, call)| call.take_if(is_old)).collect();
        self.given_up += given_up.len();
        given_up
    }

    /// Since when nothing has landed, where that is unusual by now for a server that usually answers
    /// within that time. Where it has not answered yet, nothing is usual.
    pub fn silence(
        &self,
        usual: impl FnOnce() -> Option<Duration>,
        now: Instant,
    ) -> Option<Instant> {
        let is_long = |limit| !self.is_empty() && now >= self.quiet_since + limit;
        (is_long(QUIET) && is_long(unusual(usual()?))).then_some(self.quiet_since)
    }

    /// When a silence that goes on becomes worth a look.
    pub fn next_look(&self, now: Instant) -> Option<Instant> {
        let next = self.quiet_since + QUIET;
        (!self.is_empty()).then(|| if next > now { next } else { now + QUIET })
    }
}

/// How long a call takes that a server which usually answers within that time will hardly answer.
pub fn unusual(usual: Duration) -> Duration {
    QUIET.max(usual * UNUSUAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_call_that_was_given_up_says_nothing_when_it_lands() {
        let start = Instant::now();
        let later = start + Duration::from_secs(1);
        let mut calls = InFlight::new(start);
        let (old, new) = (calls.sent("old", start), calls.sent("new", later));
        let given_up: Vec<_> =
            calls.give_up_before(later).into_iter().map(|pending| pending.call).collect();
        assert_eq!((given_up, calls.len()), (vec!["old"], 1));
        assert!(calls.landed(old, later).is_none());
        assert_eq!(calls.landed(new, later).unwrap().call, "new");
        assert!(calls.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_silence_is_unusual_by_what_is_usual() {
        let start = Instant::now();
        let mut calls = InFlight::new(start);
        let at = |seconds| start + Duration::from_secs(seconds);
        let usual = |seconds| move || Some(Duration::from_secs(seconds));
        assert_eq!(calls.silence(usual(0), at(100)), None, "nothing is in flight");
        let first = calls.sent((), at(10));
        calls.sent((), at(14));
        assert_eq!(calls.silence(usual(0), at(14)), None);
        assert_eq!(calls.silence(|| None, at(100)), None, "nothing is usual yet");
        assert_eq!(calls.silence(usual(0), at(15)), Some(at(10)));
        assert_eq!(calls.silence(usual(3), at(15)), None, "three seconds are usual");
        assert_eq!(calls.silence(usual(3), at(22)), Some(at(10)));
        calls.landed(first, at(22));
        assert_eq!(calls.silence(usual(0), at(23)), None, "an answer came");
    }
}
