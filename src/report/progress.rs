//! What a person sees while a run is under way, and the one way to stderr.
//!
//! The only home of indicatif. Everything for stderr passes a [`Screen`], so that nothing tears the bar
//! and a closed stderr does no harm. Knows nothing of where its numbers come from.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rustix::termios::tcgetwinsize;
use tokio::time::Instant;

use crate::engine::stats::{Bottleneck, BottleneckTimes, RunStats};
use crate::options::brief_duration;
use crate::outcome::Status;
use crate::report::summary::grouped;
use crate::report::words::hold_text;

/// How often the bar is drawn.
const BAR_EVERY: Duration = Duration::from_millis(100);
/// How often a line is written.
const LINE_EVERY: Duration = Duration::from_secs(30);
/// The time over which speed is measured.
const SPEED_OVER: Duration = Duration::from_secs(30);
/// The width of the bar where there is room, and the least that is still a bar.
const BAR_WIDTH: (usize, usize) = (20, 5);
/// The width of a terminal that does not say.
const COLUMNS: usize = 80;

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgressMode {
    /// A bar on a terminal, else lines.
    Auto,
    /// A bar, where there is a terminal to draw it on.
    Bar,
    /// A line every 30 seconds.
    Lines,
    /// Nothing.
    Off,
}

impl ProgressMode {
    /// The values by their words.
    pub const WORDS: [(&str, Self); 4] =
        [("auto", Self::Auto), ("bar", Self::Bar), ("lines", Self::Lines), ("off", Self::Off)];
}

/// stderr, with or without a bar on it. Copies are the same screen.
#[derive(Clone, Debug)]
pub struct Screen {
    bar: ProgressBar,
}

impl Default for Screen {
    fn default() -> Self {
        Self { bar: ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()) }
    }
}

impl Screen {
    /// Writes a line above the bar.
    pub fn say(&self, line: &str) {
        self.put(format!("{line}\n").as_bytes());
    }

    /// Ignores errors: whoever reads stderr may be gone, and that is no reason to stop.
    fn put(&self, bytes: &[u8]) {
        self.bar.suspend(|| {
            let _ = io::stderr().write_all(bytes);
        });
    }
}

/// Writes whole lines, as a logger does. Never fails.
impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.put(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The display of a run.
#[derive(Debug)]
pub struct Progress {
    screen: Screen,
    shape: Shape,
    speed: Speed,
    /// The bottlenecks up to the last view. What held the pace back since then is shown.
    held_before: BottleneckTimes,
    due: Instant,
    /// The width of the bar on the screen.
    bar_width: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Bar,
    Lines,
    Off,
}

impl Progress {
    /// A display on this screen. Without a terminal that can draw, a bar becomes lines.
    pub fn new(mode: ProgressMode, screen: Screen) -> Self {
        let stderr = ProgressDrawTarget::stderr_with_hz(20);
        let shape = match mode {
            ProgressMode::Auto | ProgressMode::Bar if !stderr.is_hidden() => Shape::Bar,
            ProgressMode::Auto | ProgressMode::Bar | ProgressMode::Lines => Shape::Lines,
            ProgressMode::Off => Shape::Off,
        };
        if shape == Shape::Bar {
            lay_out(&screen.bar, None, 0);
            screen.bar.set_draw_target(stderr);
        }
        Self::with_shape(shape, screen)
    }

    fn with_shape(shape: Shape, screen: Screen) -> Self {
        let now = Instant::now();
        let mut speed = Speed::default();
        speed.observe(now, 0);
        let due = now + shape.every().unwrap_or_default();
        let held_before = BottleneckTimes::default();
        Self { screen, shape, speed, held_before, due, bar_width: 0 }
    }

    /// Shows how far the run is and what holds it back. Does nothing until the next view is due, so it
    /// may be called at any time.
    pub fn show(&mut self, stats: &RunStats) {
        let Some(view) = self.view_if_due(stats) else {
            return;
        };
        if self.shape == Shape::Lines {
            tracing::info!("{view}");
            return;
        }
        let bar = &self.screen.bar;
        let (bar_width, how_far) = fit(&view.how_far, stats.expected.is_some(), columns());
        if bar.length() != stats.expected || self.bar_width != bar_width {
            lay_out(bar, stats.expected, bar_width);
            self.bar_width = bar_width;
        }
        bar.set_prefix(how_far);
        bar.set_position(stats.done());
        bar.set_message(view.how_well);
    }

    /// Takes the bar away.
    pub fn finish(self) {
        self.screen.bar.finish_and_clear();
        self.screen.bar.set_draw_target(ProgressDrawTarget::hidden());
    }

    fn view_if_due(&mut self, stats: &RunStats) -> Option<View> {
        let every = self.shape.every()?;
        let now = Instant::now();
        if now < self.due {
            return None;
        }
        self.due = now + every;
        self.speed.observe(now, stats.done_here());
        let holds = stats.calls.holds;
        let hold =
            holds.since(&self.held_before).most().map_or(Bottleneck::Nothing, |(hold, _)| hold);
        self.held_before = holds;
        Some(View::of(stats, hold, self.speed.rows_per_second()))
    }
}

/// Lays the bar out. Without a total there is nothing to fill.
fn lay_out(bar: &ProgressBar, total: Option<u64>, width: usize) {
    if let Some(total) = total {
        bar.set_length(total);
    }
    let template = match width {
        0 => "{prefix}\n{wide_msg}".to_owned(),
        _ => format!("[{{bar:{width}}}] {{prefix}}\n{{wide_msg}}"),
    };
    // If a template were wrong, the bar would keep its default style.
    if let Ok(style) = ProgressStyle::with_template(&template) {
        bar.set_style(style.progress_chars("=> "));
    }
}

/// How wide the bar beside a text is, and the text. Together they leave a column of the terminal's line
/// free: a line that the terminal breaks tears the display.
fn fit(text: &str, has_bar: bool, columns: usize) -> (usize, String) {
    let (most, least) = BAR_WIDTH;
    let columns = columns.saturating_sub(1);
    let room = columns.saturating_sub(text.chars().count() + "[] ".len()).min(most);
    let bar_width = if has_bar && room >= least { room } else { 0 };
    (bar_width, text.chars().take(columns).collect())
}

/// How wide the terminal is, which may change at any time.
fn columns() -> usize {
    match tcgetwinsize(io::stderr()) {
        Ok(size) if size.ws_col > 0 => size.ws_col.into(),
        _ => COLUMNS,
    }
}

impl Shape {
    const fn every(self) -> Option<Duration> {
        match self {
            Self::Bar => Some(BAR_EVERY),
            Self::Lines => Some(LINE_EVERY),
            Self::Off => None,
        }
    }
}

/// Settled rows a second over the last [`SPEED_OVER`].
#[derive(Debug, Default)]
struct Speed {
    /// Times with the number of rows settled by then, about one a second, the oldest first.
    seen: VecDeque<(Instant, u64)>,
    latest: Option<(Instant, u64)>,
}

impl Speed {
    fn observe(&mut self, now: Instant, settled: u64) {
        self.latest = Some((now, settled));
        let second = Duration::from_secs(1);
        if self.seen.back().is_none_or(|(last, _)| now - *last >= second) {
            self.seen.push_back((now, settled));
        }
        // The oldest sample kept is the youngest that covers the whole span.
        while self.seen.get(1).is_some_and(|(next, _)| now - *next >= SPEED_OVER) {
            self.seen.pop_front();
        }
    }

    fn rows_per_second(&self) -> f64 {
        let (Some((start, before)), Some((end, after))) = (self.seen.front(), self.latest) else {
            return 0.0;
        };
        let seconds = (end - *start).as_secs_f64();
        if seconds > 0.0 { after.saturating_sub(*before) as f64 / seconds } else { 0.0 }
    }
}

/// A run at one moment, in words without control characters.
#[derive(Debug)]
struct View {
    /// Rows, speed, time left.
    how_far: String,
    /// Counts, and what holds the run back. May be empty.
    how_well: String,
}

impl View {
    fn of(stats: &RunStats, hold: Bottleneck, speed: f64) -> Self {
        Self { how_far: how_far(stats, hold, speed), how_well: how_well(stats, hold) }
    }
}

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.how_far)?;
        if !self.how_well.is_empty() {
            write!(f, "; {}", self.how_well)?;
        }
        Ok(())
    }
}

fn how_far(stats: &RunStats, hold: Bottleneck, speed: f64) -> String {
    let done = stats.done();
    let rows = grouped(done);
    let Some(total) = stats.expected else {
        return format!("{rows} rows, {speed:.1}/s");
    };
    let text = format!("{rows} of {} rows, {speed:.1}/s", grouped(total));
    if hold == Bottleneck::Pauses {
        // The rest takes its own time, whatever the speed was.
        return text;
    }
    let left = total.saturating_sub(done) as f64 / speed;
    match Duration::try_from_secs_f64(left.ceil()) {
        Ok(left) if !left.is_zero() => format!("{text}, about {} left", brief_duration(left)),
        // Done, standing still, or longer than anyone waits.
        _ => text,
    }
}

fn how_well(stats: &RunStats, hold: Bottleneck) -> String {
    let counts = [
        ("created", stats.count(Status::Created)),
        ("existed", stats.count(Status::Existed)),
        ("recovered", stats.count(Status::Recovered)),
        ("deleted", stats.count(Status::Deleted)),
        ("absent", stats.count(Status::Absent)),
        ("failed", stats.bad()),
    ];
    let counts: Vec<_> = (counts.into_iter())
        .filter(|(_, count)| *count > 0)
        .map(|(word, count)| format!("{word} {}", grouped(count)))
        .collect();
    let mut parts = vec![counts.join(", ")];
    if hold != Bottleneck::Nothing {
        parts.push(hold_text(hold).0.to_owned());
    }
    parts.retain(|part| !part.is_empty());
    parts.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::association::Cells;
    use crate::outcome::{Outcome, Reason, Record};

    fn settle(stats: &mut RunStats, status: Status, count: u64) {
        let outcome = match status {
            Status::Failed => Outcome::bad(Reason::Rejected, String::new(), 1, 0),
            _ => Outcome::good(status, 1, 1, 0),
        };
        let record = Record { ordinal: 0, file: 0, line: 2, cells: Cells::default(), outcome };
        for _ in 0..count {
            stats.add(&record);
        }
    }

    fn stats(expected: Option<u64>) -> RunStats {
        let mut stats = RunStats::default();
        stats.expected = expected;
        settle(&mut stats, Status::Created, 1_200);
        settle(&mut stats, Status::Existed, 30);
        settle(&mut stats, Status::Failed, 4);
        stats
    }

    fn shown(stats: &RunStats, hold: Bottleneck, speed: f64) -> String {
        View::of(stats, hold, speed).to_string()
    }

    #[test]
    fn a_line_tells_how_far_the_run_is_and_what_holds_it_back() {
        assert_eq!(
            shown(&stats(Some(10_234)), Bottleneck::Rate, 90.0),
            "1,234 of 10,234 rows, 90.0/s, about 1m 40s left; created 1,200, existed 30, failed 4; \
             held back by --rate"
        );
    }

    #[test]
    fn the_first_line_never_takes_more_than_the_terminal_s_width() {
        let view = View::of(&stats(Some(1_234_567)), Bottleneck::Rate, 90.0);
        let text = &view.how_far;
        assert_eq!(text, "1,234 of 1,234,567 rows, 90.0/s, about 3h 48m 24s left");
        for columns in 1..200 {
            let (bar, shown) = fit(text, true, columns);
            let taken = if bar > 0 { bar + 3 } else { 0 } + shown.len();
            assert!(taken < columns, "{columns}: {bar} {shown}");
            assert!(shown == *text || columns <= text.len(), "{columns}: {shown}");
            assert_eq!(fit(text, false, columns), (0, shown));
        }
        assert_eq!(fit(text, true, 70).0, 12);
        assert_eq!(fit(text, true, 120).0, 20);
    }

    #[test]
    fn the_time_left_is_told_only_where_it_can_be_known() {
        let without = [
            shown(&stats(None), Bottleneck::Nothing, 90.0),
            shown(&stats(Some(1_234)), Bottleneck::Nothing, 90.0),
            shown(&stats(Some(5_000)), Bottleneck::Nothing, 0.0),
            shown(&stats(Some(u64::MAX)), Bottleneck::Nothing, 1e-300),
        ];
        for text in without {
            assert!(!text.contains("left"), "{text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_comes_every_thirty_seconds_however_often_it_is_asked_for() {
        let mut progress = Progress::with_shape(Shape::Lines, Screen::default());
        let mut lines = Vec::new();
        let mut stats = RunStats::default();
        for _ in 0..610 {
            settle(&mut stats, Status::Created, 5);
            tokio::time::advance(Duration::from_millis(100)).await;
            let view = progress.view_if_due(&stats);
            lines.extend(view.map(|view| view.to_string()));
        }
        assert_eq!(
            lines,
            ["1,500 rows, 50.0/s; created 1,500", "3,000 rows, 50.0/s; created 3,000"]
        );
        assert!(lines.iter().all(|line| !line.contains(char::is_control)));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_said_to_hold_the_run_back_is_what_did_so_since_the_last_line() {
        let mut progress = Progress::with_shape(Shape::Lines, Screen::default());
        let mut stats = RunStats::default();
        let mut held = Vec::new();
        for (hold, seconds) in
            [(Bottleneck::Rate, 30), (Bottleneck::Outage, 20), (Bottleneck::Nothing, 1)]
        {
            stats.calls.held(hold, Duration::from_secs(seconds));
            tokio::time::advance(LINE_EVERY).await;
            held.extend(progress.view_if_due(&stats).map(|view| view.how_well));
        }
        assert_eq!(held, ["held back by --rate", "waiting for the server to come back", ""]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_off_is_never_due() {
        let mut progress = Progress::new(ProgressMode::Off, Screen::default());
        tokio::time::advance(Duration::from_hours(1)).await;
        assert!(progress.view_if_due(&stats(None)).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn speed_is_that_of_the_last_half_minute() {
        let mut speed = Speed::default();
        let mut settled = 0;
        for second in 0..=100 {
            speed.observe(Instant::now(), settled);
            tokio::time::advance(Duration::from_secs(1)).await;
            settled += if second < 60 { 100 } else { 10 };
        }
        assert!((speed.rows_per_second() - 10.0).abs() < 0.01, "{speed:?}");
        assert!(speed.seen.len() <= 32, "{}", speed.seen.len());
    }
}
