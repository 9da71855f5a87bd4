//! Requests: the calls, and their bodies without the credentials.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde::ser::{SerializeMap, SerializeSeq, Serializer};

use super::audit::AuditList;
use super::instances::{Attributes, InstanceCall, Instances};
use super::lists::List;
use crate::association::{InstId, ModelAssociation, NewAssociation};

/// A call, whatever the entrance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Create one association.
    Create(NewAssociation),
    /// Create up to 200 of one model association.
    CreateMany {
        /// The model association of all.
        model: Arc<ModelAssociation>,
        /// Source and target of each.
        pairs: Vec<(InstId, InstId)>,
    },
    /// Look up which of these exist.
    Find(Find),
    /// Ask for these model associations.
    Models(Vec<Arc<str>>),
    /// Delete one association.
    Delete {
        /// The source model.
        obj_id: Arc<str>,
        /// The association's id.
        id: i64,
    },
    /// Delete up to 500 associations.
    DeleteMany {
        /// The source model of all.
        obj_id: Arc<str>,
        /// The associations' ids. With none nothing is deleted, and the answer tells whether there is such a
        /// call (tests/wire/names-5.json#5.6).
        ids: Vec<i64>,
    },
    /// Ask which properties a model has.
    Attributes(Attributes),
    /// Ask which instances of a model there are.
    Instances(Instances),
    /// Ask which associations there are.
    List(List),
    /// Ask which records the audit log has.
    AuditList(AuditList),
    /// Ask what these records say.
    AuditRecords(Vec<i64>),
}

/// An id of the caller's for a call, which a gateway and an apiserver keep in their logs: 32 hexadecimal
/// digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestId(pub u128);

impl RequestId {
    /// Reads what it is shown as.
    pub fn parse(text: &str) -> Option<Self> {
        let is_one = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_one.then(|| u128::from_str_radix(text, 16).ok().map(Self))?
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Where a request goes: what a gateway calls a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Route {
    /// Of [`Request::Create`].
    Create,
    /// Of [`Request::CreateMany`].
    CreateMany,
    /// Of [`Request::Find`].
    Find,
    /// Of [`Request::Models`].
    Models,
    /// Of [`Request::Delete`].
    Delete,
    /// Of [`Request::DeleteMany`].
    DeleteMany,
    /// Of [`Request::Attributes`].
    Attributes,
    /// Of [`Request::Instances`] by [`InstanceCall::SearchObjectInstances`].
    SearchObjectInstances,
    /// The same by [`InstanceCall::SearchInst`].
    SearchInst,
    /// The same by [`InstanceCall::ListHosts`].
    ListHosts,
    /// The same by [`InstanceCall::SearchBusiness`].
    SearchBusiness,
    /// Of [`Request::List`], page by page. Its other parts go to the call of [`Request::Find`].
    List,
    /// Of [`Request::AuditList`].
    AuditList,
    /// Of [`Request::AuditRecords`].
    AuditRecords,
}

impl Route {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Create,
        Self::CreateMany,
        Self::Find,
        Self::Models,
        Self::Delete,
        Self::DeleteMany,
        Self::Attributes,
        Self::SearchObjectInstances,
        Self::SearchInst,
        Self::ListHosts,
        Self::SearchBusiness,
        Self::List,
        Self::AuditList,
        Self::AuditRecords,
    ];

    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();
}

impl Request {
    /// Where it goes.
    pub const fn route(&self) -> Route {
        match self {
            Self::Create(_) => Route::Create,
            Self::CreateMany { .. } => Route::CreateMany,
            Self::List(list) if list.is_paged() => Route::List,
            Self::Find(_) | Self::List(_) => Route::Find,
            Self::Models(_) => Route::Models,
            Self::Delete { .. } => Route::Delete,
            Self::DeleteMany { .. } => Route::DeleteMany,
            Self::Attributes(_) => Route::Attributes,
            Self::Instances(instances) => match instances.call {
                InstanceCall::SearchObjectInstances => Route::SearchObjectInstances,
                InstanceCall::SearchInst => Route::SearchInst,
                InstanceCall::ListHosts => Route::ListHosts,
                InstanceCall::SearchBusiness => Route::SearchBusiness,
            },
            Self::AuditList(_) => Route::AuditList,
            Self::AuditRecords(_) => Route::AuditRecords,
        }
    }

    /// The model that stands in the path, or, on the ESB, in the body.
    pub(crate) fn model_in_path(&self) -> Option<&str> {
        match self {
            Self::Instances(instances) if instances.has_model_in_path() => Some(&instances.obj_id),
            Self::List(list) if list.is_paged() => Some(&list.obj_id),
            _ => None,
        }
    }
}

/// A look-up: everything of one model association that fits any of the patterns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Find {
    /// The model whose table is read; required from 3.10 on (tests/wire/cmdb-06.json#6.3).
    pub obj_id: Arc<str>,
    /// The model association.
    pub obj_asst_id: Arc<str>,
    /// Never empty: an empty `$or` is refused with 1199998 (docs/cmdb-api.md#find).
    pub any_of: Vec<Pattern>,
}

/// What a look-up looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pattern {
    /// This very association.
    Pair(InstId, InstId),
    /// Any with this source.
    Source(InstId),
    /// Any with this target.
    Target(InstId),
    /// Whatever has this id.
    Id(i64),
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        self.entries(&mut map)?;
        map.end()
    }
}

impl Pattern {
    fn entries<M: SerializeMap>(self, map: &mut M) -> Result<(), M::Error> {
        if let Self::Pair(source, _) | Self::Source(source) = self {
            map.serialize_entry("bk_inst_id", &source.get())?;
        }
        if let Self::Pair(_, target) | Self::Target(target) = self {
            map.serialize_entry("bk_asst_inst_id", &target.get())?;
        }
        if let Self::Id(id) = self {
            map.serialize_entry("id", &id)?;
        }
        Ok(())
    }
}

struct Condition<'a>(&'a Find);

impl Serialize for Condition<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("bk_obj_asst_id", &*self.0.obj_asst_id)?;
        match self.0.any_of.as_slice() {
            [one] => one.entries(&mut map)?,
            many => map.serialize_entry("$or", many)?,
        }
        map.end()
    }
}

struct Names<'a>(&'a [Arc<str>]);

impl Serialize for Names<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut seq = serializer.serialize_seq(Some(self.0.len()))?;
        for name in self.0 {
            seq.serialize_element(&**name)?;
        }
        seq.end()
    }
}

/// A request's body without the credentials: an object to which the client may add entries.
#[derive(Debug)]
pub struct Body<'a>(pub &'a Request);

impl Body<'_> {
    /// Writes the body's entries into a map that is already open.
    pub fn entries<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        match self.0 {
            Request::Create(link) => {
                map.serialize_entry("bk_obj_asst_id", &*link.association.obj_asst_id)?;
                map.serialize_entry("bk_inst_id", &link.association.inst_id.get())?;
                map.serialize_entry("bk_asst_inst_id", &link.association.asst_inst_id.get())?;
                if let Some(biz_id) = link.biz_id {
                    map.serialize_entry("metadata", &Metadata::new(biz_id))?;
                }
                Ok(())
            }
            Request::CreateMany { model, pairs } => {
                map.serialize_entry("bk_obj_id", &*model.source)?;
                map.serialize_entry("bk_asst_obj_id", &*model.target)?;
                map.serialize_entry("bk_obj_asst_id", &*model.obj_asst_id)?;
                let details: Vec<_> = pairs.iter().map(|&(s, t)| Pattern::Pair(s, t)).collect();
                map.serialize_entry("details", &details)
            }
            Request::Find(find) => {
                map.serialize_entry("bk_obj_id", &*find.obj_id)?;
                map.serialize_entry("condition", &Condition(find))
            }
            Request::Models(names) => {
                #[derive(Serialize)]
                struct Condition<T> {
                    bk_obj_asst_id: T,
                }
                #[derive(Serialize)]
                struct In<'a> {
                    #[serde(rename = "$in")]
                    names: Names<'a>,
                }
                match names.as_slice() {
                    [one] => {
                        map.serialize_entry("condition", &Condition { bk_obj_asst_id: &**one })
                    }
                    many => map.serialize_entry(
                        "condition",
                        &Condition { bk_obj_asst_id: In { names: Names(many) } },
                    ),
                }
            }
            Request::Delete { obj_id, id } => {
                map.serialize_entry("bk_obj_id", &**obj_id)?;
                map.serialize_entry("id", id)
            }
            Request::DeleteMany { obj_id, ids } => {
                map.serialize_entry("bk_obj_id", &**obj_id)?;
                map.serialize_entry("id", ids)
            }
            Request::Attributes(attributes) => attributes.entries(map),
            Request::Instances(instances) => instances.entries(map),
            Request::List(list) => list.entries(map),
            Request::AuditList(list) => list.entries(map),
            Request::AuditRecords(ids) => map.serialize_entry("id", ids),
        }
    }
}

impl Serialize for Body<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        self.entries(&mut map)?;
        map.end()
    }
}

/// `{"label":{"bk_biz_id":"1"}}`: a string, since a number is refused up to 3.8
/// (docs/cmdb-api.md#business-id).
#[derive(Debug, Serialize)]
struct Metadata {
    label: Label,
}

#[derive(Debug, Serialize)]
struct Label {
    bk_biz_id: String,
}

impl Metadata {
    fn new(biz_id: InstId) -> Self {
        Self { label: Label { bk_biz_id: biz_id.to_string() } }
    }
}
