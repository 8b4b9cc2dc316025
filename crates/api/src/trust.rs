//! Whom hosts of a platform trust.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Whom hosts trust.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PublicTrust {
    /// The message's version.
    pub version: u16,
    /// Certificates of the authorities that the platform's own comes from: DER in base64.
    pub ca: Vec<String>,
    /// The keys that rulesets and orders are signed with, in base64.
    pub policy_keys: Vec<String>,
}
