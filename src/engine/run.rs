//! The one loop with concurrency: rows in, calls out, outcomes written down.
//!
//! Everything happens on one thread, in one loop whose arms never await: futures of calls are polled
//! in place, so that no row costs a task of its own, and what a call does is its return value. Owns
//! the order of things: rows are staged behind a mark, let in when the mark is on disk, sent when
//! nothing collides and the pacer lets them, and written down when they are settled. Each part of its
//! state is a module of its own. Knows nothing of files' formats or of HTTP.

mod admission;
mod dispatch;
mod landing;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt};
use futures::stream::{FuturesUnordered, StreamExt};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::time::{Instant, sleep_until};

use crate::association::Row;
use crate::cmdb::Cmdb;
use crate::cmdb::wire::{Request, Route};
use crate::engine::active_rows::{ActiveRow, ActiveRows};
use crate::engine::batches::Batches;
use crate::engine::call_size::CallSize;
use crate::engine::caller::{Caller, Landed, Outgoing};
use crate::engine::circuit_breaker::CircuitBreaker;
use crate::engine::conflicts::Slot;
use crate::engine::deletes::Deletes;
use crate::engine::in_flight::{self, InFlight, Ticket};
use crate::engine::intake::Intake;
use crate::engine::permission::Permission;
use crate::engine::preflight::Questions;
use crate::engine::recorder::Recorder;
use crate::engine::remaining::Goal;
use crate::engine::request_ids::RequestIds;
use crate::engine::row_queue::{Ended, RowQueue};
use crate::engine::stats::{Bottleneck, CallKind, RunStats};
use crate::engine::task::{Next, Policy, Step, Task};
use crate::engine::time_limits::TimeLimits;
use crate::engine::traces::{Deleted, Traces};
use crate::exit::Exit;
pub use crate::exit::Halt;
use crate::options::EngineOptions;
use crate::outcome::{Outcome, Reason, Record, Status};
use crate::storage::journal::replay::Replay;
use crate::storage::journal::{Journal, JournalError};
use crate::target::Target;
use admission::Noting;

/// Rows that wait to be looked up go together when there are so many of them,
pub const COMPANY: usize = 100;
/// or when the first has waited so long. So do deletes.
const LINGER: Duration = Duration::from_millis(200);
/// How long calls in flight may take to answer once the run stops.
pub const DRAIN: Duration = Duration::from_secs(15);
/// How often the display may change.
const SHOW_EVERY: Duration = Duration::from_millis(200);

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
    /// What tells this run from all others, over all its processes.
    pub run_key: &'a str,
    /// What earlier processes of this run left behind.
    pub earlier: &'a Replay,
    /// Milliseconds since 1970: the wall clock.
    pub clock: fn() -> i64,
    /// Seeds the jitter.
    pub seed: u64,
    /// Whether rows may be created or deleted. Else they are looked up only, and what is not there
    /// stays without an outcome.
    pub writes: bool,
    /// Whether the run has deletes to make: no row is let in before it is known that there is a call for them.
    pub deletes: bool,
    /// What messages call a row's place in the input.
    pub place_of: &'a dyn Fn(&Row) -> String,
    /// Sees every record as it is written down. Its failure is the journal's.
    pub each: &'a mut dyn FnMut(&Record) -> io::Result<()>,
}

/// Runs until every row is settled or the run has to stop. `stop` ends it from outside; `show` is
/// called a few times a second.
pub async fn run<'a, C: Cmdb>(
    setting: Setting<'a, C>,
    journal: &'a mut Journal,
    queue: RowQueue,
    stats: &'a mut RunStats,
    stop: impl Future<Output = Halt>,
    show: &mut dyn FnMut(&RunStats),
) -> Result<Finish, JournalError> {
    Run::new(setting, journal, queue, stats).go(stop, show).await
}

/// What a call is for.
#[derive(Debug)]
enum Call {
    Write(Slot),
    Batch(Vec<Slot>),
    /// Deletes of so many associations.
    Deletes(Vec<Slot>, usize),
    LookUp(Vec<Slot>),
    Models(Vec<Arc<str>>),
    /// To see whether there is a call that deletes many, or one.
    Deletable(Route),
    Probe,
}

impl Call {
    /// The rows that it is for.
    fn rows(&self) -> &[Slot] {
        match self {
            Self::Write(slot) => std::slice::from_ref(slot),
            Self::Batch(slots) | Self::Deletes(slots, _) | Self::LookUp(slots) => slots,
            Self::Models(_) | Self::Deletable(_) | Self::Probe => &[],
        }
    }
}

/// A sync of the journal, under way.
type Sync = BoxFuture<'static, io::Result<()>>;

/// What the loop waits for before the next call can go.
#[derive(Clone, Copy, Debug)]
struct Wait {
    until: Instant,
    bottleneck: Bottleneck,
}

/// The end of a run, under way.
#[derive(Debug)]
struct Stopping {
    halt: Halt,
    /// Until when calls in flight may answer.
    drain_until: Instant,
}

struct Run<'a, C> {
    target: &'a Target,
    options: &'a EngineOptions,
    earlier: &'a Replay,
    may_write: bool,
    place_of: &'a dyn Fn(&Row) -> String,
    intake: Intake,
    questions: Questions,
    rows: ActiveRows,
    policy: Policy,
    rng: StdRng,
    /// The largest association id seen.
    largest_id: i64,
    /// The wall clock when this process began.
    began_at: i64,
    noting: Noting,
    batches: Batches,
    deletes: Deletes,
    traces: Traces,
    look_up_size: CallSize,
    breaker: CircuitBreaker,
    caller: Caller<'a, C>,
    in_flight: InFlight<Call>,
    permission: Permission,
    limits: TimeLimits<'a>,
    recorder: Recorder<'a>,
    stopping: Option<Stopping>,
}

impl<'a, C: Cmdb> Run<'a, C> {
    fn new(
        setting: Setting<'a, C>,
        journal: &'a mut Journal,
        queue: RowQueue,
        stats: &'a mut RunStats,
    ) -> Self {
        let Setting {
            cmdb,
            target,
            options,
            run_key,
            earlier,
            clock,
            seed,
            writes,
            deletes,
            place_of,
            each,
        } = setting;
        let (now, began_at) = (Instant::now(), clock());
        let ids = RequestIds::new(target.entrance, run_key, seed);
        let policy =
            Policy { max_attempts: options.max_attempts, settle_after: options.settle_after };
        Self {
            target,
            options,
            earlier,
            may_write: writes,
            place_of,
            intake: Intake::new(queue),
            questions: Questions::new(&options.models, now),
            rows: ActiveRows::default(),
            policy,
            rng: StdRng::seed_from_u64(seed),
            largest_id: earlier.largest_id,
            began_at,
            noting: Noting::default(),
            batches: Batches::new(options.batch),
            deletes: Deletes::new(deletes && writes, now),
            traces: Traces::of(earlier, began_at, now, policy.settle_after),
            look_up_size: CallSize::default(),
            breaker: CircuitBreaker::default(),
            caller: Caller::new(cmdb, options, options.concurrency, ids, now),
            in_flight: InFlight::new(now),
            permission: Permission::default(),
            limits: TimeLimits::new(options, target, false, now),
            recorder: Recorder::new(journal, stats, each, clock, options.max_failures),
            stopping: None,
        }
    }

    async fn go(
        mut self,
        stop: impl Future<Output = Halt>,
        show: &mut dyn FnMut(&RunStats),
    ) -> Result<Finish, JournalError> {
        let mut calls = FuturesUnordered::new();
        let mut sync: Option<Sync> = None;
        let mut stop = std::pin::pin!(stop.fuse());
        let mut now = self.limits.started();
        let mut timer = std::pin::pin!(sleep_until(now));
        let mut show_at = now;
        loop {
            self.check_limits(now);
            self.heed_silence(now);
            self.take_rows();
            self.admit(now);
            self.note_sending(now);
            self.rows.wake(now);
            let wait = loop {
                match self.next_call(now) {
                    Ok((call, kind, request)) => calls.push(self.send(call, kind, request, now)),
                    Err(wait) => break wait,
                }
            };
            self.recorder.refuse_unseen()?;
            if self.in_flight.is_empty() {
                if self.stopping.is_some() || self.is_done() {
                    break;
                }
                if self.finish_the_last(now) {
                    continue;
                }
            }
            if self.stopping.as_ref().is_some_and(|stopping| stopping.drain_until <= now) {
                break;
            }
            self.recorder.journal.flush()?;
            if sync.is_none() && self.recorder.journal.sync_due().is_some_and(|due| due <= now) {
                sync = Some(self.recorder.journal.start_sync()?);
            }
            if show_at <= now {
                self.show(show);
                show_at = now + SHOW_EVERY;
            }
            let wake = self.next_wake(wait, show_at, now);
            if timer.deadline() != wake {
                timer.as_mut().reset(wake);
            }
            let wants_rows = self.wants_rows();
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
                    self.recorder.journal.synced(result)?;
                }
                () = self.intake.news(), if wants_rows => {}
                () = &mut timer => {}
            }
            let waited_since = std::mem::replace(&mut now, Instant::now());
            self.recorder.stats.calls.held(wait.bottleneck, now - waited_since);
            self.recorder.stats.elapsed = now - self.limits.started();
        }
        self.close(sync).await?;
        self.recorder.stats.calls.in_flight = 0;
        show(self.recorder.stats);
        Ok(Finish {
            halt: self.stopping.map(|stopping| stopping.halt),
            ended: self.intake.into_ended(),
        })
    }

    fn check_limits(&mut self, now: Instant) {
        // Rows that are kept for a last look, or for proof that anything is permitted, wait for more
        // input and not for the server; so do those behind them.
        let waits = !self.in_flight.is_empty()
            || self.rows.is_moving()
            || !self.noting.is_empty()
            || self.questions.are_open()
            || self.asks_for_deletes();
        self.limits.note_wait(waits, now);
        if self.stopping.is_none()
            && let Some(halt) = self.limits.over(&self.caller.health, now)
        {
            let is_hopeless = halt.exit == Exit::Outage && !self.caller.health.answered;
            self.stop(halt);
            if is_hopeless && let Some(stopping) = &mut self.stopping {
                stopping.drain_until = now;
            }
        }
    }

    /// A server that hangs fills the pool with calls that would be waited for until their time limit,
    /// and only then could anything else be tried: a silence of all calls is a reason to ask whether it
    /// is there.
    fn heed_silence(&mut self, now: Instant) {
        let usual = || self.recorder.stats.calls.usual_latency();
        if self.stopping.is_none()
            && !self.breaker.is_tripped()
            && self.questions.models.any_known().is_some()
            && let Some(since) = self.in_flight.silence(usual, now)
        {
            let seconds = (now - since).as_secs();
            tracing::warn!("no answer for {seconds} s: asking whether the server is there");
            self.breaker.suspect(now);
        }
    }

    fn send(
        &mut self,
        call: Call,
        kind: CallKind,
        request: Request,
        now: Instant,
    ) -> impl Future<Output = Landed<Ticket>> + use<'a, C> {
        // A probe that hangs keeps everything waiting, so it has less time than other calls.
        let deadline = match call {
            Call::Probe => self
                .recorder
                .stats
                .calls
                .usual_latency()
                .map(|usual| now + in_flight::unusual(usual).max(self.breaker.patience())),
            _ => None,
        };
        let outgoing = Outgoing { kind, request, write: self.write_of(&call) };
        let ticket = self.in_flight.sent(call, now);
        self.caller.send(ticket, outgoing, now, deadline, &mut self.recorder.stats.calls)
    }

    /// Of a call that writes: its row, of a batch the first, and how many writes that has had.
    fn write_of(&self, call: &Call) -> Option<(u64, u32)> {
        let first = match call {
            Call::Write(slot) => *slot,
            Call::Batch(slots) | Call::Deletes(slots, _) => *slots.first()?,
            Call::LookUp(_) | Call::Models(_) | Call::Deletable(_) | Call::Probe => return None,
        };
        Some((self.rows.ordinal(first), self.rows.task(first).writes()))
    }

    /// Where a row goes after a step of its task.
    fn take_step(&mut self, slot: Slot, step: Step, now: Instant) {
        match step {
            Step::Write(at) => {
                let note = self.may_write.then(|| self.rows.task_mut(slot).takes_note()).flatten();
                match note {
                    Some(note) => self.noting.asked.push((slot, at, note)),
                    None => self.rows.put(slot, Next::Write, at, now),
                }
            }
            Step::LookUp(at) => self.rows.put(slot, Next::LookUp, at, now),
            Step::LookUpLast => self.rows.last.push(slot),
            Step::Settle(outcome) => self.settle(slot, outcome, now),
        }
    }

    fn settle(&mut self, slot: Slot, mut outcome: Outcome, now: Instant) {
        self.breaker.forget(slot);
        let ActiveRow { row, task, .. } = self.rows.leave(slot);
        self.leave_traces(row.ordinal, &task, &outcome, now);
        let notes = self.tell_who_made_room(&row, &task, &mut outcome);
        self.write_down(row, outcome, now);
        for (ordinal, note) in notes {
            self.recorder.journal.noted(ordinal, &note);
        }
    }

    /// What the row leaves for those after it.
    fn leave_traces(&mut self, ordinal: u64, task: &Task, outcome: &Outcome, now: Instant) {
        let (association, mapping) = (&task.new.association, task.model.mapping);
        self.traces.forget(now);
        match outcome.status {
            Status::Deleted => self.traces.delete(ordinal, association, task.ids_to_delete()),
            status if status.is_good() && task.goal == Goal::Create => {
                self.traces.take_place(mapping, association);
                if let Some(until) = task.create_may_follow_until(&self.policy)
                    && until > now
                {
                    self.traces.create_may_follow(association, until);
                }
            }
            _ => {}
        }
    }

    /// Where something was deleted for a row that then can't be created, the lines of both say so: its own,
    /// and those of the rows that deleted, for which this gives the notes.
    fn tell_who_made_room(
        &self,
        row: &Row,
        task: &Task,
        outcome: &mut Outcome,
    ) -> Vec<(u64, String)> {
        let mut notes = Vec::new();
        if outcome.status != Status::Failed || task.goal != Goal::Create {
            return notes;
        }
        let association = &task.new.association;
        for deleted in self.traces.made_room_for(task.model.mapping, association) {
            let Deleted { ordinal, id, source, target } = deleted;
            let room =
                format!("association {id} ({source} -> {target}) was deleted to make room for it");
            let before = std::mem::take(&mut outcome.message);
            outcome.message = if before.is_empty() { room } else { format!("{room}. {before}") };
            let reason = outcome.reason.map_or("failed", Reason::as_str);
            let place = (self.place_of)(row);
            notes.push((
                ordinal,
                format!("what was to take its place is not there: {place}: {reason}"),
            ));
        }
        notes
    }

    fn write_down(&mut self, row: Row, outcome: Outcome, now: Instant) {
        let too_many = self.recorder.settle(row, outcome);
        self.limits.progressed(now);
        if let Some(halt) = too_many.filter(|_| self.stopping.is_none()) {
            self.stop(halt);
        }
    }

    /// Stops letting rows in; what is in flight may still answer for a while. The first stop counts.
    fn stop(&mut self, halt: Halt) {
        tracing::warn!(exit = halt.exit.code(), "stopping: {}", halt.message);
        let drain_until = Instant::now() + DRAIN;
        self.stopping.get_or_insert(Stopping { halt, drain_until });
    }

    fn is_done(&self) -> bool {
        self.intake.is_done() && self.rows.is_empty() && !self.permission.holds_rows()
    }

    /// With nothing in flight and nothing that could be sent now or later: ends the rows that were
    /// kept for this moment. True where that made something happen.
    fn finish_the_last(&mut self, now: Instant) -> bool {
        let stuck = !self.rows.is_moving()
            && self.noting.is_empty()
            && !self.questions.are_open()
            && (!self.rows.has_room() || self.intake.is_done());
        if !stuck {
            return false;
        }
        if self.permission.holds_rows() {
            self.release_refused(now);
            return true;
        }
        self.rows.look_at_the_last(now)
    }

    fn release_refused(&mut self, now: Instant) {
        for (slot, outcome) in self.permission.release() {
            self.settle(slot, outcome, now);
        }
    }

    fn show(&mut self, show: &mut dyn FnMut(&RunStats)) {
        self.recorder.stats.expected = self.intake.expected();
        self.recorder.stats.calls.in_flight = self.in_flight.len();
        show(self.recorder.stats);
    }

    /// When the loop has to look again, if nothing happens before.
    fn next_wake(&self, wait: Wait, show_at: Instant, now: Instant) -> Instant {
        let journal = self.recorder.journal.sync_due();
        let always = [Some(show_at), journal, self.rows.next_timer()];
        let or_now = |due: Option<Instant>| due.filter(|due| *due > now);
        let while_it_goes_on = [
            Some(wait.until),
            or_now(self.rows.look_ups_since.map(|since| since + LINGER)),
            or_now(self.rows.deletes_since.map(|since| since + LINGER)),
            self.questions.next_due(now),
            self.deletes.next_due(now),
            self.limits.deadline(self.caller.health.answered),
            self.in_flight.next_look(now).filter(|_| !self.breaker.is_tripped()),
        ];
        let deadlines = match &self.stopping {
            Some(stopping) => [Some(stopping.drain_until), None, None, None, None, None, None],
            None => while_it_goes_on,
        };
        always.into_iter().chain(deadlines).flatten().min().unwrap_or(show_at)
    }

    /// Writes down what this process leaves behind.
    async fn close(&mut self, sync: Option<Sync>) -> Result<(), JournalError> {
        self.recorder.refuse_unseen()?;
        if let Some(running) = sync {
            let result = running.await;
            self.recorder.journal.synced(result)?;
        }
        // A run that only looks leaves rows that it did not read: nothing was sent for them.
        if self.stopping.is_some() || !self.may_write {
            let unread = self.earlier.in_doubt_from(self.intake.taken_through());
            let mut sent: Vec<u64> =
                self.rows.in_doubt().chain(self.intake.in_doubt()).chain(unread).collect();
            sent.sort_unstable();
            self.recorder.journal.close(&sent);
        }
        self.recorder.journal.sync_all().await
    }
}

#[cfg(test)]
mod tests;
