//! What becomes of traffic with listed peers, and what else holds for the threat list.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use xshield_model::threat_settings::PrivateRanges;
use xshield_threat::ThreatMode;

use crate::impact::ExpectedImpact;

/// Modes, where they are set.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Modes {
    /// Where nothing else is said.
    pub platform: ModePair,
    pub segments: Vec<NamedModes>,
    pub assets: Vec<NamedModes>,
}

/// `block`, `event-only` or `off`; nothing where something wider counts.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ModePair {
    #[schema(value_type = Option<String>)]
    pub inbound: Option<ThreatMode>,
    #[schema(value_type = Option<String>)]
    pub outbound: Option<ThreatMode>,
}

/// The modes of a segment or an asset.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct NamedModes {
    pub name: String,
    #[serde(flatten)]
    pub modes: ModePair,
}

/// Which modes to set, and for whom.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ModeChange {
    /// A segment of the committed policy.
    #[serde(default)]
    pub segment: Option<String>,
    /// An asset, by name or id; the platform as a whole without segment and asset.
    #[serde(default)]
    pub asset: Option<String>,
    /// What it is to be.
    pub mode: WantedMode,
    /// For which flows; both when left out.
    #[serde(default)]
    pub direction: Option<Way>,
}

/// A mode, or none of one's own.
#[derive(Debug, Clone, Copy, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WantedMode {
    /// Drop and record.
    Block,
    /// Record only.
    EventOnly,
    /// Don't look.
    Off,
    /// What something wider says.
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

/// What else holds for the platform as a whole.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = ThreatSettings)]
pub struct Settings {
    /// Whether feeds may list private ranges (RFC 1918, 4193, 6598).
    pub private_ranges: PrivateRanges,
    /// Seconds between two comparisons of a host's list, entry by entry, with the one ordered; 0
    /// never.
    pub verify_every: u32,
}

/// How much of an asset's memory the list may take.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Bytes in the kernel; an eighth of the asset's memory when left out. The host's own
    /// configuration may grant less.
    #[serde(default)]
    pub bytes: Option<u64>,
}

/// What would be listed if feeds could list private ranges, and who is there.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PrivateRangesImpact {
    /// Of everything below but the traffic, which never rests: `sha256:` and hexadecimal digits. Whoever
    /// changes the setting says that this is what is expected.
    pub digest: String,
    /// Ranges that would join the list now. What feeds list later is not known.
    pub entries: u64,
    /// The first of them.
    pub samples: Vec<String>,
    /// All assets.
    pub assets: u64,
    /// Assets with an address in some private range: a feed that lists it cuts them off from their
    /// neighbours. Their own addresses stay protected.
    pub assets_private: u64,
    /// Assets with an address in what would join now.
    pub assets_inside: u64,
    /// Addresses in what would join now with which assets had traffic in the last seven days.
    pub recent_peers: u64,
}

/// The settings as they are to be.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangedSettings {
    /// As in the settings.
    pub private_ranges: PrivateRanges,
    /// As in the settings.
    pub verify_every: u32,
    /// Needed when private ranges become listed: the digest that
    /// `GET /api/v1/threat/private-ranges/impact` tells (`sha256:…`), or `any`.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub expected_impact: ExpectedImpact,
}
