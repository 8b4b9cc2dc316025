//! Who did what.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::timestamp::Timestamp;

/// One line of the audit log. Summaries never hold secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditEntry {
    /// Grows with time.
    pub id: i64,
    /// When.
    pub at: Timestamp,
    /// Who: `user:NAME` or `host:ASSET`.
    pub actor: String,
    /// What, e.g. `policy.synchronize`.
    pub action: String,
    /// To what.
    pub target: String,
    /// How it was.
    pub before: String,
    /// How it is.
    pub after: String,
}
