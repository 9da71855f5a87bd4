//! The world of a sandbox: model associations, instances, existing associations, and who may call.
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
//!
//! [instances]                                 # ids of each model, as numbers and ranges
//! bk_switch = ["11-60"]
//! bk_host = ["21-900", "1001"]
//!
//! [[association]]
//! obj_asst_id = "bk_switch_belong_bk_host"
//! source = "bk_switch"
//! target = "bk_host"
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
    instances: FxHashMap<String, Vec<RangeInclusive<i64>>>,
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
    association: Vec<DeclaredAssociation>,
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

impl Models {
    /// Reads a models file.
    pub fn from_toml(text: &str) -> Result<Self, ModelsError> {
        let file: File = toml::from_str(text)?;
        let mut models = Self {
            credentials: file.credentials,
            supplier_account: file.supplier_account,
            tenant_id: file.tenant_id,
            instances: FxHashMap::default(),
            known: Vec::new(),
            by_name: FxHashMap::default(),
        };
        for (model, texts) in file.instances {
            let range = |text: &String| {
                range(text)
                    .ok_or_else(|| ModelsError::Range { model: model.clone(), text: text.clone() })
            };
            let ranges = texts.iter().map(range).collect::<Result<_, _>>()?;
            models.instances.insert(model, ranges);
        }
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
            if !self.instances.contains_key(model) {
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
        let ranges = self.instances.get(model).into_iter().flatten();
        ranges.into_iter().any(|range| range.contains(&instance))
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
