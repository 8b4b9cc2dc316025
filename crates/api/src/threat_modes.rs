//! The modes for traffic with listed peers, and further settings of the threat list.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
pub use xshield_model::threat_settings::PrivateRanges;
use xshield_threat::ThreatMode;

use crate::impact::ExpectedImpact;
use crate::open::Open;

/// Where each mode is set.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Modes {
    /// The default.
    pub platform: ModePair,
    pub segments: Vec<NamedModes>,
    pub assets: Vec<NamedModes>,
}

/// `block`, `event-only` or `off`; `null` inherits from the next wider scope.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ModePair {
    #[schema(value_type = Option<String>)]
    pub inbound: Option<Open<ThreatMode>>,
    #[schema(value_type = Option<String>)]
    pub outbound: Option<Open<ThreatMode>>,
}

/// The modes of a segment or an asset.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct NamedModes {
    pub name: String,
    #[serde(flatten)]
    pub modes: ModePair,
}

/// The modes to set, and for whom.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ModeChange {
    /// A segment of the committed policy.
    #[serde(default)]
    pub segment: Option<String>,
    /// An asset, by name or id; the platform as a whole without segment and asset.
    #[serde(default)]
    pub asset: Option<String>,
    /// The new mode.
    pub mode: WantedMode,
    /// For which flows; both when left out.
    #[serde(default)]
    pub direction: Option<Way>,
}

/// A mode, or inheritance.
#[derive(Debug, Clone, Copy, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WantedMode {
    /// Drop and record.
    Block,
    /// Record only.
    EventOnly,
    /// Don't check.
    Off,
    /// As set for the next wider scope.
    Inherit,
}

/// Flows by who opens them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// The peer.
    Inbound,
    /// The host.
    Outbound,
}

/// Settings of the threat list for the whole platform.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = ThreatSettings)]
pub struct Settings {
    /// Whether feeds may list private ranges (RFC 1918, 4193, 6598).
    #[schema(value_type = PrivateRanges)]
    pub private_ranges: Open<PrivateRanges>,
    /// Seconds between two comparisons of a host's list with the ordered one, entry by entry; 0 for never.
    pub verify_every: u32,
}

/// How much memory an asset may use for the list.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Bytes in the kernel; an eighth of the asset's memory when left out. The host's own configuration may
    /// allow less.
    #[serde(default)]
    pub bytes: Option<u64>,
}

/// What would be listed if feeds could list private ranges, and the affected assets.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PrivateRangesImpact {
    /// Digest of everything below except the traffic, which changes constantly: `sha256:` and hexadecimal
    /// digits. To be given as the expected impact when changing the setting.
    pub digest: String,
    /// Ranges that would be added to the list now. What feeds list later is unknown.
    pub entries: u64,
    /// The first of them.
    pub samples: Vec<String>,
    /// All assets.
    pub assets: u64,
    /// Assets with an address in a private range: a feed that lists it cuts them off from their neighbors.
    /// Their own addresses stay protected.
    pub assets_private: u64,
    /// Assets with an address in what would be added now.
    pub assets_inside: u64,
    /// Addresses in what would be added now with which assets had traffic in the last seven days.
    pub recent_peers: u64,
}

/// The new settings.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangedSettings {
    /// As in the settings.
    pub private_ranges: PrivateRanges,
    /// As in the settings.
    pub verify_every: u32,
    /// Required when private ranges become listed: the digest from `GET /api/v1/threat/private-ranges/impact`
    /// (`sha256:…`), or `any`.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub expected_impact: ExpectedImpact,
}
