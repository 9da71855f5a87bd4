//! Which part of a job's rows this process takes.

use crate::cli::{Groups, ShardArgs};
use crate::options::Shard;
use crate::report::summary::RunKind;

use super::Environment;

/// The variable by which an Indexed Job numbers its pods, from 0.
const INDEX: &str = "JOB_COMPLETION_INDEX";

/// Why a process can't take a part of the rows.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShardError {
    /// The whole is judged, and by one process.
    #[error(
        "{command} takes no --shard (nor BKASSOC_SHARD or BKASSOC_SHARDS): it judges all rows at once. {instead}"
    )]
    Whole {
        /// The command.
        command: &'static str,
        /// What to do.
        instead: &'static str,
    },
    /// Nobody says which one.
    #[error(
        "--shards {0}: which of them is this one? Give --shard I/{0}, or JOB_COMPLETION_INDEX, from 0 to one less, as an \
         Indexed Job does"
    )]
    NoIndex(u32),
    /// Two numbers of shards.
    #[error("--shard {0} and --shards {1}: how many shards are there?")]
    OtherCount(Shard, u32),
}

/// The shard that is asked for. Two pods that both believe to be alone would do everything twice, and so a number
/// without a count is told.
pub(super) fn decide(
    groups: &Groups<'_>,
    environment: &Environment<'_>,
    warnings: &mut Vec<String>,
) -> Result<Option<Shard>, ShardError> {
    let (Some(ShardArgs { shard, shards }), Some((kind, _))) = (groups.sharding, groups.output)
    else {
        return Ok(None);
    };
    let shard = match (*shard, *shards) {
        (Some(shard), Some(count)) if shard.count != count => {
            return Err(ShardError::OtherCount(shard, count));
        }
        (Some(shard), _) => Some(shard),
        (None, Some(count)) => {
            let index =
                environment.get(INDEX).and_then(|index| index.to_str()?.parse::<u32>().ok());
            let shard = index.and_then(|index| Shard::new(index.checked_add(1)?, count).ok());
            Some(shard.ok_or(ShardError::NoIndex(count))?)
        }
        (None, None) => {
            if environment.get(INDEX).is_some() {
                warnings.push(format!(
                    "{INDEX} is set and BKASSOC_SHARDS is not: this process takes all rows"
                ));
            }
            None
        }
    };
    let instead = match kind {
        RunKind::Plan | RunKind::Sync => {
            "Plan once, with `bkassoc plan`, and give the plan to `bkassoc apply` in each shard"
        }
        RunKind::Check => "Check once, without it",
        _ => return Ok(shard),
    };
    match shard {
        Some(_) => Err(ShardError::Whole { command: kind.as_str(), instead }),
        None => Ok(None),
    }
}
