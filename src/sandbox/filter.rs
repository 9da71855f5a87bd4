//! A look-up's condition: the part of Mongo's and of the query builder's language that clients use.
//!
//! Owns the two grammars, and turns both into one form: a list of alternatives, each a list of terms that
//! must all hold. Knows nothing of rows.

use serde_json::{Map, Value};

use super::refusal::Refusal;
use crate::association::InstId;
use crate::cmdb::wire::{Pattern, code};

/// Any of these alternatives.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Filter(pub(super) Vec<Alternative>);

/// All of these terms.
#[derive(Clone, Debug, PartialEq, Default)]
pub(super) struct Alternative(Vec<Term>);

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Term {
    pub(super) field: String,
    pub(super) any_of: Vec<Value>,
}

/// How many layers of rules there may be (docs/cmdb-api.md#lists).
const DEPTH: usize = 3;

impl Alternative {
    pub(super) fn terms(&self) -> &[Term] {
        &self.0
    }

    /// The integers that a field may have; `None` where no term is about it.
    pub(super) fn integers(&self, field: &str) -> Option<Vec<i64>> {
        let term = self.0.iter().find(|term| term.field == field)?;
        Some(term.any_of.iter().filter_map(Value::as_i64).collect())
    }

    fn and(&self, other: &Self) -> Self {
        Self([self.0.as_slice(), other.0.as_slice()].concat())
    }
}

impl Filter {
    /// Lets everything through.
    pub(super) fn everything() -> Self {
        Self(vec![Alternative::default()])
    }

    /// The filter of bkassoc's own look-up.
    pub(super) fn of_patterns(obj_asst_id: &str, patterns: &[Pattern]) -> Self {
        let one = |pattern: &Pattern| {
            let source = |id: InstId| Term::equal("bk_inst_id", id.get().into());
            let target = |id: InstId| Term::equal("bk_asst_inst_id", id.get().into());
            let mut terms = vec![Term::equal("bk_obj_asst_id", obj_asst_id.into())];
            match *pattern {
                Pattern::Pair(from, to) => terms.extend([source(from), target(to)]),
                Pattern::Source(from) => terms.push(source(from)),
                Pattern::Target(to) => terms.push(target(to)),
                Pattern::Id(id) => terms.push(Term::equal("id", id.into())),
            }
            Alternative(terms)
        };
        Self(patterns.iter().map(one).collect())
    }

    /// Any of some values in one field.
    pub(super) fn any_of(field: &str, values: impl IntoIterator<Item = Value>) -> Self {
        let term = Term { field: field.to_owned(), any_of: values.into_iter().collect() };
        Self(vec![Alternative(vec![term])])
    }

    /// Reads a Mongo condition: equality, `$in`, and `$or` of those. What the driver would refuse is
    /// 1199998 (docs/cmdb-api.md#find).
    pub(super) fn of_mongo(condition: &Map<String, Value>) -> Result<Self, Refusal> {
        let mut filter = Self::everything();
        for (key, value) in condition {
            let part = match key.as_str() {
                "$or" => Self::of_or(value)?,
                operator if operator.starts_with('$') => {
                    return Err(unknown("top level ", operator));
                }
                field => Self(vec![Alternative(vec![Term::of_mongo(field, value)?])]),
            };
            filter = filter.and(&part);
        }
        Ok(filter)
    }

    fn of_or(branches: &Value) -> Result<Self, Refusal> {
        let refuse = |why: &str| Refusal::raw(code::UNKNOWN_OR_DRIVER, format!("(BadValue) {why}"));
        let branches = match branches.as_array().map(Vec::as_slice) {
            None => return Err(refuse("$or must be an array")),
            Some([]) => return Err(refuse("$and/$or/$nor must be a nonempty array")),
            Some(branches) => branches,
        };
        let mut alternatives = Vec::with_capacity(branches.len());
        for branch in branches {
            let branch = branch.as_object();
            let branch =
                branch.ok_or_else(|| refuse("$or/$and/$nor entries need to be full objects"))?;
            alternatives.append(&mut Self::of_mongo(branch)?.0);
        }
        Ok(Self(alternatives))
    }

    /// Reads the query builder's rules: `AND` and `OR` of `equal` and `in`. Anything else is 1199006,
    /// which names the place.
    pub(super) fn of_rules(conditions: &Value) -> Result<Self, Refusal> {
        Self::of_rule(conditions, DEPTH)
    }

    fn of_rule(rule: &Value, depth: usize) -> Result<Self, Refusal> {
        let refuse = |key: &str| Refusal::of(code::BAD_FIELD, format!("conditions.{key}"));
        if let Some(rules) = rule.get("rules") {
            let rules = rules.as_array().filter(|rules| !rules.is_empty() && depth > 0);
            let rules = rules.ok_or_else(|| refuse("rules"))?;
            let mut parts = rules.iter().map(|rule| Self::of_rule(rule, depth - 1));
            return match rule.get("condition").and_then(Value::as_str) {
                Some("AND") => parts.try_fold(Self::everything(), |all, part| Ok(all.and(&part?))),
                Some("OR") if rules.len() <= 20 => {
                    let parts = parts.collect::<Result<Vec<_>, _>>()?;
                    Ok(Self(parts.into_iter().flat_map(|part| part.0).collect()))
                }
                Some("OR") => Err(refuse("rules")),
                _ => Err(refuse("condition")),
            };
        }
        let field = rule.get("field").and_then(Value::as_str);
        let field = field.filter(|field| !field.is_empty()).ok_or_else(|| refuse("rules.field"))?;
        let value = rule.get("value").ok_or_else(|| refuse("rules.value"))?;
        match (rule.get("operator").and_then(Value::as_str), value) {
            (Some("equal"), value) if !value.is_array() && !value.is_object() => {
                Ok(Self(vec![Alternative(vec![Term::equal(field, value.clone())])]))
            }
            (Some("in"), Value::Array(values)) if values.len() <= 500 => {
                Ok(Self::any_of(field, values.iter().cloned()))
            }
            (Some("equal" | "in"), _) => Err(refuse("rules.value")),
            _ => Err(refuse("rules.operator")),
        }
    }

    fn and(&self, other: &Self) -> Self {
        let with = |left| other.0.iter().map(move |right| Alternative::and(left, right));
        Self(self.0.iter().flat_map(with).collect())
    }

    /// Whether an object is let through.
    pub(super) fn admits(&self, object: &Value) -> bool {
        let holds = |term: &Term| object.get(&term.field).is_some_and(|value| term.admits(value));
        self.0.iter().any(|alternative| alternative.0.iter().all(holds))
    }
}

impl Term {
    fn equal(field: &str, value: Value) -> Self {
        Self { field: field.to_owned(), any_of: vec![value] }
    }

    fn of_mongo(field: &str, value: &Value) -> Result<Self, Refusal> {
        let Some(operators) = value.as_object() else {
            return Ok(Self::equal(field, value.clone()));
        };
        let mut operators = operators.iter();
        match (operators.next(), operators.next()) {
            (Some((operator, Value::Array(any_of))), None) if operator == "$in" => {
                Ok(Self { field: field.to_owned(), any_of: any_of.clone() })
            }
            (Some((operator, _)), None) if operator == "$in" => {
                Err(Refusal::raw(code::UNKNOWN_OR_DRIVER, "(BadValue) $in needs an array"))
            }
            (Some((operator, _)), None) if operator == "$eq" => {
                Ok(Self::equal(field, value["$eq"].clone()))
            }
            (Some((operator, _)), _) if operator.starts_with('$') => Err(unknown("", operator)),
            // An object without operators is compared as a whole, and no field here is an object.
            _ => Ok(Self::equal(field, value.clone())),
        }
    }

    /// Whether a value is one of those asked for.
    pub(super) fn admits(&self, value: &Value) -> bool {
        self.any_of.contains(value)
    }
}

fn unknown(place: &str, operator: &str) -> Refusal {
    let text = format!("(BadValue) unknown {place}operator: {operator}");
    Refusal::raw(code::UNKNOWN_OR_DRIVER, text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn mongo(condition: &Value) -> Result<Filter, Refusal> {
        Filter::of_mongo(condition.as_object().unwrap())
    }

    #[test]
    fn a_mongo_condition_lets_through_what_mongo_would() {
        let row = json!({"id": 7, "bk_obj_asst_id": "x", "bk_inst_id": 3, "bk_asst_inst_id": 63});
        for (condition, through) in [
            (json!({}), true),
            (json!({"bk_inst_id": 3}), true),
            (json!({"bk_inst_id": "3"}), false),
            (json!({"bk_inst_id": {"$in": [1, 3]}, "bk_obj_asst_id": "x"}), true),
            (json!({"bk_inst_id": {"$in": []}}), false),
            (json!({"bk_inst_id": {"$eq": 3}}), true),
            (json!({"nothing": 3}), false),
            (
                json!({"bk_obj_asst_id": "x", "$or": [{"bk_inst_id": 4}, {"bk_inst_id": 3, "id": 7}]}),
                true,
            ),
            (json!({"bk_obj_asst_id": "y", "$or": [{"bk_inst_id": 3}]}), false),
            (json!({"$or": [{"$or": [{"id": 7}]}], "bk_inst_id": 3}), true),
        ] {
            assert_eq!(mongo(&condition).unwrap().admits(&row), through, "{condition}");
        }
    }

    #[test]
    fn what_a_driver_would_refuse_is_1199998() {
        for condition in [
            json!({"$or": []}),
            json!({"$or": {"id": 1}}),
            json!({"$or": [1]}),
            json!({"$nope": 1}),
            json!({"id": {"$nope": 1}}),
            json!({"id": {"$in": 1}}),
        ] {
            let refusal = mongo(&condition).unwrap_err();
            assert_eq!(refusal.code, code::UNKNOWN_OR_DRIVER, "{condition}");
        }
    }

    #[test]
    fn rules_are_read_three_layers_deep_and_refused_by_place() {
        let row = json!({"bk_inst_id": 3, "bk_asst_inst_id": 63});
        let equal =
            |field: &str, value: i64| json!({"field": field, "operator": "equal", "value": value});
        let either =
            json!({"condition": "OR", "rules": [equal("bk_inst_id", 9), equal("bk_inst_id", 3)]});
        let both = json!({"condition": "AND", "rules": [either, equal("bk_asst_inst_id", 63)]});
        assert!(Filter::of_rules(&both).unwrap().admits(&row));
        let many = json!({"field": "bk_inst_id", "operator": "in", "value": [1, 2]});
        assert!(
            !Filter::of_rules(&json!({"condition": "AND", "rules": [many]})).unwrap().admits(&row)
        );
        let four = json!({"condition": "AND", "rules": [
            {"condition": "AND", "rules": [
                {"condition": "AND", "rules": [
                    {"condition": "AND", "rules": [equal("id", 1)]}]}]}]});
        for rules in [
            four,
            json!({"condition": "NOT", "rules": [equal("id", 1)]}),
            json!({}),
            json!({"field": "id", "operator": "like", "value": 1}),
        ] {
            let refusal = Filter::of_rules(&rules).unwrap_err();
            assert_eq!(refusal.code, code::BAD_FIELD, "{rules}");
        }
    }
}
