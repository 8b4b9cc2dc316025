//! The state of an alert rule for one subject: counts in its window, and its last alert. Pure: the time is an
//! argument.

use serde::{Deserialize, Serialize};

use crate::timestamp::Timestamp;

/// The number of parts in which a window is counted.
const PARTS: i64 = 12;

/// The state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Memory {
    /// Counts of the parts of the window.
    pub counts: Counts,
    /// The time of the last alert.
    pub last_alert: Option<Timestamp>,
    /// The number of alerts withheld since.
    pub withheld: u64,
}

/// Counts by the start of their part of the window.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts(Vec<(i64, u64)>);

/// Whether to raise an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Yes, with the number withheld since the last.
    Tell {
        /// How many.
        withheld: u64,
    },
    /// No: the last one is too recent. It was counted.
    Withhold,
}

impl Counts {
    /// Adds to the count and returns the sum over the last `window` seconds (up to a twelfth more).
    pub fn add(&mut self, amount: u64, window: u32, now: Timestamp) -> u64 {
        let part = (i64::from(window) / PARTS).max(1);
        let begin = now.0 - now.0.rem_euclid(part);
        let oldest = now.0.saturating_sub(i64::from(window));
        // After the clock was set back, parts in the future would stay forever.
        self.0.retain(|(at, _)| at.saturating_add(part) > oldest && *at <= begin);
        match self.0.last_mut().filter(|(at, _)| *at == begin) {
            Some((_, count)) => *count = count.saturating_add(amount),
            None => self.0.push((begin, amount)),
        }
        self.0.iter().fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    /// Resets the counts.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Stores a number instead of counts.
    #[must_use]
    pub fn mark(number: u64) -> Self {
        Self(vec![(0, number)])
    }

    /// The number stored instead of counts.
    #[must_use]
    pub fn marked(&self) -> Option<u64> {
        self.0.first().map(|(_, number)| *number)
    }
}

impl Memory {
    /// Decides whether to raise an alert now: at most one in `throttle` seconds.
    pub fn decide(&mut self, throttle: u32, now: Timestamp) -> Decision {
        let too_fresh = self.last_alert.is_some_and(|last| {
            // A last alert in the future: the clock was set back.
            last <= now && last.plus(i64::from(throttle)) > now
        });
        if too_fresh {
            self.withheld = self.withheld.saturating_add(1);
            return Decision::Withhold;
        }
        self.last_alert = Some(now);
        Decision::Tell { withheld: std::mem::take(&mut self.withheld) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_window_drops_older_counts() {
        let mut counts = Counts::default();
        for (now, amount, sum) in
            [(1000, 5, 5), (1030, 1, 6), (1061, 1, 7), (1066, 1, 3), (9000, 2, 2)]
        {
            assert_eq!(counts.add(amount, 60, Timestamp(now)), sum, "{now}");
        }
    }

    #[test]
    fn throttled_matches_are_counted_in_the_next_alert() {
        let mut memory = Memory::default();
        for (now, decision) in [
            (100, Decision::Tell { withheld: 0 }),
            (101, Decision::Withhold),
            (159, Decision::Withhold),
            (160, Decision::Tell { withheld: 2 }),
            (10, Decision::Tell { withheld: 0 }),
            (11, Decision::Withhold),
        ] {
            assert_eq!(memory.decide(60, Timestamp(now)), decision, "{now}");
        }
    }

    proptest! {
        #[test]
        fn reported_and_throttled_matches_add_up(
            steps in prop::collection::vec(0i64..100, 1..200), throttle in 0u32..300,
        ) {
            let (mut memory, mut now, mut told) = (Memory::default(), 0, 0);
            for (at, step) in steps.iter().enumerate() {
                now += step;
                if let Decision::Tell { withheld } = memory.decide(throttle, Timestamp(now)) {
                    told += 1 + withheld;
                }
                prop_assert_eq!(told + memory.withheld, at as u64 + 1);
            }
        }

        #[test]
        fn a_window_covers_its_span_and_at_most_one_bucket_more(
            steps in prop::collection::vec((0i64..40, 0u64..9), 1..100), window in 12u32..600,
        ) {
            let (mut counts, mut now, mut all) = (Counts::default(), 10_000, Vec::new());
            for (step, amount) in steps {
                now += step;
                all.push((now, amount));
                let sum = counts.add(amount, window, Timestamp(now));
                let since = |span: i64| -> u64 {
                    all.iter().filter(|(at, _)| *at > now - span).map(|(_, amount)| amount).sum()
                };
                let window = i64::from(window);
                prop_assert!(sum >= since(window) && sum <= since(window + 2 * (window / 12).max(1)));
            }
        }
    }
}
