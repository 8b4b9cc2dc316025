//! What the list contained for an address at the revision that a host reports. That may be older than the
//! list in force: the host was offline, or a feed dropped the address a moment ago.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use xshield_model::Timestamp;
use xshield_model::threat_match::ListedBy;
use xshield_store::threat_events::Intelligence;
use xshield_store::threat_lists::{Sources, StoredRevision};
use xshield_store::{Store, StoreResult, threat_lists};
use xshield_threat::{Listing, ThreatList};
use xshield_wire::message::{Report, ReportBody};
use xshield_wire::threat::ThreatMatch;

use crate::in_force::{Current, InForce};
use crate::listings::Listings;
use crate::parts::SharedSet;
use crate::paths::Paths;

/// The maximum number of revisions looked up per report; a host has one list at a time, so more would be a
/// claim that is expensive to check.
const MOST_IN_A_REPORT: usize = 4;
/// The number of decoded past revisions to cache.
const DECODED: usize = 2;

/// Looks up past revisions, with a cache of recent ones.
#[derive(Debug)]
pub struct Past {
    store: Store,
    listings: Arc<Listings>,
    paths: Arc<Paths>,
    in_force: InForce,
    /// Most recently used first.
    decoded: Mutex<Vec<Arc<AtRevision>>>,
}

impl Past {
    pub(crate) fn new(
        store: Store,
        listings: Arc<Listings>,
        paths: Arc<Paths>,
        in_force: InForce,
    ) -> Self {
        Self { store, listings, paths, in_force, decoded: Mutex::default() }
    }

    /// The decoded revision. One is decoded at a time. Blocks.
    fn get(&self, stored: &StoredRevision) -> Arc<AtRevision> {
        let mut decoded = self.decoded();
        let is_this = |known: &Arc<AtRevision>| {
            known.revision == stored.revision && known.sources == stored.sources
        };
        let found = match decoded.iter().position(is_this) {
            Some(at) => decoded.remove(at),
            None => Arc::new(self.load(stored)),
        };
        decoded.truncate(DECODED - 1);
        decoded.insert(0, found.clone());
        found
    }

    fn load(&self, stored: &StoredRevision) -> AtRevision {
        let set = self.paths.set(stored.digest).unwrap_or_else(|error| {
            tracing::error!(%error, revision = stored.revision, "could not read a past threat list");
            None
        });
        let listing = |name: &String| self.listings.read(name.parse().ok()?);
        AtRevision {
            revision: stored.revision,
            since: stored.created_at,
            sources: stored.sources.clone(),
            set,
            listings: stored.sources.feeds.iter().map(|feed| listing(&feed.listing)).collect(),
        }
    }

    /// Frees the cache.
    pub fn forget(&self) {
        self.decoded().clear();
    }

    fn decoded(&self) -> MutexGuard<'_, Vec<Arc<AtRevision>>> {
        self.decoded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Loads the revisions that a report refers to.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn attribution(self: &Arc<Self>, report: &Report) -> StoreResult<Attribution> {
        let current = self.in_force.get();
        let matches: &[ThreatMatch] = match &report.body {
            ReportBody::Threats(report) => &report.matches,
            ReportBody::Live(report) => &report.threats,
            _ => &[],
        };
        let now = current.revision.map(|name| name.revision);
        let other = matches.iter().map(|found| found.revision).filter(|told| Some(*told) != now);
        let other: BTreeSet<u64> = other.collect();
        let mut known = Vec::new();
        if !other.is_empty() {
            let mut conn = self.store.read().await?;
            for revision in other.into_iter().rev().take(MOST_IN_A_REPORT) {
                known.extend(threat_lists::revision(&mut conn, revision).await?);
            }
        }
        Ok(Attribution { past: self.clone(), current, revisions: known, known: HashMap::new() })
    }
}

/// A revision, as far as needed to tell which feeds listed an address.
#[derive(Debug)]
struct AtRevision {
    revision: u64,
    since: Timestamp,
    sources: Sources,
    /// The addresses; `None` if their file is missing.
    set: Option<SharedSet>,
    /// The feeds' listings, in the order of the sources; `None` for a missing one.
    listings: Vec<Option<Arc<Listing>>>,
}

impl AtRevision {
    fn of(&self, address: IpAddr) -> Intelligence {
        let mut listed = Vec::new();
        for (feed, listing) in self.sources.feeds.iter().zip(&self.listings) {
            let entries = listing.iter().flat_map(|listing| listing.holding(address));
            let counting = entries.filter(|entry| {
                entry.confidence >= feed.least
                    && entry.until.is_none_or(|until| until > self.since.unix())
            });
            listed.extend(counting.map(|entry| ListedBy {
                feed: feed.name.clone(),
                entry: entry.prefix,
                confidence: entry.confidence,
            }));
        }
        let entry = self.set.as_ref().and_then(|set| set.entry(address));
        Intelligence::of(entry, listed)
    }
}

/// What is needed to say who listed the peers of one report.
#[derive(Debug)]
pub struct Attribution {
    past: Arc<Past>,
    current: Arc<Current>,
    revisions: Vec<StoredRevision>,
    known: HashMap<(u64, IpAddr), Intelligence>,
}

impl Attribution {
    /// What the list contained for a peer at the revision that the host reports. For a revision that is no
    /// longer kept: what feeds list now and already listed when the peer was last seen. Blocks.
    pub fn of(&mut self, revision: u64, address: IpAddr, seen: Timestamp) -> Intelligence {
        if let Some(known) = self.known.get(&(revision, address)) {
            return known.clone();
        }
        let current = self.current.revision.is_some_and(|name| name.revision == revision);
        let found = if current {
            Intelligence::from(&self.current.list.why(address))
        } else if let Some(stored) = self.revisions.iter().find(|past| past.revision == revision) {
            self.past.get(stored).of(address)
        } else {
            return since_before(&self.current.list, address, seen);
        };
        self.known.insert((revision, address), found.clone());
        found
    }
}

/// What feeds list now and already listed at `seen`.
fn since_before(list: &ThreatList, address: IpAddr, seen: Timestamp) -> Intelligence {
    let mut why = list.why(address);
    why.listed.retain(|listed| listed.since.is_some_and(|since| since <= seen.unix()));
    if why.listed.is_empty() {
        return Intelligence::default();
    }
    Intelligence::from(&why)
}
