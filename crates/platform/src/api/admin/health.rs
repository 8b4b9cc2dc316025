//! How the platform itself is.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use xshield_model::Timestamp;
use xshield_store::rows::Damage;
use xshield_store::{assets, rows};

use crate::auth::{Allowed, Viewer};
use crate::jobs::supervise::{JobState, Standing};
use crate::problem::Answer;
use crate::state::App;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(get))
}

/// How the platform itself is.
#[derive(Serialize, utoipa::ToSchema)]
struct Health {
    /// Why it can't do its work now; `null` when it can.
    not_ready: Option<String>,
    /// What runs beside requests.
    jobs: Vec<Job>,
    /// Records that can't be read and are passed over, met since the start: of many the first.
    damaged: Vec<DamagedRecord>,
    /// How hosts follow to other keys; `null` while the first ones are in use.
    key_rotation: Option<KeyRotation>,
}

/// How hosts follow the platform to other keys.
#[derive(Serialize, utoipa::ToSchema)]
struct KeyRotation {
    /// Grows with every change.
    sequence: u64,
    /// Whether old and new keys overlap; then it is to be finished or cancelled.
    under_way: bool,
    /// Hosts in service that have not said that they follow.
    behind: u64,
    /// The first of them by name.
    behind_first: Vec<String>,
}

impl KeyRotation {
    async fn of(app: &App) -> Answer<Option<Self>> {
        let Some(told) = &app.told else { return Ok(None) };
        let sequence = told.succession.sequence;
        let behind = assets::behind(&mut *app.store.read().await?, sequence, NAMED).await?;
        let (count, first) = (behind.count, behind.first);
        let under_way = told.is_overlap();
        Ok(Some(Self { sequence, under_way, behind: count, behind_first: first }))
    }
}

/// Hosts that are named of all that are counted.
const NAMED: u32 = 20;

/// Something that runs beside requests.
#[derive(Serialize, utoipa::ToSchema)]
struct Job {
    /// Its name.
    name: &'static str,
    /// Whether it runs.
    standing: Standing,
    /// How often it failed and was started again since the start.
    restarts: u64,
    /// When it last failed.
    failed_at: Option<Timestamp>,
    /// Why.
    reason: Option<String>,
}

impl From<(&'static str, JobState)> for Job {
    fn from((name, state): (&'static str, JobState)) -> Self {
        let (failed_at, reason) = state.last_failure.unzip();
        Self { name, standing: state.standing, restarts: state.restarts, failed_at, reason }
    }
}

/// A record that can't be read.
#[derive(Serialize, utoipa::ToSchema)]
struct DamagedRecord {
    /// What was read.
    list: &'static str,
    /// Which record.
    place: String,
    /// Why it can't be read.
    reason: String,
    /// When it was last met.
    seen: Timestamp,
}

impl From<Damage> for DamagedRecord {
    fn from(Damage { list, place, reason, seen }: Damage) -> Self {
        Self { list, place, reason, seen }
    }
}

/// How the platform itself is: whether it can write, its jobs, records that can't be read
#[utoipa::path(get, path = "/api/v1/health", tag = "platform",
    responses((status = 200, body = Health)))]
async fn get(State(app): State<App>, _: Allowed<Viewer>) -> Answer<Json<Health>> {
    Ok(Json(Health {
        not_ready: app.readiness.check(&app.store).await.err(),
        jobs: app.jobs.states().into_iter().map(Job::from).collect(),
        damaged: rows::damage().into_iter().map(DamagedRecord::from).collect(),
        key_rotation: KeyRotation::of(&app).await?,
    }))
}
