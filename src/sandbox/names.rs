//! Questions about instances: what properties a model has, and which instances there are.
//!
//! Owns which instances are found, in which order, and how they are shown (docs/cmdb-api.md#instances).
//! Knows nothing of entrances.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Sandbox;
use super::attributes::{id_field, is_list};
use super::call::{Instances, Terms};
use super::instances::{Changed, Group, Object};
use crate::cmdb::wire::InstanceCall;

impl Sandbox {
    /// Gives an instance these properties; it keeps its others, and is made where there is none. Refused
    /// are an unknown model, and properties that the model does not have. Not kept over a restart.
    pub fn put_instance(&self, model: &str, id: i64, properties: Value) -> Result<(), String> {
        let known =
            self.0.models.model(model).ok_or_else(|| format!("there is no model {model}"))?;
        let Value::Object(properties) = properties else {
            return Err("properties are an object".to_owned());
        };
        let given = Group::new(model, id..=id, properties, &known.attributes)?;
        let mut state = self.state();
        let changed = state.instances.entry(model.to_owned()).or_default();
        let before = match changed.get(&id) {
            Some(changed) => changed.clone(),
            None => known.instances.get(id),
        };
        let mut object = known.instances.fresh(id);
        object.extend(before.unwrap_or_default());
        changed.insert(id, Some(given.object(id, id_field(model), &object)));
        Ok(())
    }

    /// Takes an instance away, and leaves its associations. Not kept over a restart.
    pub fn remove_instance(&self, model: &str, id: i64) {
        self.state().instances.entry(model.to_owned()).or_default().insert(id, None);
    }

    /// Whether an instance exists now.
    pub(super) fn has_instance(&self, model: &str, id: i64) -> bool {
        let state = self.state();
        let changed = state.instances.get(model).and_then(|changed| changed.get(&id));
        changed.map_or_else(|| self.0.models.exists(model, id), Option::is_some)
    }

    pub(super) fn attributes(&self, model: &str, terms: Terms) -> String {
        let known = self.0.models.model(model).map_or(&[][..], |known| &known.attributes);
        let shown: Value = known.iter().map(|one| one.show(model, terms.language)).collect();
        shown.to_string()
    }

    pub(super) fn uniques(&self, model: &str) -> String {
        let Some(known) = self.0.models.model(model) else {
            return "[]".to_owned();
        };
        let id_of = |property: &String| {
            let attribute = known.attributes.iter().find(|one| one.property == *property);
            attribute.map(|attribute| attribute.id)
        };
        let shown: Value = (known.uniques.iter())
            .map(|rule| {
                let keys = rule.properties.iter().filter_map(id_of);
                let keys: Vec<_> =
                    keys.map(|id| json!({"key_kind": "property", "key_id": id})).collect();
                json!({
                    "id": rule.id,
                    "bk_obj_id": model,
                    "keys": keys,
                    "ispre": rule.built_in,
                    "bk_supplier_account": self.0.models.supplier_account,
                })
            })
            .collect();
        shown.to_string()
    }

    /// A page of instances. What finds none is `null` where a real server says so
    /// (tests/wire/names-1.json#1.5, tests/wire/names-2.json#2.5).
    pub(super) fn instances(&self, asked: &Instances, terms: Terms) -> String {
        let Instances { call, model, page, .. } = asked;
        let counts = *call != InstanceCall::SearchObjectInstances;
        let by_id = ["", id_field(model)].contains(&asked.sort.as_str());
        let limit = if page.limit == 0 { usize::MAX } else { page.limit };
        let last = page.start.saturating_add(limit);
        let (mut found, mut count) = (Vec::new(), 0);
        if terms.own {
            let most = if by_id { last } else { usize::MAX };
            let (first, all) = self.found(asked, most);
            (found, count) = (first.into_values().collect(), all);
        }
        if !by_id {
            sort(&mut found, &asked.sort);
        }
        let shown = found.into_iter().skip(page.start).take(limit);
        let shown: Vec<_> = shown.map(|object| show(model, object, &page.fields, *call)).collect();
        let has_null =
            matches!(call, InstanceCall::SearchObjectInstances | InstanceCall::SearchInst);
        let info = if shown.is_empty() && has_null { Value::Null } else { Value::from(shown) };
        let data =
            if counts { json!({"count": count, "info": info}) } else { json!({"info": info}) };
        data.to_string()
    }

    /// The `most` instances that have the least ids of those that are asked for, or more, and how many there
    /// are in all.
    fn found(&self, asked: &Instances, most: usize) -> (BTreeMap<i64, Object>, usize) {
        let unchanged = Changed::new();
        let state = self.state();
        let changed = state.instances.get(&asked.model).unwrap_or(&unchanged);
        let Some(known) = self.0.models.model(&asked.model) else {
            return (BTreeMap::new(), 0);
        };
        if let [one] = &asked.filter.0[..] {
            let count = known.instances.count(one, changed);
            return (known.instances.find(one, changed, most), count);
        }
        // One may be in several, and is counted once.
        let alternatives = asked.filter.0.iter();
        let found: BTreeMap<_, _> =
            alternatives.flat_map(|one| known.instances.find(one, changed, usize::MAX)).collect();
        let count = found.len();
        (found, count)
    }
}

/// Sorts by a property, the last first where a minus stands before it. Numbers go by their size.
fn sort(objects: &mut [Object], by: &str) {
    let (property, down) = match by.strip_prefix('-') {
        Some(property) => (property, true),
        None => (by, false),
    };
    let key = |object: &Object| match object.get(property) {
        Some(Value::String(text)) => (i64::MAX, text.clone()),
        Some(Value::Array(list)) => (i64::MAX, Value::from(list.clone()).to_string()),
        Some(value) => (value.as_i64().unwrap_or_default(), String::new()),
        None => (i64::MIN, String::new()),
    };
    objects.sort_by_cached_key(key);
    if down {
        objects.reverse();
    }
}

/// An instance with those fields alone, or with all if none is named. A business comes with its kind
/// (tests/wire/names-6.json#6.13).
fn show(model: &str, mut object: Object, fields: &[String], call: InstanceCall) -> Value {
    if !fields.is_empty() {
        object.retain(|property, _| fields.contains(property));
    }
    for (property, value) in &mut object {
        if let (true, Value::Array(list)) = (is_list(model, property), &*value) {
            let texts: Vec<_> = list.iter().filter_map(Value::as_str).collect();
            *value = texts.join(",").into();
        }
    }
    if call == InstanceCall::SearchBusiness {
        object.insert("default".to_owned(), 0.into());
    }
    object.into()
}
