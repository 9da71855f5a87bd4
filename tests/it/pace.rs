//! The pacer against simulated servers: every file in `tests/pace` describes one, and what a pacer
//! that follows it comes to. Time is a number here; a minute takes milliseconds.

mod server;

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use bkassoc::cmdb::wire::Route;
use bkassoc::engine::pacer::{Bottleneck, Feedback, Pacer};
use serde::Deserialize;
use server::{Server, ServerSpec};
use tokio::time::Instant;

/// A scenario, as its file says it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Scenario {
    /// Seconds.
    length: f64,
    /// `--concurrency`
    concurrency: usize,
    /// `--rate`; none: unlimited.
    rate: Option<f64>,
    /// Each create that is answered is followed by a look-up.
    #[serde(default)]
    looks_up: bool,
    /// Rows that come in a second; none: more than can be sent.
    input: Option<f64>,
    seeds: u64,
    server: ServerSpec,
    expect: Expect,
}

/// Ranges, ends included.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expect {
    /// Spans in seconds, each with what is expected of it.
    #[serde(default)]
    span: Vec<Span>,
    /// Calls sent, over all.
    calls: Option<[f64; 2]>,
    /// Share of calls that were refused for the quota, over all.
    refused: Option<[f64; 2]>,
    /// Share of calls that failed for overload, over all.
    overloaded: Option<[f64; 2]>,
    /// Calls sent in any second.
    most_in_a_second: Option<[f64; 2]>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Span {
    from: f64,
    to: f64,
    /// Calls done, as a share of `possible` a second; of the quota, where there is one.
    used: Option<[f64; 2]>,
    possible: Option<f64>,
    /// Share of calls that were refused for the quota.
    refused: Option<[f64; 2]>,
    /// The mean of how many calls may be in flight.
    in_flight: Option<[f64; 2]>,
    /// What holds the run back most of the time.
    hold: Option<String>,
}

/// What one call came to.
#[derive(Clone, Copy, Debug)]
struct Done {
    sent: f64,
    landed: f64,
    said: Feedback,
}

struct Trace {
    calls: Vec<Done>,
    sent: f64,
    /// From when on how many calls could be in flight, and what held.
    states: Vec<(f64, usize, Bottleneck)>,
    length: f64,
}

/// The run's loop, reduced to what the pacer sees of it.
fn simulate(scenario: &Scenario, seed: u64) -> Trace {
    let start = Instant::now();
    let at = |seconds: f64| start + Duration::from_secs_f64(seconds);
    let mut pacer = Pacer::new(scenario.rate, scenario.concurrency, start);
    let mut server = Server::new(&scenario.server, seed);
    let mut trace =
        Trace { calls: Vec::new(), sent: 0.0, states: Vec::new(), length: scenario.length };
    let (mut now, mut in_flight, mut sent, mut look_ups) = (0.0, 0, 0.0, 0);
    while now < scenario.length {
        let (wake, hold) = loop {
            if let Some(hold) = pacer.full(in_flight, at(now)) {
                break (f64::INFINITY, hold);
            }
            if let Some(input) = scenario.input
                && sent >= now * input
            {
                break ((sent + 1e-6) / input, Bottleneck::Input);
            }
            let due =
                if look_ups > 0 { &[Route::Find, Route::Create][..] } else { &[Route::Create] };
            let mut held = Vec::new();
            let permitted = due.iter().find(|route| {
                pacer.permit(**route, at(now)).map_err(|wait| held.push(wait)).is_ok()
            });
            if let Some(&route) = permitted {
                pacer.sent(route, at(now));
                server.send(route, now);
                look_ups -= usize::from(route == Route::Find);
                in_flight += 1;
                sent += 1.0;
            } else {
                let (until, hold) = held.into_iter().min_by_key(|(until, _)| *until).unwrap();
                // tokio's timers tick in milliseconds.
                let until = (until - start).as_secs_f64();
                break ((until * 1000.0).ceil() / 1000.0, hold);
            }
        };
        trace.states.push((now, pacer.concurrency(), hold));
        match server.next(wake) {
            Some(landed) => {
                now = landed.at;
                in_flight -= 1;
                let (said, sent) = (landed.said, at(landed.sent));
                pacer.landed(landed.route, said, landed.hint, sent, at(now));
                let created = landed.route == Route::Create && said == Feedback::Answer;
                look_ups += usize::from(scenario.looks_up && created);
                trace.calls.push(Done { sent: landed.sent, landed: now, said: landed.said });
            }
            None => now = wake.max(now + 1e-6),
        }
    }
    trace.sent = sent;
    trace
}

impl Trace {
    fn share(&self, said: Feedback) -> f64 {
        self.calls.iter().filter(|call| call.said == said).count() as f64 / self.calls.len() as f64
    }

    /// Calls that ended so in a span.
    fn ended(&self, said: Feedback, span: &Span) -> f64 {
        let inside =
            |call: &&Done| call.said == said && (span.from..span.to).contains(&call.landed);
        self.calls.iter().filter(inside).count() as f64
    }

    fn most_in_a_second(&self) -> f64 {
        let mut sent: Vec<f64> = self.calls.iter().map(|call| call.sent).collect();
        sent.sort_by(f64::total_cmp);
        let within = |first: usize| sent.partition_point(|at| *at < sent[first] + 1.0) - first;
        (0..sent.len()).map(within).max().unwrap_or(0) as f64
    }

    /// Each state in a span, and how long it lasted.
    fn states(&self, span: &Span) -> impl Iterator<Item = (f64, usize, Bottleneck)> {
        let ends = self.states.iter().skip(1).map(|state| state.0).chain([self.length]);
        let (from, to) = (span.from, span.to);
        self.states
            .iter()
            .zip(ends)
            .map(move |(state, end)| ((end.min(to) - state.0.max(from)).max(0.0), state.1, state.2))
    }

    fn in_flight(&self, span: &Span) -> f64 {
        self.states(span).map(|(time, limit, _)| time * limit as f64).sum::<f64>()
            / (span.to - span.from)
    }

    fn hold(&self, span: &Span) -> String {
        let held = |hold| self.states(span).filter(|s| s.2 == hold).map(|s| s.0).sum::<f64>();
        let most =
            Bottleneck::ALL.into_iter().max_by(|a, b| held(*a).total_cmp(&held(*b))).unwrap();
        format!("{most:?}").to_lowercase()
    }
}

/// Measured against expected.
struct Report {
    text: String,
    is_good: bool,
}

impl Report {
    fn range(&mut self, what: &str, measured: f64, expected: Option<[f64; 2]>) {
        let Some([low, high]) = expected else {
            return;
        };
        let good = (low..=high).contains(&measured);
        self.is_good &= good;
        let mark = if good { " " } else { "!" };
        writeln!(self.text, "  {mark} {what:<28} {measured:>10.4}   [{low}, {high}]").unwrap();
    }
}

fn judge(scenario: &Scenario, trace: &Trace, report: &mut Report) {
    let expect = &scenario.expect;
    report.range("calls", trace.sent, expect.calls);
    report.range("refused", trace.share(Feedback::Throttled), expect.refused);
    report.range("overloaded", trace.share(Feedback::Overload), expect.overloaded);
    if expect.most_in_a_second.is_some() {
        report.range("most in a second", trace.most_in_a_second(), expect.most_in_a_second);
    }
    for span in &expect.span {
        let name = |what| format!("{what} {}-{} s", span.from, span.to);
        if span.used.is_some() {
            let possible = match span.possible {
                Some(possible) => possible * (span.to - span.from),
                None => scenario.server.allowed(span.from, span.to),
            };
            report.range(&name("used"), trace.ended(Feedback::Answer, span) / possible, span.used);
        }
        let refused = trace.ended(Feedback::Throttled, span);
        let refused = refused / (refused + trace.ended(Feedback::Answer, span));
        report.range(&name("refused"), refused, span.refused);
        report.range(&name("in flight"), trace.in_flight(span), span.in_flight);
        if let Some(hold) = &span.hold {
            let measured = trace.hold(span);
            let good = measured == *hold;
            report.is_good &= good;
            let mark = if good { " " } else { "!" };
            writeln!(report.text, "  {mark} held by {measured}   [{hold}]").unwrap();
        }
    }
}

fn run(file: &Path) -> Report {
    let text = std::fs::read_to_string(file).unwrap();
    let scenario: Scenario =
        toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let mut report = Report { text: String::new(), is_good: true };
    for seed in 1..=scenario.seeds {
        let name = file.file_stem().unwrap().to_string_lossy();
        writeln!(report.text, "{name}, seed {seed}").unwrap();
        judge(&scenario, &simulate(&scenario, seed), &mut report);
    }
    report
}

/// `cargo test --test it pace -- --nocapture` shows what was measured.
#[test]
fn the_pacer_follows_every_server_in_tests_pace() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pace");
    let mut files: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|ending| ending == "toml"));
    files.sort();
    assert!(files.len() >= 12, "scenarios are missing");
    let reports: Vec<Report> = std::thread::scope(|scope| {
        let runs: Vec<_> = files.iter().map(|file| scope.spawn(|| run(file))).collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    });
    let text: String = reports.iter().map(|report| report.text.as_str()).collect();
    println!("{text}");
    let failed: String = reports
        .iter()
        .filter(|report| !report.is_good)
        .map(|report| report.text.as_str())
        .collect();
    assert!(failed.is_empty(), "measured, and expected (! marks what is out of it):\n{failed}");
}
