//! Settings for traffic with listed peers.

use serde::{Deserialize, Serialize};
use xshield_threat::ThreatMode;

/// The settings of the whole platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ThreatSettings {
    /// The default for inbound flows.
    pub inbound: ThreatMode,
    /// The default for outbound flows.
    pub outbound: ThreatMode,
    /// Whether feeds may list private ranges.
    pub private_ranges: PrivateRanges,
    /// Seconds between two comparisons of a kernel's list with the ordered one, entry by entry; 0 for never.
    pub verify_every: u32,
    /// The revision whose listings are in force until an operator resumes.
    pub pinned: Option<u64>,
}

impl Default for ThreatSettings {
    fn default() -> Self {
        Self {
            inbound: ThreatMode::Block,
            outbound: ThreatMode::Block,
            private_ranges: PrivateRanges::Protected,
            verify_every: 24 * 3600,
            pinned: None,
        }
    }
}

/// Whether feeds may list private ranges (RFC 1918, 4193, 6598).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PrivateRanges {
    /// They are never blocked.
    Protected,
    /// They can be listed like any other.
    Listed,
}

/// The modes set for a scope; `None` inherits from the next wider one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ScopeModes {
    /// For flows opened by peers.
    pub inbound: Option<ThreatMode>,
    /// For flows opened by the host.
    pub outbound: Option<ThreatMode>,
}

/// The memory in bytes that a host's list may use: as set by an operator, or an eighth of its memory; never
/// more than its own configuration allows. `None` if unknown.
#[must_use]
pub fn memory_budget(given: Option<u64>, memory: u64, own: Option<u64>) -> Option<u64> {
    let share = Some(memory / 8).filter(|&share| share > 0);
    match (given.or(share), own) {
        (Some(given), Some(own)) => Some(given.min(own)),
        (given, own) => given.or(own),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_budgets_by_setting_and_host() {
        for (given, memory, own, expected) in [
            (None, 0, None, None),
            (None, 800, None, Some(100)),
            (Some(500), 800, None, Some(500)),
            (Some(500), 800, Some(400), Some(400)),
            (None, 800, Some(400), Some(100)),
            (None, 0, Some(400), Some(400)),
        ] {
            assert_eq!(memory_budget(given, memory, own), expected, "{given:?} {memory} {own:?}");
        }
    }
}
