//! The impact of letting feeds list private ranges, before it is done.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ring::digest::{Context, SHA256};
use xshield_api::threat_modes::PrivateRangesImpact;
use xshield_model::Timestamp;
use xshield_store::threat_feeds::Peers;
use xshield_store::{Store, assets, threat_feeds};
use xshield_threat::protect::{ProtectedBy, special_ranges};
use xshield_threat::{Compiler, ThreatSet};

use super::lists::ThreatLists;
use crate::error::{Doing as _, Result};

/// Peers seen within this many seconds count.
const RECENT: i64 = 7 * 24 * 3600;
/// The number of ranges to list.
const SAMPLES: usize = 20;

/// The impact of letting feeds list private ranges.
///
/// # Errors
/// When the database fails.
pub async fn impact(
    store: &Store,
    lists: &impl ThreatLists,
    now: Timestamp,
) -> Result<PrivateRangesImpact> {
    let since = now.plus(-RECENT);
    let mut conn = store.read().await?;
    let mut peers = threat_feeds::recent_peers(&mut conn, Peers::Called, since).await?;
    peers.extend(threat_feeds::recent_peers(&mut conn, Peers::Callers, since).await?);
    let inventory = assets::inventory(&mut conn).await?.assets;
    drop(conn);
    let assets: Vec<Vec<IpAddr>> = inventory.into_iter().map(|asset| asset.addresses).collect();
    let peers: BTreeSet<IpAddr> = peers.into_iter().map(|peer| peer.to_canonical()).collect();
    let list = lists.list();
    let work = move || computed(list.sources(), list.set(), &assets, &peers);
    tokio::task::spawn_blocking(work).await.doing("compute the impact of listing private ranges")
}

fn computed(
    sources: &Compiler,
    listed: &ThreatSet,
    assets: &[Vec<IpAddr>],
    peers: &BTreeSet<IpAddr>,
) -> PrivateRangesImpact {
    let private = special_ranges().into_iter().filter(|range| range.by == ProtectedBy::Private);
    let private: ThreatSet = private.map(|range| range.prefix).collect();
    let mut otherwise = sources.clone();
    otherwise.protected.retain(|range| range.by != ProtectedBy::Private);
    let joining = otherwise.compile().set().difference(listed);
    // An asset's own address is cut out of the list: its neighbors show whether it lies within a listed
    // range.
    let around: ThreatSet = {
        let without = |by: ProtectedBy| by == ProtectedBy::Private || by == ProtectedBy::OwnAsset;
        let mut otherwise = sources.clone();
        otherwise.protected.retain(|range| !without(range.by));
        otherwise.compile().set().intersection(&private)
    };
    let having = |set: &ThreatSet| {
        let inside = |address: &IpAddr| set.contains(address.to_canonical());
        assets.iter().filter(|addresses| addresses.iter().any(inside)).count() as u64
    };
    let (assets_private, assets_inside) = (having(&private), having(&around));
    let mut digest = Context::new(&SHA256);
    for count in [assets.len() as u64, assets_private, assets_inside] {
        digest.update(&count.to_be_bytes());
    }
    joining.iter().for_each(|prefix| digest.update(format!("{prefix}\n").as_bytes()));
    let digest = digest.finish();
    let digest: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    PrivateRangesImpact {
        digest: format!("sha256:{digest}"),
        entries: joining.len() as u64,
        samples: joining.iter().take(SAMPLES).map(|prefix| prefix.to_string()).collect(),
        assets: assets.len() as u64,
        assets_private,
        assets_inside,
        recent_peers: peers.iter().filter(|peer| joining.contains(**peer)).count() as u64,
    }
}
