//! Controls the service through systemctl.

use std::path::Path;
use std::process::{Command, Stdio};

/// The agent's unit.
const UNIT: &str = "ctagent.service";
/// Exists if the host runs systemd (`sd_booted(3)`).
const BOOTED: &str = "/run/systemd/system";

/// Why the service could not be controlled.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The host does not run systemd.
    #[error("this host does not run systemd: start `ctagent run` by other means")]
    NoSystemd,
    /// Its command can't be started.
    #[error("systemctl can't be started")]
    Start(#[source] std::io::Error),
    /// systemctl returned an error.
    #[error("systemctl {verb} {UNIT} failed: {reason}")]
    Failed {
        /// The verb.
        verb: &'static str,
        /// Its error message.
        reason: String,
    },
}

/// Whether the host runs systemd.
#[must_use]
pub fn runs_here() -> bool {
    Path::new(BOOTED).is_dir()
}

/// Whether the agent's unit is active.
#[must_use]
pub fn is_active() -> bool {
    runs_here() && systemctl("is-active", &["--quiet"]).is_ok()
}

/// Starts the service, now and at every boot.
///
/// # Errors
/// See [`ServiceError`].
pub fn start() -> Result<(), ServiceError> {
    systemctl("enable", &["--now"])
}

/// Stops the service.
///
/// # Errors
/// See [`ServiceError`].
pub fn stop() -> Result<(), ServiceError> {
    systemctl("stop", &[])
}

/// Restarts the service.
///
/// # Errors
/// See [`ServiceError`].
pub fn restart() -> Result<(), ServiceError> {
    systemctl("restart", &[])
}

/// Restarts the service, and starts it at every boot from now on.
///
/// # Errors
/// See [`ServiceError`].
pub fn enable_and_restart() -> Result<(), ServiceError> {
    systemctl("enable", &[])?;
    restart()
}

/// Stops the service, and does not start it at boot anymore.
///
/// # Errors
/// See [`ServiceError`].
pub fn disable() -> Result<(), ServiceError> {
    systemctl("disable", &["--now"])
}

/// Runs `systemctl VERB ctagent.service`.
fn systemctl(verb: &'static str, options: &[&str]) -> Result<(), ServiceError> {
    if !runs_here() {
        return Err(ServiceError::NoSystemd);
    }
    let mut command = Command::new("systemctl");
    command.arg(verb).args(options).arg(UNIT).stdin(Stdio::null());
    let output = command.output().map_err(ServiceError::Start)?;
    if output.status.success() {
        return Ok(());
    }
    let reason = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(ServiceError::Failed { verb, reason })
}
