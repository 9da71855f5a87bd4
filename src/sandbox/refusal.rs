//! A refusal of CMDB's own: a number, and its text in two languages.
//!
//! Owns the texts: those of `tests/wire/cmdb-*.json`, and a few of the server's message files. Knows
//! nothing of when a call is refused.

use crate::cmdb::wire::code;
use crate::options::Language;

/// The language of a header's value: only exactly `en` is English (docs/cmdb-api.md#language).
pub(super) fn language_of(header: Option<&str>) -> Language {
    if header == Some("en") { Language::En } else { Language::Zh }
}

/// What a call is refused with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: i64,
    text: Text,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Text {
    /// The number's own text, with a name put in.
    Of(String),
    /// The text of 1199000, under another number.
    Undecodable,
    /// A text in no language.
    Raw(String),
}

/// Codes that only the sandbox uses: in a batch only their texts are seen.
pub(super) const ALREADY_EXISTS_IN_BATCH: i64 = 1_101_038;
pub(super) const UNKNOWN_ASSOCIATION_IN_BATCH: i64 = 1_101_056;

impl Refusal {
    pub(super) const fn new(code: i64) -> Self {
        let text = Text::Of(String::new());
        Self { code, text }
    }

    /// A refusal with the name that its text mentions.
    pub(super) fn of(code: i64, name: impl Into<String>) -> Self {
        let text = Text::Of(name.into());
        Self { code, text }
    }

    /// A body that can't be decoded: the text is that of 1199000, whatever the number
    /// (tests/wire/cmdb-04.json#4.4).
    pub(super) const fn undecodable(code: i64) -> Self {
        let text = Text::Undecodable;
        Self { code, text }
    }

    /// A refusal with a text of a driver or of Go itself.
    pub(super) fn raw(code: i64, text: impl Into<String>) -> Self {
        let text = Text::Raw(text.into());
        Self { code, text }
    }

    pub(super) fn text(&self, language: Language) -> String {
        let (code, name) = match &self.text {
            Text::Of(name) => (self.code, name.as_str()),
            Text::Undecodable => (code::BAD_JSON, ""),
            Text::Raw(text) => return text.clone(),
        };
        let (en, zh) = template(code);
        let text = if language == Language::En { en } else { zh };
        text.replacen("{}", name, 1)
    }
}

fn template(code: i64) -> (&'static str, &'static str) {
    match code {
        code::DUPLICATE => (
            "duplicated instances exist, fields [association] duplicated",
            "数据唯一性校验失败， association 重复",
        ),
        code::MAPPING_ONE_TO_ONE => (
            "can not create multiple instance association for a 1:1 association.",
            "关联关系为1:1的，不能同时关联多个实例",
        ),
        code::MAPPING_ONE_TO_MANY => (
            "The relationship is 1:n, and multiple source model instances cannot be associated at the same time.",
            "关联关系为1:n的，不能同时关联多个源模型实例",
        ),
        code::UNKNOWN_ASSOCIATION => ("object association does not exist.", "模型的关联关系不存在"),
        UNKNOWN_ASSOCIATION_IN_BATCH => ("object association do not exist.", "关联关系不存在"),
        code::MISSING_SOURCE => ("the association inst is not exist", "关联实例不存在"),
        code::MISSING_TARGET => ("the  inst to asst  is not exist", "被关联实例不存在"),
        ALREADY_EXISTS_IN_BATCH => ("the associations {} already exist", "关联关系 {} 重复"),
        code::LOCKED => ("association constraint mismatch", "关联关系约束不匹配"),
        code::BAD_JSON => ("Deserializing JSON data failed", "反序列化JSON数据失败"),
        code::BAD_PARAMETER => ("invalid input parameter", "输入参数无效"),
        code::BAD_FIELD => {
            ("'{}' data parameter verification does not pass", "'{}' 数据参数校验不通过")
        }
        code::NOT_AN_INTEGER => ("'{}' parameters must be integral", "'{}' 参数必须是整型"),
        code::UNASSIGNED => ("'{}' unassigned", "'{}' 未赋值"),
        code::INVALID_PARAMETER => {
            ("'{}' the parameter is invalid or does not exist", "'{}' 参数无效或不存在")
        }
        code::NOT_FOUND => ("No relevant data found", "未找到相关数据"),
        code::INVALID_TENANT => ("failed to verify the tenant identity.", "校验租户身份失败"),
        code::FORBIDDEN => ("no permission", "没有权限"),
        code::TOO_MANY => {
            ("page limit is exceeded. suggestion 200", "分页查询数量超过限制的最大值, 建议值200")
        }
        code::NO_USER => ("'{}' authorization information query failed", "[{}]授权信息查询失败"),
        code::INNER_MODEL => (
            "forbidden operate inner model instance with common instance API",
            "禁止使用通用实例接口操作内置模型实例",
        ),
        code::OVER_LIMIT => (" {} exceed the limit 200", " {} 超过限制 200"),
        code::EMPTY_DETAILS => ("need data {} is null", "数据 {} 不能为空"),
        code::INTERNAL => ("'{}' Internal Server Error", "'{}' 服务器内部错误"),
        _ => ("Unknown or unrecognized error", "未知或未能识别的异常"),
    }
}
