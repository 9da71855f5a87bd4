//! Which rows of a job are which shard's.
//!
//! Owns the rule: rows that the server must not have at once, since they collide, are one shard's. It is the
//! same in all versions, since a run goes on under another, and one shard may run under another. Knows nothing
//! of how the rules of model associations are found out: they stand in the head, on disk before the first
//! row is sent.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::association::{Cells, Mapping};
use crate::input::RowParser;
use crate::input::digest::Hasher;
use crate::options::Shard;

/// A shard of a job, and what decides which rows it has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sharding {
    /// Which one.
    #[serde(flatten)]
    pub shard: Shard,
    /// How many rows all shards have.
    pub rows: u64,
    /// The rules of model associations, as far as the server told them when the run began. The rows of any other
    /// are kept together, as for 1:1.
    pub mappings: BTreeMap<String, Mapping>,
}

impl Sharding {
    /// Before anything is known of the rows.
    pub fn undecided(shard: Shard) -> Self {
        Self { shard, rows: 0, mappings: BTreeMap::new() }
    }

    /// Whether they divide the rows alike.
    pub fn divides_like(&self, other: &Self) -> bool {
        let of = |one: &Self| (one.shard.count, one.rows);
        of(self) == of(other) && self.mappings == other.mappings
    }
}

/// Tells the shards of rows, one after the other.
pub struct Sharder {
    sharding: Sharding,
    cells: RowParser,
    text: String,
}

impl Sharder {
    /// Goes by this.
    pub fn new(sharding: Sharding) -> Self {
        Self { sharding, cells: RowParser::new(None, false), text: String::new() }
    }

    /// What it goes by.
    pub const fn sharding(&self) -> &Sharding {
        &self.sharding
    }

    /// Whether a row is the shard's own.
    pub fn owns(&mut self, file: u32, line: u64, cells: &Cells) -> bool {
        self.shard_of(file, line, cells) == self.sharding.shard.index
    }

    /// The number of the shard that has a row: by its ids, where they are ones, and else by its place, since such
    /// a row is never sent.
    pub fn shard_of(&mut self, file: u32, line: u64, cells: &Cells) -> u32 {
        self.text.clear();
        let text = &mut self.text;
        // Writing to a String can't fail.
        let _ = match self.cells.read(cells.ids()).1 {
            Ok(new) => {
                let association = new.association;
                let (name, target) = (&association.obj_asst_id, association.asst_inst_id.get());
                let mapping = self.sharding.mappings.get(&**name);
                match mapping.copied().unwrap_or(Mapping::OneToOne) {
                    Mapping::OneToOne => write!(text, "{name}"),
                    Mapping::OneToMany => write!(text, "{name}\n{target}"),
                    Mapping::ManyToMany => {
                        write!(text, "{name}\n{}\n{target}", association.inst_id.get())
                    }
                }
            }
            Err(_) => write!(text, "\n{file}\n{line}"),
        };
        let mut hasher = Hasher::default();
        hasher.update(self.text.as_bytes());
        let hash = hasher.sha256();
        let hash = u64::from_str_radix(&hash[..16], 16).expect("hex digits");
        1 + u32::try_from(hash % u64::from(self.sharding.shard.count)).expect("less than the count")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sharder(count: u32) -> Sharder {
        let rules =
            [("a", Mapping::OneToOne), ("b", Mapping::OneToMany), ("c", Mapping::ManyToMany)];
        let mappings = rules.map(|(name, mapping)| (name.to_owned(), mapping)).into();
        let shard = Shard::new(1, count).unwrap();
        Sharder::new(Sharding { mappings, ..Sharding::undecided(shard) })
    }

    fn shard_of(sharder: &mut Sharder, cells: [&str; 3]) -> u32 {
        let [name, source, target] = cells;
        sharder.shard_of(1, 9, &Cells::new([name, source, target, "7"]))
    }

    /// Other versions take part in the same job: these numbers are those of docs/design.md's rule, and never
    /// change.
    #[test]
    fn a_row_is_the_same_shards_in_all_versions() {
        let mut sharder = sharder(8);
        for (cells, shard) in [
            (["a", "3", "7"], 3),
            (["b", "3", "7"], 6),
            (["b", "3", " 008 "], 1),
            (["c", "3", "7"], 5),
            (["c", "4", "7"], 1),
            (["d", "3", "7"], 2),
            (["d", "x", "7"], 7),
        ] {
            assert_eq!(shard_of(&mut sharder, cells), shard, "{cells:?}");
        }
    }

    #[test]
    fn rows_that_collide_are_one_shards_and_others_are_spread() {
        let mut sharder = sharder(5);
        let ids: Vec<_> = (1..60).map(|id| id.to_string()).collect();
        let mut spread = |cells: &dyn Fn(&str) -> [String; 3]| {
            let mut shards: Vec<_> = (ids.iter())
                .map(|id| {
                    let [name, source, target] = cells(id);
                    shard_of(&mut sharder, [&name, &source, &target])
                })
                .collect();
            shards.sort_unstable();
            shards.dedup();
            shards.len()
        };
        let row =
            |name: &str, source: &str, target: &str| [name, source, target].map(str::to_owned);
        for (shards, cells) in [
            (1, &(|id: &str| row("a", id, "1")) as &dyn Fn(&str) -> [String; 3]),
            (1, &|id| row("a", id, id)),
            (1, &|id| row("unknown", "1", id)),
            (1, &|id| row("b", id, "1")),
            (5, &|id| row("b", "1", id)),
            (1, &|_| row("c", "1", "1")),
            (5, &|id| row("c", id, "1")),
            (5, &|id| row("c", "1", id)),
        ] {
            assert_eq!(spread(cells), shards, "{:?}", cells("1"));
        }
    }
}
