//! What settled rows leave behind for those that come after them at the same association or side.
//!
//! Three things: ids that are gone, which a read that lags may still show; creates that may be executed yet
//! although their rows are settled, since what they were to create was found; and whose association was
//! deleted to make room. Knows the newest only. Knows nothing of calls, or of rows that are under way.

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use rustc_hash::{FxHashMap, FxHashSet, FxHasher};
use tokio::time::Instant;

use crate::association::{Association, Mapping};
use crate::outcome::Status;
use crate::storage::journal::replay::{Replay, Trace};

/// Deletes that are remembered.
const MOST: usize = 1 << 16;

/// A row that deleted something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deleted {
    /// The row.
    pub ordinal: u64,
    /// What it deleted.
    pub id: i64,
    /// That association's source,
    pub source: u64,
    /// and its target.
    pub target: u64,
}

/// The traces of a run.
#[derive(Debug, Default)]
pub struct Traces {
    deleted: VecDeque<(Deleted, [u64; 3])>,
    /// The number of the first of them.
    first: u64,
    /// By association, by source and by target: the number of the last delete there.
    last: FxHashMap<u64, u64>,
    gone: FxHashSet<i64>,
    gone_in_order: VecDeque<i64>,
    /// By association: until when a create of it may be executed.
    creates: FxHashMap<u64, Instant>,
    creates_in_order: VecDeque<(Instant, u64)>,
}

/// What two rows may share.
#[derive(Hash)]
enum Shared<'a> {
    Both(&'a str, u64, u64),
    Source(&'a str, u64),
    Target(&'a str, u64),
}

impl Shared<'_> {
    fn key(&self) -> u64 {
        let mut hasher = FxHasher::default();
        self.hash(&mut hasher);
        hasher.finish()
    }
}

/// By both ends, by the source, by the target.
fn keys(association: &Association) -> [u64; 3] {
    let Association { obj_asst_id, inst_id, asst_inst_id } = association;
    let (source, target) = (inst_id.get(), asst_inst_id.get());
    [
        Shared::Both(obj_asst_id, source, target).key(),
        Shared::Source(obj_asst_id, source).key(),
        Shared::Target(obj_asst_id, target).key(),
    ]
}

/// Those of them that a rule is about.
fn bound(mapping: Mapping, [both, source, target]: [u64; 3]) -> [Option<u64>; 2] {
    match mapping {
        Mapping::OneToOne => [Some(source), Some(target)],
        Mapping::OneToMany => [Some(target), None],
        Mapping::ManyToMany => [Some(both), None],
    }
}

impl Traces {
    /// What the rows left that earlier processes settled. It is `began_at` now by the wall clock, in milliseconds
    /// since 1970, and `now`.
    pub fn of(earlier: &Replay, began_at: i64, now: Instant, settle_after: Duration) -> Self {
        let mut traces = Self::default();
        for Trace { ordinal, association, status, id, at } in &earlier.traces {
            if *status == Status::Deleted {
                traces.delete(*ordinal, association, &[*id]);
                continue;
            }
            // Whether it was in doubt is not written: that it was is the safe thing to believe.
            let passed = u64::try_from(began_at - at).map_or(Duration::ZERO, Duration::from_millis);
            if let Some(left) = settle_after.checked_sub(passed) {
                traces.create_may_follow(association, now + left);
            }
        }
        traces
    }

    /// A row deleted these, and saw them gone.
    pub fn delete(&mut self, ordinal: u64, association: &Association, ids: &[i64]) {
        for &id in ids {
            if self.gone.insert(id) {
                self.gone_in_order.push_back(id);
            }
        }
        while self.gone_in_order.len() > MOST
            && let Some(id) = self.gone_in_order.pop_front()
        {
            self.gone.remove(&id);
        }
        let Some(id) = ids.iter().min() else { return };
        let (source, target) = (association.inst_id.get(), association.asst_inst_id.get());
        let keys = keys(association);
        let number = self.first + self.deleted.len() as u64;
        self.deleted.push_back((Deleted { ordinal, id: *id, source, target }, keys));
        self.last.extend(keys.map(|key| (key, number)));
        if self.deleted.len() > MOST
            && let Some((_, keys)) = self.deleted.pop_front()
        {
            for key in keys {
                if self.last.get(&key) == Some(&self.first) {
                    self.last.remove(&key);
                }
            }
            self.first += 1;
        }
    }

    /// Whether an id was seen gone. It is never given again.
    pub fn is_gone(&self, id: i64) -> bool {
        self.gone.contains(&id)
    }

    /// A row is settled whose create may be executed until then.
    pub fn create_may_follow(&mut self, association: &Association, until: Instant) {
        let [both, ..] = keys(association);
        self.creates.insert(both, until);
        self.creates_in_order.push_back((until, both));
    }

    /// Until when a create of this association may be executed that nobody waits for.
    pub fn may_be_created_until(&self, association: &Association) -> Option<Instant> {
        let [both, ..] = keys(association);
        self.creates.get(&both).copied()
    }

    /// Forgets what is over.
    pub fn forget(&mut self, now: Instant) {
        while let Some(&(until, key)) = self.creates_in_order.front()
            && (until <= now || self.creates_in_order.len() > MOST)
        {
            self.creates_in_order.pop_front();
            if self.creates.get(&key).is_some_and(|last| *last <= now) {
                self.creates.remove(&key);
            }
        }
    }

    /// A row took the place that deletes made.
    pub fn take_place(&mut self, mapping: Mapping, association: &Association) {
        for key in bound(mapping, keys(association)).into_iter().flatten() {
            self.last.remove(&key);
        }
    }

    /// The deletes that made room for this association, the last one at each side.
    pub fn made_room_for(&self, mapping: Mapping, association: &Association) -> Vec<Deleted> {
        let numbers = bound(mapping, keys(association)).into_iter().flatten();
        let numbers = numbers.filter_map(|key| self.last.get(&key));
        let found = numbers.filter_map(|number| {
            let at = number.checked_sub(self.first)?;
            self.deleted.get(usize::try_from(at).ok()?).map(|(deleted, _)| *deleted)
        });
        let mut found: Vec<_> = found.collect();
        found.dedup();
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::association::InstId;

    fn pair(source: u64, target: u64) -> Association {
        let id = |id| InstId::new(id).unwrap();
        Association { obj_asst_id: "a".into(), inst_id: id(source), asst_inst_id: id(target) }
    }

    fn ids(found: &[Deleted]) -> Vec<i64> {
        found.iter().map(|deleted| deleted.id).collect()
    }

    #[test]
    fn a_delete_makes_room_where_the_rule_says_so_until_the_place_is_taken() {
        let mut traces = Traces::default();
        traces.delete(0, &pair(1, 2), &[7]);
        traces.delete(1, &pair(3, 4), &[8]);
        let room = |traces: &Traces, mapping| ids(&traces.made_room_for(mapping, &pair(1, 4)));
        assert_eq!(room(&traces, Mapping::OneToOne), [7, 8]);
        assert_eq!(room(&traces, Mapping::OneToMany), [8]);
        assert!(room(&traces, Mapping::ManyToMany).is_empty());
        traces.take_place(Mapping::OneToMany, &pair(5, 4));
        assert!(room(&traces, Mapping::OneToMany).is_empty());
        assert_eq!(ids(&traces.made_room_for(Mapping::ManyToMany, &pair(1, 2))), [7]);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut traces = Traces::default();
        for n in 1..=MOST as u64 + 10 {
            traces.delete(n, &pair(n, n), &[n as i64]);
        }
        assert_eq!((traces.deleted.len(), traces.gone.len()), (MOST, MOST));
        assert_eq!(traces.last.len(), 3 * MOST);
        assert!(!traces.is_gone(10) && traces.is_gone(11));
        assert!(traces.made_room_for(Mapping::OneToOne, &pair(10, 9)).is_empty());
        assert_eq!(ids(&traces.made_room_for(Mapping::OneToOne, &pair(11, 9))), [11]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_create_may_follow_for_as_long_as_the_last_one_may() {
        let (mut traces, now) = (Traces::default(), Instant::now());
        let later = |seconds| now + Duration::from_secs(seconds);
        traces.create_may_follow(&pair(1, 2), later(5));
        traces.create_may_follow(&pair(1, 2), later(9));
        traces.forget(later(6));
        assert_eq!(traces.may_be_created_until(&pair(1, 2)), Some(later(9)));
        traces.forget(later(9));
        assert_eq!(traces.may_be_created_until(&pair(1, 2)), None);
        assert!(traces.creates.is_empty() && traces.creates_in_order.is_empty());
    }
}
