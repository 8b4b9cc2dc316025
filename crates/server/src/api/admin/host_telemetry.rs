//! Inventory and communication of assets.

use axum::Json;
use axum::extract::{Path, State};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use xshield_api::host_telemetry::{
    CommunicationPath, Host, PathQuery, Software, SoftwareChange, SoftwareQuery,
};
use xshield_api::page::{Page, PageQuery};
use xshield_operations::host_telemetry;
use xshield_operations::paging::Pages as _;
use xshield_store::Store;

use crate::auth::{Allowed, Viewer};
use crate::problem::Answer;
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
    State(store): State<Store>,
    _: Allowed<Viewer>,
    Path(asset): Path<String>,
) -> Answer<Json<Host>> {
    Ok(Json(host_telemetry::host(&mut *store.read().await?, &asset).await?))
}

/// The installed software of an asset
#[utoipa::path(get, path = "/api/v1/assets/{asset}/software", tag = "telemetry",
    params(("asset" = String, Path, description = "id or name"), SoftwareQuery),
    responses((status = 200, body = Software)))]
async fn software(
    State(store): State<Store>,
    _: Allowed<Viewer>,
    Path(asset): Path<String>,
    QueryOf(query): QueryOf<SoftwareQuery>,
) -> Answer<Json<Software>> {
    let mut conn = store.read().await?;
    Ok(Json(host_telemetry::software(&mut conn, &asset, query).await?))
}

/// Packages installed on an asset or removed from it, latest first
#[utoipa::path(get, path = "/api/v1/assets/{asset}/software/changes", tag = "telemetry",
    params(("asset" = String, Path, description = "id or name"), PageQuery),
    responses((status = 200, body = Page<SoftwareChange>)))]
async fn software_changes(
    State(store): State<Store>,
    _: Allowed<Viewer>,
    Path(asset): Path<String>,
    QueryOf(page): QueryOf<PageQuery>,
) -> Answer<Json<Page<SoftwareChange>>> {
    let mut conn = store.read().await?;
    Ok(Json(host_telemetry::software_changes(&mut conn, &asset, page.paging()?).await?))
}

/// The communication paths of an asset, most recently seen first
#[utoipa::path(get, path = "/api/v1/assets/{asset}/paths", tag = "telemetry",
    params(("asset" = String, Path, description = "id or name"), PathQuery, PageQuery),
    responses((status = 200, body = Page<CommunicationPath>)))]
async fn paths_of(
    State(store): State<Store>,
    _: Allowed<Viewer>,
    Path(asset): Path<String>,
    BothOf(query, page): BothOf<PathQuery, PageQuery>,
) -> Answer<Json<Page<CommunicationPath>>> {
    let mut conn = store.read().await?;
    Ok(Json(host_telemetry::paths(&mut conn, Some(&asset), query, page.paging()?).await?))
}

/// The communication paths of all assets, most recently seen first
#[utoipa::path(get, path = "/api/v1/paths", tag = "telemetry", params(PathQuery, PageQuery),
    responses((status = 200, body = Page<CommunicationPath>)))]
async fn all_paths(
    State(store): State<Store>,
    _: Allowed<Viewer>,
    BothOf(query, page): BothOf<PathQuery, PageQuery>,
) -> Answer<Json<Page<CommunicationPath>>> {
    let mut conn = store.read().await?;
    Ok(Json(host_telemetry::paths(&mut conn, None, query, page.paging()?).await?))
}
