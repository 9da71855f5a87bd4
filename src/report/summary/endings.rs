//! How a run ended, in words.

use super::{Checked, RunKind, Summary};
use crate::exit::Exit;
use crate::outcome::Status;

impl Summary<'_> {
    /// English, Chinese.
    pub(super) fn ending(&self) -> (&'static str, &'static str) {
        let empty = self.stats.rows() == 0;
        match (self.kind, self.exit) {
            (RunKind::Check, Exit::Ok) if self.is_of_contact() => ("the contact works", "连接正常"),
            (RunKind::Check, Exit::Outage) if self.checked.is_some_and(Checked::has_server) => {
                ("whether an import is possible is not known", "无法确定能否导入")
            }
            (RunKind::Check, Exit::Ok) => {
                ("nothing was found amiss, and nothing was created", "未发现问题，未创建任何关联")
            }
            (RunKind::Check, Exit::SomeFailed) => {
                ("some rows would fail; nothing was created", "部分行会失败，未创建任何关联")
            }
            (RunKind::Undo, Exit::Ok) if empty => {
                ("finished, there was nothing to delete", "已完成，没有需要删除的关联")
            }
            (RunKind::Undo, Exit::Ok) => ("finished, every row is gone", "已完成，全部删除"),
            (_, Exit::Ok) if empty => {
                ("finished, but the input has no rows", "已完成，但输入里没有数据行")
            }
            (_, Exit::Ok)
                if self.stats.count(Status::Deleted) + self.stats.count(Status::Absent) > 0 =>
            {
                ("finished, every row is there, or gone as asked", "已完成，全部按要求创建或删除")
            }
            (_, Exit::Ok) => ("finished, every row is there", "已完成，全部成功"),
            (_, Exit::Bug) => {
                ("stopped by an error of its own; please report it", "因程序自身错误中止，请反馈")
            }
            (_, Exit::Usage) => ("not started", "未开始"),
            (_, Exit::SomeFailed) => ("finished, some rows failed", "已完成，部分行失败"),
            (_, Exit::AllRetryable) => (
                "finished, some rows failed that may well succeed later",
                "已完成，部分行失败，稍后重跑很可能成功",
            ),
            (_, Exit::MaxFailures) => {
                ("stopped, --max-failures is reached", "已中止，失败行数达到 --max-failures")
            }
            (_, Exit::Outage) => ("stopped, the server does not answer", "已中止，服务端无应答"),
            (_, Exit::Input) => {
                ("stopped, the input can't be read or has changed", "已中止，输入无法读取或已变化")
            }
            (_, Exit::Target) => {
                ("stopped, the server can't be used like this", "已中止，按当前配置无法使用服务端")
            }
            (_, Exit::MaxDuration) => {
                ("stopped, --max-duration is over", "已中止，运行时间达到 --max-duration")
            }
            (_, Exit::Held) => (
                "not started, another process is at this run",
                "未开始，另一个进程正在执行本次运行",
            ),
            (_, Exit::Guard) => {
                ("not started, a guard refuses the plan", "未开始，计划触发了保护规则")
            }
            (_, Exit::Changes) => ("there is something to do", "有待执行的变更"),
            (_, Exit::Unwritable) => ("stopped, results can't be written", "已中止，结果无法写入"),
            (_, Exit::Hangup | Exit::Interrupted | Exit::Terminated) => {
                ("stopped as asked", "已按要求停止")
            }
        }
    }

    /// Why the next command is the next: English, Chinese.
    pub(super) fn because(&self, rows: &str) -> (String, String) {
        let both = |(english, chinese): (&str, &str)| (english.to_owned(), chinese.to_owned());
        match (self.exit, self.stats.retryable()) {
            (Exit::Ok, _) => both(("To create the rows:", "正式导入：")),
            (Exit::SomeFailed, _) if self.kind == RunKind::Check => both((
                "Mend these rows first, or import the others as they are:",
                "先改正这些行，或者直接导入其余的行：",
            )),
            (Exit::SomeFailed | Exit::AllRetryable, 0) => both((
                "No row will succeed as it is. Mend the cause, or the rows in the results, then:",
                "直接重跑不会成功。先排除原因，或在结果文件里改好这些行，然后：",
            )),
            (Exit::SomeFailed | Exit::AllRetryable, _) => (
                format!("{rows} of the rows may well succeed now:"),
                format!("其中 {rows} 行现在重跑很可能成功："),
            ),
            (Exit::MaxFailures, _) => {
                both(("To go on, with more failures allowed:", "放宽失败上限后继续："))
            }
            (Exit::Outage, _) => {
                both(("To go on, once the server is well again:", "服务端恢复后继续："))
            }
            (Exit::Input | Exit::Target, _) => {
                both(("To go on, once that is mended:", "问题解决后继续："))
            }
            (Exit::Unwritable, _) => both(("To go on, once there is room:", "腾出空间后继续：")),
            (Exit::Guard, _) => both(("If that is meant:", "确认无误后执行：")),
            _ => both(("To go on where it stopped:", "从中断处继续：")),
        }
    }
}
