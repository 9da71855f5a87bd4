//! What one answer means for a row: one pure table.
//!
//! Owns the classification of contract section 12 and design section 5. Knows nothing of attempts,
//! time or what was sent before.

use crate::outcome::Reason;

/// What one answer to a create means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Created, with the server's id.
    Created(i64),
    /// Refused as taken: a look-up tells by what.
    LookUp(Taken),
    /// It may have been executed: a look-up tells.
    InDoubt(Cause),
    /// It was not executed, and may be sent again.
    Again(Cause),
    /// This row fails.
    Failed(Reason),
    /// The run can't go on.
    Stop(Stop),
}

/// What the server says is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Taken {
    /// This very association.
    Triple,
    /// A side of a 1:1 or 1:n rule; it may be this very association.
    Side,
}

/// Why a call has to be made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// No answer of substance: refused, timed out, 5xx, 1306201, 1306000, 1199998. Many at once are
    /// an outage.
    NoAnswer,
    /// The ESB is out of database connections (captures-esb 15): fewer calls at once help.
    Overload,
    /// The server's limit: slower calls help.
    Throttled,
    /// The server's lock is held.
    Locked,
    /// An answer that says neither yes nor no: `data:null`, audit and transaction failures.
    Unclear,
    /// A number that nobody has seen yet: tried once more, then the row fails.
    UnknownCode,
}

/// Why the run can't go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stop {
    /// App code, secret, token or username refused.
    Credentials,
    /// This app may not call this API.
    ApiForbidden,
    /// No such path, a redirect, or something that is no CMDB.
    WrongAddress,
    /// TLS.
    Certificate,
    /// Headers or set-up on the server's side.
    Setup,
}
