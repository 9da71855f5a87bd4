//! Rows in, rows out, in order: those whose sides are named come out with ids, or with the reason why not.
//!
//! Owns the queue in which rows wait until what they name is known. Knows nothing of files or of what is
//! done with a row.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use super::cache::Asked;
use super::headway::Headway;
use super::model::Fault;
use super::resolver::Resolver;
use super::understood::{Understood, UnderstoodModel};
use crate::association::{Column, InstId, ModelAssociation, Row, RowError};
use crate::cmdb::Cmdb;
use crate::engine::asker::Asker;
use crate::engine::models::{Knowledge, Models, refusal};
use crate::engine::stats::Place;
use crate::exit::Halt;
use crate::input::{RowParser, shown};
use crate::options::Naming;
use crate::outcome::Reason;

/// Rows that wait, at most, and the bytes that they take.
const MOST_ROWS: usize = 1 << 16;
const MOST_BYTES: usize = 16 << 20;
/// What the allocations of a row take beside its texts, about.
const OVERHEAD: usize = 64;

/// The columns of a side: of its id, and of its name.
const SIDES: [(Column, Column); 2] =
    [(Column::InstId, Column::Source), (Column::AsstInstId, Column::Target)];

/// A row of which is known what it says.
#[derive(Debug)]
pub(crate) struct PlannedRow {
    /// The row. Where a name was found, its id stands in the cell for it.
    pub(crate) row: Row,
    /// Why it can't be carried out, where a name says so; then the row is as it came.
    pub(crate) refusal: Option<(Reason, String)>,
    /// Of a refused row, the instances that its names were found to mean: source, target.
    pub(crate) found: [Option<InstId>; 2],
}

/// Turns names into ids.
pub(crate) struct Planner<'a, C> {
    asker: &'a Asker<'a, C>,
    links: Models,
    resolver: Resolver<'a, C>,
    headway: &'a Headway,
    cells: RowParser,
    rows: VecDeque<Entry>,
    /// How many of the rows are read: what they name is asked for.
    read: usize,
    bytes: usize,
    /// The model association of the row pushed last: neighbours share it.
    last_link: Arc<str>,
    understood: Understood,
    /// By a model's number, its place in `understood`.
    places: Vec<Option<usize>>,
}

/// A row that waits.
struct Entry {
    row: Row,
    bytes: usize,
    state: State,
}

enum State {
    /// It names nothing.
    AsItIs,
    /// It names something of this model association.
    Unread(Arc<str>),
    /// It needs no answer any more.
    Refused(Box<(Reason, String)>),
    /// Of each side that is named, the model's number and the name.
    Named([Option<(usize, Rc<Asked>)>; 2]),
}

impl<'a, C: Cmdb> Planner<'a, C> {
    /// `models` are those of `--model`, which the server is not asked for. `cells` reads rows anew once
    /// their ids are known. How far it is, `headway` tells.
    pub(crate) fn new(
        asker: &'a Asker<'a, C>,
        models: &[ModelAssociation],
        naming: &'a Naming,
        cells: RowParser,
        headway: &'a Headway,
    ) -> Self {
        Self {
            asker,
            links: Models::given(models),
            resolver: Resolver::new(asker, naming, headway),
            headway,
            cells,
            rows: VecDeque::new(),
            read: 0,
            bytes: 0,
            last_link: "".into(),
            understood: Understood::default(),
            places: Vec::new(),
        }
    }

    /// Takes the next row, in input order.
    pub(crate) fn push(&mut self, row: Row) {
        self.headway.read();
        let state = match &row.parsed {
            Err(RowError::Named { .. }) => {
                let name = row.cells.get(Column::ObjAsstId).trim();
                if *self.last_link != *name {
                    self.last_link = name.into();
                }
                self.links.look(&self.last_link);
                State::Unread(Arc::clone(&self.last_link))
            }
            _ => State::AsItIs,
        };
        let texts: usize = Column::ALL.iter().map(|column| row.cells.get(*column).len()).sum();
        let bytes = size_of::<Entry>() + OVERHEAD + texts;
        self.bytes += bytes;
        self.rows.push_back(Entry { row, bytes, state });
    }

    /// Whether no more rows may be pushed before some are popped.
    pub(crate) fn is_full(&self) -> bool {
        self.rows.len() >= MOST_ROWS || self.bytes >= MOST_BYTES
    }

    /// Asks, until the front row can be popped; where the input has `ended`, until all can. Nothing is in
    /// flight afterwards. Where it is dropped before its end, so is the planner.
    pub(crate) async fn resolve(&mut self, ended: bool) -> Result<(), Halt> {
        loop {
            self.resolver.send();
            if self.read < self.rows.len() && !self.resolver.is_busy() {
                self.read_next().await?;
            } else if !self.resolver.land().await?
                && (!(ended || self.is_front_open()) || !self.resolver.flush())
            {
                return Ok(());
            }
        }
    }

    fn is_front_open(&self) -> bool {
        self.rows.front().is_some_and(|entry| !entry.is_known())
    }

    /// Asks for what the next row names, which may have to wait for company.
    async fn read_next(&mut self) -> Result<(), Halt> {
        let entry = &self.rows[self.read];
        if let State::Unread(name) = &entry.state {
            let name = Arc::clone(name);
            let state = match self.link(&name).await? {
                Err(refusal) => State::Refused(Box::new(refusal)),
                Ok(link) => {
                    let mut sides = [None, None];
                    let models = [&link.source, &link.target];
                    for ((side, model), (id, name)) in sides.iter_mut().zip(models).zip(SIDES) {
                        let number = self.model(model).await?;
                        let cells = &self.rows[self.read].row.cells;
                        if cells.get(id).trim().is_empty() {
                            *side = Some((number, self.resolver.ask(number, cells.get(name))));
                        }
                    }
                    State::Named(sides)
                }
            };
            self.rows[self.read].state = state;
        }
        self.read += 1;
        Ok(())
    }

    /// A model association, or why nothing of it can be created.
    async fn link(
        &mut self,
        name: &Arc<str>,
    ) -> Result<Result<Arc<ModelAssociation>, (Reason, String)>, Halt> {
        loop {
            let knowledge = self.links.look(name);
            if let Some(refusal) = refusal(name, knowledge) {
                return Ok(Err(refusal));
            }
            if let Knowledge::Known(_, model) = knowledge {
                return Ok(Ok(Arc::clone(model)));
            }
            self.land_all().await?;
            self.asker.ask_for(&mut self.links).await?;
        }
    }

    /// The number of a model, of which all is known that its names take.
    async fn model(&mut self, model: &Arc<str>) -> Result<usize, Halt> {
        loop {
            if let Some(number) = self.resolver.number(model) {
                return Ok(number);
            }
            self.land_all().await?;
            // Until the server has answered something, a call that it lacks looks like a wrong address.
            if !self.asker.is_proven() {
                self.asker.test().await?;
            }
            self.resolver.learn(model).await?;
        }
    }

    /// A call that is under way would not be seen to end while something else is asked.
    async fn land_all(&mut self) -> Result<(), Halt> {
        while self.resolver.land().await? {}
        Ok(())
    }

    /// Gives the front row, if all that it says is known.
    pub(crate) fn pop(&mut self) -> Option<PlannedRow> {
        self.rows.pop_front_if(|entry| entry.is_known()).map(|Entry { row, bytes, state }| {
            self.bytes -= bytes;
            self.read = self.read.saturating_sub(1);
            match state {
                State::AsItIs | State::Unread(_) => {
                    PlannedRow { row, refusal: None, found: [None; 2] }
                }
                State::Refused(refusal) => {
                    PlannedRow { row, refusal: Some(*refusal), found: [None; 2] }
                }
                State::Named(sides) => self.decide(row, sides),
            }
        })
    }

    /// What becomes of a row whose names are known.
    fn decide(&mut self, row: Row, sides: [Option<(usize, Rc<Asked>)>; 2]) -> PlannedRow {
        let place = Place { file: row.file, line: row.line };
        let mut ids = [None, None];
        let mut refusals: Vec<(Reason, String)> = Vec::new();
        for (side, named) in sides.into_iter().enumerate() {
            let Some((number, asked)) = named else { continue };
            let Some(told) = self.resolver.tell(number, &asked) else { continue };
            self.count(number, &asked, place, told.as_ref().err().map(|(fault, _)| *fault));
            match told {
                Ok(id) => ids[side] = Some(id),
                Err((fault, why)) => {
                    let (_, name) = SIDES[side];
                    let message = format!("column {}: {why}", name.name());
                    refusals.push((fault.reason(name), message));
                }
            }
        }
        if let Some(&(reason, _)) = refusals.first() {
            let messages: Vec<_> = refusals.into_iter().map(|(_, message)| message).collect();
            return PlannedRow { row, refusal: Some((reason, messages.join("; "))), found: ids };
        }
        PlannedRow { row: self.filled_in(row, ids), refusal: None, found: [None; 2] }
    }

    /// The row with ids in the cells for them.
    fn filled_in(&mut self, mut row: Row, ids: [Option<InstId>; 2]) -> Row {
        let [name, source, target, biz] = row.cells.ids();
        let ids = ids.map(|id| id.map(|id| id.to_string()));
        let [source, target] =
            [(source, &ids[0]), (target, &ids[1])].map(|(cell, id)| id.as_deref().unwrap_or(cell));
        let named = row.cells.named().cloned().unwrap_or_default();
        let (cells, parsed) = self.cells.read_named([name, source, target, biz], named);
        (row.cells, row.parsed) = (cells, parsed);
        row
    }

    /// Counts a name when it is told of for the first time.
    fn count(&mut self, number: usize, asked: &Asked, place: Place, fault: Option<Fault>) {
        if asked.is_counted.replace(true) {
            return;
        }
        if self.places.len() <= number {
            self.places.resize(number + 1, None);
        }
        let models = &mut self.understood.models;
        let at = *self.places[number].get_or_insert_with(|| {
            let model = self.resolver.model(number);
            let key = model.key.as_deref().unwrap_or_default();
            models.push(UnderstoodModel {
                model: model.id.to_string(),
                key: key.iter().map(|at| model.properties.get(*at).shown()).collect(),
                ..UnderstoodModel::default()
            });
            models.len() - 1
        });
        let names = match fault {
            None => &mut models[at].found,
            Some(Fault::Missing) => &mut models[at].missing,
            Some(Fault::Ambiguous) => &mut models[at].ambiguous,
            Some(Fault::Unresolvable) => &mut models[at].unresolvable,
        };
        names.add(place, &shown(&asked.text));
    }

    /// What was understood of the rows popped so far.
    pub(crate) fn understood(&self) -> &Understood {
        &self.understood
    }
}

impl Entry {
    fn is_known(&self) -> bool {
        match &self.state {
            State::AsItIs | State::Refused(_) => true,
            State::Unread(_) => false,
            State::Named(sides) => {
                sides.iter().flatten().all(|(_, asked)| asked.meaning.get().is_some())
            }
        }
    }
}

impl Fault {
    /// The reason of a row of which this side is named so.
    fn reason(self, name: Column) -> Reason {
        match (self, name) {
            (Self::Missing, Column::Source) => Reason::MissingSource,
            (Self::Missing, _) => Reason::MissingTarget,
            (Self::Ambiguous, Column::Source) => Reason::AmbiguousSource,
            (Self::Ambiguous, _) => Reason::AmbiguousTarget,
            (Self::Unresolvable, _) => Reason::Unresolvable,
        }
    }
}

#[cfg(test)]
mod tests;
