//! "Malicious IP Match": traffic with listed peers, by time, asset and address.

use std::collections::BTreeSet;

use xshield_api::page::Page;
use xshield_api::threat_events::{
    AddressView, AssetContact, AssetLosses, Losses, ThreatEventQuery,
};
use xshield_model::Timestamp;
use xshield_model::alert::EventView;
use xshield_policy::AssetId;
use xshield_policy::criteria::Criteria;
use xshield_store::threat_events::{
    Intelligence, Loss, PeerSummary, StoredThreatEvent, ThreatFilter,
};
use xshield_store::{Conn, Store, threat_events};
use xshield_threat::Confidence;

use super::lists::ThreatLists;
use super::why::address as parsed_address;
use crate::compiler::RulesetCompiler;
use crate::error::{OperationError, Result};
use crate::lookup;
use crate::paging::{LastSeen, Paging, paged_by_last_seen};
use crate::selection::{matching, members};

/// The maximum number of assets listed for an address.
const MOST_MEETINGS: u32 = 1000;

/// The assets that a query names; `None` for all.
async fn wanted_assets(
    store: &Store,
    compiler: &RulesetCompiler,
    query: &ThreatEventQuery,
) -> Result<Option<Vec<AssetId>>> {
    let mut wanted: Option<Vec<AssetId>> = None;
    let mut narrow = |these: Vec<AssetId>| {
        wanted = Some(match wanted.take() {
            None => these,
            Some(those) => {
                let these: BTreeSet<_> = these.into_iter().collect();
                those.into_iter().filter(|id| these.contains(id)).collect()
            }
        });
    };
    if let Some(asset) = &query.asset {
        narrow(vec![lookup::asset(&mut *store.read().await?, asset).await?.id]);
    }
    if let Some(segment) = &query.segment {
        narrow(members(store, compiler, segment, "?segment").await?);
    }
    if let Some(criteria) = &query.criteria {
        let criteria: Criteria = criteria
            .parse()
            .map_err(|error| OperationError::invalid("?where", format!("{error}")))?;
        narrow(matching(&mut *store.read().await?, &criteria).await?);
    }
    Ok(wanted)
}

/// Traffic with listed peers, most recently seen first.
///
/// # Errors
/// When the query is invalid or refers to something that does not exist, or the database fails.
pub async fn list(
    store: &Store,
    compiler: &RulesetCompiler,
    query: ThreatEventQuery,
    paging: Paging<LastSeen>,
) -> Result<Page<EventView>> {
    let assets = wanted_assets(store, compiler, &query).await?;
    let confidence = query.confidence.map(|percent| {
        Confidence::new(percent)
            .ok_or_else(|| OperationError::invalid("?confidence", "not between 0 and 100"))
    });
    let filter = ThreatFilter {
        assets,
        remote: query.address,
        feed: query.feed,
        action: query.action,
        direction: query.direction,
        via: query.via_proxy,
        least_confidence: confidence.transpose()?,
        since: query.since,
        until: query.until,
    };
    let mut conn = store.read().await?;
    let found = threat_events::list(&mut conn, &filter, paging.after, paging.to_read()).await?;
    let seen = |stored: &StoredThreatEvent| (stored.event.last_seen, stored.id);
    Ok(paged_by_last_seen(found, paging.limit, seen, EventView::from))
}

fn contacts(meeting: PeerSummary) -> AssetContact {
    let PeerSummary { asset, flows, packets, bytes, blocked, first_seen, last_seen } = meeting;
    AssetContact { asset, flows, packets, bytes, blocked, first_seen, last_seen }
}

/// An address: which assets communicated with it and when, and which feeds list it now.
///
/// # Errors
/// When it is not an address, or the database fails.
pub async fn address(conn: &mut Conn, lists: &impl ThreatLists, text: &str) -> Result<AddressView> {
    let address = parsed_address(text)?;
    let now = Intelligence::from(&lists.list().why(address));
    let mut met = threat_events::who_met(conn, address, MOST_MEETINGS + 1).await?;
    let more_assets = met.len() > MOST_MEETINGS as usize;
    met.truncate(MOST_MEETINGS as usize);
    Ok(AddressView {
        address: address.to_string(),
        first_seen: met.iter().map(|of| of.first_seen).min(),
        last_seen: met.iter().map(|of| of.last_seen).max(),
        packets: met.iter().map(|of| of.packets).sum(),
        bytes: met.iter().map(|of| of.bytes).sum(),
        blocked: met.iter().map(|of| of.blocked).sum(),
        entry: now.entry.map(|entry| entry.to_string()),
        feeds: now.feeds,
        assets: met.into_iter().map(contacts).collect(),
        more_assets,
    })
}

/// Matches that hosts could not record, latest losses first.
///
/// # Errors
/// When the database fails.
pub async fn losses(conn: &mut Conn) -> Result<Losses> {
    let found = threat_events::losses(conn, Timestamp(0)).await?;
    let shown = |Loss { asset, lost, lost_at }| AssetLosses { asset, lost, lost_at };
    Ok(Losses { items: found.into_iter().map(shown).collect() })
}
