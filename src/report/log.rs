//! Logs on stderr, as text or as JSON.
//!
//! The only home of tracing-subscriber. Knows nothing of what is logged. Only this crate's own events
//! are written: those of libraries may hold what must not be shown.

use std::sync::atomic::{AtomicBool, Ordering};

use tracing::level_filters::LevelFilter;
use tracing::{Subscriber, subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, Registry};

use crate::options::Language;
use crate::report::look::{Look, Tone};
use crate::report::progress::Screen;

/// How logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object on each line.
    Json,
}

impl LogFormat {
    /// The values by their words.
    pub const WORDS: [(&str, Self); 2] = [("text", Self::Text), ("json", Self::Json)];
}

/// Whether logs are for a machine.
static AS_JSON: AtomicBool = AtomicBool::new(false);

/// Writes a message that is no event of the work, such as the target's name: a plain line among plain
/// logs, a log line among JSON.
pub fn say(screen: &Screen, text: &str) {
    if AS_JSON.load(Ordering::Relaxed) {
        tracing::info!("{text}");
    } else {
        screen.say(&format!("bkassoc: {text}"));
    }
}

/// Writes the error that ends a command, which `-q` does not silence.
pub fn say_error(screen: &Screen, text: &str) {
    if AS_JSON.load(Ordering::Relaxed) {
        tracing::error!("{text}");
    } else {
        let look = Look::of_stderr(Language::En);
        screen.say(&format!("{} {text}", look.paint(Tone::Bad, "bkassoc:")));
    }
}

/// Starts logging for the whole process, unless it was started before.
pub fn start(format: LogFormat, quiet: bool, verbose: u8, screen: Screen) {
    AS_JSON.store(format == LogFormat::Json, Ordering::Relaxed);
    let colors = Look::of_stderr(Language::En).colors;
    let subscriber = subscriber(format, level(quiet, verbose), colors, move || screen.clone());
    let _ = subscriber::set_global_default(subscriber);
}

/// The level that `-q` and `-v` ask for.
const fn level(quiet: bool, verbose: u8) -> LevelFilter {
    match (quiet, verbose) {
        (true, _) => LevelFilter::ERROR,
        (false, 0) => LevelFilter::INFO,
        (false, 1) => LevelFilter::DEBUG,
        (false, _) => LevelFilter::TRACE,
    }
}

/// Times are RFC 3339 in UTC, which is tracing-subscriber's own form.
fn subscriber<W>(format: LogFormat, level: LevelFilter, colors: bool, writer: W) -> impl Subscriber
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    // An event that can't be written is lost. By default the loss would be printed to stderr, with a
    // panic where there is none.
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(colors && format == LogFormat::Text)
        .log_internal_errors(false)
        .with_writer(writer);
    let lines = match format {
        LogFormat::Text => lines.with_target(false).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let own = Targets::new().with_target(env!("CARGO_CRATE_NAME"), level);
    Registry::default().with(lines.with_filter(own))
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, quiet: bool, verbose: u8, colors: bool) -> String {
        let written = Written::default();
        let writer = written.clone();
        let subscriber = subscriber(format, level(quiet, verbose), colors, move || writer.clone());
        tracing::subscriber::with_default(subscriber, || {
            tracing::error!(code = 7, "lost\n\u{1b}[31mred");
            tracing::info!("found");
            tracing::debug!("asked");
            tracing::trace!("sent");
            tracing::error!(target: "hyper", "of a library");
        });
        let bytes = written.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    fn time_of(line: &str) -> jiff::Timestamp {
        line.split(' ').next().unwrap().parse().unwrap()
    }

    #[test]
    fn flags_choose_how_much_is_told_and_libraries_are_never_heard() {
        for (quiet, verbose, words) in [
            (true, 2, vec!["lost"]),
            (false, 0, vec!["lost", "found"]),
            (false, 1, vec!["lost", "found", "asked"]),
            (false, 2, vec!["lost", "found", "asked", "sent"]),
        ] {
            let text = logged(LogFormat::Text, quiet, verbose, false);
            for word in ["lost", "found", "asked", "sent", "library"] {
                assert_eq!(text.contains(word), words.contains(&word), "{word} in {text}");
            }
        }
    }

    #[test]
    fn text_has_a_time_and_no_terminal_codes() {
        let text = logged(LogFormat::Text, false, 0, false);
        let found = text.lines().last().unwrap();
        time_of(found);
        assert!(found.ends_with("  INFO found"), "{found}");
        assert!(!text.contains('\u{1b}'), "{text:?}");
    }

    #[test]
    fn colours_tell_levels_apart_and_change_no_text() {
        let timeless = |text: &str| -> Vec<String> {
            let rest = |line: &str| line.split_once(' ').map(|(_, rest)| rest.to_owned());
            text.lines().filter_map(rest).collect()
        };
        let painted = logged(LogFormat::Text, false, 0, true);
        assert!(painted.contains("\u{1b}[31mERROR") && painted.contains("\u{1b}["), "{painted:?}");
        // A text of somebody else's can't add codes of its own.
        assert!(!painted.contains("\u{1b}[31mred"), "{painted:?}");
        let is_code = |part: &str| part.find('m').map(|end| part[end + 1..].to_owned());
        let stripped: String = painted
            .split("\u{1b}[")
            .enumerate()
            .map(|(at, part)| if at == 0 { part.to_owned() } else { is_code(part).unwrap() })
            .collect();
        let plain = logged(LogFormat::Text, false, 0, false);
        assert_eq!(timeless(&stripped), timeless(&plain));
    }

    #[test]
    fn json_is_one_object_a_line_with_an_rfc_3339_time() {
        let text = logged(LogFormat::Json, false, 0, true);
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["level"], "ERROR");
        assert_eq!(lines[0]["code"], 7);
        assert_eq!(lines[1]["message"], "found");
        time_of(lines[1]["timestamp"].as_str().unwrap());
    }
}
