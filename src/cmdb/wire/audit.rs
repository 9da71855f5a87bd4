//! Questions about the audit log: which records there are of some instances' associations, and what they
//! say.
//!
//! Owns the bodies of both and how their answers are read (docs/cmdb-api.md#audit-log). Knows nothing of
//! what a record proves.

use std::sync::Arc;

use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize};

use super::answer::Envelope;
use super::lenient::lenient_text;
use super::request::RequestId;
use crate::association::InstId;

/// The question which records there are of creates and deletes of associations, the newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditList {
    /// The model of the sources.
    pub obj_id: Arc<str>,
    /// The sources.
    pub sources: Vec<InstId>,
    /// Since when, `2026-11-24 04:06:12` by the server's clock, whose offset nobody tells.
    pub since: String,
    /// Until when.
    pub until: String,
    /// How many are passed over.
    pub start: u64,
}

impl AuditList {
    /// How many records come at once, and how many may be asked for by their ids.
    pub const PAGE: u16 = 200;

    pub(super) fn entries<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        let sources: Vec<_> = self.sources.iter().map(|source| source.get()).collect();
        let time = Time { start: &self.since, end: &self.until };
        let wanted = Wanted {
            audit_type: "model_instance",
            resource_type: "instance_association",
            action: [CREATE, "delete"],
            bk_obj_id: &self.obj_id,
            operation_time: time,
            condition: [Rule { field: "resource_id", operator: "in", value: sources }],
        };
        map.serialize_entry("condition", &wanted)?;
        map.serialize_entry("page", &Page { start: self.start, limit: Self::PAGE, sort: "-id" })
    }
}

const CREATE: &str = "create";

/// The type and the actions are those of an index; the instance's id has none.
#[derive(Serialize)]
struct Wanted<'a> {
    audit_type: &'static str,
    resource_type: &'static str,
    action: [&'static str; 2],
    bk_obj_id: &'a str,
    operation_time: Time<'a>,
    condition: [Rule; 1],
}

#[derive(Serialize)]
struct Time<'a> {
    start: &'a str,
    end: &'a str,
}

#[derive(Serialize)]
struct Rule {
    field: &'static str,
    operator: &'static str,
    value: Vec<u64>,
}

#[derive(Serialize)]
struct Page {
    start: u64,
    limit: u16,
    sort: &'static str,
}

/// A record of an association that was created or deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRecord {
    /// The record's own id: what was done later has a greater one.
    pub id: i64,
    /// Whether the association was created; else it was deleted.
    pub created: bool,
    /// The model association.
    pub obj_asst_id: String,
    /// The source.
    pub source: u64,
    /// The target.
    pub target: u64,
    /// The id of the call that did it, where that is 32 hexadecimal digits.
    pub request_id: Option<RequestId>,
}

#[derive(Deserialize)]
struct RawRecord {
    id: i64,
    action: String,
    resource_id: u64,
    #[serde(default, deserialize_with = "lenient_text")]
    rid: Option<String>,
    operation_detail: Detail,
}

#[derive(Deserialize)]
struct Detail {
    asst_id: String,
    dest_inst_id: u64,
}

impl RawRecord {
    fn read(self) -> AuditRecord {
        let Self { id, action, resource_id, rid, operation_detail } = self;
        let Detail { asst_id, dest_inst_id } = operation_detail;
        AuditRecord {
            id,
            created: action == CREATE,
            obj_asst_id: asst_id,
            source: resource_id,
            target: dest_inst_id,
            request_id: rid.as_deref().and_then(RequestId::parse),
        }
    }
}

impl Envelope {
    /// The ids of the records that were listed. `None` where the answer can't be read.
    pub fn audit_ids(&self) -> Option<Vec<i64>> {
        #[derive(Deserialize)]
        struct Listed {
            id: i64,
        }
        #[derive(Deserialize)]
        struct Data {
            info: Option<Vec<Listed>>,
        }
        let info = self.data_as::<Data>()?.info.unwrap_or_default();
        Some(info.into_iter().map(|listed| listed.id).collect())
    }

    /// What records say; those that can't be read, as of another kind, are left out. `None` where the
    /// answer can't be read.
    pub fn audit_records(&self) -> Option<Vec<AuditRecord>> {
        let entries = self.data_as::<Option<Vec<serde_json::Value>>>()?.unwrap_or_default();
        let raw = entries.into_iter().filter_map(|entry| serde_json::from_value(entry).ok());
        Some(raw.map(RawRecord::read).collect())
    }
}
