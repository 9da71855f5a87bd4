//! The rows under way: their lives, who waits for whom, and what each waits for next.
//!
//! A row is in just one place at a time: behind a colliding row, in a queue, on a timer, in flight,
//! or kept for the end. So a slot that is reused never has a stale timer.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

use rand::Rng;
use slab::Slab;
use tokio::time::Instant;

use crate::association::{Association, ModelAssociation, Row};
use crate::cmdb::server_message::ServerMessage;
use crate::cmdb::wire::{Found, Pattern};
use crate::engine::conflicts::Conflicts;
use crate::engine::delete_task::DeleteTask;
use crate::engine::remaining::{Goal, Remaining};
use crate::engine::settle::{CreateTask, Policy, Step};

/// What a row waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// Its create or delete.
    Write,
    /// Its look-up.
    Look,
}

/// What a row lives for.
#[derive(Debug)]
pub(super) enum Life {
    /// To exist.
    Create(CreateTask),
    /// To be gone.
    Delete(DeleteTask),
}

impl Life {
    pub(super) fn model(&self) -> &Arc<ModelAssociation> {
        match self {
            Self::Create(life) => &life.model,
            Self::Delete(removal) => &removal.model,
        }
    }

    pub(super) fn association(&self) -> &Association {
        match self {
            Self::Create(life) => &life.link.association,
            Self::Delete(removal) => &removal.association,
        }
    }

    /// Whether it may be created together with others.
    pub(super) fn may_batch(&self) -> bool {
        match self {
            Self::Create(life) => life.may_batch(),
            Self::Delete(_) => false,
        }
    }

    /// What to look for.
    pub(super) fn patterns(&self) -> Vec<Pattern> {
        match self {
            Self::Create(life) => life.patterns().collect(),
            Self::Delete(removal) => removal.patterns().to_vec(),
        }
    }

    /// Whether the row ends here instead of being sent once more.
    pub(super) fn before_write(&self, policy: &Policy) -> Option<Step> {
        match self {
            Self::Create(life) => life.before_create(policy),
            Self::Delete(removal) => removal.before_delete(policy),
        }
    }

    pub(super) fn on_found(
        &mut self,
        found: &[Found],
        asked_at: Instant,
        now: Instant,
        policy: &Policy,
        rng: &mut impl Rng,
    ) -> Step {
        match self {
            Self::Create(life) => life.on_found(found, asked_at, now, policy, rng),
            Self::Delete(removal) => removal.on_found(found, now, rng),
        }
    }

    pub(super) fn on_unfindable(&mut self, said: ServerMessage) -> Step {
        match self {
            Self::Create(life) => life.on_unfindable(said),
            Self::Delete(removal) => removal.on_unfindable(said),
        }
    }

    pub(super) fn give_back(&mut self, attempts: u32) {
        match self {
            Self::Create(life) => life.give_back(attempts),
            Self::Delete(removal) => removal.give_back(attempts),
        }
    }

    fn was_in_doubt(&self) -> bool {
        match self {
            Self::Create(life) => life.was_in_doubt(),
            Self::Delete(removal) => removal.was_in_doubt(),
        }
    }

    fn look_last(&mut self) {
        match self {
            Self::Create(life) => life.look_last(),
            Self::Delete(removal) => removal.look_last(),
        }
    }
}

/// A row under way.
#[derive(Debug)]
pub(super) struct ActiveRow {
    pub(super) life: Life,
    /// Whether a call that writes is in flight for it.
    writing: bool,
    /// Whether one ever was, in this process.
    sent: bool,
    pub(super) row: Row,
}

#[derive(Debug, Default)]
pub(super) struct ActiveRows {
    slab: Slab<ActiveRow>,
    /// What a row does first, by slot, while it stands behind others.
    first: Vec<Option<Place>>,
    conflicts: Conflicts,
    /// How many rows stand behind others.
    behind: usize,
    /// Ready to be created or deleted, first come, first served.
    pub(super) writes: VecDeque<usize>,
    /// Ready to be looked up.
    pub(super) looks: VecDeque<usize>,
    /// Since when the oldest of them waits.
    pub(super) looks_since: Option<Instant>,
    timers: BinaryHeap<Reverse<(Instant, Place, usize)>>,
    /// Kept for a last look when nothing else is left to do.
    pub(super) last: Vec<usize>,
}

impl ActiveRows {
    pub(super) fn len(&self) -> usize {
        self.slab.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slab.is_empty()
    }

    /// Whether any row stands behind others.
    pub(super) fn has_queues(&self) -> bool {
        self.behind > 0
    }

    pub(super) fn ordinal(&self, slot: usize) -> u64 {
        self.slab[slot].row.ordinal
    }

    pub(super) fn life(&self, slot: usize) -> &Life {
        &self.slab[slot].life
    }

    pub(super) fn life_mut(&mut self, slot: usize) -> &mut Life {
        &mut self.slab[slot].life
    }

    /// A call that writes goes out for the row. Says whether one did before.
    pub(super) fn note_sent(&mut self, slot: usize) -> bool {
        let under = &mut self.slab[slot];
        under.writing = true;
        std::mem::replace(&mut under.sent, true)
    }

    /// A call that writes is no longer in flight for the row.
    pub(super) fn note_landed(&mut self, slot: usize) {
        self.slab[slot].writing = false;
    }

    /// The rows of which a call that nobody can tell the end of may have been executed.
    pub(super) fn in_doubt(&self) -> impl Iterator<Item = u64> {
        let in_doubt = |under: &ActiveRow| under.writing || under.life.was_in_doubt();
        self.slab
            .iter()
            .filter(move |(_, under)| in_doubt(under))
            .map(|(_, under)| under.row.ordinal)
    }

    /// Gives a row its place behind those it collides with, or lets it go at once.
    #[expect(clippy::too_many_arguments, reason = "what a row's life begins with")]
    pub(super) fn admit(
        &mut self,
        row: Row,
        remaining: &Remaining,
        number: u32,
        model: Arc<ModelAssociation>,
        largest_id: i64,
        started: Instant,
        now: Instant,
    ) {
        let Ok(link) = row.link.clone() else { return };
        let mapping = model.mapping;
        let (life, step) = if let Remaining::All(Goal::Delete { id })
        | Remaining::InDoubt { goal: Goal::Delete { id }, .. } = *remaining
        {
            let sent = remaining.may_have_been_sent();
            let (removal, step) = DeleteTask::begin(link.association, model, id, sent, now);
            (Life::Delete(removal), step)
        } else {
            let (life, step) = CreateTask::begin(link, model, remaining, largest_id, started);
            (Life::Create(life), step)
        };
        let place = match step {
            Step::LookUp(_) => Place::Look,
            _ => Place::Write,
        };
        let slot = self.slab.insert(ActiveRow { life, writing: false, sent: false, row });
        if self.first.len() <= slot {
            self.first.resize(slot + 1, None);
        }
        self.first[slot] = Some(place);
        self.behind += 1;
        let association = self.slab[slot].life.association();
        if self.conflicts.enter(slot, number, mapping, association) {
            self.first[slot] = None;
            self.behind -= 1;
            self.put(slot, place, now, now);
        }
    }

    /// A settled row makes room; rows that stood behind it may go.
    pub(super) fn leave(&mut self, slot: usize) -> ActiveRow {
        let Self { conflicts, behind, first, writes, looks, looks_since, .. } = self;
        conflicts.leave(slot, |freed| {
            *behind -= 1;
            match first[freed].take() {
                Some(Place::Look) => {
                    looks.push_back(freed);
                    looks_since.get_or_insert_with(Instant::now);
                }
                _ => writes.push_back(freed),
            }
        });
        self.slab.remove(slot)
    }

    /// Queues a row, now or when its time has come.
    pub(super) fn put(&mut self, slot: usize, place: Place, at: Instant, now: Instant) {
        if at > now {
            self.timers.push(Reverse((at, place, slot)));
            return;
        }
        match place {
            Place::Write => self.writes.push_back(slot),
            Place::Look => {
                self.looks.push_back(slot);
                self.looks_since.get_or_insert(now);
            }
        }
    }

    /// Queues all rows whose time has come.
    pub(super) fn wake(&mut self, now: Instant) {
        while let Some(&Reverse((at, place, slot))) = self.timers.peek()
            && at <= now
        {
            self.timers.pop();
            self.put(slot, place, now, now);
        }
    }

    pub(super) fn next_timer(&self) -> Option<Instant> {
        self.timers.peek().map(|Reverse((at, ..))| *at)
    }

    /// Takes rows of one model association that wait to be looked up, oldest first.
    pub(super) fn take_looks(&mut self, most: usize) -> Vec<usize> {
        let Some(&oldest) = self.looks.front() else { return Vec::new() };
        let model = Arc::clone(self.slab[oldest].life.model());
        let of_model = |under: &ActiveRow| Arc::ptr_eq(under.life.model(), &model);
        let taken = take(&mut self.looks, &self.slab, most, of_model);
        if self.looks.is_empty() {
            self.looks_since = None;
        }
        taken
    }

    /// Takes rows that may travel together, the first ones first: of the model association of the
    /// row that is next. A single one where that row goes singly.
    pub(super) fn take_batch(&mut self, most: usize) -> Vec<usize> {
        let Some(&next) = self.writes.front() else { return Vec::new() };
        if !self.slab[next].life.may_batch() {
            self.writes.pop_front();
            return vec![next];
        }
        let model = Arc::clone(self.slab[next].life.model());
        let fits =
            |under: &ActiveRow| under.life.may_batch() && Arc::ptr_eq(under.life.model(), &model);
        take(&mut self.writes, &self.slab, most, fits)
    }

    /// Whether any row waits for something that will come by itself.
    pub(super) fn is_moving(&self) -> bool {
        !(self.writes.is_empty() && self.looks.is_empty() && self.timers.is_empty())
    }

    /// Sends the rows kept for the end to their last look.
    pub(super) fn look_at_the_last(&mut self, now: Instant) -> bool {
        let last = std::mem::take(&mut self.last);
        for &slot in &last {
            self.life_mut(slot).look_last();
            self.put(slot, Place::Look, now, now);
        }
        !last.is_empty()
    }
}

/// Takes from a queue, in order, what fits.
fn take(
    queue: &mut VecDeque<usize>,
    rows: &Slab<ActiveRow>,
    most: usize,
    fits: impl Fn(&ActiveRow) -> bool,
) -> Vec<usize> {
    let mut taken = Vec::new();
    queue.retain(|&slot| {
        let takes = taken.len() < most && fits(&rows[slot]);
        if takes {
            taken.push(slot);
        }
        !takes
    });
    taken
}
