//! Why a verb of a host program failed.

use std::path::PathBuf;

use xshield_firewall::FirewallError;
use xshield_host::files::FileError;
use xshield_host::linux::system::SystemError;
use xshield_host::lock::LockError;

use crate::linux::boot_unit::BootUnitError;

/// Why a verb failed.
#[derive(Debug, thiserror::Error)]
pub enum VerbError {
    /// The state directory can't be used.
    #[error("using the state directory {path} failed", path = .path.display())]
    StateDirectory {
        /// The directory.
        path: PathBuf,
        /// What the OS said.
        #[source]
        source: std::io::Error,
    },
    /// A state file can't be read.
    #[error(transparent)]
    State(#[from] FileError),
    /// The lock can't be taken.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A run is under way.
    #[error("a run is under way; try again when it has ended")]
    Busy,
    /// The kernel's firewall does not answer or refuses.
    #[error(transparent)]
    Firewall(#[from] FirewallError),
    /// The boot unit can't be removed.
    #[error(transparent)]
    BootUnit(#[from] BootUnitError),
    /// The system can't be asked.
    #[error(transparent)]
    System(#[from] SystemError),
    /// How the kernel sees a program is not known.
    #[error("{0}")]
    Program(String),
    /// firewalld owns this host's firewall.
    #[error("firewalld and Xshield cannot both manage this firewall; nothing was restored")]
    Firewalld,
    /// The threat list can't be restored or asked.
    #[error(transparent)]
    Threat(Box<dyn std::error::Error + Send + Sync>),
    /// There is no threat list to be asked.
    #[error(
        "no threat list is in force on this host; the next run puts it there, if one is ordered"
    )]
    NoThreatList,
    /// There is nothing to restore.
    #[error("there is neither a last-known-good ruleset nor a threat list to restore: {}", .reasons.join("; "))]
    NothingToRestore {
        /// What was wrong with the files, if anything was.
        reasons: Vec<String>,
    },
}
