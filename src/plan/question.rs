//! From a cell to a question: which instance of a model has these values in these properties.
//!
//! Owns what a bare value stands for, and how addresses name their cloud area. Knows nothing of calls.

use serde_json::{Map, Value};

use super::condition::{Condition, Fit, Unfit, long_form, without_brackets};
use super::name::{Name, alleged_property, read};
use super::properties::{Kind, Named, Properties, quoted};
use crate::input::shown;
use crate::options::Naming;

const CLOUD: &str = "bk_cloud_id";
const ADDRESS: &str = "bk_host_innerip";
const ADDRESS_V6: &str = "bk_host_innerip_v6";

/// What one instance must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question {
    /// Properties by their places, with what is wanted there, in the order of the cell.
    pub(super) wanted: Vec<(usize, Condition)>,
}

/// The properties that a bare value of a model stands for, by their places, or why it stands for none.
pub(super) type Key = Result<Vec<usize>, String>;

/// The key of a model: that of `--key`, else the usual one.
pub(super) fn key_of(model: &str, properties: &Properties, naming: &Naming) -> Key {
    let usual = match model {
        "host" => ADDRESS,
        "biz" => "bk_biz_name",
        _ => "bk_inst_name",
    };
    let Some(given) = naming.key_of(model) else {
        let found = place(properties, usual).map(|at| vec![at]);
        return found.ok_or_else(|| {
            let (has, model) = (properties.shown(), quoted(model));
            format!(
                "{model} has no {usual}: say PROPERTY=VALUE, or give --key {model}=PROPERTY (it has {has})"
            )
        });
    };
    let mut key = Vec::new();
    for name in given {
        match properties.find(name) {
            Some(Named::One(at)) if key.contains(at) => {}
            Some(Named::One(at)) => key.push(*at),
            Some(Named::Shared(places)) => {
                return Err(format!("--key {model}: {}", shared(name, places, properties)));
            }
            None => return Err(format!("--key {model}: {}", unknown(name, model, properties))),
        }
    }
    Ok(key)
}

/// Reads a cell.
pub(super) fn question(
    text: &str,
    model: &str,
    properties: &Properties,
    key: &Key,
    cloud_id: Option<i64>,
) -> Result<Question, Unfit> {
    let pairs = match read(text, properties) {
        Name::Pairs(pairs) => pairs,
        Name::Shared(name, places) => {
            return Err(Unfit::Unresolvable(shared(name, &places, properties)));
        }
        Name::Bare => bare(text, properties, key)?,
    };
    let mut wanted = Vec::with_capacity(pairs.len());
    for (at, value) in pairs {
        let property = properties.get(at);
        let is_list = matches!(property.kind, Kind::Addresses | Kind::AddressesV6);
        let (value, cloud) = if is_list { split_cloud(value)? } else { (value, None) };
        if value.trim().is_empty() {
            let id = property.shown();
            return Err(Unfit::Unresolvable(format!("no value stands for {id}")));
        }
        wanted.push((at, Condition::of(property, value)?));
        if let (Some(cloud), Some(at)) = (cloud, place(properties, CLOUD)) {
            wanted.push((at, Condition::Integer(cloud)));
        }
    }
    let mut this = Question { wanted };
    if model == "host" {
        this.add_cloud(properties, cloud_id);
    }
    Ok(this)
}

impl Question {
    /// An address that names no cloud area is in that of `--cloud-id`.
    fn add_cloud(&mut self, properties: &Properties, cloud_id: Option<i64>) {
        let (Some(cloud_id), Some(cloud)) = (cloud_id, place(properties, CLOUD)) else { return };
        let is_address = |(_, condition): &(usize, Condition)| {
            matches!(condition, Condition::Addresses(_) | Condition::AddressesV6(_))
        };
        if self.wanted.iter().any(is_address) && self.wanted.iter().all(|(at, _)| *at != cloud) {
            self.wanted.push((cloud, Condition::Integer(cloud_id)));
        }
    }

    /// Whether it is an address without a cloud area.
    pub(super) fn lacks_cloud(&self, properties: &Properties) -> bool {
        let is_list =
            |at: usize| matches!(properties.get(at).kind, Kind::Addresses | Kind::AddressesV6);
        let is_cloud = |at: usize| &*properties.get(at).id == CLOUD;
        self.wanted.iter().any(|(at, _)| is_list(*at))
            && !self.wanted.iter().any(|(at, _)| is_cloud(*at))
    }

    /// The properties that it may be asked by, ascending: those that tell most.
    pub(super) fn asked_by(&self, properties: &Properties) -> Vec<usize> {
        let mut by: Vec<_> = self.wanted.iter().map(|(at, _)| *at).collect();
        if by.iter().any(|at| !properties.get(*at).is_weak()) {
            by.retain(|at| !properties.get(*at).is_weak());
        }
        by.sort_unstable();
        by.dedup();
        by
    }

    /// How many values any of its properties takes in a call.
    pub(super) fn weight(&self) -> usize {
        self.wanted.iter().map(|(_, condition)| condition.weight()).max().unwrap_or(1)
    }

    /// How an instance fits, all in all.
    pub(super) fn fit(
        &self,
        properties: &Properties,
        instance: &Map<String, Value>,
    ) -> Option<Fit> {
        let mut worst = Fit::Exact;
        for (at, condition) in &self.wanted {
            worst = worst.min(condition.fit(instance.get(&*properties.get(*at).id))?);
        }
        Some(worst)
    }

    /// For a message: `bk_inst_name "core-sw" and bk_asset_id "SW-A1"`.
    pub(super) fn shown(&self, properties: &Properties) -> String {
        let one = |(at, condition): &(usize, Condition)| {
            format!("{} {}", properties.get(*at).shown(), condition.shown())
        };
        self.wanted.iter().map(one).collect::<Vec<_>>().join(" and ")
    }
}

/// What may be wrong with a cell whose instance is missing: what looks like a property in it and is none.
pub(super) fn mistake(text: &str, model: &str, properties: &Properties) -> Option<String> {
    let value = match read(text, properties) {
        Name::Bare => text,
        Name::Pairs(pairs) => pairs
            .into_iter()
            .map(|(_, value)| value)
            .find(|value| value.split_once('=').is_some_and(|(word, _)| word.contains(',')))?,
        Name::Shared(..) => return None,
    };
    let word = alleged_property(value)?;
    properties.find(word).is_none().then(|| unknown(word, model, properties))
}

/// The pairs of a bare value. One part for each property of the key, between `|`.
fn bare<'t>(
    text: &'t str,
    properties: &Properties,
    key: &Key,
) -> Result<Vec<(usize, &'t str)>, Unfit> {
    let key = key.as_ref().map_err(|why| Unfit::Unresolvable(why.clone()))?;
    if let [at] = key[..] {
        let at = of_version_6(at, text, properties)?;
        return Ok(vec![(at, text)]);
    }
    let parts: Vec<_> = text.split('|').collect();
    if parts.len() != key.len() {
        let ids = properties.ids(key).replace(", ", "|");
        let message = format!("{:?} is not {ids}, a value for each", shown(text));
        return Err(Unfit::Unresolvable(message));
    }
    Ok(key.iter().copied().zip(parts).collect())
}

/// An address of version 6 stands in a property of its own.
fn of_version_6(at: usize, text: &str, properties: &Properties) -> Result<usize, Unfit> {
    if &*properties.get(at).id != ADDRESS {
        return Ok(at);
    }
    let (addresses, _) = split_cloud(text)?;
    let mut addresses = without_brackets(addresses.trim()).split(',').map(str::trim);
    if !addresses.all(|address| long_form(address).is_some()) {
        return Ok(at);
    }
    place(properties, ADDRESS_V6)
        .ok_or_else(|| Unfit::Unresolvable(format!("hosts of this CMDB have no {ADDRESS_V6}")))
}

/// `ADDRESS@CLOUD`
fn split_cloud(text: &str) -> Result<(&str, Option<i64>), Unfit> {
    let Some((address, cloud)) = text.rsplit_once('@') else { return Ok((text, None)) };
    let cloud = cloud.trim();
    match cloud.parse::<i64>() {
        Ok(number) if number.to_string() == cloud => Ok((address, Some(number))),
        _ => Err(Unfit::Unresolvable(format!(
            "{:?} is no number of a cloud area: write ADDRESS@NUMBER",
            shown(cloud)
        ))),
    }
}

fn place(properties: &Properties, id: &str) -> Option<usize> {
    match properties.find(id)? {
        Named::One(at) => Some(*at),
        Named::Shared(_) => None,
    }
}

fn shared(name: &str, places: &[usize], properties: &Properties) -> String {
    let ids = properties.ids(places);
    format!("several properties are called {:?}: say which by its id, one of {ids}", shown(name))
}

fn unknown(name: &str, model: &str, properties: &Properties) -> String {
    let (name, has, model) = (shown(name), properties.shown(), quoted(model));
    if properties.told {
        format!("{model} has no property {name:?}; it has {has}")
    } else {
        format!(
            "this entrance does not tell the properties of {model}; known are {has}, not {name:?}"
        )
    }
}
