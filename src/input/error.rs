//! Why input can't be read at all. A bad row is not among it: that is an
//! [`association::RowError`](crate::association::RowError).

use std::{fmt, io};

use crate::association::Column;

/// Why input can't be read, or can't be read on.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// The header lacks columns.
    #[error("{file}: no column {}; {found}. {}", names(.missing), advice(.missing))]
    MissingColumns {
        /// Where.
        file: String,
        /// The fields without a column; never empty.
        missing: Vec<Column>,
        /// What the header has, as a clause.
        found: String,
    },
    /// Two columns mean the same field.
    #[error(
        "{file}: columns {first:?} and {second:?} both mean {field}; choose one with \
         --map {field}=COLUMN",
        field = .column.name()
    )]
    Ambiguous {
        /// Where.
        file: String,
        /// The field.
        column: Column,
        /// One name.
        first: String,
        /// The other name, or the same once more.
        second: String,
    },
    /// `--map` names a column that is not there.
    #[error("{file}: --map {}={name}: there is no such column; {found}", .column.name())]
    UnknownMapped {
        /// Where.
        file: String,
        /// The field.
        column: Column,
        /// The name asked for.
        name: String,
        /// What the header has, as a clause.
        found: String,
    },
    /// `--map` says two things about one field or one column.
    #[error(
        "--map {}={first} and --map {}={second} contradict each other",
        .fields[0].name(),
        .fields[1].name()
    )]
    MapTwice {
        /// The two fields, or one twice.
        fields: [Column; 2],
        /// The name given first.
        first: String,
        /// The name given then.
        second: String,
    },
    /// A results file was given as input.
    #[error("{file}: is a results file; to settle its rows again use `bkassoc rerun {file}`")]
    Results {
        /// Where.
        file: String,
    },
    /// JSON, but not one object a line.
    #[error(
        "{file}: is one JSON array; rows are one object a line, as `jq -c '.[]' {file}` writes them"
    )]
    JsonArray {
        /// Where.
        file: String,
    },
    /// `-` is among the inputs twice.
    #[error("standard input (-) can be read only once")]
    StdinTwice,
    /// A folder.
    #[error("{file}: is a folder; name the files in it")]
    Folder {
        /// Where.
        file: String,
    },
    /// It can't be opened.
    #[error("{file}: can't be read: {error}")]
    Unreadable {
        /// Where.
        file: String,
        /// What the system said.
        error: io::Error,
    },
    /// Reading broke off: the disk, the compression or the encoding.
    #[error("{file}: line {line}: {error}")]
    Broken {
        /// Where.
        file: String,
        /// The line that could not be read whole.
        line: u64,
        /// What is wrong.
        error: io::Error,
    },
    /// It was fine when all inputs were opened, and is not now that its turn has come.
    #[error("{error} (it was different when this run opened it)")]
    Changed {
        /// What is wrong with it now.
        error: Box<Self>,
    },
    /// More than 1 MiB in one row.
    #[error(
        "{file}: line {line}: the row that starts here is longer than 1 MiB; is a quote never \
         closed?"
    )]
    TooLong {
        /// Where.
        file: String,
        /// Where the row starts.
        line: u64,
    },
    /// The file ends inside quotes, so that nobody can tell which rows were swallowed.
    #[error(
        "{file}: line {line}: a quote opened in the row that starts here is never closed; close \
         it, or double it if it is part of the text"
    )]
    OpenQuote {
        /// Where.
        file: String,
        /// Where the row starts.
        line: u64,
    },
}

impl InputError {
    /// Whether the user's command or the shape of the input is at fault (exit 2), rather than that
    /// the input can't be read (exit 7). Only [`Reader::open`](super::Reader::open) gives such
    /// errors, so nothing was sent yet.
    pub fn is_usage(&self) -> bool {
        match self {
            Self::MissingColumns { .. }
            | Self::Ambiguous { .. }
            | Self::UnknownMapped { .. }
            | Self::MapTwice { .. }
            | Self::Results { .. }
            | Self::JsonArray { .. }
            | Self::StdinTwice => true,
            Self::Folder { .. }
            | Self::Unreadable { .. }
            | Self::Broken { .. }
            | Self::Changed { .. }
            | Self::TooLong { .. }
            | Self::OpenQuote { .. } => false,
        }
    }

    pub(super) fn unreadable(source: &impl fmt::Display, error: io::Error) -> Self {
        Self::Unreadable { file: source.to_string(), error }
    }
}

fn names(columns: &[Column]) -> String {
    let names: Vec<_> = columns.iter().map(|column| column.name()).collect();
    names.join(", ")
}

fn advice(missing: &[Column]) -> String {
    let column = missing.first().map_or("FIELD", |column| column.name());
    let map = format!("If a column has another name: --map {column}=COLUMN");
    if missing.contains(&Column::BizId) {
        return map
            + "; if all rows are of one business: --biz-id N; if it is not to be sent: --send-biz-id never";
    }
    map
}
