//! What one answer means for a row: one pure table.
//!
//! Owns the classification of contract section 12 and design section 5, for creates and for the calls
//! around them. Knows nothing of attempts, time or what was sent before. `tests/wire/verdicts.txt`
//! shows the whole policy as data.

mod advice;
mod texts;

use crate::outcome::Reason;
use crate::wire::{Answer, Envelope, Reply, code};
use texts::{ESB_NO_SUCH_PATH, NO_SUCH_PATH, known_text};

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

impl Cause {
    /// Whether there was no answer of substance: the server may be down, or was asked too much at once.
    pub const fn is_silence(self) -> bool {
        matches!(self, Self::NoAnswer | Self::Overload)
    }
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

/// What an answer to a question (a look-up, a model association) means. Asking twice does no harm, so
/// that nothing is ever in doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Query {
    /// Answered, with a list of what was found.
    Answered,
    /// No answer yet.
    Again(Cause),
    /// The question itself is refused.
    Rejected,
    /// This user may not ask.
    Forbidden,
    /// The run can't go on.
    Stop(Stop),
}

impl Query {
    /// Why it has to be asked again, if it has.
    pub const fn cause(self) -> Option<Cause> {
        match self {
            Self::Again(cause) => Some(cause),
            _ => None,
        }
    }
}

/// What the answer to a whole batch means (design section 8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batch {
    /// Answered, item by item.
    Answered,
    /// This server has no such call, or not for this app: single calls instead, from now on.
    NoSuchPath,
    /// Refused as a whole, nothing done: its rows go singly, to get their numbers.
    Refused,
    /// Rows may have been created: a look-up tells which.
    InDoubt(Cause),
    /// Not executed, and may be sent again.
    Again(Cause),
    /// The run can't go on.
    Stop(Stop),
}

/// What the answer to a delete means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// The server says so. It says the same of an id that was gone, or that another model has
    /// (captures-chain), so that only looking before and after proves it.
    Accepted,
    /// It may have been executed: a look-up tells.
    InDoubt(Cause),
    /// It was not executed, and may be sent again.
    Again(Cause),
    /// This row fails.
    Failed(Reason),
    /// The run can't go on.
    Stop(Stop),
}

/// Judges the answer to a create. `proven` says that some call of this run has succeeded: before
/// that, an answer that can't come from a CMDB means that the address is wrong, after it that
/// something in between is.
pub fn judge(reply: &Reply, proven: bool) -> Verdict {
    judge_with(reply, proven, |envelope| envelope.created_id().map(Verdict::Created))
}

/// Judges the answer to a look-up or to the question for model associations.
pub fn judge_query(reply: &Reply, proven: bool) -> Query {
    let is_list = |envelope: &Envelope| {
        let data = envelope.data.as_ref()?.get();
        (data.starts_with('[') || data == "null").then_some(Query::Answered)
    };
    judge_with(reply, proven, is_list)
}

/// Judges the answer to a whole batch.
pub fn judge_batch(reply: &Reply, proven: bool) -> Batch {
    if let Reply::Answered(answer) = reply
        && lacks_batch(answer, proven)
    {
        return Batch::NoSuchPath;
    }
    let is_object = |envelope: &Envelope| {
        let data = envelope.data.as_ref()?.get();
        data.starts_with('{').then_some(Batch::Answered)
    };
    judge_with(reply, proven, is_object)
}

/// Judges the answer to a delete.
pub fn judge_delete(reply: &Reply, proven: bool) -> Deletion {
    if let Reply::Answered(answer) = reply
        && (answer.status == 404 && code_of(answer).is_none() || backend_lacks_path(answer))
    {
        return Deletion::Stop(Stop::Setup);
    }
    if let Reply::Answered(answer) = reply
        && code_of(answer) == Some(code::NOT_FOUND)
    {
        return Deletion::Failed(Reason::NotFound);
    }
    judge_with(reply, proven, |_| Some(Deletion::Accepted))
}

/// Every judge: transport first, then success, then the table.
fn judge_with<T: From<Verdict>>(
    reply: &Reply,
    proven: bool,
    success: impl FnOnce(&Envelope) -> Option<T>,
) -> T {
    let verdict = match reply {
        Reply::NotSent(_) => Verdict::Again(Cause::NoAnswer),
        Reply::Lost(_) => Verdict::InDoubt(Cause::NoAnswer),
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
            Verdict::Created(_) => Self::Answered,
            Verdict::InDoubt(cause) | Verdict::Again(cause) => Self::Again(cause),
            Verdict::Failed(Reason::Forbidden) => Self::Forbidden,
            Verdict::Failed(_) | Verdict::LookUp(_) => Self::Rejected,
            Verdict::Stop(stop) => Self::Stop(stop),
        }
    }
}

impl From<Verdict> for Batch {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Created(_) => Self::Answered,
            Verdict::InDoubt(cause) => Self::InDoubt(cause),
            // A batch has no transaction: what one item ran into says nothing of those before it.
            Verdict::LookUp(_) => Self::InDoubt(Cause::Unclear),
            Verdict::Again(Cause::Locked) => Self::InDoubt(Cause::Locked),
            Verdict::Again(cause) => Self::Again(cause),
            Verdict::Failed(_) => Self::Refused,
            Verdict::Stop(stop) => Self::Stop(stop),
        }
    }
}

impl From<Verdict> for Deletion {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Created(_) => Self::Accepted,
            Verdict::InDoubt(cause) => Self::InDoubt(cause),
            Verdict::Again(cause) => Self::Again(cause),
            Verdict::Failed(Reason::Forbidden) => Self::Failed(Reason::Forbidden),
            Verdict::Failed(_) | Verdict::LookUp(_) => Self::Failed(Reason::Rejected),
            Verdict::Stop(stop) => Self::Stop(stop),
        }
    }
}

fn code_of(answer: &Answer) -> Option<i64> {
    answer.envelope.as_ref()?.code()
}

/// Whether the server has no batch call: no such path, or none that this app may call although it may
/// call others.
fn lacks_batch(answer: &Answer, proven: bool) -> bool {
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

/// Whether an entrance says that the CMDB behind it does not know the path.
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

/// The table of numbers: contract section 12, with design section 5's additions.
fn by_code(number: i64, message: &str, answer: &Answer, proven: bool) -> Verdict {
    use Cause::{Locked, NoAnswer, Throttled, Unclear, UnknownCode};
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
        | code::GATEWAY_BODY_TOO_LARGE
        | code::GATEWAY_URI_TOO_LONG => Failed(Reason::Rejected),

        code::LOCKED | code::LOCKED_3_9 => Again(Locked),
        code::TOO_MANY_REQUESTS | code::ESB_THROTTLED | 1_642_900..=1_642_999 => Again(Throttled),
        // Refused before anything was begun.
        code::AUTH_FAILED
        | code::TRANSACTION_NOT_STARTED
        | code::NO_BACKEND
        | code::GATEWAY_INTERNAL
        | code::GATEWAY_UNAVAILABLE => Again(NoAnswer),

        // On 3.9.27 and older 1109002 stands for any failure of the core (contract section 3.4).
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

        // The number is new to us, the status is not.
        _ if answer.status == 429 => Again(Throttled),
        _ => stop_of(number).map_or(InDoubt(UnknownCode), Verdict::Stop),
    }
}

/// The numbers that no other row will fare better with.
fn stop_of(number: i64) -> Option<Stop> {
    Some(match number {
        code::ESB_OPERATOR_ERROR | code::ESB_USER_ERROR | code::GATEWAY_INVALID_ARGS => {
            Stop::Credentials
        }
        1_640_100..=1_640_199 => Stop::Credentials,
        code::ESB_NO_PERMISSION | 1_640_300..=1_640_399 => Stop::ApiForbidden,
        code::GATEWAY_NOT_FOUND => Stop::WrongAddress,
        code::NO_USER
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

/// An answer without a number: its HTTP status is all there is.
fn by_status(answer: &Answer, proven: bool) -> Verdict {
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

/// Whether something else than a CMDB spoke: a web page, or a JSON object that says nothing of a
/// result. An empty body and JSON that was cut are no such signs.
fn is_foreign(answer: &Answer) -> bool {
    if let Some(envelope) = &answer.envelope {
        return envelope.result.is_none();
    }
    let text = answer.excerpt.trim_start();
    !text.is_empty() && !text.starts_with('{')
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::ops::RangeInclusive;

    use super::texts::{Find, TEXTS};
    use super::*;
    use crate::target::Entrance;

    /// Every answer's verdict, in the words of `tests/wire/verdicts.txt`.
    fn verdicts(reply: &Reply, proven: bool) -> [String; 4] {
        [
            format!("{:?}", judge(reply, proven)),
            format!("{:?}", judge_query(reply, proven)),
            format!("{:?}", judge_batch(reply, proven)),
            format!("{:?}", judge_delete(reply, proven)),
        ]
    }

    fn answer(status: u16, body: &str) -> Reply {
        let envelope = Envelope::parse(body.as_bytes());
        Reply::Answered(Answer {
            status,
            excerpt: match envelope {
                Some(_) => String::new(),
                None => body.to_owned(),
            },
            envelope,
            ..Answer::default()
        })
    }

    fn refusal(number: i64, message: &str) -> Reply {
        let envelope = Envelope::new(false, number, message, Box::default());
        Reply::Answered(Answer { status: 200, envelope: Some(envelope), ..Answer::default() })
    }

    fn heading(table: &mut String, title: &str) {
        let columns = ["create", "query", "batch", "delete"];
        writeln!(table, "\n## {title}\n").unwrap();
        row(table, "", &columns.map(str::to_owned));
    }

    fn row(table: &mut String, what: &str, cells: &[String; 4]) {
        let [create, query, batch, delete] = cells;
        writeln!(table, "{what:66} {create:27} {query:22} {batch:22} {delete}").unwrap();
    }

    /// One row, and a second one where an answer means something else later in a run.
    fn rows(table: &mut String, what: &str, reply: &Reply) {
        let (first, later) = (verdicts(reply, false), verdicts(reply, true));
        row(table, what, &first);
        if first != later {
            row(table, "    once a call has succeeded", &later);
        }
    }

    /// Neighbouring statuses with one policy share a row, and so do bodies.
    fn statuses(table: &mut String) {
        const BODIES: [(&str, &str); 5] = [
            ("no body", ""),
            ("a web page", "<html>"),
            ("cut JSON", r#"{"result":tr"#),
            ("CMDB's JSON", r#"{"result":false,"message":"x","data":null}"#),
            ("other JSON", r#"{"error":"x"}"#),
        ];
        let policy = |status: u16| {
            BODIES.map(|(_, body)| [false, true].map(|p| verdicts(&answer(status, body), p)))
        };
        let mut runs: Vec<RangeInclusive<u16>> = Vec::new();
        for status in 100..=599 {
            match runs.last_mut() {
                Some(run) if policy(*run.end()) == policy(status) => *run = *run.start()..=status,
                _ => runs.push(status..=status),
            }
        }
        for run in runs {
            let (from, to) = (*run.start(), *run.end());
            let policies = policy(from);
            for (place, (kind, body)) in BODIES.iter().enumerate() {
                let same = |other: usize| policies[other] == policies[place];
                if (0..place).any(same) {
                    continue;
                }
                let kinds: Vec<_> = (place..BODIES.len()).filter(|&other| same(other)).collect();
                let kinds = match kinds.len() {
                    5 => "any body".to_owned(),
                    1 => (*kind).to_owned(),
                    _ => kinds.iter().map(|&kind| BODIES[kind].0).collect::<Vec<_>>().join(", "),
                };
                let range = if from == to { from.to_string() } else { format!("{from}-{to}") };
                rows(table, &format!("{range:8} {kinds}"), &answer(from, body));
            }
        }
    }

    const HEAD: &str = "\
# The whole policy: what each answer means for a create, for a query (look-up, model association), for
# a whole batch and for a delete. Written by the test in verdict.rs that holds it, when run with
# UPDATE_SNAPSHOTS=1. Sources: contract section 12, design section 5, the captures.
";

    #[test]
    fn the_table_in_tests_wire_is_the_policy() {
        let mut table = HEAD.to_owned();
        heading(&mut table, "No answer");
        rows(&mut table, "not sent", &Reply::NotSent(String::new()));
        rows(&mut table, "lost", &Reply::Lost(String::new()));
        rows(&mut table, "unusable", &Reply::Unusable(String::new()));

        heading(&mut table, "HTTP status, where the body has no number");
        statuses(&mut table);

        heading(&mut table, "Success, and what looks like it");
        for body in [
            r#"{"result":true,"code":0,"data":{"id":7}}"#,
            r#"{"result":true,"code":"0","data":{"id":7}}"#,
            r#"{"result":true,"bk_error_code":0,"data":{"id":7}}"#,
            r#"{"result":true,"code":0,"data":[]}"#,
            r#"{"result":true,"code":0,"data":null}"#,
            r#"{"result":true,"code":0}"#,
            r#"{"result":true,"code":0,"data":{"id":0}}"#,
            r#"{"result":true,"code":0,"data":{"id":-7}}"#,
            r#"{"result":true,"code":0,"data":{"id":"7"}}"#,
            r#"{"result":true,"code":0,"data":{"id":7.5}}"#,
            r#"{"result":true,"code":0,"data":{"id":9223372036854775808}}"#,
            r#"{"result":false,"code":0,"data":{"id":7}}"#,
            r#"{"code":0,"data":{"id":7}}"#,
            r#"{"result":true,"data":{"id":7}}"#,
            r#"{"result":true,"code":1199014,"data":{"id":7}}"#,
            r#"{"result":"true","code":0,"data":{"id":7}}"#,
            r#"{"code":1199014}"#,
        ] {
            rows(&mut table, body, &answer(200, body));
        }

        heading(&mut table, "Numbers, whatever the text and the HTTP status");
        for number in numbers() {
            rows(&mut table, &number.to_string(), &refusal(number, "any text"));
        }
        rows(&mut table, "a number that nobody knows", &refusal(42, ""));
        rows(
            &mut table,
            "a number that nobody knows, HTTP 429",
            &answer(429, r#"{"result":false,"code":42}"#),
        );

        heading(&mut table, "Numbers with several causes, told apart by a text");
        for text in TEXTS {
            let (message, shown) = match text.find {
                Find::Prefix(prefix) => (format!("{prefix} and more"), format!("{prefix}…")),
                Find::Part(part) => (format!("before {part} after"), format!("…{part}…")),
            };
            rows(&mut table, &format!("{} {shown}", text.number), &refusal(text.number, &message));
        }
        rows(
            &mut table,
            "1306000 …not a json string: 404: Page Not Found",
            &refusal(code::ESB_CATCH_ALL, ESB_NO_SUCH_PATH),
        );

        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/wire/verdicts.txt");
        if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
            std::fs::write(path, &table).unwrap();
        }
        let kept = std::fs::read_to_string(path).unwrap();
        for (number, (now, kept)) in table.lines().zip(kept.lines()).enumerate() {
            assert_eq!(now, kept, "{path}:{}", number + 1);
        }
        assert_eq!(table.lines().count(), kept.lines().count(), "{path}");
    }

    /// Every number of contract section 12 and of the captures.
    fn numbers() -> impl Iterator<Item = i64> {
        let alone = [
            -1, 1_101_046, 1_101_052, 1_101_061, 1_101_062, 1_101_072, 1_101_073, 1_101_074,
            1_102_020, 1_109_001, 1_109_002, 1_109_005, 1_113_051, 1_113_053, 1_199_000, 1_199_002,
            1_199_003, 1_199_006, 1_199_009, 1_199_010, 1_199_011, 1_199_014, 1_199_019, 1_199_027,
            1_199_035, 1_199_036, 1_199_037, 1_199_038, 1_199_045, 1_199_046, 1_199_059, 1_199_065,
            1_199_066, 1_199_067, 1_199_099, 1_199_997, 1_199_998, 1_199_999, 1_306_000, 1_306_201,
            1_306_203, 1_306_206, 1_306_207, 1_306_208, 1_306_209, 1_306_401, 1_306_402, 1_306_403,
            1_306_404, 1_306_405, 1_306_406, 1_306_408, 1_306_429, 1_640_001, 1_640_004, 1_640_100,
            1_640_101, 1_640_102, 1_640_301, 1_640_302, 1_640_303, 1_640_304, 1_640_401, 1_641_301,
            1_641_401, 1_642_901, 1_642_902, 1_642_903, 1_642_904, 1_650_000, 1_650_001, 1_650_002,
            1_650_200, 1_650_201, 1_650_300, 1_650_401, 1_650_801, 9_900_403,
        ];
        alone.into_iter()
    }

    #[test]
    fn a_number_decides_whatever_the_status() {
        for status in 100..=599 {
            let refused = answer(status, r#"{"result":false,"bk_error_code":"1199014"}"#);
            assert_eq!(judge(&refused, false), Verdict::LookUp(Taken::Triple), "{status}");
        }
    }

    #[test]
    fn an_answer_nested_beyond_measure_is_one_that_did_not_arrive() {
        let deep = "[".repeat(100_000);
        for body in [
            deep.clone(),
            format!(r#"{{"code":{deep}"#),
            format!(r#"{{"result":true,"code":0,"data":{deep}"#),
            format!(r#"{{"message":{deep}"#),
        ] {
            assert_eq!(judge(&answer(200, &body), true), Verdict::InDoubt(Cause::NoAnswer));
        }
        let closed = format!(r#"{{"result":true,"code":0,"data":{deep}{}}}"#, "]".repeat(100_000));
        assert_eq!(judge(&answer(200, &closed), true), Verdict::InDoubt(Cause::Unclear));
        let Reply::Answered(Answer { envelope: Some(envelope), .. }) = answer(200, &closed) else {
            panic!("it is a JSON object");
        };
        assert_eq!((envelope.found(), envelope.models()), (None, None));
    }

    #[test]
    fn the_advice_names_the_credential_that_the_esb_refused() {
        for (message, flag) in [
            ("APP Code [bk_app_code] cannot be empty", "--app-code"),
            ("Invalid APP Code [bk_app_code=no_such_app], please", "--app-code"),
            ("APP Secret verification failed, pelase confirm", "--app-secret-file"),
            ("Signature [bk_signature] and APP Secret [bk_app_secret]", "BK_APP_SECRET"),
            ("User authentication failed, please provide a valid", "white list"),
            ("User authentication failed, please check if the bk_token is", "--token-file"),
            ("The specified user TOKEN [bk_access_token] does not", "--token-file"),
        ] {
            let reply = refusal(code::ESB_CATCH_ALL, message);
            let advice = Stop::Credentials.advice(&reply, Entrance::Esb);
            assert!(advice.contains(flag), "{message}: {advice}");
        }
    }

    #[test]
    fn every_stop_has_an_advice_that_names_a_flag_or_who_can_help() {
        let silent = Reply::Lost(String::new());
        for stop in [
            Stop::Credentials,
            Stop::ApiForbidden,
            Stop::WrongAddress,
            Stop::Certificate,
            Stop::Setup,
        ] {
            for entrance in [Entrance::Esb, Entrance::Gateway, Entrance::Native] {
                let advice = stop.advice(&silent, entrance);
                assert!(advice.contains("--") || advice.contains("administrator"), "{advice}");
            }
        }
    }
}
