//! What is imported: an association, the ids it is made of, and the row of input it came from.
//!
//! Owns the rule of what an id is. Knows nothing of files, servers or outcomes.

use std::borrow::Cow;
use std::fmt;
use std::num::NonZeroU64;
use std::sync::Arc;

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An instance id or a business id: 1 to 2^63-1, exactly as the server's `int64` takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstId(NonZeroU64);

/// Why a text is not an id. Its message completes a sentence that names the column and the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Nothing but spaces.
    #[error("is empty")]
    Empty,
    /// Signs, fractions, exponents, formulas, digits of other scripts.
    #[error("is not a plain decimal integer")]
    NotPlain,
    /// 0.
    #[error("must be at least 1")]
    Zero,
    /// 2^63 and above.
    #[error("is larger than 9223372036854775807")]
    TooLarge,
}

impl InstId {
    /// The id of a number, if it is in range.
    pub fn new(value: u64) -> Result<Self, IdError> {
        let value = NonZeroU64::new(value).ok_or(IdError::Zero)?;
        if value.get() > i64::MAX as u64 {
            return Err(IdError::TooLarge);
        }
        Ok(Self(value))
    }

    /// Reads plain ASCII digits with surrounding spaces; nothing is ever rounded.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        let digits = text.trim();
        if digits.is_empty() {
            return Err(IdError::Empty);
        }
        if !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(IdError::NotPlain);
        }
        Self::new(digits.parse().map_err(|_| IdError::TooLarge)?)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for InstId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An association: its identity. Two rows with the same three values are the same association.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Association {
    /// `bk_obj_asst_id`, the model association it is an instance of.
    pub obj_asst_id: Arc<str>,
    /// `bk_inst_id`, the source.
    pub inst_id: InstId,
    /// `bk_asst_inst_id`, the target.
    pub asst_inst_id: InstId,
}

impl Association {
    /// Both ends: what tells it from others of its model association.
    pub fn pair(&self) -> (u64, u64) {
        (self.inst_id.get(), self.asst_inst_id.get())
    }
}

impl fmt::Display for Association {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} -> {}", self.obj_asst_id, self.inst_id, self.asst_inst_id)
    }
}

/// The columns that a row may have, in the order in which results show them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Column {
    /// `obj_asst_id`
    ObjAsstId,
    /// `inst_id`
    InstId,
    /// `asst_inst_id`
    AsstInstId,
    /// `biz_id`
    BizId,
    /// `source`: a name in the place of `inst_id`.
    Source,
    /// `target`: a name in the place of `asst_inst_id`.
    Target,
    /// `action`
    Action,
}

impl Column {
    /// The four that say an association, and that every results file has, in order.
    pub const IDS: [Self; 4] = [Self::ObjAsstId, Self::InstId, Self::AsstInstId, Self::BizId];

    /// Those that say something beside ids. Results have such a column where a row says something there.
    pub const BESIDE_IDS: [Self; 3] = [Self::Source, Self::Target, Self::Action];

    /// All of them, in order.
    pub const ALL: [Self; 7] = [
        Self::ObjAsstId,
        Self::InstId,
        Self::AsstInstId,
        Self::BizId,
        Self::Source,
        Self::Target,
        Self::Action,
    ];

    /// Whether it is one of [`Self::BESIDE_IDS`].
    pub const fn is_beside_ids(self) -> bool {
        matches!(self, Self::Source | Self::Target | Self::Action)
    }

    /// The column's name in input and results.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ObjAsstId => "obj_asst_id",
            Self::InstId => "inst_id",
            Self::AsstInstId => "asst_inst_id",
            Self::BizId => "biz_id",
            Self::Source => "source",
            Self::Target => "target",
            Self::Action => "action",
        }
    }

    /// Its other names in input: the API's first, then those of CMDB's own page.
    pub const fn other_names(self) -> &'static [&'static str] {
        match self {
            Self::ObjAsstId => &["bk_obj_asst_id", "关联标识"],
            Self::InstId => &["bk_inst_id"],
            Self::AsstInstId => &["bk_asst_inst_id"],
            Self::BizId => &["bk_biz_id"],
            Self::Source => &["src", "源实例"],
            Self::Target => &["dst", "目标实例"],
            Self::Action => &["操作"],
        }
    }
}

/// What a row asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Action {
    /// The association shall exist.
    #[default]
    Create,
    /// It shall be gone.
    Delete,
}

impl Action {
    /// The actions by their words.
    pub const WORDS: [(&str, Self); 2] =
        [(Self::Create.as_str(), Self::Create), (Self::Delete.as_str(), Self::Delete)];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Delete => "delete",
        }
    }

    /// Reads a cell: our words, those of CMDB's page, and what it shows in Chinese. The case of letters and
    /// spaces around don't matter. An empty one is no action.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let is_one_of = |words: &[&str]| words.iter().any(|word| word.eq_ignore_ascii_case(text));
        if is_one_of(&["create", "add", "新增"]) {
            Some(Self::Create)
        } else if is_one_of(&["delete", "删除"]) {
            Some(Self::Delete)
        } else {
            None
        }
    }
}

/// What a row says beside ids, as it stood in the input.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Named {
    /// The source's name.
    pub source: Box<str>,
    /// The target's name.
    pub target: Box<str>,
    /// The word for the action.
    pub action: Box<str>,
}

/// The texts of a row's columns as they stood in the input: those of ids in one allocation.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Cells {
    text: Box<str>,
    ends: [u32; 3],
    named: Option<Box<Named>>,
}

impl Cells {
    /// The cells of four texts, in the order of [`Column::IDS`].
    pub fn new(texts: [&str; 4]) -> Self {
        let mut ends = [0; 3];
        let mut end = 0;
        for (slot, text) in ends.iter_mut().zip(texts) {
            end += text.len() as u32;
            *slot = end;
        }
        Self { text: texts.concat().into_boxed_str(), ends, named: None }
    }

    /// The same with what the row says beside ids, where that is anything.
    pub fn with_names(texts: [&str; 4], named: Named) -> Self {
        let says_more = named != Named::default();
        Self { named: says_more.then(|| Box::new(named)), ..Self::new(texts) }
    }

    /// What the row says beside ids; `None` where that is nothing.
    pub fn named(&self) -> Option<&Named> {
        self.named.as_deref()
    }

    /// What the row asks for: a create, unless its word says otherwise.
    pub fn action(&self) -> Action {
        self.named().and_then(|named| Action::parse(&named.action)).unwrap_or_default()
    }

    /// The same names and action with other ids.
    #[must_use]
    pub fn with_ids(&self, texts: [&str; 4]) -> Self {
        Self { named: self.named.clone(), ..Self::new(texts) }
    }

    /// One cell's text.
    pub fn get(&self, column: Column) -> &str {
        let [a, b, c] = self.ends.map(|end| end as usize);
        let named = |text: fn(&Named) -> &str| self.named.as_deref().map_or("", text);
        match column {
            Column::ObjAsstId => &self.text[..a],
            Column::InstId => &self.text[a..b],
            Column::AsstInstId => &self.text[b..c],
            Column::BizId => &self.text[c..],
            Column::Source => named(|named| &named.source),
            Column::Target => named(|named| &named.target),
            Column::Action => named(|named| &named.action),
        }
    }

    /// The association as the texts say it, for a row that has no line to go by.
    pub fn triple(&self) -> String {
        let [name, source, target, _] = self.ids();
        format!("{name} {source} -> {target}")
    }

    /// The texts of ids, in the order of [`Column::IDS`].
    pub fn ids(&self) -> [&str; 4] {
        Column::IDS.map(|column| self.get(column))
    }
}

/// A list of texts: four, or seven where the row says something beside ids.
impl Serialize for Cells {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let columns = if self.named.is_some() { &Column::ALL[..] } else { &Column::IDS };
        serializer.collect_seq(columns.iter().map(|column| self.get(*column)))
    }
}

impl<'de> Deserialize<'de> for Cells {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Texts)
    }
}

/// Reads the texts without allocating each.
struct Texts;

impl<'de> Visitor<'de> for Texts {
    type Value = Cells;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("four or seven texts")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Cells, A::Error> {
        #[derive(Default, Deserialize)]
        struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
        let mut texts: [Text<'de>; Column::ALL.len()] = Default::default();
        let mut count = 0;
        while let Some(text) = seq.next_element::<Text<'de>>()? {
            let slot = texts.get_mut(count).ok_or_else(|| A::Error::invalid_length(8, &self))?;
            *slot = text;
            count += 1;
        }
        let [name, inst, asst_inst, biz, source, target, action] =
            texts.each_ref().map(|text| &*text.0);
        let ids = [name, inst, asst_inst, biz];
        match count {
            4 => Ok(Cells::new(ids)),
            7 => {
                let [source, target, action] = [source, target, action].map(Into::into);
                Ok(Cells::with_names(ids, Named { source, target, action }))
            }
            _ => Err(A::Error::invalid_length(count, &self)),
        }
    }
}

/// Why a row can't be sent. Costs no call; the row ends as `invalid`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    /// A cell that holds no id.
    #[error("column {column}: {value:?} {error}", column = .column.name())]
    BadId {
        /// The column.
        column: Column,
        /// The text, cut where it is long.
        value: Box<str>,
        /// What is wrong with it.
        error: IdError,
    },
    /// `obj_asst_id` is empty or no name.
    #[error("column obj_asst_id: {value:?} is not the name of a model association")]
    BadName {
        /// The text, cut where it is long.
        value: Box<str>,
    },
    /// No business id in the row and no default, where one is sent.
    #[error("column biz_id: is empty, and no --biz-id was given")]
    MissingBizId,
    /// A side that has neither an id nor a name.
    #[error("columns {} and {}: one of them must say which instance", .id.name(), .name.name())]
    NoInstance {
        /// The column for its id.
        id: Column,
        /// The column for its name.
        name: Column,
    },
    /// No action that there is.
    #[error("column action: {0:?} is neither create (add, 新增) nor delete (删除)")]
    BadAction(Box<str>),
    /// The row is to be deleted, and that was not allowed.
    #[error("column action: deletes need --allow-delete")]
    Delete,
    /// A side is named, and what the name means is not known.
    #[error(
        "column {}: this is a name, and the first line of the input has none: names are looked up before the \
         first write, where the first object has `source` or `target`, be it null", .name.name()
    )]
    Named {
        /// The column for its id.
        id: Column,
        /// The column for its name.
        name: Column,
    },
    /// The same, in a sheet, where rows are known by their cells.
    #[error("{cell}: {error}")]
    InCell {
        /// The cell, as `association!D7`.
        cell: Box<str>,
        /// What is wrong.
        error: Box<RowError>,
    },
    /// The line is no row: broken JSON, too few cells.
    #[error("{0}")]
    Broken(Box<str>),
}

impl RowError {
    /// The column that is at fault, if it is one.
    pub const fn column(&self) -> Option<Column> {
        match self {
            Self::BadId { column, .. } => Some(*column),
            Self::BadName { .. } => Some(Column::ObjAsstId),
            Self::MissingBizId => Some(Column::BizId),
            Self::NoInstance { name, .. } | Self::Named { name, .. } => Some(*name),
            Self::BadAction(_) | Self::Delete => Some(Column::Action),
            Self::InCell { .. } | Self::Broken(_) => None,
        }
    }
}

/// What a row says: the association, and the business in whose name it is created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAssociation {
    /// What to create, or to delete.
    pub association: Association,
    /// Context, never identity; goes out as `metadata.label.bk_biz_id`.
    pub biz_id: Option<InstId>,
}

/// One line of input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Counts rows over all inputs of a run, from 0.
    pub ordinal: u64,
    /// The input's place among all inputs, from 0.
    pub file: u32,
    /// The line of its file where the row starts; the header is line 1. 0: it is in no input, and a sync
    /// deletes it.
    pub line: u64,
    /// The input's text.
    pub cells: Cells,
    /// The association that the text says, or why it says none.
    pub parsed: Result<NewAssociation, RowError>,
}

impl Row {
    /// What it asks for. Where the cell for it was empty, the reader has put in what that stands for.
    pub fn action(&self) -> Action {
        self.cells.action()
    }

    /// A short hash of the row's parsed values, or of its text if it has none. It proves, when a run goes
    /// on, that a marked row is still the same.
    pub fn fingerprint(&self) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        if let Ok(NewAssociation { association, biz_id }) = &self.parsed {
            hasher.update(association.obj_asst_id.as_bytes());
            hasher.update(&[0]);
            hasher.update(&association.inst_id.get().to_le_bytes());
            hasher.update(&association.asst_inst_id.get().to_le_bytes());
            hasher.update(&biz_id.map_or(0, InstId::get).to_le_bytes());
            // Versions that knew creates alone took nothing else in.
            if self.action() == Action::Delete {
                hasher.update(Action::Delete.as_str().as_bytes());
            }
        } else {
            let texts = self.cells.named().map_or(Column::IDS.len(), |_| Column::ALL.len());
            for column in &Column::ALL[..texts] {
                hasher.update(self.cells.get(*column).as_bytes());
                hasher.update(&[0xff]);
            }
        }
        hasher.finalize()
    }
}

/// The rule of a model association: with how many instances one instance may be associated
/// (docs/cmdb-api.md#mapping-rules).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Mapping {
    /// `1:1`
    #[serde(rename = "1:1")]
    OneToOne,
    /// `1:n`: a target has one source.
    #[serde(rename = "1:n")]
    OneToMany,
    /// `n:n`
    #[serde(rename = "n:n")]
    ManyToMany,
}

impl Mapping {
    /// Reads the server's spelling.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "1:1" => Some(Self::OneToOne),
            "1:n" => Some(Self::OneToMany),
            "n:n" => Some(Self::ManyToMany),
            _ => None,
        }
    }

    /// The server's spelling.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OneToOne => "1:1",
            Self::OneToMany => "1:n",
            Self::ManyToMany => "n:n",
        }
    }
}

/// A model association: between which models, and under which rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelAssociation {
    /// `bk_obj_asst_id`
    pub obj_asst_id: Arc<str>,
    /// `bk_obj_id`, the source model.
    pub source: Arc<str>,
    /// `bk_asst_obj_id`, the target model.
    pub target: Arc<str>,
    /// The rule.
    pub mapping: Mapping,
    /// Whether the rule is a guess, since `--model` did not say it: the strictest one, good only for
    /// keeping rows apart.
    pub guessed: bool,
    /// Whether it is part of the business topology (`bk_asst_id` is `bk_mainline`), which no importer
    /// may change (docs/cmdb-api.md#create).
    pub mainline: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_exact_over_the_whole_range_and_nothing_else_is_an_id() {
        for (text, value) in [
            ("1", 1),
            (" 7 ", 7),
            ("9007199254740993", 9_007_199_254_740_993),
            ("9223372036854775807", i64::MAX as u64),
        ] {
            assert_eq!(InstId::parse(text).map(InstId::get), Ok(value), "{text}");
        }
        for (text, error) in [
            ("", IdError::Empty),
            ("0", IdError::Zero),
            ("-1", IdError::NotPlain),
            ("+5", IdError::NotPlain),
            ("1.0", IdError::NotPlain),
            ("1e3", IdError::NotPlain),
            ("1.2E+10", IdError::NotPlain),
            ("=\"12\"", IdError::NotPlain),
            ("١٢", IdError::NotPlain),
            ("9223372036854775808", IdError::TooLarge),
            ("99999999999999999999999", IdError::TooLarge),
        ] {
            assert_eq!(InstId::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn cells_give_back_what_was_put_in() {
        let texts = ["名", "", " 2", "3"];
        assert_eq!(Cells::new(texts).ids(), texts);
        let named = Named { source: "k=v".into(), target: "".into(), action: "add".into() };
        let cells = Cells::with_names(texts, named);
        let all = Column::ALL.map(|column| cells.get(column));
        assert_eq!(all, ["名", "", " 2", "3", "k=v", "", "add"]);
        assert_eq!(cells.with_ids(["a", "1", "2", ""]).get(Column::Source), "k=v");
    }

    #[test]
    fn an_action_is_one_of_five_words_whatever_its_case_and_spaces() {
        for (text, action) in [
            ("create", Some(Action::Create)),
            (" add ", Some(Action::Create)),
            ("新增", Some(Action::Create)),
            ("delete", Some(Action::Delete)),
            ("删除", Some(Action::Delete)),
            ("Delete ", Some(Action::Delete)),
            ("\tADD", Some(Action::Create)),
            ("\u{3000}删除\u{a0}", Some(Action::Delete)),
            ("deleted", None),
            ("de lete", None),
            ("0", None),
            ("", None),
            ("remove", None),
        ] {
            assert_eq!(Action::parse(text), action, "{text:?}");
        }
    }
}
