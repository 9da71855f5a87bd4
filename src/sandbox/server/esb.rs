//! The ESB: one path for each component, credentials in the body.
//!
//! Owns the order of its checks and their texts (docs/cmdb-api.md#refusals-of-the-esb).

use serde_json::{Map, Value};

use super::{
    Arrived, Call, Caller, Dialect, Endpoint, Entrance, PathParts, Sandbox, TurnedAway, Understood,
    language_of, page,
};
use crate::cmdb::wire::code;
use crate::sandbox::Version;
use crate::sandbox::dialect::esb_not_found;
use crate::sandbox::models::Credentials;

/// The fields that the ESB does not pass on.
const OWN_FIELDS: &[&str] = &[
    "bk_app_code",
    "bk_app_secret",
    "bk_token",
    "bk_username",
    "bk_access_token",
    "app_code",
    "app_secret",
    "username",
    "bk_supplier_account",
];

pub(super) fn understand(
    sandbox: &Sandbox,
    arrived: &Arrived<'_>,
) -> Result<Understood, TurnedAway> {
    let endpoint = component(sandbox, arrived)?;
    let mut caller = Caller {
        entrance: Entrance::Esb,
        supplier_account: String::new(),
        language: language_of(Some(arrived.header("Blueking-Language").unwrap_or("en"))),
        user: String::new(),
        request_id: None,
    };
    let dialect = sandbox.dialect(&caller);
    let refuse = |number: i64, text: &str| Box::new(dialect.esb_refused(number, text));
    let mut fields = parameters(arrived).ok_or_else(|| {
        refuse(
            code::ESB_CATCH_ALL,
            "Request JSON string is wrong in format, which cannot be analyzed.",
        )
    })?;
    authenticate(&fields, &sandbox.0.models.credentials)
        .map_err(|text| refuse(code::ESB_CATCH_ALL, &text))?;
    if arrived.header("X-Use-Test-Env") == Some("1") {
        let text = "Error, the component does not support access third-party test environment";
        return Err(refuse(1_306_206, text));
    }
    let account = text(&fields, &["bk_supplier_account"]);
    if account.is_none() && sandbox.0.old_esb && endpoint == Endpoint::SearchInst {
        return Err(refuse(1_306_406, "Parameters error, param bk_supplier_account is required"));
    }
    account.unwrap_or("0").clone_into(&mut caller.supplier_account);
    text(&fields, &["bk_username", "username"])
        .unwrap_or("token-user")
        .clone_into(&mut caller.user);
    fields.retain(|key, _| !OWN_FIELDS.contains(&key.as_str()));
    if let Some(written) =
        sandbox.denied(endpoint, &caller).or_else(|| sandbox.missing(endpoint, &caller))
    {
        return Err(Box::new(written));
    }
    let parts = path_parts(sandbox, endpoint, &mut fields, &dialect)?;
    let body = match endpoint {
        Endpoint::Delete => Value::Null,
        _ => Value::Object(fields),
    };
    Ok(Understood {
        endpoint,
        call: Call::decode(endpoint, parts, Some(&body), sandbox.0.version),
        caller,
    })
}

/// The component that a path names. Case, doubled slashes and one at the end do not matter
/// (docs/cmdb-api.md#entrances-and-paths).
fn component(sandbox: &Sandbox, arrived: &Arrived<'_>) -> Result<Endpoint, TurnedAway> {
    let path = arrived.path.to_ascii_lowercase();
    let segments: Vec<_> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let name = match segments.as_slice() {
        ["api", "c", "compapi", "v2", "cc", name] => *name,
        ["api", "c", "compapi", ..] => return Err(Box::new(esb_not_found())),
        _ => return Err(Box::new(page(404, "404 Not Found"))),
    };
    let named = |endpoint: &Endpoint| endpoint.component() == name;
    let endpoint = Endpoint::ALL.into_iter().find(named);
    let endpoint = endpoint.filter(|endpoint| match arrived.method.as_str() {
        "GET" | "POST" => true,
        "DELETE" => matches!(endpoint, Endpoint::Delete | Endpoint::DeleteMany),
        _ => false,
    });
    let endpoint = endpoint.filter(|endpoint| !(endpoint.is_new() && sandbox.0.old_esb));
    endpoint.ok_or_else(|| Box::new(esb_not_found()))
}

/// The call's parameters; `None` where the body looks like JSON and is none. A body that does not begin
/// with a brace is a form, in which all values are texts (docs/cmdb-api.md#credentials-and-headers).
fn parameters(arrived: &Arrived<'_>) -> Option<Map<String, Value>> {
    if arrived.method.as_str() == "GET" {
        return Some(form(arrived.query.as_bytes()));
    }
    let body = arrived.body.trim_ascii();
    if body.starts_with(b"{") {
        return serde_json::from_slice(body).ok();
    }
    Some(form(body))
}

fn form(bytes: &[u8]) -> Map<String, Value> {
    let pair = |pair: &[u8]| {
        let at = pair.iter().position(|byte| *byte == b'=')?;
        Some((decoded(&pair[..at]), Value::from(decoded(&pair[at + 1..]))))
    };
    bytes.split(|byte| *byte == b'&').filter_map(pair).collect()
}

fn decoded(bytes: &[u8]) -> String {
    let mut plain = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [first, after @ ..] = rest {
        let escaped =
            |digits: &[u8]| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok();
        let (byte, used) = match (first, after.get(..2).and_then(escaped)) {
            (b'%', Some(byte)) => (byte, 3),
            (b'+', _) => (b' ', 1),
            (byte, _) => (*byte, 1),
        };
        plain.push(byte);
        rest = &rest[used..];
    }
    String::from_utf8_lossy(&plain).into_owned()
}

/// The first of some fields that holds a text.
fn text<'a>(fields: &'a Map<String, Value>, names: &[&str]) -> Option<&'a str> {
    let texts = names.iter().filter_map(|name| fields.get(*name)?.as_str());
    texts.into_iter().find(|text| !text.is_empty())
}

/// Checks the app, then the user, each with the ESB's own text, which is always English.
fn authenticate(fields: &Map<String, Value>, known: &Credentials) -> Result<(), String> {
    let secret = text(fields, &["bk_app_secret", "app_secret"]).ok_or(
        "Signature [bk_signature] and APP Secret [bk_app_secret] cannot be empty at the same time",
    )?;
    let app = text(fields, &["bk_app_code", "app_code"])
        .ok_or("APP Code [bk_app_code] cannot be empty")?;
    if app != known.app_code {
        return Err(format!(
            "Invalid APP Code [bk_app_code={app}], please confirm if the APP Code has been registered"
        ));
    }
    if secret != known.app_secret.expose() {
        return Err(format!(
            "APP Secret verification failed, pelase confirm if the APP Secret and APP Code \
             [bk_app_code={app}] match"
        ));
    }
    if text(fields, &["bk_access_token"]).is_some() {
        return Err("The specified user TOKEN [bk_access_token] does not exist".to_owned());
    }
    if let Some(token) = text(fields, &["bk_token"]) {
        if token == known.token.expose() {
            return Ok(());
        }
        return Err("User authentication failed, please check if the bk_token is valid".to_owned());
    }
    if known.trusted && text(fields, &["bk_username", "username"]).is_some() {
        return Ok(());
    }
    Err("User authentication failed, please provide a valid user identity, such as bk_token, bk_username"
        .to_owned())
}

/// Moves the parts of CMDB's path out of the fields.
fn path_parts(
    sandbox: &Sandbox,
    endpoint: Endpoint,
    fields: &mut Map<String, Value>,
    dialect: &Dialect,
) -> Result<PathParts, TurnedAway> {
    let old = sandbox.0.version == Version::V3_5;
    let names: &[&str] = match endpoint {
        Endpoint::Delete if old => &["id"],
        Endpoint::Delete => &["bk_obj_id", "id"],
        Endpoint::Search
        | Endpoint::Count
        | Endpoint::SearchObjectInstances
        | Endpoint::SearchInst => &["bk_obj_id"],
        _ => &[],
    };
    let mut parts = PathParts::default();
    for name in names {
        let value = match fields.remove(*name) {
            Some(Value::String(text)) => text,
            Some(value) if !value.is_null() => value.to_string(),
            _ => {
                let text = format!("Parameters error, param {name} is required");
                return Err(Box::new(dialect.esb_refused(1_306_406, &text)));
            }
        };
        if *name == "id" {
            parts.id = value;
        } else {
            parts.model = value;
        }
    }
    Ok(parts)
}
