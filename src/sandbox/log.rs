//! The rows on disk: an append-only file that survives the sandbox's restart.
//!
//! Owns the file's format: a heading, then `+ ID OBJ_ASST_ID SOURCE TARGET` for each created row,
//! with ` half` behind it where it is in the source model's table only, and `- ID` for each deleted one. A last line without its end was torn by a crash and is cut off. Lines reach
//! the operating system one by one; a power loss may take some.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use super::models::Models;
use super::rows::{Row, Store};

const HEADING: &str = "bkassoc sandbox 1";

/// The open file.
#[derive(Debug)]
pub(super) struct Log {
    file: File,
}

/// Why a data file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file can't be opened, read or written.
    #[error("{path}: {source}", path = .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Not written by a sandbox, or damaged.
    #[error("{path}: line {line}: {what}", path = .path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Where.
        line: u64,
        /// What is wrong.
        what: String,
    },
}

impl Log {
    /// Opens or creates the file and reads its rows. Says whether it was new.
    pub(super) fn open(
        path: &Path,
        models: &Models,
        rows: &mut Store,
    ) -> Result<(Self, bool), LogError> {
        let failed = |source| LogError::Io { path: path.to_owned(), source };
        let mut options = OpenOptions::new();
        let options = options.read(true).append(true).create(true);
        let file = options.open(path).map_err(failed)?;
        let whole = replay(&file, path, models, rows)?;
        file.set_len(whole).map_err(failed)?;
        let mut log = Self { file };
        if whole == 0 {
            log.line(HEADING).map_err(failed)?;
        }
        Ok((log, whole == 0))
    }

    pub(super) fn created(
        &mut self,
        id: u32,
        row: Row,
        half: bool,
        models: &Models,
    ) -> io::Result<()> {
        let name = &models.get(row.table).model.obj_asst_id;
        let half = if half { " half" } else { "" };
        self.line(&format!("+ {id} {name} {} {}{half}", row.source, row.target))
    }

    pub(super) fn deleted(&mut self, id: i64) -> io::Result<()> {
        self.line(&format!("- {id}"))
    }

    fn line(&mut self, line: &str) -> io::Result<()> {
        self.file.write_all(format!("{line}\n").as_bytes())
    }
}

/// Applies every whole line; returns how many bytes they take.
fn replay(file: &File, path: &Path, models: &Models, rows: &mut Store) -> Result<u64, LogError> {
    let mut reader = BufReader::new(file);
    let (mut text, mut whole) = (String::new(), 0);
    for line in 1.. {
        text.clear();
        let read = reader
            .read_line(&mut text)
            .map_err(|source| LogError::Io { path: path.to_owned(), source })?;
        let Some(record) = text.strip_suffix('\n') else {
            break;
        };
        let applied = match line {
            1 if record == HEADING => Ok(()),
            1 => Err("is not the beginning of a sandbox's data file".to_owned()),
            _ => apply(record, models, rows),
        };
        applied.map_err(|what| LogError::Line { path: path.to_owned(), line, what })?;
        whole += read as u64;
    }
    Ok(whole)
}

fn apply(record: &str, models: &Models, rows: &mut Store) -> Result<(), String> {
    let unreadable = || format!("{record:?} is no record");
    let parts: Vec<_> = record.split(' ').collect();
    match parts.as_slice() {
        ["+", id, name, source, target, half @ ..] if matches!(half, [] | ["half"]) => {
            let table = models.table(name).ok_or_else(|| {
                format!("{name} is not among the models; take the models file it was written with")
            })?;
            let id: u32 = id.parse().map_err(|_| unreadable())?;
            if id < rows.next_id() {
                return Err(format!("id {id} is not greater than those before"));
            }
            rows.skip_to(id);
            rows.insert(Row {
                source: source.parse().map_err(|_| unreadable())?,
                target: target.parse().map_err(|_| unreadable())?,
                table,
            });
            if !half.is_empty() {
                rows.halve(id);
            }
        }
        ["-", id] => {
            rows.remove(id.parse().map_err(|_| unreadable())?);
        }
        _ => return Err(unreadable()),
    }
    Ok(())
}
