//! The resources that this program uses (`proc_pid_stat(5)`, `proc_pid_statm(5)`).

use std::fs;
use std::time::Duration;

/// The unit of the times in `/proc/self/stat` on every architecture of Linux (`USER_HZ`).
const TICKS_PER_SECOND: u64 = 100;

/// User and system time of all threads.
pub(crate) fn processor_time() -> Option<Duration> {
    let text = fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the name, in parentheses, and may contain anything.
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(Duration::from_millis((user + system) * 1000 / TICKS_PER_SECOND))
}

/// The memory that is in RAM, in KiB.
pub(crate) fn resident_kib() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64 / 1024)
}
