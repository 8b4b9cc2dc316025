//! That something has changed since it was last looked at.

use tokio::sync::Notify;

/// What has changed since the work was last begun, by whose word.
#[derive(Debug, Default)]
pub struct Changes {
    /// By the word of hosts: many are worked off at once.
    hosts: Notify,
    /// By operators, who wait for it.
    operators: Notify,
}

impl Changes {
    /// Something has changed by the word of a host.
    pub fn by_host(&self) {
        self.hosts.notify_one();
    }

    /// Something has changed by the word of an operator, or of the platform itself.
    pub fn by_operator(&self) {
        self.operators.notify_one();
    }

    /// Done when a host has changed something since this was last done.
    pub async fn of_hosts(&self) {
        self.hosts.notified().await;
    }

    /// Done when an operator has changed something since this was last done.
    pub async fn of_operators(&self) {
        self.operators.notified().await;
    }
}
