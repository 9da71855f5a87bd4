//! The API gateway: any prefix and stage, credentials in `X-Bkapi-Authorization`.
//!
//! Owns the gateway's own refusals (docs/cmdb-api.md#refusals-of-the-gateway). Behind it stands the
//! apiserver.

use serde::Deserialize;

use super::native::{ACCOUNT, LANGUAGE, Route, call, route};
use super::{Arrived, Caller, Entrance, Sandbox, TurnedAway, Understood, language_of};
use crate::cmdb::wire::code;
use crate::sandbox::dialect::Dialect;
use crate::sandbox::models::Credentials;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Authorization {
    #[serde(rename = "bk_app_code")]
    app_code: String,
    #[serde(rename = "bk_app_secret")]
    app_secret: String,
    #[serde(rename = "bk_username")]
    username: String,
    #[serde(rename = "bk_token")]
    token: String,
}

pub(super) fn understand(
    sandbox: &Sandbox,
    arrived: &Arrived<'_>,
) -> Result<Understood, TurnedAway> {
    // A call that names no account has account 0.
    let account = arrived.any_header(ACCOUNT).unwrap_or("0").to_owned();
    let own_id = arrived.header("X-Request-ID").filter(|_| sandbox.keeps_ids_at(Entrance::Gateway));
    let mut caller = Caller {
        entrance: Entrance::Gateway,
        supplier_account: account,
        language: language_of(arrived.any_header(LANGUAGE)),
        user: String::new(),
        request_id: own_id.map(str::to_owned),
    };
    let dialect = sandbox.dialect(&caller);
    let routed = arrived.path.split_once("/api/v3/");
    // Where the calls that apps may apply for are apart, they have a folder of their own.
    let routed = routed.map(|(_, path)| path.strip_prefix("open/").unwrap_or(path));
    let routed = routed.map(|path| route(arrived.method, path, sandbox.0.version));
    let Some(Route::To(endpoint, parts)) = routed else {
        return Err(Box::new(dialect.not_found()));
    };
    caller.user = authorize(&dialect, &sandbox.0.models.credentials, arrived)?;
    if let Some(written) = sandbox.denied(endpoint, &caller) {
        return Err(Box::new(written));
    }
    if caller.user.is_empty() {
        // The gateway lets it through, and CMDB finds nobody in the gateway's token.
        return Err(Box::new(dialect.filtered(code::UNKNOWN_OR_DRIVER, "user is not set")));
    }
    Ok(call(sandbox, endpoint, parts, arrived.body, caller))
}

/// Checks the app and gives the user. Where there is none, CMDB refuses the call, not the gateway.
fn authorize(
    dialect: &Dialect,
    credentials: &Credentials,
    arrived: &Arrived<'_>,
) -> Result<String, TurnedAway> {
    let refuse = |reason: &str| {
        let text = format!("Parameters error [reason=\"{reason}\"]");
        Box::new(dialect.gateway_refused(400, 1_640_001, "INVALID_ARGS", &text))
    };
    let text = arrived.header("X-Bkapi-Authorization").unwrap_or("{}");
    let given: Authorization = serde_json::from_str(text)
        .map_err(|_| refuse("request header X-Bkapi-Authorization is not a valid JSON"))?;
    if given.app_code.is_empty() {
        return Err(refuse("please provide bk_app_code"));
    }
    let known = given.app_code == credentials.app_code;
    if !known || given.app_secret != credentials.app_secret.expose() {
        return Err(refuse("bk_app_code or bk_app_secret is incorrect"));
    }
    if given.token == credentials.token.expose() {
        return Ok("token-user".to_owned());
    }
    Ok(given.username)
}
