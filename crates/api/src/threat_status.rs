//! The state of the threat list on the platform and on every host.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use xshield_model::Timestamp;
use xshield_model::threat_settings::PrivateRanges;
use xshield_threat::ThreatMode;

use crate::open::Open;

/// The state of the list.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// The revision in force; `null` before there ever was a feed.
    pub revision: Option<u64>,
    /// The number of prefixes.
    pub entries: u64,
    /// The memory it needs in a host's kernel, in bytes.
    pub kernel_bytes: u64,
    /// The revision whose listings are in force until an operator resumes: feeds have no effect meanwhile.
    pub restored: Option<u64>,
    /// Why the last compilation failed.
    pub trouble: Option<String>,
    #[schema(value_type = PrivateRanges)]
    pub private_ranges: Open<PrivateRanges>,
    /// Addresses that hosts claim although they were on the list before: they stay on it until an operator
    /// makes an exception.
    pub listed_assets: Vec<ListedAsset>,
    pub feeds: Feeds,
    pub hosts: Hosts,
}

/// An asset's address that is on the list.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ListedAsset {
    pub asset: String,
    pub address: String,
}

/// Numbers of feeds by state.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct Feeds {
    pub all: u64,
    /// Their entries may be out of date.
    pub stale: Vec<String>,
    /// A listing is held for an operator's decision.
    pub held: Vec<String>,
    /// The source's current listing differs from the one in force: an operator rejected it.
    pub differs: Vec<String>,
    /// The last run failed.
    pub failing: Vec<String>,
}

/// Numbers of hosts by state.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct Hosts {
    /// Hosts that support threat lists.
    pub all: u64,
    /// Hosts with the desired list.
    pub up_to_date: u64,
    /// The number of hosts per revision.
    pub by_revision: BTreeMap<u64, u64>,
    /// The number of hosts per mode, `inbound/outbound`.
    pub by_mode: BTreeMap<String, u64>,
    /// Hosts with memory for only a part of the list.
    pub parts: Vec<String>,
    /// Hosts that could not carry out their order, and why.
    pub failures: Vec<HostFailure>,
}

/// A host that could not carry out its order.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct HostFailure {
    pub asset: String,
    pub reason: String,
}

/// The threat list state of an asset.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AssetThreat {
    /// The modes ordered.
    #[schema(value_type = Option<String>)]
    pub inbound: Option<Open<ThreatMode>>,
    #[schema(value_type = Option<String>)]
    pub outbound: Option<Open<ThreatMode>>,
    /// The desired list.
    pub wanted: Option<List>,
    /// The list in its kernel.
    pub in_force: Option<List>,
    /// Whether it has carried out its order.
    pub up_to_date: bool,
    /// Bytes that the list may use there; `null` if unknown.
    pub budget: Option<u64>,
    /// The number of elements in its kernel's sets.
    pub elements: u64,
    /// When its kernel's list was last compared entry by entry and found equal.
    pub verified_at: Option<Timestamp>,
    /// Why it could not carry out its order.
    pub failure: Option<String>,
    /// When it reported this.
    pub told_at: Timestamp,
}

/// A list or a part of one.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct List {
    pub revision: u64,
    pub entries: u64,
    /// Prefixes of the whole list: more than `entries` if only a part fits.
    pub whole_entries: u64,
    /// Entries below this confidence (percent) are omitted; 0 for a whole list.
    pub least_confidence: u8,
}
