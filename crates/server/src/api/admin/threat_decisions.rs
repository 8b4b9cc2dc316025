//! Running a feed on demand, and decisions on held listings.

use axum::Json;
use axum::extract::{Path, State};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use xshield_api::threat_feeds::Feed;
use xshield_model::Timestamp;
use xshield_operations::threat::{feeds, held_listings};
use xshield_store::Store;

use crate::auth::{Allowed, Operator};
use crate::problem::Answer;
use crate::signals::ThreatService;
use crate::state::App;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(run)).routes(routes!(approve)).routes(routes!(reject))
}

/// Run a threat feed now; the response is sent when the run has ended, or after a minute
#[utoipa::path(post, path = "/api/v1/threat/feeds/{name}/run", tag = "threats",
    params(("name" = String, Path)), responses((status = 200, body = Feed)))]
async fn run(
    State(store): State<Store>,
    State(threats): State<ThreatService>,
    allowed: Allowed<Operator>,
    Path(name): Path<String>,
) -> Answer<Json<Feed>> {
    let now = Timestamp::now();
    Ok(Json(feeds::run(&store, &threats, &allowed, &name, now).await?))
}

/// Accept the held listing, or the rejected one that the source still delivers
#[utoipa::path(post, path = "/api/v1/threat/feeds/{name}/approve", tag = "threats",
    params(("name" = String, Path)), responses((status = 200, body = Feed)))]
async fn approve(
    State(store): State<Store>,
    State(threats): State<ThreatService>,
    allowed: Allowed<Operator>,
    Path(name): Path<String>,
) -> Answer<Json<Feed>> {
    let now = Timestamp::now();
    Ok(Json(held_listings::approve(&store, &threats, &allowed, &name, now).await?))
}

/// Reject the held listing; the one in force is kept, also when the feed delivers the same again
#[utoipa::path(post, path = "/api/v1/threat/feeds/{name}/reject", tag = "threats",
    params(("name" = String, Path)), responses((status = 200, body = Feed)))]
async fn reject(
    State(store): State<Store>,
    State(threats): State<ThreatService>,
    allowed: Allowed<Operator>,
    Path(name): Path<String>,
) -> Answer<Json<Feed>> {
    let now = Timestamp::now();
    Ok(Json(held_listings::reject(&store, &threats, &allowed, &name, now).await?))
}
