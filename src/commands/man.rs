//! `bkassoc man [COMMAND]`: a manual page on stdout.
//!
//! The only home of `clap_mangen`.

use std::io;

use clap::CommandFactory;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::cli::Cli;

/// How the tool's help begins to tell its exit codes.
const EXIT_CODES: &str = "Exit codes:\n";
const FILES: [(&str, &str); 4] = [
    ("$XDG_CONFIG_HOME/bkassoc/config.toml", "the user's profiles; without it, in ~/.config"),
    ("/etc/bkassoc/config.toml", "the machine's profiles, where the user has none"),
    ("RESULTS.journal", "all that is known of a run that is not finished"),
    ("RESULTS.run.json", "what a finished run was: target, options, counts, digests"),
];

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum ManError {
    /// No such command.
    #[error("there is no command {name:?}; there are {known}")]
    UnknownCommand {
        /// As given.
        name: String,
        /// Those that there are.
        known: String,
    },
    /// The page could not be made.
    #[error("the page can't be made: {0}")]
    Render(#[from] io::Error),
}

/// The page of the tool, or of one of its commands, in roff.
pub fn page(command: Option<&str>) -> Result<Vec<u8>, ManError> {
    let mut tool = Cli::command();
    // Gives the commands their full names.
    tool.build();
    let known = |tool: &clap::Command| {
        let names: Vec<_> = tool.get_subcommands().map(clap::Command::get_name).collect();
        names.join(", ")
    };
    let command = match command {
        None => tool,
        Some(name) => match tool.find_subcommand(name) {
            Some(command) => command.clone(),
            None => {
                return Err(ManError::UnknownCommand {
                    name: name.to_owned(),
                    known: known(&tool),
                });
            }
        },
    };
    let after = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
    let mut page = Vec::new();
    Man::new(command.after_long_help(None)).render(&mut page)?;
    last_sections(&after).to_writer(&mut page)?;
    Ok(page)
}

/// What stands after the help, under the names that such sections have in manual pages.
fn last_sections(after: &str) -> Roff {
    let mut roff = Roff::new();
    if let Some(codes) = after.strip_prefix(EXIT_CODES) {
        section(&mut roff, "EXIT STATUS", codes.lines().filter_map(split_code));
        section(&mut roff, "FILES", FILES);
    } else if !after.is_empty() {
        roff.control("SH", ["ENVIRONMENT"]);
        roff.text([roman(after)]);
    }
    roff
}

fn section<'a>(
    roff: &mut Roff,
    heading: &str,
    entries: impl IntoIterator<Item = (&'a str, &'a str)>,
) {
    roff.control("SH", [heading]);
    for (name, text) in entries {
        roff.control("TP", []);
        roff.text([bold(name)]);
        roff.text([roman(text)]);
    }
}

/// `10 another process` and `129, 130  interrupted`: a number or several, and what they say.
fn split_code(line: &str) -> Option<(&str, &str)> {
    let at = line.find(char::is_alphabetic)?;
    Some((line[..at].trim(), &line[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_of_the_tool_lists_its_commands_and_exit_codes() {
        let page = String::from_utf8(page(None).unwrap()).unwrap();
        for text in [
            ".TH bkassoc 1",
            "bkassoc\\-import(1)",
            ".SH \"EXIT STATUS\"\n.TP\n\\fB0\\fR\nevery row is created",
            ".TP\n\\fB129, 130, 143\\fR\ninterrupted",
            ".SH FILES\n",
        ] {
            assert!(page.contains(text), "{text} is not in {page}");
        }
        assert!(!page.contains("EXTRA") && !page.contains("Exit codes"), "{page}");
    }

    #[test]
    fn each_command_has_a_page_under_its_full_name() {
        for command in Cli::command().get_subcommands() {
            let page = page(Some(command.get_name())).unwrap();
            let page = String::from_utf8(page).unwrap();
            let title = format!(".TH bkassoc-{} 1", command.get_name());
            assert!(page.contains(&title), "{title} is not in {page}");
            assert!(!page.contains("EXTRA"), "{page}");
            let has_layers = page.contains("BKASSOC_SOME_NAME");
            assert_eq!(has_layers, page.contains(".SH ENVIRONMENT\n"), "{page}");
        }
        let error = page(Some("emport")).unwrap_err().to_string();
        assert!(error.starts_with("there is no command \"emport\"; there are import, check, "));
    }
}
