//! Every line held against all that the store went through: rows that create and delete in order.

use std::collections::{HashMap, HashSet};

use super::world::{World, name_of, row, triple_of};
use crate::association::{Mapping, Row};
use crate::engine::remaining::{Goal, Remaining};
use crate::outcome::{Reason, Status};
use crate::sandbox::StoredRow;
use rand::{Rng, RngExt};

type Triple = (String, i64, i64);

fn triple(stored: &StoredRow) -> Triple {
    (stored.obj_asst_id.to_string(), stored.source, stored.target)
}

/// The sides of which a rule lets only one association be.
fn bound_sides((name, source, target): &Triple) -> Vec<(String, char, i64)> {
    let mut sides = Vec::new();
    if name == name_of(Mapping::OneToOne) {
        sides.push((name.clone(), 's', *source));
    }
    if name != name_of(Mapping::ManyToMany) {
        sides.push((name.clone(), 't', *target));
    }
    sides
}

/// A history in which the rules hold at every moment. Gives all ids that ever were, and those that were
/// removed.
fn hold_the_rules(
    history: &[(bool, StoredRow)],
) -> Result<(HashMap<i64, Triple>, HashSet<i64>), String> {
    let (mut ever, mut removed) = (HashMap::new(), HashSet::new());
    let (mut triples, mut sides) = (HashSet::new(), HashSet::new());
    for (stored, one) in history {
        let triple = triple(one);
        if *stored {
            ever.insert(one.id, triple.clone());
            if !triples.insert(triple.clone()) {
                return Err(format!("stored twice: {one:?}"));
            }
            for side in bound_sides(&triple) {
                if !sides.insert(side.clone()) {
                    return Err(format!("a rule is broken at {side:?} by {one:?}"));
                }
            }
        } else {
            removed.insert(one.id);
            triples.remove(&triple);
            for side in bound_sides(&triple) {
                sides.remove(&side);
            }
        }
    }
    Ok((ever, removed))
}

impl World {
    /// Follows the lines in their order, which is that of colliding rows: each must be true of what the lines
    /// before left, and the last of what is stored.
    pub(super) fn check_in_order(&self) -> Result<HashMap<Status, usize>, String> {
        let (ever, removed) = hold_the_rules(&self.sandbox.history())?;
        let records = self.records();
        if records.len() != self.rows.len() {
            return Err(format!("{} rows in, {} out", self.rows.len(), records.len()));
        }
        let mut there: HashMap<Triple, i64> =
            self.before.iter().map(|one| (triple(one), one.id)).collect();
        let mut unknown: HashSet<Triple> = HashSet::new();
        let mut claimed: HashSet<i64> = there.values().copied().collect();
        let mut deleted: HashSet<i64> = HashSet::new();
        let mut counts = HashMap::new();
        for (record, row) in records.iter().zip(&self.rows) {
            let outcome = &record.outcome;
            *counts.entry(outcome.status).or_default() += 1;
            let triple = triple_of(row);
            let is_known = !unknown.contains(&triple);
            let said = format!("row {} {triple:?}: {outcome:?}", row.ordinal);
            let is = there.get(&triple).copied();
            match (outcome.status, outcome.association_id) {
                // What was there before may be found above the ids that this run had seen.
                (Status::Recovered, Some(id)) if is == Some(id) => {}
                (Status::Created | Status::Recovered, Some(id)) => {
                    let is_new = ever.get(&id) == Some(&triple) && claimed.insert(id);
                    if !is_new || (is_known && is.is_some()) {
                        return Err(said);
                    }
                    unknown.remove(&triple);
                    there.insert(triple, id);
                }
                (Status::Existed, Some(id)) if is == Some(id) => {}
                (Status::Existed, Some(id)) if !is_known && ever.get(&id) == Some(&triple) => {
                    unknown.remove(&triple);
                    there.insert(triple, id);
                    claimed.insert(id);
                }
                (Status::Deleted, Some(id)) => {
                    let is_its = ever.get(&id) == Some(&triple) && removed.contains(&id);
                    // What a row behind it had created by then, the loss of power took from the journal with
                    // the end of this one: it goes, and is created again.
                    let is_meant = is == Some(id) || (is.is_none() && !claimed.contains(&id));
                    if !is_its || !deleted.insert(id) || (is_known && !is_meant) {
                        return Err(said);
                    }
                    unknown.remove(&triple);
                    there.remove(&triple);
                }
                (Status::Absent, None) if is.is_none() || !is_known => {
                    unknown.remove(&triple);
                    there.remove(&triple);
                }
                (Status::Failed, None) => match outcome.reason {
                    Some(Reason::OutcomeUnknown) => _ = unknown.insert(triple),
                    Some(Reason::MappingConflict) => {
                        let sides = bound_sides(&triple);
                        let in_the_way = |other: &Triple| {
                            bound_sides(other).iter().any(|side| sides.contains(side))
                        };
                        if !there.keys().chain(&unknown).any(in_the_way) {
                            return Err(format!("nothing is in the way: {said}"));
                        }
                    }
                    _ => {}
                },
                _ => return Err(said),
            }
        }
        let stored: HashMap<Triple, i64> =
            self.sandbox.rows().iter().map(|one| (triple(one), one.id)).collect();
        for triple in there.keys().chain(stored.keys()).filter(|one| !unknown.contains(*one)) {
            if there.get(triple) != stored.get(triple) {
                return Err(format!(
                    "{triple:?} is {:?}, and the lines say {:?}",
                    stored.get(triple),
                    there.get(triple)
                ));
            }
        }
        Ok(counts)
    }

    /// Stores associations before the run begins.
    pub(super) fn store(&mut self, name: &str, pairs: impl IntoIterator<Item = (u64, u64)>) {
        for (source, target) in pairs {
            self.sandbox.insert(name, source as i64, target as i64).unwrap();
        }
        self.before = self.sandbox.rows();
    }

    /// Rows that delete, beside those that create.
    pub(super) fn delete(&mut self, ordinals: impl IntoIterator<Item = u64>) {
        let goal = Remaining::All(Goal::Delete { id: None });
        self.asked.extend(ordinals.into_iter().map(|ordinal| (ordinal, goal.clone())));
    }
}

/// Rows over few instances, of which some delete what others, or nobody, created: moves to another partner,
/// swaps, and the same triple again in both orders. With the ordinals of those that delete.
pub(super) fn rows_with_actions(
    mapping: Mapping,
    count: u64,
    stored: &[(u64, u64)],
    rng: &mut impl Rng,
) -> (Vec<Row>, Vec<u64>) {
    let name = name_of(mapping);
    let mut steps: Vec<(bool, u64, u64)> = Vec::new();
    let pick = |rng: &mut dyn Rng, steps: &[(bool, u64, u64)]| {
        let at = rng.random_range(0..stored.len() + steps.len());
        let known = || steps[at - stored.len()];
        stored.get(at).copied().unwrap_or_else(|| (known().1, known().2))
    };
    while (steps.len() as u64) < count {
        let (source, target) = pick(rng, &steps);
        let (other, another) = pick(rng, &steps);
        match rng.random_range(0..6) {
            // A partner moves.
            0 | 1 => steps.extend([(true, source, target), (false, source, count + target)]),
            // Two swap theirs.
            2 => steps.extend([
                (true, source, target),
                (true, other, another),
                (false, source, another),
                (false, other, target),
            ]),
            3 => steps.extend([(true, source, target), (false, source, target)]),
            4 => steps.push((rng.random_bool(0.5), source, target)),
            _ => steps.push((rng.random_bool(0.3), source, another)),
        }
    }
    let rows = (0..).zip(&steps);
    let rows = rows.map(|(ordinal, &(_, source, target))| row(ordinal, name, source, target));
    let deletes = (0..).zip(&steps).filter(|(_, step)| step.0).map(|(ordinal, _)| ordinal);
    (rows.collect(), deletes.collect())
}
