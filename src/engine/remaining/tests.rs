//! What remains, held against an oracle: it follows what processes did to rows, while they write their
//! journal, and knows nothing of how that is read back.

use std::path::Path;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::association::Cells;
use crate::outcome::Record;
use crate::storage::journal::replay::replay;
use crate::storage::journal::{Holder, Journal, disk};
use crate::storage::manifest::Head;

const ROWS: usize = 12;

/// What a process does.
#[derive(Clone, Debug)]
enum Event {
    /// Marks the next rows, having seen this id.
    Mark { rows: usize, id_watermark: i64 },
    /// Makes a call that writes for a row, or, for one that is carried over, none.
    Send(usize),
    /// Learns that no call for a row was executed.
    Learn(usize),
    /// Settles a row.
    Settle(usize),
    /// Hands to the system what was written.
    Flush,
}

/// How a process ends.
#[derive(Clone, Copy, Debug)]
enum End {
    InOrder,
    /// What was not handed to the system is lost.
    Killed,
}

/// What became of a row, as who watched all processes knows it.
#[derive(Clone, Copy, Debug, Default)]
struct Watched {
    /// What had been seen when it was marked.
    marked: Option<i64>,
    /// Whether a process sent it, or can't tell.
    may_be_sent: bool,
    /// Whether a process said that its delete goes out, or its create where it was to be there already.
    noted: bool,
    /// The opening of the journal at which it was in doubt first, since it was last sent.
    since: Option<i64>,
    settled: bool,
}

impl Watched {
    fn is_open(&self) -> bool {
        self.marked.is_some() && !self.settled
    }

    fn remaining(&self, asked: &Remaining) -> Option<Remaining> {
        let since = self.since;
        let in_doubt = |goal: Goal| {
            let deleting = if goal == Goal::Create { Vec::new() } else { vec![5] };
            Remaining::InDoubt { goal, id_watermark: self.marked.unwrap(), since, deleting }
        };
        match asked {
            _ if self.settled => None,
            Remaining::All(goal @ Goal::Create) if self.may_be_sent => Some(in_doubt(*goal)),
            Remaining::All(goal) if self.may_be_sent && self.noted => Some(in_doubt(*goal)),
            Remaining::Expected if self.may_be_sent && self.noted => Some(in_doubt(Goal::Create)),
            Remaining::InDoubt { goal, id_watermark, .. } => Some(Remaining::InDoubt {
                goal: *goal,
                id_watermark: *id_watermark,
                since,
                deleting: Vec::new(),
            }),
            asked => Some(asked.clone()),
        }
    }

    fn known(&self, asked: &Remaining) -> Outcome {
        match asked {
            Remaining::Carry(outcome) | Remaining::Planned(outcome) => outcome.clone(),
            Remaining::All(_) if !self.may_be_sent => {
                Outcome::open(Status::NotAttempted, String::new())
            }
            Remaining::Expected if !self.may_be_sent || !self.noted => {
                Outcome::open(Status::NotAttempted, String::new())
            }
            _ => Outcome::open(Status::InDoubt, String::new()),
        }
    }
}

/// One process, from its opening of the journal, at the time `at`, to its end.
fn process(
    path: &Path,
    at: i64,
    earlier: &Replay,
    asked: &[Remaining],
    rows: &mut [Watched; ROWS],
    (events, end): &(Vec<Event>, End),
) {
    let file = Arc::new(disk::open_locked(path).unwrap().unwrap());
    let written = (earlier.good_bytes, earlier.marked_through);
    let mut journal = Journal::new(path.to_owned(), Box::new(file), written.0, written.1);
    if earlier.head.is_none() {
        journal.write_head(&head());
    }
    let (host, since) = (String::new(), String::new());
    journal.write_holder(&Holder { host, pid: 1, since, at: Some(at) });
    journal.flush().unwrap();
    for row in rows.iter_mut().filter(|row| row.is_open() && row.may_be_sent) {
        row.since.get_or_insert(at);
    }
    let mut flushed = *rows;
    for event in events {
        match *event {
            Event::Mark { rows: count, id_watermark } => {
                let marked = journal.marked_through() as usize;
                let through = (marked + count).min(ROWS);
                journal.mark(&vec![7; through - marked], id_watermark);
                journal.flush().unwrap();
                let fresh = rows[marked..through].iter_mut();
                fresh.for_each(|row| row.marked = Some(id_watermark));
                flushed = *rows;
            }
            Event::Send(at) if rows[at].is_open() => match asked[at] {
                Remaining::All(Goal::Create) | Remaining::InDoubt { .. } => {
                    if rows[at].since.take().is_some() {
                        journal.resent(&[at as u64]);
                        journal.flush().unwrap();
                        flushed = *rows;
                    }
                    rows[at].may_be_sent = true;
                }
                Remaining::All(Goal::Undo { .. } | Goal::Delete { .. }) => {
                    journal.deletes(&[(at as u64, 5)]);
                    journal.flush().unwrap();
                    (rows[at].may_be_sent, rows[at].noted) = (true, true);
                    flushed = *rows;
                }
                Remaining::Expected => {
                    journal.resent(&[at as u64]);
                    journal.flush().unwrap();
                    (rows[at].may_be_sent, rows[at].noted, rows[at].since) = (true, true, None);
                    flushed = *rows;
                }
                Remaining::Carry(_) | Remaining::Planned(_) => {}
            },
            Event::Learn(at) => rows[at].may_be_sent = false,
            Event::Settle(at) if rows[at].is_open() => {
                journal.outcome(&record(at as u64));
                rows[at].settled = true;
            }
            Event::Flush => {
                journal.flush().unwrap();
                flushed = *rows;
            }
            Event::Send(_) | Event::Settle(_) => {}
        }
    }
    match end {
        End::InOrder => {
            for row in rows.iter_mut().filter(|row| !row.may_be_sent) {
                (row.since, row.noted) = (None, false);
            }
            let sent = |at: &usize| rows[*at].is_open() && rows[*at].may_be_sent;
            journal.close(&(0..ROWS).filter(sent).map(|at| at as u64).collect::<Vec<_>>());
            journal.flush().unwrap();
        }
        End::Killed => {
            *rows = flushed;
            for row in rows {
                row.may_be_sent |= row.is_open();
            }
        }
    }
}

fn head() -> Head {
    Head { inputs: vec!["a.csv".to_owned()], ..Head::of_import() }
}

fn record(ordinal: u64) -> Record {
    let outcome = Outcome::good(Status::Existed, 1_000 + ordinal as i64, 1, 1);
    Record { ordinal, file: 0, line: ordinal + 2, cells: Cells::new(["a", "1", "2", ""]), outcome }
}

fn asked() -> impl Strategy<Value = Remaining> {
    let goal = prop_oneof![
        2 => Just(Goal::Create),
        1 => Just(Goal::Undo { id: 5 }),
        1 => Just(Goal::Delete { id: None }),
    ];
    let in_doubt = Remaining::InDoubt {
        goal: Goal::Create,
        id_watermark: 0,
        since: None,
        deleting: Vec::new(),
    };
    prop_oneof![
        4 => goal.prop_map(Remaining::All),
        1 => Just(Remaining::Expected),
        1 => Just(in_doubt),
        1 => Just(Remaining::Carry(Outcome::good(Status::Created, 5, 1, 1))),
        1 => Just(Remaining::Planned(Outcome::bad(Reason::MissingSource, String::new(), 0, 0))),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => (1..6_usize, 0..100_i64)
            .prop_map(|(rows, id_watermark)| Event::Mark { rows, id_watermark }),
        6 => (0..ROWS).prop_map(Event::Send),
        1 => (0..ROWS).prop_map(Event::Learn),
        3 => (0..ROWS).prop_map(Event::Settle),
        2 => Just(Event::Flush),
    ]
}

proptest! {
    #[test]
    fn what_remains_of_a_row_is_what_who_watched_it_would_say(
        asked in vec(asked(), ROWS),
        processes in vec(
            (vec(event(), 0..16), prop_oneof![Just(End::InOrder), Just(End::Killed)]),
            1..5,
        ),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.csv.journal");
        let (mut rows, mut earlier) = ([Watched::default(); ROWS], Replay::default());
        for (history, at) in processes.iter().zip(1..) {
            process(&path, at, &earlier, &asked, &mut rows, history);
            earlier = replay(&path, |_| {}).unwrap();
            for (at, (row, asked)) in rows.iter().zip(&asked).enumerate() {
                let remaining = what_remains(&earlier, at as u64, asked.clone());
                prop_assert_eq!(remaining, row.remaining(asked), "row {}: {:?}", at, row);
                if !row.settled {
                    let known = known_so_far(&earlier, at as u64, asked.clone());
                    prop_assert_eq!(known, row.known(asked), "row {}: {:?}", at, row);
                }
            }
        }
    }
}

#[test]
fn a_row_to_be_settled_again_is_in_doubt_where_it_may_exist() {
    let again = |outcome| Remaining::again(&outcome, Goal::Create).may_have_been_sent();
    assert!(again(Outcome::open(Status::InDoubt, String::new())));
    assert!(again(Outcome::bad(Reason::OutcomeUnknown, String::new(), 1, 1)));
    assert!(!again(Outcome::open(Status::NotAttempted, String::new())));
    assert!(!again(Outcome::bad(Reason::Throttled, String::new(), 1, 1)));
}

#[test]
fn a_delete_that_is_to_be_settled_again_begins_with_a_look_like_any() {
    let goal = Goal::Delete { id: None };
    let unknown = Outcome::bad(Reason::OutcomeUnknown, String::new(), 1, 1);
    assert_eq!(Remaining::again(&unknown, goal), Remaining::All(goal));
}
