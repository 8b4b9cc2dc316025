//! Agent events, live denials, detailed logs, and diagnostics that hosts collected.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use xshield_api::agents::{
    AgentEvent, AgentEventQuery, Diagnostics, DiagnosticsQuery, LiveEvent, LiveQuery, LogPiece,
    LogQuery,
};
use xshield_api::page::{Page, PageQuery};
use xshield_model::Timestamp;
use xshield_operations::paging::Pages as _;
use xshield_operations::{agent_events, diagnostics};
use xshield_store::Store;

use crate::auth::{Allowed, Operator, Viewer};
use crate::download;
use crate::keys::DataDir;
use crate::problem::{Answer, ErrorResponse};
use crate::query::{BothOf, QueryOf};
use crate::settings::Settings;
use crate::state::App;
use crate::uploads::Files;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(of_asset))
        .routes(routes!(live))
        .routes(routes!(debug_log))
        .routes(routes!(list_diagnostics))
        .routes(routes!(download, remove))
}

/// Program events of all hosts, latest arrival first
#[utoipa::path(get, path = "/api/v1/agent-events", tag = "agents",
    params(AgentEventQuery, PageQuery), responses((status = 200, body = Page<AgentEvent>)))]
async fn list(
    State(store): State<Store>,
    _: Allowed<Viewer>,
    BothOf(query, page): BothOf<AgentEventQuery, PageQuery>,
) -> Answer<Json<Page<AgentEvent>>> {
    let mut conn = store.read().await?;
    Ok(Json(agent_events::list(&mut conn, None, &query, page.paging()?).await?))
}

/// Program events of an asset, latest arrival first
#[utoipa::path(get, path = "/api/v1/assets/{asset}/agent-events", tag = "agents",
    params(("asset" = String, Path, description = "id or name"), AgentEventQuery, PageQuery),
    responses((status = 200, body = Page<AgentEvent>)))]
async fn of_asset(
    State(store): State<Store>,
    _: Allowed<Viewer>,
    Path(asset): Path<String>,
    BothOf(query, page): BothOf<AgentEventQuery, PageQuery>,
) -> Answer<Json<Page<AgentEvent>>> {
    let mut conn = store.read().await?;
    Ok(Json(agent_events::list(&mut conn, Some(&asset), &query, page.paging()?).await?))
}

/// Denials and matches in real time, in order of arrival. For display only: the totals are in the flow events
#[utoipa::path(get, path = "/api/v1/live-events", tag = "agents", params(LiveQuery),
    responses((status = 200, body = Vec<LiveEvent>)))]
async fn live(
    State(store): State<Store>,
    _: Allowed<Viewer>,
    QueryOf(query): QueryOf<LiveQuery>,
) -> Answer<Json<Vec<LiveEvent>>> {
    Ok(Json(agent_events::live(&mut *store.read().await?, &query).await?))
}

/// The detailed log of an asset in chunks, in order; request again after the last number until none is
/// returned
#[utoipa::path(get, path = "/api/v1/assets/{asset}/debug-log", tag = "agents",
    params(("asset" = String, Path, description = "id or name"), LogQuery),
    responses((status = 200, body = Vec<LogPiece>)))]
async fn debug_log(
    State(store): State<Store>,
    allowed: Allowed<Operator>,
    Path(asset): Path<String>,
    QueryOf(query): QueryOf<LogQuery>,
) -> Answer<Json<Vec<LogPiece>>> {
    let mut conn = store.read().await?;
    Ok(Json(agent_events::debug_log(&mut conn, &allowed, &asset, &query).await?))
}

/// Diagnostics that hosts collected, newest first
#[utoipa::path(get, path = "/api/v1/diagnostics", tag = "agents",
    params(DiagnosticsQuery, PageQuery), responses((status = 200, body = Page<Diagnostics>)))]
async fn list_diagnostics(
    State(store): State<Store>,
    State(settings): State<Arc<Settings>>,
    _: Allowed<Viewer>,
    BothOf(query, page): BothOf<DiagnosticsQuery, PageQuery>,
) -> Answer<Json<Page<Diagnostics>>> {
    let keep_for = settings.keep_uploads_for;
    let mut conn = store.read().await?;
    Ok(Json(diagnostics::list(&mut conn, query, keep_for, page.paging()?).await?))
}

/// Download diagnostics
#[utoipa::path(get, path = "/api/v1/diagnostics/{id}", tag = "agents",
    params(("id" = String, Path, description = "id of the diagnostics, or an asset for its latest")),
    responses((status = 200, body = Vec<u8>, content_type = "application/octet-stream")))]
async fn download(
    State(store): State<Store>,
    State(dir): State<Arc<DataDir>>,
    allowed: Allowed<Operator>,
    Path(id): Path<String>,
) -> Answer<Response> {
    download::diagnostics(&store, &dir, &allowed, &id).await
}

/// Delete diagnostics before they expire
#[utoipa::path(delete, path = "/api/v1/diagnostics/{id}", tag = "agents",
    params(("id" = String, Path)), responses((status = 204)))]
async fn remove(
    State(store): State<Store>,
    State(dir): State<Arc<DataDir>>,
    allowed: Allowed<Operator>,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    diagnostics::forget(&store, &allowed, &id, Timestamp::now()).await?;
    let files = Files::of(&dir);
    let removed = tokio::task::spawn_blocking(move || files.remove(&id)).await?;
    removed.map_err(|error| ErrorResponse::internal(&error))?;
    Ok(StatusCode::NO_CONTENT)
}
