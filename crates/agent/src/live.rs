//! Live events: denials and threat matches, reported within a second. The state shared by the threads that
//! receive and send them, the cycles, and `ctagentcmd`.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use xshield_enforce::LiveGroup;
use xshield_enforce::options::LiveLogging;

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

struct Inner {
    standing: ListenerStatus,
    logging: LiveLogging,
    counts: Counts,
    /// Why the last report failed.
    untold: Option<String>,
}

/// The state shared by the threads, the cycles, and `ctagentcmd`.
pub struct Live {
    inner: Mutex<Inner>,
    decided: Condvar,
}

impl Default for Live {
    fn default() -> Self {
        let inner = Inner {
            standing: ListenerStatus::Starting,
            logging: LiveLogging::Unchanged,
            counts: Counts::default(),
            untold: None,
        };
        Self { inner: Mutex::new(inner), decided: Condvar::new() }
    }
}

impl Live {
    fn inner(&self) -> MutexGuard<'_, Inner> {
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
        let _ = self.decided.wait_timeout_while(self.inner(), longest, undecided);
    }

    /// The status, the counts, and why the last report failed.
    #[must_use]
    pub fn status(&self) -> (ListenerStatus, Counts, Option<String>) {
        let inner = self.inner();
        (inner.standing.clone(), inner.counts, inner.untold.clone())
    }

    /// Sets the status; `true` if the rules must change because of it.
    pub fn stand(&self, standing: ListenerStatus) -> bool {
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
        self.decided.notify_all();
        before != logging
    }

    /// Counts packets that are not shown.
    pub fn lose(&self, packets: u64) {
        self.inner().counts.lost += packets;
    }

    /// The platform has accepted a report that shows so many packets.
    pub fn reported(&self, shown: u64) {
        let mut inner = self.inner();
        inner.counts.shown += shown;
        inner.counts.reports += 1;
        inner.untold = None;
    }

    /// A report has failed; `true` if the reason is another one than before.
    pub fn unreported(&self, reason: String) -> bool {
        let mut inner = self.inner();
        let is_new = inner.untold.as_ref() != Some(&reason);
        inner.untold = Some(reason);
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_hand_over_only_to_who_listens() {
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
