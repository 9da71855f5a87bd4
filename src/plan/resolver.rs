//! Which instances cells mean: what has to be asked, in as few calls as may be, a few at a time.
//!
//! Owns which calls there are, found out once, and what waits for company. Knows nothing of rows.

use std::rc::Rc;
use std::sync::Arc;

use futures::future::{FutureExt, LocalBoxFuture};
use futures::stream::{FuturesUnordered, StreamExt};
use rustc_hash::FxHashMap;

use super::businesses::Businesses;
use super::cache::{Asked, Cache, Meaning, Room};
use super::headway::Headway;
use super::model::{Fault, Model, Way};
use super::properties::{Properties, quoted};
use super::question::key_of;
use super::search::{INNER, InstanceCalls, Landing, Search, ask_until_answered};
use crate::association::InstId;
use crate::cmdb::Cmdb;
use crate::cmdb::wire::{Attribute, Attributes, Envelope, InstanceCall, Request};
use crate::engine::asker::Asker;
use crate::exit::Halt;
use crate::options::{Language, Naming};

/// Calls in flight, at most: reads are not what a CMDB should be busy with.
const IN_FLIGHT: usize = 4;
/// Questions about a model, each for one cell, that are refused before the model is given up.
const MOST_REFUSALS: u32 = 3;

/// Of how many names a call was, and what came of it.
type Landed = (usize, Result<(Search, InstanceCall, Landing), Halt>);

/// Asks which instances cells mean.
pub(super) struct Resolver<'a, C> {
    asker: &'a Asker<'a, C>,
    naming: &'a Naming,
    headway: &'a Headway,
    models: Vec<Model>,
    numbers: FxHashMap<Arc<str>, usize>,
    room: Room,
    /// Whether nobody tells the properties of models.
    lacks_attributes: bool,
    calls: InstanceCalls,
    /// What goes next, the last first.
    ready: Vec<Search>,
    in_flight: FuturesUnordered<LocalBoxFuture<'a, Landed>>,
}

impl<'a, C: Cmdb> Resolver<'a, C> {
    pub(super) fn new(asker: &'a Asker<'a, C>, naming: &'a Naming, headway: &'a Headway) -> Self {
        Self {
            asker,
            naming,
            headway,
            models: Vec::new(),
            numbers: FxHashMap::default(),
            room: Room::default(),
            lacks_attributes: false,
            calls: InstanceCalls::default(),
            ready: Vec::new(),
            in_flight: FuturesUnordered::new(),
        }
    }

    /// The number of a model, if it is known.
    pub(super) fn number(&self, model: &str) -> Option<usize> {
        self.numbers.get(model).copied()
    }

    /// What is known of a model.
    pub(super) fn model(&self, number: usize) -> &Model {
        &self.models[number]
    }

    /// What became of a cell of a model; `None` where it is not known yet.
    pub(super) fn tell(
        &self,
        model: usize,
        asked: &Asked,
    ) -> Option<Result<InstId, (Fault, String)>> {
        self.models[model].tell(asked, self.naming, self.asker.target.entrance)
    }

    /// Learns of a model what has to be known before its cells can be read. No call may be in flight.
    pub(super) async fn learn(&mut self, id: &Arc<str>) -> Result<(), Halt> {
        let (mut way, mut properties) = match &**id {
            "host" => (Way::Hosts, self.properties(id).await?),
            "biz" => (Way::Businesses(Businesses::default()), self.properties(id).await?),
            inner if INNER.contains(&inner) => {
                let why = format!("a {inner} can't be found by name: put its id");
                (Way::Nowhere(why), Ok(Properties::default()))
            }
            _ => (Way::Objects, self.properties(id).await?),
        };
        if let (Way::Businesses(businesses), Ok(_)) = (&mut way, &properties) {
            match Businesses::list(self.asker, id).await? {
                Ok(all) => *businesses = all,
                Err(Landing::Rejected(said, _)) => properties = Err(said),
                Err(_) => properties = Err("this server has no call that lists them".to_owned()),
            }
        }
        let properties = properties.unwrap_or_else(|why| {
            way = Way::Nowhere(format!("no {} can be found by name: {why}; put ids", quoted(id)));
            Properties::default()
        });
        let key = key_of(id, &properties, self.naming);
        if let Err(why) = &key
            && properties.told
            && self.naming.key_of(id).is_some()
        {
            // A slip in it would spoil every row.
            return Err(Halt::usage(format!("{why}. Nothing was sent")));
        }
        self.numbers.insert(Arc::clone(id), self.models.len());
        self.models.push(Model {
            id: Arc::clone(id),
            way,
            properties: Rc::new(properties),
            key,
            cache: Cache::default(),
            waiting: FxHashMap::default(),
            refusals: 0,
        });
        Ok(())
    }

    /// The properties of a model, or why they are not told.
    async fn properties(&mut self, id: &Arc<str>) -> Result<Result<Properties, String>, Halt> {
        if self.lacks_attributes {
            return Ok(Ok(Properties::built_in(id)));
        }
        let mut told: Vec<Vec<Attribute>> = Vec::new();
        for language in [Language::Zh, Language::En] {
            let attributes = Attributes { obj_id: Arc::clone(id), language };
            let request = Request::Attributes(attributes);
            match ask_until_answered(self.asker, &request, id, Envelope::attributes).await? {
                Ok(attributes) => told.push(attributes),
                Err(Landing::Rejected(said, _)) => return Ok(Err(said)),
                Err(_) => {
                    self.lacks_attributes = true;
                    return Ok(Ok(Properties::built_in(id)));
                }
            }
        }
        let (en, zh) = (told.pop().unwrap_or_default(), told.pop().unwrap_or_default());
        let properties = Properties::of(id, zh, en);
        if properties.is_empty() {
            let id = quoted(id);
            return Ok(Err(format!("there is no model {id}, or it is not visible to this app")));
        }
        Ok(Ok(properties))
    }

    /// Takes a cell of a model, and asks for it in company.
    pub(super) fn ask(&mut self, number: usize, text: &str) -> Rc<Asked> {
        if self.room.is_full() {
            self.models.iter_mut().for_each(|model| model.cache.grow_old());
        }
        let model = &mut self.models[number];
        if let Some(asked) = model.cache.get(text, &mut self.room) {
            return asked;
        }
        let asked = Asked::new(text);
        model.cache.insert(&asked, &mut self.room);
        if let Way::Nowhere(_) = model.way {
            asked.means(Meaning::NoCall);
            return asked;
        }
        match model.question(text, self.naming) {
            Err(_) => asked.means(Meaning::None),
            Ok(question) => {
                if let Way::Businesses(all) = &model.way {
                    asked.means(all.meaning(&question, &model.properties));
                } else {
                    self.headway.met();
                    self.ready.extend(model.wait(number, (Rc::clone(&asked), question)));
                }
            }
        }
        asked
    }

    /// Whether as much is to be asked as can be under way.
    pub(super) fn is_busy(&self) -> bool {
        !self.ready.is_empty() && self.in_flight.len() >= self.most_in_flight()
    }

    fn most_in_flight(&self) -> usize {
        self.asker.options.concurrency.min(IN_FLIGHT)
    }

    /// What waits for company goes without. False where nothing did.
    pub(super) fn flush(&mut self) -> bool {
        let models = self.models.iter_mut().enumerate();
        let waiting: Vec<_> = models.flat_map(|(number, model)| model.flush(number)).collect();
        let any = !waiting.is_empty();
        self.ready.extend(waiting);
        any
    }

    /// Sends what may go.
    pub(super) fn send(&mut self) {
        while self.in_flight.len() < self.most_in_flight() {
            let Some(search) = self.ready.pop() else { return };
            let call = match self.models[search.model].way {
                Way::Nowhere(_) => None,
                Way::Hosts | Way::Objects | Way::Businesses(_) => self.calls.of(&search.obj_id),
            };
            match call {
                Some(call) => {
                    let names = search.pending.len();
                    let landed = search.go(self.asker, call).map(move |landed| (names, landed));
                    self.in_flight.push(landed.boxed_local());
                }
                None => self.answer_all(&search, &Meaning::NoCall),
            }
        }
    }

    /// Waits until a call has ended. False where none is under way.
    pub(super) async fn land(&mut self) -> Result<bool, Halt> {
        let Some(landed) = self.in_flight.next().await else { return Ok(false) };
        let (names, landed) = landed;
        let (mut search, call, landing) = landed?;
        match landing {
            Landing::Answered(open) => {
                self.models[search.model].refusals = 0;
                self.headway.answered(names - open.len());
                // Fewer at once bring fewer instances.
                self.halve(Search { pending: open, ..search });
            }
            Landing::NoSuchCall => {
                self.calls.lack(call);
                self.ready.push(search);
            }
            Landing::Rejected(said, is_inner) => {
                let model = &mut self.models[search.model];
                if search.pending.len() == 1 {
                    model.refusals += 1;
                }
                if is_inner || model.refusals >= MOST_REFUSALS {
                    model.way = Way::Nowhere(format!(
                        "no {} can be found by name: {said}; put ids",
                        quoted(&model.id)
                    ));
                }
                if search.pending.len() == 1 || matches!(model.way, Way::Nowhere(_)) {
                    self.answer_all(&search, &Meaning::Refused(said.into()));
                    search.pending.clear();
                }
                self.halve(search);
            }
        }
        Ok(true)
    }

    fn answer_all(&self, search: &Search, meaning: &Meaning) {
        for (asked, _) in &search.pending {
            asked.means(meaning.clone());
        }
        self.headway.answered(search.pending.len());
    }

    /// What was too much at once is asked in two parts.
    fn halve(&mut self, mut search: Search) {
        if search.pending.is_empty() {
            return;
        }
        let pending = search.pending.split_off(search.pending.len().div_ceil(2));
        let obj_id = Arc::clone(&search.obj_id);
        let properties = Rc::clone(&search.properties);
        let half = Search { obj_id, properties, by: search.by.clone(), pending, ..search };
        self.ready.extend([search, half].into_iter().filter(|search| !search.pending.is_empty()));
    }
}
