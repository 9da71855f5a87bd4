//! How many rows travel in one call.
//!
//! Owns `--batch` and what the server teaches about it. Knows nothing of rows.

use crate::options::Batch;

/// Batches that fail while single rows are answered, before the rest goes singly.
const STRIKES: u32 = 3;

/// The size of the next batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Batches {
    most: usize,
    size: usize,
    /// A row that went singly was answered since the last batch that failed.
    singles_work: bool,
    /// Batches that failed in a row, while single rows were answered in between.
    strikes: u32,
}

impl Batches {
    pub(super) fn new(option: Batch) -> Self {
        let most = match option {
            Batch::Off => 1,
            Batch::Auto => Batch::MAX.into(),
            Batch::Size(size) => size.into(),
        };
        Self { most, size: most, singles_work: false, strikes: 0 }
    }

    /// How many rows may travel together now; `None` where each goes singly.
    pub(super) fn size(&self) -> Option<usize> {
        (self.size > 1).then_some(self.size)
    }

    /// Batches lead nowhere on this server.
    pub(super) fn give_up(&mut self, why: &str) {
        // Others may be under way.
        if self.most > 1 {
            tracing::warn!("{why}: rows go singly");
        }
        (self.most, self.size) = (1, 1);
    }

    /// A batch got no answer in time, or was too large.
    pub(super) fn shrink(&mut self, rows: usize) {
        self.size = (rows / 2).clamp(2, self.size.max(2)).min(self.most);
    }

    /// A row that went singly was answered.
    pub(super) fn single_answered(&mut self) {
        self.singles_work = true;
    }

    /// A batch failed, other than by the server's limit. True where it is time to give batches up: it
    /// is their path that fails, and not the server.
    pub(super) fn failed(&mut self) -> bool {
        self.strikes += u32::from(std::mem::take(&mut self.singles_work));
        self.strikes >= STRIKES
    }

    /// A batch was answered.
    pub(super) fn grow(&mut self) {
        self.strikes = 0;
        self.size = (self.size + self.size.div_ceil(8)).min(self.most);
    }
}
