//! The pages in Chinese, held against the English ones, block by block: the same headings, paragraphs, items,
//! rows and code, and in each the same words of the tool, numbers and links. And how Chinese is set.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use super::page::{Page, code_spans, repository};

/// Pages that are there in both languages, with the same name in `docs/zh/`: README.md, and these of `docs/`.
const PAGES: [&str; 4] = ["README.md", "failures.md", "guide.md", "reference.md"];

fn pairs() -> impl Iterator<Item = (Page, Page)> {
    PAGES.iter().map(|name| {
        let page = |folder: &str| Page::read(&repository().join(folder).join(name));
        (page(if *name == "README.md" { "" } else { "docs" }), page("docs/zh"))
    })
}

#[derive(Debug, Clone, PartialEq)]
enum Kind {
    Heading(usize),
    Paragraph,
    Item,
    Row(usize),
    Code(String),
}

struct Block {
    line: usize,
    kind: Kind,
    text: String,
    is_wrapped: bool,
}

fn blocks_of(page: &Page) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let (mut fenced, mut is_open) = (false, false);
    for (line, text) in (1..).zip(page.text.lines()) {
        let start = text.trim_start();
        let item = start.trim_start_matches(|c: char| c.is_ascii_digit());
        let is_item = ["* ", "- "].iter().any(|mark| start.starts_with(mark))
            || item != start && item.starts_with(". ");
        let kind = match start.strip_prefix("```") {
            Some(_) if fenced => {
                (fenced, is_open) = (false, false);
                continue;
            }
            Some(language) => {
                fenced = true;
                Kind::Code(language.to_owned())
            }
            None if fenced || is_open && !start.is_empty() && !is_item => {
                let block = blocks.last_mut().unwrap();
                block.text += if fenced { "\n" } else { " " };
                block.text += if fenced { text } else { start };
                block.is_wrapped = !fenced;
                continue;
            }
            None if start.is_empty() => {
                is_open = false;
                continue;
            }
            None if start.starts_with('#') => Kind::Heading(start.find(' ').unwrap()),
            None if start.starts_with('|') => Kind::Row(cells_of(start).len()),
            None if is_item => Kind::Item,
            None => Kind::Paragraph,
        };
        is_open = matches!(kind, Kind::Item | Kind::Paragraph);
        let text = if fenced { String::new() } else { start.to_owned() };
        blocks.push(Block { line, kind, text, is_wrapped: false });
    }
    blocks
}

fn cells_of(row: &str) -> Vec<&str> {
    row.trim_matches('|').split('|').map(str::trim).collect()
}

/// Running text with its code as one letter each, and its links as what they show.
fn plain(text: &str) -> String {
    let prose = text.split('`').enumerate().map(|(at, part)| if at % 2 == 0 { part } else { "x" });
    let prose = prose.collect::<String>().replace("**", "");
    let mut parts = prose.split("](");
    let first = parts.next().unwrap_or_default().to_owned();
    let rest = parts.map(|part| part.split_once(')').map_or("", |(_, rest)| rest));
    (first + &rest.collect::<String>()).replace("![", "").replace('[', "")
}

fn numbers_of(text: &str) -> BTreeSet<String> {
    let text = plain(text);
    let words = text.split(|c: char| !c.is_ascii_digit() && !matches!(c, '.' | ','));
    let words = words.map(|word| word.trim_matches(['.', ',']).to_owned());
    words.filter(|word| !word.is_empty()).collect()
}

fn links_of(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0))
}

/// The file of a link without `..`, and which of its headings is meant.
fn target_of(link: &str, page: &Page) -> (PathBuf, Option<usize>) {
    if link.starts_with("https://") {
        return (PathBuf::from(link), None);
    }
    let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
    let mut target = page.path.clone();
    if !path.is_empty() {
        target.pop();
        for part in Path::new(path).components() {
            match part {
                Component::ParentDir => drop(target.pop()),
                part => target.push(part),
            }
        }
    }
    let heading = (!anchor.is_empty()).then(|| Page::read(&target).headings());
    let place = heading.and_then(|all| all.iter().position(|heading| heading == anchor));
    (target.strip_prefix(repository()).unwrap().to_owned(), place)
}

/// The English page of a page in Chinese.
fn english_of(path: &Path) -> Option<PathBuf> {
    let name = path.strip_prefix("docs/zh").ok()?;
    Some(if name == Path::new("README.md") {
        name.to_owned()
    } else {
        Path::new("docs").join(name)
    })
}

/// What a piece of both pages has to have in common, in words.
fn common_of(text: &str, page: &Page) -> BTreeSet<String> {
    let code = code_spans(text).map(|span| format!("`{span}`"));
    let numbers = numbers_of(text).into_iter().map(|number| format!("the number {number}"));
    let links = links_of(text).map(|link| {
        let (path, place) = target_of(link, page);
        let path = english_of(&path).unwrap_or(path);
        let place = place.map(|place| format!(", heading {place}")).unwrap_or_default();
        format!("the link to {}{place}", path.display())
    });
    code.chain(numbers).chain(links).collect()
}

/// A line of code and its comment.
fn with_comment(line: &str) -> (&str, &str) {
    let starts = line.match_indices('#').map(|(at, _)| at);
    let mut starts = starts.filter(|at| line[..*at].is_empty() || line[..*at].ends_with(' '));
    let is_quoted = |at: &usize| line[..*at].matches('"').count() % 2 == 1;
    let (code, comment) = line.split_at(starts.find(|at| !is_quoted(at)).unwrap_or(line.len()));
    (code.trim_end(), comment)
}

/// What differs between two blocks at the same place, beside their words.
fn differences(english: &Block, chinese: &Block, pages: (&Page, &Page)) -> Vec<String> {
    let mut found = Vec::new();
    if matches!(english.kind, Kind::Code(_)) {
        let (ours, theirs): (Vec<_>, Vec<_>) =
            (english.text.lines().collect(), chinese.text.lines().collect());
        // What the program prints in Chinese, another test holds against the program.
        let is_printed =
            english.kind == Kind::Code("text".to_owned()) && chinese.text.contains(is_han);
        if is_printed {
            return found;
        }
        if ours.len() != theirs.len() {
            found.push(format!("{} lines of code instead of {}", theirs.len(), ours.len()));
        }
        for (ours, theirs) in ours.into_iter().zip(theirs) {
            let ((code, comment), (same, translated)) = (with_comment(ours), with_comment(theirs));
            if code != same {
                found.push(format!("the code {same:?} instead of {code:?}"));
            }
            let is_translated = comment.is_empty() == translated.is_empty()
                && (comment != translated || !comment.contains(char::is_alphabetic));
            if !is_translated {
                found.push(format!("the comment {translated:?} for {comment:?}"));
            }
        }
        return found;
    }
    let pieces = |block: &Block| match block.kind {
        Kind::Row(_) => cells_of(&block.text).into_iter().map(str::to_owned).collect(),
        _ => vec![block.text.clone()],
    };
    for (ours, theirs) in pieces(english).iter().zip(&pieces(chinese)) {
        let (ours, theirs) = (common_of(ours, pages.0), common_of(theirs, pages.1));
        found.extend(ours.difference(&theirs).map(|what| format!("{what} is missing")));
        found.extend(theirs.difference(&ours).map(|what| format!("{what} is too much")));
    }
    let prose = plain(&chinese.text);
    let is_prose = matches!(chinese.kind, Kind::Paragraph | Kind::Item);
    if is_prose && prose.split(' ').count() > 3 && !prose.contains(is_han) {
        found.push("no Chinese".to_owned());
    }
    found
}

/// The blocks of both pages side by side; one that has no counterpart stands alone.
fn aligned<'a>(
    (english, ours): (&Page, &'a [Block]),
    (chinese, theirs): (&Page, &'a [Block]),
) -> Vec<(Option<&'a Block>, Option<&'a Block>)> {
    const AHEAD: usize = 20;
    let mark = |block: &Block, page: &Page| (block.kind.clone(), common_of(&block.text, page));
    let ours: Vec<_> = ours.iter().map(|block| (block, mark(block, english))).collect();
    let theirs: Vec<_> = theirs.iter().map(|block| (block, mark(block, chinese))).collect();
    let alike = |at: usize, other: usize| match (ours.get(at), theirs.get(other)) {
        (Some(ours), Some(theirs)) => ours.1 == theirs.1,
        (ours, theirs) => ours.is_none() && theirs.is_none(),
    };
    let (mut at, mut other, mut pairs) = (0, 0, Vec::new());
    while at < ours.len() || other < theirs.len() {
        let (missing, surplus) = if alike(at, other) || alike(at + 1, other + 1) {
            (0, 0)
        } else {
            let ahead = (1..AHEAD).find_map(|ahead| {
                match (alike(at + ahead, other), alike(at, other + ahead)) {
                    (true, _) => Some((ahead, 0)),
                    (_, true) => Some((0, ahead)),
                    _ => None,
                }
            });
            ahead.unwrap_or_default()
        };
        let block = |from: &[(&'a Block, _)], at: usize| from.get(at).map(|(block, _)| *block);
        pairs.extend((at..at + missing).map(|at| (block(&ours, at), None)));
        pairs.extend((other..other + surplus).map(|other| (None, block(&theirs, other))));
        (at, other) = (at + missing, other + surplus);
        pairs.push((block(&ours, at), block(&theirs, other)));
        (at, other) = (at + 1, other + 1);
    }
    pairs
}

#[test]
fn each_block_of_a_page_is_there_in_chinese() {
    let mut found = Vec::new();
    for (english, chinese) in pairs() {
        let (ours, theirs) = (blocks_of(&english), blocks_of(&chinese));
        for pair in aligned((&english, &ours), (&chinese, &theirs)) {
            let place = |page: &Page, block: &Block| format!("{}:{}", page.name, block.line);
            let (ours, theirs) = match pair {
                (Some(ours), Some(theirs)) if ours.kind == theirs.kind => (ours, theirs),
                (Some(ours), None) => {
                    found.push(format!("{}: is not there in Chinese", place(&english, ours)));
                    continue;
                }
                (None, Some(theirs)) => {
                    found.push(format!("{}: is not there in English", place(&chinese, theirs)));
                    continue;
                }
                (ours, theirs) => {
                    let (ours, theirs) = (ours.unwrap(), theirs.unwrap());
                    let places = (place(&chinese, theirs), place(&english, ours));
                    found.push(format!(
                        "{} ({}): {:?} instead of {:?}",
                        places.0, places.1, theirs.kind, ours.kind
                    ));
                    continue;
                }
            };
            let differences = differences(ours, theirs, (&english, &chinese)).into_iter();
            let places = format!("{} ({})", place(&chinese, theirs), place(&english, ours));
            found.extend(differences.map(|what| format!("{places}: {what}")));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn what_a_column_says_twice_it_says_twice_in_both() {
    for (english, chinese) in pairs() {
        let (ours, theirs) = (blocks_of(&english), blocks_of(&chinese));
        let (mut words, mut is_in_table) = (BTreeMap::new(), false);
        for pair in aligned((&english, &ours), (&chinese, &theirs)) {
            let (Some(ours), Some(theirs)) = pair else { continue };
            let is_row = matches!((&ours.kind, &theirs.kind), (Kind::Row(_), Kind::Row(_)));
            let is_head = !std::mem::replace(&mut is_in_table, is_row);
            if !is_row || is_head {
                continue;
            }
            let cells = cells_of(&ours.text).into_iter().zip(cells_of(&theirs.text)).enumerate();
            for (at, (ours, theirs)) in cells.filter(|(_, (ours, theirs))| ours != theirs) {
                for (from, to) in [(ours, theirs), (theirs, ours)] {
                    let known = words.entry((at, from.to_owned())).or_insert_with(|| to.to_owned());
                    assert_eq!(known, to, "{}: {from:?}", chinese.name);
                }
            }
        }
    }
}

#[test]
fn pages_lead_to_their_other_language_and_stay_in_their_own() {
    for (english, chinese) in pairs() {
        for (page, other) in [(&english, &chinese), (&chinese, &english)] {
            let top = page.text.split("\n## ").next().unwrap();
            let leads = links_of(top).any(|link| target_of(link, page).0 == target_of("", other).0);
            assert!(leads, "{}: its top does not lead to {}", page.name, other.name);
        }
        let own = target_of("", &english).0;
        for link in links_of(&chinese.text) {
            let (path, _) = target_of(link, &chinese);
            let twin = Path::new("docs/zh").join(path.file_name().unwrap_or_default());
            let has_chinese =
                english_of(&twin).as_ref() == Some(&path) && repository().join(&twin).exists();
            assert!(!has_chinese || path == own, "{}: {link} is there in Chinese", chinese.name);
        }
    }
}

fn is_han(c: char) -> bool {
    matches!(c, '\u{3400}'..='\u{9fff}')
}

/// Slips of the keyboard in a line of Chinese text.
fn slips(line: &str) -> Vec<String> {
    const FULL: &str = "，。；：？！、（）《》“”";
    let text: Vec<char> = plain(line).chars().collect();
    let mut found = Vec::new();
    let mut slip = |what: &str, at: usize| {
        let near = &text[at.saturating_sub(8)..(at + 8).min(text.len())];
        found.push(format!("{what} at {:?}", near.iter().collect::<String>()));
    };
    let is_word = |c: char| c.is_ascii_alphanumeric();
    for (at, &c) in text.iter().enumerate() {
        let before = at.checked_sub(1).map_or(' ', |at| text[at]);
        let after = text.get(at + 1).copied().unwrap_or(' ');
        let between_digits = before.is_ascii_digit() && after.is_ascii_digit();
        match c {
            ',' | ';' | '?' | '!' | '(' | ')' | '"' | '\'' if !between_digits => {
                slip("half-width", at);
            }
            ':' if !between_digits
                && (before, after) != ('1', 'n')
                && (before, after) != ('n', 'n') =>
            {
                slip("half-width", at);
            }
            '.' if is_han(before) || is_han(after) || matches!(after, '.' | ' ') => {
                slip("half-width", at);
            }
            ' ' if after == ' ' || at == text.len() - 1 => slip("a space too many", at),
            ' ' if FULL.contains(before) || FULL.contains(after) => slip("a space too many", at),
            '。' | '，' | '；' | '：' | '、' if "。，；：、".contains(after) => {
                slip("doubled", at);
            }
            '\t' | '\u{3000}' | '\u{ff10}'..='\u{ff5a}' if !"：；？！，（）".contains(c) => {
                slip("odd", at);
            }
            _ => {}
        }
        if is_han(c) && is_word(after) || is_word(c) && is_han(after) {
            slip("no space", at);
        }
    }
    let bold: Vec<_> = line.split("**").collect();
    for (at, part) in bold.iter().enumerate().skip(1).step_by(2) {
        let is_mark = |c: Option<char>| c.is_some_and(|c| FULL.contains(c) || c == '`');
        let (before, after) =
            (bold[at - 1].chars().last(), bold.get(at + 1).and_then(|part| part.chars().next()));
        let opens =
            !is_mark(part.chars().next()) || before.is_none_or(|c| c == ' ' || FULL.contains(c));
        let closes =
            !is_mark(part.chars().last()) || after.is_none_or(|c| c == ' ' || FULL.contains(c));
        if !opens || !closes || bold.len() % 2 == 0 {
            found.push(format!("bold that Markdown does not see at {part:?}"));
        }
    }
    found
}

#[test]
fn chinese_is_set_as_chinese_is() {
    let mut found = Vec::new();
    for (_, page) in pairs() {
        for block in blocks_of(&page) {
            let texts: Vec<_> = match block.kind {
                Kind::Code(_) => {
                    let comments = block.text.lines().map(|line| with_comment(line).1);
                    comments.map(|comment| comment.trim_start_matches(['#', ' '])).collect()
                }
                Kind::Row(_) => cells_of(&block.text),
                Kind::Item => vec![block.text.split_once(' ').unwrap().1],
                Kind::Heading(_) | Kind::Paragraph => {
                    vec![block.text.trim_start_matches(['#', ' '])]
                }
            };
            let place = format!("{}:{}", page.name, block.line);
            if block.is_wrapped {
                found.push(format!("{place}: a line that goes on: its end would show as a space"));
            }
            for slip in texts.into_iter().filter(|text| !text.starts_with("---")).flat_map(slips) {
                found.push(format!("{place}: {slip}"));
            }
        }
        let is_loose = |line: &&str| line.ends_with(' ') || line.contains('\t');
        assert_eq!(page.text.lines().find(is_loose), None, "{}", page.name);
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn slips_are_found() {
    for line in [
        "新增,删除",
        "共3 行",
        "共 3行",
        "用`x` 重跑",
        "好 。",
        "好。。",
        "行(列)",
        "两  格",
        "说：**好。**再说",
        "见(`x`)",
        "先**看。**再做",
    ] {
        assert!(!slips(line).is_empty(), "{line}");
    }
    for line in [
        "用 `a,b` 重跑，共 1,000 行（1:n）。",
        "见[配置档](#配置档)：CMDB 3.10",
        "这样**就好**：`x`",
    ] {
        assert_eq!(slips(line), Vec::<String>::new(), "{line}");
    }
}
