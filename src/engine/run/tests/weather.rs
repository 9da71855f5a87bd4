//! Servers that refuse, hang, throttle or break for a while, and rows that do.

use std::cell::RefCell;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::super::*;
use super::world::{MODELS, World, name_of, row};
use crate::association::{InstId, Mapping, Row};
use crate::cmdb::wire::Reply;
use crate::cmdb::wire::{Answer, Envelope, Pattern, code};
use crate::options::Batch;
use crate::options::Rate;
use crate::outcome::Reason;
use crate::outcome::Status;
use crate::sandbox::faults::Faults;
use crate::sandbox::models::Models as SandboxModels;
use crate::sandbox::{Quota, Sandbox};
use crate::target::Entrance;

/// What a server does with a call instead of answering it.
enum Weather {
    Fine,
    Refuses,
    Hangs,
    /// It is executed, and the answer is lost.
    Swallows,
    /// Its answer is too large to be read.
    Floods,
    /// An HTTP 200 with this number and text.
    Says(i64, &'static str),
}

/// A sandbox under a changing sky, which keeps a record of the calls.
struct Sky<'a, F> {
    sandbox: &'a Sandbox,
    start: Instant,
    weather: F,
    calls: RefCell<Vec<(Duration, Request)>>,
}

impl<'a, F: Fn(Duration, &Request) -> Weather> Sky<'a, F> {
    fn over(sandbox: &'a Sandbox, weather: F) -> Self {
        Self { sandbox, start: Instant::now(), weather, calls: RefCell::default() }
    }

    fn calls_between(&self, from: u64, to: u64) -> usize {
        let range = Duration::from_secs(from)..Duration::from_secs(to);
        self.calls.borrow().iter().filter(|(at, _)| range.contains(at)).count()
    }
}

impl<F: Fn(Duration, &Request) -> Weather> Cmdb for Sky<'_, F> {
    async fn call(&self, request: Request) -> Reply {
        let at = self.start.elapsed();
        self.calls.borrow_mut().push((at, request.clone()));
        match (self.weather)(at, &request) {
            Weather::Fine => self.sandbox.call(request).await,
            Weather::Refuses => Reply::NotSent("connection refused".to_owned()),
            Weather::Swallows => {
                self.sandbox.call(request).await;
                Reply::Lost("connection closed".to_owned())
            }
            Weather::Hangs => {
                sleep(Duration::from_hours(1)).await;
                Reply::Lost("hung".to_owned())
            }
            Weather::Floods => Reply::Oversized("answer larger than 16 MiB".to_owned()),
            Weather::Says(code, message) => {
                let null = serde_json::value::to_raw_value(&()).unwrap();
                let envelope = Some(Envelope::new(false, code, message, null));
                Reply::Answered(Answer { status: 200, envelope, ..Answer::default() })
            }
        }
    }
}

fn plain(count: u64) -> Vec<Row> {
    (0..count).map(|n| row(n, name_of(Mapping::ManyToMany), n + 1, n + 1)).collect()
}

const LOGIN_DOWN: &str = "Component request third-party system [BK_LOGIN] interface [is_login] error: \
                          HTTPConnectionPool(host='127.0.0.1', port=18003): Max retries exceeded";

#[tokio::test(start_paused = true)]
async fn ten_minutes_without_an_answer_spend_no_row_and_little_traffic() {
    let kinds: [fn() -> Weather; 4] = [
        || Weather::Refuses,
        || Weather::Hangs,
        || Weather::Says(code::ESB_BACKEND, LOGIN_DOWN),
        || Weather::Says(code::ESB_BACKEND, "Component request third-party system [CC] timed out"),
    ];
    for (kind, weather) in kinds.into_iter().enumerate() {
        let mut world = World::new(plain(3000), Faults::none(), 1);
        world.options.rate = Rate::PerSecond(90.0);
        world.options.max_attempts = 2;
        let sky = Sky::over(&world.sandbox, |at, _| match at.as_secs() {
            10..610 => weather(),
            _ => Weather::Fine,
        });
        let finish = world.process_on(&sky).await.unwrap();
        assert_eq!(finish.halt, None, "{kind}");
        let counts = world.check().unwrap();
        let good =
            [Status::Created, Status::Recovered].map(|s| counts.get(&s).copied().unwrap_or(0));
        assert_eq!(good.iter().sum::<usize>(), 3000, "{kind}: {counts:?}");
        let during = sky.calls_between(60, 600);
        assert!((15..=540).contains(&during), "{kind}: {during} calls in nine minutes");
    }
}

#[tokio::test(start_paused = true)]
async fn ten_minutes_of_throttling_spend_no_row() {
    let mut world = World::new(plain(3000), Faults::none(), 1);
    world.options.max_attempts = 2;
    let sky = Sky::over(&world.sandbox, |at, _| match at.as_secs() {
        1..601 => Weather::Says(code::TOO_MANY_REQUESTS, "too many requests"),
        _ => Weather::Fine,
    });
    let finish = world.process_on(&sky).await.unwrap();
    assert_eq!(finish.halt, None);
    assert_eq!(world.check().unwrap()[&Status::Created], 3000);
}

#[tokio::test(start_paused = true)]
async fn an_outage_that_outlasts_the_patience_ends_the_run_and_the_same_command_goes_on() {
    let mut world = World::new(plain(500), Faults::none(), 1);
    world.options.rate = Rate::PerSecond(90.0);
    world.options.max_outage = Duration::from_mins(2);
    let sky = Sky::over(&world.sandbox, |at, _| match at.as_secs() {
        0..2 => Weather::Fine,
        _ => Weather::Refuses,
    });
    let halt = world.process_on(&sky).await.unwrap().halt.unwrap();
    assert_eq!(halt.exit, Exit::Outage);
    assert!(sky.start.elapsed() < Duration::from_mins(3));
    assert_eq!(world.process().await.halt, None);
    assert_eq!(world.check().unwrap()[&Status::Created], 500);
}

#[tokio::test(start_paused = true)]
async fn creates_that_all_fail_while_questions_are_answered_end_the_run_too() {
    let mut world = World::new(plain(500), Faults::none(), 1);
    world.options.max_outage = Duration::from_mins(5);
    let sky = Sky::over(&world.sandbox, |_, request| match request {
        Request::Create(_) => {
            Weather::Says(code::UNKNOWN_OR_DRIVER, "oops, there is no coreservice")
        }
        _ => Weather::Fine,
    });
    let halt = world.process_on(&sky).await.unwrap().halt.unwrap();
    assert_eq!(halt.exit, Exit::Outage);
    assert!(world.records().is_empty(), "no row may be spent");
}

/// All the while, what was executed is found, and few rows are in doubt.
#[tokio::test(start_paused = true)]
async fn creates_whose_answers_are_all_lost_are_looked_up_in_the_outage() {
    let world = World::new(plain(500), Faults::none(), 1);
    let sky = Sky::over(&world.sandbox, |at, request| match request {
        Request::Create(_) if at < Duration::from_mins(5) => Weather::Swallows,
        _ => Weather::Fine,
    });
    let finish = world.process_on(&sky).await.unwrap();
    assert_eq!(finish.halt, None);
    let calls = sky.calls.borrow();
    let meanwhile = calls.iter().filter(|(at, _)| (60..300).contains(&at.as_secs()));
    let finds = meanwhile.filter(|(_, request)| matches!(request, Request::Find(_))).count();
    assert!(finds > 5, "{finds} look-ups");
    let stats = world.check().unwrap();
    assert_eq!(stats[&Status::Created] + stats[&Status::Recovered], 500);
}

#[tokio::test(start_paused = true)]
async fn a_first_contact_that_never_answers_ends_after_the_connect_timeout() {
    for hangs in [true, false] {
        let world = World::new(plain(5), Faults::none(), 1);
        let sky =
            Sky::over(&world.sandbox, |_, _| if hangs { Weather::Hangs } else { Weather::Refuses });
        let halt = world.process_on(&sky).await.unwrap().halt.unwrap();
        assert_eq!(halt.exit, Exit::Outage);
        assert!(halt.message.contains("no answer ever came from sandbox"), "{}", halt.message);
        assert!(sky.start.elapsed() <= Duration::from_secs(31));
    }
}

#[tokio::test(start_paused = true)]
async fn a_poisonous_row_is_no_outage_even_when_it_is_the_last_one_left() {
    for batch in [Batch::Off, Batch::Size(10)] {
        let mut world = World::new(plain(200), Faults::none(), 1);
        world.options.batch = batch;
        let poison = 77;
        let sky = Sky::over(&world.sandbox, |_, request| match request {
            Request::Create(link) if link.association.inst_id.get() == poison => Weather::Hangs,
            Request::CreateMany { pairs, .. } if pairs.iter().any(|(s, _)| s.get() == poison) => {
                Weather::Hangs
            }
            _ => Weather::Fine,
        });
        let finish = world.process_on(&sky).await.unwrap();
        assert_eq!(finish.halt, None);
        let counts = world.check().unwrap();
        assert_eq!((counts[&Status::Created], counts[&Status::Failed]), (199, 1), "{batch:?}");
        let records = world.records();
        let failed = records.iter().find(|r| r.outcome.status == Status::Failed).unwrap();
        assert_eq!(failed.outcome.reason, Some(Reason::OutcomeUnknown));
        assert_eq!(failed.outcome.attempts, 6);
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_on_a_bound_side_holds_back_what_collides_and_nothing_else() {
    let name = name_of(Mapping::OneToOne);
    let mut rows: Vec<Row> = (0..100).map(|n| row(n, name, n + 1, n + 1)).collect();
    rows[1] = row(1, name, 1, 900);
    let world = World::new(rows, Faults::none(), 1);
    let sky = Sky::over(&world.sandbox, |at, request| match request {
        // Lost for good: the call was never executed.
        Request::Create(link) if link.association.asst_inst_id.get() == 1 && at.as_secs() < 5 => {
            Weather::Hangs
        }
        _ => Weather::Fine,
    });
    world.process_on(&sky).await.unwrap();
    world.check().unwrap();
    let calls = sky.calls.borrow();
    let sent = |target: u64| {
        let is_it = |request: &Request| matches!(request, Request::Create(l) if l.association.asst_inst_id.get() == target);
        calls.iter().filter(|(_, r)| is_it(r)).map(|(at, _)| *at).collect::<Vec<_>>()
    };
    let first = sent(1);
    assert!(first[1] >= first[0] + world.options.settle_after, "created again too early");
    assert!(sent(900)[0] >= first[1], "a colliding row went while the first was in doubt");
    assert!(sent(100)[0] < Duration::from_secs(2), "a row that collides with nothing waited");
}

#[tokio::test(start_paused = true)]
async fn a_row_that_stands_behind_one_that_waits_does_not_collide_while_another_call_is_in_flight()
{
    let name = name_of(Mapping::OneToOne);
    let rows = vec![row(0, name, 1, 1), row(1, name, 1, 900), row(2, name, 3, 3)];
    let mut world = World::new(rows, Faults::none(), 1);
    world.options.timeout = Duration::from_secs(4);
    // The first is in doubt at once, the last has no answer for four seconds.
    let sky = Sky::over(&world.sandbox, |at, request| match request {
        Request::Create(link) if at.as_secs() < 4 => match link.association.inst_id.get() {
            1 => Weather::Floods,
            _ => Weather::Hangs,
        },
        _ => Weather::Fine,
    });
    world.process_on(&sky).await.unwrap();
    world.check().unwrap();
    let held = world.held.get();
    assert!(held.of(Bottleneck::Collisions) < Duration::from_secs(1), "{held:?}");
    assert!(held.of(Bottleneck::Concurrency) > Duration::from_secs(3), "{held:?}");
    assert!(held.of(Bottleneck::Pauses) > Duration::from_secs(25), "{held:?}");
}

/// Rows that wait for each other go one at a time: no three of them can fail together.
#[tokio::test(start_paused = true)]
async fn an_outage_spends_no_row_of_a_queue_in_which_one_row_goes_at_a_time() {
    let kinds: [fn() -> Weather; 2] =
        [|| Weather::Refuses, || Weather::Says(code::ESB_BACKEND, LOGIN_DOWN)];
    for (kind, weather) in kinds.into_iter().enumerate() {
        for rows in [1, 2, 40] {
            let name = name_of(Mapping::OneToMany);
            let rows = (0..rows).map(|n| row(n, name, n + 1, 1)).collect();
            let mut world = World::new(rows, Faults::none(), 1);
            world.options.max_attempts = 3;
            // The model is asked for at 0.
            let sky = Sky::over(&world.sandbox, |at, _| match at.as_millis() {
                10..600_000 => weather(),
                _ => Weather::Fine,
            });
            assert_eq!(world.process_on(&sky).await.unwrap().halt, None, "{kind}");
            let counts = world.check().unwrap();
            assert_eq!(counts[&Status::Created], 1, "{kind}: {counts:?}");
            assert!(world.records().iter().all(|record| {
                !record.outcome.retryable && record.outcome.reason != Some(Reason::Unavailable)
            }));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn where_the_path_of_batches_alone_fails_rows_go_singly() {
    for weather in [
        Weather::Refuses,
        Weather::Says(1_650_300, "Request backend service failed"),
        Weather::Says(1_199_065, "start transaction failed"),
    ] {
        let mut world = World::new(plain(3_000), Faults::none(), 1);
        world.options.batch = Batch::Auto;
        let sky = Sky::over(&world.sandbox, |_, request: &Request| match (request, &weather) {
            (Request::CreateMany { .. }, Weather::Refuses) => Weather::Refuses,
            (Request::CreateMany { .. }, Weather::Says(code, text)) => Weather::Says(*code, text),
            _ => Weather::Fine,
        });
        let start = Instant::now();
        assert_eq!(world.process_on(&sky).await.unwrap().halt, None);
        assert_eq!(world.check().unwrap()[&Status::Created], 3_000);
        assert!(start.elapsed() < Duration::from_mins(4), "{:?}", start.elapsed());
        let is_batch = |(_, request): &&(_, _)| matches!(request, Request::CreateMany { .. });
        let batches = sky.calls.borrow().iter().filter(is_batch).count();
        assert!(batches < 150, "{batches} batches were tried");
    }
}

#[tokio::test(start_paused = true)]
async fn after_an_outage_of_everything_rows_travel_together_again() {
    let mut world = World::new(plain(60_000), Faults::none(), 1);
    world.options.batch = Batch::Auto;
    let sky = Sky::over(&world.sandbox, |at, _| {
        if (1..61).contains(&at.as_secs()) { Weather::Refuses } else { Weather::Fine }
    });
    assert_eq!(world.process_on(&sky).await.unwrap().halt, None);
    assert_eq!(world.check().unwrap()[&Status::Created], 60_000);
    let after = sky.calls_between(61, 3_600);
    assert!(after < 2_000, "{after} calls after the outage");
}

#[tokio::test(start_paused = true)]
async fn a_silent_input_is_no_outage_for_a_row_that_waits_for_its_last_look() {
    let mut world = World::new(plain(2), Faults::none(), 1);
    // The first row's every try is lost on its way.
    let sky = Sky::over(&world.sandbox, |_, request: &Request| match request {
        Request::Create(link) if link.association.inst_id.get() == 1 => Weather::Hangs,
        _ => Weather::Fine,
    });
    world.options.max_outage = Duration::from_mins(10);
    world.open_for = Some(Duration::from_hours(2));
    let finish = world.process_on(&sky).await.unwrap();
    assert_eq!(finish.halt, None);
    let counts = world.check().unwrap();
    assert_eq!((counts[&Status::Created], counts[&Status::Failed]), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_look_up_with_too_large_an_answer_is_halved_and_a_single_one_ends_its_row() {
    let world = World::new(plain(80), Faults::none(), 1);
    let eight = InstId::new(8).unwrap();
    let sky = Sky::over(&world.sandbox, |_, request: &Request| match request {
        Request::Create(link) if link.association.inst_id.get() % 4 == 0 => Weather::Swallows,
        Request::Find(find) if find.any_of.len() > 2 => Weather::Floods,
        Request::Find(find) if find.any_of.contains(&Pattern::Pair(eight, eight)) => {
            Weather::Floods
        }
        _ => Weather::Fine,
    });
    assert_eq!(world.process_on(&sky).await.unwrap().halt, None);
    let counts = world.check().unwrap();
    assert_eq!((counts[&Status::Created], counts[&Status::Recovered]), (60, 19));
    let failed = world.records().into_iter().find(|r| r.outcome.status == Status::Failed).unwrap();
    assert_eq!(failed.outcome.reason, Some(Reason::OutcomeUnknown));
    assert_eq!(failed.outcome.message, "answer larger than 16 MiB");
}

/// What was in flight when the server began to hang was not executed. Its time limit is 30 s, and is not
/// waited for once the server answers others.
#[tokio::test(start_paused = true)]
async fn the_tail_of_an_outage_is_one_wait_of_settle_after() {
    for batch in [Batch::Off, Batch::Size(50)] {
        let mut world = World::new(plain(3000), Faults::none(), 1);
        world.options.rate = Rate::PerSecond(90.0);
        world.options.batch = batch;
        world.options.timeout = Duration::from_secs(30);
        let outage = Duration::from_millis(300)..Duration::from_millis(8_300);
        let sky = Sky::over(&world.sandbox, |at, _| {
            if outage.contains(&at) { Weather::Hangs } else { Weather::Fine }
        });
        let started = Instant::now();
        assert_eq!(world.process_on(&sky).await.unwrap().halt, None);
        assert_eq!(world.check().unwrap().get(&Status::Created), Some(&3000));
        let tail = started.elapsed().checked_sub(outage.end).unwrap();
        assert!(tail < world.options.settle_after + Duration::from_secs(8), "{batch:?}: {tail:?}");
    }
}

/// A server that is slow by nature is not taken for one that hangs, whatever it was asked first.
#[tokio::test(start_paused = true)]
async fn calls_that_usually_take_long_are_not_given_up() {
    for given in [false, true] {
        let slow = |setup: &mut crate::sandbox::Setup| setup.latency = Duration::from_secs(8);
        let mut world = World::with_setup(plain(300), slow);
        if given {
            world.options.models = vec![crate::options::model("s_run_t=s,t,n:n").unwrap()];
        }
        assert_eq!(world.process().await.halt, None);
        assert_eq!(world.check().unwrap().get(&Status::Created), Some(&300));
    }
}

/// The process that took a lock is gone, and its lock lives on for most of a minute.
#[tokio::test(start_paused = true)]
async fn a_lock_of_25_seconds_costs_no_row() {
    let mut world = World::new(plain(200), Faults::none(), 1);
    world.options.max_attempts = 2;
    let sky = Sky::over(&world.sandbox, |at, request| match request {
        Request::Create(new) if new.association.inst_id.get() % 10 == 0 && at.as_secs() < 25 => {
            Weather::Says(code::LOCKED, "lock is held")
        }
        _ => Weather::Fine,
    });
    assert_eq!(world.process_on(&sky).await.unwrap().halt, None);
    assert_eq!(world.check().unwrap().get(&Status::Created), Some(&200));
    let calls = sky.calls_between(0, 30);
    assert!(calls < 200 + 20 * 30, "{calls} calls hammer");
}

/// Each of 300 rows exists, and so costs a create and its part of a look-up.
#[tokio::test(start_paused = true)]
async fn look_ups_cost_no_creates_where_the_gateway_counts_each_route() {
    let name = name_of(Mapping::ManyToMany);
    let rows = || (0..300).map(|n| row(n, name, n + 1, n + 1)).collect();
    let existing: Vec<_> = (1..=300).map(|n| [n, n]).collect();
    let models = MODELS.replacen("n:n\"", &format!("n:n\"\nexisting = {existing:?}"), 1);
    let taken = |entrance| {
        let models = SandboxModels::from_toml(&models).unwrap();
        async move {
            let world = World::with_setup(rows(), |setup| {
                (setup.models, setup.entrance, setup.rate_headers) = (models, entrance, true);
                setup.quota = Some(Quota { calls: 10, window: Duration::from_secs(1) });
            });
            let start = Instant::now();
            let finish = world.process().await;
            assert!(finish.halt.is_none(), "{:?}", finish.halt);
            start.elapsed().as_secs()
        }
    };
    let (apart, together) = (taken(Entrance::Gateway).await, taken(Entrance::Native).await);
    assert!((30..34).contains(&apart), "{apart} s");
    assert!(together > 36, "{together} s");
}
