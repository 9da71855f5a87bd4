//! What is asked before the first write: which model associations there are, and whether the server
//! answers at all.
//!
//! Shared by a run, a check and `verify --live`, so that all stop for the same answers in the same
//! words. Knows nothing of rows, files or results.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::association::{InstId, ModelAssociation};
use crate::cmdb::Cmdb;
use crate::cmdb::server_message::ServerMessage;
use crate::cmdb::verdict::{Query, Stop};
use crate::cmdb::wire::{Envelope, Find, ModelError, Pattern, Reply, Request};
use crate::engine::asker::Asker;
use crate::engine::models::Models;
use crate::engine::server_health::{look_ups_refused, refused};
use crate::engine::stats::CallKind;
use crate::exit::{Exit, Halt};
use crate::target::Target;

/// How long after a question without an answer it is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// A name that no model association has: names are made of two models and a kind.
pub const NO_NAME: &str = "bkassoc_contact";

/// A look-up of which nothing but an answer is expected.
pub fn harmless(model: &ModelAssociation) -> Request {
    let one = InstId::new(1).expect("1 is an id");
    Request::Find(Find {
        obj_id: Arc::clone(&model.source),
        obj_asst_id: Arc::clone(&model.obj_asst_id),
        any_of: vec![Pattern::Pair(one, one)],
    })
}

/// What there is of the model associations that were asked for; `None` where the answer says nothing
/// of substance, and the question is to be asked again.
type Answer = Option<Vec<Result<ModelAssociation, ModelError>>>;

/// Reads the answer to the question for `names`, which `query` judges.
fn read_answer(
    reply: &Reply,
    query: Query,
    names: &[Arc<str>],
    target: &Target,
) -> Result<Answer, Halt> {
    match query {
        Query::Answered => Ok(reply.envelope().and_then(Envelope::models)),
        Query::Again(_) => Ok(None),
        Query::Stop(Stop::ApiForbidden)
        | Query::Forbidden
        | Query::Rejected
        | Query::NoSuchCall => Err(may_not_ask(reply, names)),
        Query::Stop(stop) => Err(refused(stop, reply, target)),
    }
}

/// The end of a run that may not ask what a model association is.
fn may_not_ask(reply: &Reply, names: &[Arc<str>]) -> Halt {
    let said = ServerMessage::of(reply);
    let message = if said.code.is_none() {
        format!(
            "the first question was refused, and not by a CMDB ({said}): something on the way \
             does not let it through; check --endpoint, --entrance and --proxy"
        )
    } else {
        let name = names.first().map_or("ASST", |name| name);
        format!(
            "this app may not ask what {name:?} is ({said}): give it with \
             --model {name}=SOURCE_MODEL,TARGET_MODEL,MAPPING"
        )
    };
    Halt { exit: Exit::Target, message }
}

/// Logs what came instead of an answer. The question is asked every second for minutes, so that is
/// logged when it changes; its request id always does.
fn log_trouble(reply: &Reply, logged: &mut Option<ServerMessage>) {
    let said = ServerMessage::of(reply);
    if logged.as_ref().is_none_or(|logged| !logged.says_the_same_as(&said)) {
        tracing::info!("no answer to the first question: {said}");
        *logged = Some(said);
    }
}

/// The questions of a run for model associations: one in flight at a time.
#[derive(Debug)]
pub struct Questions {
    /// What is known, and what is to be asked.
    pub models: Models,
    in_flight: bool,
    /// Not before then.
    ask_at: Instant,
    /// The last question brought no answer.
    in_vain: bool,
    logged: Option<ServerMessage>,
}

impl Questions {
    /// Nothing is asked yet. `models` are those that were given.
    pub fn new(models: &[ModelAssociation], now: Instant) -> Self {
        Self {
            models: Models::given(models),
            in_flight: false,
            ask_at: now,
            in_vain: false,
            logged: None,
        }
    }

    /// Whether anything is asked, or is to be.
    pub fn are_open(&self) -> bool {
        self.in_flight || self.models.has_questions()
    }

    /// Whether a question may go now.
    pub fn are_due(&self, now: Instant) -> bool {
        !self.in_flight && self.models.has_questions() && self.ask_at <= now
    }

    /// Whether a question waits to be asked again.
    pub fn wait(&self) -> bool {
        self.models.has_questions()
    }

    /// When the question that waits is asked again.
    pub fn next_due(&self, now: Instant) -> Option<Instant> {
        (self.models.has_questions() && self.ask_at > now).then_some(self.ask_at)
    }

    /// The names of the next question, and whether it is asked again.
    pub fn take_next(&mut self) -> (Vec<Arc<str>>, bool) {
        self.in_flight = true;
        (self.models.question(), std::mem::take(&mut self.in_vain))
    }

    /// The question is not waited for any more.
    pub fn given_up(&mut self, names: Vec<Arc<str>>, now: Instant) {
        self.in_flight = false;
        self.in_vain = true;
        self.models.ask_again(names);
        self.ask_at = now;
    }

    /// The question has ended. True where it was answered.
    pub fn landed(
        &mut self,
        names: Vec<Arc<str>>,
        reply: &Reply,
        query: Query,
        target: &Target,
        now: Instant,
    ) -> Result<bool, Halt> {
        self.in_flight = false;
        let Some(found) = read_answer(reply, query, &names, target)? else {
            self.in_vain = true;
            log_trouble(reply, &mut self.logged);
            self.models.ask_again(names);
            self.ask_at = now + ASK_AGAIN;
            return Ok(false);
        };
        self.models.answered(&names, found);
        Ok(true)
    }
}

impl<C: Cmdb> Asker<'_, C> {
    /// Asks for everything that `models` wants to know.
    pub async fn ask_for(&self, models: &mut Models) -> Result<(), Halt> {
        self.progressed();
        while models.has_questions() {
            let names = models.question();
            let request = Request::Models(names.clone());
            let (reply, query) = self.ask(CallKind::Models, request).await?;
            if let Some(found) = read_answer(&reply, query, &names, self.target)? {
                self.progressed();
                models.answered(&names, found);
            } else {
                models.ask_again(names);
                self.wait_to_ask_again(&reply).await?;
            }
        }
        Ok(())
    }

    /// Asks something harmless, for the answer's sake: a model association that can't be, or, where
    /// those may not be asked for, an association of a given one.
    pub async fn test(&self) -> Result<(), Halt> {
        let Some(model) = self.options.models.first() else {
            let mut models = Models::default();
            models.look(&NO_NAME.into());
            return self.ask_for(&mut models).await;
        };
        let request = harmless(model);
        self.progressed();
        loop {
            let (reply, query) = self.ask(CallKind::Find, request.clone()).await?;
            match query {
                Query::Answered => return Ok(()),
                Query::Again(_) => self.wait_to_ask_again(&reply).await?,
                Query::Stop(stop) => return Err(refused(stop, &reply, self.target)),
                Query::Forbidden => return Err(look_ups_refused(&reply, &model.source)),
                Query::Rejected | Query::NoSuchCall => {
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

    async fn wait_to_ask_again(&self, reply: &Reply) -> Result<(), Halt> {
        log_trouble(reply, &mut self.logged.borrow_mut());
        self.wait(ASK_AGAIN, reply).await
    }
}

#[cfg(test)]
mod tests;
