//! `ctagent register`: creates the configuration file from what the platform provides.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use xshield_enforce::config::{Config, ConfigError, Layout};
use xshield_enforce::discover::{DiscoverError, PlatformLocation, discover};
use xshield_enforce::files::{self, Access, FileError};
use xshield_enforce::prove::{ProveError, prove};
use xshield_enforce::{
    DeploymentKey, EndpointError, EnforcementKey, KeyError, PlatformUrl, PolicyPublicKey, Problem,
    ProxyList, ProxyListError,
};

use crate::config_file::{self, ChangeError, Edit, SECTION};
use crate::os;
use crate::this_program::this_program;
use crate::yaml::{Document, EditError};

/// The arguments of `register`.
#[derive(Debug, Clone, Default)]
pub struct Registration {
    /// The platform: a host name, optionally with a port, or a URL.
    pub domain: Option<String>,
    /// The key from the platform.
    pub key: Option<GivenKey>,
    /// The file that `xshield key create --host-config` wrote.
    pub onboarding: Option<PathBuf>,
    /// The CA that must have issued the platform's certificate.
    pub ca: Option<PathBuf>,
    /// The keys that may sign rulesets.
    pub policy_keys: Vec<String>,
    /// The host's name on the platform, instead of its own.
    pub name: Option<String>,
    /// The proxies.
    pub proxies: Option<GivenProxies>,
}

/// A key from the platform.
#[derive(Debug, Clone)]
pub enum GivenKey {
    /// It contains the trust information.
    Deployment(DeploymentKey),
    /// It contains no trust information.
    Enforcement(EnforcementKey),
}

impl GivenKey {
    /// Parses either kind.
    ///
    /// # Errors
    /// If it is neither; the error does not contain it.
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
    /// The problem to report if other users can read the onboarding file, which contains the enforcement key.
    #[must_use]
    pub fn exposed(&self) -> Option<Problem> {
        Config::exposed(&os::this_system(), self.onboarding.as_deref()?)
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

/// Why the host could not be registered. The configuration is unchanged.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// A required argument is missing.
    #[error(
        "{0}. `xshield key create` shows the whole command; with --host-config FILE it writes a \
         file that contains everything, for --onboarding FILE"
    )]
    Missing(&'static str),
    /// A deployment key together with other trust information.
    #[error(
        "a deployment key already contains the trust information: leave out --ca, --policy-key and --onboarding"
    )]
    TrustTwice,
    /// The state belongs to another platform.
    #[error(
        "this host belongs to another platform, whose policy is in force; run `ctagent remove`, \
         then register again"
    )]
    AnotherPlatform,
    /// Not a platform's address.
    #[error("--domain")]
    Domain(#[source] EndpointError),
    /// The platform is not the one of the key, or can't be reached.
    #[error(transparent)]
    Discover(#[from] DiscoverError),
    /// The platform does not accept the key.
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
        /// The error returned by the OS.
        #[source]
        source: std::io::Error,
    },
    /// The onboarding file or the resulting configuration is invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The onboarding file is not as the platform writes it.
    #[error("the onboarding file: {0}")]
    Onboarding(#[from] EditError),
    /// The existing file can't be changed.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// The file can't be written.
    #[error(transparent)]
    Write(#[from] FileError),
}

/// Writes the configuration file, or changes an existing one, keeping what an operator has added. `root`: the
/// root directory of the resolver's configuration; `/` except in tests.
///
/// # Errors
/// See [`RegisterError`]; the file is then unchanged.
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

/// Checks whether the platform accepts the key, if the host ran before.
fn holds(path: &Path, config: &Config, root: &Path) -> Result<(), ProveError> {
    let environment = os::host_at(root, path.to_owned());
    prove(config, &this_program(), &environment)
}

/// Refuses arguments that do not determine the platform of a new host.
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

/// The trust information: as given, or as provided by the platform and confirmed by the deployment key.
fn trust(path: &Path, given: &Registration, root: &Path) -> Result<Vec<Edit>, RegisterError> {
    let mut changes = Vec::new();
    if let Some(GivenKey::Deployment(key)) = &given.key {
        let (platform, proxies) = whereabouts(path, given)?;
        let program = this_program();
        let place = PlatformLocation { platform: &platform, proxies: &proxies, program: &program };
        let trust = discover(&place, key, &os::system_at(root))?;
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

/// Refuses to register a host with another platform while it still holds state of the old one: revisions
/// below which it must not go, and rules that may block the connection to the new one.
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

/// The platform's URL and the proxies: as given, or else as configured.
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

/// Copies the onboarding file's keys into the section.
fn take_over(path: &Path, onboarding: &Path, root: &Path) -> Result<(), RegisterError> {
    let text = Config::read_text(&os::this_system(), onboarding)?;
    let new = Config::parse(&os::this_system(), onboarding, &text, Layout::Flat)?;
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
    Config::parse(&os::this_system(), path, &nested, Layout::Nested)?;
    config_file::make_directory(path)?;
    if let Ok(old) = fs::read(path) {
        let previous = PathBuf::from(format!("{}.previous", path.display()));
        files::write(&previous, &old, Access::Private)?;
    }
    Ok(files::write(path, nested.as_bytes(), Access::Private)?)
}

/// `--domain` accepts a name as well as a URL.
fn url(domain: &str) -> String {
    match domain.contains("://") {
        true => domain.to_owned(),
        false => format!("https://{domain}"),
    }
}

#[cfg(test)]
mod tests;
