//! Traffic with listed peers: assets that communicated with an address, losses, look-ups of many addresses.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use xshield_model::Timestamp;
pub use xshield_model::alert::EventView;
pub use xshield_model::threat_match::{ListedBy, ViaProxy};
use xshield_policy::Direction;
use xshield_threat::{FeedId, Prefix};
use xshield_wire::threat::ThreatAction;

use crate::query::number;

/// Which assets communicated with an address, and which feeds list it now.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AddressView {
    pub address: String,
    /// First and last time any asset communicated with it; `null` if none did.
    pub first_seen: Option<Timestamp>,
    pub last_seen: Option<Timestamp>,
    pub packets: u64,
    pub bytes: u64,
    /// Packets that were dropped.
    pub blocked: u64,
    /// The list's entry that contains it now; `null` when it is not on the list.
    pub entry: Option<String>,
    /// The feeds that list it now.
    pub feeds: Vec<ListedBy>,
    /// Assets that communicated with it, latest first.
    pub assets: Vec<AssetContact>,
    /// Whether there are more assets than these.
    pub more_assets: bool,
}

/// An asset that communicated with an address.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AssetContact {
    pub asset: String,
    pub flows: u64,
    pub packets: u64,
    pub bytes: u64,
    /// Packets that were dropped.
    pub blocked: u64,
    pub first_seen: Timestamp,
    pub last_seen: Timestamp,
}

/// Matched packets for which a host's recorder had no space.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AssetLosses {
    pub asset: String,
    /// In total.
    pub lost: u64,
    pub lost_at: Timestamp,
}

/// Whether events may be missing.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Losses {
    pub items: Vec<AssetLosses>,
}

#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LookupRequest {
    /// At most 10,000.
    #[schema(value_type = Vec<String>)]
    pub addresses: Vec<IpAddr>,
}

/// An address on the list.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Listed {
    pub address: String,
    /// The list's entry that contains it.
    pub entry: String,
    /// The highest confidence of a feed, in percent.
    pub confidence: Option<u8>,
    pub feeds: Vec<ListedBy>,
}

/// Those of the addresses that are on the list.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct LookupResult {
    pub items: Vec<Listed>,
}

/// A filter for threat events.
#[derive(Debug, Clone, Default, Deserialize, Serialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ThreatEventQuery {
    /// Only this asset's: name or id.
    #[serde(default)]
    pub asset: Option<String>,
    /// Only those of assets in this segment of the committed policy.
    #[serde(default)]
    pub segment: Option<String>,
    /// Only those of assets that match this criteria expression.
    #[serde(default, rename = "where")]
    pub criteria: Option<String>,
    /// The peer: an address or a prefix.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    pub address: Option<Prefix>,
    /// Only peers that this feed listed.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    pub feed: Option<FeedId>,
    /// `blocked` or `recorded`.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    pub action: Option<ThreatAction>,
    /// `inbound` or `outbound`.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    pub direction: Option<Direction>,
    /// `only` or `never`: matches behind proxies.
    #[serde(default)]
    #[param(inline)]
    pub via_proxy: Option<ViaProxy>,
    /// The minimum confidence, in percent.
    #[serde(default, deserialize_with = "number")]
    #[param(value_type = Option<u8>)]
    pub confidence: Option<u8>,
    /// Last seen not before this time (RFC 3339).
    #[serde(default)]
    pub since: Option<Timestamp>,
    /// First seen not after this time (RFC 3339).
    #[serde(default)]
    pub until: Option<Timestamp>,
}
