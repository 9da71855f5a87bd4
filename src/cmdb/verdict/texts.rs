//! Numbers that stand for several causes, told apart by a text.

use super::{Cause, Stop, Taken, Verdict};
use crate::cmdb::wire::code;
use crate::outcome::Reason;

/// Where a known text stands in a message.
#[derive(Clone, Copy, Debug)]
pub(super) enum Position {
    /// At the beginning.
    Prefix(&'static str),
    /// Anywhere.
    Part(&'static str),
}

/// A text that tells apart the causes of one number.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text {
    pub(super) number: i64,
    pub(super) position: Position,
    pub(super) verdict: Verdict,
    /// What to change, where a person can.
    pub(super) advice: &'static str,
}

const fn text(number: i64, position: Position, verdict: Verdict) -> Text {
    Text { number, position, verdict, advice: "" }
}

const fn credential(prefix: &'static str, advice: &'static str) -> Text {
    stop(code::ESB_CATCH_ALL, prefix, Stop::Credentials, advice)
}

const fn stop(number: i64, prefix: &'static str, stop: Stop, advice: &'static str) -> Text {
    Text { number, position: Position::Prefix(prefix), verdict: Verdict::Stop(stop), advice }
}

const NO_USER: &str = "CMDB got no user from the gateway: give --username (or BK_USERNAME), or a user's bk_token with \
     --token-file (or BK_TOKEN)";
const NO_APP: &str = "the gateway did not vouch for this app: check --app-code (or BK_APP_CODE) and \
                      --app-secret-file (or BK_APP_SECRET)";

pub(super) const ESB_NO_SUCH_PATH: &str =
    "Request interface error, the response content is not a json string: 404: Page Not Found";
pub(super) const NO_SUCH_PATH: &str = "rewrite request failed, unknown requested";

/// The one table of texts, for numbers that stand for several causes; the first that fits decides. The
/// ESB's own messages are English in every language (tests/wire/esb-5.json#5.3), and so are those of
/// drivers and of Go's network library. `docs/cmdb-api.md` says where each comes from.
pub(super) const TEXTS: &[Text] = {
    use Cause::NoAnswer;
    use Position::{Part, Prefix};
    use Verdict::{Again, Failed, InDoubt, LookUp};
    &[
        credential(
            "APP Code [bk_app_code]",
            "the ESB got no app code: give --app-code (or BK_APP_CODE)",
        ),
        credential(
            "Invalid APP Code",
            "the ESB does not know this app code: check --app-code (or BK_APP_CODE)",
        ),
        credential(
            "APP Secret verification failed",
            "the secret does not belong to this app code: check --app-secret-file (or \
             BK_APP_SECRET) and --app-code",
        ),
        credential(
            "Signature [bk_signature] and APP Secret",
            "the ESB got no app secret: give --app-secret-file (or BK_APP_SECRET)",
        ),
        credential(
            "User authentication failed, please check if the bk_token",
            "the user's token is not valid, or not any more: log in anew and give the new bk_token \
             with --token-file (or BK_TOKEN), or use --username",
        ),
        credential(
            "User authentication failed",
            "give --username of a user for whom this app may call without login (the ESB's \
             user_auth::skip_user_auth white list has to name the app), or a bk_token with \
             --token-file (or BK_TOKEN)",
        ),
        credential(
            "The specified user TOKEN",
            "the ESB does not know this access token: check --token-file (or BK_TOKEN)",
        ),
        text(code::ESB_CATCH_ALL, Prefix("Request JSON string is wrong"), Failed(Reason::Rejected)),
        text(code::ESB_CATCH_ALL, Prefix("request bkauth api error"), Again(NoAnswer)),
        text(code::ESB_CATCH_ALL, Prefix("Request interface error"), InDoubt(NoAnswer)),
        text(code::ESB_CATCH_ALL, Prefix("An error occurred while requesting"), InDoubt(NoAnswer)),
        text(code::ESB_CATCH_ALL, Prefix("Component error"), InDoubt(NoAnswer)),
        text(
            code::ESB_BACKEND,
            Prefix("Component request third-party system [BK_LOGIN]"),
            Again(NoAnswer),
        ),
        text(code::ESB_BACKEND, Part("Connection refused"), Again(NoAnswer)),
        text(code::PROXY_FAILED, Part("connect: connection refused"), Again(NoAnswer)),
        text(code::NO_BACKEND, Prefix(NO_SUCH_PATH), Verdict::Stop(Stop::WrongAddress)),
        text(code::UNKNOWN_OR_DRIVER, Part("E11000"), LookUp(Taken::Triple)),
        // What CMDB makes of the gateway's token before it looks at the call.
        stop(code::UNKNOWN_OR_DRIVER, "user is not set", Stop::Credentials, NO_USER),
        stop(code::UNKNOWN_OR_DRIVER, "user info is not set", Stop::Credentials, NO_USER),
        stop(code::UNKNOWN_OR_DRIVER, "app is not verified", Stop::Credentials, NO_APP),
        stop(code::UNKNOWN_OR_DRIVER, "app info is not set", Stop::Credentials, NO_APP),
        stop(
            code::UNKNOWN_OR_DRIVER,
            "jwt public key is not set",
            Stop::Setup,
            "CMDB does not have the gateway's public key: its administrator has to set it (the \
             apiserver's configuration, jwt.publicKey), or use --entrance esb or native",
        ),
        text(
            code::BAD_AUTH_ATTRIBUTES,
            Prefix("model association ["),
            Failed(Reason::UnknownAssociation),
        ),
        // The permission check comes before the create: where it fails, nothing was executed.
        text(code::BAD_AUTH_ATTRIBUTES, Prefix("Post "), Again(NoAnswer)),
        text(code::BAD_AUTH_ATTRIBUTES, Prefix("Get "), Again(NoAnswer)),
        text(code::BAD_AUTH_ATTRIBUTES, Part("dial tcp"), Again(NoAnswer)),
    ]
};

/// The first entry that fits.
pub(super) fn known_text(number: i64, message: &str) -> Option<&'static Text> {
    TEXTS.iter().find(|text| {
        text.number == number
            && match text.position {
                Position::Prefix(prefix) => message.starts_with(prefix),
                Position::Part(part) => message.contains(part),
            }
    })
}
