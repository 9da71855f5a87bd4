//! CMDB's own apiserver: paths under `/api/v3`, trusted headers, no secret.
//!
//! Owns its routes (docs/cmdb-api.md#entrances-and-paths), which the gateway's resources share.

use super::{
    Arrived, Call, Caller, Dialect, Endpoint, Entrance, Method, PathParts, Refusal, Sandbox,
    TurnedAway, Understood, Version, language_of, parse_body,
};
use crate::cmdb::wire::code;

/// The headers that may carry the account; the first one counts.
pub(super) const ACCOUNT: &[&str] = &[
    "X-Bkcmdb-Supplier-Account",
    "X-Bkapi-Supplier-Account",
    "HTTP_BK_SUPPLIER_ACCOUNT",
    "HTTP_BLUEKING_SUPPLIER_ID",
];
const USER: &[&str] = &["X-Bkcmdb-User", "BK_USER"];
pub(super) const LANGUAGE: &[&str] = &["X-Bkcmdb-Language", "HTTP_BLUEKING_LANGUAGE"];
/// The headers whose value becomes the call's id (tests/wire/cmdb-05.json#5.11,
/// tests/wire/cmdb-11.json#11.7).
const REQUEST_ID: &[&str] = &["Cc_Request_Id", "X-Request-ID", "X-Bkapi-Request-Id"];

/// Where a path under `/api/v3` leads.
pub(super) enum Route {
    To(Endpoint, PathParts),
    /// The path takes another method, this one.
    Not(&'static str),
    /// The server behind it has no such path.
    Nowhere,
    /// There is no server for such a path.
    NoBackend,
}

pub(super) fn understand(
    sandbox: &Sandbox,
    arrived: &Arrived<'_>,
) -> Result<Understood, TurnedAway> {
    let caller = Caller {
        entrance: Entrance::Native,
        supplier_account: arrived.any_header(ACCOUNT).unwrap_or_default().to_owned(),
        language: language_of(arrived.any_header(LANGUAGE)),
        user: arrived.any_header(USER).unwrap_or_default().to_owned(),
        request_id: arrived.any_header(REQUEST_ID).map(str::to_owned),
    };
    let dialect = sandbox.dialect(&caller);
    let Some(path) = arrived.path.strip_prefix("/api/v3/") else {
        return Err(Box::new(dialect.not_found()));
    };
    check_identity(&dialect, &caller)?;
    match route(arrived.method, path, sandbox.0.version) {
        Route::To(endpoint, parts) => Ok(call(sandbox, endpoint, parts, arrived.body, caller)),
        Route::Not(allowed) => Err(Box::new(dialect.not_allowed(allowed))),
        Route::Nowhere => Err(Box::new(dialect.not_found())),
        Route::NoBackend => {
            let text = "rewrite request failed, unknown requested with backend process";
            Err(Box::new(dialect.refused(&Refusal::raw(code::NO_BACKEND, text))))
        }
    }
}

/// Checks for account and user, the account first (tests/wire/cmdb-05.json#5.4).
fn check_identity(dialect: &Dialect, caller: &Caller) -> Result<(), TurnedAway> {
    for (name, value) in [("owner_id", &caller.supplier_account), ("user", &caller.user)] {
        if value.is_empty() {
            return Err(Box::new(dialect.refused(&Refusal::of(code::NO_USER, name))));
        }
    }
    Ok(())
}

pub(super) fn call(
    sandbox: &Sandbox,
    endpoint: Endpoint,
    parts: PathParts,
    body: &[u8],
    caller: Caller,
) -> Understood {
    let body = match endpoint {
        Endpoint::Delete => Some(serde_json::Value::Null),
        _ => parse_body(body),
    };
    Understood {
        endpoint,
        call: Call::decode(endpoint, parts, body.as_ref(), sandbox.0.version),
        caller,
    }
}

/// Routes a path behind `/api/v3/`. A slash at the end is allowed (tests/wire/cmdb-05.json#5.7).
pub(super) fn route(method: &Method, path: &str, version: Version) -> Route {
    let path = path.strip_suffix('/').unwrap_or(path);
    let segments: Vec<_> = path.split('/').collect();
    let old = version == Version::V3_5;
    let model = |model: &str| PathParts { model: model.to_owned(), id: String::new() };
    let (endpoint, parts) = match segments.as_slice() {
        ["create", "instassociation"] => (Endpoint::Create, PathParts::default()),
        ["find", "instassociation"] => (Endpoint::Find, PathParts::default()),
        ["find", "objectassociation"] => (Endpoint::Models, PathParts::default()),
        ["find", "objectattr"] => (Endpoint::Attributes, PathParts::default()),
        ["find", "objectunique", "object", of] => (Endpoint::Uniques, model(of)),
        ["find", "instassociation", "object", of] => (Endpoint::SearchInst, model(of)),
        ["hosts", "list_hosts_without_app"] => (Endpoint::ListHosts, PathParts::default()),
        ["findmany", "audit_list"] if !old => (Endpoint::AuditList, PathParts::default()),
        ["find", "audit"] if !old => (Endpoint::AuditRecords, PathParts::default()),
        ["biz", "search", _] => (Endpoint::SearchBusiness, PathParts::default()),
        ["search", "instances", "object", of] if !old => {
            (Endpoint::SearchObjectInstances, model(of))
        }
        ["delete", "instassociation", "batch"] if !old => {
            (Endpoint::DeleteMany, PathParts::default())
        }
        ["delete", "instassociation", id] if old => {
            let id = (*id).to_owned();
            (Endpoint::Delete, PathParts { id, ..PathParts::default() })
        }
        ["delete", "instassociation", of, id] if !old => {
            let id = (*id).to_owned();
            (Endpoint::Delete, PathParts { id, ..model(of) })
        }
        ["createmany", "instassociation"] if !old => (Endpoint::CreateMany, PathParts::default()),
        ["search", "instance_associations", "object", of] if !old => (Endpoint::Search, model(of)),
        ["count", "instance_associations", "object", of] if !old => (Endpoint::Count, model(of)),
        [_, known, ..] if known.ends_with("association") || known.ends_with("associations") => {
            return Route::Nowhere;
        }
        _ => return Route::NoBackend,
    };
    let deletes = matches!(endpoint, Endpoint::Delete | Endpoint::DeleteMany);
    let allowed = if deletes { "DELETE" } else { "POST" };
    if method.as_str() != allowed {
        return Route::Not(allowed);
    }
    Route::To(endpoint, parts)
}
