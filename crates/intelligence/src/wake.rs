//! What the jobs of threat intelligence wait for.

use tokio::sync::Notify;

/// A signal for each of them.
#[derive(Debug, Default)]
pub struct Wake {
    /// Something that the list is made of has changed.
    pub sources: Notify,
    /// A feed is due earlier than it was.
    pub schedule: Notify,
    /// Hosts have to be told something.
    pub orders: Notify,
    /// A run has ended.
    pub ended: Notify,
}
