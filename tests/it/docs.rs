//! What the documentation shows, held against the tool: commands parse, examples run, lists are
//! complete in both directions, links lead somewhere.

mod chinese;
mod manifests;
mod page;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use bkassoc::association::Column;
use bkassoc::cli::layers::{Typed, variable};
use bkassoc::cli::{Check, Cli};
use bkassoc::config::{Environment, resolve};
use bkassoc::outcome::{Reason, Status};
use bkassoc::sandbox::faults::Fault;
use bkassoc::storage::results::COLUMNS;
use bkassoc::target::Entrance;
use bkassoc::verify::FindingKind;
use clap::CommandFactory;
use page::{Page, code_spans, commands_of, pages, repository};

use crate::server::Server;
use crate::workdir::{self, Workdir, samples};

/// Flags that stand for any flag.
const PLACEHOLDERS: [&str; 1] = ["--some-name"];

fn page(name: &str) -> Page {
    Page::read(&repository().join(name))
}

fn set<T: Into<String>>(words: impl IntoIterator<Item = T>) -> BTreeSet<String> {
    words.into_iter().map(Into::into).collect()
}

/// The flags of a command, with two dashes.
fn flags_of(command: &clap::Command) -> BTreeSet<String> {
    let long = command.get_arguments().filter_map(|arg| arg.get_long());
    long.map(|flag| format!("--{flag}")).collect()
}

fn all_flags() -> BTreeSet<String> {
    Cli::command().get_subcommands().flat_map(flags_of).collect()
}

fn parse(words: &[String]) -> Result<Typed, clap::Error> {
    Typed::parse(words.iter().map(OsString::from))
}

/// Runs the built binary in a copy of the samples, with nothing of the environment.
fn run_in_a_copy(arguments: &[&str]) -> (tempfile::TempDir, Output) {
    let folder = tempfile::tempdir().unwrap();
    let samples = folder.path().join("samples");
    fs::create_dir(&samples).unwrap();
    for file in fs::read_dir(repository().join("samples")).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), samples.join(file.file_name())).unwrap();
    }
    let output = Command::new(env!("CARGO_BIN_EXE_bkassoc"))
        .args(arguments)
        .current_dir(folder.path())
        .env_clear()
        .output()
        .unwrap();
    (folder, output)
}

const FIRST_COMMAND: [&str; 3] = ["import", "samples/associations.csv", "--sandbox"];

#[test]
fn the_first_command_of_the_readme_prints_what_is_shown() {
    for (name, language) in [("README.md", "en"), ("docs/zh/README.md", "zh")] {
        let readme = page(name);
        let typed: Vec<_> = readme.blocks("sh").flat_map(commands_of).collect();
        assert_eq!(typed[0][1..], FIRST_COMMAND, "{name}: the first command is another");
        let spoken = [&FIRST_COMMAND[..], &["--lang", language]].concat();
        let (folder, output) = run_in_a_copy(&spoken);
        // Only the clock's doing may differ.
        let timeless = |text: &str| -> Vec<String> {
            let starts = ["Calls:", "Latency:", "Took ", "请求：", "延迟：", "耗时："];
            let is_timed = |line: &&str| starts.iter().any(|start| line.starts_with(start));
            text.lines().filter(|line| !is_timed(line)).map(str::to_owned).collect()
        };
        let shown = readme.blocks("text").next().unwrap();
        assert_eq!(timeless(&String::from_utf8(output.stdout).unwrap()), timeless(shown), "{name}");
        assert_eq!(output.status.code(), Some(3));
        let results = folder.path().join("samples/associations.sandbox.results.csv");
        assert_eq!(fs::read_to_string(results).unwrap().lines().count(), 27);
    }
}

#[test]
fn what_the_guide_shows_of_an_old_esb_is_printed() {
    let server = Server::with(Entrance::Esb, |setup| setup.old_esb = true);
    for (name, language) in [("docs/guide.md", "en"), ("docs/zh/guide.md", "zh")] {
        let done = Workdir::new().bkassoc("check --lang").arg(language).to(&server).ends(0);
        let guide = page(name);
        let shown = guide.blocks("text").next().unwrap();
        for line in shown.lines().map(|line| line.trim_end_matches('…').trim_end()) {
            assert!(done.stdout.contains(line), "{name}: {line:?}: {}", done.stdout);
        }
    }
}

#[test]
fn every_command_line_that_is_shown_can_be_given() {
    for page in pages() {
        for language in ["sh", "crontab"] {
            for words in page.blocks(language).flat_map(commands_of) {
                // A version that is asked for is an error only to the parser.
                if let Err(error) = parse(&words)
                    && error.use_stderr()
                {
                    panic!("{}: {words:?}: {error}", page.name);
                }
            }
        }
    }
}

#[test]
fn the_tour_of_the_readme_goes_as_it_is_told() {
    let server = Server::esb();
    let work = Workdir::new();
    std::fs::create_dir(work.path("samples")).unwrap();
    work.write(
        "samples/links-cmdb.xlsx",
        std::fs::read(samples().join("links-cmdb.xlsx")).unwrap(),
    );
    let readme = page("README.md");
    let tour = readme.text.split("## A tour").nth(1).unwrap().split("\n## ").next().unwrap();
    let tour = Page { text: tour.to_owned(), ..page("README.md") };
    let mut done = Vec::new();
    for words in tour.blocks("sh").flat_map(commands_of).filter(|words| words[1] != "sandbox") {
        // As somebody who answers the question that it asks.
        let yes = if words[1] == "undo" { "--yes" } else { "" };
        let command = words[1..].iter().fold(work.bkassoc(""), workdir::Cli::arg);
        let ended = command.args(yes).to(&server).env("BKASSOC_SEND_BIZ_ID", "never").run();
        done.push((words[1].clone(), ended.code));
    }
    let told = [
        ("check", 0),
        ("check", 3),
        ("plan", 0),
        ("apply", 3),
        ("verify", 0),
        ("rerun", 3),
        ("undo", 0),
        ("sync", 3),
    ];
    assert_eq!(done, told.map(|(word, code)| (word.to_owned(), code)));
    assert!(work.has("links.html") && work.has("links.plan.csv") && work.has("links.again.xlsx"));
}

#[test]
fn commands_and_flags_in_running_text_exist() {
    let (mut cli, all) = (Cli::command(), all_flags());
    cli.build();
    for page in pages() {
        for span in page.prose_spans().filter(|span| !span.starts_with("cargo ")) {
            let words: Vec<&str> = span.split_whitespace().collect();
            let known = match words[..] {
                ["bkassoc", flag, ..] if flag.starts_with('-') => flags_of(&cli),
                ["bkassoc", name, ..] => flags_of(cli.find_subcommand(name).unwrap_or_else(|| {
                    panic!("{}: `{span}`: there is no command {name}", page.name)
                })),
                _ => all.clone(),
            };
            for word in words.iter().filter(|word| word.starts_with("--")) {
                let flag = word.split('=').next().unwrap_or_default();
                let is_known = known.contains(flag) || PLACEHOLDERS.contains(&flag);
                assert!(is_known, "{}: `{span}`: there is no {flag}", page.name);
            }
        }
    }
}

#[test]
fn variables_that_are_named_stand_for_flags() {
    let variables: BTreeSet<_> = all_flags()
        .iter()
        .chain([&PLACEHOLDERS[0].to_owned()])
        .map(|f| variable(&f[2..]))
        .collect();
    let is_part = |c: char| c.is_ascii_uppercase() || c == '_';
    for page in pages() {
        for word in page.text.split(|c| !is_part(c)).filter(|word| word.starts_with("BKASSOC_")) {
            let whole = word != "BKASSOC_";
            assert!(!whole || variables.contains(word), "{}: {word}", page.name);
        }
    }
}

#[test]
fn the_reference_has_every_flag_with_its_commands_and_default() {
    let reference = page("docs/reference.md");
    let letters = BTreeMap::from([
        ("import", 'i'),
        ("check", 'c'),
        ("plan", 'p'),
        ("sync", 'y'),
        ("apply", 'a'),
        ("rerun", 'r'),
        ("undo", 'u'),
        ("verify", 'v'),
        ("sandbox", 's'),
        ("results", 'o'),
        ("report", 'h'),
        ("merge", 'm'),
    ]);
    let mut rows = BTreeMap::new();
    for row in reference.table("## Flags", "flag") {
        let flag = code_spans(&row[0]).find(|span| span.starts_with("--")).unwrap();
        rows.insert(flag, row);
    }
    assert_eq!(rows.keys().cloned().collect::<BTreeSet<_>>(), all_flags());
    for command in Cli::command().get_subcommands() {
        for arg in command.get_arguments().filter(|arg| arg.get_long().is_some()) {
            let flag = format!("--{}", arg.get_long().unwrap());
            let row = &rows[&flag];
            let letter = letters[command.get_name()];
            assert!(row[2].contains(letter), "{flag} of {}: {row:?}", command.get_name());
            if let Some(short) = arg.get_short() {
                assert!(row[0].contains(&format!("`-{short}`")), "{flag}: {row:?}");
            }
            let takes_values = arg.get_action().takes_values();
            let default = arg.get_default_values().iter().map(|value| value.to_str().unwrap());
            for default in default.filter(|_| takes_values) {
                assert_eq!(row[1], format!("`{default}`"), "{flag}: {row:?}");
            }
        }
    }
    for (flag, row) in &rows {
        for (name, letter) in &letters {
            let has = flags_of(Cli::command().find_subcommand(name).unwrap()).contains(flag);
            assert_eq!(row[2].contains(*letter), has, "{flag} of {name}: {row:?}");
        }
    }
}

#[test]
fn every_command_is_in_the_reference() {
    let reference = page("docs/reference.md");
    let shown = reference.table("## Commands", "command").into_iter().map(|row| {
        let span = code_spans(&row[0]).next().unwrap();
        span.split(' ').nth(1).unwrap().to_owned()
    });
    let cli = Cli::command();
    assert_eq!(set(shown), set(cli.get_subcommands().map(clap::Command::get_name)));
}

#[test]
fn reasons_and_statuses_are_those_of_the_tool() {
    let failures = page("docs/failures.md");
    let mut shown = BTreeSet::new();
    for row in failures.table("## Reasons", "reason") {
        let word = code_spans(&row[0]).next().unwrap();
        let reason = Reason::parse(&word).unwrap_or_else(|| panic!("there is no reason {word}"));
        assert_eq!(row[2], if reason.retryable() { "yes" } else { "no" }, "{word}");
        shown.insert(word);
    }
    assert_eq!(shown, set(Reason::ALL.iter().map(|reason| reason.as_str())));

    let reference = page("docs/reference.md");
    let shown = reference.table("## Results", "status").into_iter();
    let shown = shown.map(|row| code_spans(&row[0]).next().unwrap());
    assert_eq!(set(shown), set(Status::ALL.map(Status::as_str)));
}

#[test]
fn exit_codes_are_those_that_help_lists() {
    let help = Cli::command().get_after_long_help().unwrap().to_string();
    let mut codes = BTreeSet::new();
    for line in help.lines().skip(1) {
        let words = line.split([' ', ',']).filter(|word| !word.is_empty());
        codes.extend(words.map_while(|word| word.parse::<u8>().ok()));
    }
    let reference = page("docs/reference.md");
    let shown = reference.table("## Exit codes", "exit").into_iter();
    assert_eq!(shown.map(|row| row[0].parse().unwrap()).collect::<BTreeSet<u8>>(), codes);
    let readme = page("README.md");
    let section = readme.section("## Exit codes");
    let words = set(section.split(|c: char| !c.is_ascii_digit()));
    for code in &codes {
        assert!(words.contains(&code.to_string()), "README.md lacks exit {code}");
    }
    let failures = page("docs/failures.md");
    let stops = failures.table("## When the run stops", "exit").into_iter();
    let stops: BTreeSet<u8> = stops.map(|row| row[0].parse().unwrap()).collect();
    assert_eq!(stops, (5..=12).collect());
}

#[test]
fn columns_and_keys_are_those_that_a_run_writes() {
    let reference = page("docs/reference.md");
    let keys_of = |section: &str, head: &str| -> BTreeSet<String> {
        let rows = reference.table(section, head).into_iter();
        rows.flat_map(|row| code_spans(&row[0]).collect::<Vec<_>>()).collect()
    };
    let beside_ids = Column::BESIDE_IDS.map(Column::name);
    let columns = COLUMNS.into_iter().chain(beside_ids).chain(["file"]);
    assert_eq!(keys_of("## Results", "column"), set(columns));

    let (folder, output) = run_in_a_copy(&[&FIRST_COMMAND[..], &["--json"]].concat());
    let keys = |json: &[u8]| {
        let object: BTreeMap<String, serde_json::Value> = serde_json::from_slice(json).unwrap();
        object.into_keys().collect::<BTreeSet<_>>()
    };
    let mut summary = keys(&output.stdout);
    summary.extend(["blank_rows", "scope", "shard", "warnings"].map(str::to_owned));
    assert_eq!(keys_of("## Output and --json", "key"), summary);

    let manifest = "samples/associations.sandbox.results.csv.run.json";
    let mut manifest = keys(&fs::read(folder.path().join(manifest)).unwrap());
    let others =
        ["blank_rows", "columns", "files", "parent", "plan", "shard", "shards", "survey", "undone"];
    manifest.extend(others.map(str::to_owned));
    assert_eq!(keys_of("## run.json", "key"), manifest);
}

#[test]
fn findings_are_those_of_verify() {
    let shown = |page: &str, section: &str, head: &str| -> Vec<_> {
        let rows = self::page(page).table(section, head).into_iter();
        rows.map(|row| (code_spans(&row[0]).next().unwrap(), row[1].clone())).collect()
    };
    let kinds = FindingKind::ALL.iter().map(|kind| (kind.as_str().to_owned(), kind.meaning()));
    let (english, chinese): (Vec<_>, Vec<_>) = kinds
        .map(|(word, (english, chinese))| {
            ((word.clone(), english.to_owned()), (word, chinese.to_owned()))
        })
        .unzip();
    assert_eq!(shown("docs/reference.md", "## What verify finds", "finding"), english);
    assert_eq!(shown("docs/zh/reference.md", "## verify 能发现什么", "问题"), chinese);
}

#[test]
fn faults_are_those_of_the_sandbox() {
    let reference = page("docs/reference.md");
    let shown = reference.table("## Sandbox", "fault").into_iter();
    let shown = shown.map(|row| code_spans(&row[0]).next().unwrap());
    assert_eq!(set(shown), set(Fault::ALL.map(Fault::name)));
}

/// What `docs/failures.md` says of a verdict of `tests/wire/verdicts.txt`.
fn in_words(verdict: &str) -> String {
    let (kind, cause) = verdict.trim_end_matches(')').split_once('(').unwrap();
    match (kind, cause) {
        ("LookUp", _) => "looked up".to_owned(),
        ("InDoubt", _) => "looked up, then sent again".to_owned(),
        ("Again", "Throttled") => "sent again, slower".to_owned(),
        ("Again", "Crowded") => "sent again, fewer at once".to_owned(),
        ("Again", _) => "sent again".to_owned(),
        ("Stop", _) => "the run stops".to_owned(),
        ("Failed", reason) => {
            let reason = Reason::ALL.iter().find(|known| format!("{known:?}") == reason);
            format!("fails: `{}`", reason.unwrap().as_str())
        }
        _ => panic!("{verdict} is no verdict of a create"),
    }
}

#[test]
fn every_server_code_is_explained_as_the_policy_has_it() {
    let policy = fs::read_to_string(repository().join("tests/wire/verdicts.txt")).unwrap();
    let mut expected = BTreeMap::new();
    for line in policy.lines().filter(|line| !line.starts_with([' ', '#'])) {
        let Some((answer, rest)) = line.split_once("  ") else { continue };
        let number = answer.split(' ').next().unwrap_or_default();
        if number.len() != 7 && number != "-1" || number.parse::<i64>().is_err() {
            continue;
        }
        let verdict = rest.split_whitespace().next().unwrap();
        expected.insert(answer.to_owned(), in_words(verdict));
    }
    assert!(expected.len() > 90, "the table has another form");

    let failures = page("docs/failures.md");
    let mut shown = BTreeMap::new();
    for section in ["### CMDB", "### ESB", "### API gateway"] {
        for row in failures.table(section, "code") {
            shown.insert(row[0].clone(), row[2].clone());
        }
    }
    for row in failures.table("## Numbers with several causes", "code") {
        let text = code_spans(&row[1]).next().unwrap();
        shown.insert(format!("{} {text}", row[0]), row[2].clone());
    }
    assert_eq!(shown, expected);
}

#[test]
fn profiles_that_are_shown_can_be_used() {
    let mut count = 0;
    for page in pages() {
        for text in page.blocks("toml") {
            let folder = tempfile::tempdir().unwrap();
            let config = folder.path().join("config.toml");
            fs::write(&config, text).unwrap();
            let file: toml::Table = text.parse().unwrap();
            for (profile, keys) in &file {
                let files = keys.as_table().unwrap().iter();
                for (_, path) in files.filter(|(key, _)| key.ends_with("_file")) {
                    fs::write(folder.path().join(path.as_str().unwrap()), "secret").unwrap();
                }
                let config = config.to_str().unwrap();
                let words = ["bkassoc", "check", "--config", config, "--profile", profile];
                let typed = Typed::parse(words.map(OsString::from)).unwrap();
                let environment = Environment {
                    variable: &|_| None,
                    names: &Vec::new,
                    system_config: Path::new("none"),
                    today: jiff::civil::date(2026, 2, 3),
                };
                if let Err(error) = resolve::<Check>(&typed, &environment, None) {
                    panic!("{}: profile {profile}: {error}", page.name);
                }
                count += 1;
            }
        }
    }
    assert_eq!(count, 8, "profiles");
}

#[test]
fn places_in_the_glossary_exist() {
    let sources = repository().join("src");
    let words = page("docs/contributing.md").table("## Glossary", "word");
    for row in &words {
        let places: Vec<_> = code_spans(&row[2]).collect();
        assert!(!places.is_empty(), "{row:?}");
        for place in places {
            assert!(sources.join(&place).is_file(), "{}: there is no src/{place}", row[0]);
        }
    }
    assert!(words.is_sorted_by_key(|row| row[0].clone()), "the words are out of order");
}

#[test]
fn links_lead_somewhere() {
    for page in pages() {
        let folder = page.path.parent().unwrap();
        for link in page.links().filter(|link| !link.starts_with("https://")) {
            let (path, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target: PathBuf =
                if path.is_empty() { page.path.clone() } else { folder.join(path) };
            assert!(target.exists(), "{}: {link}", page.name);
            if !anchor.is_empty() {
                let anchors = Page::read(&target).anchors();
                assert!(anchors.contains(anchor), "{}: {link}: {anchors:?}", page.name);
            }
        }
    }
}

/// Files of the repository whose comments and texts point at others.
fn texts() -> Vec<(PathBuf, String)> {
    let mut folders = ["src", "tests", "docs"].map(|name| repository().join(name)).to_vec();
    let mut texts = vec![(repository().join("README.md"), page("README.md").text)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let ending = path.extension().and_then(|ending| ending.to_str());
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if matches!(ending, Some("rs" | "md" | "toml" | "txt" | "py")) {
                texts.push((path.clone(), fs::read_to_string(path).unwrap()));
            }
        }
    }
    texts
}

#[test]
fn sections_and_answers_that_texts_point_at_exist() {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "-_./#".contains(c);
    let anchors = page("docs/cmdb-api.md").anchors();
    let (mut sections, mut answers) = (0, 0);
    for (path, text) in texts() {
        for word in text.split(|c| !is_part(c)).map(|word| word.trim_end_matches('.')) {
            let Some((file, place)) = word.split_once('#') else { continue };
            let name = file.rsplit('/').next().unwrap_or_default();
            if file == "docs/cmdb-api.md" {
                assert!(anchors.contains(place), "{}: {word}", path.display());
                sections += 1;
            } else if let Some(stem) = name.strip_suffix(".json").filter(|stem| *stem != "NAME") {
                let wire = repository().join("tests/wire").join(name);
                let exchanges = fs::read_to_string(wire)
                    .unwrap_or_else(|error| panic!("{}: {word}: {error}", path.display()));
                let source = stem.split('-').next().unwrap_or_default();
                // "esb 6.3" stands for "esb 6.3 call 1" too.
                let label = format!("\"capture\": \"{source} {place}");
                let is_there =
                    ["\"", " "].iter().any(|end| exchanges.contains(&(label.clone() + end)));
                assert!(is_there, "{}: {word}", path.display());
                answers += 1;
            }
        }
    }
    assert!(sections >= 10 && answers > 100, "{sections} sections, {answers} answers");
}

#[test]
fn the_house_map_has_every_module_in_the_order_in_which_they_build_on_each_other() {
    let modules_of = |file: &str| -> Vec<String> {
        let source = fs::read_to_string(repository().join("src").join(file)).unwrap();
        let modules = source.lines().filter_map(|line| {
            line.strip_prefix("pub mod ").or_else(|| line.strip_prefix("pub(crate) mod "))
        });
        modules.map(|line| line.trim_end_matches(';').to_owned()).collect()
    };
    let is_stage = |module: &str| repository().join("src").join(module).join("mod.rs").exists();
    let mut expected = Vec::new();
    for module in modules_of("lib.rs") {
        if !is_stage(&module) {
            expected.push(format!("{module}.rs"));
            continue;
        }
        expected.push(format!("{module}/"));
        if ["cmdb", "storage", "engine", "plan", "report", "session"].contains(&&*module) {
            let inner = modules_of(&format!("{module}/mod.rs"));
            expected.extend(inner.iter().map(|inner| format!("  {inner}.rs")));
        }
    }
    let design = page("docs/design.md");
    let map = design.section("## The house");
    let map = map.split("```").nth(1).unwrap();
    let name = |line: &str| {
        let indent = if line.starts_with(' ') { "  " } else { "" };
        format!("{indent}{}", line.split_whitespace().next().unwrap())
    };
    let named = map.lines().skip(1).filter(|line| !line.is_empty()).map(name);
    let others = ["main.rs", "  mod.rs", "  digest.rs", "  xlsx.rs"];
    let named: Vec<_> = named.filter(|name| !others.contains(&&**name)).collect();
    assert_eq!(named, expected);
}
