//! The audit log: which call created or deleted which association (docs/cmdb-api.md#audit-log).
//!
//! Owns the records, the newest only and in memory alone. Knows nothing of the calls themselves.

use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::Sandbox;
use super::call::{AuditList, Page};
use super::models::Known;
use super::refusal::Refusal;
use super::rows::Row;
use crate::clock;
use crate::cmdb::wire::code;

/// How many records are kept. A real one keeps all until somebody clears it.
const MOST: usize = 100_000;

/// Who made a call, as a record shows it.
#[derive(Clone, Debug)]
pub(super) struct By {
    pub(super) request_id: String,
    pub(super) user: String,
    /// What a gateway or an ESB says; empty for a native caller.
    pub(super) app_code: String,
}

#[derive(Debug, Default)]
pub(super) struct AuditLog {
    /// The id of the last record.
    last: i64,
    records: VecDeque<Record>,
}

#[derive(Clone, Debug)]
struct Record {
    id: i64,
    row: Row,
    created: bool,
    at: String,
    by: Arc<By>,
}

impl AuditLog {
    fn add(&mut self, row: Row, created: bool, by: &Arc<By>) {
        self.last += 1;
        if self.records.len() == MOST {
            self.records.pop_front();
        }
        let at = clock::utc(clock::millis()).unwrap_or_default();
        self.records.push_back(Record { id: self.last, row, created, at, by: Arc::clone(by) });
    }
}

impl Record {
    /// What a list shows, and is searched by.
    fn listed(&self, known: &Known, account: &str) -> Map<String, Value> {
        let Self { id, row, created, at, by } = self;
        let listed = json!({
            "id": id,
            "audit_type": "model_instance",
            "bk_supplier_account": account,
            "user": by.user,
            "resource_type": "instance_association",
            "action": if *created { "create" } else { "delete" },
            "operate_from": "user",
            "operation_detail": {
                "asst_id": *known.model.obj_asst_id,
                "asst_kind": known.kind,
                "src_obj_id": *known.model.source,
                "dest_obj_id": *known.model.target,
                "dest_inst_id": row.target,
                "dest_inst_name": "",
            },
            "operation_time": at,
            "resource_id": row.source,
            "resource_name": "",
        });
        listed.as_object().cloned().unwrap_or_default()
    }

    /// All of it.
    fn whole(&self, known: &Known, account: &str) -> Map<String, Value> {
        let mut whole = self.listed(known, account);
        whole.insert("rid".to_owned(), self.by.request_id.as_str().into());
        if !self.by.app_code.is_empty() {
            whole.insert("code".to_owned(), self.by.app_code.as_str().into());
        }
        whole
    }
}

impl Sandbox {
    pub(super) fn record(&self, rows: impl IntoIterator<Item = Row>, created: bool, by: &Arc<By>) {
        let mut state = self.state();
        rows.into_iter().for_each(|row| state.audit.add(row, created, by));
    }

    /// A page of records, without what they say of the call.
    pub(super) fn audit_list(&self, asked: &AuditList) -> Result<String, Refusal> {
        self.check_auditor()?;
        let AuditList { filter, obj_id, since, until, page, newest_first } = asked;
        let Page { start, limit, .. } = page;
        let state = self.state();
        let in_time = |record: &&Record| {
            let at = record.at.as_str();
            (since.is_empty() || at >= since.as_str()) && (until.is_empty() || at <= until.as_str())
        };
        let mut found: Vec<_> = (state.audit.records.iter().filter(in_time))
            .filter_map(|record| {
                let known = self.0.models.get(record.row.table);
                let is_of = obj_id.is_empty() || *known.model.source == **obj_id;
                let mut listed = is_of.then(|| record.listed(known, ""))?;
                listed.insert("operation_detail".to_owned(), Value::Null);
                filter.admits(&listed).then_some(listed)
            })
            .collect();
        if *newest_first {
            found.reverse();
        }
        let count = found.len();
        let shown: Vec<_> = found.into_iter().skip(*start).take(*limit).collect();
        Ok(json!({"count": count, "info": shown}).to_string())
    }

    /// Records by their ids.
    pub(super) fn audit_records(&self, ids: &[i64]) -> Result<String, Refusal> {
        self.check_auditor()?;
        let state = self.state();
        let account = &self.0.models.supplier_account;
        let found: Vec<_> = (state.audit.records.iter())
            .filter(|record| ids.contains(&record.id))
            .map(|record| record.whole(self.0.models.get(record.row.table), account))
            .collect();
        if found.is_empty() {
            return Err(Refusal::of(code::INVALID_PARAMETER, "id"));
        }
        Ok(Value::from(found).to_string())
    }

    fn check_auditor(&self) -> Result<(), Refusal> {
        let may = self.0.models.credentials.audit;
        if may { Ok(()) } else { Err(Refusal::new(code::FORBIDDEN)) }
    }
}
