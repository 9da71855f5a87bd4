//! What became of a row: status, reason, and the record of it.
//!
//! Owns the closed lists that results show. Knows nothing of how an outcome was reached or where it
//! is written.

use serde::{Deserialize, Serialize};

use crate::association::{Cells, Row};

/// How a row ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// A call of this run created it, and the server named its id.
    Created,
    /// It existed, and not because of this line.
    Existed,
    /// It was found on the server after a call for it went in doubt.
    Recovered,
    /// It does not exist, or nobody can tell; the reason says which.
    Failed,
    /// The line holds no association; no call was made.
    Invalid,
    /// It was seen, deleted, and seen gone.
    Deleted,
    /// It was to be deleted, and was not there.
    Absent,
    /// Not settled, and never sent. Only in the results of an unfinished run or a check.
    NotAttempted,
    /// Not settled, and may have been sent. Only in the results of an unfinished run.
    InDoubt,
}

impl Status {
    /// All of them, in the order in which a summary shows them.
    pub const ALL: [Self; 9] = [
        Self::Created,
        Self::Existed,
        Self::Recovered,
        Self::Deleted,
        Self::Absent,
        Self::Failed,
        Self::Invalid,
        Self::InDoubt,
        Self::NotAttempted,
    ];

    /// The word that results show.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Existed => "existed",
            Self::Recovered => "recovered",
            Self::Failed => "failed",
            Self::Invalid => "invalid",
            Self::Deleted => "deleted",
            Self::Absent => "absent",
            Self::NotAttempted => "not_attempted",
            Self::InDoubt => "in_doubt",
        }
    }

    /// Reads the word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }

    /// Whether the association exists (or is gone), as asked.
    pub const fn is_good(self) -> bool {
        matches!(
            self,
            Self::Created | Self::Existed | Self::Recovered | Self::Deleted | Self::Absent
        )
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $text:literal, $retryable:literal;)*) => {
        /// Why a row did not end well: a closed list.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum Reason {
            $($(#[$doc])* #[serde(rename = $text)] $variant,)*
        }

        impl Reason {
            /// The whole list.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The word that results show.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }

            /// Whether the same row may succeed later, unchanged.
            pub const fn retryable(self) -> bool {
                match self { $(Self::$variant => $retryable),* }
            }
        }
    };
}

reasons! {
    /// The line holds no association.
    InvalidRow = "invalid-row", false;
    /// No business id, where one is sent.
    MissingBizId = "missing-biz-id", false;
    /// The row asks for something else than a create. Results don't say for what, so it is never taken up
    /// from them.
    UnsupportedAction = "unsupported-action", false;
    /// The model association does not exist, or this app may not see it.
    UnknownAssociation = "unknown-association", false;
    /// It belongs to the business topology.
    MainlineAssociation = "mainline-association", false;
    /// The source instance does not exist.
    MissingSource = "missing-source", false;
    /// The target instance does not exist.
    MissingTarget = "missing-target", false;
    /// The source's name fits several instances.
    AmbiguousSource = "ambiguous-source", false;
    /// The target's name fits several instances.
    AmbiguousTarget = "ambiguous-target", false;
    /// A name for which this entrance, or this CMDB, has no call.
    Unresolvable = "unresolvable", false;
    /// Another association is in the way of a 1:1 or 1:n rule.
    MappingConflict = "mapping-conflict", false;
    /// No permission for these instances.
    Forbidden = "forbidden", false;
    /// The server refuses this row for good.
    Rejected = "rejected", false;
    /// The server's limit.
    Throttled = "throttled", true;
    /// No answer, and surely nothing done.
    Unavailable = "unavailable", true;
    /// The server's lock was held each time.
    LockContention = "lock-contention", true;
    /// It may exist: no answer told, and the last look did not find it.
    OutcomeUnknown = "outcome-unknown", true;
    /// Undo: no such association any more.
    NotFound = "not-found", false;
    /// A delete: the id belongs to another association now, or the association has another id.
    NotTheSame = "not-the-same", false;
    /// It was to be deleted to make room for another row, which can't be created.
    Withheld = "withheld", false;
}

impl Reason {
    /// Whether the line holds nothing that could be sent: its status is `invalid`.
    pub const fn is_of_invalid_row(self) -> bool {
        matches!(self, Self::InvalidRow | Self::MissingBizId | Self::UnsupportedAction)
    }

    /// Reads the word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| reason.as_str() == text)
    }
}

/// The final outcome of a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// How it ended.
    pub status: Status,
    /// The server's id, for rows that ended well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub association_id: Option<i64>,
    /// Why it did not end well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Whether a rerun takes it without being told to.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub retryable: bool,
    /// The server's number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<i64>,
    /// A text of the server or of bkassoc, cleaned of control characters and secrets.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Creates charged to the row.
    #[serde(default)]
    pub attempts: u32,
    /// The request id of the answer that decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Milliseconds since 1970, UTC.
    pub finished_at: i64,
}

impl Outcome {
    /// The outcome of a row that ended well.
    pub fn good(status: Status, association_id: i64, attempts: u32, finished_at: i64) -> Self {
        Self {
            status,
            association_id: Some(association_id),
            reason: None,
            retryable: false,
            code: None,
            message: String::new(),
            attempts,
            request_id: None,
            finished_at,
        }
    }

    /// The outcome of a row whose association was to be deleted, and was not there.
    pub const fn absent() -> Self {
        Self {
            status: Status::Absent,
            association_id: None,
            reason: None,
            retryable: false,
            code: None,
            message: String::new(),
            attempts: 0,
            request_id: None,
            finished_at: 0,
        }
    }

    /// The outcome of a row that is not settled, in an unfinished run or a check.
    pub const fn open(status: Status, message: String) -> Self {
        Self {
            status,
            association_id: None,
            reason: None,
            retryable: true,
            code: None,
            message,
            attempts: 0,
            request_id: None,
            finished_at: 0,
        }
    }

    /// The outcome of a row that ended badly: `invalid` if it holds no association, else `failed`.
    pub fn bad(reason: Reason, message: String, attempts: u32, finished_at: i64) -> Self {
        let status = if reason.is_of_invalid_row() { Status::Invalid } else { Status::Failed };
        Self {
            status,
            association_id: None,
            reason: Some(reason),
            retryable: reason.retryable(),
            code: None,
            message,
            attempts,
            request_id: None,
            finished_at,
        }
    }
}

/// A row with its outcome, as the journal keeps it and results show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The row's place over all inputs, from 0.
    pub ordinal: u64,
    /// The input's place among all inputs, from 0.
    pub file: u32,
    /// The line of its file where the row starts. 0: it is in no input, and a sync deletes it.
    pub line: u64,
    /// The input's text.
    pub cells: Cells,
    /// What became of it.
    pub outcome: Outcome,
}

impl Record {
    /// The record of a row.
    pub fn of(row: Row, outcome: Outcome) -> Self {
        let Row { ordinal, file, line, cells, .. } = row;
        Self { ordinal, file, line, cells, outcome }
    }
}
