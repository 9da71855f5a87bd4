//! What the user typed: commands, flags, their defaults and help.
//!
//! The only home of clap's parsers. Knows nothing of what a flag means, and reads neither files nor
//! variables: [`layers`] puts what is not typed beneath what is.
#![allow(missing_docs, reason = "flattened groups are documented at their types")]
#![allow(clippy::doc_markdown, reason = "comments are the help texts")]
#![allow(rustdoc::bare_urls, reason = "comments are the help texts")]

mod values;
mod groups;
mod server_command;
pub mod layers;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};
use clap_complete::Shell;

use crate::options::{self, Rate};
use crate::outcome::{Reason, Status};
use crate::sandbox::Version;
use crate::sandbox::faults::FaultRate;
use crate::target::Entrance;
use crate::version;

pub use clap::Args;
pub use groups::{
    ActionArgs, BatchArgs, BusinessArgs, CallArgs, DeleteArgs, DisplayArgs, GuardArgs, InputArgs,
    LanguageArgs, LogArgs, MonitoringArgs, NamingArgs, OutputArgs, ParentArgs, PruneArgs, ReadArgs,
    ServerArgs, SettleArgs, ShardArgs, TargetArgs,
};
pub use server_command::{Groups, ServerCommand};

const EXIT_CODES: &str = "\
Exit codes:
  0  every row is created, existed or recovered (a delete: deleted or absent)
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
  12 a guard refuses the plan; nothing was sent
  13 plan --detailed-exitcode: there is something to do
  129, 130, 143  interrupted; the same command goes on";

const PRECEDENCE: &str = "\
Each flag --some-name is also the variable BKASSOC_SOME_NAME and the profile key `some_name`; a flag \
wins over a variable, a variable over a profile. Flags only: --sandbox, --fresh, --yes, --prune, \
--allow-delete, --allow-empty, --allow-shrunk, --allow-other-target.";

/// Imports associations into BlueKing CMDB in bulk. Every row in is exactly one true line out.
#[derive(Debug, Parser)]
#[command(name = "bkassoc", version = version::VERSION, long_version = version::in_full(), after_long_help = EXIT_CODES)]
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
    /// Say what a sync would do: what each name means, what is there, what would be created and deleted
    ///
    /// Asks for all of it and writes the plan, a file to read and to give to `bkassoc apply`. Writes nothing
    /// to the CMDB.
    #[command(after_long_help = PRECEDENCE)]
    Plan(Plan),
    /// Carry a plan out
    ///
    /// Target and options are those that the plan was made with. Names are not asked for again.
    #[command(after_long_help = PRECEDENCE)]
    Apply(Apply),
    /// Make the CMDB what the input says: plan and apply in one, for a nightly job
    ///
    /// Creates what is not there, and deletes what the input does not name, as far as --prune says.
    #[command(after_long_help = PRECEDENCE)]
    Sync(Sync),
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
    /// Make one results file of those of all shards
    ///
    /// Proves that they are all shards of one job and that each row is there once. rerun, undo and verify
    /// take what it writes like the results of one run.
    Merge(Merge),
    /// Audit a results file
    ///
    /// Checks that it is complete and unchanged; with --against that it answers an input row by
    /// row; with --live that the server agrees.
    #[command(after_long_help = PRECEDENCE)]
    Verify(Verify),
    /// Write what an unfinished run's journal knows so far
    Results(Results),
    /// Make a page of a finished run: counts, speed, reasons and what to do
    ///
    /// One HTML file that loads nothing: it can be sent by mail, opened and printed anywhere.
    Report(Report),
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
    pub sharding: ShardArgs,
    #[command(flatten)]
    pub reading: InputArgs,
    #[command(flatten)]
    pub naming: NamingArgs,
    #[command(flatten)]
    pub action: ActionArgs,
    #[command(flatten)]
    pub deletes: DeleteArgs,
    #[command(flatten)]
    pub business: BusinessArgs,
    #[command(flatten)]
    pub server: ServerArgs,
    #[command(flatten)]
    pub settling: SettleArgs,
    #[command(flatten)]
    pub monitoring: MonitoringArgs,
    #[command(flatten)]
    pub batching: BatchArgs,
}

/// `bkassoc check`
#[derive(Debug, Args)]
pub struct Check {
    /// Files with rows, or `-` for stdin; without any, the contact is tested, and what the server can do
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
    pub naming: NamingArgs,
    #[command(flatten)]
    pub action: ActionArgs,
    #[command(flatten)]
    pub deletes: DeleteArgs,
    #[command(flatten)]
    pub business: BusinessArgs,
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `bkassoc plan`
#[derive(Debug, Args)]
pub struct Plan {
    /// Files with rows (CSV, TSV or JSONL, also gzip or zstd), or `-` for stdin
    #[arg(value_name = "INPUT", required = true)]
    pub inputs: Vec<PathBuf>,
    /// End with 13 where there is something to do, and with 0 where there is nothing
    #[arg(long)]
    pub detailed_exitcode: bool,
    #[command(flatten)]
    pub output: OutputArgs,
    #[command(flatten)]
    pub sharding: ShardArgs,
    #[command(flatten)]
    pub reading: InputArgs,
    #[command(flatten)]
    pub naming: NamingArgs,
    #[command(flatten)]
    pub action: ActionArgs,
    #[command(flatten)]
    pub pruning: PruneArgs,
    #[command(flatten)]
    pub guards: GuardArgs,
    #[command(flatten)]
    pub business: BusinessArgs,
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `bkassoc sync`
#[derive(Debug, Args)]
pub struct Sync {
    /// Files with rows (CSV, TSV or JSONL, also gzip or zstd), or `-` for stdin
    #[arg(value_name = "INPUT", required = true)]
    pub inputs: Vec<PathBuf>,
    #[command(flatten)]
    pub output: OutputArgs,
    #[command(flatten)]
    pub sharding: ShardArgs,
    #[command(flatten)]
    pub reading: InputArgs,
    #[command(flatten)]
    pub naming: NamingArgs,
    #[command(flatten)]
    pub action: ActionArgs,
    #[command(flatten)]
    pub pruning: PruneArgs,
    #[command(flatten)]
    pub guards: GuardArgs,
    #[command(flatten)]
    pub business: BusinessArgs,
    #[command(flatten)]
    pub server: ServerArgs,
    #[command(flatten)]
    pub settling: SettleArgs,
    #[command(flatten)]
    pub monitoring: MonitoringArgs,
    #[command(flatten)]
    pub batching: BatchArgs,
}

/// `bkassoc apply`
#[derive(Debug, Args)]
pub struct Apply {
    /// What `bkassoc plan` wrote
    #[arg(value_name = "PLAN")]
    pub plan: PathBuf,
    /// How old the plan may be
    #[arg(long, value_name = "D", default_value = "24h", value_parser = options::duration)]
    pub max_plan_age: Duration,
    #[command(flatten)]
    pub guards: GuardArgs,
    #[command(flatten)]
    pub parent: ParentArgs,
    #[command(flatten)]
    pub output: OutputArgs,
    #[command(flatten)]
    pub sharding: ShardArgs,
    #[command(flatten)]
    pub business: BusinessArgs,
    #[command(flatten)]
    pub server: ServerArgs,
    #[command(flatten)]
    pub settling: SettleArgs,
    #[command(flatten)]
    pub monitoring: MonitoringArgs,
    #[command(flatten)]
    pub batching: BatchArgs,
}

/// `bkassoc rerun`
#[derive(Debug, Args)]
pub struct Rerun {
    /// The results of an import or of a rerun
    #[arg(value_name = "RESULTS")]
    pub results: PathBuf,
    /// Take rows of these statuses instead of the retryable ones
    #[arg(long, value_name = "STATUS,…", value_delimiter = ',', value_parser = values::status)]
    pub status: Vec<Status>,
    /// Take rows of these reasons instead of the retryable ones
    #[arg(long, value_name = "REASON,…", value_delimiter = ',', value_parser = values::reason)]
    pub reason: Vec<Reason>,
    /// Take every row that is failed or invalid: the same as --status failed,invalid
    #[arg(long)]
    pub all_failed: bool,
    /// Ask anew what the names of the rows taken mean, also where there is an id
    #[arg(long)]
    pub resolve_again: bool,
    #[command(flatten)]
    pub deletes: DeleteArgs,
    #[command(flatten)]
    pub parent: ParentArgs,
    #[command(flatten)]
    pub output: OutputArgs,
    #[command(flatten)]
    pub sharding: ShardArgs,
    #[command(flatten)]
    pub naming: NamingArgs,
    #[command(flatten)]
    pub business: BusinessArgs,
    #[command(flatten)]
    pub server: ServerArgs,
    #[command(flatten)]
    pub settling: SettleArgs,
    #[command(flatten)]
    pub monitoring: MonitoringArgs,
    #[command(flatten)]
    pub batching: BatchArgs,
}

/// `bkassoc undo`
#[derive(Debug, Args)]
pub struct Undo {
    /// The results, or the unfinished run, of an import or of a rerun
    #[arg(value_name = "RESULTS")]
    pub results: PathBuf,
    /// Delete recovered rows too, which may be somebody else's
    #[arg(long)]
    pub include_recovered: bool,
    #[command(flatten)]
    pub parent: ParentArgs,
    #[command(flatten)]
    pub output: OutputArgs,
    #[command(flatten)]
    pub server: ServerArgs,
    #[command(flatten)]
    pub settling: SettleArgs,
    #[command(flatten)]
    pub monitoring: MonitoringArgs,
}

/// `bkassoc merge`
#[derive(Debug, Args)]
pub struct Merge {
    /// The results of all shards of a job
    #[arg(value_name = "RESULTS", required = true)]
    pub results: Vec<PathBuf>,
    /// Where the merged results go (.csv, .tsv, .jsonl, .xlsx)
    #[arg(short, long, value_name = "RESULTS")]
    pub output: PathBuf,
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
    pub server: ServerArgs,
}

/// `bkassoc results`
#[derive(Debug, Args)]
pub struct Results {
    /// Results path of the unfinished run
    #[arg(value_name = "RESULTS")]
    pub results: PathBuf,
    /// Where to write (.csv, .tsv, .jsonl, .xlsx), or `-` for stdout
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
}

/// `bkassoc report`
#[derive(Debug, Args)]
pub struct Report {
    /// The results of a finished run
    #[arg(value_name = "RESULTS")]
    pub results: PathBuf,
    /// Where to write, or `-` for stdout; it takes the place of another report
    /// [default: beside the results, links.results.csv -> links.results.html]
    #[arg(short, long, value_name = "HTML")]
    pub output: Option<PathBuf>,
    #[command(flatten)]
    pub language: LanguageArgs,
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
    #[arg(long, value_parser = values::words(values::ENTRANCES), default_value = "esb")]
    pub entrance: Entrance,
    /// Which CMDB it behaves as
    #[arg(long, value_parser = values::words(Version::WORDS), default_value = "3.10.18", value_name = "VERSION")]
    pub cmdb_version: Version,
    /// Its ESB has the components of an older one: no batch, and deletes go where only a CMDB before 3.10
    /// has them
    #[arg(long)]
    pub old_esb: bool,
    /// How long each answer takes
    #[arg(long, value_name = "D", default_value = "0s", value_parser = options::duration)]
    pub latency: Duration,
    /// Calls it takes; it refuses the others as throttled
    #[arg(long, value_name = "N[/s|/m]|unlimited", default_value = "unlimited")]
    pub quota: Rate,
    /// A fault and the share of calls it hits, as lost-answer=0.02; repeatable
    #[arg(long, value_name = "KIND=RATE")]
    pub fault: Vec<FaultRate>,
    /// Which calls the faults hit: the same seed, the same calls
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub fault_seed: u64,
    /// Keep its associations in this file over restarts
    #[arg(long, value_name = "FILE")]
    pub data: Option<PathBuf>,
    #[command(flatten)]
    pub log: LogArgs,
}
