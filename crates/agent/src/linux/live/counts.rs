//! Accounts for every packet that the rules sent to the log group: received or lost. Pure.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How long a packet may take from the rule to this program before it counts as lost. The kernel collects
/// packets for a tenth of a second.
const ON_ITS_WAY: Duration = Duration::from_secs(1);

/// The counts since one binding of the log group.
#[derive(Debug, Default)]
pub(super) struct GroupCounts {
    /// Readings of the kernel's counter with their times; of old ones only the newest.
    offered: VecDeque<(Instant, u64)>,
    /// The number of our packets that were received.
    received: u64,
    /// The number of packets that were reported as lost.
    lost: u64,
}

impl GroupCounts {
    /// Adds received packets.
    pub(super) fn add_received(&mut self, packets: u64) {
        self.received += packets;
    }

    /// Adds a reading of the kernel's counter at `now`.
    pub(super) fn offer(&mut self, total: u64, now: Instant) {
        self.offered.push_back((now, total));
    }

    /// The number of lost packets that were not reported before. All packets that had arrived at `now` must
    /// have been added: then each packet is either received or lost, never both.
    pub(super) fn newly_lost(&mut self, now: Instant) -> u64 {
        let arrived = |(when, _): &(Instant, u64)| now.duration_since(*when) >= ON_ITS_WAY;
        while self.offered.len() > 1 && self.offered.get(1).is_some_and(arrived) {
            self.offered.pop_front();
        }
        let Some((_, offered)) = self.offered.front().copied().filter(arrived) else { return 0 };
        let new = offered.saturating_sub(self.received).saturating_sub(self.lost);
        self.lost += new;
        new
    }

    /// Whether every packet that the kernel counted was received or reported as lost.
    pub(super) fn is_settled(&self) -> bool {
        self.offered.back().is_none_or(|(_, total)| *total <= self.received + self.lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn packets_in_transit_are_not_counted_as_lost() {
        let mut counts = GroupCounts::default();
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        assert!(counts.is_settled());
        counts.offer(10, at(0));
        counts.add_received(4);
        assert_eq!((counts.newly_lost(at(900)), counts.is_settled()), (0, false));
        counts.add_received(3);
        counts.offer(12, at(900));
        assert_eq!(counts.newly_lost(at(1000)), 3);
        assert_eq!(counts.newly_lost(at(1001)), 0, "each once");
        counts.add_received(1);
        assert_eq!((counts.newly_lost(at(1950)), counts.is_settled()), (1, true));
    }

    proptest! {
        /// For any order of sent, lost and received packets within the allowed delay: in the end, received
        /// plus lost packets equal those sent.
        #[test]
        fn received_and_lost_packets_add_up(
            steps in prop::collection::vec((0_u64..50, 0_u64..50, any::<bool>()), 0..100),
        ) {
            let mut counts = GroupCounts::default();
            let mut now = Instant::now();
            let (mut offered, mut received, mut lost) = (0, 0, 0);
            for (packets, arriving, read) in steps {
                offered += packets;
                counts.offer(offered, now);
                // Whatever arrives does so before the next reading.
                let arriving = arriving.min(packets);
                counts.add_received(arriving);
                received += arriving;
                now += Duration::from_millis(400);
                if read {
                    lost += counts.newly_lost(now);
                }
                prop_assert!(received + lost <= offered);
            }
            lost += counts.newly_lost(now + ON_ITS_WAY);
            prop_assert_eq!(received + lost, offered);
            prop_assert!(counts.is_settled());
        }
    }
}
