//! `bkassoc results`: what an unfinished run's journal knows so far.
//!
//! Rows without an outcome are written too, as far as the inputs can still be read: `in_doubt` where
//! a mark says that they may have been sent, `not_attempted` otherwise. So the file can be given to
//! rerun.

use std::ffi::OsString;
use std::iter::Peekable;
use std::path::{Path, PathBuf};

use super::input_options;
use super::rerun::refuse_undone;
use crate::cli::Results as Args;
use crate::cli::layers::Typed;
use crate::config::paths::{dated, refuse_own_input};
use crate::config::{self, Environment, InputConfig};
use crate::engine::remaining::{PendingRow, Remaining};
use crate::exit::Exit;
use crate::options::Format;
use crate::outcome::{Outcome, Record, Status};
use crate::report::progress::Screen;
use crate::session::failure::Failure;
use crate::session::source::{Choice, RowSource, ToUndo, sources};
use crate::storage::journal;
use crate::storage::journal::replay::{self, Replay};
use crate::storage::manifest::{Head, Work};
use crate::storage::path_state::{self, PathState};
use crate::storage::results::reader::Reader;
use crate::storage::results::{self, Outcomes, ResultsError};
use crate::target::Target;

/// Runs it.
pub(super) fn run(args: &Args, screen: &Screen) -> Result<Exit, Failure> {
    let output = dated(&args.output, Environment::of_process().today);
    let args = &Args { output, results: args.results.clone() };
    let format =
        if is_stdout(&args.output) { Some(Format::Csv) } else { Format::of_name(&args.output) };
    let format = format.ok_or_else(|| {
        Failure::usage(format!("{}: results end with .csv, .tsv or .jsonl", args.output.display()))
    })?;
    if !is_stdout(&args.output) {
        refuse_to_replace(&args.output)?;
    }
    match path_state::look(&args.results)? {
        PathState::Unfinished => unfinished(args, format, screen),
        PathState::Finished(manifest) => {
            refuse_undone(&args.results, Some(&manifest))?;
            let files = &manifest.head.files;
            write(args, format, files, Reader::open(&args.results, files)?)
        }
        PathState::Free | PathState::Stranger => Err(nothing_there(&args.results)),
    }
}

fn is_stdout(output: &Path) -> bool {
    output == Path::new("-")
}

/// What is written here may take the place of what was written here before, and of nothing else.
fn refuse_to_replace(output: &Path) -> Result<(), Failure> {
    let refuse = |what: &str| {
        Err(Failure::usage(format!("-o {}: {what}: give another file", output.display())))
    };
    match path_state::look(output)? {
        PathState::Unfinished | PathState::Finished(_) => refuse("a run has its results there"),
        PathState::Stranger if !holds_results(output) => refuse("is there, and holds no results"),
        PathState::Free | PathState::Stranger => Ok(()),
    }
}

fn holds_results(path: &Path) -> bool {
    Reader::open(path, &[]).is_ok_and(|mut reader| !matches!(reader.next(), Some(Err(_))))
}

fn nothing_there(results: &Path) -> Failure {
    let message = format!("{}: there is no run, finished or not", results.display());
    Failure::new(Exit::Input, message)
}

fn unfinished(args: &Args, format: Format, screen: &Screen) -> Result<Exit, Failure> {
    let journal = journal::path_for(&args.results);
    // Outcomes first: of a run that is at work meanwhile, a row that is sent now is in doubt at worst.
    let outcomes = Outcomes::of_journal(&journal)?;
    let replay = replay::replay(&journal, |_| {})?;
    let Some(head) = replay.head.clone() else {
        return Err(nothing_there(&args.results));
    };
    if let Some(undone) = &replay.undone {
        return Err(Failure::usage(format!(
            "the unfinished run at {} was {undone}: what became of its rows stands there",
            args.results.display()
        )));
    }
    if !is_stdout(&args.output) {
        let inputs: Vec<_> = head.inputs.iter().map(PathBuf::from).collect();
        refuse_own_input(&args.output, &inputs)
            .map_err(|error| Failure::usage(error.to_string()))?;
    }
    let files = head.files.clone();
    match rows_of(&head) {
        Ok(rows) => {
            let all = Filled { rows, outcomes: outcomes.peekable(), replay };
            write(args, format, &files, all)
        }
        Err(failure) => {
            screen.say(&format!(
                "bkassoc: {failure}: rows without an outcome are left out, since only the input has their text"
            ));
            write(args, format, &files, outcomes)
        }
    }
}

fn write(
    args: &Args,
    format: Format,
    files: &[String],
    records: impl IntoIterator<Item = Result<Record, ResultsError>>,
) -> Result<Exit, Failure> {
    if is_stdout(&args.output) {
        let stdout = std::io::stdout().lock();
        results::write_to(stdout, &args.output, format, files, records, |_| {})?;
    } else {
        results::write(&args.output, format, files, records, |_| {})?;
    }
    Ok(Exit::Ok)
}

/// The rows that a run reads, as its head says.
pub(super) fn rows_of(head: &Head) -> Result<RowSource, Failure> {
    if head.inputs.iter().any(|name| name == "-") {
        return Err(Failure::new(Exit::Input, "the input was standard input"));
    }
    let first = Path::new(head.inputs.first().map_or("", String::as_str));
    let reading = reading_of(head)?;
    match head.work {
        Work::Import => {
            let inputs: Vec<_> = head.inputs.iter().map(PathBuf::from).collect();
            Ok(RowSource::of_input(&sources(&inputs), &input_options(&reading)?)?)
        }
        Work::Rerun => {
            Ok(RowSource::of_results(first, &head.files, &reading, Choice::of_head(head))?)
        }
        Work::Undo => {
            let recovered_too = head.options.contains_key(ToUndo::INCLUDE_RECOVERED);
            Ok(RowSource::to_undo(first, &head.files, recovered_too)?)
        }
    }
}

/// How a run read its input, as its head says.
pub(super) fn reading_of(head: &Head) -> Result<InputConfig, Failure> {
    // The head keeps options as they were typed: read as an import's, they mean the same again.
    let argv = ["bkassoc", "import", "--sandbox", "--output", "-", "--", "-"];
    let typed = Typed::parse(argv.map(OsString::from))
        .map_err(|error| Failure::usage(error.to_string()))?;
    let parent = config::Parent {
        file: PathBuf::from("run.json"),
        target: Target { endpoint: Target::SANDBOX.to_owned(), ..head.target.clone() },
        options: head.settings.clone(),
    };
    let nothing = Environment { variable: &|_| None, ..Environment::of_process() };
    Ok(config::resolve(&typed, &nothing, Some(&parent))?.input)
}

/// The outcomes, with rows that have none in between.
struct Filled<O: Iterator<Item = Result<Record, ResultsError>>> {
    rows: RowSource,
    outcomes: Peekable<O>,
    replay: Replay,
}

impl<O: Iterator<Item = Result<Record, ResultsError>>> Iterator for Filled<O> {
    type Item = Result<Record, ResultsError>;

    fn next(&mut self) -> Option<Self::Item> {
        let PendingRow { row, remaining } = match self.rows.next() {
            None => return self.outcomes.next(),
            Some(Ok(planned)) => planned,
            Some(Err(error)) => {
                return Some(Err(ResultsError::Unreadable {
                    path: "the input".into(),
                    line: None,
                    what: error.to_string(),
                }));
            }
        };
        let has_outcome = |next: &Result<Record, ResultsError>| {
            next.as_ref().map_or(true, |record| record.ordinal == row.ordinal)
        };
        if let Some(next) = self.outcomes.next_if(has_outcome) {
            return Some(next);
        }
        let may_be_sent = self.replay.may_have_been_sent(row.ordinal);
        let outcome = match remaining {
            Remaining::Carry(outcome) => outcome,
            Remaining::All(_) if !may_be_sent => Outcome::open(Status::NotAttempted, String::new()),
            // A row that the parent run left in doubt is so without a mark, too.
            Remaining::All(_) | Remaining::InDoubt { .. } => {
                Outcome::open(Status::InDoubt, String::new())
            }
        };
        Some(Ok(Record::of(row, outcome)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::association::Cells;
    use crate::outcome::Reason;
    use crate::storage::manifest::FORMAT;
    use crate::target::Entrance;

    #[test]
    fn rows_that_an_unfinished_rerun_carries_over_keep_what_the_parent_run_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.csv");
        let outcomes = [
            Outcome::good(Status::Created, 7, 1, 1),
            Outcome::bad(Reason::Throttled, String::new(), 1, 1),
            Outcome::bad(Reason::OutcomeUnknown, String::new(), 1, 1),
        ];
        let records = (0..).zip(outcomes).map(|(ordinal, outcome)| {
            let cells = Cells::new(["a", "1", "2", ""]);
            Ok(Record { ordinal, file: 0, line: ordinal + 2, cells, outcome })
        });
        results::write(&path, Format::Csv, &[], records, |_| {}).unwrap();
        let rows =
            RowSource::of_results(&path, &[], &InputConfig::default(), Choice::default()).unwrap();
        let (outcomes, replay) = (std::iter::empty().peekable(), Replay::default());
        let all = Filled { rows, outcomes, replay };
        let said: Vec<_> = all.map(|record| record.unwrap().outcome).collect();
        assert_eq!((said[0].status, said[0].association_id), (Status::Created, Some(7)));
        assert_eq!(said[1].status, Status::NotAttempted);
        assert_eq!(said[2].status, Status::InDoubt);
    }

    #[test]
    fn the_rows_of_a_run_with_several_inputs_are_read_as_it_read_them() {
        let folder = tempfile::tempdir().unwrap();
        let inputs = ["a.csv", "b.csv"].map(|name| {
            let path = folder.path().join(name);
            std::fs::write(&path, "obj_asst_id;von;asst_inst_id\na;1;2\n").unwrap();
            path.display().to_string()
        });
        let settings = [("map", "inst_id=von"), ("delimiter", ";"), ("biz-id", "7")];
        let settings = settings.map(|(flag, value)| (flag.to_owned(), vec![value.to_owned()]));
        let head = Head {
            format: FORMAT,
            tool: String::new(),
            work: Work::Import,
            target: Target::new(Entrance::Esb, "http://h", "0").unwrap(),
            app_code: None,
            username: None,
            options: BTreeMap::new(),
            settings: settings.into_iter().collect(),
            inputs: inputs.to_vec(),
            files: inputs.to_vec(),
            started_at: String::new(),
            parent: None,
        };
        let mut rows = rows_of(&head).unwrap();
        let mut cells = Vec::new();
        while let Some(planned) = rows.next() {
            let row = planned.unwrap().row;
            cells.push((row.file, row.cells.all().join(",")));
        }
        assert_eq!(cells, [(0, "a,1,2,7".to_owned()), (1, "a,1,2,7".to_owned())]);
    }
}
