//! What a plan found in scope, and what stays though the input does not name it.

use std::fmt::{self, Write as _};

use super::{MESSAGE_LENGTH, grouped, one_line};
use crate::report::look::{Look, Tone};
use crate::storage::survey::{Found, Survey};

/// How many model associations are shown.
const SHOWN: usize = 20;

/// What was to be done in scope, and what stays.
pub(super) fn write_survey(survey: &Survey, look: Look, text: &mut impl fmt::Write) -> fmt::Result {
    writeln!(text)?;
    for (name, found) in survey.scope.iter().take(SHOWN) {
        let name = look.paint(Tone::Strong, name.escape_debug());
        let counts = [
            ("create", found.create),
            ("delete", found.delete),
            ("keep", found.keep),
            ("none", found.refused),
        ];
        writeln!(text, "{name}{}{}", look.pick((": ", "：")), planned(look, counts))?;
    }
    if let Some(more) = survey.scope.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        let more = grouped(more as u64);
        let more = look.pick((
            format!("and {more} more model associations"),
            format!("另有 {more} 个模型关联"),
        ));
        writeln!(text, "{more}")?;
    }
    write_stays(survey, look, text)
}

/// What stays though the input does not name it.
pub(crate) fn write_stays(survey: &Survey, look: Look, text: &mut impl fmt::Write) -> fmt::Result {
    let stays = |found: &Found| found.unnamed.saturating_sub(found.pruned);
    for (name, found) in survey.scope.iter().filter(|(_, found)| stays(found) > 0).take(SHOWN) {
        let name = name.escape_debug();
        let withheld = grouped(found.withheld);
        if let Some(why) = found.withheld_for.as_ref().filter(|_| found.withheld > 0) {
            let why = one_line(why, 3 * MESSAGE_LENGTH);
            let line = look.pick((
                format!(
                    "{name}: {withheld} deletes are withheld, since rows of the input are not understood: {why}"
                ),
                format!("{name}：有 {withheld} 条暂不删除，因为输入中有无法确定的行：{why}"),
            ));
            writeln!(text, "{}", look.paint(Tone::Open, line))?;
        }
        let stay = stays(found).saturating_sub(found.withheld);
        if stay > 0 {
            let (stay, prune) = (grouped(stay), survey.prune.as_str());
            let line = look.pick((
                format!("{name}: {stay} that the input does not name stay (--prune {prune})"),
                format!("{name}：输入未列出的 {stay} 条予以保留（--prune {prune}）"),
            ));
            writeln!(text, "{line}")?;
        }
    }
    Ok(())
}

/// `+ 120 create, - 3 delete, = 99,877 there, 2 can't be resolved`
pub(crate) fn planned<'c>(look: Look, counts: impl IntoIterator<Item = (&'c str, u64)>) -> String {
    let mut text = String::new();
    for (word, count) in counts {
        let told = match word {
            "create" => ("+ {} create", "+ {} 待创建"),
            "delete" => ("- {} delete", "- {} 待删除"),
            "keep" => ("= {} there", "= {} 已存在"),
            "none" => ("{} can't be resolved", "{} 无法确定"),
            "absent" => ("{} absent already", "{} 本就不存在"),
            _ => continue,
        };
        if count > 0 || matches!(word, "create") {
            let before = if text.is_empty() { "" } else { look.pick((", ", "，")) };
            let _ = write!(text, "{before}{}", look.pick(told).replace("{}", &grouped(count)));
        }
    }
    text
}
