//! What an asset should enforce, what it enforces, and what it saw.

use axum::Json;
use axum::extract::{Path, State};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use xshield_api::page::{Page, PageQuery};
use xshield_api::telemetry::{Compiled, Event, EventQuery, Hits, Listening, Programmed};
use xshield_model::Timestamp;
use xshield_operations::lookup::asset as named;
use xshield_operations::paging::{Pages as _, paged};
use xshield_policy::AssetId;
use xshield_store::events::{EventFilter, StoredEvent};
use xshield_store::reports::StoredHits;
use xshield_store::{events, reports};
use xshield_wire::message::FirewallEvent;

use crate::auth::{Allowed, Viewer};
use crate::problem::{Answer, Problem};
use crate::query::BothOf;
use crate::signed_ruleset::{Signed, signed};
use crate::state::App;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(ruleset))
        .routes(routes!(programmed))
        .routes(routes!(list_events))
        .routes(routes!(all_events))
        .routes(routes!(ports))
}

/// The compiled ruleset of an asset
#[utoipa::path(get, path = "/api/v1/assets/{asset}/ruleset", tag = "telemetry",
    params(("asset" = String, Path, description = "id or name")),
    responses((status = 200, body = Compiled)))]
async fn ruleset(
    State(app): State<App>,
    _: Allowed<Viewer>,
    Path(asset): Path<String>,
) -> Answer<Json<Compiled>> {
    let asset = named(&mut *app.store.read().await?, &asset).await?;
    let signed = signed(&app.compiler, &app.keys, &asset.id).await?;
    let Signed { stored, envelope } =
        signed.ok_or_else(|| Problem::not_found("ruleset of", asset.name.as_str()))?;
    let damaged = |error: serde_json::Error| Problem::internal(&error);
    let ruleset = serde_json::from_slice(envelope.payload()).map_err(damaged)?;
    let envelope = serde_json::to_value(&envelope).map_err(damaged)?;
    let (wanted, compiled_at) = (stored.wanted(), stored.compiled_at);
    let compilation = stored.version.compilation;
    Ok(Json(Compiled { wanted, compilation, compiled_at, ruleset, envelope }))
}

fn hits(stored: StoredHits) -> Hits {
    Hits { hits: stored.hits, last_hit: stored.last_hit }
}

/// The rules that an asset's kernel returned, with hit counts
#[utoipa::path(get, path = "/api/v1/assets/{asset}/programmed", tag = "telemetry",
    params(("asset" = String, Path, description = "id or name")),
    responses((status = 200, body = Programmed)))]
async fn programmed(
    State(app): State<App>,
    _: Allowed<Viewer>,
    Path(asset): Path<String>,
) -> Answer<Json<Programmed>> {
    let mut conn = app.store.read().await?;
    let asset = named(&mut conn, &asset).await?;
    let reported = reports::programmed(&mut conn, &asset.id).await?;
    let reported = reported
        .ok_or_else(|| Problem::not_found("report of programmed rules of", asset.name.as_str()))?;
    let stored = reports::hits(&mut conn, &asset.id).await?;
    Ok(Json(Programmed {
        read_at: reported.created,
        received_at: reported.received_at,
        report: reported.value,
        hits: stored.into_iter().map(hits).collect(),
    }))
}

fn event(stored: StoredEvent) -> Event {
    let FirewallEvent {
        kind,
        direction,
        source,
        destination,
        protocol,
        port,
        rule,
        packets,
        bytes,
        first_seen,
        last_seen,
        from,
        process,
    } = stored.event;
    Event {
        asset: stored.asset,
        kind,
        direction,
        source: source.to_string(),
        destination: destination.to_string(),
        protocol,
        port,
        rule: rule.map(String::from),
        packets,
        bytes,
        reports: stored.batches,
        first_seen: Timestamp::from_unix(first_seen),
        last_seen: Timestamp::from_unix(last_seen),
        from,
        process,
    }
}

/// Flows that an asset's firewall denied, would deny or accepted; the last seen first
#[utoipa::path(get, path = "/api/v1/assets/{asset}/events", tag = "telemetry",
    params(("asset" = String, Path, description = "id or name"), EventQuery, PageQuery),
    responses((status = 200, body = Page<Event>)))]
async fn list_events(
    State(app): State<App>,
    _: Allowed<Viewer>,
    Path(asset): Path<String>,
    BothOf(query, page): BothOf<EventQuery, PageQuery>,
) -> Answer<Json<Page<Event>>> {
    let asset = named(&mut *app.store.read().await?, &asset).await?;
    page_of_events(&app, Some(asset.id), query, &page).await
}

/// Flows that the firewalls of all assets denied, would deny or accepted; the last seen first
#[utoipa::path(get, path = "/api/v1/events", tag = "telemetry", params(EventQuery, PageQuery),
    responses((status = 200, body = Page<Event>)))]
async fn all_events(
    State(app): State<App>,
    _: Allowed<Viewer>,
    BothOf(query, page): BothOf<EventQuery, PageQuery>,
) -> Answer<Json<Page<Event>>> {
    page_of_events(&app, None, query, &page).await
}

async fn page_of_events(
    app: &App,
    asset: Option<AssetId>,
    query: EventQuery,
    page: &PageQuery,
) -> Answer<Json<Page<Event>>> {
    let limit = page.limit()?;
    let filter = EventFilter {
        asset,
        kind: query.kind,
        direction: query.direction,
        peer: query.peer.map(|peer| peer.to_string()),
        port: query.port,
        protocol: query.protocol,
        rule: query.rule,
        since: query.since,
    };
    let mut conn = app.store.read().await?;
    let found = events::list(&mut conn, &filter, page.after()?, limit + 1).await?;
    let place = |stored: &StoredEvent| (Timestamp::from_unix(stored.event.last_seen).0, stored.id);
    Ok(Json(paged(found, limit, place, event)))
}

/// The ports on which an asset's programs listen
#[utoipa::path(get, path = "/api/v1/assets/{asset}/ports", tag = "telemetry",
    params(("asset" = String, Path, description = "id or name")),
    responses((status = 200, body = Listening)))]
async fn ports(
    State(app): State<App>,
    _: Allowed<Viewer>,
    Path(asset): Path<String>,
) -> Answer<Json<Listening>> {
    let mut conn = app.store.read().await?;
    let asset = named(&mut conn, &asset).await?;
    let reported = reports::listening(&mut conn, &asset.id).await?;
    let reported = reported
        .ok_or_else(|| Problem::not_found("report of listening ports of", asset.name.as_str()))?;
    Ok(Json(Listening {
        read_at: reported.created,
        received_at: reported.received_at,
        ports: reported.value,
    }))
}
