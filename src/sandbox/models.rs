//! The world of a sandbox: models, their instances, model associations, existing associations, and who
//! may call.
//!
//! Owns the shape of a models file. Knows nothing of calls, rules or rows.
//!
//! ```toml
//! supplier_account = "0"                      # the default
//! tenant_id = "a"                             # the only tenant; left out: there are none
//!
//! [credentials]                               # of the ESB and the gateway; these are the defaults
//! app_code = "sandbox"
//! app_secret = "sandbox-secret"
//! token = "sandbox-token"                     # the one bk_token that is valid
//! trusted = true                              # whether the app may name any bk_username
//! audit = true                                # whether its users may see the audit log
//! view = true                                 # whether its users may see instances, which 3.14 checks
//!
//! [instances]                                 # ids of each model, as numbers and ranges
//! bk_switch = ["11-60"]
//! host = ["21-900", "1001"]
//!
//! [[instance]]                                # one that has a name; it exists
//! model = "bk_switch"
//! id = 11
//! bk_inst_name = "core-sw"                    # any attributes of the model
//! bk_asset_id = "SW-A1"
//!
//! [[instance]]                                # many: {n} counts them from 1, {id} is the id
//! model = "host"
//! ids = "1001-51000"
//! bk_host_innerip = "{10.0.0.0+n}"            # a list where a host has several
//! bk_asset_id = "AS-{n:06}"
//!
//! [[attribute]]                               # beside those that every CMDB has
//! model = "bk_switch"
//! id = "tier"
//! type = "enum"                               # left out: singlechar
//! zh = "层级"                                  # display names; left out: the id
//! en = "tier"
//! options = [["1", "core"], ["2", "access"]]  # of an enum: ids and names
//!
//! [[unique]]                                  # instead of those that every CMDB has
//! model = "bk_switch"
//! keys = ["bk_inst_name", "tier"]
//!
//! [[association]]
//! obj_asst_id = "bk_switch_belong_bk_host"
//! source = "bk_switch"
//! target = "host"
//! mapping = "1:n"                             # or 1:1, n:n
//! kind = "belong"                             # left out: what stands between the models' names
//! name = "uplink"                             # for people; left out: empty
//! existing = [[11, 22]]                       # pairs that are there from the start
//! ```

use std::num::NonZeroU16;
use std::ops::RangeInclusive;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::attributes::{Attribute, Unique, built_in, built_in_rules};
use super::instances::{Group, Instances};
use crate::association::{Mapping, ModelAssociation};
use crate::target::Secret;

/// Everything that a models file says.
#[derive(Clone, Debug)]
pub struct Models {
    /// Who may call the ESB and the gateway.
    pub credentials: Credentials,
    /// The account that owns the instances.
    pub supplier_account: String,
    /// The tenant that every call has to name, where there are tenants.
    pub tenant_id: Option<String>,
    by_model: FxHashMap<String, Model>,
    known: Vec<Known>,
    by_name: FxHashMap<Arc<str>, TableId>,
}

/// Who may call the ESB and the gateway. A native entrance asks for no secret.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Credentials {
    /// `bk_app_code`; by default `sandbox`.
    pub app_code: String,
    /// `bk_app_secret`; by default `sandbox-secret`.
    #[serde(deserialize_with = "secret")]
    pub app_secret: Secret,
    /// The one `bk_token` that is valid; by default `sandbox-token`.
    #[serde(deserialize_with = "secret")]
    pub token: Secret,
    /// Whether the app is on the ESB's list of those that may name any `bk_username`.
    pub trusted: bool,
    /// Whether its users have the permission to see the audit log.
    pub audit: bool,
    /// Whether its users have the permission to see instances, which is checked from 3.13 on
    /// (docs/cmdb-api.md#permissions).
    pub view: bool,
    /// Calls that the app may not make, by the ESB's names; they are refused by the ESB and by the gateway.
    pub denied: Vec<String>,
}

fn secret<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Secret, D::Error> {
    String::deserialize(d).map(Secret::new)
}

impl Default for Credentials {
    fn default() -> Self {
        Self {
            app_code: "sandbox".to_owned(),
            app_secret: Secret::new("sandbox-secret"),
            token: Secret::new("sandbox-token"),
            trusted: true,
            audit: true,
            view: true,
            denied: Vec::new(),
        }
    }
}

/// A model association as a small number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct TableId(NonZeroU16);

impl TableId {
    pub(super) fn new(index: usize) -> Option<Self> {
        let number = u16::try_from(index + 1).ok()?;
        NonZeroU16::new(number).map(Self)
    }

    pub(super) fn index(self) -> usize {
        usize::from(self.0.get()) - 1
    }
}

/// A model.
#[derive(Clone, Debug)]
pub(super) struct Model {
    pub(super) attributes: Vec<Attribute>,
    pub(super) uniques: Vec<Unique>,
    pub(super) instances: Instances,
}

/// A model association, with what bkassoc's own type has no use for.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) model: ModelAssociation,
    /// `bk_asst_id`
    pub(super) kind: String,
    /// `bk_obj_asst_name`
    pub(super) name: String,
    pub(super) existing: Vec<(i64, i64)>,
}

/// Why a models file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ModelsError {
    /// It is no TOML, or not of the shape described at the top of this module.
    #[error("models: {0}")]
    Toml(#[from] toml::de::Error),
    /// A text that is no id and no range.
    #[error("models: [instances] {model}: {text:?} is neither an id nor a range like \"1-200\"")]
    Range {
        /// The model.
        model: String,
        /// The text in the file.
        text: String,
    },
    /// An instance, an attribute or a unique rule that makes no sense.
    #[error("models: {model}: {what}")]
    Model {
        /// The model.
        model: String,
        /// What is wrong.
        what: String,
    },
    /// Not 1:1, 1:n or n:n.
    #[error("models: association {association}: mapping {text:?} is not 1:1, 1:n or n:n")]
    Mapping {
        /// The model association.
        association: String,
        /// The text in the file.
        text: String,
    },
    /// Empty, or with white space in it.
    #[error("models: {0:?} is not the name of a model association")]
    Name(String),
    /// The same name twice.
    #[error("models: association {0} is there twice")]
    Twice(String),
    /// A model without a line under `[instances]`.
    #[error("models: association {association}: [instances] has no model {model}")]
    NoModel {
        /// The model association.
        association: String,
        /// The model.
        model: String,
    },
    /// A pair whose ends do not exist.
    #[error(
        "models: association {association}: existing pair [{source_id}, {target_id}] names an instance that is not there"
    )]
    NoInstance {
        /// The model association.
        association: String,
        /// The pair's source.
        source_id: i64,
        /// The pair's target.
        target_id: i64,
    },
    /// More than 65,535.
    #[error("models: more than 65,535 associations")]
    TooMany,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default = "default_account")]
    supplier_account: String,
    tenant_id: Option<String>,
    #[serde(default)]
    credentials: Credentials,
    #[serde(default)]
    instances: FxHashMap<String, Vec<String>>,
    #[serde(default)]
    instance: Vec<DeclaredInstances>,
    #[serde(default)]
    attribute: Vec<DeclaredAttribute>,
    #[serde(default)]
    unique: Vec<DeclaredUnique>,
    #[serde(default)]
    association: Vec<DeclaredAssociation>,
}

#[derive(Deserialize)]
struct DeclaredInstances {
    model: String,
    id: Option<i64>,
    ids: Option<String>,
    #[serde(flatten)]
    properties: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeclaredAttribute {
    model: String,
    id: String,
    #[serde(default = "default_type", rename = "type")]
    kind: String,
    zh: Option<String>,
    en: Option<String>,
    #[serde(default)]
    options: Vec<(String, String)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeclaredUnique {
    model: String,
    keys: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeclaredAssociation {
    obj_asst_id: String,
    source: String,
    target: String,
    mapping: String,
    kind: Option<String>,
    #[serde(default)]
    name: String,
    #[serde(default)]
    existing: Vec<(i64, i64)>,
}

fn default_account() -> String {
    "0".to_owned()
}

fn default_type() -> String {
    "singlechar".to_owned()
}

impl Models {
    /// Reads a models file.
    pub fn from_toml(text: &str) -> Result<Self, ModelsError> {
        let file: File = toml::from_str(text)?;
        let mut models = Self {
            credentials: file.credentials,
            supplier_account: file.supplier_account,
            tenant_id: file.tenant_id,
            by_model: models_of(file.instances, file.instance, file.attribute, file.unique)?,
            known: Vec::new(),
            by_name: FxHashMap::default(),
        };
        for declared in file.association {
            models.add(declared)?;
        }
        Ok(models)
    }

    /// `samples/sandbox.toml`: what `import --sandbox` uses.
    pub fn sample() -> Self {
        Self::from_toml(include_str!("../../samples/sandbox.toml"))
            .expect("the sample is tested to be readable")
    }

    fn add(&mut self, declared: DeclaredAssociation) -> Result<(), ModelsError> {
        let association = declared.obj_asst_id;
        if association.is_empty() || association.contains(char::is_whitespace) {
            return Err(ModelsError::Name(association));
        }
        for model in [&declared.source, &declared.target] {
            if !self.by_model.contains_key(model) {
                let model = model.clone();
                return Err(ModelsError::NoModel { association, model });
            }
        }
        let Some(mapping) = Mapping::parse(&declared.mapping) else {
            let text = declared.mapping;
            return Err(ModelsError::Mapping { association, text });
        };
        for &(source_id, target_id) in &declared.existing {
            if !self.exists(&declared.source, source_id)
                || !self.exists(&declared.target, target_id)
            {
                return Err(ModelsError::NoInstance { association, source_id, target_id });
            }
        }
        let kind = declared.kind.unwrap_or_else(|| {
            let inner = association
                .strip_prefix(declared.source.as_str())
                .and_then(|rest| rest.strip_suffix(declared.target.as_str()));
            inner.unwrap_or("default").trim_matches('_').to_owned()
        });
        let table = TableId::new(self.known.len()).ok_or(ModelsError::TooMany)?;
        let name: Arc<str> = association.into();
        if self.by_name.insert(Arc::clone(&name), table).is_some() {
            return Err(ModelsError::Twice(name.to_string()));
        }
        self.known.push(Known {
            model: ModelAssociation {
                obj_asst_id: name,
                source: declared.source.into(),
                target: declared.target.into(),
                mapping,
                guessed: false,
                mainline: kind == "bk_mainline",
            },
            kind,
            name: declared.name,
            existing: declared.existing,
        });
        Ok(())
    }

    pub(super) fn table(&self, obj_asst_id: &str) -> Option<TableId> {
        self.by_name.get(obj_asst_id).copied()
    }

    pub(super) fn get(&self, table: TableId) -> &Known {
        &self.known[table.index()]
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (TableId, &Known)> {
        let numbered = self.known.iter().enumerate();
        numbered.filter_map(|(index, known)| Some((TableId::new(index)?, known)))
    }

    pub(super) fn exists(&self, model: &str, instance: i64) -> bool {
        self.model(model).is_some_and(|model| model.instances.contains(instance))
    }

    pub(super) fn model(&self, model: &str) -> Option<&Model> {
        self.by_model.get(model)
    }
}

/// What a file says of one model.
#[derive(Default)]
struct Said {
    ids: Vec<RangeInclusive<i64>>,
    instances: Vec<DeclaredInstances>,
    attributes: Vec<DeclaredAttribute>,
    uniques: Vec<DeclaredUnique>,
}

/// The models of a file: those that have instances, named or counted.
fn models_of(
    counted: FxHashMap<String, Vec<String>>,
    instances: Vec<DeclaredInstances>,
    attributes: Vec<DeclaredAttribute>,
    uniques: Vec<DeclaredUnique>,
) -> Result<FxHashMap<String, Model>, ModelsError> {
    let mut said: FxHashMap<String, Said> = FxHashMap::default();
    for (model, texts) in counted {
        let ranges = texts.into_iter().map(|text| {
            range(&text).ok_or_else(|| ModelsError::Range { model: model.clone(), text })
        });
        let ids = ranges.collect::<Result<_, _>>()?;
        said.insert(model, Said { ids, ..Said::default() });
    }
    for declared in instances {
        said.entry(declared.model.clone()).or_default().instances.push(declared);
    }
    for declared in attributes {
        said.entry(declared.model.clone()).or_default().attributes.push(declared);
    }
    for declared in uniques {
        said.entry(declared.model.clone()).or_default().uniques.push(declared);
    }
    let read = said.into_iter().map(|(model, said)| match Model::read(&model, said) {
        Ok(read) => Ok((model, read)),
        Err(what) => Err(ModelsError::Model { model, what }),
    });
    read.collect()
}

impl Model {
    fn read(model: &str, said: Said) -> Result<Self, String> {
        let mut attributes = built_in(model);
        for (number, declared) in (1001..).zip(said.attributes) {
            attributes.retain(|known| known.property != declared.id);
            attributes.push(declared.read(number));
        }
        let group = |declared: DeclaredInstances| {
            let DeclaredInstances { id, ids, properties, .. } = declared;
            let ids = match (id, ids) {
                (Some(id), None) if id >= 1 => id..=id,
                (None, Some(text)) => {
                    range(&text).ok_or_else(|| format!("{text:?} is no range like \"1-200\""))?
                }
                _ => return Err("an instance needs an id above 0, or ids".to_owned()),
            };
            Group::new(model, ids, properties, &attributes)
        };
        let groups = said.instances.into_iter().map(group).collect::<Result<_, _>>()?;
        let uniques = if said.uniques.is_empty() {
            built_in_rules(model)
        } else {
            let rule = |(id, declared): (i64, DeclaredUnique)| Unique {
                id,
                properties: declared.keys,
                built_in: false,
            };
            (1001..).zip(said.uniques).map(rule).collect()
        };
        let is_unknown = |key: &&String| attributes.iter().all(|known| known.property != **key);
        if let Some(key) = uniques.iter().flat_map(|rule| &rule.properties).find(is_unknown) {
            return Err(format!("a unique rule names {key}, which is none of its attributes"));
        }
        let instances = Instances::new(model, said.ids, groups, &attributes)?;
        Ok(Self { attributes, uniques, instances })
    }
}

impl DeclaredAttribute {
    fn read(self, id: i64) -> Attribute {
        let name = |name: Option<String>| name.unwrap_or_else(|| self.id.clone());
        Attribute {
            id,
            kind: self.kind,
            zh: name(self.zh),
            en: name(self.en),
            options: self.options,
            built_in: false,
            property: self.id,
        }
    }
}

fn range(text: &str) -> Option<RangeInclusive<i64>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    (1 <= first && first <= last).then_some(first..=last)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = r#"
        [instances]
        a = ["1-9", "20"]
        b = ["5"]
        [[association]]
        obj_asst_id = "a_run_b"
        source = "a"
        target = "b"
        mapping = "n:n"
        existing = [[20, 5]]
    "#;

    #[test]
    fn a_models_file_says_what_exists_and_has_documented_defaults() {
        let models = Models::from_toml(SMALL).unwrap();
        let known = models.get(models.table("a_run_b").unwrap());
        assert_eq!((known.kind.as_str(), known.model.mainline), ("run", false));
        assert_eq!(models.supplier_account, "0");
        assert_eq!(models.credentials.app_code, "sandbox");
        assert_eq!(models.credentials.app_secret.expose(), "sandbox-secret");
        for (id, there) in [(0, false), (1, true), (9, true), (10, false), (20, true)] {
            assert_eq!(models.exists("a", id), there, "{id}");
        }
        assert!(!models.exists("c", 1));
    }

    #[test]
    fn an_earlier_file_whose_hosts_are_another_model_still_says_what_it_said() {
        let earlier = SMALL.replace("b = [", "bk_host = [").replace("\"b\"", "\"bk_host\"");
        let models = Models::from_toml(&earlier.replace("a_run_b", "a_run_bk_host")).unwrap();
        let known = models.get(models.table("a_run_bk_host").unwrap());
        assert_eq!((known.kind.as_str(), &*known.model.target), ("run", "bk_host"));
        assert!(models.exists("bk_host", 5) && !models.exists("host", 5));
    }

    #[test]
    fn an_instance_exists_by_being_named() {
        let named = "[[instance]]\nmodel = \"b\"\nids = \"6-8\"\nbk_inst_name = \"b-{n}\"\n";
        let models = Models::from_toml(&format!("{SMALL}{named}")).unwrap();
        assert!(models.exists("b", 5) && models.exists("b", 8) && !models.exists("b", 9));
        let instances = &models.model("b").unwrap().instances;
        assert_eq!(instances.get(7).unwrap()["bk_inst_name"], "b-2");
        assert_eq!(instances.get(5).unwrap().len(), 1, "it has no name");
        for (from, to, says) in [
            ("ids", "id", "invalid type"),
            ("\"6-8\"", "\"8-6\"", "8-6"),
            ("ids = \"6-8\"", "", "needs an id"),
            ("bk_inst_name", "name", "name is none of its attributes"),
            ("{n}", "{m}", "is no pattern"),
            ("[[instance]]", "[[unique]]\nmodel = \"b\"\nkeys = [\"x\"]\n[[instance]]", "names x"),
            (
                "[[instance]]",
                "[[instance]]\nmodel = \"b\"\nid = 7\n[[instance]]",
                "7 is named twice",
            ),
        ] {
            let text = format!("{SMALL}{}", named.replacen(from, to, 1));
            let error = Models::from_toml(&text).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn a_models_file_that_makes_no_sense_is_refused_by_name() {
        for (from, to, says) in [
            ("[[20, 5]]", "[[20, 6]]", "[20, 6]"),
            ("\"1-9\"", "\"9-1\"", "\"9-1\""),
            ("n:n", "n:1", "\"n:1\""),
            ("target = \"b\"", "target = \"c\"", "no model c"),
            ("a_run_b", "a run b", "\"a run b\""),
            ("mapping", "maping", "maping"),
        ] {
            let error = Models::from_toml(&SMALL.replace(from, to)).unwrap_err();
            assert!(error.to_string().contains(says), "{error}");
        }
        let entry = &SMALL[SMALL.find("[[association]]").unwrap()..];
        let twice = Models::from_toml(&format!("{SMALL}{entry}")).unwrap_err();
        assert!(matches!(twice, ModelsError::Twice(name) if name == "a_run_b"));
    }
}
