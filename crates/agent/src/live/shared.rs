//! What the two threads of live events share with each other, with cycles, and with whoever asks.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use xshield_enforce::LiveGroup;
use xshield_enforce::options::Handing;
use xshield_enforce::resident::host::nflog::LiveFlow;

/// Flows that are told at a time; packets of more are counted as lost.
pub(super) const MOST_FLOWS: usize = 500;

/// How live events stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum ListenerStatus {
    /// Not begun yet.
    Starting,
    /// Switched off.
    Off,
    /// Packets are heard.
    Listening {
        /// The log group.
        group: LiveGroup,
    },
    /// Over the budget: what comes meanwhile is counted as lost.
    Resting {
        /// The log group.
        group: LiveGroup,
    },
    /// Packets can't be heard; tried again in a minute.
    Failed {
        /// Why, and what to do.
        reason: String,
    },
}

/// What became of packets since the agent was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Counts {
    /// Packets that the platform was shown.
    pub shown: u64,
    /// Packets that it was not shown: told as lost, or to be.
    pub lost: u64,
    /// Reports that it took.
    pub reports: u64,
}

/// Flows on their way from the one thread to the other.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) flows: Vec<LiveFlow>,
    /// Packets that are in no flow.
    pub(super) lost: u64,
}

impl Batch {
    pub(super) fn packets(&self) -> u64 {
        self.flows.iter().map(|live| live.flow.packets).sum()
    }
}

pub(super) struct Inner {
    pub(super) standing: ListenerStatus,
    pub(super) handing: Handing,
    pub(super) counts: Counts,
    /// Why the platform was last not told.
    pub(super) untold: Option<String>,
    pub(super) outbox: Option<Batch>,
}

/// What the two threads share with each other, with cycles, and with whoever asks.
pub struct Live {
    inner: Mutex<Inner>,
    pub(super) filled: Condvar,
}

impl Default for Live {
    fn default() -> Self {
        let inner = Inner {
            standing: ListenerStatus::Starting,
            handing: Handing::AsBefore,
            counts: Counts::default(),
            untold: None,
            outbox: None,
        };
        Self { inner: Mutex::new(inner), filled: Condvar::new() }
    }
}

impl Live {
    pub(super) fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whom the rules are to hand packets to.
    #[must_use]
    pub fn handing(&self) -> Handing {
        self.inner().handing
    }

    /// Waits until it is known whether anyone listens, at most for `longest`: the first cycle then need
    /// not be followed by another.
    pub fn wait_for_decision(&self, longest: Duration) {
        let undecided = |inner: &mut Inner| inner.standing == ListenerStatus::Starting;
        let _ = self.filled.wait_timeout_while(self.inner(), longest, undecided);
    }

    /// How it stands, what became of packets, and why the platform was last not told.
    #[must_use]
    pub fn look(&self) -> (ListenerStatus, Counts, Option<String>) {
        let inner = self.inner();
        (inner.standing.clone(), inner.counts, inner.untold.clone())
    }

    /// `true` when the rules must change for it.
    pub(super) fn stand(&self, standing: ListenerStatus) -> bool {
        let handing = match &standing {
            ListenerStatus::Starting => Handing::AsBefore,
            ListenerStatus::Off | ListenerStatus::Failed { .. } => Handing::Nobody,
            ListenerStatus::Listening { group } | ListenerStatus::Resting { group } => {
                Handing::To(*group)
            }
        };
        let mut inner = self.inner();
        inner.standing = standing;
        let before = std::mem::replace(&mut inner.handing, handing);
        drop(inner);
        self.filled.notify_all();
        before != handing
    }

    /// Whether the last batch was taken.
    pub(super) fn has_room(&self) -> bool {
        self.inner().outbox.is_none()
    }

    /// Hands a batch to the other thread; one that is there still is added to.
    pub(super) fn put(&self, batch: Batch) {
        let mut inner = self.inner();
        let outbox = inner.outbox.get_or_insert_default();
        outbox.flows.extend(batch.flows);
        outbox.lost += batch.lost;
        drop(inner);
        self.filled.notify_all();
    }

    /// Waits for a batch, at most for `longest`.
    pub(super) fn take(&self, longest: Duration) -> Option<Batch> {
        let empty = |inner: &mut Inner| inner.outbox.is_none();
        let waited = self.filled.wait_timeout_while(self.inner(), longest, empty);
        waited.unwrap_or_else(PoisonError::into_inner).0.outbox.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    pub(super) fn rules_hand_over_only_to_who_listens() {
        let live = Live::default();
        let group = LiveGroup::DEFAULT;
        assert_eq!(live.handing(), Handing::AsBefore);
        assert!(live.stand(ListenerStatus::Listening { group }));
        assert!(!live.stand(ListenerStatus::Resting { group }));
        assert_eq!(live.handing(), Handing::To(group));
        assert!(live.stand(ListenerStatus::Failed { reason: "held".to_owned() }));
        assert!(!live.stand(ListenerStatus::Off));
        assert_eq!(live.handing(), Handing::Nobody);
    }
}
