//! How fast calls may go: one pacer for the run, one gate that every call passes.
//!
//! Three limits, each in a file of its own, each a pure machine that is told the time; the tightest
//! counts:
//!
//! * `ceiling`: `--rate`, which is never exceeded. The only home of governor.
//! * `quota`, with `pace` and `share`: how many calls the server lets through in a window of time. It is told by
//!   headers, or learnt from refusals (`lesson`, `let_through`, `way`). There is one for all calls, and
//!   one for each route where the server counts so.
//! * `flight`: how many calls the server takes at once. It is learnt from latencies and overloads;
//!   `--concurrency` is the most.
//!
//! The caller asks [`Pacer::full`] and [`Pacer::permit`] before each call, and reports each call that goes
//! to [`Pacer::sent`] and its end to [`Pacer::landed`]. Nothing here allocates once it is made,
//! reads a clock or knows of rows. `tests/pace` has the servers that the pacer is held against.

mod ceiling;
mod flight;
mod let_through;
mod lesson;
mod pace;
mod share;
mod quota;
mod way;

use tokio::time::Instant;

use crate::cmdb::verdict::Cause;
use crate::cmdb::wire::{RateHint, Route, SharedBy};
use ceiling::Ceiling;
use flight::Flight;
use quota::Quota;

/// What held the pace back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bottleneck {
    /// `--rate`
    Rate,
    /// The server: its quota, or the number of calls above which it fails.
    Server,
    /// Calls that are not answered yet: as many at once as have paid off so far.
    Pool,
    /// Calls that are not answered yet: as many as `--concurrency` allows, or the last ones.
    Concurrency,
    /// Rows that must not be under way together.
    Collisions,
    /// The server gives no answer.
    Outage,
    /// The waits of rows that are to be tried or looked up again, `--settle-after` among them.
    Pauses,
    /// Rows come in slower than they go out.
    Input,
    /// Nothing.
    Nothing,
}

impl Bottleneck {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Rate,
        Self::Server,
        Self::Pool,
        Self::Concurrency,
        Self::Collisions,
        Self::Outage,
        Self::Pauses,
        Self::Input,
        Self::Nothing,
    ];

    /// The word for it in metrics and `run.json`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Server => "server",
            Self::Pool => "pool",
            Self::Concurrency => "concurrency",
            Self::Collisions => "collisions",
            Self::Outage => "outage",
            Self::Pauses => "pauses",
            Self::Input => "input",
            Self::Nothing => "nothing",
        }
    }
}

/// What the end of a call says about the pace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Feedback {
    /// The server did what it does, whatever that means for the row.
    Answer,
    /// It refused the call for its limit: 429, 16429xx but 1642904, 1306429, 1199997.
    Throttled,
    /// It can't take so many calls at once (1642904).
    Overload,
    /// No answer of substance.
    Nothing,
}

impl Feedback {
    /// What a verdict's cause, if it has one, says about the pace.
    pub const fn of(cause: Option<Cause>) -> Self {
        match cause {
            Some(Cause::Throttled) => Self::Throttled,
            Some(Cause::Overload | Cause::Crowded) => Self::Overload,
            Some(Cause::NoAnswer) => Self::Nothing,
            Some(Cause::Locked | Cause::Unclear | Cause::UnknownCode) | None => Self::Answer,
        }
    }
}

/// The gate.
#[derive(Debug)]
pub struct Pacer {
    ceiling: Ceiling,
    /// Of all calls together.
    quota: Quota,
    /// Of each route's calls, where the server counts them apart.
    routes: Box<[Quota; Route::COUNT]>,
    flight: Flight,
}

impl Pacer {
    /// A gate for at most `per_second` calls a second (`None`: no ceiling) and `concurrency` at
    /// once, from `now` on.
    pub fn new(per_second: Option<f64>, concurrency: usize, now: Instant) -> Self {
        Self {
            ceiling: Ceiling::new(per_second, now),
            quota: Quota::new(now),
            routes: Box::new(std::array::from_fn(|_| Quota::new(now))),
            flight: Flight::new(per_second.map_or(1, ceiling::burst), concurrency, now),
        }
    }

    /// The same where so many processes share what the server tells of quotas.
    #[must_use]
    pub fn sharing(mut self, processes: u32) -> Self {
        for quota in std::iter::once(&mut self.quota).chain(self.routes.iter_mut()) {
            quota.share(processes);
        }
        self
    }

    /// How many calls may be in flight now: at least 1.
    pub fn concurrency(&self) -> usize {
        self.flight.limit()
    }

    /// Whether `in_flight` calls are all that may be, and if so, what says that.
    pub fn full(&mut self, in_flight: usize, now: Instant) -> Option<Bottleneck> {
        self.flight.full(in_flight, now)
    }

    /// Lets one call through, or says when to ask again and what holds it. Where nothing but a call's
    /// end can change that, asking then does no harm.
    pub fn permit(&mut self, route: Route, now: Instant) -> Result<(), (Instant, Bottleneck)> {
        let of_route = &mut self.routes[route as usize];
        let within = self.quota.check(now).and_then(|()| of_route.check(now));
        within.map_err(|until| (until, Bottleneck::Server))?;
        self.ceiling.take(now).map_err(|until| (until, Bottleneck::Rate))
    }

    /// A call that was let through goes. It may turn out to go another way than it was to.
    pub fn sent(&mut self, route: Route, now: Instant) {
        self.quota.took(now);
        self.routes[route as usize].took(now);
    }

    /// Until when no call goes, after one was refused for the server's limit.
    pub fn paused_until(&self) -> Option<Instant> {
        let routes = self.routes.iter().filter_map(Quota::paused_until);
        self.quota.paused_until().into_iter().chain(routes).max()
    }

    /// A call that was sent at `sent_at` has ended.
    pub fn landed(
        &mut self,
        route: Route,
        said: Feedback,
        hint: RateHint,
        sent_at: Instant,
        now: Instant,
    ) {
        let (mut speaks, mut silent) = (&mut self.quota, &mut self.routes[route as usize]);
        if hint.shared_by == Some(SharedBy::Route) {
            std::mem::swap(&mut speaks, &mut silent);
        }
        speaks.landed(said, hint, sent_at, now);
        // What is let through is let through by both; one refusal is not the other's.
        let said_of_silent = if said == Feedback::Throttled { Feedback::Nothing } else { said };
        silent.landed(said_of_silent, RateHint::default(), sent_at, now);
        self.flight.landed(said, sent_at, now);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn millis(number: u64) -> Duration {
        Duration::from_millis(number)
    }

    impl Pacer {
        fn goes(&mut self, now: Instant) -> Result<(), (Instant, Bottleneck)> {
            self.permit(Route::Create, now)?;
            self.sent(Route::Create, now);
            Ok(())
        }

        fn lands(&mut self, said: Feedback, hint: RateHint, sent_at: Instant, now: Instant) {
            self.landed(Route::Create, said, hint, sent_at, now);
        }
    }

    fn retry_after(seconds: u64) -> RateHint {
        RateHint { retry_after: Some(Duration::from_secs(seconds)), ..RateHint::default() }
    }

    fn said(limit: u64, remaining: u64) -> RateHint {
        RateHint {
            limit: Some(limit),
            remaining: Some(remaining),
            reset: Some(Duration::from_secs(1)),
            ..RateHint::default()
        }
    }

    /// Asks whenever it may be asked, on a clock that ticks in milliseconds; says when calls went.
    fn permits(pacer: &mut Pacer, from: Instant, length: Duration) -> Vec<Instant> {
        let (mut now, mut calls) = (from, Vec::new());
        while now < from + length {
            match pacer.goes(now) {
                Ok(()) => calls.push(now),
                Err((until, _)) => {
                    let wait = (until - from).as_nanos().div_ceil(1_000_000);
                    now = from + millis(u64::try_from(wait).unwrap());
                }
            }
        }
        calls
    }

    /// A pacer that let some calls through, answered, and then one that was refused: its present.
    fn refused(calls: u32, hint: RateHint) -> (Pacer, Instant) {
        let start = Instant::now();
        let mut pacer = Pacer::new(None, 64, start);
        let now = start + millis(10);
        for _ in 0..=calls {
            pacer.goes(start).unwrap();
        }
        for _ in 0..calls {
            pacer.lands(Feedback::Answer, RateHint::default(), start, now);
        }
        pacer.lands(Feedback::Throttled, hint, start, now);
        (pacer, now)
    }

    #[test]
    fn a_rate_is_held_within_one_percent_or_one_burst_and_never_exceeded() {
        for rate in [5.0, 90.0, 100.0, 2000.0, 5000.0_f64] {
            let start = Instant::now();
            let mut pacer = Pacer::new(Some(rate), 64, start);
            let calls = permits(&mut pacer, start, Duration::from_secs(10));
            let burst = (rate / 100.0).max(2.0);
            let off = calls.len() as f64 - rate * 10.0;
            assert!(off.abs() <= (rate * 0.1).max(burst), "{rate}: {off}");
            for (first, at) in calls.iter().enumerate() {
                let second = calls.partition_point(|call| *call < *at + Duration::from_secs(1));
                assert!((second - first) as f64 <= rate + burst, "{rate}: {}", second - first);
            }
        }
    }

    #[test]
    fn a_refusal_pauses_the_whole_pool_for_as_long_as_it_says() {
        let (mut pacer, now) = refused(20, retry_after(2));
        let until = now + Duration::from_secs(2);
        assert_eq!(pacer.goes(now), Err((until, Bottleneck::Server)));
        assert_eq!(pacer.goes(until - millis(1)), Err((until, Bottleneck::Server)));
    }

    #[test]
    fn calls_that_were_under_way_when_the_first_was_refused_change_nothing() {
        let (mut one, now) = refused(20, retry_after(1));
        let (mut many, other_now) = refused(20, retry_after(1));
        for _ in 0..30 {
            many.lands(Feedback::Throttled, retry_after(1), other_now - millis(10), other_now);
        }
        let length = Duration::from_secs(5);
        let calls = |pacer: &mut Pacer, now: Instant| {
            let go = now + Duration::from_secs(1);
            pacer.goes(go).unwrap();
            pacer.lands(Feedback::Answer, RateHint::default(), go, go + millis(10));
            permits(pacer, go + millis(10), length).len()
        };
        let calls = [calls(&mut one, now), calls(&mut many, other_now)];
        assert_eq!(calls[0], calls[1]);
        assert!((95..=101).contains(&calls[0]), "20 a second were let through: {calls:?}");
    }

    #[test]
    fn after_a_pause_one_call_goes_alone_until_it_is_answered() {
        let (mut pacer, now) = refused(20, retry_after(1));
        let go = now + Duration::from_secs(1);
        assert_eq!(pacer.goes(go), Ok(()));
        assert!(pacer.goes(go + millis(500)).is_err());
        pacer.lands(Feedback::Answer, RateHint::default(), go, go + millis(500));
        assert_eq!(pacer.goes(go + millis(500)), Ok(()));
    }

    #[test]
    fn a_pause_of_which_nobody_says_how_long_doubles_while_refusals_go_on() {
        let (mut pacer, mut now) = refused(20, RateHint::default());
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            let (until, hold) = pacer.goes(now).unwrap_err();
            assert_eq!((until - now, hold), (Duration::from_secs(seconds), Bottleneck::Server));
            pacer.goes(until).unwrap();
            now = until + millis(10);
            pacer.lands(Feedback::Throttled, RateHint::default(), until, now);
        }
    }

    #[test]
    fn a_trial_that_gets_no_answer_does_not_hold_the_others_for_ever() {
        let (mut pacer, now) = refused(20, retry_after(1));
        let go = now + Duration::from_secs(1);
        pacer.goes(go).unwrap();
        pacer.lands(Feedback::Nothing, RateHint::default(), go, go + Duration::from_secs(40));
        assert_eq!(pacer.goes(go + Duration::from_secs(40)), Ok(()));
    }

    #[test]
    fn a_quota_that_is_told_is_kept_before_anything_is_refused() {
        let start = Instant::now();
        let mut pacer = Pacer::new(None, 64, start);
        pacer.goes(start).unwrap();
        pacer.lands(Feedback::Answer, said(50, 49), start, start + millis(20));
        let calls = permits(&mut pacer, start + millis(20), Duration::from_secs(10)).len();
        assert!((480..=499).contains(&calls), "{calls}");
    }

    /// Shards at one server that lets so many calls through in a second and tells what remains: the calls that
    /// each got through in the last half of the time, and how many were refused in that. Some have no rows any more.
    fn shared(limit: u64, shards: usize, at_work: usize, seconds: u64) -> (Vec<u64>, u64) {
        let start = Instant::now();
        let processes = u32::try_from(shards).unwrap();
        let mut pacers: Vec<_> =
            (0..at_work).map(|_| Pacer::new(None, 64, start).sharing(processes)).collect();
        let mut in_flight: std::collections::VecDeque<(usize, Instant, Feedback, RateHint)> =
            std::collections::VecDeque::new();
        let (mut used, mut refused) = (vec![0; at_work], 0);
        let (mut out, mut taken) = (vec![0; at_work], 0);
        for tick in 0..seconds * 1000 {
            let now = start + millis(tick);
            if tick % 1000 == 0 {
                taken = 0;
            }
            while in_flight.front().is_some_and(|(_, sent, ..)| *sent + millis(20) <= now) {
                let (shard, sent, feedback, hint): (usize, _, _, _) =
                    in_flight.pop_front().unwrap();
                out[shard] -= 1;
                pacers[shard].lands(feedback, hint, sent, now);
            }
            for shard in 0..at_work {
                while pacers[shard].full(out[shard], now).is_none()
                    && pacers[shard].goes(now).is_ok()
                {
                    out[shard] += 1;
                    let is_let_through = taken < limit;
                    taken += u64::from(is_let_through);
                    used[shard] += u64::from(is_let_through && tick >= seconds * 500);
                    refused += u64::from(!is_let_through && tick >= seconds * 500);
                    let feedback =
                        if is_let_through { Feedback::Answer } else { Feedback::Throttled };
                    in_flight.push_back((shard, now, feedback, said(limit, limit - taken)));
                }
            }
        }
        (used, refused)
    }

    #[test]
    fn shards_share_a_quota_that_is_told_and_neither_starve_nor_exceed_it() {
        for (limit, shards, at_work, seconds) in [
            (50, 1, 1, 20),
            (50, 4, 4, 40),
            (100, 8, 8, 40),
            (20, 8, 8, 120),
            (100, 8, 1, 120),
            (100, 8, 3, 120),
            (100, 64, 2, 240),
        ] {
            let (used, refused) = shared(limit, shards, at_work, seconds);
            let (all, possible) = (used.iter().sum::<u64>(), limit * seconds / 2);
            // Those that began alike stay alike, more or less.
            let fair = possible / at_work as u64;
            let is_fair = |used: &u64| (fair / 2..=fair * 3 / 2).contains(used);
            assert!(
                all * 100 >= possible * 80 && used.iter().all(is_fair) && refused * 50 <= possible,
                "{limit} by {at_work} of {shards}: {used:?} of {possible}, {refused} refused"
            );
        }
    }

    #[test]
    fn a_window_without_end_is_not_believed() {
        let start = Instant::now();
        let mut pacer = Pacer::new(None, 64, start);
        pacer.goes(start).unwrap();
        let moment = RateHint { reset: Some(Duration::from_hours(490_000)), ..said(50, 25) };
        pacer.lands(Feedback::Answer, moment, start, start + millis(20));
        let calls = permits(&mut pacer, start + millis(20), Duration::from_secs(10)).len();
        assert!((470..=499).contains(&calls), "{calls}");
    }

    #[test]
    fn a_quota_that_others_use_up_is_waited_for() {
        let start = Instant::now();
        let mut pacer = Pacer::new(None, 64, start);
        pacer.goes(start).unwrap();
        pacer.lands(Feedback::Answer, said(50, 49), start, start + millis(20));
        let next = start + millis(100);
        pacer.goes(next).unwrap();
        pacer.lands(Feedback::Answer, said(50, 0), next, next + millis(20));
        let (until, hold) = pacer.goes(next + millis(20)).unwrap_err();
        assert_eq!(hold, Bottleneck::Server);
        let ends = until - start;
        assert!(ends >= Duration::from_secs(1) && ends < millis(1100), "{ends:?}");
    }

    #[test]
    fn a_quota_of_one_route_holds_no_other_and_one_of_all_holds_each() {
        for (shared_by, others) in
            [(Some(SharedBy::Route), Ok(())), (Some(SharedBy::All), Err(())), (None, Err(()))]
        {
            for (said_is, feedback) in
                [(said(50, 0), Feedback::Answer), (RateHint::default(), Feedback::Throttled)]
            {
                let start = Instant::now();
                let mut pacer = Pacer::new(None, 64, start);
                let hint = RateHint { shared_by, ..said_is };
                pacer.goes(start).unwrap();
                pacer.lands(feedback, hint, start, start + millis(20));
                let now = start + millis(100);
                assert!(pacer.permit(Route::Create, now).is_err(), "{shared_by:?} {feedback:?}");
                for route in [Route::Find, Route::Models, Route::CreateMany, Route::Delete] {
                    let permit = pacer.permit(route, now).map_err(|_| ());
                    assert_eq!(permit, others, "{shared_by:?} {feedback:?} {route:?}");
                }
            }
        }
    }

    #[test]
    fn after_the_pause_of_a_route_one_call_of_it_goes_alone_and_the_others_as_they_like() {
        let (mut pacer, now) =
            refused(20, RateHint { shared_by: Some(SharedBy::Route), ..retry_after(1) });
        let go = now + Duration::from_secs(1);
        assert_eq!(pacer.goes(go), Ok(()));
        assert!(pacer.permit(Route::Create, go + millis(500)).is_err());
        assert_eq!(pacer.permit(Route::Find, go + millis(500)), Ok(()));
        pacer.lands(Feedback::Answer, RateHint::default(), go, go + millis(500));
        assert_eq!(pacer.permit(Route::Create, go + millis(500)), Ok(()));
    }

    #[test]
    fn over_a_long_way_a_call_too_many_pauses_nothing_unless_the_server_asks_for_it() {
        for (hint, pauses) in [(RateHint::default(), false), (retry_after(1), true)] {
            let start = Instant::now();
            let mut pacer = Pacer::new(None, 64, start);
            let mut sent = std::collections::VecDeque::from([start; 21]);
            for at in &sent {
                pacer.goes(*at).unwrap();
            }
            let refused = sent.pop_back().unwrap();
            for tick in 0..6000 {
                let now = start + millis(tick);
                while sent.front().is_some_and(|at| *at + millis(300) <= now) {
                    let sent_at = sent.pop_front().unwrap();
                    pacer.lands(Feedback::Answer, RateHint::default(), sent_at, now);
                }
                if tick == 300 {
                    pacer.lands(Feedback::Throttled, hint, refused, now);
                    assert!(pacer.paused_until().is_some(), "the first one teaches");
                } else if tick > 0 && pacer.goes(now).is_ok() {
                    sent.push_back(now);
                }
            }
            let (now, refused) = (start + millis(6000), sent.pop_front().unwrap());
            pacer.lands(Feedback::Throttled, hint, refused, now);
            assert_eq!(pacer.paused_until().is_some(), pauses, "{hint:?}");
        }
    }

    #[test]
    fn a_pause_over_a_long_way_counts_from_when_the_refusal_was_on_its_way() {
        let start = Instant::now();
        let mut pacer = Pacer::new(None, 64, start);
        let landed = start + millis(400);
        for _ in 0..21 {
            pacer.goes(start).unwrap();
        }
        for _ in 0..20 {
            pacer.lands(Feedback::Answer, RateHint::default(), start, landed);
        }
        pacer.lands(Feedback::Throttled, retry_after(1), start, landed);
        let first = pacer.paused_until().unwrap();
        assert_eq!(first, landed + Duration::from_secs(1), "nothing is known of it yet");
        pacer.goes(first).unwrap();
        pacer.lands(Feedback::Answer, RateHint::default(), first, first + millis(400));
        let next = first + millis(500);
        pacer.goes(next).unwrap();
        pacer.lands(Feedback::Throttled, retry_after(1), next, next + millis(400));
        let until = pacer.paused_until().unwrap();
        assert!(until >= next + Duration::from_secs(1), "{:?}", until - next);
        assert!(until < next + millis(1100), "{:?}", until - next);
    }

    #[test]
    fn the_sixth_call_goes_alone_unless_it_hangs() {
        let start = Instant::now();
        let mut pacer = Pacer::new(None, 64, start);
        let now = start + millis(20);
        for _ in 0..5 {
            pacer.goes(start).unwrap();
            pacer.lands(Feedback::Answer, RateHint::default(), start, now);
        }
        assert_eq!(pacer.full(0, now), None);
        assert_eq!(pacer.full(1, now), Some(Bottleneck::Pool));
        assert_eq!(pacer.full(1, now + Duration::from_secs(1)), None);
        pacer.lands(Feedback::Answer, RateHint::default(), now, now + millis(20));
        assert_eq!(pacer.full(3, now + millis(20)), None);
        assert_eq!(pacer.full(4, now + millis(20)), Some(Bottleneck::Pool));
    }

    #[test]
    fn overload_takes_the_calls_in_flight_down_never_to_nothing_and_not_for_ever() {
        let mut now = Instant::now();
        let mut pacer = Pacer::new(None, 32, now);
        for _ in 0..50 {
            now += millis(1);
            let sent_at = now;
            now += millis(1);
            pacer.lands(Feedback::Overload, RateHint::default(), sent_at, now);
            assert!(pacer.concurrency() >= 1);
        }
        assert_eq!(pacer.concurrency(), 1);
        for _ in 0..1_000_000 {
            let in_flight = pacer.concurrency();
            pacer.full(in_flight, now);
            let sent_at = now;
            now += millis(10);
            for _ in 0..in_flight {
                pacer.lands(Feedback::Answer, RateHint::default(), sent_at, now);
            }
            if pacer.concurrency() == 32 {
                return;
            }
        }
        panic!("still at {}", pacer.concurrency());
    }

    #[test]
    fn what_holds_is_said() {
        let now = Instant::now();
        let mut pacer = Pacer::new(Some(5.0), 2, now);
        assert_eq!(pacer.full(1, now), None);
        assert_eq!(pacer.full(2, now), Some(Bottleneck::Concurrency));
        pacer.goes(now).unwrap();
        pacer.goes(now).unwrap();
        assert_eq!(pacer.goes(now).unwrap_err().1, Bottleneck::Rate);
        pacer.lands(Feedback::Overload, RateHint::default(), now, now + millis(1));
        assert_eq!(pacer.full(1, now + millis(1)), Some(Bottleneck::Server));
        pacer.lands(Feedback::Throttled, RateHint::default(), now, now + millis(1));
        assert_eq!(pacer.goes(now + millis(1)).unwrap_err().1, Bottleneck::Server);
    }
}
