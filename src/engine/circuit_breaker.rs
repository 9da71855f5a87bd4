//! Telling an outage from a row that fails: when to stop sending, and when to try again.
//!
//! A pure machine; time comes in as an argument. Knows rows as slots only.
//!
//! *Closed*: all is well. When three distinct rows in a row get nothing but "no answer", it opens,
//! and what these rows were charged is given back. *Open*: nothing goes but a probe, at growing
//! pauses. A probe that is answered leads to *trial*: one call at a time, until a row's call is
//! answered. A row that fails alone, while the probe answers, stays charged: it is the row.
//!
//! Where fewer rows are under way, three calls in a row without an answer are a suspicion: it opens,
//! too, and the probe decides whose fault it was, the server's or the rows'.

use std::time::Duration;

use rustc_hash::FxHashMap;
use tokio::time::Instant;

use crate::engine::conflicts::Slot;

/// So many distinct rows without an answer make an outage.
const ROWS: usize = 3;
/// So many calls without an answer, of however few rows, are worth a probe.
const CALLS: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// What may be sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum May {
    /// Anything.
    All,
    /// One call, then [`CircuitBreaker::trial_sent`].
    One,
    /// The probe, then [`CircuitBreaker::probe_sent`].
    Probe,
    /// Nothing before then; `None`: nothing before a call lands.
    Wait(Option<Instant>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    Open { probing: bool },
    Trial { trying: bool },
}

/// The machine.
#[derive(Debug)]
pub struct CircuitBreaker {
    state: State,
    /// Rows that got no answer since the last answer, and what each was charged for it.
    streak: FxHashMap<Slot, u32>,
    /// Calls of rows that got no answer since the last answer.
    silent: u32,
    pause: Duration,
    next: Option<Instant>,
}

impl Default for CircuitBreaker {
    fn default() -> Self {
        Self {
            state: State::Closed,
            streak: FxHashMap::default(),
            silent: 0,
            pause: FIRST_PAUSE,
            next: None,
        }
    }
}

impl CircuitBreaker {
    /// Whether calls are held.
    pub fn is_on(&self) -> bool {
        self.state != State::Closed
    }

    /// What may be sent now.
    pub fn may(&self, now: Instant) -> May {
        let due = self.next.is_none_or(|next| next <= now);
        match self.state {
            State::Closed => May::All,
            State::Open { probing: true } | State::Trial { trying: true } => May::Wait(None),
            State::Open { .. } if due => May::Probe,
            State::Trial { .. } if due => May::One,
            State::Open { .. } | State::Trial { .. } => May::Wait(self.next),
        }
    }

    /// The probe is on its way.
    pub fn probe_sent(&mut self) {
        self.state = State::Open { probing: true };
    }

    /// The one call of a trial is on its way.
    pub fn trial_sent(&mut self) {
        self.state = State::Trial { trying: true };
    }

    /// The probe's end. Returns what is to be given back to whom.
    pub fn probe_landed(&mut self, answered: bool, now: Instant) -> Vec<(Slot, u32)> {
        if answered {
            self.streak.clear();
            self.state = State::Trial { trying: false };
            self.next = None;
            return Vec::new();
        }
        self.state = State::Open { probing: false };
        self.lengthen(now);
        self.streak.drain().collect()
    }

    /// A row's call was answered, with whatever: no outage. True where one has just ended.
    pub fn answered(&mut self) -> bool {
        self.streak.clear();
        self.silent = 0;
        let ended = matches!(self.state, State::Trial { .. });
        if ended {
            *self = Self::default();
        }
        ended
    }

    /// The one call of a trial has ended, and was none that decides: the next may follow, at once
    /// where it was answered.
    pub fn trial_landed(&mut self, answered: bool, now: Instant) {
        if let State::Trial { trying } = &mut self.state {
            *trying = false;
            self.next = None;
            if !answered {
                self.lengthen(now);
            }
        }
    }

    /// A row's call got no answer, and the row was charged `charge` for it. Returns what is to be
    /// given back to whom.
    pub fn unanswered(&mut self, slot: Slot, charge: u32, now: Instant) -> Vec<(Slot, u32)> {
        let open = matches!(self.state, State::Open { .. });
        if open && self.streak.is_empty() {
            return vec![(slot, charge)];
        }
        *self.streak.entry(slot).or_default() += charge;
        self.silent += 1;
        if let State::Trial { trying } = &mut self.state {
            *trying = false;
            self.lengthen(now);
        }
        let closed = self.state == State::Closed;
        if closed {
            self.next = Some(now + self.pause);
        }
        if self.streak.len() < ROWS {
            if closed && self.silent >= CALLS {
                self.state = State::Open { probing: false };
            }
            return Vec::new();
        }
        if !open {
            self.state = State::Open { probing: false };
        }
        self.streak.drain().collect()
    }

    /// A row is settled; its slot will be another's.
    pub fn forget(&mut self, slot: Slot) {
        self.streak.remove(&slot);
    }

    fn lengthen(&mut self, now: Instant) {
        self.next = Some(now + self.pause);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn three_rows_without_an_answer_are_an_outage_and_get_their_attempts_back() {
        let mut outage = CircuitBreaker::default();
        let now = Instant::now();
        assert_eq!(outage.unanswered(7, 1, now), []);
        assert_eq!(outage.unanswered(7, 1, now), [], "one row alone is no outage");
        assert_eq!(outage.unanswered(8, 1, now), [], "two rows are a suspicion");
        let mut back = outage.unanswered(9, 1, now);
        back.sort_unstable();
        assert_eq!(back, [(7, 2), (8, 1), (9, 1)]);
        assert_eq!(outage.unanswered(10, 1, now), [(10, 1)], "what lands later is given back too");
        assert_eq!(outage.may(now), May::Wait(Some(now + FIRST_PAUSE)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_row_that_fails_alone_gets_its_attempts_back_just_when_the_probe_fails_too() {
        for answered in [true, false] {
            let mut outage = CircuitBreaker::default();
            let now = Instant::now();
            for _ in 0..CALLS {
                assert!(!outage.is_on());
                assert_eq!(outage.unanswered(7, 1, now), []);
            }
            assert_eq!(outage.may(now), May::Wait(Some(now + FIRST_PAUSE)));
            outage.probe_sent();
            let back = outage.probe_landed(answered, now);
            assert_eq!(back, if answered { vec![] } else { vec![(7, CALLS)] });
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_in_between_breaks_the_streak() {
        let mut outage = CircuitBreaker::default();
        for slot in 0..100 {
            assert_eq!(outage.unanswered(slot, 1, Instant::now()), []);
            assert!(!outage.answered());
        }
        assert!(!outage.is_on());
    }

    #[tokio::test(start_paused = true)]
    async fn probes_come_at_most_once_a_second_with_growing_pauses() {
        let mut outage = CircuitBreaker::default();
        for slot in 0..3 {
            outage.unanswered(slot, 1, Instant::now());
        }
        let start = Instant::now();
        let mut probes = Vec::new();
        while start.elapsed() < Duration::from_mins(10) {
            match outage.may(Instant::now()) {
                May::Probe => {
                    probes.push(Instant::now());
                    outage.probe_sent();
                    outage.probe_landed(false, Instant::now());
                }
                May::Wait(Some(until)) => tokio::time::sleep_until(until).await,
                other => panic!("{other:?}"),
            }
        }
        assert!(probes.windows(2).all(|w| w[1] - w[0] >= FIRST_PAUSE));
        assert!((40..60).contains(&probes.len()), "{}", probes.len());
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_probe_one_call_at_a_time_until_one_is_answered() {
        let mut outage = CircuitBreaker::default();
        let now = Instant::now();
        for slot in 0..3 {
            outage.unanswered(slot, 1, now);
        }
        outage.probe_sent();
        outage.probe_landed(true, now);
        assert_eq!(outage.may(now), May::One);
        outage.trial_sent();
        assert_eq!(outage.may(now), May::Wait(None));
        assert_eq!(outage.unanswered(0, 1, now), [], "the row alone is charged");
        assert!(matches!(outage.may(now), May::Wait(Some(_))));
        assert!(outage.answered());
        assert_eq!(outage.may(now), May::All);
    }
}
