//! The instances of one model: those that a models file names, one by one or by a pattern, and those of
//! which it only says that they exist.
//!
//! Owns what an instance's properties are and which instances a condition finds. A group that goes by a
//! pattern takes no memory for each instance, and a text is found in it at once. Knows nothing of calls.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;
use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use super::attributes::{Attribute, id_field, is_list};
use super::filter::Alternative;
use super::pattern::{Having, Pattern};

/// The properties of an instance, its id among them. Addresses of a host are lists.
pub(super) type Object = Map<String, Value>;

/// What was changed since the models file was read: instances as they are now, and those that are gone.
pub(super) type Changed = BTreeMap<i64, Option<Object>>;

#[derive(Clone, Debug)]
pub(super) struct Instances {
    id_field: &'static str,
    /// What exists, named or not.
    ids: Vec<RangeInclusive<i64>>,
    /// What is named, ascending.
    groups: Vec<Group>,
    /// The properties of an instance that was given none.
    unset: Object,
}

/// Instances that were named together.
#[derive(Clone, Debug)]
pub(super) struct Group {
    ids: RangeInclusive<i64>,
    properties: BTreeMap<String, Template>,
}

#[derive(Clone, Debug)]
enum Template {
    Text(Pattern),
    List(Vec<Pattern>),
    /// Addresses of version 6, which the server keeps in their long form.
    LongList(Vec<Pattern>),
    Fixed(Value),
}

/// An address of version 6 in the server's own form; any other text as it is.
pub(super) fn long_form(text: &str) -> String {
    let Ok(address) = text.parse::<Ipv6Addr>() else {
        return text.to_owned();
    };
    address.segments().map(|segment| format!("{segment:04x}")).join(":")
}

/// Whether a property holds addresses of version 6.
pub(super) fn is_v6(property: &str) -> bool {
    property.ends_with("ip_v6")
}

impl Group {
    /// A group by its properties as they were declared. Only a group of several goes by patterns.
    pub(super) fn new(
        model: &str,
        ids: RangeInclusive<i64>,
        declared: Map<String, Value>,
        attributes: &[Attribute],
    ) -> Result<Self, String> {
        let by_pattern = ids.start() != ids.end();
        let pattern = |text: &str| {
            if !by_pattern {
                return Ok(Pattern::fixed(text));
            }
            Pattern::parse(text).ok_or_else(|| {
                format!(
                    "{text:?} is no pattern: there are {{n}}, {{id}}, {{n:05}} and {{10.0.0.0+n}}"
                )
            })
        };
        let mut properties = BTreeMap::new();
        for (property, value) in declared {
            check(attributes, &property, &value)?;
            let template = match value {
                value if is_list(model, &property) => {
                    let texts = texts_of(&value).ok_or_else(|| format!("{property} is no text"))?;
                    let is_v6 = is_v6(&property);
                    let texts = texts.into_iter().map(|text| match pattern(&text)? {
                        fixed if is_v6 && fixed.is_fixed() => Ok(Pattern::fixed(&long_form(&text))),
                        pattern => Ok(pattern),
                    });
                    let texts = texts.collect::<Result<_, String>>()?;
                    if is_v6 { Template::LongList(texts) } else { Template::List(texts) }
                }
                Value::String(text) => Template::Text(pattern(&text)?),
                value => Template::Fixed(value),
            };
            properties.insert(property, template);
        }
        Ok(Self { ids, properties })
    }

    fn first(&self) -> i64 {
        *self.ids.start()
    }

    /// One of them; what it was not given is as in `unset`.
    pub(super) fn object(&self, id: i64, id_field: &str, unset: &Object) -> Object {
        let number = id - self.first() + 1;
        let mut object = unset.clone();
        for (property, template) in &self.properties {
            let fill = |pattern: &Pattern| pattern.fill(number, id);
            let value = match template {
                Template::Text(pattern) => Value::from(fill(pattern)),
                Template::List(patterns) => patterns.iter().map(fill).collect(),
                Template::LongList(patterns) => {
                    patterns.iter().map(|pattern| long_form(&fill(pattern))).collect()
                }
                Template::Fixed(value) => value.clone(),
            };
            object.insert(property.clone(), value);
        }
        object.insert(id_field.to_owned(), id.into());
        object
    }

    /// The ids that a condition leaves, where some term of it names values that few have.
    fn candidates(&self, alternative: &Alternative, unset: &Object) -> Option<BTreeSet<i64>> {
        let sets = alternative.terms().iter().filter_map(|term| {
            let mut ids = BTreeSet::new();
            for value in term.any_of()? {
                let numbers = self.numbers(&term.field, value, unset)?.into_iter();
                let of_number = |number: i64| number.checked_add(self.first() - 1);
                ids.extend(numbers.filter_map(of_number).filter(|id| self.ids.contains(id)));
            }
            Some(ids)
        });
        sets.min_by_key(BTreeSet::len)
    }

    /// Whether a condition is about nothing in which they differ.
    fn is_alike_in(&self, alternative: &Alternative, id_field: &str) -> bool {
        let differs = |property: &str| {
            let template = self.properties.get(property);
            property == id_field || !matches!(template, None | Some(Template::Fixed(_)))
        };
        !alternative.terms().iter().any(|term| differs(&term.field))
    }

    /// The numbers of those that have a value; `None` where all may.
    fn numbers(&self, property: &str, value: &Value, unset: &Object) -> Option<Vec<i64>> {
        let all_if = |all: bool| if all { None } else { Some(Vec::new()) };
        let Some(template) = self.properties.get(property) else {
            return all_if(unset.get(property) == Some(value));
        };
        let patterns = match template {
            Template::Text(pattern) => std::slice::from_ref(pattern),
            Template::List(patterns) => patterns,
            Template::LongList(_) => return None,
            Template::Fixed(fixed) => return all_if(fixed == value),
        };
        let mut numbers = Vec::new();
        for pattern in patterns {
            match pattern.having(value.as_str()?, self.first()) {
                Having::None => {}
                Having::One(number) => numbers.push(number),
                Having::All => return None,
            }
        }
        Some(numbers)
    }
}

/// The texts of a property that is a list: an array of texts, or one text with commas.
fn texts_of(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(text) => Some(text.split(',').map(str::to_owned).collect()),
        Value::Array(list) => list.iter().map(|text| Some(text.as_str()?.to_owned())).collect(),
        _ => None,
    }
}

/// Checks that a property is an attribute of the model and may have a value.
fn check(attributes: &[Attribute], property: &str, value: &Value) -> Result<(), String> {
    let attribute = attributes.iter().find(|attribute| attribute.property == *property);
    let Some(attribute) = attribute else {
        return Err(format!("{property} is none of its attributes; declare it with [[attribute]]"));
    };
    if attribute.takes(value) {
        return Ok(());
    }
    Err(format!("{property} is of type {}, and can't be {value}", attribute.kind))
}

impl Instances {
    /// Instances of a model. Ids that `groups` name exist, too. Refused is an id that is named twice.
    pub(super) fn new(
        model: &str,
        mut ids: Vec<RangeInclusive<i64>>,
        mut groups: Vec<Group>,
        attributes: &[Attribute],
    ) -> Result<Self, String> {
        groups.sort_by_key(Group::first);
        for pair in groups.windows(2) {
            if pair[0].ids.contains(&pair[1].first()) {
                return Err(format!("id {} is named twice", pair[1].first()));
            }
        }
        ids.extend(groups.iter().map(|group| group.ids.clone()));
        ids.sort_by_key(|range| *range.start());
        let mut apart: Vec<RangeInclusive<i64>> = Vec::new();
        for range in ids {
            match apart.last_mut() {
                Some(last) if range.start() <= last.end() => {
                    *last = *last.start()..=*last.end().max(range.end());
                }
                _ => apart.push(range),
            }
        }
        let value_of = |attribute: &Attribute| match attribute.unset() {
            Value::String(_) if is_list(model, &attribute.property) => Value::Array(Vec::new()),
            value => value,
        };
        let unset = attributes.iter().map(|a| (a.property.clone(), value_of(a))).collect();
        Ok(Self { id_field: id_field(model), ids: apart, groups, unset })
    }

    /// Whether an instance was declared.
    pub(super) fn contains(&self, id: i64) -> bool {
        let at = self.ids.partition_point(|range| *range.end() < id);
        self.ids.get(at).is_some_and(|range| range.contains(&id))
    }

    /// An instance as it was declared. One without a name has its id and nothing else.
    pub(super) fn get(&self, id: i64) -> Option<Object> {
        match self.group_of(id) {
            Some(group) => Some(group.object(id, self.id_field, &self.unset)),
            None => self.contains(id).then(|| self.bare(id)),
        }
    }

    /// An instance without a name, to be given one.
    pub(super) fn fresh(&self, id: i64) -> Object {
        let mut object = self.unset.clone();
        object.insert(self.id_field.to_owned(), id.into());
        object
    }

    fn bare(&self, id: i64) -> Object {
        Object::from_iter([(self.id_field.to_owned(), id.into())])
    }

    fn group_of(&self, id: i64) -> Option<&Group> {
        let at = self.groups.partition_point(|group| *group.ids.end() < id);
        self.groups.get(at).filter(|group| group.ids.contains(&id))
    }

    /// The instances that a condition lets through, or the `most` of them that have the least ids.
    pub(super) fn find(
        &self,
        alternative: &Alternative,
        changed: &Changed,
        most: usize,
    ) -> BTreeMap<i64, Object> {
        let mut found: BTreeMap<_, _> = (changed.iter())
            .filter_map(|(id, object)| Some((*id, object.as_ref()?)))
            .filter(|(_, object)| alternative.admits(object))
            .map(|(id, object)| (id, object.clone()))
            .collect();
        let admitted = |id: i64| {
            let object = self.get(id).filter(|_| !changed.contains_key(&id))?;
            alternative.admits(&object).then_some((id, object))
        };
        if let Some(ids) = alternative.integers(self.id_field) {
            found.extend(ids.into_iter().filter_map(admitted));
            return found;
        }
        let (first, last) = alternative.bounds(self.id_field);
        let within = |ids: &RangeInclusive<i64>| *ids.start().max(&first)..=*ids.end().min(&last);
        for group in &self.groups {
            match group.candidates(alternative, &self.unset) {
                Some(ids) => found.extend(ids.into_iter().filter_map(admitted)),
                None => found.extend(within(&group.ids).filter_map(admitted).take(most)),
            }
        }
        // An instance without a name has nothing but an id that a condition may be about.
        if alternative.terms().iter().all(|term| term.field == self.id_field) {
            for ids in &self.ids {
                let nameless = within(ids).filter(|id| self.group_of(*id).is_none());
                found.extend(nameless.filter_map(admitted).take(most));
            }
        }
        found
    }

    /// How many instances a condition lets through, none of which is kept.
    pub(super) fn count(&self, alternative: &Alternative, changed: &Changed) -> usize {
        if alternative.integers(self.id_field).is_some() {
            return self.find(alternative, changed, usize::MAX).len();
        }
        let size = |ids: &RangeInclusive<i64>| {
            let all = usize::try_from(ids.end() - ids.start() + 1).unwrap_or_default();
            all - changed.range(ids.clone()).count()
        };
        let now = changed.values().flatten().filter(|object| alternative.admits(object)).count();
        if alternative.terms().is_empty() {
            return now + self.ids.iter().map(size).sum::<usize>();
        }
        let admitted = |id: &i64| {
            let object = self.get(*id).filter(|_| !changed.contains_key(id));
            object.is_some_and(|object| alternative.admits(&object))
        };
        let (first, last) = alternative.bounds(self.id_field);
        let within = |ids: &RangeInclusive<i64>| *ids.start().max(&first)..=*ids.end().min(&last);
        let of_group = |group: &Group| match group.candidates(alternative, &self.unset) {
            Some(ids) => ids.iter().filter(|id| admitted(id)).count(),
            None if group.is_alike_in(alternative, self.id_field) => {
                let one = group.object(group.first(), self.id_field, &self.unset);
                if alternative.admits(&one) { size(&group.ids) } else { 0 }
            }
            None => within(&group.ids).filter(admitted).count(),
        };
        let mut count = now + self.groups.iter().map(of_group).sum::<usize>();
        if alternative.terms().iter().all(|term| term.field == self.id_field) {
            let nameless = self.ids.iter().flat_map(within);
            count += nameless.filter(|id| self.group_of(*id).is_none() && admitted(id)).count();
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::sandbox::attributes::built_in;
    use crate::sandbox::filter::Filter;

    fn hosts() -> Instances {
        let attributes = built_in("host");
        let group = |ids, declared: Value| {
            Group::new("host", ids, declared.as_object().unwrap().clone(), &attributes).unwrap()
        };
        let groups = vec![
            group(1..=100_000, json!({"bk_host_innerip": "{10.0.0.0+n}"})),
            group(200_000..=200_000, json!({"bk_host_innerip": "10.9.1.1,10.9.1.2"})),
            group(200_001..=200_001, json!({"bk_host_innerip": ["10.0.0.5"], "bk_cloud_id": 3})),
            group(200_002..=200_002, json!({"bk_host_innerip_v6": "fd00::1"})),
        ];
        Instances::new("host", vec![200_000..=200_010], groups, &attributes).unwrap()
    }

    fn found(instances: &Instances, filter: &Filter, changed: &Changed, most: usize) -> Vec<i64> {
        instances.find(&filter.0[0], changed, most).into_keys().collect()
    }

    fn with(property: &str, value: &str) -> Filter {
        Filter::any_of(property, [value.into()])
    }

    #[test]
    fn an_address_finds_every_host_that_has_it() {
        let hosts = hosts();
        let unchanged = Changed::new();
        for (property, value, ids) in [
            ("bk_host_innerip", "10.0.0.5", &[5, 200_001][..]),
            ("bk_host_innerip", "10.1.134.160", &[100_000]),
            ("bk_host_innerip", "10.1.134.161", &[]),
            ("bk_host_innerip", "10.9.1.2", &[200_000]),
            ("bk_host_innerip", "10.9.1.1,10.9.1.2", &[]),
            ("bk_host_innerip_v6", "fd00:0000:0000:0000:0000:0000:0000:0001", &[200_002]),
            ("nothing", "x", &[]),
        ] {
            assert_eq!(found(&hosts, &with(property, value), &unchanged, 500), ids, "{value}");
        }
        assert_eq!(long_form("FD00::1"), "fd00:0000:0000:0000:0000:0000:0000:0001");
    }

    #[test]
    fn a_changed_instance_is_found_as_it_is_now() {
        let hosts = hosts();
        let mut moved = hosts.get(5).unwrap();
        moved["bk_host_innerip"] = json!(["10.0.0.6"]);
        let changed = Changed::from([(5, Some(moved)), (6, None)]);
        let at = |address| found(&hosts, &with("bk_host_innerip", address), &changed, 500);
        assert_eq!(at("10.0.0.5"), [200_001]);
        assert_eq!(at("10.0.0.6"), [5]);
    }

    #[test]
    fn everything_comes_by_id_up_to_a_number_and_from_an_id_on() {
        let hosts = hosts();
        let rule = json!({"field": "bk_host_id", "operator": "greater", "value": 99_998});
        let rules = json!({"condition": "AND", "rules": [rule]});
        let after = Filter::of_rules("x", &rules, 500).unwrap();
        let ids = found(&hosts, &after, &Changed::new(), 3);
        assert_eq!(ids[..3], [99_999, 100_000, 200_000]);
        let by_id = Filter::any_of("bk_host_id", [7.into(), 200_010.into(), 200_011.into()]);
        assert_eq!(found(&hosts, &by_id, &Changed::new(), 500), [7, 200_010]);
        assert!(hosts.contains(200_010) && !hosts.contains(100_001));
        assert_eq!(hosts.get(200_010).unwrap().len(), 1);
    }

    #[test]
    fn what_is_counted_is_what_would_be_found() {
        let hosts = hosts();
        let moved = hosts.get(5).unwrap();
        let changed = Changed::from([(5, Some(moved)), (6, None), (300_000, hosts.get(7))]);
        let rules = |rules: Value| {
            let rules = json!({"condition": "AND", "rules": rules});
            Filter::of_rules("x", &rules, 500).unwrap()
        };
        let cloud = json!({"field": "bk_cloud_id", "operator": "equal", "value": 0});
        let after = json!({"field": "bk_host_id", "operator": "greater", "value": 99_990});
        let ids = json!({"field": "bk_host_id", "operator": "in", "value": [6, 7, 200_010]});
        for filter in [
            Filter(vec![Alternative::default()]),
            with("bk_host_innerip", "10.0.0.5"),
            with("bk_host_innerip", "10.0.0.6"),
            rules(json!([cloud])),
            rules(json!([after])),
            rules(json!([cloud, after])),
            rules(json!([ids])),
            rules(json!([{"field": "bk_cloud_id", "operator": "equal", "value": 4}])),
        ] {
            for changed in [&Changed::new(), &changed] {
                let all = found(&hosts, &filter, changed, usize::MAX);
                assert_eq!(hosts.count(&filter.0[0], changed), all.len(), "{filter:?}");
            }
        }
        // So many could not be kept.
        let group = Group::new("host", 1..=1 << 50, Map::new(), &built_in("host")).unwrap();
        let many = Instances::new("host", vec![], vec![group], &built_in("host")).unwrap();
        let filter = rules(json!([cloud]));
        assert_eq!(many.count(&filter.0[0], &changed), (1 << 50) - 1);
        assert_eq!(found(&many, &filter, &Changed::new(), 3), [1, 2, 3]);
    }

    #[test]
    fn an_instance_that_makes_no_sense_is_refused() {
        let attributes = built_in("host");
        for (declared, says) in [
            (json!({"nothing": "x"}), "none of its attributes"),
            (json!({"bk_cloud_id": "0"}), "type foreignkey"),
            (json!({"bk_host_innerip": "{10.0.0+n}"}), "is no pattern"),
        ] {
            let declared = declared.as_object().unwrap().clone();
            let error = Group::new("host", 1..=2, declared, &attributes).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
        let group = |ids| Group::new("host", ids, Map::new(), &attributes).unwrap();
        let groups = vec![group(5..=5), group(1..=9)];
        assert!(Instances::new("host", vec![], groups, &attributes).is_err());
    }
}
