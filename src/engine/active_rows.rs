//! The rows under way: their tasks, who waits for whom, and what each waits for next.
//!
//! A row is in just one place at a time: behind a colliding row, in a queue, on a timer, in flight,
//! or kept for the end. So a slot that is reused never has a stale timer.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

use slab::Slab;
use tokio::time::Instant;

use crate::association::Row;
use crate::engine::conflicts::{Conflicts, Slot};
use crate::engine::task::{Next, Policy, Task, Write};

/// Rows under way at most: waiting for a collision, a retry or a parked doubt included.
pub const MAX_ACTIVE_ROWS: usize = 8192;

/// A row under way.
#[derive(Debug)]
pub struct ActiveRow {
    /// What is made of it.
    pub task: Task,
    /// The row.
    pub row: Row,
    /// Whether a call that writes is in flight for it.
    writing: bool,
    /// Whether one ever was, in this process.
    sent: bool,
}

/// All rows under way.
#[derive(Debug, Default)]
pub struct ActiveRows {
    slab: Slab<ActiveRow>,
    /// What a row does first, by slot, while it stands behind others.
    first: Vec<Option<Next>>,
    conflicts: Conflicts,
    /// How many rows stand behind others.
    behind: usize,
    /// Ready to be created, first come, first served.
    pub creates: VecDeque<Slot>,
    /// Ready to have something deleted.
    pub deletes: VecDeque<Slot>,
    /// Since when the oldest of them waits.
    pub deletes_since: Option<Instant>,
    /// Ready to be looked up.
    pub look_ups: VecDeque<Slot>,
    /// Since when the oldest of them waits.
    pub look_ups_since: Option<Instant>,
    timers: BinaryHeap<Reverse<(Instant, Next, Slot)>>,
    /// Kept for a last look when nothing else is left to do.
    pub last: Vec<Slot>,
}

impl ActiveRows {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.slab.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.slab.is_empty()
    }

    /// Whether there is room for one more.
    pub fn has_room(&self) -> bool {
        self.len() < MAX_ACTIVE_ROWS
    }

    /// Whether any row stands behind others.
    pub fn has_queues(&self) -> bool {
        self.behind > 0
    }

    /// Whether others stand behind a row.
    pub fn is_before_others(&self, slot: Slot) -> bool {
        self.conflicts.is_before_others(slot)
    }

    /// A row's place in the input.
    pub fn ordinal(&self, slot: Slot) -> u64 {
        self.slab[slot].row.ordinal
    }

    /// A row's task.
    pub fn task(&self, slot: Slot) -> &Task {
        &self.slab[slot].task
    }

    /// A row's task.
    pub fn task_mut(&mut self, slot: Slot) -> &mut Task {
        &mut self.slab[slot].task
    }

    /// A call that writes goes out for the row. Says whether one did before.
    pub fn note_sent(&mut self, slot: Slot) -> bool {
        let active = &mut self.slab[slot];
        active.writing = true;
        std::mem::replace(&mut active.sent, true)
    }

    /// A call that writes is no longer in flight for the row.
    pub fn note_landed(&mut self, slot: Slot) {
        self.slab[slot].writing = false;
    }

    /// The rows of which a call that nobody can tell the end of may have been executed.
    pub fn in_doubt(&self) -> impl Iterator<Item = u64> {
        let in_doubt = |active: &ActiveRow| active.writing || active.task.is_doubted();
        self.slab
            .iter()
            .filter(move |(_, active)| in_doubt(active))
            .map(|(_, active)| active.row.ordinal)
    }

    /// Gives a row its place behind those it collides with, or lets it go at once. `model` numbers its
    /// model association.
    pub fn admit(&mut self, row: Row, model: u32, task: Task, next: Next, now: Instant) {
        let mapping = task.model.mapping;
        let slot = self.slab.insert(ActiveRow { task, row, writing: false, sent: false });
        if self.first.len() <= slot {
            self.first.resize(slot + 1, None);
        }
        self.first[slot] = Some(next);
        self.behind += 1;
        let association = &self.slab[slot].task.new.association;
        if self.conflicts.enter(slot, model, mapping, association) {
            self.first[slot] = None;
            self.behind -= 1;
            self.put(slot, next, now, now);
        }
    }

    /// A settled row makes room; rows that stood behind it may go.
    pub fn leave(&mut self, slot: Slot) -> ActiveRow {
        let Self { conflicts, behind, first, creates, look_ups, look_ups_since, .. } = self;
        conflicts.leave(slot, |freed| {
            *behind -= 1;
            match first[freed].take().expect("a row that stood behind others waits for something") {
                Next::LookUp => {
                    look_ups.push_back(freed);
                    look_ups_since.get_or_insert_with(Instant::now);
                }
                // What is deleted is looked up first.
                Next::Write => creates.push_back(freed),
            }
        });
        self.slab.remove(slot)
    }

    /// Queues a row, now or when its time has come.
    pub fn put(&mut self, slot: Slot, next: Next, at: Instant, now: Instant) {
        if at > now {
            self.timers.push(Reverse((at, next, slot)));
            return;
        }
        match next {
            Next::Write if self.task(slot).next_write() == Write::Create => {
                self.creates.push_back(slot);
            }
            Next::Write => {
                self.deletes.push_back(slot);
                self.deletes_since.get_or_insert(now);
            }
            Next::LookUp => {
                self.look_ups.push_back(slot);
                self.look_ups_since.get_or_insert(now);
            }
        }
    }

    /// Queues all rows whose time has come.
    pub fn wake(&mut self, now: Instant) {
        while let Some(&Reverse((at, next, slot))) = self.timers.peek()
            && at <= now
        {
            self.timers.pop();
            self.put(slot, next, now, now);
        }
    }

    /// When the next row's time comes.
    pub fn next_timer(&self) -> Option<Instant> {
        self.timers.peek().map(|Reverse((at, ..))| *at)
    }

    /// Takes rows of one model association that wait to be looked up through the same model, oldest
    /// first.
    pub fn take_look_ups(&mut self, most: usize) -> Vec<Slot> {
        let Some(&oldest) = self.look_ups.front() else { return Vec::new() };
        let first = &self.slab[oldest].task;
        let (model, through) = (Arc::clone(&first.model), Arc::clone(first.look_up_model()));
        let fits = |active: &ActiveRow| {
            Arc::ptr_eq(&active.task.model, &model) && *active.task.look_up_model() == through
        };
        let taken = take(&mut self.look_ups, &self.slab, most, fits);
        if self.look_ups.is_empty() {
            self.look_ups_since = None;
        }
        taken
    }

    /// Takes rows that may travel together, the first ones first: of the model association of the
    /// row that is next. A single one where that row goes singly.
    pub fn take_batch(&mut self, most: usize) -> Vec<Slot> {
        let Some(&next) = self.creates.front() else { return Vec::new() };
        let first = &self.slab[next].task;
        if !first.may_batch() {
            self.creates.pop_front();
            return vec![next];
        }
        let model = Arc::clone(&first.model);
        let fits =
            |active: &ActiveRow| active.task.may_batch() && Arc::ptr_eq(&active.task.model, &model);
        take(&mut self.creates, &self.slab, most, fits)
    }

    /// Takes rows of which something is deleted in one call, the first ones first: of one source model, and
    /// that have failed in company equally often. `None` for `most`: the first row alone.
    pub fn take_deletes(
        &mut self,
        most: Option<usize>,
        policy: &Policy,
        now: Instant,
    ) -> Vec<Slot> {
        let Some(&next) = self.deletes.front() else { return Vec::new() };
        let first = &self.slab[next].task;
        let company = most.zip(first.company()).map(|(most, company)| most.min(company));
        let taken = if let Some(company) = company {
            let (source, failures) = (Arc::clone(&first.model.source), first.failures());
            let mut ids = 0;
            let fits = |active: &ActiveRow| {
                let task = &active.task;
                ids += task.to_delete().len();
                let fits = task.company().is_some()
                    && task.failures() == failures
                    && task.model.source == source
                    && task.before_write(policy, now).is_none()
                    // The first goes however much it takes.
                    && (ids <= company || ids == task.to_delete().len());
                if !fits {
                    ids -= task.to_delete().len();
                }
                fits
            };
            take(&mut self.deletes, &self.slab, company, fits)
        } else {
            self.deletes.pop_front();
            vec![next]
        };
        if self.deletes.is_empty() {
            self.deletes_since = None;
        }
        taken
    }

    /// Whether any row is ready to be created or deleted.
    pub fn has_writes(&self) -> bool {
        !(self.creates.is_empty() && self.deletes.is_empty())
    }

    /// Whether any row waits for something that will come by itself.
    pub fn is_moving(&self) -> bool {
        self.has_writes() || !(self.look_ups.is_empty() && self.timers.is_empty())
    }

    /// Sends the rows kept for the end to their last look. True where there were any.
    pub fn look_at_the_last(&mut self, now: Instant) -> bool {
        let last = std::mem::take(&mut self.last);
        for &slot in &last {
            self.task_mut(slot).look_last();
            self.put(slot, Next::LookUp, now, now);
        }
        !last.is_empty()
    }
}

/// Takes from a queue, in order, what fits.
fn take(
    queue: &mut VecDeque<Slot>,
    rows: &Slab<ActiveRow>,
    most: usize,
    mut fits: impl FnMut(&ActiveRow) -> bool,
) -> Vec<Slot> {
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
