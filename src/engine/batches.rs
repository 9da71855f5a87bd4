//! Whether rows travel in batches, and how many in one.
//!
//! Owns `--batch` and what the server teaches about it. Knows nothing of rows.

use crate::engine::call_size::CallSize;
use crate::options::Batch;

/// Batches that fail while single rows are answered, before the rest goes singly.
const STRIKES: u32 = 3;

/// The size of the next batch.
#[derive(Clone, Copy, Debug)]
pub struct Batches {
    /// `None` where each row goes singly.
    size: Option<CallSize>,
    /// A row that went singly was answered since the last batch that failed.
    singles_work: bool,
    /// Batches that failed in a row, while single rows were answered in between.
    strikes: u32,
}

impl Batches {
    /// As asked for.
    pub fn new(option: Batch) -> Self {
        let most = match option {
            Batch::Off => 1,
            Batch::Auto => Batch::MAX.into(),
            Batch::Size(size) => size.into(),
        };
        let size = (most > 1).then(|| CallSize::new(2, most));
        Self { size, singles_work: false, strikes: 0 }
    }

    /// How many rows may travel together now; `None` where each goes singly.
    pub fn size(&self) -> Option<usize> {
        self.size.map(CallSize::get)
    }

    /// Batches lead nowhere on this server.
    pub fn give_up(&mut self, why: &str) {
        // Other batches may be under way, and fail the same way.
        if self.size.take().is_some() {
            tracing::warn!("{why}: rows go singly");
        }
    }

    /// A batch of so many got no answer in time, or was too large.
    pub fn shrink(&mut self, rows: usize) {
        if let Some(size) = &mut self.size {
            size.shrink(rows);
        }
    }

    /// A row that went singly was answered.
    pub fn single_answered(&mut self) {
        self.singles_work = true;
    }

    /// A batch failed, other than by the server's limit. True where it is time to give batches up: it
    /// is their path that fails, and not the server.
    pub fn failed(&mut self) -> bool {
        self.strikes += u32::from(std::mem::take(&mut self.singles_work));
        self.strikes >= STRIKES
    }

    /// A batch was answered.
    pub fn grow(&mut self) {
        self.strikes = 0;
        if let Some(size) = &mut self.size {
            size.grow();
        }
    }
}
