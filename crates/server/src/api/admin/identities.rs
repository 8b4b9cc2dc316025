//! Identity keys that claim an asset's name: an operator approves or rejects each by its fingerprint.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use xshield_api::assets::Asset;
use xshield_api::claims::{Approval, Rejection};
use xshield_model::Timestamp;
use xshield_operations::assets;
use xshield_operations::compiler::RulesetCompiler;
use xshield_store::Store;

use crate::auth::{Allowed, Operator};
use crate::problem::Answer;
use crate::request_body::JsonBody;
use crate::state::App;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(approve_identity)).routes(routes!(reject_identity))
}

/// Pin an identity key by its fingerprint, e.g. after a host was reinstalled
#[utoipa::path(post, path = "/api/v1/assets/{asset}/identity/approve", tag = "assets",
    params(("asset" = String, Path, description = "id or name")), request_body = Approval,
    responses((status = 200, body = Asset)))]
async fn approve_identity(
    State(store): State<Store>,
    State(compiler): State<Arc<RulesetCompiler>>,
    allowed: Allowed<Operator>,
    Path(asset): Path<String>,
    JsonBody(approval): JsonBody<Approval>,
) -> Answer<Json<Asset>> {
    let (store, compiler, now) = (&store, &compiler, Timestamp::now());
    let shown = assets::approve_identity(store, compiler, &allowed, &asset, &approval, now).await?;
    Ok(Json(shown))
}

/// Reject an identity key permanently, by its fingerprint
#[utoipa::path(post, path = "/api/v1/assets/{asset}/identity/reject", tag = "assets",
    params(("asset" = String, Path, description = "id or name")), request_body = Rejection,
    responses((status = 200, body = Asset)))]
async fn reject_identity(
    State(store): State<Store>,
    State(compiler): State<Arc<RulesetCompiler>>,
    allowed: Allowed<Operator>,
    Path(asset): Path<String>,
    JsonBody(rejection): JsonBody<Rejection>,
) -> Answer<Json<Asset>> {
    let (store, compiler, now) = (&store, &compiler, Timestamp::now());
    let shown = assets::reject_identity(store, compiler, &allowed, &asset, &rejection, now).await?;
    Ok(Json(shown))
}
