//! Whether this host can be enforced at all, checked before anything is changed.

use std::path::Path;

use xshield_host::files::FileError;
use xshield_host::linux::firewalld::{self, Firewalld};
use xshield_host::linux::os_release::{OsRelease, SupportedOs, Unsupported};

use crate::core::result::OtherManager;

/// Why nothing can be enforced on this host. The program exits with code 3.
#[derive(Debug, thiserror::Error)]
pub enum PreflightError {
    /// Neither root nor CAP_NET_ADMIN.
    #[error("needs root or CAP_NET_ADMIN: run it as root")]
    Permission,
    /// The operating system is not supported.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// The operating system can't be determined.
    #[error("determining the operating system failed")]
    Unknown(#[from] FileError),
}

/// The result of preflight.
#[derive(Debug, Clone)]
pub struct Preflight {
    /// The operating system.
    pub os: OsRelease,
    /// Whether firewalld manages this host's firewall.
    pub firewalld: Firewalld,
}

impl Preflight {
    /// The other program that manages this host's firewall, if one does.
    #[must_use]
    pub fn other_manager(&self) -> Option<OtherManager> {
        let firewalld = match self.firewalld {
            Firewalld::Absent => return None,
            present => format!("{present:?}").to_lowercase(),
        };
        let text = format!(
            "firewalld is {firewalld} on this host: firewalld and Xshield cannot both manage this \
             firewall; remove or mask firewalld, then run again"
        );
        Some(OtherManager { by: "firewalld", text })
    }
}

/// Whether another program manages this host's firewall.
pub(crate) fn is_managed_by_another(root: &Path) -> bool {
    firewalld::detect(root) != Firewalld::Absent
}

/// Checks the operating system and whether another program manages its firewall. `root` is `/` except in
/// tests.
///
/// # Errors
/// See [`PreflightError`].
pub fn check(root: &Path) -> Result<Preflight, PreflightError> {
    let os = OsRelease::read(root)?;
    SupportedOs::check(&os)?;
    if !may_administer_network() {
        return Err(PreflightError::Permission);
    }
    Ok(Preflight { os, firewalld: firewalld::detect(root) })
}

/// CAP_NET_ADMIN (12, `linux/capability.h`) in the effective set.
fn may_administer_network() -> bool {
    const CAP_NET_ADMIN: u32 = 12;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let bits = effective.and_then(|text| u64::from_str_radix(text.trim(), 16).ok());
    bits.is_some_and(|bits| bits & (1 << CAP_NET_ADMIN) != 0)
}
