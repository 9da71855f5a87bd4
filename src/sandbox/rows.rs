//! The rows: every association that exists, by id, by pair and, where a rule counts it, by target.
//!
//! Owns the id sequence and the indexes. Knows nothing of names, rules or calls. A row costs 65 to
//! 105 bytes, indexes included; every operation is logarithmic but a search by target in an n:n
//! association, which reads that association through.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use rustc_hash::FxHashSet;
use tokio::time::Instant;

use super::models::TableId;
use crate::association::Mapping;

/// One association.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) source: i64,
    pub(super) target: i64,
    pub(super) table: TableId,
}

/// Source, target and id, each number in halves of 32 bits: without padding a key takes 20 bytes, not
/// 24. 3.5 stores the same pair twice, so the id belongs to the key.
type PairKey = [u32; 5];
/// Target and id.
type TargetKey = [u32; 3];

#[derive(Debug)]
struct Index {
    by_pair: BTreeSet<PairKey>,
    /// Where a mapping rule counts targets.
    by_target: Option<BTreeSet<TargetKey>>,
    /// The ids, ascending; those of deleted rows are taken out when they are more than half.
    by_id: Vec<u32>,
    deleted: usize,
}

fn halves(number: i64) -> [u32; 2] {
    let number = number.cast_unsigned();
    [(number >> 32) as u32, number as u32]
}

fn pair_key(source: i64, target: i64, id: u32) -> PairKey {
    let ([a, b], [c, d]) = (halves(source), halves(target));
    [a, b, c, d, id]
}

fn target_key(target: i64, id: u32) -> TargetKey {
    let [a, b] = halves(target);
    [a, b, id]
}

/// All associations.
#[derive(Debug)]
pub(super) struct Store {
    /// The row of an id is at `id - 1`. Places of deleted and unused ids are empty.
    all: Vec<Option<Row>>,
    indexes: Vec<Index>,
    /// The ids of rows that are in their source model's table only, and not in the target's.
    half: FxHashSet<u32>,
    live: usize,
    /// Since when there are rows from which id on, for as long as a look-up may lag.
    births: VecDeque<(Instant, u32)>,
    /// What was removed, for as long as a look-up may lag.
    deaths: VecDeque<(Instant, u32, Row)>,
}

impl Store {
    /// An empty store, for tables with these mappings.
    pub(super) fn new(mappings: impl Iterator<Item = Mapping>) -> Self {
        let index = |mapping| Index {
            by_pair: BTreeSet::new(),
            by_target: (mapping != Mapping::ManyToMany).then(BTreeSet::new),
            by_id: Vec::new(),
            deleted: 0,
        };
        Self {
            all: Vec::new(),
            indexes: mappings.map(index).collect(),
            half: FxHashSet::default(),
            live: 0,
            births: VecDeque::new(),
            deaths: VecDeque::new(),
        }
    }

    /// The id of the next row, from one sequence over all associations (docs/cmdb-api.md#ids).
    pub(super) fn next_id(&self) -> u32 {
        u32::try_from(self.all.len() + 1).expect("fewer than 2^32 rows fit into memory")
    }

    /// Adds a row under the next id.
    pub(super) fn insert(&mut self, row: Row) -> u32 {
        let id = self.next_id();
        self.all.push(Some(row));
        self.live += 1;
        let index = &mut self.indexes[row.table.index()];
        index.by_id.push(id);
        index.by_pair.insert(pair_key(row.source, row.target, id));
        if let Some(by_target) = &mut index.by_target {
            by_target.insert(target_key(row.target, id));
        }
        id
    }

    /// Takes a row out of the target model's table.
    pub(super) fn halve(&mut self, id: u32) {
        self.half.insert(id);
    }

    /// Whether a row is in its source model's table only.
    pub(super) fn is_half(&self, id: u32) -> bool {
        self.half.contains(&id)
    }

    /// Lets the next row get this id, if it is not behind already.
    pub(super) fn skip_to(&mut self, id: u32) {
        let len = id.saturating_sub(1) as usize;
        if len > self.all.len() {
            self.all.resize(len, None);
        }
    }

    /// Notes when a row was created, and forgets what is older than any lag.
    pub(super) fn born(&mut self, id: u32, now: Instant, lag: Duration) {
        let is_old = |(birth, _): &(Instant, u32)| now.duration_since(*birth) >= lag;
        while self.births.front().is_some_and(is_old) {
            self.births.pop_front();
        }
        if self.births.back().is_none_or(|(last, _)| *last < now) {
            self.births.push_back((now, id));
        }
    }

    /// The first id younger than the lag, from which on rows are hidden from a look-up that lags.
    pub(super) fn horizon(&self, now: Instant, lag: Duration) -> u32 {
        let is_young = |(birth, _): &&(Instant, u32)| now.duration_since(*birth) < lag;
        let youngest = self.births.iter().find(is_young);
        youngest.map_or(u32::MAX, |(_, id)| *id)
    }

    /// Notes when a row was removed, and forgets what is older than any lag.
    pub(super) fn died(&mut self, id: u32, row: Row, now: Instant, lag: Duration) {
        while self.deaths.front().is_some_and(|(death, ..)| now.duration_since(*death) >= lag) {
            self.deaths.pop_front();
        }
        self.deaths.push_back((now, id, row));
    }

    /// What was removed within the lag, which a look-up that lags still shows.
    pub(super) fn still_shown(
        &self,
        now: Instant,
        lag: Duration,
    ) -> impl Iterator<Item = (u32, Row)> {
        let is_young = move |(death, ..): &&(Instant, u32, Row)| now.duration_since(*death) < lag;
        self.deaths.iter().filter(is_young).map(|(_, id, row)| (*id, *row))
    }

    /// Removes a row; `None` where there was none.
    pub(super) fn remove(&mut self, id: i64) -> Option<Row> {
        let number = u32::try_from(id).ok()?;
        let row = self.all.get_mut(number.checked_sub(1)? as usize)?.take()?;
        self.live -= 1;
        self.half.remove(&number);
        let index = &mut self.indexes[row.table.index()];
        index.by_pair.remove(&pair_key(row.source, row.target, number));
        if let Some(by_target) = &mut index.by_target {
            by_target.remove(&target_key(row.target, number));
        }
        index.deleted += 1;
        if index.deleted * 2 > index.by_id.len() {
            index.by_id.retain(|id| self.all[*id as usize - 1].is_some());
            index.deleted = 0;
        }
        Some(row)
    }

    pub(super) fn get(&self, id: i64) -> Option<Row> {
        let index = usize::try_from(id).ok()?.checked_sub(1)?;
        self.all.get(index).copied().flatten()
    }

    pub(super) fn len(&self) -> usize {
        self.live
    }

    /// All rows, ids ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = (i64, Row)> {
        let numbered = (1..).zip(&self.all);
        numbered.filter_map(|(id, row)| Some((id, (*row)?)))
    }

    pub(super) fn has_pair(&self, table: TableId, source: i64, target: i64) -> bool {
        self.with_pair(table, source, target).next().is_some()
    }

    pub(super) fn has_source(&self, table: TableId, source: i64) -> bool {
        self.with_source(table, source).next().is_some()
    }

    pub(super) fn has_target(&self, table: TableId, target: i64) -> bool {
        self.with_target(table, target).next().is_some()
    }

    /// Whether the target model's table has a row of that target.
    pub(super) fn has_whole_target(&self, table: TableId, target: i64) -> bool {
        self.with_target(table, target).any(|id| !self.is_half(id))
    }

    pub(super) fn with_pair(
        &self,
        table: TableId,
        source: i64,
        target: i64,
    ) -> impl Iterator<Item = u32> {
        let by_pair = &self.indexes[table.index()].by_pair;
        let same = pair_key(source, target, 0)..=pair_key(source, target, u32::MAX);
        by_pair.range(same).map(|&[.., id]| id)
    }

    pub(super) fn with_source(&self, table: TableId, source: i64) -> impl Iterator<Item = u32> {
        let by_pair = &self.indexes[table.index()].by_pair;
        // In halves -1 is the greatest number there is.
        let same = pair_key(source, 0, 0)..=pair_key(source, -1, u32::MAX);
        by_pair.range(same).map(|&[.., id]| id)
    }

    pub(super) fn with_target(&self, table: TableId, target: i64) -> impl Iterator<Item = u32> {
        let index = &self.indexes[table.index()];
        let indexed = index.by_target.as_ref().map(|by_target| {
            let same = target_key(target, 0)..=target_key(target, u32::MAX);
            by_target.range(same).map(|&[.., id]| id)
        });
        let searched = index.by_target.is_none().then(|| {
            let same = index.by_pair.iter().filter(move |key| key[2..4] == halves(target));
            same.map(|&[.., id]| id)
        });
        let indexed = indexed.into_iter().flatten();
        indexed.chain(searched.into_iter().flatten())
    }

    /// The ids of a table's rows between two ids, both included, ascending.
    pub(super) fn in_table(
        &self,
        table: TableId,
        (first, last): (i64, i64),
    ) -> impl DoubleEndedIterator<Item = u32> {
        let by_id = &self.indexes[table.index()].by_id;
        let from = by_id.partition_point(|id| i64::from(*id) < first);
        let to = by_id.partition_point(|id| i64::from(*id) <= last).max(from);
        let is_there = |id: &u32| self.all[*id as usize - 1].is_some();
        by_id[from..to].iter().copied().filter(is_there)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(table: usize, source: i64, target: i64) -> Row {
        let table = TableId::new(table).unwrap();
        Row { source, target, table }
    }

    fn rows() -> Store {
        Store::new([Mapping::OneToMany, Mapping::ManyToMany].into_iter())
    }

    fn targets(rows: &Store, table: usize, target: i64) -> Vec<u32> {
        rows.with_target(TableId::new(table).unwrap(), target).collect()
    }

    #[test]
    fn a_row_takes_no_more_than_it_must() {
        assert_eq!(size_of::<Option<Row>>(), 24);
    }

    #[test]
    fn ids_ascend_over_all_tables_and_are_never_given_twice() {
        let mut rows = rows();
        assert_eq!(rows.insert(row(0, 1, 2)), 1);
        assert_eq!(rows.insert(row(1, 1, 2)), 2);
        assert!(rows.remove(2).is_some());
        assert_eq!(rows.insert(row(1, 1, 2)), 3);
        rows.skip_to(10);
        assert_eq!(rows.insert(row(1, 1, 3)), 10);
        assert_eq!(rows.iter().map(|(id, _)| id).collect::<Vec<_>>(), [1, 3, 10]);
        assert_eq!(rows.len(), 3);
    }

    #[test]
    fn indexes_find_what_is_there_and_forget_what_is_gone() {
        let mut rows = rows();
        for table in [0, 1] {
            let id = rows.insert(row(table, 5, 7));
            rows.insert(row(table, 5, 8));
            rows.insert(row(table, -5, i64::MAX));
            let at = TableId::new(table).unwrap();
            assert!(rows.has_pair(at, 5, 7) && !rows.has_pair(at, 7, 5));
            assert_eq!(rows.with_source(at, 5).count(), 2);
            assert_eq!(targets(&rows, table, 7), [id]);
            assert!(rows.has_target(at, i64::MAX));
            assert_eq!(rows.remove(i64::from(id)), Some(row(table, 5, 7)));
            assert_eq!(rows.remove(i64::from(id)), None);
            assert!(!rows.has_pair(at, 5, 7) && !rows.has_target(at, 7));
            assert_eq!(rows.in_table(at, (i64::MIN, i64::MAX)).count(), 2);
        }
        assert_eq!(rows.remove(0), None);
        assert_eq!(rows.remove(-1), None);
    }

    #[test]
    fn a_tables_rows_are_found_between_two_ids_whatever_was_deleted() {
        let mut rows = rows();
        for n in 0..100 {
            rows.insert(row(n % 2, 1, 1));
        }
        let at = TableId::new(0).unwrap();
        let between =
            |rows: &Store, first, last| rows.in_table(at, (first, last)).collect::<Vec<_>>();
        assert_eq!(between(&rows, 2, 7), [3, 5, 7]);
        assert!(between(&rows, 7, 2).is_empty());
        for id in (1..=100).filter(|id| id % 3 != 0) {
            rows.remove(id).unwrap();
        }
        assert_eq!(between(&rows, i64::MIN, 10), [3, 9]);
        assert_eq!(between(&rows, 94, i64::MAX), [99]);
        assert!(rows.indexes.iter().all(|index| index.by_id.len() < 40));
    }

    #[tokio::test(start_paused = true)]
    async fn a_lagging_look_up_sees_only_rows_older_than_the_lag() {
        let lag = Duration::from_secs(1);
        let mut rows = rows();
        for _ in 0..2 {
            let id = rows.insert(row(1, 1, 1));
            rows.born(id, Instant::now(), lag);
        }
        assert_eq!(rows.horizon(Instant::now(), lag), 1);
        tokio::time::advance(Duration::from_millis(600)).await;
        let id = rows.insert(row(1, 1, 1));
        rows.born(id, Instant::now(), lag);
        tokio::time::advance(Duration::from_millis(600)).await;
        assert_eq!(rows.horizon(Instant::now(), lag), 3);
        tokio::time::advance(Duration::from_millis(600)).await;
        assert_eq!(rows.horizon(Instant::now(), lag), u32::MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lagging_look_up_still_sees_what_was_removed_within_the_lag() {
        let lag = Duration::from_secs(1);
        let mut rows = rows();
        let shown = |rows: &Store| rows.still_shown(Instant::now(), lag).collect::<Vec<_>>();
        let id = rows.insert(row(1, 1, 1));
        let gone = rows.remove(i64::from(id)).unwrap();
        rows.died(id, gone, Instant::now(), lag);
        assert_eq!(shown(&rows), [(id, gone)]);
        tokio::time::advance(lag).await;
        assert_eq!(shown(&rows), []);
    }
}
