//! Texts of generated instances: a pattern with at most one place for a number.
//!
//! Owns how a pattern is written, filled in, and read backwards, so that a hundred thousand names cost no
//! memory and are found at once. Knows nothing of instances.

use std::net::Ipv4Addr;

/// A pattern. `{n}` is the instance's number in its group, from 1; `{id}` its id; `{n:05}` has leading
/// zeros; `{10.0.0.0+n}` is the address so far behind another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    before: String,
    place: Option<Place>,
    after: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    of: Of,
    form: Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    Number,
    Id,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// With at least so many digits.
    Digits(usize),
    Address(Ipv4Addr),
}

/// Which instances of a group have a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Having {
    None,
    /// The one with this number in its group.
    One(i64),
    All,
}

impl Pattern {
    /// Reads a pattern; `None` where a brace opens or closes no place, or a second one.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let Some((before, rest)) = text.split_once('{') else {
            return (!text.contains('}')).then(|| Self::fixed(text));
        };
        let (inner, after) = rest.split_once('}')?;
        if before.contains('}') || after.contains(['{', '}']) {
            return None;
        }
        Some(Self {
            before: before.to_owned(),
            place: Some(Place::parse(inner)?),
            after: after.to_owned(),
        })
    }

    /// A text without a place.
    pub(super) fn fixed(text: &str) -> Self {
        Self { before: text.to_owned(), place: None, after: String::new() }
    }

    pub(super) const fn is_fixed(&self) -> bool {
        self.place.is_none()
    }

    /// The text of the instance with this number and id.
    pub(super) fn fill(&self, number: i64, id: i64) -> String {
        let Self { before, place, after } = self;
        match place {
            None => before.clone(),
            Some(place) => {
                let number = match place.of {
                    Of::Number => number,
                    Of::Id => id,
                };
                match place.form {
                    Form::Digits(width) => format!("{before}{number:0width$}{after}"),
                    Form::Address(base) => {
                        let far = u32::try_from(number).unwrap_or_default();
                        let address = Ipv4Addr::from_bits(base.to_bits().wrapping_add(far));
                        format!("{before}{address}{after}")
                    }
                }
            }
        }
    }

    /// Which instances have a text, in a group whose first id this is.
    pub(super) fn having(&self, text: &str, first: i64) -> Having {
        let Some(place) = self.place else {
            return if text == self.before { Having::All } else { Having::None };
        };
        let inner = text.strip_prefix(&*self.before);
        let inner = inner.and_then(|inner| inner.strip_suffix(&*self.after));
        let found = inner.and_then(|inner| match place.form {
            Form::Digits(_) => inner.parse::<i64>().ok(),
            Form::Address(base) => {
                let address: Ipv4Addr = inner.parse().ok()?;
                address.to_bits().checked_sub(base.to_bits()).map(i64::from)
            }
        });
        let number = found.and_then(|found| match place.of {
            Of::Number => Some(found),
            Of::Id => found.checked_sub(first)?.checked_add(1),
        });
        let is_it = |number: &i64| {
            let id = number.checked_add(first - 1);
            id.is_some_and(|id| self.fill(*number, id) == text)
        };
        match number.filter(is_it) {
            Some(number) => Having::One(number),
            None => Having::None,
        }
    }
}

impl Place {
    fn parse(text: &str) -> Option<Self> {
        let of = |word: &str| match word {
            "n" => Some(Of::Number),
            "id" => Some(Of::Id),
            _ => None,
        };
        if let Some((base, word)) = text.split_once('+') {
            return Some(Self { of: of(word)?, form: Form::Address(base.parse().ok()?) });
        }
        let (word, width) = text.split_once(":0").unwrap_or((text, "1"));
        let width = width.parse().ok().filter(|width| (1..=18).contains(width))?;
        Some(Self { of: of(word)?, form: Form::Digits(width) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_filled_in_and_read_backwards() {
        for (pattern, text) in [
            ("app-{n}", "app-7"),
            ("app-{n:04}.x", "app-0007.x"),
            ("{id}", "107"),
            ("{10.0.0.250+n}", "10.0.1.1"),
            ("http://{10.0.0.0+id}/", "http://10.0.0.107/"),
        ] {
            let pattern = Pattern::parse(pattern).unwrap();
            assert_eq!(pattern.fill(7, 107), text);
            assert_eq!(pattern.having(text, 101), Having::One(7), "{text}");
            for other in ["", "app-", "app-07", "app-+7", "app-00007.x", "10.0.0.1", "0107"] {
                assert_eq!(pattern.having(other, 101), Having::None, "{pattern:?} {other}");
            }
        }
        let fixed = Pattern::parse("core-sw").unwrap();
        assert_eq!((fixed.fill(7, 107).as_str(), fixed.is_fixed()), ("core-sw", true));
        assert_eq!(fixed.having("core-sw", 101), Having::All);
        assert_eq!(fixed.having("core-SW", 101), Having::None);
    }

    #[test]
    fn a_brace_that_is_no_place_is_refused() {
        for text in ["{", "}", "{}", "{m}", "{n}{n}", "a}b{n}", "{n:5}", "{n:099}", "{10.0.0+n}"] {
            assert_eq!(Pattern::parse(text), None, "{text}");
        }
    }
}
