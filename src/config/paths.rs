//! Where results go: the rules for their names. Pure but for [`refuse_own_input`].

use std::io;
use std::path::{Path, PathBuf};

use crate::clock::Date;
use crate::options::{Format, Shard};

/// Why a results path can't be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Another ending than the four.
    #[error("{origin} {}: results end in .csv, .tsv, .jsonl or .xlsx", path.display())]
    Ending {
        /// Who says so.
        origin: String,
        /// The path.
        path: PathBuf,
    },
    /// No name can be derived.
    #[error("give -o RESULTS: {because}")]
    Required {
        /// Why not.
        because: String,
    },
    /// Results would overwrite what they are made from.
    #[error("{} is read by this command, so results can't go there: give another -o", path.display())]
    OwnInput {
        /// The path.
        path: PathBuf,
    },
    /// Shards would write to the same place.
    #[error(
        "-o {}: each shard needs results of its own, in a file: put `{{shard}}` into its name, as \
         -o 'links.{{shard}}.csv'",
        path.display()
    )]
    Shared {
        /// The path.
        path: PathBuf,
    },
    /// No shard has a name.
    #[error("-o {}: `{{shard}}` stands for the shard of --shard, and there is none", path.display())]
    NoShard {
        /// The path.
        path: PathBuf,
    },
    /// A name that is not there, such as `..`.
    #[error("{} has no file name", path.display())]
    NoName {
        /// The path.
        path: PathBuf,
    },
}

/// What results are of, where their name is derived from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `a.csv` -> `a.results.csv`
    Import,
    /// `a.csv` -> `a.sandbox.results.csv`
    SandboxImport,
    /// `a.csv` -> `a.check.csv`: never the results of an import, which it would seem to have finished.
    Check,
    /// `a.results.csv` -> `a.rerun-1.csv` -> `a.rerun-2.csv`
    Rerun,
    /// `a.results.csv` -> `a.undo.csv`
    Undo,
    /// `a.jsonl` -> `a.plan.csv`
    Plan,
    /// `a.plan.csv` -> `a.results.csv`
    Apply,
}

/// The name that results have by themselves, beside what they are made from: `a.3-of-8.results.csv` of a shard.
pub fn derived(from: &Path, kind: Kind, shard: Option<Shard>) -> Result<PathBuf, PathError> {
    let name = from.file_name().ok_or_else(|| PathError::NoName { path: from.to_owned() })?;
    let name = name.to_string_lossy();
    let (stem, format) = split(&name);
    let of = shard.map(|shard| format!(".{}", shard.in_name())).unwrap_or_default();
    let name = match kind {
        Kind::Import => format!("{stem}{of}.results"),
        Kind::SandboxImport => format!("{stem}{of}.sandbox.results"),
        Kind::Check => format!("{stem}.check"),
        Kind::Rerun => match rerun_number(stem) {
            Some((base, number)) => format!("{base}{of}.rerun-{}", number + 1),
            None => format!("{}{of}.rerun-1", without_results(stem)),
        },
        Kind::Undo => format!("{}.undo", without_results(stem)),
        Kind::Plan => format!("{stem}.plan"),
        Kind::Apply => format!("{}{of}.results", stem.strip_suffix(".plan").unwrap_or(stem)),
    };
    let format = if kind == Kind::Plan { Format::Csv } else { format };
    Ok(from.with_file_name(format!("{name}.{}", format.as_str())))
}

/// The format that a results path's ending asks for.
pub fn format_of(path: &Path, origin: &str) -> Result<Format, PathError> {
    Format::of_name(path)
        .ok_or_else(|| PathError::Ending { origin: origin.to_owned(), path: path.to_owned() })
}

/// The format of an input by its name, for results that have no name; CSV where it says nothing.
pub fn format_like(input: &Path) -> Format {
    let name = input.file_name().unwrap_or_default().to_string_lossy();
    split(&name).1
}

/// Puts today's date where `{date}` stands.
pub fn dated(path: &Path, today: Date) -> PathBuf {
    match path.to_str() {
        Some(text) if text.contains("{date}") => text.replace("{date}", &today.to_string()).into(),
        _ => path.to_owned(),
    }
}

/// What a job is called by the name of its results: without the ending, and without the date, which would
/// make another job of it each day.
pub fn job_of(results: &Path) -> String {
    let stem = results.file_stem().unwrap_or_default().to_string_lossy();
    let joined = |c: char| matches!(c, '-' | '_' | '.');
    let parts = stem.split("{date}").map(|part| part.trim_matches(joined));
    let name = parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-");
    if name.is_empty() { "bkassoc".to_owned() } else { name }
}

/// Puts the shard where `{shard}` stands.
pub fn of_shard(path: &Path, shard: Option<Shard>) -> Result<PathBuf, PathError> {
    const PLACE: &str = "{shard}";
    let text = path.to_str().filter(|text| text.contains(PLACE));
    match (text, shard) {
        (Some(text), Some(shard)) => Ok(text.replace(PLACE, &shard.in_name()).into()),
        (None, None) => Ok(path.to_owned()),
        (None, Some(_)) => Err(PathError::Shared { path: path.to_owned() }),
        (Some(_), None) => Err(PathError::NoShard { path: path.to_owned() }),
    }
}

/// Refuses results that would overwrite an input, whatever the way to it is spelled.
pub fn refuse_own_input(results: &Path, inputs: &[PathBuf]) -> Result<(), PathError> {
    if inputs.iter().any(|input| same_place(input, results)) {
        let path = results.to_owned();
        return Err(PathError::OwnInput { path });
    }
    Ok(())
}

/// Whether two paths lead to the same file, whatever the way is spelled, and whether it is there or not.
pub fn same_place(one: &Path, other: &Path) -> bool {
    let place = |path: &Path| path.canonicalize().or_else(|_| absolute(path)).ok();
    one == other || place(one).is_some_and(|one| Some(one) == place(other))
}

/// A path that is not there, from the root, its folder by its own name.
fn absolute(path: &Path) -> io::Result<PathBuf> {
    let path = std::path::absolute(path)?;
    let folder = path.parent().and_then(|folder| folder.canonicalize().ok());
    Ok(match (folder, path.file_name()) {
        (Some(folder), Some(name)) => folder.join(name),
        _ => path,
    })
}

/// A name without the endings that say how it is packed and written, and the format they ask for.
fn split(name: &str) -> (&str, Format) {
    let unpacked =
        [".gz", ".zst"].iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(name);
    let endings = [
        (".csv", Format::Csv),
        (".tsv", Format::Tsv),
        (".jsonl", Format::Jsonl),
        (".ndjson", Format::Jsonl),
        (".json", Format::Jsonl),
        (".txt", Format::Csv),
        (".xlsx", Format::Xlsx),
        (".xlsm", Format::Xlsx),
    ];
    (endings.into_iter())
        .find_map(|(ending, format)| Some((unpacked.strip_suffix(ending)?, format)))
        .filter(|(stem, _)| !stem.is_empty())
        .unwrap_or((unpacked, Format::Csv))
}

fn without_results(stem: &str) -> &str {
    stem.strip_suffix(".results").unwrap_or(stem)
}

fn rerun_number(stem: &str) -> Option<(&str, u32)> {
    let (base, number) = stem.rsplit_once(".rerun-")?;
    Some((base, number.parse().ok().filter(|number| *number < u32::MAX)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_named_after_what_they_are_made_from() {
        use Kind::{Apply, Check, Import, Plan, Rerun, SandboxImport, Undo};
        for (from, kind, name) in [
            ("a.csv", Import, "a.results.csv"),
            ("/x/a.tsv", Import, "/x/a.results.tsv"),
            ("a.jsonl.gz", Import, "a.results.jsonl"),
            ("a.csv.zst", Import, "a.results.csv"),
            ("a.ndjson", Import, "a.results.jsonl"),
            ("a.xlsx", Import, "a.results.xlsx"),
            ("a.results.xlsx", Rerun, "a.rerun-1.xlsx"),
            ("links", Import, "links.results.csv"),
            ("links.2024", Import, "links.2024.results.csv"),
            (".csv", Import, ".csv.results.csv"),
            ("名.csv", Import, "名.results.csv"),
            ("a.csv", SandboxImport, "a.sandbox.results.csv"),
            ("a.csv", Check, "a.check.csv"),
            ("a.results.csv", Rerun, "a.rerun-1.csv"),
            ("a.rerun-1.csv", Rerun, "a.rerun-2.csv"),
            ("a.rerun-9.jsonl", Rerun, "a.rerun-10.jsonl"),
            ("a.rerun-x.csv", Rerun, "a.rerun-x.rerun-1.csv"),
            ("out.csv", Rerun, "out.rerun-1.csv"),
            ("a.sandbox.results.csv", Rerun, "a.sandbox.rerun-1.csv"),
            ("a.results.csv", Undo, "a.undo.csv"),
            ("a.rerun-1.csv", Undo, "a.rerun-1.undo.csv"),
            ("out.tsv", Undo, "out.undo.tsv"),
            ("a.jsonl", Plan, "a.plan.csv"),
            ("a.plan.csv", Apply, "a.results.csv"),
            ("night.csv", Apply, "night.results.csv"),
        ] {
            assert_eq!(derived(Path::new(from), kind, None), Ok(name.into()), "{from}");
        }
        assert!(derived(Path::new(".."), Import, None).is_err());
        let shard = Shard::new(3, 12).ok();
        for (from, kind, name) in [
            ("a.csv.gz", Import, "a.03-of-12.results.csv"),
            ("a.plan.csv", Apply, "a.03-of-12.results.csv"),
            ("a.03-of-12.results.csv", Undo, "a.03-of-12.undo.csv"),
            ("a.results.csv", Rerun, "a.03-of-12.rerun-1.csv"),
        ] {
            let shard = shard.filter(|_| kind != Undo);
            assert_eq!(derived(Path::new(from), kind, shard), Ok(name.into()), "{from}");
        }
    }

    #[test]
    fn an_ending_decides_the_format_and_others_are_refused() {
        assert_eq!(format_of(Path::new("x.jsonl"), "-o"), Ok(Format::Jsonl));
        for path in ["x", "x.json", "x.csv.gz", "x.CSV"] {
            let error = format_of(Path::new(path), "-o").unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("-o {path}: results end in .csv, .tsv, .jsonl or .xlsx")
            );
        }
    }

    #[test]
    fn a_date_stands_where_it_is_asked_for() {
        let today = jiff::civil::date(2026, 2, 3);
        assert_eq!(
            dated(Path::new("l-{date}/{date}.csv"), today),
            Path::new("l-2026-02-03/2026-02-03.csv")
        );
        assert_eq!(dated(Path::new("l.csv"), today), Path::new("l.csv"));
    }

    #[test]
    fn a_job_has_the_same_name_each_day() {
        for (results, job) in [
            ("/x/links.results.csv", "links.results"),
            ("links-{date}.csv", "links"),
            ("{date}_links.jsonl", "links"),
            ("links-{date}-b.csv", "links-b"),
            ("runs/{date}.csv", "bkassoc"),
        ] {
            assert_eq!(job_of(Path::new(results)), job, "{results}");
        }
    }

    #[test]
    fn shards_have_results_of_their_own_or_none() {
        let shard = Shard::new(3, 8).ok();
        assert_eq!(of_shard(Path::new("l.{shard}.csv"), shard), Ok("l.3-of-8.csv".into()));
        assert_eq!(of_shard(Path::new("l.csv"), None), Ok("l.csv".into()));
        assert!(matches!(of_shard(Path::new("l.csv"), shard), Err(PathError::Shared { .. })));
        let none = of_shard(Path::new("l.{shard}.csv"), None);
        assert!(matches!(none, Err(PathError::NoShard { .. })));
    }

    #[test]
    fn results_never_overwrite_what_they_are_made_from() {
        let folder = tempfile::tempdir().unwrap();
        let input = folder.path().join("a.csv");
        std::fs::write(&input, "").unwrap();
        let detour = folder.path().join(".").join("a.csv");
        let other = folder.path().join("b.csv");
        assert!(refuse_own_input(&detour, std::slice::from_ref(&input)).is_err());
        assert!(refuse_own_input(&other, &[input]).is_ok());
    }
}
