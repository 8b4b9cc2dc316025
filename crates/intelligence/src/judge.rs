//! Decides whether a feed's listing may take effect automatically.

use std::sync::Arc;

use xshield_model::Timestamp;
use xshield_model::file_name::FileName;
use xshield_model::threat_settings::PrivateRanges;
use xshield_store::threat_feeds::{Peers, StoredFeed};
use xshield_store::{StoreResult, assets, threat_assets, threat_feeds, threat_lists};
use xshield_threat::guard::{self, Guard, HoldReason, ReferenceAddresses};
use xshield_threat::listing::store;
use xshield_threat::protect::{ProtectedBy, special_ranges};
use xshield_threat::{Listing, Prefix, ThreatSet};

use crate::files::FileError;
use crate::list::{differences, exceptions};
use crate::listings::Listings;
use crate::state::Threats;

/// Peers of flows seen within this many seconds count as recent.
const RECENT: i64 = 7 * 24 * 3600;
/// Attackers open connections, so a feed is expected to list some recent peers. More than this number, and
/// more than a share of all, indicates a broken feed.
const INBOUND_PEERS: usize = 20;
const INBOUND_SHARE_PERCENT: usize = 5;

/// What a listing is checked against.
pub(crate) struct Judges {
    own_assets: ThreatSet,
    outbound: ThreatSet,
    inbound: ThreatSet,
    kept_off: ThreatSet,
}

/// Reads what listings are checked against.
pub(crate) async fn judges(threats: &Threats, now: Timestamp) -> StoreResult<Judges> {
    let mut conn = threats.store.read().await?;
    let policy = threats.list_inputs.committed(&mut conn).await?;
    let settings = threat_assets::settings(&mut conn).await?;
    let since = now.plus(-RECENT);
    let outbound = threat_feeds::recent_peers(&mut conn, Peers::Called, since).await?;
    let inbound = threat_feeds::recent_peers(&mut conn, Peers::Callers, since).await?;
    let inventory = assets::inventory(&mut conn).await?;
    let stored = threat_lists::exceptions(&mut conn).await?;
    let off = exceptions(&stored, policy.as_deref(), now).into_iter().map(|one| one.prefix);
    let listed = settings.private_ranges == PrivateRanges::Listed;
    let special = special_ranges().into_iter();
    let special = special.filter(|range| !(listed && range.by == ProtectedBy::Private));
    let prefixes = |addresses: Vec<std::net::IpAddr>| {
        addresses.into_iter().map(|address| Prefix::from(address.to_canonical())).collect()
    };
    Ok(Judges {
        own_assets: prefixes(inventory.assets.into_iter().flat_map(|a| a.addresses).collect()),
        outbound: prefixes(outbound),
        inbound: prefixes(inbound),
        kept_off: off.chain(special.map(|range| range.prefix)).collect(),
    })
}

/// A listing with the information that an operator needs to decide on it.
pub(crate) struct Judged {
    pub(crate) name: FileName,
    pub(crate) entries: u64,
    pub(crate) added: u64,
    pub(crate) removed: u64,
    pub(crate) verdict: Verdict,
}

pub(crate) enum Verdict {
    /// It equals the one in force.
    Same,
    /// It takes effect.
    Pass,
    /// An operator rejected it before.
    TurnedAway(Vec<String>),
    /// It is held.
    Hold(Vec<String>),
}

/// Stores a listing and decides whether it may take effect. Blocks.
pub(crate) fn judge(
    listings: &Listings,
    feed: &StoredFeed,
    listing: &Listing,
    judges: &Judges,
    now: Timestamp,
) -> Result<Judged, FileError> {
    let load = |name: Option<FileName>| name.and_then(|name| listings.load(name));
    let before: Option<Arc<Listing>> = load(feed.listing);
    // A held listing keeps its age, too.
    let aged = load(feed.held);
    let dated = listing.since_of(before.as_deref(), now.unix());
    let dated = match &aged {
        Some(held) => listing.since_of(Some(&dated), now.unix()).since_of(Some(held), now.unix()),
        None => dated,
    };
    let least = feed.settings.least_confidence;
    let after_set = dated.set(least);
    let before_set = before.as_ref().map(|before| before.set(least));
    let nothing = ThreatSet::empty();
    let (added, removed) = differences(before_set.as_ref().unwrap_or(&nothing), &after_set);
    let entries = dated.len() as u64;
    if before.as_deref() == Some(&dated)
        && let Some(name) = feed.listing
    {
        return Ok(Judged { name, entries, added, removed, verdict: Verdict::Same });
    }
    let name = listings.files.put(&store::encode(&dated))?;
    let reasons = reasons(feed, before_set.as_ref(), &after_set, judges);
    let turned_away = feed.state.turned_away.as_deref() == Some(&content_name(&dated));
    let words = reasons.iter().map(ToString::to_string).collect();
    let verdict = match (reasons.is_empty(), turned_away) {
        (true, _) => Verdict::Pass,
        (false, true) => Verdict::TurnedAway(words),
        (false, false) => Verdict::Hold(words),
    };
    Ok(Judged { name, entries, added, removed, verdict })
}

/// Identifies the content, regardless of its age.
#[must_use]
pub fn content_name(listing: &Listing) -> String {
    let mut text = Vec::new();
    for (prefix, confidence) in listing.iter() {
        text.extend_from_slice(format!("{prefix} {}\n", confidence.percent()).as_bytes());
    }
    FileName::of(&text).to_string()
}

fn reasons(
    feed: &StoredFeed,
    before: Option<&ThreatSet>,
    after: &ThreatSet,
    judges: &Judges,
) -> Vec<HoldReason> {
    let effective = |set: &ThreatSet| set.difference(&judges.kept_off);
    let references =
        ReferenceAddresses { own_assets: &judges.own_assets, recent_peers: &judges.outbound };
    let before = before.map(effective);
    let after = effective(after);
    let limits = feed.settings.change_limits();
    let mut reasons = match guard::judge(before.as_ref(), &after, references, limits) {
        Guard::Pass => Vec::new(),
        Guard::Hold { reasons } => reasons,
    };
    let new = before.map_or_else(|| after.clone(), |before| after.difference(&before));
    let hit = new.intersection(&judges.inbound);
    let few = INBOUND_PEERS.max(judges.inbound.len() * INBOUND_SHARE_PERCENT / 100);
    if hit.len() > few {
        let samples = hit.iter().take(INBOUND_PEERS).collect();
        reasons.push(HoldReason::HitsRecentPeers { count: hit.len() as u64, samples });
    }
    reasons
}
