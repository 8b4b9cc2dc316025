//! Selects the entries that are looked up if the kernel does not report their number.

use ipnet::IpNet;

use super::read::{Survey, held};
use crate::threat::list::{Counts, InstalledList};
use crate::threat::list_set::ListSet;

/// The most entries of one set that are looked up.
pub const SPOTS: u32 = 256;

/// Selects entries while iterating over a list.
pub(super) struct EntrySelector {
    asked: Vec<ListSet>,
    counts: Counts,
    passed: Counts,
}

impl EntrySelector {
    pub(super) fn new(survey: &Survey, standing: &InstalledList) -> Self {
        let is_told = |set: &ListSet| {
            let read = survey.list_set(*set, standing.slot);
            read.is_some_and(|read| held(read, *set).is_some())
        };
        Self::of(ListSet::ALL.into_iter().filter(|set| !is_told(set)), standing.list.counts)
    }

    fn of(asked: impl IntoIterator<Item = ListSet>, counts: Counts) -> Self {
        Self { asked: asked.into_iter().collect(), counts, passed: Counts::default() }
    }

    /// The set in which this entry, the next of the list, is to be looked up.
    pub(super) fn takes(&mut self, entry: &IpNet) -> Option<ListSet> {
        let set = ListSet::of(entry);
        let passed = self.passed.of_mut(set);
        let place = *passed;
        *passed = passed.saturating_add(1);
        let every = self.counts.of(set).div_ceil(SPOTS).max(1);
        (place.is_multiple_of(every) && self.asked.contains(&set)).then_some(set)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn small_sets_are_read_completely_and_large_ones_sampled() {
        let hosts =
            |count: u32| (0..count).map(|n| IpNet::from(std::net::IpAddr::from(Ipv4Addr::from(n))));
        for (count, expected) in [(0, 0), (1, 1), (SPOTS, SPOTS), (SPOTS + 1, 129), (100_000, 256)]
        {
            let counts = Counts { hosts4: count, ..Counts::default() };
            let mut spots = EntrySelector::of(ListSet::ALL, counts);
            let taken = hosts(count).filter(|entry| spots.takes(entry).is_some()).count();
            assert_eq!(taken, expected as usize, "{count}");
            assert!(taken <= SPOTS as usize);
        }
        let told = Counts { hosts4: 10, ..Counts::default() };
        let mut spots = EntrySelector::of([], told);
        assert!(hosts(10).all(|entry| spots.takes(&entry).is_none()), "the kernel tells it");
    }
}
