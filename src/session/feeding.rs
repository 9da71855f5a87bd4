//! How rows reach the loop: as they are when a run begins, and without what is settled when it goes on.

use std::path::Path;

use super::source::OpenSource;
use crate::association::Row;
use crate::engine::remaining::{PendingRow, what_remains};
use crate::engine::row_queue::{Ended, RowQueueError, RowSink};
use crate::input::digest::Digest;
use crate::storage::journal::replay::{Fingerprints, Replay};

/// Gives all rows as they are when a run begins.
pub(crate) fn pour(mut rows: OpenSource, sink: &mut RowSink) -> Result<Ended, RowQueueError> {
    let mut count = 0;
    while let Some(pending) = rows.next() {
        count += 1;
        if sink.push(pending?).is_err() {
            return Ok(Ended::default());
        }
    }
    Ok(Ended { rows: count, blank_rows: rows.blank_rows(), digests: rows.digests()? })
}

/// The digests of what is read, which is read to its end.
pub(crate) fn digests_to_the_end(mut rows: OpenSource) -> Result<Vec<Digest>, RowQueueError> {
    if let OpenSource::Inputs { .. } = &rows {
        while let Some(row) = rows.next() {
            row?;
        }
    }
    rows.digests()
}

/// Feeds the loop: rows that are settled are left out, rows that were marked must be what they were.
/// Rows that were never marked were never sent.
pub(crate) fn feed(
    mut rows: OpenSource,
    journal: &Path,
    replay: &Replay,
    place_of: impl Fn(&Row) -> String,
    unmarked_too: bool,
    sink: &mut RowSink,
) -> Result<Ended, RowQueueError> {
    let is_marked = |row: &Row| row.ordinal < replay.marked_through;
    let mut marks = match replay.marked_through {
        0 => None,
        _ => Some(Fingerprints::open(journal)?),
    };
    let mut count = 0;
    while let Some(planned) = rows.next() {
        let PendingRow { row, remaining } = planned?;
        if !unmarked_too && !is_marked(&row) {
            break;
        }
        count = row.ordinal + 1;
        if let Some(marks) = marks.as_mut().filter(|_| is_marked(&row)) {
            let marked = marks.read()?;
            if marked != row.fingerprint() {
                return Err(match rows.blank_before(marked) {
                    Some(blank) => RowQueueError::Blank { row: place_of(blank) },
                    None => RowQueueError::Changed { row: place_of(&row) },
                });
            }
        }
        let Some(remaining) = what_remains(replay, row.ordinal, remaining) else { continue };
        if sink.push(PendingRow { row, remaining }).is_err() {
            return Ok(Ended::default());
        }
    }
    if count < replay.marked_through {
        if let Some(marks) = &mut marks
            && let Some(blank) = rows.blank_before(marks.read()?)
        {
            return Err(RowQueueError::Blank { row: place_of(blank) });
        }
        return Err(RowQueueError::Short { rows: count, marked: replay.marked_through });
    }
    Ok(Ended { rows: count, blank_rows: rows.blank_rows(), digests: rows.digests()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::row_queue::RowQueue;
    use crate::input::InputOptions;
    use crate::session::source::RowSource;
    use crate::storage::journal::{Journal, JournalError};

    #[tokio::test]
    async fn a_journal_that_can_t_be_read_is_not_told_as_a_changed_input() {
        let folder = tempfile::tempdir().unwrap();
        let input = folder.path().join("a.csv");
        std::fs::write(&input, "obj_asst_id,inst_id,asst_inst_id\na,1,2\na,1,3\n").unwrap();
        let rows =
            || RowSource::inputs(std::slice::from_ref(&input), InputOptions::default()).open();
        let mut read = rows().unwrap();
        let prints: Vec<_> =
            std::iter::from_fn(|| read.next()).map(|row| row.unwrap().row.fingerprint()).collect();
        for (prints, damaged) in [(vec![prints[0], 0], false), (prints[..1].to_vec(), true)] {
            let path = folder.path().join("r.csv.journal");
            let file = std::sync::Arc::new(std::fs::File::create(&path).unwrap());
            let mut journal = Journal::new(path.clone(), Box::new(file), 0, 0);
            journal.mark(&prints, 0);
            journal.flush().unwrap();
            let replay = Replay { marked_through: 2, ..Replay::default() };
            let rows = rows().unwrap();
            let place_of = |row: &Row| format!("line {}", row.line);
            let mut fed =
                RowQueue::spawn(true, move |sink| feed(rows, &path, &replay, place_of, true, sink));
            let error = loop {
                fed.take(2);
                match fed.end() {
                    Some(end) => break end.unwrap_err(),
                    None => fed.news().await,
                }
            };
            match error {
                RowQueueError::Changed { row } if row == "line 3" => assert!(!damaged),
                RowQueueError::Journal(JournalError::Damaged { line: 2, .. }) => assert!(damaged),
                error => panic!("{error}"),
            }
        }
    }
}
