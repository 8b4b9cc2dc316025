//! Assets: what they are and how they stand.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use xshield_model::Timestamp;
pub use xshield_model::asset_filter::Standing;
use xshield_model::refusal::Refusal;
use xshield_policy::AssetId;
use xshield_policy::inventory::Source;
use xshield_policy::names::{Name, TagKey, TagValue};
use xshield_wire::control::Usage;
use xshield_wire::fingerprint::IdentityFingerprint;
use xshield_wire::message::{InForce, Problem as HostProblem, RouteStanding, Status};

use crate::claims::Claim;
use crate::threat_status::AssetThreat;

/// A managed host.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Asset {
    #[schema(value_type = String)]
    pub id: AssetId,
    #[schema(value_type = String)]
    pub name: Name,
    #[schema(value_type = String)]
    pub source: Source,
    #[schema(value_type = BTreeMap<String, String>)]
    pub tags: BTreeMap<TagKey, TagValue>,
    #[schema(value_type = Vec<String>)]
    pub addresses: Vec<IpAddr>,
    pub os: String,
    pub kernel: String,
    /// The pinned identity key (Ed25519, base64).
    pub identity: String,
    /// Of the pinned identity key, as the host shows it.
    #[schema(value_type = String)]
    pub fingerprint: IdentityFingerprint,
    pub pending_identity: Option<PendingIdentity>,
    /// All that wait, in the order in which they came; only when one asset is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting_identities: Option<Vec<WaitingIdentity>>,
    /// The enforcement key that let the host in; only when one asset is asked for, and known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registered_with: Option<String>,
    pub created_at: Timestamp,
    /// Flows that the host could not record, ever.
    pub events_lost: u64,
    /// Since when it is out of service.
    pub decommissioned_at: Option<Timestamp>,
    pub spark: Spark,
    /// Whether it is protected, by which segments, at which level and in which mode; only when assets
    /// are asked for, not when one was changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protection: Option<Protection>,
    /// What its host says of itself and the platform does not hold by itself.
    pub claims: Vec<Claim>,
    /// What the platform finds about it that someone should act on; only when one asset is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Object>>)]
    pub findings: Option<Vec<HostProblem>>,
    /// How the threat list stands there; only when one asset is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threat: Option<AssetThreat>,
}

/// The first of the identities that speak in the asset's name and are not the pinned one.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PendingIdentity {
    /// Ed25519, base64.
    pub identity: String,
    /// As the host shows it.
    #[schema(value_type = String)]
    pub fingerprint: IdentityFingerprint,
    pub since: Timestamp,
}

/// An identity that speaks in the asset's name and is not the pinned one.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct WaitingIdentity {
    /// As the host shows it; approving and rejecting name it.
    #[schema(value_type = String)]
    pub fingerprint: IdentityFingerprint,
    /// Ed25519, base64.
    pub identity: String,
    /// The enforcement key that it came with.
    pub key: String,
    /// From which address it came last; a proxy's, when there was one.
    #[schema(value_type = Option<String>)]
    pub from: Option<IpAddr>,
    pub since: Timestamp,
    pub last_seen: Timestamp,
    pub attempts: u64,
}

#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AssetChange {
    /// Tags to set; those with `null` are taken away, those not named stay.
    #[schema(value_type = BTreeMap<String, Option<String>>)]
    pub tags: BTreeMap<TagKey, Option<TagValue>>,
}

/// A problem that a host told of, and when.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PastProblem {
    pub code: String,
    pub text: String,
    pub first_seen: Timestamp,
    pub last_seen: Timestamp,
    /// How often it came; one that stays over several check-ins came once.
    pub times: u64,
    /// Whether the last check-in told of it.
    pub current: bool,
}

/// How the host's program, Spark or agent, stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Spark {
    pub activity: Activity,
    /// Since when it is inactive or offline.
    pub inactive_since: Option<Timestamp>,
    /// Seconds within which a resident agent said it would check in again.
    pub interval: Option<u32>,
    /// Check-ins that a resident agent has missed.
    pub missed: Option<u64>,
    /// Its ways to the platform, in the order of its configuration.
    #[schema(value_type = Vec<Object>)]
    pub routes: Vec<RouteStanding>,
    /// What a resident agent uses of its host.
    #[schema(value_type = Option<Object>)]
    pub usage: Option<Usage>,
    pub last_check_in: Option<Timestamp>,
    pub version: String,
    /// What the host says: `enforcing`, `no-policy`, `blocked` or `failed`.
    #[schema(value_type = Object)]
    pub status: Status,
    /// The ruleset in the host's kernel.
    #[schema(value_type = Option<Object>)]
    pub in_force: Option<InForce>,
    /// The ruleset it should have.
    #[schema(value_type = Option<Object>)]
    pub wanted: Option<InForce>,
    /// Whether they are the same.
    pub up_to_date: bool,
    /// Why the asset's ruleset could not be compiled after the inventory changed; the one of before
    /// stays wanted.
    pub compile_failure: Option<String>,
    /// Why nothing is enforced, when that is so.
    pub nothing_enforced: Option<String>,
    /// Check-ins that were refused since the last one that was taken: what else is told of the host
    /// is as old as that one.
    pub refused: Option<Refusal>,
    /// What the host wants an operator to know.
    #[schema(value_type = Vec<Object>)]
    pub problems: Vec<HostProblem>,
}

/// Whether the host's program runs. A resident agent says when it will check in again and is held to
/// it; what something else starts is only known by when it last ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Activity {
    /// A resident agent that checks in as it said.
    Online,
    /// A resident agent that missed one or two check-ins.
    Late,
    /// A resident agent that missed three check-ins or more.
    Offline,
    /// It ran within the last five minutes.
    Active,
    /// It ran, but longer ago.
    Inactive,
    /// It has not checked in yet.
    Never,
    /// An operator took the asset out of service: it can't check in.
    Decommissioned,
}

/// What protects an asset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Protection {
    pub state: Protected,
    /// The same for people, with the reason.
    pub words: String,
    /// Why it is not protected.
    pub reason: Option<String>,
    /// Its segments in the committed policy.
    pub segments: Vec<String>,
    /// Level and mode of the flows that peers open, e.g. `secure-all-ports (enforce)`; by the committed
    /// policy.
    pub inbound: Option<String>,
    /// Level and mode of the flows that it opens.
    pub outbound: Option<String>,
}

/// Whether an asset is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Protected {
    /// Something is enforced on it, and its host has said so lately.
    Enforced,
    /// Its host said so when it last checked in, and has been silent since.
    LastKnown,
    /// It is not: what is closed is in mode `test`, and nothing is dropped.
    TestOnly,
    /// It is not.
    No,
}

/// Which assets are listed.
#[derive(Debug, Clone, Default, Deserialize, Serialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct AssetQuery {
    /// Part of the name.
    #[serde(default)]
    pub name: Option<String>,
    /// `key` or `key=value`; several, joined by `,`, must all hold.
    #[serde(default)]
    pub tag: Option<String>,
    /// How it stands.
    #[serde(default)]
    #[param(inline)]
    pub status: Option<Standing>,
    /// A segment of the committed policy.
    #[serde(default)]
    pub segment: Option<String>,
    /// A criteria expression, e.g. `environment = 'prod' and role in ('web','db')`.
    #[serde(default, rename = "where")]
    pub criteria: Option<String>,
}
