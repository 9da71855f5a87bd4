//! As whom calls are made: which of username and token wins, and where secrets are read.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::cli::TargetArgs;
use crate::cli::layers::Source;
use crate::target::{Entrance, Identity, Secret};

use super::Environment;

const APP_CODE: [&str; 2] = ["BK_APP_CODE", "BKPAAS_APP_ID"];
const APP_SECRET: [&str; 2] = ["BK_APP_SECRET", "BKPAAS_APP_SECRET"];
const USERNAME: [&str; 1] = ["BK_USERNAME"];
const TOKEN: [&str; 1] = ["BK_TOKEN"];
/// Characters that a secret has at least.
const SHORTEST_SECRET: usize = 4;

/// Why there is nobody to make calls as.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A secret's file can't be read.
    #[error("{origin}: the file {} can't be read: {source}", path.display())]
    Unreadable {
        /// Who names the file.
        origin: String,
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A secret's file is empty.
    #[error("{origin}: the file {} is empty", path.display())]
    Empty {
        /// Who names the file.
        origin: String,
        /// Which file.
        path: PathBuf,
    },
    /// A secret of a few letters: it would be found in words of every message.
    #[error(
        "{origin}: a secret of {length} {} can't be kept out of messages without garbling them, which would \
         give it away; check that it is whole",
        if *length == 1 { "character" } else { "characters" }
    )]
    TooShort {
        /// Who gives it.
        origin: String,
        /// How many characters it has.
        length: usize,
    },
    /// A variable that is no text.
    #[error("{0} is not UTF-8")]
    NotText(&'static str),
    /// Something that this entrance can't do without.
    #[error("{what} is missing: {how} (needed for --entrance {})", entrance.as_str())]
    Missing {
        /// What.
        what: &'static str,
        /// How to give it.
        how: &'static str,
        /// For which entrance.
        entrance: Entrance,
    },
}

/// Everything known of who makes the calls, and warnings about how it is kept.
pub(super) struct Found {
    pub(super) identity: Identity,
    pub(super) warnings: Vec<String>,
}

/// Finds out as whom to make calls. Reads only the secrets that are sent: a username that is given at
/// least as directly as a token wins over it, and an apiserver takes no secret at all.
pub(super) fn find(
    args: &TargetArgs,
    sources: &BTreeMap<String, (Source, String)>,
    environment: &Environment<'_>,
) -> Result<Found, IdentityError> {
    let mut warnings = Vec::new();
    let app_code = named(args.app_code.as_deref(), "app-code", sources, &APP_CODE, environment)?;
    let username = named(args.username.as_deref(), "username", sources, &USERNAME, environment)?;
    let mut identity = Identity { app_code: app_code.map(|(_, text)| text), ..Identity::default() };
    if args.entrance == Entrance::Native {
        identity.username = username.map(|(_, text)| text);
        return complete(identity, args.entrance).map(|identity| Found { identity, warnings });
    }
    let mut secret = |path: Option<&Path>, flag, fallbacks| {
        Kept::find(path, flag, sources, fallbacks, environment)?
            .map(|kept| kept.read(&mut warnings))
            .transpose()
    };
    identity.app_secret = secret(args.app_secret_file.as_deref(), "app-secret-file", &APP_SECRET)?;
    let token = Kept::find(args.token_file.as_deref(), "token-file", sources, &TOKEN, environment)?;
    match (username, token) {
        (Some((named_at, username)), token)
            if token.as_ref().is_none_or(|token| named_at <= token.source()) =>
        {
            identity.username = Some(username);
        }
        (_, Some(token)) => identity.token = Some(token.read(&mut warnings)?),
        (_, None) => {}
    }
    complete(identity, args.entrance).map(|identity| Found { identity, warnings })
}

/// A name and where it was given: by a flag or a layer, else in a variable of other tools.
fn named(
    value: Option<&str>,
    flag: &str,
    sources: &BTreeMap<String, (Source, String)>,
    fallbacks: &[&'static str],
    environment: &Environment<'_>,
) -> Result<Option<(Source, String)>, IdentityError> {
    if let (Some(value), Some((source, _))) = (value, sources.get(flag)) {
        return Ok(Some((*source, value.to_owned())));
    }
    let value = fallback(fallbacks, environment)?;
    Ok(value.map(|(_, value)| (Source::Fallback, value)))
}

fn fallback(
    names: &[&'static str],
    environment: &Environment<'_>,
) -> Result<Option<(&'static str, String)>, IdentityError> {
    for name in names {
        if let Some(value) = environment.get(name) {
            let text = value.into_string().map_err(|_| IdentityError::NotText(name))?;
            return Ok(Some((name, text)));
        }
    }
    Ok(None)
}

/// A secret that was not read yet.
enum Kept {
    File { path: PathBuf, source: Source, origin: String },
    Variable { name: &'static str, text: Secret },
}

impl Kept {
    fn find(
        path: Option<&Path>,
        flag: &str,
        sources: &BTreeMap<String, (Source, String)>,
        fallbacks: &[&'static str],
        environment: &Environment<'_>,
    ) -> Result<Option<Self>, IdentityError> {
        if let (Some(path), Some((source, origin))) = (path, sources.get(flag)) {
            return Ok(Some(Self::File {
                path: path.to_owned(),
                source: *source,
                origin: origin.clone(),
            }));
        }
        let kept = fallback(fallbacks, environment)?;
        Ok(kept.map(|(name, text)| Self::Variable { name, text: Secret::new(text) }))
    }

    const fn source(&self) -> Source {
        match self {
            Self::File { source, .. } => *source,
            Self::Variable { .. } => Source::Fallback,
        }
    }

    /// The secret, without the line's end that an editor leaves.
    fn read(self, warnings: &mut Vec<String>) -> Result<Secret, IdentityError> {
        let (path, origin) = match self {
            Self::Variable { name, text } => return long_enough(text, name),
            Self::File { path, origin, .. } => (path, origin),
        };
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(source) => {
                return Err(IdentityError::Unreadable { origin, path, source });
            }
        };
        let text = text.trim_end_matches(['\r', '\n']);
        if text.trim().is_empty() {
            return Err(IdentityError::Empty { origin, path });
        }
        if is_open_to_all(&path) {
            warnings.push(format!(
                "{}: everyone on this machine can read this secret; chmod 600 it",
                path.display()
            ));
        }
        long_enough(Secret::new(text), &origin)
    }
}

fn long_enough(secret: Secret, origin: &str) -> Result<Secret, IdentityError> {
    let length = secret.expose().chars().count();
    if length < SHORTEST_SECRET {
        return Err(IdentityError::TooShort { origin: origin.to_owned(), length });
    }
    Ok(secret)
}

fn is_open_to_all(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0)
}

/// Refuses what no server at this entrance would take (docs/cmdb-api.md#credentials-and-headers).
fn complete(identity: Identity, entrance: Entrance) -> Result<Identity, IdentityError> {
    let missing = |what, how| Err(IdentityError::Missing { what, how, entrance });
    match entrance {
        Entrance::Native if identity.username.is_none() => {
            missing("the username", "give --username or BK_USERNAME")
        }
        Entrance::Native => Ok(identity),
        _ if identity.app_code.is_none() => {
            missing("the app code", "give --app-code or BK_APP_CODE")
        }
        _ if identity.app_secret.is_none() => {
            missing("the app secret", "give --app-secret-file PATH or BK_APP_SECRET")
        }
        _ if identity.username.is_none() && identity.token.is_none() => {
            missing("a user", "give --username, or --token-file PATH with a user's bk_token")
        }
        Entrance::Esb | Entrance::Gateway => Ok(identity),
    }
}
