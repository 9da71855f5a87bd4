//! Thousands of rows over few instances: never two colliding creates under way, and the pool full.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use super::super::*;
use super::world::{World, name_of, row};
use crate::association::Mapping;
use crate::cmdb::wire::Reply;
use crate::options::Batch;
use crate::sandbox::Sandbox;
use crate::sandbox::faults::Faults;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// A server that watches which sides are under way.
struct Watch<'a> {
    sandbox: &'a Sandbox,
    mapping: Mapping,
    under_way: RefCell<HashMap<(char, u64), u32>>,
    broken: Cell<u32>,
    in_flight: Cell<usize>,
    most: Cell<usize>,
}

impl Watch<'_> {
    fn sides(&self, source: u64, target: u64) -> Vec<(char, u64)> {
        match self.mapping {
            Mapping::OneToOne => vec![('s', source), ('t', target)],
            Mapping::OneToMany => vec![('t', target)],
            Mapping::ManyToMany => vec![],
        }
    }
}

impl Cmdb for Watch<'_> {
    async fn call(&self, request: Request) -> Reply {
        let pairs: Vec<(u64, u64)> = match &request {
            Request::Create(l) => {
                vec![(l.association.inst_id.get(), l.association.asst_inst_id.get())]
            }
            Request::CreateMany { pairs, .. } => {
                pairs.iter().map(|(s, t)| (s.get(), t.get())).collect()
            }
            _ => Vec::new(),
        };
        let sides: Vec<_> = pairs.iter().flat_map(|&(s, t)| self.sides(s, t)).collect();
        for &side in &sides {
            let mut under_way = self.under_way.borrow_mut();
            let count = under_way.entry(side).or_default();
            *count += 1;
            self.broken.set(self.broken.get() + u32::from(*count > 1));
        }
        self.in_flight.set(self.in_flight.get() + usize::from(!pairs.is_empty()));
        self.most.set(self.most.get().max(self.in_flight.get()));
        let reply = self.sandbox.call(request).await;
        for side in sides {
            *self.under_way.borrow_mut().get_mut(&side).unwrap() -= 1;
        }
        self.in_flight.set(self.in_flight.get() - usize::from(!pairs.is_empty()));
        reply
    }
}

#[tokio::test(start_paused = true)]
async fn rows_over_fifty_instances_never_collide_under_way() {
    for (mapping, batch) in [
        (Mapping::OneToOne, Batch::Off),
        (Mapping::OneToMany, Batch::Off),
        (Mapping::OneToOne, Batch::Size(20)),
        (Mapping::OneToMany, Batch::Size(20)),
    ] {
        let mut rng = StdRng::seed_from_u64(5);
        let rows = (0..3000)
            .map(|n| {
                let (source, target) = (rng.random_range(1..51), rng.random_range(1..51));
                row(n, name_of(mapping), source, target)
            })
            .collect();
        let mut world = World::new(rows, Faults::none(), 1);
        world.options.concurrency = 64;
        world.options.batch = batch;
        let watch = Watch {
            sandbox: &world.sandbox,
            mapping,
            under_way: RefCell::default(),
            broken: Cell::new(0),
            in_flight: Cell::new(0),
            most: Cell::new(0),
        };
        let finish = world.process_on(&watch).await.unwrap();
        assert_eq!(finish.halt, None);
        assert_eq!(watch.broken.get(), 0, "{mapping:?}");
        world.check().unwrap();
        if batch == Batch::Off {
            // Fifty instances let fifty rows of a 1:n fly, and somewhat fewer of a 1:1.
            assert!(watch.most.get() >= 25, "{mapping:?}: {} at once", watch.most.get());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn rows_that_collide_with_nothing_keep_the_pool_full() {
    // Half of the rows wait in one long queue for the same target; the others pass them.
    let name = name_of(Mapping::OneToMany);
    let rows = (0..4000)
        .map(|n| if n % 2 == 0 { row(n, name, n + 1, 1) } else { row(n, name, n + 1, n + 1) })
        .collect();
    let mut world = World::new(rows, Faults::none(), 1);
    world.options.concurrency = 64;
    let start = Instant::now();
    // A full pool of 64 does 2,000 rows in 32 round trips; it takes some to fill.
    let time = Duration::from_millis(20 * (32 + 12));
    let stop_after_the_others = tokio::time::timeout(time, world.process());
    let _ = stop_after_the_others.await;
    let done = world.sandbox.len();
    assert!(done > 1900, "{done} rows after {:?}", start.elapsed());
}
