//! Requests and answers of the API: bodies, both key sets, code numbers.
//!
//! Owns what the bytes mean. Knows nothing of how they travel or what an answer means for a row.
//! Sources: contract sections 1 to 9, captures 1 to 8.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use serde::de::{self, Deserializer};
use serde::ser::{SerializeMap, SerializeSeq, Serializer};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::association::{InstId, Link, Mapping, ModelAssociation};

/// The server's numbers (contract sections 3, 8 and 9).
pub mod code {
    #![allow(missing_docs)]
    pub const DUPLICATE: i64 = 1_199_014;
    pub const MAPPING_ONE_TO_ONE: i64 = 1_101_052;
    pub const MAPPING_ONE_TO_MANY: i64 = 1_101_061;
    pub const UNKNOWN_ASSOCIATION: i64 = 1_101_046;
    pub const ASSOCIATION_NOT_UNIQUE: i64 = 1_101_062;
    pub const ASSOCIATION_VANISHED: i64 = 1_101_072;
    pub const MISSING_SOURCE: i64 = 1_101_073;
    pub const MISSING_TARGET: i64 = 1_101_074;
    pub const LOCKED: i64 = 1_113_053;
    pub const LOCKED_3_9: i64 = 1_113_051;
    pub const BAD_JSON: i64 = 1_199_000;
    pub const HTTP_FAILED: i64 = 1_199_002;
    pub const BAD_PARAMETER: i64 = 1_199_003;
    pub const BAD_FIELD: i64 = 1_199_006;
    pub const NOT_AN_INTEGER: i64 = 1_199_009;
    pub const UNASSIGNED: i64 = 1_199_010;
    pub const INVALID_PARAMETER: i64 = 1_199_011;
    pub const NOT_FOUND: i64 = 1_199_019;
    pub const NO_USER: i64 = 1_199_027;
    pub const OVER_LIMIT: i64 = 1_199_035;
    pub const PROXY_FAILED: i64 = 1_199_036;
    pub const NO_BACKEND: i64 = 1_199_037;
    pub const EMPTY_DETAILS: i64 = 1_199_038;
    pub const BAD_AUTH_ATTRIBUTES: i64 = 1_199_045;
    pub const AUTH_FAILED: i64 = 1_199_046;
    pub const TOO_MANY: i64 = 1_199_059;
    pub const TRANSACTION_NOT_STARTED: i64 = 1_199_065;
    pub const TRANSACTION_NOT_COMMITTED: i64 = 1_199_066;
    pub const TRANSACTION_ABORTED: i64 = 1_199_067;
    pub const TOO_MANY_REQUESTS: i64 = 1_199_997;
    pub const UNKNOWN_OR_DRIVER: i64 = 1_199_998;
    pub const INTERNAL: i64 = 1_199_999;
    pub const AUDIT_SAVE: i64 = 1_109_001;
    pub const AUDIT_SNAPSHOT: i64 = 1_109_002;
    pub const AUDIT_BATCH: i64 = 1_109_005;
    pub const ID_SEQUENCE: i64 = 1_102_020;
    pub const FORBIDDEN: i64 = 9_900_403;
    pub const GO_ERROR: i64 = -1;
    pub const ESB_CATCH_ALL: i64 = 1_306_000;
    pub const ESB_BACKEND: i64 = 1_306_201;
    pub const ESB_TLS_TO_BACKEND: i64 = 1_306_203;
    pub const ESB_TEST_HOST: i64 = 1_306_206;
    pub const ESB_BLOCKED: i64 = 1_306_207;
    pub const ESB_RESULT_FORMAT: i64 = 1_306_208;
    pub const ESB_BAD_METHOD: i64 = 1_306_209;
    pub const ESB_OPERATOR_ERROR: i64 = 1_306_401;
    pub const ESB_USER_ERROR: i64 = 1_306_402;
    pub const ESB_NO_PERMISSION: i64 = 1_306_403;
    pub const ESB_NO_COMPONENT: i64 = 1_306_404;
    pub const ESB_INACTIVE: i64 = 1_306_405;
    pub const ESB_THROTTLED: i64 = 1_306_429;
    pub const GATEWAY_INVALID_ARGS: i64 = 1_640_001;
    pub const GATEWAY_JWT: i64 = 1_640_004;
    pub const GATEWAY_NO_PERMISSION: i64 = 1_640_301;
    pub const GATEWAY_NOT_FOUND: i64 = 1_640_401;
    pub const GATEWAY_BODY_TOO_LARGE: i64 = 1_641_301;
    pub const GATEWAY_URI_TOO_LONG: i64 = 1_641_401;
    pub const GATEWAY_INTERNAL: i64 = 1_650_001;
    pub const GATEWAY_UNAVAILABLE: i64 = 1_650_300;
    pub const GATEWAY_RECURSION: i64 = 1_650_801;
}

/// A call, whatever way it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Create one association.
    Create(Link),
    /// Create up to 200 of one model association.
    CreateMany {
        /// Of which.
        model: Arc<ModelAssociation>,
        /// Source and target of each.
        pairs: Vec<(InstId, InstId)>,
    },
    /// Which of these exist?
    Find(Find),
    /// What are these model associations?
    Models(Vec<Arc<str>>),
    /// Delete one association.
    Delete {
        /// The source model.
        obj_id: Arc<str>,
        /// The association's id.
        id: i64,
    },
}

/// A look-up: everything of one model association that fits any of the patterns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Find {
    /// A model whose table is read; from 3.10 on required (capture 6.3).
    pub obj_id: Arc<str>,
    /// Of which model association.
    pub obj_asst_id: Arc<str>,
    /// Never empty: an empty `$or` is refused with 1199998 (captures-chain).
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

/// A request's body, less the credentials: an object whose entries the client may add to.
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

/// `{"label":{"bk_biz_id":"1"}}`: a string, since a number is refused up to 3.8 (contract 2).
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

/// An answer's body, in either key set: `code`/`message` or `bk_error_code`/`bk_error_msg`.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Envelope {
    /// What it says of itself.
    #[serde(default, deserialize_with = "lenient_bool")]
    pub result: Option<bool>,
    #[serde(default, deserialize_with = "lenient_code")]
    code: Option<i64>,
    #[serde(default, deserialize_with = "lenient_code")]
    bk_error_code: Option<i64>,
    #[serde(default, deserialize_with = "lenient_text")]
    message: Option<String>,
    #[serde(default, deserialize_with = "lenient_text")]
    bk_error_msg: Option<String>,
    /// What was asked for; its shape depends on the request. JSON's null is `Some("null")`.
    #[serde(default, deserialize_with = "present")]
    pub data: Option<Box<RawValue>>,
    /// What may not be done, with 9900403.
    #[serde(default, deserialize_with = "present")]
    pub permission: Option<Box<RawValue>>,
    /// The ESB's id of the call.
    #[serde(default, deserialize_with = "lenient_text")]
    pub request_id: Option<String>,
}

impl Envelope {
    /// An envelope as the server would write it.
    pub fn new(result: bool, code: i64, message: &str, data: Box<RawValue>) -> Self {
        Self {
            result: Some(result),
            code: Some(code),
            message: Some(message.to_owned()),
            data: Some(data),
            ..Self::default()
        }
    }

    /// Reads a body; `None` where it is no JSON object.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        if !bytes.trim_ascii_start().starts_with(b"{") {
            return None;
        }
        // Texts that nobody reads may be in another encoding; a text that is UTF-8 as a whole is read
        // without checking each string.
        match std::str::from_utf8(bytes) {
            Ok(text) => serde_json::from_str(text).ok(),
            Err(_) => serde_json::from_slice(bytes).ok(),
        }
    }

    /// Rewrites the texts that a person may get to see: the messages, and the call's id.
    pub fn rewrite_texts(&mut self, rewrite: impl Fn(&str) -> String) {
        for text in
            [&mut self.message, &mut self.bk_error_msg, &mut self.request_id].into_iter().flatten()
        {
            *text = rewrite(text);
        }
    }

    /// The number, whichever key it came under.
    pub fn code(&self) -> Option<i64> {
        self.code.or(self.bk_error_code)
    }

    /// The text, whichever key it came under.
    pub fn message(&self) -> &str {
        self.message.as_deref().or(self.bk_error_msg.as_deref()).unwrap_or_default()
    }

    /// Whether it says success twice. Where result and code disagree, or the codes under both keys,
    /// it says neither.
    pub fn succeeded(&self) -> Option<bool> {
        match (self.result, self.code()) {
            (Some(true), Some(0)) if self.bk_error_code.unwrap_or(0) == 0 => Some(true),
            (Some(false) | None, Some(code)) if code != 0 => Some(false),
            _ => None,
        }
    }

    fn data_as<'a, T: Deserialize<'a>>(&'a self) -> Option<T> {
        serde_json::from_str(self.data.as_ref()?.get()).ok()
    }

    /// The id of what was created: a positive integer or nothing.
    pub fn created_id(&self) -> Option<i64> {
        #[derive(Deserialize)]
        struct Created {
            id: i64,
        }
        self.data_as::<Created>().map(|created| created.id).filter(|id| *id > 0)
    }

    /// What a batch says of its items, by their places in the request. Texts only say that an item was
    /// refused (contract section 6); an id that is named twice is named for nobody.
    pub fn batch(&self) -> Option<BatchAnswer> {
        #[derive(Deserialize)]
        struct Data {
            #[serde(default)]
            success_created: Option<HashMap<String, RawId>>,
            #[serde(default)]
            error_msg: Option<HashMap<String, serde_json::Value>>,
        }
        let data = self.data_as::<Data>()?;
        let mut answer = BatchAnswer::default();
        let mut named = HashMap::new();
        for (place, id) in data.success_created.unwrap_or_default() {
            let (Some(place), Some(id)) = (place_of(&place), id.0.filter(|id| *id > 0)) else {
                continue;
            };
            *named.entry(id).or_insert(0) += 1;
            answer.created.insert(place, id);
        }
        answer.created.retain(|_, id| named[id] == 1);
        let refused = data.error_msg.unwrap_or_default();
        answer.refused = refused.into_keys().filter_map(|place| place_of(&place)).collect();
        Some(answer)
    }

    /// What a look-up found, less what has an id below 1. `None` where the answer can't be trusted;
    /// JSON's null is an empty list (a nil slice in Go).
    pub fn found(&self) -> Option<Vec<Found>> {
        let found = self.data_as::<Option<Vec<Found>>>()?.unwrap_or_default();
        Some(found.into_iter().filter(|found| found.id > 0).collect())
    }

    /// The model associations of an answer, each read by itself: one that can't be used hides none of
    /// the others. `None` where the answer can't be trusted: an entry without a name may be any.
    pub fn models(&self) -> Option<Vec<Result<ModelAssociation, ModelError>>> {
        let entries = self.data_as::<Option<Vec<&RawValue>>>()?.unwrap_or_default();
        let read = |entry: &RawValue| serde_json::from_str(entry.get()).ok().map(Model::read);
        entries.into_iter().map(read).collect()
    }
}

/// Why a model association that the server has can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{fault}")]
pub struct ModelError {
    /// Of which.
    pub obj_asst_id: Arc<str>,
    fault: ModelFault,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum ModelFault {
    #[error("its mapping {0:?} is unknown to this version of bkassoc")]
    Mapping(String),
    #[error("the server does not say its models or its mapping")]
    Incomplete,
}

/// How many characters of an unknown mapping are shown.
const MAPPING_SHOWN: usize = 20;

#[derive(Deserialize)]
struct Model {
    bk_obj_asst_id: String,
    #[serde(default, deserialize_with = "lenient_text")]
    bk_obj_id: Option<String>,
    #[serde(default, deserialize_with = "lenient_text")]
    bk_asst_obj_id: Option<String>,
    #[serde(default, deserialize_with = "lenient_text")]
    bk_asst_id: Option<String>,
    #[serde(default, deserialize_with = "lenient_text")]
    mapping: Option<String>,
}

impl Model {
    fn read(self) -> Result<ModelAssociation, ModelError> {
        let obj_asst_id: Arc<str> = self.bk_obj_asst_id.into();
        let error = |fault| ModelError { obj_asst_id: Arc::clone(&obj_asst_id), fault };
        let (Some(source), Some(target), Some(mapping)) =
            (self.bk_obj_id, self.bk_asst_obj_id, self.mapping)
        else {
            return Err(error(ModelFault::Incomplete));
        };
        let mainline = self.bk_asst_id.as_deref() == Some("bk_mainline");
        let rule = match Mapping::parse(&mapping) {
            Some(rule) => rule,
            // Its rows are refused under any rule.
            None if mainline => Mapping::OneToOne,
            None => {
                let shown = mapping.chars().take(MAPPING_SHOWN).collect();
                return Err(error(ModelFault::Mapping(shown)));
            }
        };
        Ok(ModelAssociation {
            source: source.into(),
            target: target.into(),
            mapping: rule,
            guessed: false,
            mainline,
            obj_asst_id,
        })
    }
}

/// An association as a look-up returns it (capture 6.1).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Found {
    /// The association's id.
    pub id: i64,
    /// Of which model association.
    #[serde(default)]
    pub bk_obj_asst_id: String,
    /// The source. A server leaves a 0 out (contract section 7); what is no id equals none.
    #[serde(default, deserialize_with = "any_integer")]
    pub bk_inst_id: u64,
    /// The target.
    #[serde(default, deserialize_with = "any_integer")]
    pub bk_asst_inst_id: u64,
}

/// A number below 0 becomes one above all ids.
fn any_integer<'de, D: Deserializer<'de>>(d: D) -> Result<u64, D::Error> {
    i64::deserialize(d).map(i64::cast_unsigned)
}

/// What a batch says of its items.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BatchAnswer {
    /// The ids of items that were created.
    pub created: HashMap<usize, i64>,
    /// Items that were refused.
    pub refused: HashSet<usize>,
}

/// A batch item's place, in the one spelling that a server writes: `+1` and `01` would be the same
/// place under a second key.
fn place_of(text: &str) -> Option<usize> {
    text.parse().ok().filter(|place: &usize| place.to_string() == text)
}

/// An id, or nothing where it is no integer.
#[derive(Deserialize)]
struct RawId(#[serde(deserialize_with = "lenient_code")] Option<i64>);

/// What an answer's headers say of the server's limit (contract section 9).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateHint {
    /// `X-Bkapi-RateLimit-Limit`: calls a window.
    pub limit: Option<u64>,
    /// `X-Bkapi-RateLimit-Remaining`: calls left in it.
    pub remaining: Option<u64>,
    /// `X-Bkapi-RateLimit-Reset`: until the window ends.
    pub reset: Option<Duration>,
    /// `Retry-After`.
    pub retry_after: Option<Duration>,
}

/// An answer that arrived whole.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The body; `None` where it was no JSON object.
    pub envelope: Option<Envelope>,
    /// The beginning of a body that was no JSON object, for a person to read.
    pub excerpt: String,
    /// The server's limit.
    pub rate: RateHint,
    /// The id of the call: from the body, else from a header.
    pub request_id: Option<String>,
}

/// What came of a call.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "answers are the common case")]
pub enum Reply {
    /// An answer arrived whole.
    Answered(Answer),
    /// The request never left: connection refused, name not found.
    NotSent(String),
    /// No whole answer: reset, timeout, cut or oversized body. The call may have been executed.
    Lost(String),
    /// The target can't be used as configured: its certificate, or a URL that can't be called.
    Unusable(String),
}

impl Reply {
    /// What it says of the server's limit.
    pub fn rate(&self) -> RateHint {
        match self {
            Self::Answered(answer) => answer.rate,
            Self::NotSent(_) | Self::Lost(_) | Self::Unusable(_) => RateHint::default(),
        }
    }
}

fn present<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(d).map(Some)
}

/// A code as number or numeric text. A code that is neither counts as no code.
fn lenient_code<'de, D: Deserializer<'de>>(d: D) -> Result<Option<i64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Code<'a> {
        Number(i64),
        Text(#[serde(borrow)] std::borrow::Cow<'a, str>),
        Other(de::IgnoredAny),
    }
    Ok(match Code::deserialize(d)? {
        Code::Number(number) => Some(number),
        Code::Text(text) => text.trim().parse().ok(),
        Code::Other(_) => None,
    })
}

fn lenient_bool<'de, D: Deserializer<'de>>(d: D) -> Result<Option<bool>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Flag {
        Bool(bool),
        Other(de::IgnoredAny),
    }
    Ok(match Flag::deserialize(d)? {
        Flag::Bool(flag) => Some(flag),
        Flag::Other(_) => None,
    })
}

fn lenient_text<'de, D: Deserializer<'de>>(d: D) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Text {
        Text(String),
        Other(de::IgnoredAny),
    }
    Ok(match Text::deserialize(d)? {
        Text::Text(text) => Some(text),
        Text::Other(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stray_association_in_a_look_up_hides_none_of_the_others() {
        let answer = br#"{"result":true,"code":0,"data":[{"id":5,"bk_asst_inst_id":2},
            {"id":6,"bk_obj_asst_id":"a","bk_inst_id":-1,"bk_asst_inst_id":2},
            {"id":7,"bk_obj_asst_id":"a","bk_inst_id":1,"bk_asst_inst_id":2}]}"#;
        let found = Envelope::parse(answer).unwrap().found().unwrap();
        let sources: Vec<_> = found.iter().map(|found| InstId::new(found.bk_inst_id)).collect();
        assert!(sources[0].is_err() && sources[1].is_err());
        assert_eq!((found[2].id, sources[2]), (7, InstId::new(1)));
        let garbled = br#"{"result":true,"code":0,"data":[{"id":7,"bk_inst_id":"x"}]}"#;
        assert_eq!(Envelope::parse(garbled).unwrap().found(), None);
    }

    #[test]
    fn a_model_association_that_can_not_be_used_hides_none_of_the_others() {
        let answer = with_data(
            r#"[{"bk_obj_asst_id":"a","bk_obj_id":"s","bk_asst_obj_id":"t","mapping":"2:2"},
                {"bk_obj_asst_id":"b","bk_obj_id":"s","bk_asst_obj_id":"t"},
                {"bk_obj_asst_id":"c","bk_obj_id":7,"bk_asst_obj_id":"t","mapping":"1:1"},
                {"bk_obj_asst_id":"d","bk_obj_id":"s","bk_asst_obj_id":"t","mapping":"","bk_asst_id":"bk_mainline"},
                {"bk_obj_asst_id":"e","bk_obj_id":"s","bk_asst_obj_id":"t","mapping":"n:n"}]"#,
        );
        let said: Vec<_> = (answer.models().unwrap().iter())
            .map(|model| match model {
                Ok(model) => format!("{} is known", model.obj_asst_id),
                Err(error) => format!("{}: {error}", error.obj_asst_id),
            })
            .collect();
        assert_eq!(
            said,
            [
                "a: its mapping \"2:2\" is unknown to this version of bkassoc",
                "b: the server does not say its models or its mapping",
                "c: the server does not say its models or its mapping",
                "d is known",
                "e is known",
            ]
        );
        for data in ["7", r#"[{"mapping":"n:n"}]"#, r#"["a"]"#, "[null]"] {
            assert_eq!(with_data(data).models(), None, "{data}");
        }
    }

    fn with_data(data: &str) -> Envelope {
        let data = RawValue::from_string(data.to_owned()).unwrap();
        Envelope::new(true, 0, "", data)
    }

    #[test]
    fn codes_that_disagree_say_neither_yes_nor_no() {
        let succeeded = |codes: &str| {
            let body = format!(r#"{{"result":true,{codes},"data":{{"id":5}}}}"#);
            Envelope::parse(body.as_bytes()).unwrap().succeeded()
        };
        assert_eq!(succeeded(r#""code":0,"bk_error_code":0"#), Some(true));
        assert_eq!(succeeded(r#""code":0,"bk_error_code":1199014"#), None);
        assert_eq!(succeeded(r#""code":1199014,"bk_error_code":0"#), None);
    }

    #[test]
    fn a_batch_item_goes_by_one_spelling_of_its_place() {
        let answer = with_data(
            r#"{"success_created":{"1":7,"+1":8,"01":9," 2":10},"error_msg":{"3":"no","+4":"no"}}"#,
        );
        let batch = answer.batch().unwrap();
        assert_eq!(batch.created, HashMap::from([(1, 7)]));
        assert_eq!(batch.refused, HashSet::from([3]));
    }

    #[test]
    fn a_look_up_finds_nothing_that_has_an_id_below_1() {
        let found = |id| {
            with_data(&format!(r#"[{{"id":{id},"bk_inst_id":1,"bk_asst_inst_id":2}}]"#)).found()
        };
        assert_eq!(found(5).map(|found| found.len()), Some(1));
        assert_eq!((found(0), found(-5)), (Some(vec![]), Some(vec![])));
    }
}
