//! What hosts claim about themselves and operators decide on.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use xshield_api::claims::{About, Claim, Named};
use xshield_model::Timestamp;
use xshield_operations::claims;
use xshield_operations::compiler::RulesetCompiler;
use xshield_store::Store;

use crate::auth::{Allowed, Operator, Viewer};
use crate::problem::Answer;
use crate::request_body::JsonBody;
use crate::state::App;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(accept))
        .routes(routes!(refuse))
        .routes(routes!(rename))
}

/// Claims of all assets that wait for an operator; at most 10,000
#[utoipa::path(get, path = "/api/v1/claims", tag = "assets",
    responses((status = 200, body = Vec<Claim>)))]
async fn list(State(store): State<Store>, _: Allowed<Viewer>) -> Answer<Json<Vec<Claim>>> {
    Ok(Json(claims::list(&mut *store.read().await?).await?))
}

/// Accept a host's claim; an address is taken from the asset that holds it
#[utoipa::path(post, path = "/api/v1/assets/{asset}/claims/accept", tag = "assets",
    params(("asset" = String, Path, description = "id or name")), request_body = About,
    responses((status = 200, body = Named)))]
async fn accept(
    State(store): State<Store>,
    State(compiler): State<Arc<RulesetCompiler>>,
    allowed: Allowed<Operator>,
    Path(asset): Path<String>,
    JsonBody(about): JsonBody<About>,
) -> Answer<Json<Named>> {
    let (store, compiler, now) = (&store, &compiler, Timestamp::now());
    let name = claims::accept(store, compiler, &allowed, &asset, &about.what, now).await?;
    Ok(Json(Named { name }))
}

/// Reject a host's claim permanently; an accepted address is withdrawn from it
#[utoipa::path(post, path = "/api/v1/assets/{asset}/claims/refuse", tag = "assets",
    params(("asset" = String, Path, description = "id or name")), request_body = About,
    responses((status = 200, body = Named)))]
async fn refuse(
    State(store): State<Store>,
    State(compiler): State<Arc<RulesetCompiler>>,
    allowed: Allowed<Operator>,
    Path(asset): Path<String>,
    JsonBody(about): JsonBody<About>,
) -> Answer<Json<Named>> {
    let (store, compiler, now) = (&store, &compiler, Timestamp::now());
    let name = claims::refuse(store, compiler, &allowed, &asset, &about.what, now).await?;
    Ok(Json(Named { name }))
}

/// Rename an asset
#[utoipa::path(post, path = "/api/v1/assets/{asset}/rename", tag = "assets",
    params(("asset" = String, Path, description = "id or name")), request_body = Named,
    responses((status = 200, body = Named)))]
async fn rename(
    State(store): State<Store>,
    State(compiler): State<Arc<RulesetCompiler>>,
    allowed: Allowed<Operator>,
    Path(asset): Path<String>,
    JsonBody(Named { name }): JsonBody<Named>,
) -> Answer<Json<Named>> {
    let (store, compiler, now) = (&store, &compiler, Timestamp::now());
    claims::rename(store, compiler, &allowed, &asset, &name, now).await?;
    Ok(Json(Named { name }))
}
