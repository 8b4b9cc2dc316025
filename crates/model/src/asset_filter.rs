//! States of assets for filters.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The state of an asset, as a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[schema(as = AssetStanding)]
pub enum AssetStanding {
    /// Ran within five minutes.
    Active,
    /// Ran, but longer ago.
    Inactive,
    /// Never ran.
    Never,
    /// Not protected: nothing is enforced by its host or by the policy.
    Unprotected,
    /// Its host reports problems.
    Problems,
    /// Reports that its ruleset is in the kernel.
    Enforcing,
    /// Another program manages its firewall.
    Blocked,
    /// Something failed.
    Failed,
    /// Has no policy.
    NoPolicy,
    /// Does not have the desired ruleset.
    Outdated,
    /// Another identity key is pending.
    IdentityChanged,
    /// A claim of its host is pending.
    Waiting,
    /// A resident agent that checks in on time.
    Online,
    /// A resident agent that missed one or two check-ins.
    Late,
    /// A resident agent that missed three check-ins or more.
    Offline,
    /// Its check-ins are refused.
    Refused,
    /// Decommissioned.
    Decommissioned,
}
