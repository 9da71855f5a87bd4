//! How an entrance writes an answer: keys, statuses, headers, pages.
//!
//! Owns the dialects (docs/cmdb-api.md#answers). Knows nothing of what is asked or refused.

use serde_json::{Value, json};

use super::Version;
use super::refusal::Refusal;
use crate::cmdb::wire::{RateHint, code};
use crate::options::Language;
use crate::target::Entrance;

/// An answer as it travels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) status: u16,
    pub(super) content_type: &'static str,
    /// The headers, without those of `rate`.
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: String,
    pub(super) rate: RateHint,
}

/// How one call is answered.
#[derive(Clone, Debug)]
pub(super) struct Dialect {
    pub(super) entrance: Entrance,
    pub(super) version: Version,
    pub(super) language: Language,
    /// The call's id: 32 hexadecimal digits, or a native caller's own.
    pub(super) request_id: String,
}

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html";
const NOT_JSON: &str = "Request interface error, the response content is not a json string: ";

impl Dialect {
    /// A success, with its data as JSON text.
    pub(super) fn success(&self, data: &str) -> Written {
        self.cmdb(200, true, 0, "success", Some(data))
    }

    /// A refusal of CMDB's own: HTTP 200, except where the apiserver itself refuses
    /// (tests/wire/cmdb-05.json#5.2, tests/wire/cmdb-05.json#5.8).
    pub(super) fn refused(&self, refusal: &Refusal) -> Written {
        let own = matches!(refusal.code, code::NO_USER | code::NO_BACKEND);
        let status = if own { 500 } else { 200 };
        let text = refusal.text(self.language);
        self.cmdb(status, false, refusal.code, &text, Some("null"))
    }

    /// CMDB's own limiter, whose body has no `data`.
    pub(super) fn too_many_requests(&self) -> Written {
        self.filtered(code::TOO_MANY_REQUESTS, "too many requests")
    }

    /// What the apiserver refuses before it looks at the call.
    pub(super) fn filtered(&self, number: i64, text: &str) -> Written {
        self.cmdb(200, false, number, text, None)
    }

    fn cmdb(
        &self,
        status: u16,
        result: bool,
        number: i64,
        text: &str,
        data: Option<&str>,
    ) -> Written {
        if self.entrance == Entrance::Esb {
            return self.esb_body(result, number, text, data.unwrap_or("null"));
        }
        // Refusals of the apiserver's filters keep their keys even behind a gateway.
        let proxied = status == 200 && data.is_some();
        let renamed =
            self.entrance == Entrance::Gateway && self.version == Version::V3_14 && proxied;
        let (code_key, text_key) =
            if renamed { ("code", "message") } else { ("bk_error_code", "bk_error_msg") };
        let text = Value::from(text);
        let data = data.map(|data| format!(r#","data":{data}"#)).unwrap_or_default();
        let body = format!(
            r#"{{"result":{result},"{code_key}":{number},"{text_key}":{text},"permission":null{data}}}"#
        );
        let content_type = if status == 200 { JSON } else { TEXT };
        self.identified(status, content_type, body)
    }

    /// A body with the ESB's keys: without `permission`, and always under HTTP 200
    /// (tests/wire/esb-1.json#1.9).
    fn esb_body(&self, result: bool, number: i64, text: &str, data: &str) -> Written {
        let (text, id) = (Value::from(text), Value::from(self.request_id.as_str()));
        let body = format!(
            r#"{{"message":{text},"code":{number},"data":{data},"result":{result},"request_id":{id}}}"#
        );
        plain(200, "application/json; charset=utf-8", body)
    }

    /// A refusal of the ESB's own.
    pub(super) fn esb_refused(&self, number: i64, text: &str) -> Written {
        self.esb_body(false, number, text, "null")
    }

    /// A refusal of the gateway's own. Its error headers tell it from CMDB's.
    pub(super) fn gateway_refused(
        &self,
        status: u16,
        number: i64,
        name: &str,
        text: &str,
    ) -> Written {
        let body = json!({
            "code": number, "code_name": name, "message": text, "result": false, "data": null,
        });
        let mut written = self.identified(status, JSON, body.to_string());
        let headers = [
            ("X-Bkapi-Error-Code", number.to_string()),
            ("X-Bkapi-Error-Message", text.to_owned()),
        ];
        written.headers.extend(headers);
        written
    }

    /// A gateway's rate limit, under its own status or, behind a status rewrite, under HTTP 200.
    pub(super) fn gateway_throttled(&self, status: u16) -> Written {
        let text = "API rate limit exceeded by resource strategy";
        self.gateway_refused(status, 1_642_903, "RATE_LIMIT_RESTRICTION", text)
    }

    /// The refusal of a proxy in front of the server: HTTP 429 and a page.
    pub(super) fn throttled_page() -> Written {
        page(429, "429 Too Many Requests")
    }

    /// The server behind did not answer: a page, which an ESB wraps (tests/wire/esb-1.json#1.5).
    pub(super) fn bad_gateway(&self) -> Written {
        let bad = page(502, "502 Bad Gateway");
        match self.entrance {
            Entrance::Esb => self.not_json(&bad.body),
            Entrance::Gateway | Entrance::Native => bad,
        }
    }

    /// The ESB could not read CMDB's answer.
    pub(super) fn not_json(&self, answer: &str) -> Written {
        self.esb_refused(code::ESB_CATCH_ALL, &format!("{NOT_JSON}{answer}"))
    }

    /// No such path.
    pub(super) fn not_found(&self) -> Written {
        match self.entrance {
            Entrance::Esb => esb_not_found(),
            Entrance::Gateway => {
                self.gateway_refused(404, 1_640_401, "API_NOT_FOUND", "API not found")
            }
            Entrance::Native => self.identified(404, TEXT, "404: Page Not Found".to_owned()),
        }
    }

    /// A path that takes another method (tests/wire/cmdb-05.json#5.5).
    pub(super) fn not_allowed(&self, allowed: &str) -> Written {
        let mut written = self.identified(405, TEXT, "405: Method Not Allowed".to_owned());
        written.headers.push(("Allow", allowed.to_owned()));
        written
    }

    fn identified(&self, status: u16, content_type: &'static str, body: String) -> Written {
        let header = match self.entrance {
            Entrance::Gateway => "X-Bkapi-Request-Id",
            Entrance::Esb | Entrance::Native => "Cc_request_id",
        };
        let mut written = plain(status, content_type, body);
        written.headers.push((header, self.request_id.clone()));
        written
    }
}

/// The ESB has no such component: JSON without a code (tests/wire/esb-4.json#4.1).
pub(super) fn esb_not_found() -> Written {
    let body = r#"{"message":"The content does not exist","data":null,"result":false}"#;
    plain(404, "application/json; charset=utf-8", body.to_owned())
}

/// A page of nginx's (tests/wire/esb-7.json#7.5).
pub(super) fn page(status: u16, title: &str) -> Written {
    let body = format!(
        "<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n\
         <hr><center>nginx/1.22.1</center>\r\n</body>\r\n</html>\r\n"
    );
    plain(status, HTML, body)
}

fn plain(status: u16, content_type: &'static str, body: String) -> Written {
    Written { status, content_type, body, ..Written::default() }
}

impl Written {
    /// The body cut in half, as by a proxy that lost the rest.
    pub(super) fn garbled(mut self) -> Self {
        let mut half = self.body.len() / 2;
        while !self.body.is_char_boundary(half) {
            half -= 1;
        }
        self.body.truncate(half);
        self
    }
}
