//! What a person reads of a server's abilities.
//!
//! Owns all its words, each a whole text with places in braces, so that one in another language can stand beside
//! it.

use std::borrow::Cow;

use super::State;
use crate::cmdb::verdict::Availability;
use crate::cmdb::wire::{Route, SharedBy};
use crate::engine::abilities::{Ability, Limit};
use crate::engine::probes::NotMade;
use crate::target::Entrance;

/// What it is.
pub(super) const fn named(ability: Ability) -> &'static str {
    match ability {
        Ability::Models => "model associations",
        Ability::Create => "create one",
        Ability::Batch => "create many in one call",
        Ability::Find => "look up",
        Ability::List => "list page by page",
        Ability::Instances => "find instances by name",
        Ability::Hosts => "find hosts by name",
        Ability::Properties => "tell properties' names",
        Ability::DeleteMany => "delete many in one call",
        Ability::Delete => "delete one",
    }
}

/// Whether it can.
pub(super) const fn answer(state: State, entrance: Entrance) -> &'static str {
    use Availability::{Absent, Forbidden, NotGranted, There, Unserved};
    match (state, entrance) {
        (State::Is(There), _) => "yes",
        (State::Is(Forbidden), _) => "yes, but not for this user: {said}",
        (State::Is(Absent), Entrance::Esb) => "no: the ESB has no component {name} ({code})",
        (State::Is(Absent), Entrance::Gateway) => "no: the gateway has no resource {name} ({code})",
        (State::Is(Absent | Unserved), Entrance::Native) => "no: this CMDB has no {call} ({code})",
        (State::Is(Unserved), Entrance::Esb) => {
            "no: the ESB sends {name} to a path that this CMDB does not have ({code})"
        }
        (State::Is(Unserved), Entrance::Gateway) => {
            "no: the CMDB behind the gateway has no {call} ({code})"
        }
        (State::Is(NotGranted), _) => "no: the app {app} may not call {name} ({code})",
        (State::NotKnown, _) => "not known: {said}",
        (State::NotMade(NotMade::Unsafe), _) => {
            "not tried: the server does not say that the probe's association is none of its own"
        }
        (State::NotMade(NotMade::Silence), _) => "not tried: the calls before it got no answer",
        (State::NotMade(NotMade::Needless), _) => "not tried: the call for many deletes one, too",
    }
}

/// What is not done, or done in another way, where it can't.
pub(super) const fn without(ability: Ability) -> &'static str {
    match ability {
        Ability::Models => {
            "each model association has to be given with --model NAME=SOURCE_MODEL,TARGET_MODEL,MAPPING"
        }
        Ability::Create => {
            "no row can be created by itself, so that import, apply, sync and rerun don't work"
        }
        Ability::Batch => "each row is created by a call of its own, with --batch too",
        Ability::Find => {
            "a row in doubt can't be looked up, so that no import, sync, rerun, undo or verify --live works"
        }
        Ability::List => "plan and sync list by look-ups of windows of ids, in more calls",
        Ability::Instances => {
            "names stand for hosts and businesses alone: other sides of a row need an id"
        }
        Ability::Hosts => "a host needs its id",
        Ability::Properties => {
            "names may use the properties that every CMDB has, and no property of your own"
        }
        Ability::DeleteMany => "undo and rows that delete take a call for each association",
        Ability::Delete => {
            "nothing can be deleted: undo, rows that delete and sync --prune end with exit 8 before \
             anything is sent. Another entrance of the same CMDB may have the call"
        }
    }
}

/// What to ask the administrator for.
pub(super) const fn request(
    availability: Availability,
    entrance: Entrance,
    is_young: bool,
) -> &'static str {
    use Availability::{Absent, Forbidden, NotGranted, There, Unserved};
    match (availability, entrance) {
        (There, _) => "",
        (Forbidden, _) => {
            "The user {user} may not use {call}. Please grant the permission that this answer is about: \
             {said}"
        }
        (Absent, Entrance::Esb) if is_young => {
            "The ESB component {name} is not registered ({call}). Please register it, as CMDB's list of \
             components has it (docs/apidoc/cc/cc.yaml of CMDB 3.11 and newer), and let the app {app} call it. \
             It needs CMDB {since} or newer."
        }
        (Absent, Entrance::Esb) => {
            "The ESB component {name} is not registered ({call}). Please register it, as CMDB's list of \
             components has it (docs/apidoc/cc/cc.yaml of CMDB 3.11 and newer), and let the app {app} call it."
        }
        (Unserved, Entrance::Esb) if !is_young => {
            "The ESB component {name} ({call}) goes to a path that this CMDB does not have. Please let it go \
             where CMDB's list of components says (docs/apidoc/cc/cc.yaml of CMDB 3.11 and newer)."
        }
        (NotGranted, Entrance::Esb) => {
            "Please let the app {app} call the ESB component {name} ({call})."
        }
        (Absent, Entrance::Gateway) => {
            "The API gateway's resource {name} ({call}) is not there, or not released in this stage. Please add \
             it as in CMDB's definition of its gateway, release it, and grant it to the app {app}."
        }
        (NotGranted, _) => "Please grant the app {app} the API gateway's resource {name} ({call}).",
        (Absent | Unserved, _) if is_young => {
            "This CMDB has no {call}. It came with CMDB {since}: please update, where that is wanted."
        }
        (Absent | Unserved, _) => {
            "There is no {call}, which every CMDB has. Please look at what stands in front of this one."
        }
    }
}

/// With which version a call came (docs/cmdb-api.md#entrances-and-paths), if any that bkassoc knows lacks it.
pub(super) const fn since(route: Route, entrance: Entrance) -> Option<&'static str> {
    match (route, entrance) {
        (Route::CreateMany, _) => Some("3.10.2"),
        (Route::List | Route::SearchObjectInstances, _) => Some("3.10.1"),
        (Route::DeleteMany, _) => Some("3.9"),
        // By model and id. An ESB has had it all along.
        (Route::Delete, Entrance::Gateway | Entrance::Native) => Some("3.10"),
        _ => None,
    }
}

/// A range of versions.
pub(super) const fn versions(from: bool, before: bool) -> &'static str {
    match (from, before) {
        (true, true) => "{from} or newer, and older than {before}",
        (true, false) => "{from} or newer",
        (false, true) => "older than {before}",
        (false, false) => "not told",
    }
}

/// A limit, and whose it is.
pub(super) const fn limit(limit: Option<Limit>) -> &'static str {
    match limit {
        None => "not told: there may be none",
        Some(Limit { shared_by: Some(SharedBy::Route), .. }) => {
            "{calls} calls {window}, counted for this app and each resource apart"
        }
        Some(Limit { shared_by: Some(SharedBy::All), .. }) => {
            "{calls} calls {window}, counted for all calls of this stage together"
        }
        Some(Limit { shared_by: None, .. }) => {
            "{calls} calls {window}; which calls are counted together is not told"
        }
    }
}

/// The window of a limit. What is told is the time to its end, so that it may be longer.
pub(super) const fn window(is_told: bool) -> &'static str {
    if is_told { "in {time} or longer" } else { "in a time that is not told" }
}

pub(super) const HEADING: &str = "What this server can do:";
pub(super) const TO_ASK: &str = "To ask its administrator for:";
pub(super) const WITHOUT: &str = "Without it: {without}.";
pub(super) const PATH: &str = "path of the calls";
pub(super) const VERSION: &str = "version of CMDB";
pub(super) const QUOTA: &str = "limit";
pub(super) const PERMISSION: &str = "permission to write";
pub(super) const NO_PERMISSION_TRIED: &str = "not tried: only a row's own write shows it. Where the first 20 are all refused, a run ends with exit 8";
pub(super) const MISSING: &str = "this server can't do what an import needs: {what}";

/// A text with its places filled.
pub(super) fn filled(text: &'static str, places: &[(&str, &str)]) -> Cow<'static, str> {
    let Some(at) = text.find('{') else { return text.into() };
    let (mut whole, mut rest) = (text[..at].to_owned(), &text[at..]);
    while let Some(behind) = rest.strip_prefix('{') {
        let (place, after) = behind.split_once('}').unwrap_or((behind, ""));
        let value = places.iter().find(|(name, _)| *name == place).map_or("", |(_, value)| value);
        whole += value;
        let next = after.find('{').unwrap_or(after.len());
        whole += &after[..next];
        rest = &after[next..];
    }
    whole.into()
}
