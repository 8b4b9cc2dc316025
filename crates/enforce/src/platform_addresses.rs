//! The recent addresses of the platform: its name may resolve to another address in every run, and the rules
//! keep admitting those of the last half hour. Pure; the clock is an argument.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use xshield_policy::Grace;
use xshield_wire::message::UnixSeconds;

/// The most addresses remembered; beyond that, those resolved longest ago are forgotten.
const KEPT: usize = 64;

/// The addresses to which the platform's name resolved, and when it last did.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PlatformAddresses(BTreeMap<SocketAddr, UnixSeconds>);

impl PlatformAddresses {
    /// Adds the current addresses of the name; addresses older than the default grace are forgotten.
    pub(crate) fn note(&mut self, found: &[SocketAddr], now: UnixSeconds) {
        self.0.extend(found.iter().map(|address| (*address, now)));
        self.0.retain(|_, last| {
            *last = (*last).min(now);
            now - *last < Grace::DEFAULT.span.seconds()
        });
        let excess = self.0.len().saturating_sub(KEPT);
        let mut oldest: Vec<_> = self.0.iter().map(|(address, last)| (*last, *address)).collect();
        oldest.sort_unstable();
        for (_, address) in oldest.into_iter().take(excess) {
            self.0.remove(&address);
        }
    }

    /// The addresses.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.0.keys().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platform_addresses_are_kept_for_half_an_hour() {
        let address =
            |last: usize| SocketAddr::from(([10, 0, 0, u8::try_from(last).unwrap()], 8443));
        let mut known = PlatformAddresses::default();
        for (now, found, expected) in [
            (100_000, 1, &[1][..]),
            (100_300, 2, &[1, 2]),
            (101_799, 3, &[1, 2, 3]),
            (101_800, 3, &[2, 3]),
            // The clock went back: an address with a future time is treated as resolved now.
            (50_000, 4, &[2, 3, 4]),
            (51_799, 4, &[2, 3, 4]),
            (51_800, 4, &[4]),
        ] {
            let stored = serde_json::to_string(&known).unwrap();
            known = serde_json::from_str(&stored).unwrap();
            known.note(&[address(found)], now);
            let expected = expected.iter().map(|&last| address(last)).collect::<Vec<_>>();
            assert_eq!(known.addresses().collect::<Vec<_>>(), expected, "at {now}");
        }
        let many: Vec<SocketAddr> = (0..=KEPT).map(address).collect();
        known.note(&many[..1], 60_000);
        known.note(&many[1..], 60_001);
        assert_eq!(known.addresses().collect::<Vec<_>>(), many[1..], "the oldest is forgotten");
    }
}
