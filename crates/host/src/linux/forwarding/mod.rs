//! Whether this host forwards packets for others, and for whom: containers, virtual machines, other networks.

mod chains;
mod links;
mod translations;

use std::fmt;
use std::fs;
use std::io;

use xshield_policy::Interfaces;

pub use translations::{Target, Traffic, Translation, Translations};

/// Why forwarding can't be determined.
#[derive(Debug, thiserror::Error)]
pub enum ForwardingError {
    /// The kernel's interfaces can't be listed.
    #[error("listing the network interfaces failed")]
    Interfaces(#[source] io::Error),
    /// The kernel's rules can't be listed.
    #[error("listing the rules that translate addresses failed")]
    Translations(#[source] io::Error),
}

/// What was found about forwarding.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Forwarding {
    /// Which IP versions are forwarded.
    pub versions: Versions,
    /// The interfaces for which it forwards.
    pub interfaces: Interfaces,
    /// The rules that translate destinations.
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
    /// The current settings; a setting that can't be read counts as off.
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
    /// Determines forwarding. If nothing is forwarded, interfaces and rules are not read.
    ///
    /// # Errors
    /// When the kernel can't be read.
    pub fn inspect() -> Result<Self, ForwardingError> {
        let versions = Versions::now();
        if !versions.any() {
            return Ok(Self::default());
        }
        let translations = Translations::read().map_err(ForwardingError::Translations)?;
        Ok(Self { versions, interfaces: interfaces()?, translations })
    }

    /// Whether it apparently forwards packets for others: routers without virtual networks and without
    /// translation can't be distinguished from hosts that merely could.
    #[must_use]
    pub fn serves_others(&self) -> bool {
        let inner = !self.interfaces.inner.is_empty();
        self.versions.any() && (inner || !self.translations.is_empty())
    }
}

/// Describes the result: `IPv4; for docker0; 1 published port: tcp/18080`.
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

/// The most names that are listed; the others are counted.
const NAMED: usize = 5;

/// The first few names, and the number of the others.
fn listed(names: &[impl AsRef<str>]) -> String {
    let named: Vec<&str> = names.iter().take(NAMED).map(AsRef::as_ref).collect();
    let rest = names.len().saturating_sub(NAMED);
    let more = if rest > 0 { format!(" and {rest} more") } else { String::new() };
    named.join(", ") + &more
}

/// The interfaces by which forwarded packets are distinguished.
///
/// # Errors
/// When the kernel can't be read.
pub fn interfaces() -> Result<Interfaces, ForwardingError> {
    links::interfaces().map_err(ForwardingError::Interfaces)
}
