//! What calls have shown of the server: which calls there are, which versions have them, which limit is told.
//!
//! Every answer passes here, so that what a run knows it knows without a call more. Knows nothing of rows or of
//! how it is told.

use std::time::Duration;

use crate::cmdb::verdict::{Availability, availability};
use crate::cmdb::wire::{Envelope, RateHint, Reply, Route, SharedBy};
use crate::storage::abilities::{KnownServer, ToldQuota, Versions};
use crate::target::{Entrance, Target};

/// What a server may be able to do for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ability {
    /// To say what model associations there are.
    Models,
    /// To create an association.
    Create,
    /// To create many in one call.
    Batch,
    /// To look associations up.
    Find,
    /// To list them page by page.
    List,
    /// To find instances by their properties.
    Instances,
    /// To find hosts by theirs.
    Hosts,
    /// To say which properties a model has.
    Properties,
    /// To delete many associations in one call.
    DeleteMany,
    /// To delete one.
    Delete,
}

impl Ability {
    /// All of them, in the order in which they are told.
    pub const ALL: [Self; 10] = [
        Self::Models,
        Self::Create,
        Self::Batch,
        Self::Find,
        Self::List,
        Self::Instances,
        Self::Hosts,
        Self::Properties,
        Self::DeleteMany,
        Self::Delete,
    ];

    /// The word that `run.json` and `--json` have for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Models => "models",
            Self::Create => "create",
            Self::Batch => "batch",
            Self::Find => "find",
            Self::List => "list",
            Self::Instances => "instances",
            Self::Hosts => "hosts",
            Self::Properties => "properties",
            Self::DeleteMany => "delete-many",
            Self::Delete => "delete",
        }
    }

    /// The calls that do it, the best first.
    pub const fn routes(self) -> &'static [Route] {
        match self {
            Self::Models => &[Route::Models],
            Self::Create => &[Route::Create],
            Self::Batch => &[Route::CreateMany],
            Self::Find => &[Route::Find],
            Self::List => &[Route::List],
            Self::Instances => &[Route::SearchObjectInstances, Route::SearchInst],
            Self::Hosts => &[Route::ListHosts],
            Self::Properties => &[Route::Attributes],
            Self::DeleteMany => &[Route::DeleteMany],
            Self::Delete => &[Route::Delete],
        }
    }
}

/// A limit that headers tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Calls in a window.
    pub calls: u64,
    /// The longest time to a window's end that was told.
    pub window: Duration,
    /// Which calls it counts together.
    pub shared_by: Option<SharedBy>,
}

/// All that is known.
#[derive(Clone, Debug, Default)]
pub struct Abilities {
    routes: [Option<Availability>; Route::COUNT],
    limit: Option<Limit>,
    /// A success came with the keys that CMDB has behind a gateway from 3.12.4 on.
    has_short_keys: bool,
}

impl Abilities {
    /// Takes note of an answer. What comes before the first success may be a wrong address's: the caller does
    /// not hand that in.
    pub fn note(&mut self, route: Route, reply: &Reply) {
        self.hear(reply.rate());
        let Some(shown) = availability(route, reply) else { return };
        let known = &mut self.routes[route as usize];
        // What was there is only out of reach later.
        if !known.is_some_and(Availability::is_there) || shown == Availability::There {
            *known = Some(shown);
        }
        let is_short =
            |envelope: &Envelope| envelope.succeeded() == Some(true) && envelope.has_short_keys();
        self.has_short_keys |= reply.envelope().is_some_and(is_short);
    }

    fn hear(&mut self, hint: RateHint) {
        let Some(calls) = hint.limit else { return };
        let window = hint.reset.unwrap_or_default();
        let (shared_by, told) = (hint.shared_by, self.limit);
        // Of several, the one that is reached first.
        if told.is_none_or(|told| calls <= told.calls) {
            let before = told.filter(|told| told.calls == calls).map(|told| told.window);
            let window = window.max(before.unwrap_or_default());
            self.limit = Some(Limit { calls, window, shared_by });
        }
    }

    /// Takes in what was known before.
    pub fn take_in(&mut self, before: &Self) {
        for (known, before) in self.routes.iter_mut().zip(before.routes) {
            if !known.is_some_and(Availability::is_there) {
                *known = before.or(*known);
            }
        }
        self.limit = self.limit.or(before.limit);
        self.has_short_keys |= before.has_short_keys;
    }

    /// Whether anything is known.
    pub fn is_known(&self) -> bool {
        self.limit.is_some() || self.routes.iter().any(Option::is_some)
    }

    /// What is known of a call.
    pub const fn of(&self, route: Route) -> Option<Availability> {
        self.routes[route as usize]
    }

    /// What is known of an ability: that it is there as soon as one call is.
    pub fn able(&self, ability: Ability) -> Option<Availability> {
        let known = || ability.routes().iter().filter_map(|route| self.of(*route));
        let there = known().find(|availability| availability.is_there());
        let is_all_known = known().count() == ability.routes().len();
        there.or_else(|| known().next_back().filter(|_| is_all_known))
    }

    /// The limit that headers tell.
    pub const fn limit(&self) -> Option<Limit> {
        self.limit
    }

    /// Which versions have such calls (docs/cmdb-api.md#what-a-server-can-do): at least the first, and before
    /// the second.
    pub fn versions(&self, entrance: Entrance) -> (Option<&'static str>, Option<&'static str>) {
        match (self.at_least(entrance), self.before(entrance)) {
            // Such a server is none of those that are known.
            (Some(_), Some("3.9"))
            | (Some("3.12.4" | "3.10.2"), Some(_))
            | (Some("3.10.1"), Some("3.10.1")) => (None, None),
            known => known,
        }
    }

    /// Whether calls that are there say that CMDB is this version or a newer one, whatever is missing.
    pub fn is_at_least(&self, version: &str, entrance: Entrance) -> bool {
        let numbers = |version: &str| -> Vec<u32> {
            version.split('.').filter_map(|number| number.parse().ok()).collect()
        };
        self.at_least(entrance).is_some_and(|least| numbers(least) >= numbers(version))
    }

    fn at_least(&self, entrance: Entrance) -> Option<&'static str> {
        let has = |route| self.of(route).is_some_and(Availability::is_there);
        let dropped =
            |route| self.is_old_esb(entrance) && self.of(route) == Some(Availability::Unserved);
        if entrance == Entrance::Gateway && self.has_short_keys {
            Some("3.12.4")
        } else if has(Route::CreateMany) {
            Some("3.10.2")
        } else if has(Route::List) || has(Route::SearchObjectInstances) {
            Some("3.10.1")
        } else if dropped(Route::Delete) {
            Some("3.10")
        } else if dropped(Route::Attributes) || dropped(Route::SearchInst) {
            Some("3.9")
        } else {
            None
        }
    }

    fn before(&self, entrance: Entrance) -> Option<&'static str> {
        let is = |route, availability| self.of(route) == Some(availability);
        // What an ESB or a gateway lacks the CMDB behind it may have.
        let lacks = |route| {
            is(route, Availability::Unserved)
                || (entrance == Entrance::Native && is(route, Availability::Absent))
        };
        if self.is_old_esb(entrance) {
            None
        } else if lacks(Route::DeleteMany) {
            Some("3.9")
        } else if lacks(Route::List) || lacks(Route::SearchObjectInstances) {
            Some("3.10.1")
        } else if lacks(Route::CreateMany) {
            Some("3.10.2")
        } else {
            None
        }
    }

    /// Whether it is an ESB with the list of before 3.10, whose paths newer CMDBs dropped.
    fn is_old_esb(&self, entrance: Entrance) -> bool {
        entrance == Entrance::Esb && self.of(Route::CreateMany) == Some(Availability::Absent)
    }

    /// The same for `run.json`.
    pub fn of_server(&self, target: &Target) -> KnownServer {
        let (from, before) = self.versions(target.entrance);
        let [from, before] = [from, before].map(|version| version.map(str::to_owned));
        let known = Ability::ALL.into_iter().filter_map(|ability| {
            Some((ability.as_str().to_owned(), self.able(ability)?.as_str().to_owned()))
        });
        KnownServer {
            path: target.api_path(),
            version: Versions { from, before },
            quota: self.limit.map(Limit::told),
            abilities: known.collect(),
        }
    }
}

impl Limit {
    fn told(self) -> ToldQuota {
        let counted = self.shared_by.map(|shared_by| match shared_by {
            SharedBy::Route => "route",
            SharedBy::All => "all",
        });
        ToldQuota {
            calls: self.calls,
            window_ms: self.window.as_millis() as u64,
            counted: counted.map(str::to_owned),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmdb::wire::Answer;

    const UNKNOWN: &str = r#"{"result":false,"code":1101046,"message":"no such","data":null}"#;
    const FOUND: &str = r#"{"result":true,"code":0,"message":"","data":[]}"#;
    const LONG_KEYS: &str = r#"{"result":true,"bk_error_code":0,"bk_error_msg":"","data":[]}"#;
    const NO_PATH: &str = r#"{"result":false,"bk_error_code":1199037,"bk_error_msg":"rewrite request failed, unknown requested with backend process"}"#;
    const NO_ESB_PATH: &str = r#"{"result":false,"code":1306000,"message":"Request interface error, the response content is not a json string: 404: Page Not Found"}"#;
    const NO_COMPONENT: &str = "{}";
    const FORBIDDEN: &str = r#"{"result":false,"code":9900403,"message":"no"}"#;
    const PAGE: &str = "<html>404 Not Found";
    const NO_PAGE: &str = "404: Page Not Found";

    fn reply(body: &str, rate: RateHint) -> Reply {
        let status = if matches!(body, NO_COMPONENT | PAGE | NO_PAGE) { 404 } else { 200 };
        let envelope = Envelope::parse(body.as_bytes());
        let excerpt = if envelope.is_none() { body.to_owned() } else { String::new() };
        Reply::Answered(Answer { status, envelope, excerpt, rate, ..Answer::default() })
    }

    fn seen(answers: &[(Route, &str)]) -> Abilities {
        let mut abilities = Abilities::default();
        for (route, body) in answers {
            abilities.note(*route, &reply(body, RateHint::default()));
        }
        abilities
    }

    #[test]
    fn versions_follow_from_calls_that_are_there_and_from_those_that_are_not() {
        use Entrance::{Esb, Gateway, Native};
        use Route::{Attributes, CreateMany, Delete, DeleteMany, List, SearchObjectInstances};
        for (entrance, answers, from, before) in [
            (Native, &[(Route::Create, UNKNOWN)][..], None, None),
            (Native, &[(CreateMany, UNKNOWN)], Some("3.10.2"), None),
            (Native, &[(List, LONG_KEYS), (CreateMany, NO_PATH)], Some("3.10.1"), Some("3.10.2")),
            (Native, &[(List, NO_COMPONENT), (DeleteMany, UNKNOWN)], None, Some("3.10.1")),
            (Native, &[(DeleteMany, NO_COMPONENT)], None, Some("3.9")),
            (Native, &[(DeleteMany, NO_PAGE)], None, Some("3.9")),
            // Of a page of something on the way nothing follows.
            (Native, &[(DeleteMany, PAGE), (List, PAGE)], None, None),
            (Native, &[(DeleteMany, PAGE), (CreateMany, UNKNOWN)], Some("3.10.2"), None),
            (Esb, &[(CreateMany, PAGE), (Delete, NO_ESB_PATH)], None, None),
            // Signs that contradict each other.
            (Native, &[(CreateMany, UNKNOWN), (List, NO_PATH)], None, None),
            (Native, &[(List, LONG_KEYS), (SearchObjectInstances, NO_PATH)], None, None),
            (Native, &[(List, LONG_KEYS), (DeleteMany, NO_PATH)], None, None),
            // What a gateway lacks its CMDB may have, unless it is the CMDB that lacks it.
            (Gateway, &[(CreateMany, NO_COMPONENT), (Route::Models, LONG_KEYS)], None, None),
            (Gateway, &[(CreateMany, NO_PATH)], None, Some("3.10.2")),
            (Gateway, &[(Route::Models, FOUND)], Some("3.12.4"), None),
            (Esb, &[(Route::Models, FOUND)], None, None),
            (Esb, &[(CreateMany, NO_COMPONENT), (Delete, NO_ESB_PATH)], Some("3.10"), None),
            (Esb, &[(CreateMany, NO_COMPONENT), (Attributes, NO_ESB_PATH)], Some("3.9"), None),
            (Esb, &[(CreateMany, NO_COMPONENT), (Delete, FOUND)], None, None),
            (Esb, &[(Delete, NO_ESB_PATH)], None, None),
            (Esb, &[(CreateMany, NO_ESB_PATH)], None, Some("3.10.2")),
        ] {
            let told = seen(answers).versions(entrance);
            assert_eq!(told, (from, before), "{entrance:?} {answers:?}");
        }
    }

    #[test]
    fn a_call_that_is_there_says_from_when_on_cmdb_is_whatever_is_missing() {
        let calls = seen(&[(Route::List, LONG_KEYS), (Route::DeleteMany, NO_PATH)]);
        for (version, is_at_least) in
            [("3.9", true), ("3.10", true), ("3.10.1", true), ("3.10.2", false), ("3.12.4", false)]
        {
            assert_eq!(calls.is_at_least(version, Entrance::Native), is_at_least, "{version}");
        }
        assert!(!Abilities::default().is_at_least("3.9", Entrance::Native));
    }

    #[test]
    fn what_was_there_once_is_only_out_of_reach_later() {
        let route = Route::CreateMany;
        for (answers, known) in [
            (&[UNKNOWN, NO_COMPONENT][..], Availability::There),
            (&[NO_COMPONENT, UNKNOWN], Availability::There),
            (&[UNKNOWN, FORBIDDEN], Availability::There),
            (&[FORBIDDEN, NO_PATH], Availability::Forbidden),
            (&[NO_COMPONENT, NO_PATH], Availability::Unserved),
        ] {
            let answers: Vec<_> = answers.iter().map(|body| (route, *body)).collect();
            assert_eq!(seen(&answers).of(route), Some(known), "{answers:?}");
        }
    }

    #[test]
    fn an_ability_is_missing_where_all_its_calls_are() {
        let (newer, older) = (Route::SearchObjectInstances, Route::SearchInst);
        let able = |answers: &[_]| seen(answers).able(Ability::Instances);
        assert_eq!(able(&[(newer, NO_COMPONENT)]), None);
        assert_eq!(
            able(&[(newer, NO_COMPONENT), (older, NO_ESB_PATH)]),
            Some(Availability::Unserved)
        );
        assert_eq!(able(&[(newer, NO_COMPONENT), (older, UNKNOWN)]), Some(Availability::There));
    }

    #[test]
    fn of_several_limits_the_one_that_is_reached_first_is_told() {
        let mut abilities = Abilities::default();
        let hint = |limit, seconds, shared_by| RateHint {
            limit: Some(limit),
            reset: Some(Duration::from_secs(seconds)),
            shared_by,
            ..RateHint::default()
        };
        for told in [
            hint(100, 1, Some(SharedBy::Route)),
            hint(50, 3, Some(SharedBy::All)),
            hint(50, 60, Some(SharedBy::All)),
            hint(50, 2, Some(SharedBy::All)),
            hint(100, 1, Some(SharedBy::Route)),
            RateHint::default(),
        ] {
            abilities.note(Route::Create, &reply(UNKNOWN, told));
        }
        let window = Duration::from_mins(1);
        let limit = Limit { calls: 50, window, shared_by: Some(SharedBy::All) };
        assert_eq!(abilities.limit(), Some(limit));
    }

    #[test]
    fn what_a_plan_saw_its_run_knows() {
        let mut abilities = seen(&[(Route::Create, UNKNOWN), (Route::List, NO_PATH)]);
        abilities.take_in(&seen(&[(Route::Create, NO_PATH), (Route::List, FOUND)]));
        assert_eq!(abilities.of(Route::Create), Some(Availability::There));
        assert_eq!(abilities.of(Route::List), Some(Availability::There));
    }
}
