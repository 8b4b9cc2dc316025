//! What an asset should enforce, what it enforces, and what it observed.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use xshield_api::page::{Page, PageQuery};
use xshield_api::telemetry::{Compiled, Event, EventQuery, Listening, Programmed};
use xshield_operations::compiler::RulesetCompiler;
use xshield_operations::paging::Pages as _;
use xshield_operations::{signed_rulesets, telemetry};
use xshield_store::Store;

use crate::auth::{Allowed, Viewer};
use crate::keys::Keys;
use crate::problem::Answer;
use crate::query::BothOf;
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
    State(store): State<Store>,
    State(compiler): State<Arc<RulesetCompiler>>,
    State(keys): State<Arc<Keys>>,
    _: Allowed<Viewer>,
    Path(asset): Path<String>,
) -> Answer<Json<Compiled>> {
    let (store, compiler, key) = (&store, &compiler, &keys.policy);
    Ok(Json(signed_rulesets::shown(store, compiler, key, &asset).await?))
}

/// The rules in an asset's kernel, with hit counts
#[utoipa::path(get, path = "/api/v1/assets/{asset}/programmed", tag = "telemetry",
    params(("asset" = String, Path, description = "id or name")),
    responses((status = 200, body = Programmed)))]
async fn programmed(
    State(store): State<Store>,
    _: Allowed<Viewer>,
    Path(asset): Path<String>,
) -> Answer<Json<Programmed>> {
    Ok(Json(telemetry::programmed(&mut *store.read().await?, &asset).await?))
}

/// Flows that an asset's firewall denied, would deny or accepted; most recently seen first
#[utoipa::path(get, path = "/api/v1/assets/{asset}/events", tag = "telemetry",
    params(("asset" = String, Path, description = "id or name"), EventQuery, PageQuery),
    responses((status = 200, body = Page<Event>)))]
async fn list_events(
    State(store): State<Store>,
    _: Allowed<Viewer>,
    Path(asset): Path<String>,
    BothOf(query, page): BothOf<EventQuery, PageQuery>,
) -> Answer<Json<Page<Event>>> {
    let mut conn = store.read().await?;
    Ok(Json(telemetry::events(&mut conn, Some(&asset), query, page.paging()?).await?))
}

/// Flows that the firewalls of all assets denied, would deny or accepted; most recently seen first
#[utoipa::path(get, path = "/api/v1/events", tag = "telemetry", params(EventQuery, PageQuery),
    responses((status = 200, body = Page<Event>)))]
async fn all_events(
    State(store): State<Store>,
    _: Allowed<Viewer>,
    BothOf(query, page): BothOf<EventQuery, PageQuery>,
) -> Answer<Json<Page<Event>>> {
    let mut conn = store.read().await?;
    Ok(Json(telemetry::events(&mut conn, None, query, page.paging()?).await?))
}

/// The ports on which an asset's programs listen
#[utoipa::path(get, path = "/api/v1/assets/{asset}/ports", tag = "telemetry",
    params(("asset" = String, Path, description = "id or name")),
    responses((status = 200, body = Listening)))]
async fn ports(
    State(store): State<Store>,
    _: Allowed<Viewer>,
    Path(asset): Path<String>,
) -> Answer<Json<Listening>> {
    Ok(Json(telemetry::ports(&mut *store.read().await?, &asset).await?))
}
