//! The programs of a host to which a rule applies: by executable, by user, by systemd unit.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::names::{UnitName, UserName};

/// The programs to which a rule applies. All given properties must match; at least one must be given, so that
/// "any program" never results from an omission.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LocalProgram {
    process: Option<ProcessMatch>,
    user: Option<UserName>,
    unit: Option<UnitName>,
}

impl LocalProgram {
    /// `None` if no property is given.
    #[must_use]
    pub fn new(
        process: Option<ProcessMatch>,
        user: Option<UserName>,
        unit: Option<UnitName>,
    ) -> Option<Self> {
        let named = process.is_some() || user.is_some() || unit.is_some();
        named.then_some(Self { process, user, unit })
    }

    /// The executable.
    #[must_use]
    pub fn process(&self) -> Option<&ProcessMatch> {
        self.process.as_ref()
    }

    /// The user.
    #[must_use]
    pub fn user(&self) -> Option<&UserName> {
        self.user.as_ref()
    }

    /// The systemd unit.
    #[must_use]
    pub fn unit(&self) -> Option<&UnitName> {
        self.unit.as_ref()
    }
}

/// The text names no program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} names no program: expected 'user:NAME', 'unit:NAME', 'process:NAME' or 'process:/PATH'; \
     several with commas between them"
)]
pub struct ProgramError(String);

impl LocalProgram {
    /// Parses `user:postgres`, `unit:app.service`, `process:/usr/bin/app`; several properties are separated
    /// by commas.
    ///
    /// # Errors
    /// See [`ProgramError`].
    pub fn from_words(text: &str) -> Result<Self, ProgramError> {
        let refuse = || ProgramError(text.to_owned());
        let (mut process, mut user, mut unit) = (None, None, None);
        for word in text.split(',').map(str::trim) {
            match word.split_once(':') {
                Some(("process", name)) if process.is_none() => {
                    process = Some(name.to_owned().try_into().map_err(|_| refuse())?);
                }
                Some(("user", name)) if user.is_none() => {
                    user = Some(name.parse().map_err(|_| refuse())?);
                }
                Some(("unit", name)) if unit.is_none() => {
                    unit = Some(name.parse().map_err(|_| refuse())?);
                }
                _ => return Err(refuse()),
            }
        }
        Self::new(process, user, unit).ok_or_else(refuse)
    }
}

/// Starts a key of [`crate::Facts`] with more than an executable, and separates its fields. No executable,
/// user or unit contains it.
const FIELD: char = '\t';

impl From<ProcessMatch> for LocalProgram {
    fn from(process: ProcessMatch) -> Self {
        Self { process: Some(process), user: None, unit: None }
    }
}

/// An executable alone is its text, as hosts have always stored it; otherwise each field has a name.
impl From<LocalProgram> for String {
    fn from(program: LocalProgram) -> String {
        match program {
            LocalProgram { process: Some(process), user: None, unit: None } => process.into(),
            LocalProgram { process, user, unit } => {
                let fields = [
                    ("process", process.map(String::from)),
                    ("user", user.map(String::from)),
                    ("unit", unit.map(String::from)),
                ];
                let named = fields.into_iter().filter_map(|(name, value)| Some((name, value?)));
                named.map(|(name, value)| format!("{FIELD}{name}={value}")).collect()
            }
        }
    }
}

impl TryFrom<String> for LocalProgram {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let Some(fields) = text.strip_prefix(FIELD) else {
            let process = ProcessMatch::try_from(text).map_err(|error| error.to_string())?;
            return Ok(process.into());
        };
        let (mut process, mut user, mut unit) = (None, None, None);
        for field in fields.split(FIELD) {
            match field.split_once('=') {
                Some(("process", value)) => {
                    let value = ProcessMatch::try_from(value.to_owned());
                    process = Some(value.map_err(|error| error.to_string())?);
                }
                Some(("user", value)) => {
                    user = Some(
                        value
                            .parse()
                            .map_err(|error: crate::names::NameError| error.to_string())?,
                    );
                }
                Some(("unit", value)) => {
                    unit = Some(
                        value
                            .parse()
                            .map_err(|error: crate::names::NameError| error.to_string())?,
                    );
                }
                _ => return Err(format!("{field:?} is not a field of a program")),
            }
        }
        Self::new(process, user, unit).ok_or_else(|| "names no program".to_owned())
    }
}

/// For operators: `process nginx, user www-data, unit nginx.service`.
impl fmt::Display for LocalProgram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "";
        if let Some(process) = &self.process {
            write!(f, "process {process}")?;
            between = ", ";
        }
        if let Some(user) = &self.user {
            write!(f, "{between}user {user}")?;
            between = ", ";
        }
        if let Some(unit) = &self.unit {
            write!(f, "{between}unit {unit}")?;
        }
        Ok(())
    }
}

/// An executable: `nginx`, a file with that name in a directory that only root can write, or
/// `/usr/sbin/nginx`, the file at that path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ProcessMatch {
    /// By file name.
    Name(String),
    /// By the full path of the executable.
    Path(String),
}

/// Why a process was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a process: expected a file name such as nginx or a full path such as \
     /usr/sbin/nginx or C:\\nginx\\nginx.exe"
)]
pub struct ProcessError(String);

impl TryFrom<String> for ProcessMatch {
    type Error = ProcessError;

    fn try_from(text: String) -> Result<Self, ProcessError> {
        let plain = !text.is_empty() && text.len() <= 4096 && !text.chars().any(char::is_control);
        match text {
            text if plain && text.starts_with('/') && !text.ends_with('/') => Ok(Self::Path(text)),
            text if plain && is_windows_path(&text) => Ok(Self::Path(text)),
            text if plain && !text.contains('/') => Ok(Self::Name(text)),
            text => Err(ProcessError(text)),
        }
    }
}

/// Whether a text is a full path of Windows: with a drive's letter, or with server and share.
fn is_windows_path(text: &str) -> bool {
    let has_drive =
        matches!(text.as_bytes(), [letter, b':', b'\\', ..] if letter.is_ascii_alphabetic());
    (has_drive || text.starts_with("\\\\")) && !text.contains('/') && !text.ends_with('\\')
}

impl From<ProcessMatch> for String {
    fn from(process: ProcessMatch) -> String {
        match process {
            ProcessMatch::Name(text) | ProcessMatch::Path(text) => text,
        }
    }
}

impl fmt::Display for ProcessMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(text) | Self::Path(text) => f.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests;
