//! Assets by how they stand.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How an asset stands, as a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[schema(as = AssetStanding)]
pub enum Standing {
    /// Ran within five minutes.
    Active,
    /// Ran, but longer ago.
    Inactive,
    /// Never ran.
    Never,
    /// Not protected: nothing is enforced by its host or by the policy.
    Unprotected,
    /// Its host told of problems.
    Problems,
    /// Says that its ruleset is in the kernel.
    Enforcing,
    /// Another program owns its firewall.
    Blocked,
    /// Something failed.
    Failed,
    /// Has not got a policy.
    NoPolicy,
    /// Does not have the ruleset it should have.
    Outdated,
    /// Another identity waits for an operator.
    IdentityChanged,
    /// What its host says of itself waits for an operator.
    Waiting,
    /// A resident agent that checks in as it said.
    Online,
    /// A resident agent that missed one or two check-ins.
    Late,
    /// A resident agent that missed three check-ins or more.
    Offline,
    /// Its check-ins are refused.
    Refused,
    /// Taken out of service.
    Decommissioned,
}
