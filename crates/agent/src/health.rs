//! Whether the agent works, and the resources it uses.

use std::time::{Duration, Instant};

use xshield_enforce::Usage;
use xshield_enforce::resident::Meter;

/// Longer than any cycle takes, even over a slow connection: lists and diagnostics are transferred by one
/// route after the other.
const LONGEST_CYCLE: Duration = Duration::from_secs(3_600);

/// The state of the worker thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pulse {
    /// Waiting for work since this time.
    Waits(Instant),
    /// In a cycle since this time.
    Works(Instant),
}

impl Pulse {
    /// Whether the thread is responsive. A waiting thread reports every `interval`.
    #[must_use]
    pub fn is_good(self, now: Instant, interval: Duration) -> bool {
        match self {
            Self::Waits(since) => now.saturating_duration_since(since) < interval * 2,
            Self::Works(since) => now.saturating_duration_since(since) < LONGEST_CYCLE,
        }
    }
}

/// Whether the agent exceeds its budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Budget {
    /// It does not.
    Kept,
    /// It does: optional work is paused.
    Exceeded,
}

/// The source of paths.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum PathTeller {
    /// None: not started yet, or over the budget.
    #[default]
    Nobody,
    /// The kernel's connection tracking.
    Conntrack,
    /// The flow recorder, if connection tracking is not available.
    Recorder {
        /// Why it is not available.
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

/// The agent's health.
#[derive(Debug)]
pub struct Health {
    meter: Meter,
    budget: Budget,
    pulse: Pulse,
    paths: PathTeller,
}

impl Health {
    /// The health of an agent that was started at `started`, by the host's clock.
    #[must_use]
    pub fn new(started: u64, now: Instant) -> Self {
        Self {
            meter: Meter::new(started),
            budget: Budget::Kept,
            pulse: Pulse::Waits(now),
            paths: PathTeller::default(),
        }
    }

    /// The resource usage since the last call.
    pub fn usage(&mut self) -> Usage {
        self.meter.read()
    }

    /// Whether the agent exceeds its budget.
    #[must_use]
    pub fn budget(&self) -> Budget {
        self.budget
    }

    /// Sets whether the agent exceeds its budget.
    pub fn set_budget(&mut self, budget: Budget) {
        self.budget = budget;
    }

    /// The last reported state of the worker thread.
    #[must_use]
    pub fn pulse(&self) -> Pulse {
        self.pulse
    }

    /// The worker thread reports its state.
    pub fn beat(&mut self, pulse: Pulse) {
        self.pulse = pulse;
    }

    /// The source of paths.
    #[must_use]
    pub fn paths(&self) -> &PathTeller {
        &self.paths
    }

    /// Sets the source of paths; returns whether it has changed.
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
