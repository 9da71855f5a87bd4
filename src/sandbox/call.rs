//! A call as CMDB takes it, which is more than bkassoc's own requests can say.
//!
//! Owns how bodies are decoded (docs/cmdb-api.md#create). Knows nothing of what a call does.

use std::time::Duration;

use serde_json::{Map, Value};

use super::Version;
use super::filter::Filter;
use super::refusal::Refusal;
use crate::cmdb::wire::{Request, code};
use crate::options::Language;

/// The calls that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Endpoint {
    /// Create one association.
    Create,
    /// Create up to 200.
    CreateMany,
    /// Look up by a Mongo condition.
    Find,
    /// Ask for model associations.
    Models,
    /// Delete one association.
    Delete,
    /// List by rules, page by page.
    Search,
    /// Count by rules.
    Count,
}

impl Endpoint {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Create,
        Self::CreateMany,
        Self::Find,
        Self::Models,
        Self::Delete,
        Self::Search,
        Self::Count,
    ];

    /// The ESB's name for it.
    pub const fn component(self) -> &'static str {
        match self {
            Self::Create => "add_instance_association",
            Self::CreateMany => "batch_create_instance_association",
            Self::Find => "find_instance_association",
            Self::Models => "find_object_association",
            Self::Delete => "delete_instance_association",
            Self::Search => "search_instance_associations",
            Self::Count => "count_instance_associations",
        }
    }

    /// Whether it came with 3.10.
    pub(super) const fn is_new(self) -> bool {
        matches!(self, Self::CreateMany | Self::Search | Self::Count)
    }
}

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
    Search {
        model: String,
        filter: Filter,
        page: Page,
    },
    Count {
        model: String,
        filter: Filter,
    },
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

/// The parts of the path of delete, search and count.
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
    pub(super) const fn endpoint(&self) -> Endpoint {
        match self {
            Self::Create { .. } => Endpoint::Create,
            Self::CreateMany { .. } => Endpoint::CreateMany,
            Self::Find { .. } => Endpoint::Find,
            Self::Models { .. } => Endpoint::Models,
            Self::Delete { .. } => Endpoint::Delete,
            Self::Search { .. } => Endpoint::Search,
            Self::Count { .. } => Endpoint::Count,
        }
    }

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
            Endpoint::Search => fields.search(path.model),
            Endpoint::Count => Ok(Self::Count { model: path.model, filter: fields.rules()? }),
            Endpoint::Delete => {
                let id = path.id.parse();
                let id = id.map_err(|_| Refusal::of(code::NOT_AN_INTEGER, "association_id"))?;
                Ok(Self::Delete { model: path.model, id })
            }
        }
    }
}

impl Call {
    /// What bkassoc's own request is; `None` where the sandbox does not have it yet.
    pub(super) fn of(request: Request) -> Option<Self> {
        // Ids are at most 2^63-1, so none changes its sign.
        Some(match request {
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
            Request::Attributes(_) | Request::Instances(_) => return None,
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

    fn rules(&self) -> Result<Filter, Refusal> {
        match self.get("conditions") {
            None => Ok(Filter::everything()),
            Some(conditions) => Filter::of_rules(conditions),
        }
    }

    fn search(&self, model: String) -> Result<Call, Refusal> {
        let given = Fields(self.get("page").and_then(Value::as_object));
        let whole = |key| given.integer(key).and_then(|number| usize::try_from(number).ok());
        let bad_page = |key: &str| Refusal::of(code::BAD_FIELD, format!("page.{key}"));
        let limit = whole("limit").filter(|limit| (1..=500).contains(limit));
        let fields = self.get("fields").and_then(Value::as_array);
        let texts = fields.into_iter().flatten().filter_map(Value::as_str);
        let page = Page {
            limit: limit.ok_or_else(|| bad_page("limit"))?,
            start: whole("start").ok_or_else(|| bad_page("start"))?,
            fields: texts.map(str::to_owned).collect(),
        };
        let filter = self.rules()?;
        Ok(Call::Search { model, filter, page })
    }
}
