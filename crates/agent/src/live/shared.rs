//! The state shared by the two threads of live events, the cycles, and `ctagentcmd`.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use xshield_enforce::LiveGroup;
use xshield_enforce::options::LiveLogging;
use xshield_enforce::resident::host::nflog::LiveFlow;

/// The most flows reported at a time; packets of further flows are counted as lost.
pub(super) const MOST_FLOWS: usize = 500;

/// The status of live events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum ListenerStatus {
    /// Not started yet.
    Starting,
    /// Switched off.
    Off,
    /// Packets are received.
    Listening {
        /// The log group.
        group: LiveGroup,
    },
    /// Over the budget: packets are counted as lost.
    Resting {
        /// The log group.
        group: LiveGroup,
    },
    /// Packets can't be received; tried again in a minute.
    Failed {
        /// The reason, and what to do.
        reason: String,
    },
}

/// The numbers of packets since the agent was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Counts {
    /// Packets that were shown to the platform.
    pub shown: u64,
    /// Packets that were not shown: reported as lost, or to be.
    pub lost: u64,
    /// Reports that the platform accepted.
    pub reports: u64,
}

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

pub(super) struct Inner {
    pub(super) standing: ListenerStatus,
    pub(super) logging: LiveLogging,
    pub(super) counts: Counts,
    /// Why the last report failed.
    pub(super) untold: Option<String>,
    pub(super) outbox: Option<Batch>,
}

/// The state shared by the two threads, the cycles, and `ctagentcmd`.
pub struct Live {
    inner: Mutex<Inner>,
    pub(super) filled: Condvar,
}

impl Default for Live {
    fn default() -> Self {
        let inner = Inner {
            standing: ListenerStatus::Starting,
            logging: LiveLogging::Unchanged,
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

    /// The log group to which the rules send packets.
    #[must_use]
    pub fn logging(&self) -> LiveLogging {
        self.inner().logging
    }

    /// Waits until it is known whether packets can be received, for at most `longest`: otherwise a second
    /// cycle would follow the first.
    pub fn wait_for_decision(&self, longest: Duration) {
        let undecided = |inner: &mut Inner| inner.standing == ListenerStatus::Starting;
        let _ = self.filled.wait_timeout_while(self.inner(), longest, undecided);
    }

    /// The status, the counts, and why the last report failed.
    #[must_use]
    pub fn status(&self) -> (ListenerStatus, Counts, Option<String>) {
        let inner = self.inner();
        (inner.standing.clone(), inner.counts, inner.untold.clone())
    }

    /// Sets the status; `true` if the rules must change because of it.
    pub(super) fn stand(&self, standing: ListenerStatus) -> bool {
        let logging = match &standing {
            ListenerStatus::Starting => LiveLogging::Unchanged,
            ListenerStatus::Off | ListenerStatus::Failed { .. } => LiveLogging::Off,
            ListenerStatus::Listening { group } | ListenerStatus::Resting { group } => {
                LiveLogging::To(*group)
            }
        };
        let mut inner = self.inner();
        inner.standing = standing;
        let before = std::mem::replace(&mut inner.logging, logging);
        drop(inner);
        self.filled.notify_all();
        before != logging
    }

    /// Whether the last batch was taken.
    pub(super) fn has_room(&self) -> bool {
        self.inner().outbox.is_none()
    }

    /// Passes a batch to the other thread; if there is one already, adds to it.
    pub(super) fn put(&self, batch: Batch) {
        let mut inner = self.inner();
        let outbox = inner.outbox.get_or_insert_default();
        outbox.flows.extend(batch.flows);
        outbox.lost += batch.lost;
        drop(inner);
        self.filled.notify_all();
    }

    /// Waits for a batch, for at most `longest`.
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
        assert_eq!(live.logging(), LiveLogging::Unchanged);
        assert!(live.stand(ListenerStatus::Listening { group }));
        assert!(!live.stand(ListenerStatus::Resting { group }));
        assert_eq!(live.logging(), LiveLogging::To(group));
        assert!(live.stand(ListenerStatus::Failed { reason: "held".to_owned() }));
        assert!(!live.stand(ListenerStatus::Off));
        assert_eq!(live.logging(), LiveLogging::Off);
    }
}
