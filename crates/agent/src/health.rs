//! Whether the agent does its work, and what it uses for it.

use std::time::{Duration, Instant};

use xshield_enforce::Usage;
use xshield_enforce::resident::Meter;

/// Longer than any cycle takes, however slow the line: lists and diagnostics go over it, by one route
/// after the other.
const LONGEST_CYCLE: Duration = Duration::from_secs(3_600);

/// What the thread that runs cycles was last seen at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pulse {
    /// Waiting for something to do, since then.
    Waits(Instant),
    /// In a cycle, since then.
    Works(Instant),
}

impl Pulse {
    /// Whether that is how it should be. A thread that waits says so every `interval`.
    #[must_use]
    pub fn is_good(self, now: Instant, interval: Duration) -> bool {
        match self {
            Self::Waits(since) => now.saturating_duration_since(since) < interval * 2,
            Self::Works(since) => now.saturating_duration_since(since) < LONGEST_CYCLE,
        }
    }
}

/// Whether the agent uses more than it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Budget {
    /// It does not.
    Kept,
    /// It does: what is optional rests.
    Exceeded,
}

/// By whom paths are told.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum PathTeller {
    /// Nobody: not begun, or over the budget.
    #[default]
    Nobody,
    /// The kernel's connection tracking.
    Conntrack,
    /// The flow recorder, for want of anything better.
    Recorder {
        /// Why.
        why: String,
    },
}

impl std::fmt::Display for PathTeller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Nobody => f.write_str("not told"),
            Self::Conntrack => f.write_str("from connection tracking"),
            Self::Recorder { why } => write!(f, "from the flow recorder: {why}"),
        }
    }
}

/// How the agent is.
#[derive(Debug)]
pub struct Health {
    meter: Meter,
    budget: Budget,
    pulse: Pulse,
    paths: PathTeller,
}

impl Health {
    /// Of an agent that was started at `started`, by the host's clock, and now.
    #[must_use]
    pub fn new(started: u64, now: Instant) -> Self {
        Self {
            meter: Meter::new(started),
            budget: Budget::Kept,
            pulse: Pulse::Waits(now),
            paths: PathTeller::default(),
        }
    }

    /// What the agent uses, since this was last asked.
    pub fn usage(&mut self) -> Usage {
        self.meter.read()
    }

    /// Whether it uses more than it may.
    #[must_use]
    pub fn budget(&self) -> Budget {
        self.budget
    }

    /// It does from now on, or no longer.
    pub fn set_budget(&mut self, budget: Budget) {
        self.budget = budget;
    }

    /// What the thread that runs cycles was last seen at.
    #[must_use]
    pub fn pulse(&self) -> Pulse {
        self.pulse
    }

    /// That thread was seen.
    pub fn beat(&mut self, pulse: Pulse) {
        self.pulse = pulse;
    }

    /// By whom paths are told.
    #[must_use]
    pub fn paths(&self) -> &PathTeller {
        &self.paths
    }

    /// They are told by `teller` from now on; whether that is news.
    pub fn set_paths(&mut self, teller: PathTeller) -> bool {
        let is_new = self.paths != teller;
        self.paths = teller;
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_cycle_is_alive_and_a_stuck_one_is_not() {
        let (began, interval) = (Instant::now(), Duration::from_secs(300));
        let after = |seconds: u64| began + Duration::from_secs(seconds);
        for (seconds, waits, works) in
            [(0, true, true), (599, true, true), (601, false, true), (3_601, false, false)]
        {
            assert_eq!(Pulse::Waits(began).is_good(after(seconds), interval), waits, "{seconds}");
            assert_eq!(Pulse::Works(began).is_good(after(seconds), interval), works, "{seconds}");
        }
    }
}
