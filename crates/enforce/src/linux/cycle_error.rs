//! Why a run could not begin.

use std::path::PathBuf;

use xshield_host::files::FileError;
use xshield_host::identity::IdentityError;
use xshield_host::linux::system::SystemError;
use xshield_host::lock::LockError;
use xshield_host::operating_system::UnguardedError;
use xshield_host::spool::SpoolError;

use crate::delivery::DeliveryError;
use crate::linux::preflight::PreflightError;

/// Why a run could not even begin. What fails later is part of its [`Outcome`](crate::Outcome).
#[derive(Debug, thiserror::Error)]
pub enum CycleError {
    /// This host can't be enforced.
    #[error(transparent)]
    Preflight(#[from] PreflightError),
    /// The state directory can't be used.
    #[error("making the state directory {path} failed", path = .path.display())]
    StateDirectory {
        /// The directory.
        path: PathBuf,
        /// What the OS said.
        #[source]
        source: std::io::Error,
    },
    /// Others can change the state directory.
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
    /// The host can't be described.
    #[error(transparent)]
    System(#[from] SystemError),
    /// The connection to the platform can't be set up.
    #[error("preparing the connection to the platform failed")]
    Transport(#[from] xshield_transport::ConfigError),
    /// The spool can't be used.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// What was found could not be made to outlive the run.
    #[error(transparent)]
    Delivery(#[from] DeliveryError),
}
