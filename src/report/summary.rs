//! The end of a run in words: for a person, and for a script.
//!
//! Owns the summary's text, its JSON (`docs/reference.md`, "Output and --json"), and the command to go on
//! with. Knows nothing of where the numbers come from.

mod checked;
mod json;
mod next;

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::path::Path;

use crate::engine::stats::{Bottleneck, CallKind, ReasonStats, RunStats};
use crate::exit::Exit;
use crate::options::brief_duration;
use crate::outcome::{Reason, Status};
use crate::storage::manifest::Work;
use crate::storage::survey::{Found, Survey};
use crate::target::Target;

pub use checked::{Checked, Forecast, Scope};
pub use json::json_line;
pub use next::{allowed, as_operand, next_step, shell_quoted, through_another_entrance};

/// How many characters of a server's message a summary shows.
const MESSAGE_LENGTH: usize = 100;

/// The kind of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunKind {
    /// `bkassoc import`
    Import,
    /// `bkassoc check`
    Check,
    /// `bkassoc rerun`
    Rerun,
    /// `bkassoc undo`
    Undo,
    /// `bkassoc plan`
    Plan,
    /// `bkassoc apply`
    Apply,
    /// `bkassoc sync`
    Sync,
}

impl From<Work> for RunKind {
    fn from(work: Work) -> Self {
        match work {
            Work::Import => Self::Import,
            Work::Rerun => Self::Rerun,
            Work::Undo => Self::Undo,
            Work::Apply => Self::Apply,
            Work::Sync => Self::Sync,
        }
    }
}

impl RunKind {
    /// The command's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Import => "import",
            Self::Check => "check",
            Self::Rerun => "rerun",
            Self::Undo => "undo",
            Self::Plan => "plan",
            Self::Apply => "apply",
            Self::Sync => "sync",
        }
    }
}

/// Everything that is shown at the end of a run.
#[derive(Clone, Debug)]
pub struct Summary<'a> {
    /// The run's kind.
    pub kind: RunKind,
    /// The server; `None` where none was called, or none is known yet.
    pub target: Option<&'a Target>,
    /// The numbers.
    pub stats: &'a RunStats,
    /// The inputs' names, in order, shown before line numbers; empty for a single input.
    pub inputs: &'a [String],
    /// The results file, if there is one.
    pub results: Option<&'a Path>,
    /// The results file to be, if the run is not finished.
    pub unfinished: Option<&'a Path>,
    /// How it ended.
    pub exit: Exit,
    /// Why it ended early, if it did.
    pub error: Option<&'a str>,
    /// What is not known of the run whose results were read.
    pub warnings: &'a [String],
    /// What was there when the run was planned.
    pub survey: Option<&'a Survey>,
    /// What a check adds.
    pub checked: Option<&'a Checked<'a>>,
    /// The command to go on with, from [`next_step`].
    pub next: Option<Vec<String>>,
}

impl Summary<'_> {
    /// The output for stdout: JSON if asked for, else the text. `-q` makes it one line, and on exit 0
    /// nothing.
    pub fn render(&self, quiet: bool, json: bool) -> Option<String> {
        match (json, quiet) {
            (true, _) => Some(self.json()),
            (false, false) => Some(self.text()),
            (false, true) => (self.exit != Exit::Ok).then(|| self.line()),
        }
    }

    /// The summary for a person.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String can't fail.
        let _ = self.write(&mut text);
        text
    }

    /// The summary in one line.
    pub fn line(&self) -> String {
        let mut line = format!("bkassoc {}: {}", self.kind.as_str(), self.ending());
        if let Some(error) = self.error {
            let _ = write!(line, ": {}", one_line(error, usize::MAX));
        }
        let stats = self.stats;
        let _ = write!(line, "; {} rows", grouped(stats.rows()));
        for status in Status::ALL {
            if stats.count(status) > 0 {
                let _ = write!(line, ", {} {}", grouped(stats.count(status)), self.word(status));
            }
        }
        if let Some(next) = &self.next {
            let _ = write!(line, "; next: {}", shell_quoted(next));
        }
        line.push('\n');
        line
    }

    fn write(&self, text: &mut String) -> fmt::Result {
        write!(text, "bkassoc {}", self.kind.as_str())?;
        if let Some(target) = self.target {
            write!(text, ", {target}")?;
        }
        writeln!(text, ": {}.", self.ending())?;
        if let Some(error) = self.error {
            writeln!(text, "{error}")?;
        }
        for warning in self.warnings {
            writeln!(text, "Warning: {warning}")?;
        }
        // Before a guard no row is settled: what was planned tells more.
        if !self.is_of_contact() && self.exit != Exit::Guard {
            self.write_rows(text)?;
        }
        if let Some(survey) = self.survey {
            write_survey(survey, text)?;
        }
        self.write_calls(text)?;
        if let Some(checked) = self.checked {
            checked.write(text)?;
        }
        if let Some(results) = self.results {
            writeln!(text, "\nResults: {}", results.display())?;
        }
        if let Some(results) = self.unfinished {
            let results = [results.display().to_string()];
            let results = shell_quoted(&results);
            writeln!(text, "\nWhat is known so far: bkassoc results {results} -o FILE")?;
        }
        self.write_next(text)
    }

    /// How it ended, for people.
    fn ending(&self) -> &'static str {
        let empty = self.stats.rows() == 0;
        match (self.kind, self.exit) {
            (RunKind::Check, Exit::Ok) if self.is_of_contact() => "the contact works",
            (RunKind::Check, Exit::Ok) => "nothing was found amiss, and nothing was created",
            (RunKind::Check, Exit::SomeFailed) => "some rows would fail; nothing was created",
            (RunKind::Undo, Exit::Ok) if empty => "finished, there was nothing to delete",
            (RunKind::Undo, Exit::Ok) => "finished, every row is gone",
            (_, Exit::Ok) if empty => "finished, but the input has no rows",
            (_, Exit::Ok)
                if self.stats.count(Status::Deleted) + self.stats.count(Status::Absent) > 0 =>
            {
                "finished, every row is there, or gone as asked"
            }
            (_, Exit::Ok) => "finished, every row is there",
            (_, Exit::Bug) => "stopped by an error of its own; please report it",
            (_, Exit::Usage) => "not started",
            (_, Exit::SomeFailed) => "finished, some rows failed",
            (_, Exit::AllRetryable) => "finished, some rows failed that may well succeed later",
            (_, Exit::MaxFailures) => "stopped, --max-failures is reached",
            (_, Exit::Outage) => "stopped, the server does not answer",
            (_, Exit::Input) => "stopped, the input can't be read or has changed",
            (_, Exit::Target) => "stopped, the server can't be used like this",
            (_, Exit::MaxDuration) => "stopped, --max-duration is over",
            (_, Exit::Held) => "not started, another process is at this run",
            (_, Exit::Guard) => "not started, a guard refuses the plan",
            (_, Exit::Changes) => "there is something to do",
            (_, Exit::Unwritable) => "stopped, results can't be written",
            (_, Exit::Hangup | Exit::Interrupted | Exit::Terminated) => "stopped as asked",
        }
    }

    const fn is_of_contact(&self) -> bool {
        matches!(self.checked, Some(Checked { scope: Scope::Contact, .. }))
    }

    /// The word for a status in this summary.
    fn word(&self, status: Status) -> Cow<'static, str> {
        match (self.kind, status) {
            (RunKind::Check, Status::NotAttempted) => "to be sent".into(),
            _ => status.as_str().replace('_', " ").into(),
        }
    }

    fn write_rows(&self, text: &mut String) -> fmt::Result {
        let stats = self.stats;
        writeln!(text, "\n{:>13}  rows", grouped(stats.rows()))?;
        let mut reasons = stats.reasons();
        for status in Status::ALL {
            let count = stats.count(status);
            if count == 0 {
                continue;
            }
            writeln!(text, "{:>13}  {}", grouped(count), self.word(status))?;
            if let (Status::NotAttempted, Some(Checked { deletes: deletes @ 1.., .. })) =
                (status, self.checked)
            {
                writeln!(text, "{:>19}  of them delete", grouped(*deletes))?;
            }
            let of_status = |reason: &Reason| match status {
                Status::Invalid => reason.is_of_invalid_row(),
                Status::Failed => !reason.is_of_invalid_row(),
                _ => false,
            };
            let here: Vec<_> = reasons.extract_if(.., |(reason, _)| of_status(reason)).collect();
            for (reason, of_reason) in here {
                self.write_reason(text, reason, of_reason)?;
            }
        }
        if let Some(checked) = self.checked
            && checked.repeats.count > 0
        {
            let count = grouped(checked.repeats.count);
            let lines = self.first_rows(&checked.repeats);
            writeln!(
                text,
                "{count:>13}  of them repeat an earlier row and would end as existed: {lines}"
            )?;
        }
        if stats.blank_rows > 0 {
            let blank = grouped(stats.blank_rows);
            writeln!(text, "{blank:>13}  rows of blank cells besides: skipped, like empty lines")?;
        }
        if stats.unsettled > 0 {
            let left = grouped(stats.unsettled);
            writeln!(text, "{left:>13}  outstanding: read, but not settled")?;
        }
        if !stats.input_ended && !matches!(self.exit, Exit::Usage | Exit::Held) {
            writeln!(text, "{:>13}  the input was not read to its end", "")?;
        }
        Ok(())
    }

    fn write_reason(&self, text: &mut String, reason: Reason, stats: &ReasonStats) -> fmt::Result {
        let count = grouped(stats.count);
        let (reason, lines) = (reason.as_str(), self.first_rows(stats));
        writeln!(text, "{count:>19}  {reason}: {lines}")?;
        match &stats.example {
            Some(example) if !example.message.is_empty() => {
                let code = example.code.map(|code| format!("{code} ")).unwrap_or_default();
                let message = one_line(&example.message, MESSAGE_LENGTH);
                writeln!(text, "{:>21}{code}{message}", "")
            }
            _ => Ok(()),
        }
    }

    /// `lines 5, 6, 7, …`, and of rows that no input has what they are.
    fn first_rows(&self, stats: &ReasonStats) -> String {
        let word = if stats.first.len() == 1 { "line" } else { "lines" };
        let lines: Vec<_> = (stats.first.iter())
            .map(|place| match self.inputs.get(place.file as usize) {
                Some(input) if self.inputs.len() > 1 => format!("{input}:{}", place.line),
                _ => place.line.to_string(),
            })
            .collect();
        let shown = stats.first.len() + stats.added.len();
        let more = if stats.count > shown as u64 { ", …" } else { "" };
        let lines = (!lines.is_empty()).then(|| format!("{word} {}", lines.join(", ")));
        let added = stats.added.iter().map(|row| one_line(row, MESSAGE_LENGTH));
        let rows: Vec<_> = lines.into_iter().chain(added).collect();
        format!("{}{more}", rows.join(", "))
    }

    fn write_calls(&self, text: &mut String) -> fmt::Result {
        let stats = self.stats;
        let calls = &stats.calls;
        if calls.total() == 0 {
            return Ok(());
        }
        let kinds: Vec<_> = (CallKind::ALL.into_iter())
            .filter(|kind| calls.count(*kind) > 0)
            .map(|kind| format!("{} {}", grouped(calls.count(kind)), kind.as_str()))
            .collect();
        writeln!(text, "\nCalls: {} ({})", grouped(calls.total()), kinds.join(", "))?;
        writeln!(
            text,
            "Retries: {}, throttled answers: {}",
            grouped(calls.retries),
            grouped(calls.throttled)
        )?;
        if let (Some(p50), Some(p90), Some(p99)) =
            (calls.latency_ms(0.5), calls.latency_ms(0.9), calls.latency_ms(0.99))
        {
            writeln!(text, "Latency: p50 {p50:.1} ms, p90 {p90:.1} ms, p99 {p99:.1} ms")?;
        }
        write!(text, "Took {}", brief_duration(stats.took()))?;
        if stats.rows() > 0 {
            write!(text, ", {:.1} rows/s", stats.rows_per_second())?;
        }
        match calls.holds.most() {
            Some((hold, share)) => {
                let share = share * 100.0;
                writeln!(text, "; {} for {share:.0} % of the time", hold_text(hold))
            }
            None => writeln!(text),
        }
    }

    fn write_next(&self, text: &mut String) -> fmt::Result {
        let Some(next) = &self.next else {
            return Ok(());
        };
        let because = match (self.exit, self.stats.retryable()) {
            (Exit::Ok, _) => "To create the rows:".to_owned(),
            (Exit::SomeFailed, _) if self.kind == RunKind::Check => {
                "Mend these rows first, or import the others as they are:".to_owned()
            }
            (Exit::SomeFailed | Exit::AllRetryable, 0) => {
                "No row will succeed as it is. Mend the cause, or the rows in the results, then:"
                    .to_owned()
            }
            (Exit::SomeFailed | Exit::AllRetryable, rows) => {
                format!("{} of the rows may well succeed now:", grouped(rows))
            }
            (Exit::MaxFailures, _) => "To go on, with more failures allowed:".to_owned(),
            (Exit::Outage, _) => "To go on, once the server is well again:".to_owned(),
            (Exit::Input | Exit::Target, _) => "To go on, once that is mended:".to_owned(),
            (Exit::Unwritable, _) => "To go on, once there is room:".to_owned(),
            (Exit::Guard, _) => "If that is meant:".to_owned(),
            _ => "To go on where it stopped:".to_owned(),
        };
        writeln!(text, "\n{because}\n  {}", shell_quoted(next))
    }
}

/// How many model associations are shown.
const SHOWN: usize = 20;

/// What was to be done in scope, and what stays though the input does not name it.
fn write_survey(survey: &Survey, text: &mut impl fmt::Write) -> fmt::Result {
    writeln!(text)?;
    for (name, found) in survey.scope.iter().take(SHOWN) {
        let name = name.escape_debug();
        let counts = [
            ("create", found.create),
            ("delete", found.delete),
            ("keep", found.keep),
            ("none", found.refused),
        ];
        writeln!(text, "{name}: {}", planned(counts))?;
    }
    if let Some(more) = survey.scope.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        writeln!(text, "and {} more model associations", grouped(more as u64))?;
    }
    write_stays(survey, text)
}

/// What stays though the input does not name it.
pub(crate) fn write_stays(survey: &Survey, text: &mut impl fmt::Write) -> fmt::Result {
    let stays = |found: &Found| found.unnamed.saturating_sub(found.pruned);
    for (name, found) in survey.scope.iter().filter(|(_, found)| stays(found) > 0).take(SHOWN) {
        let name = name.escape_debug();
        let withheld = grouped(found.withheld);
        if let Some(why) = found.withheld_for.as_ref().filter(|_| found.withheld > 0) {
            let why = one_line(why, 3 * MESSAGE_LENGTH);
            writeln!(
                text,
                "{name}: {withheld} deletes are withheld, since rows of the input are not understood: {why}"
            )?;
        }
        let stay = stays(found).saturating_sub(found.withheld);
        if stay > 0 {
            let (stay, prune) = (grouped(stay), survey.prune.as_str());
            writeln!(text, "{name}: {stay} that the input does not name stay (--prune {prune})")?;
        }
    }
    Ok(())
}

/// `+ 120 create, - 3 delete, = 99,877 there, 2 can't be resolved`
pub(crate) fn planned<'c>(counts: impl IntoIterator<Item = (&'c str, u64)>) -> String {
    let mut text = String::new();
    for (word, count) in counts {
        let told = match word {
            "create" => "+ {} create",
            "delete" => "- {} delete",
            "keep" => "= {} there",
            "none" => "{} can't be resolved",
            "absent" => "{} absent already",
            _ => continue,
        };
        if count > 0 || matches!(word, "create") {
            let before = if text.is_empty() { "" } else { ", " };
            let _ = write!(text, "{before}{}", told.replace("{}", &grouped(count)));
        }
    }
    text
}

/// A number with separated thousands.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// What holds the pace back, in words.
pub const fn hold_text(hold: Bottleneck) -> &'static str {
    match hold {
        Bottleneck::Rate => "held back by --rate",
        Bottleneck::Server => "held back by the server's limit",
        Bottleneck::Pool => "waiting for answers, and more calls at once would bring nothing",
        Bottleneck::Concurrency => "waiting for answers",
        Bottleneck::Collisions => "held back by rows that collide",
        Bottleneck::Outage => "waiting for the server to come back",
        Bottleneck::Pauses => "waiting to try rows again",
        Bottleneck::Input => "waiting for input",
        Bottleneck::Nothing => "held back by nothing",
    }
}

/// A text without line breaks and other control characters, cut if it is too long.
fn one_line(text: &str, length: usize) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    let text = text.trim_end();
    let mut line: String = text.chars().take(length).map(clean).collect();
    if text.chars().nth(length).is_some() {
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests;
