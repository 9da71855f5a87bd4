//! The place in the input of each line of results, and whether it comes after that of the line before.

use crate::engine::stats::Place;

/// Follows the lines of results through the inputs.
#[derive(Debug)]
pub(super) struct Places {
    /// Whether all inputs are known.
    complete: bool,
    last: Option<Place>,
}

impl Places {
    /// Starts before the first line. `complete` says that the inputs given to [`Self::next`] are all of
    /// the run's, so that any other name is a finding.
    pub(super) fn new(complete: bool) -> Self {
        Self { complete, last: None }
    }

    /// The place of the next line, which is line `line` of the input `name` (or of the only input), and
    /// what is wrong with it. Line 0 is none: a sync adds it, before all others.
    ///
    /// A run may have been given an input twice, so a name may come back: the line belongs to the next
    /// input of that name only if it can't be the next line of the present one.
    pub(super) fn next(
        &mut self,
        files: &mut Vec<String>,
        name: Option<&str>,
        line: u64,
    ) -> (Place, Option<String>) {
        if line == 0 {
            let wrong = self.last.map(|last| {
                format!(
                    "in no input, and yet behind line {}: what a sync adds comes first",
                    last.line
                )
            });
            return (Place { file: 0, line }, wrong);
        }
        let (file, stranger) = self.file(files, name, line);
        let place = Place { file, line };
        let wrong = match self.last {
            _ if stranger => {
                Some(format!("{}: no input of this run", super::shown(name.unwrap_or_default())))
            }
            Some(last) if last == place => Some("the line before it is the same row".to_owned()),
            Some(last) if last > place => {
                let of = files.get(last.file as usize).filter(|_| last.file != file);
                let of = of.map(|name| format!(" of {name}")).unwrap_or_default();
                Some(format!("comes after line {}{of}", last.line))
            }
            Some(_) | None => None,
        };
        self.last = Some(place);
        (place, wrong)
    }

    fn file(&self, files: &mut Vec<String>, name: Option<&str>, line: u64) -> (u32, bool) {
        let Some(name) = name else { return (0, false) };
        let (at, last_line) = self.last.map_or((0, 0), |last| (last.file as usize, last.line));
        let is = |file: &String| *file == *name;
        if files.get(at).is_some_and(is) && line > last_line {
            return (at as u32, false);
        }
        let ahead = files.iter().skip(at + 1).position(is).map(|further| at + 1 + further);
        if let Some(file) = ahead.or_else(|| files.iter().position(is)) {
            return (file as u32, false);
        }
        files.push(name.to_owned());
        (files.len() as u32 - 1, self.complete)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is wrong with each of these lines.
    fn wrong(files: &[&str], complete: bool, lines: &[(&str, u64)]) -> Vec<Option<String>> {
        let mut files: Vec<_> = files.iter().map(|&file| file.to_owned()).collect();
        let mut places = Places::new(complete);
        let mut wrong = |&(name, line): &(&str, u64)| {
            places.next(&mut files, (!name.is_empty()).then_some(name), line).1
        };
        lines.iter().map(&mut wrong).collect()
    }

    #[test]
    fn lines_ascend_in_each_file_and_files_follow_each_other() {
        let lines = [("a", 2), ("a", 4), ("c", 2), ("c", 3)];
        assert_eq!(wrong(&["a", "b", "c"], true, &lines), vec![None; 4]);
        assert_eq!(wrong(&[], false, &lines), vec![None; 4]);
        assert_eq!(wrong(&[], false, &[("", 2), ("", 3), ("", 9)]), vec![None; 3]);
    }

    #[test]
    fn a_line_that_is_there_twice_or_too_late_is_told() {
        let found = wrong(&[], false, &[("", 2), ("", 2), ("", 5), ("", 4)]);
        assert_eq!(found[1].as_deref(), Some("the line before it is the same row"));
        assert_eq!(found[3].as_deref(), Some("comes after line 5"));
        let found = wrong(&["a", "b"], true, &[("b", 2), ("a", 7), ("d", 1)]);
        assert_eq!(found[1].as_deref(), Some("comes after line 2 of b"));
        assert_eq!(found[2].as_deref(), Some("\"d\": no input of this run"));
    }

    #[test]
    fn what_a_sync_adds_stands_before_the_lines_of_all_inputs() {
        let lines = [("", 0), ("", 0), ("a", 2), ("b", 2)];
        assert_eq!(wrong(&["a", "b"], true, &lines), vec![None; 4]);
        let found = wrong(&[], false, &[("", 2), ("", 0), ("", 3)]);
        assert!(found[1].as_deref().unwrap().contains("behind line 2"), "{found:?}");
        assert_eq!((&found[0], &found[2]), (&None, &None));
    }

    #[test]
    fn an_input_that_was_given_twice_is_two_inputs() {
        let twice = [("a", 2), ("a", 3), ("a", 2), ("a", 3)];
        assert_eq!(wrong(&["a", "a"], true, &twice), vec![None; 4]);
        let thrice = [("a", 2), ("a", 2), ("a", 2)];
        assert!(wrong(&["a", "a"], true, &thrice)[2].is_some());
    }
}
