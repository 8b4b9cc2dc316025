//! Why cycles run, when, and how they went. Pure: the moment is an argument.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use xshield_enforce::outcome::{Change, Contact, Outcome, RunStatus};
use xshield_enforce::{HostConfiguration, Route};

use crate::schedule::Reach;

/// Why a cycle runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Wake {
    /// It is time.
    Heartbeat,
    /// The platform has something for this host.
    Notified,
    /// The notification broke: maybe there is another route.
    RouteBroke,
    /// Someone changed the firewall.
    Tampered,
    /// Someone on this host asks.
    Asked,
    /// The last cycle left something to deliver.
    Unfinished,
    /// Another configuration is in use.
    Reconfigured,
    /// This host's addresses have changed.
    Readdressed,
}

/// What a thread that waits is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Task {
    /// Run a cycle.
    Cycle(BTreeSet<Wake>),
    /// Show that there is nothing to do, and wait again.
    StillWaiting,
    /// Come to an end.
    Stop,
}

/// How a cycle went.
#[derive(Debug, Clone)]
pub struct LastCycle {
    /// When it ended, by the host's clock.
    pub ended: u64,
    /// How long it took.
    pub took: Duration,
    /// Why it ran.
    pub wakes: BTreeSet<Wake>,
    /// Which configuration it went by.
    pub configured: u64,
    /// What it came to, or why it could not begin.
    pub result: Result<Outcome, String>,
}

impl LastCycle {
    /// What it came to, when it could begin.
    #[must_use]
    pub fn outcome(&self) -> Option<&Outcome> {
        self.result.as_ref().ok()
    }

    /// The route by which the platform was last reached.
    #[must_use]
    pub fn route(&self) -> Option<&Route> {
        let routes = &self.outcome()?.routes;
        Some(&routes.iter().find(|route| route.in_use)?.route)
    }

    /// Whether the platform answered and did not turn the host away.
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

    /// Whether the host has followed the platform to other keys in it.
    #[must_use]
    pub fn followed(&self) -> bool {
        self.outcome().is_some_and(|outcome| outcome.heard.followed.is_some())
    }
}

/// Which cycles are due, which one runs, and how the last one went.
#[derive(Debug)]
pub struct Cycles {
    due: Instant,
    wakes: BTreeSet<Wake>,
    running: bool,
    ended: u64,
    reached: u64,
    last: Option<LastCycle>,
    /// What the platform configures.
    platform: Option<HostConfiguration>,
    /// How often the platform had wanted everything again before the agent was started.
    resends: u64,
}

impl Cycles {
    /// The first one is due now.
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

    /// Takes what runs before this start remembered.
    pub fn resume(&mut self, platform: Option<HostConfiguration>, resends: u64) {
        self.platform = platform;
        self.resends = resends;
    }

    /// A cycle is asked for at once.
    pub fn wake(&mut self, why: Wake) {
        self.wakes.insert(why);
    }

    /// Begins the cycle that is due or asked for.
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

    /// A cycle has ended; `due`: when the next one is.
    pub fn end(&mut self, last: LastCycle, due: Instant) {
        if last.reach() == Reach::Reached {
            self.reached += 1;
        }
        if let Some(configuration) =
            last.outcome().and_then(|outcome| outcome.heard.configuration.as_ref())
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

    /// Whether one runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.running
    }

    /// How many have ended.
    #[must_use]
    pub fn ended(&self) -> u64 {
        self.ended
    }

    /// How many have reached the platform.
    #[must_use]
    pub fn reached(&self) -> u64 {
        self.reached
    }

    /// How the last one went.
    #[must_use]
    pub fn last(&self) -> Option<&LastCycle> {
        self.last.as_ref()
    }

    /// What it came to, when it could begin.
    #[must_use]
    pub fn last_outcome(&self) -> Option<&Outcome> {
        self.last.as_ref()?.outcome()
    }

    /// What it did to the kernel.
    #[must_use]
    pub fn last_change(&self) -> Option<Change> {
        self.last_outcome().map(|outcome| outcome.change)
    }

    /// What the platform configures.
    #[must_use]
    pub fn platform(&self) -> Option<&HostConfiguration> {
        self.platform.as_ref()
    }

    /// How often the platform had wanted everything again before the agent was started.
    #[must_use]
    pub fn resends_before(&self) -> u64 {
        self.resends
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cycle_runs_when_it_is_due_or_asked_for_and_once_for_all_reasons() {
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
