//! Whether this host can be enforced at all, checked before anything is changed.

use std::io;
use std::path::Path;

use xshield_host::windows::services::{self, FILTER_ENGINE, ServiceState};
use xshield_host::windows::{accounts, system};
use xshield_host::windows_formats::version::{UnsupportedVersion, WindowsVersion};

use crate::core::result::OtherManager;

/// Why nothing can be enforced on this host. The program exits with code 3.
#[derive(Debug, thiserror::Error)]
pub enum PreflightError {
    /// Not elevated.
    #[error(
        "needs the rights of SYSTEM or of an elevated administrator: run it from a service, a scheduled \
         task with highest privileges, or an elevated prompt"
    )]
    Permission,
    /// The version is not supported.
    #[error(transparent)]
    Unsupported(#[from] UnsupportedVersion),
    /// The filter engine's service does not run.
    #[error(
        "the Base Filtering Engine is stopped, and without it Windows enforces no filters: start the \
         service {FILTER_ENGINE}, and see the System event log for why it does not run"
    )]
    FilterEngine,
    /// Windows did not answer.
    #[error("{action} failed")]
    Unknown {
        /// What was asked.
        action: &'static str,
        /// The error returned by Windows.
        #[source]
        source: io::Error,
    },
}

/// The result of preflight.
#[derive(Debug, Clone)]
pub struct Preflight {
    /// The version of Windows.
    pub os: WindowsVersion,
}

impl Preflight {
    /// Other products' filters are beside ours: no other program keeps us from managing ours.
    #[must_use]
    pub fn other_manager(&self) -> Option<OtherManager> {
        None
    }
}

/// The same before a restart's ruleset is restored.
pub(crate) fn is_managed_by_another(_: &Path) -> bool {
    false
}

/// Checks version, rights and the filter engine's service.
///
/// # Errors
/// See [`PreflightError`].
pub fn check(_: &Path) -> Result<Preflight, PreflightError> {
    let unknown = |action| move |source| PreflightError::Unknown { action, source };
    let os = system::version().map_err(unknown("asking Windows for its version"))?;
    os.supported()?;
    if !accounts::is_elevated().map_err(unknown("reading this program's access token"))? {
        return Err(PreflightError::Permission);
    }
    let engine = services::state(FILTER_ENGINE);
    match engine.map_err(unknown("asking for the state of the Base Filtering Engine"))? {
        ServiceState::Stopped => Err(PreflightError::FilterEngine),
        // Whether there is an engine without that service, the engine itself says when it is asked.
        ServiceState::Running | ServiceState::Starting | ServiceState::Missing => {
            Ok(Preflight { os })
        }
    }
}
