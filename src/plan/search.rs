//! One question to the server for many cells: which instances have any of these values.
//!
//! Owns the pages of the answer, and which instance fits which cell: compared here, exactly, whatever the
//! server takes for equal. Knows nothing of rows or of what is kept.

use std::rc::Rc;
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};
use serde_json::{Map, Value};

use super::cache::{Asked, Meaning, Several};
use super::condition::{Condition, Fit};
use super::properties::Properties;
use super::question::Question;
use crate::association::InstId;
use crate::cmdb::Cmdb;
use crate::cmdb::server_message::ServerMessage;
use crate::cmdb::verdict::Query;
use crate::cmdb::wire::{
    AnyOf, Envelope, InstanceCall, Instances, InstancesAnswer, Page, PropertyValue, Reply, Request,
    code,
};
use crate::engine::asker::Asker;
use crate::engine::server_health::{look_ups_refused, refused};
use crate::engine::stats::CallKind;
use crate::exit::Halt;

/// More pages are not read: what was found until then is told.
const MOST_PAGES: usize = 20;
/// How many ids a message names.
pub(super) const MOST_IDS: usize = 5;

/// The models that have a call of their own, or none, and that the calls for any model refuse.
pub(super) const INNER: &[&str] = &["set", "module", "process", "plat"];

/// The calls for instances that this server has, as far as it was found out.
#[derive(Clone, Copy, Debug)]
pub(super) struct InstanceCalls {
    /// The call for any model, if there is one.
    objects: Option<InstanceCall>,
    lacks_hosts: bool,
}

impl Default for InstanceCalls {
    fn default() -> Self {
        Self { objects: Some(InstanceCall::SearchObjectInstances), lacks_hosts: false }
    }
}

impl InstanceCalls {
    /// The call that asks for a model's instances by their properties.
    pub(super) fn of(self, model: &str) -> Option<InstanceCall> {
        match model {
            "host" => (!self.lacks_hosts).then_some(InstanceCall::ListHosts),
            inner if INNER.contains(&inner) => None,
            _ => self.objects,
        }
    }

    /// The server does not have this one.
    pub(super) fn lack(&mut self, call: InstanceCall) {
        match call {
            InstanceCall::ListHosts => self.lacks_hosts = true,
            _ if self.objects != Some(call) => {}
            InstanceCall::SearchObjectInstances => self.objects = Some(InstanceCall::SearchInst),
            InstanceCall::SearchInst | InstanceCall::SearchBusiness => self.objects = None,
        }
    }
}

/// A cell, and what it asks.
pub(super) type Pending = (Rc<Asked>, Question);

/// Cells of one model that are asked for in one call.
#[derive(Debug)]
pub(super) struct Search {
    /// The model's number, for whoever asks.
    pub(super) model: usize,
    pub(super) obj_id: Arc<str>,
    pub(super) properties: Rc<Properties>,
    /// Properties of which any may be asked by, as [`Question::asked_by`] gives them.
    pub(super) by: Vec<usize>,
    pub(super) pending: Vec<Pending>,
}

/// How a search ended.
#[derive(Debug)]
pub(super) enum Landing {
    /// Every cell knows what it means, but for those that are given back: there were too many instances.
    Answered(Vec<Pending>),
    /// The server has no such call.
    NoSuchCall,
    /// The server refuses the question: its words, and whether it refuses the model for good.
    Rejected(String, bool),
}

impl Search {
    /// Asks until there is an answer of substance.
    pub(super) async fn go<C: Cmdb>(
        mut self,
        asker: &Asker<'_, C>,
        call: InstanceCall,
    ) -> Result<(Self, InstanceCall, Landing), Halt> {
        let by = self.by_most_values();
        let mut matches = Matches::new(&self, by);
        let mut page = Page { after: None, start: 0, limit: call.page_limit() };
        for _ in 0..MOST_PAGES {
            let request = Request::Instances(self.request(call, by, page));
            let answer = ask_until_answered(asker, &request, &self.obj_id, Envelope::instances);
            let InstancesAnswer { count, info } = match answer.await? {
                Ok(answer) => answer,
                Err(landing) => return Ok((self, call, landing)),
            };
            page.start += info.len() as u64;
            // Something in between may give shorter pages than were asked for.
            let has_more = count.is_some_and(|count| count > page.start);
            let is_last = info.is_empty() || (info.len() < usize::from(page.limit) && !has_more);
            let before = matches.seen.len();
            let last = matches.take(&self, call, &info);
            if is_last {
                matches.tell(&mut self, true);
                return Ok((self, call, Landing::Answered(Vec::new())));
            }
            if matches.seen.len() == before {
                // The server gives the same again, whatever part is asked for.
                break;
            }
            if call.has_after() {
                // A page without ids has no next one.
                let Some(last) = last else { break };
                page = Page { after: Some(last), start: 0, ..page };
            }
        }
        let open = matches.tell(&mut self, false);
        Ok((self, call, Landing::Answered(open)))
    }

    /// The property by which the question is the most exact.
    fn by_most_values(&self) -> usize {
        let values = |at: usize| {
            let asked = self.conditions(at).flat_map(|(_, condition)| condition.asked());
            asked.collect::<FxHashSet<_>>().len()
        };
        // The first of those that are equal.
        self.by.iter().rev().copied().max_by_key(|at| values(*at)).unwrap_or_default()
    }

    /// What is wanted of a property, with the number of the cell.
    fn conditions(&self, at: usize) -> impl Iterator<Item = (usize, &Condition)> {
        let cells = self.pending.iter().enumerate();
        cells.filter_map(move |(cell, (_, question))| {
            let (_, condition) = question.wanted.iter().find(|(place, _)| *place == at)?;
            Some((cell, condition))
        })
    }

    fn request(&self, call: InstanceCall, by: usize, page: Page) -> Instances {
        let mut asked = FxHashSet::default();
        let values = self.conditions(by).flat_map(|(_, condition)| condition.asked());
        let values = values.filter(|value| asked.insert(value.clone())).collect();
        let mut places: Vec<usize> = self
            .pending
            .iter()
            .flat_map(|(_, question)| question.wanted.iter().map(|(at, _)| *at))
            .collect();
        places.sort_unstable();
        places.dedup();
        let mut fields: Vec<Arc<str>> = vec![call.id_field().into()];
        let ids = places.iter().map(|at| &self.properties.get(*at).id);
        fields.extend(ids.filter(|id| ***id != *call.id_field()).cloned());
        Instances {
            call,
            obj_id: Arc::clone(&self.obj_id),
            any_of: Some(AnyOf { property: Arc::clone(&self.properties.get(by).id), values }),
            fields,
            page,
        }
    }
}

/// Asks what names mean, until there is an answer of substance. What is no answer is the inner error.
pub(super) async fn ask_until_answered<C: Cmdb, T>(
    asker: &Asker<'_, C>,
    request: &Request,
    model: &str,
    read: impl Fn(&Envelope) -> Option<T>,
) -> Result<Result<T, Landing>, Halt> {
    let mut tries = 0;
    loop {
        let (reply, query) = asker.ask(CallKind::Names, request.clone()).await?;
        match query {
            Query::Answered if let Some(answer) = reply.envelope().and_then(&read) => {
                asker.progressed();
                return Ok(Ok(answer));
            }
            Query::Answered | Query::Again(_) => asker.back_off(&reply, query, &mut tries).await?,
            Query::Stop(stop) => return Err(refused(stop, &reply, asker.target)),
            Query::Forbidden => return Err(look_ups_refused(&reply, model)),
            Query::NoSuchCall => {
                asker.progressed();
                return Ok(Err(Landing::NoSuchCall));
            }
            Query::Rejected => {
                asker.progressed();
                let said = ServerMessage::of(&reply).to_string();
                return Ok(Err(Landing::Rejected(said, is_inner(&reply))));
            }
        }
    }
}

fn is_inner(reply: &Reply) -> bool {
    reply.envelope().and_then(Envelope::code) == Some(code::INNER_MODEL)
}

/// What was found for each cell so far.
struct Matches {
    by: usize,
    /// The cells that asked for a value.
    cells: FxHashMap<PropertyValue, Vec<usize>>,
    exact: Vec<Fits>,
    trimmed: Vec<Fits>,
    /// Cells that an instance fits of which the server gives no id that there can be.
    without_id: FxHashSet<usize>,
    /// Instances that were seen: between pages that are passed over one may move.
    seen: FxHashSet<i64>,
}

#[derive(Clone, Default)]
struct Fits {
    first: Vec<InstId>,
    count: usize,
}

impl Fits {
    fn add(&mut self, id: InstId) {
        self.count += 1;
        if self.first.len() < MOST_IDS {
            self.first.push(id);
        }
    }
}

impl Matches {
    fn new(search: &Search, by: usize) -> Self {
        let mut cells: FxHashMap<PropertyValue, Vec<usize>> = FxHashMap::default();
        for (cell, condition) in search.conditions(by) {
            for value in condition.asked() {
                cells.entry(value).or_default().push(cell);
            }
        }
        let none = vec![Fits::default(); search.pending.len()];
        let (exact, trimmed) = (none.clone(), none);
        let (without_id, seen) = (FxHashSet::default(), FxHashSet::default());
        Self { by, cells, exact, trimmed, without_id, seen }
    }

    /// Takes a page; the largest id on it.
    fn take(
        &mut self,
        search: &Search,
        call: InstanceCall,
        info: &[Map<String, Value>],
    ) -> Option<i64> {
        let by = search.properties.get(self.by);
        let mut largest = None;
        for instance in info {
            let number = instance.get(call.id_field()).and_then(Value::as_i64);
            largest = largest.max(number);
            let id = number.and_then(|number| InstId::new(u64::try_from(number).ok()?).ok());
            if let (Some(number), Some(_)) = (number, id)
                && !self.seen.insert(number)
            {
                continue;
            }
            let Some(value) = instance.get(&*by.id) else { continue };
            let mut cells: Vec<usize> = Condition::found_by(&by.kind, value)
                .iter()
                .filter_map(|value| self.cells.get(value))
                .flatten()
                .copied()
                .collect();
            cells.sort_unstable();
            cells.dedup();
            for cell in cells {
                let (_, question) = &search.pending[cell];
                match (question.fit(&search.properties, instance), id) {
                    (Some(Fit::Exact), Some(id)) => self.exact[cell].add(id),
                    (Some(Fit::Trimmed), Some(id)) => self.trimmed[cell].add(id),
                    (Some(_), None) => {
                        self.without_id.insert(cell);
                    }
                    (None, _) => {}
                }
            }
        }
        largest
    }

    /// Tells every cell what it means. Where not all was read, one of which fewer than two were found is
    /// open: those come back, unless it stands alone.
    fn tell(self, search: &mut Search, is_all: bool) -> Vec<Pending> {
        let alone = search.pending.len() == 1;
        let mut open = Vec::new();
        let fits = self.exact.into_iter().zip(self.trimmed);
        for (cell, (pending, (exact, trimmed))) in search.pending.drain(..).zip(fits).enumerate() {
            let fits = if exact.count > 0 { exact } else { trimmed };
            let meaning = match (fits.count, fits.first.first()) {
                (0 | 1, _) if self.without_id.contains(&cell) => Meaning::Refused(
                    "the server's answer has an instance without a valid id".into(),
                ),
                (0, _) if is_all => Meaning::None,
                (1, Some(id)) if is_all => Meaning::One(*id),
                (0 | 1, _) if !alone => {
                    open.push(pending);
                    continue;
                }
                (0 | 1, _) => Meaning::Refused(
                    "the server answers with more instances than can be read".into(),
                ),
                (count, _) => Meaning::Several(Box::new(Several {
                    first: fits.first,
                    count,
                    at_least: !is_all,
                })),
            };
            pending.0.means(meaning);
        }
        open
    }
}
