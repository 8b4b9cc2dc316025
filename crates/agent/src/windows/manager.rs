//! The agent can't be run as a service of Windows yet, only in the foreground.

/// Why the service could not be controlled.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// There is none.
    #[error("the agent is no service of Windows yet: run `ctagent run`, and end it with Ctrl-C")]
    NoService,
}

/// Whether there is a service manager that can run the agent.
#[must_use]
pub fn runs_here() -> bool {
    false
}

/// Whether the agent runs as a service.
#[must_use]
pub fn is_active() -> bool {
    false
}

/// Starts the service, now and at every boot.
///
/// # Errors
/// See [`ServiceError`].
pub fn start() -> Result<(), ServiceError> {
    Err(ServiceError::NoService)
}

/// Stops the service.
///
/// # Errors
/// See [`ServiceError`].
pub fn stop() -> Result<(), ServiceError> {
    Err(ServiceError::NoService)
}

/// Restarts the service.
///
/// # Errors
/// See [`ServiceError`].
pub fn restart() -> Result<(), ServiceError> {
    Err(ServiceError::NoService)
}

/// Restarts the service, and starts it at every boot from now on.
///
/// # Errors
/// See [`ServiceError`].
pub fn enable_and_restart() -> Result<(), ServiceError> {
    Err(ServiceError::NoService)
}

/// Stops the service, and does not start it at boot anymore.
///
/// # Errors
/// See [`ServiceError`].
pub fn disable() -> Result<(), ServiceError> {
    Err(ServiceError::NoService)
}
