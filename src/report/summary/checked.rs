//! What a check's summary adds: the calls and the time that the import will take, and what was not
//! tested.

use std::fmt::{self, Write};
use std::time::Duration;

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::grouped;
use crate::engine::stats::{CallKind, ReasonStats};
use crate::options::{Language, Rate};
use crate::report::abilities::ServerReport;
use crate::report::look::{Look, Tone};
use crate::report::names::NamesReport;
use crate::report::words::span;

/// What a check looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Only the server.
    Contact,
    /// The rows and the server.
    Rows,
    /// Only the rows.
    Offline,
}

impl Scope {
    /// What no check of this scope can tell: English, Chinese.
    pub const fn not_tested(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Contact => &[("write permission", "写权限"), ("any row", "任何数据行")],
            Self::Rows => &[
                ("write permission", "写权限"),
                ("whether the instances exist", "实例是否存在"),
                ("what is on the server already", "服务端已有哪些关联"),
            ],
            Self::Offline => &[
                ("the contact with the server", "与服务端的连接"),
                (
                    "the model associations, and the mappings of those not given with --model",
                    "模型关联（含没有用 --model 指定的源-目标约束）",
                ),
                ("write permission", "写权限"),
                ("whether the instances exist", "实例是否存在"),
                ("what is on the server already", "服务端已有哪些关联"),
            ],
        }
    }

    /// The same in one language.
    fn not_tested_in(self, language: Language) -> Vec<&'static str> {
        self.not_tested().iter().map(|both| language.pick(*both)).collect()
    }
}

/// The end of a check.
#[derive(Clone, Debug)]
pub struct Checked<'a> {
    /// What it looked at.
    pub scope: Scope,
    /// Rows that repeat an earlier row: an import ends them as `existed`.
    pub repeats: ReasonStats,
    /// Rows that would be sent to be deleted.
    pub deletes: u64,
    /// Rows that would be deleted if that were allowed.
    pub not_allowed: u64,
    /// What the import will take, if rows would be sent.
    pub forecast: Option<Forecast>,
    /// What names were taken for, where rows have any and they were asked for.
    pub(crate) names: Option<NamesReport<'a>>,
    /// What the server can do, where that was asked.
    pub(crate) server: Option<ServerReport<'a>>,
}

/// What an import will take if nothing goes wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Forecast {
    /// Questions for model associations.
    pub models: u64,
    /// Calls that create.
    pub creates: u64,
    /// Calls that delete, as far as the server takes many in one.
    pub deletes: u64,
    /// Look-ups of rows that the server refuses as taken, and before and after deletes.
    pub finds: u64,
    /// The ceiling of calls.
    pub rate: Rate,
    /// The most calls in flight.
    pub concurrency: usize,
    /// How long the server took to answer, if it did.
    pub latency: Option<Duration>,
}

impl Forecast {
    /// All calls.
    pub const fn calls(&self) -> u64 {
        self.models + self.creates + self.deletes + self.finds
    }

    /// How long the calls take: by the rate, or by the answers' latency if that is slower. `None` if
    /// neither is known.
    pub fn duration(&self) -> Option<Duration> {
        let calls = self.calls() as f64;
        let paced = match self.rate {
            Rate::Unlimited => None,
            Rate::PerSecond(rate) => Some(calls / rate),
        };
        let answered = (self.latency)
            .map(|latency| calls * latency.as_secs_f64() / self.concurrency.max(1) as f64);
        let seconds = match (paced, answered) {
            (Some(paced), Some(answered)) => paced.max(answered),
            (paced, answered) => paced.or(answered)?,
        };
        Duration::try_from_secs_f64(seconds).ok()
    }
}

impl Checked<'_> {
    /// Whether it was asked what the server can do.
    pub(super) const fn has_server(&self) -> bool {
        self.server.is_some()
    }

    pub(super) fn write(&self, look: Look, text: &mut String) -> fmt::Result {
        if let Some(names) = &self.names {
            names.write(look, text)?;
        }
        if let Some(server) = &self.server {
            server.write(look, text)?;
        }
        if self.not_allowed > 0 {
            let rows = grouped(self.not_allowed);
            let line = look.pick((
                format!("{rows} rows delete, and are invalid without --allow-delete."),
                format!("有 {rows} 行要删除关联，没有 --allow-delete 时按无效行处理。"),
            ));
            writeln!(text, "\n{}", look.paint(Tone::Open, line))?;
        }
        if let Some(forecast) = self.forecast {
            let calls = grouped(forecast.calls());
            let (rate, at_once) = (forecast.rate, forecast.concurrency);
            let took = forecast.duration().map(|took| span(look.language, took));
            let (english, chinese) = match took {
                Some(took) => (format!(" and take about {took}"), format!("，耗时约 {took}")),
                None => (String::new(), String::new()),
            };
            let line = look.pick((
                format!(
                    "The import will make about {calls} calls{english}, at rate {rate} and {at_once} at once."
                ),
                format!("导入约需 {calls} 次请求{chinese}（速率 {rate}，并发 {at_once}）。"),
            ));
            writeln!(text, "\n{line}")?;
        }
        let not_tested = self.scope.not_tested_in(look.language);
        let line = look.pick((
            format!("Not tested: {}.", not_tested.join("; ")),
            format!("未检查：{}。", not_tested.join("、")),
        ));
        writeln!(text, "\n{}", look.paint(Tone::Faint, line))
    }
}

/// The key `check` of a summary's JSON.
impl Serialize for Checked<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("repeats", &self.repeats.count)?;
        map.serialize_entry("first_repeats", &self.repeats.first)?;
        map.serialize_entry("deletes", &self.deletes)?;
        map.serialize_entry("not_allowed", &self.not_allowed)?;
        map.serialize_entry("forecast", &self.forecast)?;
        map.serialize_entry("not_tested", &self.scope.not_tested_in(Language::En))?;
        if let Some(names) = &self.names {
            map.serialize_entry("names", names)?;
        }
        if let Some(server) = &self.server {
            map.serialize_entry("server", server)?;
        }
        map.end()
    }
}

impl Serialize for Forecast {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry(CallKind::Create.as_str(), &self.creates)?;
        map.serialize_entry(CallKind::Delete.as_str(), &self.deletes)?;
        map.serialize_entry(CallKind::Find.as_str(), &self.finds)?;
        map.serialize_entry(CallKind::Models.as_str(), &self.models)?;
        map.serialize_entry("calls", &self.calls())?;
        map.serialize_entry("duration_ms", &self.duration().map(|took| took.as_millis() as u64))?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forecast(rate: Rate, latency: Option<u64>) -> Forecast {
        let latency = latency.map(Duration::from_millis);
        Forecast {
            models: 1,
            creates: 12_000,
            deletes: 0,
            finds: 99,
            rate,
            concurrency: 20,
            latency,
        }
    }

    #[test]
    fn an_import_takes_as_long_as_the_rate_or_the_answers_make_it() {
        let rate = Rate::PerSecond(100.0);
        for (rate, latency, seconds) in [
            (rate, None, Some(121.0)),
            (rate, Some(50), Some(121.0)),
            (rate, Some(500), Some(302.5)),
            (Rate::Unlimited, Some(50), Some(30.25)),
            (Rate::Unlimited, None, None),
        ] {
            let took = forecast(rate, latency).duration().map(|took| took.as_secs_f64());
            assert_eq!(took, seconds, "{rate} {latency:?}");
        }
    }

    #[test]
    fn a_check_says_what_the_import_takes_and_what_it_did_not_test() {
        let repeats = ReasonStats::default();
        let mut checked = Checked {
            scope: Scope::Rows,
            repeats,
            deletes: 0,
            not_allowed: 0,
            forecast: Some(forecast(Rate::PerSecond(100.0), None)),
            names: None,
            server: None,
        };
        let said = |checked: &Checked<'_>| {
            let mut text = String::new();
            checked.write(Look::default(), &mut text).unwrap();
            text
        };
        assert_eq!(
            said(&checked),
            "
The import will make about 12,100 calls and take about 2m 1s, at rate 100/s and 20 at once.

Not tested: write permission; whether the instances exist; what is on the server already.
"
        );
        assert_eq!(
            serde_json::to_string(&checked).unwrap(),
            concat!(
                r#"{"repeats":0,"first_repeats":[],"deletes":0,"not_allowed":0,"#,
                r#""forecast":{"create":12000,"delete":0,"find":99,"models":1,"#,
                r#""calls":12100,"duration_ms":121000},"not_tested":["write permission","#,
                r#""whether the instances exist","what is on the server already"]}"#
            )
        );
        (checked.deletes, checked.not_allowed, checked.forecast) = (7, 1_000, None);
        assert!(
            said(&checked).contains("1,000 rows delete, and are invalid without --allow-delete.")
        );
        (checked.scope, checked.not_allowed) = (Scope::Contact, 0);
        assert_eq!(said(&checked), "\nNot tested: write permission; any row.\n");
    }
}
