//! Profiles: named sets of flags in a TOML file, one table each.
//!
//! ```toml
//! [default]
//! endpoint = "https://paas.example.com"
//! app_code = "migration"
//! app_secret_file = "secret"    # beside this file
//! rate = "50/s"
//! ```

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use crate::cli::layers::{Layer, Source, Values, may_stand_in_a_profile};

use super::Environment;

/// The profile that is used where none is named.
const DEFAULT: &str = "default";

/// Keys whose relative paths start at the file that names them, wherever the command is started.
const PATHS: &[&str] = &["app-secret-file", "token-file", "ca-cert", "metrics-file", "report"];

/// Why a profile can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// The file can't be read.
    #[error("configuration file {}: {source}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is no TOML. Its text is not shown, since it may hold what it should not.
    #[error("configuration file {}, line {line}: {message}", path.display())]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// Where.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// A profile was named that is not there.
    #[error("there is no profile {name:?}: {place}")]
    Missing {
        /// Which.
        name: String,
        /// Where it was looked for, and what is there.
        place: String,
    },
    /// A key that belongs to no profile.
    #[error(
        "configuration file {}: `{key}` stands outside of any profile; put it below a line such as [default]",
        path.display()
    )]
    NoTable {
        /// Which file.
        path: PathBuf,
        /// The key.
        key: String,
    },
    /// A key that is no flag.
    #[error("configuration file {}, profile {profile:?}: there is no key `{key}`", path.display())]
    UnknownKey {
        /// Which file.
        path: PathBuf,
        /// Which profile.
        profile: String,
        /// The key.
        key: String,
    },
    /// A secret itself instead of its file.
    #[error(
        "configuration file {}, profile {profile:?}: `{key}` must not stand in a profile; give `{key}_file`, the path of a file that holds it",
        path.display()
    )]
    Secret {
        /// Which file.
        path: PathBuf,
        /// Which profile.
        profile: String,
        /// The key.
        key: String,
    },
    /// A value that is no value of a flag.
    #[error("configuration file {}, profile {profile:?}: `{key}` is {what}", path.display())]
    Value {
        /// Which file.
        path: PathBuf,
        /// Which profile.
        profile: String,
        /// The key.
        key: String,
        /// What is wrong.
        what: &'static str,
    },
}

/// Reads the profile that is asked for: `None` where there is none and none was named.
pub(super) fn read(
    config: Option<&Path>,
    name: Option<&str>,
    environment: &Environment<'_>,
) -> Result<Option<Layer>, ProfileError> {
    let Some((path, text)) = find(config, environment)? else {
        return match name {
            None => Ok(None),
            Some(name) => Err(ProfileError::Missing {
                name: name.to_owned(),
                place: "no configuration file was found".to_owned(),
            }),
        };
    };
    let file: toml::Table = text.parse().map_err(|error| syntax(&path, &text, &error))?;
    if let Some((key, _)) = file.iter().find(|(_, value)| !value.is_table()) {
        let key = key.clone();
        return Err(ProfileError::NoTable { path, key });
    }
    let Some(table) = file.get(name.unwrap_or(DEFAULT)).and_then(|value| value.as_table()) else {
        return match name {
            None => Ok(None),
            Some(name) => Err(ProfileError::Missing {
                name: name.to_owned(),
                place: format!(
                    "{} has {}",
                    path.display(),
                    file.keys().cloned().collect::<Vec<_>>().join(", ")
                ),
            }),
        };
    };
    let name = name.unwrap_or(DEFAULT);
    let values = values(table, &path, name)?;
    Ok(Some(Layer {
        source: Source::Profile,
        origin: format!("profile {name:?} of {}", path.display()),
        values,
    }))
}

/// The first configuration file there is. One that was named must be there.
fn find(
    config: Option<&Path>,
    environment: &Environment<'_>,
) -> Result<Option<(PathBuf, String)>, ProfileError> {
    let unreadable =
        |path: &Path, source| ProfileError::Unreadable { path: path.to_owned(), source };
    if let Some(path) = config {
        let text = std::fs::read_to_string(path).map_err(|error| unreadable(path, error))?;
        return Ok(Some((path.to_owned(), text)));
    }
    let absolute = |path: &PathBuf| path.is_absolute();
    let home = (environment.get("XDG_CONFIG_HOME").map(PathBuf::from))
        .filter(absolute)
        .or_else(|| Some(PathBuf::from(environment.get("HOME")?).join(".config")))
        .filter(absolute)
        .map(|folder| folder.join("bkassoc").join("config.toml"));
    for path in home.iter().map(PathBuf::as_path).chain([environment.system_config]) {
        match std::fs::read_to_string(path) {
            Ok(text) => return Ok(Some((path.to_owned(), text))),
            Err(error) if is_absent(&error) => {}
            Err(error) => return Err(unreadable(path, error)),
        }
    }
    Ok(None)
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn syntax(path: &Path, text: &str, error: &toml::de::Error) -> ProfileError {
    let start = error.span().map_or(0, |span| span.start);
    let before = text.get(..start).unwrap_or_default();
    ProfileError::Syntax {
        path: path.to_owned(),
        line: 1 + before.matches('\n').count(),
        message: error.message().to_owned(),
    }
}

fn values(table: &toml::Table, path: &Path, profile: &str) -> Result<Values, ProfileError> {
    let mut values = Values::new();
    for (key, value) in table {
        let (path, profile, flag) = (path.to_owned(), profile.to_owned(), key.replace('_', "-"));
        if matches!(&*flag, "app-secret" | "token") {
            let key = key.clone();
            return Err(ProfileError::Secret { path, profile, key });
        }
        if !may_stand_in_a_profile(&flag) {
            let key = key.clone();
            return Err(ProfileError::UnknownKey { path, profile, key });
        }
        let scalars = match value {
            toml::Value::Array(many) => many.iter().map(scalar).collect(),
            one => scalar(one).map(|text| vec![text]),
        };
        let what = match scalars {
            _ if values.contains_key(&flag) => "given twice, with - and with _",
            None => "neither a text, a number, a switch nor a list of these",
            Some(texts) => {
                let is_path = PATHS.contains(&&*flag);
                let texts = texts.into_iter().map(|text| {
                    if is_path { path.with_file_name(text).into_os_string() } else { text.into() }
                });
                let texts = texts.collect();
                values.insert(flag, texts);
                continue;
            }
        };
        let key = key.clone();
        return Err(ProfileError::Value { path, profile, key, what });
    }
    Ok(values)
}

fn scalar(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Float(number) => Some(number.to_string()),
        toml::Value::Boolean(switch) => Some(switch.to_string()),
        _ => None,
    }
}

/// The values that variables give to these flags.
pub(super) fn variables<'a>(
    flags: impl Iterator<Item = &'a str>,
    environment: &Environment<'_>,
) -> Layer {
    let values = flags.filter_map(|flag| {
        let value = environment.get(&crate::cli::layers::variable(flag))?;
        Some((flag.to_owned(), split_list(flag, value)))
    });
    Layer { source: Source::Variable, origin: "a variable".to_owned(), values: values.collect() }
}

/// A variable holds several values of these flags between semicolons: column names and model
/// associations hold commas and spaces.
fn split_list(flag: &str, value: OsString) -> Vec<OsString> {
    match value.to_str() {
        Some(text) if matches!(flag, "map" | "model" | "against" | "fault") => {
            text.split(';').map(OsString::from).collect()
        }
        _ => vec![value],
    }
}
