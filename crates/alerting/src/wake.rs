//! What those who judge and deliver wait for.

use tokio::sync::Notify;

/// Wakes those who judge matches and deliver alerts.
#[derive(Debug, Default)]
pub struct Wake {
    /// There are matches to be judged.
    pub fresh: Notify,
    /// There is something to be delivered.
    pub due: Notify,
}
