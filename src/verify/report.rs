//! The end of a verify in words: for a person, and for a script.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::path::Path;

use serde::Serialize;

use super::provenance::{Provenance, Recovered};
use super::{Findings, Group, Spot, line_of};
use crate::engine::stats::{CallKind, Calls};
use crate::exit::Exit;
use crate::report::look::{Look, Tone};
use crate::report::summary::{grouped, json_line};

/// What the results were held against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Checked {
    /// Their own rules.
    File,
    /// `run.json`.
    RunJson,
    /// These inputs.
    Input(Vec<String>),
    /// This server, with that many claims.
    Server(String, u64),
}

impl Checked {
    /// The word for scripts.
    const fn as_str(&self) -> &'static str {
        match self {
            Self::File => "file",
            Self::RunJson => "run.json",
            Self::Input(_) => "input",
            Self::Server(..) => "server",
        }
    }
}

impl Checked {
    /// Names what was verified, and against which claim.
    fn text(&self, look: Look) -> String {
        match self {
            Self::File => look
                .pick((
                    "the file: that each row is there once, and its status, id and reason fit together",
                    "文件：每行是否出现且只出现一次，状态、ID、原因是否相互一致",
                ))
                .to_owned(),
            Self::RunJson => look
                .pick((
                    "run.json: that the file has the SHA-256 and the counts of its run",
                    "run.json：文件的 SHA-256 和统计数是否与运行时一致",
                ))
                .to_owned(),
            Self::Input(names) => {
                let names = names.join(", ");
                look.pick((
                    format!("the input ({names}): that the file has the same rows, in the same order"),
                    format!("输入（{names}）：文件中的行是否与输入相同、顺序一致"),
                ))
            }
            Self::Server(target, claims) => {
                let claims = grouped(*claims);
                look.pick((
                    format!("the server {target}: that {claims} rows are true there"),
                    format!("服务端 {target}：{claims} 行是否与服务端的实际情况一致"),
                ))
            }
        }
    }
}

/// Everything that is shown at the end of a verify.
#[derive(Debug)]
pub struct Report<'a> {
    /// The results.
    pub results: &'a Path,
    /// The number of lines that could be read.
    pub rows: u64,
    /// How many of them no input names.
    pub added: u64,
    /// What they were held against from the first to the last line.
    pub checked: &'a [Checked],
    /// What is wrong.
    pub findings: &'a Findings,
    /// Whose recovered rows are, where the server was asked.
    pub recovered: &'a Recovered,
    /// The calls that were made.
    pub calls: &'a Calls,
    /// How it ended.
    pub exit: Exit,
    /// Why it ended early, if it did.
    pub error: Option<&'a str>,
    /// How it is shown.
    pub look: Look,
}

impl<'a> Report<'a> {
    /// The output for stdout: JSON if asked for, else the text. `-q` makes it one line, and on exit 0
    /// nothing.
    pub fn render(&self, quiet: bool, json: bool) -> Option<String> {
        match (json, quiet) {
            (true, _) => Some(self.json()),
            (false, false) => Some(self.text()),
            (false, true) => (self.exit != Exit::Ok).then(|| self.line()),
        }
    }

    const fn ending(&self) -> (&'static str, &'static str) {
        match (self.exit, self.error) {
            (_, Some(_)) => ("did not come to its end", "未能完成"),
            (Exit::Ok, None) => ("nothing is off", "没有发现问题"),
            (_, None) => ("something is off", "发现问题"),
        }
    }

    fn title(&self) -> String {
        let (results, ending) = (self.results.display(), self.look.pick(self.ending()));
        let colon = self.look.pick((": ", "："));
        format!("bkassoc verify {results}{colon}{ending}")
    }

    fn line(&self) -> String {
        let look = Look { colors: false, ..self.look };
        let mut line = self.title();
        // Writing to a String can't fail.
        if let Some(error) = self.error {
            let _ = write!(line, "{}{error}", look.pick((": ", "：")));
        }
        let (comma, semicolon) = look.pick(((", ", "; "), ("，", "；")));
        let _ = write!(line, "{semicolon}{} {}", grouped(self.rows), look.pick(("rows", "行")));
        for (kind, group) in self.findings.groups() {
            let _ = write!(line, "{comma}{} {}", grouped(group.count), kind.as_str());
        }
        line.push('\n');
        look.shown(&line)
    }

    fn text(&self) -> String {
        let mut text = String::new();
        let _ = self.write(&mut text);
        self.look.shown(&text)
    }

    fn write(&self, text: &mut String) -> fmt::Result {
        let look = self.look;
        let tone = if self.exit == Exit::Ok { Tone::Strong } else { Tone::Bad };
        let title = format!("{}{}", self.title(), look.pick((".", "。")));
        writeln!(text, "{}", look.paint(tone, title))?;
        if let Some(error) = self.error {
            writeln!(text, "{error}")?;
        }
        writeln!(text, "\n{:>13}  {}", grouped(self.rows), look.pick(("rows", "行")))?;
        if self.added > 0 {
            let what = look.pick(("of them deletes that no input names", "其中是输入里没有的删除"));
            writeln!(text, "{:>13}  {what}", grouped(self.added))?;
        }
        writeln!(text, "\n{}", look.paint(Tone::Strong, look.pick(("Looked at:", "核对内容："))))?;
        for checked in self.checked {
            writeln!(text, "  {}", checked.text(look))?;
        }
        if !self.findings.is_empty() {
            let heading =
                look.pick(("Off (lines are those of the input):", "问题（行号为输入的行号）："));
            writeln!(text, "\n{}", look.paint(Tone::Strong, heading))?;
        }
        for (kind, group) in self.findings.groups() {
            self.write_group(text, (kind.as_str(), kind.meaning()), Tone::Bad, group)?;
        }
        if !self.recovered.is_empty() {
            let heading = look.pick((
                "Recovered rows, by the server's audit log:",
                "recovered（无应答后查到）的行，据服务端操作审计：",
            ));
            writeln!(text, "\n{}", look.paint(Tone::Strong, heading))?;
        }
        for (provenance, group) in self.recovered.groups() {
            let tone = if provenance == Provenance::Ours { Tone::Good } else { Tone::Open };
            self.write_group(text, (provenance.as_str(), provenance.meaning()), tone, group)?;
        }
        if self.calls.total() > 0 {
            let kinds: Vec<_> = (self.call_counts().into_iter())
                .map(|(kind, count)| format!("{} {kind}", grouped(count)))
                .collect();
            let (total, kinds) = (grouped(self.calls.total()), kinds.join(", "));
            let line = look
                .pick((format!("Calls: {total} ({kinds})"), format!("请求：{total}（{kinds}）")));
            writeln!(text, "\n{}", look.paint(Tone::Faint, line))?;
        }
        Ok(())
    }

    fn write_group(
        &self,
        text: &mut String,
        (word, meaning): (&str, (&str, &str)),
        tone: Tone,
        group: &Group,
    ) -> fmt::Result {
        let look = self.look;
        let word = look.paint(tone, format!("{:>13}  {word}", grouped(group.count)));
        writeln!(text, "{word}{}{}", look.pick((": ", "：")), look.pick(meaning))?;
        for (spot, what) in &group.first {
            writeln!(text, "{:>17}{}{what}", "", self.place(*spot))?;
        }
        let more = group.count - group.first.len() as u64;
        if more > 0 {
            let more = grouped(more);
            let more = look.pick((
                format!("and {more} more, which -v shows on stderr"),
                format!("另有 {more} 处，用 -v 在 stderr 上查看"),
            ));
            writeln!(text, "{:>17}{more}", "")?;
        }
        Ok(())
    }

    /// The beginning of a finding's line.
    fn place(&self, spot: Spot) -> String {
        match (spot, self.findings.file_of(spot)) {
            (Spot::Whole, _) => String::new(),
            (Spot::Row(place), _) if place.line == 0 => {
                self.look.pick(("added: ", "同步额外加上的删除：")).to_owned()
            }
            (Spot::Row(place), Some(file)) => format!("{file}:{}: ", place.line),
            (Spot::Row(place), None) => {
                let line = place.line;
                self.look.pick((format!("line {line}: "), format!("第 {line} 行：")))
            }
            (Spot::Line(line), _) => format!("{}:{line}: ", self.results.display()),
        }
    }

    fn call_counts(&self) -> BTreeMap<&'static str, u64> {
        (CallKind::ALL.into_iter())
            .map(|kind| (kind.as_str(), self.calls.count(kind)))
            .filter(|(_, count)| *count > 0)
            .collect()
    }

    /// As JSON.
    pub fn json(&self) -> String {
        let results = self.results.to_string_lossy();
        let first = |group: &'a Group| {
            let one = |(spot, what): &'a (Spot, String)| {
                let file = match spot {
                    Spot::Line(_) => Some(&*results),
                    Spot::Row(_) | Spot::Whole => self.findings.file_of(*spot),
                };
                First { file, line: line_of(*spot), what }
            };
            group.first.iter().map(one).collect()
        };
        let json = Json {
            schema: 1,
            results: results.clone(),
            rows: self.rows,
            added: self.added,
            checked: self.checked.iter().map(Checked::as_str).collect(),
            findings: (self.findings.groups())
                .map(|(kind, group)| JsonFinding {
                    kind: kind.as_str(),
                    count: group.count,
                    first: first(group),
                })
                .collect(),
            recovered: (self.recovered.groups())
                .map(|(provenance, group)| JsonRecovered {
                    whose: provenance.as_str(),
                    count: group.count,
                    first: first(group),
                })
                .collect(),
            calls: self.call_counts(),
            exit: self.exit.code(),
            error: self.error,
        };
        json_line(&json)
    }
}

#[derive(Serialize)]
struct Json<'a> {
    schema: u32,
    results: Cow<'a, str>,
    rows: u64,
    added: u64,
    checked: Vec<&'static str>,
    findings: Vec<JsonFinding<'a>>,
    recovered: Vec<JsonRecovered<'a>>,
    calls: BTreeMap<&'static str, u64>,
    exit: u8,
    error: Option<&'a str>,
}

#[derive(Serialize)]
struct JsonFinding<'a> {
    kind: &'static str,
    count: u64,
    first: Vec<First<'a>>,
}

#[derive(Serialize)]
struct JsonRecovered<'a> {
    whose: &'static str,
    count: u64,
    first: Vec<First<'a>>,
}

/// `file` is an input if there are several, or the results file for one of its own lines.
#[derive(Serialize)]
struct First<'a> {
    file: Option<&'a str>,
    line: Option<u64>,
    what: &'a str,
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;
    use crate::engine::stats::Place;
    use crate::verify::FindingKind;

    fn findings() -> Findings {
        let mut findings = Findings::new(vec!["a.csv".to_owned(), "b.csv".to_owned()]);
        findings.say(FindingKind::Changed, Spot::Whole, "its SHA-256 is 1, and was 2");
        findings.say(FindingKind::Unreadable, Spot::Line(7), "no results line");
        for line in 2..30 {
            findings.say(FindingKind::Missing, Spot::Row(Place { file: 1, line }), "is not there");
        }
        findings
    }

    static NONE: LazyLock<Recovered> = LazyLock::new(Recovered::default);

    fn report<'a>(findings: &'a Findings, calls: &'a Calls, error: Option<&'a str>) -> Report<'a> {
        let exit = match (findings.is_empty(), error) {
            (_, Some(_)) => Exit::Outage,
            (true, None) => Exit::Ok,
            (false, None) => Exit::SomeFailed,
        };
        let results = Path::new("a.results.csv");
        let checked = &[Checked::File, Checked::RunJson];
        let recovered = &*NONE;
        let look = Look::default();
        Report {
            results,
            rows: 1_234,
            added: 0,
            checked,
            findings,
            recovered,
            calls,
            exit,
            error,
            look,
        }
    }

    #[test]
    fn a_sound_file_is_said_to_be_so_and_how_that_is_known() {
        let (findings, calls) = (Findings::default(), Calls::default());
        let report = report(&findings, &calls, None);
        assert_eq!(
            report.text(),
            "bkassoc verify a.results.csv: nothing is off.\n\n        1,234  rows\n\nLooked at:\n  \
             the file: that each row is there once, and its status, id and reason fit together\n  \
             run.json: that the file has the SHA-256 and the counts of its run\n"
        );
        assert_eq!(report.render(true, false), None);
    }

    #[test]
    fn what_is_off_is_grouped_with_its_first_lines() {
        let (findings, mut calls) = (findings(), Calls::default());
        calls.sent(CallKind::Find);
        let text = report(&findings, &calls, None).text();
        for part in [
            "            1  changed: the file is not as the run wrote it\n                 its SHA-256",
            "                 a.results.csv:7: no results line\n",
            "           28  missing: associations that the server does not have\n                 \
             b.csv:2: is not there\n",
            "b.csv:21: is not there\n                 and 8 more, which -v shows on stderr\n",
            "Calls: 1 (1 find)\n",
        ] {
            assert!(text.contains(part), "{part:?} in\n{text}");
        }
    }

    #[test]
    fn whose_recovered_rows_are_is_told_and_is_nothing_that_is_off() {
        let (findings, calls) = (Findings::default(), Calls::default());
        let mut recovered = Recovered::default();
        let spot = |line| Spot::Row(Place { file: 0, line });
        recovered.add(Provenance::NotOurs, spot(4), "is of no call of ours".to_owned());
        (10..40).for_each(|line| recovered.add(Provenance::Ours, spot(line), "is".to_owned()));
        let report = Report { recovered: &recovered, ..report(&findings, &calls, None) };
        let text = report.text();
        let says = "\nRecovered rows, by the server's audit log:\n           30  ours: ";
        assert!(text.contains("nothing is off") && text.contains(says), "{text}");
        let says = "and 10 more, which -v shows on stderr\n            1  not-ours: ";
        assert!(text.contains(says) && text.contains("line 4: is of no call of ours\n"), "{text}");
        assert_eq!(report.render(true, false), None);
        let json: serde_json::Value = serde_json::from_str(&report.json()).unwrap();
        assert_eq!(json["recovered"][0]["count"], 30);
        let first = serde_json::json!([{"file": null, "line": 4, "what": "is of no call of ours"}]);
        let whose = serde_json::json!({"whose": "not-ours", "count": 1, "first": first});
        assert_eq!(json["recovered"][1], whose);
    }

    #[test]
    fn one_line_has_all_counts_and_the_reason_of_an_early_end() {
        let (findings, calls) = (findings(), Calls::default());
        let line = report(&findings, &calls, Some("no answer")).render(true, false).unwrap();
        assert_eq!(
            line,
            "bkassoc verify a.results.csv: did not come to its end: no answer; 1,234 rows, 1 \
             changed, 1 unreadable, 28 missing\n"
        );
    }

    #[test]
    fn a_script_gets_one_object() {
        let (findings, calls) = (findings(), Calls::default());
        let json = report(&findings, &calls, None).render(false, true).unwrap();
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["schema"], 1);
        assert_eq!(json["rows"], 1_234);
        assert_eq!(json["exit"], 3);
        assert_eq!(json["error"], serde_json::Value::Null);
        assert_eq!(json["checked"], serde_json::json!(["file", "run.json"]));
        let missing = &json["findings"][2];
        assert_eq!((&missing["kind"], &missing["count"]), (&"missing".into(), &28.into()));
        assert_eq!(missing["first"].as_array().unwrap().len(), super::super::SHOWN);
        assert_eq!(
            missing["first"][0],
            serde_json::json!({"file": "b.csv", "line": 2, "what": "is not there"})
        );
        assert_eq!(json["findings"][1]["first"][0]["file"], "a.results.csv");
    }
}
