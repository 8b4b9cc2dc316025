//! The trust information for hosts of a platform.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The certificates and keys that hosts trust.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PublicTrust {
    /// The message's version.
    pub version: u16,
    /// The certificate authorities that issue the platform's certificate: DER in base64.
    pub ca: Vec<String>,
    /// The keys that sign rulesets and orders, in base64.
    pub policy_keys: Vec<String>,
}
