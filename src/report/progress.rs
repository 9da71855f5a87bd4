//! What a person sees while a run is under way: two lines on a terminal, or a line in the log now and then.
//!
//! Owns when something is shown. Knows nothing of where its numbers come from, or of how it is drawn.

mod bar;
mod speed;
mod view;

use std::time::Duration;

use tokio::time::Instant;

use crate::engine::stats::{Bottleneck, BottleneckTimes, Calls, RunStats};
use crate::options::Language;
use crate::plan::headway::Headway;
use crate::report::look::Look;
pub use crate::report::screen::Screen;
use crate::report::screen::{can_draw, columns};
use bar::Bar;
use speed::Speed;
use view::View;

/// How often the bar is drawn.
const BAR_EVERY: Duration = Duration::from_millis(100);
/// How often a line is written.
const LINE_EVERY: Duration = Duration::from_secs(30);

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

/// The display of a run, or of the plan before it.
#[derive(Debug)]
pub struct Progress {
    bar: Bar,
    shape: Shape,
    look: Look,
    speed: Speed,
    /// The bottlenecks up to the last view. What held the pace back since then is shown.
    held_before: BottleneckTimes,
    due: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Bar,
    Lines,
    Off,
}

impl Progress {
    /// A display on this screen. Without a terminal that can draw, a bar becomes lines, which are logs and
    /// English.
    pub fn new(mode: ProgressMode, screen: Screen, language: Language) -> Self {
        let shape = match mode {
            ProgressMode::Auto | ProgressMode::Bar if can_draw() => Shape::Bar,
            ProgressMode::Auto | ProgressMode::Bar | ProgressMode::Lines => Shape::Lines,
            ProgressMode::Off => Shape::Off,
        };
        let look = match shape {
            Shape::Bar => Look::of_stderr(language),
            Shape::Lines | Shape::Off => Look::default(),
        };
        Self::with_shape(shape, screen, look)
    }

    fn with_shape(shape: Shape, screen: Screen, look: Look) -> Self {
        let now = Instant::now();
        let mut speed = Speed::default();
        speed.observe(now, 0);
        let due = now + shape.every().unwrap_or_default();
        let held_before = BottleneckTimes::default();
        let bar = Bar::shown_by(move |lines| screen.show_below(lines));
        Self { bar, shape, look, speed, held_before, due }
    }

    /// Shows how far the run is and what holds it back. Does nothing until the next view is due, so it
    /// may be called at any time.
    pub fn show(&mut self, stats: &RunStats) {
        if let Some(view) = self.view_if_due(stats) {
            self.put(&view);
        }
    }

    /// The same of a plan that is made.
    pub(crate) fn show_plan(&mut self, headway: &Headway, calls: &Calls) {
        if self.is_due().is_some() {
            let hold = self.hold(calls);
            self.put(&View::of_plan(headway, calls, hold, self.look.language));
        }
    }

    fn put(&self, view: &View) {
        match self.shape {
            Shape::Bar => self.bar.show(view.parts(self.look, columns())),
            Shape::Lines => tracing::info!("{view}"),
            Shape::Off => {}
        }
    }

    /// Takes the bar away.
    pub fn finish(self) {
        self.bar.clear();
    }

    fn view_if_due(&mut self, stats: &RunStats) -> Option<View> {
        let now = self.is_due()?;
        self.speed.observe(now, stats.done_here());
        let hold = self.hold(&stats.calls);
        Some(View::of_run(stats, hold, self.speed.rows_per_second(), self.look.language))
    }

    /// Now, where the next view is due.
    fn is_due(&mut self) -> Option<Instant> {
        let every = self.shape.every()?;
        let now = Instant::now();
        if now < self.due {
            return None;
        }
        self.due = now + every;
        Some(now)
    }

    /// What held the pace back since this was asked last.
    fn hold(&mut self, calls: &Calls) -> Bottleneck {
        let before = std::mem::replace(&mut self.held_before, calls.holds);
        calls.holds.since(&before).most().map_or(Bottleneck::Nothing, |(hold, _)| hold)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::association::Cells;
    use crate::outcome::{Outcome, Record, Status};

    fn lines() -> Progress {
        Progress::with_shape(Shape::Lines, Screen::default(), Look::default())
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_comes_every_thirty_seconds_however_often_it_is_asked_for() {
        let (mut progress, mut lines) = (lines(), Vec::new());
        let mut stats = RunStats::default();
        let outcome = Outcome::good(Status::Created, 1, 1, 0);
        let record = Record { ordinal: 0, file: 0, line: 2, cells: Cells::default(), outcome };
        for _ in 0..610 {
            (0..5).for_each(|_| stats.add(&record));
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
        let (mut progress, mut stats, mut held) = (lines(), RunStats::default(), Vec::new());
        for (hold, seconds) in
            [(Bottleneck::Rate, 30), (Bottleneck::Outage, 20), (Bottleneck::Nothing, 1)]
        {
            stats.calls.held(hold, Duration::from_secs(seconds));
            tokio::time::advance(LINE_EVERY).await;
            held.extend(progress.view_if_due(&stats).map(|view| view.to_string()));
        }
        assert_eq!(
            held,
            [
                "0 rows, 0.0/s; held back by --rate",
                "0 rows, 0.0/s; waiting for the server to come back",
                "0 rows, 0.0/s"
            ]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_off_is_never_due() {
        let mut progress = Progress::new(ProgressMode::Off, Screen::default(), Language::En);
        tokio::time::advance(Duration::from_hours(1)).await;
        assert!(progress.view_if_due(&RunStats::default()).is_none());
    }
}
