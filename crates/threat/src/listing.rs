//! What one feed lists at one time, with its confidence.

use std::net::IpAddr;

use crate::entry::{Confidence, Net, Prefix};
use crate::set::{Family, ThreatSet};
use crate::text::Range;
use crate::word::Word;

/// The entries of one feed, ascending, each once with the highest confidence it was given. Takes 8
/// bytes an IPv4 entry.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listing {
    v4: Vec<Item<u32>>,
    v6: Vec<Item<u128>>,
}

/// Compared by prefix first, so equal prefixes stand together with the highest confidence last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Item<T> {
    net: Net<T>,
    confidence: Confidence,
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
        let v4 = self.v4.iter().map(|item| (Prefix::V4(item.net), item.confidence));
        let v6 = self.v6.iter().map(|item| (Prefix::V6(item.net), item.confidence));
        v4.chain(v6)
    }

    /// The addresses that are listed with at least this confidence.
    #[must_use]
    pub fn set(&self, least: Confidence) -> ThreatSet {
        ThreatSet::new(family(&self.v4, least), family(&self.v6, least))
    }

    /// The entries that hold `address`, widest first; O(lengths × log n).
    #[must_use]
    pub fn entries(&self, address: IpAddr) -> Vec<(Prefix, Confidence)> {
        match address {
            IpAddr::V4(address) => {
                holding(&self.v4, address.into()).map(|(net, of)| (Prefix::V4(net), of)).collect()
            }
            IpAddr::V6(address) => {
                holding(&self.v6, address.into()).map(|(net, of)| (Prefix::V6(net), of)).collect()
            }
        }
    }

    /// Adds entries that a feed listed since, and takes away those it withdrew: feeds such as
    /// CrowdSec's and TAXII's send changes. What is withdrawn goes only where it was listed under
    /// the very same prefix.
    #[must_use]
    pub fn updated(&self, listed: &Self, withdrawn: &Self) -> Self {
        let mut builder = ListingBuilder::default();
        let gone = |prefix: &Prefix| withdrawn.confidence(*prefix).is_some();
        for (prefix, confidence) in self.iter().filter(|(prefix, _)| !gone(prefix)) {
            builder.push_prefix(prefix, confidence);
        }
        listed.iter().for_each(|(prefix, confidence)| builder.push_prefix(prefix, confidence));
        builder.finish()
    }

    /// The confidence under which this very prefix is listed.
    #[must_use]
    pub fn confidence(&self, prefix: Prefix) -> Option<Confidence> {
        match prefix {
            Prefix::V4(net) => find(&self.v4, net),
            Prefix::V6(net) => find(&self.v6, net),
        }
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

/// Collects entries in any order.
#[derive(Debug, Default)]
pub struct ListingBuilder {
    listing: Listing,
}

impl ListingBuilder {
    /// Adds a range, as the fewest prefixes that cover it.
    pub fn push(&mut self, range: Range, confidence: Confidence) {
        range.each_prefix(|prefix| self.push_prefix(prefix, confidence));
    }

    /// Adds a prefix.
    pub fn push_prefix(&mut self, prefix: Prefix, confidence: Confidence) {
        match prefix {
            Prefix::V4(net) => self.listing.v4.push(Item { net, confidence }),
            Prefix::V6(net) => self.listing.v6.push(Item { net, confidence }),
        }
    }

    /// The entries in order, each once.
    #[must_use]
    pub fn finish(mut self) -> Listing {
        settle(&mut self.listing.v4);
        settle(&mut self.listing.v6);
        self.listing
    }
}

fn settle<T: Word>(items: &mut Vec<Item<T>>) {
    if !items.is_sorted() {
        items.sort_unstable();
    }
    // `dedup_by` drops the later one, which has the higher confidence: hand that on first.
    items.dedup_by(|later, kept| {
        let same = later.net == kept.net;
        if same {
            kept.confidence = later.confidence;
        }
        same
    });
    items.shrink_to_fit();
}

fn family<T: Word>(items: &[Item<T>], least: Confidence) -> Family<T> {
    let enough = items.iter().filter(|item| item.confidence >= least);
    Family::from_sorted(enough.map(|item| (item.net.first(), item.net.last())))
}

fn find<T: Word>(items: &[Item<T>], net: Net<T>) -> Option<Confidence> {
    let at = items.binary_search_by(|item| item.net.cmp(&net)).ok()?;
    Some(items[at].confidence)
}

fn holding<T: Word>(
    items: &[Item<T>],
    address: T,
) -> impl Iterator<Item = (Net<T>, Confidence)> + '_ {
    (0..=T::BITS).filter_map(move |len| {
        let net = Net::around(address, len);
        find(items, net).map(|confidence| (net, confidence))
    })
}
