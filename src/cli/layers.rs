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
use clap::{Arg, ArgAction, ArgMatches, Args, CommandFactory, FromArgMatches};

use super::{Cli, Command, ReadArgs};
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

/// How the variables of flags begin.
const PREFIX: &str = "BKASSOC_";

/// Flags that must be typed each time.
pub const TYPED_ONLY: [&str; 8] = [
    "sandbox",
    "fresh",
    "yes",
    "prune",
    "allow-delete",
    "allow-empty",
    "allow-shrunk",
    "allow-other-target",
];

/// Flags that decide nothing about a run.
const ABOUT_ITSELF: [&str; 2] = ["help", "version"];

/// Flags that say where a profile is, and so can't stand in one.
const NOT_IN_PROFILES: &[&str] = &["config", "profile"];

/// Flags that a run takes over from the run that made its results, but for those of [`TYPED_ONLY`], which only
/// say how that run read its input. What stops a run early is not among them: that was for the one process.
const INHERITED: &[&str] = &[
    "action",
    "allow-delete",
    "batch",
    "biz-id",
    "ca-cert",
    "cloud-id",
    "cmdb-language",
    "concurrency",
    "connect-timeout",
    "delimiter",
    "encoding",
    "input-format",
    "insecure",
    "key",
    "map",
    "max-delete",
    "max-attempts",
    "max-outage",
    "model",
    "no-header",
    "rate",
    "send-biz-id",
    "settle-after",
    "sheet",
    "timeout",
];

/// Flags that decide what a row means: another value of one makes another run.
const MEANING: &[&str] = &[
    "action",
    "allow-delete",
    "biz-id",
    "cloud-id",
    "delimiter",
    "encoding",
    "input-format",
    "key",
    "map",
    "no-header",
    "send-biz-id",
    "sheet",
];

/// Flags that say where and as whom, and where that stands: a rerun needs them again. Where it goes is
/// in `run.json` too, but a variable that names another place would be in the way.
const IDENTITY: &[&str] = &[
    "app-code",
    "app-secret-file",
    "config",
    "endpoint",
    "entrance",
    "profile",
    "proxy",
    "supplier-account",
    "tenant-id",
    "token-file",
    "username",
];

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
    definition: clap::Command,
    command: Command,
}

/// The command with the layers beneath it.
#[derive(Debug)]
pub struct Layered<A> {
    /// The command's own arguments.
    pub args: A,
    /// Where each flag was given; what is missing here has its default.
    pub sources: BTreeMap<String, (Source, String)>,
    /// What `run.json` keeps of the options, for a rerun to take over.
    pub inherited: BTreeMap<String, Vec<String>>,
}

impl<A> Layered<A> {
    /// Those of the inherited options that decide what a row means, each as one text. A switch that is
    /// off is none: earlier versions may not have had it.
    pub fn meaning(&self) -> BTreeMap<String, String> {
        (self.inherited.iter())
            .filter(|(flag, values)| MEANING.contains(&&***flag) && *values != &["false"])
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
        let definition = (Cli::command().find_subcommand(name).cloned())
            .ok_or_else(|| clap::Error::new(clap::error::ErrorKind::MissingSubcommand))?;
        let command = Cli::from_arg_matches(&matches)?.command;
        Ok(Self { argv, matches, definition, command })
    }

    /// What was typed, and nothing else.
    pub const fn command(&self) -> &Command {
        &self.command
    }

    /// The flags of this command that layers may hold.
    pub fn flags(&self) -> impl Iterator<Item = &str> {
        layerable(&self.definition).filter_map(Arg::get_long)
    }

    /// Whether the end is to be told in JSON, as far as flags and variables say: a profile may be what
    /// is wrong.
    pub fn wants_json(&self) -> bool {
        self.typed("json").is_some() || wants_json(&[])
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
    pub fn over<A: Args>(&self, layers: &[Layer]) -> Result<Layered<A>, LayerError> {
        let mut sources = BTreeMap::new();
        let mut flags: Vec<OsString> = Vec::new();
        for arg in layerable(&self.definition) {
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
        let (_, matches) = matches.subcommand().expect("a command was typed");
        Ok(Layered {
            args: A::from_arg_matches(matches)?,
            sources,
            inherited: self.inherited(matches),
        })
    }

    fn submatches(&self) -> Option<&ArgMatches> {
        self.matches.subcommand().map(|(_, matches)| matches)
    }

    /// The flag, if it was typed.
    fn typed(&self, flag: &str) -> Option<&Arg> {
        let arg = (self.definition.get_arguments()).find(|arg| arg.get_long() == Some(flag))?;
        let source = self.submatches()?.value_source(arg.get_id().as_str());
        (source == Some(ValueSource::CommandLine)).then_some(arg)
    }

    fn inherited(&self, matches: &ArgMatches) -> BTreeMap<String, Vec<String>> {
        let mut inherited = BTreeMap::new();
        for arg in self.definition.get_arguments() {
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

/// The same of words that are no command line: clap stops at the first mistake, which the flag may stand
/// behind.
pub fn wants_json(words: &[OsString]) -> bool {
    words.iter().take_while(|word| *word != "--").any(|word| word == "--json")
        || std::env::var_os(variable("json")).and_then(|value| switch(&value)) == Some(true)
}

/// What such words, or the variable, say of a flag.
pub fn early(flag: &str, words: &[OsString]) -> Option<OsString> {
    let mut words = words.iter().take_while(|word| *word != "--");
    let mut typed = None;
    while let Some(word) = words.next() {
        let Some(rest) = word.to_str().and_then(|word| word.strip_prefix("--")?.strip_prefix(flag))
        else {
            continue;
        };
        match rest.strip_prefix('=') {
            Some(value) => typed = Some(value.into()),
            None if rest.is_empty() => typed = words.next().cloned(),
            None => {}
        }
    }
    let variable = || std::env::var_os(variable(flag)).filter(|value| !value.is_empty());
    typed.or_else(variable)
}

/// How a run read its input, from what `run.json` keeps of its options ([`Layered::inherited`]).
pub fn reading(options: &BTreeMap<String, Vec<String>>) -> Result<ReadArgs, LayerError> {
    let command = ReadArgs::augment_args(clap::Command::new("run.json").no_binary_name(true));
    let mut flags = Vec::new();
    for (arg, flag) in command.get_arguments().filter_map(|arg| Some((arg, arg.get_long()?))) {
        let Some(values) = options.get(flag) else { continue };
        let values: Vec<_> = values.iter().map(OsString::from).collect();
        let origin = || "run.json".to_owned();
        let found = as_flags(arg, flag, &values);
        flags.extend(found.map_err(|message| LayerError::Value { origin: origin(), message })?);
    }
    Ok(ReadArgs::from_arg_matches(&command.try_get_matches_from(flags)?)?)
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
    format!("{PREFIX}{}", flag.replace('-', "_").to_uppercase())
}

/// Whether a variable looks like one of a flag and is none; and then the nearest that is one.
pub fn unknown_variable(name: &str) -> Option<Option<String>> {
    let rest = name.strip_prefix(PREFIX)?.to_lowercase();
    let cli = Cli::command();
    let arguments = cli.get_subcommands().flat_map(clap::Command::get_arguments);
    let is_flag = |arg: &&Arg| arg.get_long().is_some_and(|flag| !ABOUT_ITSELF.contains(&flag));
    let flags: BTreeSet<_> = arguments.filter(is_flag).map(Arg::get_id).collect();
    let known = |id: &str| variable(id);
    if flags.iter().any(|id| known(id.as_str()) == name) {
        return None;
    }
    if flags.iter().any(|id| id.as_str() == rest) {
        return Some(Some(known(&rest)));
    }
    // clap finds out which flag is near.
    let flags = flags.into_iter().map(|id| Arg::new(id.clone()).long(id.clone()));
    let command = clap::Command::new("flags").disable_help_flag(true).args(flags);
    let error = command.try_get_matches_from(["flags".to_owned(), format!("--{rest}")]).err()?;
    let Some(ContextValue::String(near)) = error.get(ContextKind::SuggestedArg) else {
        return Some(None);
    };
    Some(near.strip_prefix("--").map(known))
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
mod tests;
