//! What became of every packet that the rules were to hand over: heard, or lost. Pure.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How long a packet may be on its way from the rule to here before it counts as lost. The kernel
/// collects for a tenth of a second.
const ON_ITS_WAY: Duration = Duration::from_secs(1);

/// Counts from one binding of the log group on.
#[derive(Debug, Default)]
pub(super) struct Account {
    /// What the kernel's counter said, and when; of those long ago only the newest.
    offered: VecDeque<(Instant, u64)>,
    /// Packets of ours that came.
    heard: u64,
    /// Packets that were told as lost.
    lost: u64,
}

impl Account {
    /// Takes note of packets that came.
    pub(super) fn hear(&mut self, packets: u64) {
        self.heard += packets;
    }

    /// Takes note of what the kernel's counter says at `now`.
    pub(super) fn offer(&mut self, total: u64, now: Instant) {
        self.offered.push_back((now, total));
    }

    /// Packets that are lost and were not named before. Whatever was on its way at `now` must have been
    /// heard: then a packet is either heard or lost, and never both.
    pub(super) fn newly_lost(&mut self, now: Instant) -> u64 {
        let arrived = |(when, _): &(Instant, u64)| now.duration_since(*when) >= ON_ITS_WAY;
        while self.offered.len() > 1 && self.offered.get(1).is_some_and(arrived) {
            self.offered.pop_front();
        }
        let Some((_, offered)) = self.offered.front().copied().filter(arrived) else { return 0 };
        let new = offered.saturating_sub(self.heard).saturating_sub(self.lost);
        self.lost += new;
        new
    }

    /// Whether every packet that the counter ever counted is heard or named as lost.
    pub(super) fn is_settled(&self) -> bool {
        self.offered.back().is_none_or(|(_, total)| *total <= self.heard + self.lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_may_be_on_its_way_is_not_lost() {
        let mut account = Account::default();
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        assert!(account.is_settled());
        account.offer(10, at(0));
        account.hear(4);
        assert_eq!((account.newly_lost(at(900)), account.is_settled()), (0, false));
        account.hear(3);
        account.offer(12, at(900));
        assert_eq!(account.newly_lost(at(1000)), 3);
        assert_eq!(account.newly_lost(at(1001)), 0, "each once");
        account.hear(1);
        assert_eq!((account.newly_lost(at(1950)), account.is_settled()), (1, true));
    }

    proptest! {
        /// Packets come in any order of offered, lost and heard within the time that they may take:
        /// in the end, shown and lost are what was offered.
        #[test]
        fn heard_and_lost_are_what_was_offered(
            steps in prop::collection::vec((0_u64..50, 0_u64..50, any::<bool>()), 0..100),
        ) {
            let mut account = Account::default();
            let mut now = Instant::now();
            let (mut offered, mut heard, mut lost) = (0, 0, 0);
            for (packets, arriving, read) in steps {
                offered += packets;
                account.offer(offered, now);
                // What arrives does so before the next look.
                let arriving = arriving.min(packets);
                account.hear(arriving);
                heard += arriving;
                now += Duration::from_millis(400);
                if read {
                    lost += account.newly_lost(now);
                }
                prop_assert!(heard + lost <= offered);
            }
            lost += account.newly_lost(now + ON_ITS_WAY);
            prop_assert_eq!(heard + lost, offered);
            prop_assert!(account.is_settled());
        }
    }
}
