//! The exact command to go on with, quoted for a shell.

use std::borrow::Cow;
use std::path::Path;

use crate::engine::stats::RunStats;
use crate::exit::Exit;
use crate::report::controls::{escaped, is_obeyed};
use crate::target::Entrance;

use super::RunKind;

/// The command to go on with, if there is one. Without results there is no journal, so a run can't go on.
/// `again` is the command as it was typed; `identity` the part of it that another command needs to reach
/// the same server as the same user.
pub fn next_step(
    kind: RunKind,
    exit: Exit,
    stats: &RunStats,
    results: Option<&Path>,
    again: &[String],
    identity: &[String],
) -> Option<Vec<String>> {
    match exit {
        Exit::Ok | Exit::SomeFailed if kind == RunKind::Check => import_instead(again),
        Exit::Ok | Exit::Bug | Exit::Usage | Exit::Held | Exit::Guard | Exit::Changes => None,
        // The same command will never do better.
        Exit::Target if kind == RunKind::Undo && stats.calls.lacks_delete => None,
        // A rerun creates. A check's rows are mended in the input, and an undo's are for another undo of
        // the same results.
        Exit::SomeFailed | Exit::AllRetryable if matches!(kind, RunKind::Check | RunKind::Undo) => {
            None
        }
        Exit::SomeFailed | Exit::AllRetryable => {
            let mut next = vec!["bkassoc".to_owned(), "rerun".to_owned()];
            next.push(as_operand(results?));
            if stats.retryable() == 0 {
                next.push("--all-failed".to_owned());
            }
            if stats.failed_deletes() > 0 {
                next.push("--allow-delete".to_owned());
            }
            next.extend_from_slice(identity);
            Some(next)
        }
        Exit::MaxFailures
        | Exit::Outage
        | Exit::Input
        | Exit::Target
        | Exit::MaxDuration
        | Exit::Unwritable
        | Exit::Hangup
        | Exit::Interrupted
        | Exit::Terminated => {
            (results.is_some() || kind == RunKind::Check).then(|| going_on(again, results))
        }
    }
}

/// The same command, which goes on. With `--fresh` it would start anew instead, and `{date}` would be
/// another date tomorrow.
fn going_on(again: &[String], results: Option<&Path>) -> Vec<String> {
    let mut words: Vec<_> = again.iter().filter(|word| *word != "--fresh").cloned().collect();
    let dated = |word: &String| word.contains("{date}");
    if let (Some(results), Some(at)) = (results, words.iter().position(dated)) {
        let flag = match &words[..=at] {
            [.., flag, _] if matches!(flag.as_str(), "-o" | "--output") => "",
            [.., word] if word.starts_with("--output=") => "--output=",
            [.., word] if word.starts_with("-o") => "-o",
            _ => return words,
        };
        words[at] = format!("{flag}{}", results.display());
    }
    words
}

/// The same command with the flags that allow what a guard refused.
pub fn allowed(again: &[String], allowing: &[String]) -> Vec<String> {
    const LIMIT: &str = "--max-delete";
    let replaces = allowing.iter().any(|flag| flag == LIMIT);
    let mut next = Vec::new();
    let mut words = again.iter();
    while let Some(word) = words.next() {
        if replaces && word == LIMIT {
            words.next();
        } else if !(replaces && word.starts_with("--max-delete=")) {
            next.push(word.clone());
        }
    }
    next.extend_from_slice(allowing);
    next
}

/// The undo through another entrance of the same CMDB, where this one has no call that deletes, and what it is,
/// in words. Its address is nobody's to guess.
pub fn through_another_entrance(
    again: &[String],
    entrance: Entrance,
) -> (Vec<String>, &'static str) {
    let mut next = Vec::new();
    let mut words = again.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--entrance" | "--endpoint" => {
                words.next();
            }
            "--allow-other-target" => {}
            word if word.starts_with("--entrance=") || word.starts_with("--endpoint=") => {}
            word => next.push(word.to_owned()),
        }
    }
    let (other, endpoint, what) = match entrance {
        Entrance::Esb | Entrance::Gateway => (
            Entrance::Native,
            "http://APISERVER",
            "Undo it through the apiserver of the same CMDB, whose ids these are, with its address for APISERVER",
        ),
        Entrance::Native => (
            Entrance::Esb,
            "http://ESB",
            "Undo it through an ESB before the same CMDB, whose ids these are, with its address for ESB",
        ),
    };
    let flags = ["--allow-other-target", "--entrance", other.as_str(), "--endpoint", endpoint];
    next.extend(flags.map(str::to_owned));
    (next, what)
}

/// The import that a check was for: the same words, without those that made it a check. An import of
/// standard input needs a name for its results, which a check does not.
fn import_instead(check: &[String]) -> Option<Vec<String>> {
    let is_check = |word: &str| matches!(word, "--offline" | "-n" | "--dry-run");
    let (program, words) = check.split_first()?;
    let (command, words) = words.split_first()?;
    let names_results = |word: &String| word.starts_with("-o") || word.starts_with("--output");
    if words.iter().any(|word| word == "-" || (command == "check" && names_results(word))) {
        return None;
    }
    let rest: Vec<_> = words.iter().filter(|word| !is_check(word)).cloned().collect();
    if rest.is_empty() || (command == "import" && rest.len() == words.len()) {
        return None;
    }
    Some([vec![program.clone(), "import".to_owned()], rest].concat())
}

/// A path as a command takes it, even one that looks like a flag.
pub fn as_operand(path: &Path) -> String {
    let text = path.to_string_lossy();
    if text.starts_with('-') { format!("./{text}") } else { text.into_owned() }
}

/// Words quoted for a shell.
pub fn shell_quoted(words: &[String]) -> String {
    let quoted: Vec<_> = words.iter().map(|word| quoted(word)).collect();
    quoted.join(" ")
}

fn quoted(word: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        Cow::Borrowed(word)
    } else if word.contains(is_obeyed) {
        // `escape_default` would escape other characters, too, in Rust's way.
        let escape = |c: char| match c {
            '\\' | '\'' => format!("\\{c}"),
            c if c.is_ascii_control() => format!("\\x{:02x}", c as u32),
            c if is_obeyed(c) => escaped(c),
            c => c.to_string(),
        };
        format!("$'{}'", word.chars().map(escape).collect::<String>()).into()
    } else {
        format!("'{}'", word.replace('\'', r"'\''")).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::association::{Cells, Named};
    use crate::outcome::{Outcome, Reason, Record};

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    fn stats(reasons: &[Reason]) -> RunStats {
        let mut stats = RunStats::default();
        for reason in reasons {
            stats.add(&Record {
                ordinal: 0,
                file: 0,
                line: 2,
                cells: Cells::default(),
                outcome: Outcome::bad(*reason, String::new(), 1, 0),
            });
        }
        stats
    }

    #[test]
    fn a_rerun_of_deletes_that_failed_is_to_delete() {
        let cells = |action: &str| {
            let named = Named { action: action.into(), ..Named::default() };
            Cells::with_names(["a", "1", "2", ""], named)
        };
        let next = |line, action, reason| {
            let outcome = Outcome::bad(reason, String::new(), 1, 0);
            let mut stats = stats(&[Reason::Throttled]);
            stats.add(&Record { ordinal: 0, file: 0, line, cells: cells(action), outcome });
            let path = Some(Path::new("r.csv"));
            next_step(RunKind::Import, Exit::AllRetryable, &stats, path, &[], &[]).unwrap()
        };
        assert_eq!(next(2, "删除", Reason::Throttled), words("bkassoc rerun r.csv --allow-delete"));
        for (line, action, reason) in [
            (2, "create", Reason::Throttled),
            (0, "delete", Reason::Throttled),
            (2, "delete", Reason::UnsupportedAction),
        ] {
            assert_eq!(next(line, action, reason), words("bkassoc rerun r.csv"), "{action} {line}");
        }
    }

    #[test]
    fn the_command_to_go_on_with_follows_from_how_the_run_ended() {
        let none = RunStats::default();
        let retryable = stats(&[Reason::Throttled, Reason::Rejected]);
        let hopeless = stats(&[Reason::Rejected]);
        for (kind, exit, stats, typed, next) in [
            (RunKind::Import, Exit::Ok, &none, "b import a.csv", None),
            (
                RunKind::Import,
                Exit::SomeFailed,
                &retryable,
                "b import a.csv",
                Some("bkassoc rerun r.csv --profile p"),
            ),
            (
                RunKind::Rerun,
                Exit::SomeFailed,
                &hopeless,
                "b rerun a.csv",
                Some("bkassoc rerun r.csv --all-failed --profile p"),
            ),
            (RunKind::Import, Exit::Interrupted, &none, "b import a.csv", Some("b import a.csv")),
            (RunKind::Import, Exit::Held, &none, "b import a.csv", None),
            (RunKind::Undo, Exit::SomeFailed, &hopeless, "b undo a.csv", None),
            (RunKind::Undo, Exit::AllRetryable, &retryable, "b undo a.csv", None),
            (
                RunKind::Check,
                Exit::Ok,
                &none,
                "b check a.csv --offline -v",
                Some("b import a.csv -v"),
            ),
            (RunKind::Check, Exit::Ok, &none, "b import a.csv -n", Some("b import a.csv")),
            (RunKind::Check, Exit::Ok, &none, "b import a.csv -nv", None),
            (RunKind::Check, Exit::Ok, &none, "b check a.csv -o x.csv", None),
            (RunKind::Check, Exit::Ok, &none, "b check", None),
            (RunKind::Check, Exit::SomeFailed, &hopeless, "b check a.csv", Some("b import a.csv")),
            (
                RunKind::Check,
                Exit::Ok,
                &none,
                "b import a.csv -n -o r.csv",
                Some("b import a.csv -o r.csv"),
            ),
            (RunKind::Check, Exit::Ok, &none, "b check -", None),
        ] {
            let step = next_step(
                kind,
                exit,
                stats,
                Some(Path::new("r.csv")),
                &words(typed),
                &words("--profile p"),
            );
            assert_eq!(step, next.map(words), "{kind:?} {exit:?} {typed}");
        }
        let results = Some(Path::new("-r.csv"));
        let step = next_step(RunKind::Import, Exit::AllRetryable, &retryable, results, &[], &[]);
        assert_eq!(step, Some(words("bkassoc rerun ./-r.csv")));
        let step =
            next_step(RunKind::Import, Exit::Outage, &none, None, &words("b import a.csv"), &[]);
        assert_eq!(step, None, "there is no journal to go on with");
        let results = Some(Path::new("r-2026-11-24.csv"));
        for (typed, next) in [
            ("b import a.csv -o r-{date}.csv -v", "b import a.csv -o r-2026-11-24.csv -v"),
            ("b import a.csv -or-{date}.csv", "b import a.csv -or-2026-11-24.csv"),
            ("b import a.csv --output=r-{date}.csv", "b import a.csv --output=r-2026-11-24.csv"),
        ] {
            let step = next_step(RunKind::Import, Exit::Outage, &none, results, &words(typed), &[]);
            assert_eq!(step, Some(words(next)), "another day the date would be another");
        }
    }

    #[test]
    fn the_next_command_can_be_pasted_into_a_shell_whatever_its_paths_are() {
        for (word, shown) in [
            ("a.csv", "a.csv"),
            ("--map=inst_id", "--map=inst_id"),
            ("", "''"),
            ("my results.csv", "'my results.csv'"),
            ("it's", r"'it'\''s'"),
            ("$(reboot)", "'$(reboot)'"),
            ("~/a", "'~/a'"),
            ("名.csv", "'名.csv'"),
            ("a\nb'\\", r"$'a\x0ab\'\\'"),
            ("\u{85}", r"$'\u0085'"),
            ("f\u{202e}vsc.'\x1b[31m", r"$'f\u202evsc.\'\x1b[31m'"),
        ] {
            assert_eq!(shell_quoted(&[word.to_owned()]), shown, "{word:?}");
        }
    }
}
