//! The health of the platform itself.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use xshield_api::health::{Health, Job};
use xshield_operations::health::{self, Rotation};
use xshield_store::Store;

use crate::auth::{Allowed, Viewer};
use crate::jobs::supervise::JobState;
use crate::jobs::supervise::Jobs;
use crate::problem::Answer;
use crate::readiness::Readiness;
use crate::rotation::Told;
use crate::state::App;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(get))
}

fn rotation(told: &Told) -> Rotation {
    Rotation { sequence: told.succession.sequence, under_way: told.is_overlap() }
}

fn job((name, state): (&'static str, JobState)) -> Job {
    let (failed_at, reason) = state.last_failure.unzip();
    let name = name.to_owned();
    Job { name, standing: state.standing.into(), restarts: state.restarts, failed_at, reason }
}

/// The health of the platform: whether it can write, its jobs, unreadable records
#[utoipa::path(get, path = "/api/v1/health", tag = "platform",
    responses((status = 200, body = Health)))]
async fn get(
    State(store): State<Store>,
    State(readiness): State<Arc<Readiness>>,
    State(jobs): State<Arc<Jobs>>,
    State(told): State<Option<Arc<Told>>>,
    _: Allowed<Viewer>,
) -> Answer<Json<Health>> {
    let key_rotation = match told.as_deref().map(rotation) {
        Some(rotation) => Some(health::key_rotation(&mut *store.read().await?, rotation).await?),
        None => None,
    };
    Ok(Json(Health {
        not_ready: readiness.check(&store).await.err(),
        jobs: jobs.states().into_iter().map(job).collect(),
        damaged: health::damaged(),
        key_rotation,
    }))
}
