//! The survey of a plan: what is there in scope, what of it no row names, and what is to be done for each
//! row.
//!
//! Owns the order of the questions, one model association after the other, and what may be deleted. What
//! grows with the rows is on disk. Knows nothing of the plan's file, or of whether its deletes are too many.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::comparison::{Comparison, Decision, Finding};
use super::contradictions::Contradictions;
use super::desired::{Desired, Names, Triple, Wish, WishReader};
use super::exchanges::{Exchanges, Fate};
use super::existence::Existence;
use super::gathered::unwritable;
use super::headway::Headway;
use super::listing::{Completeness, Listed, Listing};
use super::moves::{LostRows, Moves, Side};
use super::previous::Previous;
use super::surveyed::{Surveyed, known, missing_on};
use super::withheld::Withheld;
use crate::association::{Action, InstId, Mapping, ModelAssociation};
use crate::clock;
use crate::cmdb::Cmdb;
use crate::engine::asker::Asker;
use crate::engine::models::{Models, refusal};
use crate::engine::stats::Place;
use crate::exit::{Exit, Halt};
use crate::options::{Prune, Pruning};
use crate::storage::sort::{Sorted, Sorter};
use crate::storage::survey::{Found, Survey};

/// How many creates are checked at once.
const AT_ONCE: usize = 500;

/// What a survey is for.
pub(crate) struct Terms<'t> {
    /// What may be deleted that the input does not name; `None`: nothing is listed, and only what rows say is
    /// deleted.
    pub(crate) pruning: Option<&'t Pruning>,
    /// Earlier runs.
    pub(crate) previous: &'t Previous,
    /// Names of the inputs, in order; empty for a single one.
    pub(crate) files: &'t [String],
    /// Where what is sorted waits.
    pub(crate) folder: &'t Path,
    /// Tells how far it is.
    pub(crate) headway: &'t Headway,
}

impl Terms<'_> {
    /// Model associations in scope besides those of the input.
    fn scope(&self) -> &[String] {
        self.pruning.map(|pruning| pruning.scope.as_slice()).unwrap_or_default()
    }

    fn prune(&self) -> Prune {
        self.pruning.map_or(Prune::None, |pruning| pruning.prune)
    }

    fn unwritable(&self) -> impl Fn(io::Error) -> Halt + use<> {
        unwritable(self.folder)
    }
}

/// Makes surveys.
pub(crate) struct Surveyor<'a, C> {
    asker: &'a Asker<'a, C>,
    terms: Terms<'a>,
    listing: Listing<'a, C>,
    existence: Existence<'a, C>,
    models: Models,
    withheld: Withheld,
    moves: Moves,
    decisions: Sorter,
    /// What no row names and may go: by the rank of its model association, with its id.
    doomed: Sorter<Triple>,
    found: BTreeMap<String, Found>,
}

impl<'a, C: Cmdb> Surveyor<'a, C> {
    /// `models` are those of `--model`, which the server is not asked for.
    pub(crate) fn new(
        asker: &'a Asker<'a, C>,
        models: &[ModelAssociation],
        terms: Terms<'a>,
    ) -> Result<Self, Halt> {
        let unwritable = terms.unwritable();
        Ok(Self {
            asker,
            listing: Listing::new(asker),
            existence: Existence::new(asker),
            models: Models::given(models),
            withheld: Withheld::default(),
            moves: Moves::default(),
            decisions: Sorter::new(terms.folder).map_err(&unwritable)?,
            doomed: Sorter::new(terms.folder).map_err(&unwritable)?,
            found: BTreeMap::new(),
            terms,
        })
    }

    /// Asks for all that has to be known. `withheld` and `lost` are rows that are not understood.
    pub(crate) async fn survey(
        mut self,
        mut desired: Desired,
        withheld: Withheld,
        lost: &LostRows,
    ) -> Result<Surveyed, Halt> {
        let unwritable = self.terms.unwritable();
        for name in self.terms.scope() {
            desired.number(&name.as_str().into());
        }
        self.withheld = withheld;
        let (wishes, names) = desired.sorted().map_err(&unwritable)?;
        for name in names.all() {
            self.models.look(name);
        }
        self.asker.ask_for(&mut self.models).await?;
        self.moves = Moves::of_lost(lost, |name| {
            Some((names.get(name)?, known(&mut self.models, name)?.mapping))
        });
        let mut ranked = names.all().to_vec();
        ranked.sort_unstable();
        let mut rows = wishes.read().map_err(&unwritable)?;
        let mut sources = wishes.read().map_err(&unwritable)?;
        let usable = self.usable(&names, &mut wishes.read().map_err(&unwritable)?)?;
        let (mut listed, to_list) = (0, usable.iter().flatten().count());
        for (number, model) in (0..).zip(usable) {
            let segment = Segment {
                number,
                rank: ranked.binary_search(&names.all()[number as usize]).unwrap_or_default()
                    as u32,
                has_deletes: names.has_deletes(number),
            };
            match model {
                Some(model) => {
                    listed += 1;
                    self.terms.headway.lists(&model.obj_asst_id, listed, to_list);
                    self.compare(&segment, &model, &mut rows, &mut sources).await?;
                }
                None => rows.skip(number).map_err(&unwritable)?,
            }
            sources.skip(number).map_err(&unwritable)?;
        }
        self.surveyed(names, ranked)
    }

    /// The model associations that can be used, by number. What a row of another one means, nobody knows: it
    /// may be mistyped, and be of any.
    fn usable(
        &mut self,
        names: &Names,
        rows: &mut WishReader,
    ) -> Result<Vec<Option<Arc<ModelAssociation>>>, Halt> {
        let unwritable = self.terms.unwritable();
        let mut usable = Vec::with_capacity(names.all().len());
        for (number, name) in (0..).zip(names.all()) {
            let knowledge = self.models.look(name);
            let refused = refusal(name, knowledge);
            if let Some((_, why)) = &refused
                && self.terms.scope().iter().any(|also| **also == **name)
            {
                return Err(Halt::usage(format!("--scope {name}: {why}")));
            }
            if refused.is_some() {
                self.withheld.is_of_any(number);
            }
            if let Some((reason, _)) = &refused
                && let Some((_, wish)) = rows.peek().filter(|((of, ..), _)| *of == number)
            {
                let what = format!("{}: {}", wish.place.among(self.terms.files), reason.as_str());
                self.withheld.note(None, &what);
            }
            rows.skip(number).map_err(&unwritable)?;
            usable.push(if refused.is_none() { known(&mut self.models, name) } else { None });
        }
        Ok(usable)
    }

    /// Surveys one model association.
    async fn compare(
        &mut self,
        segment: &Segment,
        model: &ModelAssociation,
        rows: &mut WishReader,
        sources: &mut WishReader,
    ) -> Result<(), Halt> {
        let unwritable = self.terms.unwritable();
        let number = segment.number;
        let mut found = Found::default();
        let there = match self.terms.pruning {
            None => None,
            Some(_) => Some(self.list(number, model, sources, &mut found).await?),
        };
        let mut tally = self.tally(segment, model).map_err(&unwritable)?;
        for finding in Comparison::new(number, rows, there) {
            match finding.map_err(&unwritable)? {
                Finding::Row { triple, wish, decision, is_last, doubles } => {
                    found.doubles += doubles;
                    let row = (triple, wish, decision);
                    self.take_row(&mut tally, model, row, is_last)?;
                }
                Finding::Unnamed { triple, id, of_named_source } => {
                    found.unnamed += 1;
                    self.take_unnamed(&mut tally, segment, model, (triple, id, of_named_source))?;
                }
            }
        }
        let Tally { creates, contradictions, exchanges, doomed } = tally;
        for pair in contradictions.of_targets().map_err(&unwritable)? {
            self.contradict(number, model, pair.map_err(&unwritable)?);
        }
        if let Some(creates) = creates {
            let checks = doomed > 0 || (segment.has_deletes && binds(model));
            self.check(number, model, creates.sorted().map_err(&unwritable)?, checks).await?;
        }
        let mut prunes = !self.withheld.holds(number);
        let held = match exchanges {
            None => Some(0),
            Some(exchanges) => exchanges.spread(&mut self.moves, prunes).map_err(&unwritable)?,
        };
        if held.is_none() {
            prunes = false;
            let what = "too many rows exchange their partners, and some of them can't be created";
            self.withheld.note(Some(number), what);
        }
        let held = held.unwrap_or_default();
        found.withheld_for = self.withheld.why(number);
        found.withheld = if prunes { held } else { doomed };
        found.pruned = doomed - found.withheld;
        if held > 0 && prunes {
            let why = "they would make room for rows that can't be created, since others stay";
            found.withheld_for = Some(why.to_owned());
        }
        found.before = self.terms.previous.there(&model.obj_asst_id);
        self.found.insert(model.obj_asst_id.to_string(), found);
        Ok(())
    }

    fn tally(&self, segment: &Segment, model: &ModelAssociation) -> io::Result<Tally> {
        let folder = self.terms.folder;
        let (prunes, binds) = (self.terms.prune() != Prune::None, binds(model));
        // Only where something may go does it matter whether its successor can come.
        let may_need_instances = prunes || (segment.has_deletes && binds);
        let follows = binds && (prunes || segment.has_deletes);
        Ok(Tally {
            creates: may_need_instances.then(|| Sorter::new(folder)).transpose()?,
            contradictions: Contradictions::new(model.mapping, folder)?,
            exchanges: follows
                .then(|| Exchanges::new(segment.number, model.mapping, folder))
                .transpose()?,
            doomed: 0,
        })
    }

    fn take_row(
        &mut self,
        tally: &mut Tally,
        model: &ModelAssociation,
        (triple, wish, decision): (Triple, Wish, Decision),
        is_last: bool,
    ) -> Result<(), Halt> {
        let unwritable = self.terms.unwritable();
        if is_last && wish.action == Action::Create {
            let other = tally.contradictions.take(triple, wish.place).map_err(&unwritable)?;
            if let Some(other) = other {
                self.contradict(triple.0, model, [other, wish.place]);
            }
        }
        let fate = match decision {
            Decision::Create => Some(Fate::Comes(wish.place)),
            Decision::Delete(_) => Some(Fate::Goes),
            Decision::Keep(_) => Some(Fate::Stays),
            Decision::Absent | Decision::Missing(_) => None,
        };
        if let (Some(exchanges), Some(fate), true) = (&mut tally.exchanges, fate, is_last) {
            exchanges.push((triple.1, triple.2), fate).map_err(&unwritable)?;
        }
        match &mut tally.creates {
            Some(creates) if decision == Decision::Create => {
                creates.push(triple, &wish.to_bytes()).map_err(&unwritable)
            }
            _ => self.decide(wish.ordinal, decision),
        }
    }

    fn take_unnamed(
        &mut self,
        tally: &mut Tally,
        segment: &Segment,
        model: &ModelAssociation,
        (triple, id, of_named_source): (Triple, i64, bool),
    ) -> Result<(), Halt> {
        let unwritable = self.terms.unwritable();
        let (_, source, target) = triple;
        let goes = match self.terms.prune() {
            Prune::None => false,
            Prune::All => true,
            Prune::Sources => of_named_source,
            Prune::Previous => {
                self.terms.previous.has_created(id, &model.obj_asst_id, source, target)
            }
        };
        if let Some(exchanges) = &mut tally.exchanges {
            let fate = if goes { Fate::IsPruned } else { Fate::Stays };
            exchanges.push((source, target), fate).map_err(&unwritable)?;
        }
        if goes {
            tally.doomed += 1;
            let key = (segment.rank, source, target);
            self.doomed.push(key, &id.to_le_bytes()).map_err(&unwritable)?;
        }
        Ok(())
    }

    /// What there is, sorted.
    async fn list(
        &mut self,
        number: u32,
        model: &ModelAssociation,
        sources: &mut WishReader,
        found: &mut Found,
    ) -> Result<Sorted<Triple>, Halt> {
        let unwritable = self.terms.unwritable();
        let mut there = Sorter::<Triple>::new(self.terms.folder).map_err(&unwritable)?;
        let headway = self.terms.headway;
        let mut sources = sources.sources(number).map(|source| source.map_err(&unwritable));
        let mut each = |listed: Listed| {
            found.there += 1;
            headway.found();
            let triple = (number, listed.source, listed.target);
            there.push(triple, &listed.id.to_le_bytes()).map_err(&unwritable)
        };
        let completeness = self.listing.list(model, Some(&mut sources), &mut each).await?;
        found.of_sources = completeness == Completeness::OfSources;
        if found.of_sources && self.terms.prune() == Prune::All {
            return Err(Halt::new(
                Exit::Target,
                format!(
                    "--prune all: of {} this server lists only what starts at given sources, so that nobody knows \
                     what else is there: use --prune sources, or another entrance",
                    model.obj_asst_id
                ),
            ));
        }
        tracing::info!("{}: {} associations are there", model.obj_asst_id, found.there);
        there.sorted().map_err(&unwritable)
    }

    fn contradict(&mut self, number: u32, model: &ModelAssociation, places: [Place; 2]) {
        let [one, other] = places.map(|place| place.among(self.terms.files));
        let rule = model.mapping.as_str();
        self.withheld
            .note(Some(number), &format!("{one} and {other} contradict each other ({rule})"));
    }

    fn decide(&mut self, ordinal: u64, decision: Decision) -> Result<(), Halt> {
        let pushed = self.decisions.push(ordinal, &decision.to_bytes());
        pushed.map_err(self.terms.unwritable())
    }

    /// Decides about rows that are to be created, and, where deletes depend on them, whether their instances
    /// exist.
    async fn check(
        &mut self,
        number: u32,
        model: &ModelAssociation,
        mut creates: Sorted<Triple>,
        checks: bool,
    ) -> Result<(), Halt> {
        let unwritable = self.terms.unwritable();
        loop {
            let mut chunk: Vec<(Triple, Wish)> = Vec::with_capacity(AT_ONCE);
            for item in creates.by_ref().take(AT_ONCE) {
                let (triple, bytes) = item.map_err(&unwritable)?;
                let wish = Wish::of_bytes(&bytes);
                let wish = wish.ok_or_else(|| unwritable(io::ErrorKind::InvalidData.into()))?;
                chunk.push((triple, wish));
            }
            if chunk.is_empty() {
                return Ok(());
            }
            let [mut no_source, mut no_target] = [Vec::new(), Vec::new()];
            if checks {
                no_source = self.missing(&model.source, chunk.iter().map(|(t, _)| t.1)).await?;
                no_target = self.missing(&model.target, chunk.iter().map(|(t, _)| t.2)).await?;
            }
            for ((_, source, target), wish) in chunk {
                let side = if no_source.binary_search(&source).is_ok() {
                    Side::Source
                } else if no_target.binary_search(&target).is_ok() {
                    Side::Target
                } else {
                    self.decide(wish.ordinal, Decision::Create)?;
                    continue;
                };
                self.decide(wish.ordinal, Decision::Missing(side))?;
                let reason = missing_on(side).as_str();
                let what = format!("{}: {reason}", wish.place.among(self.terms.files));
                self.withheld.note(Some(number), &what);
                let sides = [Some(source), Some(target)];
                self.moves.lose(number, model.mapping, sides, wish.place);
            }
        }
    }

    /// Which of these instances do not exist, ascending.
    async fn missing(
        &mut self,
        model: &Arc<str>,
        ids: impl Iterator<Item = u64>,
    ) -> Result<Vec<u64>, Halt> {
        let mut ids: Vec<u64> = ids.collect();
        ids.sort_unstable();
        ids.dedup();
        let ids: Vec<InstId> = ids.into_iter().filter_map(|id| InstId::new(id).ok()).collect();
        let missing = self.existence.missing(model, &ids).await?;
        let mut missing: Vec<u64> = missing.into_iter().map(InstId::get).collect();
        missing.sort_unstable();
        Ok(missing)
    }

    fn surveyed(self, names: Names, ranked: Vec<Arc<str>>) -> Result<Surveyed, Halt> {
        let unwritable = self.terms.unwritable();
        let prune = self.terms.prune();
        let survey = self.terms.pruning.is_some().then(|| Survey {
            prune,
            previous: self.terms.previous.named.clone(),
            listed_at: clock::now(),
            scope: self.found,
        });
        Ok(Surveyed {
            names,
            ranked,
            models: self.models,
            withheld: self.withheld,
            moves: self.moves,
            decisions: self.decisions.sorted().map_err(&unwritable)?,
            doomed: self.doomed.sorted().map_err(&unwritable)?,
            survey,
            files: self.terms.files.to_vec(),
            folder: self.terms.folder.to_owned(),
        })
    }
}

/// What comes together of a model association's rows.
struct Tally {
    /// Rows to be created that wait until it is known whether their instances have to exist.
    creates: Option<Sorter<Triple>>,
    contradictions: Contradictions,
    /// Where something goes for something else.
    exchanges: Option<Exchanges>,
    /// How many of what no row names would go.
    doomed: u64,
}

/// Whether an instance may have one partner alone, on some side.
fn binds(model: &ModelAssociation) -> bool {
    model.mapping != Mapping::ManyToMany
}

/// A model association whose rows come next.
struct Segment {
    number: u32,
    rank: u32,
    has_deletes: bool,
}
