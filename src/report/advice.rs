//! What to do about each reason, for a person: the words of `docs/failures.md` and `docs/zh/failures.md`.

use crate::outcome::Reason;

/// In English and in Chinese.
pub const fn what_to_do(reason: Reason) -> (&'static str, &'static str) {
    match reason {
        Reason::InvalidRow => (
            "mend the cells in the results, then rerun with `--status invalid`",
            "在结果文件里改好单元格，再用 `--status invalid` 重跑",
        ),
        Reason::MissingBizId => (
            "fill the cell, or rerun with `--biz-id` and `--status invalid`",
            "填上业务 ID，或者用 `--biz-id` 加 `--status invalid` 重跑",
        ),
        Reason::UnsupportedAction => (
            "where the row shall delete: `bkassoc rerun … --all-failed --allow-delete`. Else mend its `action` in \
             the results, then `bkassoc rerun … --all-failed`; results without that column don't say what was asked \
             for, and no rerun takes such a row from them: mend the input, and import it anew",
            "确实要删除：`bkassoc rerun … --all-failed --allow-delete`。否则在结果文件里改好 `action`，再执行 \
             `bkassoc rerun … --all-failed`；结果文件没有这一列时，看不出原本要做什么，重跑不会处理这种行：请改好输入，重新导入",
        ),
        Reason::UnknownAssociation => (
            "mend the name, create the model association, get permission to see both models, or give it with \
             `--model`",
            "改正名称，新建模型关联，申请两端模型的查看权限，或者用 `--model` 指定",
        ),
        Reason::MainlineAssociation => {
            ("change the topology with CMDB's own means", "到配置平台里调整业务拓扑")
        }
        Reason::MissingSource => (
            "create the instance, or mend `inst_id` or the name",
            "新建实例，或者改正 `inst_id` 或名称",
        ),
        Reason::MissingTarget => (
            "create the instance, or mend `asst_inst_id` or the name",
            "新建实例，或者改正 `asst_inst_id` 或名称",
        ),
        Reason::AmbiguousSource | Reason::AmbiguousTarget => (
            "say more (`PROPERTY=VALUE,PROPERTY=VALUE`, `@CLOUD`), or put the id",
            "写得更具体（`PROPERTY=VALUE,PROPERTY=VALUE`、`@CLOUD`），或者直接填 ID",
        ),
        Reason::Unresolvable => (
            "as the message says: another entrance, another property, or the id",
            "按提示信息处理：换入口，换字段，或者直接填 ID",
        ),
        Reason::MappingConflict => {
            ("delete that one, or drop the row", "删除那条关联，或者去掉这一行")
        }
        Reason::Forbidden => {
            ("get edit permission on the instances of both models", "申请两端模型实例的编辑权限")
        }
        Reason::Rejected => (
            "read the message, and look the code up in Failures, the server's codes",
            "看提示信息，再到《故障处理》的服务端错误码里查",
        ),
        Reason::Throttled => ("rerun, with a lower `--rate`", "调低 `--rate` 后重跑"),
        Reason::Unavailable => ("rerun when the server is well", "等服务端恢复后重跑"),
        Reason::LockContention => (
            "look for another program at work on the same instances, then rerun; if it fails each time, check \
             `--supplier-account`, which old versions answer alike",
            "先看有没有别的程序在操作同一批实例，再重跑；如果每次都失败，检查 `--supplier-account`：这个值写错时，旧版本也返回同样的错误",
        ),
        Reason::OutcomeUnknown => (
            "rerun: it is looked up first. After a `--model` without a mapping, name the mapping too",
            "重跑即可，会先查询。如果用了没写约束的 `--model`，把约束也写上",
        ),
        Reason::NotFound => ("nothing", "无需处理"),
        Reason::NotTheSame => ("look at the association by hand", "人工查看这条关联"),
        Reason::Withheld => {
            ("mend the other row, which the message names", "改好提示信息指出的那一行")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cell of Markdown without its links.
    fn without_links(text: &str) -> String {
        let mut plain = String::new();
        let mut rest = text;
        while let Some((before, link)) = rest.split_once('[') {
            let (shown, after) = link.split_once("](").unwrap();
            plain += before;
            plain += shown;
            rest = after.split_once(')').unwrap().1;
        }
        plain + rest
    }

    /// What a page advises, by reason.
    fn advice_of(page: &str, section: &str, the_same: &str) -> Vec<(Reason, String)> {
        let reasons = page.split(section).nth(1).unwrap().split("\n## ").next().unwrap();
        let mut advice: Vec<(Reason, String)> = Vec::new();
        for row in reasons.lines().filter(|line| line.starts_with("| `")) {
            let cells: Vec<_> = row.trim_matches('|').split(" | ").map(str::trim).collect();
            let reason = Reason::parse(cells[0].trim_matches('`')).unwrap();
            let said = match without_links(cells[3]) {
                said if said == the_same => advice.last().unwrap().1.clone(),
                said => said,
            };
            advice.push((reason, said));
        }
        assert_eq!(advice.len(), Reason::ALL.len());
        advice
    }

    #[test]
    fn the_words_are_those_of_the_pages_on_failures() {
        let page = include_str!("../../docs/failures.md");
        for (reason, said) in advice_of(page, "\n## Reasons\n", "the same") {
            assert_eq!(what_to_do(reason).0, said, "{reason:?}");
        }
        let page = include_str!("../../docs/zh/failures.md");
        for (reason, said) in advice_of(page, "\n## 失败原因\n", "同上") {
            assert_eq!(what_to_do(reason).1, said, "{reason:?}");
        }
    }
}
