//! Makes a running agent use a changed configuration.

use std::path::Path;

use crate::control::Request;
use crate::control::client::{self, AskError};
use crate::os::manager;

/// Why the agent does not use the new configuration yet.
#[derive(Debug, thiserror::Error)]
pub enum RestartError {
    /// The service manager can't restart it.
    #[error("the file is changed, but the service could not be restarted")]
    Service(#[from] manager::ServiceError),
    /// The agent can't be asked to read the file again.
    #[error("the file is changed, but the running agent did not accept it")]
    Agent(#[source] AskError),
}

/// Restarts the service, or asks an agent that runs by other means to read its configuration again. Returns
/// what was done.
///
/// # Errors
/// See [`RestartError`].
pub fn restart(socket: &Path) -> Result<&'static str, RestartError> {
    if manager::is_active() {
        manager::restart()?;
        return Ok("the service was restarted");
    }
    match client::ask(socket, &Request::Reload) {
        Ok(_) => Ok("the running agent uses the new configuration"),
        Err(AskError::NotRunning(_)) => {
            Ok("the agent is not running; it will use the new configuration when it is started")
        }
        Err(error) => Err(RestartError::Agent(error)),
    }
}
