//! `bkassoc man [COMMAND]`: a manual page on stdout.
//!
//! The only home of `clap_mangen`.

use std::io;

use clap::CommandFactory;
use clap_mangen::Man;

use crate::cli::Cli;

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
    let man = match command {
        None => Man::new(tool),
        Some(name) => match tool.find_subcommand(name) {
            Some(command) => Man::new(command.clone()),
            None => {
                return Err(ManError::UnknownCommand {
                    name: name.to_owned(),
                    known: known(&tool),
                });
            }
        },
    };
    let mut page = Vec::new();
    man.render(&mut page)?;
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_of_the_tool_lists_its_commands_and_exit_codes() {
        let page = String::from_utf8(page(None).unwrap()).unwrap();
        for text in [".TH bkassoc 1", "bkassoc\\-import(1)", "Exit codes:"] {
            assert!(page.contains(text), "{text} is not in {page}");
        }
    }

    #[test]
    fn each_command_has_a_page_under_its_full_name() {
        for command in Cli::command().get_subcommands() {
            let page = page(Some(command.get_name())).unwrap();
            let page = String::from_utf8(page).unwrap();
            let title = format!(".TH bkassoc-{} 1", command.get_name());
            assert!(page.contains(&title), "{title} is not in {page}");
        }
        let error = page(Some("emport")).unwrap_err().to_string();
        assert!(error.starts_with("there is no command \"emport\"; there are import, check, "));
    }
}
