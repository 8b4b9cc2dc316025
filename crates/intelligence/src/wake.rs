//! Wake-up signals for the jobs of threat intelligence.

use tokio::sync::Notify;

/// A signal for each job.
#[derive(Debug, Default)]
pub struct Wake {
    /// An input of the list has changed.
    pub sources: Notify,
    /// A feed is due earlier than it was.
    pub schedule: Notify,
    /// Hosts have to be notified.
    pub orders: Notify,
    /// A run has ended.
    pub ended: Notify,
}
