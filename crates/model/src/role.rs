//! What people may do.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a caller of the admin API may do. Ordered: each may do what the ones before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads everything but secrets.
    Viewer,
    /// Also changes assets, policy and enforcement keys.
    Operator,
    /// Also manages users and tokens of others.
    Admin,
}
