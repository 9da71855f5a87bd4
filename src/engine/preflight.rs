//! First contact: the question for model associations, what its answer means for a run, and how a
//! check asks it.
//!
//! Shared by `import` and `check`, so that both stop for the same answers in the same words. Knows
//! nothing of rows, files or results.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::time::{Instant, sleep_until, timeout};

use crate::association::{InstId, ModelAssociation};
use crate::cmdb::Cmdb;
use crate::cmdb::server_message::ServerMessage;
use crate::cmdb::verdict::{Cause, Query, Stop, judge_query};
use crate::cmdb::wire::{Envelope, Find, ModelError, Pattern, Reply, Request};
use crate::engine::models::Models;
use crate::engine::pacer::{Feedback, Pacer};
use crate::engine::stats::{CallKind, Calls};
use crate::exit::{Exit, Halt};
use crate::options::{EngineOptions, brief_duration};
use crate::target::Target;

/// How long after a question without an answer it is asked again.
pub const ASK_AGAIN: Duration = Duration::from_secs(1);
/// A pause for the server's limit that is told: whoever looks on would else think that nothing happens.
const LONG_PAUSE: Duration = Duration::from_secs(10);
/// A name that no model association has: names are made of two models and a kind.
const NO_NAME: &str = "bkassoc_contact";

/// What the answer to the question for model associations means.
#[derive(Debug)]
pub enum Heard {
    /// What there is of what was asked for.
    Models(Vec<Result<ModelAssociation, ModelError>>),
    /// Nothing of substance: it is to be asked again.
    Nothing,
    /// The run can't go on.
    Stop(Halt),
}

/// A look-up of which nothing but an answer is expected.
pub fn harmless(model: &ModelAssociation) -> Request {
    let one = InstId::new(1).expect("1 is an id");
    Request::Find(Find {
        obj_id: Arc::clone(&model.source),
        obj_asst_id: Arc::clone(&model.obj_asst_id),
        any_of: vec![Pattern::Pair(one, one)],
    })
}

/// Reads the answer to the question for `names`, which `query` judges.
pub fn hear(reply: &Reply, query: Query, names: &[Arc<str>], target: &Target) -> Heard {
    match query {
        Query::Answered => {
            let models = reply.envelope().and_then(Envelope::models);
            models.map_or(Heard::Nothing, Heard::Models)
        }
        Query::Again(_) => Heard::Nothing,
        Query::Stop(Stop::ApiForbidden) | Query::Forbidden | Query::Rejected => {
            let said = ServerMessage::of(reply);
            if said.code.is_none() {
                return Heard::Stop(Halt {
                    exit: Exit::Target,
                    message: format!(
                        "the first question was refused, and not by a CMDB ({said}): something on the way \
                         does not let it through; check --endpoint, --entrance and --proxy"
                    ),
                });
            }
            let name = names.first().map_or("ASST", |name| name);
            Heard::Stop(Halt {
                exit: Exit::Target,
                message: format!(
                    "this app may not ask what {name:?} is ({said}): give it with \
                     --model {name}=SOURCE_MODEL,TARGET_MODEL,MAPPING"
                ),
            })
        }
        Query::Stop(stop) => Heard::Stop(refused(stop, reply, target)),
    }
}

/// The end of a run that the server, or something before it, does not let go on.
pub fn refused(stop: Stop, reply: &Reply, target: &Target) -> Halt {
    let advice = stop.advice(reply, target.entrance);
    Halt { exit: Exit::Target, message: format!("{}: {advice}", ServerMessage::of(reply)) }
}

/// The end of a run that may not look rows of a model association up.
pub fn no_look_ups(reply: &Reply, model: &ModelAssociation) -> Halt {
    let (said, source) = (ServerMessage::of(reply), &model.source);
    Halt {
        exit: Exit::Target,
        message: format!(
            "look-ups are refused ({said}): give the user permission to find instances of \
             {source}, then give the same command"
        ),
    }
}

/// The end of a run that never heard from the server. `trouble` is what came instead.
pub fn never_answered(target: &Target, wait: Duration, trouble: &str) -> Halt {
    let wait = humantime::format_duration(wait);
    Halt {
        exit: Exit::Outage,
        message: format!(
            "no answer ever came from {target} within {wait} ({trouble}): check --endpoint and \
             --proxy, and whether it is up"
        ),
    }
}

/// Waits for a call, but no longer than that; then it is lost.
pub fn within(limit: Duration, call: impl Future<Output = Reply>) -> impl Future<Output = Reply> {
    // What is left of a deadline is told as the time that it was.
    let shown =
        if limit < Duration::from_secs(1) { limit } else { limit + Duration::from_millis(500) };
    let lost = move || Reply::Lost(format!("no answer within {}", brief_duration(shown)));
    timeout(limit, call).map(move |answered| answered.unwrap_or_else(|_| lost()))
}

/// What calls have shown of the server so far.
#[derive(Debug)]
pub struct ServerHealth {
    /// Any answer ever came.
    pub answered: bool,
    /// A call has succeeded: URL, certificate and credentials are right.
    pub proven: bool,
    /// What the last call said that brought nothing forward.
    pub trouble: String,
    /// The end of the last long pause that was told.
    paused_until: Option<Instant>,
}

impl Default for ServerHealth {
    fn default() -> Self {
        Self {
            answered: false,
            proven: false,
            trouble: "nothing yet".to_owned(),
            paused_until: None,
        }
    }
}

impl ServerHealth {
    /// Adds what any reply shows.
    pub fn heard(&mut self, reply: &Reply) {
        self.answered |= matches!(reply, Reply::Answered(_) | Reply::Oversized(_));
    }

    /// Adds the reply to a question, and says what it means.
    pub fn add(&mut self, reply: &Reply) -> Query {
        self.heard(reply);
        let query = judge_query(reply, self.proven);
        self.proven |= query == Query::Answered;
        query
    }

    /// Tells the pacer how a call ended; and a person, where that begins a long pause.
    pub fn pace(
        &mut self,
        pacer: &mut Pacer,
        cause: Option<Cause>,
        reply: &Reply,
        sent_at: Instant,
        now: Instant,
    ) {
        pacer.landed(Feedback::of(cause), reply.rate(), sent_at, now);
        if cause == Some(Cause::Throttled)
            && let Some(pause) = self.long_pause(pacer, now)
        {
            let (said, pause) = (ServerMessage::of(reply), brief_duration(pause));
            tracing::info!("the server's limit is reached ({said}): no call goes for {pause}");
        }
    }

    /// How long no call goes after one was refused, where that is long. Answers that come in the same
    /// pause only repeat it.
    fn long_pause(&mut self, pacer: &Pacer, now: Instant) -> Option<Duration> {
        if self.paused_until.is_some_and(|until| now < until) {
            return None;
        }
        let until = pacer.paused_until().filter(|until| *until >= now + LONG_PAUSE)?;
        self.paused_until = Some(until);
        Some(until - now)
    }

    /// Keeps what came instead of the answer to the first question. It is asked every second for
    /// minutes, and told when it changes.
    pub fn got_no_models(&mut self, reply: &Reply) {
        let trouble = ServerMessage::of(reply).to_string();
        if trouble != self.trouble {
            tracing::info!("no answer to the first question: {trouble}");
        }
        self.trouble = trouble;
    }
}

/// Asks one question after the other, as patiently as a run asks its first.
pub struct Preflight<'a, C> {
    cmdb: &'a C,
    target: &'a Target,
    options: &'a EngineOptions,
    pacer: Pacer,
    /// Calls so far.
    pub calls: Calls,
    started: Instant,
    /// The last time that a question was answered.
    progress: Instant,
    evidence: ServerHealth,
}

impl<'a, C: Cmdb> Preflight<'a, C> {
    /// No call is made yet.
    pub fn new(cmdb: &'a C, target: &'a Target, options: &'a EngineOptions) -> Self {
        let rate = options.rate.per_second();
        let now = Instant::now();
        Self {
            cmdb,
            target,
            options,
            pacer: Pacer::new(rate, 1, Instant::now()),
            calls: Calls::default(),
            started: now,
            progress: now,
            evidence: ServerHealth::default(),
        }
    }

    /// Whether the server has answered well: URL, certificate and credentials are right.
    pub fn is_proven(&self) -> bool {
        self.evidence.proven
    }

    /// Asks for everything that `models` wants to know.
    pub async fn ask(&mut self, models: &mut Models) -> Result<(), Halt> {
        self.progress = Instant::now();
        while models.has_questions() {
            let names = models.question();
            let (reply, query) =
                self.call(CallKind::Models, Request::Models(names.clone())).await?;
            match hear(&reply, query, &names, self.target) {
                Heard::Models(found) => {
                    self.progress = Instant::now();
                    models.answered(&names, found);
                }
                Heard::Stop(halt) => return Err(halt),
                Heard::Nothing => {
                    models.ask_again(names);
                    self.wait_to_ask_again(&reply).await?;
                }
            }
        }
        Ok(())
    }

    /// Asks something harmless, for the answer's sake: a model association that can't be, or, where
    /// those may not be asked for, an association of a given one.
    pub async fn test(&mut self) -> Result<(), Halt> {
        let Some(model) = self.options.models.first() else {
            let mut models = Models::default();
            models.look(&NO_NAME.into());
            return self.ask(&mut models).await;
        };
        let request = harmless(model);
        self.progress = Instant::now();
        loop {
            let (reply, query) = self.call(CallKind::Find, request.clone()).await?;
            match query {
                Query::Answered => return Ok(()),
                Query::Again(_) => self.wait_to_ask_again(&reply).await?,
                Query::Stop(stop) => return Err(refused(stop, &reply, self.target)),
                Query::Forbidden => return Err(no_look_ups(&reply, model)),
                Query::Rejected => {
                    let (said, name) = (ServerMessage::of(&reply), &model.obj_asst_id);
                    return Err(Halt {
                        exit: Exit::Target,
                        message: format!(
                            "the server refuses to look for {name} ({said}): check --model {name}"
                        ),
                    });
                }
            }
        }
    }

    /// Makes a call when the pacer lets it.
    async fn call(&mut self, kind: CallKind, request: Request) -> Result<(Reply, Query), Halt> {
        let (deadline, _) = self.deadline();
        while let Err((until, _)) = self.pacer.permit(Instant::now()) {
            self.sleep_until(until).await?;
        }
        self.calls.sent(kind);
        let sent_at = Instant::now();
        let limit = self.options.timeout.min(deadline - sent_at);
        let reply = within(limit, self.cmdb.call(request)).await;
        let now = Instant::now();
        self.calls.answered(now - sent_at);
        let query = self.evidence.add(&reply);
        let cause = query.cause();
        self.calls.throttled += u64::from(cause.is_some_and(Cause::is_limit));
        self.evidence.pace(&mut self.pacer, cause, &reply, sent_at, now);
        Ok((reply, query))
    }

    async fn wait_to_ask_again(&mut self, reply: &Reply) -> Result<(), Halt> {
        self.evidence.got_no_models(reply);
        self.sleep_until(Instant::now() + ASK_AGAIN).await?;
        self.calls.retries += 1;
        Ok(())
    }

    /// Sleeps, or ends the run where its time is over first.
    async fn sleep_until(&self, until: Instant) -> Result<(), Halt> {
        let (deadline, halt) = self.deadline();
        sleep_until(until.min(deadline)).await;
        if Instant::now() >= deadline { Err(halt()) } else { Ok(()) }
    }

    /// Until when to ask, and what ends the run then.
    fn deadline(&self) -> (Instant, impl Fn() -> Halt + '_) {
        let patience = if self.evidence.answered {
            self.progress + self.options.max_outage
        } else {
            self.progress + self.options.connect_timeout
        };
        let over = self.options.max_duration.map(|most| self.started + most);
        let deadline = over.map_or(patience, |over| over.min(patience));
        let halt = move || match self.options.max_duration {
            Some(most) if over == Some(deadline) => duration_over(most),
            _ if !self.evidence.answered => {
                never_answered(self.target, self.options.connect_timeout, &self.evidence.trouble)
            }
            _ => Halt {
                exit: Exit::Outage,
                message: format!(
                    "the question for model associations got no answer for {}, the last being: {}",
                    humantime::format_duration(self.options.max_outage),
                    self.evidence.trouble
                ),
            },
        };
        (deadline, halt)
    }

    /// Whether `--max-duration` is over.
    pub fn check_time(&self) -> Result<(), Halt> {
        match self.options.max_duration {
            Some(most) if Instant::now() >= self.started + most => Err(duration_over(most)),
            _ => Ok(()),
        }
    }
}

/// The end of a run whose time is over.
pub fn duration_over(most: Duration) -> Halt {
    let most = humantime::format_duration(most);
    Halt { exit: Exit::MaxDuration, message: format!("--max-duration {most} is over") }
}

#[cfg(test)]
mod tests;
