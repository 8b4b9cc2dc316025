//! The flows between the two threads of live events.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use xshield_enforce::resident::host::nflog::LiveFlow;

/// The most flows reported at a time; packets of further flows are counted as lost.
pub(super) const MOST_FLOWS: usize = 500;

/// Flows passed from one thread to the other.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) flows: Vec<LiveFlow>,
    /// The number of packets that are in no flow.
    pub(super) lost: u64,
}

impl Batch {
    pub(super) fn packets(&self) -> u64 {
        self.flows.iter().map(|live| live.flow.packets).sum()
    }
}

/// At most one batch.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    batch: Mutex<Option<Batch>>,
    filled: Condvar,
}

impl Outbox {
    fn batch(&self) -> MutexGuard<'_, Option<Batch>> {
        self.batch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the last batch was taken.
    pub(super) fn has_room(&self) -> bool {
        self.batch().is_none()
    }

    /// Passes a batch to the other thread; if there is one already, adds to it.
    pub(super) fn put(&self, batch: Batch) {
        let mut held = self.batch();
        let outbox = held.get_or_insert_default();
        outbox.flows.extend(batch.flows);
        outbox.lost += batch.lost;
        drop(held);
        self.filled.notify_all();
    }

    /// Waits for a batch, for at most `longest`.
    pub(super) fn take(&self, longest: Duration) -> Option<Batch> {
        let empty = |batch: &mut Option<Batch>| batch.is_none();
        let waited = self.filled.wait_timeout_while(self.batch(), longest, empty);
        waited.unwrap_or_else(PoisonError::into_inner).0.take()
    }
}
