//! Refused check-ins.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::timestamp::Timestamp;

/// Refused check-ins of one asset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Refusal {
    /// The kind of the last refusal, e.g. `signature-wrong`.
    pub reason: String,
    /// The text sent to the host.
    pub detail: String,
    /// The first one since an accepted check-in.
    pub first_at: Timestamp,
    /// The last one.
    pub last_at: Timestamp,
    /// Their number.
    pub times: u64,
}
