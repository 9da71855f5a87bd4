//! Faults by kind and rate, drawn from a seed.
//!
//! Owns the dice. Knows nothing of rows or HTTP. A draw depends only on the seed, the call's number and
//! the kind, so that the same calls in the same order meet the same faults on every machine.

use std::str::FromStr;
use std::time::Duration;

/// A kind of fault, under the name that `--fault KIND=RATE` takes. Where several hit the same call,
/// the first in this order counts; `slow` and `read-lag` come on top of any other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The request is lost on its way: it is never executed, and the connection closes.
    LostRequest,
    /// HTTP 429 with `Retry-After` and an HTML page. Not executed.
    Throttled429,
    /// A gateway that turned its 429 into HTTP 200: 1642903 with `X-Bkapi-RateLimit-*` headers. Not
    /// executed.
    ThrottledGateway,
    /// CMDB's own limiter: 1199997 with HTTP 200. Not executed.
    ThrottledCmdb,
    /// An HTML page with HTTP 502 (tests/wire/esb-7.json#7.3), which an ESB wraps as 1306000 "not a json
    /// string" (tests/wire/esb-1.json#1.5). Half of these calls are executed all the same.
    BadGateway,
    /// A create is refused with 1113053: the lock was not obtained. Not executed.
    Locked,
    /// A create is answered with `result:true` and `data:null` (tests/wire/cmdb-12.json#12.1). Not
    /// executed.
    DataNull,
    /// The connection closes without an answer, and a write is executed after that: a look-up in
    /// between finds nothing (docs/cmdb-api.md#reads-that-lag).
    LateCommit,
    /// The call is executed, and its answer is lost: the connection closes.
    LostAnswer,
    /// The call is executed, and the answer's body is cut in half, with a `Content-Length` that fits.
    Garbled,
    /// The caller of a batch leaves in the middle of it: the connection closes, the items up to there are
    /// stored, and the one under way in its source model's table only (docs/cmdb-api.md#half-rows).
    HalfRows,
    /// The call takes longer.
    Slow,
    /// A look-up does not see the newest rows: a secondary answered it
    /// (docs/cmdb-api.md#reads-that-lag).
    ReadLag,
}

/// How often each kind strikes, and how long those last that take time.
#[derive(Clone, Debug, PartialEq)]
pub struct Faults {
    rates: [f64; KINDS],
    /// How much longer a slow call takes; by default 5 s.
    pub slow_by: Duration,
    /// How long after its call a late commit happens; by default 3 s.
    pub late_by: Duration,
    /// How old a row must be for a lagging look-up to see it; by default 1 s.
    pub lag_by: Duration,
}

const KINDS: usize = Fault::ReadLag as usize + 1;

/// What `--fault` takes: `KIND=RATE`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FaultRate {
    /// What goes wrong.
    pub fault: Fault,
    /// How often, from 0 to 1.
    pub rate: f64,
}

/// Why a text is no `KIND=RATE`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FaultError {
    /// No `=`.
    #[error("{0:?} is not KIND=RATE, such as lost-answer=0.05")]
    Form(String),
    /// No such kind.
    #[error("there is no fault {0:?}; there are: {names}", names = Fault::names())]
    Kind(String),
    /// Not a number from 0 to 1.
    #[error("fault {0}: rate {1:?} is not a number from 0 to 1")]
    Rate(&'static str, String),
}

/// The kind of a call, as faults tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Prey {
    /// A single create.
    Create,
    /// A batch of creates.
    Batch,
    /// Any other write.
    Write,
    /// A look-up.
    Read,
    /// A question that never lags.
    Ask,
}

/// The faults that a call meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Draw {
    pub(super) fault: Option<Fault>,
    pub(super) slow: bool,
    pub(super) lag: bool,
    /// Whether a call that meets a bad gateway is executed.
    pub(super) coin: bool,
}

impl Fault {
    /// All of them, in order.
    pub const ALL: [Self; KINDS] = [
        Self::LostRequest,
        Self::Throttled429,
        Self::ThrottledGateway,
        Self::ThrottledCmdb,
        Self::BadGateway,
        Self::Locked,
        Self::DataNull,
        Self::LateCommit,
        Self::LostAnswer,
        Self::Garbled,
        Self::HalfRows,
        Self::Slow,
        Self::ReadLag,
    ];

    /// The name that the command line takes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::LostRequest => "lost-request",
            Self::Throttled429 => "throttled-429",
            Self::ThrottledGateway => "throttled-gateway",
            Self::ThrottledCmdb => "throttled-cmdb",
            Self::BadGateway => "bad-gateway",
            Self::Locked => "locked",
            Self::DataNull => "data-null",
            Self::LateCommit => "late-commit",
            Self::LostAnswer => "lost-answer",
            Self::Garbled => "garbled",
            Self::HalfRows => "half-rows",
            Self::Slow => "slow",
            Self::ReadLag => "read-lag",
        }
    }

    fn names() -> String {
        Self::ALL.map(Self::name).join(", ")
    }

    fn can_hit(self, prey: Prey) -> bool {
        match self {
            Self::Locked | Self::DataNull => prey == Prey::Create,
            Self::LateCommit => matches!(prey, Prey::Create | Prey::Batch | Prey::Write),
            Self::HalfRows => prey == Prey::Batch,
            Self::ReadLag => prey == Prey::Read,
            _ => true,
        }
    }
}

impl FromStr for FaultRate {
    type Err = FaultError;

    /// Takes a kind with `_` for `-` too.
    fn from_str(text: &str) -> Result<Self, FaultError> {
        let form = || FaultError::Form(text.to_owned());
        let (kind, number) = text.split_once('=').ok_or_else(form)?;
        let name = kind.trim().replace('_', "-");
        let fault = (Fault::ALL.into_iter().find(|fault| fault.name() == name))
            .ok_or_else(|| FaultError::Kind(kind.trim().to_owned()))?;
        let parsed = number.trim().parse().ok();
        let rate = parsed
            .filter(|rate| (0.0..=1.0).contains(rate))
            .ok_or_else(|| FaultError::Rate(fault.name(), number.trim().to_owned()))?;
        Ok(Self { fault, rate })
    }
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            rates: [0.0; KINDS],
            slow_by: Duration::from_secs(5),
            late_by: Duration::from_secs(3),
            lag_by: Duration::from_secs(1),
        }
    }
}

impl FromIterator<FaultRate> for Faults {
    fn from_iter<I: IntoIterator<Item = FaultRate>>(rates: I) -> Self {
        let add = |faults: Self, one: FaultRate| faults.with(one.fault, one.rate);
        rates.into_iter().fold(Self::default(), add)
    }
}

impl Faults {
    /// Nothing goes wrong.
    pub fn none() -> Self {
        Self::default()
    }

    /// The same with one rate changed.
    #[must_use]
    pub fn with(mut self, fault: Fault, rate: f64) -> Self {
        self.rates[fault as usize] = rate;
        self
    }

    /// How often a kind strikes.
    pub fn rate(&self, fault: Fault) -> f64 {
        self.rates[fault as usize]
    }

    pub(super) fn draw(&self, seed: u64, call: u64, prey: Prey) -> Draw {
        let hits = |fault: Fault| {
            let rate = self.rate(fault);
            rate > 0.0 && fault.can_hit(prey) && fraction(seed, call, fault as u64) < rate
        };
        let exclusive = |fault: &Fault| !matches!(fault, Fault::Slow | Fault::ReadLag);
        let fault = Fault::ALL.into_iter().filter(exclusive).find(|fault| hits(*fault));
        Draw {
            fault,
            slow: hits(Fault::Slow),
            lag: hits(Fault::ReadLag),
            coin: fraction(seed, call, KINDS as u64) < 0.5,
        }
    }
}

/// A number in [0, 1) that looks random.
fn fraction(seed: u64, call: u64, kind: u64) -> f64 {
    let bits = scramble(scramble(seed ^ scramble(call)).wrapping_add(kind));
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

/// Spreads a number over all 64 bits (the finalizer of `SplitMix64`).
pub(super) fn scramble(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_read_by_the_name_it_shows() {
        for (place, fault) in Fault::ALL.into_iter().enumerate() {
            assert_eq!(fault as usize, place);
            let shown = format!("{}=0.25", fault.name());
            for text in [shown.replace('-', "_"), shown] {
                assert_eq!(text.parse(), Ok(FaultRate { fault, rate: 0.25 }));
            }
        }
    }

    #[test]
    fn what_is_no_kind_and_rate_is_refused_by_name() {
        for (text, says) in [
            ("slow", "KIND=RATE"),
            ("sloww=1", "there is no fault \"sloww\"; there are: lost-request"),
            ("slow=1.5", "fault slow: rate \"1.5\""),
            ("slow=-0.1", "-0.1"),
            ("slow=NaN", "NaN"),
            ("slow=", "\"\""),
        ] {
            let error = text.parse::<FaultRate>().unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn draws_repeat_and_come_as_often_as_the_rate_says() {
        let faults = Faults::none().with(Fault::LostAnswer, 0.25).with(Fault::Slow, 0.5);
        let draw = |call| faults.draw(7, call, Prey::Create);
        let draws: Vec<_> = (0..10_000).map(draw).collect();
        assert_eq!(draws, (0..10_000).map(draw).collect::<Vec<_>>());
        let lost = draws.iter().filter(|d| d.fault == Some(Fault::LostAnswer)).count();
        let slow = draws.iter().filter(|d| d.slow).count();
        let both = draws.iter().filter(|d| d.slow && d.fault.is_some()).count();
        assert!((2_300..2_700).contains(&lost), "{lost}");
        assert!((4_700..5_300).contains(&slow), "{slow}");
        assert!((1_100..1_400).contains(&both), "{both}: kinds are drawn on their own");
    }

    #[test]
    fn a_kind_hits_only_the_calls_it_is_about() {
        let all = |prey| {
            let hit = |fault: &Fault| {
                let draw = Faults::none().with(*fault, 1.0).draw(0, 0, prey);
                draw.fault.is_some() || draw.slow || draw.lag
            };
            Fault::ALL.into_iter().filter(hit).count()
        };
        assert_eq!(all(Prey::Create), 11);
        assert_eq!(all(Prey::Batch), 10);
        assert_eq!(all(Prey::Write), 9);
        assert_eq!(all(Prey::Read), 9);
        assert_eq!(all(Prey::Ask), 8);
    }
}
