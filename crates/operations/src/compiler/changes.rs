//! Change notifications.

use tokio::sync::Notify;

/// The changes since the last run of the work, by origin.
#[derive(Debug, Default)]
pub struct Changes {
    /// Changes by hosts: many are processed together.
    hosts: Notify,
    /// Changes by operators, who wait for the result.
    operators: Notify,
}

impl Changes {
    /// A host has changed something.
    pub fn by_host(&self) {
        self.hosts.notify_one();
    }

    /// An operator or the platform itself has changed something.
    pub fn by_operator(&self) {
        self.operators.notify_one();
    }

    /// Completes when a host has changed something since the last completion.
    pub async fn of_hosts(&self) {
        self.hosts.notified().await;
    }

    /// Completes when an operator has changed something since the last completion.
    pub async fn of_operators(&self) {
        self.operators.notified().await;
    }
}
