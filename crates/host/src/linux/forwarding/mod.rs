//! Whether this host passes packets on between others, and for whom: containers, virtual machines, other
//! networks.

mod chains;
mod links;
mod translations;

use std::fmt;
use std::fs;
use std::io;

use xshield_policy::Interfaces;

pub use translations::{Target, Traffic, Translation, Translations};

/// Why it is not known what this host forwards.
#[derive(Debug, thiserror::Error)]
pub enum ForwardingError {
    /// The kernel does not tell its interfaces.
    #[error("listing the network interfaces failed")]
    Interfaces(#[source] io::Error),
    /// The kernel does not tell its rules.
    #[error("listing the rules that translate addresses failed")]
    Translations(#[source] io::Error),
}

/// What was found about forwarding.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Forwarding {
    /// Which IP versions are forwarded.
    pub versions: Versions,
    /// For whom.
    pub interfaces: Interfaces,
    /// What is translated on the way.
    pub translations: Translations,
}

/// Which IP versions the kernel forwards between interfaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Versions {
    /// `net.ipv4.ip_forward`.
    pub v4: bool,
    /// `net.ipv6.conf.all.forwarding`.
    pub v6: bool,
}

impl Versions {
    /// As they are now. What can't be read is off.
    #[must_use]
    pub fn now() -> Self {
        let is_on = |path| fs::read_to_string(path).is_ok_and(|text| text.trim() != "0");
        Self {
            v4: is_on("/proc/sys/net/ipv4/ip_forward"),
            v6: is_on("/proc/sys/net/ipv6/conf/all/forwarding"),
        }
    }

    /// Whether anything is forwarded.
    #[must_use]
    pub fn any(self) -> bool {
        self.v4 || self.v6
    }
}

impl Forwarding {
    /// Looks. A host that forwards nothing is not looked at more closely.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn look() -> Result<Self, ForwardingError> {
        let versions = Versions::now();
        if !versions.any() {
            return Ok(Self::default());
        }
        let translations = Translations::read().map_err(ForwardingError::Translations)?;
        Ok(Self { versions, interfaces: interfaces()?, translations })
    }

    /// Whether it passes packets on for anybody, as far as can be seen: routers without virtual networks
    /// of their own and without translation are not told from hosts that merely could.
    #[must_use]
    pub fn serves_others(&self) -> bool {
        let inner = !self.interfaces.inner.is_empty();
        self.versions.any() && (inner || !self.translations.is_empty())
    }
}

/// What was found, for people: `IPv4; for docker0; 1 published port: tcp/18080`.
impl fmt::Display for Forwarding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.versions {
            Versions { v4: true, v6: true } => "IPv4 and IPv6",
            Versions { v4: true, v6: false } => "IPv4",
            Versions { v4: false, v6: true } => "IPv6",
            Versions { v4: false, v6: false } => "nothing",
        })?;
        let names: Vec<&str> = self.interfaces.inner.iter().map(|name| name.as_str()).collect();
        if !names.is_empty() {
            write!(f, "; for {}", listed(&names))?;
        }
        if !self.translations.is_empty() {
            write!(f, "; {}", self.translations)?;
        }
        Ok(())
    }
}

/// How many are named; the rest is counted.
const NAMED: usize = 5;

/// The first few, and how many more.
fn listed(names: &[impl AsRef<str>]) -> String {
    let named: Vec<&str> = names.iter().take(NAMED).map(AsRef::as_ref).collect();
    let rest = names.len().saturating_sub(NAMED);
    let more = if rest > 0 { format!(" and {rest} more") } else { String::new() };
    named.join(", ") + &more
}

/// The interfaces that forwarded packets are told apart by.
///
/// # Errors
/// When the kernel does not answer.
pub fn interfaces() -> Result<Interfaces, ForwardingError> {
    links::interfaces().map_err(ForwardingError::Interfaces)
}
