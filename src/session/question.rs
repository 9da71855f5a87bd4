//! A question to the person at the terminal.

use std::io::{self, BufRead, IsTerminal};
use std::path::Path;

use super::runtime::runtime;
use super::signals::Signals;
use crate::config::Config;
use crate::exit::Halt;
use crate::options::Language;
use crate::report::look::{Look, Tone};
use crate::report::progress::Screen;

/// Asks on the terminal, where there is one: in English or in Chinese.
pub(crate) fn ask(
    screen: &Screen,
    language: Language,
    question: (String, String),
) -> Result<bool, Halt> {
    if !io::stdin().is_terminal() {
        let (question, _) = question;
        return Err(Halt::usage(format!("{question} Give --yes to say so without a terminal")));
    }
    let question = Look::of_stderr(language).paint(Tone::Strong, language.pick(question));
    screen.say(&format!("bkassoc: {question} [y/N]"));
    let read = || {
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer).map(|_| answer)
    };
    // A part of the run may have gone before, and from then on signals are for us to hear.
    let answer = runtime()?.block_on(async {
        let answer = Signals::listen()?.or_interrupted(read).await;
        answer.map_err(|exit| Halt::new(exit, "interrupted"))
    })?;
    Ok(answer.is_ok_and(|answer| matches!(answer.trim(), "y" | "Y" | "yes")))
}

/// Asks whether what stands at a results path may be moved aside, unless that was said before.
pub(crate) fn may_start_anew(path: &Path, config: &Config, screen: &Screen) -> Result<(), Halt> {
    let path = path.display();
    let question =
        (format!("move {path} aside and start anew?"), format!("把 {path} 改名备份，重新开始？"));
    if config.results.yes || ask(screen, config.display.language, question)? {
        return Ok(());
    }
    Err(Halt::usage("nothing was done"))
}
