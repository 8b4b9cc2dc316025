//! The content of a threat event.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use xshield_policy::{AssetId, Direction, Protocol};
use xshield_threat::compile::Counts;
use xshield_threat::{Confidence, Prefix, Why};
use xshield_wire::threat::{PolicyVerdict, ThreatAction};

use xshield_model::Timestamp;
use xshield_model::alert::{EventView, NAME, NAME_VIA_PROXY};
use xshield_model::threat_match::{ListedBy, ReadFrom};

/// Feeds stored per event, at most.
const MOST_FEEDS: usize = 32;

/// The listing of an address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Intelligence {
    /// The list's prefix that contains it.
    pub entry: Option<Prefix>,
    /// The highest confidence of a feed that lists it.
    pub confidence: Option<Confidence>,
    /// The feeds that list it, with the highest confidence first.
    pub feeds: Vec<ListedBy>,
}

impl From<&Why> for Intelligence {
    fn from(why: &Why) -> Self {
        let counts = why.listed.iter().filter(|listed| listed.counts == Counts::Yes);
        let listed = counts.map(|listed| ListedBy {
            feed: listed.feed.clone(),
            entry: listed.entry,
            confidence: listed.confidence,
        });
        Self::of(why.blocked_as, listed.collect())
    }
}

impl Intelligence {
    /// Combines the list's `entry` and the feeds' entries.
    #[must_use]
    pub fn of(entry: Option<Prefix>, mut feeds: Vec<ListedBy>) -> Self {
        feeds.sort_by(|a, b| b.confidence.cmp(&a.confidence).then_with(|| a.feed.cmp(&b.feed)));
        feeds.truncate(MOST_FEEDS);
        let confidence = feeds.first().map(|surest| surest.confidence);
        Self { entry, confidence, feeds }
    }
}

/// Traffic with a listed peer, of one batch or aggregated over all batches.
#[derive(Debug, Clone, PartialEq)]
pub struct ThreatEvent {
    /// The action.
    pub action: ThreatAction,
    /// The direction.
    pub direction: Direction,
    /// The listed peer.
    pub remote: IpAddr,
    /// The asset's address; unknown behind a proxy.
    pub local: Option<IpAddr>,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Destination port of the flow; the type for ICMP; 0 if there is none or it is unknown.
    pub port: u16,
    /// The local program, if known.
    pub process: Option<String>,
    /// The local service, if known.
    pub service: Option<String>,
    /// The proxy that the peer used; the host's firewall only sees the proxy.
    pub via: Option<IpAddr>,
    /// The rule that would have allowed the flow.
    pub rule: Option<String>,
    /// The verdict of policy alone; unknown behind a proxy.
    pub policy: Option<PolicyVerdict>,
    /// A request of the peer, as a sample; for matches from access logs.
    pub request: Option<String>,
    /// Its source.
    pub read_from: ReadFrom,
    /// Revision of the list.
    pub revision: u64,
    /// The listing of the peer at that revision.
    pub intelligence: Intelligence,
    /// Packets; requests for matches from access logs.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
    /// First seen.
    pub first_seen: Timestamp,
    /// Last seen.
    pub last_seen: Timestamp,
}

/// A [`ThreatEvent`] in the database.
#[derive(Debug, Clone)]
pub struct StoredThreatEvent {
    /// For paging.
    pub id: i64,
    /// The owner.
    pub asset_id: AssetId,
    /// The asset's name.
    pub asset: String,
    /// The sum of the batches.
    pub event: ThreatEvent,
    /// The number of batches that contained it.
    pub batches: u64,
}

/// Whether a match or its address is new.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Novelty {
    /// The asset's agent reported this traffic live before.
    Told,
    /// The asset has communicated with the address before.
    Known,
    /// Another asset has, but not this one.
    NewForAsset,
    /// No asset has.
    NewForPlatform,
}

impl From<StoredThreatEvent> for EventView {
    fn from(stored: StoredThreatEvent) -> Self {
        let event = stored.event;
        Self {
            id: stored.id,
            name: if event.via.is_some() { NAME_VIA_PROXY } else { NAME }.to_owned(),
            asset: stored.asset,
            asset_id: stored.asset_id.to_string(),
            action: event.action,
            blockable_at_host: event.via.is_none(),
            direction: event.direction,
            remote: event.remote,
            local: event.local,
            protocol: event.protocol,
            port: event.port,
            process: event.process,
            service: event.service,
            rule: event.rule,
            policy: event.policy,
            via: event.via,
            request: event.request,
            entry: event.intelligence.entry,
            confidence: event.intelligence.confidence,
            feeds: event.intelligence.feeds,
            revision: event.revision,
            packets: event.packets,
            bytes: event.bytes,
            reports: stored.batches,
            first_seen: event.first_seen,
            last_seen: event.last_seen,
            from: event.read_from,
        }
    }
}
