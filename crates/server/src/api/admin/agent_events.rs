//! What host programs did, denials as they happen, detailed logs, and files they collected.

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
use xshield_operations::diagnostics;
use xshield_operations::lookup::asset as named;
use xshield_operations::paging::{Pages as _, paged};
use xshield_policy::AssetId;
use xshield_store::agent_events::{AgentEventFilter, StoredAgentEvent};
use xshield_store::uploads::{Progress, Upload, UploadFilter};
use xshield_store::{agent_events, uploads};
use xshield_wire::telemetry::AgentEventKind;

use crate::auth::{Allowed, Operator, Viewer};
use crate::download;
use crate::problem::{Answer, Problem};
use crate::query::{BothOf, QueryOf};
use crate::state::App;
use crate::uploads::Files;

/// Pieces of a log, and live events, in one answer.
const AT_ONCE: u32 = 200;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(of_asset))
        .routes(routes!(live))
        .routes(routes!(debug_log))
        .routes(routes!(list_diagnostics))
        .routes(routes!(download, remove))
}

fn agent_event(stored: StoredAgentEvent) -> AgentEvent {
    AgentEvent {
        asset: stored.asset,
        at: Timestamp::from_unix(stored.event.at),
        received_at: stored.received_at,
        kind: stored.event.kind,
        text: stored.event.text,
        revision: stored.event.revision.map(|revision| revision.0),
        seconds: stored.event.seconds,
    }
}

/// What the programs of all hosts did, the last to arrive first
#[utoipa::path(get, path = "/api/v1/agent-events", tag = "agents",
    params(AgentEventQuery, PageQuery), responses((status = 200, body = Page<AgentEvent>)))]
async fn list(
    State(app): State<App>,
    _: Allowed<Viewer>,
    BothOf(query, page): BothOf<AgentEventQuery, PageQuery>,
) -> Answer<Json<Page<AgentEvent>>> {
    page_of(&app, None, query, &page).await
}

/// What an asset's program did, the last to arrive first
#[utoipa::path(get, path = "/api/v1/assets/{asset}/agent-events", tag = "agents",
    params(("asset" = String, Path, description = "id or name"), AgentEventQuery, PageQuery),
    responses((status = 200, body = Page<AgentEvent>)))]
async fn of_asset(
    State(app): State<App>,
    _: Allowed<Viewer>,
    Path(asset): Path<String>,
    BothOf(query, page): BothOf<AgentEventQuery, PageQuery>,
) -> Answer<Json<Page<AgentEvent>>> {
    let asset = named(&mut *app.store.read().await?, &asset).await?;
    page_of(&app, Some(asset.id), query, &page).await
}

async fn page_of(
    app: &App,
    asset: Option<AssetId>,
    query: AgentEventQuery,
    page: &PageQuery,
) -> Answer<Json<Page<AgentEvent>>> {
    if query.kind == Some(AgentEventKind::Unknown) {
        return Err(Problem::invalid("?kind", "there is no such kind of event"));
    }
    let limit = page.limit()?;
    let filter = AgentEventFilter { asset, kind: query.kind, since: query.since };
    let mut conn = app.store.read().await?;
    let found = agent_events::list(&mut conn, &filter, page.after()?, limit + 1).await?;
    Ok(Json(paged(found, limit, |stored| stored.number, agent_event)))
}

/// Denials and matches as they happen, in the order of their arrival; for eyes: the counts are among the events
#[utoipa::path(get, path = "/api/v1/live-events", tag = "agents", params(LiveQuery),
    responses((status = 200, body = Vec<LiveEvent>)))]
async fn live(
    State(app): State<App>,
    _: Allowed<Viewer>,
    QueryOf(query): QueryOf<LiveQuery>,
) -> Answer<Json<Vec<LiveEvent>>> {
    let mut conn = app.store.read().await?;
    let asset = match &query.asset {
        Some(asset) => Some(named(&mut conn, asset).await?.id),
        None => None,
    };
    let found = agent_events::live(&mut conn, asset.as_ref(), query.after, AT_ONCE).await?;
    let shown = found.into_iter().map(|stored| LiveEvent {
        number: stored.number,
        asset: stored.asset,
        received_at: stored.received_at,
        event: stored.event,
    });
    Ok(Json(shown.collect()))
}

/// An asset's detailed logs in pieces, in order; ask again after the last number until none comes
#[utoipa::path(get, path = "/api/v1/assets/{asset}/debug-log", tag = "agents",
    params(("asset" = String, Path, description = "id or name"), LogQuery),
    responses((status = 200, body = Vec<LogPiece>)))]
async fn debug_log(
    State(app): State<App>,
    _: Allowed<Operator>,
    Path(asset): Path<String>,
    QueryOf(query): QueryOf<LogQuery>,
) -> Answer<Json<Vec<LogPiece>>> {
    let mut conn = app.store.read().await?;
    let asset = named(&mut conn, &asset).await?;
    let found = agent_events::logs(&mut conn, &asset.id, query.after.unwrap_or(0), AT_ONCE).await?;
    let shown = found.into_iter().map(|stored| LogPiece {
        number: stored.number,
        command: stored.command,
        first: stored.first,
        dropped: stored.dropped,
        end: stored.end,
        received_at: stored.received_at,
        lines: stored.lines,
    });
    Ok(Json(shown.collect()))
}

/// Diagnostics that hosts collected, the newest first
#[utoipa::path(get, path = "/api/v1/diagnostics", tag = "agents",
    params(DiagnosticsQuery, PageQuery), responses((status = 200, body = Page<Diagnostics>)))]
async fn list_diagnostics(
    State(app): State<App>,
    _: Allowed<Viewer>,
    BothOf(query, page): BothOf<DiagnosticsQuery, PageQuery>,
) -> Answer<Json<Page<Diagnostics>>> {
    let limit = page.limit()?;
    let mut conn = app.store.read().await?;
    let asset = match &query.asset {
        Some(asset) => Some(named(&mut conn, asset).await?.id),
        None => None,
    };
    let filter = UploadFilter { asset, command: query.command, complete: false };
    let found = uploads::list(&mut conn, &filter, page.after()?, limit + 1).await?;
    let keep_for = app.settings.keep_uploads_for;
    let place = |upload: &Upload| (upload.created_at.0, upload.id.clone());
    Ok(Json(paged(found, limit, place, |upload| Diagnostics {
        kept_until: upload.changed_at.plus(keep_for),
        sha256: upload.digest.0.iter().map(|byte| format!("{byte:02x}")).collect(),
        complete: upload.progress == Progress::Complete,
        id: upload.id,
        asset: upload.asset_name,
        command: upload.command,
        size: upload.total,
        received: upload.received,
        created_at: upload.created_at,
    })))
}

/// Download diagnostics
#[utoipa::path(get, path = "/api/v1/diagnostics/{id}", tag = "agents",
    params(("id" = String, Path, description = "their id, or an asset: its newest")),
    responses((status = 200, body = Vec<u8>, content_type = "application/octet-stream")))]
async fn download(
    State(app): State<App>,
    allowed: Allowed<Operator>,
    Path(id): Path<String>,
) -> Answer<Response> {
    download::diagnostics(&app, &allowed, &id).await
}

/// Remove diagnostics before their time
#[utoipa::path(delete, path = "/api/v1/diagnostics/{id}", tag = "agents",
    params(("id" = String, Path)), responses((status = 204)))]
async fn remove(
    State(app): State<App>,
    allowed: Allowed<Operator>,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    diagnostics::forget(&app.store, &allowed, &id, Timestamp::now()).await?;
    let files = Files::of(&app.dir);
    let removed = tokio::task::spawn_blocking(move || files.remove(&id)).await?;
    removed.map_err(|error| Problem::internal(&error))?;
    Ok(StatusCode::NO_CONTENT)
}
