//! How the platform itself is.

use axum::Json;
use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use xshield_api::health::{DamagedRecord, Health, Job, KeyRotation};
use xshield_store::rows::Damage;
use xshield_store::{assets, rows};

use crate::auth::{Allowed, Viewer};
use crate::jobs::supervise::JobState;
use crate::problem::Answer;
use crate::state::App;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(get))
}

async fn key_rotation(app: &App) -> Answer<Option<KeyRotation>> {
    let Some(told) = &app.told else { return Ok(None) };
    let sequence = told.succession.sequence;
    let behind = assets::behind(&mut *app.store.read().await?, sequence, NAMED).await?;
    let (count, first) = (behind.count, behind.first);
    let under_way = told.is_overlap();
    Ok(Some(KeyRotation { sequence, under_way, behind: count, behind_first: first }))
}

/// Hosts that are named of all that are counted.
const NAMED: u32 = 20;

fn job((name, state): (&'static str, JobState)) -> Job {
    let (failed_at, reason) = state.last_failure.unzip();
    let name = name.to_owned();
    Job { name, standing: state.standing, restarts: state.restarts, failed_at, reason }
}

fn damaged(Damage { list, place, reason, seen }: Damage) -> DamagedRecord {
    DamagedRecord { list: list.to_owned(), place, reason, seen }
}

/// How the platform itself is: whether it can write, its jobs, records that can't be read
#[utoipa::path(get, path = "/api/v1/health", tag = "platform",
    responses((status = 200, body = Health)))]
async fn get(State(app): State<App>, _: Allowed<Viewer>) -> Answer<Json<Health>> {
    Ok(Json(Health {
        not_ready: app.readiness.check(&app.store).await.err(),
        jobs: app.jobs.states().into_iter().map(job).collect(),
        damaged: rows::damage().into_iter().map(damaged).collect(),
        key_rotation: key_rotation(&app).await?,
    }))
}
