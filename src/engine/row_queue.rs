//! Rows on their way from the reader to the loop.
//!
//! Reading blocks (a slow pipe, a cold disk, decompression), so it has a thread of its own; the loop
//! takes what is there. The queue between them is bounded: reading stops when calls are at the
//! limit. Knows nothing of what a row says.

use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use crate::association::Column;
use crate::engine::remaining::PendingRow;
use crate::exit::Exit;
use crate::input::digest::Digest;
use crate::storage::journal::JournalError;

/// Rows that may wait for the loop.
const CAPACITY: usize = 2048;
/// Rows that travel together.
const AT_ONCE: usize = 64;
/// Bytes of texts that may wait for the loop, and that travel together, about.
const MOST_BYTES: u32 = 16 << 20;
const BYTES_AT_ONCE: u32 = 1 << 20;

/// Rows, and their share of the room that there is.
type Chunk = (Vec<PendingRow>, Share);

/// The bytes that are free.
#[derive(Debug)]
struct Room {
    free: Mutex<u32>,
    given_back: Condvar,
}

impl Room {
    /// Waits until so much is free, and takes it.
    fn take(self: &Arc<Self>, bytes: u32) -> Share {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let free = self.given_back.wait_while(free, |free| *free < bytes);
        *free.unwrap_or_else(PoisonError::into_inner) -= bytes;
        Share { room: Arc::clone(self), bytes }
    }
}

/// A part of the room, given back when the loop takes the rows, or is no more.
#[derive(Debug)]
struct Share {
    room: Arc<Room>,
    bytes: u32,
}

impl Drop for Share {
    fn drop(&mut self) {
        *self.room.free.lock().unwrap_or_else(PoisonError::into_inner) += self.bytes;
        self.room.given_back.notify_one();
    }
}

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
    /// A row of blank cells was marked earlier, when such rows counted.
    #[error(
        "{row}: this row has only blank cells. Version 0.1.0, which began this run, counted such rows, and \
         this version skips them: go on with version 0.1.0, or start anew with --fresh"
    )]
    Blank {
        /// Where it stands.
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
            Self::Unreadable(_)
            | Self::Changed { .. }
            | Self::Blank { .. }
            | Self::Short { .. } => Exit::Input,
            Self::Journal(_) => Exit::Unwritable,
        }
    }
}

/// What is known when the input has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// Rows of all inputs.
    pub rows: u64,
    /// Rows of blank cells, which were skipped.
    pub blank_rows: u64,
    /// The inputs' digests.
    pub digests: Vec<Digest>,
}

/// The loop's end of the queue.
pub struct RowQueue {
    rows: mpsc::Receiver<Chunk>,
    /// Rows that came with others, and are not taken yet.
    here: Vec<PendingRow>,
    end: oneshot::Receiver<Result<Ended, RowQueueError>>,
    /// About how many rows there will be.
    expected: Arc<OnceLock<u64>>,
}

/// The reader's end of the queue.
pub struct RowSink {
    rows: mpsc::Sender<Chunk>,
    /// Rows that wait for company, and the bytes of their texts.
    chunk: Vec<PendingRow>,
    bytes: u32,
    at_once: usize,
    room: Arc<Room>,
}

/// The loop takes no more rows.
#[derive(Debug)]
pub struct Closed;

impl RowSink {
    /// Puts a row in, waiting for room.
    pub fn push(&mut self, row: PendingRow) -> Result<(), Closed> {
        let texts = Column::ALL.iter().map(|column| row.row.cells.get(*column).len());
        self.bytes =
            self.bytes.saturating_add(u32::try_from(texts.sum::<usize>()).unwrap_or(MOST_BYTES));
        self.chunk.push(row);
        let is_full = self.chunk.len() >= self.at_once || self.bytes >= BYTES_AT_ONCE;
        if is_full { self.send() } else { Ok(()) }
    }

    fn send(&mut self) -> Result<(), Closed> {
        let next = Vec::with_capacity(self.at_once);
        let chunk = std::mem::replace(&mut self.chunk, next);
        let bytes = std::mem::take(&mut self.bytes).min(MOST_BYTES);
        match self.rows.try_send((chunk, self.room.take(bytes))) {
            Err(TrySendError::Full(chunk)) => self.rows.blocking_send(chunk).map_err(|_| Closed),
            sent => sent.map_err(|_| Closed),
        }
    }
}

impl RowQueue {
    /// A queue and its other end, which says how the input ended before it lets go of the rows.
    fn new(
        here: Vec<PendingRow>,
        at_once: usize,
    ) -> (Self, RowSink, oneshot::Sender<Result<Ended, RowQueueError>>) {
        let (sender, rows) = mpsc::channel(CAPACITY / at_once);
        let (ends, end) = oneshot::channel();
        let room = Arc::new(Room { free: Mutex::new(MOST_BYTES), given_back: Condvar::new() });
        let sink = RowSink { rows: sender, chunk: Vec::new(), bytes: 0, at_once, room };
        (Self { rows, here, end, expected: Arc::default() }, sink, ends)
    }

    /// Starts the reader's thread. `read` pushes rows until the input ends or the sink is closed. Rows
    /// come one by one, or, if the reader never waits long for the next one, many at once: that is cheaper.
    pub fn spawn(
        waits: bool,
        read: impl FnOnce(&mut RowSink) -> Result<Ended, RowQueueError> + Send + 'static,
    ) -> Self {
        let (queue, mut sink, ends) = Self::new(Vec::new(), if waits { 1 } else { AT_ONCE });
        std::thread::spawn(move || {
            let end = read(&mut sink);
            // What was read before an error comes before it.
            let _ = sink.send();
            ends.send(end)
        });
        queue
    }

    /// Finds out meanwhile about how many rows there will be, for a display.
    pub fn expect(&self, count: impl FnOnce() -> Option<u64> + Send + 'static) {
        let expected = Arc::clone(&self.expected);
        std::thread::spawn(move || count().map(|rows| expected.set(rows)));
    }

    /// About how many rows there will be, once that is known.
    pub fn expected(&self) -> Option<u64> {
        self.expected.get().copied()
    }

    /// Rows that are all there, of an input that ends only when the second is called.
    #[cfg(test)]
    pub fn open(rows: impl IntoIterator<Item = PendingRow>) -> (Self, impl FnOnce()) {
        let rows: Vec<_> = rows.into_iter().collect();
        let count = rows.last().map_or(0, |pending| pending.row.ordinal + 1);
        let (queue, sink, ends) = Self::new(rows, 1);
        (queue, move || {
            let _ = ends.send(Ok(Ended { rows: count, ..Ended::default() }));
            drop(sink);
        })
    }

    /// Takes up to `most` rows that are there.
    pub fn take(&mut self, most: usize) -> Vec<PendingRow> {
        let mut rows = std::mem::take(&mut self.here);
        // At once: growing would copy the rows again and again.
        rows.reserve(most.min(self.rows.len() * AT_ONCE));
        while rows.len() < most
            && let Ok((mut chunk, _)) = self.rows.try_recv()
        {
            rows.append(&mut chunk);
        }
        self.here = rows.split_off(most.min(rows.len()));
        rows
    }

    /// How the input ended, once all rows are taken.
    pub fn end(&mut self) -> Option<Result<Ended, RowQueueError>> {
        let no_more_come = self.rows.is_closed() && self.rows.is_empty();
        if no_more_come && self.here.is_empty() { self.end.try_recv().ok() } else { None }
    }

    /// Waits until there is something to take, or to be told of the end. May wake for nothing.
    pub async fn news(&mut self) {
        if self.here.is_empty() {
            self.here.extend(self.rows.recv().await.map(|(chunk, _)| chunk).unwrap_or_default());
        }
    }
}

impl std::fmt::Debug for RowQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RowQueue").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::association::{Cells, Row, RowError};
    use crate::engine::remaining::{Goal, Remaining};

    fn row(ordinal: u64) -> PendingRow {
        let (cells, parsed) = (Cells::new([""; 4]), Err(RowError::Broken("".into())));
        let row = Row { ordinal, file: 0, line: 1, cells, parsed };
        PendingRow { row, remaining: Remaining::All(Goal::Create) }
    }

    #[tokio::test]
    async fn large_rows_wait_within_a_bound_of_bytes() {
        let read = Arc::new(AtomicU64::new(0));
        let counts = Arc::clone(&read);
        let mut queue = RowQueue::spawn(false, move |sink| {
            let large = "x".repeat(1 << 20);
            for ordinal in 0..100 {
                let mut row = row(ordinal);
                row.row.cells = Cells::new([&large, "", "", ""]);
                sink.push(row).unwrap();
                counts.fetch_add(1, Ordering::Relaxed);
            }
            Ok(Ended { rows: 100, ..Ended::default() })
        });
        let mut taken = 0;
        while queue.end().is_none() {
            taken += queue.take(1).len() as u64;
            let ahead = read.load(Ordering::Relaxed).saturating_sub(taken);
            assert!(ahead <= u64::from(MOST_BYTES >> 20) + 2, "{ahead}");
            queue.news().await;
        }
        assert_eq!(taken, 100);
    }

    #[tokio::test]
    async fn rows_come_in_order_and_the_end_after_the_last_of_them() {
        let most = 2 * CAPACITY as u64 + 1;
        let mut queue = RowQueue::spawn(false, move |sink| {
            (0..most).try_for_each(|ordinal| sink.push(row(ordinal))).unwrap();
            Ok(Ended { rows: most, ..Ended::default() })
        });
        let mut next = 0;
        let end = loop {
            for taken in queue.take(100) {
                assert_eq!(taken.row.ordinal, next);
                next += 1;
            }
            match queue.end() {
                Some(end) => break end.unwrap(),
                None => queue.news().await,
            }
        };
        assert_eq!((next, end.rows), (most, most));
        assert!(queue.end().is_none(), "it is told once");
    }

    #[tokio::test]
    async fn a_row_does_not_wait_for_the_next_one_where_that_may_be_long_in_coming() {
        let (go_on, goes_on) = oneshot::channel::<()>();
        let mut queue = RowQueue::spawn(true, move |sink| {
            sink.push(row(0)).unwrap();
            let _ = goes_on.blocking_recv();
            Ok(Ended::default())
        });
        queue.news().await;
        assert_eq!(queue.take(10).len(), 1);
        drop(go_on);
    }

    #[tokio::test]
    async fn a_reader_goes_no_further_than_the_queue_is_long_and_stops_with_the_loop() {
        let pushed = Arc::new(AtomicU64::new(0));
        let (stopped, stops) = oneshot::channel();
        let count = Arc::clone(&pushed);
        let mut queue = RowQueue::spawn(false, move |sink| {
            while sink.push(row(0)).is_ok() {
                count.fetch_add(1, Ordering::SeqCst);
            }
            let _ = stopped.send(());
            Ok(Ended::default())
        });
        queue.news().await;
        let taken = queue.take(10).len();
        while pushed.load(Ordering::SeqCst) < CAPACITY as u64 {
            std::thread::yield_now();
        }
        // A reader that is not held up goes on meanwhile.
        (0..1_000).for_each(|_| std::thread::yield_now());
        drop(queue);
        stops.await.unwrap();
        assert!(pushed.load(Ordering::SeqCst) <= (CAPACITY + 3 * AT_ONCE + taken) as u64);
    }
}
