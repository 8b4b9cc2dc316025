//! Roles.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The role of a caller of the admin API. Ordered: each includes the previous ones.
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
