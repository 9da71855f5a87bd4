//! The bar and the texts beside and below it, as indicatif lays them out.
//!
//! The only home of indicatif. It draws on rows in memory, and whoever shows them draws them on the terminal:
//! indicatif fills lines to the edge, and a terminal that is made wider or narrower joins or breaks such lines.
//! Knows nothing of what is told, or of when.

use std::fmt;
use std::io;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};

use crate::report::screen::{Line, columns};

/// All that is to be done: per cent, in tenths.
const LENGTH: u64 = 1_000;

/// What is shown, fitted to the terminal.
#[derive(Debug, Default)]
pub(super) struct Parts {
    /// Per cent that are done, and the width of the bar that shows them; `None` where there is no bar.
    pub(super) bar: Option<(u64, usize)>,
    /// The text beside the bar.
    pub(super) how_far: String,
    /// The text below.
    pub(super) how_well: String,
}

/// A bar that is drawn at each [`show`](Self::show), and taken away in the end.
#[derive(Debug)]
pub(super) struct Bar(ProgressBar);

impl Bar {
    /// A bar whose lines are handed on to be shown in place of those before.
    pub(super) fn shown_by(show: impl Fn(Vec<Line>) + Send + Sync + 'static) -> Self {
        let rows = Rows { show, written: Mutex::default() };
        // Without a limit of its own: each view is drawn, the last one, too.
        let target = ProgressDrawTarget::term_like(Box::new(rows));
        Self(ProgressBar::with_draw_target(Some(LENGTH), target))
    }

    /// Draws it once, with all that has changed.
    pub(super) fn show(&self, parts: Parts) {
        let (percent, width) = parts.bar.unwrap_or_default();
        let template = match width {
            0 => "{prefix}\n{msg}\n".to_owned(),
            _ => format!("[{{bar:{width}}}] {{prefix}}\n{{msg}}\n"),
        };
        // If a template were wrong, the bar would keep the style that it has.
        if let Ok(style) = ProgressStyle::with_template(&template) {
            self.0.set_style(style.progress_chars("=> "));
        }
        // At a position of 0 there would be no head.
        let position = (percent * LENGTH / 100).max(1);
        let bar = self.0.clone().with_prefix(parts.how_far).with_message(parts.how_well);
        bar.with_position(position).tick();
    }

    /// Takes it away.
    pub(super) fn clear(&self) {
        self.0.finish_and_clear();
    }
}

/// What indicatif takes for a terminal. Each drawing replaces the one before, wherever the cursor was.
struct Rows<S> {
    show: S,
    /// Each line, and after it the blanks that fill it to the edge.
    written: Mutex<Vec<String>>,
}

impl<S> Rows<S> {
    fn written(&self) -> MutexGuard<'_, Vec<String>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S> fmt::Debug for Rows<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows").field("written", &self.written).finish_non_exhaustive()
    }
}

impl<S: Fn(Vec<Line>) + Send + Sync> TermLike for Rows<S> {
    fn width(&self) -> u16 {
        // indicatif can't count with less than a Chinese character takes.
        columns().try_into().unwrap_or(u16::MAX).max(2)
    }

    fn height(&self) -> u16 {
        // indicatif leaves out what is higher.
        u16::MAX
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.written().push(text.to_owned());
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        let written = mem::take(&mut *self.written());
        (self.show)(written.into_iter().step_by(2).map(Line::new).collect());
        Ok(())
    }

    fn write_line(&self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn clear_line(&self) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_up(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_down(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_right(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_left(&self, _: usize) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn each_view_is_drawn_once_as_two_lines_and_dropped_with_the_bar() {
        let drawn = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&drawn);
        let bar = Bar::shown_by(move |lines| seen.lock().unwrap().push(lines));
        let texts = [("a", ""), ("", "\u{1b}[31m失败 4\u{1b}[0m"), ("", ""), ("last", "one")];
        // More at once than a rate would let through.
        let texts = texts.repeat(10);
        for (how_far, how_well) in texts.iter().copied() {
            bar.show(Parts { bar: None, how_far: how_far.into(), how_well: how_well.into() });
        }
        drop(bar);
        let two =
            |(one, other): (&str, &str)| [one, other].map(|text| Line::new(text.into())).into();
        let views: Vec<Vec<Line>> = texts.into_iter().map(two).chain([Vec::new()]).collect();
        assert_eq!(*drawn.lock().unwrap(), views);
        assert_eq!(views[1][1].columns, 6);
    }
}
