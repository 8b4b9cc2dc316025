//! What the table says about the list it holds.

use std::fmt;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::list_set::{Holds, ListSet};
use crate::nft::slot::Slot;
use crate::plan::{Digest, Family};

/// How many elements a list has in the kernel: a prefix of full length is a host.
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
            let count = counts.of_mut(ListSet::of(&entry));
            *count = count.saturating_add(1);
        }
        counts
    }

    pub(crate) fn of(&self, set: ListSet) -> u32 {
        let mut copy = *self;
        *copy.of_mut(set)
    }

    pub(crate) fn of_mut(&mut self, set: ListSet) -> &mut u32 {
        match (set.family, set.holds) {
            (Family::V4, Holds::Hosts) => &mut self.hosts4,
            (Family::V4, Holds::Nets) => &mut self.nets4,
            (Family::V6, Holds::Hosts) => &mut self.hosts6,
            (Family::V6, Holds::Nets) => &mut self.nets6,
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

/// Names a list: what its maker calls it, and what it must contain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListName {
    /// The list's revision.
    pub revision: u64,
    /// The SHA-256 of the list's normal form, as its maker computes it.
    pub digest: Digest,
    /// How many elements it has.
    pub counts: Counts,
}

/// A list in force, as the comments in chain `about` say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Where it stands.
    pub slot: Slot,
    /// The list.
    pub list: ListName,
    /// Identifies the chains and failsafe sets around it.
    pub guard: String,
}

/// Marks the layout; a table of another layout is rebuilt.
const LAYOUT: &str = "xshield-threat/1";

impl Standing {
    /// Two comments, each short enough for nft.
    pub(crate) fn comments(&self) -> [String; 2] {
        let Self { slot, list: ListName { revision, digest, counts }, guard } = self;
        [format!("{LAYOUT} {slot} {revision} {digest}"), format!("{counts} {guard}")]
    }

    pub(crate) fn parse(comments: &[&str]) -> Option<Self> {
        let [name, sizes] = comments else { return None };
        let mut words = name.split(' ');
        if words.next() != Some(LAYOUT) {
            return None;
        }
        let slot = match words.next()? {
            "a" => Slot::A,
            "b" => Slot::B,
            _ => return None,
        };
        let revision = words.next()?.parse().ok()?;
        let digest = words.next()?.parse().ok()?;
        let mut words = sizes.split(' ');
        let mut pair = || {
            let (hosts, nets) = words.next()?.split_once('+')?;
            Some((hosts.parse().ok()?, nets.parse().ok()?))
        };
        let ((hosts4, nets4), (hosts6, nets6)) = (pair()?, pair()?);
        let counts = Counts { hosts4, nets4, hosts6, nets6 };
        let guard = words.next()?.to_owned();
        Some(Self { slot, list: ListName { revision, digest, counts }, guard })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_round_trip_and_fit() {
        let most = u32::MAX;
        let counts = Counts { hosts4: most, nets4: most, hosts6: most, nets6: most };
        for slot in [Slot::A, Slot::B] {
            let list = ListName { revision: u64::MAX, digest: Digest([0xab; 32]), counts };
            let standing = Standing { slot, list, guard: "0123456789abcdef01234567".to_owned() };
            let comments = standing.comments();
            assert!(comments.iter().all(|comment| comment.len() <= 126), "{comments:?}");
            let [name, sizes] = &comments;
            assert_eq!(Standing::parse(&[name, sizes]), Some(standing));
        }
        assert_eq!(Standing::parse(&["xshield-threat/0 a 1 00", "1+2 3+4 x"]), None);
        assert_eq!(Standing::parse(&[]), None);
    }
}
