//! How this program was started.

/// How this program was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartedBy {
    /// By the service manager, with the agent's unit.
    Unit,
    /// By a person or another program.
    Else,
}

impl StartedBy {
    /// From the environment: the service manager passes a notification socket to units of this type.
    #[must_use]
    pub fn of_environment() -> Self {
        if std::env::var_os("NOTIFY_SOCKET").is_some() { Self::Unit } else { Self::Else }
    }
}
