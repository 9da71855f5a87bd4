//! What is packed: that it is all there, and that the examples in it fit the tool. `.ci/release` makes
//! packages, and uses them.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bkassoc::cli::Cli;
use bkassoc::cli::layers::Typed;
use clap::CommandFactory;

/// Exit codes after which another start may end otherwise (docs/kubernetes.md#exit-codes-instead-of-probes).
const TRIED_AGAIN: [u8; 4] = [6, 9, 10, 11];

fn repository(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(file)
}

fn text(file: &str) -> String {
    fs::read_to_string(repository(file)).unwrap()
}

/// What `.ci/package/stage` lays out, as paths below its folder.
fn staged() -> BTreeSet<String> {
    let folder = tempfile::tempdir().unwrap();
    let tree = folder.path().join("package");
    let made = Command::new(repository(".ci/package/stage"))
        .args([Path::new(env!("CARGO_BIN_EXE_bkassoc")), &tree])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let mut files = BTreeSet::new();
    let mut folders = vec![tree.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            assert!(fs::metadata(&path).unwrap().len() > 0, "{} is empty", path.display());
            files.insert(path.strip_prefix(&tree).unwrap().to_str().unwrap().to_owned());
        }
    }
    files
}

/// The sources in the assets of a kind of package, below the folder that is laid out.
fn sources(kind: &str) -> Vec<String> {
    let manifest: toml::Table = text("Cargo.toml").parse().unwrap();
    let assets = manifest["package"]["metadata"][kind]["assets"].as_array().unwrap();
    let source = |asset: &toml::Value| asset.get(0).or_else(|| asset.get("source")).cloned();
    let sources = assets.iter().map(|asset| source(asset).unwrap().as_str().unwrap().to_owned());
    sources.map(|source| source.strip_prefix("target/package/").unwrap().to_owned()).collect()
}

/// Whether a source means a file: by its name, as all of a folder, or as all below one.
fn means(source: &str, file: &str) -> bool {
    match (source.strip_suffix("/**/*"), source.strip_suffix("/*")) {
        (Some(folder), _) => file.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/')),
        (None, Some(folder)) => file.rsplit_once('/').is_some_and(|(parent, _)| parent == folder),
        (None, None) => source == file,
    }
}

#[test]
fn every_file_that_is_laid_out_is_in_each_package_and_nothing_else_is_asked_for() {
    let files = staged();
    for kind in ["deb", "generate-rpm"] {
        let sources = sources(kind);
        for source in &sources {
            assert!(files.iter().any(|file| means(source, file)), "{kind}: there is no {source}");
        }
        // A deb has its licence from `license-file`, where Debian looks for it.
        for file in files.iter().filter(|file| kind != "deb" || *file != "LICENSE") {
            let times = sources.iter().filter(|source| means(source, file)).count();
            assert_eq!(times, 1, "{kind}: {file} is packed so many times");
        }
    }
}

#[test]
fn every_command_has_its_manual_page_and_every_shell_its_completions_in_a_package() {
    let files = staged();
    let tool = Cli::command();
    let commands =
        tool.get_subcommands().map(|command| format!("man/bkassoc-{}.1", command.get_name()));
    let others = ["man/bkassoc.1", "completions/bkassoc.bash", "completions/_bkassoc"];
    let others = others.into_iter().chain(["completions/bkassoc.fish", "docs/guide.md", "LICENSE"]);
    for file in commands.chain(others.map(str::to_owned)) {
        assert!(files.contains(&file), "{file} is not among {files:?}");
    }
}

/// What is after `key=` in a unit.
fn settings(unit: &str, key: &str) -> Vec<String> {
    let line = |line: &str| Some(line.strip_prefix(key)?.strip_prefix('=')?.to_owned());
    text(unit).lines().filter_map(line).collect()
}

const SERVICE: &str = ".ci/package/bkassoc-links.service";

#[test]
fn the_command_of_the_example_unit_can_be_given() {
    let command = settings(SERVICE, "ExecStart").remove(0);
    let words: Vec<_> =
        command.split(' ').map(|word| OsString::from(word.trim_matches('\''))).collect();
    assert_eq!(words[0], "/usr/bin/bkassoc");
    Typed::parse(words).unwrap();
}

#[test]
fn the_example_unit_starts_again_after_the_exit_codes_that_another_start_may_mend() {
    let tool = Cli::command();
    let help = tool.get_after_long_help().unwrap().to_string();
    let numbers = |line: &str| -> Vec<u8> {
        let of_start = line.trim().split([' ', ',']).map_while(|word| match word {
            "" => Some(None),
            word => word.parse().ok().map(Some),
        });
        of_start.flatten().collect()
    };
    let all: BTreeSet<u8> = help.lines().flat_map(numbers).filter(|code| *code != 0).collect();
    assert!(all.len() > 13, "{all:?}");
    let stays: BTreeSet<u8> = settings(SERVICE, "RestartPreventExitStatus")
        .iter()
        .flat_map(|codes| numbers(codes))
        .collect();
    let again: Vec<u8> = all.difference(&stays).copied().collect();
    assert_eq!(again, TRIED_AGAIN);
    assert!(stays.is_subset(&all), "{stays:?}");
    assert_eq!(settings(SERVICE, "Restart"), ["on-failure"]);
}

#[test]
fn the_example_unit_has_its_secret_from_a_credential_and_its_user_from_systemd() {
    assert_eq!(settings(SERVICE, "LoadCredential").len(), 1);
    assert_eq!(settings(SERVICE, "DynamicUser"), ["yes"]);
    assert!(settings(SERVICE, "Environment").is_empty());
}

#[test]
fn the_oldest_glibc_is_the_same_wherever_it_is_named() {
    let script = text(".ci/release");
    let oldest = script.lines().find_map(|line| line.strip_prefix("glibc=")).unwrap();
    for (file, words) in [
        ("Cargo.toml", format!("depends = \"libc6 (>= {oldest})\"")),
        ("docs/install.md", format!("glibc {oldest} or newer")),
    ] {
        assert!(text(file).contains(&words), "{file} does not say: {words}");
    }
}
