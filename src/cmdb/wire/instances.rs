//! Questions about instances: what properties a model has, and which instances have a value there.
//!
//! Owns the bodies of both and how their answers are read (docs/cmdb-api.md#instances). Knows nothing of
//! what a name is.

use std::sync::Arc;

use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::answer::Envelope;
use super::lenient::lenient_text;
use crate::options::Language;

/// The question which properties a model has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// The model.
    pub obj_id: Arc<str>,
    /// The language of the display names, whatever that of other answers.
    pub language: Language,
}

/// The question which instances of a model there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instances {
    /// The call that asks it.
    pub call: InstanceCall,
    /// The model: `host` for hosts, `biz` for businesses.
    pub obj_id: Arc<str>,
    /// Only these; else all. A business is never asked for by its name, since older versions compare it as
    /// a pattern (docs/cmdb-api.md#businesses).
    pub any_of: Option<AnyOf>,
    /// The properties that come back, the id among them.
    pub fields: Vec<Arc<str>>,
    /// Which part of them.
    pub page: Page,
}

/// Instances that have one of these values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnyOf {
    /// In this property.
    pub property: Arc<str>,
    /// All of one type, or the server refuses them (tests/wire/names-1.json#1.10); at most
    /// [`Instances::MOST_VALUES`].
    pub values: Vec<PropertyValue>,
}

/// A value that an instance's property may have.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PropertyValue {
    /// A text.
    Text(Arc<str>),
    /// A whole number.
    Integer(i64),
    /// True or false.
    Bool(bool),
}

impl Serialize for PropertyValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Integer(number) => serializer.serialize_i64(*number),
            Self::Bool(flag) => serializer.serialize_bool(*flag),
        }
    }
}

/// A part of what is found, ids ascending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// Only ids above this one, where the call has a condition for it: see [`InstanceCall::has_after`].
    pub after: Option<i64>,
    /// How many are passed over.
    pub start: u64,
    /// How many come at most: see [`InstanceCall::page_limit`].
    pub limit: u16,
}

/// The ways to ask for instances. Which of them there are depends on entrance and version
/// (docs/cmdb-api.md#instances).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InstanceCall {
    /// `search_object_instances`, from 3.10.1: any model but the inner ones.
    SearchObjectInstances,
    /// `search_inst`: the same in all versions, not through an old ESB in front of 3.9 or newer.
    SearchInst,
    /// `list_hosts_without_biz`: hosts.
    ListHosts,
    /// `search_business`: businesses.
    SearchBusiness,
}

impl InstanceCall {
    /// How many instances a page may have.
    pub const fn page_limit(self) -> u16 {
        match self {
            Self::SearchObjectInstances | Self::ListHosts => 500,
            Self::SearchInst | Self::SearchBusiness => 200,
        }
    }

    /// Whether a page may begin after an id. The others only pass instances over.
    pub const fn has_after(self) -> bool {
        matches!(self, Self::SearchObjectInstances | Self::ListHosts)
    }

    /// The property that holds an instance's id.
    pub const fn id_field(self) -> &'static str {
        match self {
            Self::SearchObjectInstances | Self::SearchInst => "bk_inst_id",
            Self::ListHosts => "bk_host_id",
            Self::SearchBusiness => "bk_biz_id",
        }
    }
}

/// One rule of the query builder.
#[derive(Serialize)]
struct Rule<'a, T> {
    field: &'a str,
    operator: &'static str,
    value: T,
}

#[derive(Serialize)]
#[serde(untagged)]
enum AnyRule<'a> {
    In(Rule<'a, &'a [PropertyValue]>),
    Greater(Rule<'a, i64>),
}

#[derive(Serialize)]
struct Rules<'a> {
    condition: &'static str,
    rules: Vec<AnyRule<'a>>,
}

#[derive(Serialize)]
struct Paging {
    start: u64,
    limit: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    sort: Option<&'static str>,
}

impl Attributes {
    pub(super) fn entries<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        map.serialize_entry("bk_obj_id", &*self.obj_id)
    }
}

impl Instances {
    /// How many values one question may have.
    pub const MOST_VALUES: usize = 500;

    /// The model stands in the path, or, on the ESB, in the body.
    pub(super) const fn has_model_in_path(&self) -> bool {
        matches!(self.call, InstanceCall::SearchObjectInstances | InstanceCall::SearchInst)
    }

    pub(super) fn entries<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        let fields: Vec<&str> = self.fields.iter().map(|field| &**field).collect();
        match self.call {
            InstanceCall::SearchObjectInstances => {
                if let Some(rules) = self.rules() {
                    map.serialize_entry("conditions", &rules)?;
                }
                map.serialize_entry("fields", &fields)?;
            }
            InstanceCall::ListHosts => {
                if let Some(rules) = self.rules() {
                    map.serialize_entry("host_property_filter", &rules)?;
                }
                map.serialize_entry("fields", &fields)?;
            }
            InstanceCall::SearchInst => {
                map.serialize_entry("condition", &OfModel(&self.obj_id, self.mongo()))?;
                map.serialize_entry("fields", &OfModel(&self.obj_id, Some(fields)))?;
            }
            InstanceCall::SearchBusiness => {
                map.serialize_entry("condition", &Map::new())?;
                map.serialize_entry("fields", &fields)?;
            }
        }
        map.serialize_entry("page", &self.paging())
    }

    fn rules(&self) -> Option<Rules<'_>> {
        let any_of = self.any_of.as_ref().map(|any_of| {
            AnyRule::In(Rule { field: &any_of.property, operator: "in", value: &any_of.values })
        });
        let field = self.call.id_field();
        let after = self
            .page
            .after
            .map(|id| AnyRule::Greater(Rule { field, operator: "greater", value: id }));
        let rules: Vec<_> = any_of.into_iter().chain(after).collect();
        (!rules.is_empty()).then_some(Rules { condition: "AND", rules })
    }

    /// The condition of `search_inst`, whose operators are Mongo's.
    fn mongo(&self) -> Option<Vec<Rule<'_, &[PropertyValue]>>> {
        let any_of = self.any_of.as_ref()?;
        let value = any_of.values.as_slice();
        Some(vec![Rule { field: &any_of.property, operator: "$in", value }])
    }

    /// Hosts come in the order of their ids unless asked otherwise, in every version.
    fn paging(&self) -> Paging {
        let sort = (self.call != InstanceCall::ListHosts).then_some(self.call.id_field());
        Paging { start: self.page.start, limit: self.page.limit, sort }
    }
}

/// `{MODEL: what}`, or an empty object.
struct OfModel<'a, T>(&'a str, Option<T>);

impl<T: Serialize> Serialize for OfModel<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if let Some(what) = &self.1 {
            map.serialize_entry(self.0, what)?;
        }
        map.end()
    }
}

/// A property of a model, as the answer to [`Attributes`] tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// `bk_property_id`
    pub property_id: String,
    /// `bk_property_name`, in the language that was asked for.
    pub name: String,
    /// `bk_property_type`: `singlechar`, `int`, `enum`, `foreignkey`, …
    pub kind: String,
    /// Ids and names of what an enum may be; of other types none.
    pub options: Vec<(String, String)>,
}

/// What the answer to [`Instances`] tells.
#[derive(Clone, Debug, PartialEq)]
pub struct InstancesAnswer {
    /// How many there are on all pages, where the call says so. CMDB may count none on a page behind the
    /// first.
    pub count: Option<u64>,
    /// The instances of this page, each with the fields that were asked for.
    pub info: Vec<Map<String, Value>>,
}

#[derive(Deserialize)]
struct RawAttribute {
    bk_property_id: String,
    #[serde(default, deserialize_with = "lenient_text")]
    bk_property_name: Option<String>,
    #[serde(default, deserialize_with = "lenient_text")]
    bk_property_type: Option<String>,
    #[serde(default)]
    option: Value,
}

impl Envelope {
    /// The properties of a model; entries without an id are left out. `None` where the answer can't be
    /// read.
    pub fn attributes(&self) -> Option<Vec<Attribute>> {
        let entries = self.data_as::<Option<Vec<Value>>>()?.unwrap_or_default();
        let raw = entries.into_iter().filter_map(|entry| serde_json::from_value(entry).ok());
        Some(raw.map(RawAttribute::read).collect())
    }

    /// The instances that were found. JSON's null for them is an empty list (tests/wire/names-1.json#1.5).
    /// `None` where the answer can't be read.
    pub fn instances(&self) -> Option<InstancesAnswer> {
        #[derive(Deserialize)]
        struct Data {
            #[serde(default)]
            count: Value,
            info: Option<Vec<Map<String, Value>>>,
        }
        if !self.has_instances() {
            return None;
        }
        let data = self.data_as::<Data>()?;
        Some(InstancesAnswer { count: data.count.as_u64(), info: data.info.unwrap_or_default() })
    }

    /// Whether there is a list of instances, of which null is one, without reading it.
    pub(in crate::cmdb) fn has_instances(&self) -> bool {
        #[derive(Deserialize)]
        struct Data<'a> {
            #[serde(borrow)]
            info: &'a RawValue,
        }
        let info = self.data_as::<Data<'_>>().map(|data| data.info.get());
        info.is_some_and(|info| info.starts_with('[') || info == "null")
    }
}

impl RawAttribute {
    fn read(self) -> Attribute {
        let kind = self.bk_property_type.unwrap_or_default();
        let options = if kind == "enum" { options(&self.option) } else { Vec::new() };
        let name = self.bk_property_name.unwrap_or_default();
        Attribute { property_id: self.bk_property_id, name, kind, options }
    }
}

/// An enum's options: a list, or, as older versions keep it, a text that is one.
fn options(option: &Value) -> Vec<(String, String)> {
    let parsed;
    let list = match option {
        Value::String(text) => {
            parsed = serde_json::from_str(text).unwrap_or_default();
            &parsed
        }
        other => other,
    };
    let text = |entry: &Value, key: &str| Some(entry.get(key)?.as_str()?.to_owned());
    let one = |entry: &Value| {
        let id = text(entry, "id")?;
        let name = text(entry, "name").unwrap_or_default();
        Some((id, name))
    };
    list.as_array().into_iter().flatten().filter_map(one).collect()
}
