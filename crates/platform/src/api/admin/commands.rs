//! Commands to hosts: given to one asset, a list or all that match, with an outcome per asset.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use xshield_policy::AssetId;
use xshield_policy::criteria::Criteria;
use xshield_policy::inventory::Source;
use xshield_wire::message::CommandKind;

use super::assets::{members, named};
use super::page::{Page, PageQuery};
use crate::auth::{Allowed, Caller, Operator, Viewer};
use crate::clock::Timestamp;
use crate::keys::new_id;
use crate::problem::{Answer, JsonBody, Problem};
use crate::query::{BothOf, QueryOf};
use crate::state::App;
use crate::store::assets::{self, AssetFilter, Standing};
use crate::store::audit::{self, Deed};
use crate::store::commands::{self, Job, Progress, Target, TargetState};
use crate::store::{Conn, commit};

/// How long hosts may take to pick a command up, in seconds, unless said otherwise.
const EXPIRES_IN: i64 = 24 * 3600;
const LONGEST: i64 = 30 * 24 * 3600;
/// How long debug logging lasts, in seconds, unless said otherwise.
const DEBUG_FOR: u32 = 3600;
const DEBUG_LONGEST: u32 = 24 * 3600;
/// Assets that can be named one by one.
const MOST_NAMED: usize = 10_000;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list, give))
        .routes(routes!(get))
        .routes(routes!(targets))
        .routes(routes!(cancel))
        .routes(routes!(of_asset, give_to_asset))
}

/// Which assets. What is given must all hold; nothing given is refused, not everything.
#[derive(Debug, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct Selection {
    /// By id or name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    assets: Option<Vec<String>>,
    /// A criteria expression, e.g. `environment = 'prod' and role in ('web','db')`.
    #[serde(default, rename = "where", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    criteria: Option<Criteria>,
    /// A segment of the committed policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    segment: Option<String>,
    /// `agent`, `spark` or `edr`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    source: Option<Source>,
    /// How they stand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    status: Option<Standing>,
    /// Every asset; not together with another choice.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    all: bool,
}

/// A command to give.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct NewCommand {
    /// `run-now`, `resend`, `diagnostics`, `debug-on` or `debug-off`.
    #[schema(value_type = String)]
    kind: CommandKind,
    /// For `debug-on`: seconds until it switches itself off; an hour when left out, a day at most.
    #[serde(default)]
    duration_seconds: Option<u32>,
    /// Seconds within which hosts must begin; a day when left out, 30 days at most.
    #[serde(default)]
    expires_in_seconds: Option<i64>,
    /// To whom.
    target: Selection,
}

/// A command for one host.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct NewAssetCommand {
    /// `run-now`, `resend`, `diagnostics`, `debug-on` or `debug-off`.
    #[schema(value_type = String)]
    kind: CommandKind,
    /// For `debug-on`: seconds until it switches itself off.
    #[serde(default)]
    duration_seconds: Option<u32>,
    /// Seconds within which the host must begin.
    #[serde(default)]
    expires_in_seconds: Option<i64>,
}

/// A command and how far it is.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct Command {
    /// What hosts hear.
    id: String,
    #[schema(value_type = String)]
    kind: CommandKind,
    duration_seconds: Option<u32>,
    /// To whom it was given.
    #[schema(value_type = Object)]
    target: serde_json::Value,
    created_at: Timestamp,
    created_by: String,
    expires_at: Timestamp,
    cancelled_at: Option<Timestamp>,
    progress: Progress,
}

/// A command at one asset.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct Outcome {
    asset: String,
    state: TargetState,
    told_at: Option<Timestamp>,
    ended_at: Option<Timestamp>,
    /// When it ended, by the host's clock.
    host_at: Option<Timestamp>,
    /// Why it failed.
    reason: Option<String>,
}

impl From<Target> for Outcome {
    fn from(target: Target) -> Self {
        Self {
            asset: target.asset,
            state: target.state,
            told_at: target.told_at,
            ended_at: target.ended_at,
            host_at: target.host_at,
            reason: Some(target.reason).filter(|reason| !reason.is_empty()),
        }
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
    if chosen.is_empty() {
        return Err(Problem::invalid("/target", "no asset is meant by it; nothing was given"));
    }
    store(&app, &allowed.caller, job, &chosen).await
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
    store(&app, &allowed.caller, job, &[asset.id]).await
}

fn checked(
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

/// The assets that a selection means, decommissioned ones left out.
async fn selected(app: &App, selection: &Selection, now: Timestamp) -> Answer<Vec<AssetId>> {
    let Selection { assets: names, criteria, segment, source, status, all } = selection;
    let narrowed = names.is_some()
        || criteria.is_some()
        || segment.is_some()
        || source.is_some()
        || status.is_some();
    match (narrowed, all) {
        (false, false) => {
            let reason = "nothing says which assets; name some, give a filter, or set 'all'";
            return Err(Problem::invalid("/target", reason));
        }
        (true, true) => {
            let reason = "'all' does not go together with another choice";
            return Err(Problem::invalid("/target/all", reason));
        }
        _ => {}
    }
    if names.as_ref().is_some_and(|names| names.is_empty() || names.len() > MOST_NAMED) {
        let reason = format!("expected 1 to {MOST_NAMED} assets");
        return Err(Problem::invalid("/target/assets", reason));
    }
    let in_segment: Option<BTreeSet<AssetId>> = match segment {
        Some(segment) => {
            let refuse = |problem: Problem| problem.field("/target/segment");
            Some(members(app, segment).await.map_err(refuse)?.into_iter().collect())
        }
        None => None,
    };
    let mut conn = app.store.read().await?;
    let mut by_name = None;
    if let Some(names) = names {
        let mut ids = BTreeSet::new();
        for name in names {
            ids.insert(named(&mut conn, name).await?.id);
        }
        by_name = Some(ids);
    }
    let mut standing = None;
    if let Some(status) = status {
        let filter = AssetFilter { standing: Some(*status), ..AssetFilter::default() };
        let found = assets::list(&mut conn, &filter, None, u32::MAX, now).await?;
        standing = Some(found.into_iter().map(|asset| asset.id).collect::<BTreeSet<_>>());
    }
    let among = |ids: &Option<BTreeSet<AssetId>>, id: &AssetId| {
        ids.as_ref().is_none_or(|ids| ids.contains(id))
    };
    let inventory = assets::inventory(&mut conn).await?;
    let meant = inventory.assets.into_iter().filter(|asset| {
        among(&by_name, &asset.id)
            && among(&in_segment, &asset.id)
            && among(&standing, &asset.id)
            && source.is_none_or(|source| source == asset.source)
            && criteria.as_ref().is_none_or(|criteria| criteria.matches(asset))
    });
    Ok(meant.map(|asset| asset.id).collect())
}

async fn store(
    app: &App,
    caller: &Caller,
    job: Job,
    chosen: &[AssetId],
) -> Answer<(StatusCode, Json<Command>)> {
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
    Ok((StatusCode::ACCEPTED, Json(shown)))
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
    let Page { items, next } = Page::of(found, limit, place, |job| job);
    let mut commands = Vec::with_capacity(items.len());
    for job in items {
        commands.push(shown(&mut conn, job, now).await?);
    }
    Ok(Json(Page { items: commands, next }))
}

async fn known(conn: &mut Conn, id: &str) -> Answer<Job> {
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
    Ok(Json(Page::of(found, limit, |target| target.asset.clone(), Outcome::from)))
}

/// Take a command back: hosts that were not told yet are not told
#[utoipa::path(post, path = "/api/v1/commands/{id}/cancel", tag = "commands",
    params(("id" = String, Path)), responses((status = 200, body = Command)))]
async fn cancel(
    State(app): State<App>,
    allowed: Allowed<Operator>,
    Path(id): Path<String>,
) -> Answer<Json<Command>> {
    let now = Timestamp::now();
    let mut tx = app.store.write().await?;
    known(&mut tx, &id).await?;
    if commands::cancel(&mut tx, &id, now).await? {
        let deed = Deed {
            actor: &allowed.caller.actor(),
            action: "command.cancel",
            target: &id,
            before: String::new(),
            after: String::new(),
        };
        audit::record(&mut tx, deed, now).await?;
    }
    let job = known(&mut tx, &id).await?;
    let shown = shown(&mut tx, job, now).await?;
    commit(tx).await?;
    Ok(Json(shown))
}
