//! Some work at one moment, in words that fit: how far it is, what failed, what holds it back.
//!
//! What is told first is what is told in the narrowest terminal, too. Knows nothing of when it is shown.

use std::fmt;
use std::time::Duration;

use crate::engine::stats::{Bottleneck, Calls, RunStats};
use crate::options::Language;
use crate::outcome::Status;
use crate::plan::headway::{Headway, Listed};
use crate::report::look::{Look, Tone};
use crate::report::progress::bar::Parts;
use crate::report::summary::grouped;
use crate::report::width::{columns_of, cut};
use crate::report::words::{hold_text, span, status_in_chinese};

/// The width of the bar where there is room, and the least that is still a bar.
const BAR_WIDTH: (usize, usize) = (20, 5);
/// What stands around a bar.
const AROUND: usize = "[] ".len();

/// Work at one moment, without control characters.
#[derive(Debug)]
pub(super) struct View {
    /// How much is done, and of how much.
    done: (u64, Option<u64>),
    /// Rows, speed, time left: the longest text first.
    how_far: Vec<String>,
    /// Counts, the most telling first.
    counts: Vec<(Option<Tone>, String)>,
    /// What holds it back.
    hold: Option<&'static str>,
    language: Language,
}

impl View {
    /// Of a run.
    pub(super) fn of_run(
        stats: &RunStats,
        hold: Bottleneck,
        speed: f64,
        language: Language,
    ) -> Self {
        let done = stats.done();
        let mut counts = Vec::new();
        let failed = grouped(stats.bad());
        if stats.bad() > 0 {
            let failed = language.pick((format!("failed {failed}"), format!("失败 {failed}")));
            counts.push((Some(Tone::Bad), failed));
        }
        for status in
            [Status::Created, Status::Existed, Status::Recovered, Status::Deleted, Status::Absent]
        {
            let count = stats.count(status);
            if count > 0 {
                let word = language.pick((status.as_str(), status_in_chinese(status)));
                counts.push((None, format!("{word} {}", grouped(count))));
            }
        }
        Self {
            done: (done, stats.expected),
            how_far: how_far(done, stats.expected, hold, speed, language),
            counts,
            hold: said(hold, language),
            language,
        }
    }

    /// Of a plan that is made.
    pub(super) fn of_plan(
        headway: &Headway,
        calls: &Calls,
        hold: Bottleneck,
        language: Language,
    ) -> Self {
        let listed = headway.listed.borrow();
        let done = match &*listed {
            Some(_) => (0, None),
            None => (headway.rows.get(), headway.expected.get()),
        };
        let asked = grouped(calls.total());
        Self {
            done,
            how_far: match &*listed {
                Some(listed) => listing(listed, language),
                None => reading(headway, language),
            },
            counts: vec![(
                None,
                language.pick((format!("{asked} calls"), format!("已发请求 {asked} 次"))),
            )],
            hold: said(hold, language),
            language,
        }
    }

    /// Two lines for a terminal of so many columns, of which they leave one free: a line that the terminal
    /// breaks tears the display.
    pub(super) fn parts(&self, look: Look, columns: usize) -> Parts {
        let columns = columns.saturating_sub(1);
        let (bar, how_far) = self.first(columns);
        Parts { bar, how_far: how_far.to_owned(), how_well: self.second(look, columns) }
    }

    /// A bar where there is room for it, and as much of how far it is as there is room for.
    fn first(&self, columns: usize) -> (Option<(u64, usize)>, &str) {
        let (most, least) = BAR_WIDTH;
        let room = |text: &str| columns.saturating_sub(columns_of(text) + AROUND).min(most);
        let (done, total) = self.done;
        let mut texts = self.how_far.iter().map(String::as_str);
        if let Some(total) = total
            && let Some(text) = texts.clone().find(|text| room(text) >= least)
        {
            return (Some((percent(done, total), room(text))), text);
        }
        let shortest = self.how_far.last().map_or("", String::as_str);
        let fits = texts.find(|text| columns_of(text) <= columns);
        (None, fits.unwrap_or_else(|| cut(shortest, columns)))
    }

    /// As many counts as there is room for beside what holds it back.
    fn second(&self, look: Look, columns: usize) -> String {
        let mut counts = &self.counts[..];
        loop {
            let plain = self.told(counts, |_, text| text.to_owned());
            if columns_of(&plain) <= columns {
                return self.told(counts, |tone, text| match tone {
                    Some(tone) => look.paint(tone, text),
                    None => text.to_owned(),
                });
            }
            match counts {
                [] | [_] => return cut(&plain, columns).to_owned(),
                [first @ .., _] => counts = first,
            }
        }
    }

    fn told(
        &self,
        counts: &[(Option<Tone>, String)],
        paint: impl Fn(Option<Tone>, &str) -> String,
    ) -> String {
        let (comma, semicolon) = self.language.pick(((", ", "; "), ("，", "；")));
        let counts: Vec<_> = counts.iter().map(|(tone, text)| paint(*tone, text)).collect();
        let mut parts = vec![counts.join(comma)];
        parts.extend(self.hold.map(str::to_owned));
        parts.retain(|part| !part.is_empty());
        parts.join(semicolon)
    }
}

/// The whole of it, for a log.
impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.how_far.first().map_or("", String::as_str))?;
        let rest = self.told(&self.counts, |_, text| text.to_owned());
        if rest.is_empty() {
            return Ok(());
        }
        write!(f, "{}{rest}", self.language.pick(("; ", "；")))
    }
}

fn said(hold: Bottleneck, language: Language) -> Option<&'static str> {
    (hold != Bottleneck::Nothing).then(|| language.pick(hold_text(hold)))
}

fn how_far(
    done: u64,
    total: Option<u64>,
    hold: Bottleneck,
    speed: f64,
    language: Language,
) -> Vec<String> {
    let rows = grouped(done);
    let Some(total) = total else {
        return vec![language.pick((
            format!("{rows} rows, {speed:.1}/s"),
            format!("已处理 {rows} 行，{speed:.1} 行/秒"),
        ))];
    };
    let percent = percent(done, total);
    let left = left(total.saturating_sub(done), hold, speed).map(|left| span(language, left));
    let total = grouped(total);
    let about = |(before, after): (&str, &str)| match &left {
        Some(left) => format!("{before}{left}{after}"),
        None => String::new(),
    };
    let (full, brief) = match language {
        Language::En => (about((", about ", " left")), about((", ", " left"))),
        Language::Zh => (about(("，约剩 ", "")), about(("，剩 ", ""))),
    };
    match language {
        Language::En => vec![
            format!("{rows} of {total} rows ({percent} %), {speed:.1}/s{full}"),
            format!("{rows} of {total} ({percent} %), {speed:.1}/s{brief}"),
            format!("{percent} %, {speed:.1}/s{brief}"),
        ],
        Language::Zh => vec![
            format!("已处理 {rows} / {total} 行（{percent}%），{speed:.1} 行/秒{full}"),
            format!("{rows} / {total}（{percent}%），{speed:.1}/秒{brief}"),
            format!("{percent}%，{speed:.1}/秒{brief}"),
        ],
    }
}

fn percent(done: u64, total: u64) -> u64 {
    // Where the total was estimated, more may be done than that.
    (u128::from(done) * 100 / u128::from(total.max(1))).min(100) as u64
}

/// How long the rest takes, where that can be known. Hours are not told to the second.
fn left(rows: u64, hold: Bottleneck, speed: f64) -> Option<Duration> {
    if hold == Bottleneck::Pauses {
        // The rest takes its own time, whatever the speed was.
        return None;
    }
    // Standing still, or longer than anyone waits, it is no duration.
    let left = Duration::try_from_secs_f64((rows as f64 / speed).ceil()).ok()?;
    let seconds = left.as_secs();
    let told = if seconds >= 3_600 { seconds - seconds % 60 } else { seconds };
    (told > 0).then(|| Duration::from_secs(told))
}

fn reading(headway: &Headway, language: Language) -> Vec<String> {
    let of = |total: Option<u64>, word| {
        total.map_or(String::new(), |total| format!("{word}{}", grouped(total)))
    };
    let (rows, expected) = (grouped(headway.rows.get()), headway.expected.get());
    let (names, answered) = (grouped(headway.names.get()), grouped(headway.answered.get()));
    match language {
        Language::En => {
            let of_rows = of(expected, " of ");
            vec![
                format!(
                    "planning: {rows}{of_rows} rows read, {answered} of {names} names looked up"
                ),
                format!("planning: {rows}{of_rows} rows, {answered} of {names} names"),
                format!("{answered} of {names} names"),
            ]
        }
        Language::Zh => {
            let of_rows = of(expected, " / ");
            vec![
                format!("生成计划：已读取 {rows}{of_rows} 行，已查询名称 {answered} / {names} 个"),
                format!("生成计划：{rows}{of_rows} 行，名称 {answered} / {names}"),
                format!("名称 {answered} / {names}"),
            ]
        }
    }
}

fn listing(listed: &Listed, language: Language) -> Vec<String> {
    let Listed { name, number, of, associations } = listed;
    let (name, found) = (name.escape_debug(), grouped(*associations));
    language.pick((
        vec![
            format!("planning: listing {name} ({number} of {of}), {found} associations so far"),
            format!("listing {name} ({number} of {of}): {found}"),
            format!("listing {number} of {of}: {found}"),
        ],
        vec![
            format!("生成计划：列出 {name} 的现有关联（第 {number} / {of} 个），已列出 {found} 条"),
            format!("列出 {name}（{number} / {of}）：{found} 条"),
            format!("列出 {number} / {of}：{found} 条"),
        ],
    ))
}

#[cfg(test)]
mod tests {
    use std::mem;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::association::Cells;
    use crate::outcome::{Outcome, Reason, Record};
    use crate::report::progress::bar::Bar;
    use crate::report::screen::Line;

    fn drawn(parts: Parts) -> Vec<Line> {
        let drawn = Arc::new(Mutex::default());
        let seen = Arc::clone(&drawn);
        let bar = Bar::shown_by(move |lines| *seen.lock().unwrap() = lines);
        bar.show(parts);
        mem::take(&mut *drawn.lock().unwrap())
    }

    fn bar(done: u64, total: u64, width: usize) -> String {
        let bar = Some((percent(done, total), width));
        let line = drawn(Parts { bar, ..Parts::default() }).remove(0);
        line.text.trim_start_matches('[').trim_end_matches("] ").to_owned()
    }

    impl View {
        /// What is drawn of it.
        fn fit(&self, look: Look, columns: usize) -> Vec<Line> {
            drawn(self.parts(look, columns))
        }
    }

    fn stats(expected: Option<u64>) -> RunStats {
        let mut stats = RunStats::default();
        stats.expected = expected;
        for (status, count) in
            [(Status::Created, 1_200), (Status::Existed, 30), (Status::Failed, 4)]
        {
            let outcome = match status {
                Status::Failed => Outcome::bad(Reason::Rejected, String::new(), 1, 0),
                _ => Outcome::good(status, 1, 1, 0),
            };
            let record = Record { ordinal: 0, file: 0, line: 2, cells: Cells::default(), outcome };
            (0..count).for_each(|_| stats.add(&record));
        }
        stats
    }

    fn shown(stats: &RunStats, hold: Bottleneck, speed: f64) -> String {
        View::of_run(stats, hold, speed, Language::En).to_string()
    }

    fn look(language: Language) -> Look {
        Look { language, ..Look::default() }
    }

    #[test]
    fn a_line_tells_how_far_the_run_is_and_what_holds_it_back() {
        let stats = stats(Some(10_234));
        assert_eq!(
            shown(&stats, Bottleneck::Rate, 90.0),
            "1,234 of 10,234 rows (12 %), 90.0/s, about 1m 40s left; failed 4, created 1,200, \
             existed 30; held back by --rate"
        );
        assert_eq!(
            View::of_run(&stats, Bottleneck::Rate, 90.0, Language::Zh).to_string(),
            "已处理 1,234 / 10,234 行（12%），90.0 行/秒，约剩 1分40秒；失败 4，已创建 1,200，已存在 30；\
             受 --rate 限制"
        );
    }

    #[test]
    fn no_line_takes_more_than_the_terminal_s_width_in_either_language() {
        for language in [Language::En, Language::Zh] {
            let view = View::of_run(&stats(Some(1_234_567)), Bottleneck::Pool, 90.0, language);
            for columns in 1..200 {
                for line in view.fit(look(language), columns) {
                    assert_eq!(line.columns, columns_of(&line.text));
                    assert!(line.columns < columns, "{columns}: {}", line.text);
                }
            }
        }
    }

    #[test]
    fn what_failed_is_told_first_and_kept_longest() {
        let view = View::of_run(&stats(Some(1_234_567)), Bottleneck::Rate, 90.0, Language::En);
        for (columns, first, second) in [
            (
                120,
                "[>                   ] 1,234 of 1,234,567 rows (0 %), 90.0/s, about 3h 48m left",
                "failed 4, created 1,200, existed 30; held back by --rate",
            ),
            (
                60,
                "[>          ] 1,234 of 1,234,567 (0 %), 90.0/s, 3h 48m left",
                "failed 4, created 1,200, existed 30; held back by --rate",
            ),
            (40, "[>           ] 0 %, 90.0/s, 3h 48m left", "failed 4; held back by --rate"),
            (26, "0 %, 90.0/s, 3h 48m left", "failed 4; held back by --"),
        ] {
            let fitted = view.fit(look(Language::En), columns);
            assert_eq!([&*fitted[0].text, &*fitted[1].text], [first, second], "{columns}");
        }
        let painted = view.fit(Look { colors: true, ..look(Language::En) }, 60).remove(1).text;
        assert!(painted.starts_with("\u{1b}[31mfailed 4\u{1b}[0m, created 1,200"), "{painted:?}");
    }

    #[test]
    fn a_bar_is_full_when_all_is_done() {
        let bars = [0, 50, 100, 200].map(|done| bar(done, 100, 4));
        assert_eq!(bars, [">   ", "==> ", "====", "===="]);
    }

    #[test]
    fn the_time_left_is_told_only_where_it_can_be_known() {
        let without = [
            shown(&stats(None), Bottleneck::Nothing, 90.0),
            shown(&stats(Some(1_234)), Bottleneck::Nothing, 90.0),
            shown(&stats(Some(5_000)), Bottleneck::Nothing, 0.0),
            shown(&stats(Some(u64::MAX)), Bottleneck::Nothing, 1e-300),
            shown(&stats(Some(5_000)), Bottleneck::Pauses, 90.0),
        ];
        for text in without {
            assert!(!text.contains("left"), "{text}");
        }
    }

    #[test]
    fn of_a_plan_names_and_then_what_is_listed_are_told() {
        let headway = Headway::default();
        headway.rows.set(1_200);
        headway.expected.set(Some(5_000));
        headway.names.set(900);
        headway.answered.set(400);
        let calls = Calls::default();
        let view = || View::of_plan(&headway, &calls, Bottleneck::Rate, Language::En).to_string();
        assert_eq!(
            view(),
            "planning: 1,200 of 5,000 rows read, 400 of 900 names looked up; 0 calls; held back by \
             --rate"
        );
        let listed = Listed { name: "a\u{1b}b".into(), number: 2, of: 3, associations: 70_000 };
        *headway.listed.borrow_mut() = Some(listed);
        let told = "planning: listing a\\u{1b}b (2 of 3), 70,000 associations so far";
        assert!(view().starts_with(told), "{}", view());
    }
}
