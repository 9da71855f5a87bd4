//! How values that were not typed come in beneath the typed ones.
//!
//! A layer (variables, a profile, the run that made some results) is turned into the flags it stands
//! for, and the command line is parsed once more with them in it. So there is one parser, one set of
//! types and one kind of error, wherever a value was given.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};

use clap::builder::{BoolishValueParser, TypedValueParser};
use clap::error::{ContextKind, ContextValue};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, CommandFactory, FromArgMatches};

use super::{Cli, Command};
use crate::options::without_userinfo;

/// Where a value was given; the smaller the more direct.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// On the command line.
    Flag,
    /// In a variable `BKASSOC_…`.
    Variable,
    /// In a profile.
    Profile,
    /// In a variable that other BlueKing tools read too.
    Fallback,
    /// By the run that made the results.
    Parent,
}

/// Flags that must be typed each time.
pub const TYPED_ONLY: [&str; 4] = ["sandbox", "fresh", "yes", "allow-other-target"];

/// Flags that decide nothing about a run.
const ABOUT_ITSELF: [&str; 2] = ["help", "version"];

/// Flags that say where a profile is, and so can't stand in one.
const NOT_IN_PROFILES: &[&str] = &["config", "profile"];

/// Flags that a run takes over from the run that made its results. What stops a run early is not
/// among them: that was for the one process.
const INHERITED: &[&str] = &[
    "batch",
    "biz-id",
    "ca-cert",
    "cmdb-language",
    "concurrency",
    "connect-timeout",
    "delimiter",
    "encoding",
    "input-format",
    "insecure",
    "map",
    "max-attempts",
    "max-outage",
    "model",
    "rate",
    "send-biz-id",
    "settle-after",
    "timeout",
];

/// Flags that decide what a row means: another value of one makes another run.
const MEANING: &[&str] = &["biz-id", "delimiter", "encoding", "input-format", "map", "send-biz-id"];

/// Flags that say as whom, and where that stands: a rerun needs them again.
const IDENTITY: &[&str] =
    &["app-code", "app-secret-file", "config", "profile", "proxy", "token-file", "username"];

/// Flags whose values are URLs, which may hold a password.
const URLS: &[&str] = &["endpoint", "proxy"];

/// Values by the flag they stand for, without dashes in front.
pub type Values = BTreeMap<String, Vec<OsString>>;

/// Values that were given in one place. They can't be printed: a proxy's URL may hold a password.
#[derive(Clone)]
pub struct Layer {
    /// Which place.
    pub source: Source,
    /// How messages call it: `profile "prod" of /etc/…`. Variables are called by their own names.
    pub origin: String,
    /// Its values. Those of flags that the command does not have are left out.
    pub values: Values,
}

/// Why a layer's value can't be used.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// It is no value of the flag, or its flag can't stand beside another.
    #[error("{origin}: {message}")]
    Value {
        /// Where it was given.
        origin: String,
        /// What is wrong.
        message: String,
    },
    /// A mistake in what was typed, to be shown and answered as clap does.
    #[error(transparent)]
    Usage(#[from] clap::Error),
}

/// The command line as it was typed. It can't be printed: a proxy's URL may hold a password.
pub struct Typed {
    argv: Vec<OsString>,
    matches: ArgMatches,
    command: clap::Command,
}

/// The command with the layers beneath it.
#[derive(Debug)]
pub struct Layered {
    /// What to do.
    pub command: Command,
    /// Where each flag was given; what is missing here has its default.
    pub sources: BTreeMap<String, (Source, String)>,
    /// What `run.json` keeps of the options, for a rerun to take over.
    pub inherited: BTreeMap<String, Vec<String>>,
}

impl Layered {
    /// Those of the inherited options that decide what a row means, each as one text.
    pub fn meaning(&self) -> BTreeMap<String, String> {
        (self.inherited.iter())
            .filter(|(flag, _)| MEANING.contains(&&***flag))
            .map(|(flag, values)| (flag.clone(), values.join(";")))
            .collect()
    }
}

impl Typed {
    /// Reads a command line. Help and version are errors too, as clap has it.
    pub fn parse(argv: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let argv: Vec<OsString> = argv.into_iter().collect();
        let matches = Cli::command().try_get_matches_from(&argv)?;
        let name = matches.subcommand_name().unwrap_or_default();
        let command = (Cli::command().find_subcommand(name).cloned())
            .ok_or_else(|| clap::Error::new(clap::error::ErrorKind::MissingSubcommand))?;
        Ok(Self { argv, matches, command })
    }

    /// What was typed, and nothing else.
    pub fn command(&self) -> Result<Command, clap::Error> {
        Ok(Cli::from_arg_matches(&self.matches)?.command)
    }

    /// The flags of this command that layers may hold.
    pub fn flags(&self) -> impl Iterator<Item = &str> {
        layerable(&self.command).filter_map(Arg::get_long)
    }

    /// The text that was typed for a flag.
    pub fn value(&self, flag: &str) -> Option<&OsStr> {
        let id = self.typed(flag)?.get_id().as_str();
        self.submatches()?.get_raw(id)?.next()
    }

    /// The command that was typed, to be given again.
    pub fn again(&self) -> Vec<String> {
        let mut words = vec!["bkassoc".to_owned()];
        let mut flag = None;
        for arg in self.argv.iter().skip(1) {
            let text = arg.to_string_lossy();
            let typed = text.strip_prefix("--").unwrap_or_default();
            let word = if let Some(flag) = flag.take() {
                shown(flag, &text)
            } else if let Some((flag, url)) = typed.split_once('=') {
                format!("--{flag}={}", shown(flag, url))
            } else {
                flag = URLS.iter().copied().find(|flag| *flag == typed);
                text.into_owned()
            };
            words.push(word);
        }
        words
    }

    /// What of the typed flags another command needs again to reach the same server as the same user.
    pub fn identity_flags(&self) -> Vec<String> {
        let typed = IDENTITY.iter().filter_map(|flag| Some((flag, self.value(flag)?)));
        typed
            .flat_map(|(flag, value)| [format!("--{flag}"), shown(flag, &value.to_string_lossy())])
            .collect()
    }

    /// The command with these layers beneath what was typed, the most direct first.
    pub fn over(&self, layers: &[Layer]) -> Result<Layered, LayerError> {
        let mut sources = BTreeMap::new();
        let mut flags: Vec<OsString> = Vec::new();
        for arg in layerable(&self.command) {
            let Some(flag) = arg.get_long() else { continue };
            if self.typed(flag).is_some() {
                sources.insert(flag.to_owned(), (Source::Flag, format!("--{flag}")));
            } else if let Some((layer, values)) =
                (layers.iter()).find_map(|layer| Some((layer, layer.values.get(flag)?)))
            {
                let origin = match layer.source {
                    Source::Variable => variable(flag),
                    _ => layer.origin.clone(),
                };
                flags.extend(
                    as_flags(arg, flag, values)
                        .map_err(|message| LayerError::Value { origin: origin.clone(), message })?,
                );
                sources.insert(flag.to_owned(), (layer.source, origin));
            }
        }
        // The command is the second word: `bkassoc` itself has no flags that take part.
        let mut argv = self.argv.clone();
        let place = argv.len().min(2);
        argv.splice(place..place, flags);
        let matches =
            (Cli::command().try_get_matches_from(argv)).map_err(|error| blame(error, &sources))?;
        Ok(Layered {
            command: Cli::from_arg_matches(&matches)?.command,
            sources,
            inherited: self.inherited(&matches),
        })
    }

    fn submatches(&self) -> Option<&ArgMatches> {
        self.matches.subcommand().map(|(_, matches)| matches)
    }

    /// The flag, if it was typed.
    fn typed(&self, flag: &str) -> Option<&Arg> {
        let arg = (self.command.get_arguments()).find(|arg| arg.get_long() == Some(flag))?;
        let source = self.submatches()?.value_source(arg.get_id().as_str());
        (source == Some(ValueSource::CommandLine)).then_some(arg)
    }

    fn inherited(&self, matches: &ArgMatches) -> BTreeMap<String, Vec<String>> {
        let Some((_, matches)) = matches.subcommand() else {
            return BTreeMap::new();
        };
        let mut inherited = BTreeMap::new();
        for arg in self.command.get_arguments() {
            let Some(flag) = arg.get_long().filter(|flag| INHERITED.contains(flag)) else {
                continue;
            };
            if let Some(values) = matches.get_raw(arg.get_id().as_str()) {
                let values = values.map(|value| value.to_string_lossy().into_owned());
                inherited.insert(flag.to_owned(), values.collect());
            }
        }
        inherited
    }
}

/// Whether any command has this flag, and a profile may set it.
pub fn may_stand_in_a_profile(flag: &str) -> bool {
    !NOT_IN_PROFILES.contains(&flag)
        && Cli::command()
            .get_subcommands()
            .any(|command| layerable(command).any(|arg| arg.get_long() == Some(flag)))
}

/// The variable that stands for a flag.
pub fn variable(flag: &str) -> String {
    format!("BKASSOC_{}", flag.replace('-', "_").to_uppercase())
}

fn layerable(command: &clap::Command) -> impl Iterator<Item = &Arg> {
    command.get_arguments().filter(|arg| {
        let stands_outside =
            |flag: &str| TYPED_ONLY.contains(&flag) || ABOUT_ITSELF.contains(&flag);
        arg.get_long().is_some_and(|flag| !stands_outside(flag))
    })
}

/// The flags that some values stand for: `--flag=value` each, or the bare flag where it is a switch.
fn as_flags(arg: &Arg, flag: &str, values: &[OsString]) -> Result<Vec<OsString>, String> {
    let bare = OsString::from(format!("--{flag}"));
    let last = values.last().map(OsString::as_os_str).unwrap_or_default();
    match arg.get_action() {
        ArgAction::SetTrue => match switch(last) {
            Some(true) => Ok(vec![bare]),
            Some(false) => Ok(Vec::new()),
            None => Err(format!("{flag} is true or false, not {}", last.display())),
        },
        ArgAction::Count => {
            let count = last.to_str().and_then(|text| text.parse::<u8>().ok());
            let count =
                count.ok_or_else(|| format!("{flag} is a number, not {}", last.display()))?;
            Ok(vec![bare; count.min(9).into()])
        }
        ArgAction::Append => Ok(values.iter().map(|value| with_value(&bare, value)).collect()),
        _ => Ok(vec![with_value(&bare, last)]),
    }
}

fn with_value(bare: &OsStr, value: &OsStr) -> OsString {
    let mut flag = bare.to_owned();
    flag.push("=");
    flag.push(value);
    flag
}

/// Reads a switch that was given as a text: `true`, `yes`, `1` and their opposites.
pub fn switch(value: &OsStr) -> Option<bool> {
    BoolishValueParser::new().parse_ref(&clap::Command::new("switch"), None, value).ok()
}

/// Says of a mistake where it was made, if it was not typed.
fn blame(error: clap::Error, sources: &BTreeMap<String, (Source, String)>) -> LayerError {
    let named: BTreeSet<String> = [ContextKind::InvalidArg, ContextKind::PriorArg]
        .into_iter()
        .filter_map(|kind| match error.get(kind)? {
            ContextValue::String(arg) => Some(vec![arg.clone()]),
            ContextValue::Strings(args) => Some(args.clone()),
            _ => None,
        })
        .flatten()
        .filter_map(|arg| Some(arg.strip_prefix("--")?.split(' ').next()?.to_owned()))
        .collect();
    let origin = named.iter().find_map(|flag| match sources.get(flag) {
        None | Some((Source::Flag, _)) => None,
        Some((_, origin)) => Some(origin.clone()),
    });
    match origin {
        None => error.into(),
        Some(origin) => {
            let text = error.to_string();
            let lines = text.lines().map(str::trim).take_while(|line| !line.is_empty());
            let message = lines.collect::<Vec<_>>().join(" ");
            let message = message.trim_start_matches("error: ").to_owned();
            LayerError::Value { origin, message }
        }
    }
}

/// A flag's value as it may be shown.
fn shown(flag: &str, value: &str) -> String {
    if URLS.contains(&flag) { without_userinfo(value).into_owned() } else { value.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Rate;

    fn typed(line: &str) -> Typed {
        Typed::parse(line.split(' ').map(OsString::from)).unwrap()
    }

    fn layer(source: Source, values: &[(&str, &[&str])]) -> Layer {
        let values = values.iter().map(|(flag, values)| {
            let values = values.iter().map(OsString::from).collect();
            ((*flag).to_owned(), values)
        });
        Layer {
            source,
            origin: "profile \"default\" of config.toml".to_owned(),
            values: values.collect(),
        }
    }

    fn import(layered: Layered) -> super::super::Import {
        match layered.command {
            Command::Import(import) => import,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_flag_and_default_stands_together() {
        Cli::command().debug_assert();
        for name in TYPED_ONLY
            .iter()
            .chain(&ABOUT_ITSELF)
            .chain(INHERITED)
            .chain(MEANING)
            .chain(IDENTITY)
            .chain(URLS)
        {
            let known = |command: &clap::Command| {
                (command.get_arguments()).any(|arg| arg.get_long() == Some(name))
            };
            let generated = ["help", "version"].contains(name);
            assert!(generated || Cli::command().get_subcommands().any(known), "{name}");
        }
    }

    #[test]
    fn a_flag_wins_over_a_variable_over_a_profile_over_the_default() {
        let profile = layer(Source::Profile, &[("rate", &["3"]), ("timeout", &["3"])]);
        let variable = layer(Source::Variable, &[("rate", &["2"])]);
        let layers = [variable, profile];
        for (line, layers, rate, source) in [
            ("b import a.csv --rate 1", &layers[..], 1.0, Some(Source::Flag)),
            ("b import a.csv", &layers[..], 2.0, Some(Source::Variable)),
            ("b import a.csv", &layers[1..], 3.0, Some(Source::Profile)),
            ("b import a.csv", &[], 90.0, None),
        ] {
            let layered = typed(line).over(layers).unwrap();
            assert_eq!(layered.sources.get("rate").map(|at| at.0), source, "{line}");
            assert_eq!(import(layered).calls.rate, Rate::PerSecond(rate), "{line}");
        }
    }

    #[test]
    fn a_repeatable_flag_replaces_what_lies_beneath_and_is_not_added_to_it() {
        let profile = layer(Source::Profile, &[("map", &["inst_id=a", "biz_id=b"])]);
        let names = |line: &str| {
            let map = import(typed(line).over(std::slice::from_ref(&profile)).unwrap()).reading.map;
            map.into_iter().map(|(_, name)| name).collect::<Vec<_>>()
        };
        assert_eq!(names("b import a.csv"), ["a", "b"]);
        assert_eq!(names("b import a.csv --map inst_id=c"), ["c"]);
    }

    #[test]
    fn a_switch_in_a_layer_is_true_or_false() {
        let json = |text: &str| {
            let layer = layer(Source::Variable, &[("json", &[text]), ("verbose", &["2"])]);
            typed("b import a.csv").over(&[layer]).map(import)
        };
        let on = json("yes").unwrap();
        assert!(on.display.json);
        assert_eq!(on.display.log.verbose, 2);
        assert!(!json("0").unwrap().display.json);
        let error = json("maybe").unwrap_err().to_string();
        assert_eq!(error, "BKASSOC_JSON: json is true or false, not maybe");
    }

    #[test]
    fn a_layer_holds_values_for_commands_that_do_not_have_them() {
        let profile = layer(Source::Profile, &[("batch", &["auto"]), ("listen", &["x"])]);
        typed("b undo a.results.csv").over(&[profile]).unwrap();
    }

    #[test]
    fn a_bad_value_is_blamed_on_the_place_where_it_was_given() {
        let profile = layer(Source::Profile, &[("rate", &["fast"])]);
        let error = typed("b import a.csv").over(&[profile]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "profile \"default\" of config.toml: invalid value 'fast' for '--rate \
             <N[/s|/m]|unlimited>': a rate is a positive number, as 90, 90/s or 600/m, or \
             `unlimited`"
        );
        let variable = layer(Source::Variable, &[("entrance", &["door"])]);
        let error = typed("b import a.csv").over(&[variable]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "BKASSOC_ENTRANCE: invalid value 'door' for '--entrance <ENTRANCE>' [possible values: \
             esb, gateway, native]"
        );
    }

    #[test]
    fn what_a_run_inherits_is_the_option_as_it_came_out() {
        let profile = layer(Source::Profile, &[("rate", &["3"]), ("app-code", &["x"])]);
        let layered = typed("b import a.csv --map inst_id=a").over(&[profile]).unwrap();
        assert_eq!(layered.inherited["rate"], ["3"]);
        assert_eq!(layered.inherited["map"], ["inst_id=a"]);
        assert_eq!(layered.inherited["settle-after"], ["35s"]);
        assert!(!layered.inherited.contains_key("app-code"));
        let meaning: Vec<_> = layered.meaning().into_iter().collect();
        assert_eq!(
            meaning,
            [("map", "inst_id=a"), ("send-biz-id", "auto")]
                .map(|(k, v)| { (k.to_owned(), v.to_owned()) })
        );

        let values = layered
            .inherited
            .into_iter()
            .map(|(flag, values)| (flag, values.into_iter().map(OsString::from).collect()));
        let parent = Layer {
            source: Source::Parent,
            origin: "a.results.csv.run.json".to_owned(),
            values: values.collect(),
        };
        let rerun = typed("b rerun a.results.csv").over(&[parent]).unwrap();
        match rerun.command {
            Command::Rerun(rerun) => assert_eq!(rerun.calls.rate, Rate::PerSecond(3.0)),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_command_to_give_again_is_what_was_typed_but_for_passwords() {
        for (line, again, identity) in [
            (
                "/usr/bin/b import a@2026.csv --proxy http://u:c/n@ry@h:1 --username me@corp.com",
                "bkassoc import a@2026.csv --proxy http://***@h:1 --username me@corp.com",
                "--proxy http://***@h:1 --username me@corp.com",
            ),
            (
                "b import --proxy=u:canary@h:1 --endpoint=http://u:canary@h --app-code=a@b c@d.csv",
                "bkassoc import --proxy=***@h:1 --endpoint=http://***@h --app-code=a@b c@d.csv",
                "--app-code a@b --proxy ***@h:1",
            ),
            (
                "b import --endpoint http://u:canary@h -o x=@y.csv -- a.csv",
                "bkassoc import --endpoint http://***@h -o x=@y.csv -- a.csv",
                "",
            ),
        ] {
            let typed = typed(line);
            assert_eq!(typed.again().join(" "), again);
            assert_eq!(typed.identity_flags().join(" "), identity);
        }
    }
}
