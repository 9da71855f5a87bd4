//! What stands on the server, of what a look-up asked for.

use rustc_hash::FxHashMap;

use crate::association::{Association, Mapping};
use crate::cmdb::wire::Found;

/// What a look-up found, all of one model association.
#[derive(Debug)]
pub(super) struct Standing {
    pairs: FxHashMap<(u64, u64), Vec<i64>>,
    sources: FxHashMap<u64, Vec<Found>>,
    targets: FxHashMap<u64, Vec<Found>>,
}

impl Standing {
    pub(super) fn new(found: Vec<Found>) -> Self {
        let mut this = Self {
            pairs: FxHashMap::default(),
            sources: FxHashMap::default(),
            targets: FxHashMap::default(),
        };
        for found in found {
            let (source, target) = (found.bk_inst_id, found.bk_asst_inst_id);
            this.pairs.entry((source, target)).or_default().push(found.id);
            this.sources.entry(source).or_default().push(found.clone());
            this.targets.entry(target).or_default().push(found);
        }
        this
    }

    /// The ids under which an association is there.
    pub(super) fn ids(&self, association: &Association) -> &[i64] {
        self.pairs.get(&association.pair()).map_or(&[], Vec::as_slice)
    }

    /// What stands beside an association where a rule allows it alone; the least id first.
    pub(super) fn beside(&self, association: &Association, rule: Mapping) -> Vec<&Found> {
        let pair = association.pair();
        let on_source = self.sources.get(&pair.0).filter(|_| rule == Mapping::OneToOne);
        let on_target = self.targets.get(&pair.1).filter(|_| rule != Mapping::ManyToMany);
        let is_another = |found: &&Found| (found.bk_inst_id, found.bk_asst_inst_id) != pair;
        let on_sides = on_source.into_iter().chain(on_target).flatten();
        let mut beside: Vec<_> = on_sides.filter(is_another).collect();
        beside.sort_unstable_by_key(|found| found.id);
        beside
    }
}
