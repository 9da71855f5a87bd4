//! What one answer means for a row: one pure table.
//!
//! Owns the classification of answers, for creates and for the calls around them. Knows nothing of
//! attempts, time or what was sent before. `tests/wire/verdicts.txt` shows the whole policy as data;
//! `docs/cmdb-api.md` says what the server does.

mod advice;
mod table;
mod texts;
mod availability;

use crate::cmdb::wire::{Answer, Envelope, Reply, Route, code};
use crate::outcome::Reason;
pub use availability::{Availability, availability};
use table::{by_code, by_status};
use texts::{ESB_NO_SUCH_PATH, NO_SUCH_PATH};

/// What one answer to a write, a create or a delete, means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The association was created, with this id.
    Created(i64),
    /// A delete: the server says so. It says the same of an id that was gone, or that another model has,
    /// so that only looking before and after proves it.
    Accepted,
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

impl Verdict {
    /// Whether the write was surely not executed. A delete of what is not there changes nothing either, but
    /// one before it may have.
    pub const fn is_refusal(self) -> bool {
        match self {
            Self::Again(_) | Self::Stop(_) => true,
            Self::Failed(reason) => !matches!(reason, Reason::NotFound),
            Self::Created(_) | Self::Accepted | Self::LookUp(_) | Self::InDoubt(_) => false,
        }
    }

    /// Why the write has to be made again, or may have been executed.
    pub const fn cause(self) -> Option<Cause> {
        match self {
            Self::InDoubt(cause) | Self::Again(cause) => Some(cause),
            _ => None,
        }
    }
}

/// What the server says is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Taken {
    /// This very association.
    Triple,
    /// A side of a 1:1 or 1:n rule, by another association or by this very one.
    Side,
}

/// Why a call has to be made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// No answer of substance: refused, timed out, 5xx, 1306201, 1306000, 1199998. Many in a row are an
    /// outage.
    NoAnswer,
    /// The ESB is out of database connections: fewer calls at once help (docs/cmdb-api.md#connections).
    Overload,
    /// The server's limit of calls in a window: slower calls help.
    Throttled,
    /// The server's limit of calls at once (1642904): fewer calls at once help.
    Crowded,
    /// The server's lock is held.
    Locked,
    /// An answer that says neither yes nor no: `data:null`, audit and transaction failures.
    Unclear,
    /// An unknown number: the call is tried once more, then the row fails.
    UnknownCode,
}

impl Cause {
    /// Whether there was no answer of substance: the server may be down or overloaded.
    pub const fn is_silence(self) -> bool {
        matches!(self, Self::NoAnswer | Self::Overload)
    }

    /// Whether a limit of the server was reached: nothing was executed, and nothing is wrong with the
    /// row.
    pub const fn is_limit(self) -> bool {
        matches!(self, Self::Throttled | Self::Crowded)
    }
}

/// Why the run can't go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stop {
    /// App code, secret, token or username are refused.
    Credentials,
    /// This app may not call this API.
    ApiForbidden,
    /// There is no such path, or a redirect, or something that is no CMDB.
    WrongAddress,
    /// The certificate can't be trusted, or there is no TLS.
    Certificate,
    /// Headers are missing, or the server's side is not set up for the call.
    Setup,
    /// The server has no call that deletes, or the entrance sends it to a path that the CMDB does not have.
    NoDelete,
}

/// What the answer to a question (a look-up, a model association, instances) means. Asking twice does no
/// harm, so nothing is ever in doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Query {
    /// Answered, with a list of what was found.
    Answered,
    /// No answer yet.
    Again(Cause),
    /// The question itself is refused.
    Rejected,
    /// This user may not ask it.
    Forbidden,
    /// The server, or what stands before it, has no such call, or not for this app: another call may know.
    /// Only questions about instances, lists in pages and questions about the audit log are judged so.
    NoSuchCall,
    /// The run can't go on.
    Stop(Stop),
}

impl Query {
    /// Whether there was no answer of substance.
    pub fn is_silence(self) -> bool {
        self.cause().is_some_and(Cause::is_silence)
    }

    /// Why the question has to be asked again, if it has to.
    pub const fn cause(self) -> Option<Cause> {
        match self {
            Self::Again(cause) => Some(cause),
            _ => None,
        }
    }
}

/// What the answer to a whole batch, of creates or of deletes, means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchVerdict {
    /// Answered: of creates, item by item; of deletes a look tells what was deleted.
    Answered,
    /// This server has no such call, or not for this app, or not for this user: single calls instead, from now
    /// on.
    NoSuchPath,
    /// Refused as a whole, and nothing was executed: its rows go singly, to get a number each.
    Refused,
    /// Rows may have been created, or deleted: a look-up tells which.
    InDoubt(Cause),
    /// Not executed, and may be sent again.
    Again(Cause),
    /// The run can't go on.
    Stop(Stop),
}

impl BatchVerdict {
    /// Why the batch has to be sent again, or may have been executed.
    pub const fn cause(self) -> Option<Cause> {
        match self {
            Self::InDoubt(cause) | Self::Again(cause) => Some(cause),
            _ => None,
        }
    }
}

/// Judges the answer to a create. `proven` says that some call of this run has succeeded: before
/// that, an answer that can't come from a CMDB means that the address is wrong; after that, that
/// something between here and the CMDB is.
pub fn judge(reply: &Reply, proven: bool) -> Verdict {
    judge_with(reply, proven, |envelope| envelope.created_id().map(Verdict::Created))
}

/// Judges the answer to a look-up or to the question for model associations.
pub fn judge_query(reply: &Reply, proven: bool) -> Query {
    if let Reply::Oversized(_) = reply {
        // The server answers when it is asked for less.
        return Query::Rejected;
    }
    judge_with(reply, proven, |envelope| is_list(envelope).then_some(Query::Answered))
}

/// Whether the answer is a list, of which null is one (a nil slice in Go).
fn is_list(envelope: &Envelope) -> bool {
    let data = envelope.data.as_ref().map(|data| data.get());
    data.is_some_and(|data| data.starts_with('[') || data == "null")
}

/// Judges the answer to the question which instances there are.
pub fn judge_instances(reply: &Reply, proven: bool) -> Query {
    judge_names(reply, proven, Envelope::has_instances)
}

/// Judges the answer to the question which properties a model has.
pub fn judge_attributes(reply: &Reply, proven: bool) -> Query {
    judge_names(reply, proven, is_list)
}

/// Judges the answer to a question, by what was asked.
pub fn judge_question(route: Route, reply: &Reply, proven: bool) -> Query {
    match route {
        Route::Attributes | Route::AuditRecords => judge_attributes(reply, proven),
        Route::SearchObjectInstances
        | Route::SearchInst
        | Route::ListHosts
        | Route::SearchBusiness
        | Route::List
        | Route::AuditList => judge_instances(reply, proven),
        Route::Create
        | Route::CreateMany
        | Route::Find
        | Route::Models
        | Route::Delete
        | Route::DeleteMany => judge_query(reply, proven),
    }
}

/// The common part of the judges of questions that an entrance may lack. A page that is not found says that the
/// address is wrong, as long as nothing else was answered.
fn judge_names(reply: &Reply, proven: bool, success: impl Fn(&Envelope) -> bool) -> Query {
    match reply {
        Reply::Oversized(_) => Query::Rejected,
        Reply::Answered(answer)
            if (proven || answer.envelope.is_some()) && lacks_call(answer, proven) =>
        {
            Query::NoSuchCall
        }
        _ => judge_with(reply, proven, |envelope| success(envelope).then_some(Query::Answered)),
    }
}

/// Judges the answer to a whole batch.
pub fn judge_batch(reply: &Reply, proven: bool) -> BatchVerdict {
    if let Reply::Answered(answer) = reply
        && lacks_call(answer, proven)
    {
        return BatchVerdict::NoSuchPath;
    }
    let is_object = |envelope: &Envelope| {
        let data = envelope.data.as_ref()?.get();
        data.starts_with('{').then_some(BatchVerdict::Answered)
    };
    judge_with(reply, proven, is_object)
}

/// Judges the answer to a delete.
pub fn judge_delete(reply: &Reply, proven: bool) -> Verdict {
    if let Reply::Answered(answer) = reply
        && (answer.status == 404 && code_of(answer).is_none() || backend_lacks_path(answer))
    {
        return Verdict::Stop(Stop::NoDelete);
    }
    if let Reply::Answered(answer) = reply
        && code_of(answer) == Some(code::NOT_FOUND)
    {
        return Verdict::Failed(Reason::NotFound);
    }
    match judge_with(reply, proven, |_| Some(Verdict::Accepted)) {
        Verdict::Failed(Reason::Forbidden) => Verdict::Failed(Reason::Forbidden),
        // What refuses a create, as taken or for its values, is no reason that a delete has.
        Verdict::Failed(_) | Verdict::LookUp(_) => Verdict::Failed(Reason::Rejected),
        verdict => verdict,
    }
}

/// Judges the answer to a delete of many. Success is said whatever was deleted.
pub fn judge_delete_many(reply: &Reply, proven: bool) -> BatchVerdict {
    if let Reply::Answered(answer) = reply {
        match code_of(answer) {
            // One id that is gone, and none is deleted (tests/wire/names-5.json#5.1). It says nothing of the server.
            Some(code::INTERNAL) => return BatchVerdict::InDoubt(Cause::Unclear),
            // It needs another permission than a single delete. And where the path of single deletes has no
            // model, `batch` is taken for an id.
            Some(code::FORBIDDEN | code::NOT_AN_INTEGER) => return BatchVerdict::NoSuchPath,
            _ if lacks_call(answer, proven) => return BatchVerdict::NoSuchPath,
            _ => {}
        }
    }
    judge_with(reply, proven, |_| Some(BatchVerdict::Answered))
}

/// The common part of all judges: transport first, then success, then the table.
fn judge_with<T: From<Verdict>>(
    reply: &Reply,
    proven: bool,
    success: impl FnOnce(&Envelope) -> Option<T>,
) -> T {
    let verdict = match reply {
        Reply::NotSent(_) => Verdict::Again(Cause::NoAnswer),
        Reply::Lost(_) | Reply::Oversized(_) => Verdict::InDoubt(Cause::NoAnswer),
        Reply::Unusable(_) => Verdict::Stop(Stop::Certificate),
        Reply::Answered(answer) => match &answer.envelope {
            None => by_status(answer, proven),
            Some(envelope) => match (envelope.code(), envelope.succeeded()) {
                (None, _) => by_status(answer, proven),
                (Some(_), Some(true)) => match success(envelope) {
                    Some(verdict) => return verdict,
                    None => Verdict::InDoubt(Cause::Unclear),
                },
                (Some(number), Some(false)) => by_code(number, envelope.message(), answer, proven),
                (Some(_), None) => Verdict::InDoubt(Cause::Unclear),
            },
        },
    };
    verdict.into()
}

impl From<Verdict> for Query {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Created(_) | Verdict::Accepted => Self::Answered,
            Verdict::InDoubt(cause) | Verdict::Again(cause) => Self::Again(cause),
            Verdict::Failed(Reason::Forbidden) => Self::Forbidden,
            Verdict::Failed(_) | Verdict::LookUp(_) => Self::Rejected,
            Verdict::Stop(stop) => Self::Stop(stop),
        }
    }
}

impl From<Verdict> for BatchVerdict {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Created(_) | Verdict::Accepted => Self::Answered,
            Verdict::InDoubt(cause) => Self::InDoubt(cause),
            // A batch has no transaction: one item's failure says nothing about the items before it.
            Verdict::LookUp(_) => Self::InDoubt(Cause::Unclear),
            Verdict::Again(Cause::Locked) => Self::InDoubt(Cause::Locked),
            Verdict::Again(cause) => Self::Again(cause),
            Verdict::Failed(_) => Self::Refused,
            Verdict::Stop(stop) => Self::Stop(stop),
        }
    }
}

fn code_of(answer: &Answer) -> Option<i64> {
    answer.envelope.as_ref()?.code()
}

/// Whether the server has no such call for us: the path does not exist, or this app may not call it
/// although it may call others.
fn lacks_call(answer: &Answer, proven: bool) -> bool {
    match code_of(answer) {
        None => answer.status == 404,
        Some(
            code::ESB_NO_PERMISSION
            | code::ESB_NO_COMPONENT
            | code::ESB_INACTIVE
            | code::GATEWAY_NO_PERMISSION
            | code::GATEWAY_NOT_FOUND,
        ) => proven,
        Some(_) => backend_lacks_path(answer),
    }
}

/// Whether the entrance says that the CMDB behind it does not know the path.
fn backend_lacks_path(answer: &Answer) -> bool {
    answer.envelope.as_ref().is_some_and(|envelope| {
        let message = envelope.message();
        match envelope.code() {
            Some(code::ESB_CATCH_ALL) => message.starts_with(ESB_NO_SUCH_PATH),
            Some(code::NO_BACKEND) => message.starts_with(NO_SUCH_PATH),
            _ => false,
        }
    })
}

#[cfg(test)]
mod tests;
