//! What there is of a model association: all of it, in as few calls as may be.
//!
//! Owns the three ways to list, which of them this server has, and what a list must be to be believed.
//! Holds a page at a time, and knows nothing of what is done with it.
//!
//! A list takes long, and rows come and go meanwhile. What was there from its beginning to its end is told
//! once, what never was is not told; what came or went may be told or not. All depends on ids alone: they
//! never change, and new ones are drawn in any order of the others (docs/cmdb-api.md#ids).

use std::sync::Arc;

use futures::stream::{FuturesUnordered, StreamExt};

use crate::association::{InstId, ModelAssociation};
use crate::cmdb::Cmdb;
use crate::cmdb::server_message::ServerMessage;
use crate::cmdb::verdict::{Cause, Query};
use crate::cmdb::wire::{Entry, IdWindow, List, Part, Reply, Request};
use crate::engine::asker::Asker;
use crate::engine::server_health::{look_ups_refused, refused};
use crate::engine::stats::CallKind;
use crate::exit::{Exit, Halt};

/// Calls in flight, at most: reads are not what a CMDB should be busy with.
const IN_FLIGHT: usize = 4;
/// Ids that these numbers divide part all ids into windows: first of about 250,000 rows, then of 500. They
/// are prime, since ids may come at even distances, where another association was created in step.
const DIVISORS: [i64; 2] = [250_007, 499];
/// Short pages, after which it is found out where to stop.
const MOST_SHORT: usize = 3;
/// Tries without an answer, after which less is asked for at once.
const MOST_TRIES: u32 = 3;
/// Where an open end has to be parted: behind this id, and then each time so many times as far.
const FAR: (i64, i64) = (1 << 20, 8);

/// An association that there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    /// The association's id.
    pub(crate) id: i64,
    /// The source.
    pub(crate) source: u64,
    /// The target.
    pub(crate) target: u64,
}

/// What a list holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Completeness {
    /// All there is.
    Whole,
    /// What starts at the given sources: of all else nothing is known.
    OfSources,
}

/// The ways to list, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Page by page, in the order of ids.
    Pages,
    /// In windows of ids, by the call that looks up.
    Windows,
    /// By sources, with the same call.
    Sources,
}

/// Lists associations, one model association after the other.
#[derive(Debug)]
pub(crate) struct Listing<'a, C> {
    asker: &'a Asker<'a, C>,
    way: Way,
    /// Whether the server has answered on this way.
    is_known: bool,
}

/// What came of a question for a part.
enum Told {
    Listed(Vec<Listed>),
    /// It is too much at once.
    TooMuch,
    NoSuchCall,
    Refused(String),
}

impl<'a, C: Cmdb> Listing<'a, C> {
    /// Nothing is asked yet.
    pub(crate) fn new(asker: &'a Asker<'a, C>) -> Self {
        Self { asker, way: Way::Pages, is_known: false }
    }

    /// Tells each association that there is of a model association, in no order. An id is told once; a pair
    /// twice, where it was deleted and created again meanwhile. `sources`, ascending, are asked for where
    /// the server has no other way; without them it is the end.
    pub(crate) async fn list(
        &mut self,
        model: &ModelAssociation,
        sources: Option<&mut dyn Iterator<Item = Result<u64, Halt>>>,
        each: &mut dyn FnMut(Listed) -> Result<(), Halt>,
    ) -> Result<Completeness, Halt> {
        if !self.asker.is_proven() {
            // Else a page that is not found could mean a wrong address.
            self.asker.test().await?;
        }
        if self.way == Way::Pages {
            match self.by_pages(model, each).await? {
                None => return Ok(Completeness::Whole),
                Some(said) => self.give_up(Way::Windows, &said),
            }
        }
        let mut said = "it was found out before".to_owned();
        if self.way == Way::Windows {
            let all = Part::Multiples(IdWindow::default(), DIVISORS[0]);
            match self.by_parts(model, &mut std::iter::once(Ok(all)), each).await? {
                None => return Ok(Completeness::Whole),
                Some(why) => said = why,
            }
            self.give_up(Way::Sources, &said);
        }
        let Some(sources) = sources else { return Err(self.no_list(model, &said)) };
        match self.by_parts(model, &mut of_sources(sources), each).await? {
            None => Ok(Completeness::OfSources),
            Some(said) => Err(self.no_list(model, &said)),
        }
    }

    fn give_up(&mut self, next: Way, said: &str) {
        tracing::info!("associations can't be listed by {:?}: {said}", self.way);
        (self.way, self.is_known) = (next, false);
    }

    fn no_list(&self, model: &ModelAssociation, said: &str) -> Halt {
        Halt::new(
            Exit::Target,
            format!(
                "what there is of {} can't be listed through this {} ({said}): go through another \
                 entrance, or leave out what needs a list of all there is (--prune all)",
                model.obj_asst_id,
                self.asker.target.entrance.as_str(),
            ),
        )
    }

    /// Page after page. The end is an empty page, and not a short one, which something on the way may have
    /// cut; or, where rows come as fast as they are told, what was the newest after some short pages. Gives
    /// what was said where the server has no such call.
    async fn by_pages(
        &mut self,
        model: &ModelAssociation,
        each: &mut dyn FnMut(Listed) -> Result<(), Halt>,
    ) -> Result<Option<String>, Halt> {
        let (mut last, mut short, mut newest) = (0, 0, i64::MAX);
        while last < newest {
            let part = if short == MOST_SHORT { Part::Newest } else { Part::PageAfter(last) };
            let is_newest = part == Part::Newest;
            let (_, told) = ask(self.asker, model, (part, 0), self.is_known).await?;
            let page = match told {
                Told::Listed(page) => page,
                Told::NoSuchCall => return Ok(Some("the server has no such call".to_owned())),
                Told::TooMuch => return Err(untrue(model, "a page is too large to be read")),
                Told::Refused(said) => return Err(may_not_list(model, &said)),
            };
            self.is_known = true;
            short += usize::from(page.len() < List::PAGE);
            if is_newest {
                newest = page.first().map_or(last, |listed| listed.id);
                continue;
            }
            if page.is_empty() {
                break;
            }
            for listed in page {
                if listed.id <= last {
                    return Err(untrue(
                        model,
                        &format!("it comes to id {} after {last}", listed.id),
                    ));
                }
                last = listed.id;
                each(listed)?;
            }
        }
        Ok(None)
    }

    /// Parts, a few at a time, each asked for in smaller ones where it is too much at once. Gives what the
    /// server said where it refuses the first.
    async fn by_parts(
        &mut self,
        model: &ModelAssociation,
        parts: &mut dyn Iterator<Item = Result<Part, Halt>>,
        each: &mut dyn FnMut(Listed) -> Result<(), Halt>,
    ) -> Result<Option<String>, Halt> {
        let most = self.asker.options.concurrency.min(IN_FLIGHT);
        // The last goes first, so that what is large is done before the next is parted.
        let mut ready: Vec<(Part, u32)> = Vec::new();
        let mut in_flight = FuturesUnordered::new();
        loop {
            while in_flight.len() < most {
                let next = match ready.pop() {
                    Some(next) => next,
                    None => match parts.next() {
                        Some(part) => (part?, 0),
                        None => break,
                    },
                };
                in_flight.push(ask(self.asker, model, next, self.is_known));
            }
            let Some(landed) = in_flight.next().await else { return Ok(None) };
            let ((part, tries), told) = landed?;
            match (told, part) {
                (Told::Listed(found), Part::Multiples(window, divisor)) => {
                    self.is_known = true;
                    let splitters = found.into_iter().map(|listed| listed.id).collect();
                    ready.extend(windows(window, divisor, splitters).map(|part| (part, 0)));
                }
                (Told::Listed(mut found), _) => {
                    self.is_known = true;
                    found.sort_unstable_by_key(|listed| listed.id);
                    if let Some(twin) = found.windows(2).find(|pair| pair[0].id == pair[1].id) {
                        return Err(untrue(model, &format!("it has id {} twice", twin[0].id)));
                    }
                    found.into_iter().try_for_each(&mut *each)?;
                }
                (Told::TooMuch, part) => {
                    let halves = halves(&part);
                    let halves = halves.ok_or_else(|| untrue(model, "it can't be parted"))?;
                    ready.extend(halves.map(|half| (half, tries)));
                }
                (Told::NoSuchCall, _) => return Ok(Some("no such call".to_owned())),
                (Told::Refused(said), _) if !self.is_known => return Ok(Some(said)),
                (Told::Refused(said), _) => return Err(may_not_list(model, &said)),
            }
        }
    }
}

/// Sources in parts.
fn of_sources(
    sources: &mut dyn Iterator<Item = Result<u64, Halt>>,
) -> impl Iterator<Item = Result<Part, Halt>> {
    let mut last = None;
    std::iter::from_fn(move || {
        let mut some: Vec<u64> = Vec::new();
        while some.len() < List::MOST_SOURCES {
            match sources.next() {
                None => break,
                Some(Err(halt)) => return Some(Err(halt)),
                Some(Ok(source)) if last == Some(source) => {}
                Some(Ok(source)) => {
                    last = Some(source);
                    some.push(source);
                }
            }
        }
        (!some.is_empty()).then_some(Ok(Part::OfSources(some)))
    })
}

/// The windows between ids of a window that a number divides: all of it, without gaps.
fn windows(within: IdWindow, divisor: i64, mut splitters: Vec<i64>) -> impl Iterator<Item = Part> {
    splitters.sort_unstable();
    splitters.dedup();
    let finer = DIVISORS.into_iter().find(|finer| *finer < divisor);
    let firsts = std::iter::once(within.first).chain(splitters.clone().into_iter().map(Some));
    let ends = splitters.into_iter().map(Some).chain(std::iter::once(within.end));
    firsts.zip(ends).map(move |(first, end)| {
        let window = IdWindow { first, end };
        match finer {
            Some(divisor) => Part::Multiples(window, divisor),
            None => Part::In(window),
        }
    })
}

/// A part as two; `None` where it is one id or one source.
fn halves(part: &Part) -> Option<[Part; 2]> {
    let parted = |window: IdWindow| {
        let first = window.first.unwrap_or(0);
        let middle = match window.end {
            Some(end) => first + (end - first) / 2,
            None => first.checked_mul(FAR.1)?.max(FAR.0),
        };
        let is_within = window.has(middle) && middle > first;
        let at = Some(middle);
        is_within.then_some([IdWindow { end: at, ..window }, IdWindow { first: at, ..window }])
    };
    match part {
        Part::PageAfter(_) | Part::Newest => None,
        Part::In(window) => Some(parted(*window)?.map(Part::In)),
        Part::Multiples(window, divisor) => {
            Some(parted(*window)?.map(|window| Part::Multiples(window, *divisor)))
        }
        Part::OfSources(sources) => {
            let (left, right) = sources.split_at(sources.len() / 2);
            (!left.is_empty()).then(|| [left, right].map(|half| Part::OfSources(half.to_vec())))
        }
    }
}

/// Asks for a part until there is an answer of substance.
async fn ask<C: Cmdb>(
    asker: &Asker<'_, C>,
    model: &ModelAssociation,
    (part, mut tries): (Part, u32),
    is_known: bool,
) -> Result<((Part, u32), Told), Halt> {
    let can_be_less = halves(&part).is_some();
    let (obj_id, obj_asst_id) = (Arc::clone(&model.source), Arc::clone(&model.obj_asst_id));
    let list = List { obj_id, obj_asst_id, part };
    let told = loop {
        let request = Request::List(list.clone());
        let (reply, query) = asker.ask(CallKind::List, request).await?;
        let query = match query {
            // What was there a moment ago is only out of reach.
            Query::NoSuchCall if is_known => Query::Again(Cause::NoAnswer),
            query => query,
        };
        match query {
            Query::Answered
                if let Some(entries) = reply.envelope().and_then(|answer| list.read(answer)) =>
            {
                asker.progressed();
                let listed = entries.iter().map(|entry| believe(model, &list.part, entry));
                break Told::Listed(listed.collect::<Result<_, _>>()?);
            }
            Query::Answered | Query::Again(_) => {
                asker.back_off(&reply, query, &mut tries).await?;
                if query.is_silence() && tries >= MOST_TRIES && can_be_less {
                    break Told::TooMuch;
                }
            }
            Query::Stop(stop) => return Err(refused(stop, &reply, asker.target)),
            Query::Forbidden => return Err(look_ups_refused(&reply, &model.source)),
            Query::NoSuchCall => break Told::NoSuchCall,
            Query::Rejected => {
                asker.progressed();
                break match reply {
                    Reply::Oversized(_) if can_be_less => Told::TooMuch,
                    _ => Told::Refused(ServerMessage::of(&reply).to_string()),
                };
            }
        }
    };
    Ok(((list.part, tries), told))
}

/// An entry, if it is one that was asked for.
fn believe(model: &ModelAssociation, part: &Part, entry: &Entry<'_>) -> Result<Listed, Halt> {
    let Entry { id, bk_obj_asst_id, bk_inst_id, bk_asst_inst_id } = entry;
    let ids = [*bk_inst_id, *bk_asst_inst_id].map(|id| u64::try_from(id).unwrap_or_default());
    let [Ok(source), Ok(target)] = ids.map(InstId::new) else {
        return Err(untrue(model, &format!("its row {id} does not say what is associated")));
    };
    let is_meant = **bk_obj_asst_id == *model.obj_asst_id
        && *id > 0
        && match part {
            Part::PageAfter(last) => last < id,
            Part::Newest => true,
            Part::In(window) => window.has(*id),
            Part::Multiples(window, divisor) => window.has(*id) && id % divisor == 0,
            Part::OfSources(sources) => sources.binary_search(&source.get()).is_ok(),
        };
    if !is_meant {
        let shown: String = bk_obj_asst_id.chars().take(100).collect();
        let what = format!("it has a row that was not asked for: id {id} of {shown:?}");
        return Err(untrue(model, &what));
    }
    Ok(Listed { id: *id, source: source.get(), target: target.get() })
}

/// The end where a list can't be what it should be.
fn untrue(model: &ModelAssociation, what: &str) -> Halt {
    Halt::new(
        Exit::Target,
        format!(
            "the server's list of {} can't be relied on: {what}. Try again, and if it stays so, ask \
             the administrator of the CMDB",
            model.obj_asst_id
        ),
    )
}

fn may_not_list(model: &ModelAssociation, said: &str) -> Halt {
    let ModelAssociation { obj_asst_id, source, .. } = model;
    Halt::new(
        Exit::Target,
        format!(
            "the server refuses to list {obj_asst_id} ({said}): check that it has the model {source}, \
             and --model {obj_asst_id}, if it is given"
        ),
    )
}

#[cfg(test)]
mod tests;
