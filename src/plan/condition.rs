//! What an instance must have in a property to be meant.
//!
//! Owns how a text is taken for a value of a property's type, and how values are compared: exactly. A
//! text is never taken for a number unless the property is one, and nothing is rounded or trimmed inside.
//! Knows nothing of cells or calls.

use std::net::Ipv6Addr;
use std::sync::Arc;

use serde_json::Value;

use super::properties::{Kind, Property, quoted};
use crate::cmdb::wire::PropertyValue;
use crate::input::shown;

/// The most options of an enum that a message names.
const MOST_OPTIONS: usize = 8;

/// A value that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    /// This text; or, if none has it, the same without the spaces at its ends.
    Text(Arc<str>, Option<Arc<str>>),
    /// This number.
    Integer(i64),
    /// This.
    Bool(bool),
    /// All of these addresses among others.
    Addresses(Vec<Arc<str>>),
    /// The same in version 6, in the server's form.
    AddressesV6(Vec<Arc<str>>),
}

/// Why no instance can have a value, or none can be told by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// None can have it.
    Missing(String),
    /// None can be told by it.
    Unresolvable(String),
}

/// How an instance's value fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fit {
    /// Without the spaces at the wanted text's ends.
    Trimmed,
    /// As it stands.
    Exact,
}

impl Condition {
    /// Takes a text for a value of a property.
    pub(super) fn of(property: &Property, text: &str) -> Result<Self, Unfit> {
        let missing = |what: &str| {
            let id = property.shown();
            Unfit::Missing(format!("{id} is {what}, and {:?} is none", shown(text)))
        };
        let plain = text.trim();
        match &property.kind {
            Kind::Text => {
                let trimmed = (plain != text).then(|| plain.into());
                Ok(Self::Text(text.into(), trimmed))
            }
            Kind::Integer => match plain.parse::<i64>() {
                // Else another spelling of a number would be taken for it.
                Ok(number) if number.to_string() == plain => Ok(Self::Integer(number)),
                _ => Err(missing("a whole number")),
            },
            Kind::Bool => match plain {
                "true" => Ok(Self::Bool(true)),
                "false" => Ok(Self::Bool(false)),
                _ => Err(missing("true or false")),
            },
            Kind::Enum(options) if options.is_empty() => Ok(Self::Text(plain.into(), None)),
            Kind::Enum(options) => option(property, options, text),
            Kind::Addresses => Ok(Self::Addresses(elements(plain).map(Arc::from).collect())),
            Kind::AddressesV6 => {
                let long = |text| long_form(text).map(Arc::from);
                let all: Option<_> = elements(without_brackets(plain)).map(long).collect();
                all.map(Self::AddressesV6).ok_or_else(|| missing("an address of version 6"))
            }
            Kind::Inexact(kind) => Err(Unfit::Unresolvable(format!(
                "values of {}, of type {}, can't be compared exactly: name another property",
                property.shown(),
                quoted(kind)
            ))),
        }
    }

    /// What is asked for: one value, or two of which either may be there.
    pub(super) fn asked(&self) -> impl Iterator<Item = PropertyValue> {
        let (first, second) = match self {
            Self::Text(raw, trimmed) => (PropertyValue::Text(Arc::clone(raw)), trimmed.clone()),
            Self::Integer(number) => (PropertyValue::Integer(*number), None),
            Self::Bool(flag) => (PropertyValue::Bool(*flag), None),
            Self::Addresses(addresses) | Self::AddressesV6(addresses) => {
                (PropertyValue::Text(addresses.first().cloned().unwrap_or_default()), None)
            }
        };
        [Some(first), second.map(PropertyValue::Text)].into_iter().flatten()
    }

    /// How many values are asked for.
    pub(super) fn weight(&self) -> usize {
        1 + usize::from(matches!(self, Self::Text(_, Some(_))))
    }

    /// How an instance's value fits; `None` where it does not.
    pub(super) fn fit(&self, value: Option<&Value>) -> Option<Fit> {
        let value = value?;
        let exact = |fits: bool| fits.then_some(Fit::Exact);
        match self {
            Self::Text(raw, trimmed) => match value.as_str()? {
                text if *text == **raw => Some(Fit::Exact),
                text => (trimmed.as_deref() == Some(text)).then_some(Fit::Trimmed),
            },
            Self::Integer(number) => exact(value.as_i64() == Some(*number)),
            Self::Bool(flag) => exact(value.as_bool() == Some(*flag)),
            Self::Addresses(wanted) => {
                let there: Vec<_> = elements_of(value).collect();
                exact(wanted.iter().all(|address| there.contains(&&**address)))
            }
            Self::AddressesV6(wanted) => {
                let there: Vec<_> = elements_of(value).filter_map(long_form).collect();
                exact(wanted.iter().all(|address| there.iter().any(|other| *other == **address)))
            }
        }
    }

    /// The values of an instance by which it may have been asked for.
    pub(super) fn found_by(kind: &Kind, value: &Value) -> Vec<PropertyValue> {
        let text = |text: &str| PropertyValue::Text(text.into());
        match kind {
            Kind::Text | Kind::Enum(_) => value.as_str().map(text).into_iter().collect(),
            Kind::Integer => value.as_i64().map(PropertyValue::Integer).into_iter().collect(),
            Kind::Bool => value.as_bool().map(PropertyValue::Bool).into_iter().collect(),
            Kind::Addresses => elements_of(value).map(text).collect(),
            Kind::AddressesV6 => {
                elements_of(value).filter_map(long_form).map(|long| text(&long)).collect()
            }
            Kind::Inexact(_) => Vec::new(),
        }
    }

    /// The value for a message.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Text(text, _) => format!("{:?}", shown(text)),
            Self::Integer(number) => number.to_string(),
            Self::Bool(flag) => flag.to_string(),
            Self::Addresses(addresses) | Self::AddressesV6(addresses) => {
                format!("{:?}", shown(&addresses.join(",")))
            }
        }
    }
}

/// The id of the option that a text means: an id wins over a name.
fn option(
    property: &Property,
    options: &[(String, String)],
    text: &str,
) -> Result<Condition, Unfit> {
    let is = |candidate: &str| candidate == text || candidate == text.trim();
    let mut ids: Vec<&str> =
        options.iter().filter(|(id, _)| is(id)).map(|(id, _)| id.as_str()).take(1).collect();
    if ids.is_empty() {
        ids = options.iter().filter(|(_, name)| is(name)).map(|(id, _)| id.as_str()).collect();
        ids.dedup();
    }
    match ids[..] {
        [id] => Ok(Condition::Text(id.into(), None)),
        [] => {
            let some = options.iter().take(MOST_OPTIONS);
            let some: Vec<_> =
                some.map(|(id, name)| format!("{} ({})", quoted(id), quoted(name))).collect();
            let more = if options.len() > MOST_OPTIONS { ", …" } else { "" };
            let (id, text) = (property.shown(), shown(text));
            Err(Unfit::Missing(format!(
                "{id} has no option {text:?}; it has {}{more}",
                some.join(", ")
            )))
        }
        _ => Err(Unfit::Unresolvable(format!(
            "several options of {} are called {:?}: say the option's id",
            property.shown(),
            shown(text)
        ))),
    }
}

/// An address of version 6 in the server's own form, all 32 digits (docs/cmdb-api.md#hosts).
pub(super) fn long_form(text: &str) -> Option<String> {
    let address: Ipv6Addr = text.parse().ok()?;
    Some(address.segments().map(|segment| format!("{segment:04x}")).join(":"))
}

/// An address of version 6 may stand in brackets.
pub(super) fn without_brackets(text: &str) -> &str {
    let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    inner.unwrap_or(text)
}

fn elements(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim)
}

/// The elements of a list of addresses, which comes as one text with commas, or as an array.
fn elements_of(value: &Value) -> impl Iterator<Item = &str> {
    let texts: Vec<&str> = match value {
        Value::String(text) => vec![text],
        Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    texts.into_iter().flat_map(elements)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::properties::Properties;
    use super::super::properties::tests::attributes;
    use super::*;

    fn of(model: &str, id: &str, kind: &str, text: &str) -> Result<Condition, Unfit> {
        let properties = Properties::of(model, attributes(&[(id, kind, "")]), Vec::new());
        Condition::of(properties.get(0), text)
    }

    #[track_caller]
    fn fits(condition: &Condition, value: &Value, fit: Option<Fit>) {
        assert_eq!(condition.fit(Some(value)), fit, "{condition:?} {value}");
    }

    #[test]
    fn a_text_fits_itself_and_else_what_is_left_without_the_spaces_at_its_ends() {
        let plain = of("m", "a", "singlechar", "0015").unwrap();
        fits(&plain, &json!("0015"), Some(Fit::Exact));
        for other in [json!("15"), json!(15), json!("0015 "), json!(null), json!(["0015"])] {
            fits(&plain, &other, None);
        }
        let spaced = of("m", "a", "longchar", " a b ").unwrap();
        fits(&spaced, &json!(" a b "), Some(Fit::Exact));
        fits(&spaced, &json!("a b"), Some(Fit::Trimmed));
        fits(&spaced, &json!("a b "), None);
        fits(&spaced, &json!("ab"), None);
        assert_eq!((plain.weight(), plain.asked().count()), (1, 1));
        assert_eq!((spaced.weight(), spaced.asked().count()), (2, 2));
        assert_eq!(plain.fit(None), None);
    }

    #[test]
    fn a_number_is_one_as_it_is_written() {
        let exact = of("m", "a", "int", " -9007199254740993 ").unwrap();
        fits(&exact, &json!(-9_007_199_254_740_993_i64), Some(Fit::Exact));
        for other in [json!(-9_007_199_254_740_992_i64), json!("-9007199254740993"), json!(0.5)] {
            fits(&exact, &other, None);
        }
        for text in ["0015", "1e3", "1.0", "+1", "", "=1", "9223372036854775808", "１"] {
            let unfit = of("m", "a", "foreignkey", text);
            assert!(matches!(unfit, Err(Unfit::Missing(_))), "{text}: {unfit:?}");
        }
        fits(&of("m", "a", "bool", "true").unwrap(), &json!(true), Some(Fit::Exact));
        fits(&of("m", "a", "bool", "false").unwrap(), &json!(null), None);
        for kind in ["float", "time", "organization", "enummulti"] {
            let unfit = of("m", "a", kind, "1");
            assert!(matches!(unfit, Err(Unfit::Unresolvable(_))), "{kind}: {unfit:?}");
        }
    }

    #[test]
    fn an_address_is_one_of_several_and_version_6_has_many_spellings() {
        let one = of("host", "bk_host_innerip", "singlechar", "10.0.0.1").unwrap();
        fits(&one, &json!("10.0.0.1,10.0.0.2"), Some(Fit::Exact));
        fits(&one, &json!(["10.0.0.2", "10.0.0.1"]), Some(Fit::Exact));
        for other in [json!("10.0.0.11"), json!("10.0.0.10,10.0.0.2"), json!(""), json!(null)] {
            fits(&one, &other, None);
        }
        let both = of("host", "bk_host_innerip", "singlechar", " 10.0.0.2, 10.0.0.1 ").unwrap();
        fits(&both, &json!("10.0.0.1,10.0.0.2"), Some(Fit::Exact));
        fits(&both, &json!("10.0.0.1"), None);
        assert_eq!(both.asked().collect::<Vec<_>>(), [PropertyValue::Text("10.0.0.2".into())]);
        let long = "fd00:0000:0000:0000:0000:0000:0000:0001";
        for text in ["fd00::1", "[fd00::1]", "FD00:0::1", long] {
            let v6 = of("host", "bk_host_innerip_v6", "singlechar", text).unwrap();
            assert_eq!(v6.asked().collect::<Vec<_>>(), [PropertyValue::Text(long.into())]);
            fits(&v6, &json!(long), Some(Fit::Exact));
            fits(&v6, &json!(["fd00::2", "fd00::1"]), Some(Fit::Exact));
            fits(&v6, &json!("fd00::2"), None);
        }
        // Another model's property is a text, whatever it is called.
        let text = of("router", "bk_host_innerip", "singlechar", "10.0.0.1").unwrap();
        fits(&text, &json!("10.0.0.1,10.0.0.2"), None);
    }
}
