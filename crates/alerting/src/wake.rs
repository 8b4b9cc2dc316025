//! Wake-up signals for rule evaluation and delivery.

use tokio::sync::Notify;

/// Wakes rule evaluation and delivery.
#[derive(Debug, Default)]
pub struct Wake {
    /// There are matches to be evaluated.
    pub unevaluated: Notify,
    /// There is something to be delivered.
    pub due: Notify,
}
