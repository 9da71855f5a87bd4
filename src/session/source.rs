//! Where the rows of a run come from.
//!
//! A source is what a journal's head says of it, so that it can be opened again from there.

mod choice;
mod created;
mod open;

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::association::Column;
use crate::config::reading;
use crate::exit::{Exit, Halt};
use crate::input::{InputOptions, Reader, Source};
use crate::options::{Prune, Pruning};
use crate::storage::manifest::{Head, Work};
use crate::storage::plan::{self, PlanManifest};
use crate::storage::sharding::Sharding;

pub(crate) use choice::Choice;
use created::Created;
pub(crate) use created::{Deletes, deletes_of};
pub(crate) use open::OpenSource;
use open::{OpenResults, Planned};

/// The option under which a head keeps that recovered rows are deleted too.
const INCLUDE_RECOVERED: &str = "include-recovered";

/// The option under which a head keeps which plan is applied.
const PLAN_SHA256: &str = "plan-sha256";

/// What a run reads.
#[derive(Clone, Debug)]
pub(crate) enum RowSource {
    /// Files with rows. With `pruning` they are what shall be, in a sync.
    Inputs { sources: Vec<Source>, options: InputOptions, pruning: Option<Pruning> },
    /// The results of another run: those rows that are chosen are settled again, the others carried over.
    Results { path: PathBuf, files: Vec<String>, options: InputOptions, choice: Choice },
    /// What another run created, by its results or its journal, to be deleted. Its other rows are none
    /// of an undo.
    Created { path: PathBuf, files: Vec<String>, include_recovered: bool },
    /// A plan that another command made, by its SHA-256.
    Plan {
        path: PathBuf,
        sha256: String,
        files: Vec<String>,
        columns: Vec<Column>,
        /// How old it may be when it begins to be carried out; `None` where it has begun.
        max_age: Option<Duration>,
    },
    /// The plan that a run made for itself of what it reads.
    Planned { plan: PathBuf, of: Box<Self> },
    /// A shard of its rows.
    Sharded { sharding: Sharding, of: Box<Self> },
}

impl RowSource {
    pub(crate) fn inputs(paths: &[PathBuf], options: InputOptions) -> Self {
        let sources = paths.iter().cloned().map(Source::from).collect();
        Self::Inputs { sources, options, pruning: None }
    }

    /// What shall be, and what may be deleted that it does not name.
    pub(crate) fn synced(paths: &[PathBuf], options: InputOptions, pruning: Pruning) -> Self {
        let sources = paths.iter().cloned().map(Source::from).collect();
        Self::Inputs { sources, options, pruning: Some(pruning) }
    }

    /// Of a sync, what may be deleted.
    pub(crate) const fn pruning(&self) -> Option<&Pruning> {
        match self {
            Self::Inputs { pruning, .. } => pruning.as_ref(),
            _ => None,
        }
    }

    /// What the run at `results` reads, as its head says.
    pub(crate) fn of_head(head: &Head, results: &Path) -> Result<Self, Halt> {
        let of = Self::beneath_plan(head)?;
        Ok(match (&head.plan, &head.shard) {
            (Some(_), _) => Self::Planned { plan: plan::path_for(results), of: Box::new(of) },
            (None, Some(sharding)) => {
                Self::Sharded { sharding: sharding.clone(), of: Box::new(of) }
            }
            (None, None) => of,
        })
    }

    fn beneath_plan(head: &Head) -> Result<Self, Halt> {
        // What stood there is in the plan.
        if head.plan.is_none() && head.inputs.iter().any(|name| name == "-") {
            return Err(Halt::new(Exit::Input, "the input was standard input"));
        }
        let paths: Vec<_> = head.inputs.iter().map(PathBuf::from).collect();
        let path = paths.first().cloned().unwrap_or_default();
        let options = reading::of_run(&head.settings, head.target.entrance)?;
        let files = head.files.clone();
        Ok(match head.work {
            Work::Import => Self::inputs(&paths, options),
            Work::Sync => {
                let options = InputOptions { allow_delete: true, ..options };
                Self::synced(&paths, options, pruning_of(head))
            }
            Work::Rerun => Self::Results { path, files, options, choice: Choice::of_head(head) },
            Work::Undo => {
                let include_recovered = head.options.contains_key(INCLUDE_RECOVERED);
                Self::Created { path, files, include_recovered }
            }
            Work::Apply => {
                let sha256 = head.options.get(PLAN_SHA256).cloned().unwrap_or_default();
                Self::Plan { path, sha256, files, columns: head.columns.clone(), max_age: None }
            }
        })
    }

    /// What a run does with them.
    pub(crate) const fn work(&self) -> Work {
        match self {
            Self::Inputs { pruning: None, .. } => Work::Import,
            Self::Inputs { pruning: Some(_), .. } => Work::Sync,
            Self::Results { .. } => Work::Rerun,
            Self::Created { .. } => Work::Undo,
            Self::Plan { .. } => Work::Apply,
            Self::Planned { of, .. } | Self::Sharded { of, .. } => of.work(),
        }
    }

    /// What is read, by name.
    pub(crate) fn sources(&self) -> Vec<Source> {
        match self {
            Self::Inputs { sources, .. } => sources.clone(),
            Self::Results { path, .. } | Self::Created { path, .. } | Self::Plan { path, .. } => {
                vec![Source::Path(path.clone())]
            }
            Self::Planned { of, .. } | Self::Sharded { of, .. } => of.sources(),
        }
    }

    /// Input names, in order; empty for a single input.
    pub(crate) fn files(&self) -> Vec<String> {
        match self {
            Self::Inputs { sources, .. } if sources.len() > 1 => {
                sources.iter().map(ToString::to_string).collect()
            }
            Self::Inputs { .. } => Vec::new(),
            Self::Results { files, .. }
            | Self::Created { files, .. }
            | Self::Plan { files, .. } => files.clone(),
            Self::Planned { of, .. } | Self::Sharded { of, .. } => of.files(),
        }
    }

    /// What its rows say beside ids, where that is known before a run begins.
    pub(crate) fn columns(&self) -> Vec<Column> {
        match self {
            Self::Plan { columns, .. } => columns.clone(),
            Self::Sharded { of, .. } => of.columns(),
            _ => Vec::new(),
        }
    }

    /// Which of its rows are taken, as a head keeps that: with another choice it is another run.
    pub(crate) fn choice(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Results { choice, .. } => choice.named(),
            Self::Created { include_recovered: true, .. } => {
                vec![(INCLUDE_RECOVERED, "true".to_owned())]
            }
            Self::Planned { of, .. } | Self::Sharded { of, .. } => of.choice(),
            Self::Inputs { pruning: Some(pruning), .. } => pruned_by(pruning),
            // Another plan at the same path is another run.
            Self::Plan { sha256, .. } => vec![(PLAN_SHA256, sha256.clone())],
            Self::Inputs { .. } | Self::Created { .. } => Vec::new(),
        }
    }

    /// How many rows it has.
    pub(crate) fn count(&self) -> Result<u64, Halt> {
        let mut rows = self.open()?;
        let mut count = 0;
        while let Some(row) = rows.next() {
            row?;
            count += 1;
        }
        Ok(count)
    }

    /// Opens it: what is wrong with headers is known before anything is sent.
    pub(crate) fn open(&self) -> Result<OpenSource, Halt> {
        Ok(match self {
            Self::Inputs { sources, options, .. } => {
                let reader = Box::new(Reader::open(sources, options)?);
                let waits = !sources.iter().all(Source::is_regular_file);
                OpenSource::Inputs { reader, waits }
            }
            Self::Results { path, files, options, choice } => {
                let cells = options.parser();
                OpenSource::Results(Box::new(OpenResults::at(path, files, cells, choice.clone())?))
            }
            Self::Created { path, files, include_recovered } => {
                OpenSource::Created(Box::new(Created::at(path, files, *include_recovered)?))
            }
            Self::Plan { path, .. } => {
                let manifest = PlanManifest::of(path)?;
                let lines = plan::Reader::open(path, &manifest)?;
                let digests = vec![lines.digest().clone()];
                let manifest = PlanManifest { digests, ..manifest };
                OpenSource::Planned(Box::new(Planned::of(lines, None, manifest, false)))
            }
            Self::Planned { plan, of } => of.carried_out(plan, PlanManifest::of(plan)?, false)?,
            Self::Sharded { sharding, of } => of.open()?.of_shard(sharding.clone()),
        })
    }

    /// The same rows as the plan at `path` has them. What the plan says of inputs is not read again. With
    /// `trusts_list` what it says to be there was listed just now, and is not looked up.
    pub(crate) fn carried_out(
        &self,
        path: &Path,
        manifest: PlanManifest,
        trusts_list: bool,
    ) -> Result<OpenSource, Halt> {
        let results = match self {
            Self::Results { .. } => match self.open()? {
                OpenSource::Results(results) => Some(results),
                _ => None,
            },
            _ => None,
        };
        let lines = plan::Reader::open(path, &manifest)?;
        Ok(OpenSource::Planned(Box::new(Planned::of(lines, results, manifest, trusts_list))))
    }
}

/// The options under which a head keeps what a sync may delete.
const PRUNE: &str = "prune";
const SCOPE: &str = "scope";
const PREVIOUS: &str = "previous";

/// With other deletes it is another run.
fn pruned_by(pruning: &Pruning) -> Vec<(&'static str, String)> {
    let Pruning { prune, scope, previous } = pruning;
    let scope = (!scope.is_empty()).then(|| (SCOPE, scope.join(",")));
    let previous = previous.as_ref().map(|path| (PREVIOUS, path.display().to_string()));
    [(PRUNE, prune.as_str().to_owned())].into_iter().chain(scope).chain(previous).collect()
}

fn pruning_of(head: &Head) -> Pruning {
    let option = |name| head.options.get(name);
    let prune = option(PRUNE).and_then(|word| {
        Prune::WORDS.into_iter().find(|(known, _)| known == word).map(|(_, prune)| prune)
    });
    Pruning {
        prune: prune.unwrap_or_default(),
        scope: option(SCOPE)
            .map(|names| names.split(',').map(str::to_owned).collect())
            .unwrap_or_default(),
        previous: option(PREVIOUS).map(PathBuf::from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            settings: settings.into_iter().collect(),
            inputs: inputs.to_vec(),
            files: inputs.to_vec(),
            ..Head::of_import()
        };
        let mut rows = RowSource::of_head(&head, Path::new("r.csv")).unwrap().open().unwrap();
        let mut cells = Vec::new();
        while let Some(planned) = rows.next() {
            let row = planned.unwrap().row;
            cells.push((row.file, row.cells.ids().join(",")));
        }
        assert_eq!(cells, [(0, "a,1,2,7".to_owned()), (1, "a,1,2,7".to_owned())]);
    }
}
