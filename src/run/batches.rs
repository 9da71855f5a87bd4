//! How many rows travel in one call.
//!
//! Owns `--batch` and what the server teaches about it. Knows nothing of rows.

use crate::options::Batch;

/// The size of the next batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Batches {
    most: usize,
    size: usize,
}

impl Batches {
    pub(super) fn new(option: Batch) -> Self {
        let most = match option {
            Batch::Off => 1,
            Batch::Auto => Batch::MAX.into(),
            Batch::Size(size) => size.into(),
        };
        Self { most, size: most }
    }

    /// How many rows may travel together now; `None` where each goes singly.
    pub(super) fn size(&self) -> Option<usize> {
        (self.size > 1).then_some(self.size)
    }

    /// This server has no batches.
    pub(super) fn give_up(&mut self) {
        (self.most, self.size) = (1, 1);
    }

    /// A batch got no answer in time, or was too large.
    pub(super) fn shrink(&mut self, rows: usize) {
        self.size = (rows / 2).clamp(2, self.size.max(2)).min(self.most);
    }

    /// A batch was answered.
    pub(super) fn grow(&mut self) {
        self.size = (self.size + self.size.div_ceil(8)).min(self.most);
    }
}
