//! What the platform answers about assets, as far as it is shown.

use std::collections::BTreeMap;

use serde::Deserialize;
use xshield_model::Timestamp;

#[derive(Deserialize)]
pub(super) struct Asset {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) source: String,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) addresses: Vec<String>,
    pub(super) os: String,
    pub(super) kernel: String,
    pub(super) fingerprint: String,
    pub(super) pending_identity: Option<PendingIdentity>,
    #[serde(default)]
    pub(super) waiting_identities: Vec<WaitingIdentity>,
    #[serde(default)]
    pub(super) registered_with: Option<String>,
    pub(super) created_at: Timestamp,
    pub(super) events_lost: u64,
    pub(super) spark: Spark,
    #[serde(default)]
    pub(super) protection: Protection,
    #[serde(default)]
    pub(super) threat: Option<Threat>,
    #[serde(default)]
    pub(super) claims: Vec<Claim>,
    #[serde(default)]
    pub(super) findings: Option<Vec<HostProblem>>,
}

/// Whether an asset is protected, and what the policy says of it.
#[derive(Default, Deserialize)]
pub(super) struct Protection {
    pub(super) state: String,
    pub(super) words: String,
    pub(super) segments: Vec<String>,
    pub(super) inbound: Option<String>,
    pub(super) outbound: Option<String>,
}

/// What a host says of itself and the platform does not hold by itself.
#[derive(Deserialize)]
pub(super) struct Claim {
    pub(super) asset: String,
    pub(super) fact: String,
    pub(super) value: String,
    pub(super) standing: String,
    pub(super) reason: String,
    pub(super) since: Timestamp,
}

#[derive(Deserialize)]
pub(super) struct Threat {
    pub(super) inbound: Option<String>,
    pub(super) outbound: Option<String>,
    pub(super) wanted: Option<ThreatList>,
    pub(super) in_force: Option<ThreatList>,
    pub(super) up_to_date: bool,
    pub(super) budget: Option<u64>,
    pub(super) verified_at: Option<Timestamp>,
    pub(super) failure: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct ThreatList {
    pub(super) revision: u64,
    pub(super) entries: u64,
    pub(super) whole_entries: u64,
    pub(super) least_confidence: u8,
}

#[derive(Deserialize)]
pub(super) struct PendingIdentity {
    pub(super) since: Timestamp,
}

#[derive(Deserialize)]
pub(super) struct WaitingIdentity {
    pub(super) fingerprint: String,
    pub(super) key: String,
    pub(super) from: Option<String>,
    pub(super) since: Timestamp,
    pub(super) last_seen: Timestamp,
    pub(super) attempts: u64,
}

#[derive(Deserialize)]
pub(super) struct Spark {
    pub(super) activity: String,
    pub(super) last_check_in: Option<Timestamp>,
    pub(super) version: String,
    pub(super) status: Status,
    pub(super) in_force: Option<Held>,
    pub(super) wanted: Option<Held>,
    pub(super) up_to_date: bool,
    #[serde(default)]
    pub(super) refused: Option<Refusal>,
    pub(super) problems: Vec<HostProblem>,
    #[serde(default)]
    pub(super) interval: Option<u32>,
    #[serde(default)]
    pub(super) missed: Option<u64>,
    #[serde(default)]
    pub(super) routes: Vec<Route>,
    #[serde(default)]
    pub(super) usage: Option<Usage>,
}

/// Check-ins that were refused since the last one that was taken.
#[derive(Deserialize)]
pub(super) struct Refusal {
    pub(super) detail: String,
    pub(super) first_at: Timestamp,
    pub(super) last_at: Timestamp,
    pub(super) times: u64,
}

#[derive(Deserialize)]
pub(super) struct Status {
    pub(super) state: String,
    #[serde(default, alias = "by")]
    pub(super) reason: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Held {
    pub(super) revision: u64,
    pub(super) digest: String,
}

/// One way to the platform.
#[derive(Deserialize)]
pub(super) struct Route {
    pub(super) route: String,
    pub(super) in_use: bool,
    pub(super) last_failure: Option<RouteFailure>,
}

#[derive(Deserialize)]
pub(super) struct RouteFailure {
    pub(super) at: i64,
    pub(super) reason: String,
}

/// What a resident agent uses.
#[derive(Deserialize)]
pub(super) struct Usage {
    pub(super) cpu: u32,
    pub(super) memory: u64,
}

#[derive(Deserialize)]
pub(super) struct PastProblem {
    pub(super) code: String,
    pub(super) text: String,
    pub(super) first_seen: Timestamp,
    pub(super) last_seen: Timestamp,
    pub(super) times: u64,
    pub(super) current: bool,
}

#[derive(Deserialize)]
pub(super) struct HostProblem {
    pub(super) code: String,
    pub(super) text: String,
}
