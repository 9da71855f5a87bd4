//! The course of one call: the quota, the faults, the answer.
//!
//! Owns their order. Knows nothing of how a call travels or what it does.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::audit::By;
use super::call::{Call, Terms};
use super::dialect::{Dialect, Written};
use super::endpoint::Endpoint;
use super::faults::{Draw, Fault, Faults, Prey};
use super::refusal::Refusal;
use super::{Caller, Quota, Sandbox, State};
use crate::cmdb::wire::{RateHint, SharedBy, code};
use crate::target::Entrance;

/// What a call meets when it comes in.
struct Admission {
    draw: Draw,
    faults: Faults,
    within_quota: bool,
    hint: RateHint,
}

impl State {
    /// Counts a call in the quota's window. Tells whether it is within the quota, and what is left. A
    /// gateway counts each of its resources apart.
    fn meter(&mut self, quota: Quota, counted_as: Endpoint, elapsed: Duration) -> (bool, RateHint) {
        let (elapsed, length) = (elapsed.as_nanos(), quota.window.as_nanos().max(1));
        let window = &mut self.windows[counted_as as usize];
        if window.0 != elapsed / length {
            *window = (elapsed / length, 0);
        }
        window.1 += 1;
        let used = window.1;
        let left = u64::try_from(length - elapsed % length).unwrap_or(u64::MAX);
        let hint = RateHint {
            limit: Some(quota.calls),
            remaining: Some(quota.calls.saturating_sub(used)),
            reset: Some(Duration::from_secs(left.div_ceil(1_000_000_000))),
            ..RateHint::default()
        };
        (used <= quota.calls, hint)
    }
}

impl Sandbox {
    /// Answers a call that has passed the entrance; `None` where its connection closes instead.
    pub(super) async fn answer(
        &self,
        endpoint: Endpoint,
        call: Result<Call, Refusal>,
        caller: &Caller,
    ) -> Option<Written> {
        let Admission { draw, faults, within_quota, mut hint } =
            self.admit(endpoint, caller.entrance);
        if caller.entrance == Entrance::Gateway && hint.limit.is_some() {
            hint.shared_by = Some(SharedBy::Route);
        }
        let dialect = self.dialect(caller);
        let said = self.0.rate_headers || caller.entrance == Entrance::Gateway;
        let hint = if said { hint } else { RateHint::default() };
        if !within_quota {
            return Some(rated(self.over_quota(&dialect, endpoint), hint));
        }
        let slowness = if draw.slow { faults.slow_by } else { Duration::ZERO };
        let terms = Terms {
            own: caller.supplier_account == self.0.models.supplier_account,
            language: caller.language,
            lag: draw.lag.then_some(faults.lag_by),
            cut: draw.fault == Some(Fault::HalfRows),
        };
        let by = self.by(caller, &dialect);
        let work = |delay| self.work(call, terms, by, delay);
        let written = match draw.fault {
            Some(Fault::LateCommit) => {
                // Nobody waits for it: the connection closes first.
                tokio::spawn(work(slowness + faults.late_by));
                self.wait(slowness).await;
                return None;
            }
            Some(Fault::LostAnswer | Fault::HalfRows) => {
                self.run(endpoint, slowness, work(slowness)).await.ok();
                return None;
            }
            Some(Fault::BadGateway) if draw.coin => {
                self.run(endpoint, slowness, work(slowness)).await.ok();
                dialect.bad_gateway()
            }
            Some(Fault::Garbled) => {
                let result = self.run(endpoint, slowness, work(slowness)).await;
                write(&dialect, result).garbled()
            }
            None | Some(Fault::Slow | Fault::ReadLag) => {
                write(&dialect, self.run(endpoint, slowness, work(slowness)).await)
            }
            Some(refusing) => {
                self.wait(slowness).await;
                refuse(&dialect, refusing)?
            }
        };
        Some(rated(written, hint))
    }

    /// Counts a call, draws its faults, and asks the quota.
    fn admit(&self, endpoint: Endpoint, entrance: Entrance) -> Admission {
        let mut state = self.state();
        let number = state.calls.iter().sum();
        state.calls[endpoint as usize] += 1;
        let prey = match endpoint {
            Endpoint::Create => Prey::Create,
            Endpoint::CreateMany => Prey::Batch,
            Endpoint::Delete | Endpoint::DeleteMany => Prey::Write,
            Endpoint::Find | Endpoint::Search | Endpoint::Count => Prey::Read,
            Endpoint::Models
            | Endpoint::Attributes
            | Endpoint::Uniques
            | Endpoint::SearchObjectInstances
            | Endpoint::SearchInst
            | Endpoint::ListHosts
            | Endpoint::SearchBusiness
            | Endpoint::AuditList
            | Endpoint::AuditRecords => Prey::Ask,
        };
        let draw = state.faults.draw(self.0.seed, number, prey);
        let counted_as = if entrance == Entrance::Gateway { endpoint } else { Endpoint::ALL[0] };
        let elapsed = self.0.start.elapsed();
        let metered = self.0.quota.map(|quota| state.meter(quota, counted_as, elapsed));
        Admission {
            draw,
            faults: state.faults.clone(),
            within_quota: metered.is_none_or(|(within, _)| within),
            hint: metered.map(|(_, hint)| hint).unwrap_or_default(),
        }
    }

    fn over_quota(&self, dialect: &Dialect, endpoint: Endpoint) -> Written {
        match dialect.entrance {
            Entrance::Esb => {
                let (calls, seconds) =
                    (self.0.quota).map_or((0, 1), |quota| (quota.calls, quota.window.as_secs()));
                let text = format!(
                    "Access frequency limit, Access frequency of APP [{}] to component [/v2/cc/{}/] exceeds \
                     the limit; the frequency limit is [{calls}/{seconds}second], please try again later",
                    self.0.models.credentials.app_code,
                    endpoint.component(),
                );
                dialect.esb_refused(code::ESB_THROTTLED, &text)
            }
            Entrance::Gateway => dialect.gateway_throttled(429),
            Entrance::Native => dialect.too_many_requests(),
        }
    }

    /// The work that a server does once it has the request, whether or not anybody waits for it.
    fn work(
        &self,
        call: Result<Call, Refusal>,
        terms: Terms,
        by: Arc<By>,
        delay: Duration,
    ) -> impl Future<Output = Result<String, Refusal>> + Send + use<> {
        let sandbox = self.clone();
        async move {
            if !delay.is_zero() {
                sleep(delay).await;
            }
            sandbox.execute(call?, terms, &by).await
        }
    }

    /// Runs work to its end even if the caller leaves. A batch ends with its caller, as a real one does
    /// (docs/cmdb-api.md#batch-create), and work that takes no time is done at once.
    async fn run(
        &self,
        endpoint: Endpoint,
        delay: Duration,
        work: impl Future<Output = Result<String, Refusal>> + Send + 'static,
    ) -> Result<String, Refusal> {
        let at_once = self.0.latency.is_zero() && delay.is_zero();
        if at_once || endpoint == Endpoint::CreateMany {
            return work.await;
        }
        let stopped = |_| Err(Refusal::of(code::INTERNAL, "sandbox"));
        tokio::spawn(work).await.unwrap_or_else(stopped)
    }

    async fn wait(&self, longer: Duration) {
        let delay = self.0.latency + longer;
        if !delay.is_zero() {
            sleep(delay).await;
        }
    }
}

fn write(dialect: &Dialect, result: Result<String, Refusal>) -> Written {
    match result {
        Ok(data) => dialect.success(&data),
        Err(refusal) => dialect.refused(&refusal),
    }
}

/// What a fault answers without executing the call; `None` where nothing comes back.
fn refuse(dialect: &Dialect, fault: Fault) -> Option<Written> {
    let second = Some(Duration::from_secs(1));
    match fault {
        Fault::LostRequest => None,
        Fault::Throttled429 => {
            let mut written = Dialect::throttled_page();
            written.rate.retry_after = second;
            Some(written)
        }
        Fault::ThrottledGateway => {
            let mut written = dialect.gateway_throttled(200);
            (written.rate.limit, written.rate.remaining) = (Some(100), Some(0));
            written.rate.reset = second;
            written.rate.shared_by = Some(SharedBy::Route);
            Some(written)
        }
        Fault::ThrottledCmdb => Some(dialect.too_many_requests()),
        Fault::Locked => Some(dialect.refused(&Refusal::new(code::LOCKED))),
        Fault::DataNull => Some(dialect.success("null")),
        _ => Some(dialect.bad_gateway()),
    }
}

/// Adds the quota's headers, where the answer has none of its own.
fn rated(mut written: Written, hint: RateHint) -> Written {
    if written.rate == RateHint::default() {
        written.rate = hint;
    }
    written
}
