//! "Malicious IP Match": traffic with listed peers, by time, asset and address.

use std::net::IpAddr;

use axum::Json;
use axum::extract::{Path, State};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use xshield_api::page::{Page, PageQuery};
use xshield_api::threat_events::{AddressView, Losses, LostBy, MetBy, ThreatEventQuery};
use xshield_model::Timestamp;
use xshield_model::alert::EventView;
use xshield_operations::lookup::asset as named;
use xshield_operations::paging::{Pages as _, paged};
use xshield_operations::selection::members;
use xshield_policy::AssetId;
use xshield_policy::criteria::Criteria;
use xshield_store::threat_events::{Loss, Meeting, StoredThreatEvent, ThreatFilter};
use xshield_store::{assets, threat_events};
use xshield_threat::Confidence;

use crate::auth::{Allowed, Viewer};
use crate::problem::{Answer, Problem};
use crate::query::BothOf;
use crate::state::App;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(of_asset))
        .routes(routes!(address))
        .routes(routes!(losses))
}

/// Assets that have met an address are named up to this number.
const MOST_MEETINGS: u32 = 1000;

/// Traffic with listed peers, the last seen first
#[utoipa::path(get, path = "/api/v1/threat/events", tag = "threat events",
    params(ThreatEventQuery, PageQuery), responses((status = 200, body = Page<EventView>)))]
async fn list(
    State(app): State<App>,
    _: Allowed<Viewer>,
    BothOf(query, page): BothOf<ThreatEventQuery, PageQuery>,
) -> Answer<Json<Page<EventView>>> {
    let assets = wanted_assets(&app, &query).await?;
    page_of(&app, assets, query, &page).await
}

/// An asset's traffic with listed peers, the last seen first
#[utoipa::path(get, path = "/api/v1/assets/{asset}/threat-events", tag = "threat events",
    params(("asset" = String, Path, description = "id or name"), ThreatEventQuery, PageQuery),
    responses((status = 200, body = Page<EventView>)))]
async fn of_asset(
    State(app): State<App>,
    _: Allowed<Viewer>,
    Path(asset): Path<String>,
    BothOf(mut query, page): BothOf<ThreatEventQuery, PageQuery>,
) -> Answer<Json<Page<EventView>>> {
    query.asset = Some(asset);
    let assets = wanted_assets(&app, &query).await?;
    page_of(&app, assets, query, &page).await
}

/// The assets that a query names; `None` for all.
async fn wanted_assets(app: &App, query: &ThreatEventQuery) -> Answer<Option<Vec<AssetId>>> {
    let mut wanted: Option<Vec<AssetId>> = None;
    let mut narrow = |these: Vec<AssetId>| {
        wanted = Some(match wanted.take() {
            None => these,
            Some(those) => {
                let these: std::collections::BTreeSet<_> = these.into_iter().collect();
                those.into_iter().filter(|id| these.contains(id)).collect()
            }
        });
    };
    if let Some(asset) = &query.asset {
        narrow(vec![named(&mut *app.store.read().await?, asset).await?.id]);
    }
    if let Some(segment) = &query.segment {
        narrow(members(&app.store, &app.compiler, segment, "?segment").await?);
    }
    if let Some(criteria) = &query.criteria {
        let criteria: Criteria =
            criteria.parse().map_err(|error| Problem::invalid("?where", format!("{error}")))?;
        let inventory = assets::inventory(&mut *app.store.read().await?).await?;
        let matching = inventory.assets.into_iter().filter(|asset| criteria.matches(asset));
        narrow(matching.map(|asset| asset.id).collect());
    }
    Ok(wanted)
}

async fn page_of(
    app: &App,
    assets: Option<Vec<AssetId>>,
    query: ThreatEventQuery,
    page: &PageQuery,
) -> Answer<Json<Page<EventView>>> {
    let limit = page.limit()?;
    let confidence = query.confidence.map(|percent| {
        Confidence::new(percent)
            .ok_or_else(|| Problem::invalid("?confidence", "not between 0 and 100"))
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
    let mut conn = app.store.read().await?;
    let found = threat_events::list(&mut conn, &filter, page.after()?, limit + 1).await?;
    let place = |stored: &StoredThreatEvent| (stored.event.last_seen.0, stored.id);
    Ok(Json(paged(found, limit, place, EventView::from)))
}

fn met_by(meeting: Meeting) -> MetBy {
    let Meeting { asset, flows, packets, bytes, blocked, first_seen, last_seen } = meeting;
    MetBy { asset, flows, packets, bytes, blocked, first_seen, last_seen }
}

/// One address: which assets met it and when, and which feeds list it now
#[utoipa::path(get, path = "/api/v1/threat/addresses/{address}", tag = "threat events",
    params(("address" = String, Path)), responses((status = 200, body = AddressView)))]
async fn address(
    State(app): State<App>,
    _: Allowed<Viewer>,
    Path(address): Path<String>,
) -> Answer<Json<AddressView>> {
    let address: IpAddr = address.parse().map_err(|_| {
        Problem::invalid("/address", format!("{address:?} is not an address (no prefix, no name)"))
    })?;
    let address = address.to_canonical();
    let now = app.threat.intelligence(address);
    let mut conn = app.store.read().await?;
    let mut met = threat_events::who_met(&mut conn, address, MOST_MEETINGS + 1).await?;
    let more_assets = met.len() > MOST_MEETINGS as usize;
    met.truncate(MOST_MEETINGS as usize);
    Ok(Json(AddressView {
        address: address.to_string(),
        first_seen: met.iter().map(|of| of.first_seen).min(),
        last_seen: met.iter().map(|of| of.last_seen).max(),
        packets: met.iter().map(|of| of.packets).sum(),
        bytes: met.iter().map(|of| of.bytes).sum(),
        blocked: met.iter().map(|of| of.blocked).sum(),
        entry: now.entry.map(|entry| entry.to_string()),
        feeds: now.feeds,
        assets: met.into_iter().map(met_by).collect(),
        more_assets,
    }))
}

/// Matches that hosts could not record, the last losses first
#[utoipa::path(get, path = "/api/v1/threat/losses", tag = "threat events",
    responses((status = 200, body = Losses)))]
async fn losses(State(app): State<App>, _: Allowed<Viewer>) -> Answer<Json<Losses>> {
    let found = threat_events::losses(&mut *app.store.read().await?, Timestamp(0)).await?;
    let shown = |Loss { asset, lost, lost_at }| LostBy { asset, lost, lost_at };
    Ok(Json(Losses { items: found.into_iter().map(shown).collect() }))
}
