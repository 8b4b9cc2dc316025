//! `ctagent register`: makes the configuration file from what the platform gave out.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use xshield_enforce::config::{Config, ConfigError, Layout};
use xshield_enforce::discover::{DiscoverError, Whereabouts, discover};
use xshield_enforce::files::{self, Access, FileError};
use xshield_enforce::linux;
use xshield_enforce::prove::{ProveError, prove};
use xshield_enforce::{
    DeploymentKey, EndpointError, EnforcementKey, KeyError, PlatformUrl, PolicyPublicKey, Problem,
    ProxyList, ProxyListError, Surroundings,
};

use crate::config_file::{self, ChangeError, Edit, SECTION};
use crate::this_program::this_program;
use crate::yaml::{Document, EditError};

/// What `register` is given.
#[derive(Debug, Clone, Default)]
pub struct Registration {
    /// The platform: a host name, maybe with a port, or a URL.
    pub domain: Option<String>,
    /// The key that the platform gave out.
    pub key: Option<GivenKey>,
    /// What `xshield key create --host-config` wrote.
    pub onboarding: Option<PathBuf>,
    /// The CA that the platform's certificate must come from.
    pub ca: Option<PathBuf>,
    /// Keys that rulesets may be signed with.
    pub policy_keys: Vec<String>,
    /// What the host calls itself, instead of what its system does.
    pub name: Option<String>,
    /// The way to the platform.
    pub proxies: Option<GivenProxies>,
}

/// The key that the platform gave out.
#[derive(Debug, Clone)]
pub enum GivenKey {
    /// It says whom to trust, too.
    Deployment(DeploymentKey),
    /// It says nothing about whom to trust.
    Enforcement(EnforcementKey),
}

impl GivenKey {
    /// Reads the text of either.
    ///
    /// # Errors
    /// When it is neither; the error does not show it.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        match DeploymentKey::is_meant_by(text) {
            true => text.parse().map(Self::Deployment),
            false => text.parse().map(Self::Enforcement),
        }
    }

    fn enforcement(&self) -> &EnforcementKey {
        match self {
            Self::Deployment(key) => key.enforcement(),
            Self::Enforcement(key) => key,
        }
    }
}

/// Proxies, as operators write them.
#[derive(Debug, Clone)]
pub struct GivenProxies {
    texts: [(&'static str, String); 3],
    list: ProxyList,
}

impl Registration {
    /// Says when the onboarding file, which holds the enforcement key, is open to other users.
    #[must_use]
    pub fn exposed(&self) -> Option<Problem> {
        Config::exposed(&linux::this_system(), self.onboarding.as_deref()?)
    }
}

impl GivenProxies {
    /// Addresses, users and passwords (base64), in matching order.
    ///
    /// # Errors
    /// See [`ProxyListError`].
    pub fn parse(addresses: &str, users: &str, passwords: &str) -> Result<Self, ProxyListError> {
        let list = ProxyList::parse(addresses, users, passwords)?;
        let texts = [("proxy", addresses), ("proxy-user", users), ("proxy-password", passwords)];
        Ok(Self { texts: texts.map(|(key, text)| (key, text.to_owned())), list })
    }
}

/// Why the host could not be registered. The configuration is as it was.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// Something is missing that can't be guessed.
    #[error(
        "{0}. `xshield key create` shows the whole command; with --host-config FILE it writes a file \
         that holds everything, for --onboarding FILE"
    )]
    Missing(&'static str),
    /// A deployment key, and something else that says whom to trust.
    #[error(
        "a deployment key already contains the trust information: leave out --ca, --policy-key and --onboarding"
    )]
    TrustTwice,
    /// The state is another platform's.
    #[error(
        "this host belongs to another platform, whose policy is in force; `ctagent remove` ends \
         that, then register once more"
    )]
    AnotherPlatform,
    /// Not a platform's address.
    #[error("--domain")]
    Domain(#[source] EndpointError),
    /// The platform is not the one meant, or can't be asked.
    #[error(transparent)]
    Discover(#[from] DiscoverError),
    /// The platform does not take the key.
    #[error(transparent)]
    Prove(#[from] ProveError),
    /// Not a policy key.
    #[error("--policy-key")]
    PolicyKey(#[source] KeyError),
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
/// stays. `root`: where this host's resolver is configured; `/` but for tests.
///
/// # Errors
/// See [`RegisterError`]; the file is then as it was.
pub fn register(path: &Path, given: &Registration, root: &Path) -> Result<(), RegisterError> {
    let says_whom_to_trust =
        given.ca.is_some() || !given.policy_keys.is_empty() || given.onboarding.is_some();
    if matches!(given.key, Some(GivenKey::Deployment(_))) && says_whom_to_trust {
        return Err(RegisterError::TrustTwice);
    }
    if let Some(onboarding) = &given.onboarding {
        take_over(path, onboarding, root)?;
    } else if !path.exists() {
        is_enough(given)?;
    }
    let mut changes = Vec::new();
    if let Some(domain) = &given.domain {
        changes.push(Edit::new("platform", &url(domain))?);
    }
    let proxies = given.proxies.iter().flat_map(|proxies| &proxies.texts);
    for (key, text) in proxies {
        changes.push(Edit::new(key, text)?);
    }
    if let Some(name) = &given.name {
        changes.push(Edit::new("name", name)?);
    }
    changes.extend(trust(path, given, root)?);
    if let Some(key) = &given.key {
        changes.extend(Edit::enforcement_key(&key.enforcement().to_text()));
    }
    holds(path, &config_file::changed(path, &changes)?, root)?;
    Ok(config_file::change_or_make(path, &changes)?)
}

/// Asks the platform whether it takes the key for this host, where the host ran before.
fn holds(path: &Path, config: &Config, root: &Path) -> Result<(), ProveError> {
    let os = Arc::new(linux::Linux::new(root.to_owned()));
    let surroundings = Surroundings::new(os, root.to_owned(), path.to_owned());
    prove(config, &this_program(), &surroundings)
}

/// Refuses what leaves open where a new host belongs.
fn is_enough(given: &Registration) -> Result<(), RegisterError> {
    let missing = |what| Err(RegisterError::Missing(what));
    match given {
        Registration { domain: None, .. } => missing("--domain is missing"),
        Registration { key: None, .. } => missing("--deploymentKey is missing"),
        Registration { key: Some(GivenKey::Deployment(_)), .. } => Ok(()),
        Registration { ca: None, .. } => {
            missing("an enforcement key contains no trust information, and --ca is missing")
        }
        Registration { policy_keys, .. } if policy_keys.is_empty() => missing(
            "an enforcement key does not say which key signs rulesets, and --policy-key is missing",
        ),
        _ => Ok(()),
    }
}

/// Whom to trust from now on: as given, or as the platform says and the deployment key confirms.
fn trust(path: &Path, given: &Registration, root: &Path) -> Result<Vec<Edit>, RegisterError> {
    let mut changes = Vec::new();
    if let Some(GivenKey::Deployment(key)) = &given.key {
        let (platform, proxies) = whereabouts(path, given)?;
        let program = this_program();
        let place = Whereabouts { platform: &platform, proxies: &proxies, program: &program };
        let trust = discover(&place, key, &linux::Linux::new(root.to_owned()))?;
        stays_with_its_platform(path, trust.policy_keys())?;
        changes.extend(Edit::ca(&trust.ca_pem()));
        let keys = trust.policy_keys().iter().map(ToString::to_string);
        changes.push(Edit::policy_keys(keys.collect()));
        return Ok(changes);
    }
    if let Some(ca) = &given.ca {
        let pem = fs::read_to_string(ca)
            .map_err(|source| RegisterError::Read { path: ca.clone(), source })?;
        changes.extend(Edit::ca(&pem));
    }
    if !given.policy_keys.is_empty() {
        let keys: Result<Vec<PolicyPublicKey>, _> =
            given.policy_keys.iter().map(|key| key.parse()).collect();
        stays_with_its_platform(path, &keys.map_err(RegisterError::PolicyKey)?)?;
        changes.push(Edit::policy_keys(given.policy_keys.clone()));
    }
    Ok(changes)
}

/// Refuses to make a host another platform's while it holds what the old one gave it: revisions that
/// are not to be gone back behind, and rules that may keep it from the new one.
fn stays_with_its_platform(path: &Path, keys: &[PolicyPublicKey]) -> Result<(), RegisterError> {
    let Ok(loaded) = config_file::load(path) else { return Ok(()) };
    let config = loaded.config;
    let is_known = keys.iter().any(|key| config.policy_keys.contains(key));
    let has_state = config.state_directory.join("progress").exists();
    match has_state && !is_known {
        true => Err(RegisterError::AnotherPlatform),
        false => Ok(()),
    }
}

/// Where the platform is and how it is reached: as given, or else as configured.
fn whereabouts(
    path: &Path,
    given: &Registration,
) -> Result<(PlatformUrl, ProxyList), RegisterError> {
    let domain = given.domain.as_deref().map(|domain| url(domain).parse());
    let domain = domain.transpose().map_err(RegisterError::Domain)?;
    let proxies = given.proxies.as_ref().map(|proxies| proxies.list.clone());
    match (domain, proxies) {
        (Some(platform), Some(proxies)) => Ok((platform, proxies)),
        (Some(platform), None) if !path.exists() => Ok((platform, ProxyList::default())),
        (platform, proxies) => {
            let config = config_file::load(path)?.config;
            Ok((platform.unwrap_or(config.platform), proxies.unwrap_or(config.proxies)))
        }
    }
}

/// Puts the onboarding file's keys below the section's name.
fn take_over(path: &Path, onboarding: &Path, root: &Path) -> Result<(), RegisterError> {
    let text = Config::read_text(&linux::this_system(), onboarding)?;
    let new = Config::parse(&linux::this_system(), onboarding, &text, Layout::Flat)?;
    stays_with_its_platform(path, &new.policy_keys)?;
    holds(path, &new, root)?;
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
    Config::parse(&linux::this_system(), path, &nested, Layout::Nested)?;
    config_file::make_directory(path)?;
    if let Ok(old) = fs::read(path) {
        let previous = PathBuf::from(format!("{}.previous", path.display()));
        files::write(&previous, &old, Access::Private)?;
    }
    Ok(files::write(path, nested.as_bytes(), Access::Private)?)
}

/// `--domain` takes a name as well as a URL.
fn url(domain: &str) -> String {
    match domain.contains("://") {
        true => domain.to_owned(),
        false => format!("https://{domain}"),
    }
}

#[cfg(test)]
mod tests;
