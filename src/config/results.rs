//! Where results go: where `-o` says, else beside what they are made from.

use std::path::{Path, PathBuf};

use crate::cli::OutputArgs;
use crate::options::{Format, Shard};
use crate::report::summary;
use crate::storage::journal::disk::folder_of;

use super::Environment;
use super::paths::{self, Kind, PathError};

/// Where results go.
#[derive(Clone, Debug, PartialEq)]
pub struct ResultsConfig {
    /// Where.
    pub output: Output,
    /// In which format.
    pub format: Format,
    /// Replace what is there without asking: a sandbox's and a check's own names.
    pub replace: bool,
    /// Move what is there aside.
    pub fresh: bool,
    /// Ask nothing.
    pub yes: bool,
}

/// Where results go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// To no place: a check without inputs or with no name to derive, and verify.
    Nowhere,
    /// To stdout, in order of completion.
    Stdout,
    /// Into this file.
    File(PathBuf),
}

/// Decides where the results of a command go.
pub(super) fn decide(
    args: Option<(summary::RunKind, &OutputArgs)>,
    origin: &str,
    inputs: &[PathBuf],
    sandbox: bool,
    shard: Option<Shard>,
    environment: &Environment<'_>,
) -> Result<ResultsConfig, PathError> {
    let like = (inputs.first()).map_or(Format::Csv, |input| paths::format_like(input));
    let Some((kind, args)) = args else {
        return Ok(ResultsConfig {
            output: Output::Nowhere,
            format: like,
            replace: false,
            fresh: false,
            yes: false,
        });
    };
    let kind = match kind {
        summary::RunKind::Import | summary::RunKind::Sync if sandbox => Kind::SandboxImport,
        summary::RunKind::Import | summary::RunKind::Sync => Kind::Import,
        summary::RunKind::Check => Kind::Check,
        summary::RunKind::Rerun => Kind::Rerun,
        summary::RunKind::Undo => Kind::Undo,
        summary::RunKind::Plan => Kind::Plan,
        summary::RunKind::Apply => Kind::Apply,
    };
    let (output, format) = match args.output.as_deref() {
        Some(path) if path == Path::new("-") && shard.is_some() => {
            return Err(PathError::Shared { path: path.to_owned() });
        }
        // A workbook is nothing for a pipe: it can be read only when it is whole.
        Some(path) if path == Path::new("-") && like == Format::Xlsx => {
            (Output::Stdout, Format::Csv)
        }
        Some(path) if path == Path::new("-") => (Output::Stdout, like),
        Some(path) => {
            let path = paths::of_shard(&paths::dated(path, environment.today), shard)?;
            let format = paths::format_of(&path, origin)?;
            (Output::File(path), format)
        }
        None => match beside(inputs, kind, shard) {
            Ok(path) => {
                // A plan's name has a format of its own.
                let format = Format::of_name(&path).unwrap_or(like);
                (Output::File(path), format)
            }
            // A check can do without: what it found is in its summary.
            Err(_) if kind == Kind::Check => (Output::Nowhere, like),
            Err(error) => return Err(error),
        },
    };
    if let Output::File(path) = &output {
        paths::refuse_own_input(path, inputs)?;
    }
    Ok(ResultsConfig {
        output,
        format,
        replace: args.output.is_none() && matches!(kind, Kind::SandboxImport | Kind::Check),
        fresh: args.fresh,
        yes: args.yes,
    })
}

/// The name that results have by themselves, where there is one and it can be written.
fn beside(inputs: &[PathBuf], kind: Kind, shard: Option<Shard>) -> Result<PathBuf, PathError> {
    let required = |because: String| Err(PathError::Required { because });
    let input = match inputs {
        [input] if input == Path::new("-") => {
            return required("rows from stdin have no name to derive one from".to_owned());
        }
        [input] => input,
        _ => return required("there is more than one input".to_owned()),
    };
    let folder = folder_of(input);
    match rustix::fs::access(folder, rustix::fs::Access::WRITE_OK) {
        // A folder that is not there is the input's error, which names it better.
        Ok(()) | Err(rustix::io::Errno::NOENT) => paths::derived(input, kind, shard),
        Err(error) => {
            required(format!("the folder {} can't be written: {error}", folder.display()))
        }
    }
}
