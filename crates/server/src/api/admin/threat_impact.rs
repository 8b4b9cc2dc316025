//! What a change of the list's settings would do, before it is made.

use std::collections::BTreeSet;
use std::net::IpAddr;

use axum::Json;
use axum::extract::State;
use ring::digest::{Context, SHA256};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use xshield_api::threat_modes::PrivateRangesImpact;
use xshield_model::Timestamp;
use xshield_store::threat_feeds::Peers;
use xshield_store::{assets, threat_feeds};
use xshield_threat::protect::{ProtectedBy, special_ranges};
use xshield_threat::{Compiler, ThreatSet};

use crate::auth::{Allowed, Viewer};
use crate::problem::Answer;
use crate::state::App;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(private_ranges))
}

/// Peers that were seen within so many seconds.
const RECENT: i64 = 7 * 24 * 3600;
/// Ranges that are named.
const SAMPLES: usize = 20;

/// What it would do to let feeds list private ranges
#[utoipa::path(get, path = "/api/v1/threat/private-ranges/impact", tag = "threats",
    responses((status = 200, body = PrivateRangesImpact)))]
async fn private_ranges(
    State(app): State<App>,
    _: Allowed<Viewer>,
) -> Answer<Json<PrivateRangesImpact>> {
    of_private_ranges(&app).await.map(Json)
}

/// What it would do to let feeds list private ranges.
pub(super) async fn of_private_ranges(app: &App) -> Answer<PrivateRangesImpact> {
    let since = Timestamp::now().plus(-RECENT);
    let mut conn = app.store.read().await?;
    let mut peers = threat_feeds::recent_peers(&mut conn, Peers::Called, since).await?;
    peers.extend(threat_feeds::recent_peers(&mut conn, Peers::Callers, since).await?);
    let inventory = assets::inventory(&mut conn).await?.assets;
    drop(conn);
    let assets: Vec<Vec<IpAddr>> = inventory.into_iter().map(|asset| asset.addresses).collect();
    let peers: BTreeSet<IpAddr> = peers.into_iter().map(|peer| peer.to_canonical()).collect();
    let list = app.threat.list();
    let work = move || impact(list.sources(), list.set(), &assets, &peers);
    Ok(tokio::task::spawn_blocking(work).await?)
}

fn impact(
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
    // An asset's own address is cut out of what would be listed: whether it is in the midst of it is
    // told by its neighbours.
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
