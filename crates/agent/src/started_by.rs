//! Who started this program.

/// Whoever did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartedBy {
    /// The service manager, by the agent's unit.
    Unit,
    /// A person or a program.
    Else,
}

impl StartedBy {
    /// From the environment: the unit's type has the service manager give a socket.
    #[must_use]
    pub fn of_environment() -> Self {
        if std::env::var_os("NOTIFY_SOCKET").is_some() { Self::Unit } else { Self::Else }
    }
}
