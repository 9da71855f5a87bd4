//! What is imported: an association, the ids it is made of, and the row of input it came from.
//!
//! Owns the rule of what an id is. Knows nothing of files, servers or outcomes.

use std::fmt;
use std::num::NonZeroU64;
use std::sync::Arc;

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

impl fmt::Display for Association {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} -> {}", self.obj_asst_id, self.inst_id, self.asst_inst_id)
    }
}

/// The four columns that make a row, in the order in which results show them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Column {
    /// `obj_asst_id`
    ObjAsstId,
    /// `inst_id`
    InstId,
    /// `asst_inst_id`
    AsstInstId,
    /// `biz_id`
    BizId,
}

impl Column {
    /// All four, in order.
    pub const ALL: [Self; 4] = [Self::ObjAsstId, Self::InstId, Self::AsstInstId, Self::BizId];

    /// The column's name in input and results.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ObjAsstId => "obj_asst_id",
            Self::InstId => "inst_id",
            Self::AsstInstId => "asst_inst_id",
            Self::BizId => "biz_id",
        }
    }

    /// The name the API gives it, which input may use too.
    pub const fn api_name(self) -> &'static str {
        match self {
            Self::ObjAsstId => "bk_obj_asst_id",
            Self::InstId => "bk_inst_id",
            Self::AsstInstId => "bk_asst_inst_id",
            Self::BizId => "bk_biz_id",
        }
    }
}

/// The texts of a row's four columns as they stood in the input, in one allocation.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Cells {
    text: Box<str>,
    ends: [u32; 3],
}

impl Cells {
    /// The cells of four texts, in the order of [`Column::ALL`].
    pub fn new(texts: [&str; 4]) -> Self {
        let mut ends = [0; 3];
        let mut end = 0;
        for (slot, text) in ends.iter_mut().zip(texts) {
            end += text.len() as u32;
            *slot = end;
        }
        Self { text: texts.concat().into_boxed_str(), ends }
    }

    /// One cell's text.
    pub fn get(&self, column: Column) -> &str {
        let [a, b, c] = self.ends.map(|end| end as usize);
        match column {
            Column::ObjAsstId => &self.text[..a],
            Column::InstId => &self.text[a..b],
            Column::AsstInstId => &self.text[b..c],
            Column::BizId => &self.text[c..],
        }
    }

    /// All four texts, in the order of [`Column::ALL`].
    pub fn all(&self) -> [&str; 4] {
        Column::ALL.map(|column| self.get(column))
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
    /// The line is no row: broken JSON, too few cells.
    #[error("{0}")]
    Broken(Box<str>),
}

/// What is sent for a row: the association, and the business in whose name it is created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAssociation {
    /// What to create.
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
    /// The line of its file where the row starts; the header is line 1.
    pub line: u64,
    /// The input's text.
    pub cells: Cells,
    /// The association that the text says, or why it says none.
    pub parsed: Result<NewAssociation, RowError>,
}

impl Row {
    /// A short hash of the row's parsed values, or of its text if it has none. It proves, when a run goes
    /// on, that a marked row is still the same.
    pub fn fingerprint(&self) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        match &self.parsed {
            Ok(NewAssociation { association, biz_id }) => {
                hasher.update(association.obj_asst_id.as_bytes());
                hasher.update(&[0]);
                hasher.update(&association.inst_id.get().to_le_bytes());
                hasher.update(&association.asst_inst_id.get().to_le_bytes());
                hasher.update(&biz_id.map_or(0, InstId::get).to_le_bytes());
            }
            Err(_) => {
                for text in self.cells.all() {
                    hasher.update(text.as_bytes());
                    hasher.update(&[0xff]);
                }
            }
        }
        hasher.finalize()
    }
}

/// The rule of a model association: with how many instances one instance may be associated
/// (docs/cmdb-api.md#mapping-rules).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mapping {
    /// `1:1`
    OneToOne,
    /// `1:n`: a target has one source.
    OneToMany,
    /// `n:n`
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
        assert_eq!(Cells::new(texts).all(), texts);
    }
}
