//! Whether this host can be enforced at all, before anything is touched.

use std::path::Path;

use xshield_host::files::FileError;
use xshield_host::linux::firewalld::{self, Firewalld};
use xshield_host::linux::os_release::{OsRelease, SupportedOs, Unsupported};

/// Why nothing can be done on this host. The program exits with code 3.
#[derive(Debug, thiserror::Error)]
pub enum PreflightError {
    /// Neither root nor CAP_NET_ADMIN.
    #[error("needs root or CAP_NET_ADMIN: run it as root")]
    Permission,
    /// The operating system is not supported.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// Which operating system it is can't be told.
    #[error("finding out which operating system this is failed")]
    Unknown(#[from] FileError),
}

/// What preflight found.
#[derive(Debug, Clone)]
pub struct Preflight {
    /// The operating system.
    pub os: OsRelease,
    /// Who else programs this host's firewall.
    pub firewalld: Firewalld,
}

/// Looks at the operating system and at who else programs its firewall. `root` is `/` but for tests.
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
