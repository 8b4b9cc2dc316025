//! What hosts say of themselves and operators decide about.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use xshield_model::Timestamp;
pub use xshield_model::claim::{Reason, Standing};
use xshield_policy::names::Name;
use xshield_wire::fingerprint::IdentityFingerprint;

/// What a host says of itself and the platform does not hold by itself.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Claim {
    /// The asset whose host says it.
    #[schema(value_type = String)]
    pub asset: Name,
    /// `name`, `address`, `address-gone`, `os` or `source`.
    pub fact: String,
    /// What is claimed.
    pub value: String,
    pub standing: Standing,
    pub reason: Reason,
    pub since: Timestamp,
}

#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct About {
    /// An address, or `name`, `os` or `source`.
    pub what: String,
}

/// The name under which an asset is held.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Named {
    #[schema(value_type = String)]
    pub name: Name,
}

#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// Of the identity key to pin, as its host shows it.
    #[schema(value_type = String)]
    pub fingerprint: IdentityFingerprint,
    /// What becomes of a machine that goes on with the pinned key.
    #[serde(default)]
    pub running: Running,
}

/// What becomes of a machine that has checked in with the pinned key since the other one came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Running {
    /// It keeps the asset: there are two machines, and the approval is refused.
    #[default]
    Keep,
    /// It loses the asset.
    Replace,
}

#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rejection {
    /// Of the identity key to turn away.
    #[schema(value_type = String)]
    pub fingerprint: IdentityFingerprint,
}
