//! The words of closed lists for a person, in both languages: statuses, reasons, what holds the pace back, and
//! times.
//!
//! A word of a file stays as it stands there: its Chinese explanation comes beside it.

use std::time::Duration;

use crate::engine::stats::Bottleneck;
use crate::options::{Language, brief_duration};
use crate::outcome::{Reason, Status};

/// A status in Chinese.
pub const fn status_in_chinese(status: Status) -> &'static str {
    match status {
        Status::Created => "已创建",
        Status::Existed => "已存在",
        Status::Recovered => "无应答后查到",
        Status::Deleted => "已删除",
        Status::Absent => "本就不存在",
        Status::Failed => "失败",
        Status::Invalid => "无效行",
        Status::InDoubt => "结果不明",
        Status::NotAttempted => "未执行",
    }
}

/// A reason in Chinese.
pub const fn reason_in_chinese(reason: Reason) -> &'static str {
    match reason {
        Reason::InvalidRow => "行内容有误",
        Reason::MissingBizId => "缺少业务 ID",
        Reason::UnsupportedAction => "不支持的操作",
        Reason::UnknownAssociation => "模型关联不存在或无权查看",
        Reason::MainlineAssociation => "主线拓扑关联",
        Reason::MissingSource => "源实例不存在",
        Reason::MissingTarget => "目标实例不存在",
        Reason::AmbiguousSource => "源实例名称不唯一",
        Reason::AmbiguousTarget => "目标实例名称不唯一",
        Reason::Unresolvable => "名称无法解析",
        Reason::MappingConflict => "违反源-目标约束",
        Reason::Forbidden => "无权限",
        Reason::Rejected => "被服务端拒绝",
        Reason::Throttled => "被限流",
        Reason::Unavailable => "服务不可用",
        Reason::LockContention => "抢锁失败",
        Reason::OutcomeUnknown => "结果未知",
        Reason::NotFound => "未找到",
        Reason::NotTheSame => "已不是同一条关联",
        Reason::Withheld => "暂不删除",
    }
}

/// What holds the pace back: English, Chinese.
pub const fn hold_text(hold: Bottleneck) -> (&'static str, &'static str) {
    match hold {
        Bottleneck::Rate => ("held back by --rate", "受 --rate 限制"),
        Bottleneck::Server => ("held back by the server's limit", "受服务端限流"),
        Bottleneck::Pool => (
            "waiting for answers, with as many calls at once as have paid off so far",
            "等待应答，并发数已自动调到有效上限",
        ),
        Bottleneck::Concurrency => ("waiting for answers", "等待应答"),
        Bottleneck::Collisions => ("held back by rows that collide", "有冲突的行须逐行处理"),
        Bottleneck::Outage => ("waiting for the server to come back", "等待服务端恢复"),
        Bottleneck::Pauses => (
            "waiting to try rows again, or to look again after --settle-after",
            "等待重试，或等待 --settle-after 后复查",
        ),
        Bottleneck::Input => ("waiting for input", "等待输入"),
        Bottleneck::Nothing => ("held back by nothing", "没有瓶颈"),
    }
}

/// A time to the second: `1m 40s`, `1分40秒`.
pub fn span(language: Language, duration: Duration) -> String {
    let english = brief_duration(duration);
    if language == Language::En {
        return english;
    }
    let in_chinese = |part: &str| {
        let at = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
        let (number, unit) = part.split_at(at);
        let unit = match unit {
            "ms" => "毫秒",
            "s" => "秒",
            "m" => "分",
            "h" => "小时",
            "day" | "days" => "天",
            "month" | "months" => "个月",
            "year" | "years" => "年",
            other => other,
        };
        format!("{number}{unit}")
    };
    english.split(' ').map(in_chinese).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_in_both_languages() {
        for (millis, english, chinese) in [
            (40, "40ms", "40毫秒"),
            (100_000, "1m 40s", "1分40秒"),
            (93_784_000, "1day 2h 3m 4s", "1天2小时3分4秒"),
        ] {
            let told = |language| span(language, Duration::from_millis(millis));
            assert_eq!((told(Language::En), told(Language::Zh)), (english.into(), chinese.into()));
        }
    }
}
