//! A look-up's condition: the part of Mongo's and of the query builder's language that clients use.
//!
//! Owns the two grammars, and turns both into one form: a list of alternatives, each a list of terms that
//! must all hold. Knows nothing of rows and instances.

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
    test: Test,
}

#[derive(Clone, Debug, PartialEq)]
enum Test {
    AnyOf(Vec<Value>),
    /// An integer within these, both included.
    Within(i64, i64),
    /// An integer that leaves the second when divided by the first.
    Remainder(i64, i64),
    /// A text with this in it, whatever the case of letters.
    Like(String),
}

/// How many layers of rules there may be (docs/cmdb-api.md#lists).
const DEPTH: usize = 3;

impl Alternative {
    pub(super) fn terms(&self) -> &[Term] {
        &self.0
    }

    /// The integers that a field may have; `None` where no term is about it.
    pub(super) fn integers(&self, field: &str) -> Option<Vec<i64>> {
        let mut lists = self.0.iter().filter(|term| term.field == field).filter_map(Term::any_of);
        Some(lists.next()?.iter().filter_map(Value::as_i64).collect())
    }

    /// The first and the last integer that comparisons leave to a field.
    pub(super) fn bounds(&self, field: &str) -> (i64, i64) {
        let terms = self.0.iter().filter(|term| term.field == field);
        let narrower = |(first, last): (i64, i64), (from, to)| (first.max(from), last.min(to));
        terms.filter_map(Term::bounds).fold((i64::MIN, i64::MAX), narrower)
    }

    /// Whether an object is let through.
    pub(super) fn admits(&self, object: &Map<String, Value>) -> bool {
        let holds = |term: &Term| object.get(&term.field).is_some_and(|value| term.admits(value));
        self.0.iter().all(holds)
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
        Self::of_term(Term::any(field, values.into_iter().collect()))
    }

    /// A text that has this in it, whatever the case of letters.
    pub(super) fn like(field: &str, part: &str) -> Self {
        let test = Test::Like(part.to_lowercase());
        Self::of_term(Term { field: field.to_owned(), test })
    }

    fn of_term(term: Term) -> Self {
        Self(vec![Alternative(vec![term])])
    }

    /// Reads a Mongo condition: equality, `$in`, comparisons, `$mod`, and `$or` of those. What the driver would refuse is
    /// 1199998 (docs/cmdb-api.md#find).
    pub(super) fn of_mongo(condition: &Map<String, Value>) -> Result<Self, Refusal> {
        let mut filter = Self::everything();
        for (key, value) in condition {
            let part = match key.as_str() {
                "$or" => Self::of_or(value)?,
                operator if operator.starts_with('$') => {
                    return Err(unknown("top level ", operator));
                }
                field => Self(vec![Alternative(Term::of_mongo(field, value)?)]),
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

    /// Reads the query builder's rules: `AND` and `OR` of `equal`, `in` and comparisons. Anything else is
    /// 1199006, which names the place below `root`. `most` limits the values of an `in`.
    pub(super) fn of_rules(root: &str, rules: &Value, most: usize) -> Result<Self, Refusal> {
        Self::of_rule(root, rules, most, DEPTH)
    }

    fn of_rule(at: &str, rule: &Value, most: usize, depth: usize) -> Result<Self, Refusal> {
        let refuse = |key: &str| Refusal::of(code::BAD_FIELD, format!("{at}.{key}"));
        if let Some(rules) = rule.get("rules") {
            let rules = rules.as_array().filter(|rules| !rules.is_empty() && depth > 0);
            let rules = rules.ok_or_else(|| refuse("rules"))?;
            let mut parts = rules.iter().enumerate().map(|(index, rule)| {
                Self::of_rule(&format!("{at}.rules[{index}]"), rule, most, depth - 1)
            });
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
        let field = field.filter(|field| !field.is_empty()).ok_or_else(|| refuse("field"))?;
        let value = rule.get("value").ok_or_else(|| refuse("value"))?;
        let operator = rule.get("operator").and_then(Value::as_str).unwrap_or_default();
        match (operator, value) {
            ("equal", value) if !value.is_array() && !value.is_object() => {
                Ok(Self::of_term(Term::equal(field, value.clone())))
            }
            ("in", Value::Array(values)) if values.len() <= most && are_alike(values) => {
                Ok(Self::any_of(field, values.iter().cloned()))
            }
            ("equal" | "in", _) => Err(refuse("value")),
            ("greater" | "greater_or_equal" | "less" | "less_or_equal", value) => {
                let limit = value.as_i64().ok_or_else(|| refuse("value"))?;
                Ok(Self::of_term(Term::compared(field, operator, limit)))
            }
            _ => Err(refuse("operator")),
        }
    }

    /// What both let through.
    pub(super) fn and(&self, other: &Self) -> Self {
        let with = |left| other.0.iter().map(move |right| Alternative::and(left, right));
        Self(self.0.iter().flat_map(with).collect())
    }

    /// Whether an object is let through.
    pub(super) fn admits(&self, object: &Map<String, Value>) -> bool {
        self.0.iter().any(|alternative| alternative.admits(object))
    }

    /// Rewrites the values that some fields are compared with.
    pub(super) fn rewrite(&mut self, rewrite: impl Fn(&str, &mut Value)) {
        for term in self.0.iter_mut().flat_map(|alternative| &mut alternative.0) {
            if let Test::AnyOf(values) = &mut term.test {
                for value in values {
                    rewrite(&term.field, value);
                }
            }
        }
    }
}

/// Whether values are of one type, as the server demands (tests/wire/names-1.json#1.10).
fn are_alike(values: &[Value]) -> bool {
    let kind = |value: &Value| (value.is_string(), value.is_number(), value.is_boolean());
    values.windows(2).all(|pair| kind(&pair[0]) == kind(&pair[1]))
}

impl Term {
    fn equal(field: &str, value: Value) -> Self {
        Self::any(field, vec![value])
    }

    fn any(field: &str, values: Vec<Value>) -> Self {
        Self { field: field.to_owned(), test: Test::AnyOf(values) }
    }

    /// A comparison, in the words of the query builder or of Mongo.
    fn compared(field: &str, operator: &str, limit: i64) -> Self {
        let test = match operator {
            "greater" | "$gt" => Test::Within(limit.saturating_add(1), i64::MAX),
            "greater_or_equal" | "$gte" => Test::Within(limit, i64::MAX),
            "less" | "$lt" => Test::Within(i64::MIN, limit.saturating_sub(1)),
            _ => Test::Within(i64::MIN, limit),
        };
        Self { field: field.to_owned(), test }
    }

    /// The terms of one field, which must all hold.
    fn of_mongo(field: &str, value: &Value) -> Result<Vec<Self>, Refusal> {
        let operators = value.as_object().filter(|operators| {
            operators.keys().next().is_some_and(|operator| operator.starts_with('$'))
        });
        match operators {
            // An object without operators is compared as a whole, and no field here is an object.
            None => Ok(vec![Self::equal(field, value.clone())]),
            Some(operators) => {
                let operators = operators.iter();
                operators.map(|(name, value)| Self::of_operator(field, name, value)).collect()
            }
        }
    }

    /// One of Mongo's operators.
    fn of_operator(field: &str, operator: &str, value: &Value) -> Result<Self, Refusal> {
        let refuse = |why: &str| Refusal::raw(code::UNKNOWN_OR_DRIVER, format!("(BadValue) {why}"));
        match operator {
            "$in" => {
                let values = value.as_array().ok_or_else(|| refuse("$in needs an array"))?;
                Ok(Self::any(field, values.clone()))
            }
            "$eq" => Ok(Self::equal(field, value.clone())),
            "$gt" | "$gte" | "$lt" | "$lte" => {
                let limit = value.as_i64().ok_or_else(|| refuse("a whole number is needed"))?;
                Ok(Self::compared(field, operator, limit))
            }
            "$mod" => match value.as_array().map(Vec::as_slice) {
                Some([divisor, remainder]) => {
                    let divisor = divisor.as_i64().filter(|divisor| *divisor > 0);
                    let pair = divisor.zip(remainder.as_i64());
                    let (divisor, remainder) = pair.ok_or_else(|| refuse("divisor cannot be 0"))?;
                    let test = Test::Remainder(divisor, remainder);
                    Ok(Self { field: field.to_owned(), test })
                }
                _ => Err(refuse("malformed mod, needs to be an array")),
            },
            _ => Err(unknown("", operator)),
        }
    }

    /// The values that are asked for, where they are named.
    pub(super) fn any_of(&self) -> Option<&[Value]> {
        match &self.test {
            Test::AnyOf(values) => Some(values),
            _ => None,
        }
    }

    /// The integers between which a value must be, where a comparison says that.
    const fn bounds(&self) -> Option<(i64, i64)> {
        match self.test {
            Test::Within(first, last) => Some((first, last)),
            _ => None,
        }
    }

    /// Whether a value fits. Of a list each entry is looked at (docs/cmdb-api.md#hosts).
    pub(super) fn admits(&self, value: &Value) -> bool {
        let whole = |within: &dyn Fn(i64) -> bool| value.as_i64().is_some_and(within);
        match &self.test {
            Test::AnyOf(values) => match value {
                Value::Array(list) => list.iter().any(|entry| values.contains(entry)),
                _ => values.contains(value),
            },
            Test::Within(first, last) => whole(&|number| (*first..=*last).contains(&number)),
            Test::Remainder(divisor, remainder) => whole(&|number| number % divisor == *remainder),
            Test::Like(part) => {
                value.as_str().is_some_and(|text| text.to_lowercase().contains(part))
            }
        }
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
            (json!({"id": {"$gte": 7, "$lt": 8}}), true),
            (json!({"id": {"$gte": 5, "$lt": 7}}), false),
            (json!({"id": {"$gt": 6, "$lte": 7}}), true),
            (json!({"id": {"$mod": [5, 2]}}), true),
            (json!({"id": {"$mod": [5, 0]}}), false),
        ] {
            let row = row.as_object().unwrap();
            assert_eq!(mongo(&condition).unwrap().admits(row), through, "{condition}");
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
            json!({"id": {"$gte": 1, "$nope": 1}}),
            json!({"id": {"$mod": [0, 1]}}),
            json!({"id": {"$mod": [7]}}),
        ] {
            let refusal = mongo(&condition).unwrap_err();
            assert_eq!(refusal.code, code::UNKNOWN_OR_DRIVER, "{condition}");
        }
    }

    #[test]
    fn rules_are_read_three_layers_deep_and_refused_by_place() {
        let row = json!({"bk_inst_id": 3, "bk_asst_inst_id": 63});
        let row = row.as_object().unwrap();
        let of_rules = |rules: &Value| Filter::of_rules("conditions", rules, 500);
        let equal =
            |field: &str, value: i64| json!({"field": field, "operator": "equal", "value": value});
        let either =
            json!({"condition": "OR", "rules": [equal("bk_inst_id", 9), equal("bk_inst_id", 3)]});
        let both = json!({"condition": "AND", "rules": [either, equal("bk_asst_inst_id", 63)]});
        assert!(of_rules(&both).unwrap().admits(row));
        let many = json!({"field": "bk_inst_id", "operator": "in", "value": [1, 2]});
        assert!(!of_rules(&json!({"condition": "AND", "rules": [many]})).unwrap().admits(row));
        for (operator, limit, through) in [
            ("greater", 2, true),
            ("greater", 3, false),
            ("greater_or_equal", 3, true),
            ("less", 3, false),
            ("less_or_equal", 3, true),
        ] {
            let rule = json!({"field": "bk_inst_id", "operator": operator, "value": limit});
            let rules = json!({"condition": "AND", "rules": [rule]});
            assert_eq!(of_rules(&rules).unwrap().admits(row), through, "{operator} {limit}");
        }
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
            let refusal = of_rules(&rules).unwrap_err();
            assert_eq!(refusal.code, code::BAD_FIELD, "{rules}");
        }
    }
}
