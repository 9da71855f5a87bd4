//! INT, TERM and HUP: the first ends a run in order, the second at once.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::Exit;
use crate::run::Halt;

/// The three signals.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Signals {
    /// Listens from now on. Needs a runtime.
    pub(super) fn listen() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// The next signal.
    pub(super) async fn next(&mut self) -> Exit {
        tokio::select! {
            _ = self.interrupt.recv() => Exit::Interrupted,
            _ = self.terminate.recv() => Exit::Terminated,
            _ = self.hang_up.recv() => Exit::Hangup,
        }
    }

    /// Waits for the first signal. From then on the next one ends the process at once: what was
    /// recorded is in the journal.
    pub(super) async fn halt(mut self) -> Halt {
        let exit = self.next().await;
        tokio::spawn(async move {
            let exit = self.next().await;
            std::process::exit(exit.code().into());
        });
        Halt {
            exit,
            message: "interrupted: calls in flight may answer for 15 s; a second signal leaves \
                      at once"
                .to_owned(),
        }
    }
}
