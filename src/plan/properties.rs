//! What properties a model has, and by which texts a cell may name one: its id, its display name in
//! either language, and the names that older versions give to what every CMDB has.
//!
//! Knows nothing of cells or calls.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::cmdb::wire::{Attribute, InstanceCall};
use crate::input::shown;

/// How many properties a message names.
const MOST_SHOWN: usize = 12;

/// A property of a model.
#[derive(Debug)]
pub(super) struct Property {
    /// `bk_property_id`
    pub(super) id: Arc<str>,
    /// What its values are.
    pub(super) kind: Kind,
    /// A display name, for messages; may be empty.
    label: String,
}

/// What the values of a property are, as far as names are told apart by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Compared as it is.
    Text,
    /// A whole number.
    Integer,
    /// True or false.
    Bool,
    /// The id of an option; ids and names. Older ones have none that are told.
    Enum(Vec<(String, String)>),
    /// A list of addresses, matched one by one.
    Addresses,
    /// The same in version 6, which the server keeps in a form of its own.
    AddressesV6,
    /// A type whose values can't be compared exactly: its word.
    Inexact(String),
}

/// What a text names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// The property at this place.
    One(usize),
    /// Properties that share a display name.
    Shared(Vec<usize>),
}

/// The properties of one model.
#[derive(Debug, Default)]
pub(super) struct Properties {
    list: Vec<Property>,
    by_name: FxHashMap<Box<str>, Named>,
    /// The length of the longest of these names, in bytes.
    pub(super) longest: usize,
    /// Whether they are those that the server told. Else they are what every CMDB has.
    pub(super) told: bool,
}

/// Built-in properties with the display names of all versions (docs/cmdb-api.md#attributes): those of
/// hosts, of businesses, and of other models.
const HOST: &[(&str, &[&str])] = &[
    ("bk_host_innerip", &["内网IP", "inner ip", "内网IPv4", "Inner IPv4", "Inner IP"]),
    ("bk_cloud_id", &["云区域", "cloud area", "管控区域", "BK-Network Area", "Cloud Area"]),
    ("bk_asset_id", &["固资编号", "asset id", "Asset ID"]),
    ("bk_host_name", &["主机名称", "host name", "Host Name"]),
    ("bk_sn", &["设备SN", "device sn", "Device SN"]),
    ("bk_host_outerip", &["外网IP", "outer ip", "外网IPv4", "Outer IPv4", "Outer IP"]),
    ("bk_host_innerip_v6", &["内网IPv6", "Inner IPv6"]),
    ("bk_cloud_inst_id", &["云主机实例ID", "cloud instance ID"]),
];
const BUSINESS: &[(&str, &[&str])] =
    &[("bk_biz_name", &["业务名", "business name", "Business Name", "Business"])];
const OTHER: &[(&str, &[&str])] = &[
    ("bk_inst_name", &["实例名", "instance name", "Instance Name"]),
    ("bk_asset_id", &["固资编号", "asset id", "Asset ID"]),
    ("bk_sn", &["设备SN", "device sn", "Device SN"]),
];

impl Properties {
    /// What the server told of a model, in both languages.
    pub(super) fn of(model: &str, zh: Vec<Attribute>, en: Vec<Attribute>) -> Self {
        let mut this = Self { told: true, ..Self::default() };
        let mut names: Vec<(String, usize)> = Vec::new();
        for Attribute { property_id, name, kind, options } in zh.into_iter().chain(en) {
            let known = this.list.iter().position(|property| *property.id == *property_id);
            let kind = Kind::of(model, &property_id, &kind, options);
            let at = match known {
                Some(at) => {
                    this.list[at].kind.add_options(kind);
                    at
                }
                None => this.add(&property_id, kind, &name),
            };
            names.push((name, at));
        }
        this.add_id(model);
        // An id wins over display names, and these over the names of other versions.
        let told = names.iter().map(|(name, at)| (name.trim(), *at));
        let told: Vec<_> =
            told.filter(|(name, _)| !name.is_empty() && this.find(name).is_none()).collect();
        for (name, at) in told {
            this.name(name, at);
        }
        this.add_built_in_names(model);
        this
    }

    /// What every CMDB has, where the server tells nothing.
    pub(super) fn built_in(model: &str) -> Self {
        let mut this = Self::default();
        for (id, names) in built_in(model) {
            let kind = Kind::of(model, id, "singlechar", Vec::new());
            this.add(id, kind, names[0]);
        }
        this.add_id(model);
        this.add_built_in_names(model);
        this
    }

    fn add(&mut self, id: &str, kind: Kind, label: &str) -> usize {
        let at = self.list.len();
        self.list.push(Property { id: id.into(), kind, label: label.trim().to_owned() });
        self.longest = self.longest.max(id.len());
        self.by_name.insert(id.into(), Named::One(at));
        at
    }

    /// The id itself, which is no attribute.
    fn add_id(&mut self, model: &str) {
        let id = match model {
            "host" => InstanceCall::ListHosts.id_field(),
            "biz" => InstanceCall::SearchBusiness.id_field(),
            _ => InstanceCall::SearchInst.id_field(),
        };
        if self.find(id).is_none() {
            self.add(id, Kind::Integer, "");
        }
    }

    fn add_built_in_names(&mut self, model: &str) {
        for (id, names) in built_in(model) {
            let Some(&Named::One(at)) = self.find(id) else { continue };
            for name in *names {
                if self.find(name).is_none() {
                    self.name(name, at);
                }
            }
        }
    }

    /// Gives a property a further name.
    fn name(&mut self, name: &str, at: usize) {
        self.longest = self.longest.max(name.len());
        match self.by_name.get_mut(name) {
            None => {
                self.by_name.insert(name.into(), Named::One(at));
            }
            Some(named) => match named {
                Named::One(other) if *other == at => {}
                Named::One(other) => *named = Named::Shared(vec![*other, at]),
                Named::Shared(others) if others.contains(&at) => {}
                Named::Shared(others) => others.push(at),
            },
        }
    }

    /// What a text names, which has no spaces at its ends.
    pub(super) fn find(&self, name: &str) -> Option<&Named> {
        self.by_name.get(name)
    }

    /// The property at a place.
    pub(super) fn get(&self, at: usize) -> &Property {
        &self.list[at]
    }

    /// Whether the model has no properties of its own, as one that does not exist.
    pub(super) fn is_empty(&self) -> bool {
        self.list.len() <= 1
    }

    /// The ids of some properties, for a message.
    pub(super) fn ids(&self, places: &[usize]) -> String {
        let ids: Vec<_> = places.iter().map(|at| self.list[*at].shown()).collect();
        ids.join(", ")
    }

    /// All of them for a message, or the first if they are many.
    pub(super) fn shown(&self) -> String {
        let some = self.list.iter().take(MOST_SHOWN);
        let named = some.map(|property| match &*property.label {
            "" => property.shown(),
            label => format!("{} ({})", property.shown(), quoted(label)),
        });
        let named = named.collect::<Vec<_>>().join(", ");
        match self.list.len().saturating_sub(MOST_SHOWN) {
            0 => named,
            more => format!("{named} and {more} more"),
        }
    }
}

impl Property {
    /// The id for a message.
    pub(super) fn shown(&self) -> String {
        quoted(&self.id)
    }

    /// Whether instances are rather found by other properties: few values, many instances.
    pub(super) fn is_weak(&self) -> bool {
        &*self.id == "bk_cloud_id" || matches!(self.kind, Kind::Bool | Kind::Enum(_))
    }
}

impl Kind {
    fn of(model: &str, property: &str, kind: &str, options: Vec<(String, String)>) -> Self {
        match (model, property) {
            ("host", "bk_host_innerip" | "bk_host_outerip") => return Self::Addresses,
            ("host", "bk_host_innerip_v6" | "bk_host_outerip_v6") => return Self::AddressesV6,
            ("host", "bk_cloud_id") => return Self::Integer,
            _ => {}
        }
        match kind {
            "int" | "foreignkey" => Self::Integer,
            "bool" => Self::Bool,
            "enum" => Self::Enum(options),
            "float" | "time" | "organization" | "enummulti" | "enumquote" | "table"
            | "innertable" | "object" => Self::Inexact(kind.to_owned()),
            _ => Self::Text,
        }
    }

    /// Options may have a name in each language, too.
    fn add_options(&mut self, other: Self) {
        if let (Self::Enum(options), Self::Enum(others)) = (self, other) {
            for other in others {
                if !options.contains(&other) {
                    options.push(other);
                }
            }
        }
    }
}

/// A word of the server's for a message: short, and without control characters.
pub(super) fn quoted(word: &str) -> String {
    shown(word).escape_debug().to_string()
}

fn built_in(model: &str) -> &'static [(&'static str, &'static [&'static str])] {
    match model {
        "host" => HOST,
        "biz" => BUSINESS,
        _ => OTHER,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Attributes by id, type and display name.
    pub(in crate::plan) fn attributes(texts: &[(&str, &str, &str)]) -> Vec<Attribute> {
        let attribute = |&(id, kind, name): &(&str, &str, &str)| Attribute {
            property_id: id.to_owned(),
            name: name.to_owned(),
            kind: kind.to_owned(),
            options: Vec::new(),
        };
        texts.iter().map(attribute).collect()
    }

    #[test]
    fn a_property_goes_by_its_id_its_display_names_and_those_of_other_versions() {
        let zh = attributes(&[
            ("bk_host_innerip", "singlechar", "内网IPv4"),
            ("bk_cloud_id", "foreignkey", "管控区域"),
            ("bk_host_innerip_v6", "singlechar", "内网IPv6"),
        ]);
        let en = attributes(&[("bk_host_innerip", "singlechar", "Inner IPv4")]);
        let properties = Properties::of("host", zh, en);
        for (name, id) in [
            ("bk_host_innerip", "bk_host_innerip"),
            ("内网IPv4", "bk_host_innerip"),
            ("Inner IPv4", "bk_host_innerip"),
            ("内网IP", "bk_host_innerip"),
            ("cloud area", "bk_cloud_id"),
            ("bk_host_id", "bk_host_id"),
        ] {
            let Some(Named::One(at)) = properties.find(name) else { panic!("{name} is unknown") };
            assert_eq!(&*properties.get(*at).id, id, "{name}");
        }
        // The server does not have it.
        assert_eq!(properties.find("固资编号"), None);
        assert_eq!(properties.get(0).kind, Kind::Addresses);
        assert_eq!(properties.get(1).kind, Kind::Integer);
    }

    #[test]
    fn an_id_wins_over_a_display_name_and_a_shared_display_name_names_none() {
        let zh = attributes(&[
            ("model", "singlechar", "型号"),
            ("bk_model", "singlechar", "model"),
            ("a", "singlechar", "名称"),
            ("b", "singlechar", "名称"),
            ("instance", "singlechar", "实例名"),
            ("bk_inst_name", "singlechar", "x"),
        ]);
        let properties = Properties::of("m", zh.clone(), zh);
        assert_eq!(properties.find("model"), Some(&Named::One(0)));
        assert_eq!(properties.find("名称"), Some(&Named::Shared(vec![2, 3])));
        assert_eq!(properties.ids(&[2, 3]), "a, b");
        // What another version calls the instance's name is another property's name here.
        assert_eq!(properties.find("实例名"), Some(&Named::One(4)));
        assert_eq!(properties.find("instance name"), Some(&Named::One(5)));
    }

    #[test]
    fn a_message_names_some_properties_whatever_they_are_called() {
        let names: Vec<_> = (0..20).map(|n| (format!("p{n}"), "\u{7}".repeat(200))).collect();
        let texts: Vec<_> = names.iter().map(|(id, name)| (&**id, "int", &**name)).collect();
        let shown = Properties::of("m", attributes(&texts), Vec::new()).shown();
        assert!(shown.ends_with(" and 9 more"), "{shown}");
        assert!(!shown.contains(char::is_control), "{shown}");
        assert!(Properties::of("m", Vec::new(), Vec::new()).is_empty());
    }
}
