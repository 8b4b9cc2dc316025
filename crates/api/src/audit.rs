//! The audit log.

use serde::{Deserialize, Serialize};
use utoipa::IntoParams;
use xshield_model::Timestamp;
pub use xshield_model::audit_entry::AuditEntry;

/// A filter for the audit log.
#[derive(Debug, Clone, Default, Deserialize, Serialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct AuditQuery {
    /// The complete actor: `user:NAME`, `host:ASSET`.
    #[serde(default)]
    pub actor: Option<String>,
    /// Part of the action, e.g. `policy.`.
    #[serde(default)]
    pub action: Option<String>,
    /// Part of the target.
    #[serde(default)]
    pub target: Option<String>,
    /// Not before this time (RFC 3339).
    #[serde(default)]
    pub since: Option<Timestamp>,
}
