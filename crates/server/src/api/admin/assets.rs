//! Assets: their properties and state.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use xshield_api::assets::{Asset, AssetChange, AssetQuery, PastProblem};
use xshield_api::page::{Page, PageQuery};
use xshield_model::Timestamp;
use xshield_operations::assets::{self, Filter};
use xshield_operations::paging::Pages as _;

use crate::auth::{Allowed, Operator, Viewer};
use crate::problem::Answer;
use crate::query::BothOf;
use crate::request_body::JsonBody;
use crate::state::App;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(get, change, delete))
        .routes(routes!(decommission))
        .routes(routes!(reinstate))
        .routes(routes!(problems))
}

/// List assets
#[utoipa::path(get, path = "/api/v1/assets", tag = "assets", params(AssetQuery, PageQuery),
    responses((status = 200, body = Page<Asset>)))]
async fn list(
    State(app): State<App>,
    _: Allowed<Viewer>,
    BothOf(query, page): BothOf<AssetQuery, PageQuery>,
) -> Answer<Json<Page<Asset>>> {
    let AssetQuery { name, tag, status, segment, criteria } = query;
    let filter = Filter { name, tags: tag, standing: status, segment, criteria };
    let (paging, now) = (page.paging()?, Timestamp::now());
    Ok(Json(assets::list(&app.store, &app.compiler, filter, paging, now).await?))
}

/// Get an asset
#[utoipa::path(get, path = "/api/v1/assets/{asset}", tag = "assets",
    params(("asset" = String, Path, description = "id or name")),
    responses((status = 200, body = Asset)))]
async fn get(
    State(app): State<App>,
    _: Allowed<Viewer>,
    Path(asset): Path<String>,
) -> Answer<Json<Asset>> {
    Ok(Json(assets::get(&app.store, &app.compiler, &asset, Timestamp::now()).await?))
}

/// Change an asset's tags
#[utoipa::path(patch, path = "/api/v1/assets/{asset}", tag = "assets", request_body = AssetChange,
    params(("asset" = String, Path, description = "id or name")),
    responses((status = 200, body = Asset)))]
async fn change(
    State(app): State<App>,
    allowed: Allowed<Operator>,
    Path(asset): Path<String>,
    JsonBody(change): JsonBody<AssetChange>,
) -> Answer<Json<Asset>> {
    let (store, compiler, now) = (&app.store, &app.compiler, Timestamp::now());
    Ok(Json(assets::set_tags(store, compiler, &allowed, &asset, change.tags, now).await?))
}

/// Delete an asset and everything it reported; a host that still runs registers again
#[utoipa::path(delete, path = "/api/v1/assets/{asset}", tag = "assets",
    params(("asset" = String, Path, description = "id or name")),
    responses((status = 204)))]
async fn delete(
    State(app): State<App>,
    allowed: Allowed<Operator>,
    Path(asset): Path<String>,
) -> Answer<StatusCode> {
    assets::delete(&app.store, &app.compiler, &allowed, &asset, Timestamp::now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Decommission an asset: its host is refused from now on, its history is kept
#[utoipa::path(post, path = "/api/v1/assets/{asset}/decommission", tag = "assets",
    params(("asset" = String, Path, description = "id or name")),
    responses((status = 200, body = Asset)))]
async fn decommission(
    State(app): State<App>,
    allowed: Allowed<Operator>,
    Path(asset): Path<String>,
) -> Answer<Json<Asset>> {
    let (store, compiler, now) = (&app.store, &app.compiler, Timestamp::now());
    Ok(Json(assets::decommission(store, compiler, &*app, &allowed, &asset, now).await?))
}

/// Reinstate a decommissioned asset
#[utoipa::path(post, path = "/api/v1/assets/{asset}/reinstate", tag = "assets",
    params(("asset" = String, Path, description = "id or name")),
    responses((status = 200, body = Asset)))]
async fn reinstate(
    State(app): State<App>,
    allowed: Allowed<Operator>,
    Path(asset): Path<String>,
) -> Answer<Json<Asset>> {
    let (store, compiler, now) = (&app.store, &app.compiler, Timestamp::now());
    Ok(Json(assets::reinstate(store, compiler, &*app, &allowed, &asset, now).await?))
}

/// Problems that a host reported, including resolved ones; most recently seen first
#[utoipa::path(get, path = "/api/v1/assets/{asset}/problems", tag = "assets",
    params(("asset" = String, Path, description = "id or name")),
    responses((status = 200, body = Vec<PastProblem>)))]
async fn problems(
    State(app): State<App>,
    _: Allowed<Viewer>,
    Path(asset): Path<String>,
) -> Answer<Json<Vec<PastProblem>>> {
    Ok(Json(assets::problems(&mut *app.store.read().await?, &asset).await?))
}
