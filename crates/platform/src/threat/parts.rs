//! The most confident part of the list that fits a host's memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use xshield_model::Timestamp;
use xshield_store::threat_lists::StoredFile;
use xshield_threat::plan::{Costs, Counts, Expansion};
use xshield_threat::{Digest, ThreatSet, codec};

use super::files::FileError;
use super::{Current, locked};
use crate::state::App;

/// Parts by budget: what was worked out for one host holds for all like it.
#[derive(Debug, Default)]
pub struct Parts {
    whole_bytes: Mutex<Option<u64>>,
    by_budget: Mutex<BTreeMap<u64, Option<Part>>>,
}

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

impl Current {
    /// The part of the list that `budget` bytes hold; the whole list without a budget. Nothing when
    /// not even the surest entries fit. Blocks, some seconds for a new budget and a large list.
    ///
    /// # Errors
    /// When a part's snapshot can't be written.
    pub fn part(&self, app: &App, budget: Option<u64>) -> Result<Option<Part>, FileError> {
        let Some(whole) = self.revision else { return Ok(None) };
        let whole = Part {
            digest: whole.digest,
            entries: whole.entries,
            least_confidence: 0,
            snapshot: None,
        };
        let Some(budget) = budget.filter(|&budget| budget < self.whole_bytes()) else {
            return Ok(Some(whole));
        };
        let budget = rounded_down(budget);
        // Whoever comes while it is worked out for another host waits for that.
        let mut known = locked(&self.parts.by_budget);
        if let Some(part) = known.get(&budget) {
            return Ok(part.clone());
        }
        let part = match self.list.most_confident(|set| kernel_bytes(set) <= budget) {
            None => None,
            Some(found) => {
                let snapshot = codec::snapshot(&found.set);
                let name = app.threat.files.put(&snapshot)?;
                let digest = found.set.digest();
                Some(Part {
                    digest,
                    entries: found.set.len() as u64,
                    least_confidence: found.least.percent(),
                    snapshot: Some(StoredFile {
                        name,
                        base: None,
                        target: digest,
                        bytes: snapshot.len() as u64,
                        created_at: Timestamp::now(),
                    }),
                })
            }
        };
        known.insert(budget, part.clone());
        Ok(part)
    }

    /// What a host's kernel takes for the whole list.
    pub fn whole_bytes(&self) -> u64 {
        *locked(&self.parts.whole_bytes).get_or_insert_with(|| kernel_bytes(self.list.set()))
    }
}

/// At most a sixteenth less: hosts whose memory differs by some pages share a part.
fn rounded_down(budget: u64) -> u64 {
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
