//! Which calls there are, found out by calls that can do nothing.
//!
//! Owns what is asked, each once and one after the other, and why it can do nothing: it is about a model, an
//! association and ids that can't be (docs/cmdb-api.md#what-a-server-can-do). Whatever comes of a probe is told,
//! and ends nothing.

use std::sync::Arc;

use crate::association::{Association, InstId, Mapping, ModelAssociation, NewAssociation};
use crate::cmdb::Cmdb;
use crate::cmdb::server_message::ServerMessage;
use crate::cmdb::verdict::{Availability, Cause, Query, availability};
use crate::cmdb::wire::{
    AnyOf, Attributes, Envelope, Find, InstanceCall, Instances, List, Page, Part, Pattern,
    PropertyValue, Reply, Request, Route,
};
use crate::engine::asker::Asker;
use crate::engine::preflight::NO_NAME;
use crate::engine::stats::CallKind;
use crate::exit::{Exit, Halt};
use crate::options::Language;

/// A number that is nothing's id: they are counted up from 1. As large as any JSON number may be.
const NO_ID: i64 = (1 << 53) - 1;
/// Calls without an answer, after which no other is made.
const MOST_SILENT: u32 = 2;

/// What came of one probe.
#[derive(Clone, Debug)]
pub struct Probed {
    /// The call.
    pub route: Route,
    /// What it told.
    pub told: Told,
}

/// What a probe told.
#[derive(Clone, Debug)]
pub enum Told {
    /// Whether there is the call, and the words of the answer.
    Shown(Availability, ServerMessage),
    /// Nothing: what came instead.
    Nothing(ServerMessage),
    /// It was not made.
    NotMade(NotMade),
}

/// Why a probe was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotMade {
    /// Nobody said that there is no such model association.
    Unsafe,
    /// The calls before it got no answer.
    Silence,
    /// The call for many is there, and does it, too.
    Needless,
}

/// Asks which calls there are, where the contact was tested.
pub async fn ask<C: Cmdb>(asker: &Asker<'_, C>) -> Result<Vec<Probed>, Halt> {
    let mut probes = Probes { asker, silent: 0, probed: Vec::new() };
    let reply = probes.ask(Request::Models(vec![NO_NAME.into()])).await?;
    let models = reply.as_ref().and_then(Reply::envelope).and_then(Envelope::models);
    // Only where the server says so itself is it certain that a create of it can do nothing.
    if models.is_some_and(|models| models.is_empty()) {
        probes.ask(create()).await?;
    } else {
        probes.leave(Route::Create, NotMade::Unsafe);
    }
    probes.ask(Request::CreateMany { model: Arc::new(no_model()), pairs: Vec::new() }).await?;
    probes.ask(find()).await?;
    probes.ask(list()).await?;
    probes.ask(instances(InstanceCall::SearchObjectInstances, NO_NAME)).await?;
    if probes.lacks(Route::SearchObjectInstances) {
        probes.ask(instances(InstanceCall::SearchInst, NO_NAME)).await?;
    }
    probes.ask(instances(InstanceCall::ListHosts, "host")).await?;
    let attributes = Attributes { obj_id: "host".into(), language: Language::En };
    probes.ask(Request::Attributes(attributes)).await?;
    probes.ask(Request::DeleteMany { obj_id: NO_NAME.into(), ids: Vec::new() }).await?;
    if probes.known(Route::DeleteMany) == Some(Availability::There) {
        probes.leave(Route::Delete, NotMade::Needless);
    } else {
        probes.ask(Request::Delete { obj_id: NO_NAME.into(), id: NO_ID }).await?;
    }
    Ok(probes.probed)
}

struct Probes<'a, 'b, C> {
    asker: &'a Asker<'b, C>,
    /// Calls in a row that got no answer.
    silent: u32,
    probed: Vec<Probed>,
}

impl<C: Cmdb> Probes<'_, '_, C> {
    /// Makes one; where the server's limit is reached, once more.
    async fn ask(&mut self, request: Request) -> Result<Option<Reply>, Halt> {
        let route = request.route();
        if self.silent >= MOST_SILENT {
            self.leave(route, NotMade::Silence);
            return Ok(None);
        }
        let mut asked = self.once(&request).await?;
        if let Some((_, query)) = &asked
            && query.cause().is_some_and(Cause::is_limit)
        {
            asked = self.once(&request).await?;
        }
        let Some((reply, _)) = asked else { return Ok(None) };
        self.silent = if let Reply::Answered(_) = reply { 0 } else { self.silent + 1 };
        let said = ServerMessage::of(&reply);
        let told = match availability(route, &reply) {
            // Nothing can have been created: such an answer is no CMDB's.
            Some(Availability::There) if route == Route::Create && is_success(&reply) => {
                Told::Nothing(said)
            }
            Some(shown) => Told::Shown(shown, said),
            None => Told::Nothing(said),
        };
        self.probed.push(Probed { route, told });
        Ok(Some(reply))
    }

    /// Asks. Where time is over for this one call, nothing came of it.
    async fn once(&mut self, request: &Request) -> Result<Option<(Reply, Query)>, Halt> {
        self.asker.progressed();
        match self.asker.ask(CallKind::Probe, request.clone()).await {
            Ok(asked) => Ok(Some(asked)),
            Err(Halt { exit: Exit::Outage, message }) => {
                self.silent += 1;
                let said = ServerMessage { message, ..ServerMessage::default() };
                self.probed.push(Probed { route: request.route(), told: Told::Nothing(said) });
                Ok(None)
            }
            Err(halt) => Err(halt),
        }
    }

    fn leave(&mut self, route: Route, why: NotMade) {
        self.probed.push(Probed { route, told: Told::NotMade(why) });
    }

    fn known(&self, route: Route) -> Option<Availability> {
        self.asker.stats.borrow().calls.abilities.of(route)
    }

    /// Whether the server said that the call is not there for us.
    fn lacks(&self, route: Route) -> bool {
        self.known(route).is_some_and(|shown| !shown.is_there())
    }
}

fn is_success(reply: &Reply) -> bool {
    reply.envelope().is_some_and(|envelope| envelope.succeeded() == Some(true))
}

/// Of a model association that there is not, between instances that can't be.
fn create() -> Request {
    let id = no_instance();
    let association = Association { obj_asst_id: NO_NAME.into(), inst_id: id, asst_inst_id: id };
    Request::Create(NewAssociation { association, biz_id: None })
}

fn no_instance() -> InstId {
    InstId::new(NO_ID.unsigned_abs()).expect("the largest id is one")
}

fn no_model() -> ModelAssociation {
    ModelAssociation {
        obj_asst_id: NO_NAME.into(),
        source: NO_NAME.into(),
        target: NO_NAME.into(),
        mapping: Mapping::ManyToMany,
        guessed: true,
        mainline: false,
    }
}

fn find() -> Request {
    let id = no_instance();
    Request::Find(Find {
        obj_id: NO_NAME.into(),
        obj_asst_id: NO_NAME.into(),
        any_of: vec![Pattern::Pair(id, id)],
    })
}

fn list() -> Request {
    Request::List(List { obj_id: NO_NAME.into(), obj_asst_id: NO_NAME.into(), part: Part::Newest })
}

/// Of instances with an id that none has.
fn instances(call: InstanceCall, model: &str) -> Request {
    let values = vec![PropertyValue::Integer(NO_ID)];
    Request::Instances(Instances {
        call,
        obj_id: model.into(),
        any_of: Some(AnyOf { property: call.id_field().into(), values }),
        fields: vec![call.id_field().into()],
        page: Page { after: None, start: 0, limit: 1 },
    })
}
