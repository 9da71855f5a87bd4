//! What a call does: the server's checks in the server's order, its locks and its races.
//!
//! Owns the rules of creates, batches and deletes. Knows nothing of entrances, faults or bytes. A create
//! checks the mapping, waits, takes the lock, waits, and stores: so two at once may both pass the check,
//! as they do on a real server (docs/cmdb-api.md#mapping-rules).

use std::sync::Arc;
use std::time::Duration;

use rustc_hash::FxHashMap;
use serde_json::Map;
use tokio::time::sleep;

use super::audit::By;
use super::call::{Call, Terms};
use super::lookup::touches;
use super::models::TableId;
use super::refusal::{ALREADY_EXISTS_IN_BATCH, Refusal, UNKNOWN_ASSOCIATION_IN_BATCH};
use super::rows::{Row, Store};
use super::{Sandbox, Version};
use crate::association::Mapping;
use crate::cmdb::wire::code;

/// The pause between two tries for a 1:1 lock, and the number of tries (docs/cmdb-api.md#locks).
const LOCK_RETRY: Duration = Duration::from_millis(100);
const LOCK_TRIES: usize = 10;
/// The most that one call deletes (tests/wire/names-5.json#5.7).
const MOST_DELETES: usize = 500;

/// The locks of one create, released when it ends or is abandoned.
struct Held<'a> {
    sandbox: &'a Sandbox,
    keys: Vec<(TableId, i64)>,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let mut state = self.sandbox.state();
        for key in &self.keys {
            state.locks.remove(key);
        }
    }
}

impl Sandbox {
    /// Executes a call. The data of a success is JSON text.
    pub(super) async fn execute(
        &self,
        call: Call,
        terms: Terms,
        by: &Arc<By>,
    ) -> Result<String, Refusal> {
        let quarters = if matches!(call, Call::Create { .. }) { 1 } else { 4 };
        self.pause(quarters).await;
        self.check_viewer(&call)?;
        match call {
            Call::Create { obj_asst_id, source, target } => {
                self.create(&obj_asst_id, (source, target), terms, by).await
            }
            Call::CreateMany { source_model, target_model, obj_asst_id, pairs } => {
                let models = (source_model.as_str(), target_model.as_str());
                self.create_many(models, &obj_asst_id, &pairs, terms, by).await
            }
            Call::Find { model, filter } => self.find(&model, &filter, terms),
            // The server forgets to put the field's name into its text (tests/wire/cmdb-06.json#6.13).
            Call::Models { filter: None } => Err(Refusal::of(code::INVALID_PARAMETER, "%s")),
            Call::Models { filter: Some(filter) } => Ok(self.show_models(&filter)),
            Call::Delete { model, id } => self.delete(&model, id, terms, by),
            Call::DeleteMany { model, ids } => self.delete_many(&model, &ids, terms, by),
            Call::Search(search) => Ok(self.search(&search, terms)),
            Call::Count { model, filter } => Ok(self.count(&model, &filter, terms)),
            Call::Attributes { model } => Ok(self.attributes(&model, terms)),
            Call::Uniques { model } => Ok(self.uniques(&model)),
            Call::Instances(asked) => Ok(self.instances(&asked, terms)),
            Call::AuditList(asked) => self.audit_list(&asked),
            Call::AuditRecords { ids } => self.audit_records(&ids),
        }
    }

    /// Whether the user may see instances. A count is not checked.
    fn check_viewer(&self, call: &Call) -> Result<(), Refusal> {
        let is_view = matches!(call, Call::Find { .. } | Call::Search(_) | Call::Instances(_));
        let is_checked = is_view && self.0.version == Version::V3_14;
        let may = self.0.models.credentials.view || !is_checked;
        if may { Ok(()) } else { Err(Refusal::new(code::FORBIDDEN)) }
    }

    async fn create(
        &self,
        obj_asst_id: &str,
        (source, target): (i64, i64),
        terms: Terms,
        by: &Arc<By>,
    ) -> Result<String, Refusal> {
        let table = self.0.models.table(obj_asst_id);
        let table = table.ok_or(Refusal::new(code::UNKNOWN_ASSOCIATION))?;
        let mapping = self.0.models.get(table).model.mapping;
        let row = Row { source, target, table };
        // A write conflict makes the server start over, and then it sees the row in the way.
        loop {
            self.check(row, terms)?;
            self.window(mapping).await;
            let held = self.lock(row, mapping).await?;
            self.window(mapping).await;
            drop(held);
            if let Some(id) = self.store(row, false)? {
                self.record([row], true, by);
                self.pause(1).await;
                return Ok(format!(r#"{{"id":{id}}}"#));
            }
        }
    }

    /// The checks of a single create, in order (docs/cmdb-api.md#create).
    fn check(&self, row: Row, terms: Terms) -> Result<(), Refusal> {
        let model = &self.0.models.get(row.table).model;
        if terms.own {
            let state = self.state();
            let has_target = Store::has_target;
            if mapping_is_violated(&state.rows, model.mapping, row, has_target) {
                return Err(Refusal::new(match (model.mapping, self.0.version) {
                    (Mapping::OneToMany, Version::V3_5 | Version::V3_14) => {
                        code::MAPPING_ONE_TO_MANY
                    }
                    _ => code::MAPPING_ONE_TO_ONE,
                }));
            }
            if state.rows.has_pair(row.table, row.source, row.target) {
                return Err(Refusal::new(code::DUPLICATE));
            }
        }
        self.check_instances((&model.source, &model.target), row.source, row.target, terms)
    }

    fn check_instances(
        &self,
        (source_model, target_model): (&str, &str),
        source: i64,
        target: i64,
        terms: Terms,
    ) -> Result<(), Refusal> {
        for (model, id, missing) in [
            (source_model, source, code::MISSING_SOURCE),
            (target_model, target, code::MISSING_TARGET),
        ] {
            if id < 0 {
                // The server turns it into a uint64, which its driver refuses
                // (tests/wire/cmdb-03.json#3.9).
                let text = format!(
                    "cannot transform type mapstr.MapStr to a BSON Document: {} overflows int64",
                    id as u64
                );
                return Err(Refusal::raw(code::UNKNOWN_OR_DRIVER, text));
            }
            if !terms.own || !self.has_instance(model, id) {
                return Err(Refusal::new(missing));
            }
        }
        Ok(())
    }

    /// Takes the locks of a create, with their oddities (docs/cmdb-api.md#locks): keys have no side, 1:n
    /// tries once, and for 1:1 it counts as success if all keys are held.
    async fn lock(&self, row: Row, mapping: Mapping) -> Result<Option<Held<'_>>, Refusal> {
        let (table, source, target) = (row.table, row.source, row.target);
        let keys = match mapping {
            _ if self.0.version == Version::V3_5 => return Ok(None),
            Mapping::ManyToMany => return Ok(None),
            Mapping::OneToMany => vec![(table, target)],
            Mapping::OneToOne if source == target => vec![(table, source)],
            Mapping::OneToOne => vec![(table, source), (table, target)],
        };
        let tries = if mapping == Mapping::OneToMany { 1 } else { LOCK_TRIES };
        for _ in 0..tries {
            if self.try_lock(&keys, mapping) {
                let sandbox = self;
                return Ok(Some(Held { sandbox, keys }));
            }
            if mapping == Mapping::OneToOne {
                sleep(LOCK_RETRY).await;
            }
        }
        Err(Refusal::new(code::LOCKED))
    }

    fn try_lock(&self, keys: &[(TableId, i64)], mapping: Mapping) -> bool {
        let locks = &mut self.state().locks;
        let is_free = |key: &&(TableId, i64)| !locks.contains(*key);
        let free = keys.iter().filter(is_free).count();
        let none_is_free_and_that_counts = mapping == Mapping::OneToOne && free == 0;
        let locked = free == keys.len() || none_is_free_and_that_counts;
        if locked {
            locks.extend(keys);
        }
        locked
    }

    /// Stores a row, or half of it; `None` where the unique index forbids it. 3.5 has none.
    fn store(&self, row: Row, half: bool) -> Result<Option<u32>, Refusal> {
        let mut state = self.state();
        let unique = self.0.version != Version::V3_5;
        if unique && state.rows.has_pair(row.table, row.source, row.target) {
            return Ok(None);
        }
        let stored = state.insert(row, half, &self.0.models);
        stored.map(Some).map_err(|error| Refusal::raw(code::UNKNOWN_OR_DRIVER, error.to_string()))
    }

    /// Creates a batch, one item after another, each refused with a text and no code
    /// (docs/cmdb-api.md#batch-create).
    async fn create_many(
        &self,
        (source_model, target_model): (&str, &str),
        obj_asst_id: &str,
        pairs: &[(i64, i64)],
        terms: Terms,
        by: &Arc<By>,
    ) -> Result<String, Refusal> {
        check_batch((source_model, target_model), obj_asst_id, pairs.len())?;
        let table = self.0.models.table(obj_asst_id);
        if table.is_none() && self.0.version == Version::V3_14 {
            return Err(Refusal::new(code::UNKNOWN_ASSOCIATION));
        }
        let (mut created, mut errors) = (Map::new(), Map::new());
        let mut stored = Vec::new();
        // The client of a batch that is cut leaves in the middle of an item.
        let cut = terms.cut.then_some(pairs.len() / 2);
        for (index, &pair) in pairs.iter().enumerate() {
            if index > 0 {
                self.pause_in_batch().await;
            }
            let models = (source_model, target_model);
            let half = cut == Some(index);
            let result = self.create_in_batch(models, table, pair, half, terms);
            if half {
                // The records follow the last item, and so does the client's end.
                stored.clear();
                break;
            }
            match result {
                Ok(id) => {
                    let (source, target) = pair;
                    stored.extend(table.map(|table| Row { source, target, table }));
                    created.insert(index.to_string(), id.into())
                }
                Err(refusal) => {
                    errors.insert(index.to_string(), refusal.text(terms.language).into())
                }
            };
        }
        self.record(stored, true, by);
        let data = serde_json::json!({"success_created": created, "error_msg": errors});
        Ok(data.to_string())
    }

    fn create_in_batch(
        &self,
        models: (&str, &str),
        table: Option<TableId>,
        (source, target): (i64, i64),
        half: bool,
        terms: Terms,
    ) -> Result<u32, Refusal> {
        let row = table.map(|table| Row { source, target, table });
        let names = || format!("{}->{}", models.0, models.1);
        let exists = |row: Row| self.state().rows.has_pair(row.table, row.source, row.target);
        if terms.own && row.is_some_and(exists) {
            return Err(Refusal::of(ALREADY_EXISTS_IN_BATCH, names()));
        }
        self.check_instances(models, source, target, terms)?;
        let row = row.ok_or(Refusal::new(UNKNOWN_ASSOCIATION_IN_BATCH))?;
        let mapping = self.0.models.get(row.table).model.mapping;
        // A batch counts targets in the target model's table, a single create in the source's.
        let has_target = Store::has_whole_target;
        if mapping_is_violated(&self.state().rows, mapping, row, has_target) {
            return Err(Refusal::new(match mapping {
                Mapping::OneToMany => code::MAPPING_ONE_TO_MANY,
                _ => code::MAPPING_ONE_TO_ONE,
            }));
        }
        let stored = self.store(row, half)?;
        stored.ok_or_else(|| Refusal::of(ALREADY_EXISTS_IN_BATCH, names()))
    }

    /// Deletes through a model whose table holds the row. Otherwise nothing is deleted, with success
    /// (docs/cmdb-api.md#deletes).
    fn delete(&self, model: &str, id: i64, terms: Terms, by: &Arc<By>) -> Result<String, Refusal> {
        let found = self.held_by(model, id, terms);
        if found.is_none() && self.0.version == Version::V3_5 {
            return Err(Refusal::new(code::NOT_FOUND));
        }
        self.delete_rows(found.into_iter().collect(), by)?;
        Ok("null".to_owned())
    }

    /// Deletes many in one transaction: what 3.10 does not find makes it panic while it writes its records, if
    /// there is anything else to record (tests/wire/names-5.json#5.1). Later versions delete the rest.
    fn delete_many(
        &self,
        model: &str,
        ids: &[i64],
        terms: Terms,
        by: &Arc<By>,
    ) -> Result<String, Refusal> {
        match ids.len() {
            0 => return Err(Refusal::new(code::BAD_PARAMETER)),
            number if number > MOST_DELETES => return Err(Refusal::new(code::TOO_MANY)),
            _ if model.is_empty() => return Err(Refusal::of(code::UNASSIGNED, "bk_obj_id")),
            _ => {}
        }
        let known = ids.iter().filter_map(|id| self.held_by(model, *id, terms));
        let found: FxHashMap<i64, Row> = known.collect();
        let is_short = !found.is_empty() && found.len() < ids.len();
        if is_short && self.0.version == Version::V3_10_18 {
            return Err(Refusal::raw(code::INTERNAL, "topo Internal Server Error"));
        }
        let count = found.len();
        self.delete_rows(found.into_iter().collect(), by)?;
        Ok(count.to_string())
    }

    /// A row that is found through a model. 3.5 knows ids alone.
    fn held_by(&self, model: &str, id: i64, terms: Terms) -> Option<(i64, Row)> {
        let state = self.state();
        let row = state.rows.get(id).filter(|_| terms.own)?;
        let known = self.0.models.get(row.table);
        let is_half = u32::try_from(id).is_ok_and(|id| state.rows.is_half(id));
        let is_held = self.0.version == Version::V3_5
            || *known.model.source == *model
            || (touches(known, model) && !is_half);
        is_held.then_some((id, row))
    }

    fn delete_rows(&self, found: Vec<(i64, Row)>, by: &Arc<By>) -> Result<(), Refusal> {
        let mut state = self.state();
        for (id, _) in &found {
            let removed = state.remove(*id);
            removed.map_err(|error| Refusal::raw(code::UNKNOWN_OR_DRIVER, error.to_string()))?;
        }
        drop(state);
        if !found.is_empty() {
            self.record(found.into_iter().map(|(_, row)| row), false, by);
        }
        Ok(())
    }

    /// Waits for some quarters of the latency.
    async fn pause(&self, quarters: u32) {
        if !self.0.latency.is_zero() {
            sleep(self.0.latency * quarters / 4).await;
        }
    }

    /// A moment in which other calls may get in between, even without latency.
    async fn window(&self, mapping: Mapping) {
        if self.0.latency.is_zero() && mapping != Mapping::ManyToMany {
            tokio::task::yield_now().await;
        }
        self.pause(1).await;
    }

    /// The time between a batch's items, which is shorter than a call: on a real server 200 items took
    /// 0.6 s where a call took 10 to 20 ms.
    async fn pause_in_batch(&self) {
        if !self.0.latency.is_zero() {
            sleep(self.0.latency / 8).await;
        }
    }
}

/// The checks of a whole batch, in order (docs/cmdb-api.md#batch-create).
fn check_batch(
    (source, target): (&str, &str),
    obj_asst_id: &str,
    items: usize,
) -> Result<(), Refusal> {
    for (name, value) in
        [("bk_obj_asst_id", obj_asst_id), ("bk_obj_id", source), ("bk_asst_obj_id", target)]
    {
        if value.is_empty() {
            return Err(Refusal::of(code::INVALID_PARAMETER, name));
        }
    }
    if items == 0 {
        return Err(Refusal::of(code::EMPTY_DETAILS, "details"));
    }
    if items > 200 {
        return Err(Refusal::of(code::OVER_LIMIT, "details"));
    }
    // A name shorter than a model's makes the server slice beyond its end, and panic.
    for (model, key, fits) in [
        (source, "bk_obj_id", obj_asst_id.starts_with(source)),
        (target, "bk_asst_obj_id", obj_asst_id.ends_with(target)),
    ] {
        if obj_asst_id.len() < model.len() {
            return Err(Refusal::of(code::INTERNAL, "toposerver"));
        }
        if !fits {
            return Err(Refusal::of(code::BAD_FIELD, key));
        }
    }
    Ok(())
}

fn mapping_is_violated(
    rows: &Store,
    mapping: Mapping,
    row: Row,
    has_target: fn(&Store, TableId, i64) -> bool,
) -> bool {
    match mapping {
        Mapping::OneToOne => {
            rows.has_source(row.table, row.source) || has_target(rows, row.table, row.target)
        }
        Mapping::OneToMany => has_target(rows, row.table, row.target),
        Mapping::ManyToMany => false,
    }
}
