//! Flags that commands share, in groups that belong together.
#![allow(missing_docs, reason = "flattened groups are documented at their types")]
#![allow(clippy::doc_markdown, reason = "comments are the help texts")]
#![allow(rustdoc::bare_urls, reason = "comments are the help texts")]

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::{ArgAction, Args};

use super::values;
use crate::association::{Action, Column, InstId, ModelAssociation};
use crate::options::{
    self, Batch, EngineOptions, Format, GuardOptions, Language, MaxDelete, MaxFailures, Proxy,
    Prune, Rate, SendBizId, Shard, exact_duration,
};
use crate::report::log::LogFormat;
use crate::report::look::Color;
use crate::report::progress::ProgressMode;
use crate::target::Entrance;

const DEFAULT: EngineOptions = EngineOptions::DEFAULT;

/// Where results go.
#[derive(Debug, Args)]
#[command(next_help_heading = "Results")]
pub struct OutputArgs {
    /// Where results go (.csv, .tsv, .jsonl, .xlsx), or `-` for stdout; `{date}` becomes today's date
    ///
    /// The results path is the run's identity: the same command with the same results goes on.
    /// [default: beside the input, a.csv -> a.results.csv; of a rerun a.rerun-1.csv, of an undo
    /// a.undo.csv, of a check a.check.csv]
    #[arg(short, long, value_name = "RESULTS")]
    pub output: Option<PathBuf>,
    /// Move what is at the results path aside and start anew
    #[arg(long)]
    pub fresh: bool,
    /// Ask no questions
    #[arg(long)]
    pub yes: bool,
}

/// How input is read.
#[derive(Debug, Args)]
#[command(next_help_heading = "Input")]
pub struct InputArgs {
    /// Take a field from a column of another name, as inst_id=源实例; repeatable
    #[arg(long, value_name = "FIELD=COLUMN", value_parser = values::mapped_column)]
    pub map: Vec<(Column, String)>,
    /// Format of the input [default: detected]
    #[arg(long, value_parser = values::words(Format::WORDS), value_name = "FORMAT")]
    pub input_format: Option<Format>,
    /// Sheet of an Excel workbook [default: association, else the first]
    #[arg(long, value_name = "NAME")]
    pub sheet: Option<String>,
    /// Delimiter of cells: one ASCII character, or `tab` [default: detected]
    #[arg(long, value_name = "CHAR", value_parser = values::delimiter)]
    pub delimiter: Option<char>,
    /// Tables have no header: obj_asst_id, inst_id, asst_inst_id, biz_id, in this order
    #[arg(long, conflicts_with = "map")]
    pub no_header: bool,
    /// Encoding of the input, as utf-8, utf-16le, gb18030 [default: detected]
    #[arg(long, value_name = "NAME")]
    pub encoding: Option<String>,
}

/// What names mean.
#[derive(Debug, Args)]
#[command(next_help_heading = "Input")]
pub struct NamingArgs {
    /// What a bare name of a model's instances stands for, as bk_switch=bk_asset_id, or room+number for
    /// a value `A|7`; repeatable
    ///
    /// [default: bk_host_innerip for hosts, bk_biz_name for businesses, bk_inst_name for all else]
    #[arg(long, value_name = "MODEL=PROPERTY[+PROPERTY]", value_parser = options::key)]
    pub key: Vec<(String, Vec<String>)>,
    /// Cloud (BlueKing network area) of host addresses that name none
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(0..))]
    pub cloud_id: Option<i64>,
}

/// What rows ask for.
#[derive(Debug, Args)]
#[command(next_help_heading = "Input")]
pub struct ActionArgs {
    /// What a row asks for that has no action [default: create]
    #[arg(long, value_parser = values::words(Action::WORDS), value_name = "ACTION")]
    pub action: Option<Action>,
}

/// Whether rows may delete.
#[derive(Debug, Args)]
#[command(next_help_heading = "Input")]
pub struct DeleteArgs {
    /// Carry out rows whose action is delete, which are invalid without it
    #[arg(long)]
    pub allow_delete: bool,
}

/// Which associations go that the input does not name.
#[derive(Debug, Args)]
#[command(next_help_heading = "Deletes")]
pub struct PruneArgs {
    /// Which associations go that the input does not name: none, those that the run of --previous
    /// created, those of the sources that the input names, or all
    #[arg(long, value_parser = values::words(Prune::WORDS), default_value = "none", value_name = "WHICH")]
    pub prune: Prune,
    /// A model association to rule over besides those of the input; repeatable
    #[arg(long, value_name = "ASST")]
    pub scope: Vec<String>,
    /// The results of the sync before: what it created may go with --prune previous, and a list that has
    /// shrunk since is refused
    #[arg(long, value_name = "RESULTS")]
    pub previous: Option<PathBuf>,
}

/// Which part of the rows a process takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Shards")]
pub struct ShardArgs {
    /// Take one of N parts of the rows, as 3/8, while other processes take the others
    ///
    /// `{shard}` in -o becomes 3-of-8; `bkassoc merge` makes one file of all parts. --rate is that of all
    /// parts together.
    #[arg(long, value_name = "I/N")]
    pub shard: Option<Shard>,
    /// How many parts there are, where JOB_COMPLETION_INDEX says which one, as in an Indexed Job
    #[arg(long, value_name = "N", value_parser = values::at_least_one::<u32>)]
    pub shards: Option<u32>,
}

/// What has to be so before anything is sent.
#[derive(Debug, Args)]
#[command(next_help_heading = "Deletes")]
pub struct GuardArgs {
    /// How many associations may be deleted: of each model association, and of all
    ///
    /// [default: 10%, once 10 are there]
    #[arg(long, value_name = "N|N%")]
    pub max_delete: Option<MaxDelete>,
    /// An input without rows is meant
    #[arg(long)]
    pub allow_empty: bool,
    /// It is known that less than half is there of what the run of --previous saw
    #[arg(long)]
    pub allow_shrunk: bool,
}

impl From<&GuardArgs> for GuardOptions {
    fn from(args: &GuardArgs) -> Self {
        let &GuardArgs { max_delete, allow_empty, allow_shrunk } = args;
        Self { max_delete, allow_empty, allow_shrunk }
    }
}

/// In which business's name rows are created.
#[derive(Debug, Args)]
#[command(next_help_heading = "Input")]
pub struct BusinessArgs {
    /// Business id of rows that have none
    #[arg(long, value_name = "N", value_parser = values::biz_id)]
    pub biz_id: Option<InstId>,
    /// Whether metadata.label.bk_biz_id is sent
    #[arg(long, value_parser = values::words(SendBizId::WORDS), default_value = "auto", value_name = "WHEN")]
    pub send_biz_id: SendBizId,
}

/// All that decides how a run reads its input.
#[derive(Debug, Args)]
pub struct ReadArgs {
    #[command(flatten)]
    pub reading: InputArgs,
    #[command(flatten)]
    pub action: ActionArgs,
    #[command(flatten)]
    pub deletes: DeleteArgs,
    #[command(flatten)]
    pub business: BusinessArgs,
}

/// Where calls go, and as whom.
#[derive(Debug, Args)]
#[command(next_help_heading = "Target")]
pub struct TargetArgs {
    /// Base URL, as https://paas.example.com; for gateway the URL up to and with the stage
    #[arg(long, value_name = "URL", conflicts_with = "sandbox")]
    pub endpoint: Option<String>,
    /// How the CMDB is reached
    #[arg(long, value_parser = values::words(values::ENTRANCES), default_value = "esb")]
    pub entrance: Entrance,
    /// Use a CMDB in memory; no server is called and no credentials are read
    #[arg(long)]
    pub sandbox: bool,
    /// App code [fallbacks: BK_APP_CODE, BKPAAS_APP_ID]
    #[arg(long, value_name = "CODE", value_parser = NonEmptyStringValueParser::new())]
    pub app_code: Option<String>,
    /// File that holds the app secret [fallbacks: BK_APP_SECRET, BKPAAS_APP_SECRET]
    #[arg(long, value_name = "PATH")]
    pub app_secret_file: Option<PathBuf>,
    /// User in whose name calls are made [fallback: BK_USERNAME]
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub username: Option<String>,
    /// File that holds a user's token (bk_token) [fallback: BK_TOKEN]
    ///
    /// Used only where it is given more directly than a username.
    #[arg(long, value_name = "PATH")]
    pub token_file: Option<PathBuf>,
    /// Supplier account, where it is not 0; not for gateway, which puts 0 in its place
    #[arg(long, value_name = "ACCOUNT", default_value = "0", value_parser = NonEmptyStringValueParser::new())]
    pub supplier_account: String,
    /// Tenant, of a CMDB of 3.15 or newer that has several
    #[arg(long, value_name = "TENANT", value_parser = NonEmptyStringValueParser::new())]
    pub tenant_id: Option<String>,
    /// Trust the certificates of this PEM file too
    #[arg(long, value_name = "PATH")]
    pub ca_cert: Option<PathBuf>,
    /// Do not verify the server's certificate
    #[arg(long)]
    pub insecure: bool,
    /// Proxy, or `none` [default: http_proxy, https_proxy, no_proxy]; never used for loopback
    #[arg(long, value_name = "URL|none", value_parser = values::proxy)]
    pub proxy: Option<Proxy>,
    /// Language of the server's messages
    #[arg(long, value_parser = values::words(Language::WORDS), default_value = "en", value_name = "LANGUAGE")]
    pub cmdb_language: Language,
    /// Profile of the configuration file [default: default]
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,
    /// Configuration file
    /// [default: $XDG_CONFIG_HOME/bkassoc/config.toml, then /etc/bkassoc/config.toml]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// What commands that start from results take beside the target.
#[derive(Debug, Args)]
#[command(next_help_heading = "Target")]
pub struct ParentArgs {
    /// Allow another target than that of the run which made the results
    #[arg(long)]
    pub allow_other_target: bool,
}

/// How calls are made.
#[derive(Debug, Args)]
#[command(next_help_heading = "Pace")]
pub struct CallArgs {
    /// Calls of this process, at most
    #[arg(long, value_name = "N[/s|/m]|unlimited", default_value_t = DEFAULT.rate)]
    pub rate: Rate,
    /// Calls in flight, at most
    #[arg(long, value_name = "N", default_value_t = DEFAULT.concurrency, value_parser = values::at_least_one::<usize>)]
    pub concurrency: usize,
    /// How long to wait for an answer; longer than the servers' own limit of 25 to 30 s
    #[arg(long, value_name = "D", default_value = exact_duration(DEFAULT.timeout), value_parser = values::some_duration)]
    pub timeout: Duration,
    /// How long to wait for the first answer ever
    #[arg(long, value_name = "D", default_value = exact_duration(DEFAULT.connect_timeout), value_parser = values::some_duration)]
    pub connect_timeout: Duration,
    /// How long to hold on when nothing settles
    #[arg(long, value_name = "D", default_value = exact_duration(DEFAULT.max_outage), value_parser = values::some_duration)]
    pub max_outage: Duration,
    /// Stop after that time; the same command goes on
    #[arg(long, value_name = "D", value_parser = values::some_duration)]
    pub max_duration: Option<Duration>,
    /// A model association the server may not be asked for; repeatable
    ///
    /// MAPPING is 1:1, 1:n or n:n; without it rows are kept apart as for 1:1.
    #[arg(long, value_name = "ASST=SRC,DST[,MAPPING]", value_parser = options::model)]
    pub model: Vec<ModelAssociation>,
}

/// How rows are settled.
#[derive(Debug, Args)]
#[command(next_help_heading = "Pace")]
pub struct SettleArgs {
    /// How long after an unanswered call to believe that the server does not have the row
    #[arg(long, value_name = "D", default_value = exact_duration(DEFAULT.settle_after), value_parser = options::duration)]
    pub settle_after: Duration,
    /// Tries of one row, at most
    #[arg(long, value_name = "N", default_value_t = DEFAULT.max_attempts, value_parser = values::at_least_one::<u32>)]
    pub max_attempts: u32,
    /// Stop after that many failed rows (a percentage counts from 1,000 settled rows on)
    #[arg(long, value_name = "N|N%")]
    pub max_failures: Option<MaxFailures>,
}

/// How many rows a call carries.
#[derive(Debug, Args)]
#[command(next_help_heading = "Pace")]
pub struct BatchArgs {
    /// Rows to a call: off, auto or 1 to 200
    #[arg(long, value_name = "off|auto|N", default_value_t = DEFAULT.batch)]
    pub batch: Batch,
}

/// What is said on stderr.
#[derive(Debug, Args)]
#[command(next_help_heading = "Display")]
pub struct LogArgs {
    /// Say nothing when all went well, else one line
    #[arg(short, long)]
    pub quiet: bool,
    /// Say what failed, call by call; twice for every call
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,
    /// Format of logs
    #[arg(long, value_parser = values::words(LogFormat::WORDS), default_value = "text", value_name = "FORMAT")]
    pub log_format: LogFormat,
    /// When colours are used; auto: on a terminal, unless NO_COLOR or CLICOLOR=0 says no
    #[arg(long, value_parser = values::words(Color::WORDS), default_value = "auto", value_name = "WHEN")]
    pub color: Color,
}

/// In which language a person is told.
#[derive(Debug, Args)]
#[command(next_help_heading = "Display")]
pub struct LanguageArgs {
    /// Language of summaries, questions and progress [default: that of LC_ALL, LC_MESSAGES or LANG]
    #[arg(long, value_parser = values::words(Language::WORDS), value_name = "LANGUAGE")]
    pub lang: Option<Language>,
}

/// What is shown of a run.
#[derive(Debug, Args)]
#[command(next_help_heading = "Display")]
pub struct DisplayArgs {
    #[command(flatten)]
    pub log: LogArgs,
    /// How progress is shown
    #[arg(long, value_parser = values::words(ProgressMode::WORDS), default_value = "auto", value_name = "MODE")]
    pub progress: ProgressMode,
    /// Write the summary to stdout as one JSON object
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub language: LanguageArgs,
}

/// What is left behind for those who look after a job.
#[derive(Debug, Args)]
#[command(next_help_heading = "Display")]
pub struct MonitoringArgs {
    /// Write metrics to this file for node_exporter's textfile collector, every 15 s and at the end; a {date} and
    /// a {shard} in it as in -o
    #[arg(long, value_name = "PATH")]
    pub metrics_file: Option<PathBuf>,
    /// What metrics call this job [default: the results' name, without ending and {date}]
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub job: Option<String>,
    /// When the run is finished, write its report to this file: see `bkassoc report`
    #[arg(long, value_name = "HTML")]
    pub report: Option<PathBuf>,
}

/// What every command takes that may call a server.
#[derive(Debug, Args)]
pub struct ServerArgs {
    #[command(flatten)]
    pub target: TargetArgs,
    #[command(flatten)]
    pub calls: CallArgs,
    #[command(flatten)]
    pub display: DisplayArgs,
}
