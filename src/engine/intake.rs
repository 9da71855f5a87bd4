//! How rows come in: taken from the queue, staged behind a mark, and let in when it is on disk.
//!
//! Owns when the next mark is written and how many rows it covers. Knows nothing of calls.

use std::collections::VecDeque;

use crate::association::Row;
use crate::engine::models::Models;
use crate::engine::remaining::PendingRow;
use crate::engine::row_queue::{Ended, RowQueue};
use crate::exit::Halt;
use crate::storage::journal::Journal;

/// Rows a mark, once the run is going. The first marks are small, so that a slow input and the
/// largest id seen are caught early.
const MARK: usize = 1024;
const FIRST_MARK: usize = 16;

/// Rows that are read and not let in.
#[derive(Debug)]
pub struct Intake {
    queue: RowQueue,
    /// Marked rows that are not let in yet, in input order.
    staged: VecDeque<PendingRow>,
    next_mark: usize,
    /// Through which row (exclusive) the reader was followed.
    taken_through: u64,
    ended: Option<Ended>,
}

impl Intake {
    /// Nothing is taken yet.
    pub fn new(queue: RowQueue) -> Self {
        Self {
            queue,
            staged: VecDeque::new(),
            next_mark: FIRST_MARK,
            taken_through: 0,
            ended: None,
        }
    }

    /// Whether more rows are wanted where `ready` rows could be sent at once, and `batch` rows travel
    /// together. Half a mark of rows that could go is enough: what is marked and not sent is in doubt
    /// after a crash. Rows that can't go make room for others to overtake.
    pub fn wants_rows(&self, ready: usize, batch: Option<usize>) -> bool {
        let enough = batch.map_or(MARK / 2, |size| (size * 8).max(MARK / 2));
        self.ended.is_none() && self.staged.len() + ready < enough
    }

    /// Waits until there may be rows to take.
    pub async fn news(&mut self) {
        self.queue.news().await;
    }

    /// Takes rows from the reader, writes the mark that covers them, and says which model associations
    /// they need. Gives how many it took.
    pub fn take(
        &mut self,
        journal: &mut Journal,
        largest_id: i64,
        models: &mut Models,
    ) -> Result<u64, Halt> {
        let rows = self.queue.take(self.next_mark);
        let Some(last) = rows.last() else {
            if let Some(end) = self.queue.end() {
                let end =
                    end.map_err(|error| Halt { exit: error.exit(), message: error.to_string() })?;
                self.ended = Some(end);
            }
            return Ok(0);
        };
        self.taken_through = last.row.ordinal + 1;
        self.next_mark = (self.next_mark * 4).min(MARK);
        let marked = journal.marked_through();
        let fresh: Vec<u32> = (rows.iter().map(|pending| &pending.row))
            .filter(|row| row.ordinal >= marked)
            .map(Row::fingerprint)
            .collect();
        if !fresh.is_empty() {
            journal.mark(&fresh, largest_id);
        }
        for PendingRow { row, remaining } in &rows {
            if let Ok(new) = &row.parsed
                && remaining.needs_calls()
            {
                models.look(&new.association.obj_asst_id);
            }
        }
        let count = rows.len() as u64;
        self.staged.extend(rows);
        Ok(count)
    }

    /// The next row to be let in.
    pub fn front(&self) -> Option<&PendingRow> {
        self.staged.front()
    }

    /// Takes the next row out.
    ///
    /// # Panics
    /// Where there is none: [`Self::front`] comes first.
    pub fn pop(&mut self) -> PendingRow {
        self.staged.pop_front().expect("the front row was looked at")
    }

    /// Whether rows are read and wait to be let in.
    pub fn has_staged(&self) -> bool {
        !self.staged.is_empty()
    }

    /// How the input ended, once it did.
    pub fn ended(&self) -> Option<&Ended> {
        self.ended.as_ref()
    }

    /// The same, at the end of a run.
    pub fn into_ended(self) -> Option<Ended> {
        self.ended
    }

    /// Whether the input has ended and every row of it was let in.
    pub fn is_done(&self) -> bool {
        self.ended.is_some() && self.staged.is_empty()
    }

    /// About how many rows there are in all, as far as that is known.
    pub fn expected(&self) -> Option<u64> {
        self.ended.as_ref().map(|ended| ended.rows).or_else(|| self.queue.expected())
    }

    /// The staged rows that an earlier process may have sent.
    pub fn in_doubt(&self) -> impl Iterator<Item = u64> {
        let staged = self.staged.iter().filter(|pending| pending.remaining.may_have_been_sent());
        staged.map(|pending| pending.row.ordinal)
    }

    /// Through which row (exclusive) the reader was followed.
    pub const fn taken_through(&self) -> u64 {
        self.taken_through
    }
}
