//! The end of a run in words: for a person, and for a script.
//!
//! Owns the summary's text, its JSON (`docs/reference.md`, "Output and --json"), and the command to go on
//! with. Knows nothing of where the numbers come from.

mod checked;
mod endings;
mod json;
mod next;
mod surveyed;

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::path::Path;

use crate::engine::stats::{CallKind, ReasonStats, RunStats};
use crate::exit::Exit;
use crate::options::{Language, Shard};
use crate::outcome::{Reason, Status};
use crate::report::look::{Look, Tone};
use crate::report::width::cut;
use crate::report::words::{hold_text, reason_in_chinese, span, status_in_chinese};
use crate::storage::manifest::Work;
use crate::storage::survey::Survey;
use crate::target::Target;
use surveyed::write_survey;

pub use checked::{Checked, Forecast, Scope};
pub use json::json_line;
pub use next::{allowed, as_operand, next_step, shell_quoted, through_another_entrance};
pub(crate) use surveyed::{planned, write_stays};

/// How many columns of a server's message a summary shows.
const MESSAGE_LENGTH: usize = 100;
/// So many are shown on any terminal.
const LEAST: usize = 20;
/// How many blanks stand before it.
const INDENT: usize = 21;

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
    /// The shard of a job that it was, if it was one.
    pub shard: Option<Shard>,
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
    /// How it is shown.
    pub look: Look,
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
        self.look.shown(&text)
    }

    /// The summary in one line, without colours.
    pub fn line(&self) -> String {
        let look = Look { colors: false, ..self.look };
        let (comma, semicolon) = look.pick(((", ", "; "), ("，", "；")));
        let (name, ending) = (self.name(), look.pick(self.ending()));
        let mut line = format!("{name}{}", look.pick((": ", "：")));
        line.push_str(ending);
        // Writing to a String can't fail.
        if let Some(error) = self.error {
            let _ = write!(line, "{}{}", look.pick((": ", "：")), one_line(error, usize::MAX));
        }
        let stats = self.stats;
        let _ = write!(line, "{semicolon}{} {}", grouped(stats.rows()), look.pick(("rows", "行")));
        for status in Status::ALL {
            if stats.count(status) > 0 {
                let _ =
                    write!(line, "{comma}{} {}", grouped(stats.count(status)), self.word(status));
            }
        }
        if let Some(next) = &self.next {
            let next = shell_quoted(next);
            let _ = write!(line, "{semicolon}{}{next}", look.pick(("next: ", "下一步：")));
        }
        line.push('\n');
        look.shown(&line)
    }

    fn write(&self, text: &mut String) -> fmt::Result {
        let look = self.look;
        let mut title = self.name();
        if let Some(target) = self.target {
            write!(title, "{}{target}", look.pick((", ", "，")))?;
        }
        let (colon, end) = look.pick(((": ", "."), ("：", "。")));
        write!(title, "{colon}{}{end}", look.pick(self.ending()))?;
        writeln!(text, "{}", look.paint(Tone::Strong, title))?;
        if let Some(error) = self.error {
            let lines = error.lines().map(|line| look.paint(Tone::Bad, line));
            writeln!(text, "{}", lines.collect::<Vec<_>>().join("\n"))?;
        }
        for warning in self.warnings {
            let warning = format!("{}{warning}", look.pick(("Warning: ", "注意：")));
            writeln!(text, "{}", look.paint(Tone::Open, warning))?;
        }
        // Before a guard no row is settled: what was planned tells more.
        if !self.is_of_contact() && self.exit != Exit::Guard {
            self.write_rows(text)?;
        }
        if let Some(survey) = self.survey {
            write_survey(survey, look, text)?;
        }
        self.write_calls(text)?;
        if let Some(checked) = self.checked {
            checked.write(look, text)?;
        }
        if let Some(results) = self.results {
            let heading = look.paint(Tone::Strong, look.pick(("Results:", "结果文件：")));
            writeln!(text, "\n{heading}{}{}", look.pick((" ", "")), results.display())?;
        }
        if let Some(results) = self.unfinished {
            let results = [results.display().to_string()];
            let results = shell_quoted(&results);
            let heading =
                look.paint(Tone::Strong, look.pick(("What is known so far:", "目前已知的结果：")));
            let space = look.pick((" ", ""));
            writeln!(text, "\n{heading}{space}bkassoc results {results} -o FILE")?;
        }
        self.write_next(text)
    }

    /// What was run.
    fn name(&self) -> String {
        let command = format!("bkassoc {}", self.kind.as_str());
        match self.shard {
            Some(shard) => format!("{command}{} {shard}", self.look.pick((", shard", "，分片"))),
            None => command,
        }
    }

    const fn is_of_contact(&self) -> bool {
        matches!(self.checked, Some(Checked { scope: Scope::Contact, .. }))
    }

    /// The word for a status in this summary.
    fn word(&self, status: Status) -> Cow<'static, str> {
        match (self.look.language, self.kind, status) {
            (Language::En, RunKind::Check, Status::NotAttempted) => "to be sent".into(),
            (Language::Zh, RunKind::Check, Status::NotAttempted) => "待发送".into(),
            (Language::En, ..) => status.as_str().replace('_', " ").into(),
            (Language::Zh, ..) => {
                format!("{}（{}）", status.as_str(), status_in_chinese(status)).into()
            }
        }
    }

    fn write_rows(&self, text: &mut String) -> fmt::Result {
        let (stats, look) = (self.stats, self.look);
        writeln!(text, "\n{:>13}  {}", grouped(stats.rows()), look.pick(("rows", "行")))?;
        let mut reasons = stats.reasons();
        for status in Status::ALL {
            let count = stats.count(status);
            if count == 0 {
                continue;
            }
            let line = format!("{:>13}  {}", grouped(count), self.word(status));
            let tone = match self.kind {
                // What is to be sent is as it should be.
                RunKind::Check if status == Status::NotAttempted => Tone::Good,
                _ => Tone::of(status),
            };
            writeln!(text, "{}", look.paint(tone, line))?;
            if let (Status::NotAttempted, Some(Checked { deletes: deletes @ 1.., .. })) =
                (status, self.checked)
            {
                let what = look.pick(("of them delete", "其中为删除"));
                writeln!(text, "{:>19}  {what}", grouped(*deletes))?;
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
        self.write_other_rows(text)
    }

    /// Rows that no status tells of.
    fn write_other_rows(&self, text: &mut String) -> fmt::Result {
        let (stats, look) = (self.stats, self.look);
        if let Some(checked) = self.checked
            && checked.repeats.count > 0
        {
            let count = grouped(checked.repeats.count);
            let lines = self.first_rows(&checked.repeats);
            let what = look.pick((
                "of them repeat an earlier row and would end as existed: ",
                "其中与前面的行重复，导入时会是 existed（已存在）：",
            ));
            writeln!(text, "{count:>13}  {what}{lines}")?;
        }
        if stats.blank_rows > 0 {
            let blank = grouped(stats.blank_rows);
            let what = look.pick((
                "rows of blank cells besides: skipped, like empty lines",
                "另有单元格全空的行，已像空行一样跳过",
            ));
            writeln!(text, "{blank:>13}  {what}")?;
        }
        if stats.unsettled > 0 {
            let left = grouped(stats.unsettled);
            let what =
                look.pick(("outstanding: read, but not settled", "尚无结论：已读取，还没有处理完"));
            writeln!(text, "{}", look.paint(Tone::Open, format!("{left:>13}  {what}")))?;
        }
        if !stats.input_ended && !matches!(self.exit, Exit::Usage | Exit::Held) {
            let what = look.pick(("the input was not read to its end", "输入没有读完"));
            writeln!(text, "{}", look.paint(Tone::Open, format!("{:>13}  {what}", "")))?;
        }
        Ok(())
    }

    fn write_reason(&self, text: &mut String, reason: Reason, stats: &ReasonStats) -> fmt::Result {
        let look = self.look;
        let (count, word) = (grouped(stats.count), reason.as_str());
        let word = look.pick((word.to_owned(), format!("{word}（{}）", reason_in_chinese(reason))));
        let tone = if reason == Reason::OutcomeUnknown { Tone::Open } else { Tone::Bad };
        let word = look.paint(tone, format!("{count:>19}  {word}"));
        writeln!(text, "{word}{}{}", look.pick((": ", "：")), self.first_rows(stats))?;
        match &stats.example {
            Some(example) if !example.message.is_empty() => {
                let code = example.code.map(|code| format!("{code} ")).unwrap_or_default();
                // A message that goes on in the next row of a terminal hides where the next reason begins.
                let left = look.columns.map(|all| all.saturating_sub(INDENT + code.len() + 1));
                let room = left.map_or(MESSAGE_LENGTH, |left| left.clamp(LEAST, MESSAGE_LENGTH));
                let message = one_line(&example.message, room);
                writeln!(text, "{:>INDENT$}{}", "", look.paint(Tone::Faint, code + &message))
            }
            _ => Ok(()),
        }
    }

    /// `lines 5, 6, 7, …`, and of rows that no input has what they are.
    fn first_rows(&self, stats: &ReasonStats) -> String {
        let lines: Vec<_> = (stats.first.iter())
            .map(|place| match self.inputs.get(place.file as usize) {
                Some(input) if self.inputs.len() > 1 => format!("{input}:{}", place.line),
                _ => place.line.to_string(),
            })
            .collect();
        let shown = stats.first.len() + stats.added.len();
        let more = if stats.count > shown as u64 { self.look.pick((", …", " …")) } else { "" };
        let lines = (!lines.is_empty()).then(|| {
            let word = if lines.len() == 1 { "line" } else { "lines" };
            self.look.pick((
                format!("{word} {}", lines.join(", ")),
                format!("第 {} 行", lines.join("、")),
            ))
        });
        let added = stats.added.iter().map(|row| one_line(row, MESSAGE_LENGTH));
        let rows: Vec<_> = lines.into_iter().chain(added).collect();
        format!("{}{more}", rows.join(self.look.pick((", ", "，"))))
    }

    /// What the calls were and how long it took, which is read last.
    fn write_calls(&self, text: &mut String) -> fmt::Result {
        let (stats, look) = (self.stats, self.look);
        let calls = &stats.calls;
        if calls.total() == 0 {
            return Ok(());
        }
        let mut lines = Vec::new();
        let kinds: Vec<_> = (CallKind::ALL.into_iter())
            .filter(|kind| calls.count(*kind) > 0)
            .map(|kind| format!("{} {}", grouped(calls.count(kind)), kind.as_str()))
            .collect();
        let (total, kinds) = (grouped(calls.total()), kinds.join(", "));
        lines.push(
            look.pick((format!("Calls: {total} ({kinds})"), format!("请求：{total}（{kinds}）"))),
        );
        let (retries, throttled) = (grouped(calls.retries), grouped(calls.throttled));
        lines.push(look.pick((
            format!("Retries: {retries}, throttled answers: {throttled}"),
            format!("重试：{retries}，被限流：{throttled}"),
        )));
        if let (Some(p50), Some(p90), Some(p99)) =
            (calls.latency_ms(0.5), calls.latency_ms(0.9), calls.latency_ms(0.99))
        {
            let word = look.pick(("Latency: ", "延迟："));
            lines.push(format!("{word}p50 {p50:.1} ms, p90 {p90:.1} ms, p99 {p99:.1} ms"));
        }
        let took = span(look.language, stats.took());
        let mut line = look.pick((format!("Took {took}"), format!("耗时：{took}")));
        if stats.rows() > 0 {
            let rate = stats.rows_per_second();
            line += &look.pick((format!(", {rate:.1} rows/s"), format!("，{rate:.1} 行/秒")));
        }
        if let Some((hold, share)) = calls.holds.most() {
            let (hold, share) = (look.pick(hold_text(hold)), share * 100.0);
            line += &look.pick((
                format!("; {hold} for {share:.0} % of the time"),
                format!("；{hold}（占 {share:.0}% 的时间）"),
            ));
        }
        lines.push(line);
        writeln!(text)?;
        for line in lines {
            writeln!(text, "{}", look.paint(Tone::Faint, line))?;
        }
        Ok(())
    }

    fn write_next(&self, text: &mut String) -> fmt::Result {
        let Some(next) = &self.next else {
            return Ok(());
        };
        let because = self.look.pick(self.because(&grouped(self.stats.retryable())));
        let next = self.look.paint(Tone::Strong, shell_quoted(next));
        writeln!(text, "\n{because}\n  {next}")
    }
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

/// A text without line breaks and other control characters, cut if it takes more columns.
fn one_line(text: &str, columns: usize) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    let text: String = text.trim_end().chars().map(clean).collect();
    let line = cut(&text, columns);
    if line.len() < text.len() { format!("{line}…") } else { text }
}

#[cfg(test)]
mod tests;
