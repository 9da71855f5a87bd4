//! Disks that fail, and the rule that no row is sent which no mark on disk covers.

use std::cell::RefCell;

use super::super::*;
use super::world::{Platter, World, name_of, row, rows};
use crate::association::Mapping;
use crate::association::Row;
use crate::cmdb::wire::Reply;
use crate::options::{self, Batch};
use crate::outcome::Status;
use crate::sandbox::Sandbox;
use crate::sandbox::faults::Faults;
use crate::storage::journal::replay;
use rand::SeedableRng;
use rand::rngs::StdRng;

/// A server that looks at the disk with each create: what would a power loss leave right now?
struct Witness<'a> {
    sandbox: &'a Sandbox,
    platter: Platter,
    folder: tempfile::TempDir,
    /// The durable length, and through which row its marks go.
    seen: RefCell<(usize, u64)>,
    uncovered: RefCell<Vec<u64>>,
}

impl Witness<'_> {
    fn look(&self, source: u64) {
        let durable = self.platter.durable();
        let mut seen = self.seen.borrow_mut();
        if seen.0 != durable.len() {
            let path = self.folder.path().join("durable");
            std::fs::write(&path, &durable).unwrap();
            *seen = (durable.len(), replay::replay(&path, |_| {}).unwrap().marked_through);
        }
        let marked = seen.1;
        // Row n has source n + 1.
        if source > marked {
            self.uncovered.borrow_mut().push(source - 1);
        }
    }
}

impl Cmdb for Witness<'_> {
    async fn call(&self, request: Request) -> Reply {
        match &request {
            Request::Create(link) => self.look(link.association.inst_id.get()),
            Request::CreateMany { pairs, .. } => {
                for (source, _) in pairs {
                    self.look(source.get());
                }
            }
            _ => {}
        }
        self.sandbox.call(request).await
    }
}

fn witness(world: &World) -> Witness<'_> {
    Witness {
        sandbox: &world.sandbox,
        platter: world.platter.clone(),
        folder: tempfile::tempdir().unwrap(),
        seen: RefCell::default(),
        uncovered: RefCell::default(),
    }
}

fn numbered(count: u64) -> Vec<Row> {
    (0..count).map(|n| row(n, name_of(Mapping::ManyToMany), n + 1, n + 1)).collect()
}

#[tokio::test(start_paused = true)]
async fn no_row_is_sent_before_a_mark_that_covers_it_is_on_disk() {
    for batch in [Batch::Off, Batch::Size(50)] {
        // A fast server, nothing to ask first, and a slow disk: sending is what could come first.
        let mut world = World::with_setup(numbered(3000), |setup| setup.latency = Duration::ZERO);
        world.options.models = vec![options::model("s_run_t=s,t,n:n").unwrap()];
        world.options.batch = batch;
        world.platter.be_lazy(Duration::from_millis(300));
        let witness = witness(&world);
        world.process_on(&witness).await.unwrap();
        assert_eq!(*witness.uncovered.borrow(), Vec::<u64>::new());
        assert_eq!(world.check().unwrap()[&Status::Created], 3000);
    }
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_fails_at_any_write_or_sync_stops_the_run_and_loses_nothing() {
    for operation in 0..60 {
        let world = World::new(numbered(120), Faults::none(), 1);
        world.platter.fail_at(Some(operation));
        let witness = witness(&world);
        let first = world.process_on(&witness).await;
        let failed = matches!(first, Err(JournalError::Unwritable { .. }));
        let finished = matches!(&first, Ok(finish) if finish.halt.is_none());
        assert!(failed || finished, "operation {operation}: {first:?}");
        assert_eq!(*witness.uncovered.borrow(), Vec::<u64>::new(), "operation {operation}");
        world.platter.fail_at(None);
        // What the system had not written is lost with it.
        let mut rng = StdRng::seed_from_u64(operation as u64);
        world.platter.lose_power(&mut rng);
        assert_eq!(world.process().await.halt, None, "operation {operation}");
        let counts = world.check().unwrap_or_else(|error| panic!("operation {operation}: {error}"));
        assert_eq!(counts.get(&Status::Existed), None, "operation {operation}: {counts:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_after_a_failed_write() {
    let world = World::new(numbered(500), Faults::none(), 1);
    world.platter.fail_at(Some(10));
    world.process_on(&world.sandbox).await.unwrap_err();
    let sent = world.sandbox.calls(crate::sandbox::Endpoint::Create);
    tokio::time::sleep(std::time::Duration::from_mins(1)).await;
    assert_eq!(world.sandbox.calls(crate::sandbox::Endpoint::Create), sent);
    assert!(sent < 500);
}

#[tokio::test(start_paused = true)]
async fn going_on_at_a_server_that_held_everything_calls_old_rows_existed() {
    let mut rng = StdRng::seed_from_u64(3);
    for mapping in [Mapping::ManyToMany, Mapping::OneToMany, Mapping::OneToOne] {
        let world = World::new(rows(mapping, 200, &mut rng), Faults::none(), 1);
        world.process().await;
        // The same rows under another journal: the server holds all that it can hold.
        let again = World { platter: Platter::default(), ..world };
        let time = std::time::Duration::from_millis(400);
        again.process_killed_after(time, &mut rng).await;
        again.process().await;
        let counts = again.check().unwrap();
        assert_eq!(counts.get(&Status::Created), None, "{counts:?}");
        // Before the first answer nothing has been seen: only rows of the first marks can be taken
        // for recovered.
        let recovered = counts.get(&Status::Recovered).copied().unwrap_or(0);
        assert!(recovered <= 16, "{counts:?}");
    }
}
