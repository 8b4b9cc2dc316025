//! What assets are made of and with whom they communicate.

use axum::Json;
use axum::extract::{Path, State};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use xshield_api::host_telemetry::{
    CommunicationPath, Host, PathQuery, Software, SoftwareChange, SoftwareQuery,
};
use xshield_api::page::{Page, PageQuery};
use xshield_model::Timestamp;
use xshield_operations::lookup::asset as named;
use xshield_operations::paging::{Pages as _, paged};
use xshield_policy::AssetId;
use xshield_store::paths::{PathFilter, StoredPath};
use xshield_store::{paths, telemetry};
use xshield_wire::telemetry::{ActivePath, SoftwarePackage};

use crate::auth::{Allowed, Viewer};
use crate::problem::{Answer, Problem};
use crate::query::{BothOf, QueryOf};
use crate::state::App;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(host))
        .routes(routes!(software))
        .routes(routes!(software_changes))
        .routes(routes!(paths_of))
        .routes(routes!(all_paths))
}

/// System, processors, memory, disks, interfaces and cloud of an asset
#[utoipa::path(get, path = "/api/v1/assets/{asset}/host", tag = "telemetry",
    params(("asset" = String, Path, description = "id or name")),
    responses((status = 200, body = Host)))]
async fn host(
    State(app): State<App>,
    _: Allowed<Viewer>,
    Path(asset): Path<String>,
) -> Answer<Json<Host>> {
    let mut conn = app.store.read().await?;
    let asset = named(&mut conn, &asset).await?;
    let reported = telemetry::host(&mut conn, &asset.id).await?;
    let reported =
        reported.ok_or_else(|| Problem::not_found("host telemetry of", asset.name.as_str()))?;
    Ok(Json(Host {
        taken_at: reported.created,
        received_at: reported.received_at,
        booted_at: Timestamp::from_unix(reported.value.booted),
        host: reported.value,
        paths_lost: paths::lost(&mut conn, &asset.id).await?,
    }))
}

/// The software that is installed on an asset
#[utoipa::path(get, path = "/api/v1/assets/{asset}/software", tag = "telemetry",
    params(("asset" = String, Path, description = "id or name"), SoftwareQuery),
    responses((status = 200, body = Software)))]
async fn software(
    State(app): State<App>,
    _: Allowed<Viewer>,
    Path(asset): Path<String>,
    QueryOf(query): QueryOf<SoftwareQuery>,
) -> Answer<Json<Software>> {
    let mut conn = app.store.read().await?;
    let asset = named(&mut conn, &asset).await?;
    let inventory = telemetry::software(&mut conn, &asset.id).await?;
    let inventory = inventory
        .ok_or_else(|| Problem::not_found("report of software of", asset.name.as_str()))?;
    let part = query.name.unwrap_or_default().to_lowercase();
    let meant = |package: &SoftwarePackage| package.name.to_lowercase().contains(&part);
    Ok(Json(Software {
        taken_at: inventory.taken,
        received_at: inventory.received_at,
        packages: inventory.packages.into_iter().filter(meant).collect(),
    }))
}

/// Packages that came to an asset or went from it, the last first
#[utoipa::path(get, path = "/api/v1/assets/{asset}/software/changes", tag = "telemetry",
    params(("asset" = String, Path, description = "id or name"), PageQuery),
    responses((status = 200, body = Page<SoftwareChange>)))]
async fn software_changes(
    State(app): State<App>,
    _: Allowed<Viewer>,
    Path(asset): Path<String>,
    QueryOf(page): QueryOf<PageQuery>,
) -> Answer<Json<Page<SoftwareChange>>> {
    let limit = page.limit()?;
    let mut conn = app.store.read().await?;
    let asset = named(&mut conn, &asset).await?;
    let found = telemetry::software_changes(&mut conn, &asset.id, page.after()?, limit + 1).await?;
    Ok(Json(paged(
        found,
        limit,
        |stored| stored.number,
        |stored| SoftwareChange { change: stored.change, package: stored.package, at: stored.at },
    )))
}

fn communication_path(stored: StoredPath) -> CommunicationPath {
    let ActivePath { direction, protocol, port, process, user, service, .. } = stored.path;
    CommunicationPath {
        asset: stored.asset,
        direction,
        source: stored.path.source.to_string(),
        destination: stored.path.destination.to_string(),
        protocol,
        port,
        process,
        user,
        service,
        connections: stored.path.connections,
        bytes_forth: stored.path.bytes_forth,
        bytes_back: stored.path.bytes_back,
        first_seen: Timestamp::from_unix(stored.path.first_seen),
        last_seen: Timestamp::from_unix(stored.path.last_seen),
        from: stored.from,
    }
}

/// The communication paths of an asset, the last seen first
#[utoipa::path(get, path = "/api/v1/assets/{asset}/paths", tag = "telemetry",
    params(("asset" = String, Path, description = "id or name"), PathQuery, PageQuery),
    responses((status = 200, body = Page<CommunicationPath>)))]
async fn paths_of(
    State(app): State<App>,
    _: Allowed<Viewer>,
    Path(asset): Path<String>,
    BothOf(query, page): BothOf<PathQuery, PageQuery>,
) -> Answer<Json<Page<CommunicationPath>>> {
    let asset = named(&mut *app.store.read().await?, &asset).await?;
    page_of_paths(&app, Some(asset.id), query, &page).await
}

/// The communication paths of all assets, the last seen first
#[utoipa::path(get, path = "/api/v1/paths", tag = "telemetry", params(PathQuery, PageQuery),
    responses((status = 200, body = Page<CommunicationPath>)))]
async fn all_paths(
    State(app): State<App>,
    _: Allowed<Viewer>,
    BothOf(query, page): BothOf<PathQuery, PageQuery>,
) -> Answer<Json<Page<CommunicationPath>>> {
    page_of_paths(&app, None, query, &page).await
}

async fn page_of_paths(
    app: &App,
    asset: Option<AssetId>,
    query: PathQuery,
    page: &PageQuery,
) -> Answer<Json<Page<CommunicationPath>>> {
    let limit = page.limit()?;
    let filter = PathFilter {
        asset,
        direction: query.direction,
        peer: query.peer.map(|peer| peer.to_string()),
        port: query.port,
        protocol: query.protocol,
        process: query.process,
        since: query.since,
    };
    let mut conn = app.store.read().await?;
    let found = paths::list(&mut conn, &filter, page.after()?, limit + 1).await?;
    let place = |stored: &StoredPath| (Timestamp::from_unix(stored.path.last_seen).0, stored.id);
    Ok(Json(paged(found, limit, place, communication_path)))
}
