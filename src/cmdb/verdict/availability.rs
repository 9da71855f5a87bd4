//! Whether an answer shows that there is a call for us.

use super::{backend_lacks_path, code_of};
use crate::cmdb::wire::{Answer, Envelope, Reply, Route, code};

/// Whether there is a call for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Availability {
    /// What does it has answered.
    There,
    /// The same, with a refusal: this user lacks a permission.
    Forbidden,
    /// The entrance has no such call.
    Absent,
    /// The entrance sends it to a path that the CMDB behind it does not have.
    Unserved,
    /// This app may not make it.
    NotGranted,
}

/// What CMDB's permission check says of a path that it does not know (docs/cmdb-api.md#permissions).
const NO_RULE: &str = "no matched rules";
/// What CMDB's own router says of one, in plain text (tests/wire/cmdb-05.json#5.9).
const NO_PAGE: &str = "404: Page Not Found";
/// What the permission check says where it knows the path, and not the model that the call is about.
const OF_NO_MODEL: [&str; 2] = ["model ", "get model by objID failed"];

impl Availability {
    /// The word that `run.json` and `--json` have for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::There => "there",
            Self::Forbidden => "forbidden",
            Self::Absent => "absent",
            Self::Unserved => "unserved",
            Self::NotGranted => "not-granted",
        }
    }

    /// Whether the call does what it is there for, as far as the app goes.
    pub const fn is_there(self) -> bool {
        matches!(self, Self::There | Self::Forbidden)
    }
}

/// What an answer on a route says of that. `None` where it does not tell: no answer, a limit, a page of
/// something on the way, a failure that has nothing to do with the call.
pub fn availability(route: Route, reply: &Reply) -> Option<Availability> {
    let Reply::Answered(answer) = reply else { return None };
    let message = answer.envelope.as_ref().map_or("", Envelope::message);
    let Some(number) = code_of(answer) else {
        return is_of_router(answer).then_some(Availability::Absent);
    };
    if backend_lacks_path(answer) {
        return Some(Availability::Unserved);
    }
    Some(match number {
        0 if answer.envelope.as_ref()?.succeeded() == Some(true) => Availability::There,
        code::FORBIDDEN => Availability::Forbidden,
        code::ESB_NO_COMPONENT | code::ESB_INACTIVE | code::GATEWAY_NOT_FOUND => {
            Availability::Absent
        }
        code::ESB_NO_PERMISSION | code::GATEWAY_NO_PERMISSION => Availability::NotGranted,
        code::BAD_AUTH_ATTRIBUTES if message == NO_RULE => Availability::Unserved,
        // Where the path of single deletes has no model, `batch` is taken for an id.
        code::NOT_AN_INTEGER if route == Route::DeleteMany => Availability::Unserved,
        code::BAD_AUTH_ATTRIBUTES | code::UNKNOWN_OR_DRIVER
            if OF_NO_MODEL.iter().any(|text| message.starts_with(text)) =>
        {
            Availability::There
        }
        // What the apiserver says before it has found out where a call goes, and what says nothing.
        code::BAD_AUTH_ATTRIBUTES
        | code::AUTH_FAILED
        | code::NO_USER
        | code::HTTP_FAILED
        | code::PROXY_FAILED
        | code::NO_BACKEND
        | code::NOT_CERTIFIED
        | code::INVALID_TENANT
        | code::TOO_MANY_REQUESTS..=code::INTERNAL => return None,
        1_100_000..=1_199_999 => Availability::There,
        _ => return None,
    })
}

/// Whether it is a router that does not know the path, an ESB's in JSON or CMDB's in plain text. Any other page may
/// be that of something on the way.
fn is_of_router(answer: &Answer) -> bool {
    answer.status == 404 && (answer.envelope.is_some() || answer.excerpt.starts_with(NO_PAGE))
}
