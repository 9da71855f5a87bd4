//! Makes a row of its texts: what each cell may hold, and what the row says.

use std::sync::Arc;

use crate::association::{
    Action, Association, Cells, Column, InstId, Named, NewAssociation, Row, RowError,
};

/// The longest name of a model association that is sent, in bytes.
const MAX_NAME: usize = 256;

/// How much of a value a message shows, in characters.
const SHOWN: usize = 60;

/// How many names of model associations are kept to be shared by rows.
const NAMES: usize = 32;

/// What a row must say, and may.
#[derive(Clone, Copy)]
struct Rules {
    /// Whether a row that creates needs a business id.
    require_biz_id: bool,
    /// What a row asks for that does not say it.
    action: Action,
    allow_delete: bool,
}

/// Makes rows of texts and counts them, over all inputs.
pub struct RowParser {
    default_biz_id: Option<String>,
    rules: Rules,
    names: Names,
    ordinal: u64,
    file: u32,
    blank_rows: u64,
    /// The first row of blank cells before the row given last.
    blank_before: Option<Row>,
    /// The first row of blank cells after it.
    blank_after: Option<Row>,
}

impl RowParser {
    /// Takes the business id for rows that have none, and whether a row needs one. Rows are creates.
    pub fn new(default_biz_id: Option<InstId>, require_biz_id: bool) -> Self {
        Self {
            default_biz_id: default_biz_id.map(|id| id.to_string()),
            rules: Rules { require_biz_id, action: Action::Create, allow_delete: false },
            names: Names::default(),
            ordinal: 0,
            file: 0,
            blank_rows: 0,
            blank_before: None,
            blank_after: None,
        }
    }

    /// Takes what a row asks for that does not say it, and whether rows may ask for a delete.
    #[must_use]
    pub fn with_actions(mut self, action: Action, allow_delete: bool) -> Self {
        self.rules = Rules { action, allow_delete, ..self.rules };
        self
    }

    /// Counts rows of blank cells, which are skipped.
    pub(super) fn skip_blank(&mut self, count: u64) {
        self.blank_rows += count;
    }

    /// The row made last has only blank cells, and so is none.
    pub(super) fn take_back_blank(&mut self, row: Row) {
        self.ordinal -= 1;
        self.blank_rows += 1;
        self.blank_after = self.blank_before.take().or(Some(row));
    }

    /// How many rows of blank cells were skipped.
    pub(super) fn blank_rows(&self) -> u64 {
        self.blank_rows
    }

    /// The first row of blank cells between the row made last and the one before.
    pub(super) fn blank_before(&self) -> Option<&Row> {
        self.blank_before.as_ref()
    }

    /// There is no row any more: what was blank after the last one stands before the end.
    pub(super) fn end(&mut self) {
        self.blank_before = self.blank_after.take();
    }

    /// Rows from here on belong to the next input.
    pub(super) fn next_file(&mut self) {
        self.file += 1;
    }

    /// The row of four texts, in the order of [`Column::IDS`].
    pub(super) fn row(&mut self, line: u64, texts: [&str; 4]) -> Row {
        let (cells, parsed) = match self.rules.action {
            Action::Create => self.read(texts),
            Action::Delete => self.read_named(texts, Named::default()),
        };
        self.number(line, cells, parsed)
    }

    /// The row of an input that has columns for names or actions.
    pub(super) fn named_row(&mut self, line: u64, texts: [&str; 4], named: Named) -> Row {
        let (cells, parsed) = self.read_named(texts, named);
        self.number(line, cells, parsed)
    }

    /// Parses four texts of a row that says nothing else, in the order of [`Column::IDS`]. The default business
    /// id is filled in.
    pub fn read(&mut self, texts: [&str; 4]) -> (Cells, Result<NewAssociation, RowError>) {
        let texts = with_default(self.default_biz_id.as_deref(), texts);
        let parsed = parse(&mut self.names, texts, self.rules.require_biz_id);
        (Cells::new(texts), parsed)
    }

    /// The same where a name may stand in the place of an id, [`RowError::Named`] where one does and nothing
    /// else is wrong, and where the row may ask for a delete. The word for what it asks is filled in where that
    /// is none and no create.
    pub fn read_named(
        &mut self,
        texts: [&str; 4],
        mut named: Named,
    ) -> (Cells, Result<NewAssociation, RowError>) {
        let texts = with_default(self.default_biz_id.as_deref(), texts);
        if self.rules.action == Action::Delete && named.action.trim().is_empty() {
            named.action = Action::Delete.as_str().into();
        }
        let parsed = parse_named(&mut self.names, texts, &named, self.rules);
        (Cells::with_names(texts, named), parsed)
    }

    /// An invalid row, with what is known of its texts.
    pub(super) fn bad(&mut self, line: u64, texts: [&str; 4], error: RowError) -> Row {
        self.number(line, Cells::new(texts), Err(error))
    }

    fn number(&mut self, line: u64, cells: Cells, parsed: Result<NewAssociation, RowError>) -> Row {
        let ordinal = self.ordinal;
        self.ordinal += 1;
        self.blank_before = self.blank_after.take();
        Row { ordinal, file: self.file, line, cells, parsed }
    }
}

fn parse(
    names: &mut Names,
    texts: [&str; 4],
    require_biz_id: bool,
) -> Result<NewAssociation, RowError> {
    let [name, inst_id, asst_inst_id, biz_id] = texts;
    let association = Association {
        obj_asst_id: names.get(name)?,
        inst_id: id(Column::InstId, inst_id)?,
        asst_inst_id: id(Column::AsstInstId, asst_inst_id)?,
    };
    let biz_id = match biz_id.trim() {
        "" if require_biz_id => return Err(RowError::MissingBizId),
        "" => None,
        _ => Some(id(Column::BizId, biz_id)?),
    };
    Ok(NewAssociation { association, biz_id })
}

/// An id that is filled in wins over a name.
fn parse_named(
    names: &mut Names,
    texts: [&str; 4],
    named: &Named,
    rules: Rules,
) -> Result<NewAssociation, RowError> {
    let action = match Action::parse(&named.action) {
        Some(Action::Delete) if !rules.allow_delete => return Err(RowError::Delete),
        Some(action) => action,
        None if named.action.trim().is_empty() => Action::Create,
        None => return Err(RowError::BadAction(shown(&named.action))),
    };
    let sides = [
        (Column::InstId, texts[1], Column::Source, &named.source),
        (Column::AsstInstId, texts[2], Column::Target, &named.target),
    ];
    let mut checked = texts;
    let mut first_named = None;
    for (place, (id_column, id_text, name_column, name)) in (1..).zip(sides) {
        if !id_text.trim().is_empty() {
            continue;
        }
        if name.trim().is_empty() {
            return Err(RowError::NoInstance { id: id_column, name: name_column });
        }
        // The other cells are held to the same rules, whatever this name means.
        checked[place] = "1";
        first_named = first_named.or(Some(RowError::Named { id: id_column, name: name_column }));
    }
    // A delete is in no business's name.
    let require_biz_id = rules.require_biz_id && action == Action::Create;
    let parsed = parse(names, checked, require_biz_id)?;
    first_named.map_or(Ok(parsed), Err)
}

fn with_default<'a>(default_biz_id: Option<&'a str>, texts: [&'a str; 4]) -> [&'a str; 4] {
    match (default_biz_id, texts) {
        (Some(default), [name, inst, asst_inst, biz]) if biz.trim().is_empty() => {
            [name, inst, asst_inst, default]
        }
        _ => texts,
    }
}

/// The names of the last model associations, which rows share.
#[derive(Default)]
struct Names(Vec<Arc<str>>);

impl Names {
    fn get(&mut self, text: &str) -> Result<Arc<str>, RowError> {
        let name = text.trim();
        if let Some(found) = self.0.iter().position(|known| **known == *name) {
            self.0.swap(0, found);
            return Ok(Arc::clone(&self.0[0]));
        }
        if name.is_empty() || name.len() > MAX_NAME || name.contains(char::is_control) {
            return Err(bad_name(text));
        }
        let name = Arc::from(name);
        self.0.truncate(NAMES - 1);
        self.0.insert(0, Arc::clone(&name));
        Ok(name)
    }
}

fn id(column: Column, text: &str) -> Result<InstId, RowError> {
    InstId::parse(text).map_err(|error| RowError::BadId { column, value: shown(text), error })
}

pub(super) fn bad_name(text: &str) -> RowError {
    RowError::BadName { value: shown(text) }
}

/// A text for a message, cut if it is long.
pub(crate) fn shown(text: &str) -> Box<str> {
    cut(text, SHOWN)
}

/// The first characters of a text, and `…` if there are more.
pub(super) fn cut(text: &str, characters: usize) -> Box<str> {
    match text.char_indices().nth(characters) {
        None => text.into(),
        Some((end, _)) => format!("{}…", &text[..end]).into(),
    }
}
