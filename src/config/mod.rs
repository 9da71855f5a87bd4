//! What the flags mean: the command with everything decided, checked and read.
//!
//! Owns precedence, profiles, identity and the names of results. Reads configuration and secret
//! files; everything else of the process comes in as an [`Environment`]. Calls no server.

mod identity;
mod connection;
pub mod paths;
mod profile;
pub mod reading;
mod results;
mod monitoring;
mod sharding;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::cli::layers::{self, Layer, LayerError, Layered, Source, TYPED_ONLY, Typed, variable};
use crate::cli::{Args, DisplayArgs, Groups, NamingArgs, PruneArgs, ServerCommand};
use crate::clock::{self, Date};
use crate::input::{InputOptions, UnknownEncoding};
use crate::options::{EngineOptions, GuardOptions, Language, Naming, Prune, Pruning, Shard};
use crate::report::log::LogFormat;
use crate::report::look::Color;
use crate::report::metrics::MetricsOptions;
use crate::report::progress::ProgressMode;
use crate::target::{EndpointError, Target};

pub use connection::Connection;
pub use identity::IdentityError;
use monitoring::Monitoring;
pub use monitoring::MonitoringError;
pub use paths::PathError;
pub use profile::ProfileError;
pub use results::{Output, ResultsConfig};
pub use sharding::ShardError;

/// What the process knows of its surroundings.
#[derive(Clone, Copy)]
pub struct Environment<'a> {
    /// The variables.
    pub variable: &'a dyn Fn(&str) -> Option<OsString>,
    /// The names of all variables.
    pub names: &'a dyn Fn() -> Vec<OsString>,
    /// The configuration file of the machine.
    pub system_config: &'a Path,
    /// The local date.
    pub today: Date,
}

impl Environment<'_> {
    /// The process's own.
    pub fn of_process() -> Self {
        Environment {
            variable: &|name| std::env::var_os(name),
            names: &|| std::env::vars_os().map(|(name, _)| name).collect(),
            system_config: Path::new("/etc/bkassoc/config.toml"),
            today: clock::today(),
        }
    }

    /// A variable. An empty one counts as none.
    fn get(&self, name: &str) -> Option<OsString> {
        (self.variable)(name).filter(|value| !value.is_empty())
    }

    /// That of the locale for messages.
    fn language(&self) -> Language {
        let locale = ["LC_ALL", "LC_MESSAGES", "LANG"].into_iter().find_map(|name| self.get(name));
        locale.map_or(Language::En, |locale| Language::of_locale(&locale.to_string_lossy()))
    }
}

/// The run that made the results which a command starts from, as its `run.json` tells.
#[derive(Clone, Debug)]
pub struct Parent {
    /// The `run.json`.
    pub file: PathBuf,
    /// Where it wrote to.
    pub target: Target,
    /// Its options by their flags: [`Config::inherited`] of that run.
    pub options: BTreeMap<String, Vec<String>>,
}

/// Why a command can't be started. Nothing was sent: exit 2.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A flag, a variable or a profile's value.
    #[error(transparent)]
    Layer(#[from] LayerError),
    /// The profile.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// The identity.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The results path.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The shard.
    #[error(transparent)]
    Shard(#[from] ShardError),
    /// Where metrics or the report go.
    #[error(transparent)]
    Monitoring(#[from] MonitoringError),
    /// The encoding of the input.
    #[error(transparent)]
    Encoding(#[from] UnknownEncoding),
    /// No endpoint.
    #[error(
        "where to? give --endpoint URL, BKASSOC_ENDPOINT or `endpoint` in a profile (or try --sandbox)"
    )]
    NoEndpoint,
    /// Nobody knows what was created before.
    #[error(
        "--prune previous: what did the run before create? Give its results with --previous RESULTS. (The first \
         night has none: leave --prune out)"
    )]
    NoPrevious,
    /// An endpoint that is none.
    #[error("{origin}: the endpoint {endpoint} {error}")]
    Endpoint {
        /// Where it was given.
        origin: String,
        /// As given, without a password.
        endpoint: String,
        /// What is wrong.
        error: EndpointError,
    },
    /// An account that would not arrive.
    #[error(
        "{origin}: the supplier account {account} has no effect at --entrance gateway, which puts 0 in its place: \
         leave it out, or use --entrance esb or native. (CMDB 3.15 and newer have tenants instead: --tenant-id)"
    )]
    AccountOfGateway {
        /// Where it was given.
        origin: String,
        /// Which.
        account: String,
    },
    /// A proxy that is none. It is not shown, since it may hold a password.
    #[error(
        "{origin}: the proxy is no URL of an HTTP proxy, such as http://proxy.example.com:3128; `none` goes without one"
    )]
    Proxy {
        /// Where it was given.
        origin: String,
    },
    /// Results of one CMDB are not for another.
    #[error(
        "the results come from {theirs}, as {} says, but {origin} says {ours}: ids differ between CMDBs; give --allow-other-target if they are the same",
        file.display()
    )]
    OtherTarget {
        /// Where this command would write to.
        ours: Box<Target>,
        /// Who says so.
        origin: String,
        /// Where the results come from.
        theirs: Box<Target>,
        /// The `run.json` that says so.
        file: PathBuf,
    },
}

/// import, check, rerun, undo or verify with everything decided.
#[derive(Debug)]
pub struct Config {
    /// The server; `None` where none is called.
    pub connection: Option<Connection>,
    /// How calls are made and rows settled.
    pub engine: EngineOptions,
    /// How input is read.
    pub input: InputOptions,
    /// What names mean.
    pub naming: Naming,
    /// What a sync rules over, and which associations may go there.
    pub pruning: Pruning,
    /// What has to be so before anything of a plan is sent.
    pub guards: GuardOptions,
    /// Where results go.
    pub results: ResultsConfig,
    /// Which part of the rows is taken, where not all are.
    pub shard: Option<Shard>,
    /// What is shown.
    pub display: Display,
    /// Where metrics go.
    pub metrics: Option<MetricsOptions>,
    /// Where the report goes.
    pub report: Option<PathBuf>,
    /// The options that decide what a row means: with another value it is another run.
    pub meaning: BTreeMap<String, String>,
    /// What `run.json` keeps of the options.
    pub inherited: BTreeMap<String, Vec<String>>,
    /// To be told before anything starts.
    pub warnings: Vec<String>,
}

/// What is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Display {
    /// `-q`
    pub quiet: bool,
    /// How many `-v`.
    pub verbose: u8,
    /// Of logs.
    pub log_format: LogFormat,
    /// Of progress; with `-q` none.
    pub progress: ProgressMode,
    /// `--json`
    pub json: bool,
    /// When colours are used.
    pub color: Color,
    /// What a person is told in.
    pub language: Language,
    /// The same, where it was given and is not that of the locale.
    pub given_language: Option<Language>,
}

impl Display {
    /// What these flags say here.
    pub fn of(args: &DisplayArgs, environment: &Environment<'_>) -> Self {
        Self {
            quiet: args.log.quiet,
            verbose: args.log.verbose,
            log_format: args.log.log_format,
            progress: if args.log.quiet { ProgressMode::Off } else { args.progress },
            json: args.json,
            color: args.log.color,
            language: args.language.lang.unwrap_or_else(|| environment.language()),
            given_language: args.language.lang,
        }
    }
}

/// Flags that say where calls go and as whom: no layer may set them where a sandbox is asked for, so
/// that no real server and no real credentials can come in.
const REAL_WORLD: &[&str] = &[
    "app-code",
    "app-secret-file",
    "ca-cert",
    "endpoint",
    "entrance",
    "insecure",
    "proxy",
    "supplier-account",
    "tenant-id",
    "token-file",
    "username",
];

/// A command that has no target: only variables stand beneath its words. Gives what is to be told before
/// it starts, too.
pub fn plain<A: Args>(
    typed: &Typed,
    environment: &Environment<'_>,
) -> Result<(A, Vec<String>), ConfigError> {
    Ok((layer(typed, environment, None)?.0.args, unknown_variables(environment)))
}

/// Decides what a command line that has a target means here. `parent` is the run that the results of
/// rerun, undo and verify come from: what it used is what they use by themselves.
pub fn resolve<A: ServerCommand>(
    typed: &Typed,
    environment: &Environment<'_>,
    parent: Option<&Parent>,
) -> Result<(A, Config), ConfigError> {
    let (layered, sandbox) = layer::<A>(typed, environment, parent)?;
    let groups = layered.args.groups();
    let target = &groups.server.target;
    let mut warnings = without_effect(environment);
    warnings.extend(unknown_variables(environment));
    let connection = if !groups.calls_out {
        None
    } else if sandbox {
        Some(connection::in_process(target, parent))
    } else {
        let sources = &layered.sources;
        Some(connection::connect(target, sources, environment, &mut warnings)?)
    };
    if let (Some(connection), Some(parent)) = (&connection, parent) {
        connection::same_target(connection, parent, groups.parent)?;
    }
    let output_origin = (layered.sources.get("output")).map_or("-o", |(_, origin)| origin);
    let shard = sharding::decide(&groups, environment, &mut warnings)?;
    let results =
        results::decide(groups.output, output_origin, groups.inputs, sandbox, shard, environment)?;
    let Monitoring { metrics, report } =
        monitoring::decide(groups.monitoring, groups.output, &results, shard, environment.today)?;
    let shards = shard.map_or(1, |shard| shard.count);
    let engine = EngineOptions { shards, ..engine(&groups) };
    if groups.settling.is_some() && engine.settle_after >= engine.max_outage {
        warnings.push(
            "--settle-after is not shorter than --max-outage: rows in doubt wait so long that the run \
             ends with exit 6 before they are settled"
                .to_owned(),
        );
    }
    let config = Config {
        connection,
        engine,
        input: reading::of(
            groups.reading,
            groups.action,
            groups.deletes,
            groups.business,
            target.entrance,
        )?,
        naming: naming(groups.naming),
        pruning: pruning(groups.pruning)?,
        guards: groups.guards.map(Into::into).unwrap_or_default(),
        shard,
        display: Display::of(&groups.server.display, environment),
        metrics,
        report,
        results,
        meaning: layered.meaning(),
        inherited: layered.inherited,
        warnings,
    };
    Ok((layered.args, config))
}

/// Variables of flags that have to be typed: who sets one believes that it is heeded.
fn without_effect(environment: &Environment<'_>) -> Vec<String> {
    let set = TYPED_ONLY.into_iter().filter(|flag| environment.get(&variable(flag)).is_some());
    set.map(|flag| format!("{} has no effect: --{flag} has to be typed", variable(flag))).collect()
}

/// Variables that look like ours and stand for no flag: mostly mistyped. Their values may be secrets.
fn unknown_variables(environment: &Environment<'_>) -> Vec<String> {
    let mut names: Vec<_> = (environment.names)();
    names.sort();
    let names = names.iter().filter_map(|name| name.to_str());
    let unknown = names.filter_map(|name| Some((name, layers::unknown_variable(name)?)));
    unknown
        .map(|(name, nearest)| match nearest {
            Some(nearest) => format!("{name} has no effect: is {nearest} meant?"),
            None => format!("{name} has no effect: there is no such flag"),
        })
        .collect()
}

/// Puts the layers beneath the command line, and says whether it is for a sandbox.
fn layer<A: Args>(
    typed: &Typed,
    environment: &Environment<'_>,
    parent: Option<&Parent>,
) -> Result<(Layered<A>, bool), ConfigError> {
    let of_sandbox = parent.is_some_and(|parent| parent.target.endpoint == Target::SANDBOX);
    let sandbox =
        typed.value("sandbox").is_some() || (of_sandbox && typed.value("endpoint").is_none());
    let mut layers = vec![profile::variables(typed.flags(), environment)];
    if typed.flags().any(|flag| flag == "profile") {
        let given = |flag| {
            let layered = layers[0].values.get(flag).and_then(|values| values.first());
            (typed.value(flag)).or_else(|| layered.map(OsString::as_os_str))
        };
        let name = given("profile").map(|name| name.to_string_lossy().into_owned());
        let config = given("config").map(PathBuf::from);
        layers.extend(profile::read(config.as_deref(), name.as_deref(), environment)?);
    }
    if sandbox {
        for layer in &mut layers {
            layer.values.retain(|flag, _| !REAL_WORLD.contains(&&**flag));
        }
    }
    layers.extend(parent.map(|parent| inherited(parent, sandbox)));
    Ok((typed.over(&layers)?, sandbox))
}

/// What a run was told, as the lowest layer of what starts from its results.
fn inherited(parent: &Parent, sandbox: bool) -> Layer {
    let target = &parent.target;
    let mut values = crate::cli::layers::Values::new();
    for (flag, texts) in &parent.options {
        values.insert(flag.clone(), texts.iter().map(OsString::from).collect());
    }
    values.insert("entrance".to_owned(), vec![target.entrance.as_str().into()]);
    let account = target.supplier_account.clone().into();
    values.insert("supplier-account".to_owned(), vec![account]);
    if let Some(tenant) = &target.tenant_id {
        values.insert("tenant-id".to_owned(), vec![tenant.into()]);
    }
    if !sandbox && target.endpoint != Target::SANDBOX {
        values.insert("endpoint".to_owned(), vec![target.endpoint.clone().into()]);
    }
    Layer { source: Source::Parent, origin: parent.file.display().to_string(), values }
}

fn naming(args: Option<&NamingArgs>) -> Naming {
    args.map_or_else(Naming::default, |args| Naming {
        keys: args.key.clone(),
        cloud_id: args.cloud_id,
    })
}

fn pruning(args: Option<&PruneArgs>) -> Result<Pruning, ConfigError> {
    let Some(PruneArgs { prune, scope, previous }) = args else { return Ok(Pruning::default()) };
    if *prune == Prune::Previous && previous.is_none() {
        return Err(ConfigError::NoPrevious);
    }
    Ok(Pruning { prune: *prune, scope: scope.clone(), previous: previous.clone() })
}

fn engine(groups: &Groups<'_>) -> EngineOptions {
    let calls = &groups.server.calls;
    let defaults = EngineOptions::default();
    let settling = groups.settling;
    EngineOptions {
        rate: calls.rate,
        shards: defaults.shards,
        concurrency: calls.concurrency,
        timeout: calls.timeout,
        settle_after: settling.map_or(defaults.settle_after, |args| args.settle_after),
        max_attempts: settling.map_or(defaults.max_attempts, |args| args.max_attempts),
        connect_timeout: calls.connect_timeout,
        max_outage: calls.max_outage,
        max_failures: settling.and_then(|args| args.max_failures),
        max_duration: calls.max_duration,
        batch: groups.batching.map_or(defaults.batch, |args| args.batch),
        send_biz_id: reading::sends_biz_id(groups.business, groups.server.target.entrance),
        models: calls.model.clone(),
    }
}

#[cfg(test)]
mod tests;
