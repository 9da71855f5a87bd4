//! The names of a row's fields: their own, the API's, those of CMDB's page, or what `--map` says. They are
//! the same for the columns of a table and the keys of an object.

use super::error::InputError;
use crate::association::Column;

pub(super) struct Columns {
    mapped: [Option<String>; Column::ALL.len()],
}

impl Columns {
    pub(super) fn new(map: &[(Column, String)]) -> Result<Self, InputError> {
        for (index, (column, name)) in map.iter().enumerate() {
            let clash = |(other, taken): &&(Column, String)| other == column || same(taken, name);
            if let Some((other, taken)) = map[..index].iter().find(clash) {
                return Err(InputError::MapTwice {
                    fields: [*other, *column],
                    first: taken.clone(),
                    second: name.clone(),
                });
            }
        }
        let named = |column| map.iter().find(|(field, _)| *field == column);
        Ok(Self { mapped: Column::ALL.map(|column| named(column).map(|(_, name)| name.clone())) })
    }

    /// The name that `--map` gives a field, which then has no other name.
    pub(super) fn mapped(&self, column: Column) -> Option<&str> {
        self.mapped[column as usize].as_deref()
    }

    /// Whether `--map` gives any field another name.
    pub(super) fn are_mapped(&self) -> bool {
        self.mapped.iter().any(Option::is_some)
    }

    /// The field that a name stands for. Case and surrounding spaces don't matter.
    pub(super) fn field(&self, name: &str) -> Option<Column> {
        let is_mapped = |column: &Column| self.mapped(*column).is_some_and(|own| same(own, name));
        let is_own = |column: &Column| {
            self.mapped(*column).is_none()
                && (same(column.name(), name)
                    || column.other_names().iter().any(|other| same(other, name)))
        };
        let mut all = Column::ALL.into_iter();
        all.clone().find(is_mapped).or_else(|| all.find(is_own))
    }
}

fn same(a: &str, b: &str) -> bool {
    a.trim().eq_ignore_ascii_case(b.trim())
}

/// The columns that only a results file has, and those that only a plan has.
const RESULTS: [&str; 3] = ["status", "association_id", "finished_at"];
const PLAN: [&str; 4] = ["action", "association_id", "reason", "asked"];

/// Refuses the columns of what we wrote for another command.
pub(super) fn refuse_our_own(names: &[String], file: &str) -> Result<(), InputError> {
    let has = |wanted: &str| names.iter().any(|name| name == wanted);
    let file = || file.to_owned();
    if RESULTS.into_iter().all(has) {
        return Err(InputError::Results { file: file() });
    }
    if PLAN.into_iter().all(has) {
        return Err(InputError::Plan { file: file() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(map: &[(Column, &str)]) -> Result<Columns, InputError> {
        let map: Vec<_> = map.iter().map(|(c, n)| (*c, (*n).to_owned())).collect();
        Columns::new(&map)
    }

    #[test]
    fn both_spellings_are_known_whatever_their_case_and_spaces() {
        let columns = columns(&[]).unwrap();
        for (name, field) in [
            ("obj_asst_id", Some(Column::ObjAsstId)),
            ("bk_obj_asst_id", Some(Column::ObjAsstId)),
            (" Inst_ID ", Some(Column::InstId)),
            ("BK_ASST_INST_ID", Some(Column::AsstInstId)),
            ("bk_biz_id", Some(Column::BizId)),
            ("Source", Some(Column::Source)),
            ("目标实例", Some(Column::Target)),
            ("关联标识", Some(Column::ObjAsstId)),
            (" 操作 ", Some(Column::Action)),
            ("biz", None),
            ("", None),
        ] {
            assert_eq!(columns.field(name), field, "{name:?}");
        }
    }

    #[test]
    fn a_mapped_field_goes_by_no_other_name_and_takes_the_name_from_others() {
        let columns =
            columns(&[(Column::InstId, "源实例"), (Column::BizId, "bk_asst_inst_id")]).unwrap();
        assert_eq!(columns.field("源实例"), Some(Column::InstId));
        assert_eq!(columns.field("source"), Some(Column::Source));
        assert_eq!(columns.field("inst_id"), None);
        assert_eq!(columns.field("bk_asst_inst_id"), Some(Column::BizId));
        assert_eq!(columns.field("asst_inst_id"), Some(Column::AsstInstId));
    }

    #[test]
    fn maps_that_contradict_each_other_are_refused() {
        let error = columns(&[(Column::InstId, "a"), (Column::InstId, "b")]);
        assert_eq!(
            error.err().unwrap().to_string(),
            "--map inst_id=a and --map inst_id=b contradict each other"
        );
        let error = columns(&[(Column::InstId, "a"), (Column::AsstInstId, "A")]);
        assert!(error.err().unwrap().is_usage());
    }
}
