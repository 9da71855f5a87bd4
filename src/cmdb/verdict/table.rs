//! What each number means, and what a status does where there is none.

use super::texts::known_text;
use super::{Cause, Stop, Taken, Verdict};
use crate::cmdb::wire::{Answer, code};
use crate::outcome::Reason;

/// The table of numbers (docs/cmdb-api.md; docs/failures.md explains each).
pub(super) fn by_code(number: i64, message: &str, answer: &Answer, proven: bool) -> Verdict {
    use Cause::{Crowded, Locked, NoAnswer, Throttled, Unclear, UnknownCode};
    use Verdict::{Again, Failed, InDoubt, LookUp};

    if let Some(text) = known_text(number, message) {
        return match text.verdict {
            Verdict::Stop(Stop::WrongAddress) if proven => Again(NoAnswer),
            verdict => verdict,
        };
    }
    match number {
        code::DUPLICATE => LookUp(Taken::Triple),
        code::MAPPING_ONE_TO_ONE | code::MAPPING_ONE_TO_MANY => LookUp(Taken::Side),

        code::UNKNOWN_ASSOCIATION | code::ASSOCIATION_NOT_UNIQUE | code::ASSOCIATION_VANISHED => {
            Failed(Reason::UnknownAssociation)
        }
        code::MISSING_SOURCE => Failed(Reason::MissingSource),
        code::MISSING_TARGET => Failed(Reason::MissingTarget),
        code::FORBIDDEN => Failed(Reason::Forbidden),
        code::BAD_JSON
        | code::BAD_PARAMETER
        | code::BAD_FIELD
        | code::NOT_AN_INTEGER
        | code::UNASSIGNED
        | code::INVALID_PARAMETER
        | code::NOT_FOUND
        | code::OVER_LIMIT
        | code::EMPTY_DETAILS
        | code::BAD_AUTH_ATTRIBUTES
        | code::TOO_MANY
        | code::INNER_MODEL
        | code::GATEWAY_BODY_TOO_LARGE
        | code::GATEWAY_URI_TOO_LONG => Failed(Reason::Rejected),

        code::LOCKED | code::LOCKED_3_9 => Again(Locked),
        code::GATEWAY_CONCURRENCY => Again(Crowded),
        code::TOO_MANY_REQUESTS | code::ESB_THROTTLED | 1_642_900..=1_642_999 => Again(Throttled),
        // Refused before anything was executed.
        code::AUTH_FAILED
        | code::TRANSACTION_NOT_STARTED
        | code::NO_BACKEND
        | code::GATEWAY_INTERNAL
        | code::GATEWAY_UNAVAILABLE => Again(NoAnswer),

        // Up to 3.9.27, 1109002 stands for any failure of the core (docs/cmdb-api.md#versions).
        code::AUDIT_SAVE
        | code::AUDIT_SNAPSHOT
        | code::AUDIT_BATCH
        | code::TRANSACTION_NOT_COMMITTED
        | code::TRANSACTION_ABORTED => InDoubt(Unclear),
        code::GO_ERROR
        | code::HTTP_FAILED
        | code::PROXY_FAILED
        | code::ID_SEQUENCE
        | code::UNKNOWN_OR_DRIVER
        | code::INTERNAL
        | code::ESB_CATCH_ALL
        | code::ESB_BACKEND
        | code::ESB_RESULT_FORMAT
        | 1_650_000..=1_650_499 => InDoubt(NoAnswer),

        // The number is unknown, the status is not.
        _ if answer.status == 429 => Again(Throttled),
        _ => stop_of(number).map_or(InDoubt(UnknownCode), Verdict::Stop),
    }
}

/// The numbers that every other row would get too.
fn stop_of(number: i64) -> Option<Stop> {
    Some(match number {
        code::ESB_OPERATOR_ERROR | code::ESB_USER_ERROR | code::GATEWAY_INVALID_ARGS => {
            Stop::Credentials
        }
        code::NOT_CERTIFIED | 1_640_100..=1_640_199 => Stop::Credentials,
        code::ESB_NO_PERMISSION | 1_640_300..=1_640_399 => Stop::ApiForbidden,
        code::GATEWAY_NOT_FOUND => Stop::WrongAddress,
        code::NO_USER
        | code::INVALID_TENANT
        | code::ESB_TLS_TO_BACKEND
        | code::ESB_TEST_HOST
        | code::ESB_BLOCKED
        | code::ESB_BAD_METHOD
        | 1_306_404..=1_306_408
        | code::GATEWAY_JWT
        | code::GATEWAY_RECURSION => Stop::Setup,
        _ => return None,
    })
}

/// The verdict of an answer without a number, by its HTTP status.
pub(super) fn by_status(answer: &Answer, proven: bool) -> Verdict {
    let json = answer.envelope.is_some();
    match answer.status {
        429 => Verdict::Again(Cause::Throttled),
        413 => Verdict::Failed(Reason::Rejected),
        401 if !proven => Verdict::Stop(Stop::Credentials),
        403 if !proven => Verdict::Stop(Stop::ApiForbidden),
        // A proxy's own timeout is no sign of a wrong address.
        408 => Verdict::InDoubt(Cause::NoAnswer),
        300..=499 if !proven => Verdict::Stop(Stop::WrongAddress),
        500 if json => Verdict::InDoubt(Cause::Overload),
        200..=299 if !proven && is_foreign(answer) => Verdict::Stop(Stop::WrongAddress),
        200..=299 if json => Verdict::InDoubt(Cause::Unclear),
        _ => Verdict::InDoubt(Cause::NoAnswer),
    }
}

/// Whether something other than a CMDB answered: a web page, or a JSON object without `result`. An
/// empty body and cut JSON are no such signs.
fn is_foreign(answer: &Answer) -> bool {
    if let Some(envelope) = &answer.envelope {
        return envelope.result.is_none();
    }
    let text = answer.excerpt.trim_start();
    !text.is_empty() && !text.starts_with('{')
}
