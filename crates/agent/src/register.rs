//! `ctagent register`: makes the configuration file from what the platform gave out.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use xshield_enforce::config::{Config, ConfigError, Layout};
use xshield_enforce::files::{self, Access, FileError};

use crate::config_file::{self, Change, ChangeError, SECTION};
use crate::yaml::{Document, EditError};

/// What `register` is given.
#[derive(Debug, Clone, Default)]
pub struct Registration {
    /// The platform: a host name, maybe with a port, or a URL.
    pub domain: Option<String>,
    /// The enforcement key.
    pub deployment_key: Option<String>,
    /// What `xshield key create --host-config` wrote.
    pub onboarding: Option<PathBuf>,
    /// The CA that the platform's certificate must come from.
    pub ca: Option<PathBuf>,
    /// Keys that rulesets may be signed with.
    pub policy_keys: Vec<String>,
}

/// Why the host could not be registered.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// Something is missing that can't be guessed.
    #[error(
        "{0}. Give the file that `xshield key create --host-config FILE` writes with \
         --onboarding FILE: it holds everything"
    )]
    Missing(&'static str),
    /// A file can't be read.
    #[error("reading {path} failed", path = .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the OS said.
        #[source]
        source: std::io::Error,
    },
    /// The onboarding file or what came of it is not as documented.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The onboarding file is not as the platform writes it.
    #[error("the onboarding file: {0}")]
    Onboarding(#[from] EditError),
    /// The file that is there can't be changed.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// The file can't be written.
    #[error(transparent)]
    Write(#[from] FileError),
}

/// Writes the configuration file, or changes the one that is there: what an operator has added to it
/// stays.
///
/// # Errors
/// See [`RegisterError`]; the file is then as it was.
pub fn register(path: &Path, given: &Registration) -> Result<(), RegisterError> {
    if let Some(onboarding) = &given.onboarding {
        take_over(path, onboarding)?;
    } else if !path.exists() {
        write_new(path, given)?;
        return Ok(());
    }
    let platform = given.domain.as_deref().map(url);
    let mut changes = Vec::new();
    for (key, value) in
        [("platform", platform.as_deref()), ("enforcement-key", given.deployment_key.as_deref())]
    {
        if let Some(value) = value {
            changes.push(Change::new(key, value)?);
        }
    }
    Ok(config_file::change(path, &changes)?)
}

/// Puts the onboarding file's keys below the section's name.
fn take_over(path: &Path, onboarding: &Path) -> Result<(), RegisterError> {
    let text = Config::read_text(onboarding)?;
    Config::parse(onboarding, &text, Layout::Flat)?;
    let mut nested = format!("{SECTION}:\n");
    for line in text.lines().filter(|line| line.trim_end() != "---") {
        match line.trim().is_empty() {
            true => nested.push('\n'),
            false => {
                let _ = writeln!(nested, "  {line}");
            }
        }
    }
    Document::parse(&nested, SECTION)?;
    Config::parse(path, &nested, Layout::Nested)?;
    put(path, &nested)
}

fn write_new(path: &Path, given: &Registration) -> Result<(), RegisterError> {
    let domain = given.domain.as_deref().ok_or(RegisterError::Missing("--domain is missing"))?;
    let key = given.deployment_key.as_deref();
    let key = key.ok_or(RegisterError::Missing("--deploymentKey is missing"))?;
    let ca = given.ca.as_deref();
    let ca = ca.ok_or(RegisterError::Missing("whom to trust is not known: --ca is missing"))?;
    if given.policy_keys.is_empty() {
        let what = "which key signs rulesets is not known: --policy-key is missing";
        return Err(RegisterError::Missing(what));
    }
    let ca_text = fs::read_to_string(ca)
        .map_err(|source| RegisterError::Read { path: ca.to_owned(), source })?;
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let keys: Vec<String> = given.policy_keys.iter().map(|key| quoted(key)).collect();
    let mut text = format!("{SECTION}:\n  platform: {}\n  ca: |\n", quoted(&url(domain)));
    for line in ca_text.lines() {
        let _ = writeln!(text, "    {line}");
    }
    let _ = writeln!(text, "  policy-keys: [{}]", keys.join(", "));
    let _ = writeln!(text, "  enforcement-key: {}", quoted(key));
    Config::parse(path, &text, Layout::Nested)?;
    put(path, &text)
}

fn put(path: &Path, text: &str) -> Result<(), RegisterError> {
    use std::os::unix::fs::DirBuilderExt as _;
    if let Some(parent) = path.parent() {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(parent)
            .map_err(|source| RegisterError::Read { path: parent.to_owned(), source })?;
    }
    if let Ok(old) = fs::read(path) {
        let previous = PathBuf::from(format!("{}.previous", path.display()));
        files::write(&previous, &old, Access::Private)?;
    }
    Ok(files::write(path, text.as_bytes(), Access::Private)?)
}

/// `--domain` takes a name as well as a URL.
fn url(domain: &str) -> String {
    match domain.contains("://") {
        true => domain.to_owned(),
        false => format!("https://{domain}"),
    }
}

#[cfg(test)]
#[path = "register_tests.rs"]
mod tests;
