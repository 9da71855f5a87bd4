//! Rows that delete: many to a call, in order with those that create, whatever fails.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::super::*;
use super::ledger::rows_with_actions;
use super::world::{World, name_of, row};
use crate::association::{Mapping, Row};
use crate::cmdb::wire::{Answer, Envelope, Reply, code};
use crate::options::Batch;
use crate::outcome::Status;
use crate::sandbox::faults::{Fault, Faults};
use crate::sandbox::{Endpoint, Sandbox, Version};

fn calls(sandbox: &Sandbox) -> u64 {
    Endpoint::ALL.into_iter().map(|endpoint| sandbox.calls(endpoint)).sum()
}

fn all_deleted(count: u64, change: impl FnOnce(&mut crate::sandbox::Setup)) -> World {
    let pair = |n| (n % 90 + 1, n / 90 + 1);
    let rows = (0..count).map(|n| row(n, "s_run_t", pair(n).0, pair(n).1)).collect();
    let mut world = World::with_setup(rows, change);
    world.store("s_run_t", (0..count).map(pair));
    world.delete(0..count);
    world
}

#[tokio::test(start_paused = true)]
async fn five_thousand_deletes_take_few_calls_whatever_batch_says() {
    for batch in [Batch::Off, Batch::Auto] {
        let mut world = all_deleted(5_000, |_| ());
        world.options.batch = batch;
        assert_eq!(world.process().await.halt, None);
        assert_eq!(world.check_in_order().unwrap()[&Status::Deleted], 5_000);
        assert_eq!(world.sandbox.calls(Endpoint::Delete), 0);
        assert!(calls(&world.sandbox) <= 100, "{} calls", calls(&world.sandbox));
    }
}

#[tokio::test(start_paused = true)]
async fn what_somebody_deletes_meanwhile_spoils_a_call_and_no_row() {
    let world = all_deleted(1_000, |_| ());
    let somebody = async {
        tokio::time::sleep(Duration::from_millis(85)).await;
        for one in world.sandbox.rows().iter().step_by(97) {
            let request = Request::Delete { obj_id: "s".into(), id: one.id };
            world.sandbox.call(request).await;
        }
    };
    let (finish, ()) = tokio::join!(world.process(), somebody);
    assert_eq!(finish.halt, None);
    let counts = world.check_in_order().unwrap();
    let gone = counts[&Status::Deleted] + counts.get(&Status::Absent).unwrap_or(&0);
    assert_eq!(gone, 1_000, "{counts:?}");
    assert!(calls(&world.sandbox) <= 100, "{} calls", calls(&world.sandbox));
}

#[tokio::test(start_paused = true)]
async fn where_many_can_not_be_deleted_at_once_each_goes_singly() {
    // 3.5 behind an ESB, and natively, where the path of single deletes by model is not there either.
    let mut world = all_deleted(40, |setup| setup.version = Version::V3_5);
    assert_eq!(world.process().await.halt, None);
    assert_eq!(world.check_in_order().unwrap()[&Status::Deleted], 40);
    assert_eq!(world.sandbox.calls(Endpoint::DeleteMany), 0, "the entrance turned it away");
    world.options.batch = Batch::Auto;
}

#[tokio::test(start_paused = true)]
async fn where_nothing_can_be_deleted_nothing_is_written() {
    let rows: Vec<Row> = (0..40).map(|n| row(n, "s_run_t", n + 1, n + 1)).collect();
    let mut world = World::with_setup(rows, |setup| setup.old_esb = true);
    // The deletes come last.
    world.store("s_run_t", (30..40).map(|n| (n + 1, n + 1)));
    world.delete(30..40);
    let halt = world.process().await.halt.unwrap();
    assert_eq!(halt.exit, Exit::Target);
    assert!(halt.message.contains("no call that deletes"), "{}", halt.message);
    assert_eq!((world.records().len(), world.sandbox.rows()), (0, world.before.clone()));
    assert_eq!(world.sandbox.calls(Endpoint::Create), 0);
}

#[tokio::test(start_paused = true)]
async fn doubles_of_one_row_all_go() {
    // Only 3.5 stores the same twice.
    let rows = (0..30).map(|n| row(n, "s_run_t", n + 1, n + 1)).collect();
    let mut world = World::with_setup(rows, |setup| setup.version = Version::V3_5);
    for _ in 0..9 {
        world.store("s_run_t", (0..10).map(|n| (n + 1, n + 1)));
    }
    world.delete(0..30);
    assert_eq!(world.process().await.halt, None);
    assert!(world.sandbox.is_empty());
    let statuses: Vec<_> = world.records().iter().map(|one| one.outcome.status).collect();
    assert_eq!(statuses[..10], [Status::Deleted; 10]);
    assert_eq!(statuses[10..], [Status::Absent; 20]);
}

/// A server that answers some calls itself.
struct Except<'a, F>(&'a Sandbox, F);

impl<F: Fn(&Request) -> Option<(u16, i64)>> Cmdb for Except<'_, F> {
    async fn call(&self, request: Request) -> Reply {
        let Some((status, number)) = self.1(&request) else { return self.0.call(request).await };
        let refused = || Envelope::new(false, number, "no permission", Box::default());
        let envelope = (number != 0).then(refused);
        Reply::Answered(Answer { status, envelope, ..Answer::default() })
    }
}

#[tokio::test(start_paused = true)]
async fn who_may_not_delete_many_may_delete_one() {
    let world = all_deleted(40, |_| ());
    let many = |request: &Request| {
        matches!(request, Request::DeleteMany { .. }).then_some((200, code::FORBIDDEN))
    };
    let finish = world.process_on(&Except(&world.sandbox, many)).await.unwrap();
    assert_eq!(finish.halt, None);
    assert_eq!(world.check_in_order().unwrap()[&Status::Deleted], 40);
    // One call more asked whether there is one.
    assert_eq!(world.sandbox.calls(Endpoint::Delete), 41);
}

#[tokio::test(start_paused = true)]
async fn where_only_many_can_be_deleted_one_goes_as_many_do() {
    let mut world = all_deleted(1, |_| ());
    world.options.concurrency = 1;
    let one = |request: &Request| matches!(request, Request::Delete { .. }).then_some((404, 0));
    let finish = world.process_on(&Except(&world.sandbox, one)).await.unwrap();
    assert_eq!(finish.halt, None);
    assert_eq!(world.check_in_order().unwrap()[&Status::Deleted], 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_refused_for_its_size_is_halved() {
    let world = all_deleted(1_000, |_| ());
    let large = |request: &Request| match request {
        Request::DeleteMany { ids, .. } if ids.len() > 130 => Some((200, code::TOO_MANY)),
        _ => None,
    };
    let finish = world.process_on(&Except(&world.sandbox, large)).await.unwrap();
    assert_eq!(finish.halt, None);
    assert_eq!(world.check_in_order().unwrap()[&Status::Deleted], 1_000);
}

#[tokio::test(start_paused = true)]
async fn an_outage_in_the_middle_of_deletes_spends_no_row_and_little_traffic() {
    let world = all_deleted(3_000, |_| ());
    let weather = async {
        tokio::time::sleep(Duration::from_millis(120)).await;
        let before = calls(&world.sandbox);
        world.sandbox.set_faults(Faults::none().with(Fault::LostRequest, 1.0));
        tokio::time::sleep(Duration::from_mins(10)).await;
        world.sandbox.set_faults(Faults::none());
        calls(&world.sandbox) - before
    };
    let (finish, in_the_outage) = tokio::join!(world.process(), weather);
    assert_eq!(finish.halt, None);
    assert_eq!(world.check_in_order().unwrap()[&Status::Deleted], 3_000);
    assert!(in_the_outage < 100, "{in_the_outage} calls");
    assert!(calls(&world.sandbox) < 250, "{} calls", calls(&world.sandbox));
}

#[tokio::test(start_paused = true)]
async fn what_was_to_take_a_place_and_did_not_is_told_on_both_lines_also_after_a_kill() {
    for is_killed in [false, true] {
        let name = name_of(Mapping::OneToOne);
        // The new partner does not exist.
        let rows = vec![row(0, name, 1, 2), row(1, name, 1, 999_999), row(2, name, 3, 4)];
        let mut world = World::new(rows, Faults::none(), 1);
        world.store(name, [(1, 2)]);
        world.delete([0]);
        if is_killed {
            let is_deleted = async {
                while !world.read_back().settled.contains(0) {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            tokio::select! {
                _ = world.process() => panic!("its create has ended, too"),
                () = is_deleted => {}
            }
            assert!(!world.read_back().settled.contains(1));
        }
        world.process().await;
        let messages: Vec<_> =
            world.records().into_iter().map(|record| record.outcome.message).collect();
        assert_eq!(messages[0], "what was to take its place is not there: line 3: missing-target");
        assert!(messages[1].starts_with("association 1 (1 -> 2) was deleted to make room for it."));
        assert_eq!(messages[2], "");
        assert_eq!(world.check_in_order().unwrap()[&Status::Deleted], 1);
    }
}

/// Moves, swaps and the same again, with faults, kills and losses of power: each from its seed alone.
async fn scenario(seed: u64) -> Result<(), String> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mapping =
        [Mapping::ManyToMany, Mapping::OneToMany, Mapping::OneToOne][rng.random_range(0..3)];
    let kinds = [
        Fault::LostRequest,
        Fault::LostAnswer,
        Fault::LateCommit,
        Fault::BadGateway,
        Fault::Garbled,
        Fault::Locked,
        Fault::Slow,
        Fault::ReadLag,
        Fault::ThrottledCmdb,
        Fault::ThrottledGateway,
        Fault::HalfRows,
    ];
    let mut faults = Faults::none();
    for _ in 0..rng.random_range(0..4) {
        faults = faults.with(kinds[rng.random_range(0..kinds.len())], rng.random_range(0.02..0.3));
    }
    let said = format!("seed {seed}, {mapping:?}, {faults:?}");
    let stored: Vec<(u64, u64)> = (1..rng.random_range(3..30)).map(|n| (n, n)).collect();
    let count = rng.random_range(10..80);
    let (rows, deletes) = rows_with_actions(mapping, count, &stored, &mut rng);
    let version = [Version::V3_10_18, Version::V3_10_18, Version::V3_14][rng.random_range(0..3)];
    let mut world = World::with_setup(rows, |setup| {
        (setup.faults, setup.fault_seed, setup.version) = (faults, seed, version);
    });
    world.store(name_of(mapping), stored);
    world.delete(deletes);
    world.options.concurrency = rng.random_range(1..33);
    world.options.batch =
        [Batch::Off, Batch::Off, Batch::Size(7), Batch::Size(50)][rng.random_range(0..4)];
    for _ in 0..rng.random_range(0..5) {
        let time = Duration::from_millis(rng.random_range(0..4000));
        world.stop_after = rng.random_bool(0.3).then(|| time / 2);
        let finish = world.process_killed_after(time, &mut rng).await;
        if finish.is_some_and(|finish| finish.halt.is_none()) {
            break;
        }
    }
    world.stop_after = None;
    if let Some(halt) = world.process().await.halt {
        return Err(format!("{said}: stopped: {halt:?}"));
    }
    world.check_in_order().map_err(|error| format!("{said}: {error}"))?;
    Ok(())
}

#[test]
fn whatever_fails_rows_that_create_and_delete_end_as_if_one_after_another() {
    super::matrix::run_scenarios(0..400, scenario);
}
