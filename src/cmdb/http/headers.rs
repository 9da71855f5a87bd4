//! Request and response headers, and the credentials, which travel in a header or in the body
//! (docs/cmdb-api.md#credentials-and-headers).

use std::fmt::Write as _;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use serde::Serialize;

use super::ClientError;
use crate::cmdb::wire::{RateHint, RequestId, SharedBy};
use crate::options::Language;
use crate::target::{Entrance, Identity, Secret, Target};

/// More calls in a window than any server allows.
const MOST_CALLS: u64 = 1_000_000;
/// The longest wait, in seconds, that a server is obeyed in.
const LONGEST_WAIT: u64 = 24 * 60 * 60;

/// The first of two names is that of CMDB 3.5 to 3.13, the second that of 3.14 and newer.
const ACCOUNT: [&str; 2] = ["http_blueking_supplier_id", "x-bkcmdb-supplier-account"];
const USER: [&str; 2] = ["bk_user", "x-bkcmdb-user"];

/// The credentials, in the order of the API's own example (tests/wire/seed.json#1). The server prefers
/// a token to a username (tests/wire/esb-2.json#2.9), so a token goes out only where there is no
/// username.
#[derive(Serialize)]
#[expect(clippy::struct_field_names, reason = "the server's names")]
pub(super) struct Credentials<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    bk_app_code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bk_app_secret: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bk_username: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bk_token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bk_supplier_account: Option<&'a str>,
}

impl<'a> Credentials<'a> {
    /// As the ESB takes them. The ESB assumes account 0 where none is given.
    pub(super) fn in_body(target: &'a Target, identity: &'a Identity) -> Self {
        let account = target.has_own_account().then_some(target.supplier_account.as_str());
        Self { bk_supplier_account: account, ..Self::in_header(identity) }
    }

    /// As the gateway takes them.
    fn in_header(identity: &'a Identity) -> Self {
        let username = identity.username.as_deref();
        let token = identity.token.as_ref().filter(|_| username.is_none());
        Self {
            bk_app_code: identity.app_code.as_deref(),
            bk_app_secret: identity.app_secret.as_ref().map(Secret::expose),
            bk_username: username,
            bk_token: token.map(Secret::expose),
            bk_supplier_account: None,
        }
    }
}

/// The headers that every request of a client carries.
pub(super) fn fixed(
    target: &Target,
    identity: &Identity,
    language: Language,
) -> Result<HeaderMap, ClientError> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    put_language(&mut headers, target.entrance, language);
    let mut put = |names: &[&'static str], value: &str, what| {
        let value = HeaderValue::from_str(value).map_err(|_| ClientError::Header { what })?;
        for name in names {
            headers.insert(HeaderName::from_static(name), value.clone());
        }
        Ok(())
    };
    if let Some(tenant) = &target.tenant_id {
        put(&["x-bk-tenant-id"], tenant, "--tenant-id")?;
    }
    match target.entrance {
        Entrance::Esb => {}
        Entrance::Gateway => {
            headers.insert("x-bkapi-authorization", authorization(identity));
        }
        Entrance::Native => {
            put(&ACCOUNT, &target.supplier_account, "--supplier-account")?;
            if let Some(user) = &identity.username {
                put(&USER, user, "--username")?;
            }
        }
    }
    Ok(headers)
}

/// Says in which language a call is to be answered. Behind a gateway CMDB 3.12 and 3.13 look for a name of
/// their own (docs/cmdb-api.md#language).
pub(super) fn put_language(headers: &mut HeaderMap, entrance: Entrance, language: Language) {
    let names: &[&str] = match entrance {
        Entrance::Esb => &["blueking-language"],
        Entrance::Gateway => &["http_blueking_language", "x-bkapi-language", "x-bkcmdb-language"],
        Entrance::Native => &["http_blueking_language", "x-bkcmdb-language"],
    };
    for name in names {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(language.tag()));
    }
}

fn authorization(identity: &Identity) -> HeaderValue {
    let json = serde_json::to_string(&Credentials::in_header(identity))
        .expect("credentials are plain JSON");
    let mut value =
        HeaderValue::from_str(&ascii_json(&json)).expect("JSON in ASCII has no control");
    value.set_sensitive(true);
    value
}

/// JSON with everything beyond ASCII escaped, as a header can carry it.
pub(super) fn ascii_json(json: &str) -> String {
    let mut ascii = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_ascii() && c != '\x7f' {
            ascii.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(ascii, "\\u{unit:04x}").expect("a String takes all");
            }
        }
    }
    ascii
}

/// Names a call by an id of the caller's. An ESB takes none. CMDB keeps the first header's up to 3.13 and
/// the second's from 3.14 on, as the gateway does.
pub(super) fn put_request_id(headers: &mut HeaderMap, entrance: Entrance, id: RequestId) {
    let names: &[&str] = match entrance {
        Entrance::Esb => return,
        Entrance::Gateway => &["x-request-id"],
        Entrance::Native => &["cc_request_id", "x-request-id"],
    };
    let id = HeaderValue::from_str(&id.to_string()).expect("hexadecimal digits are ASCII");
    for name in names {
        headers.insert(HeaderName::from_static(name), id.clone());
    }
}

/// The call's id, where a header has it.
pub(super) fn request_id(headers: &HeaderMap) -> Option<&str> {
    const NAMES: [&str; 3] = ["x-bkapi-request-id", "cc_request_id", "x-request-id"];
    headers
        .iter()
        .filter_map(|(name, value)| {
            let rank = NAMES.iter().position(|known| *known == name.as_str())?;
            Some((rank, value.to_str().ok()?))
        })
        .min_by_key(|(rank, _)| *rank)
        .map(|(_, id)| id)
}

/// What the headers say about the server's limit. Absurd values are left out.
pub(super) fn rate_hint(headers: &HeaderMap) -> RateHint {
    let number = |name: &HeaderName| headers.get(name)?.to_str().ok()?.trim().parse::<u64>().ok();
    let calls = |name| number(name).filter(|calls| *calls <= MOST_CALLS);
    let wait = |seconds: Option<u64>| {
        seconds.filter(|seconds| *seconds <= LONGEST_WAIT).map(Duration::from_secs)
    };
    let mut hint = RateHint::default();
    // An answer has few headers, and seldom one of these: going through the names costs less than
    // looking each up. Of a repeated header the first value counts.
    for name in headers.keys() {
        match name.as_str() {
            "x-bkapi-ratelimit-limit" => hint.limit = calls(name).filter(|limit| *limit > 0),
            "x-bkapi-ratelimit-remaining" => hint.remaining = calls(name),
            "x-bkapi-ratelimit-reset" => hint.reset = wait(number(name)),
            "x-bkapi-ratelimit-plugin" => hint.shared_by = shared_by(headers.get(name)),
            "retry-after" => {
                hint.retry_after = wait(number(name).or_else(|| retry_date(headers)));
            }
            _ => {}
        }
    }
    hint
}

/// Which calls share the limit of the gateway's plugin that speaks. Where several have one, the headers
/// are those of the last.
fn shared_by(plugin: Option<&HeaderValue>) -> Option<SharedBy> {
    match plugin?.to_str().ok()?.trim() {
        "bk-resource-rate-limit" => Some(SharedBy::Route),
        "bk-stage-rate-limit" | "bk-stage-global-rate-limit" => Some(SharedBy::All),
        _ => None,
    }
}

/// `Retry-After` as a date, less the server's own `Date`, so that the local clock does not matter.
fn retry_date(headers: &HeaderMap) -> Option<u64> {
    let date = |name| http_date(headers.get(name)?.to_str().ok()?);
    date(RETRY_AFTER)?.checked_sub(date(DATE)?)
}

/// Seconds since 1970 of a date such as `Tue, 24 Nov 2026 02:11:09 GMT`, the one form that servers
/// may send (RFC 9110, 5.6.7).
fn http_date(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut words = text.trim().strip_suffix(" GMT")?.split(' ').skip(1);
    let day: u64 = words.next()?.parse().ok()?;
    let name = words.next()?;
    let month = MONTHS.iter().position(|month| *month == name)? as u64;
    let year: u64 = words.next()?.parse().ok()?;
    let mut clock = words.next()?.split(':').map(|part| part.parse::<u64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    if !(1970..10_000).contains(&year) || !(1..32).contains(&day) {
        return None;
    }
    // Second 60 is a leap second.
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // Years are counted from March, so that the leap day comes last.
    let (year, month) = if month < 2 { (year - 1, month + 10) } else { (year, month - 2) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    let since_1970 = days.checked_sub(719_468)?;
    Some(since_1970 * 86_400 + hour * 3_600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
            })
            .collect()
    }

    #[test]
    fn a_date_is_seconds_since_1970() {
        for (text, seconds) in [
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777)),
            ("Thu, 29 Feb 2024 23:59:59 GMT", Some(1_709_251_199)),
            ("Tue, 24 Nov 2026 02:11:09 GMT", Some(1_795_486_269)),
            ("Tue, 24 Nov 2026 02:11:09", None),
            ("Tue, 24 Foo 2026 02:11:09 GMT", None),
            ("Tue, 99 Nov 2026 02:11:09 GMT", None),
            ("Tue, 24 Nov 2026 18446744073709551615:11:09 GMT", None),
            ("Tue, 24 Nov 2026 02:18446744073709551615:09 GMT", None),
            ("Tue, 24 Nov 2026 02:11:18446744073709551615 GMT", None),
            ("Sat, 31 Dec 2016 23:59:60 GMT", Some(1_483_228_800)),
            ("", None),
        ] {
            assert_eq!(http_date(text), seconds, "{text}");
        }
    }

    #[test]
    fn the_limit_is_read_and_absurd_values_are_not() {
        let hint = rate_hint(&headers(&[
            ("x-bkapi-ratelimit-limit", "100"),
            ("x-bkapi-ratelimit-remaining", "0"),
            ("x-bkapi-ratelimit-reset", "1"),
            ("retry-after", "7"),
        ]));
        assert_eq!(
            hint,
            RateHint {
                limit: Some(100),
                remaining: Some(0),
                reset: Some(Duration::from_secs(1)),
                retry_after: Some(Duration::from_secs(7)),
                shared_by: None,
            }
        );
        for (plugin, shared_by) in [
            ("bk-resource-rate-limit", Some(SharedBy::Route)),
            ("bk-stage-rate-limit", Some(SharedBy::All)),
            ("bk-stage-global-rate-limit", Some(SharedBy::All)),
            ("another", None),
        ] {
            let hint = rate_hint(&headers(&[("x-bkapi-ratelimit-plugin", plugin)]));
            assert_eq!(hint, RateHint { shared_by, ..RateHint::default() });
        }
        let absurd = rate_hint(&headers(&[
            ("x-bkapi-ratelimit-limit", "0"),
            ("x-bkapi-ratelimit-remaining", "18446744073709551615"),
            ("x-bkapi-ratelimit-reset", "1795486269"),
            ("retry-after", "-1"),
        ]));
        assert_eq!(absurd, RateHint::default());
    }

    #[test]
    fn of_a_header_that_is_there_twice_the_first_counts() {
        let mut twice = headers(&[("x-bkapi-ratelimit-limit", "100"), ("x-request-id", "one")]);
        twice.append("x-bkapi-ratelimit-limit", HeaderValue::from_static("none"));
        twice.append("x-request-id", HeaderValue::from_static("two"));
        assert_eq!(rate_hint(&twice).limit, Some(100));
        assert_eq!(request_id(&twice), Some("one"));
    }

    #[test]
    fn a_retry_date_counts_from_the_servers_own_clock() {
        let at = |date| {
            rate_hint(&headers(&[("retry-after", "Tue, 24 Nov 2026 02:12:09 GMT"), ("date", date)]))
                .retry_after
        };
        assert_eq!(at("Tue, 24 Nov 2026 02:11:09 GMT"), Some(Duration::from_mins(1)));
        assert_eq!(at("Tue, 24 Nov 2026 02:13:09 GMT"), None);
    }

    #[test]
    fn a_header_carries_names_beyond_ascii_escaped() {
        let identity = Identity { username: Some("管理员".to_owned()), ..Identity::default() };
        assert_eq!(authorization(&identity), r#"{"bk_username":"\u7ba1\u7406\u5458"}"#);
    }
}
