//! The threat list that a host's firewall holds.

use std::fmt;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::list_set::{ListSet, SetContent};
use crate::installed::Slot;
use crate::plan::{Digest, Family};

/// The number of elements of a list in the kernel: a prefix of full length is a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// IPv4 addresses.
    pub hosts4: u32,
    /// IPv4 prefixes.
    pub nets4: u32,
    /// IPv6 addresses.
    pub hosts6: u32,
    /// IPv6 prefixes.
    pub nets6: u32,
}

impl Counts {
    /// Counts entries.
    pub fn count(entries: impl IntoIterator<Item = IpNet>) -> Self {
        let mut counts = Self::default();
        for entry in entries {
            counts.add(&entry);
        }
        counts
    }

    /// Counts one more entry.
    pub(crate) fn add(&mut self, entry: &IpNet) {
        let count = self.of_mut(ListSet::of(entry));
        *count = count.saturating_add(1);
    }

    pub(crate) fn of(&self, set: ListSet) -> u32 {
        let mut copy = *self;
        *copy.of_mut(set)
    }

    pub(crate) fn of_mut(&mut self, set: ListSet) -> &mut u32 {
        match (set.family, set.holds) {
            (Family::V4, SetContent::Hosts) => &mut self.hosts4,
            (Family::V4, SetContent::Nets) => &mut self.nets4,
            (Family::V6, SetContent::Hosts) => &mut self.hosts6,
            (Family::V6, SetContent::Nets) => &mut self.nets6,
        }
    }

    /// Whether the same sets are empty.
    pub(crate) fn looks_like(&self, other: &Self) -> bool {
        ListSet::ALL.into_iter().all(|set| (self.of(set) == 0) == (other.of(set) == 0))
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { hosts4, nets4, hosts6, nets6 } = self;
        write!(f, "{hosts4}+{nets4} {hosts6}+{nets6}")
    }
}

/// Identifies a list by revision, digest and number of elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListName {
    /// The list's revision.
    pub revision: u64,
    /// The SHA-256 of the list's normal form, as the platform computes it.
    pub digest: Digest,
    /// The number of elements.
    pub counts: Counts,
}

/// A list in force, according to the comments stored with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstalledList {
    /// Its slot.
    pub slot: Slot,
    /// The list.
    pub list: ListName,
    /// Identifies the chains and failsafe sets around it.
    pub guard: String,
}
