//! When the next cycle runs. Pure: time and randomness are arguments.
//!
//! - Normally: a heartbeat after the configured interval, ±10 %.
//! - The platform is unreachable on every route: after 5 s, then twice as long each time, up to
//!   [`LONGEST_WAIT`]; each wait has 50–100 % random jitter.
//! - The poll failed: a cycle soon if the proxy failed, so that another route is used; at a random time
//!   within [`SPREAD`] if it may have been the platform, whose other hosts lost theirs at the same time.

use std::time::Duration;

/// The first wait if the platform is unreachable.
const FIRST_WAIT: Duration = Duration::from_secs(5);
/// The longest wait if the platform is unreachable.
pub const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// The period over which hosts spread their return if all of them were disconnected at once.
pub const SPREAD: Duration = Duration::from_secs(30);
/// The period in which a host tries another route after its proxy failed.
pub const FAILOVER: Duration = Duration::from_secs(2);

/// Whether the platform was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// It answered.
    Reached,
    /// It did not, on any route.
    Unreachable,
}

/// What made a poll fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PollFailure {
    /// The proxy failed.
    Proxy,
    /// Something else, possibly the platform.
    Elsewhere,
}

/// A random number from 0 up to, but not including, 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RandomFraction(f64);

impl RandomFraction {
    /// From random bits.
    #[must_use]
    pub fn new(bits: u32) -> Self {
        Self(f64::from(bits) / (f64::from(u32::MAX) + 1.0))
    }

    fn of(self, whole: Duration) -> Duration {
        whole.mul_f64(self.0)
    }
}

/// The wait after each failure.
#[derive(Debug, Clone, Copy, Default)]
pub struct Schedule {
    failures: u32,
}

impl Schedule {
    /// The wait after a cycle.
    pub fn after(
        &mut self,
        reach: Reach,
        heartbeat: Duration,
        random_fraction: RandomFraction,
    ) -> Duration {
        match reach {
            Reach::Reached => {
                self.failures = 0;
                heartbeat.mul_f64(0.9) + random_fraction.of(heartbeat.mul_f64(0.2))
            }
            Reach::Unreachable => {
                let doubled = FIRST_WAIT.saturating_mul(1 << self.failures.min(16));
                self.failures = self.failures.saturating_add(1);
                let wait = doubled.min(LONGEST_WAIT);
                wait / 2 + random_fraction.of(wait / 2)
            }
        }
    }

    /// Whether the platform was unreachable in the last cycle.
    #[must_use]
    pub fn is_backing_off(&self) -> bool {
        self.failures > 0
    }

    /// The wait after a failed poll.
    #[must_use]
    pub fn after_failure(failure: PollFailure, random_fraction: RandomFraction) -> Duration {
        match failure {
            PollFailure::Proxy => random_fraction.of(FAILOVER),
            PollFailure::Elsewhere => random_fraction.of(SPREAD),
        }
    }
}

/// Limits the number of polls per minute, whatever the other side does.
#[derive(Debug, Clone)]
pub struct PollLimit {
    left: u32,
    refill_at: Duration,
}

/// Polls per minute.
pub const POLLS_A_MINUTE: u32 = 20;
const MINUTE: Duration = Duration::from_secs(60);

impl Default for PollLimit {
    fn default() -> Self {
        Self { left: POLLS_A_MINUTE, refill_at: Duration::ZERO }
    }
}

impl PollLimit {
    /// The wait before the next poll, which is then counted. `now`: on any monotonic clock.
    pub fn take(&mut self, now: Duration) -> Duration {
        if now >= self.refill_at {
            self.left = POLLS_A_MINUTE;
            self.refill_at = now + MINUTE;
        }
        if self.left > 0 {
            self.left -= 1;
            return Duration::ZERO;
        }
        let wait = self.refill_at - now;
        self.left = POLLS_A_MINUTE - 1;
        self.refill_at += MINUTE;
        wait
    }
}

#[cfg(test)]
mod tests;
