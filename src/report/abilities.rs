//! What a server can do, what is missing, and what to ask its administrator for: in words, and for a script.
//!
//! Owns what is told of which answer, and in which order. Knows nothing of how it was found out.

mod words;

use std::borrow::Cow;
use std::fmt;

use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::cmdb::http::call_of;
use crate::cmdb::server_message::ServerMessage;
use crate::cmdb::verdict::Availability;
use crate::cmdb::wire::Route;
use crate::engine::abilities::{Abilities, Ability, Limit};
use crate::engine::probes::{NotMade, Probed, Told};
use crate::exit::{Exit, Halt};
use crate::options::Language;
use crate::report::look::{Look, Tone};
use crate::report::width::padded;
use crate::report::words::span;
use crate::target::Target;
use words::{
    Age, Both, HEADING, MISSING, NO_PERMISSION_TRIED, PATH, PERMISSION, QUOTA, TO_ASK, UNTOLD,
    VERSION, WITHOUT, answer, filled, limit, named, request, since, versions, window, without,
};

/// How wide the first column is.
const COLUMN: usize = 26;

/// What probes told of a server.
#[derive(Clone, Debug)]
pub(crate) struct ServerReport<'a> {
    pub(crate) target: &'a Target,
    pub(crate) app: Option<&'a str>,
    pub(crate) user: Option<&'a str>,
    /// Whether no model association has to be asked for.
    pub(crate) has_models: bool,
    pub(crate) abilities: &'a Abilities,
    pub(crate) probed: &'a [Probed],
}

/// What is known of an ability.
#[derive(Clone, Copy, Debug)]
struct Finding<'a> {
    ability: Ability,
    route: Route,
    state: State,
    said: Option<&'a ServerMessage>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Is(Availability),
    NotKnown,
    NotMade(NotMade),
}

impl State {
    const fn tone(self) -> Tone {
        match self {
            Self::Is(Availability::There) => Tone::Good,
            Self::Is(_) => Tone::Bad,
            Self::NotKnown | Self::NotMade(_) => Tone::Open,
        }
    }

    /// Whether it can't be used: it is not there, or not for this app or user.
    const fn is_missing(self) -> bool {
        matches!(self, Self::Is(shown) if !matches!(shown, Availability::There))
    }

    /// Whether nobody answered whether it is there.
    const fn is_untold(self) -> bool {
        matches!(self, Self::NotKnown | Self::NotMade(NotMade::Silence))
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Is(availability) => availability.as_str(),
            Self::NotKnown => "not-known",
            Self::NotMade(_) => "not-tried",
        }
    }
}

impl ServerReport<'_> {
    fn findings(&self) -> impl Iterator<Item = Finding<'_>> {
        Ability::ALL.into_iter().map(|ability| self.finding(ability))
    }

    /// What is known of an ability: of several calls that of the one that is there, else of the best.
    fn finding(&self, ability: Ability) -> Finding<'_> {
        let found = |route: &Route| {
            let probed = self.probed.iter().rev().find(|probed| probed.route == *route)?;
            let (state, said) = match &probed.told {
                Told::Shown(shown, said) => (State::Is(*shown), Some(said)),
                Told::Nothing(said) => (State::NotKnown, Some(said)),
                Told::NotMade(why) => (State::NotMade(*why), None),
            };
            Some(Finding { ability, route: *route, state, said })
        };
        let found: Vec<_> = ability.routes().iter().filter_map(found).collect();
        let is_there =
            |finding: &&Finding<'_>| matches!(finding.state, State::Is(shown) if shown.is_there());
        let is_open = |finding: &&Finding<'_>| !matches!(finding.state, State::Is(_));
        let of_all = found.iter().find(is_there).or_else(|| found.iter().find(is_open));
        of_all.or(found.first()).copied().unwrap_or_else(|| {
            // The contact was tested by it.
            let state = self.abilities.able(ability).map_or(State::NotKnown, State::Is);
            Finding { ability, route: ability.routes()[0], state, said: None }
        })
    }

    /// The text of a finding, with its places filled.
    fn filled(&self, text: Both, finding: Finding<'_>, language: Language) -> Cow<'static, str> {
        let (name, call) = call_of(finding.route, self.target);
        let no_answer = || language.pick(("no answer", "没有应答")).to_owned();
        let said = finding.said.map_or_else(no_answer, ToString::to_string);
        let code = finding.said.and_then(|said| said.code);
        let code_of = |code| format!("{} {code}", language.pick(("code", "错误码")));
        let briefly = code.map_or_else(|| said.clone(), code_of);
        let this = language.pick(("of this call", "（当前）"));
        let places = [
            ("name", name),
            ("call", &*call),
            ("said", &*said),
            ("code", &*briefly),
            ("app", self.app.unwrap_or(this)),
            ("user", self.user.unwrap_or(this)),
            ("since", since(finding.route, self.target.entrance).unwrap_or_default()),
        ];
        filled(language.pick(text), &places)
    }

    fn answer(&self, finding: Finding<'_>, language: Language) -> Cow<'static, str> {
        self.filled(answer(finding.state, self.target.entrance), finding, language)
    }

    /// What an administrator can do about a finding.
    fn request(&self, finding: Finding<'_>, language: Language) -> Option<Cow<'static, str>> {
        let State::Is(shown) = finding.state else { return None };
        let entrance = self.target.entrance;
        let age = match since(finding.route, entrance) {
            None => Age::Old,
            Some(since) if self.abilities.is_at_least(since, entrance) => Age::Reached,
            Some(_) => Age::Young,
        };
        let text = request(shown, entrance, age);
        (!text.0.is_empty()).then(|| self.filled(text, finding, language))
    }

    /// What is not done where the finding stays so.
    fn without(&self, finding: Finding<'_>) -> Option<Both> {
        let lacks = |state| matches!(state, State::Is(shown) if !shown.is_there());
        let is_moot =
            finding.ability == Ability::DeleteMany && lacks(self.finding(Ability::Delete).state);
        (lacks(finding.state) && !is_moot).then(|| without(finding.ability))
    }

    fn version(&self, language: Language) -> Cow<'static, str> {
        version_text(self.abilities.versions(self.target.entrance), language)
    }

    /// Why an import is not possible, or not known to be.
    pub(crate) fn against_import(&self) -> Option<Halt> {
        let is_needed = |finding: &Finding<'_>| match finding.ability {
            Ability::Create | Ability::Find => true,
            Ability::Models => !self.has_models,
            _ => false,
        };
        let halt = |exit, text, is: fn(State) -> bool| {
            let found = self.findings().filter(|finding| is_needed(finding) && is(finding.state));
            let found: Vec<_> = found
                .map(|finding| {
                    format!("{}: {}", named(finding.ability).0, self.answer(finding, Language::En))
                })
                .collect();
            let what = found.join("; ");
            (!found.is_empty()).then(|| Halt::new(exit, filled(text, &[("what", &what)])))
        };
        halt(Exit::Target, MISSING, State::is_missing)
            .or_else(|| halt(Exit::Outage, UNTOLD, State::is_untold))
    }

    /// Logs by which call and answer each is known.
    pub(crate) fn log(&self) {
        for Probed { route, told } in self.probed {
            let (name, call) = call_of(*route, self.target);
            match told {
                Told::Shown(shown, said) => {
                    tracing::debug!("{name} ({call}) is {}, by {said}", shown.as_str());
                }
                Told::Nothing(said) => tracing::debug!("{name} ({call}) is not known: {said}"),
                Told::NotMade(_) => tracing::debug!("{name} ({call}) is not tried"),
            }
        }
    }
}

/// Logs what a run has seen of its server.
pub(crate) fn log(abilities: &Abilities, target: &Target) {
    let known = abilities.of_server(target);
    for (ability, state) in &known.abilities {
        tracing::debug!("this server: {ability} is {state}");
    }
    if let Some(told) = abilities.limit() {
        tracing::debug!("this server: {}", limit_text(Some(told), Language::En));
    }
    let version = &known.version;
    if version.from.is_some() || version.before.is_some() {
        let text = version_text(abilities.versions(target.entrance), Language::En);
        tracing::debug!("this server: CMDB {text}");
    }
}

fn version_text(
    (from, before): (Option<&'static str>, Option<&'static str>),
    language: Language,
) -> Cow<'static, str> {
    let places = [("from", from.unwrap_or_default()), ("before", before.unwrap_or_default())];
    filled(language.pick(versions(from.is_some(), before.is_some())), &places)
}

fn limit_text(told: Option<Limit>, language: Language) -> Cow<'static, str> {
    let length = told.map(|told| told.window).unwrap_or_default();
    let time = span(language, length);
    let window = filled(language.pick(window(!length.is_zero())), &[("time", &time)]);
    let calls = told.map_or_else(String::new, |told| told.calls.to_string());
    filled(language.pick(limit(told)), &[("calls", &calls), ("window", &window)])
}

impl ServerReport<'_> {
    /// In words, for a person.
    pub(crate) fn write(&self, look: Look, text: &mut impl fmt::Write) -> fmt::Result {
        let language = look.language;
        writeln!(text, "\n{}", look.paint(Tone::Strong, look.pick(HEADING)))?;
        let mut line = |what: Both, is: &str, tone: Option<Tone>| {
            let is = tone.map_or_else(|| is.to_owned(), |tone| look.paint(tone, is));
            writeln!(text, "  {}{is}", padded(look.pick(what), COLUMN))
        };
        line(PATH, &self.target.api_path(), None)?;
        line(VERSION, &self.version(language), None)?;
        for finding in self.findings() {
            let tone = finding.state.tone();
            line(named(finding.ability), &self.answer(finding, language), Some(tone))?;
        }
        line(QUOTA, &limit_text(self.abilities.limit(), language), None)?;
        line(PERMISSION, look.pick(NO_PERMISSION_TRIED), None)?;
        let mut requests = self
            .findings()
            .filter_map(|finding| Some((self.request(finding, language)?, self.without(finding))));
        let Some(first) = requests.next() else { return Ok(()) };
        writeln!(text, "\n{}", look.paint(Tone::Strong, look.pick(TO_ASK)))?;
        for (request, without) in std::iter::once(first).chain(requests) {
            write!(text, "  - {request}")?;
            if let Some(without) = without {
                let without = filled(look.pick(WITHOUT), &[("without", look.pick(without))]);
                write!(text, "{}{without}", look.pick((" ", "")))?;
            }
            writeln!(text)?;
        }
        Ok(())
    }
}

/// The key `server` of a check's JSON.
impl Serialize for ServerReport<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let known = self.abilities.of_server(self.target);
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("path", &known.path)?;
        map.serialize_entry("version", &known.version)?;
        map.serialize_entry("quota", &known.quota)?;
        map.serialize_entry("abilities", &Findings(self))?;
        map.end()
    }
}

struct Findings<'a>(&'a ServerReport<'a>);

impl Serialize for Findings<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(
            self.0
                .findings()
                .map(|finding| (finding.ability.as_str(), OneFinding { report: self.0, finding })),
        )
    }
}

struct OneFinding<'a> {
    report: &'a ServerReport<'a>,
    finding: Finding<'a>,
}

impl Serialize for OneFinding<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { report, finding } = self;
        let said = finding.said;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("state", finding.state.as_str())?;
        map.serialize_entry("call", &call_of(finding.route, report.target).1)?;
        map.serialize_entry("code", &said.and_then(|said| said.code))?;
        map.serialize_entry("message", &said.map(|said| &*said.message))?;
        map.serialize_entry("request_id", &said.and_then(|said| said.request_id.as_deref()))?;
        map.serialize_entry("without", &report.without(*finding).map(|(english, _)| english))?;
        map.serialize_entry("ask", &report.request(*finding, Language::En))?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::cmdb::wire::{Answer, Envelope, Reply, SharedBy};
    use crate::target::Entrance;

    const ENTRANCES: [Entrance; 3] = [Entrance::Esb, Entrance::Gateway, Entrance::Native];
    const SHOWN: [Availability; 5] = [
        Availability::There,
        Availability::Forbidden,
        Availability::Absent,
        Availability::Unserved,
        Availability::NotGranted,
    ];

    #[test]
    fn every_place_of_a_text_is_filled_and_nothing_else() {
        let target = |entrance| Target::new(entrance, "http://h", "0").unwrap();
        let not_made = [NotMade::Unsafe, NotMade::Silence, NotMade::Needless].map(State::NotMade);
        let states: Vec<_> =
            SHOWN.map(State::Is).into_iter().chain(not_made).chain([State::NotKnown]).collect();
        let said = ServerMessage { message: "{app}: no".to_owned(), ..ServerMessage::default() };
        for entrance in ENTRANCES {
            let (target, abilities) = (target(entrance), Abilities::default());
            let report = ServerReport {
                target: &target,
                app: Some("APP"),
                user: Some("USER"),
                has_models: false,
                abilities: &abilities,
                probed: &[],
            };
            for ability in Ability::ALL {
                for state in &states {
                    let route = ability.routes()[0];
                    let finding = Finding { ability, route, state: *state, said: Some(&said) };
                    let request = report.request(finding, Language::En);
                    let texts = [Language::En, Language::Zh].into_iter().flat_map(|language| {
                        [Some(report.answer(finding, language)), report.request(finding, language)]
                    });
                    for text in texts.flatten() {
                        let own = text.replace("{app}: no", "").replace("{bk_obj_id}", "");
                        assert!(!own.replace("{id}", "").contains(['{', '}']), "{text}");
                        assert!(!text.contains("  ") && !text.contains("()"), "{text}");
                    }
                    let is_missing =
                        matches!(state, State::Is(shown) if *shown != Availability::There);
                    assert_eq!(request.is_some(), is_missing, "{ability:?} {state:?}");
                }
            }
        }
    }

    #[test]
    fn what_is_missing_of_a_newer_cmdb_is_looked_for_in_front_of_it() {
        let target = Target::new(Entrance::Native, "http://h", "0").unwrap();
        let mut abilities = Abilities::default();
        let said = ServerMessage::default();
        let asked = |abilities: &Abilities, shown| {
            let (target, probed) = (&target, &[][..]);
            let (app, user, has_models) = (None, None, false);
            let report = ServerReport { target, app, user, has_models, abilities, probed };
            let (ability, route) = (Ability::DeleteMany, Route::DeleteMany);
            let state = State::Is(shown);
            let finding = Finding { ability, route, state, said: Some(&said) };
            let languages = [Language::En, Language::Zh];
            languages.map(|language| report.request(finding, language).unwrap().into_owned())
        };
        let [english, chinese] = asked(&abilities, Availability::Absent);
        assert!(english.contains("CMDB 3.9: please update"), "{english}");
        assert!(chinese.contains("请升级"), "{chinese}");
        let unknown = r#"{"result":false,"bk_error_code":1199038,"bk_error_msg":"none"}"#;
        let envelope = Envelope::parse(unknown.as_bytes());
        abilities
            .note(Route::CreateMany, &Reply::Answered(Answer { envelope, ..Answer::default() }));
        let [english, chinese] = asked(&abilities, Availability::Absent);
        assert!(english.contains("every CMDB from 3.9 on has"), "{english}");
        assert!(english.contains("stands in front") && !english.contains("update"), "{english}");
        assert!(chinese.contains("CMDB 3.9 起") && !chinese.contains("升级"), "{chinese}");
        let [english, chinese] = asked(&abilities, Availability::NotGranted);
        assert!(english.contains("stands in front") && !english.contains("gateway"), "{english}");
        assert!(!chinese.contains("API 网关"), "{chinese}");
    }

    #[test]
    fn versions_and_limits_are_told_as_far_as_they_are_known() {
        for (from, before, text) in [
            ("", "", "not told"),
            ("3.10", "", "3.10 or newer"),
            ("", "3.9", "older than 3.9"),
            ("3.10.1", "3.10.2", "3.10.1 or newer, and older than 3.10.2"),
        ] {
            let told = versions(!from.is_empty(), !before.is_empty());
            assert_eq!(filled(told.0, &[("from", from), ("before", before)]), text);
        }
        let window = Duration::from_mins(1);
        let told = Limit { calls: 50, window, shared_by: Some(SharedBy::All) };
        assert_eq!(
            limit_text(Some(told), Language::En),
            "50 calls in 1m or longer, counted for all calls of this stage together"
        );
        let told = Limit { calls: 50, window: Duration::ZERO, shared_by: None };
        let untold = "50 calls in a time that is not told;";
        assert!(limit_text(Some(told), Language::En).starts_with(untold));
        assert_eq!(limit_text(None, Language::En), "not told: there may be none");
    }
}
