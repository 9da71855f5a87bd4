//! Where a line of results stands in the input, and whether it comes after the line before it.

use crate::engine::stats::Place;

/// Follows the lines of results through the inputs.
#[derive(Debug)]
pub(super) struct Places {
    /// Whether the list of inputs is known to be whole.
    complete: bool,
    last: Option<Place>,
}

impl Places {
    /// At the beginning. `complete`: the list of inputs that [`Self::next`] gets is the run's own,
    /// and no name is added to it.
    pub(super) fn new(complete: bool) -> Self {
        Self { complete, last: None }
    }

    /// The place of the next line, which says that it is line `line` of `name` (of the one input,
    /// where there is no name), and what is wrong with that.
    ///
    /// An input may be given twice, so that its name comes back: an input is left for the next one
    /// of that name only where the line can't be the next of the present one.
    pub(super) fn next(
        &mut self,
        files: &mut Vec<String>,
        name: Option<&str>,
        line: u64,
    ) -> (Place, Option<String>) {
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

    /// What is wrong with each line of a file that has these lines.
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
    fn an_input_that_was_given_twice_is_two_inputs() {
        let twice = [("a", 2), ("a", 3), ("a", 2), ("a", 3)];
        assert_eq!(wrong(&["a", "a"], true, &twice), vec![None; 4]);
        let thrice = [("a", 2), ("a", 2), ("a", 2)];
        assert!(wrong(&["a", "a"], true, &thrice)[2].is_some());
    }
}
