//! Whether the agent works, and the resources it uses.

use std::time::{Duration, Instant};

use xshield_enforce::Usage;
use xshield_enforce::resident::Meter;

/// Longer than any cycle takes, even over a slow connection: lists and diagnostics are transferred by one
/// route after the other.
const LONGEST_CYCLE: Duration = Duration::from_secs(3_600);

/// The state of the worker thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkerState {
    /// Waiting for work since this time.
    Idle(Instant),
    /// In a cycle since this time.
    Busy(Instant),
}

impl WorkerState {
    /// Whether the thread is responsive. A waiting thread reports every `interval`.
    #[must_use]
    pub fn is_good(self, now: Instant, interval: Duration) -> bool {
        match self {
            Self::Idle(since) => now.saturating_duration_since(since) < interval * 2,
            Self::Busy(since) => now.saturating_duration_since(since) < LONGEST_CYCLE,
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
pub enum ActivePathSource {
    /// None: not started yet, or over the budget.
    #[default]
    None,
    /// The kernel's connection tracking.
    Conntrack,
    /// The flow recorder, if connection tracking is not available.
    Recorder {
        /// Why it is not available.
        why: String,
    },
    /// The Security log of Windows.
    SecurityLog,
}

impl std::fmt::Display for ActivePathSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => f.write_str("not told"),
            Self::Conntrack => f.write_str("from connection tracking"),
            Self::SecurityLog => f.write_str("from the Security log"),
            Self::Recorder { why } => write!(f, "from the flow recorder: {why}"),
        }
    }
}

/// The agent's health.
#[derive(Debug)]
pub struct Health {
    meter: Meter,
    budget: Budget,
    worker_state: WorkerState,
    paths: ActivePathSource,
}

impl Health {
    /// The health of an agent that was started at `started`, by the host's clock.
    #[must_use]
    pub fn new(started: u64, now: Instant) -> Self {
        Self {
            meter: Meter::new(started),
            budget: Budget::Kept,
            worker_state: WorkerState::Idle(now),
            paths: ActivePathSource::default(),
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
    pub fn worker_state(&self) -> WorkerState {
        self.worker_state
    }

    /// The worker thread reports its state.
    pub fn set_worker_state(&mut self, worker_state: WorkerState) {
        self.worker_state = worker_state;
    }

    /// The source of paths.
    #[must_use]
    pub fn paths(&self) -> &ActivePathSource {
        &self.paths
    }

    /// Sets the source of paths; returns whether it has changed.
    pub fn set_paths(&mut self, path_source: ActivePathSource) -> bool {
        let is_new = self.paths != path_source;
        self.paths = path_source;
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_cycle_is_healthy_and_a_stuck_one_is_not() {
        let (began, interval) = (Instant::now(), Duration::from_secs(300));
        let after = |seconds: u64| began + Duration::from_secs(seconds);
        for (seconds, waits, works) in
            [(0, true, true), (599, true, true), (601, false, true), (3_601, false, false)]
        {
            assert_eq!(
                WorkerState::Idle(began).is_good(after(seconds), interval),
                waits,
                "{seconds}"
            );
            assert_eq!(
                WorkerState::Busy(began).is_good(after(seconds), interval),
                works,
                "{seconds}"
            );
        }
    }
}
