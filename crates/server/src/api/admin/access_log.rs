//! Looking up many addresses at once, and access logs of servers behind proxies, whose clients the host's
//! firewall can't see.

use axum::Json;
use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use xshield_api::access_log::{AccessLog, Taken};
use xshield_api::threat_events::{LookupRequest, LookupResult};
use xshield_model::Timestamp;
use xshield_operations::threat::{access_log, why};
use xshield_store::Store;

use crate::auth::{Allowed, Operator, Viewer};
use crate::problem::Answer;
use crate::request_body::JsonBody;
use crate::signals::ThreatService;
use crate::state::App;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(look_up)).routes(routes!(take))
}

/// Find which of these addresses are on the threat list
#[utoipa::path(post, path = "/api/v1/threat/look-up", tag = "threat events",
    request_body = LookupRequest, responses((status = 200, body = LookupResult)))]
async fn look_up(
    State(threats): State<ThreatService>,
    _: Allowed<Viewer>,
    JsonBody(question): JsonBody<LookupRequest>,
) -> Answer<Json<LookupResult>> {
    Ok(Json(why::look_up(&threats, question)?))
}

/// Submit the access log of a server behind proxies
#[utoipa::path(post, path = "/api/v1/threat/access-log", tag = "threat events",
    request_body = AccessLog, responses((status = 200, body = Taken)))]
async fn take(
    State(store): State<Store>,
    State(threats): State<ThreatService>,
    allowed: Allowed<Operator>,
    JsonBody(log): JsonBody<AccessLog>,
) -> Answer<Json<Taken>> {
    let now = Timestamp::now();
    Ok(Json(access_log::take(&store, &threats, &allowed, log, now).await?))
}
