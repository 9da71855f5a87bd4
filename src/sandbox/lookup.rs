//! Reading: look-ups, lists, counts and the question for model associations.
//!
//! Owns which rows a filter finds and how they are shown.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::Value;
use tokio::time::Instant;

use super::call::{Page, Terms};
use super::filter::{Alternative, Filter};
use super::models::{Known, TableId};
use super::refusal::Refusal;
use super::rows::{Row, Store};
use super::{Sandbox, Version};
use crate::cmdb::wire::code;

/// An association as look-ups show it (tests/wire/cmdb-06.json#6.1).
#[derive(Serialize)]
struct Shown<'a> {
    id: i64,
    bk_inst_id: i64,
    bk_obj_id: &'a str,
    bk_asst_inst_id: i64,
    bk_asst_obj_id: &'a str,
    bk_supplier_account: &'a str,
    bk_obj_asst_id: &'a str,
    bk_asst_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Value>,
}

/// A model association as the answer to the question shows it (tests/wire/cmdb-06.json#6.11).
#[derive(Serialize)]
struct ShownModel<'a> {
    id: usize,
    bk_supplier_account: &'a str,
    bk_obj_asst_id: &'a str,
    bk_obj_asst_name: &'a str,
    bk_obj_id: &'a str,
    bk_asst_obj_id: &'a str,
    bk_asst_id: &'a str,
    mapping: &'a str,
    on_delete: &'a str,
    ispre: Option<bool>,
}

impl Sandbox {
    /// Finds rows by a filter. From 3.10 on tables are per model, so the model must be named
    /// (tests/wire/cmdb-06.json#6.3).
    pub(super) fn find(
        &self,
        model: &str,
        filter: &Filter,
        terms: Terms,
    ) -> Result<String, Refusal> {
        let everywhere = self.0.version == Version::V3_5;
        if model.is_empty() && !everywhere {
            return Err(Refusal::of(code::UNASSIGNED, "bk_obj_id"));
        }
        let within = if everywhere { Within::All } else { Within::TableOf(model) };
        Ok(json(&self.show(self.matching(filter, within, terms))))
    }

    /// One page of the rows that a model is an end of.
    pub(super) fn search(&self, model: &str, filter: &Filter, page: &Page, terms: Terms) -> String {
        let found = self.matching(filter, Within::TableOf(model), terms);
        let rows = found.into_iter().skip(page.start).take(page.limit).collect();
        let info = json(&project(&self.show(rows), &page.fields));
        format!(r#"{{"info":{info}}}"#)
    }

    /// Counts only the rows that a model is the source of (docs/cmdb-api.md#lists).
    pub(super) fn count(&self, model: &str, filter: &Filter, terms: Terms) -> String {
        let count = self.matching(filter, Within::SourceOf(model), terms).len();
        format!(r#"{{"count":{count}}}"#)
    }

    /// The rows that a filter lets through, of some model associations, ids ascending.
    fn matching(&self, filter: &Filter, within: Within<'_>, terms: Terms) -> Vec<(i64, Row)> {
        if !terms.own {
            return Vec::new();
        }
        let state = self.state();
        let mut ids = BTreeSet::new();
        for alternative in &filter.0 {
            for (table, known) in self.0.models.all().filter(|(_, known)| within.has(known)) {
                if self.table_fits(alternative, known) {
                    collect(&state.rows, table, alternative, &mut ids);
                }
            }
        }
        let now = Instant::now();
        let horizon = terms.lag.map(|lag| state.rows.horizon(now, lag));
        let is_old = |id: &u32| horizon.is_none_or(|horizon| *id < horizon);
        ids.retain(is_old);
        let is_shown = |id: &u32| {
            let known = |row: Row| within.has_halves(self.0.models.get(row.table));
            !state.rows.is_half(*id) || state.rows.get(i64::from(*id)).is_some_and(known)
        };
        ids.retain(is_shown);
        let gone = terms.lag.into_iter().flat_map(|lag| state.rows.still_shown(now, lag));
        let fits = |row: Row, id: u32| {
            let known = self.0.models.get(row.table);
            within.has(known)
                && (filter.0.iter())
                    .any(|one| self.table_fits(one, known) && row_fits(one, id, row))
        };
        let gone: Vec<(i64, Row)> = gone
            .filter(|(id, row)| is_old(id) && fits(*row, *id))
            .map(|(id, row)| (i64::from(id), row))
            .collect();
        let ids = ids.into_iter().map(i64::from);
        let mut found: Vec<_> =
            ids.filter_map(|id| Some((id, state.rows.get(id)?))).chain(gone).collect();
        found.sort_unstable_by_key(|(id, _)| *id);
        found
    }

    /// Whether those terms of an alternative that are not about ids hold for a table's rows.
    fn table_fits(&self, alternative: &Alternative, known: &Known) -> bool {
        let model = &known.model;
        alternative.terms().iter().all(|term| {
            let value: &str = match term.field.as_str() {
                "id" | "bk_inst_id" | "bk_asst_inst_id" => return true,
                "bk_obj_asst_id" => &model.obj_asst_id,
                "bk_obj_id" => &model.source,
                "bk_asst_obj_id" => &model.target,
                "bk_asst_id" => &known.kind,
                "bk_supplier_account" => &self.0.models.supplier_account,
                _ => return term.admits(&Value::Null),
            };
            term.admits(&value.into())
        })
    }

    fn show(&self, rows: Vec<(i64, Row)>) -> Vec<Shown<'_>> {
        let show = |(id, row): (i64, Row)| {
            let known = self.0.models.get(row.table);
            Shown {
                id,
                bk_inst_id: row.source,
                bk_obj_id: &known.model.source,
                bk_asst_inst_id: row.target,
                bk_asst_obj_id: &known.model.target,
                bk_supplier_account: &self.0.models.supplier_account,
                bk_obj_asst_id: &known.model.obj_asst_id,
                bk_asst_id: &known.kind,
                metadata: (self.0.version == Version::V3_5)
                    .then(|| serde_json::json!({"label": {}})),
            }
        };
        rows.into_iter().map(show).collect()
    }

    pub(super) fn show_models(&self, filter: &Filter) -> String {
        let show = |(table, known): (TableId, &Known)| {
            let shown = ShownModel {
                id: table.index() + 1,
                bk_supplier_account: &self.0.models.supplier_account,
                bk_obj_asst_id: &known.model.obj_asst_id,
                bk_obj_asst_name: &known.name,
                bk_obj_id: &known.model.source,
                bk_asst_obj_id: &known.model.target,
                bk_asst_id: &known.kind,
                mapping: known.model.mapping.as_str(),
                on_delete: "none",
                ispre: known.model.mainline.then_some(true),
            };
            let shown = serde_json::to_value(shown).unwrap_or_default();
            shown.as_object().is_some_and(|shown| filter.admits(shown)).then_some(shown)
        };
        json(&self.0.models.all().filter_map(show).collect::<Vec<_>>())
    }
}

/// What is read. From 3.10 on each model has a table, with the rows of which it is either end
/// (docs/cmdb-api.md#find).
#[derive(Clone, Copy)]
enum Within<'a> {
    /// The one table of before 3.10.
    All,
    /// A model's table.
    TableOf(&'a str),
    /// The rows in a model's table of which it is the source.
    SourceOf(&'a str),
}

impl Within<'_> {
    fn has(self, known: &Known) -> bool {
        match self {
            Self::All => true,
            Self::TableOf(model) => touches(known, model),
            Self::SourceOf(model) => *known.model.source == *model,
        }
    }

    /// Whether that is where half rows are, too (docs/cmdb-api.md#half-rows).
    fn has_halves(self, known: &Known) -> bool {
        match self {
            Self::All => true,
            Self::TableOf(model) | Self::SourceOf(model) => *known.model.source == *model,
        }
    }
}

/// Whether a model is an end of an association.
pub(super) fn touches(known: &Known, model: &str) -> bool {
    *known.model.source == *model || *known.model.target == *model
}

/// Adds the ids of a table's rows that fit an alternative, by the narrowest index.
fn collect(rows: &Store, table: TableId, alternative: &Alternative, ids: &mut BTreeSet<u32>) {
    let fits = |id: u32| {
        let row = rows.get(i64::from(id));
        row.is_some_and(|row| row.table == table && row_fits(alternative, id, row))
    };
    let mut add = |id: u32| {
        if fits(id) {
            ids.insert(id);
        }
    };
    let (sources, targets) =
        (alternative.integers("bk_inst_id"), alternative.integers("bk_asst_inst_id"));
    match (alternative.integers("id"), sources, targets) {
        (Some(wanted), _, _) => {
            wanted.into_iter().filter_map(|id| u32::try_from(id).ok()).for_each(add);
        }
        (None, Some(sources), Some(targets)) => {
            for source in sources {
                for target in &targets {
                    rows.with_pair(table, source, *target).for_each(&mut add);
                }
            }
        }
        (None, Some(sources), None) => {
            for source in sources {
                rows.with_source(table, source).for_each(&mut add);
            }
        }
        (None, None, Some(targets)) => {
            for target in targets {
                rows.with_target(table, target).for_each(&mut add);
            }
        }
        (None, None, None) => rows.in_table(table).for_each(add),
    }
}

/// Whether those terms of an alternative that are about ids hold for a row.
fn row_fits(alternative: &Alternative, id: u32, row: Row) -> bool {
    alternative.terms().iter().all(|term| match term.field.as_str() {
        "id" => term.admits(&id.into()),
        "bk_inst_id" => term.admits(&row.source.into()),
        "bk_asst_inst_id" => term.admits(&row.target.into()),
        _ => true,
    })
}

/// Keeps the named fields, or all if none is named.
fn project(rows: &[Shown<'_>], fields: &[String]) -> Vec<Value> {
    let one = |row: &Shown<'_>| {
        let mut shown = serde_json::to_value(row).unwrap_or_default();
        if let (Some(map), false) = (shown.as_object_mut(), fields.is_empty()) {
            map.retain(|key, _| fields.contains(key));
        }
        shown
    };
    rows.iter().map(one).collect()
}

fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("keys are text, so this can be written")
}
