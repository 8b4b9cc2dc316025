//! What operators want of traffic with listed peers.

use serde::{Deserialize, Serialize};
use xshield_threat::ThreatMode;

/// What holds for the platform as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ThreatSettings {
    /// Where nothing else is said.
    pub inbound: ThreatMode,
    /// Where nothing else is said.
    pub outbound: ThreatMode,
    /// Whether feeds may list private ranges.
    pub private_ranges: PrivateRanges,
    /// Seconds between two comparisons of a kernel's list, entry by entry, with the one ordered; 0
    /// never.
    pub verify_every: u32,
    /// The revision whose listings hold until an operator resumes.
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

/// The modes that an operator wants; where nothing is said, something wider counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Wish {
    /// For flows that peers open.
    pub inbound: Option<ThreatMode>,
    /// For flows that the host opens.
    pub outbound: Option<ThreatMode>,
}

/// What a host's list may take of its memory, in bytes: what an operator gave it, or an eighth of its
/// memory; never more than its own configuration grants. Nothing when nothing is known.
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
    fn budgets() {
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
