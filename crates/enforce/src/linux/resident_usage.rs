//! The resources that this program uses (`proc_pid_stat(5)`, `proc_pid_statm(5)`).

use std::fs;
use std::time::Instant;

use xshield_wire::control::Usage;
use xshield_wire::message::UnixSeconds;

/// The unit of the times in `/proc/self/stat` on every architecture of Linux (`USER_HZ`).
const TICKS_PER_SECOND: u64 = 100;

/// Measures the usage between calls.
#[derive(Debug)]
pub struct Meter {
    started: UnixSeconds,
    last: (Instant, u64),
}

impl Meter {
    /// Starts measuring. `started`: when the program started.
    #[must_use]
    pub fn new(started: UnixSeconds) -> Self {
        Self { started, last: (Instant::now(), ticks().unwrap_or_default()) }
    }

    /// The CPU usage since the last call at least a second ago, and the current memory usage.
    pub fn read(&mut self) -> Usage {
        let (now, ticks) = (Instant::now(), ticks().unwrap_or_default());
        let elapsed = now.duration_since(self.last.0).as_millis().max(1);
        let used = u128::from(ticks.saturating_sub(self.last.1)) * 1000;
        let used_ms = used / u128::from(TICKS_PER_SECOND);
        let cpu = u32::try_from(used_ms * 1000 / elapsed).unwrap_or(u32::MAX);
        if elapsed >= 1000 {
            self.last = (now, ticks);
        }
        Usage { started: self.started, cpu, memory: resident_kib().unwrap_or_default() }
    }
}

/// User and system time of all threads.
fn ticks() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the name, in parentheses, and may contain anything.
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn resident_kib() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64 / 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_shows_processor_time_and_plausible_memory() {
        let mut meter = Meter::new(7);
        let before = ticks().unwrap();
        let mut sum = 0_u64;
        while ticks().unwrap() < before + 3 {
            sum = (0..10_000).fold(sum, |sum: u64, n| sum.wrapping_mul(31).wrapping_add(n));
        }
        let usage = meter.read();
        assert!(usage.cpu > 0 && sum != 1, "{usage:?}");
        assert!((500..4 << 20).contains(&usage.memory), "{usage:?}");
        assert_eq!(usage.started, 7);
    }
}
