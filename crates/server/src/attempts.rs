//! Failed attempts and the delay before the next one: it grows with each failure up to a limit, so that
//! nobody is locked out permanently.

use std::collections::HashMap;
use std::hash::Hash;

use xshield_model::Timestamp;

/// The maximum number of keys to remember.
const MOST: usize = 10_000;
/// Seconds without attempts after which failures are forgotten.
const FORGIVEN: i64 = 15 * 60;

/// How attempts are slowed down.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Backoff {
    /// The number of failures without a delay.
    pub(crate) free: u32,
    /// The longest delay in seconds; the first is one second, and each is twice the previous one.
    pub(crate) most: i64,
}

impl Backoff {
    fn wait(self, failures: u32) -> i64 {
        match failures.checked_sub(self.free) {
            None | Some(0) => 0,
            Some(beyond) => 1_i64.checked_shl(beyond - 1).unwrap_or(i64::MAX).min(self.most),
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    last: Timestamp,
}

/// The attempts per key.
#[derive(Debug)]
pub(crate) struct Attempts<K> {
    backoff: Backoff,
    failures: HashMap<K, Failures>,
}

impl<K: Eq + Hash + Clone> Attempts<K> {
    pub(crate) fn new(backoff: Backoff) -> Self {
        Self { backoff, failures: HashMap::new() }
    }

    /// Seconds until the next attempt is allowed.
    pub(crate) fn wait(&self, key: &K, now: Timestamp) -> i64 {
        let Some(failures) = self.failures.get(key) else { return 0 };
        let until = failures.last.plus(self.backoff.wait(failures.count));
        until.0.saturating_sub(now.0).clamp(0, self.backoff.most)
    }

    /// Starts an attempt: it counts as failed until it [succeeds](Self::succeeded), so that concurrent
    /// attempts are slowed down like consecutive ones.
    pub(crate) fn begin(&mut self, key: &K, now: Timestamp) {
        if !self.failures.contains_key(key) {
            self.make_room(now);
        }
        let failures = self.failures.entry(key.clone()).or_insert(Failures { count: 0, last: now });
        failures.count = failures.count.saturating_add(1);
        failures.last = now;
    }

    /// An attempt succeeded: all failures are forgotten.
    pub(crate) fn succeeded(&mut self, key: &K) {
        self.failures.remove(key);
    }

    /// An attempt succeeded: only this one is forgotten.
    pub(crate) fn taken_back(&mut self, key: &K) {
        if let Some(failures) = self.failures.get_mut(key) {
            failures.count = failures.count.saturating_sub(1);
        }
    }

    /// Forgets inactive keys.
    pub(crate) fn forget(&mut self, now: Timestamp) {
        self.failures.retain(|_, failures| failures.last.plus(FORGIVEN) > now);
    }

    fn make_room(&mut self, now: Timestamp) {
        if self.failures.len() < MOST {
            return;
        }
        self.forget(now);
        if self.failures.len() >= MOST {
            // A tenth at once: sorting for each new key would let others cause the work.
            let mut last: Vec<_> = self.failures.values().map(|failures| failures.last).collect();
            let (_, oldest, _) = last.select_nth_unstable(MOST / 10);
            let oldest = *oldest;
            self.failures.retain(|_, failures| failures.last > oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp(1_800_000_000);

    fn attempts() -> Attempts<&'static str> {
        Attempts::new(Backoff { free: 3, most: 30 })
    }

    #[test]
    fn each_failure_doubles_the_delay_up_to_a_maximum() {
        let mut attempts = attempts();
        let mut waits = Vec::new();
        for _ in 0..10 {
            waits.push(attempts.wait(&"a", START));
            attempts.begin(&"a", START);
        }
        assert_eq!(waits, [0, 0, 0, 0, 1, 2, 4, 8, 16, 30]);
        for _ in 0..1000 {
            attempts.begin(&"a", START);
        }
        assert_eq!(attempts.wait(&"a", START), 30, "nobody waits longer, whatever happens");
        assert_eq!(attempts.wait(&"a", START.plus(29)), 1);
        assert_eq!(attempts.wait(&"a", START.plus(30)), 0);
        assert_eq!(attempts.wait(&"b", START), 0);
    }

    #[test]
    fn success_and_time_reset_the_delay_even_if_the_clock_goes_back() {
        let mut attempts = attempts();
        (0..9).for_each(|_| attempts.begin(&"a", START));
        assert!(attempts.wait(&"a", START.plus(-1_000_000)) <= 30);
        attempts.succeeded(&"a");
        assert_eq!(attempts.wait(&"a", START), 0);
        (0..9).for_each(|_| attempts.begin(&"a", START));
        attempts.forget(START.plus(FORGIVEN));
        assert_eq!(attempts.wait(&"a", START), 0);
    }

    #[test]
    fn memory_is_bounded() {
        let mut attempts = Attempts::new(Backoff { free: 3, most: 30 });
        for number in 0..3 * MOST {
            attempts.begin(&number, START.plus(i64::try_from(number).unwrap() / 100));
            assert!(attempts.failures.len() <= MOST);
        }
        assert!(attempts.failures.contains_key(&(3 * MOST - 1)), "the newest are there");
    }
}
