//! What hosts claim about themselves and operators decide on.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use xshield_model::Timestamp;
pub use xshield_model::claim::{ClaimStanding, Reason};
use xshield_policy::names::Name;
use xshield_wire::fingerprint::IdentityFingerprint;

use crate::open::Open;

/// A claim of a host that the platform does not accept automatically.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Claim {
    /// The asset of the host.
    #[schema(value_type = String)]
    pub asset: Name,
    /// `name`, `address`, `address-gone`, `os` or `source`.
    pub fact: String,
    /// What is claimed.
    pub value: String,
    #[schema(value_type = ClaimStanding)]
    pub standing: Open<ClaimStanding>,
    #[schema(value_type = Reason)]
    pub reason: Open<Reason>,
    pub since: Timestamp,
}

#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct About {
    /// An address, or `name`, `os` or `source`.
    pub what: String,
}

/// The name of an asset.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Named {
    #[schema(value_type = String)]
    pub name: Name,
}

#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// Fingerprint of the identity key to pin, as its host shows it.
    #[schema(value_type = String)]
    pub fingerprint: IdentityFingerprint,
    /// What to do about a machine that is still active with the pinned key.
    #[serde(default)]
    pub running: Running,
}

/// What to do about a machine that has checked in with the pinned key since the other key appeared.
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
    /// Fingerprint of the identity key to reject.
    #[schema(value_type = String)]
    pub fingerprint: IdentityFingerprint,
}
