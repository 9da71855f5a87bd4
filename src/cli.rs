//! What the user typed: commands, flags, their defaults and help.
//!
//! The only home of clap's parsers. Knows nothing of what a flag means, and reads neither files nor
//! variables: [`layers`] puts what is not typed beneath what is.
#![allow(missing_docs, reason = "flattened groups are documented at their types")]
#![allow(clippy::doc_markdown, reason = "comments are the help texts")]
#![allow(rustdoc::bare_urls, reason = "comments are the help texts")]

pub mod layers;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{ArgAction, Args, Parser, Subcommand};
use clap_complete::Shell;

use crate::association::{Column, InstId, ModelAssociation};
use crate::log::LogFormat;
use crate::options::{self, Batch, Format, Language, MaxFailures, Proxy, Rate, SendBizId};
use crate::outcome::{Reason, Status};
use crate::progress::ProgressMode;
use crate::target::{Entrance, Secret};

const EXIT_CODES: &str = "\
Exit codes:
  0  every row is created, existed or recovered
  1  a bug: please report it
  2  usage or configuration; nothing was sent
  3  finished; some rows failed or are invalid
  4  finished; all that failed may succeed in a rerun
  5  stopped by --max-failures
  6  stopped: no answer, or an outage longer than --max-outage
  7  input unreadable, or changed under way
  8  target unusable: URL, certificate, credentials, permission
  9  stopped by --max-duration
  10 another process holds the run
  11 results or journal can't be written
  129, 130, 143  interrupted; the same command goes on";

const ENTRANCES: [(&str, Entrance); 3] = [
    (Entrance::Esb.as_str(), Entrance::Esb),
    (Entrance::Gateway.as_str(), Entrance::Gateway),
    (Entrance::Native.as_str(), Entrance::Native),
];

const PRECEDENCE: &str = "\
Each flag --some-name is also the variable BKASSOC_SOME_NAME and the profile key `some_name`; a flag \
wins over a variable, a variable over a profile. Flags only: --sandbox, --fresh, --yes, \
--allow-other-target.";

/// Imports associations into BlueKing CMDB in bulk. Every row in is exactly one true line out.
#[derive(Debug, Parser)]
#[command(name = "bkassoc", version, after_long_help = EXIT_CODES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create what the rows say
    ///
    /// The same command again goes on where the run was, or, where it is finished, shows its
    /// summary and sends nothing.
    #[command(after_long_help = PRECEDENCE)]
    Import(Import),
    /// Do all that import does before its first create, and create nothing
    #[command(after_long_help = PRECEDENCE)]
    Check(Check),
    /// Settle again the rows of a results file that did not end well
    ///
    /// Writes complete results: the rows not taken are carried over. Target and options are those
    /// of the run that made the file.
    #[command(after_long_help = PRECEDENCE)]
    Rerun(Rerun),
    /// Delete what a run created
    ///
    /// Each association is looked up first, and deleted only if it is still the same.
    #[command(after_long_help = PRECEDENCE)]
    Undo(Undo),
    /// Audit a results file
    ///
    /// Checks that it is complete and unchanged; with --against that it answers an input row by
    /// row; with --live that the server agrees.
    #[command(after_long_help = PRECEDENCE)]
    Verify(Verify),
    /// Write what an unfinished run's journal knows so far
    Results(Results),
    /// Run a local CMDB to try things on
    Sandbox(Sandbox),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page
    Man {
        /// Of this command
        command: Option<String>,
    },
}

/// `bkassoc import`
#[derive(Debug, Args)]
pub struct Import {
    /// Files with rows (CSV, TSV or JSONL, also gzip or zstd), or `-` for stdin
    #[arg(value_name = "INPUT", required = true)]
    pub inputs: Vec<PathBuf>,
    /// Create nothing: the same as `bkassoc check`
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub output: OutputArgs,
    #[command(flatten)]
    pub reading: InputArgs,
    #[command(flatten)]
    pub business: BusinessArgs,
    #[command(flatten)]
    pub target: TargetArgs,
    #[command(flatten)]
    pub calls: CallArgs,
    #[command(flatten)]
    pub settling: SettleArgs,
    #[command(flatten)]
    pub batching: BatchArgs,
    #[command(flatten)]
    pub display: DisplayArgs,
}

/// `bkassoc check`
#[derive(Debug, Args)]
pub struct Check {
    /// Files with rows, or `-` for stdin; without any, only the contact with the server is tested
    #[arg(value_name = "INPUT", required_if_eq("offline", "true"))]
    pub inputs: Vec<PathBuf>,
    /// Check the rows alone and call no server
    #[arg(long)]
    pub offline: bool,
    #[command(flatten)]
    pub output: OutputArgs,
    #[command(flatten)]
    pub reading: InputArgs,
    #[command(flatten)]
    pub business: BusinessArgs,
    #[command(flatten)]
    pub target: TargetArgs,
    #[command(flatten)]
    pub calls: CallArgs,
    #[command(flatten)]
    pub display: DisplayArgs,
}

/// `bkassoc rerun`
#[derive(Debug, Args)]
pub struct Rerun {
    /// The results of an import or of a rerun
    #[arg(value_name = "RESULTS")]
    pub results: PathBuf,
    /// Take rows of these statuses instead of the retryable ones
    #[arg(long, value_name = "STATUS,…", value_delimiter = ',', value_parser = status)]
    pub status: Vec<Status>,
    /// Take rows of these reasons instead of the retryable ones
    #[arg(long, value_name = "REASON,…", value_delimiter = ',', value_parser = reason)]
    pub reason: Vec<Reason>,
    /// Take every row that is failed or invalid: the same as --status failed,invalid
    #[arg(long)]
    pub all_failed: bool,
    #[command(flatten)]
    pub parent: ParentArgs,
    #[command(flatten)]
    pub output: OutputArgs,
    #[command(flatten)]
    pub business: BusinessArgs,
    #[command(flatten)]
    pub target: TargetArgs,
    #[command(flatten)]
    pub calls: CallArgs,
    #[command(flatten)]
    pub settling: SettleArgs,
    #[command(flatten)]
    pub batching: BatchArgs,
    #[command(flatten)]
    pub display: DisplayArgs,
}

/// `bkassoc undo`
#[derive(Debug, Args)]
pub struct Undo {
    /// The results, or the unfinished run, of an import or of a rerun
    #[arg(value_name = "RESULTS")]
    pub results: PathBuf,
    /// Delete recovered rows too; they may be older than the run
    #[arg(long)]
    pub include_recovered: bool,
    #[command(flatten)]
    pub parent: ParentArgs,
    #[command(flatten)]
    pub output: OutputArgs,
    #[command(flatten)]
    pub target: TargetArgs,
    #[command(flatten)]
    pub calls: CallArgs,
    #[command(flatten)]
    pub settling: SettleArgs,
    #[command(flatten)]
    pub display: DisplayArgs,
}

/// `bkassoc verify`
#[derive(Debug, Args)]
pub struct Verify {
    /// The results to audit
    #[arg(value_name = "RESULTS")]
    pub results: PathBuf,
    /// Hold them against this input; repeatable, in the order of the run
    #[arg(long, value_name = "INPUT")]
    pub against: Vec<PathBuf>,
    /// Ask the server for each row that ended well
    #[arg(long)]
    pub live: bool,
    #[command(flatten)]
    pub parent: ParentArgs,
    #[command(flatten)]
    pub reading: InputArgs,
    #[command(flatten)]
    pub target: TargetArgs,
    #[command(flatten)]
    pub calls: CallArgs,
    #[command(flatten)]
    pub display: DisplayArgs,
}

/// `bkassoc results`
#[derive(Debug, Args)]
pub struct Results {
    /// Results path of the unfinished run
    #[arg(value_name = "RESULTS")]
    pub results: PathBuf,
    /// Where to write (.csv, .tsv, .jsonl), or `-` for stdout
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
}

/// `bkassoc sandbox`
#[derive(Debug, Args)]
pub struct Sandbox {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Model associations and instances it knows (TOML)
    #[arg(long, value_name = "FILE")]
    pub models: Option<PathBuf>,
    /// Which entrance it is
    #[arg(long, value_parser = words(ENTRANCES), default_value = "esb")]
    pub entrance: Entrance,
    /// Which CMDB it behaves as
    #[arg(long, value_parser = words(CmdbVersion::WORDS), default_value = "3.10.18", value_name = "VERSION")]
    pub cmdb_version: CmdbVersion,
    /// How long each answer takes
    #[arg(long, value_name = "D", default_value = "0s", value_parser = options::duration)]
    pub latency: Duration,
    /// Calls it takes; it refuses the others as throttled
    #[arg(long, value_name = "N[/s|/m]|unlimited", default_value = "unlimited")]
    pub quota: Rate,
    /// A fault and the share of calls it hits, as lost_answer=0.02; repeatable
    #[arg(long, value_name = "KIND=RATE", value_parser = fault)]
    pub fault: Vec<Fault>,
    /// Which calls the faults hit: the same seed, the same calls
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub fault_seed: u64,
    /// Keep its associations in this file over restarts
    #[arg(long, value_name = "FILE")]
    pub data: Option<PathBuf>,
    #[command(flatten)]
    pub log: LogArgs,
}

/// Which CMDB the sandbox behaves as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CmdbVersion {
    /// 3.5: no locks, no batch
    V3_5,
    /// 3.10.18
    V3_10_18,
    /// 3.14
    V3_14,
}

impl CmdbVersion {
    const WORDS: [(&str, Self); 3] =
        [("3.5", Self::V3_5), ("3.10.18", Self::V3_10_18), ("3.14", Self::V3_14)];
}

/// A fault of the sandbox, and how often it strikes.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// Which.
    pub kind: String,
    /// The share of calls, 0 to 1.
    pub rate: f64,
}

/// Where results go.
#[derive(Debug, Args)]
#[command(next_help_heading = "Results")]
pub struct OutputArgs {
    /// Where results go (.csv, .tsv, .jsonl), or `-` for stdout; `{date}` becomes today's date
    ///
    /// The results path is the run's identity: the same command with the same results goes on.
    /// [default: beside the input, a.csv -> a.results.csv]
    #[arg(short, long, value_name = "RESULTS")]
    pub output: Option<PathBuf>,
    /// Move what is at the results path aside and start anew
    #[arg(long)]
    pub fresh: bool,
    /// Ask no questions
    #[arg(short, long)]
    pub yes: bool,
}

/// How input is read.
#[derive(Debug, Args)]
#[command(next_help_heading = "Input")]
pub struct InputArgs {
    /// Take a field from a column of another name, as inst_id=源实例; repeatable
    #[arg(long, value_name = "FIELD=COLUMN", value_parser = mapped_column)]
    pub map: Vec<(Column, String)>,
    /// Format of the input [default: detected]
    #[arg(long, value_parser = words(Format::WORDS), value_name = "FORMAT")]
    pub input_format: Option<Format>,
    /// Delimiter of cells: one ASCII character, or `tab` [default: detected]
    #[arg(long, value_name = "CHAR", value_parser = delimiter)]
    pub delimiter: Option<u8>,
    /// Encoding of the input, as utf-8, utf-16le, gb18030 [default: detected]
    #[arg(long, value_name = "NAME")]
    pub encoding: Option<String>,
}

/// In which business's name rows are created.
#[derive(Debug, Args)]
#[command(next_help_heading = "Input")]
pub struct BusinessArgs {
    /// Business id of rows that have none
    #[arg(long, value_name = "N", value_parser = biz_id)]
    pub biz_id: Option<InstId>,
    /// Whether metadata.label.bk_biz_id is sent
    #[arg(long, value_parser = words(SendBizId::WORDS), default_value = "auto", value_name = "WHEN")]
    pub send_biz_id: SendBizId,
}

/// Where calls go, and as whom.
#[derive(Debug, Args)]
#[command(next_help_heading = "Target")]
pub struct TargetArgs {
    /// Base URL, as https://paas.example.com; for gateway the URL up to and with the stage
    #[arg(long, value_name = "URL", conflicts_with = "sandbox")]
    pub endpoint: Option<String>,
    /// How the CMDB is reached
    #[arg(long, value_parser = words(ENTRANCES), default_value = "esb")]
    pub entrance: Entrance,
    /// Use a CMDB in memory; no server is called and no credentials are read
    #[arg(long)]
    pub sandbox: bool,
    /// App code [fallbacks: BK_APP_CODE, BKPAAS_APP_ID]
    #[arg(long, value_name = "CODE")]
    pub app_code: Option<String>,
    /// File that holds the app secret [fallbacks: BK_APP_SECRET, BKPAAS_APP_SECRET]
    #[arg(long, value_name = "PATH")]
    pub app_secret_file: Option<PathBuf>,
    /// User in whose name calls are made [fallback: BK_USERNAME]
    #[arg(long, value_name = "NAME")]
    pub username: Option<String>,
    /// File that holds a user's token (bk_token) [fallback: BK_TOKEN]
    ///
    /// Used only where it is given more directly than a username.
    #[arg(long, value_name = "PATH")]
    pub token_file: Option<PathBuf>,
    /// Supplier account
    #[arg(long, value_name = "ACCOUNT", default_value = "0")]
    pub supplier_account: String,
    /// Trust the certificates of this PEM file too
    #[arg(long, value_name = "PATH")]
    pub ca_cert: Option<PathBuf>,
    /// Do not verify the server's certificate
    #[arg(long)]
    pub insecure: bool,
    /// Proxy, or `none` [default: http_proxy, https_proxy, no_proxy]; never used for loopback
    #[arg(long, value_name = "URL|none", value_parser = proxy)]
    pub proxy: Option<Proxy>,
    /// Language of the server's messages
    #[arg(long, value_parser = words(Language::WORDS), default_value = "en", value_name = "LANGUAGE")]
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
    #[arg(long, value_name = "N[/s|/m]|unlimited", default_value = "90/s")]
    pub rate: Rate,
    /// Calls in flight, at most
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = at_least_one::<usize>)]
    pub concurrency: usize,
    /// How long to wait for an answer; longer than the servers' own limit of 25 to 30 s
    #[arg(long, value_name = "D", default_value = "40s", value_parser = some_duration)]
    pub timeout: Duration,
    /// How long to wait for the first answer ever
    #[arg(long, value_name = "D", default_value = "30s", value_parser = some_duration)]
    pub connect_timeout: Duration,
    /// How long to hold on when nothing settles
    #[arg(long, value_name = "D", default_value = "15m", value_parser = some_duration)]
    pub max_outage: Duration,
    /// Stop after that time; the same command goes on
    #[arg(long, value_name = "D", value_parser = some_duration)]
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
    #[arg(long, value_name = "D", default_value = "35s", value_parser = options::duration)]
    pub settle_after: Duration,
    /// Tries of one row, at most
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = at_least_one::<u32>)]
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
    #[arg(long, value_name = "off|auto|N", default_value = "off")]
    pub batch: Batch,
}

/// What is said on stderr.
#[derive(Debug, Args)]
#[command(next_help_heading = "Display")]
pub struct LogArgs {
    /// Say nothing when all went well, else one line
    #[arg(short, long)]
    pub quiet: bool,
    /// Say more; twice for every call
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,
    /// Format of logs
    #[arg(long, value_parser = words(LogFormat::WORDS), default_value = "text", value_name = "FORMAT")]
    pub log_format: LogFormat,
}

/// What is shown of a run.
#[derive(Debug, Args)]
#[command(next_help_heading = "Display")]
pub struct DisplayArgs {
    #[command(flatten)]
    pub log: LogArgs,
    /// How progress is shown
    #[arg(long, value_parser = words(ProgressMode::WORDS), default_value = "auto", value_name = "MODE")]
    pub progress: ProgressMode,
    /// Write the summary to stdout as one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Takes the words of a closed list, and lists them in help and completions.
fn words<T, const N: usize>(list: [(&'static str, T); N]) -> impl TypedValueParser<Value = T>
where
    T: Copy + Send + Sync + 'static,
{
    PossibleValuesParser::new(list.map(|(word, _)| word)).try_map(move |text| {
        let known = list.iter().find(|(word, _)| *word == text);
        known.map(|(_, value)| *value).ok_or("no such word")
    })
}

fn status(text: &str) -> Result<Status, String> {
    let words = || Status::ALL.map(Status::as_str).join(", ");
    Status::parse(text).ok_or_else(|| format!("a status is one of {}", words()))
}

fn reason(text: &str) -> Result<Reason, String> {
    let words = || Reason::ALL.iter().map(|reason| reason.as_str());
    Reason::parse(text)
        .ok_or_else(|| format!("a reason is one of {}", words().collect::<Vec<_>>().join(", ")))
}

fn biz_id(text: &str) -> Result<InstId, String> {
    InstId::parse(text).map_err(|error| error.to_string())
}

/// Takes any text: a URL that is refused here would be shown with its password.
#[expect(clippy::unnecessary_wraps, reason = "clap's signature")]
fn proxy(text: &str) -> Result<Proxy, std::convert::Infallible> {
    Ok(match text {
        "none" => Proxy::None,
        url => Proxy::Url(Secret::new(url)),
    })
}

fn mapped_column(text: &str) -> Result<(Column, String), String> {
    let (field, name) = text.split_once('=').ok_or("FIELD=COLUMN is expected")?;
    let column = (Column::ALL.into_iter())
        .find(|column| [column.name(), column.api_name()].contains(&field))
        .ok_or_else(|| format!("a field is one of {}", Column::ALL.map(Column::name).join(", ")))?;
    if name.is_empty() {
        return Err("the column's name is missing".to_owned());
    }
    Ok((column, name.to_owned()))
}

fn delimiter(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        _ if text == "tab" || text == "\\t" => Ok(b'\t'),
        [byte] if byte.is_ascii() && !matches!(byte, b'"' | b'\r' | b'\n') => Ok(*byte),
        _ => Err("one ASCII character or `tab` is expected".to_owned()),
    }
}

fn fault(text: &str) -> Result<Fault, String> {
    let (kind, rate) = text.split_once('=').ok_or("KIND=RATE is expected")?;
    let rate = (rate.parse().ok())
        .filter(|rate| (0.0..=1.0).contains(rate))
        .ok_or("the rate of a fault is a number from 0 to 1")?;
    Ok(Fault { kind: kind.to_owned(), rate })
}

fn some_duration(text: &str) -> Result<Duration, String> {
    match options::duration(text) {
        Ok(Duration::ZERO) => Err("it must be longer than nothing".to_owned()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(error.to_string()),
    }
}

fn at_least_one<T: std::str::FromStr + Default + PartialEq>(text: &str) -> Result<T, String> {
    (text.parse().ok())
        .filter(|number| *number != T::default())
        .ok_or_else(|| "a whole number from 1 on is expected".to_owned())
}
