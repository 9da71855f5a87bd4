//! A call as CMDB takes it, which is more than bkassoc's own requests can say.
//!
//! Owns how bodies are decoded (docs/cmdb-api.md#create). Knows nothing of what a call does.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::Version;
use super::attributes::is_inner;
use super::endpoint::Endpoint;
use super::filter::Filter;
use super::instances::{is_v6, long_form};
use super::refusal::Refusal;
use crate::cmdb::wire::{Body, InstanceCall, Request, code};
use crate::options::Language;

/// How many values an `in` of the query builder may have (tests/wire/names-1.json#1.9).
const MOST_VALUES: usize = 500;

/// How many records of the audit log a call may ask for.
const MOST_RECORDS: usize = 200;

/// A call whose body could be decoded.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Call {
    Create {
        obj_asst_id: String,
        source: i64,
        target: i64,
    },
    CreateMany {
        source_model: String,
        target_model: String,
        obj_asst_id: String,
        pairs: Vec<(i64, i64)>,
    },
    Find {
        model: String,
        filter: Filter,
    },
    Models {
        /// `None`: the condition was empty.
        filter: Option<Filter>,
    },
    Delete {
        model: String,
        id: i64,
    },
    DeleteMany {
        model: String,
        ids: Vec<i64>,
    },
    Search(Search),
    Count {
        model: String,
        filter: Filter,
    },
    Attributes {
        model: String,
    },
    Uniques {
        model: String,
    },
    Instances(Instances),
    AuditList(AuditList),
    AuditRecords {
        ids: Vec<i64>,
    },
}

/// A question for a page of associations. They come in the order of their ids.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Search {
    pub(super) model: String,
    pub(super) filter: Filter,
    pub(super) page: Page,
    pub(super) newest_first: bool,
}

/// A question for records of the audit log.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct AuditList {
    pub(super) filter: Filter,
    /// The source's model; empty for any.
    pub(super) obj_id: String,
    pub(super) since: String,
    pub(super) until: String,
    pub(super) page: Page,
    pub(super) newest_first: bool,
}

/// A question for instances.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Instances {
    pub(super) call: InstanceCall,
    pub(super) model: String,
    pub(super) filter: Filter,
    pub(super) page: Page,
    /// A property, with a minus before it where the last comes first; by id where it is empty.
    pub(super) sort: String,
}

/// The part of the found rows that is shown, and their fields; all fields if none is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) start: usize,
    pub(super) limit: usize,
    pub(super) fields: Vec<String>,
}

/// On whose behalf a call is executed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// Whether the caller's account owns the instances. All accounts see the model associations
    /// (tests/wire/cmdb-05.json#5.10).
    pub(super) own: bool,
    /// The language of the texts in a batch's answer.
    pub(super) language: Language,
    /// How old a row must be to be seen.
    pub(super) lag: Option<Duration>,
    /// Whether a batch ends in the middle of an item, which is stored by half.
    pub(super) cut: bool,
}

/// The parts of a path that name a model and an id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PathParts {
    pub(super) model: String,
    pub(super) id: String,
}

/// A body; `None` where it is no JSON. An empty one counts as null (tests/wire/cmdb-04.json#4.12).
pub(super) fn parse_body(bytes: &[u8]) -> Option<Value> {
    if bytes.is_empty() {
        return Some(Value::Null);
    }
    serde_json::from_slice(bytes).ok()
}

impl Call {
    /// Decodes a body as the server does: a missing or null field is empty, one of the wrong type is
    /// refused.
    pub(super) fn decode(
        endpoint: Endpoint,
        path: PathParts,
        body: Option<&Value>,
        version: Version,
    ) -> Result<Self, Refusal> {
        let broken = match (endpoint, version) {
            (Endpoint::CreateMany, _) | (_, Version::V3_5) => code::BAD_JSON,
            _ => code::BAD_FIELD,
        };
        let broken = || Refusal::undecodable(broken);
        let fields = Fields::of(body.ok_or_else(broken)?).ok_or_else(broken)?;
        match endpoint {
            Endpoint::Create => {
                if version == Version::V3_5 {
                    fields.check_business()?;
                }
                let mistyped = || Refusal::undecodable(code::BAD_FIELD);
                Ok(Self::Create {
                    obj_asst_id: fields.text("bk_obj_asst_id").ok_or_else(mistyped)?,
                    source: fields.integer("bk_inst_id").ok_or_else(mistyped)?,
                    target: fields.integer("bk_asst_inst_id").ok_or_else(mistyped)?,
                })
            }
            Endpoint::CreateMany => fields.create_many().ok_or_else(broken),
            Endpoint::Find => {
                let condition = fields.object("condition").ok_or_else(broken)?;
                Ok(Self::Find {
                    model: fields.text("bk_obj_id").ok_or_else(broken)?,
                    filter: Filter::of_mongo(&condition)?,
                })
            }
            Endpoint::Models => {
                let condition = fields.object("condition").ok_or_else(broken)?;
                let filter = (!condition.is_empty()).then(|| Filter::of_mongo(&condition));
                let filter = filter.transpose()?;
                Ok(Self::Models { filter })
            }
            Endpoint::DeleteMany => fields.delete_many(),
            Endpoint::Search => fields.search(path.model),
            Endpoint::Count => Ok(Self::Count { model: path.model, filter: fields.rules()? }),
            Endpoint::Attributes => {
                Ok(Self::Attributes { model: fields.text("bk_obj_id").ok_or_else(broken)? })
            }
            Endpoint::Uniques => Ok(Self::Uniques { model: path.model }),
            Endpoint::SearchObjectInstances => fields.search_object_instances(path.model),
            Endpoint::SearchInst => fields.search_inst(path.model),
            Endpoint::ListHosts => fields.list_hosts(),
            Endpoint::SearchBusiness => fields.search_business(),
            Endpoint::AuditList => fields.audit_list(),
            Endpoint::AuditRecords => fields.audit_records(),
            Endpoint::Delete => {
                let id = path.id.parse();
                let id = id.map_err(|_| Refusal::of(code::NOT_AN_INTEGER, "association_id"))?;
                Ok(Self::Delete { model: path.model, id })
            }
        }
    }
}

impl Call {
    /// What bkassoc's own request is. Of questions about instances and of lists the body is decoded, as the server does.
    pub(super) fn of(request: Request, version: Version) -> Result<Self, Refusal> {
        // Ids are at most 2^63-1, so none changes its sign.
        Ok(match request {
            Request::Create(link) => Self::Create {
                obj_asst_id: link.association.obj_asst_id.as_ref().to_owned(),
                source: link.association.inst_id.get().cast_signed(),
                target: link.association.asst_inst_id.get().cast_signed(),
            },
            Request::CreateMany { model, pairs } => Self::CreateMany {
                source_model: model.source.as_ref().to_owned(),
                target_model: model.target.as_ref().to_owned(),
                obj_asst_id: model.obj_asst_id.as_ref().to_owned(),
                pairs: (pairs.iter().map(|(s, t)| (s.get().cast_signed(), t.get().cast_signed())))
                    .collect(),
            },
            Request::Find(find) => Self::Find {
                model: find.obj_id.as_ref().to_owned(),
                filter: Filter::of_patterns(&find.obj_asst_id, &find.any_of),
            },
            Request::Models(names) => {
                let names = names.iter().map(|name| Value::from(&**name));
                let filter = Some(Filter::any_of("bk_obj_asst_id", names));
                Self::Models { filter }
            }
            Request::Delete { obj_id, id } => {
                Self::Delete { model: obj_id.as_ref().to_owned(), id }
            }
            Request::DeleteMany { obj_id, ids } => {
                Self::DeleteMany { model: obj_id.as_ref().to_owned(), ids }
            }
            Request::Attributes(attributes) => {
                Self::Attributes { model: attributes.obj_id.as_ref().to_owned() }
            }
            Request::Instances(_)
            | Request::List(_)
            | Request::AuditList(_)
            | Request::AuditRecords(_) => {
                let model = request.model_in_path().unwrap_or_default().to_owned();
                let path = PathParts { model, ..PathParts::default() };
                let body = serde_json::to_value(Body(&request)).ok();
                let endpoint = Endpoint::of(request.route());
                return Self::decode(endpoint, path, body.as_ref(), version);
            }
        })
    }
}

/// A body's fields, read as Go reads them.
struct Fields<'a>(Option<&'a Map<String, Value>>);

impl<'a> Fields<'a> {
    fn of(body: &'a Value) -> Option<Self> {
        match body {
            Value::Null => Some(Self(None)),
            Value::Object(map) => Some(Self(Some(map))),
            _ => None,
        }
    }

    fn get(&self, key: &str) -> Option<&'a Value> {
        self.0?.get(key).filter(|value| !value.is_null())
    }

    fn text(&self, key: &str) -> Option<String> {
        match self.get(key) {
            None => Some(String::new()),
            Some(value) => value.as_str().map(str::to_owned),
        }
    }

    fn integer(&self, key: &str) -> Option<i64> {
        self.get(key).map_or(Some(0), Value::as_i64)
    }

    fn object(&self, key: &str) -> Option<Map<String, Value>> {
        match self.get(key) {
            None => Some(Map::new()),
            Some(value) => value.as_object().cloned(),
        }
    }

    /// Up to 3.8 a business id is a text of digits (docs/cmdb-api.md#business-id).
    fn check_business(&self) -> Result<(), Refusal> {
        let label = self.get("metadata").and_then(|metadata| metadata.get("label"));
        match label.and_then(|label| label.get("bk_biz_id")) {
            None | Some(Value::Null) => Ok(()),
            Some(Value::String(digits)) if digits.parse::<i64>().is_ok() => Ok(()),
            Some(Value::String(_)) => Err(Refusal::new(code::BAD_PARAMETER)),
            Some(_) => Err(Refusal::undecodable(code::BAD_JSON)),
        }
    }

    fn create_many(&self) -> Option<Call> {
        let details = match self.get("details") {
            None => &[],
            Some(details) => details.as_array()?.as_slice(),
        };
        let pair = |detail: &Value| {
            let fields = Fields::of(detail)?;
            Some((fields.integer("bk_inst_id")?, fields.integer("bk_asst_inst_id")?))
        };
        Some(Call::CreateMany {
            source_model: self.text("bk_obj_id")?,
            target_model: self.text("bk_asst_obj_id")?,
            obj_asst_id: self.text("bk_obj_asst_id")?,
            pairs: details.iter().map(pair).collect::<Option<_>>()?,
        })
    }

    fn delete_many(&self) -> Result<Call, Refusal> {
        let ids = match self.get("id") {
            None => Some(Vec::new()),
            Some(ids) => ids.as_array().and_then(|ids| ids.iter().map(Value::as_i64).collect()),
        };
        match (self.text("bk_obj_id"), ids) {
            (Some(model), Some(ids)) => Ok(Call::DeleteMany { model, ids }),
            _ => Err(Refusal::of(code::INVALID_PARAMETER, "")),
        }
    }

    /// The rules of lists and counts.
    fn rules(&self) -> Result<Filter, Refusal> {
        self.rules_at("conditions", MOST_VALUES)
    }

    fn rules_at(&self, key: &str, most: usize) -> Result<Filter, Refusal> {
        match self.get(key) {
            None => Ok(Filter::everything()),
            Some(rules) => Filter::of_rules(key, rules, most),
        }
    }

    fn search(&self, model: String) -> Result<Call, Refusal> {
        let page = self.page(1..=500)?;
        let filter = self.rules()?;
        let newest_first = self.sort() == "-id";
        Ok(Call::Search(Search { model, filter, page, newest_first }))
    }

    /// The page, whose limit must be one of these.
    fn page(&self, limits: RangeInclusive<usize>) -> Result<Page, Refusal> {
        let given = Fields(self.get("page").and_then(Value::as_object));
        let whole = |key| given.integer(key).and_then(|number| usize::try_from(number).ok());
        let bad_page = |key: &str| Refusal::of(code::BAD_FIELD, format!("page.{key}"));
        let limit = whole("limit").filter(|limit| limits.contains(limit));
        Ok(Page {
            limit: limit.ok_or_else(|| bad_page("limit"))?,
            start: whole("start").ok_or_else(|| bad_page("start"))?,
            fields: texts(self.get("fields")),
        })
    }

    fn sort(&self) -> String {
        let given = Fields(self.get("page").and_then(Value::as_object));
        given.text("sort").unwrap_or_default()
    }

    fn search_object_instances(&self, model: String) -> Result<Call, Refusal> {
        let call = InstanceCall::SearchObjectInstances;
        refuse_inner(&model)?;
        let (page, filter) = (self.page(1..=500)?, self.rules()?);
        Ok(Call::Instances(Instances { call, model, filter, page, sort: self.sort() }))
    }

    /// Conditions and fields of other models, which are about associations, are not read.
    fn search_inst(&self, model: String) -> Result<Call, Refusal> {
        let call = InstanceCall::SearchInst;
        refuse_inner(&model)?;
        let of_model = |key: &str| self.get(key).and_then(|of| of.get(&model));
        let mut filter = Filter::everything();
        for condition in of_model("condition").and_then(Value::as_array).into_iter().flatten() {
            let condition = Fields::of(condition).ok_or(Refusal::new(code::BAD_PARAMETER))?;
            let (field, operator) = (condition.text("field"), condition.text("operator"));
            let (Some(field), Some(operator)) = (field, operator) else {
                return Err(Refusal::new(code::BAD_PARAMETER));
            };
            let value = condition.get("value").cloned().unwrap_or_default();
            let mongo = Map::from_iter([(field, Map::from_iter([(operator, value)]).into())]);
            filter = filter.and(&Filter::of_mongo(&mongo)?);
        }
        let mut page = self.page(0..=usize::MAX)?;
        page.fields = texts(of_model("fields"));
        Ok(Call::Instances(Instances { call, filter, page, sort: self.sort(), model }))
    }

    fn list_hosts(&self) -> Result<Call, Refusal> {
        let call = InstanceCall::ListHosts;
        let page = self.page(1..=1_000)?;
        let mut filter = self.rules_at("host_property_filter", usize::MAX)?;
        filter.rewrite(|field, value| {
            if let (true, Some(text)) = (is_v6(field), value.as_str()) {
                *value = long_form(text).into();
            }
        });
        let model = "host".to_owned();
        // The server puts its own order in the place of any other.
        Ok(Call::Instances(Instances { call, model, filter, page, sort: String::new() }))
    }

    /// A text is found anywhere and in any case (docs/cmdb-api.md#businesses).
    fn search_business(&self) -> Result<Call, Refusal> {
        let call = InstanceCall::SearchBusiness;
        let page = self.page(0..=usize::MAX)?;
        let condition = self.object("condition").ok_or(Refusal::undecodable(code::BAD_JSON))?;
        let mut filter = Filter::everything();
        for (field, value) in condition {
            let part = match value.as_str() {
                Some(text) => Filter::like(&field, text),
                None => Filter::of_mongo(&Map::from_iter([(field, value)]))?,
            };
            filter = filter.and(&part);
        }
        let model = "biz".to_owned();
        Ok(Call::Instances(Instances { call, model, filter, page, sort: self.sort() }))
    }
}

impl Fields<'_> {
    /// The server's order: the page, the time, the rules (docs/cmdb-api.md#audit-log).
    fn audit_list(&self) -> Result<Call, Refusal> {
        let page = self.audit_page()?;
        let condition = self.object("condition").ok_or(Refusal::undecodable(code::BAD_JSON))?;
        let given = Fields(Some(&condition));
        let time = given.object("operation_time").unwrap_or_default();
        let moment = |key| Fields(Some(&time)).text(key).unwrap_or_default();
        let (since, until) = (moment("start"), moment("end"));
        if since.is_empty() && until.is_empty() {
            return Err(Refusal::of(code::UNASSIGNED, "operation_time"));
        }
        let mut filter = Filter::everything();
        for field in ["audit_type", "resource_type", "user", "action"] {
            let value = given.get(field).map(|value| match value {
                Value::Array(any) => json!({"$in": any}),
                one => one.clone(),
            });
            if let Some(value) = value {
                let one = Map::from_iter([(field.to_owned(), value)]);
                filter = filter.and(&Filter::of_mongo(&one)?);
            }
        }
        if let Some(rules) = given.get("condition").and_then(Value::as_array) {
            let is_known = |rule: &Value| {
                matches!(rule.get("operator").and_then(Value::as_str), Some("in" | "not_in"))
            };
            if !rules.iter().all(is_known) {
                return Err(Refusal::of(code::BAD_FIELD, "operator"));
            }
            let rules = json!({"condition": "AND", "rules": rules});
            filter = filter.and(&Filter::of_rules("condition", &rules, usize::MAX)?);
        }
        let obj_id = given.text("bk_obj_id").unwrap_or_default();
        let newest_first = self.sort().starts_with('-');
        Ok(Call::AuditList(AuditList { filter, obj_id, since, until, page, newest_first }))
    }

    fn audit_page(&self) -> Result<Page, Refusal> {
        let page = self.page(1..=usize::MAX)?;
        if page.limit > MOST_RECORDS { Err(Refusal::new(code::TOO_MANY)) } else { Ok(page) }
    }

    fn audit_records(&self) -> Result<Call, Refusal> {
        let ids = self.get("id").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        match ids.len() {
            0 => Err(Refusal::of(code::UNASSIGNED, "id")),
            number if number > MOST_RECORDS => Err(Refusal::new(code::TOO_MANY)),
            _ => Ok(Call::AuditRecords { ids: ids.iter().filter_map(Value::as_i64).collect() }),
        }
    }
}

fn texts(list: Option<&Value>) -> Vec<String> {
    let list = list.and_then(Value::as_array).into_iter().flatten();
    list.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// The calls for instances refuse those models that have calls of their own (tests/wire/names-1.json#1.7).
fn refuse_inner(model: &str) -> Result<(), Refusal> {
    if is_inner(model) { Err(Refusal::new(code::INNER_MODEL)) } else { Ok(()) }
}
