//! What operators configure at hosts.

use std::ops::RangeInclusive;

use axum::Json;
use axum::extract::{Path, State};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use xshield_api::host_configuration::{self as configured, Configured, Effective, HostSettings};
use xshield_model::Timestamp;
use xshield_operations::lookup::asset as named;
use xshield_store::audit::Deed;
use xshield_store::host_configuration::{Scope, StoredConfiguration};
use xshield_store::{Conn, assets, audit, commit, host_configuration};
use xshield_wire::control::HostConfiguration;

use crate::auth::{Allowed, Caller, Operator, Viewer};
use crate::problem::{Answer, JsonBody, Problem};
use crate::state::App;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list, set_platform))
        .routes(routes!(set_segment))
        .routes(routes!(of_asset, set_asset))
}

/// What hosts are told, when it is within the bounds.
fn checked(settings: HostSettings) -> Answer<HostConfiguration> {
    within("/heartbeat", settings.heartbeat, 10..=86_400)?;
    within("/telemetry", settings.telemetry, 10..=86_400)?;
    within("/inventory", settings.inventory, 60..=604_800)?;
    let cpu_budget = settings.cpu_budget_percent.map(thousandths).transpose()?;
    within("/memory_budget", settings.memory_budget, 16..=4096)?;
    Ok(HostConfiguration {
        version: 0,
        heartbeat: settings.heartbeat,
        telemetry: settings.telemetry,
        inventory: settings.inventory,
        cloud_metadata: settings.cloud_metadata,
        live_events: settings.live_events,
        cpu_budget,
        memory_budget: settings.memory_budget,
    })
}

/// Hosts are told thousandths.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "1 to 1,000 fits, and nothing else gets so far"
)]
fn thousandths(percent: f64) -> Answer<u16> {
    match percent {
        0.1..=100.0 => Ok((percent * 10.0).round() as u16),
        _ => {
            let reason = format!("{percent} is not between 0.1 and 100");
            Err(Problem::invalid("/cpu_budget_percent", reason))
        }
    }
}

fn within(field: &str, value: Option<u32>, range: RangeInclusive<u32>) -> Answer<()> {
    match value {
        Some(value) if !range.contains(&value) => {
            let reason = format!("{value} is not between {} and {}", range.start(), range.end());
            Err(Problem::invalid(field, reason))
        }
        _ => Ok(()),
    }
}

async fn shown(conn: &mut Conn, stored: StoredConfiguration) -> Answer<Configured> {
    let (scope, name) = match stored.scope {
        Scope::Platform => (configured::Scope::Platform, None),
        Scope::Segment(name) => (configured::Scope::Segment, Some(name)),
        Scope::Asset(id) => {
            let asset = assets::by_id(conn, id.as_str()).await?;
            (
                configured::Scope::Asset,
                Some(asset.map_or_else(|| id.to_string(), |asset| asset.name.to_string())),
            )
        }
    };
    Ok(Configured {
        scope,
        name,
        settings: stored.settings.into(),
        updated_at: stored.updated_at,
        updated_by: stored.updated_by,
    })
}

/// Everything that is configured: for the platform, segments and assets
#[utoipa::path(get, path = "/api/v1/host-configuration", tag = "host configuration",
    responses((status = 200, body = Vec<Configured>)))]
async fn list(State(app): State<App>, _: Allowed<Viewer>) -> Answer<Json<Vec<Configured>>> {
    let mut conn = app.store.read().await?;
    let mut all = Vec::new();
    for stored in host_configuration::all(&mut conn).await? {
        all.push(shown(&mut conn, stored).await?);
    }
    Ok(Json(all))
}

/// Configure all hosts; what is left out becomes each host's own affair
#[utoipa::path(put, path = "/api/v1/host-configuration", tag = "host configuration",
    request_body = HostSettings, responses((status = 200, body = HostSettings)))]
async fn set_platform(
    State(app): State<App>,
    allowed: Allowed<Operator>,
    JsonBody(settings): JsonBody<HostSettings>,
) -> Answer<Json<HostSettings>> {
    set(&app, allowed.caller(), Scope::Platform, "platform", settings).await
}

/// Configure the hosts of a segment; what is left out is as for all
#[utoipa::path(put, path = "/api/v1/host-configuration/segments/{name}",
    tag = "host configuration", params(("name" = String, Path)), request_body = HostSettings,
    responses((status = 200, body = HostSettings)))]
async fn set_segment(
    State(app): State<App>,
    allowed: Allowed<Operator>,
    Path(name): Path<String>,
    JsonBody(settings): JsonBody<HostSettings>,
) -> Answer<Json<HostSettings>> {
    let committed = app.compiler.committed().await?;
    let known = committed
        .is_some_and(|one| one.policy.segments().any(|segment| segment.name.as_str() == name));
    let takes_away = checked(settings.clone())? == HostConfiguration::default();
    if !known && !takes_away {
        return Err(Problem::not_found("segment in the committed policy", &name));
    }
    let target = format!("segment {name}");
    set(&app, allowed.caller(), Scope::Segment(name), &target, settings).await
}

/// Configure one host; what is left out is as for its segments and for all
#[utoipa::path(put, path = "/api/v1/assets/{asset}/host-configuration",
    tag = "host configuration", params(("asset" = String, Path, description = "id or name")),
    request_body = HostSettings, responses((status = 200, body = HostSettings)))]
async fn set_asset(
    State(app): State<App>,
    allowed: Allowed<Operator>,
    Path(asset): Path<String>,
    JsonBody(settings): JsonBody<HostSettings>,
) -> Answer<Json<HostSettings>> {
    let asset = named(&mut *app.store.read().await?, &asset).await?;
    set(&app, allowed.caller(), Scope::Asset(asset.id), asset.name.as_str(), settings).await
}

/// What an asset should use, put together from all that holds for it
#[utoipa::path(get, path = "/api/v1/assets/{asset}/host-configuration",
    tag = "host configuration", params(("asset" = String, Path, description = "id or name")),
    responses((status = 200, body = Effective)))]
async fn of_asset(
    State(app): State<App>,
    _: Allowed<Viewer>,
    Path(asset): Path<String>,
) -> Answer<Json<Effective>> {
    let mut conn = app.store.read().await?;
    let asset = named(&mut conn, &asset).await?;
    let effective = host_configuration::of(&mut conn, &asset.id).await?.unwrap_or_default();
    Ok(Json(Effective { version: effective.version, settings: effective.into() }))
}

async fn set(
    app: &App,
    caller: &Caller,
    scope: Scope,
    target: &str,
    settings: HostSettings,
) -> Answer<Json<HostSettings>> {
    let configured = StoredConfiguration {
        scope,
        settings: checked(settings.clone())?,
        updated_at: Timestamp::now(),
        updated_by: caller.actor(),
    };
    let mut tx = app.store.write().await?;
    let before = host_configuration::all(&mut tx).await?;
    let before = before.into_iter().find(|one| one.scope == configured.scope);
    let in_words = |settings: &HostConfiguration| {
        let settings = HostConfiguration { version: 0, ..settings.clone() };
        serde_json::to_string(&settings).unwrap_or_default()
    };
    host_configuration::put(&mut tx, &configured).await?;
    let deed = Deed {
        actor: &caller.actor(),
        action: "host-configuration.set",
        target,
        before: before.map_or_else(String::new, |before| in_words(&before.settings)),
        after: in_words(&configured.settings),
    };
    audit::record(&mut tx, deed, configured.updated_at).await?;
    commit(tx).await?;
    app.configuring.refresh().await?;
    Ok(Json(settings))
}
