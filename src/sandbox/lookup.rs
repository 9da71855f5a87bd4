//! Reading: look-ups, lists, counts and the question for model associations.
//!
//! Owns which rows a filter finds and how they are shown.

use std::collections::BTreeSet;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::Value;
use tokio::time::Instant;

use super::call::{Search, Terms};
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
        Ok(json(&self.show(self.matching(filter, within, terms, Cut::NONE))))
    }

    /// One page of the rows that a model is an end of.
    pub(super) fn search(&self, search: &Search, terms: Terms) -> String {
        let Search { model, filter, page, newest_first } = search;
        let most = page.start.saturating_add(page.limit);
        let cut = Cut { most, newest_first: *newest_first };
        let found = self.matching(filter, Within::TableOf(model), terms, cut);
        let rows = self.show(found.into_iter().skip(page.start).collect());
        let info: Vec<_> = rows.iter().map(|row| Projected { row, fields: &page.fields }).collect();
        format!(r#"{{"info":{}}}"#, json(&info))
    }

    /// Counts only the rows that a model is the source of (docs/cmdb-api.md#lists).
    pub(super) fn count(&self, model: &str, filter: &Filter, terms: Terms) -> String {
        let count = self.matching(filter, Within::SourceOf(model), terms, Cut::NONE).len();
        format!(r#"{{"count":{count}}}"#)
    }

    /// The rows that a filter lets through, of some model associations, in the order of ids.
    fn matching(
        &self,
        filter: &Filter,
        within: Within<'_>,
        terms: Terms,
        cut: Cut,
    ) -> Vec<(i64, Row)> {
        if !terms.own {
            return Vec::new();
        }
        let state = self.state();
        let now = Instant::now();
        let horizon = terms.lag.map(|lag| state.rows.horizon(now, lag));
        let mut ids = BTreeSet::new();
        for alternative in &filter.0 {
            for (table, known) in self.0.models.all().filter(|(_, known)| within.has(known)) {
                let has_halves = within.has_halves(known);
                let is_shown = |id: u32| {
                    horizon.is_none_or(|horizon| id < horizon)
                        && (has_halves || !state.rows.is_half(id))
                };
                if self.table_fits(alternative, known) {
                    collect(&state.rows, table, alternative, (cut, &is_shown), &mut ids);
                }
            }
        }
        let gone = terms.lag.into_iter().flat_map(|lag| state.rows.still_shown(now, lag));
        let fits = |row: Row, id: u32| {
            let known = self.0.models.get(row.table);
            within.has(known)
                && horizon.is_none_or(|horizon| id < horizon)
                && (filter.0.iter())
                    .any(|one| self.table_fits(one, known) && row_fits(one, id, row))
        };
        let gone = gone.filter(|(id, row)| fits(*row, *id)).map(|(id, row)| (i64::from(id), row));
        let ids = ids.into_iter().map(i64::from);
        let mut found: Vec<_> =
            ids.filter_map(|id| Some((id, state.rows.get(id)?))).chain(gone).collect();
        found.sort_unstable_by_key(|(id, _)| *id);
        if cut.newest_first {
            found.reverse();
        }
        found.truncate(cut.most);
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

/// How many rows are wanted, and from which end.
#[derive(Clone, Copy)]
struct Cut {
    most: usize,
    newest_first: bool,
}

impl Cut {
    const NONE: Self = Self { most: usize::MAX, newest_first: false };
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
fn collect(
    rows: &Store,
    table: TableId,
    alternative: &Alternative,
    (cut, is_shown): (Cut, &dyn Fn(u32) -> bool),
    ids: &mut BTreeSet<u32>,
) {
    let fits = |id: u32| {
        rows.get(i64::from(id))
            .is_some_and(|row| row.table == table && is_shown(id) && row_fits(alternative, id, row))
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
        (None, None, None) => {
            let all = rows.in_table(table, alternative.bounds("id"));
            if cut.newest_first {
                ids.extend(all.rev().filter(|id| fits(*id)).take(cut.most));
            } else {
                ids.extend(all.filter(|id| fits(*id)).take(cut.most));
            }
        }
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

/// A row with the named fields, or all if none is named.
struct Projected<'a> {
    row: &'a Shown<'a>,
    fields: &'a [String],
}

impl Serialize for Projected<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.fields.is_empty() {
            return self.row.serialize(serializer);
        }
        let row = self.row;
        let mut map = serializer.serialize_map(None)?;
        for field in self.fields {
            match field.as_str() {
                "id" => map.serialize_entry(field, &row.id)?,
                "bk_inst_id" => map.serialize_entry(field, &row.bk_inst_id)?,
                "bk_obj_id" => map.serialize_entry(field, row.bk_obj_id)?,
                "bk_asst_inst_id" => map.serialize_entry(field, &row.bk_asst_inst_id)?,
                "bk_asst_obj_id" => map.serialize_entry(field, row.bk_asst_obj_id)?,
                "bk_supplier_account" => map.serialize_entry(field, row.bk_supplier_account)?,
                "bk_obj_asst_id" => map.serialize_entry(field, row.bk_obj_asst_id)?,
                "bk_asst_id" => map.serialize_entry(field, row.bk_asst_id)?,
                _ => {}
            }
        }
        map.end()
    }
}

fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("keys are text, so this can be written")
}
