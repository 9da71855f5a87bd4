//! How fast rows settle.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// The time over which speed is measured.
const SPEED_OVER: Duration = Duration::from_secs(30);

/// Settled rows a second over the last [`SPEED_OVER`].
#[derive(Debug, Default)]
pub(super) struct Speed {
    /// Times with the number of rows settled by then, about one a second, the oldest first.
    seen: VecDeque<(Instant, u64)>,
    latest: Option<(Instant, u64)>,
}

impl Speed {
    pub(super) fn observe(&mut self, now: Instant, settled: u64) {
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

    pub(super) fn rows_per_second(&self) -> f64 {
        let (Some((start, before)), Some((end, after))) = (self.seen.front(), self.latest) else {
            return 0.0;
        };
        let seconds = (end - *start).as_secs_f64();
        if seconds > 0.0 { after.saturating_sub(*before) as f64 / seconds } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
