//! The report of a run: one HTML file that needs nothing else.
//!
//! Owns what it says, in English and Chinese. All that comes from results, `run.json` or a server goes
//! through [`html::escaped`]. Knows nothing of where its numbers come from.

mod html;
mod pictures;

use std::fmt::Write as _;
use std::path::Path;

use crate::engine::stats::RunStats;
use crate::options::Language;
use crate::outcome::{Record, Status};
use crate::report::advice::what_to_do;
use crate::report::summary::grouped;
use crate::report::words::status_in_chinese;
use crate::storage::history::{History, Latency};
use crate::storage::manifest::Manifest;
use html::{both, escaped, source_hash};
use pictures::duration;

/// How a page begins, by which one is known again.
pub const OPENING: &str = "<!doctype html>\n<!-- bkassoc report -->\n";
/// How many rows that did not end well are shown.
pub const SHOWN: usize = 1_000;

const STYLE: &str = include_str!("page/style.css");
/// How many steps a curve has at most.
const STEPS: usize = 120;
const SCRIPT: &str = include_str!("page/script.js");

/// A run whose report is made.
#[derive(Debug)]
pub struct Report<'a> {
    /// Its results.
    pub results: &'a Path,
    /// What it was.
    pub manifest: &'a Manifest,
    /// Its rows.
    pub stats: &'a RunStats,
    /// The results were changed since the run wrote them.
    pub changed: bool,
    /// Rows that did not end well, in order; the first [`SHOWN`] of them.
    pub bad: &'a [Record],
    /// The language in which it opens; without one it is the reader's.
    pub language: Option<Language>,
}

impl Report<'_> {
    /// The page.
    pub fn html(&self) -> String {
        let (style, script) = (source_hash(STYLE), source_hash(SCRIPT));
        let title = escaped(&self.results.file_name().unwrap_or_default().to_string_lossy());
        let language = self.language.unwrap_or_default().pick(("en", "zh"));
        let starts = self.language.map_or("", |_| " data-opens=\"so\"");
        let mut page = String::from(OPENING);
        // Writing to a String can't fail.
        let _ = write!(
            page,
            "<html lang=\"{language}\"{starts}><head><meta charset=\"utf-8\">\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src {style}; \
             script-src {script}; base-uri 'none'; form-action 'none'\">\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
             <meta name=\"referrer\" content=\"no-referrer\"><title>{title} – bkassoc</title>\
             <style>{STYLE}</style></head><body><main>"
        );
        self.write_head(&title, &mut page);
        if self.changed {
            let notice = both((
                "The results were changed since the run wrote them: these are the counts of what stands in them now",
                "结果文件在运行结束后被改过，下面的数字按文件现在的内容统计",
            ));
            let _ = write!(page, "<section class=\"notice\">{notice}</section>");
        }
        self.write_counts(&mut page);
        self.write_facts(&mut page);
        if let Some(history) = &self.manifest.history {
            write_history(history, &mut page);
        }
        self.write_reasons(&mut page);
        self.write_rows(&mut page);
        let _ = writeln!(page, "</main><script>{SCRIPT}</script></body></html>");
        page
    }

    fn write_head(&self, title: &str, page: &mut String) {
        let (class, word) = match self.manifest.exit {
            0 => ("fine", ("all rows ended well", "全部成功")),
            _ => ("mixed", ("some rows did not end well", "部分行未成功")),
        };
        let _ = write!(
            page,
            "<header><h1><bdi>{title}</bdi></h1><span class=\"badge {class}\">{}</span>\
             <button id=\"language\" type=\"button\"><span class=\"en\" lang=\"zh\">中文</span>\
             <span class=\"zh\" lang=\"en\">English</span></button></header>",
            both(word)
        );
    }

    /// What was run, where, when and by whom.
    fn write_facts(&self, page: &mut String) {
        let head = &self.manifest.head;
        let none = both(("none", "无"));
        let or_none = |text: &Option<String>| text.as_deref().map_or(none.clone(), bdi);
        let took = self.manifest.history.as_ref().map(|history| seconds(history.elapsed_ms));
        let took = took.map_or(none.clone(), |seconds| escaped(&duration(seconds)));
        // Left what and where, right when.
        let facts = [
            (("command", "命令"), escaped(head.work.as_str())),
            (("began", "开始时间"), bdi(&head.started_at)),
            (("server", "服务端"), bdi(&head.target.to_string())),
            (("ended", "结束时间"), bdi(&self.manifest.finished_at)),
            (
                ("app, user", "应用、用户"),
                format!("{}, {}", or_none(&head.app_code), or_none(&head.username)),
            ),
            (("the last process worked", "最后一个进程的运行时间"), took),
            (("input", "输入"), bdi(&head.inputs.join(", "))),
            (("bkassoc", "bkassoc"), bdi(&head.tool)),
            (("results", "结果文件"), bdi(&self.results.display().to_string())),
        ];
        page.push_str("<section><dl>");
        for (name, value) in facts {
            let _ = write!(page, "<dt>{}</dt><dd>{value}</dd>", both(name));
        }
        if let Some(undone) = &self.manifest.undone {
            let _ = write!(
                page,
                "<dt>{}</dt><dd>{}</dd>",
                both(("undone by", "已被撤销，见")),
                bdi(&undone.by)
            );
        }
        page.push_str("</dl></section>");
    }

    fn write_counts(&self, page: &mut String) {
        let counts: Vec<_> = (Status::ALL.into_iter())
            .map(|status| (status, self.stats.count(status)))
            .filter(|(_, count)| *count > 0)
            .collect();
        let parts: Vec<_> =
            counts.iter().map(|(status, count)| (status.as_str(), *count)).collect();
        let rows = grouped(self.stats.rows());
        let heading = both((&format!("{rows} rows"), &format!("共 {rows} 行")));
        let _ = write!(
            page,
            "<section><h2>{heading}</h2>{}<ul class=\"counts\">",
            pictures::parts(&parts)
        );
        for (status, count) in counts {
            let share = percent(count, self.stats.rows());
            let (class, count) = (status.as_str(), grouped(count));
            let name = both((class, status_in_chinese(status)));
            let _ = write!(
                page,
                "<li class=\"{class}\"><b>{count}</b><span>{name} <small>{share}</small></span></li>"
            );
        }
        page.push_str("</ul></section>");
    }

    fn write_reasons(&self, page: &mut String) {
        let reasons = self.stats.reasons();
        if reasons.is_empty() {
            return;
        }
        let _ = write!(
            page,
            "<section><h2>{}</h2><div class=\"scroll\"><table><thead><tr><th>{}</th><th>{}</th><th>{}</th>\
             </tr></thead><tbody>",
            both(("Why rows did not end well, and what to do", "未成功的原因和处理办法")),
            both(("reason", "原因")),
            both(("rows", "行数")),
            both(("what to do", "处理办法"))
        );
        for (reason, stats) in reasons {
            let _ = write!(
                page,
                "<tr><td class=\"r\"><code>{}</code></td><td class=\"n\">{}</td><td>{}",
                escaped(reason.as_str()),
                grouped(stats.count),
                both(what_to_do(reason))
            );
            if let Some(example) = &stats.example {
                let code = example.code.map(|code| format!("{code} ")).unwrap_or_default();
                let _ =
                    write!(page, "<br><span class=\"soft\">{code}{}</span>", bdi(&example.message));
            }
            page.push_str("</td></tr>");
        }
        page.push_str("</tbody></table></div></section>");
    }

    fn write_rows(&self, page: &mut String) {
        let all = self.stats.bad() + self.stats.outstanding();
        if self.bad.is_empty() {
            return;
        }
        let _ = write!(
            page,
            "<section id=\"rows\"><h2>{}</h2>",
            both(("Rows that did not end well", "未成功的行"))
        );
        let shown = self.bad.len();
        if all > shown as u64 {
            let (first, all, rest) = (grouped(shown as u64), grouped(all), self.results.display());
            let _ = write!(
                page,
                "<p class=\"soft\">{}</p>",
                both((
                    &format!("The first {first} of {all}; all of them stand in {rest}"),
                    &format!("共 {all} 行，这里是前 {first} 行；全部见 {rest}"),
                ))
            );
        }
        let _ = write!(
            page,
            "<input id=\"filter\" type=\"search\" autocomplete=\"off\" aria-label=\"filter\" \
             placeholder=\"filter / 过滤\"> <span class=\"soft\"><span id=\"shown\">{shown}</span> / {shown}</span>\
             <div class=\"scroll\"><table><thead><tr>"
        );
        for name in [
            ("line", "行号"),
            ("association", "关联"),
            ("reason", "原因"),
            ("code", "错误码"),
            ("message", "提示信息"),
        ] {
            let _ = write!(page, "<th>{}</th>", both(name));
        }
        page.push_str("</tr></thead><tbody>");
        for record in self.bad {
            self.write_row(record, page);
        }
        page.push_str("</tbody></table></div></section>");
    }

    fn write_row(&self, record: &Record, page: &mut String) {
        let outcome = &record.outcome;
        let place = match self.manifest.head.files.get(record.file as usize) {
            Some(file) => format!("{file}:{}", record.line),
            None => record.line.to_string(),
        };
        let reason = outcome.reason.map_or(outcome.status.as_str(), |reason| reason.as_str());
        let code = outcome.code.map(|code| code.to_string()).unwrap_or_default();
        let request = outcome.request_id.as_deref();
        let request = request.map(|id| format!("<br><span class=\"soft\">{}</span>", bdi(id)));
        let _ = write!(
            page,
            "<tr><td>{}</td><td>{}</td><td class=\"r\"><code>{}</code></td><td class=\"n\">{code}</td><td>{}{}</td></tr>",
            bdi(&place),
            bdi(&record.cells.triple()),
            escaped(reason),
            bdi(&outcome.message),
            request.unwrap_or_default()
        );
    }
}

/// A foreign text, which can't turn the direction of what stands beside it.
fn bdi(text: &str) -> String {
    format!("<bdi>{}</bdi>", escaped(text))
}

fn seconds(millis: u64) -> f64 {
    millis as f64 / 1_000.0
}

fn write_history(history: &History, page: &mut String) {
    let (every, all) = (seconds(history.every_ms), seconds(history.elapsed_ms));
    // Of more steps than these nobody sees one.
    let pooled = history.rows.len().div_ceil(STEPS).max(1);
    let every = every * pooled as f64;
    let rates: Vec<_> = (history.rows.chunks(pooled).enumerate())
        .map(|(at, rows)| {
            let span =
                (all - at as f64 * every).clamp(every.min(all).max(0.001) / 20.0, every.max(0.001));
            rows.iter().sum::<u64>() as f64 / span
        })
        .collect();
    let in_flight: Vec<_> = (history.in_flight.chunks(pooled))
        .map(|calls| calls.iter().max().copied().unwrap_or(0) as f64)
        .collect();
    let _ = write!(
        page,
        "<div class=\"two\"><section><h2>{}</h2>{}</section><section><h2>{}</h2>{}</section></div>",
        both(("Rows a second", "每秒行数")),
        pictures::curve(&rates, all),
        both(("Calls in flight", "并发请求数")),
        pictures::curve(&in_flight, all)
    );
    page.push_str("<div class=\"two\"><section>");
    let _ = write!(page, "<h2>{}</h2>", both(("How long answers took", "请求延迟")));
    match &history.latency {
        Some(latency) => write_latency(latency, page),
        None => page.push_str(&both(("no answer", "没有应答"))),
    }
    let _ = write!(
        page,
        "</section><section><h2>{}</h2><table><tbody>",
        both(("What held the pace back", "速率受什么限制"))
    );
    let whole = history.held_ms.values().sum::<u64>().max(1) as f64;
    let mut held: Vec<_> = history.held_ms.iter().collect();
    held.sort_by_key(|(_, time)| std::cmp::Reverse(**time));
    let shares = held.into_iter().map(|(hold, time)| (hold, *time as f64 / whole));
    for (hold, share) in shares.filter(|(_, share)| *share >= 0.005) {
        let _ = write!(
            page,
            "<tr><td>{}</td><td>{}</td><td class=\"n\">{:.0} %</td></tr>",
            hold_name(hold),
            pictures::share(share),
            share * 100.0
        );
    }
    page.push_str("</tbody></table>");
    let calls: Vec<_> = history
        .calls
        .iter()
        .map(|(kind, count)| format!("{} {}", escaped(kind), grouped(*count)))
        .collect();
    let (retries, throttled) = (grouped(history.retries), grouped(history.throttled));
    let calls = calls.join(", ");
    let _ = write!(
        page,
        "<p class=\"soft\">{}{calls}{}</p></section></div>",
        both(("calls: ", "请求：")),
        both((
            &format!("; {retries} made again, {throttled} refused for the limit"),
            &format!("；重发 {retries} 次，被限流 {throttled} 次"),
        ))
    );
}

fn write_latency(latency: &Latency, page: &mut String) {
    let Latency { p50_ms, p90_ms, p99_ms, limits_ms, counts } = latency;
    let names = limits_ms.iter().map(|limit| match limit {
        0..1_000 => limit.to_string(),
        limit => format!("{}s", limit / 1_000),
    });
    let beyond = std::iter::once("…".to_owned());
    let bars: Vec<_> = names.chain(beyond).zip(counts.iter().copied()).collect();
    let first = bars.iter().position(|(_, count)| *count > 0).unwrap_or(0);
    let last = bars.iter().rposition(|(_, count)| *count > 0).unwrap_or(first);
    let bars = bars.get(first..=last).unwrap_or_default();
    let _ = write!(
        page,
        "{}<p class=\"soft\">p50 {p50_ms:.1} ms, p90 {p90_ms:.1} ms, p99 {p99_ms:.1} ms{}</p>",
        pictures::histogram(bars),
        both(("; below each bar: no longer than so many ms", "；柱下的数字是区间上限（毫秒）"))
    );
}

/// What held a run back, by the word of `run.json`.
fn hold_name(word: &str) -> String {
    let known = match word {
        "rate" => ("`--rate`", "`--rate` 上限"),
        "server" => ("the server's limit", "服务端限流"),
        "pool" => {
            ("answers, with as many calls at once as paid off", "等待应答（再加并发也不会更快）")
        }
        "concurrency" => ("answers", "等待应答"),
        "collisions" => ("rows that collide", "有冲突、须逐行处理的行"),
        "outage" => ("a server that gave no answer", "服务端没有应答"),
        "pauses" => ("waits before rows are tried again", "重试前的等待"),
        "input" => ("the input", "读取输入"),
        "nothing" => ("nothing", "无"),
        other => return escaped(other),
    };
    both(known)
}

/// A share, of which neither a little looks like nothing nor the most like all.
fn percent(part: u64, all: u64) -> String {
    match part as f64 * 100.0 / all.max(1) as f64 {
        share if share < 0.1 => "&lt; 0.1 %".to_owned(),
        share if part < all => format!("{:.1} %", share.min(99.9)),
        _ => "100 %".to_owned(),
    }
}
