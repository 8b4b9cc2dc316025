//! Whether a feed's new listing may take effect by itself, or waits for an operator.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::entry::Prefix;
use crate::set::{Size, ThreatSet};

/// How far a feed may change by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChangeLimits {
    /// Growth in percent of the last listing.
    pub growth_percent: u64,
    /// Shrinkage in percent of the last listing.
    pub shrink_percent: u64,
    /// Changes of a number up to this many pass whatever their percentage.
    pub small: u64,
    /// What becomes of a listing without any entry.
    pub empty: Empty,
}

/// Whether a feed may list nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Empty {
    /// That is a mistake until somebody says otherwise.
    #[default]
    Refused,
    /// There may be nothing to list.
    Allowed,
}

impl Default for ChangeLimits {
    /// Real lists change 1 to 12 % a day.
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
    /// The last listing stays until an operator decides.
    Hold {
        /// Why; at least one.
        reasons: Vec<HoldReason>,
    },
}

/// Why a listing waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Error)]
#[serde(rename_all = "kebab-case", tag = "reason")]
pub enum HoldReason {
    /// Nothing is listed any more.
    #[error("the feed is now empty; it had {before} entries")]
    Emptied {
        /// Entries before.
        before: u64,
    },
    /// More than the limit came.
    #[error("the feed grew from {before} to {after} {unit}, more than {limit_percent} %")]
    Grew {
        /// Before.
        before: u64,
        /// Now.
        after: u64,
        /// What was counted.
        unit: Unit,
        /// The limit.
        limit_percent: u64,
    },
    /// More than the limit went.
    #[error("the feed shrank from {before} to {after} {unit}, more than {limit_percent} %")]
    Shrank {
        /// Before.
        before: u64,
        /// Now.
        after: u64,
        /// What was counted.
        unit: Unit,
        /// The limit.
        limit_percent: u64,
    },
    /// It lists own assets that it did not list before.
    #[error("the feed newly lists {} of own assets, such as {}", counted(*.count, "range", "ranges"), first(.samples))]
    HitsOwnAssets {
        /// How many prefixes.
        count: u64,
        /// The first of them.
        samples: Vec<Prefix>,
    },
    /// It lists peers, new to it, with which traffic was seen in the last days.
    #[error("the feed newly lists {} with recent traffic, such as {}", counted(*.count, "peer", "peers"), first(.samples))]
    HitsRecentPeers {
        /// How many prefixes.
        count: u64,
        /// The first of them.
        samples: Vec<Prefix>,
    },
}

/// What was counted.
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

/// What a listing is held against.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings<'a> {
    /// Addresses of own assets and named networks of one's own.
    pub own_assets: &'a ThreatSet,
    /// Peers with which traffic was seen in the last days.
    pub recent_peers: &'a ThreatSet,
}

/// At most this many samples stand in a reason.
const SAMPLES: usize = 20;

/// Decides on a feed's listing. `before` is the one in effect; nothing for a new feed, whose size
/// is then no change, but which may not list own assets or recent peers either. The same holds for
/// the first addresses of a family.
#[must_use]
pub fn judge(
    before: Option<&ThreatSet>,
    after: &ThreatSet,
    surroundings: Surroundings<'_>,
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
