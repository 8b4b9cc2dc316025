//! Assets: their properties and state.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use xshield_api::assets::{Asset, AssetChange, AssetQuery, PastProblem};
use xshield_api::page::{Page, PageQuery};
use xshield_model::Timestamp;
use xshield_operations::assets::{self, Filter};
use xshield_operations::compiler::RulesetCompiler;
use xshield_operations::paging::Pages as _;
use xshield_store::Store;

use crate::auth::{Allowed, Operator, Viewer};
use crate::problem::Answer;
use crate::query::BothOf;
use crate::request_body::JsonBody;
use crate::signals::HostEffects;
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
    State(store): State<Store>,
    State(compiler): State<Arc<RulesetCompiler>>,
    _: Allowed<Viewer>,
    BothOf(query, page): BothOf<AssetQuery, PageQuery>,
) -> Answer<Json<Page<Asset>>> {
    let AssetQuery { name, tag, status, segment, criteria } = query;
    let filter = Filter { name, tags: tag, standing: status, segment, criteria };
    let (paging, now) = (page.paging()?, Timestamp::now());
    Ok(Json(assets::list(&store, &compiler, filter, paging, now).await?))
}

/// Get an asset
#[utoipa::path(get, path = "/api/v1/assets/{asset}", tag = "assets",
    params(("asset" = String, Path, description = "id or name")),
    responses((status = 200, body = Asset)))]
async fn get(
    State(store): State<Store>,
    State(compiler): State<Arc<RulesetCompiler>>,
    _: Allowed<Viewer>,
    Path(asset): Path<String>,
) -> Answer<Json<Asset>> {
    Ok(Json(assets::get(&store, &compiler, &asset, Timestamp::now()).await?))
}

/// Change an asset's tags
#[utoipa::path(patch, path = "/api/v1/assets/{asset}", tag = "assets", request_body = AssetChange,
    params(("asset" = String, Path, description = "id or name")),
    responses((status = 200, body = Asset)))]
async fn change(
    State(store): State<Store>,
    State(compiler): State<Arc<RulesetCompiler>>,
    allowed: Allowed<Operator>,
    Path(asset): Path<String>,
    JsonBody(change): JsonBody<AssetChange>,
) -> Answer<Json<Asset>> {
    let (store, compiler, now) = (&store, &compiler, Timestamp::now());
    Ok(Json(assets::set_tags(store, compiler, &allowed, &asset, change.tags, now).await?))
}

/// Delete an asset and everything it reported; a host that still runs registers again
#[utoipa::path(delete, path = "/api/v1/assets/{asset}", tag = "assets",
    params(("asset" = String, Path, description = "id or name")),
    responses((status = 204)))]
async fn delete(
    State(store): State<Store>,
    State(compiler): State<Arc<RulesetCompiler>>,
    allowed: Allowed<Operator>,
    Path(asset): Path<String>,
) -> Answer<StatusCode> {
    assets::delete(&store, &compiler, &allowed, &asset, Timestamp::now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Decommission an asset: its host is refused from now on, its history is kept
#[utoipa::path(post, path = "/api/v1/assets/{asset}/decommission", tag = "assets",
    params(("asset" = String, Path, description = "id or name")),
    responses((status = 200, body = Asset)))]
async fn decommission(
    State(store): State<Store>,
    State(compiler): State<Arc<RulesetCompiler>>,
    State(effects): State<HostEffects>,
    allowed: Allowed<Operator>,
    Path(asset): Path<String>,
) -> Answer<Json<Asset>> {
    let (store, compiler, now) = (&store, &compiler, Timestamp::now());
    Ok(Json(assets::decommission(store, compiler, &effects, &allowed, &asset, now).await?))
}

/// Reinstate a decommissioned asset
#[utoipa::path(post, path = "/api/v1/assets/{asset}/reinstate", tag = "assets",
    params(("asset" = String, Path, description = "id or name")),
    responses((status = 200, body = Asset)))]
async fn reinstate(
    State(store): State<Store>,
    State(compiler): State<Arc<RulesetCompiler>>,
    State(effects): State<HostEffects>,
    allowed: Allowed<Operator>,
    Path(asset): Path<String>,
) -> Answer<Json<Asset>> {
    let (store, compiler, now) = (&store, &compiler, Timestamp::now());
    Ok(Json(assets::reinstate(store, compiler, &effects, &allowed, &asset, now).await?))
}

/// Problems that a host reported, including resolved ones; most recently seen first
#[utoipa::path(get, path = "/api/v1/assets/{asset}/problems", tag = "assets",
    params(("asset" = String, Path, description = "id or name")),
    responses((status = 200, body = Vec<PastProblem>)))]
async fn problems(
    State(store): State<Store>,
    _: Allowed<Viewer>,
    Path(asset): Path<String>,
) -> Answer<Json<Vec<PastProblem>>> {
    Ok(Json(assets::problems(&mut *store.read().await?, &asset).await?))
}
