//! Commands to hosts: given to one asset, a list or all that match, with an outcome per asset.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use xshield_api::commands::{Command, NewAssetCommand, NewCommand, Outcome, Selection};
use xshield_api::page::Page;
use xshield_model::Timestamp;
use xshield_model::command::TargetState;
use xshield_policy::AssetId;
use xshield_store::audit::Deed;
use xshield_store::commands::{Job, Target};
use xshield_store::{Conn, audit, commands, commit};
use xshield_wire::message::CommandKind;

use super::assets::named;
use super::page::{PageQuery, paged};
use super::selection::selected;
use crate::auth::{Allowed, Caller, Operator, Viewer};
use crate::keys::new_id;
use crate::problem::{Answer, JsonBody, Problem};
use crate::query::{BothOf, QueryOf};
use crate::state::App;

/// How long hosts may take to pick a command up, in seconds, unless said otherwise.
const EXPIRES_IN: i64 = 24 * 3600;
const LONGEST: i64 = 30 * 24 * 3600;
/// How long debug logging lasts, in seconds, unless said otherwise.
const DEBUG_FOR: u32 = 3600;
const DEBUG_LONGEST: u32 = 24 * 3600;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list, give))
        .routes(routes!(get))
        .routes(routes!(targets))
        .routes(routes!(cancel))
        .routes(routes!(of_asset, give_to_asset))
}

fn outcome(target: Target) -> Outcome {
    Outcome {
        asset: target.asset,
        state: target.state,
        told_at: target.told_at,
        ended_at: target.ended_at,
        host_at: target.host_at,
        reason: Some(target.reason).filter(|reason| !reason.is_empty()),
    }
}

async fn shown(conn: &mut Conn, job: Job, now: Timestamp) -> Answer<Command> {
    let progress = commands::progress(conn, &job.id, now).await?;
    Ok(Command {
        id: job.id,
        kind: job.kind,
        duration_seconds: job.duration,
        target: serde_json::from_str(&job.target).unwrap_or_default(),
        created_at: job.created_at,
        created_by: job.created_by,
        expires_at: job.expires_at,
        cancelled_at: job.cancelled_at,
        progress,
    })
}

/// Give hosts a command: they carry it out once, at once (agents) or in their next run (Spark)
#[utoipa::path(post, path = "/api/v1/commands", tag = "commands", request_body = NewCommand,
    responses((status = 202, body = Command)))]
async fn give(
    State(app): State<App>,
    allowed: Allowed<Operator>,
    JsonBody(new): JsonBody<NewCommand>,
) -> Answer<(StatusCode, Json<Command>)> {
    let job = checked(
        &allowed.caller,
        new.kind,
        new.duration_seconds,
        new.expires_in_seconds,
        &new.target,
    )?;
    let chosen = selected(&app, &new.target, job.created_at).await?;
    Ok((StatusCode::ACCEPTED, Json(store(&app, &allowed.caller, job, &chosen).await?)))
}

/// Give one host a command
#[utoipa::path(post, path = "/api/v1/assets/{asset}/commands", tag = "commands",
    params(("asset" = String, Path, description = "id or name")), request_body = NewAssetCommand,
    responses((status = 202, body = Command)))]
async fn give_to_asset(
    State(app): State<App>,
    allowed: Allowed<Operator>,
    Path(asset): Path<String>,
    JsonBody(new): JsonBody<NewAssetCommand>,
) -> Answer<(StatusCode, Json<Command>)> {
    let asset = named(&mut *app.store.read().await?, &asset).await?;
    let target = Selection { assets: Some(vec![asset.name.to_string()]), ..Selection::default() };
    let job =
        checked(&allowed.caller, new.kind, new.duration_seconds, new.expires_in_seconds, &target)?;
    Ok((StatusCode::ACCEPTED, Json(store(&app, &allowed.caller, job, &[asset.id]).await?)))
}

/// A command as it will be stored, with everything checked that a caller says of it.
pub(crate) fn checked(
    caller: &Caller,
    kind: CommandKind,
    duration: Option<u32>,
    expires_in: Option<i64>,
    target: &Selection,
) -> Answer<Job> {
    if kind == CommandKind::Unknown {
        let reason = "expected 'run-now', 'resend', 'diagnostics', 'debug-on' or 'debug-off'";
        return Err(Problem::invalid("/kind", reason));
    }
    let duration = match (kind, duration) {
        (CommandKind::DebugOn, None) => Some(DEBUG_FOR),
        (CommandKind::DebugOn, Some(seconds @ 60..=DEBUG_LONGEST)) => Some(seconds),
        (CommandKind::DebugOn, Some(seconds)) => {
            let reason = format!("{seconds} is not between 60 and {DEBUG_LONGEST}");
            return Err(Problem::invalid("/duration_seconds", reason));
        }
        (_, None) => None,
        (_, Some(_)) => {
            return Err(Problem::invalid("/duration_seconds", "only 'debug-on' takes a duration"));
        }
    };
    let expires_in = match expires_in.unwrap_or(EXPIRES_IN) {
        seconds @ 1..=LONGEST => seconds,
        seconds => {
            let reason = format!("{seconds} is not between 1 and {LONGEST}");
            return Err(Problem::invalid("/expires_in_seconds", reason));
        }
    };
    let now = Timestamp::now();
    Ok(Job {
        id: new_id("cmd-").map_err(|error| Problem::internal(&error))?,
        kind,
        duration,
        target: commands::target_text(target)?,
        created_at: now,
        created_by: caller.actor(),
        expires_at: now.plus(expires_in),
        cancelled_at: None,
    })
}

/// Gives a command to these assets; none of them is a mistake.
pub(crate) async fn store(
    app: &App,
    caller: &Caller,
    job: Job,
    chosen: &[AssetId],
) -> Answer<Command> {
    if chosen.is_empty() {
        return Err(Problem::invalid(
            "/target",
            "the selection matches no asset; no command was created",
        ));
    }
    let now = job.created_at;
    let mut tx = app.store.write().await?;
    let given = commands::add(&mut tx, &job, chosen.iter()).await?;
    let kind = serde_json::to_value(job.kind).unwrap_or_default();
    let deed = Deed {
        actor: &caller.actor(),
        action: "command.give",
        target: &job.id,
        before: String::new(),
        after: format!("{} to {given} assets: {}", kind.as_str().unwrap_or("?"), job.target),
    };
    audit::record(&mut tx, deed, now).await?;
    let shown = shown(&mut tx, job, now).await?;
    commit(tx).await?;
    chosen.iter().for_each(|asset| app.waking.wake(asset));
    Ok(shown)
}

/// List commands, the newest first
#[utoipa::path(get, path = "/api/v1/commands", tag = "commands", params(PageQuery),
    responses((status = 200, body = Page<Command>)))]
async fn list(
    State(app): State<App>,
    _: Allowed<Viewer>,
    QueryOf(page): QueryOf<PageQuery>,
) -> Answer<Json<Page<Command>>> {
    page_of(&app, None, &page).await
}

/// The commands that an asset was given, the newest first
#[utoipa::path(get, path = "/api/v1/assets/{asset}/commands", tag = "commands",
    params(("asset" = String, Path, description = "id or name"), PageQuery),
    responses((status = 200, body = Page<Command>)))]
async fn of_asset(
    State(app): State<App>,
    _: Allowed<Viewer>,
    Path(asset): Path<String>,
    QueryOf(page): QueryOf<PageQuery>,
) -> Answer<Json<Page<Command>>> {
    let asset = named(&mut *app.store.read().await?, &asset).await?;
    page_of(&app, Some(&asset.id), &page).await
}

async fn page_of(
    app: &App,
    asset: Option<&AssetId>,
    page: &PageQuery,
) -> Answer<Json<Page<Command>>> {
    let (limit, now) = (page.limit()?, Timestamp::now());
    let mut conn = app.store.read().await?;
    let found = commands::list(&mut conn, asset, page.after()?, limit + 1).await?;
    let place = |job: &Job| (job.created_at.0, job.id.clone());
    let Page { items, next } = paged(found, limit, place, |job| job);
    let mut commands = Vec::with_capacity(items.len());
    for job in items {
        commands.push(shown(&mut conn, job, now).await?);
    }
    Ok(Json(Page { items: commands, next }))
}

/// The command of this id.
pub(crate) async fn known(conn: &mut Conn, id: &str) -> Answer<Job> {
    commands::job(conn, id).await?.ok_or_else(|| Problem::not_found("command", id))
}

/// One command
#[utoipa::path(get, path = "/api/v1/commands/{id}", tag = "commands",
    params(("id" = String, Path)), responses((status = 200, body = Command)))]
async fn get(
    State(app): State<App>,
    _: Allowed<Viewer>,
    Path(id): Path<String>,
) -> Answer<Json<Command>> {
    let mut conn = app.store.read().await?;
    let job = known(&mut conn, &id).await?;
    Ok(Json(shown(&mut conn, job, Timestamp::now()).await?))
}

#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct OutcomeQuery {
    /// Only those that stand so.
    #[serde(default)]
    #[param(inline)]
    state: Option<TargetState>,
}

/// What became of a command at each asset
#[utoipa::path(get, path = "/api/v1/commands/{id}/outcomes", tag = "commands",
    params(("id" = String, Path), OutcomeQuery, PageQuery),
    responses((status = 200, body = Page<Outcome>)))]
async fn targets(
    State(app): State<App>,
    _: Allowed<Viewer>,
    Path(id): Path<String>,
    BothOf(query, page): BothOf<OutcomeQuery, PageQuery>,
) -> Answer<Json<Page<Outcome>>> {
    let (limit, now) = (page.limit()?, Timestamp::now());
    let mut conn = app.store.read().await?;
    known(&mut conn, &id).await?;
    let after = page.after()?;
    let found = commands::targets(&mut conn, &id, query.state, after, limit + 1, now).await?;
    Ok(Json(paged(found, limit, |target| target.asset.clone(), outcome)))
}

/// Take a command back: hosts that were not told yet are not told
#[utoipa::path(post, path = "/api/v1/commands/{id}/cancel", tag = "commands",
    params(("id" = String, Path)), responses((status = 200, body = Command)))]
async fn cancel(
    State(app): State<App>,
    allowed: Allowed<Operator>,
    Path(id): Path<String>,
) -> Answer<Json<Command>> {
    take_back(&app, &allowed.caller, &id).await.map(Json)
}

/// Takes a command back.
pub(crate) async fn take_back(app: &App, caller: &Caller, id: &str) -> Answer<Command> {
    let now = Timestamp::now();
    let mut tx = app.store.write().await?;
    known(&mut tx, id).await?;
    if commands::cancel(&mut tx, id, now).await? {
        let deed = Deed {
            actor: &caller.actor(),
            action: "command.cancel",
            target: id,
            before: String::new(),
            after: String::new(),
        };
        audit::record(&mut tx, deed, now).await?;
    }
    let job = known(&mut tx, id).await?;
    let shown = shown(&mut tx, job, now).await?;
    commit(tx).await?;
    Ok(shown)
}
