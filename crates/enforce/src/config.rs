//! The host's configuration file: the platform, the keys to trust, and what Spark may install.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use xshield_firewall::LiveGroup;
use xshield_host::operating_system::{OperatingSystem, UnguardedError};
use xshield_policy::document::plain_reason;
use xshield_policy::names::Name;
use xshield_transport::{PlatformUrl, ProxyList, ProxyText};
use xshield_wire::control::Switch;
use xshield_wire::keys::{EnforcementKey, PolicyPublicKey};
use xshield_wire::message::Problem;

use crate::auditing::Auditing;
use crate::places;
use crate::problems::chain;
use crate::resident::settings::{Asking, Resident};
use crate::trust::{self, Trust};

/// The largest configuration file that is read, in bytes.
const MAX_SIZE: u64 = 1024 * 1024;

/// The largest budget for the threat list, in MiB; no list takes more.
const MOST_THREAT_BUDGET: u64 = 64 << 10;

/// A checked configuration.
#[derive(Debug)]
pub struct Config {
    /// The platform's URL.
    pub platform: PlatformUrl,
    /// The certificate authority that must have issued the platform's certificate, PEM.
    pub ca_pem: String,
    /// The keys that may sign rulesets.
    pub policy_keys: Vec<PolicyPublicKey>,
    /// The key with which this host registers.
    pub enforcement_key: EnforcementKey,
    /// The name under which this host registers; `None`: the system's host name.
    pub name: Option<Name>,
    /// The proxies, in the order in which they are tried before a direct connection.
    pub proxies: ProxyList,
    /// The directory for state.
    pub state_directory: PathBuf,
    /// How long a new ruleset stays in force without the platform having been reached through it.
    pub probation: Duration,
    /// How long a domain's last good answer is used while the resolver fails.
    pub stale_answers: Duration,
    /// The most kernel memory that the threat list may take, in bytes; `None`: the platform decides.
    pub threat_budget: Option<u64>,
    /// Whether Spark installs what nftables needs.
    pub nftables: Provisioning,
    /// Whether Spark installs its boot unit.
    pub boot_unit: Provisioning,
    /// Which flows Spark lets Windows write to its Security log.
    pub auditing: Auditing,
    /// Settings of a resident program.
    pub resident: Resident,
    /// The origin of the trusted keys: this file, or a key change of the platform.
    pub trust: Trust,
}

/// Whether Spark may install something on this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provisioning {
    /// Install what is missing.
    #[default]
    Install,
    /// Leave the host as it is.
    Leave,
}

/// The layout of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// The keys are at the top level: Spark's layout.
    Flat,
    /// The keys are under `configuration:`, beside other sections: the agent's layout.
    Nested,
}

/// Why a configuration can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("reading the configuration {path}: {cause}", path = .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The error returned by the OS.
        #[source]
        cause: std::io::Error,
    },
    /// Other users can change the file, and with it the platform that this host obeys.
    #[error("the configuration can't be trusted: {0}")]
    Unguarded(#[from] UnguardedError),
    /// The file is not as documented.
    #[error("{path}:{line}:{column}: {reason}", path = .path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// 1-based; 0 when unknown.
        line: u64,
        /// 1-based; 0 when unknown.
        column: u64,
        /// The reason.
        reason: String,
    },
    /// A value can't be used.
    #[error("{path}: {field}: {reason}", path = .path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The invalid field.
        field: &'static str,
        /// The reason, and what was expected.
        reason: String,
    },
}

/// All keys, in the order of the file's documentation.
pub const KEYS: [&str; 25] = [
    "platform",
    "ca",
    "ca-file",
    "policy-keys",
    "enforcement-key",
    "enforcement-key-file",
    "name",
    "proxy",
    "proxy-user",
    "proxy-password",
    "state-directory",
    "probation-seconds",
    "stale-answers-seconds",
    "threat-budget",
    "nftables",
    "boot-unit",
    "auditing",
    "heartbeat-seconds",
    "telemetry-seconds",
    "inventory-seconds",
    "cloud-metadata",
    "cpu-budget-percent",
    "memory-budget-mib",
    "live-events",
    "live-group",
];

/// The file as written. Of each pair, either the value or the file that contains it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Raw {
    platform: String,
    ca: Option<String>,
    ca_file: Option<PathBuf>,
    policy_keys: Vec<String>,
    enforcement_key: Option<String>,
    enforcement_key_file: Option<PathBuf>,
    #[serde(default)]
    name: String,
    #[serde(default)]
    proxy: String,
    #[serde(default)]
    proxy_user: String,
    #[serde(default)]
    proxy_password: String,
    #[serde(default = "places::state_directory")]
    state_directory: PathBuf,
    #[serde(default = "default_probation")]
    probation_seconds: u64,
    #[serde(default = "default_stale_answers")]
    stale_answers_seconds: u64,
    /// In MiB.
    threat_budget: Option<u64>,
    #[serde(default)]
    nftables: Provisioning,
    #[serde(default)]
    boot_unit: Provisioning,
    #[serde(default)]
    auditing: Auditing,
    heartbeat_seconds: Option<u64>,
    telemetry_seconds: Option<u64>,
    inventory_seconds: Option<u64>,
    cloud_metadata: Option<Asking>,
    cpu_budget_percent: Option<f64>,
    memory_budget_mib: Option<u64>,
    live_events: Option<Switch>,
    live_group: Option<u16>,
}

/// The file with [`Layout::Nested`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nested {
    configuration: Raw,
}

fn default_probation() -> u64 {
    30
}

fn default_stale_answers() -> u64 {
    24 * 60 * 60
}

impl Config {
    /// The keys that may have signed what is stored on this host's disk.
    #[must_use]
    pub fn keys_of_stored(&self) -> Vec<PolicyPublicKey> {
        self.policy_keys.iter().chain(&self.trust.retired).cloned().collect()
    }

    /// Reads and checks a configuration file.
    ///
    /// # Errors
    /// See [`ConfigError`]; every message names the file and the place.
    pub fn load(os: &dyn OperatingSystem, path: &Path) -> Result<Self, ConfigError> {
        Self::parse(os, path, &read_bounded(os, path)?, Layout::Flat)
    }

    /// Reads the file without checking its content.
    ///
    /// # Errors
    /// When it can't be read, or is over 1 MiB and so no configuration.
    pub fn read_text(os: &dyn OperatingSystem, path: &Path) -> Result<String, ConfigError> {
        read_bounded(os, path)
    }

    /// The problem to report if other users can read a file that contains the enforcement key.
    #[must_use]
    pub fn exposed(os: &dyn OperatingSystem, path: &Path) -> Option<Problem> {
        os.exposed(path, "the enforcement key")
    }

    /// Checks the text of a configuration file; `path` is its location, for messages and for the files that
    /// it names.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(
        os: &dyn OperatingSystem,
        path: &Path,
        text: &str,
        layout: Layout,
    ) -> Result<Self, ConfigError> {
        let options = serde_saphyr::options! {
            budget: serde_saphyr::budget! { max_anchors: 0, max_aliases: 0, max_depth: 8 },
            with_snippet: false,
        };
        let raw = match layout {
            Layout::Flat => serde_saphyr::from_str_with_options(text, options),
            Layout::Nested => serde_saphyr::from_str_with_options(text, options)
                .map(|Nested { configuration }| configuration),
        };
        let raw: Raw = raw.map_err(|error| {
            let place = error.location();
            let (line, column) = place.map_or((0, 0), |place| (place.line(), place.column()));
            let reason = plain_reason(&error);
            ConfigError::Syntax { path: path.to_owned(), line, column, reason }
        })?;
        raw.check(os, path)
    }

    /// The name under which this host registers and checks in.
    #[must_use]
    pub fn host_name(&self, os: &dyn OperatingSystem) -> String {
        self.name.as_ref().map_or_else(|| os.host_name(), ToString::to_string)
    }
}

impl Raw {
    fn check(self, os: &dyn OperatingSystem, path: &Path) -> Result<Config, ConfigError> {
        let refuse =
            |field, reason: String| ConfigError::Value { path: path.to_owned(), field, reason };
        let platform =
            self.platform.parse().map_err(|error: xshield_transport::EndpointError| {
                refuse("platform", error.to_string())
            })?;
        let ca_pem = one_of(os, path, "ca", self.ca, self.ca_file)?;
        let key =
            one_of(os, path, "enforcement-key", self.enforcement_key, self.enforcement_key_file)?;
        let enforcement_key = key
            .trim()
            .parse::<EnforcementKey>()
            .map_err(|error| refuse("enforcement-key", error.to_string()))?;
        // As with proxies, an empty value counts as absent.
        let name = Some(self.name.trim()).filter(|name| !name.is_empty()).map(str::parse::<Name>);
        let name = name.transpose().map_err(|error| refuse("name", error.to_string()))?;
        if self.policy_keys.is_empty() {
            let reason = "empty: without a pinned key no ruleset can be trusted".to_owned();
            return Err(refuse("policy-keys", reason));
        }
        let keys = self.policy_keys.iter().map(|text| text.parse::<PolicyPublicKey>());
        let policy_keys =
            keys.collect::<Result<_, _>>().map_err(|error| refuse("policy-keys", chain(&error)))?;
        let proxies = ProxyList::parse(&self.proxy, &self.proxy_user, &self.proxy_password)
            .map_err(|error| refuse(proxy_field(error.text), error.to_string()))?;
        if !(5..=600).contains(&self.probation_seconds) {
            return Err(refuse("probation-seconds", "expected 5 to 600".to_owned()));
        }
        if self.threat_budget.is_some_and(|mib| !(1..=MOST_THREAT_BUDGET).contains(&mib)) {
            let expected = format!("expected 1 to {MOST_THREAT_BUDGET} MiB");
            return Err(refuse("threat-budget", expected));
        }
        if !self.state_directory.is_absolute() {
            return Err(refuse("state-directory", "expected an absolute path".to_owned()));
        }
        let no_group = || refuse("live-group", "expected 1 to 65535".to_owned());
        let live_group = self.live_group.map(|number| LiveGroup::new(number).ok_or_else(no_group));
        let resident = Resident {
            heartbeat: self.heartbeat_seconds,
            telemetry: self.telemetry_seconds,
            inventory: self.inventory_seconds,
            cloud_metadata: self.cloud_metadata,
            cpu_budget_percent: self.cpu_budget_percent,
            memory_budget_mib: self.memory_budget_mib,
            live_events: self.live_events,
            live_group: live_group.transpose()?,
        };
        let resident = resident.checked().map_err(|(field, reason)| refuse(field, reason))?;
        let (mut ca_pem, mut policy_keys) = (ca_pem, policy_keys);
        let trust = trust::apply(&mut ca_pem, &mut policy_keys, &self.state_directory);
        Ok(Config {
            platform,
            ca_pem,
            policy_keys,
            enforcement_key,
            name,
            proxies,
            state_directory: self.state_directory,
            probation: Duration::from_secs(self.probation_seconds),
            stale_answers: Duration::from_secs(self.stale_answers_seconds),
            threat_budget: self.threat_budget.map(|mib| mib << 20),
            nftables: self.nftables,
            boot_unit: self.boot_unit,
            auditing: self.auditing,
            resident,
            trust,
        })
    }
}

fn proxy_field(text: ProxyText) -> &'static str {
    match text {
        ProxyText::Addresses => "proxy",
        ProxyText::Users => "proxy-user",
        ProxyText::Passwords => "proxy-password",
    }
}

/// A value given in the configuration or in a separate file; exactly one of the two.
fn one_of(
    os: &dyn OperatingSystem,
    config: &Path,
    field: &'static str,
    value: Option<String>,
    file: Option<PathBuf>,
) -> Result<String, ConfigError> {
    let refuse = |reason: String| ConfigError::Value { path: config.to_owned(), field, reason };
    match (value, file) {
        (Some(value), None) => Ok(value),
        (None, Some(file)) => {
            let beside = config.parent().unwrap_or(Path::new("/")).join(file);
            read_bounded(os, &beside)
        }
        (None, None) => Err(refuse(format!("missing: give {field} or {field}-file"))),
        (Some(_), Some(_)) => Err(refuse(format!("given twice: {field} and {field}-file"))),
    }
}

fn read_bounded(os: &dyn OperatingSystem, path: &Path) -> Result<String, ConfigError> {
    use std::io::Read as _;
    let fail = |cause| ConfigError::Read { path: path.to_owned(), cause };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(fail)?;
    os.ours_alone(path)?;
    file.take(MAX_SIZE).read_to_string(&mut text).map_err(fail)?;
    Ok(text)
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;
    use crate::linux;

    #[test]
    fn every_key_is_listed() {
        let refused =
            Config::parse(&linux::this_system(), Path::new("x"), "platfrom: a", Layout::Flat)
                .unwrap_err();
        let text = refused.to_string();
        let expected = format!("expected one of {}", KEYS.join(", "));
        assert!(text.contains(&expected), "{text}");
    }
}
