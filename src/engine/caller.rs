//! The one way to a server: every call passes the pacer, is counted, has a time limit, and teaches the
//! pacer by its end.
//!
//! The loop of a run uses it as it is; the questions of other commands go through
//! [`Asker`](crate::engine::asker::Asker). Knows nothing of rows or of what an answer means to them.

use std::time::Duration;

use futures::FutureExt;
use tokio::time::{Instant, timeout};

use crate::cmdb::Cmdb;
use crate::cmdb::server_message::ServerMessage;
use crate::cmdb::verdict::Cause;
use crate::cmdb::wire::{RateHint, Reply, Request, RequestId, Route};
use crate::engine::pacer::{Bottleneck, Feedback, Pacer};
use crate::engine::request_ids::RequestIds;
use crate::engine::server_health::ServerHealth;
use crate::engine::stats::{CallKind, Calls};
use crate::options::{EngineOptions, brief_duration};

/// A pause that is logged when it begins: a reader of the log would else think that nothing happens.
const LONG_PAUSE: Duration = Duration::from_secs(10);

/// Makes calls to one server.
#[derive(Debug)]
pub struct Caller<'a, C> {
    cmdb: &'a C,
    timeout: Duration,
    ids: Option<RequestIds>,
    pacer: Pacer,
    /// What calls have shown of the server.
    pub health: ServerHealth,
    /// The end of the last long pause that was logged.
    paused_until: Option<Instant>,
}

/// A call that has ended.
#[derive(Debug)]
pub struct Landed<T> {
    /// What it was for.
    pub call: T,
    /// What came of it.
    pub reply: Reply,
    /// When, and which way.
    pub sent: Sent,
}

/// A call that is to go.
#[derive(Debug)]
pub struct Outgoing {
    /// What it is counted as.
    pub kind: CallKind,
    /// What is asked.
    pub request: Request,
    /// Of a write: the row (of a batch, the first) and how many writes it has had, this one included.
    pub write: Option<(u64, u32)>,
}

/// A call that went.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// When the pacer let it through, however late it was polled first.
    pub at: Instant,
    route: Route,
    id: Option<RequestId>,
}

impl Sent {
    /// An answer without an id of the server's has ours.
    fn named(&self, mut reply: Reply) -> Reply {
        if let Reply::Answered(answer) = &mut reply
            && answer.request_id.is_none()
        {
            answer.request_id = self.id.map(|id| id.to_string());
        }
        reply
    }

    /// What the reply says. Where none came, and the call may have reached the server, our id is what to
    /// look for there.
    pub fn said(&self, reply: &Reply) -> ServerMessage {
        let mut said = ServerMessage::of(reply);
        if let Reply::Lost(_) | Reply::Oversized(_) = reply {
            said.request_id = self.id.map(|id| id.to_string());
        }
        said
    }
}

impl<'a, C: Cmdb> Caller<'a, C> {
    /// No call is made yet. At most `concurrency` go at once.
    pub fn new(
        cmdb: &'a C,
        options: &EngineOptions,
        concurrency: usize,
        ids: Option<RequestIds>,
        now: Instant,
    ) -> Self {
        Self {
            cmdb,
            timeout: options.timeout,
            ids,
            pacer: Pacer::new(
                options.rate.shared_by(options.shards).per_second(),
                concurrency,
                now,
            )
            .sharing(options.shards),
            health: ServerHealth::default(),
            paused_until: None,
        }
    }

    /// Whether `in_flight` calls are all that may be, and if so, what says that.
    pub fn full(&mut self, in_flight: usize, now: Instant) -> Option<Bottleneck> {
        self.pacer.full(in_flight, now)
    }

    /// Lets one call through, or says when to ask again and what holds it.
    pub fn permit(&mut self, route: Route, now: Instant) -> Result<(), (Instant, Bottleneck)> {
        self.pacer.permit(route, now)
    }

    /// Makes a call that was let through at `now`. It is lost when `deadline` or the time limit of a
    /// call comes first.
    pub fn send<T>(
        &mut self,
        call: T,
        outgoing: Outgoing,
        now: Instant,
        deadline: Option<Instant>,
        calls: &mut Calls,
    ) -> impl Future<Output = Landed<T>> + use<'a, T, C> {
        let Outgoing { kind, request, write } = outgoing;
        calls.sent(kind);
        let id = match write {
            Some(write) => self.id_of(write),
            None => self.ids.as_mut().map(RequestIds::of_question),
        };
        let sent = Sent { at: now, route: request.route(), id };
        self.pacer.sent(sent.route, now);
        let left = deadline.map(|deadline| deadline - now);
        let limit = left.map_or(self.timeout, |left| left.min(self.timeout));
        let reply = within(limit, self.cmdb.call_as(request, id));
        reply.map(move |reply| Landed { call, reply: sent.named(reply), sent })
    }

    /// Takes note of a call's end. `judge` says what the reply means, and why the call has to be made
    /// again, if it has.
    pub fn landed<V>(
        &mut self,
        reply: &Reply,
        sent: Sent,
        now: Instant,
        calls: &mut Calls,
        judge: impl FnOnce(&mut ServerHealth, &Reply) -> (V, Option<Cause>),
    ) -> V {
        if let Reply::Answered(_) | Reply::Oversized(_) = reply {
            self.health.answered = true;
            calls.answered(now - sent.at);
        }
        let (verdict, cause) = judge(&mut self.health, reply);
        if self.health.proven {
            calls.abilities.note(sent.route, reply);
        }
        if cause.is_some() {
            self.health.note_trouble(&sent.said(reply));
        }
        calls.throttled += u64::from(cause.is_some_and(Cause::is_limit));
        self.pacer.landed(sent.route, Feedback::of(cause), reply.rate(), sent.at, now);
        if cause == Some(Cause::Throttled)
            && let Some(pause) = self.long_pause(now)
        {
            let (said, pause) = (sent.said(reply), brief_duration(pause));
            tracing::info!("the server's limit is reached ({said}): no call goes for {pause}");
        }
        verdict
    }

    /// Our id for a write, where the entrance takes one: see [`Outgoing::write`].
    pub fn id_of(&self, (row, attempt): (u64, u32)) -> Option<RequestId> {
        self.ids.as_ref().map(|ids| ids.of_write(row, attempt))
    }

    /// A call has ended that nobody waits for any more. The pacer may wait for it.
    pub fn landed_late(&mut self, sent: Sent, now: Instant) {
        self.pacer.landed(sent.route, Feedback::Nothing, RateHint::default(), sent.at, now);
    }

    /// How long no call goes after one was refused, where that is long. Answers that come in the same
    /// pause only repeat it.
    fn long_pause(&mut self, now: Instant) -> Option<Duration> {
        if self.paused_until.is_some_and(|until| now < until) {
            return None;
        }
        let until = self.pacer.paused_until().filter(|until| *until >= now + LONG_PAUSE)?;
        self.paused_until = Some(until);
        Some(until - now)
    }
}

/// Waits for a call, but no longer than that; then it is lost.
fn within(limit: Duration, call: impl Future<Output = Reply>) -> impl Future<Output = Reply> {
    // What is left of a deadline is shown as the time that it was.
    let shown =
        if limit < Duration::from_secs(1) { limit } else { limit + Duration::from_millis(500) };
    let lost = move || Reply::Lost(format!("no answer within {}", brief_duration(shown)));
    timeout(limit, call).map(move |answered| answered.unwrap_or_else(|_| lost()))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nobody;

    impl Cmdb for Nobody {
        async fn call(&self, _: Request) -> Reply {
            std::future::pending().await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_pause_is_logged_when_it_begins_and_not_by_each_answer_that_repeats_it() {
        let start = Instant::now();
        let mut caller = Caller::new(&Nobody, &EngineOptions::default(), 64, None, start);
        let mut pause = |seconds: u64, at: Duration| {
            let wait = Some(Duration::from_secs(seconds));
            let hint = RateHint { retry_after: wait, ..RateHint::default() };
            let now = start + at;
            caller.pacer.landed(Route::Find, Feedback::Throttled, hint, now, now);
            caller.long_pause(now).map(|pause| pause.as_secs())
        };
        assert_eq!(pause(9, Duration::ZERO), None, "it is short");
        assert_eq!(pause(30, Duration::from_secs(10)), Some(30));
        assert_eq!(pause(30, Duration::from_millis(10_200)), None);
        assert_eq!(pause(30, Duration::from_millis(39_900)), None);
        assert_eq!(pause(20, Duration::from_secs(80)), Some(20), "it is another");
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_was_given_up_holds_the_pacer_only_until_it_lands() {
        let start = Instant::now();
        let mut caller = Caller::new(&Nobody, &EngineOptions::default(), 64, None, start);
        let hint = RateHint { retry_after: Some(Duration::from_secs(1)), ..RateHint::default() };
        caller.pacer.landed(Route::Create, Feedback::Throttled, hint, start, start);
        let trial = Sent { at: start + Duration::from_secs(2), route: Route::Create, id: None };
        caller.permit(trial.route, trial.at).unwrap();
        caller.pacer.sent(trial.route, trial.at);
        let later = trial.at + Duration::from_secs(40);
        assert!(caller.permit(trial.route, later).is_err());
        caller.landed_late(trial, later);
        assert!(caller.permit(trial.route, later).is_ok());
    }
}
