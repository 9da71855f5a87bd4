//! Exit codes, on which scripts rely: each is a named, documented constant.
//!
//! Knows nothing of how a run comes to one.

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Exit {
    /// Every row created, existed or recovered; or deleted or absent, where it asks for that.
    Ok = 0,
    /// A bug (panics too), or rows in and rows out do not agree.
    Bug = 1,
    /// Usage or configuration; nothing was sent.
    Usage = 2,
    /// Finished; some rows failed or are invalid.
    SomeFailed = 3,
    /// Finished; all that failed is retryable.
    AllRetryable = 4,
    /// Stopped by `--max-failures`.
    MaxFailures = 5,
    /// Stopped: no answer, or an outage longer than `--max-outage`.
    Outage = 6,
    /// Input unreadable, or changed since it was marked.
    Input = 7,
    /// Target unusable: URL, certificate, credentials, permission.
    Target = 8,
    /// Stopped by `--max-duration`.
    MaxDuration = 9,
    /// Another process holds the run.
    Held = 10,
    /// Results or journal can't be written.
    Unwritable = 11,
    /// A guard refuses the plan; nothing was sent.
    Guard = 12,
    /// Of a plan that was asked for it: there is something to do.
    Changes = 13,
    /// Stopped by SIGHUP, after calls in flight were given time.
    Hangup = 129,
    /// Stopped by SIGINT, likewise.
    Interrupted = 130,
    /// Stopped by SIGTERM, likewise.
    Terminated = 143,
}

/// Why a command or its run ends before it is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Halt {
    /// The exit code.
    pub exit: Exit,
    /// What happened and what to do, for a person.
    pub message: String,
}

impl Halt {
    /// With this exit code, for this reason.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }

    /// Nothing was sent, since it was asked for wrongly.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }
}

impl Exit {
    /// The exit with this number, if it is that of a run that reached its end.
    pub fn of_code(code: u8) -> Option<Self> {
        [Self::Ok, Self::SomeFailed, Self::AllRetryable]
            .into_iter()
            .find(|exit| exit.code() == code)
    }

    /// The number that the process ends with.
    pub const fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
