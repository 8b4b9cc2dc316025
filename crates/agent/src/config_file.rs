//! `config.yaml`: read, checked, and edited in place.

use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use xshield_enforce::config::{Config, ConfigError, KEYS, Layout, Provisioning};
use xshield_enforce::files::{self, Access, FileError};
use xshield_enforce::lock::{self, LockError};

use crate::os;
use crate::started_by::StartedBy;
use crate::yaml::{Document, EditError, Scalar};

/// The agent's section.
pub const SECTION: &str = "configuration";

/// A checked configuration and its unknown keys.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Unknown keys with their lines: kept, without effect.
    pub unknown: Vec<(usize, String)>,
}

/// Why the configuration could not be changed. The file is unchanged.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// It can't be read, or the result would be invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// It can't be edited by lines.
    #[error("{path}: {source}", path = .path.display())]
    Edit {
        /// The file.
        path: PathBuf,
        /// The position and the reason.
        source: EditError,
    },
    /// A key that does not exist.
    #[error("{key:?} is not a configuration key; expected one of {}", known_keys())]
    UnknownKey {
        /// The key as given.
        key: String,
    },
    /// Names without values, or values without names.
    #[error("{0} is missing{SHELL}")]
    Missing(&'static str),
    /// Nothing to change.
    #[error("no change was given: add --set {SECTION}.KEY=VALUE, as often as needed")]
    Nothing,
    /// Not `KEY=VALUE`. The text is not shown, since it may be a password.
    #[error("--set takes KEY=VALUE, e.g. --set {SECTION}.heartbeat-seconds=60")]
    NotSet,
    /// The numbers of keys and values differ.
    #[error(
        "{params} parameters and {values} values: give as many of the one as of the other, \
         separated by semicolons{SHELL}"
    )]
    Counts {
        /// The number of keys.
        params: usize,
        /// The number of values.
        values: usize,
    },
    /// The edit would also have changed something else.
    #[error(
        "{path} can't be changed by its lines without changing something else: change it by hand",
        path = .0.display()
    )]
    Unsure(PathBuf),
    /// Its directory can't be created.
    #[error("creating {path} failed", path = .path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The error returned by the OS.
        #[source]
        source: std::io::Error,
    },
    /// The file or its copy can't be written.
    #[error(transparent)]
    Write(#[from] FileError),
    /// Another command is changing it.
    #[error("the configuration is being changed by another command; try again")]
    Busy,
    /// The lock can't be taken.
    #[error(transparent)]
    Lock(#[from] LockError),
}

/// A hint about unquoted semicolons.
const SHELL: &str = "; the shell ends a command at an unquoted semicolon, and runs the rest as separate commands: write 'A;B', or --set A=VALUE --set B=VALUE, which need \
                     no semicolons";

fn known_keys() -> String {
    KEYS.map(|key| format!("{SECTION}.{key}")).join(", ")
}

/// A key and its new value. `Debug` does not show the value: it may be a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Edit {
    key: &'static str,
    value: NewValue,
}

#[derive(Clone, PartialEq, Eq)]
enum NewValue {
    Text(String),
    Block(String),
    List(Vec<String>),
    /// Removes the key.
    None,
}

impl fmt::Debug for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Edit").field("key", &self.key).finish_non_exhaustive()
    }
}

impl Edit {
    /// An edit of `key`, given without the section's name.
    ///
    /// # Errors
    /// If there is no such key.
    pub fn new(key: &str, value: &str) -> Result<Self, ChangeError> {
        let known = KEYS.into_iter().find(|known| *known == key);
        let key = known.ok_or_else(|| ChangeError::UnknownKey { key: key.to_owned() })?;
        Ok(Self { key, value: NewValue::Text(value.to_owned()) })
    }

    /// The CA certificates, PEM, in the file itself.
    #[must_use]
    pub(crate) fn ca(pem: &str) -> [Self; 2] {
        let lines = pem.lines().map(str::trim).filter(|line| !line.is_empty());
        let block = lines.map(|line| format!("{line}\n")).collect();
        [
            Self { key: "ca", value: NewValue::Block(block) },
            Self { key: "ca-file", value: NewValue::None },
        ]
    }

    /// The enforcement key, in the file itself.
    #[must_use]
    pub(crate) fn enforcement_key(text: &str) -> [Self; 2] {
        [
            Self { key: "enforcement-key", value: NewValue::Text(text.to_owned()) },
            Self { key: "enforcement-key-file", value: NewValue::None },
        ]
    }

    /// The keys that may sign rulesets.
    #[must_use]
    pub(crate) fn policy_keys(keys: Vec<String>) -> Self {
        Self { key: "policy-keys", value: NewValue::List(keys) }
    }

    /// A number if the key takes one; `None` removes the key.
    fn scalar(&self) -> Option<Scalar<'_>> {
        let numeric =
            ["-seconds", "-percent", "-mib", "-budget"].iter().any(|end| self.key.ends_with(end));
        Some(match &self.value {
            NewValue::Text(text) => match text.parse::<f64>() {
                Ok(number) if numeric && number.is_finite() => Scalar::Number(number),
                _ => Scalar::Text(text),
            },
            NewValue::Block(text) => Scalar::Block(text),
            NewValue::List(texts) => Scalar::List(texts),
            NewValue::None => return None,
        })
    }

    /// Parses the arguments of `updateConfig`: names and values with semicolons, and `KEY=VALUE`s.
    ///
    /// # Errors
    /// When one is without the other, nothing is given, or a key does not exist.
    pub fn given(
        params: Option<&str>,
        values: Option<&str>,
        sets: &[String],
    ) -> Result<Vec<Self>, ChangeError> {
        let mut changes = match (params, values) {
            (Some(params), Some(values)) => Self::list(params, values)?,
            (Some(_), None) => return Err(ChangeError::Missing("--value")),
            (None, Some(_)) => return Err(ChangeError::Missing("--param")),
            (None, None) if sets.is_empty() => return Err(ChangeError::Nothing),
            (None, None) => Vec::new(),
        };
        for set in sets {
            let (key, value) = set.split_once('=').ok_or(ChangeError::NotSet)?;
            changes.push(Self::named(key.trim(), value)?);
        }
        Ok(changes)
    }

    /// Parses `a;b;c` and `x;y;z`.
    ///
    /// # Errors
    /// When there are not as many values as keys, or a key does not exist.
    pub fn list(params: &str, values: &str) -> Result<Vec<Self>, ChangeError> {
        let params: Vec<&str> = params.split(';').map(str::trim).collect();
        let values: Vec<&str> = values.split(';').map(str::trim).collect();
        if params.len() != values.len() {
            return Err(ChangeError::Counts { params: params.len(), values: values.len() });
        }
        params.into_iter().zip(values).map(|(param, value)| Self::named(param, value)).collect()
    }

    /// An edit of `param`, given with the section's name.
    fn named(param: &str, value: &str) -> Result<Self, ChangeError> {
        let key = param.strip_prefix(SECTION).and_then(|rest| rest.strip_prefix('.'));
        let key = key.ok_or_else(|| unknown(param))?;
        Self::new(key, value).map_err(|_| unknown(param))
    }
}

fn unknown(param: &str) -> ChangeError {
    ChangeError::UnknownKey { key: param.to_owned() }
}

/// Reads and checks the file.
///
/// # Errors
/// See [`ConfigError`]; every message names the file and the place.
pub fn load(path: &Path) -> Result<Loaded, ConfigError> {
    check(path, &Config::read_text(&os::this_system(), path)?)
}

/// Reads and checks the file for an agent that is about to start.
///
/// The agent's own unit restores the last policy at boot, and does not allow the agent to write other units
/// or to install anything: an agent started by it tries neither.
///
/// # Errors
/// As [`load`].
pub fn load_to_run(path: &Path, started_by: StartedBy) -> Result<Loaded, ConfigError> {
    let mut loaded = load(path)?;
    if started_by == StartedBy::Unit {
        loaded.config.boot_unit = Provisioning::Leave;
        loaded.config.nftables = Provisioning::Leave;
    }
    Ok(loaded)
}

fn check(path: &Path, text: &str) -> Result<Loaded, ConfigError> {
    // A text that can't be edited by lines may still be valid YAML.
    let (text, unknown) = match Document::parse(text, SECTION) {
        Ok(document) if !document.has_section() => {
            let reason = "missing: expected the keys below it, each on its own line".to_owned();
            return Err(ConfigError::Value { path: path.to_owned(), field: SECTION, reason });
        }
        Ok(document) => document.without_unknown(|key| KEYS.contains(&key)),
        Err(_) => (text.to_owned(), Vec::new()),
    };
    Ok(Loaded { config: Config::parse(&os::this_system(), path, &text, Layout::Nested)?, unknown })
}

/// Changes all given values, or nothing. The previous file is kept as `….previous`.
///
/// # Errors
/// See [`ChangeError`]; the file is then unchanged.
pub fn change(path: &Path, changes: &[Edit]) -> Result<(), ChangeError> {
    let beside = PathBuf::from(format!("{}.lock", path.display()));
    let _lock = lock::try_lock(&beside)?.ok_or(ChangeError::Busy)?;
    put(path, Some(Config::read_text(&os::this_system(), path)?), changes)
}

/// Like [`change`], but creates a missing file and its directory.
///
/// # Errors
/// See [`ChangeError`]; the file is then unchanged.
pub(crate) fn change_or_make(path: &Path, changes: &[Edit]) -> Result<(), ChangeError> {
    if path.exists() {
        return change(path, changes);
    }
    put(path, None, changes)
}

/// The text that [`change_or_make`] would write.
///
/// # Errors
/// See [`ChangeError`].
pub(crate) fn changed(path: &Path, changes: &[Edit]) -> Result<Config, ChangeError> {
    let old =
        if path.exists() { Config::read_text(&os::this_system(), path)? } else { String::new() };
    Ok(check(path, &edited(path, &old, changes)?)?.config)
}

fn put(path: &Path, old: Option<String>, changes: &[Edit]) -> Result<(), ChangeError> {
    let is_new = old.is_none();
    let old = old.unwrap_or_default();
    let new = edited(path, &old, changes)?;
    check(path, &new)?;
    if is_new {
        make_directory(path)?;
        files::write(path, new.as_bytes(), Access::Private)?;
    } else if new != old {
        let previous = PathBuf::from(format!("{}.previous", path.display()));
        files::write(&previous, old.as_bytes(), Access::Private)?;
        files::write(path, new.as_bytes(), Access::Private)?;
    }
    Ok(())
}

/// Creates the directory of the file without access for other users.
///
/// # Errors
/// If it can't be created.
pub(crate) fn make_directory(path: &Path) -> Result<(), ChangeError> {
    let Some(parent) = path.parent() else { return Ok(()) };
    os::private_directory(parent)
        .map_err(|source| ChangeError::Directory { path: parent.to_owned(), source })
}

/// The edited text, verified to differ only in these values.
fn edited(path: &Path, old: &str, changes: &[Edit]) -> Result<String, ChangeError> {
    let failed = |source| ChangeError::Edit { path: path.to_owned(), source };
    let mut document = Document::parse(old, SECTION).map_err(failed)?;
    for change in changes {
        match change.scalar() {
            Some(value) => document.set(change.key, value).map_err(failed)?,
            None => document.remove(change.key).map_err(failed)?,
        }
    }
    let new = document.to_text();
    let unsure = || ChangeError::Unsure(path.to_owned());
    let mut expected = values(old).ok_or_else(unsure)?;
    let section = expected.entry(SECTION).or_insert_with(|| Value::Object(Map::new()));
    if section.is_null() {
        *section = Value::Object(Map::new());
    }
    for change in changes {
        let section = section.as_object_mut().ok_or_else(unsure)?;
        match change.scalar() {
            Some(value) => {
                let value = values_of(&value).ok_or_else(unsure)?;
                section.insert(change.key.to_owned(), value);
            }
            None => {
                section.remove(change.key);
            }
        }
    }
    if values(&new) != Some(expected) {
        return Err(unsure());
    }
    Ok(new)
}

fn values_of(scalar: &Scalar<'_>) -> Option<Value> {
    match scalar {
        Scalar::Text(text) | Scalar::Block(text) => Some(Value::String((*text).to_owned())),
        Scalar::List(texts) => Some(texts.iter().map(|text| Value::from(text.as_str())).collect()),
        Scalar::Number(number) => serde_saphyr::from_str(&number.to_string()).ok(),
    }
}

fn values(text: &str) -> Option<Map<String, Value>> {
    match serde_saphyr::from_str(text).ok()? {
        Value::Object(values) => Some(values),
        Value::Null => Some(Map::new()),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
