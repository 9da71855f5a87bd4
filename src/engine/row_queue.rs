//! Rows on their way from the reader to the loop.
//!
//! Reading blocks (a slow pipe, a cold disk, decompression), so it has a thread of its own; the loop
//! takes what is there. The queue between them is bounded: reading stops when calls are at the
//! limit. Knows nothing of what a row says.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::engine::remaining::PendingRow;
use crate::exit::Exit;
use crate::input::digest::Digest;
use crate::storage::journal::JournalError;

/// Rows that may wait for the loop.
const CAPACITY: usize = 2048;

/// Why there are no more rows although the input has not ended.
#[derive(Debug, thiserror::Error)]
pub enum RowQueueError {
    /// The input can't be read.
    #[error("{0}")]
    Unreadable(String),
    /// What was marked earlier can't be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A row that was marked earlier is not what it was.
    #[error(
        "{row}: the input changed since this run began: this row may have been sent with other \
         values. Restore the input and give the same command, or start anew with --fresh"
    )]
    Changed {
        /// Where the first one that differs stands.
        row: String,
    },
    /// There are fewer rows than were marked earlier.
    #[error(
        "the input ends after {rows} rows, but rows up to {marked} may have been sent already. Restore the \
         input and give the same command, or start anew with --fresh"
    )]
    Short {
        /// How many there are.
        rows: u64,
        /// How many there were at least.
        marked: u64,
    },
}

impl RowQueueError {
    /// How a process ends that stops for it.
    pub const fn exit(&self) -> Exit {
        match self {
            Self::Unreadable(_) | Self::Changed { .. } | Self::Short { .. } => Exit::Input,
            Self::Journal(_) => Exit::Unwritable,
        }
    }
}

/// What is known when the input has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// Rows of all inputs.
    pub rows: u64,
    /// The inputs' digests.
    pub digests: Vec<Digest>,
}

#[derive(Default)]
struct State {
    rows: VecDeque<PendingRow>,
    end: Option<Result<Ended, RowQueueError>>,
    /// About how many rows there will be.
    expected: Option<u64>,
    /// The loop takes no more.
    closed: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    room: Condvar,
    news: Notify,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The loop's end of the queue.
pub struct RowQueue {
    shared: Arc<Shared>,
}

/// The reader's end of the queue.
pub struct RowSink {
    shared: Arc<Shared>,
}

/// The loop takes no more rows.
#[derive(Debug)]
pub struct Closed;

impl RowSink {
    /// Puts a row in, waiting for room.
    pub fn push(&mut self, row: PendingRow) -> Result<(), Closed> {
        let mut state = self.shared.lock();
        while state.rows.len() >= CAPACITY && !state.closed {
            state = self.shared.room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.closed {
            return Err(Closed);
        }
        let was_empty = state.rows.is_empty();
        state.rows.push_back(row);
        drop(state);
        if was_empty {
            self.shared.news.notify_one();
        }
        Ok(())
    }
}

impl RowQueue {
    /// Starts the reader's thread. `read` pushes rows until the input ends or the sink is closed.
    pub fn spawn(
        read: impl FnOnce(&mut RowSink) -> Result<Ended, RowQueueError> + Send + 'static,
    ) -> Self {
        let shared = Arc::new(Shared::default());
        let mut sink = RowSink { shared: Arc::clone(&shared) };
        std::thread::spawn(move || {
            let end = read(&mut sink);
            sink.shared.lock().end = Some(end);
            sink.shared.news.notify_one();
        });
        Self { shared }
    }

    /// Finds out meanwhile about how many rows there will be, for a display.
    pub fn expect(&self, count: impl FnOnce() -> Option<u64> + Send + 'static) {
        let shared = Arc::clone(&self.shared);
        std::thread::spawn(move || {
            let expected = count();
            shared.lock().expected = expected;
        });
    }

    /// About how many rows there will be, once that is known.
    pub fn expected(&self) -> Option<u64> {
        self.shared.lock().expected
    }

    /// Rows that are all there, for runs in virtual time.
    pub fn of(rows: impl IntoIterator<Item = PendingRow>) -> Self {
        let rows: VecDeque<_> = rows.into_iter().collect();
        let ended = Ended {
            rows: rows.back().map_or(0, |planned| planned.row.ordinal + 1),
            digests: Vec::new(),
        };
        let state = State { rows, end: Some(Ok(ended)), ..State::default() };
        Self { shared: Arc::new(Shared { state: Mutex::new(state), ..Shared::default() }) }
    }

    /// The same, of an input that ends only when the second is called.
    #[cfg(test)]
    pub fn open(rows: impl IntoIterator<Item = PendingRow>) -> (Self, impl FnOnce()) {
        let feed = Self::of(rows);
        let shared = Arc::clone(&feed.shared);
        let end = shared.lock().end.take();
        (feed, move || {
            shared.lock().end = end;
            shared.news.notify_one();
        })
    }

    /// Takes up to `most` rows that are there.
    pub fn take(&self, most: usize) -> Vec<PendingRow> {
        let mut state = self.shared.lock();
        let was_full = state.rows.len() >= CAPACITY;
        let most = most.min(state.rows.len());
        let rows = state.rows.drain(..most).collect();
        if was_full {
            self.shared.room.notify_one();
        }
        rows
    }

    /// How the input ended, once all rows are taken.
    pub fn end(&self) -> Option<Result<Ended, RowQueueError>> {
        let mut state = self.shared.lock();
        if state.rows.is_empty() { state.end.take() } else { None }
    }

    /// Waits until there is something to take. May wake for nothing.
    pub async fn news(&self) {
        self.shared.news.notified().await;
    }
}

impl Drop for RowQueue {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.room.notify_one();
    }
}

impl std::fmt::Debug for RowQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RowQueue").finish_non_exhaustive()
    }
}
