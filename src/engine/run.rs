//! The one loop with concurrency: admit, call, record, stop.
//!
//! Everything happens on one thread, in one loop whose arms never await: futures of calls are polled
//! in place, so that no row costs a task or a channel message, and what a call does is its return
//! value. Owns the order of things: rows are staged behind a mark, admitted when the mark is on disk,
//! called when nothing collides and the pacer lets them, and written down when they are settled.
//! Knows nothing of files' formats or of HTTP.

mod admission;
mod batches;
mod dispatch;
mod landing;
mod limits;
mod rows;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt};
use futures::stream::{FuturesUnordered, StreamExt};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::time::{Instant, sleep_until};

use crate::cmdb::Cmdb;
use crate::cmdb::wire::{Reply, Request};
use crate::engine::circuit_breaker::CircuitBreaker;
use crate::engine::look_up_size::LookUpSize;
use crate::engine::models::Models;
use crate::engine::pacer::{Bottleneck, Pacer};
use crate::engine::preflight::{self, ServerHealth};
use crate::engine::remaining::PendingRow;
use crate::engine::row_queue::{Ended, RowQueue};
use crate::engine::settle::Policy;
use crate::engine::stats::RunStats;
use crate::exit::Exit;
pub use crate::exit::Halt;
use crate::options::EngineOptions;
use crate::outcome::{Outcome, Record};
use crate::storage::journal::replay::Replay;
use crate::storage::journal::{Journal, JournalError};
use crate::target::Target;
use batches::Batches;
use rows::{ActiveRows, Place};

/// Rows under way at most: waiting for a collision, a retry or a parked doubt included.
pub const MAX_ACTIVE_ROWS: usize = 8192;
/// Rows a mark, once the run is going. The first marks are small, so that a slow input and the
/// largest id seen are caught early.
const MARK: usize = 1024;
const FIRST_MARK: usize = 16;
/// Rows that wait to be looked up go together when there are so many of them,
pub const COMPANY: usize = 100;
/// or when the first has waited so long.
const LINGER: Duration = Duration::from_millis(200);
/// How long calls in flight may take to answer once the run stops.
const DRAIN: Duration = Duration::from_secs(15);
/// Rows that are all refused for lack of permission before the run is.
const FORBIDDEN_ROWS: usize = 20;

/// How a run ended.
#[derive(Debug)]
pub struct Finish {
    /// Why it stopped early, if it did.
    pub halt: Option<Halt>,
    /// The inputs, if they were read to their end.
    pub ended: Option<Ended>,
}

/// What a run needs besides its rows.
pub struct Setting<'a, C> {
    /// Where calls go.
    pub cmdb: &'a C,
    /// Where that is, for messages.
    pub target: &'a Target,
    /// How fast, how long, how often.
    pub options: &'a EngineOptions,
    /// What earlier processes of this run left behind.
    pub earlier: &'a Replay,
    /// Milliseconds since 1970: the wall clock.
    pub clock: fn() -> i64,
    /// Seeds the jitter.
    pub seed: u64,
    /// Whether rows may be created or deleted. Else they are looked up only, and what is not there
    /// stays without an outcome.
    pub writes: bool,
    /// Sees every record as it is written down. Its failure is the journal's.
    pub each: &'a mut dyn FnMut(&Record) -> io::Result<()>,
}

/// Runs until every row is settled or the run has to stop. `stop` ends it from outside; `show` is
/// called a few times a second.
pub async fn run<'a, C: Cmdb>(
    setting: Setting<'a, C>,
    journal: &'a mut Journal,
    feed: RowQueue,
    stats: &'a mut RunStats,
    stop: impl Future<Output = Halt>,
    show: &mut dyn FnMut(&RunStats),
) -> Result<Finish, JournalError> {
    Run::new(setting, journal, feed, stats).go(stop, show).await
}

/// What a call was for.
#[derive(Debug)]
enum Call {
    Create(usize),
    Batch(Vec<usize>),
    Delete(usize),
    Find(Vec<usize>),
    Models(Vec<Arc<str>>),
    Probe,
}

/// A sync of the journal, under way.
type Sync = BoxFuture<'static, io::Result<()>>;

/// A call that has ended.
struct Landed {
    call: Call,
    reply: Reply,
    sent_at: Instant,
}

/// Makes a call. `sent_at` is when the pacer let it: calls that land in the same turn of the loop came
/// after it, whenever it is polled first.
async fn perform<C: Cmdb>(
    cmdb: &C,
    call: Call,
    request: Request,
    limit: Duration,
    sent_at: Instant,
) -> Landed {
    let reply = preflight::within(limit, cmdb.call(request)).await;
    Landed { call, reply, sent_at }
}

struct Run<'a, C> {
    cmdb: &'a C,
    target: &'a Target,
    options: &'a EngineOptions,
    clock: fn() -> i64,
    may_write: bool,
    policy: Policy,
    journal: &'a mut Journal,
    earlier: &'a Replay,
    stats: &'a mut RunStats,
    each: &'a mut dyn FnMut(&Record) -> io::Result<()>,
    unseen: Option<io::Error>,
    feed: RowQueue,
    /// Marked rows that are not admitted yet, in input order.
    staged: VecDeque<PendingRow>,
    next_mark: usize,
    /// Through which row (exclusive) the reader was followed.
    taken_through: u64,
    ended: Option<Ended>,
    models: Models,
    /// A question is in flight, or waits until then.
    asking: bool,
    ask_at: Instant,
    /// The last question brought no answer.
    asked_in_vain: bool,
    rows: ActiveRows,
    batches: Batches,
    pacer: Pacer,
    outage: CircuitBreaker,
    /// Whether the last call of a trial was a look-up.
    looked_last: bool,
    rng: StdRng,
    started: Instant,
    /// Whether anything waits for the server, and not for more input alone.
    waits: bool,
    /// The last time that a row came closer to its end, or that the wait began.
    progress: Instant,
    evidence: ServerHealth,
    /// A create that permission allowed ever.
    permitted: bool,
    /// Rows refused for lack of permission while nothing proves that it is theirs alone.
    forbidden: Vec<(usize, Outcome)>,
    finds: LookUpSize,
    largest_id: i64,
    failed: u64,
    settled: u64,
    halt: Option<Halt>,
    drain_until: Option<Instant>,
    /// Until when the next call is held, and by what; since when that is so.
    held: Option<(Instant, Bottleneck)>,
    held_since: Instant,
}

impl<'a, C: Cmdb> Run<'a, C> {
    fn new(
        Setting { cmdb, target, options, earlier, clock, seed, writes, each }: Setting<'a, C>,
        journal: &'a mut Journal,
        feed: RowQueue,
        stats: &'a mut RunStats,
    ) -> Self {
        let rate = options.rate.per_second();
        let started = Instant::now();
        Self {
            cmdb,
            target,
            options,
            clock,
            may_write: writes,
            policy: Policy {
                max_attempts: options.max_attempts,
                settle_after: options.settle_after,
            },
            journal,
            stats,
            each,
            unseen: None,
            feed,
            staged: VecDeque::new(),
            next_mark: FIRST_MARK,
            taken_through: 0,
            ended: None,
            models: Models::given(&options.models),
            asking: false,
            ask_at: started,
            asked_in_vain: false,
            rows: ActiveRows::default(),
            batches: Batches::new(options.batch),
            pacer: Pacer::new(rate, options.concurrency, started),
            outage: CircuitBreaker::default(),
            looked_last: false,
            rng: StdRng::seed_from_u64(seed),
            started,
            waits: false,
            progress: started,
            evidence: ServerHealth::default(),
            permitted: false,
            forbidden: Vec::new(),
            finds: LookUpSize::default(),
            earlier,
            largest_id: earlier.largest_id,
            failed: 0,
            settled: 0,
            halt: None,
            drain_until: None,
            held: None,
            held_since: started,
        }
    }

    async fn go(
        mut self,
        stop: impl Future<Output = Halt>,
        show: &mut dyn FnMut(&RunStats),
    ) -> Result<Finish, JournalError> {
        let cmdb = self.cmdb;
        let limit = self.options.timeout;
        let mut calls = FuturesUnordered::new();
        let mut sync: Option<Sync> = None;
        let mut stop = std::pin::pin!(stop.fuse());
        let mut timer = std::pin::pin!(sleep_until(self.started));
        let mut show_at = self.started;
        loop {
            let now = Instant::now();
            self.keep_time(now);
            self.check_limits(calls.len(), now);
            self.stage();
            self.admit(now);
            self.rows.wake(now);
            while let Some((call, request)) = self.next_call(calls.len(), now) {
                calls.push(perform(cmdb, call, request, limit, now));
            }
            self.refuse_unseen()?;
            if calls.is_empty() {
                if self.halt.is_some() || self.is_done() {
                    break;
                }
                if self.finish_the_last(now) {
                    continue;
                }
            }
            if self.drain_until.is_some_and(|until| until <= now) {
                break;
            }
            self.journal.flush()?;
            if sync.is_none() && self.journal.sync_due().is_some_and(|due| due <= now) {
                sync = Some(self.journal.start_sync()?);
            }
            if show_at <= now {
                let expected = || self.feed.expected();
                self.stats.expected = self.ended.as_ref().map(|e| e.rows).or_else(expected);
                show(self.stats);
                show_at = now + Duration::from_millis(200);
            }
            let wake = self.next_wake(show_at, now);
            if timer.deadline() != wake {
                timer.as_mut().reset(wake);
            }
            tokio::select! {
                biased;
                halt = &mut stop => self.stop(halt),
                Some(landed) = calls.next(), if !calls.is_empty() => {
                    self.land(landed);
                    while let Some(Some(landed)) = calls.next().now_or_never() {
                        self.land(landed);
                    }
                    // Connections go back to the pool in tasks of their own: without a turn for
                    // them the next calls would open new ones.
                    tokio::task::yield_now().await;
                }
                result = async { sync.as_mut().expect("guarded").await }, if sync.is_some() => {
                    sync = None;
                    self.journal.synced(result)?;
                }
                () = self.feed.news(), if self.wants_rows() => {}
                () = &mut timer => {}
            }
        }
        self.close(sync).await?;
        show(self.stats);
        Ok(Finish { halt: self.halt, ended: self.ended })
    }

    /// Writes down what this process leaves behind.
    async fn close(&mut self, sync: Option<Sync>) -> Result<(), JournalError> {
        self.refuse_unseen()?;
        if let Some(running) = sync {
            let result = running.await;
            self.journal.synced(result)?;
        }
        // A run that only looks leaves rows that it did not read: nothing was sent for them.
        if self.halt.is_some() || !self.may_write {
            let staged =
                self.staged.iter().filter(|pending| pending.remaining.may_have_been_sent());
            let staged = staged.map(|planned| planned.row.ordinal);
            let unread = self.earlier.in_doubt_from(self.taken_through);
            let mut sent: Vec<u64> = self.rows.in_doubt().chain(staged).chain(unread).collect();
            sent.sort_unstable();
            self.journal.close(&sent);
        }
        self.journal.settle().await
    }

    /// Ends the run where a record could not be shown to who reads them as they come.
    fn refuse_unseen(&mut self) -> Result<(), JournalError> {
        match self.unseen.take() {
            Some(error) => Err(JournalError::Unseen(error)),
            None => Ok(()),
        }
    }

    /// Stops admitting; what is in flight may still answer for a while. The first stop counts.
    fn stop(&mut self, halt: Halt) {
        tracing::warn!(exit = halt.exit.code(), "stopping: {}", halt.message);
        self.drain_until.get_or_insert(Instant::now() + DRAIN);
        self.halt.get_or_insert(halt);
    }

    fn stop_with(&mut self, exit: Exit, message: String) {
        self.stop(Halt { exit, message });
    }

    fn is_done(&self) -> bool {
        self.ended.is_some()
            && self.staged.is_empty()
            && self.rows.is_empty()
            && self.forbidden.is_empty()
    }

    /// With nothing in flight and nothing that could be sent now or later: ends the rows that were
    /// kept for this moment. True where that made something happen.
    fn finish_the_last(&mut self, now: Instant) -> bool {
        let stuck = !self.rows.is_moving()
            && !self.asking
            && !self.models.has_questions()
            && (self.rows.len() >= MAX_ACTIVE_ROWS
                || (self.ended.is_some() && self.staged.is_empty()));
        if !stuck {
            return false;
        }
        if !self.forbidden.is_empty() {
            self.settle_forbidden();
            return true;
        }
        self.rows.look_at_the_last(now)
    }

    fn settle_forbidden(&mut self) {
        for (slot, outcome) in std::mem::take(&mut self.forbidden) {
            self.settle(slot, outcome);
        }
    }

    /// Where a row goes after a step of its life.
    fn take_step(&mut self, slot: usize, step: crate::engine::settle::Step, now: Instant) {
        use crate::engine::settle::Step;
        match step {
            Step::Create(at) => self.rows.put(slot, Place::Write, at, now),
            Step::LookUp(at) => self.rows.put(slot, Place::Look, at, now),
            Step::LookUpLast => self.rows.last.push(slot),
            Step::Settle(outcome) => self.settle(slot, outcome),
        }
    }
}

#[cfg(test)]
mod tests;
