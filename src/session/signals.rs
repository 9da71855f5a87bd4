//! INT, TERM and HUP: the first ends a run in order, the second at once, with what is known so far.

use std::future::pending;
use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::runtime::runtime;
use crate::engine::run::DRAIN;
use crate::exit::{Exit, Halt};

/// The same signal twice within this time is one: timeout(1) sends it to the process, and then to the
/// process's group. No person is that fast.
const SAME: Duration = Duration::from_millis(20);

/// How long a process may take to say how far it came, after the second signal.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Does what comes before a run's first write, unless a signal ends it: then nothing is left of it but `what`.
pub(crate) fn unless_interrupted<T>(
    what: &str,
    work: impl Future<Output = Result<T, Halt>>,
) -> Result<T, Halt> {
    let runtime = runtime()?;
    let done = runtime.block_on(async {
        let (interrupted, at_once) = Signals::listen()?.twice();
        tokio::select! {
            done = work => done,
            halt = interrupted => Err(Halt::new(halt.exit, what)),
            exit = at_once => Err(Halt::new(exit, what)),
        }
    });
    // A resolver that hangs is not waited for.
    runtime.shutdown_background();
    done
}

/// The three signals, less those that the process was started to ignore: `nohup` does that with HUP,
/// a shell's `&` with INT.
pub(crate) struct Signals {
    interrupt: Option<Signal>,
    terminate: Option<Signal>,
    hang_up: Option<Signal>,
}

impl Signals {
    /// Listens from now on. Needs a runtime.
    pub(crate) fn listen() -> Result<Self, Halt> {
        Self::heard().map_err(|error| Halt::new(Exit::Bug, error.to_string()))
    }

    fn heard() -> io::Result<Self> {
        // What is ignored now was so from the start: nothing in this process ignores a signal.
        let ignored = ignored();
        let heard = |kind: SignalKind| {
            let bit = 1 << (kind.as_raw_value() - 1);
            (ignored & bit == 0).then(|| signal(kind)).transpose()
        };
        Ok(Self {
            interrupt: heard(SignalKind::interrupt())?,
            terminate: heard(SignalKind::terminate())?,
            hang_up: heard(SignalKind::hangup())?,
        })
    }

    /// The next signal.
    pub(crate) async fn next(&mut self) -> Exit {
        tokio::select! {
            () = next(&mut self.interrupt) => Exit::Interrupted,
            () = next(&mut self.terminate) => Exit::Terminated,
            () = next(&mut self.hang_up) => Exit::Hangup,
        }
    }

    /// Does what blocks on a thread of its own. Where a signal comes first, that thread is left behind
    /// and ends with the process.
    pub(crate) async fn or_interrupted<T: Send + 'static>(
        &mut self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Exit> {
        let (done, is_done) = oneshot::channel();
        std::thread::spawn(move || done.send(work()));
        tokio::select! {
            done = is_done => Ok(done.expect("a thread that panics ends the process")),
            exit = self.next() => Err(exit),
        }
    }

    /// Waits for the first signal. From then on the next one ends the process at once.
    pub(crate) async fn halt(self) -> Halt {
        let (first, second) = self.twice();
        tokio::spawn(async move { std::process::exit(second.await.code().into()) });
        first.await
    }

    /// The first signal, which ends a run in order, and the second, with which nothing is waited for any
    /// more: soon after it the process is gone, whatever it is at.
    pub(crate) fn twice(
        mut self,
    ) -> (impl Future<Output = Halt>, impl Future<Output = Exit> + Send + 'static) {
        let (tell_first, first) = oneshot::channel();
        let (tell_second, second) = oneshot::channel();
        tokio::spawn(async move {
            let exit = self.next().await;
            let heard = Instant::now();
            let _ = tell_first.send(exit);
            let mut second = self.next().await;
            while second == exit && heard.elapsed() < SAME {
                second = self.next().await;
            }
            std::thread::spawn(move || leave_soon(second));
            let _ = tell_second.send(second);
        });
        let first = async {
            let exit = heard(first).await;
            let drain = DRAIN.as_secs();
            tracing::warn!(
                "calls in flight may answer for {drain} s; a second signal leaves at once"
            );
            Halt { exit, message: "interrupted".to_owned() }
        };
        (first, heard(second))
    }
}

#[expect(clippy::disallowed_methods, reason = "the runtime's own thread may be what hangs")]
fn leave_soon(exit: Exit) {
    std::thread::sleep(LAST_WORDS);
    std::process::exit(exit.code().into());
}

/// What a task heard; nothing where it is gone, as at the end of the runtime.
async fn heard(signal: oneshot::Receiver<Exit>) -> Exit {
    match signal.await {
        Ok(exit) => exit,
        Err(_) => pending().await,
    }
}

async fn next(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => pending().await,
    }
}

/// The signals that this process ignores, a bit each, the first being 1 (`SigIgn` of `/proc/self/status`). None
/// where that can't be found out.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}
