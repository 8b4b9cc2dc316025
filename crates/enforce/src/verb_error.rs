//! Why an operation of a host program failed.

use std::path::PathBuf;

use xshield_firewall::FirewallError;
use xshield_host::files::FileError;
use xshield_host::lock::LockError;

use crate::os::{BootUnitError, SystemError};

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
pub enum VerbError {
    /// The state directory can't be used.
    #[error("using the state directory {path} failed", path = .path.display())]
    StateDirectory {
        /// The directory.
        path: PathBuf,
        /// The error returned by the OS.
        #[source]
        source: std::io::Error,
    },
    /// A state file can't be read.
    #[error(transparent)]
    State(#[from] FileError),
    /// The lock can't be taken.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A run is in progress.
    #[error("a run is in progress; try again when it has ended")]
    Busy,
    /// The kernel's firewall does not answer, or refuses.
    #[error(transparent)]
    Firewall(#[from] FirewallError),
    /// The boot unit can't be removed.
    #[error(transparent)]
    BootUnit(#[from] BootUnitError),
    /// The system's facts can't be read.
    #[error(transparent)]
    System(#[from] SystemError),
    /// The program can't be identified.
    #[error("{0}")]
    Program(String),
    /// firewalld manages this host's firewall.
    #[error("firewalld and Xshield cannot both manage this firewall; nothing was restored")]
    Firewalld,
    /// The threat list can't be restored or read.
    #[error(transparent)]
    Threat(Box<dyn std::error::Error + Send + Sync>),
    /// There is no threat list to look up in.
    #[error(
        "no threat list is in force on this host; the next run puts one in force if the platform \
         orders it"
    )]
    NoThreatList,
    /// The system keeps no record of flows that can be read at any time.
    #[error(
        "Windows keeps no record of flows; its Security log has their events, which `xshield events` shows on \
         the platform"
    )]
    NoRecorder,
    /// There is nothing to restore.
    #[error("there is neither a last-known-good ruleset nor a threat list to restore: {}", .reasons.join("; "))]
    NothingToRestore {
        /// The reasons why files could not be used, if there were any.
        reasons: Vec<String>,
    },
}
