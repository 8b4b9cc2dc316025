//! Check-ins that were refused.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::timestamp::Timestamp;

/// Refused check-ins of one asset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Refusal {
    /// The kind of the last refusal, e.g. `signature-wrong`.
    pub reason: String,
    /// What the host was told.
    pub detail: String,
    /// The first one since a check-in was taken.
    pub first_at: Timestamp,
    /// The last one.
    pub last_at: Timestamp,
    /// How many.
    pub times: u64,
}
