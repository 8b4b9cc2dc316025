//! The list in force, and the parts of it for hosts with little memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use xshield_model::Timestamp;
use xshield_store::threat_lists::StoredFile;
use xshield_threat::{ThreatList, codec};

use crate::files::{FileError, Files};
use crate::parts::{Part, kernel_bytes, rounded_down};

/// The list in force.
#[derive(Debug)]
pub struct Current {
    /// The list, with its sources.
    pub list: Arc<ThreatList>,
    /// Its revision; `None` before there ever was a feed.
    pub revision: Option<RevisionName>,
    pub(crate) parts: Parts,
}

/// Parts by budget: one computed for a host is reused for similar hosts.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    whole_bytes: Mutex<Option<u64>>,
    by_budget: Mutex<BTreeMap<u64, Option<Part>>>,
}

/// Identifies the list at a revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RevisionName {
    /// Its number.
    pub revision: u64,
    /// Digest of its addresses.
    pub digest: xshield_threat::Digest,
    /// The number of prefixes.
    pub entries: u64,
}

impl Current {
    /// The part of the list that fits into `budget` bytes; the whole list without a budget. `None` when not
    /// even the entries of highest confidence fit. Blocks for some seconds for a new budget and a large list.
    ///
    /// # Errors
    /// When a part's snapshot can't be written.
    pub fn part(&self, files: &Files, budget: Option<u64>) -> Result<Option<Part>, FileError> {
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
        // Other callers wait while it is computed.
        let mut known = self.parts.by_budget.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(part) = known.get(&budget) {
            return Ok(part.clone());
        }
        let part = match self.list.most_confident(|set| kernel_bytes(set) <= budget) {
            None => None,
            Some(found) => {
                let snapshot = codec::snapshot(&found.set);
                let name = files.put(&snapshot)?;
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

    /// The memory that the whole list needs in a host's kernel.
    pub fn whole_bytes(&self) -> u64 {
        *self
            .parts
            .whole_bytes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert_with(|| kernel_bytes(self.list.set()))
    }
}

/// The list in force, which is replaced atomically; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct InForce(Arc<RwLock<Arc<Current>>>);

impl InForce {
    pub(crate) fn new(current: Current) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(current))))
    }

    pub(crate) fn get(&self) -> Arc<Current> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn replace(&self, current: Current) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(current);
    }
}
