//! A simulated server: what happens to a call between sending and answer. All times are in seconds.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::time::Duration;

use bkassoc::cmdb::wire::{RateHint, Route, SharedBy};
use bkassoc::engine::pacer::Feedback;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ServerSpec {
    /// From sending to answer, where nothing queues.
    latency: f64,
    /// How much the latency varies, evenly up and down.
    #[serde(default)]
    jitter: f64,
    /// The mean of what is added to it, exponentially.
    #[serde(default)]
    tail: f64,
    /// How many calls it does in a second. More calls queue.
    #[serde(default)]
    capacity: Vec<Step>,
    /// How much longer calls take at the start.
    #[serde(default)]
    cold: f64,
    /// When calls take no longer any more.
    #[serde(default)]
    warm_at: f64,
    /// Calls at once beyond which some fail.
    cliff: Option<f64>,
    #[serde(default)]
    quota: Vec<Step>,
    #[serde(default)]
    style: Style,
    /// Windows begin with the first call after the last one's end, as a counter with a time to live
    /// has it, instead of every second.
    #[serde(default)]
    windows_begin_with_a_call: bool,
    /// Creates and look-ups are counted apart.
    #[serde(default)]
    quota_of_each_route: bool,
    /// No answer from, to.
    outage: Option<[f64; 2]>,
}

/// From then on, calls a second.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    from: f64,
    calls: u64,
}

/// How a quota shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Style {
    /// `X-Bkapi-RateLimit-*` on every answer.
    Headers,
    /// 429 with `Retry-After: 1`.
    RetryAfter,
    /// The same with what is left of the window, rounded down to nothing.
    RetryAtOnce,
    /// 1642903 or 1199997 with HTTP 200, and nothing else.
    #[default]
    Bare,
}

/// A call's end.
#[derive(Debug)]
pub(super) struct Landed {
    pub(super) at: f64,
    pub(super) sent: f64,
    pub(super) route: Route,
    pub(super) said: Feedback,
    pub(super) hint: RateHint,
}

enum Event {
    Arrives { sent: f64, route: Route, back: f64 },
    Lands(Landed),
}

struct Timed {
    at: f64,
    number: u64,
    event: Event,
}

pub(super) struct Server<'a> {
    spec: &'a ServerSpec,
    rng: StdRng,
    events: BinaryHeap<Timed>,
    number: u64,
    in_flight: u32,
    /// When the queue is empty.
    idle_at: f64,
    /// When the present window began, and the calls it had; of look-ups, where they are counted apart.
    windows: [(f64, u64); 2],
    offset: f64,
}

impl ServerSpec {
    /// How many calls the quota lets through in a time.
    pub(super) fn allowed(&self, from: f64, to: f64) -> f64 {
        let steps = 1000;
        let step = (to - from) / f64::from(steps);
        let calls = |i| {
            let at = from + step * (f64::from(i) + 0.5);
            calls_at(&self.quota, at).unwrap_or(0) as f64
        };
        (0..steps).map(|i| calls(i) * step).sum()
    }
}

fn calls_at(steps: &[Step], at: f64) -> Option<u64> {
    steps.iter().rev().find(|step| at >= step.from).map(|step| step.calls)
}

impl<'a> Server<'a> {
    pub(super) fn new(spec: &'a ServerSpec, seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let offset = rng.random();
        Self {
            spec,
            rng,
            events: BinaryHeap::new(),
            number: 0,
            in_flight: 0,
            idle_at: 0.0,
            windows: [(f64::NEG_INFINITY, 0); 2],
            offset,
        }
    }

    pub(super) fn send(&mut self, route: Route, now: f64) {
        let spec = self.spec;
        let mut latency = spec.latency + spec.jitter * self.rng.random_range(-1.0..=1.0);
        latency -= spec.tail * (1.0 - self.rng.random::<f64>()).ln();
        latency += spec.cold * (1.0 - now / spec.warm_at.max(1e-9)).max(0.0);
        let back = latency.max(0.0) / 2.0;
        self.in_flight += 1;
        self.push(now + back, Event::Arrives { sent: now, route, back });
    }

    /// The next answer, if there is one until then.
    pub(super) fn next(&mut self, until: f64) -> Option<Landed> {
        while self.events.peek()?.at <= until {
            let Timed { at, event, .. } = self.events.pop()?;
            match event {
                Event::Arrives { sent, route, back } => self.arrives(at, sent, route, back),
                Event::Lands(landed) => {
                    self.in_flight -= 1;
                    return Some(landed);
                }
            }
        }
        None
    }

    fn arrives(&mut self, now: f64, sent: f64, route: Route, back: f64) {
        let spec = self.spec;
        let mut said = Feedback::Answer;
        let mut at = now + back;
        let mut hint = RateHint::default();
        if let Some(calls) = calls_at(&spec.quota, now) {
            let (within, said) = self.meter(calls, route, now);
            hint = said;
            if !within {
                let said = Feedback::Throttled;
                self.push(at, Event::Lands(Landed { at, sent, route, said, hint }));
                return;
            }
        }
        if spec.outage.is_some_and(|[from, to]| (from..to).contains(&now)) {
            (said, at) = (Feedback::Nothing, now + 1.0);
        } else if spec.cliff.is_some_and(|cliff| {
            let above = f64::from(self.in_flight) - cliff;
            self.rng.random_bool((above / 100.0).clamp(0.0, 1.0))
        }) {
            said = Feedback::Overload;
        } else if let Some(capacity) = calls_at(&spec.capacity, now) {
            self.idle_at = self.idle_at.max(now) + 1.0 / capacity as f64;
            at = at.max(self.idle_at + back);
        }
        self.push(at, Event::Lands(Landed { at, sent, route, said, hint }));
    }

    /// Counts a call in its window.
    fn meter(&mut self, calls: u64, route: Route, now: f64) -> (bool, RateHint) {
        let apart = self.spec.quota_of_each_route;
        let window = &mut self.windows[usize::from(apart && route == Route::Find)];
        if now >= window.0 + 1.0 {
            let begins = if self.spec.windows_begin_with_a_call {
                now
            } else {
                (now + self.offset).floor() - self.offset
            };
            *window = (begins, 0);
        }
        window.1 += 1;
        let used = window.1;
        let within = used <= calls;
        let second = Some(Duration::from_secs(1));
        let hint = match self.spec.style {
            Style::Headers => RateHint {
                limit: Some(calls),
                remaining: Some(calls.saturating_sub(used)),
                reset: second,
                ..RateHint::default()
            },
            Style::RetryAfter if !within => RateHint { retry_after: second, ..RateHint::default() },
            Style::RetryAtOnce if !within => {
                RateHint { retry_after: Some(Duration::ZERO), ..RateHint::default() }
            }
            _ => RateHint::default(),
        };
        let told = !within || self.spec.style == Style::Headers;
        let shared_by = (apart && told).then_some(SharedBy::Route);
        (within, RateHint { shared_by, ..hint })
    }

    fn push(&mut self, at: f64, event: Event) {
        self.number += 1;
        self.events.push(Timed { at, number: self.number, event });
    }
}

impl Ord for Timed {
    fn cmp(&self, other: &Self) -> Ordering {
        other.at.total_cmp(&self.at).then(other.number.cmp(&self.number))
    }
}

impl PartialOrd for Timed {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Timed {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Timed {}
