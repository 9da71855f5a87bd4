//! Faults x mapping x kills x batches: whatever fails, every line is true.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::super::*;
use super::world::{World, row, rows};
use crate::association::Mapping;
use crate::association::Row;
use crate::options::Batch;
use crate::outcome::Status;
use crate::sandbox::Endpoint;
use crate::sandbox::faults::{Fault, Faults};

#[tokio::test(start_paused = true)]
async fn a_quiet_server_gets_each_row_once() {
    for mapping in [Mapping::ManyToMany, Mapping::OneToMany, Mapping::OneToOne] {
        let mut rng = StdRng::seed_from_u64(1);
        let world = World::new(rows(mapping, 300, &mut rng), Faults::none(), 1);
        let finish = world.process().await;
        assert_eq!(finish.halt, None);
        let counts = world.check().unwrap();
        assert_eq!(counts.get(&Status::Recovered), None);
        assert!(counts[&Status::Created] > 200, "{counts:?}");
        assert!(counts[&Status::Existed] > 10, "{counts:?}");
    }
}

/// Faults x mapping x kills, each scenario from its seed alone.
async fn scenario(seed: u64) -> Result<(), String> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mapping =
        [Mapping::ManyToMany, Mapping::OneToMany, Mapping::OneToOne][rng.random_range(0..3)];
    let mut faults = Faults::none();
    let kinds = [
        Fault::LostRequest,
        Fault::LostAnswer,
        Fault::LateCommit,
        Fault::BadGateway,
        Fault::Garbled,
        Fault::DataNull,
        Fault::Locked,
        Fault::Slow,
        Fault::ReadLag,
        Fault::ThrottledCmdb,
        Fault::ThrottledGateway,
        Fault::HalfRows,
    ];
    for _ in 0..rng.random_range(1..4) {
        faults = faults.with(kinds[rng.random_range(0..kinds.len())], rng.random_range(0.02..0.3));
    }
    let said = format!("seed {seed}, {mapping:?}, {faults:?}");
    let count = rng.random_range(20..120);
    let mut world = World::new(rows(mapping, count, &mut rng), faults, seed);
    world.options.concurrency = rng.random_range(1..33);
    world.options.batch =
        [Batch::Off, Batch::Off, Batch::Size(7), Batch::Size(50)][rng.random_range(0..4)];
    for _ in 0..rng.random_range(0..4) {
        let time = Duration::from_millis(rng.random_range(0..4000));
        world.stop_after = rng.random_bool(0.3).then(|| time / 2);
        let finish = world.process_killed_after(time, &mut rng).await;
        if finish.is_some_and(|finish| finish.halt.is_none()) {
            break;
        }
    }
    world.stop_after = None;
    let finish = world.process().await;
    if let Some(halt) = finish.halt {
        return Err(format!("{said}: stopped: {halt:?}"));
    }
    world.check().map_err(|error| format!("{said}: {error}"))?;
    Ok(())
}

/// The scenarios of one part of the matrix.
fn scenarios(part: u64) {
    run_scenarios(part * 300..(part + 1) * 300, scenario);
}

/// Runs scenarios by their seeds; `SEED=n` runs that one alone.
pub(super) fn run_scenarios<F: Future<Output = Result<(), String>>>(
    seeds: std::ops::Range<u64>,
    scenario: impl Fn(u64) -> F,
) {
    let seeds: Vec<u64> = match std::env::var("SEED") {
        Ok(seed) => vec![seed.parse().expect("SEED is a number")],
        Err(_) => seeds.collect(),
    };
    let mut failures = Vec::new();
    for seed in seeds {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        failures.extend(runtime.block_on(scenario(seed)).err());
    }
    let shown = failures.iter().take(5).map(String::as_str).collect::<Vec<_>>().join("\n");
    assert!(failures.is_empty(), "{} scenarios: {shown}", failures.len());
}

#[test]
fn whatever_fails_every_line_is_true_1() {
    scenarios(0);
}

#[test]
fn whatever_fails_every_line_is_true_2() {
    scenarios(1);
}

#[test]
fn whatever_fails_every_line_is_true_3() {
    scenarios(2);
}

#[test]
fn whatever_fails_every_line_is_true_4() {
    scenarios(3);
}

#[tokio::test(start_paused = true)]
async fn twenty_thousand_rows_take_a_hundred_batches_and_few_calls_more() {
    let rows: Vec<Row> = (0..20_000).map(|n| row(n, "s_run_t", n % 150 + 1, n / 150 + 1)).collect();
    let mut world = World::new(rows, Faults::none(), 1);
    for n in (0..20_000).step_by(100) {
        world.sandbox.insert("s_run_t", n % 150 + 1, n / 150 + 1).unwrap();
    }
    world.options.batch = Batch::Auto;
    let finish = world.process().await;
    assert_eq!(finish.halt, None);
    let counts = world.check().unwrap();
    assert_eq!((counts[&Status::Created], counts[&Status::Existed]), (19_800, 200));
    let calls: u64 = Endpoint::ALL.into_iter().map(|endpoint| world.sandbox.calls(endpoint)).sum();
    assert!(calls <= 130, "{calls} calls");
}

#[tokio::test(start_paused = true)]
async fn rows_that_were_marked_and_not_sent_wait_for_nothing_after_a_stop_in_order() {
    let rows: Vec<Row> = (0..600).map(|n| row(n, "s_run_t", n + 1, n + 1)).collect();
    let mut world = World::new(rows, Faults::none(), 1);
    world.stop_after = Some(Duration::from_millis(300));
    assert!(world.process().await.halt.is_some());
    world.stop_after = None;
    let start = Instant::now();
    world.process().await;
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!(world.check().unwrap()[&Status::Created], 600);
    assert_eq!(world.sandbox.calls(Endpoint::Create), 600);
}

#[tokio::test(start_paused = true)]
async fn a_server_without_batches_gets_single_calls() {
    let rows: Vec<Row> = (0..50).map(|n| row(n, "s_run_t", n + 1, n + 1)).collect();
    let mut world = World::with_setup(rows, |setup| setup.old_esb = true);
    world.options.batch = Batch::Auto;
    world.process().await;
    assert_eq!(world.check().unwrap()[&Status::Created], 50);
    assert_eq!(world.sandbox.calls(Endpoint::Create), 50);
}
