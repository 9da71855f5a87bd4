//! What decides the shards of a run's rows: how many rows there are, and which rules their model associations
//! have.
//!
//! Owns what is asked for that, before the first row is sent. Which rows that makes whose is
//! [`Sharding`]'s.

use rustc_hash::FxHashSet;

use super::server::Server;
use super::signals::unless_interrupted;
use super::source::{OpenSource, RowSource};
use crate::config::Config;
use crate::engine::asker::Asker;
use crate::engine::models::{Knowledge, Models};
use crate::exit::{Exit, Halt};
use crate::input::{RowParser, Source};
use crate::options::Shard;
use crate::storage::manifest::Work;
use crate::storage::sharding::Sharding;

/// So many names of model associations are a mistake in the input, and would not fit into a head.
const MOST_NAMES: usize = 20_000;

/// Refuses inputs that not every process can read alike.
pub(crate) fn refuse_unshared(source: &RowSource) -> Result<(), Halt> {
    let is_shared = |source: &Source| match source {
        // A file that is not there is told as that.
        Source::Path(path) => source.is_regular_file() || !path.exists(),
        Source::Stdin => false,
    };
    if !source.sources().iter().all(is_shared) {
        return Err(Halt::usage(
            "--shard: each shard reads the whole input, and twice: give a file that all of them see",
        ));
    }
    let (files, mut seen) = (source.files(), FxHashSet::default());
    match files.iter().find(|file| !seen.insert(*file)) {
        // Results name their rows' inputs, and could not be put together again.
        Some(twice) => Err(Halt::usage(format!("--shard: {twice} is given twice"))),
        None => Ok(()),
    }
}

/// Refuses rows that may say more than ids: what they mean must be asked once.
pub(crate) fn refuse_unplanned(source: &RowSource, rows: &OpenSource) -> Result<(), Halt> {
    if !rows.says_more_than_ids() {
        return Ok(());
    }
    Err(Halt::usage(match source.work() {
        Work::Rerun => {
            "--shard: rows with names or actions have to be asked for once and not by each shard: \
             give this rerun without --shard"
        }
        _ => {
            "--shard: rows with names or actions have to be asked for once and not by each shard, since a \
             name may mean something else a moment later: make a plan with `bkassoc plan`, and give that to \
             `bkassoc apply` with --shard"
        }
    }))
}

/// Decides a shard of these rows, which are read to their end.
pub(crate) fn decide(config: &Config, rows: OpenSource, shard: Shard) -> Result<Sharding, Halt> {
    let what = "interrupted before the shard was decided: nothing was sent";
    unless_interrupted(what, decided(config, rows, shard))
}

async fn decided(config: &Config, rows: OpenSource, shard: Shard) -> Result<Sharding, Halt> {
    let read = tokio::task::spawn_blocking(move || names_of(rows)).await;
    let (names, rows) = read.expect("a thread that panics ends the process")?;
    let connection = config.connection.as_ref().expect("this command calls a server");
    let engine = &config.engine;
    let server = Server::of(connection, engine.concurrency)?;
    let asker = Asker::new(&server, &connection.target, engine, engine.concurrency, rand::random());
    let mut models = Models::given(&engine.models);
    for name in &names {
        models.look(name);
    }
    asker.ask_for(&mut models).await?;
    let mut sharding = Sharding { rows, ..Sharding::undecided(shard) };
    for name in &names {
        // What is not known, and what was only guessed, counts as the strictest rule.
        if let Knowledge::Known(_, model) = models.look(name)
            && !model.guessed
        {
            sharding.mappings.insert(name.to_string(), model.mapping);
        }
    }
    Ok(sharding)
}

/// The names of model associations, and how many rows there are.
fn names_of(mut rows: OpenSource) -> Result<(FxHashSet<std::sync::Arc<str>>, u64), Halt> {
    let mut cells = RowParser::new(None, false);
    let (mut names, mut count) = (FxHashSet::default(), 0);
    while let Some(pending) = rows.next() {
        count += 1;
        // As a shard's rows are told: also of a row that is carried over.
        if let Ok(new) = cells.read(pending?.row.cells.ids()).1 {
            names.insert(new.association.obj_asst_id);
        }
        if names.len() > MOST_NAMES {
            return Err(Halt::new(
                Exit::Input,
                format!(
                    "the rows name more than {MOST_NAMES} model associations: is obj_asst_id another column?"
                ),
            ));
        }
    }
    Ok((names, count))
}
