//! The resources that this program uses.

use std::time::{Duration, Instant};

use xshield_wire::control::Usage;
use xshield_wire::message::UnixSeconds;

use crate::os::{processor_time, resident_kib};

/// Measures the usage between calls.
#[derive(Debug)]
pub struct Meter {
    started: UnixSeconds,
    last: (Instant, Duration),
}

impl Meter {
    /// Starts measuring. `started`: when the program started.
    #[must_use]
    pub fn new(started: UnixSeconds) -> Self {
        Self { started, last: (Instant::now(), processor_time().unwrap_or_default()) }
    }

    /// The CPU usage since the last call at least a second ago, and the current memory usage.
    pub fn read(&mut self) -> Usage {
        let (now, processor) = (Instant::now(), processor_time().unwrap_or_default());
        let elapsed = now.duration_since(self.last.0).as_millis().max(1);
        let used = processor.saturating_sub(self.last.1).as_millis();
        let cpu = u32::try_from(used * 1000 / elapsed).unwrap_or(u32::MAX);
        if elapsed >= 1000 {
            self.last = (now, processor);
        }
        Usage { started: self.started, cpu, memory: resident_kib().unwrap_or_default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_shows_processor_time_and_plausible_memory() {
        let mut meter = Meter::new(7);
        let before = processor_time().unwrap();
        let mut sum = 0_u64;
        while processor_time().unwrap() < before + Duration::from_millis(30) {
            sum = (0..10_000).fold(sum, |sum: u64, n| sum.wrapping_mul(31).wrapping_add(n));
        }
        let usage = meter.read();
        assert!(usage.cpu > 0 && sum != 1, "{usage:?}");
        assert!((500..4 << 20).contains(&usage.memory), "{usage:?}");
        assert_eq!(usage.started, 7);
    }
}
