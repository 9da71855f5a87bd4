//! Questions outside a run: those of a check, of `verify --live`, and of whatever has to be known before
//! the first write.
//!
//! Asking does no harm, so a question without an answer is simply asked again, until a time limit is
//! over. Several may be asked at once. Knows nothing of what is asked.

use std::cell::RefCell;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::time::{Instant, sleep_until};

use crate::cmdb::Cmdb;
use crate::cmdb::server_message::ServerMessage;
use crate::cmdb::verdict::Query;
use crate::cmdb::wire::{Reply, Request};
use crate::engine::caller::{Caller, Landed, Outgoing};
use crate::engine::request_ids::RequestIds;
use crate::engine::retry::Backoff;
use crate::engine::stats::{Bottleneck, CallKind, RunStats};
use crate::engine::time_limits::TimeLimits;
use crate::exit::Halt;
use crate::options::EngineOptions;
use crate::target::Target;

/// Asks a server.
#[derive(Debug)]
pub struct Asker<'a, C> {
    /// Where the questions go.
    pub target: &'a Target,
    /// How fast, how long.
    pub options: &'a EngineOptions,
    caller: RefCell<Caller<'a, C>>,
    limits: RefCell<TimeLimits<'a>>,
    rng: RefCell<StdRng>,
    /// Calls so far, and what else the command counts.
    pub stats: RefCell<RunStats>,
    /// What the last question without an answer met, as it was logged.
    pub(super) logged: RefCell<Option<ServerMessage>>,
}

impl<'a, C: Cmdb> Asker<'a, C> {
    /// No call is made yet. At most `concurrency` questions go at once; `seed` is that of the jitter.
    pub fn new(
        cmdb: &'a C,
        target: &'a Target,
        options: &'a EngineOptions,
        concurrency: usize,
        seed: u64,
    ) -> Self {
        let now = Instant::now();
        let ids = RequestIds::new(target.entrance, &seed.to_string(), seed);
        Self {
            target,
            options,
            caller: RefCell::new(Caller::new(cmdb, options, concurrency, ids, now)),
            limits: RefCell::new(TimeLimits::new(options, target, true, now)),
            rng: RefCell::new(StdRng::seed_from_u64(seed)),
            stats: RefCell::default(),
            logged: RefCell::default(),
        }
    }

    /// Whether the server has answered well: URL, certificate and credentials are right.
    pub fn is_proven(&self) -> bool {
        self.caller.borrow().health.proven
    }

    /// An answer brought something forward.
    pub fn progressed(&self) {
        self.limits.borrow_mut().progressed(Instant::now());
    }

    /// Asks once, when the pacer lets it.
    pub async fn ask(&self, kind: CallKind, request: Request) -> Result<(Reply, Query), Halt> {
        self.refuse_if_over()?;
        let route = request.route();
        loop {
            let now = Instant::now();
            let permit = self.caller.borrow_mut().permit(route, now);
            let Err((until, bottleneck)) = permit else { break };
            self.sleep_until(until).await?;
            self.stats.borrow_mut().calls.held(bottleneck, now.elapsed());
        }
        let now = Instant::now();
        let deadline = self.limits.borrow().deadline(self.caller.borrow().health.answered);
        let call = {
            let calls = &mut self.stats.borrow_mut().calls;
            let outgoing = Outgoing { kind, request, write: None };
            self.caller.borrow_mut().send((), outgoing, now, deadline, calls)
        };
        let Landed { reply, sent, .. } = call.await;
        let calls = &mut self.stats.borrow_mut().calls;
        calls.held(Bottleneck::Concurrency, now.elapsed());
        let query = self.caller.borrow_mut().landed(
            &reply,
            sent,
            Instant::now(),
            calls,
            |health, reply| health.judge_question(route, reply),
        );
        Ok((reply, query))
    }

    /// Waits before the same is asked again.
    pub async fn wait(&self, time: Duration, reply: &Reply) -> Result<(), Halt> {
        // Of what got no answer, what to look for in the server's log was noted when the call ended.
        if let Reply::Answered(_) = reply {
            self.caller.borrow_mut().health.note_trouble(&ServerMessage::of(reply));
        }
        let began = Instant::now();
        self.sleep_until(began + time).await?;
        let calls = &mut self.stats.borrow_mut().calls;
        calls.held(
            match reply {
                Reply::Answered(_) => Bottleneck::Pauses,
                _ => Bottleneck::Outage,
            },
            began.elapsed(),
        );
        calls.retries += 1;
        Ok(())
    }

    /// The same, a little longer with each of the `tries`.
    pub async fn back_off(&self, reply: &Reply, query: Query, tries: &mut u32) -> Result<(), Halt> {
        let time = Backoff::after(query.cause()).wait(*tries, &mut *self.rng.borrow_mut());
        *tries += 1;
        self.wait(time, reply).await
    }

    /// Sleeps, or ends where a time limit is over first.
    async fn sleep_until(&self, until: Instant) -> Result<(), Halt> {
        loop {
            let answered = self.caller.borrow().health.answered;
            let deadline = self.limits.borrow().deadline(answered);
            sleep_until(deadline.map_or(until, |deadline| deadline.min(until))).await;
            // Another question may have been answered meanwhile, and moved the deadline.
            self.refuse_if_over()?;
            if Instant::now() >= until {
                return Ok(());
            }
        }
    }

    fn refuse_if_over(&self) -> Result<(), Halt> {
        let over = self.limits.borrow().over(&self.caller.borrow().health, Instant::now());
        over.map_or(Ok(()), Err)
    }
}
