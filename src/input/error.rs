//! Why input can't be read at all. A bad row is no such error, but an
//! [`association::RowError`](crate::association::RowError).

use std::{fmt, io};

use crate::association::Column;
use crate::options::Format;

/// Why input can't be read, or can't be read on.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// The header lacks columns.
    #[error("{file}: no column {}; {found}. {}", missing_names(.missing), advice(.missing))]
    MissingColumns {
        /// The input's name.
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
        /// The input's name.
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
        /// The input's name.
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
        /// The first name.
        first: String,
        /// The second name.
        second: String,
    },
    /// A results file was given as input.
    #[error("{file}: is a results file; to settle its rows again use `bkassoc rerun {file}`")]
    Results {
        /// The input's name.
        file: String,
    },
    /// A plan was given as input.
    #[error("{file}: is a plan; `bkassoc apply {file}` carries it out")]
    Plan {
        /// The input's name.
        file: String,
    },
    /// The first line is a row.
    #[error(
        "{file}: line {line} looks like a row, and a header is missing. If there is none: --no-header; \
         columns are then {}, in this order",
        names(&Column::IDS)
    )]
    NoHeader {
        /// The input's name.
        file: String,
        /// The row's line.
        line: u64,
    },
    /// The first line is a header, and there should be none.
    #[error("{file}: line {line} is a header: leave --no-header out")]
    UnwantedHeader {
        /// The input's name.
        file: String,
        /// The header's line.
        line: u64,
    },
    /// A table without a header is too narrow.
    #[error(
        "{file}: line {line} has {cells} cells. Without a header, columns are {}, in this order; {}",
        names(&Column::IDS),
        advice(&Column::IDS[3..(*needed).max(3)])
    )]
    FewColumns {
        /// The input's name.
        file: String,
        /// The first row's line.
        line: u64,
        /// The number of its cells.
        cells: usize,
        /// The number that a row needs.
        needed: usize,
    },
    /// JSON, but not one object on each line.
    #[error("{file}: {found}; rows are one object a line, as `{command}` writes them")]
    JsonShape {
        /// The input's name.
        file: String,
        /// What it is.
        found: String,
        /// What makes lines of it.
        command: String,
    },
    /// A workbook where there should be none, or the other way round.
    #[error("{file}: {}", not_as_said(*.is_workbook, *.format))]
    Workbook {
        /// The input's name.
        file: String,
        /// Whether it is one.
        is_workbook: bool,
        /// What `--input-format` says.
        format: Option<Format>,
    },
    /// `--sheet` names no sheet.
    #[error("{file}: there is no sheet {sheet:?}; it has {}", listed(.found))]
    NoSuchSheet {
        /// The input's name.
        file: String,
        /// The name asked for.
        sheet: String,
        /// Those there are.
        found: Vec<String>,
    },
    /// `-` is among the inputs twice.
    #[error("standard input (-) can be read only once")]
    StdinTwice,
    /// The input is a folder.
    #[error("{file}: is a folder; name the files in it")]
    Folder {
        /// The input's name.
        file: String,
    },
    /// The input can't be opened.
    #[error("{file}: can't be read: {error}")]
    Unreadable {
        /// The input's name.
        file: String,
        /// The system's error.
        error: io::Error,
    },
    /// Reading broke off: the disk, the compression or the encoding.
    #[error("{file}: line {line}: {error}")]
    Broken {
        /// The input's name.
        file: String,
        /// The line that could not be read whole.
        line: u64,
        /// What is wrong.
        error: io::Error,
    },
    /// The input was fine when all inputs were opened, and no longer is when its turn has come.
    #[error("{error} (it was different when this run opened it)")]
    Changed {
        /// What is wrong now.
        error: Box<Self>,
    },
    /// More than 1 MiB in one row.
    #[error(
        "{file}: line {line}: the row that starts here is longer than 1 MiB; is a quote never \
         closed?"
    )]
    TooLong {
        /// The input's name.
        file: String,
        /// The line where the row starts.
        line: u64,
    },
    /// The file ends inside quotes, which may have swallowed any number of rows.
    #[error(
        "{file}: line {line}: a quote opened in the row that starts here is never closed; close \
         it, or double it if it is part of the text"
    )]
    OpenQuote {
        /// The input's name.
        file: String,
        /// The line where the row starts.
        line: u64,
    },
}

impl InputError {
    /// Whether the command or the shape of the input is at fault (exit 2), and not that the input
    /// can't be read (exit 7). Only [`Reader::open`](super::Reader::open) gives such errors, so nothing
    /// was sent yet.
    pub fn is_usage(&self) -> bool {
        match self {
            Self::MissingColumns { .. }
            | Self::Ambiguous { .. }
            | Self::UnknownMapped { .. }
            | Self::MapTwice { .. }
            | Self::Results { .. }
            | Self::Plan { .. }
            | Self::NoHeader { .. }
            | Self::UnwantedHeader { .. }
            | Self::FewColumns { .. }
            | Self::JsonShape { .. }
            | Self::Workbook { .. }
            | Self::NoSuchSheet { .. }
            | Self::StdinTwice => true,
            Self::Folder { .. }
            | Self::Unreadable { .. }
            | Self::Broken { .. }
            | Self::Changed { .. }
            | Self::TooLong { .. }
            | Self::OpenQuote { .. } => false,
        }
    }

    /// JSON of which jq makes lines with this filter.
    pub(super) fn json_shape(file: &str, found: impl Into<String>, filter: &str) -> Self {
        let command = match file {
            // jq reads standard input by itself.
            "-" => format!("jq -c {filter}"),
            _ => format!("jq -c {filter} {file}"),
        };
        Self::JsonShape { file: file.to_owned(), found: found.into(), command }
    }

    pub(super) fn unreadable(source: &impl fmt::Display, error: io::Error) -> Self {
        Self::Unreadable { file: source.to_string(), error }
    }
}

fn not_as_said(is_workbook: bool, format: Option<Format>) -> String {
    match format {
        Some(format) if is_workbook => {
            format!("is an Excel workbook: leave --input-format {} out", format.as_str())
        }
        Some(_) => "is no Excel workbook (.xlsx): leave --input-format out".to_owned(),
        None => "is no Excel workbook (.xlsx): leave --sheet out".to_owned(),
    }
}

/// How many names a message lists.
const LISTED: usize = 20;

fn listed(names: &[String]) -> String {
    let shown: Vec<_> =
        names.iter().take(LISTED).map(|name| format!("{:?}", shown(name))).collect();
    match names.len().saturating_sub(LISTED) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// A name for a message, cut if it is long.
fn shown(name: &str) -> &str {
    name.char_indices().nth(60).map_or(name, |(end, _)| &name[..end])
}

fn names(columns: &[Column]) -> String {
    let names: Vec<_> = columns.iter().map(|column| column.name()).collect();
    names.join(", ")
}

/// The same, with the columns that may stand in their place.
fn missing_names(columns: &[Column]) -> String {
    let names = columns.iter().map(|column| match column {
        Column::InstId => "inst_id (or source, for names)",
        Column::AsstInstId => "asst_inst_id (or target, for names)",
        other => other.name(),
    });
    names.collect::<Vec<_>>().join(", ")
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
