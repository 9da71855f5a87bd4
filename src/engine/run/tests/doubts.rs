//! What a run says of rows that an earlier process may have sent.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use super::super::*;
use super::world::{World, name_of, row};
use crate::association::{Mapping, Row};
use crate::cmdb::wire::Reply;
use crate::cmdb::wire::{Answer, Envelope};
use crate::options::Batch;
use crate::outcome::Reason;
use crate::outcome::Status;
use crate::sandbox::faults::{Fault, Faults};
use crate::sandbox::{Endpoint, Sandbox};
use rand::SeedableRng;
use rand::rngs::StdRng;

/// A server that no longer shows its model associations to this app.
struct Blind<'a>(&'a Sandbox);

impl Cmdb for Blind<'_> {
    async fn call(&self, request: Request) -> Reply {
        if !matches!(request, Request::Models(_)) {
            return self.0.call(request).await;
        }
        let none = serde_json::value::to_raw_value::<[(); 0]>(&[]).unwrap();
        let envelope = Some(Envelope::new(true, 0, "success", none));
        Reply::Answered(Answer { status: 200, envelope, ..Answer::default() })
    }
}

#[tokio::test(start_paused = true)]
async fn a_row_that_may_have_been_sent_is_never_said_not_to_exist_unlooked() {
    let rows = (0..10).map(|n| row(n, name_of(Mapping::ManyToMany), n + 1, n + 1)).collect();
    let world = World::new(rows, Faults::none(), 1);
    let mut rng = StdRng::seed_from_u64(1);
    // The rows' creates are under way.
    world.process_killed_after(Duration::from_millis(35), &mut rng).await;
    assert_eq!(world.read_back().marked_through, 10);
    world.process_on(&Blind(&world.sandbox)).await.unwrap();
    let records = world.records();
    assert_eq!(records.len(), 10);
    for record in records {
        assert_eq!(record.outcome.reason, Some(Reason::OutcomeUnknown));
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_stop_in_order_leaves_was_there_before_and_is_in_nobodys_doubt() {
    let rows: Vec<Row> = (0..2000).map(|n| row(n, "s_run_t", n + 1, n + 1)).collect();
    let mut world = World::new(rows, Faults::none(), 1);
    for row in &world.rows {
        world.sandbox.call(Request::Create(row.parsed.clone().unwrap())).await;
    }
    // Twice: the second process reads only a part of what the first had marked.
    for pause in [300, 100] {
        world.stop_after = Some(Duration::from_millis(pause));
        assert!(world.process().await.halt.is_some());
        let left = world.read_back();
        assert_eq!(left.in_doubt_from(0), Vec::<u64>::new(), "{} marked", left.marked_through);
    }
    world.stop_after = None;
    let start = Instant::now();
    world.process().await;
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
    let counts = world.check().unwrap();
    assert_eq!(counts.get(&Status::Existed), Some(&2000), "{counts:?}");
}

/// A server that is too slow for look-ups of many triples.
struct Slow<'a>(&'a Sandbox);

impl Cmdb for Slow<'_> {
    async fn call(&self, request: Request) -> Reply {
        if matches!(&request, Request::Find(find) if find.any_of.len() > 50) {
            std::future::pending::<()>().await;
        }
        self.0.call(request).await
    }
}

#[tokio::test(start_paused = true)]
async fn look_ups_that_are_too_large_for_the_server_become_smaller() {
    let rows = (0..4000).map(|n| row(n, name_of(Mapping::ManyToMany), n + 1, n + 1)).collect();
    let world = World::new(rows, Faults::none(), 1);
    let mut rng = StdRng::seed_from_u64(1);
    world.process_killed_after(Duration::from_millis(600), &mut rng).await;
    let back = world.read_back();
    assert!(back.marked_through > back.settled.len() + 200);
    let finish = world.process_on(&Slow(&world.sandbox)).await.unwrap();
    assert_eq!(finish.halt, None);
    world.check().unwrap();
}

/// A network that holds the first create back until its caller has given up, and delivers it then.
struct Stalled {
    sandbox: Rc<Sandbox>,
    held: Cell<bool>,
    under_way: Rc<Cell<u32>>,
    together: Rc<Cell<u32>>,
}

impl Stalled {
    async fn execute(
        sandbox: Rc<Sandbox>,
        request: Request,
        under_way: Rc<Cell<u32>>,
        together: Rc<Cell<u32>>,
    ) -> Reply {
        under_way.set(under_way.get() + 1);
        together.set(together.get().max(under_way.get()));
        // A server that takes its time, as it may.
        tokio::time::sleep(Duration::from_secs(20)).await;
        let reply = sandbox.call(request).await;
        under_way.set(under_way.get() - 1);
        reply
    }
}

impl Cmdb for Stalled {
    async fn call(&self, request: Request) -> Reply {
        if !matches!(request, Request::Create(_)) {
            return self.sandbox.call(request).await;
        }
        let (under_way, together) = (Rc::clone(&self.under_way), Rc::clone(&self.together));
        let sandbox = Rc::clone(&self.sandbox);
        if self.held.replace(true) {
            return Self::execute(sandbox, request, under_way, together).await;
        }
        tokio::task::spawn_local(async move {
            tokio::time::sleep(Duration::from_secs(39)).await;
            Self::execute(sandbox, request, under_way, together).await
        });
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_row_is_never_under_way_twice_however_late_the_network_delivers() {
    let rows = vec![row(0, name_of(Mapping::OneToMany), 1, 1)];
    let mut world = World::new(rows, Faults::none(), 1);
    world.options.timeout = Duration::from_secs(40);
    let sandbox =
        std::mem::replace(&mut world.sandbox, World::new(Vec::new(), Faults::none(), 1).sandbox);
    let stalled = Stalled {
        sandbox: Rc::new(sandbox),
        held: Cell::default(),
        under_way: Rc::default(),
        together: Rc::default(),
    };
    let local = tokio::task::LocalSet::new();
    Box::pin(local.run_until(world.process_on(&stalled))).await.unwrap();
    assert_eq!(stalled.together.get(), 1);
    assert_eq!(world.records()[0].outcome.status, Status::Recovered);
}

/// A server that fails at one row with an HTTP 500 without a number, each time.
struct Fails<'a>(&'a Sandbox);

impl Cmdb for Fails<'_> {
    async fn call(&self, request: Request) -> Reply {
        match &request {
            Request::Create(link) if link.association.inst_id.get() == 7 => {
                let envelope = Envelope::parse(br#"{"result":false,"data":null,"message":"no"}"#);
                Reply::Answered(Answer { status: 500, envelope, ..Answer::default() })
            }
            _ => self.0.call(request).await,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_row_at_which_the_server_always_fails_without_a_number_is_settled_in_the_end() {
    let rows = (0..10).map(|n| row(n, name_of(Mapping::ManyToMany), n + 1, n + 1)).collect();
    let world = World::new(rows, Faults::none(), 1);
    let finish = world.process_on(&Fails(&world.sandbox)).await.unwrap();
    assert_eq!(finish.halt, None);
    assert_eq!(world.records()[6].outcome.reason, Some(Reason::OutcomeUnknown));
}

/// Each life is shorter than the doubt that the one before left behind.
#[tokio::test(start_paused = true)]
async fn a_process_that_is_killed_every_half_second_gets_on() {
    let numbered = (0..2000).map(|n| row(n, name_of(Mapping::ManyToMany), n + 1, n + 1));
    let world = World::new(numbered.collect(), Faults::none(), 1);
    let mut rng = StdRng::seed_from_u64(5);
    let mut starts = 1;
    while world.process_killed_after(Duration::from_millis(500), &mut rng).await.is_none() {
        starts += 1;
        assert!(starts < 1000, "{} rows are settled", world.read_back().settled.len());
    }
    let counts = world.check().unwrap();
    assert_eq!(counts.get(&Status::Failed), None, "{starts} starts: {counts:?}");
}

/// A fifth of all batches is cut in the middle of a row.
#[tokio::test(start_paused = true)]
async fn rows_that_a_cut_batch_left_by_half_are_created_anew() {
    let numbered = (0..1000).map(|n| row(n, name_of(Mapping::ManyToMany), n + 1, n + 1));
    let mut world = World::new(numbered.collect(), Faults::none().with(Fault::HalfRows, 0.2), 3);
    world.options.batch = Batch::Size(50);
    assert_eq!(world.process().await.halt, None);
    let counts = world.check().unwrap();
    assert_eq!(counts.get(&Status::Failed), None, "{counts:?}");
    assert!(world.sandbox.calls(Endpoint::Delete) > 0, "no row was left by half");
    assert!(counts[&Status::Recovered] > 20, "{counts:?}");
}
