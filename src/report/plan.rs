//! What a plan would do, told to a person or as JSON.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::look::{Look, Tone};
use super::names::NamesReport;
use super::summary::{as_operand, grouped, planned, shell_quoted, write_stays};
use super::width::padded;
use super::words::{reason_in_chinese, span};
use crate::exit::Exit;
use crate::outcome::Reason;
use crate::plan::guards::{self, Tripped};
use crate::plan::understood::Understood;
use crate::storage::plan::{PlanManifest, PlannedRow, Reader, Step};
use crate::storage::survey::Survey;

/// How many model associations are listed.
const LISTED: usize = 20;
/// The columns of a model association's name and of a reason.
const NAME_WIDTH: usize = 40;
const REASON_WIDTH: usize = 22;

/// A plan that was made.
pub(crate) struct PlanReport<'a> {
    /// Where it is.
    pub(crate) path: &'a Path,
    pub(crate) manifest: &'a PlanManifest,
    pub(crate) understood: &'a Understood,
    /// Calls that making it took.
    pub(crate) asked: u64,
    /// What of the typed flags reaches the same server as the same user.
    pub(crate) identity: &'a [String],
    /// Why it is not carried out as it is.
    pub(crate) guarded: Option<&'a Guarded>,
    /// How the command ends.
    pub(crate) exit: Exit,
}

#[derive(Serialize)]
struct Json<'a> {
    command: &'static str,
    plan: &'a Path,
    #[serde(flatten)]
    manifest: &'a PlanManifest,
    names: NamesReport<'a>,
    asked: u64,
    exit: u8,
    error: Option<&'a str>,
    next: Vec<String>,
}

impl PlanReport<'_> {
    /// One object and a line end.
    pub(crate) fn json(&self) -> String {
        let &Self { path, manifest, .. } = self;
        let names = self.names();
        let json = Json {
            command: "plan",
            plan: path,
            manifest,
            names,
            asked: self.asked,
            exit: self.exit.code(),
            error: self.guarded.map(|guarded| guarded.message.as_str()),
            next: self.next(),
        };
        let mut text = serde_json::to_string(&json).expect("a report is plain data");
        text.push('\n');
        text
    }

    const fn names(&self) -> NamesReport<'_> {
        NamesReport { understood: self.understood, files: self.manifest.head.files.as_slice() }
    }

    fn next(&self) -> Vec<String> {
        let words = ["bkassoc".to_owned(), "apply".to_owned(), as_operand(self.path)];
        let allowing = self.guarded.map_or(&[][..], |guarded| &guarded.allowing);
        words.into_iter().chain(allowing.iter().chain(self.identity).cloned()).collect()
    }
}

/// `+ 120 create, - 3 delete, = 99,877 there, 2 can't be resolved`.
fn counted(look: Look, counts: &BTreeMap<String, u64>) -> String {
    let words = ["create", "delete", "keep", "absent", "none"];
    planned(look, words.map(|word| (word, counts.get(word).copied().unwrap_or_default())))
}

/// How many of the deletes are named that a guard refuses.
const NAMED: usize = 5;

/// A plan that a guard refuses.
pub(crate) struct Guarded {
    /// Why, and what would have been deleted.
    pub(crate) message: String,
    /// The flags that allow it.
    pub(crate) allowing: Vec<String>,
    /// What is there.
    pub(crate) survey: Option<Survey>,
}

impl Guarded {
    /// Of the plan at `path`.
    pub(crate) fn of(path: &Path, manifest: &PlanManifest, tripped: &[Tripped]) -> Self {
        let mut message = String::from("a guard refuses the plan, and nothing was sent:");
        for one in tripped {
            let _ = write!(message, "\n  {one}");
        }
        let deletes = manifest.count("delete", None);
        if deletes > 0 {
            message.push_str("\nIt would delete:");
            let lines = Reader::open(path, manifest).into_iter().flatten().map_while(Result::ok);
            let doomed = lines.filter(|line| matches!(line.step, Step::Delete(_)));
            for PlannedRow { row, step } in doomed.take(NAMED) {
                let [name, source, target, _] = row.cells.ids();
                let id = match step {
                    Step::Delete(Some(id)) => format!(" (id {id})"),
                    _ => String::new(),
                };
                let _ = write!(message, "\n  {} {source} -> {target}{id}", name.escape_debug());
            }
            if let Some(more) = deletes.checked_sub(NAMED as u64).filter(|more| *more > 0) {
                let _ = write!(message, "\n  and {} more", grouped(more));
            }
        }
        let _ = write!(message, "\nAll of it is in {}.", path.display());
        let survey = manifest.head.survey.clone();
        Self { message, allowing: guards::allowing(tripped, manifest), survey }
    }
}

impl PlanReport<'_> {
    /// In words, for a person.
    pub(crate) fn text(&self, look: Look) -> String {
        let mut text = String::new();
        // Writing to a String can't fail.
        let _ = self.write(look, &mut text);
        look.shown(&text)
    }

    fn write(&self, look: Look, text: &mut String) -> fmt::Result {
        let manifest = self.manifest;
        let (rows, asked) = (grouped(manifest.rows), grouped(self.asked));
        let title = look.pick((
            format!("bkassoc plan: {rows} rows, {asked} calls"),
            format!("bkassoc plan：{rows} 行，{asked} 次请求"),
        ));
        writeln!(text, "{}", look.paint(Tone::Strong, title))?;
        writeln!(text, "  {}", counted(look, &manifest.counts))?;
        let several = manifest.associations.iter().filter(|_| manifest.associations.len() > 1);
        for (name, counts) in several.take(LISTED) {
            let name = padded(&name.escape_debug().to_string(), NAME_WIDTH);
            writeln!(text, "    {name} {}", counted(look, counts))?;
        }
        if let Some(more) = manifest.associations.len().checked_sub(LISTED).filter(|more| *more > 0)
        {
            let more = grouped(more as u64);
            let more = look.pick((
                format!("and {more} more model associations"),
                format!("另有 {more} 个模型关联"),
            ));
            writeln!(text, "    {more}")?;
        }
        for (word, count) in &manifest.reasons {
            let meaning = Reason::parse(word).map_or("", reason_in_chinese);
            let reason = look.pick((
                padded(word, REASON_WIDTH),
                padded(&format!("{word}（{meaning}）"), 2 * REASON_WIDTH),
            ));
            writeln!(text, "  {} {}", look.paint(Tone::Bad, reason), grouped(*count))?;
        }
        self.names().write(look, text)?;
        if let Some(survey) = &manifest.head.survey {
            write_stays(survey, look, text)?;
        }
        let path = self.path.display();
        match self.guarded {
            None => {
                let line = look.pick((
                    format!("The plan is at {path}. Nothing was sent. To carry it out:"),
                    format!("计划已写入 {path}，未做任何变更。执行计划："),
                ));
                writeln!(text, "\n{line}")?;
            }
            Some(Guarded { message, .. }) => {
                let line = look
                    .pick((format!("With exit 12, {message}"), format!("退出码 12：{message}")));
                let meant = look.pick(("If that is meant:", "确认无误后执行："));
                writeln!(text, "\n{line}\n\n{meant}")?;
            }
        }
        writeln!(text, "  {}", look.paint(Tone::Strong, shell_quoted(&self.next())))?;
        if let Some(seconds) = manifest.seconds {
            let took = span(look.language, Duration::from_secs(seconds));
            let calls = grouped(manifest.calls);
            let line = look.pick((
                format!("That takes about {calls} calls and {took}."),
                format!("约需 {calls} 次请求，耗时约 {took}。"),
            ));
            writeln!(text, "{line}")?;
        }
        Ok(())
    }
}
