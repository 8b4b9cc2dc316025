//! The part of the list with the highest confidence that fits into a host's memory.

use std::sync::Arc;

use xshield_store::threat_lists::StoredFile;
use xshield_threat::plan::{Costs, Counts, Expansion};
use xshield_threat::{Digest, ThreatSet};

/// The part of the list for a host.
#[derive(Debug, Clone)]
pub struct Part {
    /// Digest of its addresses.
    pub digest: Digest,
    /// The number of prefixes.
    pub entries: u64,
    /// Entries below this confidence (percent) are omitted; 0 for the whole list.
    pub least_confidence: u8,
    /// Its snapshot, if it is not the whole list.
    pub snapshot: Option<StoredFile>,
}

/// The memory that a list needs in a host's kernel.
#[must_use]
pub fn kernel_bytes(set: &ThreatSet) -> u64 {
    Counts::of(set, Expansion::cheapest(set, Costs::KERNEL)).bytes(Costs::KERNEL)
}

/// Rounds down by at most a sixteenth: hosts whose memory differs by some pages share a part.
pub(crate) fn rounded_down(budget: u64) -> u64 {
    let low_bits = (u64::BITS - budget.leading_zeros()).saturating_sub(5);
    budget >> low_bits << low_bits
}

/// For the paths: a part's set is decoded from its snapshot when a delta is created.
pub type SharedSet = Arc<ThreatSet>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn similar_budgets_share_a_part_within_each_budget() {
        for budget in [0, 1, 17, 31, 32, 33, 1000, 64 << 20, (64 << 20) + 4095, u64::MAX] {
            let rounded = rounded_down(budget);
            assert!(rounded <= budget && rounded >= budget - budget / 16, "{budget}: {rounded}");
        }
        assert_eq!(rounded_down(64 << 20), 64 << 20);
        assert_eq!(rounded_down((64 << 20) + 4095), 64 << 20);
    }
}
