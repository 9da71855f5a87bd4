//! Telling an outage from a row that fails: when to stop sending, and when to try again.
//!
//! A pure machine; time comes in as an argument. Knows rows as slots only.
//!
//! *Closed*: all is well. When three distinct rows in a row get nothing but "no answer", it opens,
//! and what these rows were charged is given back. *Open*: nothing goes but a probe, at growing
//! pauses. A probe that is answered leads to *half-open*: one call at a time, a look-up and a write by
//! turns, until a row's call is answered. A row that fails alone, while the probe answers, stays charged: it is the row.
//!
//! Where fewer rows are under way, three calls in a row without an answer are a suspicion: it opens,
//! too, and the probe decides whose fault it was, the server's or the rows'.

use std::time::Duration;

use rustc_hash::FxHashMap;
use tokio::time::Instant;

use crate::engine::conflicts::Slot;

/// So many distinct rows without an answer make a breaker.
const ROWS: usize = 3;
/// So many calls without an answer, of however few rows, are worth a probe.
const CALLS: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// What may be sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// Anything.
    All,
    /// One call.
    One,
    /// The probe.
    Probe,
    /// Nothing.
    Nothing {
        /// Before then; `None`: before a call lands.
        until: Option<Instant>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    Open { probing: bool },
    HalfOpen { trying: bool },
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
    /// Whether the last call while half-open was a look-up.
    looked_last: bool,
    /// When it opened, while it is not closed.
    opened: Option<Instant>,
    /// It opened for a silence, and nothing has failed.
    suspicious: bool,
}

impl Default for CircuitBreaker {
    fn default() -> Self {
        Self {
            state: State::Closed,
            streak: FxHashMap::default(),
            silent: 0,
            pause: FIRST_PAUSE,
            next: None,
            looked_last: false,
            opened: None,
            suspicious: false,
        }
    }
}

impl CircuitBreaker {
    /// Whether calls are held: it is open, or half-open.
    pub fn is_tripped(&self) -> bool {
        self.state != State::Closed
    }

    /// Whether a write is what should be tried next. By turns, since either may be what gets no answer,
    /// and a look-up sends no new row.
    pub fn wants_write(&self) -> bool {
        self.is_tripped() && self.looked_last
    }

    /// What may be sent now.
    pub fn allowed(&self, now: Instant) -> Allowed {
        let due = self.next.is_none_or(|next| next <= now);
        match self.state {
            State::Closed => Allowed::All,
            State::Open { probing: true } | State::HalfOpen { trying: true } => {
                Allowed::Nothing { until: None }
            }
            State::Open { .. } if due => Allowed::Probe,
            State::HalfOpen { .. } if due => Allowed::One,
            State::Open { .. } | State::HalfOpen { .. } => Allowed::Nothing { until: self.next },
        }
    }

    /// A call that was allowed is on its way.
    pub fn sent(&mut self, allowed: Allowed, is_look_up: bool) {
        match allowed {
            Allowed::Probe => self.state = State::Open { probing: true },
            Allowed::One => {
                self.state = State::HalfOpen { trying: true };
                self.looked_last = is_look_up;
            }
            Allowed::All | Allowed::Nothing { .. } => {}
        }
    }

    /// The probe's end. Returns what is to be given back to whom.
    pub fn probe_landed(&mut self, answered: bool, now: Instant) -> Vec<(Slot, u32)> {
        self.suspicious = false;
        if answered {
            self.streak.clear();
            self.state = State::HalfOpen { trying: false };
            self.next = None;
            return Vec::new();
        }
        self.state = State::Open { probing: false };
        self.lengthen(now);
        self.streak.drain().collect()
    }

    /// A row's call was answered, with whatever. Where that ends an outage: when it had begun.
    pub fn answered(&mut self) -> Option<Instant> {
        self.streak.clear();
        self.silent = 0;
        match self.state {
            State::HalfOpen { .. } => std::mem::take(self).opened,
            State::Open { .. } if self.suspicious => {
                *self = Self::default();
                None
            }
            State::Open { .. } | State::Closed => None,
        }
    }

    /// How long the probe is worth waiting for at least: longer each time that it got no answer.
    pub fn patience(&self) -> Duration {
        self.pause * 4
    }

    /// The one call of a half-open breaker has ended, and was none that decides: the next may follow, at once
    /// where it was answered.
    pub fn trial_landed(&mut self, answered: bool, now: Instant) {
        if let State::HalfOpen { trying } = &mut self.state {
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
        if let State::HalfOpen { trying } = &mut self.state {
            *trying = false;
            self.lengthen(now);
        }
        let closed = self.state == State::Closed;
        if closed {
            self.next = Some(now + self.pause);
        }
        if self.streak.len() < ROWS {
            if closed && self.silent >= CALLS {
                self.open(now);
            }
            return Vec::new();
        }
        if !open {
            self.open(now);
        }
        self.streak.drain().collect()
    }

    /// Nothing is answered any more, though nothing has failed: a suspicion, and the probe decides,
    /// or an answer that comes after all.
    pub fn suspect(&mut self, now: Instant) {
        if self.state == State::Closed {
            self.next = None;
            self.suspicious = true;
            self.open(now);
        }
    }

    fn open(&mut self, now: Instant) {
        self.state = State::Open { probing: false };
        self.opened.get_or_insert(now);
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
        let mut breaker = CircuitBreaker::default();
        let now = Instant::now();
        assert_eq!(breaker.unanswered(7, 1, now), []);
        assert_eq!(breaker.unanswered(7, 1, now), [], "one row alone is no outage");
        assert_eq!(breaker.unanswered(8, 1, now), [], "two rows are a suspicion");
        let mut back = breaker.unanswered(9, 1, now);
        back.sort_unstable();
        assert_eq!(back, [(7, 2), (8, 1), (9, 1)]);
        assert_eq!(breaker.unanswered(10, 1, now), [(10, 1)], "what lands later is given back too");
        assert_eq!(breaker.allowed(now), Allowed::Nothing { until: Some(now + FIRST_PAUSE) });
    }

    #[tokio::test(start_paused = true)]
    async fn a_row_that_fails_alone_gets_its_attempts_back_just_when_the_probe_fails_too() {
        for answered in [true, false] {
            let mut breaker = CircuitBreaker::default();
            let now = Instant::now();
            for _ in 0..CALLS {
                assert!(!breaker.is_tripped());
                assert_eq!(breaker.unanswered(7, 1, now), []);
            }
            assert_eq!(breaker.allowed(now), Allowed::Nothing { until: Some(now + FIRST_PAUSE) });
            breaker.sent(Allowed::Probe, false);
            let back = breaker.probe_landed(answered, now);
            assert_eq!(back, if answered { vec![] } else { vec![(7, CALLS)] });
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_in_between_breaks_the_streak() {
        let mut breaker = CircuitBreaker::default();
        for slot in 0..100 {
            assert_eq!(breaker.unanswered(slot, 1, Instant::now()), []);
            assert_eq!(breaker.answered(), None);
        }
        assert!(!breaker.is_tripped());
    }

    #[tokio::test(start_paused = true)]
    async fn probes_come_at_most_once_a_second_with_growing_pauses() {
        let mut breaker = CircuitBreaker::default();
        for slot in 0..3 {
            breaker.unanswered(slot, 1, Instant::now());
        }
        let start = Instant::now();
        let mut probes = Vec::new();
        while start.elapsed() < Duration::from_mins(10) {
            match breaker.allowed(Instant::now()) {
                Allowed::Probe => {
                    probes.push(Instant::now());
                    breaker.sent(Allowed::Probe, false);
                    breaker.probe_landed(false, Instant::now());
                }
                Allowed::Nothing { until: Some(until) } => tokio::time::sleep_until(until).await,
                other => panic!("{other:?}"),
            }
        }
        assert!(probes.windows(2).all(|w| w[1] - w[0] >= FIRST_PAUSE));
        assert!((40..60).contains(&probes.len()), "{}", probes.len());
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_probe_one_call_at_a_time_until_one_is_answered() {
        let mut breaker = CircuitBreaker::default();
        let now = Instant::now();
        for slot in 0..3 {
            breaker.unanswered(slot, 1, now);
        }
        breaker.sent(Allowed::Probe, false);
        breaker.probe_landed(true, now);
        assert_eq!(breaker.allowed(now), Allowed::One);
        breaker.sent(Allowed::One, false);
        assert_eq!(breaker.allowed(now), Allowed::Nothing { until: None });
        assert_eq!(breaker.unanswered(0, 1, now), [], "the row alone is charged");
        assert!(matches!(breaker.allowed(now), Allowed::Nothing { until: Some(_) }));
        assert_eq!(breaker.answered(), Some(now));
        assert_eq!(breaker.allowed(now), Allowed::All);
    }

    #[tokio::test(start_paused = true)]
    async fn a_silence_opens_it_and_an_answer_closes_it_at_once() {
        let mut breaker = CircuitBreaker::default();
        let now = Instant::now();
        breaker.suspect(now);
        assert_eq!(breaker.allowed(now), Allowed::Probe);
        assert_eq!(breaker.answered(), None, "nothing is to be given up");
        assert_eq!(breaker.allowed(now), Allowed::All);
        breaker.suspect(now);
        breaker.sent(Allowed::Probe, false);
        breaker.probe_landed(false, now);
        assert_eq!(breaker.answered(), None, "now the probe decides");
        assert!(breaker.is_tripped());
    }
}
