//! Lists: everything there is of one model association, part by part.
//!
//! Owns the bodies of both calls that list, and how their answers are read (docs/cmdb-api.md#lists).
//! Knows nothing of which part is asked for when.

use std::borrow::Cow;
use std::sync::Arc;

use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize};

use super::answer::Envelope;

/// The question what there is of a model association.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    /// The model whose table is read: the source's, which has half rows, too (docs/cmdb-api.md#half-rows).
    pub obj_id: Arc<str>,
    /// The model association.
    pub obj_asst_id: Arc<str>,
    /// Which part of it.
    pub part: Part,
}

/// A part of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// The first [`List::PAGE`] with greater ids than this one, ids ascending.
    PageAfter(i64),
    /// The one with the greatest id.
    Newest,
    /// Those whose ids are in a window.
    In(IdWindow),
    /// Those of them whose ids this number divides.
    Multiples(IdWindow, i64),
    /// Those of these sources: at least one, at most [`List::MOST_SOURCES`].
    OfSources(Vec<u64>),
}

/// Ids in a row; an end that is not given is open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IdWindow {
    /// The first.
    pub first: Option<i64>,
    /// The one behind the last.
    pub end: Option<i64>,
}

impl IdWindow {
    /// Whether an id is in it.
    pub fn has(self, id: i64) -> bool {
        self.first.is_none_or(|first| first <= id) && self.end.is_none_or(|end| id < end)
    }
}

/// An association of a list, as the server says it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Entry<'a> {
    /// The association's id; 0 where there is none.
    #[serde(default)]
    pub id: i64,
    /// Its model association.
    #[serde(borrow, default)]
    pub bk_obj_asst_id: Cow<'a, str>,
    /// The source; 0 where there is none.
    #[serde(default)]
    pub bk_inst_id: i64,
    /// The target; 0 where there is none.
    #[serde(default)]
    pub bk_asst_inst_id: i64,
}

/// The fields of an [`Entry`].
const FIELDS: [&str; 4] = ["id", "bk_obj_asst_id", "bk_inst_id", "bk_asst_inst_id"];

/// One rule of the query builder.
#[derive(Serialize)]
struct Rule<T> {
    field: &'static str,
    operator: &'static str,
    value: T,
}

#[derive(Serialize)]
#[serde(untagged)]
enum AnyRule<'a> {
    Equal(Rule<&'a str>),
    Greater(Rule<i64>),
}

#[derive(Serialize)]
struct Rules<'a> {
    condition: &'static str,
    rules: Vec<AnyRule<'a>>,
}

#[derive(Serialize)]
struct Paging {
    start: u8,
    limit: usize,
    sort: &'static str,
}

/// What Mongo compares an id with.
#[derive(Serialize)]
struct Compared {
    #[serde(rename = "$gte", skip_serializing_if = "Option::is_none")]
    first: Option<i64>,
    #[serde(rename = "$lt", skip_serializing_if = "Option::is_none")]
    end: Option<i64>,
    #[serde(rename = "$mod", skip_serializing_if = "Option::is_none")]
    divided: Option<(i64, i64)>,
}

#[derive(Serialize)]
struct AnyOf<'a> {
    #[serde(rename = "$in")]
    values: &'a [u64],
}

/// Mongo's condition.
#[derive(Serialize)]
struct Condition<'a> {
    bk_obj_asst_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<Compared>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bk_inst_id: Option<AnyOf<'a>>,
}

impl List {
    /// How many a page may have (tests/wire/names-4.json#4.4).
    pub const PAGE: usize = 500;
    /// How many sources may be asked for at once.
    pub const MOST_SOURCES: usize = 500;

    /// Whether it goes to the call that has pages, where the model stands in the path. All else is asked as
    /// a look-up is.
    pub(crate) const fn is_paged(&self) -> bool {
        matches!(self.part, Part::PageAfter(_) | Part::Newest)
    }

    pub(super) fn entries<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        let compared = |IdWindow { first, end }, divisor: Option<i64>| {
            let divided = divisor.map(|divisor| (divisor, 0));
            let is_any = first.is_none() && end.is_none() && divided.is_none();
            (!is_any).then_some(Compared { first, end, divided })
        };
        let (id, sources) = match &self.part {
            Part::PageAfter(last) => {
                let page = Paging { start: 0, limit: Self::PAGE, sort: "id" };
                return self.paged(Some(*last), &page, map);
            }
            Part::Newest => {
                let page = Paging { start: 0, limit: 1, sort: "-id" };
                return self.paged(None, &page, map);
            }
            Part::In(window) => (compared(*window, None), None),
            Part::Multiples(window, divisor) => (compared(*window, Some(*divisor)), None),
            Part::OfSources(sources) => (None, Some(AnyOf { values: sources })),
        };
        map.serialize_entry("bk_obj_id", &*self.obj_id)?;
        let condition = Condition { bk_obj_asst_id: &self.obj_asst_id, id, bk_inst_id: sources };
        map.serialize_entry("condition", &condition)
    }

    fn paged<M: SerializeMap>(
        &self,
        after: Option<i64>,
        page: &Paging,
        map: &mut M,
    ) -> Result<(), M::Error> {
        let value = &*self.obj_asst_id;
        let equal = AnyRule::Equal(Rule { field: "bk_obj_asst_id", operator: "equal", value });
        let greater =
            after.map(|value| AnyRule::Greater(Rule { field: "id", operator: "greater", value }));
        let rules = std::iter::once(equal).chain(greater).collect();
        map.serialize_entry("conditions", &Rules { condition: "AND", rules })?;
        map.serialize_entry("fields", &FIELDS)?;
        map.serialize_entry("page", page)
    }

    /// The associations of an answer, in the server's order. JSON's null is an empty list (a nil slice in
    /// Go). `None` where the answer can't be read.
    pub fn read<'a>(&self, envelope: &'a Envelope) -> Option<Vec<Entry<'a>>> {
        #[derive(Deserialize)]
        struct Page<'a> {
            #[serde(borrow)]
            info: Option<Vec<Entry<'a>>>,
        }
        let entries = if self.is_paged() {
            envelope.has_instances().then(|| envelope.data_as::<Page<'_>>())??.info
        } else {
            envelope.data_as::<Option<Vec<Entry<'_>>>>()?
        };
        Some(entries.unwrap_or_default())
    }
}
