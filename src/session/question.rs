//! A question to the person at the terminal.

use std::io::{self, BufRead, IsTerminal};
use std::path::Path;

use super::runtime::runtime;
use super::signals::Signals;
use crate::exit::Halt;
use crate::report::progress::Screen;

/// Asks on the terminal, where there is one.
pub(crate) fn ask(screen: &Screen, question: &str) -> Result<bool, Halt> {
    if !io::stdin().is_terminal() {
        return Err(Halt::usage(format!("{question} Give --yes to say so without a terminal")));
    }
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
pub(crate) fn may_start_anew(path: &Path, yes: bool, screen: &Screen) -> Result<(), Halt> {
    if yes || ask(screen, &format!("move {} aside and start anew?", path.display()))? {
        return Ok(());
    }
    Err(Halt::usage("nothing was done"))
}
