//! Decides whether a feed's new listing takes effect automatically, or waits for an operator.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::entry::Prefix;
use crate::set::{Size, ThreatSet};

/// How much a feed may change without approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChangeLimits {
    /// Growth in percent of the last listing.
    pub growth_percent: u64,
    /// Shrinkage in percent of the last listing.
    pub shrink_percent: u64,
    /// Changes up to this number are accepted whatever their percentage.
    pub small: u64,
    /// Whether an empty listing is accepted.
    pub empty: Empty,
}

/// Whether a feed may list nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Empty {
    /// It is an error until an operator allows it.
    #[default]
    Refused,
    /// It is accepted.
    Allowed,
}

impl Default for ChangeLimits {
    /// Real lists change by 1 to 12 % per day.
    fn default() -> Self {
        Self { growth_percent: 50, shrink_percent: 50, small: 500, empty: Empty::Refused }
    }
}

/// The decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "guard")]
pub enum Guard {
    /// The listing takes effect.
    Pass,
    /// The last listing stays in effect until an operator decides.
    Hold {
        /// The reasons; at least one.
        reasons: Vec<HoldReason>,
    },
}

/// Why a listing waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Error)]
#[serde(rename_all = "kebab-case", tag = "reason")]
pub enum HoldReason {
    /// The listing is empty.
    #[error("the feed is now empty; it had {before} entries")]
    Emptied {
        /// Entries before.
        before: u64,
    },
    /// It grew by more than the limit.
    #[error("the feed grew from {before} to {after} {unit}, more than {limit_percent} %")]
    Grew {
        /// The size before.
        before: u64,
        /// The size now.
        after: u64,
        /// The unit.
        unit: Unit,
        /// The limit.
        limit_percent: u64,
    },
    /// It shrank by more than the limit.
    #[error("the feed shrank from {before} to {after} {unit}, more than {limit_percent} %")]
    Shrank {
        /// The size before.
        before: u64,
        /// The size now.
        after: u64,
        /// The unit.
        unit: Unit,
        /// The limit.
        limit_percent: u64,
    },
    /// It newly lists own assets.
    #[error("the feed newly lists {} with addresses of own assets, such as {}", counted(*.count, "range", "ranges"), first(.samples))]
    HitsOwnAssets {
        /// The number of prefixes.
        count: u64,
        /// The first of them.
        samples: Vec<Prefix>,
    },
    /// It newly lists peers with which there was traffic in the last days.
    #[error("the feed newly lists {} with recent traffic, such as {}", counted(*.count, "peer", "peers"), first(.samples))]
    HitsRecentPeers {
        /// The number of prefixes.
        count: u64,
        /// The first of them.
        samples: Vec<Prefix>,
    },
}

/// The unit of a size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// Prefixes in normal form.
    Entries,
    /// IPv4 addresses.
    V4Addresses,
    /// IPv6 networks of 64 bits.
    V6Networks,
}

impl std::fmt::Display for Unit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Entries => "entries",
            Self::V4Addresses => "IPv4 addresses",
            Self::V6Networks => "IPv6 /64 networks",
        })
    }
}

/// The addresses with which a listing is compared.
#[derive(Debug, Clone, Copy)]
pub struct ReferenceAddresses<'a> {
    /// Addresses of own assets and own named networks.
    pub own_assets: &'a ThreatSet,
    /// Peers with which there was traffic in the last days.
    pub recent_peers: &'a ThreatSet,
}

/// The most samples in a reason.
const SAMPLES: usize = 20;

/// Decides about a feed's listing. `before` is the one in effect; `None` for a new feed, whose size is then
/// not a change, but which must not list own assets or recent peers either. The same applies to the first
/// addresses of a family.
#[must_use]
pub fn judge(
    before: Option<&ThreatSet>,
    after: &ThreatSet,
    surroundings: ReferenceAddresses<'_>,
    limits: ChangeLimits,
) -> Guard {
    let mut reasons = Vec::new();
    if let Some(before) = before {
        reasons.extend(change_of_size(before.size(), after.size(), limits));
    }
    let new = before.map_or_else(|| after.clone(), |before| after.difference(before));
    if let Some((count, samples)) = hits(&new, surroundings.own_assets) {
        reasons.push(HoldReason::HitsOwnAssets { count, samples });
    }
    if let Some((count, samples)) = hits(&new, surroundings.recent_peers) {
        reasons.push(HoldReason::HitsRecentPeers { count, samples });
    }
    if reasons.is_empty() { Guard::Pass } else { Guard::Hold { reasons } }
}

/// `1 range`, `2 ranges`.
fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

fn first(samples: &[Prefix]) -> String {
    samples.first().map(ToString::to_string).unwrap_or_default()
}

fn change_of_size(before: Size, after: Size, limits: ChangeLimits) -> Vec<HoldReason> {
    if after.entries == 0 && before.entries > 0 {
        return match limits.empty {
            Empty::Refused => vec![HoldReason::Emptied { before: before.entries }],
            Empty::Allowed => Vec::new(),
        };
    }
    let units = [
        (Unit::Entries, before.entries, after.entries),
        (Unit::V4Addresses, before.v4_addresses, after.v4_addresses),
        (Unit::V6Networks, before.v6_networks, after.v6_networks),
    ];
    units
        .into_iter()
        .filter_map(|(unit, before, after)| beyond(unit, before, after, limits))
        .collect()
}

fn beyond(unit: Unit, before: u64, after: u64, limits: ChangeLimits) -> Option<HoldReason> {
    if before == 0 {
        return None;
    }
    let allowed =
        |percent| limits.small.max((u128::from(before) * u128::from(percent) / 100) as u64);
    let (grown, shrunk) = (after.saturating_sub(before), before.saturating_sub(after));
    if grown > allowed(limits.growth_percent) {
        Some(HoldReason::Grew { before, after, unit, limit_percent: limits.growth_percent })
    } else if shrunk > allowed(limits.shrink_percent) {
        Some(HoldReason::Shrank { before, after, unit, limit_percent: limits.shrink_percent })
    } else {
        None
    }
}

fn hits(new: &ThreatSet, theirs: &ThreatSet) -> Option<(u64, Vec<Prefix>)> {
    let hit = new.intersection(theirs);
    (!hit.is_empty()).then(|| (hit.len() as u64, hit.iter().take(SAMPLES).collect()))
}
