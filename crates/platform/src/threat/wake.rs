//! What the jobs of threat intelligence wait for.

use tokio::sync::Notify;

/// A signal for each of them.
#[derive(Debug, Default)]
pub(crate) struct Wake {
    /// Something that the list is made of has changed.
    pub(crate) sources: Notify,
    /// A feed is due earlier than it was.
    pub(crate) schedule: Notify,
    /// Hosts have to be told something.
    pub(crate) orders: Notify,
    /// A run has ended.
    pub(crate) ended: Notify,
}
