//! What is done with traffic of listed peers, for the platform, its segments and assets, and how much memory
//! an asset may use for the list.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use xshield_api::threat_modes::{Budget, ChangedSettings, ModeChange, Modes, Settings};
use xshield_model::Timestamp;
use xshield_operations::compiler::RulesetCompiler;
use xshield_operations::threat::{modes, settings as list_settings};
use xshield_store::Store;

use crate::auth::{Allowed, Operator, Viewer};
use crate::problem::Answer;
use crate::request_body::JsonBody;
use crate::signals::ThreatService;
use crate::state::App;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(get, put))
        .routes(routes!(settings, change_settings))
        .routes(routes!(put_budget))
}

/// Where each mode is set
#[utoipa::path(get, path = "/api/v1/threat/modes", tag = "threats",
    responses((status = 200, body = Modes)))]
async fn get(State(store): State<Store>, _: Allowed<Viewer>) -> Answer<Json<Modes>> {
    Ok(Json(modes::get(&mut *store.read().await?).await?))
}

/// Set the mode for the platform, a segment or an asset
#[utoipa::path(put, path = "/api/v1/threat/modes", tag = "threats", request_body = ModeChange,
    responses((status = 200, body = Modes)))]
async fn put(
    State(store): State<Store>,
    State(compiler): State<Arc<RulesetCompiler>>,
    State(threats): State<ThreatService>,
    allowed: Allowed<Operator>,
    JsonBody(change): JsonBody<ModeChange>,
) -> Answer<Json<Modes>> {
    let (store, compiler, now) = (&store, &compiler, Timestamp::now());
    Ok(Json(modes::set(store, compiler, &threats, &allowed, &change, now).await?))
}

/// Get the settings of the threat list
#[utoipa::path(get, path = "/api/v1/threat/settings", tag = "threats",
    responses((status = 200, body = Settings)))]
async fn settings(State(store): State<Store>, _: Allowed<Viewer>) -> Answer<Json<Settings>> {
    Ok(Json(list_settings::get(&mut *store.read().await?).await?))
}

/// Change the settings of the threat list
///
/// Refused with status 409 when private ranges would be listed from now on and the impact of that is not the
/// expected one.
#[utoipa::path(put, path = "/api/v1/threat/settings", tag = "threats", request_body = ChangedSettings,
    responses((status = 200, body = Settings)))]
async fn change_settings(
    State(store): State<Store>,
    State(threats): State<ThreatService>,
    allowed: Allowed<Operator>,
    JsonBody(wanted): JsonBody<ChangedSettings>,
) -> Answer<Json<Settings>> {
    let (store, now) = (&store, Timestamp::now());
    Ok(Json(list_settings::change(store, &threats, &allowed, wanted, now).await?))
}

/// Set how much memory an asset may use for the list
#[utoipa::path(put, path = "/api/v1/assets/{asset}/threat/budget", tag = "threats",
    params(("asset" = String, Path, description = "id or name")), request_body = Budget,
    responses((status = 200, body = Budget)))]
async fn put_budget(
    State(store): State<Store>,
    State(threats): State<ThreatService>,
    allowed: Allowed<Operator>,
    Path(asset): Path<String>,
    JsonBody(budget): JsonBody<Budget>,
) -> Answer<Json<Budget>> {
    modes::set_budget(&store, &threats, &allowed, &asset, &budget, Timestamp::now()).await?;
    Ok(Json(budget))
}
