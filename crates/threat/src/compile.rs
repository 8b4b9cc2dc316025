//! Compiles feeds, exceptions and protected ranges into one exact list with provenance.

use std::net::IpAddr;

use serde::Serialize;

use crate::entry::{Confidence, FeedId, Prefix};
use crate::listing::{Entry, Listing};
use crate::protect::Protected;
use crate::set::ThreatSet;

/// Addresses that operators excluded from the list, with the name they gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Exception {
    /// The name: a reason, or a named network.
    pub name: String,
    /// The addresses.
    pub prefix: Prefix,
}

/// One feed as input of the list.
#[derive(Debug, Clone)]
pub struct Feed {
    /// Its name.
    pub id: FeedId,
    /// Entries below this confidence are omitted.
    pub least: Confidence,
    /// Its listing; only entries in force ([`Listing::in_force`]), since there is no clock here.
    pub listing: Listing,
}

/// The inputs of a list.
#[derive(Debug, Clone, Default)]
pub struct Compiler {
    /// The feeds.
    pub feeds: Vec<Feed>,
    /// The exceptions.
    pub exceptions: Vec<Exception>,
    /// The protected ranges.
    pub protected: Vec<Protected>,
}

impl Compiler {
    /// The list: every address that a feed lists with enough confidence, minus exceptions and protected
    /// ranges.
    #[must_use]
    pub fn compile(self) -> ThreatList {
        let listed = self.listed(Confidence::NONE);
        let set = listed.difference(&self.kept_off());
        ThreatList { set, sources: self }
    }

    fn listed(&self, least: Confidence) -> ThreatSet {
        let sets = self.feeds.iter().map(|feed| feed.listing.set(feed.least.max(least)));
        sets.reduce(|all, set| all.union(&set)).unwrap_or_default()
    }

    fn kept_off(&self) -> ThreatSet {
        let exceptions = self.exceptions.iter().map(|exception| exception.prefix);
        exceptions.chain(self.protected.iter().map(|protected| protected.prefix)).collect()
    }
}

/// The exact list at one revision, with its inputs.
#[derive(Debug, Clone)]
pub struct ThreatList {
    set: ThreatSet,
    sources: Compiler,
}

impl ThreatList {
    /// The addresses on the list.
    #[must_use]
    pub fn set(&self) -> &ThreatSet {
        &self.set
    }

    /// Its inputs.
    #[must_use]
    pub fn sources(&self) -> &Compiler {
        &self.sources
    }

    /// Whether and why `address` is on the list: all feeds that list it, and everything that excludes it.
    #[must_use]
    pub fn why(&self, address: IpAddr) -> Why {
        let of_feed = |feed: &Feed| {
            let counted = |Entry { prefix, confidence, since, until }| Listed {
                feed: feed.id.clone(),
                entry: prefix,
                confidence,
                since,
                until,
                counts: if confidence >= feed.least { Counts::Yes } else { Counts::TooUnsure },
            };
            feed.listing.holding(address).into_iter().map(counted).collect::<Vec<_>>()
        };
        let exceptions = self.sources.exceptions.iter();
        let protected = self.sources.protected.iter();
        Why {
            address,
            blocked_as: self.set.entry(address),
            listed: self.sources.feeds.iter().flat_map(of_feed).collect(),
            exceptions: exceptions.filter(|one| one.prefix.contains(address)).cloned().collect(),
            protected: protected.filter(|one| one.prefix.contains(address)).copied().collect(),
        }
    }

    /// The most confident part of the list that `fits`, for hosts whose memory is too small for the whole
    /// list: the part with at least the lowest confidence at which it fits. If `fits` holds for a set, it
    /// must hold for its subsets. `None` if not even the most confident entries fit.
    #[must_use]
    pub fn most_confident(&self, fits: impl Fn(&ThreatSet) -> bool) -> Option<MostConfident> {
        if fits(&self.set) {
            return Some(MostConfident { least: Confidence::NONE, set: self.set.clone() });
        }
        let kept_off = self.sources.kept_off();
        let part = |least| self.sources.listed(least).difference(&kept_off);
        let (mut too_low, mut found) = (0, None);
        let mut too_high = Confidence::FULL.percent() + 1;
        while too_high - too_low > 1 {
            let percent = u8::midpoint(too_low, too_high);
            let Some(least) = Confidence::new(percent) else { break };
            let set = part(least);
            if fits(&set) {
                too_high = percent;
                found = Some(MostConfident { least, set });
            } else {
                too_low = percent;
            }
        }
        found
    }
}

/// A part of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MostConfident {
    /// Entries below this confidence are omitted.
    pub least: Confidence,
    /// The part.
    pub set: ThreatSet,
}

/// The answer to "why is this address blocked, or not?".
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Why {
    /// The address.
    pub address: IpAddr,
    /// The prefix of the list that contains it; `None` if it is not on the list.
    pub blocked_as: Option<Prefix>,
    /// All entries of feeds that contain it.
    pub listed: Vec<Listed>,
    /// The exceptions that exclude it.
    pub exceptions: Vec<Exception>,
    /// The protected ranges that exclude it.
    pub protected: Vec<Protected>,
}

/// A feed's entry that contains an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// The feed.
    pub feed: FeedId,
    /// Its entry.
    pub entry: Prefix,
    /// Its confidence.
    pub confidence: Confidence,
    /// When the feed was first seen to list this entry, in Unix seconds; `None` if unknown.
    pub since: Option<u64>,
    /// When the entry expires, in Unix seconds.
    pub until: Option<u64>,
    /// Whether the confidence is enough.
    pub counts: Counts,
}

/// Whether an entry is effective.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Counts {
    /// It puts its addresses on the list.
    Yes,
    /// The feed's minimum confidence is higher.
    TooUnsure,
}
