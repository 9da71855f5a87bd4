//! A page of documentation in Markdown, as far as it has to be understood: headings, tables, code and
//! links.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// README.md and everything in docs/, in both languages.
pub fn pages() -> Vec<Page> {
    let files = ["docs", "docs/zh"].map(|folder| fs::read_dir(repository().join(folder)).unwrap());
    let files = files.into_iter().flatten().map(|file| file.unwrap().path());
    let files =
        files.filter(|path| path.is_file() && path.extension().is_none_or(|kind| kind != "png"));
    let mut paths: Vec<_> = files.chain([repository().join("README.md")]).collect();
    paths.sort();
    paths.iter().map(|path| Page::read(path)).collect()
}

pub struct Page {
    pub path: PathBuf,
    pub name: String,
    pub text: String,
}

impl Page {
    pub fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap();
        let name = path.strip_prefix(repository()).unwrap_or(path).display().to_string();
        Self { path: path.to_owned(), name, text }
    }

    /// The text in fences and outside of them in turn, beginning outside.
    fn parts(&self) -> impl Iterator<Item = (bool, &str)> {
        self.text.split("```").enumerate().map(|(index, part)| (index % 2 == 1, part))
    }

    /// Blocks of code in this language.
    pub fn blocks<'a>(&'a self, language: &'a str) -> impl Iterator<Item = &'a str> {
        let blocks = self.parts().filter(|(fenced, _)| *fenced).map(|(_, part)| part);
        blocks.filter_map(move |block| block.strip_prefix(language)?.strip_prefix('\n'))
    }

    /// Code in running text.
    pub fn prose_spans(&self) -> impl Iterator<Item = String> {
        let prose = self.parts().filter(|(fenced, _)| !fenced);
        prose.flat_map(|(_, part)| code_spans(part).collect::<Vec<_>>())
    }

    /// From a heading to the next of its level or above.
    pub fn section(&self, heading: &str) -> &str {
        let start = self.text.find(&format!("\n{heading}\n"));
        let start = start.unwrap_or_else(|| panic!("{} has no {heading:?}", self.name)) + 1;
        let body = &self.text[start + heading.len()..];
        let level = heading.find(' ').unwrap();
        let ends = (1..=level).filter_map(|level| body.find(&format!("\n{} ", "#".repeat(level))));
        &body[..ends.min().unwrap_or(body.len())]
    }

    /// The rows of the table in a section whose first column has this head.
    pub fn table(&self, section: &str, head: &str) -> Vec<Vec<String>> {
        let mut lines = self.section(section).lines();
        let found = lines.any(|line| line.starts_with(&format!("| {head} |")));
        assert!(found, "{}: {section} has no table of {head}", self.name);
        let rows = lines.skip(1).take_while(|line| line.starts_with('|'));
        rows.map(|row| {
            let cells = row.strip_prefix('|').and_then(|row| row.strip_suffix('|'));
            cells.unwrap().split('|').map(|cell| cell.trim().to_owned()).collect()
        })
        .collect()
    }

    /// Where links lead.
    pub fn links(&self) -> impl Iterator<Item = String> {
        let prose = self.parts().filter(|(fenced, _)| !fenced);
        let links = prose.flat_map(|(_, part)| part.split("](").skip(1));
        links.filter_map(|rest| Some(rest.split_once(')')?.0.to_owned()))
    }

    /// The names under which headings can be linked to.
    pub fn anchors(&self) -> BTreeSet<String> {
        self.headings().into_iter().collect()
    }

    /// The same, in order.
    pub fn headings(&self) -> Vec<String> {
        let outside = self.parts().filter(|(fenced, _)| !fenced);
        let lines = outside.flat_map(|(_, part)| part.lines());
        let headings = lines.filter(|line| line.starts_with('#'));
        let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
        headings
            .map(|line| line.trim_start_matches('#').trim().to_lowercase())
            .map(|title| title.chars().filter(kept).collect::<String>().replace(' ', "-"))
            .collect()
    }
}

/// What stands between backticks.
pub fn code_spans(text: &str) -> impl Iterator<Item = String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned)
}

/// The command lines of bkassoc in a piece of shell, without what stands around them. `cargo run … --`
/// counts as bkassoc.
pub fn commands_of(shell: &str) -> Vec<Vec<String>> {
    let mut commands = Vec::new();
    for line in shell.lines() {
        for words in simple_commands(line) {
            let is_ours = |word: &String| word == "bkassoc" || word.ends_with("/bkassoc");
            let start = match words.first().map(String::as_str) {
                Some("cargo") if words.get(1).is_some_and(|word| word == "run") => {
                    words.iter().position(|word| word == "--")
                }
                Some("cargo") => None,
                _ => words.iter().position(is_ours),
            };
            if let Some(start) = start {
                let rest = words[start + 1..].iter().cloned();
                commands.push(std::iter::once("bkassoc".to_owned()).chain(rest).collect());
            }
        }
    }
    commands
}

/// The commands of a line as words: quotes and escapes done, comments and redirections gone.
fn simple_commands(line: &str) -> Vec<Vec<String>> {
    let mut commands = vec![Vec::new()];
    let mut word: Option<String> = None;
    let mut redirected = false;
    let mut quote = None;
    let mut chars = line.chars().chain([' ']);
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '\\') => word.get_or_insert_default().extend(chars.next()),
            (None, '#') if word.is_none() => break,
            (None, '>' | '<') => {
                // A number before it is a descriptor.
                word.take_if(|word| word.parse::<u8>().is_ok());
                redirected = true;
            }
            (None, ' ' | '|' | '&' | ';') => {
                let done = word.take();
                if done.is_some() && std::mem::take(&mut redirected) {
                    continue;
                }
                commands.last_mut().unwrap().extend(done);
                if c != ' ' {
                    commands.push(Vec::new());
                }
            }
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    assert_eq!(quote, None, "{line}");
    commands
}

#[test]
fn a_line_of_shell_is_taken_apart() {
    let line =
        "nohup bkassoc import 'a b.csv' --max-failures 5\\% > out 2> log & x | /y/bkassoc man # z";
    let words = |text: &str| text.split('_').map(str::to_owned).collect::<Vec<_>>();
    let expected = [words("bkassoc_import_a b.csv_--max-failures_5%"), words("bkassoc_man")];
    assert_eq!(commands_of(line), expected);
    assert_eq!(commands_of("cargo run -- man; cargo test"), [words("bkassoc_man")]);
}
