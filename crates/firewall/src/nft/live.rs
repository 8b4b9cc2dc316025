//! Counts the packets that our rules sent to the log group, read from the kernel.

use super::lists::{counters, table_handle};
use super::socket::Link;
use crate::error::FirewallError;
use crate::plan::{LIVE_COUNTER, TABLE};
use crate::threat;

/// The counters of packets sent to the log group, in both of our tables.
pub struct LiveCounters {
    link: Link,
    tables: [Known; 2],
    total: u64,
}

/// A counter when it was last read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Known {
    /// The kernel's handles of table and counter; zero if there are none.
    identity: (u64, u64),
    packets: u64,
}

impl LiveCounters {
    /// Opens the counters of the network namespace of the calling thread. Counting starts now.
    ///
    /// # Errors
    /// When the kernel can't be read.
    pub fn open() -> Result<Self, FirewallError> {
        let mut counters = Self { link: Link::open()?, tables: Default::default(), total: 0 };
        counters.read()?;
        counters.total = 0;
        Ok(counters)
    }

    /// The number of packets since the counters were opened. It never decreases: if a counter is created
    /// anew, its earlier count is kept.
    ///
    /// # Errors
    /// When the kernel can't be read.
    pub fn read(&mut self) -> Result<u64, FirewallError> {
        for (known, table) in self.tables.iter_mut().zip([TABLE, threat::TABLE]) {
            let now = look(&mut self.link, table)?;
            self.total += known.advance(now);
        }
        Ok(self.total)
    }
}

impl Known {
    /// What was added since the last reading.
    fn advance(&mut self, now: Self) -> u64 {
        let before = std::mem::replace(self, now);
        let same = before.identity == now.identity && now.packets >= before.packets;
        if same { now.packets - before.packets } else { now.packets }
    }
}

fn look(link: &mut Link, table: &str) -> Result<Known, FirewallError> {
    let action = "reading the number of packets sent to the log group";
    let found = counters(link, table, action)?;
    let Some(counter) = found.into_iter().find(|counter| counter.name == LIVE_COUNTER) else {
        return Ok(Known::default());
    };
    let identity = (table_handle(link, table, action)?, counter.handle);
    Ok(Known { identity, packets: counter.count.packets })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recreated_counter_starts_at_zero() {
        let at = |table, counter, packets| Known { identity: (table, counter), packets };
        let mut known = Known::default();
        let steps = [at(1, 1, 5), at(1, 1, 7), at(1, 2, 1), at(2, 2, 1), at(2, 2, 0), at(0, 0, 0)];
        let added: Vec<u64> = steps.into_iter().map(|now| known.advance(now)).collect();
        assert_eq!(added, [5, 2, 1, 1, 0, 0]);
    }
}
