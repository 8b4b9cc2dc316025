//! Why a run could not start.

use std::path::PathBuf;

use xshield_host::files::FileError;
use xshield_host::identity::IdentityError;
use xshield_host::lock::LockError;
use xshield_host::operating_system::UnguardedError;
use xshield_host::spool::SpoolError;

use crate::delivery::DeliveryError;
use crate::os::SystemError;
use crate::os::preflight::PreflightError;

/// Why a run could not start. Later failures are part of its [`RunOutcome`](crate::RunOutcome).
#[derive(Debug, thiserror::Error)]
pub enum CycleError {
    /// Nothing can be enforced on this host.
    #[error(transparent)]
    Preflight(#[from] PreflightError),
    /// The state directory can't be used.
    #[error("creating the state directory {path} failed", path = .path.display())]
    StateDirectory {
        /// The directory.
        path: PathBuf,
        /// The error returned by the OS.
        #[source]
        source: std::io::Error,
    },
    /// Other users can change the state directory.
    #[error("the state directory can't be trusted, and what is in force stays")]
    Unguarded(#[from] UnguardedError),
    /// A state file can't be used.
    #[error("using the state directory failed")]
    State(#[from] FileError),
    /// The lock can't be taken.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The host's identity can't be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The host's facts can't be read.
    #[error(transparent)]
    System(#[from] SystemError),
    /// The connection to the platform can't be set up.
    #[error("preparing the connection to the platform failed")]
    Transport(#[from] xshield_transport::ConfigError),
    /// The spool can't be used.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The findings of the run could not be saved.
    #[error(transparent)]
    Delivery(#[from] DeliveryError),
}
