//! Guards: what has to be so before anything of a plan is sent.
//!
//! A pure judgement of the numbers in a plan's `run.json`. Knows nothing of how they came about.

use std::fmt;

use crate::options::{GuardOptions, MaxDelete};
use crate::storage::plan::PlanManifest;

/// From how many associations on a tenth says anything.
const DEFAULT_FROM: u64 = 10;
/// The share that may go where no limit was given.
const DEFAULT: MaxDelete = MaxDelete::Percent(10.0);

/// Under which word deletes are counted.
const DELETE: &str = "delete";

/// Why a plan is not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tripped {
    /// The input has no rows; or one of several, by name.
    Empty(Option<String>),
    /// More would be deleted than may be; of a model association, or of all.
    TooMany {
        /// Which.
        name: Option<String>,
        /// How many would go.
        deletes: u64,
        /// How many there are.
        there: u64,
        /// How many may go.
        most: u64,
    },
    /// Less than half is there of what the run before saw: a permission may have been lost.
    Shrunk {
        /// Of which model association.
        name: String,
        /// How many there are.
        there: u64,
        /// How many there were.
        before: u64,
    },
}

impl fmt::Display for Tripped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty(input) => {
                let input = input.as_deref().unwrap_or("the input");
                write!(f, "{input} has no rows, so that all that it should name would be missing")
            }
            Self::TooMany { name, deletes, there, most } => {
                let name = name.as_deref().unwrap_or("all model associations in scope");
                write!(
                    f,
                    "{name}: {deletes} of {there} would be deleted, and at most {most} may be"
                )
            }
            Self::Shrunk { name, there, before } => write!(
                f,
                "{name}: {there} are there, and the run before saw {before}: has this user lost a permission?"
            ),
        }
    }
}

/// What trips, and nothing where the plan may be carried out.
pub(crate) fn judge(manifest: &PlanManifest, options: &GuardOptions) -> Vec<Tripped> {
    let Some(survey) = &manifest.head.survey else { return Vec::new() };
    let mut tripped = Vec::new();
    if !options.allow_empty {
        let alone = manifest.rows == 0 && manifest.empty.is_empty();
        let of_several = manifest.empty.iter().cloned().map(Some);
        tripped.extend(of_several.chain(alone.then_some(None)).map(Tripped::Empty));
    }
    let mut all = (0, 0);
    for (name, found) in &survey.scope {
        let deletes = manifest.count(DELETE, Some(name)) + found.doubles;
        all = (all.0 + deletes, all.1 + found.there);
        if let Some(most) = exceeded(deletes, found.there, options.max_delete) {
            let (name, there) = (Some(name.clone()), found.there);
            tripped.push(Tripped::TooMany { name, deletes, there, most });
        }
        if let Some(before) = found.before
            && found.there < before.div_ceil(2)
            && !options.allow_shrunk
        {
            tripped.push(Tripped::Shrunk { name: name.clone(), there: found.there, before });
        }
    }
    let (deletes, there) = all;
    if survey.scope.len() > 1
        && let Some(most) = exceeded(deletes, there, options.max_delete)
    {
        tripped.push(Tripped::TooMany { name: None, deletes, there, most });
    }
    tripped
}

/// The limit, where that many deletes are too many.
fn exceeded(deletes: u64, there: u64, limit: Option<MaxDelete>) -> Option<u64> {
    let limit = limit.or((there >= DEFAULT_FROM).then_some(DEFAULT))?;
    let most = limit.of(there);
    // Rows may delete what the same input creates: no more can go than all that is there.
    let of_all = matches!(limit, MaxDelete::Percent(_)) && most == there;
    (deletes > most && !of_all).then_some(most)
}

/// The flags that say that all of it is meant.
pub(crate) fn allowing(tripped: &[Tripped], manifest: &PlanManifest) -> Vec<String> {
    let mut flags = Vec::new();
    if tripped.iter().any(|one| matches!(one, Tripped::TooMany { .. })) {
        let survey = manifest.head.survey.iter().flat_map(|survey| survey.scope.values());
        let doubles: u64 = survey.map(|found| found.doubles).sum();
        let deletes = manifest.count(DELETE, None) + doubles;
        flags.extend(["--max-delete".to_owned(), deletes.to_string()]);
    }
    if tripped.iter().any(|one| matches!(one, Tripped::Empty(_))) {
        flags.push("--allow-empty".to_owned());
    }
    if tripped.iter().any(|one| matches!(one, Tripped::Shrunk { .. })) {
        flags.push("--allow-shrunk".to_owned());
    }
    flags
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::storage::manifest::Head;
    use crate::storage::survey::{Found, Survey};

    /// By name: how many are there, how many go, how many were there before.
    fn manifest(rows: u64, of: &[(&str, u64, u64, Option<u64>)]) -> PlanManifest {
        let found = |there, before| Found { there, before, ..Found::default() };
        let counts = |deletes| BTreeMap::from([("delete".to_owned(), deletes)]);
        let scope = of
            .iter()
            .map(|&(name, there, _, before)| (name.to_owned(), found(there, before)))
            .collect();
        let survey = Some(Survey { scope, ..Survey::default() });
        PlanManifest {
            head: Head { survey, ..Head::of_import() },
            digests: Vec::new(),
            planned_at: String::new(),
            rows,
            empty: Vec::new(),
            blank_rows: 0,
            counts: counts(of.iter().map(|one| one.2).sum()),
            reasons: BTreeMap::new(),
            associations: (of.iter())
                .map(|&(name, _, deletes, _)| (name.to_owned(), counts(deletes)))
                .collect(),
            calls: 0,
            seconds: None,
            plan_sha256: String::new(),
        }
    }

    fn limit(text: &str) -> GuardOptions {
        GuardOptions { max_delete: Some(text.parse().unwrap()), ..GuardOptions::default() }
    }

    #[test]
    fn a_tenth_may_go_once_there_are_ten() {
        let default = GuardOptions::default();
        for (there, deletes, trips) in
            [(9, 9, false), (10, 1, false), (10, 2, true), (1000, 100, false), (1000, 101, true)]
        {
            let tripped = judge(&manifest(1, &[("a", there, deletes, None)]), &default);
            assert_eq!(!tripped.is_empty(), trips, "{deletes} of {there}: {tripped:?}");
        }
    }

    #[test]
    fn a_limit_that_is_given_counts_for_each_and_for_all() {
        let plan = manifest(1, &[("a", 5, 3, None), ("b", 1000, 57, None)]);
        for (text, trips) in
            [("60", 0), ("59", 1), ("57", 1), ("56", 2), ("5%", 3), ("60%", 0), ("100%", 0)]
        {
            let tripped = judge(&plan, &limit(text));
            assert_eq!(tripped.len(), trips, "{text}: {tripped:?}");
        }
        assert_eq!(judge(&plan, &limit("0")).len(), 3);
        let tripped = judge(&plan, &limit("5%"));
        assert_eq!(allowing(&tripped, &plan), ["--max-delete", "60"]);
        assert_eq!(judge(&plan, &limit("60")), []);
    }

    #[test]
    fn an_empty_input_and_a_list_that_shrank_have_to_be_meant() {
        let plan = manifest(0, &[("a", 49, 0, Some(100)), ("b", 50, 0, Some(100))]);
        let tripped = judge(&plan, &GuardOptions::default());
        let shrunk = Tripped::Shrunk { name: "a".to_owned(), there: 49, before: 100 };
        assert_eq!(tripped, [Tripped::Empty(None), shrunk]);
        assert_eq!(allowing(&tripped, &plan), ["--allow-empty", "--allow-shrunk"]);
        let one_of_two = PlanManifest { empty: vec!["b.csv".to_owned()], ..manifest(7, &[]) };
        let tripped = judge(&one_of_two, &GuardOptions::default());
        assert_eq!(tripped, [Tripped::Empty(Some("b.csv".to_owned()))]);
        let meant = GuardOptions { allow_empty: true, allow_shrunk: true, ..Default::default() };
        assert_eq!(judge(&plan, &meant), []);
    }
}
