//! The state of the list: on the platform, and on every host.

use xshield_api::threat_status::{Feeds, HostFailure, Hosts, ListedAsset, Status};
use xshield_model::Timestamp;
use xshield_policy::inventory::Asset;
use xshield_store::threat_assets::StoredThreat;
use xshield_store::{Store, assets, threat_assets, threat_feeds};
use xshield_threat::ThreatSet;
use xshield_wire::threat::ListName;

use super::lists::ThreatLists;
use crate::error::Result;

/// The maximum number of names.
const MOST: usize = 100;

/// The state of the list, here and on the hosts.
///
/// # Errors
/// When the database fails.
pub async fn status(store: &Store, lists: &impl ThreatLists, now: Timestamp) -> Result<Status> {
    let mut conn = store.read().await?;
    let settings = threat_assets::settings(&mut conn).await?;
    let mut feeds = Feeds::default();
    for feed in threat_feeds::all(&mut conn).await? {
        feeds.all += 1;
        let name = || String::from(feed.id.clone());
        feeds.stale.extend(feed.is_stale(now).then(name));
        feeds.held.extend(feed.held.map(|_| name()));
        feeds.differs.extend(feed.state.differs.as_ref().map(|_| name()));
        feeds.failing.extend(feed.state.failure.as_ref().map(|_| name()));
    }
    let mut hosts = Hosts::default();
    for (name, stored) in threat_assets::all(&mut conn).await? {
        add(&mut hosts, name, &stored);
    }
    let assets = assets::inventory(&mut conn).await?.assets;
    drop(conn);
    let listed_assets = listed_assets(lists.list().set(), &assets);
    let kernel_bytes = lists.kernel_bytes().await?;
    let in_force = lists.in_force();
    Ok(Status {
        revision: in_force.map(|list| list.revision),
        entries: in_force.map_or(0, |list| list.entries),
        kernel_bytes,
        restored: settings.pinned,
        trouble: lists.trouble(),
        private_ranges: settings.private_ranges.into(),
        listed_assets,
        feeds,
        hosts,
    })
}

fn listed_assets(set: &ThreatSet, assets: &[Asset]) -> Vec<ListedAsset> {
    let of_asset = |asset: &Asset| -> Vec<ListedAsset> {
        let addresses = asset.addresses.iter().map(|address| address.to_canonical());
        let listed = addresses.filter(|address| set.contains(*address));
        let name = asset.name.as_str();
        listed.map(|a| ListedAsset { asset: name.to_owned(), address: a.to_string() }).collect()
    };
    assets.iter().flat_map(of_asset).take(MOST).collect()
}

/// Counts a host.
fn add(hosts: &mut Hosts, name: String, stored: &StoredThreat) {
    let Some((standing, _)) = &stored.standing else { return };
    let ordered = stored.order.as_ref();
    hosts.all += 1;
    hosts.up_to_date += u64::from(ordered.is_none_or(|signed| {
        standing.order == Some(signed.wanted()) && standing.failure.is_none()
    }));
    if let Some(list) = &standing.list {
        *hosts.by_revision.entry(list.revision).or_default() += 1;
    }
    let mode = format!("{}/{}", standing.inbound, standing.outbound);
    *hosts.by_mode.entry(mode).or_default() += 1;
    let part = standing.list.as_ref().is_some_and(ListName::is_part);
    if part && hosts.parts.len() < MOST {
        hosts.parts.push(name.clone());
    }
    if let Some(reason) = standing.failure.clone().filter(|_| hosts.failures.len() < MOST) {
        hosts.failures.push(HostFailure { asset: name, reason });
    }
}
