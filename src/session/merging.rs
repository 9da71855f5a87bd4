//! The results of shards as one, as if one run had written them.
//!
//! Owns the proof: that they are all shards of one job, each as its run wrote it, and that each row of the input
//! is there once and in order. What can't be proven is named, and nothing is written.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::path::{Path, PathBuf};

use super::manifest;
use super::parent::named;
use super::runtime::runtime;
use super::signals::Signals;
use crate::engine::stats::{RunStats, exit_of};
use crate::exit::{Exit, Halt};
use crate::input::RowParser;
use crate::input::digest::are_same;
use crate::options::{Format, Shard};
use crate::outcome::Record;
use crate::report::progress::Progress;
use crate::storage::draft::Draft;
use crate::storage::journal::EndEntry;
use crate::storage::manifest::{Head, Manifest, path_for};
use crate::storage::path_state::{self, PathState};
use crate::storage::results::reader::Reader;
use crate::storage::results::{self, Layout, ResultsError};
use crate::storage::seals::Sealer;
use crate::storage::sharding::{Sharder, Sharding};

/// All shards of a job, in order: where each has its results, and its manifest.
pub(crate) struct Shards(Vec<(PathBuf, Manifest)>);

/// What was merged.
pub(crate) struct Merged {
    pub(crate) stats: RunStats,
    pub(crate) exit: Exit,
}

impl Shards {
    /// Finds the runs that wrote these results, and proves that they are all shards of one job.
    pub(crate) fn find(paths: &[PathBuf]) -> Result<Self, Halt> {
        let mut shards = paths.iter().map(|path| shard_at(path)).collect::<Result<Vec<_>, _>>()?;
        shards.sort_by_key(|(_, run)| sharding(run).shard.index);
        for pair in shards.windows(2) {
            let [(one, first), (other, second)] = pair else { continue };
            refuse_others(one, first, other, second)?;
            if sharding(first).shard == sharding(second).shard {
                let what = format!("both are shard {}", sharding(first).shard);
                return Err(apart(one, other, &what));
            }
        }
        let count = shards.first().map_or(0, |(_, run)| sharding(run).shard.count);
        let is_there =
            |index: &u32| shards.iter().any(|(_, run)| sharding(run).shard.index == *index);
        let missing: Vec<_> = (1..=count).filter(|index| !is_there(index)).collect();
        if !missing.is_empty() {
            let names = missing.iter().take(20).map(u32::to_string).collect::<Vec<_>>().join(", ");
            return Err(Halt::new(
                Exit::Input,
                format!(
                    "{} of {count} shards are missing ({names}): name the results of all of them",
                    missing.len()
                ),
            ));
        }
        let rows: u64 = shards.iter().map(|(_, run)| rows_of(run)).sum();
        let expected = shards.first().map_or(0, |(_, run)| sharding(run).rows);
        if rows != expected {
            let what =
                format!("the shards have {rows} rows in all, and their input has {expected}");
            return Err(Halt::new(Exit::Input, what));
        }
        Ok(Self(shards))
    }

    /// What they are the shards of, as one run.
    fn head(&self) -> Head {
        let (_, first) = &self.0[0];
        let runs = || self.0.iter().map(|(_, run)| &run.head);
        // Each shard may have been another app's, or another user's.
        let common = |of: fn(&Head) -> &Option<String>| {
            of(&first.head).clone().filter(|one| runs().all(|head| of(head).as_ref() == Some(one)))
        };
        let shards = self.0.iter().map(|(path, run)| named(path, Some(&run.head)));
        Head {
            app_code: common(|head| &head.app_code),
            username: common(|head| &head.username),
            shard: None,
            shards: shards.collect(),
            started_at: runs().map(|head| &head.started_at).min().cloned().unwrap_or_default(),
            ..first.head.clone()
        }
    }

    pub(crate) fn files(&self) -> &[String] {
        &self.0[0].1.head.files
    }

    pub(crate) fn target(&self) -> &crate::target::Target {
        &self.0[0].1.head.target
    }

    pub(crate) fn work(&self) -> crate::storage::manifest::Work {
        self.0[0].1.head.work
    }

    /// Writes them as one to `out`. Where that is done already, it is counted again.
    pub(crate) fn merge(
        self,
        out: PathBuf,
        format: Format,
        mut progress: Progress,
    ) -> Result<Merged, Halt> {
        let runtime = runtime()?;
        let merged = runtime.block_on(async {
            let work = move || {
                let merged = self.written(&out, format, &mut progress);
                progress.finish();
                merged
            };
            let done = Signals::listen()?.or_interrupted(work).await;
            done.map_err(|exit| Halt::new(exit, "interrupted: nothing was merged"))?
        });
        runtime.shutdown_background();
        merged
    }

    fn written(&self, out: &Path, format: Format, progress: &mut Progress) -> Result<Merged, Halt> {
        let head = self.head();
        for (path, run) in &self.0 {
            refuse_changed(path, run)?;
        }
        match path_state::look(out)? {
            PathState::Free => self.write(out, format, head, progress),
            PathState::Finished(before) if before.head.shards == head.shards => {
                self.again(out, &before)
            }
            _ => Err(Halt::usage(format!(
                "{} is there, and is not what these shards were merged to: give another -o",
                out.display()
            ))),
        }
    }

    /// What was merged before.
    fn again(&self, out: &Path, before: &Manifest) -> Result<Merged, Halt> {
        if let Some(undone) = &before.undone {
            return Err(Halt::usage(format!("{} was {undone}", out.display())));
        }
        refuse_changed(out, before)?;
        let mut stats = self.stats();
        for record in Reader::open(out, self.files())? {
            stats.carry(&record?);
        }
        let exit = Exit::of_code(before.exit).unwrap_or_else(|| exit_of(&stats));
        Ok(Merged { stats, exit })
    }

    fn stats(&self) -> RunStats {
        let mut stats = RunStats::default();
        stats.input_ended = true;
        stats.blank_rows = self.0[0].1.blank_rows;
        stats.expected = Some(self.0.iter().map(|(_, run)| rows_of(run)).sum());
        stats
    }

    /// `run.json` is there first: results without one would pass for a stranger's, and a `run.json` without
    /// results is written again.
    fn write(
        &self,
        out: &Path,
        format: Format,
        head: Head,
        progress: &mut Progress,
    ) -> Result<Merged, Halt> {
        let unwritable = |(path, error)| ResultsError::Unwritable { path, error };
        let draft = Draft::of(out).map_err(unwritable)?;
        let (mut stats, mut sealer) = (self.stats(), Sealer::default());
        let records = Merging::new(&self.0)?;
        let layout = Layout::of(&head);
        let sha256 = results::write_to(draft.file(), out, format, layout, records, |record| {
            sealer.take(record);
            stats.add(record);
            progress.show(&stats);
        })?;
        let exit = exit_of(&stats);
        let runs = self.0.iter().map(|(_, run)| run);
        let end = EndEntry {
            rows: stats.rows(),
            inputs: self.0[0].1.digests.clone(),
            finished_at: runs.map(|run| &run.finished_at).max().cloned().unwrap_or_default(),
        };
        let manifest = manifest(head, end, &stats, exit, sha256, sealer.finish());
        results::write_whole(&path_for(out), &manifest.to_json())?;
        draft.put_in_place().map_err(unwritable)?;
        Ok(Merged { stats, exit })
    }
}

/// The finished run of a shard.
fn shard_at(path: &Path) -> Result<(PathBuf, Manifest), Halt> {
    let at = path.display();
    let refuse = |exit, what: &str| Err(Halt::new(exit, format!("{at}: {what}")));
    let run = match path_state::look(path)? {
        PathState::Finished(run) => *run,
        PathState::Free => {
            return refuse(Exit::Input, "this shard is missing: there is no such file");
        }
        PathState::Unfinished => {
            return refuse(Exit::Input, "this shard is not finished: give its own command again");
        }
        PathState::Stranger => {
            return refuse(Exit::Input, "there is no run.json beside it, which says what it is");
        }
    };
    if let Some(undone) = &run.undone {
        return refuse(Exit::Usage, &format!("it was {undone}"));
    }
    if run.head.shard.is_none() {
        return refuse(
            Exit::Usage,
            "these are not the results of a shard (a rerun comes after the merge)",
        );
    }
    Ok((path.to_owned(), run))
}

fn sharding(run: &Manifest) -> &Sharding {
    run.head.shard.as_ref().expect("what is no shard was refused")
}

fn rows_of(run: &Manifest) -> u64 {
    run.counts.values().sum()
}

/// Refuses shards of different jobs.
fn refuse_others(
    one: &Path,
    first: &Manifest,
    other: &Path,
    second: &Manifest,
) -> Result<(), Halt> {
    let (head, other_head) = (&first.head, &second.head);
    let unsharded = |head: &Head| Head { shard: None, ..head.clone() };
    if let Some(what) = unsharded(head).difference(&unsharded(other_head)) {
        return Err(apart(one, other, &what));
    }
    let counts = [first, second].map(|run| sharding(run).shard.count);
    if counts[0] != counts[1] {
        let what = format!("one is of {} shards, and the other of {}", counts[0], counts[1]);
        return Err(apart(one, other, &what));
    }
    if head.inputs != other_head.inputs || !are_same(&first.digests, &second.digests) {
        return Err(apart(one, other, "they read other inputs, or other bytes"));
    }
    let started = |head: &Head| head.parent.as_ref().and_then(|parent| parent.started_at.clone());
    if started(head) != started(other_head) {
        return Err(apart(one, other, "they started from other results"));
    }
    if !sharding(first).divides_like(sharding(second)) {
        let what = "the rules of the model associations changed between them, so that they divided the rows \
                    otherwise: start the shards anew, with --fresh";
        return Err(apart(one, other, what));
    }
    Ok(())
}

fn apart(one: &Path, other: &Path, what: &str) -> Halt {
    let (one, other) = (one.display(), other.display());
    Halt::usage(format!("{one} and {other} can't be merged: {what}"))
}

/// Refuses results that are not as the run wrote them: what was mended is for a rerun.
fn refuse_changed(path: &Path, run: &Manifest) -> Result<(), Halt> {
    if run.wrote(path)? {
        return Ok(());
    }
    let what = format!("{} was changed since it was written: restore it", path.display());
    Err(Halt::new(Exit::Input, what))
}

/// Where a row stands among all rows: what a sync adds comes first, by its association.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Added(std::sync::Arc<str>, u64, u64),
    Row(u32, u64),
}

/// The rows of shards in the order of the input, of each shard one in memory.
struct Merging<'a> {
    shards: Vec<Lines<'a>>,
    /// The next row of each shard that has one.
    next: BinaryHeap<Reverse<(Rank, usize)>>,
    last: Option<Rank>,
    given: u64,
    cells: RowParser,
}

/// What is left of a shard's results.
struct Lines<'a> {
    path: &'a Path,
    reader: Reader,
    sharder: Sharder,
    shard: Shard,
    next: Option<Record>,
    left: u64,
}

impl<'a> Merging<'a> {
    fn new(shards: &'a [(PathBuf, Manifest)]) -> Result<Self, ResultsError> {
        let lines = |(path, run): &'a (PathBuf, Manifest)| {
            let sharding = sharding(run).clone();
            let (shard, sharder) = (sharding.shard, Sharder::new(sharding));
            let reader = Reader::open(path, &run.head.files)?;
            Ok(Lines { path, reader, sharder, shard, next: None, left: rows_of(run) })
        };
        let shards = shards.iter().map(lines).collect::<Result<Vec<_>, ResultsError>>()?;
        let (next, cells) = (BinaryHeap::with_capacity(shards.len()), RowParser::new(None, false));
        let mut merging = Self { shards, next, last: None, given: 0, cells };
        for shard in 0..merging.shards.len() {
            merging.read(shard)?;
        }
        Ok(merging)
    }

    /// Reads a shard's next line, which must be its own and come behind the one before.
    fn read(&mut self, number: usize) -> Result<(), ResultsError> {
        let lines = &mut self.shards[number];
        let Some(record) = lines.reader.next().transpose()? else {
            return if lines.left == 0 {
                Ok(())
            } else {
                Err(lines.wrong(None, "rows are missing"))
            };
        };
        let Record { file, line, cells, .. } = &record;
        if lines.sharder.shard_of(*file, *line, cells) != lines.shard.index {
            let what = format!("this row is not one of shard {}", lines.shard);
            return Err(lines.wrong(Some(*line), &what));
        }
        lines.left =
            lines.left.checked_sub(1).ok_or_else(|| lines.wrong(None, "it has more rows"))?;
        let rank = match self.cells.read(cells.ids()).1 {
            Ok(new) if *line == 0 => {
                let association = new.association;
                let ids = (association.inst_id.get(), association.asst_inst_id.get());
                Rank::Added(association.obj_asst_id, ids.0, ids.1)
            }
            _ => Rank::Row(*file, *line),
        };
        lines.next = Some(record);
        self.next.push(Reverse((rank, number)));
        Ok(())
    }

    fn take(&mut self) -> Result<Option<Record>, ResultsError> {
        let Some(Reverse((rank, number))) = self.next.pop() else { return Ok(None) };
        let record = self.shards[number].next.take().expect("a shard in the heap has a row");
        // An association may be there under two ids, and then both deletes are one shard's.
        let follows = match (&self.last, &rank) {
            (Some(last), Rank::Added(..)) => *last <= rank,
            (Some(last), Rank::Row(..)) => *last < rank,
            (None, _) => true,
        };
        if !follows {
            let what = "this row is there twice, or out of order";
            return Err(self.shards[number].wrong(Some(record.line), what));
        }
        self.last = Some(rank);
        self.read(number)?;
        let ordinal = self.given;
        self.given += 1;
        Ok(Some(Record { ordinal, ..record }))
    }
}

impl Lines<'_> {
    fn wrong(&self, line: Option<u64>, what: &str) -> ResultsError {
        let (path, what) = (self.path.to_owned(), format!("{what}: this is a bug"));
        ResultsError::Unreadable { path, line, what }
    }
}

impl Iterator for Merging<'_> {
    type Item = Result<Record, ResultsError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.take().transpose()
    }
}
