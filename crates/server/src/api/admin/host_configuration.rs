//! Host settings that operators configure centrally.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use xshield_api::host_configuration::{Configured, Effective, HostSettings};
use xshield_model::Timestamp;
use xshield_operations::compiler::RulesetCompiler;
use xshield_operations::host_configuration;
use xshield_store::Store;

use crate::auth::{Allowed, Operator, Viewer};
use crate::problem::Answer;
use crate::request_body::JsonBody;
use crate::signals::HostEffects;
use crate::state::App;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list, set_platform))
        .routes(routes!(set_segment))
        .routes(routes!(of_asset, set_asset))
}

/// All configured settings: for the platform, segments and assets
#[utoipa::path(get, path = "/api/v1/host-configuration", tag = "host configuration",
    responses((status = 200, body = Vec<Configured>)))]
async fn list(State(store): State<Store>, _: Allowed<Viewer>) -> Answer<Json<Vec<Configured>>> {
    Ok(Json(host_configuration::list(&mut *store.read().await?).await?))
}

/// Configure all hosts; each host decides on settings that are omitted
#[utoipa::path(put, path = "/api/v1/host-configuration", tag = "host configuration",
    request_body = HostSettings, responses((status = 200, body = HostSettings)))]
async fn set_platform(
    State(store): State<Store>,
    State(effects): State<HostEffects>,
    allowed: Allowed<Operator>,
    JsonBody(settings): JsonBody<HostSettings>,
) -> Answer<Json<HostSettings>> {
    let (store, now) = (&store, Timestamp::now());
    Ok(Json(host_configuration::set_for_all(store, &effects, &allowed, settings, now).await?))
}

/// Configure the hosts of a segment; omitted settings are inherited from the platform
#[utoipa::path(put, path = "/api/v1/host-configuration/segments/{name}",
    tag = "host configuration", params(("name" = String, Path)), request_body = HostSettings,
    responses((status = 200, body = HostSettings)))]
async fn set_segment(
    State(store): State<Store>,
    State(compiler): State<Arc<RulesetCompiler>>,
    State(effects): State<HostEffects>,
    allowed: Allowed<Operator>,
    Path(name): Path<String>,
    JsonBody(settings): JsonBody<HostSettings>,
) -> Answer<Json<HostSettings>> {
    let (store, compiler, now) = (&store, &compiler, Timestamp::now());
    let request = (name, settings);
    let set =
        host_configuration::set_for_segment(store, compiler, &effects, &allowed, request, now);
    Ok(Json(set.await?))
}

/// Configure one host; omitted settings are inherited from its segments and the platform
#[utoipa::path(put, path = "/api/v1/assets/{asset}/host-configuration",
    tag = "host configuration", params(("asset" = String, Path, description = "id or name")),
    request_body = HostSettings, responses((status = 200, body = HostSettings)))]
async fn set_asset(
    State(store): State<Store>,
    State(effects): State<HostEffects>,
    allowed: Allowed<Operator>,
    Path(asset): Path<String>,
    JsonBody(settings): JsonBody<HostSettings>,
) -> Answer<Json<HostSettings>> {
    let (store, now) = (&store, Timestamp::now());
    let request = (asset.as_str(), settings);
    Ok(Json(host_configuration::set_for_asset(store, &effects, &allowed, request, now).await?))
}

/// The effective settings of an asset, merged from all that apply to it
#[utoipa::path(get, path = "/api/v1/assets/{asset}/host-configuration",
    tag = "host configuration", params(("asset" = String, Path, description = "id or name")),
    responses((status = 200, body = Effective)))]
async fn of_asset(
    State(store): State<Store>,
    _: Allowed<Viewer>,
    Path(asset): Path<String>,
) -> Answer<Json<Effective>> {
    Ok(Json(host_configuration::effective(&mut *store.read().await?, &asset).await?))
}
