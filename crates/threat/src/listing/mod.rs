//! The content of one feed at one time: entries with confidence, first occurrence and expiry.

mod half;
pub mod store;

use std::net::IpAddr;

use crate::entry::{Confidence, Prefix};
use crate::set::ThreatSet;
use crate::text::Range;
use crate::word::Word;
use half::{Fresh, Half, NEVER, Row, both, settled};

/// The entries of one feed, ascending, without duplicates. Takes 12 bytes per IPv4 entry and 32 per IPv6
/// entry; 4 more if any entry of the family expires.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listing {
    v4: Half<u32>,
    v6: Half<u128>,
}

/// One entry with all its properties.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The addresses.
    pub prefix: Prefix,
    /// How sure the feed is.
    pub confidence: Confidence,
    /// When the feed was first seen to list this exact prefix, in Unix seconds; `None` if unknown
    /// ([`Listing::since_of`]).
    pub since: Option<u64>,
    /// When it expires, in Unix seconds; `None` if it stays until the feed removes it.
    pub until: Option<u64>,
}

impl Listing {
    /// How many entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// Whether nothing is listed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The entries, IPv4 first, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (Prefix, Confidence)> + '_ {
        self.details().map(|entry| (entry.prefix, entry.confidence))
    }

    /// The entries with all their properties, in the same order.
    pub fn details(&self) -> impl Iterator<Item = Entry> + '_ {
        let v4 = self.v4.rows().map(|row| entry(row, Prefix::V4));
        v4.chain(self.v6.rows().map(|row| entry(row, Prefix::V6)))
    }

    /// The addresses that are listed with at least this confidence.
    #[must_use]
    pub fn set(&self, least: Confidence) -> ThreatSet {
        ThreatSet::new(self.v4.family(least), self.v6.family(least))
    }

    /// The entries that contain `address`, widest first; O(lengths × log n).
    #[must_use]
    pub fn entries(&self, address: IpAddr) -> Vec<(Prefix, Confidence)> {
        self.holding(address).into_iter().map(|entry| (entry.prefix, entry.confidence)).collect()
    }

    /// The entries that contain `address`, widest first, with all their properties; O(lengths × log n).
    #[must_use]
    pub fn holding(&self, address: IpAddr) -> Vec<Entry> {
        match address {
            IpAddr::V4(address) => {
                self.v4.holding(address.into()).map(|row| entry(row, Prefix::V4)).collect()
            }
            IpAddr::V6(address) => {
                self.v6.holding(address.into()).map(|row| entry(row, Prefix::V6)).collect()
            }
        }
    }

    /// The entry of this exact prefix.
    #[must_use]
    pub fn find(&self, prefix: Prefix) -> Option<Entry> {
        match prefix {
            Prefix::V4(net) => self.v4.find(net).map(|row| entry(row, Prefix::V4)),
            Prefix::V6(net) => self.v6.find(net).map(|row| entry(row, Prefix::V6)),
        }
    }

    /// The confidence of this exact prefix.
    #[must_use]
    pub fn confidence(&self, prefix: Prefix) -> Option<Confidence> {
        self.find(prefix).map(|entry| entry.confidence)
    }

    /// Adds entries that a feed has listed since, and removes those it has withdrawn: feeds such as
    /// CrowdSec's and TAXII's send changes. A withdrawal only affects the exact same prefix. An entry that is
    /// listed again gets the new confidence and expiry, and keeps its age; set the age of new entries with
    /// [`Listing::since_of`].
    #[must_use]
    pub fn updated(&self, listed: &Self, withdrawn: &Self) -> Self {
        Self {
            v4: update(&self.v4, &listed.v4, &withdrawn.v4),
            v6: update(&self.v6, &listed.v6, &withdrawn.v6),
        }
    }

    /// This listing with the age of its entries: those that `previous` had with the exact same prefix keep
    /// that age, all others start at `now` (Unix seconds), unless their age is already known. O(n).
    #[must_use]
    pub fn since_of(&self, previous: Option<&Self>, now: u64) -> Self {
        let nothing = Self::default();
        let previous = previous.unwrap_or(&nothing);
        let now = stored(now);
        Self { v4: dated(&self.v4, &previous.v4, now), v6: dated(&self.v6, &previous.v6, now) }
    }

    /// The entries that are valid after `now` (Unix seconds).
    #[must_use]
    pub fn in_force(&self, now: u64) -> Self {
        Self { v4: self.v4.in_force(now), v6: self.v6.in_force(now) }
    }

    /// When the next entry expires, in Unix seconds; `None` if none does.
    #[must_use]
    pub fn next_expiry(&self) -> Option<u64> {
        let ends = self.v4.ends().chain(self.v6.ends());
        ends.filter(|&end| end != NEVER).min().map(u64::from)
    }
}

impl FromIterator<(Prefix, Confidence)> for Listing {
    fn from_iter<I: IntoIterator<Item = (Prefix, Confidence)>>(entries: I) -> Self {
        let mut builder = ListingBuilder::default();
        entries
            .into_iter()
            .for_each(|(prefix, confidence)| builder.push_prefix(prefix, confidence));
        builder.finish()
    }
}

/// Collects entries in any order. Of duplicates, the higher confidence and the later expiry apply.
#[derive(Debug, Default)]
pub struct ListingBuilder {
    v4: Vec<Fresh<u32>>,
    v6: Vec<Fresh<u128>>,
}

impl ListingBuilder {
    /// Adds a range, as the fewest prefixes that cover it.
    pub fn push(&mut self, range: Range, confidence: Confidence) {
        range.each_prefix(|prefix| self.add(prefix, confidence, NEVER));
    }

    /// Adds a range that expires at `until` (Unix seconds).
    pub fn push_until(&mut self, range: Range, confidence: Confidence, until: u64) {
        range.each_prefix(|prefix| self.add(prefix, confidence, stored(until)));
    }

    /// Adds a prefix.
    pub fn push_prefix(&mut self, prefix: Prefix, confidence: Confidence) {
        self.add(prefix, confidence, NEVER);
    }

    /// The entries in order, each once.
    #[must_use]
    pub fn finish(self) -> Listing {
        Listing { v4: settled(self.v4), v6: settled(self.v6) }
    }

    fn add(&mut self, prefix: Prefix, confidence: Confidence, until: u32) {
        match prefix {
            Prefix::V4(net) => self.v4.push(Fresh::new(net, confidence, until)),
            Prefix::V6(net) => self.v6.push(Fresh::new(net, confidence, until)),
        }
    }
}

/// A time in Unix seconds as stored: 1970 and 2106 represent "unknown" and "never".
fn stored(time: u64) -> u32 {
    u32::try_from(time).unwrap_or(NEVER).clamp(1, NEVER - 1)
}

fn entry<T: Word>(row: Row<T>, prefix: impl FnOnce(crate::Net<T>) -> Prefix) -> Entry {
    Entry {
        prefix: prefix(row.net),
        confidence: row.confidence,
        since: (row.since != half::UNKNOWN).then(|| row.since.into()),
        until: (row.until != NEVER).then(|| row.until.into()),
    }
}

fn update<T: Word>(old: &Half<T>, listed: &Half<T>, withdrawn: &Half<T>) -> Half<T> {
    let kept = both(old.rows(), withdrawn.rows())
        .filter_map(|(old, withdrawn)| old.filter(|_| withdrawn.is_none()));
    // An entry withdrawn and listed at the same time is listed, and keeps its age.
    let again = both(old.rows(), listed.rows()).filter_map(|(old, new)| {
        let since = old.map_or(half::UNKNOWN, |old| old.since);
        new.map(|new| if new.since == half::UNKNOWN { Row { since, ..new } } else { new })
    });
    both(kept, again).filter_map(|(kept, again)| again.or(kept)).collect()
}

fn dated<T: Word>(new: &Half<T>, old: &Half<T>, now: u32) -> Half<T> {
    let known = |since: u32| Some(since).filter(|&since| since != half::UNKNOWN);
    let rows = both(new.rows(), old.rows()).filter_map(|(new, old)| {
        let new = new?;
        let since = known(new.since).or(old.and_then(|old| known(old.since))).unwrap_or(now);
        Some(Row { since, ..new })
    });
    rows.collect()
}
