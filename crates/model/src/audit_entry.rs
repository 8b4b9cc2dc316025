//! Entries of the audit log.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::timestamp::Timestamp;

/// An entry of the audit log. Summaries never contain secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditEntry {
    /// Grows with time.
    pub id: i64,
    /// When.
    pub at: Timestamp,
    /// The actor: `user:NAME` or `host:ASSET`.
    pub actor: String,
    /// The action, e.g. `policy.synchronize`.
    pub action: String,
    /// The target.
    pub target: String,
    /// The state before.
    pub before: String,
    /// The state after.
    pub after: String,
}
