//! Assets: their properties and state.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use xshield_model::Timestamp;
pub use xshield_model::asset_filter::AssetStanding;
use xshield_model::refusal::Refusal;
use xshield_policy::AssetId;
use xshield_policy::inventory::Source;
use xshield_policy::names::{Name, TagKey, TagValue};
use xshield_wire::control::Usage;
use xshield_wire::fingerprint::IdentityFingerprint;
use xshield_wire::message::{InForce, Problem as HostProblem, RouteStanding, Status};

use crate::claims::Claim;
use crate::open::Open;
use crate::threat_status::AssetThreat;

/// A managed host.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Asset {
    #[schema(value_type = String)]
    pub id: AssetId,
    #[schema(value_type = String)]
    pub name: Name,
    #[schema(value_type = String)]
    pub source: Open<Source>,
    #[schema(value_type = BTreeMap<String, String>)]
    pub tags: BTreeMap<TagKey, TagValue>,
    #[schema(value_type = Vec<String>)]
    pub addresses: Vec<IpAddr>,
    pub os: String,
    pub kernel: String,
    /// The pinned identity key (Ed25519, base64).
    pub identity: String,
    /// Fingerprint of the pinned identity key, as the host shows it.
    #[schema(value_type = String)]
    pub fingerprint: IdentityFingerprint,
    pub pending_identity: Option<PendingIdentity>,
    /// All pending identity keys in the order of arrival; only in the view of a single asset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting_identities: Option<Vec<WaitingIdentity>>,
    /// The enforcement key with which the host registered; only in the view of a single asset, and if known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registered_with: Option<String>,
    pub created_at: Timestamp,
    /// Total number of flows that the host could not record.
    pub events_lost: u64,
    /// When it was decommissioned.
    pub decommissioned_at: Option<Timestamp>,
    pub spark: Spark,
    /// Whether it is protected, by which segments, at which level and in which mode; only when assets are
    /// read, not when one was changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protection: Option<Protection>,
    /// Claims of its host that the platform does not accept automatically.
    pub claims: Vec<Claim>,
    /// Findings of the platform that someone should act on; only in the view of a single asset.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Object>>)]
    pub findings: Option<Vec<HostProblem>>,
    /// The state of its threat list; only in the view of a single asset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threat: Option<AssetThreat>,
}

/// The first pending identity key: it claims the asset's name and is not the pinned one.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PendingIdentity {
    /// Ed25519, base64.
    pub identity: String,
    /// Fingerprint, as the host shows it.
    #[schema(value_type = String)]
    pub fingerprint: IdentityFingerprint,
    pub since: Timestamp,
}

/// A pending identity key: it claims the asset's name and is not the pinned one.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct WaitingIdentity {
    /// Fingerprint, as the host shows it; used for approving and rejecting.
    #[schema(value_type = String)]
    pub fingerprint: IdentityFingerprint,
    /// Ed25519, base64.
    pub identity: String,
    /// The enforcement key that was used.
    pub key: String,
    /// The last source address; a proxy's, if there was one.
    #[schema(value_type = Option<String>)]
    pub from: Option<IpAddr>,
    pub since: Timestamp,
    pub last_seen: Timestamp,
    pub attempts: u64,
}

#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AssetChange {
    /// Tags to set; those with `null` are removed, those not listed stay.
    #[schema(value_type = BTreeMap<String, Option<String>>)]
    pub tags: BTreeMap<TagKey, Option<TagValue>>,
}

/// A problem that a host reported, with its times.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PastProblem {
    pub code: String,
    pub text: String,
    pub first_seen: Timestamp,
    pub last_seen: Timestamp,
    /// How often it occurred; one that lasts over several check-ins counts once.
    pub times: u64,
    /// Whether it was in the last check-in.
    pub current: bool,
}

/// The state of the host's program, Spark or agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Spark {
    #[schema(value_type = Activity)]
    pub activity: Open<Activity>,
    /// Since when it is inactive or offline.
    pub inactive_since: Option<Timestamp>,
    /// Seconds within which a resident agent announced its next check-in.
    pub interval: Option<u32>,
    /// Number of check-ins that a resident agent has missed.
    pub missed: Option<u64>,
    /// Its routes to the platform, in the order of its configuration.
    #[schema(value_type = Vec<Object>)]
    pub routes: Vec<RouteStanding>,
    /// Resource usage of a resident agent.
    #[schema(value_type = Option<Object>)]
    pub usage: Option<Usage>,
    pub last_check_in: Option<Timestamp>,
    pub version: String,
    /// The state that the host reports: `enforcing`, `no-policy`, `blocked` or `failed`.
    #[schema(value_type = Object)]
    pub status: Open<Status>,
    /// The ruleset in the host's kernel.
    #[schema(value_type = Option<Object>)]
    pub in_force: Option<InForce>,
    /// The desired ruleset.
    #[schema(value_type = Option<Object>)]
    pub wanted: Option<InForce>,
    /// Whether these are the same.
    pub up_to_date: bool,
    /// Why the asset's ruleset could not be compiled after the inventory changed; the previous one stays the
    /// desired one.
    pub compile_failure: Option<String>,
    /// Why nothing is enforced, in that case.
    pub nothing_enforced: Option<String>,
    /// Check-ins refused since the last accepted one: everything else about the host is as old as that one.
    pub refused: Option<Refusal>,
    /// Problems that the host reports.
    #[schema(value_type = Vec<Object>)]
    pub problems: Vec<HostProblem>,
}

/// Whether the host's program runs. A resident agent announces its next check-in and is measured by that; for
/// a program that something else starts, only its last run is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Activity {
    /// A resident agent that checks in on time.
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
    /// The asset is decommissioned: it can't check in.
    Decommissioned,
}

/// The protection of an asset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Protection {
    #[schema(value_type = Protected)]
    pub state: Open<Protected>,
    /// The same in words, with the reason.
    pub words: String,
    /// Why it is not protected.
    pub reason: Option<String>,
    /// Its segments in the committed policy.
    pub segments: Vec<String>,
    /// Level and mode for flows opened by peers, e.g. `secure-all-ports (enforce)`; from the committed
    /// policy.
    pub inbound: Option<String>,
    /// Level and mode for flows opened by the asset.
    pub outbound: Option<String>,
}

/// Whether an asset is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Protected {
    /// It is, and its host has confirmed this recently.
    Enforced,
    /// Its host reported so in its last check-in, and has been silent since.
    LastKnown,
    /// It is not: the restrictions are in mode `test`, and nothing is dropped.
    TestOnly,
    /// It is not.
    No,
}

/// A filter for assets.
#[derive(Debug, Clone, Default, Deserialize, Serialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct AssetQuery {
    /// Part of the name.
    #[serde(default)]
    pub name: Option<String>,
    /// `key` or `key=value`; several, joined by `,`, must all match.
    #[serde(default)]
    pub tag: Option<String>,
    /// The state.
    #[serde(default)]
    #[param(inline)]
    pub status: Option<AssetStanding>,
    /// A segment of the committed policy.
    #[serde(default)]
    pub segment: Option<String>,
    /// A criteria expression, e.g. `environment = 'prod' and role in ('web','db')`.
    #[serde(default, rename = "where")]
    pub criteria: Option<String>,
}
