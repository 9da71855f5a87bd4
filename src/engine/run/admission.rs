//! How rows come in and how they leave: staged behind a mark, admitted when it is on disk, written down
//! when they are settled.

use tokio::time::Instant;

use super::rows::ActiveRow;
use super::{MARK, MAX_ACTIVE_ROWS, Run};
use crate::association::Row;
use crate::cmdb::Cmdb;
use crate::engine::models::Admission;
use crate::engine::remaining::{PendingRow, Remaining};
use crate::exit::Exit;
use crate::outcome::{Outcome, Reason, Record, Status};

impl<C: Cmdb> Run<'_, C> {
    pub(super) fn wants_rows(&self) -> bool {
        // Rows that could go are enough when half a mark of them waits: what is marked and not sent
        // is in doubt after a crash. Rows that can't go make room for others to overtake.
        let ready = self.staged.len() + self.rows.writes.len();
        let enough = self.batches.size().map_or(MARK / 2, |size| (size * 8).max(MARK / 2));
        self.halt.is_none() && self.ended.is_none() && ready < enough
    }

    /// Takes rows from the reader and writes the mark that covers them.
    pub(super) fn stage(&mut self) {
        if !self.wants_rows() {
            return;
        }
        let rows = self.feed.take(self.next_mark);
        if rows.is_empty() {
            match self.feed.end() {
                None => {}
                Some(Ok(ended)) => {
                    self.stats.input_ended = true;
                    self.ended = Some(ended);
                }
                Some(Err(error)) => self.stop_with(error.exit(), error.to_string()),
            }
            return;
        }
        self.stats.unsettled += rows.len() as u64;
        self.taken_through = rows.last().map_or(0, |planned| planned.row.ordinal + 1);
        self.next_mark = (self.next_mark * 4).min(MARK);
        let marked = self.journal.marked_through();
        let fresh: Vec<u32> = (rows.iter().map(|planned| &planned.row))
            .filter(|row| row.ordinal >= marked)
            .map(Row::fingerprint)
            .collect();
        if !fresh.is_empty() {
            self.journal.mark(&fresh, self.largest_id);
        }
        for planned in &rows {
            if let (Ok(link), Remaining::All(_) | Remaining::InDoubt { .. }) =
                (&planned.row.link, &planned.remaining)
            {
                self.models.look(&link.association.obj_asst_id);
            }
        }
        self.staged.extend(rows);
    }

    /// Lets staged rows in, in input order: those that need no call end here, the others get a place
    /// among the rows under way once their mark is on disk.
    pub(super) fn admit(&mut self, now: Instant) {
        while self.halt.is_none()
            && let Some(PendingRow { row, remaining }) = self.staged.front()
        {
            if let Remaining::Carry(outcome) = remaining {
                let outcome = outcome.clone();
                self.carry_over_staged(outcome);
                continue;
            }
            let (number, model) = match self.models.admit(row) {
                Admission::Known(number, model) => (number, model),
                Admission::Wanted => return,
                Admission::Refused(reason, message) => {
                    // Without its model association a row can't be looked up.
                    let (reason, message) = if remaining.may_have_been_sent() && row.link.is_ok() {
                        let message =
                            format!("an earlier call for it may have been executed: {message}");
                        (Reason::OutcomeUnknown, message)
                    } else {
                        (reason, message)
                    };
                    self.write_down_staged(Outcome::bad(reason, message, 0, (self.clock)()));
                    continue;
                }
            };
            if self.rows.len() >= MAX_ACTIVE_ROWS || !self.journal.covers(row.ordinal) {
                return;
            }
            let Some(PendingRow { row, remaining }) = self.staged.pop_front() else {
                return;
            };
            self.rows.admit(row, &remaining, number, model, self.largest_id, self.started, now);
        }
    }

    /// A row that a parent run settled: it is written down as it stands and says nothing about this
    /// run.
    fn carry_over_staged(&mut self, outcome: Outcome) {
        let Some(PendingRow { row, .. }) = self.staged.pop_front() else { return };
        let record = Record::of(row, outcome);
        self.record(&record);
        self.stats.carry(&record);
        self.stats.unsettled = self.stats.unsettled.saturating_sub(1);
    }

    fn write_down_staged(&mut self, outcome: Outcome) {
        let Some(PendingRow { row, .. }) = self.staged.pop_front() else {
            return;
        };
        self.write_down(&Record::of(row, outcome));
    }

    fn record(&mut self, record: &Record) {
        self.journal.outcome(record);
        if let Err(error) = (self.each)(record) {
            self.unseen.get_or_insert(error);
        }
    }

    fn write_down(&mut self, record: &Record) {
        self.record(record);
        self.stats.add(record);
        self.progress = Instant::now();
        self.stats.unsettled = self.stats.unsettled.saturating_sub(1);
        self.settled += 1;
        self.failed += u64::from(record.outcome.status == Status::Failed);
        if self.options.max_failures.is_some_and(|most| most.reached(self.failed, self.settled))
            && self.halt.is_none()
        {
            let (failed, settled) = (self.failed, self.settled);
            let message = format!("--max-failures: {failed} of {settled} rows failed");
            self.stop_with(Exit::MaxFailures, message);
        }
    }

    pub(super) fn settle(&mut self, slot: usize, mut outcome: Outcome) {
        outcome.finished_at = (self.clock)();
        self.outage.forget(slot);
        let ActiveRow { row, .. } = self.rows.leave(slot);
        self.write_down(&Record::of(row, outcome));
    }
}
