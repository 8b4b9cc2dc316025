//! Why and when cycles run, and their results. Pure: the time is an argument.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use xshield_enforce::outcome::{Contact, RulesetChange, RunOutcome, RunStatus};
use xshield_enforce::{HostConfiguration, Route};

use crate::schedule::Reach;

/// Why a cycle runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Wake {
    /// The heartbeat is due.
    Heartbeat,
    /// The platform has something pending for this host.
    Notified,
    /// The poll failed: possibly there is another route.
    RouteBroke,
    /// Another program changed the firewall.
    Tampered,
    /// An administrator of this host requested it.
    Asked,
    /// The last cycle did not deliver everything.
    Unfinished,
    /// The configuration was changed.
    Reconfigured,
    /// This host's addresses have changed.
    Readdressed,
}

/// What a waiting thread is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Task {
    /// Run a cycle.
    Cycle(BTreeSet<Wake>),
    /// Report that it is still alive, and wait again.
    StillWaiting,
    /// Stop.
    Stop,
}

/// A completed cycle.
#[derive(Debug, Clone)]
pub struct LastCycle {
    /// When it ended, by the host's clock.
    pub ended: u64,
    /// How long it took.
    pub took: Duration,
    /// Why it ran.
    pub wakes: BTreeSet<Wake>,
    /// The number of its configuration.
    pub configured: u64,
    /// Its outcome, or why it could not start.
    pub result: Result<RunOutcome, String>,
}

impl LastCycle {
    /// Its outcome, if it could start.
    #[must_use]
    pub fn outcome(&self) -> Option<&RunOutcome> {
        self.result.as_ref().ok()
    }

    /// The route by which the platform was last reached.
    #[must_use]
    pub fn route(&self) -> Option<&Route> {
        let routes = &self.outcome()?.routes;
        Some(&routes.iter().find(|route| route.in_use)?.route)
    }

    /// Whether the platform answered and accepted this host.
    #[must_use]
    pub fn reach(&self) -> Reach {
        let turned_away =
            |status| matches!(status, RunStatus::PlatformUnreachable | RunStatus::Refused);
        match &self.result {
            Ok(outcome) if outcome.platform == Contact::Reached && !turned_away(outcome.status) => {
                Reach::Reached
            }
            _ => Reach::Unreachable,
        }
    }

    /// Whether it followed the platform to new keys.
    #[must_use]
    pub fn followed(&self) -> bool {
        self.outcome().is_some_and(|outcome| outcome.answer_rest.followed.is_some())
    }
}

/// Which cycles are due, whether one is running, and the last result.
#[derive(Debug)]
pub struct Cycles {
    due: Instant,
    wakes: BTreeSet<Wake>,
    running: bool,
    ended: u64,
    reached: u64,
    last: Option<LastCycle>,
    /// The platform's configuration for this host.
    platform: Option<HostConfiguration>,
    /// How often the platform had requested a full report before the agent was started.
    resends: u64,
}

impl Cycles {
    /// The first cycle is due now.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            due: now,
            wakes: BTreeSet::new(),
            running: false,
            ended: 0,
            reached: 0,
            last: None,
            platform: None,
            resends: 0,
        }
    }

    /// Restores what runs before this start remembered.
    pub fn resume(&mut self, platform: Option<HostConfiguration>, resends: u64) {
        self.platform = platform;
        self.resends = resends;
    }

    /// Requests a cycle at once.
    pub fn wake(&mut self, why: Wake) {
        self.wakes.insert(why);
    }

    /// Starts the cycle that is due or requested.
    pub fn begin(&mut self, now: Instant) -> Option<BTreeSet<Wake>> {
        if now >= self.due {
            self.wakes.insert(Wake::Heartbeat);
        }
        if self.wakes.is_empty() {
            return None;
        }
        self.running = true;
        Some(std::mem::take(&mut self.wakes))
    }

    /// Records a completed cycle; `due`: when the next one is.
    pub fn end(&mut self, last: LastCycle, due: Instant) {
        if last.reach() == Reach::Reached {
            self.reached += 1;
        }
        if let Some(configuration) =
            last.outcome().and_then(|outcome| outcome.answer_rest.configuration.as_ref())
        {
            self.platform = Some(configuration.clone());
        }
        self.last = Some(last);
        self.due = due;
        self.ended += 1;
        self.running = false;
    }

    /// When the next cycle is due if nothing else happens.
    #[must_use]
    pub fn due(&self) -> Instant {
        self.due
    }

    /// Whether a cycle is running.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.running
    }

    /// The number of completed cycles.
    #[must_use]
    pub fn ended(&self) -> u64 {
        self.ended
    }

    /// The number of cycles that have reached the platform.
    #[must_use]
    pub fn reached(&self) -> u64 {
        self.reached
    }

    /// The last cycle.
    #[must_use]
    pub fn last(&self) -> Option<&LastCycle> {
        self.last.as_ref()
    }

    /// The last outcome, if the cycle could start.
    #[must_use]
    pub fn last_outcome(&self) -> Option<&RunOutcome> {
        self.last.as_ref()?.outcome()
    }

    /// What the last cycle did to the kernel.
    #[must_use]
    pub fn last_change(&self) -> Option<RulesetChange> {
        self.last_outcome().map(|outcome| outcome.change)
    }

    /// The platform's configuration for this host.
    #[must_use]
    pub fn platform(&self) -> Option<&HostConfiguration> {
        self.platform.as_ref()
    }

    /// How often the platform had requested a full report before the agent was started.
    #[must_use]
    pub fn resends_before(&self) -> u64 {
        self.resends
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cycle_runs_when_due_or_requested_and_once_for_all_reasons() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut cycles = Cycles::new(start);
        assert_eq!(cycles.begin(start), Some(BTreeSet::from([Wake::Heartbeat])));
        assert!(cycles.is_running());
        cycles.wake(Wake::Tampered);
        let failed = LastCycle {
            ended: 0,
            took: Duration::ZERO,
            wakes: BTreeSet::new(),
            configured: 0,
            result: Err("no".to_owned()),
        };
        cycles.end(failed, after(60));
        assert_eq!((cycles.ended(), cycles.reached(), cycles.is_running()), (1, 0, false));
        assert_eq!(cycles.begin(after(1)), Some(BTreeSet::from([Wake::Tampered])));
        assert_eq!(cycles.begin(after(1)), None);
        cycles.wake(Wake::Asked);
        let both = BTreeSet::from([Wake::Heartbeat, Wake::Asked]);
        assert_eq!(cycles.begin(after(60)), Some(both));
    }
}
