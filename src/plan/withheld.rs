//! Why deletes of a model association stay undone: rows of the input that are not understood.
//!
//! A typo must not look like an absence. Knows nothing of what would be deleted.

use std::fmt::Write as _;

use rustc_hash::FxHashMap;

/// How many rows are named.
const NAMED: u64 = 3;

/// Rows that are not understood, by the model association of which they may be.
#[derive(Debug, Default)]
pub(crate) struct Withheld {
    /// Rows that may be of any.
    of_any: Why,
    by_number: FxHashMap<u32, Why>,
}

#[derive(Clone, Debug, Default)]
struct Why {
    rows: u64,
    first: String,
}

impl Why {
    fn add(&mut self, what: &str) {
        self.rows += 1;
        if self.rows <= NAMED {
            let before = if self.rows == 1 { "" } else { "; " };
            // Writing to a String can't fail.
            let _ = write!(self.first, "{before}{what}");
        }
    }
}

impl Withheld {
    /// Takes note of rows of the model association with this number, or of any: `what` names them, and
    /// says what is wrong.
    pub(crate) fn note(&mut self, number: Option<u32>, what: &str) {
        match number {
            Some(number) => self.by_number.entry(number).or_default().add(what),
            None => self.of_any.add(what),
        }
    }

    /// The model association with this number is none: its rows may be of any.
    pub(super) fn is_of_any(&mut self, number: u32) {
        let Some(why) = self.by_number.remove(&number) else { return };
        if self.of_any.rows == 0 {
            self.of_any = why;
        } else {
            self.of_any.rows += why.rows;
        }
    }

    /// Whether what the input does not name of this model association stays.
    pub(super) fn holds(&self, number: u32) -> bool {
        self.of(number).is_some()
    }

    fn of(&self, number: u32) -> Option<&Why> {
        self.by_number.get(&number).or(Some(&self.of_any).filter(|why| why.rows > 0))
    }

    /// Why what the input does not name of this model association stays, if it does.
    pub(crate) fn why(&self, number: u32) -> Option<String> {
        let why = self.of(number)?;
        let more = if why.rows > NAMED {
            format!("; and {} more", why.rows - NAMED)
        } else {
            String::new()
        };
        Some(format!("{}{more}", why.first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rows_are_named_and_a_row_of_any_counts_for_all() {
        let mut withheld = Withheld::default();
        assert_eq!(withheld.why(1), None);
        for line in 2..7 {
            withheld.note(Some(1), &format!("line {line}: missing-source"));
        }
        let three = "line 2: missing-source; line 3: missing-source; line 4: missing-source";
        assert_eq!(withheld.why(1), Some(format!("{three}; and 2 more")));
        assert_eq!(withheld.why(2), None);
        withheld.note(None, "line 9: invalid-row");
        assert_eq!(withheld.why(2).as_deref(), Some("line 9: invalid-row"));
        let mut mistyped = Withheld::default();
        mistyped.note(Some(1), "line 3: invalid-row");
        assert_eq!(mistyped.why(2), None);
        mistyped.is_of_any(1);
        assert_eq!(mistyped.why(2).as_deref(), Some("line 3: invalid-row"));
    }
}
