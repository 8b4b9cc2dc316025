//! Commands for hosts: for one asset, a list or all that match, with an outcome per asset.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use xshield_api::commands::{Command, NewAssetCommand, NewCommand, OutcomeQuery, TargetOutcome};
use xshield_api::page::{Page, PageQuery};
use xshield_model::Timestamp;
use xshield_operations::commands::{self, Prepared};
use xshield_operations::compiler::RulesetCompiler;
use xshield_operations::lookup;
use xshield_operations::paging::Pages as _;
use xshield_operations::selection::selected;
use xshield_store::Store;

use crate::auth::{Allowed, Operator, Viewer};
use crate::problem::Answer;
use crate::query::{BothOf, QueryOf};
use crate::request_body::JsonBody;
use crate::signals::HostEffects;
use crate::state::App;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list, give))
        .routes(routes!(get))
        .routes(routes!(targets))
        .routes(routes!(cancel))
        .routes(routes!(of_asset, give_to_asset))
}

/// Send a command to hosts: each carries it out once, at once (agents) or in its next run (Spark)
#[utoipa::path(post, path = "/api/v1/commands", tag = "commands", request_body = NewCommand,
    responses((status = 202, body = Command)))]
async fn give(
    State(store): State<Store>,
    State(compiler): State<Arc<RulesetCompiler>>,
    State(effects): State<HostEffects>,
    allowed: Allowed<Operator>,
    JsonBody(new): JsonBody<NewCommand>,
) -> Answer<(StatusCode, Json<Command>)> {
    let now = Timestamp::now();
    let prepared = Prepared::new(&new, &allowed, now)?;
    let assets = selected(&store, &compiler, &new.target, now).await?;
    let command = commands::give(&store, &effects, &allowed, prepared, &assets).await?;
    Ok((StatusCode::ACCEPTED, Json(command)))
}

/// Send a command to one host
#[utoipa::path(post, path = "/api/v1/assets/{asset}/commands", tag = "commands",
    params(("asset" = String, Path, description = "id or name")), request_body = NewAssetCommand,
    responses((status = 202, body = Command)))]
async fn give_to_asset(
    State(store): State<Store>,
    State(effects): State<HostEffects>,
    allowed: Allowed<Operator>,
    Path(asset): Path<String>,
    JsonBody(new): JsonBody<NewAssetCommand>,
) -> Answer<(StatusCode, Json<Command>)> {
    let asset = lookup::asset(&mut *store.read().await?, &asset).await?;
    let NewAssetCommand { kind, duration_seconds, expires_in_seconds } = new;
    let target = commands::only(asset.name.as_str());
    let new = NewCommand { kind, duration_seconds, expires_in_seconds, target };
    let prepared = Prepared::new(&new, &allowed, Timestamp::now())?;
    let command = commands::give(&store, &effects, &allowed, prepared, &[asset.id]).await?;
    Ok((StatusCode::ACCEPTED, Json(command)))
}

/// List commands, newest first
#[utoipa::path(get, path = "/api/v1/commands", tag = "commands", params(PageQuery),
    responses((status = 200, body = Page<Command>)))]
async fn list(
    State(store): State<Store>,
    _: Allowed<Viewer>,
    QueryOf(page): QueryOf<PageQuery>,
) -> Answer<Json<Page<Command>>> {
    let (paging, now) = (page.paging()?, Timestamp::now());
    Ok(Json(commands::list(&mut *store.read().await?, None, paging, now).await?))
}

/// List the commands of an asset, newest first
#[utoipa::path(get, path = "/api/v1/assets/{asset}/commands", tag = "commands",
    params(("asset" = String, Path, description = "id or name"), PageQuery),
    responses((status = 200, body = Page<Command>)))]
async fn of_asset(
    State(store): State<Store>,
    _: Allowed<Viewer>,
    Path(asset): Path<String>,
    QueryOf(page): QueryOf<PageQuery>,
) -> Answer<Json<Page<Command>>> {
    let mut conn = store.read().await?;
    let asset = lookup::asset(&mut conn, &asset).await?;
    let (paging, now) = (page.paging()?, Timestamp::now());
    Ok(Json(commands::list(&mut conn, Some(&asset.id), paging, now).await?))
}

/// Get a command
#[utoipa::path(get, path = "/api/v1/commands/{id}", tag = "commands",
    params(("id" = String, Path)), responses((status = 200, body = Command)))]
async fn get(
    State(store): State<Store>,
    _: Allowed<Viewer>,
    Path(id): Path<String>,
) -> Answer<Json<Command>> {
    let now = Timestamp::now();
    Ok(Json(commands::get(&mut *store.read().await?, &id, now).await?))
}

/// The outcome of a command at each asset
#[utoipa::path(get, path = "/api/v1/commands/{id}/outcomes", tag = "commands",
    params(("id" = String, Path), OutcomeQuery, PageQuery),
    responses((status = 200, body = Page<TargetOutcome>)))]
async fn targets(
    State(store): State<Store>,
    _: Allowed<Viewer>,
    Path(id): Path<String>,
    BothOf(query, page): BothOf<OutcomeQuery, PageQuery>,
) -> Answer<Json<Page<TargetOutcome>>> {
    let (paging, now) = (page.paging()?, Timestamp::now());
    let mut conn = store.read().await?;
    Ok(Json(commands::outcomes(&mut conn, &id, query.state, paging, now).await?))
}

/// Cancel a command for the hosts that have not received it
#[utoipa::path(post, path = "/api/v1/commands/{id}/cancel", tag = "commands",
    params(("id" = String, Path)), responses((status = 200, body = Command)))]
async fn cancel(
    State(store): State<Store>,
    allowed: Allowed<Operator>,
    Path(id): Path<String>,
) -> Answer<Json<Command>> {
    let now = Timestamp::now();
    Ok(Json(commands::cancel(&store, &allowed, &id, now).await?))
}
