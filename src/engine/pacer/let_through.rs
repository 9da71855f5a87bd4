//! Calls that the server let through lately, by when they were sent.
//!
//! Over a long way an answer tells of a window that was over before it came. What belongs to a window is
//! told by when calls were sent, and that is kept here, in slots of time. It knows nothing of refusals.

use std::time::Duration;

use tokio::time::Instant;

/// As fine as a long way lets times be told apart; together longer than a window, a pause and a way.
const SLOT: Duration = Duration::from_millis(25);
const SLOTS: usize = 160;

/// The count.
#[derive(Debug)]
pub(super) struct LetThrough {
    start: Instant,
    /// Each slot's number since the start, and its calls.
    slots: Box<[(u64, u32); SLOTS]>,
}

impl LetThrough {
    pub(super) fn new(now: Instant) -> Self {
        Self { start: now, slots: Box::new([(0, 0); SLOTS]) }
    }

    /// A call that was sent then was let through.
    pub(super) fn add(&mut self, sent_at: Instant) {
        let number = self.slot(sent_at);
        let slot = &mut self.slots[number as usize % SLOTS];
        if slot.0 < number {
            *slot = (number, 0);
        }
        slot.1 += u32::from(slot.0 == number);
    }

    /// How many of the calls that were sent in the time of this `length` up to `end` were let through.
    pub(super) fn until(&self, end: Instant, length: Duration) -> u32 {
        let last = self.slot(end);
        let slots = length.div_duration_f64(SLOT).round() as u64;
        let inside = |number: &u64| *number <= last && number + slots > last;
        self.slots.iter().filter(|(number, _)| inside(number)).map(|(_, calls)| calls).sum()
    }

    fn slot(&self, at: Instant) -> u64 {
        (at - self.start).div_duration_f64(SLOT) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_count_for_the_time_in_which_they_were_sent_whenever_they_are_answered() {
        let start = Instant::now();
        let mut calls = LetThrough::new(start);
        let at = |millis| start + Duration::from_millis(millis);
        for sent in (0..900).rev() {
            calls.add(at(sent * 10));
        }
        // Those of long ago gave way, in whatever order they were answered.
        assert_eq!(calls.until(at(8010), Duration::from_secs(1)), 100);
        assert_eq!(calls.until(at(8490), Duration::from_millis(500)), 50);
        assert_eq!(calls.until(at(4000), Duration::from_secs(1)), 0);
        assert_eq!(calls.until(at(20_000), Duration::from_secs(1)), 0);
    }
}
