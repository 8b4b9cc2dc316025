//! The most confident part of the list that fits a host's memory.

use std::sync::Arc;

use xshield_store::threat_lists::StoredFile;
use xshield_threat::plan::{Costs, Counts, Expansion};
use xshield_threat::{Digest, ThreatSet};

/// What of the list one host gets.
#[derive(Debug, Clone)]
pub struct Part {
    /// Digest of its addresses.
    pub digest: Digest,
    /// Its prefixes.
    pub entries: u64,
    /// Entries below this confidence (percent) are left out; 0 for the whole list.
    pub least_confidence: u8,
    /// Its snapshot, when it is not the whole list.
    pub snapshot: Option<StoredFile>,
}

/// What a host's kernel takes for a list.
#[must_use]
pub fn kernel_bytes(set: &ThreatSet) -> u64 {
    Counts::of(set, Expansion::cheapest(set, Costs::KERNEL)).bytes(Costs::KERNEL)
}

/// At most a sixteenth less: hosts whose memory differs by some pages share a part.
pub(super) fn rounded_down(budget: u64) -> u64 {
    let low_bits = (u64::BITS - budget.leading_zeros()).saturating_sub(5);
    budget >> low_bits << low_bits
}

/// The budget of a host in bytes: what an operator gave it, or an eighth of its memory; never more
/// than its own configuration grants. Nothing when nothing is known.
#[must_use]
pub fn budget(given: Option<u64>, memory: u64, own: Option<u64>) -> Option<u64> {
    let share = Some(memory / 8).filter(|&share| share > 0);
    match (given.or(share), own) {
        (Some(given), Some(own)) => Some(given.min(own)),
        (given, own) => given.or(own),
    }
}

/// For the paths: a part's set is decoded from its snapshot when a delta is made.
pub(crate) type SharedSet = Arc<ThreatSet>;

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
            assert_eq!(budget(given, memory, own), expected, "{given:?} {memory} {own:?}");
        }
    }

    #[test]
    fn similar_budgets_are_one_and_never_more() {
        for budget in [0, 1, 17, 31, 32, 33, 1000, 64 << 20, (64 << 20) + 4095, u64::MAX] {
            let rounded = rounded_down(budget);
            assert!(rounded <= budget && rounded >= budget - budget / 16, "{budget}: {rounded}");
        }
        assert_eq!(rounded_down(64 << 20), 64 << 20);
        assert_eq!(rounded_down((64 << 20) + 4095), 64 << 20);
    }
}
