//! Where metrics and the report of a run go: files of their own, which take no other file's place.

use std::path::{Path, PathBuf};

use super::paths::{dated, job_of, of_shard, same_place};
use super::results::{Output, ResultsConfig};
use crate::cli::{MonitoringArgs, OutputArgs};
use crate::clock::Date;
use crate::options::Shard;
use crate::report::metrics::{self, MetricsOptions};
use crate::report::summary::RunKind;
use crate::storage::{journal, manifest, plan};

const METRICS: &str = "--metrics-file";
const REPORT: &str = "--report";

/// Why metrics or a report can't go there.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum MonitoringError {
    /// stdout is for the summary.
    #[error("{0} -: give the name of a file")]
    Stdout(&'static str),
    /// Shards would write to the same place.
    #[error("{0} {path}: each shard needs one of its own: put `{{shard}}` into its name", path = .1.display())]
    Shared(&'static str, PathBuf),
    /// No shard has a name.
    #[error("{0} {path}: `{{shard}}` stands for the shard of --shard, and there is none", path = .1.display())]
    NoShard(&'static str, PathBuf),
    /// The run has another use for that place.
    #[error("{0} {path}: that is where the run has its {2}: give another file", path = .1.display())]
    Taken(&'static str, PathBuf, &'static str),
    /// Something else is there.
    #[error("--metrics-file {path}: {1}: give another file", path = .0.display())]
    Stranger(PathBuf, &'static str),
}

/// Where they go, if they are asked for.
#[derive(Debug, Default)]
pub(super) struct Monitoring {
    pub(super) metrics: Option<MetricsOptions>,
    pub(super) report: Option<PathBuf>,
}

/// Decides where they go.
pub(super) fn decide(
    args: Option<&MonitoringArgs>,
    output: Option<(RunKind, &OutputArgs)>,
    results: &ResultsConfig,
    shard: Option<Shard>,
    today: Date,
) -> Result<Monitoring, MonitoringError> {
    let Some(args) = args else { return Ok(Monitoring::default()) };
    let place = |flag, path: &Option<PathBuf>| {
        path.as_deref().map(|path| place(flag, path, results, shard, today)).transpose()
    };
    let report = place(REPORT, &args.report)?;
    let Some(path) = place(METRICS, &args.metrics_file)? else {
        return Ok(Monitoring { metrics: None, report });
    };
    if report.as_ref().is_some_and(|report| same_place(report, &path)) {
        return Err(MonitoringError::Taken(METRICS, path, "report"));
    }
    if let Some(what) = metrics::stranger_at(&path) {
        return Err(MonitoringError::Stranger(path, what));
    }
    let job = match &args.job {
        Some(job) => named(job, shard),
        None => job(output, results, shard),
    };
    Ok(Monitoring { metrics: Some(MetricsOptions { path, job }), report })
}

fn place(
    flag: &'static str,
    path: &Path,
    results: &ResultsConfig,
    shard: Option<Shard>,
    today: Date,
) -> Result<PathBuf, MonitoringError> {
    if path == Path::new("-") {
        return Err(MonitoringError::Stdout(flag));
    }
    let place = of_shard(&dated(path, today), shard).map_err(|_| {
        let why = if shard.is_some() { MonitoringError::Shared } else { MonitoringError::NoShard };
        why(flag, path.to_owned())
    })?;
    if let Output::File(results) = &results.output {
        let own = [
            (results.clone(), "results"),
            (manifest::path_for(results), "run.json"),
            (journal::path_for(results), "journal"),
            (plan::path_for(results), "plan"),
        ];
        if let Some((_, what)) = own.into_iter().find(|(own, _)| same_place(own, &place)) {
            return Err(MonitoringError::Taken(flag, path.to_owned(), what));
        }
    }
    Ok(place)
}

/// What a job is called that has no name: after its results, else after the command.
fn job(
    output: Option<(RunKind, &OutputArgs)>,
    results: &ResultsConfig,
    shard: Option<Shard>,
) -> String {
    match (&results.output, output) {
        (Output::File(path), _) => {
            let given = output.and_then(|(_, args)| args.output.as_deref());
            named(&job_of(given.unwrap_or(path)), shard)
        }
        (_, Some((kind, _))) => kind.as_str().to_owned(),
        (_, None) => String::new(),
    }
}

/// A job's name, with its shard where that is asked for.
fn named(job: &str, shard: Option<Shard>) -> String {
    shard.map_or_else(|| job.to_owned(), |shard| job.replace("{shard}", &shard.in_name()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Format;

    fn decided(metrics: &str, report: &str, shard: Option<Shard>) -> Result<Monitoring, String> {
        let path = |name: &str| (!name.is_empty()).then(|| PathBuf::from(name));
        let (metrics_file, report) = (path(metrics), path(report));
        let args = MonitoringArgs { metrics_file, job: None, report };
        let output = Output::File("/nowhere/links.csv".into());
        let (format, replace, fresh, yes) = (Format::Csv, false, false, false);
        let results = ResultsConfig { output, format, replace, fresh, yes };
        let today = jiff::civil::date(2026, 2, 3);
        decide(Some(&args), None, &results, shard, today).map_err(|error| error.to_string())
    }

    #[test]
    fn each_has_a_file_of_its_own() {
        for (metrics, report, said) in [
            ("/nowhere/links.csv", "", "the run has its results"),
            ("/nowhere/./links.csv.journal", "", "the run has its journal"),
            ("/nowhere/links.csv.run.json", "", "the run has its run.json"),
            ("", "/nowhere/links.csv.plan.csv", "the run has its plan"),
            ("a.prom", "a.prom", "the run has its report"),
            ("-", "", "--metrics-file -: give the name of a file"),
            ("", "-", "--report -: give the name of a file"),
            ("m.{shard}.prom", "", "there is none"),
        ] {
            let error = decided(metrics, report, None).unwrap_err();
            assert!(error.contains(said), "{metrics} {report}: {error}");
        }
    }

    #[test]
    fn shards_share_neither() {
        let shard = Shard::new(3, 8).ok();
        let there = decided("m-{date}.{shard}.prom", "r.{shard}.html", shard).unwrap();
        let metrics = there.metrics.unwrap();
        assert_eq!(metrics.path, Path::new("m-2026-02-03.3-of-8.prom"));
        assert_eq!(there.report.unwrap(), Path::new("r.3-of-8.html"));
        for (metrics, report) in [("m.prom", ""), ("", "r.html")] {
            assert!(decided(metrics, report, shard).unwrap_err().contains("{shard}"));
        }
        assert_eq!(named("nightly-{shard}", shard), "nightly-3-of-8");
    }

    #[test]
    fn metrics_take_the_place_of_metrics_alone() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        std::fs::write(at("other"), "node_load1 3\n").unwrap();
        std::fs::write(at("ours"), "# HELP bkassoc_rows Rows.\n").unwrap();
        std::fs::write(at("empty"), "").unwrap();
        std::fs::create_dir(at("folder")).unwrap();
        for (name, is_taken) in
            [("other", false), ("folder", false), ("ours", true), ("empty", true)]
        {
            assert_eq!(decided(&at(name), "", None).is_ok(), is_taken, "{name}");
        }
        assert!(decided("/dev/null", "", None).unwrap_err().contains("no regular file"));
    }
}
