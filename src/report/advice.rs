//! What to do about each reason, for a person: the words of `docs/failures.md`, and the same in Chinese.

use crate::outcome::Reason;

/// In English and in Chinese.
pub const fn what_to_do(reason: Reason) -> (&'static str, &'static str) {
    match reason {
        Reason::InvalidRow => (
            "mend the cells in the results, then rerun with `--status invalid`",
            "在结果文件里改正单元格，再用 `--status invalid` 重跑",
        ),
        Reason::MissingBizId => (
            "fill the cell, or rerun with `--biz-id` and `--status invalid`",
            "补上业务 ID，或者用 `--biz-id` 和 `--status invalid` 重跑",
        ),
        Reason::UnsupportedAction => (
            "where the row shall delete: `bkassoc rerun … --all-failed --allow-delete`. Else mend its `action` in \
             the results, then `bkassoc rerun … --all-failed`; results without that column don't say what was asked \
             for, and no rerun takes such a row from them: mend the input, and import it anew",
            "确实要删除的行：`bkassoc rerun … --all-failed --allow-delete`。否则在结果文件里改正 `action`，再执行 \
             `bkassoc rerun … --all-failed`；没有这一列的结果文件看不出当初要做什么，重跑不会处理这种行：请改正输入后重新导入",
        ),
        Reason::UnknownAssociation => (
            "mend the name, create the model association, get permission to see both models, or give it with \
             `--model`",
            "改正名称，创建该模型关联，申请查看两端模型的权限，或者用 `--model` 给出",
        ),
        Reason::MainlineAssociation => {
            ("change the topology with CMDB's own means", "主线拓扑请用 CMDB 自带的功能修改")
        }
        Reason::MissingSource => (
            "create the instance, or mend `inst_id` or the name",
            "创建该实例，或者改正 `inst_id` 或名称",
        ),
        Reason::MissingTarget => (
            "create the instance, or mend `asst_inst_id` or the name",
            "创建该实例，或者改正 `asst_inst_id` 或名称",
        ),
        Reason::AmbiguousSource | Reason::AmbiguousTarget => (
            "say more (`PROPERTY=VALUE,PROPERTY=VALUE`, `@CLOUD`), or put the id",
            "写得更具体（`属性=值,属性=值`、`@云区域`），或者直接填 ID",
        ),
        Reason::Unresolvable => (
            "as the message says: another entrance, another property, or the id",
            "按提示处理：换一个入口、换一个属性，或者直接填 ID",
        ),
        Reason::MappingConflict => {
            ("delete that one, or drop the row", "删除占着位置的那条关联，或者去掉这一行")
        }
        Reason::Forbidden => {
            ("get edit permission on the instances of both models", "申请两端模型实例的编辑权限")
        }
        Reason::Rejected => (
            "read the message and look the code up below",
            "看提示信息，并到 docs/failures.md 查错误码",
        ),
        Reason::Throttled => ("rerun, with a lower `--rate`", "调低 `--rate` 后重跑"),
        Reason::Unavailable => ("rerun when the server is well", "等服务恢复后重跑"),
        Reason::LockContention => (
            "look for another program at work on the same instances, then rerun; if it fails each time, check \
             `--supplier-account`, which old versions answer alike",
            "看看是否有别的程序在操作同一批实例，然后重跑；如果每次都失败，请检查 `--supplier-account`，旧版本对此的报错相同",
        ),
        Reason::OutcomeUnknown => (
            "rerun: it is looked up first. After a `--model` without a mapping, name the mapping too",
            "重跑即可，会先查询再创建。如果用了不带映射的 `--model`，请把映射也写上",
        ),
        Reason::NotFound => ("nothing", "无需处理"),
        Reason::NotTheSame => ("look at the association by hand", "请人工查看该关联"),
        Reason::Withheld => {
            ("mend the other row, which the message names", "改正提示里提到的另一行")
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

    #[test]
    fn the_words_are_those_of_the_page_on_failures() {
        let page = include_str!("../../docs/failures.md");
        let reasons = page.split("\n## Reasons\n").nth(1).unwrap().split("\n## ").next().unwrap();
        let mut before = String::new();
        let mut seen = 0;
        for row in reasons.lines().filter(|line| line.starts_with("| `")) {
            let cells: Vec<_> = row.trim_matches('|').split(" | ").map(str::trim).collect();
            let reason = Reason::parse(cells[0].trim_matches('`')).unwrap();
            let said = without_links(cells[3]);
            let said = if said == "the same" { before.clone() } else { said };
            assert_eq!(what_to_do(reason).0, said, "{reason:?}");
            before = said;
            seen += 1;
        }
        assert_eq!(seen, Reason::ALL.len());
    }
}
